"""Ring correlation finds the frequency at which two images stop agreeing, whatever their brightness and
contrast.
"""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from bench.ring_correlation import agreement, ring_correlation
from medprior.errors import BadOption, ShapeMismatch


def noise(n: int, side: int, seed: int) -> Tensor:
    return torch.randn(n, side, side, generator=torch.Generator().manual_seed(seed))


def low(x: Tensor, cut: float) -> Tensor:
    """Frequencies up to ``cut`` cycles a voxel, of the last two axes."""
    place = torch.fft.fftfreq(x.shape[-1])
    keep = (place[:, None] ** 2 + place**2).sqrt() <= cut
    return torch.fft.ifft2(torch.fft.fft2(x) * keep).real


def test_equal_patches_correlate_and_independent_ones_do_not() -> None:
    a, b = noise(200, 32, 0), noise(200, 32, 1)
    assert float((ring_correlation(a, 3 * a + 5) - 1)[:, 1:].abs().max()) < 1e-9
    apart = ring_correlation(a, b)
    assert float(apart[:, 4:].mean().abs()) < 0.02 and float(apart[:, 12:].abs().max()) < 0.7
    assert float((ring_correlation(a, -a) + 1)[:, 1:].abs().max()) < 1e-9


@pytest.mark.parametrize("cut", [0.1, 0.2, 0.3])
def test_agreement_ends_where_the_invented_detail_begins(cut: float) -> None:
    """Both share the frequencies below the cut; above it each has its own."""
    shared, own, other = noise(1, 128, 0), noise(1, 128, 1), noise(1, 128, 2)
    reference = low(shared, cut) + own - low(own, cut)
    invented = low(shared, cut) + other - low(other, cut)
    found = agreement(invented[None], reference[None], patch=32, stride=16)
    assert float(found.median()) == pytest.approx(cut, abs=0.04)
    assert float(agreement(reference[None], reference[None], patch=32).min()) == 0.5


def test_only_patches_inside_are_looked_at() -> None:
    place = torch.arange(64)
    left = (place < 32).expand(64, 64)
    reference = noise(1, 64, 0)[None]
    result = torch.where(left, reference, noise(1, 64, 1)[None])
    assert float(agreement(result, reference, patch=16, stride=16, where=left).min()) == 0.5
    assert float(agreement(result, reference, patch=16, stride=16, where=~left).max()) < 0.3
    assert len(agreement(result, reference, patch=16, stride=16)) == 16


def test_what_does_not_fit_is_refused() -> None:
    x = noise(1, 16, 0)[None]
    with pytest.raises(BadOption, match="patches of 8 to 16"):
        agreement(x, x, patch=24)
    with pytest.raises(BadOption, match="none inside"):
        agreement(x, x, patch=8, where=torch.zeros(16, 16, dtype=torch.bool))
    with pytest.raises(ShapeMismatch):
        agreement(x, x[..., :8])
    with pytest.raises(ShapeMismatch):
        ring_correlation(x[0], x[0, :, :8])
