"""The draws that ``medprior.reconstruct`` gives when nothing is chosen, against posteriors in closed form:
the default is right where the denoiser is right.
"""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from medprior.jobs.fitting.caution import measured_caution
from medprior.jobs.reconstruct import reconstruct
from medprior.operators import (
    ComplexGaussian,
    Gaussian,
    Measurement,
    Operator,
    blur,
    cartesian_lines,
    downsample,
    mask,
    mri,
)
from tests.unit.jobs.exact import CT, Exact

SIZE = (12, 12)
N = 250
"""Draws: the ratio of the total variance, that of some twenty directions, is known to about 4 %."""


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


OPERATORS: dict[str, tuple[Operator, float]] = {
    "mri 4x": (mri(cartesian_lines(SIZE, 4, seeded(1))), 0.02),
    "mri 2x": (mri(cartesian_lines(SIZE, 2, seeded(2))), 0.02),
    "mri 4x, noisy": (mri(cartesian_lines(SIZE, 4, seeded(3))), 0.2),
    "three in ten pixels": (mask((1, *SIZE), torch.rand(SIZE, generator=seeded(4)) < 0.3), 0.02),
    "pixels twice as large": (downsample((1, *SIZE), 2), 0.02),
    "pixels four times as large": (downsample((1, *SIZE), 4), 0.02),
    "blur": (blur((1, *SIZE), 3.0), 0.02),
}


def learned(prior: Exact) -> float:
    """The caution that a training would write on the card of this prior."""
    return measured_caution(prior, list(prior.draw(24, SIZE, 5)), most=24)


@pytest.fixture(scope="module")
def prior() -> Exact:
    return Exact(replace(CT, low=-1.0, high=1.0, caution=learned(Exact())))


def posterior(prior: Exact, m: Measurement) -> tuple[Tensor, Tensor]:
    """Mean (d,) and covariance (d, d) of the image, the unit of network and card being the same."""
    eye = torch.eye(SIZE[0] * SIZE[1]).reshape(-1, 1, *SIZE)
    axes = (2, 3)
    covariance = torch.fft.ifftn(torch.fft.fftn(eye, dim=axes) * prior.spectra(SIZE), dim=axes).real
    rows, y = (torch.view_as_real(v) if v.is_complex() else v for v in (m.operator(eye), m.y))
    rows, prior_precision = rows.flatten(1).double().T, torch.linalg.inv(covariance.flatten(1).double())
    weight = 1 / float(torch.as_tensor(m.noise.variance(m.y)).flatten()[0])
    found = torch.linalg.inv(prior_precision + weight * rows.T @ rows)
    pull = weight * rows.T @ (y.flatten().double() - rows @ torch.full((len(eye),), prior.mean).double())
    return prior.mean + found @ pull, found


@pytest.mark.parametrize("name", OPERATORS)
def test_default_draws_have_the_posteriors_variance(prior: Exact, name: str) -> None:
    """Total variance within 0.9 to 1.15 of the true one, the mean within a tenth of its deviation."""
    operator, std = OPERATORS[name]
    noise = ComplexGaussian(std) if operator.is_complex else Gaussian(std)
    truth = prior.draw(1, SIZE, 6)
    m = Measurement(noise.draw(operator(truth), seeded(7)), operator, noise)
    mean, covariance = posterior(prior, m)
    draws = reconstruct(prior, m, n=N).values.flatten(1).double()
    ratio = float(draws.var(0).sum() / covariance.trace())
    off = float((draws.mean(0) - mean).norm() / covariance.trace().sqrt())
    assert 0.9 < ratio < 1.15 and off < 0.1, (ratio, off)


class Bold(Exact):
    """It names a quarter of its true variance."""

    def spectrum(self, sigma: Tensor, size: tuple[int, ...]) -> Tensor:
        return super().spectrum(sigma, size) / 4


def test_an_exact_prior_earns_no_caution_and_an_overconfident_one_does(prior: Exact) -> None:
    assert prior.card.caution <= 1.05, prior.card.caution
    assert learned(Bold()) > 1.2
