"""A small world whose posterior is known: Gaussian priors, linear measurements, and the figures that a set of
draws is judged by.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import prod

import torch
from torch import Tensor

from medprior.operators import (
    ComplexGaussian,
    Gaussian,
    Measurement,
    Operator,
    downsample,
    identity,
    mask,
    mri,
)
from medprior.operators.mri.sampling_masks import cartesian_lines
from medprior.prior.gaussian import GaussianPrior

SHAPE = (1, 6, 4)
SIZE = prod(SHAPE)


@dataclass(frozen=True, eq=False, repr=False, kw_only=True)
class Dense(Operator):
    """A matrix (m, d) on flattened images: an operator with no structure to profit from."""

    matrix: Tensor

    def apply(self, x: Tensor) -> Tensor:
        return x.flatten(1) @ self.matrix.to(x).T

    def adjoint(self, y: Tensor) -> Tensor:
        return (y @ self.matrix.to(y)).reshape(-1, *self.domain)


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def smooth_prior(scale: float = 0.5, length: float = 1.5, floor: float = 0.02) -> GaussianPrior:
    """Neighbours agree, as in images: eigenvalues from about 0.02 to 2."""
    where = torch.cartesian_prod(*[torch.arange(n, dtype=torch.float64) for n in SHAPE[1:]])
    covariance = scale**2 * torch.exp(
        -torch.cdist(where, where).square() / (2 * length**2)
    ) + floor * torch.eye(SIZE, dtype=torch.float64)
    return GaussianPrior(torch.linspace(-0.5, 0.8, SIZE, dtype=torch.float64), covariance, SHAPE)


def white_prior(variance: float = 0.25) -> GaussianPrior:
    """The covariance is a multiple of the identity."""
    return GaussianPrior(
        torch.linspace(-0.5, 0.8, SIZE, dtype=torch.float64),
        variance * torch.eye(SIZE, dtype=torch.float64),
        SHAPE,
    )


def dense(rows: int, seed: int = 3) -> Operator:
    matrix = torch.randn((rows, SIZE), generator=seeded(seed), dtype=torch.float64) / SIZE**0.5
    return Dense(matrix=matrix, domain=SHAPE, codomain=(rows,))


OPERATORS: dict[str, Operator] = {
    "dense": dense(8),
    "mask": mask(SHAPE, torch.rand(SHAPE[1:], generator=seeded(1)) < 0.5),
    "downsample": downsample(SHAPE, 2),
    "mri": mri(
        cartesian_lines(SHAPE[1:], 2, seeded(2), axis=0),
        torch.view_as_complex(torch.randn(2, *SHAPE[1:], 2, generator=seeded(4), dtype=torch.float64)),
    ),
    "denoise": identity(SHAPE),
}


def real_matrix(operator: Operator) -> Tensor:
    """(m, d): the operator as a real matrix, a complex measurement as real and imaginary parts."""
    columns = operator(torch.eye(SIZE, dtype=torch.float64).reshape(-1, *SHAPE))
    return flat(columns).T


def flat(y: Tensor) -> Tensor:
    return (torch.view_as_real(y) if y.is_complex() else y).flatten(1)


def measured(
    prior: GaussianPrior, operator: Operator, std: float, *, n: int = 1, seed: int = 5
) -> tuple[Tensor, Measurement]:
    """n truths (n, *SHAPE) from the prior and their noisy measurements."""
    rng = seeded(seed)
    truth = prior.draw(n, rng)
    noise = ComplexGaussian(std) if operator.is_complex else Gaussian(std)
    return truth, Measurement(noise.draw(operator(truth), rng), operator, noise)


@dataclass(frozen=True)
class Verdict:
    """mean: error of the draws' mean, relative to the prior's spread. ratios: variance of the draws over the
    exact one, by eigen-direction.

    spread: traces, draws over exact. covariance: relative Frobenius error.
    """

    mean: float
    ratios: Tensor
    spread: float
    covariance: float

    def __str__(self) -> str:
        return (
            f"mean {self.mean:.3f}, ratios {self.ratios.min():.3f}..{self.ratios.max():.3f}, spread "
            f"{self.spread:.3f}, covariance {self.covariance:.3f}"
        )


def judged(draws: Tensor, mean: Tensor, covariance: Tensor, prior: GaussianPrior) -> Verdict:
    """Draws (N, *SHAPE) against the exact mean (d,) and covariance (d, d)."""
    values, vectors = torch.linalg.eigh(covariance)
    away = (draws.double().flatten(1) - mean) @ vectors
    found = torch.cov(draws.double().flatten(1).T)
    error = float(away.mean(0).norm() / prior.covariance.trace().sqrt())
    return Verdict(
        error,
        away.var(0) / values,
        float(found.trace() / covariance.trace()),
        float((found - covariance).norm() / covariance.norm()),
    )


def exact(prior: GaussianPrior, measurement: Measurement) -> tuple[Tensor, Tensor]:
    """The posterior's mean (d,) and covariance (d, d)."""
    std = measurement.noise.std  # type: ignore[attr-defined]
    return prior.posterior(real_matrix(measurement.operator), flat(measurement.y)[0], float(std) ** 2)
