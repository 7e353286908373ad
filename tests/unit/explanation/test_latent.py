"""A scan as noise of its prior: no move gives the scan, a move changes what it should and nothing else."""

from __future__ import annotations

import pytest
import torch

from medprior.data.seeds import generator
from medprior.errors import BadOption
from medprior.explanation.latent import Latent, Search, nudged, smooth_noise
from tests.golden.world import SHAPE, white_prior


def scan() -> torch.Tensor:
    return white_prior().draw(1, generator(1, "scan"))


def test_no_move_gives_the_scan() -> None:
    latent = Latent.of(white_prior(), scan(), 0.8, 5)
    assert torch.allclose(latent.images(torch.zeros_like(scan())), scan(), atol=1e-6)


def test_a_latent_is_the_noise_of_the_exact_flow() -> None:
    prior, distance = white_prior(), 0.8
    latent = Latent.of(prior, scan(), distance, 5)
    # under a Gaussian law the flow stretches each eigenvector: sqrt((v + distance^2) / (v + low^2))
    values, vectors = torch.linalg.eigh(prior.covariance)
    stretch = ((values + distance**2) / (values + 0.03**2)).sqrt()
    mean = prior.mean.flatten()
    exact = mean + vectors @ (stretch * (vectors.T @ (scan().flatten() - mean)))
    assert float((latent.noise.flatten() - exact).abs().max()) < 0.05 * float(exact.std())


def test_a_gradient_through_the_flow_is_that_of_the_images() -> None:
    latent = Latent.of(white_prior(), scan(), 0.8, 4)
    rng = generator(0, "test")
    move, along = (torch.randn(scan().shape, generator=rng, dtype=scan().dtype) for _ in range(2))
    at = (0.1 * move).requires_grad_()
    (slope,) = torch.autograd.grad(latent.images(at).square().sum(), at)
    by = 1e-4 * along
    up, down = (latent.images(at.detach() + sign * by).square().sum() for sign in (1, -1))
    assert float((slope * along).sum()) == pytest.approx(float((up - down) / 2e-4), rel=1e-3)


def test_outside_of_the_region_the_scan_stays_to_the_bit() -> None:
    free = torch.zeros(SHAPE[1:], dtype=torch.bool)
    free[:2] = True
    latent = Latent.of(white_prior(), scan(), 0.8, 5, free=free)
    move = torch.randn(scan().shape, generator=generator(0, "test"), dtype=scan().dtype)
    change = (latent.images(move) - scan())[0, 0].abs()
    assert float(change[~free].max()) == 0 and float(change[free].max()) > 0.1


def test_nudges_are_small_and_differ_and_smooth_noise_has_the_said_size() -> None:
    rng = generator(0, "test")
    image = smooth_noise(1, torch.zeros(1, 1, 32, 32), rng)
    assert float(image.std()) == pytest.approx(1, abs=0.05)
    first, second = nudged(image, rng), nudged(image, rng)
    assert not torch.equal(first, second)
    assert 0.3 < float(torch.corrcoef(torch.stack([image.flatten(), first.flatten()]))[0, 1]) < 1
    assert nudged(smooth_noise(2, torch.zeros(1, 1, 12, 10, 8), rng), rng).shape == (2, 1, 12, 10, 8)


def test_a_search_that_cannot_work_is_refused() -> None:
    for wrong in ({"particles": 1}, {"particles": 3}, {"repeats": 0}, {"n_steps": 0}, {"n_levels": 1}):
        with pytest.raises(BadOption, match=next(iter(wrong))):
            Search(**wrong)
