"""The centre: D(x, sigma) = E[x0 | x0 + sigma * n = x]."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass

import torch
from torch import Tensor

__all__ = ["Condition", "Denoiser", "Redraw", "broadcast_level", "position_channels"]


@dataclass(frozen=True, slots=True)
class Condition:
    """What is known about each image of a batch, besides its pixels.

    label: (B,) int64, -1 = unknown. numbers: (B, n) in the card's order and scale, NaN = unknown.
    position: (B, ndim + 1, i, j[, k]) from ``position_channels``; None = the batch shows whole images.
    """

    label: Tensor | None = None
    numbers: Tensor | None = None
    position: Tensor | None = None


class Denoiser(ABC):
    """The MEAN of x0 given x and whatever it was conditioned on."""

    @abstractmethod
    def __call__(self, x: Tensor, sigma: Tensor, condition: Condition | None = None) -> Tensor:
        """x: (B, C, i, j[, k]) network units, sigma: (B,) -> E[x0], shaped as x."""

    @abstractmethod
    def error(self, sigma: Tensor) -> Tensor:
        """(B,) -> (B,): expected squared error of a voxel of D(x, sigma), which is the mean variance of x0
        given x.
        """

    @property
    def caution(self) -> float:
        """By how much a reconstruction widens the error that the denoiser names; 1 where its covariance is
        exact.
        """
        return 1.0

    def moments(self, x: Tensor, sigma: Tensor, condition: Condition | None = None) -> tuple[Tensor, Tensor]:
        """The mean, and the standard deviation of x0 given x at each voxel, both shaped as x; the same
        everywhere unless a denoiser knows better.
        """
        return self(x, sigma, condition), broadcast_level(self.error(sigma).sqrt().expand(len(x)), x).to(
            x
        ).expand_as(x)

    def spectrum(self, sigma: Tensor, size: tuple[int, ...]) -> Tensor:
        """(B,) -> (B, *size): power of (x0 - mean) / standard deviation in each coefficient of the unitary
        FFT; 1, white, unless a denoiser knows better.
        """
        return torch.ones(len(sigma), *size)


class Redraw(ABC):
    """The same call, but a DRAW of x0. Feeding one to the other's loop is silently overconfident, hence two
    types.
    """

    @abstractmethod
    def __call__(self, x: Tensor, sigma: Tensor, condition: Condition | None = None) -> Tensor:
        """x: (B, C, i, j[, k]) network units, sigma: (B,) -> one draw of x0, shaped as x."""


def broadcast_level(sigma: Tensor, like: Tensor) -> Tensor:
    """(B,) -> (B, 1, 1, 1[, 1]): the one helper that broadcasts a noise level over an image."""
    return sigma.reshape(-1, *[1] * (like.ndim - 1))


def position_channels(
    size: tuple[int, ...],
    *,
    full: tuple[int, ...] | None = None,
    start: tuple[int, ...] | None = None,
    device: torch.device | None = None,
) -> Tensor:
    """Position channels of one window: (ndim + 1, *size).

    The first ndim run from -1 to 1 over the ``full`` image, voxel centre to voxel centre; the last says how
    fine the image is, log2(largest side / 64) / 2. size: of the window; start: its first voxel in the full
    image.
    """
    full = full or size
    start = start or (0,) * len(size)
    lines = [
        (2 * (torch.arange(n, dtype=torch.float32, device=device) + s) + 1) / f - 1
        for n, s, f in zip(size, start, full, strict=True)
    ]
    fine = torch.full((1, *size), torch.log2(torch.tensor(max(full) / 64.0)).item() / 2, device=device)
    return torch.cat([torch.stack(torch.meshgrid(*lines, indexing="ij")), fine])
