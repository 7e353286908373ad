"""The laws of a step, on every step: measured order of convergence on an ODE whose end is known, and a last
step that lands on D.
"""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from medprior.errors import BadOption
from medprior.prior import Redraw
from medprior.prior.gaussian import GaussianPrior
from medprior.sampling import STEPS, euler, flow, karras_levels, log_levels, multistep
from medprior.sampling.steps import Step
from tests.golden.world import SHAPE, seeded, smooth_prior

ORDERS = {"euler": 1, "heun": 2, "midpoint": 2}


@pytest.fixture(params=sorted(STEPS))
def step(request: pytest.FixtureRequest) -> Step:
    return STEPS[request.param]


def carried(prior: GaussianPrior, x: Tensor, high: float, low: float) -> Tensor:
    """The exact probability flow of a Gaussian prior: each eigen-direction scales by sqrt((v + low^2) / (v +
    high^2)).
    """
    away = (x.flatten(1) - prior.mean) @ prior.vectors
    scale = torch.sqrt((prior.values + low**2) / (prior.values + high**2))
    return (prior.mean + (away * scale) @ prior.vectors.T).reshape(x.shape)


def error(name: str, n: int) -> float:
    """Error after n steps in the logarithm from 5 to 0.05: the same ODE, without the last step to zero."""
    prior = smooth_prior()
    x = 5 * torch.randn((8, *SHAPE), generator=seeded(0), dtype=torch.float64)
    sigmas = torch.exp(torch.linspace(math.log(5.0), math.log(0.05), n + 1, dtype=torch.float64))
    return float((flow(prior, x, sigmas, step=STEPS[name]) - carried(prior, x, 5.0, 0.05)).norm())


def test_every_step_states_its_order() -> None:
    assert set(ORDERS) == set(STEPS)


@pytest.mark.parametrize("name", sorted(STEPS))
def test_order_of_convergence(name: str) -> None:
    """Halving the steps divides the error by 2^order."""
    measured = math.log2(error(name, 80) / error(name, 160))
    assert measured == pytest.approx(ORDERS[name], abs=0.15)


def test_midpoint_beats_heun_at_equal_cost() -> None:
    """Both are of order 2 with two evaluations; midpoint is the default because its constant is smaller."""
    assert error("midpoint", 20) < 0.6 * error("heun", 20)


def test_the_last_step_lands_on_the_mean(step: Step) -> None:
    """From any level to zero: D(x, sigma), one evaluation, no division by zero."""
    prior = smooth_prior()
    x = torch.randn((3, *SHAPE), generator=seeded(1), dtype=torch.float64)
    sigma, zero = torch.tensor(0.3, dtype=torch.float64), torch.zeros((), dtype=torch.float64)
    assert float((step(prior, x, sigma, zero, None) - prior(x, sigma.expand(3))).abs().max()) < 1e-12


def test_a_step_of_no_length_changes_nothing(step: Step) -> None:
    prior = smooth_prior()
    x = torch.randn((3, *SHAPE), generator=seeded(1), dtype=torch.float64)
    sigma = torch.tensor(0.3, dtype=torch.float64)
    assert float((step(prior, x, sigma, sigma, None) - x).abs().max()) < 1e-12


def test_euler_in_flow_time_is_euler_in_sigma() -> None:
    """The straight path needs no loop of its own: z = x / (1 + s), dz/dt = (z - D) / t gives the same
    numbers.
    """
    prior = smooth_prior()
    sigmas = log_levels(12, low=0.01, high=20.0)
    x = 20 * torch.randn((4, *SHAPE), generator=seeded(2), dtype=torch.float64)
    z, times = x / (1 + sigmas[0]), sigmas / (1 + sigmas)
    for sigma, t, following in zip(sigmas, times, times[1:], strict=False):
        mean = prior(z * (1 + sigma), sigma.expand(4))
        z = z + (following - t) * (z - mean) / t
    assert float((flow(prior, x, sigmas, step=euler) - z).abs().max()) < 1e-12


@pytest.mark.parametrize("levels", [karras_levels, log_levels])
def test_levels_fall_from_high_to_low_and_end_at_zero(levels) -> None:
    found = levels(9, low=0.02, high=7.0)
    assert len(found) == 10 and float(found[-1]) == 0
    assert float(found[0]) == pytest.approx(7.0) and float(found[-2]) == pytest.approx(0.02)
    assert bool((found[1:] < found[:-1]).all())


@pytest.mark.parametrize("levels", [karras_levels, log_levels])
@pytest.mark.parametrize(
    "wrong",
    [{"n": 0}, {"low": 0.0}, {"low": 2.0, "high": 1.0}, {"high": float("inf")}, {"low": float("nan")}],
)
def test_levels_that_make_no_sense_are_refused(levels, wrong: dict[str, float]) -> None:
    with pytest.raises(BadOption, match="noise levels"):
        levels(**{"n": 5, **wrong})


def strode(n: int) -> float:
    """As ``error``, for the loop that remembers its last mean."""
    prior = smooth_prior()
    x = 5 * torch.randn((8, *SHAPE), generator=seeded(0), dtype=torch.float64)
    sigmas = torch.exp(torch.linspace(math.log(5.0), math.log(0.05), n + 1, dtype=torch.float64))
    return float((multistep(prior, x, sigmas) - carried(prior, x, 5.0, 0.05)).norm())


def test_multistep_is_of_order_two_with_one_evaluation() -> None:
    assert math.log2(strode(160) / strode(320)) == pytest.approx(2, abs=0.2)
    assert strode(40) < 0.5 * error("euler", 40)


def test_multistep_lands_on_the_mean_and_wants_one() -> None:
    prior = smooth_prior()
    x = torch.randn((3, *SHAPE), generator=seeded(1), dtype=torch.float64)
    sigmas = torch.tensor([0.3, 0.0], dtype=torch.float64)
    assert (
        float(
            (multistep(prior, x, sigmas) - prior(x, torch.full((3,), 0.3, dtype=torch.float64))).abs().max()
        )
        < 1e-12
    )
    with pytest.raises(BadOption, match="wanted a mean"):
        multistep(_Redraws(), x, sigmas)  # type: ignore[arg-type]


class _Redraws(Redraw):
    def __call__(self, x: Tensor, sigma: Tensor, condition: object = None) -> Tensor:
        return x
