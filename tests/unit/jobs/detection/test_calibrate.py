"""Healthy scans are learned before any are held against them, and p-values are those of patients."""

from __future__ import annotations

import pytest
import torch

from medprior.errors import Uncalibrated
from medprior.jobs.detection.calibrate import calibrate_detection, conformal_score, learn_healthy
from medprior.prior.promises import Promises
from tests.unit.jobs.exact import Exact, healthy


def test_healthy_scans_are_learned_before_any_are_held_against_them() -> None:
    with pytest.raises(Uncalibrated, match="shown no healthy scans"):
        calibrate_detection(Exact(), healthy(4, 1))
    with pytest.raises(Uncalibrated, match="7 healthy scans are too few"):
        learn_healthy(Exact(), healthy(7, 1), n_variants=0)


def test_what_is_learned_anew_forgets_its_calibration() -> None:
    prior = Exact()
    learn_healthy(prior, healthy(8, 11), n_variants=0)
    prior.promises = Promises(detect=calibrate_detection(prior, healthy(4, 1)))
    learn_healthy(prior, healthy(9, 12), n_variants=0)
    assert prior.promises.detect is None


def test_p_values_are_valid_whatever_the_profiles() -> None:
    """Full conformal: of healthy patients like the calibration's, at most a share alpha (and not far fewer)
    has p <= alpha.
    """
    rng = torch.Generator().manual_seed(0)
    shape = torch.randn((6, 6), generator=rng)
    p = torch.tensor(
        [
            conformal_score(
                (torch.randn(6, generator=rng) ** 3) @ shape,
                (torch.randn((24, 6), generator=rng) ** 3) @ shape,
            )[1]
            for _ in range(2000)
        ]
    )
    for alpha in (0.04, 0.2, 0.52):
        assert (
            abs(float((p <= alpha + 1e-9).float().mean()) - alpha) < 4 * (alpha * (1 - alpha) / 2000) ** 0.5
        )


def test_an_odd_profile_is_odd_in_every_direction() -> None:
    """The rank of a patient far away is the last one, and the score grows with the distance."""
    rng = torch.Generator().manual_seed(1)
    known = torch.randn((30, 6), generator=rng)
    near, far = conformal_score(torch.full((6,), 4.0), known), conformal_score(torch.full((6,), 8.0), known)
    assert near[1] == far[1] == pytest.approx(1 / 31)
    assert far[0] > near[0]
