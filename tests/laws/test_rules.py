"""The laws of a rule, on every rule: it fits what was measured, leaves alone what was not, follows precision,
and refuses silence about noise.
"""

from __future__ import annotations

from typing import get_args

import pytest
import torch
from torch import Tensor

from medprior.errors import BadOption, UnknownNoise
from medprior.operators import Gaussian, Measurement, Operator, Unknown, identity, mask
from medprior.prior import Condition, Denoiser, Redraw
from medprior.runs.ask.requests import Reconstruct
from medprior.sampling import PASSES, RULES, log_levels, matched_draw, moment_matching, sample
from medprior.sampling.krylov import root_times
from medprior.sampling.rules import data_fit
from tests.golden.world import (
    OPERATORS,
    SHAPE,
    SIZE,
    exact,
    measured,
    real_matrix,
    seeded,
    smooth_prior,
    white_prior,
)


def level(sigma: float, n: int) -> Tensor:
    return torch.full((n,), sigma, dtype=torch.float64)


EXACT = {
    "matched_draw": smooth_prior,
    "moment_matching": smooth_prior,
    "proximal": white_prior,
    "pseudoinverse_guidance": white_prior,
}
"""The prior for which a rule's one call is exact. (``decoupled`` is so in the limit of its chain,
``posterior_sampling`` never: tests/golden.)
"""


def test_the_command_line_offers_every_rule() -> None:
    assert set(get_args(Reconstruct.model_fields["rule"].annotation)) == set(RULES)


class Counted(Denoiser):
    """Counts passes forward and, twofold, back."""

    def __init__(self, denoiser: Denoiser) -> None:
        self.denoiser, self.passes = denoiser, 0

    def _back(self, _: Tensor) -> None:
        self.passes += 2

    def __call__(self, x: Tensor, sigma: Tensor, condition: Condition | None = None) -> Tensor:
        self.passes += 1
        out = self.denoiser(x, sigma, condition)
        if out.requires_grad:
            out.register_hook(self._back)
        return out

    def moments(self, x: Tensor, sigma: Tensor, condition: Condition | None = None) -> tuple[Tensor, Tensor]:
        self.passes += 1
        return self.denoiser.moments(x, sigma, condition)

    def error(self, sigma: Tensor) -> Tensor:
        return self.denoiser.error(sigma)

    def spectrum(self, sigma: Tensor, size: tuple[int, ...]) -> Tensor:
        return self.denoiser.spectrum(sigma, size)


@pytest.mark.parametrize("rule", sorted(RULES))
def test_a_rule_costs_the_passes_that_are_said(rule: str) -> None:
    """At the worst: conjugate gradients and roots may be done before; what has none of them costs just so
    much.
    """
    prior = smooth_prior()
    _, measurement = measured(prior, OPERATORS["mask"], 0.1)
    counted = Counted(prior)
    guide = RULES[rule](counted, measurement, seeded(1))
    counted.passes = 0
    sample(
        guide,
        torch.randn((2, *SHAPE), generator=seeded(0), dtype=torch.float64),
        log_levels(4, low=0.1, high=1.0),
        rng=seeded(2),
    )
    assert counted.passes <= 4 * PASSES[rule]
    if PASSES[rule] < 10:
        # the last of midpoint's steps is a single one
        assert counted.passes > 3 * PASSES[rule]


def test_every_rule_says_what_it_costs() -> None:
    assert set(PASSES) == set(RULES)


@pytest.mark.parametrize("rule", EXACT)
@pytest.mark.parametrize("operator", OPERATORS)
def test_one_call_is_the_posterior_given_x_and_y(rule: str, operator: str) -> None:
    """x is one more measurement of x0, with noise sigma: mean (and, of a redraw, covariance) of a call are
    those of both together.
    """
    prior = EXACT[rule]()
    truth, measurement = measured(prior, OPERATORS[operator], 0.1)
    sigma, n = 0.4, 6000
    x = truth + sigma * torch.randn(truth.shape, generator=seeded(0), dtype=torch.float64)
    mean, covariance = exact(prior, measurement)
    both = torch.linalg.inv(torch.linalg.inv(covariance) + torch.eye(SIZE, dtype=torch.float64) / sigma**2)
    wanted = both @ (torch.linalg.solve(covariance, mean) + x[0].flatten() / sigma**2)
    guide = RULES[rule](prior, measurement, seeded(1))
    if not isinstance(guide, Redraw):
        assert float((guide(x, level(sigma, 1))[0].flatten() - wanted).abs().max()) < 2e-3
        return
    draws = guide(x.expand(n, *SHAPE), level(sigma, n)).flatten(1)
    values, vectors = torch.linalg.eigh(both)
    away = (draws - wanted) @ vectors / values.sqrt()
    assert float(away.mean(0).abs().max()) < 0.06
    assert 0.92 < float(away.var(0).min()) and float(away.var(0).max()) < 1.08


@pytest.mark.parametrize("rule", sorted(RULES))
def test_precision_in_is_precision_out(rule: str) -> None:
    for dtype in (torch.float32, torch.float64):
        operator = identity(SHAPE)
        measurement = Measurement(torch.zeros((1, *SHAPE), dtype=dtype), operator, Gaussian(0.1))
        out = RULES[rule](Wiener(), measurement, seeded(0))(
            torch.ones((2, *SHAPE), dtype=dtype), torch.ones(2, dtype=dtype)
        )
        assert out.dtype == dtype and not out.requires_grad


class Wiener(Denoiser):
    """White prior of variance 1, in any precision."""

    def __call__(self, x: Tensor, sigma: Tensor, condition: Condition | None = None) -> Tensor:
        return x / (1 + sigma.reshape(-1, *[1] * (x.ndim - 1)) ** 2)

    def error(self, sigma: Tensor) -> Tensor:
        return sigma**2 / (1 + sigma**2)


@pytest.mark.parametrize("rule", sorted(RULES))
def test_rules_work_where_gradients_are_off(rule: str) -> None:
    """The jobs sample under no_grad; a rule that needs a Jacobian turns it on for itself alone."""
    measurement = Measurement(torch.zeros(1, *SHAPE), identity(SHAPE), Gaussian(0.1))
    with torch.no_grad():
        out = RULES[rule](Wiener(), measurement, seeded(0))(torch.ones(2, *SHAPE), torch.ones(2))
    assert not out.requires_grad and bool(out.isfinite().all())


@pytest.mark.parametrize("rule", sorted(RULES))
def test_what_was_not_measured_is_left_to_the_prior(rule: str) -> None:
    """Pixels that agree with nobody (a white prior) and were not measured keep the denoiser's own answer, on
    average.
    """
    prior = white_prior()
    seen = torch.zeros(SHAPE[1:], dtype=torch.bool)
    seen[:3] = True
    measurement = Measurement(
        torch.full((1, *SHAPE), 5.0, dtype=torch.float64) * seen, mask(SHAPE, seen), Gaussian(0.01)
    )
    x = torch.zeros((3000, *SHAPE), dtype=torch.float64)
    out, plain = RULES[rule](prior, measurement, seeded(0))(x, level(0.5, 3000)), prior(x, level(0.5, 3000))
    assert float((out - plain).mean(0)[:, ~seen].abs().max()) < 0.03
    assert float((out.mean(0)[:, seen] - 5).abs().max()) < 0.05


@pytest.mark.parametrize("rule", sorted(RULES))
def test_unknown_noise_is_an_error(rule: str) -> None:
    """Never a silent default."""
    measurement = Measurement(torch.zeros(1, *SHAPE), identity(SHAPE), Unknown())
    with pytest.raises(UnknownNoise):
        RULES[rule](Wiener(), measurement, seeded(0))(torch.ones(1, *SHAPE), torch.ones(1))


@pytest.mark.parametrize("rule", sorted(RULES))
def test_noise_of_each_entry_has_its_own_weight(rule: str) -> None:
    """A quiet pixel is believed, a loud one is not."""
    std = torch.full(SHAPE, 10.0, dtype=torch.float64)
    std[0, 0, 0] = 0.01
    measurement = Measurement(
        torch.full((1, *SHAPE), 3.0, dtype=torch.float64), identity(SHAPE), Gaussian(std)
    )
    out = RULES[rule](Wiener(), measurement, seeded(0))(
        torch.zeros((2000, *SHAPE), dtype=torch.float64), level(1.0, 2000)
    ).mean(0)
    assert float((out[0, 0, 0] - 3).abs()) < 0.05
    assert float(out[0, 1:].abs().max()) < 0.15


def hard_operators() -> dict[str, Operator]:
    return {name: A for name, A in OPERATORS.items() if name != "denoise"}


@pytest.mark.parametrize("operator", hard_operators())
@pytest.mark.parametrize("variance", [1e-4, 0.01, 0.25])
def test_a_fit_is_at_its_minimum(operator: str, variance: float) -> None:
    """``data_fit`` against the normal equations solved exactly, noise 0.02 and the weights of a whole
    journey: the cost is at its minimum within 2 %.
    """
    A = OPERATORS[operator]
    y = measured(smooth_prior(), A, 0.02)[1]
    z = smooth_prior().draw(3, seeded(1))
    matrix = real_matrix(A)
    flat = (torch.view_as_real(y.y) if y.y.is_complex() else y.y).flatten(1)
    normal = matrix.T @ matrix / 0.02**2 + torch.eye(SIZE, dtype=torch.float64) / variance
    best = torch.linalg.solve(normal, (flat @ matrix / 0.02**2 + z.flatten(1) / variance).T).T
    found = data_fit(y, z, variance).flatten(1)

    def cost(x: Tensor) -> Tensor:
        return (x @ matrix.T - flat).square().sum(1) / 0.02**2 + (x - z.flatten(1)).square().sum(1) / variance

    assert float((cost(found) / cost(best)).max()) < 1.02


def test_a_root_is_a_root() -> None:
    """N^(1/2) w, image by image: exact when the space is exhausted, near before, and w itself for the
    identity.
    """
    eigen = torch.linspace(0.0, 2.0, SIZE, dtype=torch.float64)
    turn = torch.linalg.qr(torch.randn((SIZE, SIZE), generator=seeded(0), dtype=torch.float64))[0]
    w = torch.randn((5, *SHAPE), generator=seeded(1), dtype=torch.float64)
    wanted = (w.flatten(1) @ turn * eigen.sqrt()) @ turn.T

    def apply(v: Tensor) -> Tensor:
        return ((v.flatten(1) @ turn * eigen) @ turn.T).reshape(v.shape)

    def gap(n: int) -> float:
        return float((root_times(apply, w, n).flatten(1) - wanted).norm() / wanted.norm())

    assert gap(SIZE) < 1e-6 and gap(8) < 0.05
    assert float((root_times(lambda v: v, w, 8) - w).abs().max()) < 1e-12
    assert float((root_times(lambda v: 0 * v, w, 8)).abs().max()) == 0


def test_noise_of_zero_is_refused_by_name() -> None:
    """A weight of infinity would turn into NaN deep inside."""
    with pytest.raises(BadOption, match="std"):
        Measurement(torch.zeros(1, *SHAPE), identity(SHAPE), Gaussian(0.0))


def test_more_iterations_change_nothing_once_converged() -> None:
    prior = smooth_prior()
    truth, measurement = measured(prior, OPERATORS["dense"], 0.05)
    x = truth + torch.randn(truth.shape, generator=seeded(0), dtype=torch.float64)
    few, many = (moment_matching(prior, measurement, n_iterations=n)(x, level(1.0, 1)) for n in (20, 200))
    assert float((few - many).abs().max()) < 2e-3
    few, many = (
        matched_draw(prior, measurement, seeded(1), n_iterations=n)(x, level(1.0, 1)) for n in (20, 200)
    )
    assert float((few - many).abs().max()) < 2e-3
