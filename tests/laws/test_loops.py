"""The laws of a loop: it keeps the prior's law, says where it diverged, and takes only what it was made
for.
"""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from medprior.errors import BadOption, Diverged
from medprior.operators import Gaussian, Measurement, identity
from medprior.prior import Condition, Denoiser, Redraw
from medprior.prior.gaussian import GaussianPrior
from medprior.sampling import (
    anneal,
    flow,
    initial_image,
    log_levels,
    matched_draw,
    plug_and_play,
    proximal,
    sample,
    sdedit,
)
from medprior.sampling.response import ring_response
from medprior.sampling.rules import data_fit
from tests.golden.world import OPERATORS, SHAPE, judged, measured, seeded, smooth_prior

N = 8000


def noisy(prior: GaussianPrior, sigma: float, n: int = N, seed: int = 3) -> Tensor:
    return prior.draw(n, seeded(seed)) + sigma * torch.randn(
        (n, *SHAPE), generator=seeded(seed + 1), dtype=torch.float64
    )


@pytest.mark.parametrize("churn", [0.0, 0.2])
def test_flow_keeps_the_priors_law(churn: float) -> None:
    """From draws at the right level, with fresh noise on the way or without."""
    prior = smooth_prior()
    draws = flow(prior, noisy(prior, 5.0), log_levels(30, low=0.005, high=5.0), churn=churn, rng=seeded(0))
    found = judged(draws, prior.mean, prior.covariance, prior)
    assert found.mean < 0.05 and 0.9 < found.ratios.min() and found.ratios.max() < 1.1, str(found)


@pytest.mark.parametrize("sigma", [0.3, 1.0, 3.0])
def test_revisit_keeps_the_priors_law_and_leaves_the_source_as_sigma_grows(sigma: float) -> None:
    """Sigma is the knob of strength: the law stays (8 000 draws of 24 voxels have a floor of 0.03), the
    likeness to the source falls as it must.
    """
    prior = smooth_prior()
    source = prior.draw(N, seeded(3))
    found = sdedit(prior, source, sigma, rng=seeded(4), n_steps=16)
    verdict = judged(found, prior.mean, prior.covariance, prior)
    assert verdict.covariance < 0.06 and verdict.mean < 0.03, str(verdict)
    away = [(x.flatten(1) - prior.mean) for x in (source, found)]
    likeness = float((away[0] * away[1]).sum() / (away[0].norm() * away[1].norm()))
    kept = prior.values * torch.sqrt(prior.values / (prior.values + sigma**2))
    assert likeness == pytest.approx(float(kept.sum() / prior.values.sum()), abs=0.03)


def test_the_same_seed_gives_the_same_draw() -> None:
    prior = smooth_prior()
    _, measurement = measured(prior, OPERATORS["mask"], 0.1)

    def once(seed: int) -> Tensor:
        rng = seeded(seed)
        guide, sigmas = proximal(prior, measurement, rng), log_levels(5)
        return anneal(guide, initial_image(guide, (2, *SHAPE), sigmas[0], rng=rng), sigmas, rng=rng)

    assert torch.equal(once(1), once(1)) and not torch.equal(once(1), once(2))


def test_each_image_of_a_batch_is_drawn_alone() -> None:
    """No image of a batch knows of another: the first of two is the first of one, where no fresh noise is in
    it.
    """
    prior = smooth_prior()
    x, sigmas = noisy(prior, 5.0, 2), log_levels(8, high=5.0)
    assert float((flow(prior, x, sigmas)[:1] - flow(prior, x[:1], sigmas)).abs().max()) < 1e-12


class Breaks(Denoiser):
    """NaN in one voxel of one image below a level."""

    def __init__(self, below: float) -> None:
        self.below = below

    def __call__(self, x: Tensor, sigma: Tensor, condition: Condition | None = None) -> Tensor:
        out = 0.9 * x
        if float(sigma.max()) < self.below:
            out[-1, 0, 0, 0] = torch.nan
        return out

    def error(self, sigma: Tensor) -> Tensor:
        return sigma**2 / (1 + sigma**2)


class BreaksDraw(Redraw):
    def __call__(self, x: Tensor, sigma: Tensor, condition: Condition | None = None) -> Tensor:
        return Breaks(1.0)(x, sigma, condition)


def test_divergence_names_the_step_and_the_level() -> None:
    """NaN never becomes a picture: the loop stops at the step that made it."""
    sigmas = log_levels(10, low=0.01, high=10.0)
    first = int((sigmas < 1.0).nonzero()[0])
    x = torch.ones(3, *SHAPE, dtype=torch.float64)
    measurement = Measurement(torch.zeros(1, *SHAPE, dtype=torch.float64), identity(SHAPE), Gaussian(0.1))
    falling = log_levels(10, low=0.01, high=10.0)[:-1]
    journeys = {
        "anneal": (lambda: anneal(BreaksDraw(), x, sigmas, rng=seeded(0)), first),
        "flow": (
            lambda: flow(Breaks(float(sigmas[first - 1])), x, sigmas),
            first - 1,
        ),  # midpoint looks half a step ahead
        "restore": (lambda: plug_and_play(Breaks(1.0), measurement, x, sigmas=falling), first),
        "start": (lambda: initial_image(Breaks(1.0), (3, *SHAPE), torch.tensor(0.5), rng=seeded(0)), 0),
    }
    for name, (journey, step) in journeys.items():
        with pytest.raises(Diverged) as caught:
            journey()
        assert caught.value.step == step, name
        assert f"step {step}" in str(caught.value) and "sigma" in str(caught.value)


def test_a_loop_refuses_what_belongs_to_the_other() -> None:
    """A mean in the redraw's loop would be overconfident without a word."""
    prior = smooth_prior()
    _, measurement = measured(prior, OPERATORS["mask"], 0.1)
    x, sigmas = torch.zeros(1, *SHAPE, dtype=torch.float64), log_levels(3)
    with pytest.raises(BadOption, match="wanted a draw"):
        anneal(prior, x, sigmas, rng=seeded(0))  # type: ignore[arg-type]
    with pytest.raises(BadOption, match="wanted a mean"):
        flow(proximal(prior, measurement, seeded(0)), x, sigmas)  # type: ignore[arg-type]


def test_follow_takes_the_loop_that_belongs() -> None:
    prior = smooth_prior()
    _, measurement = measured(prior, OPERATORS["mask"], 0.1)
    x, sigmas = 20 * torch.randn((2, *SHAPE), generator=seeded(1), dtype=torch.float64), log_levels(4)
    assert torch.equal(sample(prior, x, sigmas, rng=seeded(0)), flow(prior, x, sigmas))
    drawn = [
        loop(matched_draw(prior, measurement, seeded(2)), x, sigmas, rng=seeded(0))
        for loop in (sample, anneal)
    ]
    assert torch.equal(*drawn)


@pytest.mark.parametrize("churn, rng", [(0.1, None), (-0.1, seeded(0))])
def test_churn_wants_a_generator_and_a_share(churn: float, rng: torch.Generator | None) -> None:
    with pytest.raises(BadOption, match="churn"):
        flow(smooth_prior(), torch.zeros(1, *SHAPE, dtype=torch.float64), log_levels(3), churn=churn, rng=rng)


def test_progress_counts_every_step() -> None:
    seen: list[tuple[int, int]] = []
    flow(
        smooth_prior(),
        torch.zeros(1, *SHAPE, dtype=torch.float64),
        log_levels(4),
        on_step=lambda done, of: seen.append((done, of)),
    )
    assert seen == [(1, 4), (2, 4), (3, 4), (4, 4)]


def test_restore_is_a_point_estimate_near_the_posterior_mean() -> None:
    """Six evaluations, no spread: nearer to the truth than the measurement, not further from it than the
    exact mean by half.
    """
    prior = smooth_prior()
    truth, measurement = measured(prior, OPERATORS["denoise"], 0.3, n=200)
    found = plug_and_play(prior, measurement, measurement.y)
    covariance = torch.linalg.inv(
        torch.linalg.inv(prior.covariance) + torch.eye(prior.covariance.shape[0], dtype=torch.float64) / 0.09
    )
    best = float(covariance.trace() / prior.covariance.shape[0]) ** 0.5
    error = float((found - truth).square().mean().sqrt())
    assert error < 0.3 and error < 1.5 * best, (error, best)


@pytest.mark.parametrize("name", ["mask", "dense"])
def test_six_rounds_with_momentum_go_farther_than_eight_without(name: str) -> None:
    prior = smooth_prior()
    truth, measurement = measured(prior, OPERATORS[name], 0.1, n=50)
    start_at = measurement.operator.adjoint(measurement.y)
    six, eight = (
        plug_and_play(prior, measurement, start_at, sigmas=log_levels(n, low=0.05, high=1.0)[:-1], momentum=m)
        for n, m in ((6, 0.4), (8, 0.0))
    )
    assert float((six - truth).square().mean()) < 0.98 * float((eight - truth).square().mean())


@pytest.mark.parametrize("name", ["mask", "dense", "mri"])
def test_joined_with_the_data_the_last_word_fits_them_better(name: str) -> None:
    prior = smooth_prior()
    _, measurement = measured(prior, OPERATORS[name], 0.1, n=50)
    start_at = measurement.operator.adjoint(measurement.y)
    joined, alone = (
        float(measurement.misfit(plug_and_play(prior, measurement, start_at, join=join)).mean())
        for join in (True, False)
    )
    assert joined < 0.96 * alone


def test_restore_without_momentum_and_join_is_dpir() -> None:
    prior = smooth_prior()
    _, measurement = measured(prior, OPERATORS["mask"], 0.1, n=3)
    x = measurement.operator.adjoint(measurement.y)
    sigmas = log_levels(5, low=0.05, high=1.0)[:-1]
    found = plug_and_play(prior, measurement, x, sigmas=sigmas, momentum=0.0, join=False)
    for sigma in sigmas:
        x = prior(
            data_fit(measurement, x, float(sigma) ** 2 / 0.23, answers=ring_response(measurement)),
            sigma.expand(len(x)),
        )
    assert torch.allclose(found, x)
