"""The first test is the truth: draws of every rule against the posterior of a Gaussian prior, which is known
in closed form.
"""

from __future__ import annotations

import pytest
import torch
from scipy import stats
from torch import Tensor

from medprior.operators import Measurement
from medprior.prior import Condition, Denoiser, Redraw
from medprior.prior.gaussian import GaussianPrior
from medprior.sampling import (
    RULES,
    decoupled,
    flow,
    initial_image,
    karras_levels,
    log_levels,
    moment_matching,
    sample,
)
from medprior.sampling.catalogue import DECLARED, Declared
from tests.golden.world import (
    OPERATORS,
    SHAPE,
    Verdict,
    exact,
    judged,
    measured,
    seeded,
    smooth_prior,
    white_prior,
)

N = 4000
"""Draws a test: the ratio of a variance is known to 2.2 %, the largest of 24 to about 6 %."""

STDS = {"quiet": 0.05, "loud": 0.3}


def drawn(
    rule: str, prior: GaussianPrior, measurement: Measurement, sigmas: Tensor, n: int = N, seed: int = 9
) -> Tensor:
    rng = seeded(seed)
    guide = RULES[rule](prior, measurement, rng)
    return sample(guide, initial_image(guide, (n, *SHAPE), sigmas[0], rng=rng), sigmas, rng=rng)


def verdict(
    rule: str, prior: GaussianPrior, operator: str, std: float, sigmas: Tensor, n: int = N
) -> Verdict:
    _, measurement = measured(prior, OPERATORS[operator], std)
    return judged(drawn(rule, prior, measurement, sigmas, n), *exact(prior, measurement), prior)


def assert_exact(found: Verdict) -> None:
    """The project's bar for a rule that claims exactness."""
    assert found.mean < 0.05, str(found)
    assert 0.9 < found.ratios.min() and found.ratios.max() < 1.1, str(found)


@pytest.mark.parametrize("std", STDS.values(), ids=STDS)
@pytest.mark.parametrize("operator", OPERATORS)
def test_matched_draw_is_exact_from_six_levels_on(operator: str, std: float) -> None:
    """A redraw with the true covariance needs no fine levels: re-noising is exact."""
    assert_exact(verdict("matched_draw", smooth_prior(), operator, std, log_levels(6, low=0.005)))


@pytest.mark.parametrize(
    "operator, std", [(o, s) for o in OPERATORS for s in STDS.values() if (o, s) != ("mri", 0.05)]
)
def test_moment_matching_is_exact_with_enough_levels(operator: str, std: float) -> None:
    """The conditional mean drives an ODE whose end has the posterior's law; 30 midpoint steps are enough.
    (MRI in little noise takes long.)
    """
    assert_exact(
        verdict(
            "moment_matching",
            smooth_prior(),
            operator,
            std,
            log_levels(30, low=0.005),
            N if operator != "mri" else 2500,
        )
    )


@pytest.mark.parametrize("std", STDS.values(), ids=STDS)
@pytest.mark.parametrize("operator", OPERATORS)
def test_proximal_is_exact_for_a_white_prior(operator: str, std: float) -> None:
    """Where p(x0 | x) really is N(D, r2 I) the perturbed minimiser is a draw of it, and 12 iterations of CG
    reach it.
    """
    assert_exact(verdict("proximal", white_prior(), operator, std, log_levels(10, low=0.005)))


@pytest.mark.parametrize("std", STDS.values(), ids=STDS)
@pytest.mark.parametrize("operator", [name for name in OPERATORS if name != "mri"])
def test_pseudoinverse_guidance_is_exact_for_a_white_prior(operator: str, std: float) -> None:
    """There sigma^2 J is r^2 I, and the rule's mean is the conditional one."""
    assert_exact(
        verdict("pseudoinverse_guidance", white_prior(), operator, std, log_levels(30, low=0.005), 3000)
    )


APPROXIMATE = ("decoupled", "posterior_sampling", "proximal", "pseudoinverse_guidance")
"""Of rules; the others claim exactness for every Gaussian prior."""


def test_the_declaration_names_every_approximation_and_operator() -> None:
    assert {(row.rule, row.operator) for row in DECLARED} == {
        (rule, operator) for rule in APPROXIMATE for operator in OPERATORS
    }
    assert set(RULES) == {*APPROXIMATE, "matched_draw", "moment_matching"}


@pytest.mark.parametrize("row", DECLARED, ids=lambda r: f"{r.rule}-{r.operator}-{r.std:g}-{r.levels}")
def test_a_rule_gives_the_spread_that_it_declares(row: Declared) -> None:
    """An approximation says how far it is off: neighbours that agree are not the white covariance that these
    rules assume.
    """
    n = N if row.rule == "proximal" and row.operator != "mri" else 1500
    sigmas = karras_levels(row.levels, low=0.01, high=5.0)
    found = verdict(row.rule, smooth_prior(), row.operator, row.std, sigmas, n)
    assert found.mean == pytest.approx(row.mean, abs=0.03), str(found)
    assert found.spread == pytest.approx(row.spread, abs=0.05), str(found)


@pytest.mark.parametrize("operator", ["mask", "downsample", "mri"])
def test_decoupled_has_the_posteriors_law_for_a_white_prior(operator: str) -> None:
    """Mean and total variance; single directions keep up to a fifth too much or too little, since a chain of
    20 steps is short.
    """
    found = verdict("decoupled", white_prior(), operator, 0.05, karras_levels(10, low=0.01, high=5.0), 1500)
    assert found.mean < 0.05 and found.spread == pytest.approx(1, abs=0.08), str(found)
    assert 0.8 < found.ratios.min() and found.ratios.max() < 1.25, str(found)


def test_a_flow_to_the_guess_spreads_the_draws_twice() -> None:
    """Why the guess is the mean and not the end of a flow, as published: that end has the spread of x0
    already.
    """
    _, measurement = measured(smooth_prior(), OPERATORS["mask"], 0.3)
    sigmas, found = karras_levels(20, low=0.01, high=5.0), {}
    for n_flow in (1, 5):
        rng = seeded(9)
        guide = decoupled(smooth_prior(), measurement, rng, n_flow=n_flow)
        draws = sample(guide, initial_image(guide, (800, *SHAPE), sigmas[0], rng=rng), sigmas, rng=rng)
        found[n_flow] = judged(draws, *exact(smooth_prior(), measurement), smooth_prior()).spread
    assert found[1] < 1.25 and found[5] > 1.4, found


def test_proximal_approaches_the_truth_with_more_levels() -> None:
    """Its error is one of too few levels, not of the limit: the mean's falls at least twofold from 10 to 40,
    and again to 160.
    """
    errors = [
        verdict("proximal", smooth_prior(), "mask", 0.05, karras_levels(n, low=0.01, high=5.0), 2000).mean
        for n in (10, 40, 160)
    ]
    assert errors[1] < errors[0] / 2 and errors[2] < errors[1] / 2, errors


class Overconfident(Redraw):
    """A mean in the place of a draw: the mistake that two types prevent."""

    def __init__(self, mean: Denoiser) -> None:
        self.mean = mean

    def __call__(self, x: Tensor, sigma: Tensor, condition: Condition | None = None) -> Tensor:
        return self.mean(x, sigma, condition)


def test_the_judge_sees_an_overconfident_sampler() -> None:
    """A mean fed to the redraw's loop is right on average and far too sure: the bar must fail it, or the bar
    is worth nothing.
    """
    prior = smooth_prior()
    _, measurement = measured(prior, OPERATORS["dense"], 0.3)
    sigmas, rng = log_levels(20, low=0.005), seeded(9)
    guide = Overconfident(moment_matching(prior, measurement))
    found = judged(
        sample(guide, initial_image(guide, (N, *SHAPE), sigmas[0], rng=rng), sigmas, rng=rng),
        *exact(prior, measurement),
        prior,
    )
    assert found.spread < 0.7, str(found)


RANKED = {
    "proximal": (white_prior(), log_levels(10, low=0.005)),
    "matched_draw": (smooth_prior(), log_levels(6, low=0.005)),
    "moment_matching": (smooth_prior(), log_levels(30, low=0.005)),
}


def p_of_ranks(truth: Tensor, draws: Tensor, directions: Tensor) -> list[float]:
    """truth (n, d), draws (n, L, d): p of uniform ranks along each direction (simulation-based calibration,
    Talts et al. 2018).
    """
    below = ((draws @ directions) < (truth @ directions)[:, None]).sum(1)
    counts = [torch.bincount(column, minlength=draws.shape[1] + 1).numpy() for column in below.T]
    return [float(stats.chisquare(c).pvalue) for c in counts]


@pytest.mark.parametrize("rule", RANKED)
def test_ranks_of_the_truth_are_uniform(rule: str) -> None:
    """600 patients, each with a measurement and 15 draws: the truth's rank among them is anything from 0 to
    15, in each of six directions.
    """
    prior, sigmas = RANKED[rule]
    n, each = 600, 15
    truth, measurement = measured(prior, OPERATORS["mask"], 0.3, n=n)
    repeated = Measurement(measurement.y.repeat_interleave(each, 0), measurement.operator, measurement.noise)
    draws = drawn(rule, prior, repeated, sigmas, n * each).double().reshape(n, each, -1)
    directions = torch.cat(
        [
            prior.vectors[:, [0, -1]],
            torch.randn((draws.shape[-1], 4), generator=seeded(1), dtype=torch.float64),
        ],
        dim=1,
    )
    lowest = min(p_of_ranks(truth.flatten(1), draws, directions))
    assert lowest > 0.01 / directions.shape[1], lowest


def test_the_rank_test_sees_a_spread_that_is_15_percent_off() -> None:
    truth, draws = torch.randn((600, 4), generator=seeded(0)), torch.randn((600, 15, 4), generator=seeded(1))
    assert min(p_of_ranks(truth, draws, torch.eye(4))) > 0.01 / 4
    assert min(p_of_ranks(truth, 0.85 * draws, torch.eye(4))) < 0.01 / 4


def test_flow_without_a_measurement_keeps_the_priors_law() -> None:
    """20 midpoint steps from noise: mean within 5 %, variances within 10 %."""
    prior, rng, sigmas = smooth_prior(), seeded(9), log_levels(20, low=0.005)
    draws = flow(prior, initial_image(prior, (20000, *SHAPE), sigmas[0], rng=rng), sigmas)
    assert_exact(judged(draws, prior.mean, prior.covariance, prior))


def test_images_are_as_bright_as_the_prior_says() -> None:
    """Many voxels tell a mean apart that one cannot: from pure noise images come out too bright, from
    ``initial_image`` they do not.
    """
    size = 16 * 16
    mean = torch.full((size,), -0.5, dtype=torch.float64)
    prior = GaussianPrior(mean, 0.01 * torch.eye(size, dtype=torch.float64) + 0.1**2, (1, 16, 16))
    sigmas, n = log_levels(12, low=0.01, high=5.0), 400
    noise = sigmas[0] * torch.randn((n, 1, 16, 16), generator=seeded(3), dtype=torch.float64)
    naive, ours = (
        flow(prior, noise, sigmas),
        flow(prior, initial_image(prior, (n, 1, 16, 16), sigmas[0], rng=seeded(3)), sigmas),
    )
    assert float(naive.mean()) > -0.4
    assert float(ours.mean()) == pytest.approx(-0.5, abs=0.02)
