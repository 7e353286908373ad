"""Plain scores that a prior keeps: small, those of the detectors they stand for, and higher where something
does not belong.
"""

from __future__ import annotations

import pytest
import torch

from medprior.errors import BadOption, ShapeMismatch
from medprior.evidence.detectors.detectors import plain_detectors
from medprior.evidence.detectors.kept_scores import KEPT, coarse_means, fit_plain_scores, plain_scores

from .test_detectors import healthy, images, volumes, with_disc


@pytest.mark.parametrize("ndim", [2, 3])
def test_they_are_those_of_the_detectors(ndim: int) -> None:
    """On scans no larger than the grid: the same names, and the same numbers but for half precision."""
    scans = [healthy(seed, *((48, 40) if ndim == 2 else (20, 24, 12))) for seed in range(9)]
    wanted = plain_detectors(scans[:8], deep=False)
    found = plain_scores(fit_plain_scores([coarse_means(scan).half() for scan in scans[:8]]), scans[8])
    assert tuple(found) == KEPT == tuple(wanted)
    for name, score in found.items():
        assert score == pytest.approx(wanted[name](scans[8]).score, rel=0.01, abs=1e-5)


@pytest.mark.parametrize(("scans", "others"), [(images(14), 4), (volumes(10), 3)])
def test_what_does_not_belong_raises_them(scans: list[torch.Tensor], others: int) -> None:
    """Scans of several sizes, coarser than they are."""
    small = [coarse_means(scan, coarse_means(scans[0])) for scan in scans]
    tensors = fit_plain_scores(small[others:])
    for scan in scans[:others]:
        fine, bad = plain_scores(tensors, scan), plain_scores(tensors, with_disc(scan)[0])
        assert all(bad[name] > fine[name] for name in KEPT if name != "minus mean intensity")
        assert fine["minus mean intensity"] == -fine["mean intensity"]


def test_they_are_small() -> None:
    """Of a large volume under 1.3 MB, whatever its size and however many scans; of an image under 0.2 MB."""
    for scan, most in ((healthy(0, 90, 80, 70), 1.3e6), (healthy(0, 300, 200), 0.2e6)):
        small = coarse_means(scan)
        tensors = fit_plain_scores(
            [
                small + 0.1 * torch.randn(small.shape, generator=torch.Generator().manual_seed(n))
                for n in range(30)
            ]
        )
        assert len(tensors["plain.components"]) == 16
        assert sum(t.numel() * t.element_size() for t in tensors.values()) < most


def test_what_is_not_there_or_does_not_fit_is_said() -> None:
    assert plain_scores({"bank": torch.zeros(3)}, healthy(0, 32, 32)) == {}
    tensors = fit_plain_scores([coarse_means(healthy(seed, 32, 32)) for seed in range(4)])
    for scan in (healthy(0, 32, 32, 8), healthy(0, 32, 32, channels=2)):
        with pytest.raises(ShapeMismatch, match="plain score"):
            plain_scores(tensors, scan)
    with pytest.raises(BadOption, match="at least 4"):
        fit_plain_scores([coarse_means(healthy(0, 32, 32))] * 3)
