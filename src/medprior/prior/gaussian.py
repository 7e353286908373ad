"""A Gaussian prior in closed form: the truth that every step, loop and rule is held against."""

from __future__ import annotations

import torch
from torch import Tensor

from ..errors import ShapeMismatch
from .denoiser import Condition, Denoiser

__all__ = ["GaussianPrior"]


class GaussianPrior(Denoiser):
    """x0 ~ N(mean, covariance) over the flattened image of shape (C, i, j[, k]).

    D(x, s) = mean + covariance (covariance + s^2 I)^-1 (x - mean): the Wiener filter. mean: (d,); covariance:
    (d, d), symmetric positive definite. Raises ShapeMismatch when they do not fit ``shape``.
    """

    def __init__(self, mean: Tensor, covariance: Tensor, shape: tuple[int, ...]) -> None:
        size = int(torch.tensor(shape).prod())
        if mean.shape != (size,) or covariance.shape != (size, size):
            raise ShapeMismatch(
                "GaussianPrior",
                f"mean ({size},), covariance ({size}, {size})",
                (tuple(mean.shape), tuple(covariance.shape)),
            )
        self.mean, self.covariance, self.shape = mean, covariance, shape
        self.values, self.vectors = torch.linalg.eigh(covariance)

    def __call__(self, x: Tensor, sigma: Tensor, condition: Condition | None = None) -> Tensor:
        values = self.values[None]
        gain = values / (values + sigma.to(x).reshape(-1, 1) ** 2)
        away = (x.flatten(1) - self.mean) @ self.vectors
        return (self.mean + (gain * away) @ self.vectors.T).reshape(x.shape)

    def error(self, sigma: Tensor) -> Tensor:
        square = sigma.reshape(-1, 1) ** 2
        return (self.values * square / (self.values + square)).mean(1)

    def draw(self, n: int, rng: torch.Generator) -> Tensor:
        """(n, *shape): draws from the prior itself."""
        white = torch.randn((n, len(self.mean)), generator=rng, dtype=self.mean.dtype)
        return (self.mean + (white * self.values.sqrt()) @ self.vectors.T).reshape(n, *self.shape)

    def posterior(self, matrix: Tensor, y: Tensor, variance: float) -> tuple[Tensor, Tensor]:
        """Mean (d,) and covariance (d, d) of x0 given y = matrix x0 + n, n ~ N(0, variance I) (Bishop 2006,
        eq. 2.116).
        """
        precision = torch.linalg.inv(self.covariance) + matrix.T @ matrix / variance
        covariance = torch.linalg.inv(precision)
        return self.mean + covariance @ matrix.T @ (y - matrix @ self.mean) / variance, covariance
