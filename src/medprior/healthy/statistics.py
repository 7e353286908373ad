"""What is usual: the mean and spread of a vector, or of a map, over healthy scans, given where in the body it
was seen.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Self

import torch
from torch import Tensor
from torch.nn import functional as F

from ..data.grids import box_mean

__all__ = [
    "WAVES",
    "HeightGaussian",
    "HeightTrend",
    "PlaceStatistics",
    "TensorRecord",
    "grid_moments",
    "resampled_rows",
    "upsample_grid",
]

WAVES = 8
"""Cosines over the height of a slice: anatomy changes smoothly from slice to slice."""
_SIDES = {2: 32, 3: 24}
"""Cells a side of a grid of places, of images and of volumes."""
_KERNEL = 0.45
"""Width of the kernel on a number that is drawn again, in standard deviations of n^(1/5) times fewer: half of
that of Silverman, Density Estimation, 1986, which would widen the tails.
"""
_SHRUNK = 0.1
"""Share of the covariance that is its diagonal: few patients, and neighbouring features go together."""


class TensorRecord:
    """Tensors by name, as a file keeps them."""

    def tensors(self, prefix: str) -> dict[str, Tensor]:
        return {f"{prefix}.{f.name}": getattr(self, f.name).contiguous() for f in fields(self)}  # pyright: ignore[reportArgumentType]

    @classmethod
    def of(cls, prefix: str, tensors: Mapping[str, Tensor]) -> Self:
        """Raises KeyError where one is missing."""
        return cls(*(tensors[f"{prefix}.{f.name}"].float() for f in fields(cls)))  # pyright: ignore[reportArgumentType]


def _waves(heights: Tensor | None, n: int, k: int) -> Tensor:
    """(n, k): 1, and cosines of the height (-1 first slice, 1 last) where there is one."""
    if heights is None:
        return torch.ones(n, 1)
    return torch.cos(torch.arange(k) * math.pi * (heights[:, None].float() + 1) / 2)


@dataclass(frozen=True, slots=True)
class HeightTrend(TensorRecord):
    """Mean and mean absolute deviation of a number over healthy slices, as they follow the height. middle,
    size: (k,).
    """

    middle: Tensor
    size: Tensor

    @classmethod
    def fitted(cls, values: Tensor, heights: Tensor | None = None, waves: int = WAVES) -> Self:
        """values: (n,) of healthy scans; heights: (n,) of slices, -1 first to 1 last, None for images.

        waves: cosines over the height, at most as many as the scan of the fewest slices has: more would be
        wild between its slices.
        """
        basis, x = _waves(heights, len(values), waves).double(), values.double()
        middle = torch.linalg.lstsq(basis, x[:, None]).solution[:, 0]
        # absolute, not squared, deviations: a few odd scans shall not widen the scale for all
        size = torch.linalg.lstsq(basis, (x - basis @ middle).abs()[:, None]).solution[:, 0]
        return cls(middle.float(), size.float())

    def unusual(self, values: Tensor, heights: Tensor | None = None) -> Tensor:
        """(n,) -> (n,): deviations above what healthy slices have at that height."""
        waves = _waves(heights, len(values), len(self.middle))
        return (values.float() - waves @ self.middle) / (waves @ self.size).clamp_min(1e-3)


@dataclass(frozen=True, slots=True)
class HeightGaussian(TensorRecord):
    """A Gaussian whose mean follows the height. course: (k, d); white: (d, d): the Mahalanobis distance is
    |white (x - mean)|.
    """

    course: Tensor
    white: Tensor

    @classmethod
    def fitted(cls, vectors: Tensor, heights: Tensor | None = None, waves: int = WAVES) -> Self:
        """vectors: (n, d) of healthy scans; heights, waves: as for ``HeightTrend``."""
        x, basis = vectors.double(), _waves(heights, len(vectors), waves).double()
        course = torch.linalg.lstsq(basis, x).solution
        apart = x - basis @ course
        scale = apart.square().mean(0).sqrt().clamp_min(1e-6)
        correlation = (apart / scale).T @ (apart / scale) / len(x)
        shrunk = (1 - _SHRUNK) * correlation + _SHRUNK * torch.eye(len(scale), dtype=torch.float64)
        white = torch.linalg.inv(torch.linalg.cholesky(shrunk)) / scale
        return cls(course.float(), white.float())

    def distance(self, vectors: Tensor, heights: Tensor | None = None) -> Tensor:
        """(n, d) -> (n,): ln of the Mahalanobis distance."""
        apart = vectors.float() - _waves(heights, len(vectors), len(self.course)) @ self.course
        return (apart @ self.white.T).norm(dim=1).clamp_min(1e-9).log()


@dataclass(frozen=True, slots=True)
class PlaceStatistics(TensorRecord):
    """Mean and standard deviation of a map over healthy scans at each place of a coarse grid laid over the
    image, its corners on the image's. Both (*grid).
    """

    mean: Tensor
    std: Tensor

    @classmethod
    def fitted(cls, gridded: Sequence[tuple[Tensor, Tensor]]) -> Self:
        """gridded: of each scan's map what ``grid_moments`` makes."""
        first, second = (torch.stack(parts).mean(0) for parts in zip(*gridded, strict=True))
        mean = _softened(first)
        return cls(mean, (_softened(second) - mean.square()).clamp_min(1e-8).sqrt())

    def unusual(self, at: Tensor) -> Tensor:
        """(i, j[, k]) -> the same: standard deviations from the mean at that place."""
        return (at - upsample_grid(self.mean, at.shape)) / upsample_grid(self.std, at.shape)


def grid_moments(x: Tensor) -> tuple[Tensor, Tensor]:
    """(i, j[, k]) -> its mean, and the mean of its square, in each cell of the grid of a
    ``PlaceStatistics``.
    """
    both = torch.stack([x, x.square()])[None]
    side = _SIDES[x.ndim]
    cells = F.adaptive_avg_pool2d(both, side) if x.ndim == 2 else F.adaptive_avg_pool3d(both, side)
    return cells[0, 0], cells[0, 1]


def _softened(x: Tensor) -> Tensor:
    """Means over 3 cells each way, 5 in volumes, where patients are few and places many: they do not lie on
    each other to a cell.
    """
    return box_mean(x[None, None], 3 if x.ndim == 2 else 5)[0, 0]


def upsample_grid(x: Tensor, size: Sequence[int]) -> Tensor:
    """(i, j[, k]) -> (*size), linear."""
    return F.interpolate(
        x[None, None], size=tuple(size), mode="bilinear" if x.ndim == 2 else "trilinear", align_corners=False
    )[0, 0]


def resampled_rows(rows: Tensor, rng: torch.Generator) -> Tensor:
    """(n, d) -> (n, d): drawn anew from about the law of the rows, so that none of them and none of their
    numbers is kept. The law is a Gaussian copula of their ranks, with a Gaussian kernel on each column.
    """
    x = rows.double()
    n, d = x.shape
    if n < 2:
        return rows
    normal = torch.special.ndtri((x.argsort(0).argsort(0) + 0.5) / n)
    correlation = torch.corrcoef(normal.T).reshape(d, d)
    own = d / (n + d)  # few rows say little of how columns go together
    shrunk = (1 - own) * correlation + own * torch.eye(d, dtype=torch.float64)
    drawn = torch.randn((n, d), generator=rng, dtype=torch.float64) @ torch.linalg.cholesky(shrunk).T
    columns = x.sort(0).values.gather(0, drawn.argsort(0).argsort(0))
    middle = torch.quantile(x, 0.75, dim=0) - torch.quantile(x, 0.25, dim=0)
    spread = torch.minimum(x.std(0), middle / 1.34)
    noise = torch.randn((n, d), generator=rng, dtype=torch.float64)
    return (columns + _KERNEL * spread / n**0.2 * noise).to(rows)
