"""The law of a counterfactual: prior times scan times the model's answer, exact for a Gaussian world."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from medprior.data.seeds import generator
from medprior.errors import BadOption, Diverged
from medprior.explanation.particles import Search, near_draws, steered
from medprior.sampling import karras_levels
from tests.golden.world import SHAPE, white_prior

DISTANCE = 0.8


def world() -> tuple[Tensor, Tensor]:
    """A scan, and the direction that the model looks at."""
    prior = white_prior()
    scan = prior.draw(1, generator(1, "scan"))
    direction = torch.randn(scan[0].numel(), generator=generator(1, "direction"), dtype=scan.dtype)
    return scan, direction / direction.norm()


def weighed(mean: Tensor, variance: Tensor, slope: float, edge: float) -> float:
    """E of a normal number times a logistic answer, on a fine grid."""
    at = mean + variance.sqrt() * torch.linspace(-8, 8, 4001, dtype=mean.dtype)
    weight = torch.exp(-((at - mean) ** 2) / (2 * variance)) * torch.sigmoid(slope * (at - edge))
    return float((weight * at).sum() / weight.sum())


def test_many_particles_follow_prior_times_scan_times_answer() -> None:
    scan, direction = world()
    prior = white_prior()
    size = scan[0].numel()
    mean, covariance = prior.posterior(torch.eye(size, dtype=scan.dtype), scan.flatten(), DISTANCE**2)
    along, spread = direction @ mean, direction @ covariance @ direction
    slope, edge = 6.0, float(along + 1.5 * spread.sqrt())

    def likelihood(images: Tensor) -> Tensor:
        return torch.sigmoid(slope * (images.flatten(1) @ direction - edge))

    search = Search(particles=512, repeats=4, n_steps=16)
    rng = generator(0, "test")
    redraw = near_draws(prior, scan, DISTANCE, None, rng)
    sigmas = karras_levels(search.n_steps, low=0.03, high=4 * DISTANCE)
    images, answers = steered(redraw, SHAPE, sigmas, likelihood, search=search, rng=rng)
    found = images.flatten(2) @ direction
    wanted = weighed(along, spread, slope, edge)
    assert abs(float(found.mean()) - wanted) < 0.15 * float(spread.sqrt())
    assert abs(wanted - float(along)) > 1.0 * float(spread.sqrt())  # the answer moved it
    assert torch.allclose(answers, likelihood(images.flatten(0, 1)).reshape(answers.shape), atol=1e-4)


def test_outside_of_the_region_the_scan_stays() -> None:
    scan, _ = world()
    region = torch.zeros(SHAPE[1:], dtype=torch.bool)
    region[:2] = True
    rng = generator(0, "test")
    draws = near_draws(white_prior(), scan, DISTANCE, region, rng)
    x = draws(
        scan + torch.randn(scan.shape, dtype=scan.dtype, generator=rng), torch.ones(1, dtype=scan.dtype)
    )
    change = (x - scan)[0, 0].abs()
    assert float(change[~region].max()) < 0.06 and float(change[region].max()) > 0.1


def test_a_search_that_cannot_work_is_refused() -> None:
    for wrong in ({"particles": 1}, {"repeats": 0}, {"n_steps": 1}):
        with pytest.raises(BadOption, match=next(iter(wrong))):
            Search(**wrong)


def test_numbers_that_are_not_finite_stop_it() -> None:
    def broken(x: Tensor, sigma: Tensor, condition: object = None) -> Tensor:
        return torch.full_like(x, torch.nan)

    with pytest.raises(Diverged):
        steered(
            broken,  # type: ignore[arg-type]
            SHAPE,
            karras_levels(2),
            lambda images: images.flatten(1)[:, 0],
            search=Search(particles=2, repeats=1, n_steps=2),
            rng=generator(0, "test"),
        )
