"""Draws: no interval without a calibration, one that is centred on the mean with it, and a deviation that
borrows from its neighbours.
"""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch

from medprior.errors import Uncalibrated
from medprior.prior.promises import Calibration
from medprior.sampling import Draws, draw_deviation

AT = Calibration(level=0.9, scale=2.0, n=60, error=4.0, patients=9)


def draws(**more) -> Draws:
    values = torch.randn(8, 1, 12, 12, generator=torch.Generator().manual_seed(0))
    return Draws(values, 0, "tiny, proximal", **more)


def test_no_interval_without_a_calibration_and_the_reason_is_said() -> None:
    with pytest.raises(Uncalibrated, match="nothing was calibrated for this prior"):
        draws(refused="nothing was calibrated for this prior").interval(0.9)
    with pytest.raises(Uncalibrated, match=r"calibrated at level 0\.9, asked for 0\.5"):
        draws(calibration=AT).interval(0.5)
    with pytest.raises(Uncalibrated):
        draws().psnr_bound(2.0)
    raw = draws().interval(0.8, uncalibrated=True)
    assert not raw.calibrated and bool((raw.low <= raw.high).all())


def test_an_interval_is_the_mean_and_scaled_deviations() -> None:
    deviation = torch.full((1, 12, 12), 0.1)
    found = draws(deviation=deviation, calibration=AT)
    at = found.interval(0.9)
    assert at.calibrated and at.level == 0.9
    torch.testing.assert_close((at.high + at.low) / 2, found.mean())
    torch.testing.assert_close(at.high - at.low, 2 * 2.0 * deviation)


def test_the_bound_is_the_deviation_in_decibels() -> None:
    """A deviation of 0.1 everywhere and an error of at most 4 times its square, in a range of 2: 10 log10(4 /
    0.04) = 20 dB.
    """
    found = draws(deviation=torch.full((1, 12, 12), 0.1), calibration=AT)
    assert math.isclose(found.psnr_bound(2.0), 20.0, abs_tol=1e-5)


def test_no_bound_is_promised_from_too_few_patients() -> None:
    """The interval of an older calibration stays, with the number of its patients; the bound is refused."""
    few = replace(AT, patients=5)
    assert draws(calibration=few).interval(0.9).calibrated and "60 images of 5 patients" in repr(
        draws(calibration=few)
    )
    with pytest.raises(Uncalibrated, match="needs 9 patients, 4 are missing"):
        draws(calibration=few).psnr_bound(2.0)


def test_the_deviation_of_few_draws_is_steadier_than_their_standard_deviation() -> None:
    """Where the true deviation is the same everywhere, that of 8 draws is right in the mean and scatters by
    less than half as much.
    """
    for shape in ((8, 1, 40, 40), (8, 1, 12, 12, 12)):
        values = 0.3 * torch.randn(shape, generator=torch.Generator().manual_seed(1))
        smooth, raw = draw_deviation(values), values.std(0)
        assert smooth.shape == shape[1:]
        assert 0.29 < float(smooth.square().mean().sqrt()) < 0.31
        assert float(smooth.std()) < 0.5 * float(raw.std())


@pytest.mark.parametrize("shape", [(1, 8, 8, 1), (1, 2, 8, 8)])
def test_the_deviation_of_a_volume_of_one_or_two_slices(shape: tuple[int, ...]) -> None:
    values = torch.randn(16, *shape, generator=torch.Generator().manual_seed(0))
    found = draw_deviation(values)
    assert found.shape == shape and float((found - 1).abs().mean()) < 0.2
