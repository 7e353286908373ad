"""The interval of one width for all voxels, the trivial rival of a calibrated interval."""

from __future__ import annotations

import pytest
import torch

from medprior.evidence.calibration import SCALES
from medprior.jobs.calibrate import CaseResiduals, narrower_than_one_width, residuals_of
from medprior.operators import Gaussian, mask, simulate
from medprior.sampling import Draws

SHAPE = (1, 64, 64)
SPREAD = torch.where(torch.arange(64) < 32, 0.02, 0.2).expand(SHAPE)
"""What the errors of the left half and of the right half are."""


def case(seed: int, deviation: torch.Tensor) -> CaseResiduals:
    rng = torch.Generator().manual_seed(seed)
    truth = torch.zeros(1, *SHAPE)
    measured = simulate(truth, mask(SHAPE, torch.ones(SHAPE[1:], dtype=torch.bool)), Gaussian(0.1), rng)
    values = truth + SPREAD * torch.randn(1, *SHAPE, generator=rng)
    return residuals_of(Draws(values, 0, "a test", deviation=deviation), truth, measured, (-1.0, 1.0), "p")


def test_widths_that_follow_the_errors_are_narrower_than_one_width() -> None:
    """The trivial interval needs q with (P(|0.02 n| < q) + P(|0.2 n| < q)) / 2 = 0.9: 0.256; ours needs 1.645
    deviations, 0.181 on average.
    """
    share = narrower_than_one_width([case(seed, SPREAD) for seed in range(4)], 0.9)
    assert share == pytest.approx(1 - 1.645 * 0.11 / 0.256, abs=0.03)


@pytest.mark.parametrize(("deviation", "wanted"), [(torch.full(SHAPE, 0.11), 0.0), (0.22 - SPREAD, -4.0)])
def test_widths_that_say_nothing_gain_nothing_and_wrong_ones_lose(
    deviation: torch.Tensor, wanted: float
) -> None:
    """The last are wide where the errors are small: 0.02 must do for errors of 0.2."""
    share = narrower_than_one_width([case(seed, deviation) for seed in range(4)], 0.9)
    assert share is not None and (abs(share) < 0.03 if wanted == 0 else share < wanted)


def test_cases_of_an_older_run_have_no_trivial_interval() -> None:
    one = case(0, SPREAD)
    old = CaseResiduals(one.curve, one.ratio, one.width, one.psnr_db, one.kind, one.patient)
    assert narrower_than_one_width([one, old], 0.9) is None and len(one.plain_curve) == len(SCALES)
