"""Metrics against closed forms and independent libraries; intervals against their promised coverage."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy import linalg

from medprior.errors import BadOption, ShapeMismatch
from medprior.evidence.metrics import auroc, average_precision, frechet_distance, prdc, psnr, ssim


def draw(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def test_psnr_of_a_known_error() -> None:
    """An error of 0.1 everywhere on a range of 2 is 26.02 dB; each image alone."""
    reference = torch.full((2, 1, 8, 8), 0.5)
    x = reference + torch.tensor([0.1, 0.0]).reshape(2, 1, 1, 1)
    assert psnr(x, reference, 2.0).tolist() == pytest.approx([20 * math.log10(20), math.inf], abs=1e-4)


def test_ssim_closed_forms() -> None:
    """1 for equal images; (2ab + c1) / (a^2 + b^2 + c1) for constants; 2-D and 3-D; the data range scales
    along.
    """
    x = draw(2, 1, 16, 16)
    assert ssim(x, x, 4.0).tolist() == pytest.approx([1, 1])
    a, b = torch.full((1, 1, 12, 12, 12), 0.2), torch.full((1, 1, 12, 12, 12), 0.6)
    assert float(ssim(a, b, 1.0)) == pytest.approx((2 * 0.12 + 1e-4) / (0.04 + 0.36 + 1e-4), rel=1e-5)
    y = x + 0.3 * draw(2, 1, 16, 16, seed=1)
    assert torch.allclose(ssim(x, y, 4.0), ssim(1000 * x, 1000 * y, 4000.0), atol=1e-5)
    assert bool((ssim(x, y, 4.0) < 0.99).all())


def test_metrics_refuse_what_cannot_be_compared() -> None:
    with pytest.raises(ShapeMismatch):
        psnr(draw(1, 1, 8, 8), draw(1, 1, 8, 9), 1.0)
    with pytest.raises(BadOption, match="data range"):
        psnr(draw(1, 1, 8, 8), draw(1, 1, 8, 8), 0.0)
    with pytest.raises(BadOption, match="3 voxels"):
        ssim(draw(1, 1, 8, 2), draw(1, 1, 8, 2), 1.0)


def test_ssim_of_a_thin_volume_is_the_mean_over_its_slices() -> None:
    """However it lies; a small image is compared within a smaller window."""
    x, y = draw(2, 1, 16, 3, 14), draw(2, 1, 16, 3, 14, seed=1)
    wanted = torch.stack([ssim(x[..., k, :], y[..., k, :], 4.0) for k in range(3)]).mean(0)
    assert ssim(x, y, 4.0).tolist() == pytest.approx(wanted.tolist())
    a, b = torch.full((1, 1, 5, 9), 0.2), torch.full((1, 1, 5, 9), 0.6)
    assert float(ssim(a, b, 1.0)) == pytest.approx((2 * 0.12 + 1e-4) / (0.04 + 0.36 + 1e-4), rel=1e-5)


def test_frechet_distance_against_the_matrix_square_root() -> None:
    """Equal to the definition with scipy's sqrtm, zero for a set and itself, |shift|^2 for a shifted one."""
    a, b = draw(200, 5), draw(300, 5, seed=1) @ torch.diag(torch.tensor([1.0, 2.0, 0.5, 1.0, 3.0])) + 0.3
    A, B = np.cov(a.numpy().T), np.cov(b.numpy().T)
    exact = ((a.mean(0) - b.mean(0)) ** 2).sum().item() + np.trace(A + B - 2 * np.real(linalg.sqrtm(A @ B)))
    assert frechet_distance(a, b) == pytest.approx(exact, rel=1e-4)
    assert frechet_distance(a, a) == pytest.approx(0, abs=1e-9)
    assert frechet_distance(a, a + 2.0) == pytest.approx(5 * 4.0, rel=1e-5)


def test_prdc_tells_good_from_copied_modes_and_noise() -> None:
    """Same law: all near 1. One mode of two: precision stays, recall and coverage fall. Far away: all 0."""
    real = torch.cat([draw(150, 4), draw(150, 4, seed=1) + 20])
    same = torch.cat([draw(150, 4, seed=2), draw(150, 4, seed=3) + 20])
    good, half, far = prdc(real, same), prdc(real, draw(300, 4, seed=4)), prdc(real, same + 1000)
    assert min(good.precision, good.recall, good.density, good.coverage) > 0.85
    assert half.precision > 0.85 and half.recall < 0.55 and half.coverage < 0.55
    assert (far.precision, far.recall, far.density, far.coverage) == (0, 0, 0, 0)
    with pytest.raises(BadOption, match="features"):
        prdc(real[:5], same)


def test_auroc_counts_pairs() -> None:
    """Share of (positive, negative) pairs in the right order, ties half: counted by hand and by brute
    force.
    """
    assert auroc([0.1, 0.4, 0.35, 0.8], [0, 0, 1, 1]) == 0.75
    rng = np.random.default_rng(0)
    s, y = rng.integers(0, 6, 80), rng.integers(0, 2, 80)
    pairs = s[y == 1][:, None] - s[y == 0]
    assert auroc(s, y) == pytest.approx(((pairs > 0) + 0.5 * (pairs == 0)).mean())


def test_average_precision_by_hand() -> None:
    """Ranks 1 and 3 of four: (1/1 + 2/3) / 2; all scores equal: the share of positives; order of the input
    does not matter.
    """
    assert average_precision([0.9, 0.8, 0.7, 0.6], [1, 0, 1, 0]) == pytest.approx((1 + 2 / 3) / 2)
    assert average_precision([1, 1, 1, 1], [1, 0, 0, 0]) == pytest.approx(0.25)
    assert average_precision([1, 1, 0], [0, 1, 1]) == average_precision([1, 1, 0], [1, 0, 1])


def test_scores_need_both_classes_and_finite_numbers() -> None:
    for metric in (auroc, average_precision):
        with pytest.raises(BadOption, match="both classes"):
            metric([0.1, 0.2], [1, 1])
        with pytest.raises(BadOption, match="finite"):
            metric([0.1, float("nan")], [0, 1])
