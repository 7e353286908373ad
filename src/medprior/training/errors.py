"""Measures what a denoiser still gets wrong on scans it has not learned from."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from ..data.seeds import generator
from ..prior import Condition, Prior
from ..prior.errors import ErrorTable
from ..prior.rings import by_ring

__all__ = ["error_tables"]

SIGMAS = tuple(float(s) for s in np.geomspace(0.01, 25.0, 12))


def error_tables(
    prior: Prior, images: Sequence[Tensor], numbers: Tensor | None = None, *, n_levels: int = 1, most: int = 32, seed: int = 0
) -> tuple[ErrorTable, ...]:
    """One table for each fineness: the images as they are, their 2x2 means, and so on, finest first.

    images: (C, i, j[, k]) in network units, of one size; numbers: one row each. most: images that are used, evenly spaced.
    """
    chosen = sorted({round(i) for i in np.linspace(0, len(images) - 1, min(most, len(images)))})
    x = torch.stack([images[i] for i in chosen if images[i].shape == images[chosen[0]].shape])
    known = None if numbers is None else torch.stack([numbers[i] for i in chosen if images[i].shape == images[chosen[0]].shape])
    tables = []
    for level in range(n_levels):
        if level:
            x = F.avg_pool2d(x, 2) if x.ndim == 4 else F.avg_pool3d(x, 2)
        rng = generator(seed, "errors", level)
        found = [_row(prior, x, sigma, known, rng) for sigma in SIGMAS]
        tables.append(ErrorTable(max(x.shape[2:]), SIGMAS, tuple(error for error, _ in found), tuple(row for _, row in found)))
    return tuple(tables)


def _row(prior: Prior, x: Tensor, sigma: float, numbers: Tensor | None, rng: torch.Generator) -> tuple[float, tuple[float, ...]]:
    """Mean squared error of a voxel, and the power of error over stated deviation in each of BINS rings of frequency."""
    axes = tuple(range(2, x.ndim))
    power, square = torch.zeros(x.shape[2:]), 0.0
    for i in range(len(x)):
        one = x[i : i + 1]
        given = Condition(numbers=None if numbers is None else numbers[i : i + 1])
        noise = torch.randn(one.shape, generator=rng)
        with torch.no_grad():
            mean, std = prior.moments(one + sigma * noise, torch.full((1,), sigma), given)
        square += float((mean - one).square().mean()) / len(x)
        power += torch.fft.fftn((mean - one) / std, dim=axes, norm="ortho").abs().square().mean((0, 1)) / len(x)
    found = by_ring(power, torch.ones_like(power))
    return square, tuple(found.tolist())
