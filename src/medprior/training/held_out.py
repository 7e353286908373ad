"""Measures what a denoiser still gets wrong on scans it has not learned from."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..data.seeds import generator
from ..prior import Condition, Prior
from ..prior.error_table import ErrorTable
from ..prior.rings import by_ring

__all__ = ["denoising_losses", "error_tables"]

SIGMAS = tuple(float(s) for s in np.geomspace(0.01, 25.0, 12))
SPREAD = (-1.0, 1.4)
"""Mean and standard deviation of ln sigma in training (``loop.TrainingSettings.sigmas``)."""
_AT_ONCE = 4
"""Noisy versions of an image that are evaluated together: memory stays that of a training step."""


def error_tables(
    prior: Prior,
    images: Sequence[Tensor],
    numbers: Tensor | None = None,
    *,
    n_levels: int = 1,
    most: int = 32,
    seed: int = 0,
) -> tuple[ErrorTable, ...]:
    """One table for each fineness: the images as they are, their 2x2 means, and so on, finest first; measured
    on the device of the prior.

    images: (C, i, j[, k]) in network units, of one size; numbers: one row each. most: images that are used,
    evenly spaced.
    """
    chosen = sorted({round(i) for i in np.linspace(0, len(images) - 1, min(most, len(images)))})
    x = torch.stack([images[i] for i in chosen if images[i].shape == images[chosen[0]].shape])
    known = (
        None
        if numbers is None
        else torch.stack([numbers[i] for i in chosen if images[i].shape == images[chosen[0]].shape])
    )
    tables = []
    for level in range(n_levels):
        if level:
            x = F.avg_pool2d(x, 2) if x.ndim == 4 else F.avg_pool3d(x, 2)
        rng = generator(seed, "errors", level)
        found = [_row(prior, x, sigma, known, rng) for sigma in SIGMAS]
        tables.append(
            ErrorTable(
                max(x.shape[2:]), SIGMAS, tuple(error for error, _ in found), tuple(row for _, row in found)
            )
        )
    return tuple(tables)


def _row(
    prior: Prior, x: Tensor, sigma: float, numbers: Tensor | None, rng: torch.Generator
) -> tuple[float, tuple[float, ...]]:
    """Mean squared error of a voxel, and the power of error over stated deviation in each of BINS rings of
    frequency.
    """
    axes, there = tuple(range(2, x.ndim)), _device(prior)
    power, square = torch.zeros(x.shape[2:]), 0.0
    for i in range(len(x)):
        one = x[i : i + 1]
        given = Condition(numbers=None if numbers is None else numbers[i : i + 1].to(there))
        noise = torch.randn(one.shape, generator=rng)
        with torch.no_grad():
            noisy, level = (one + sigma * noise).to(there), torch.full((1,), sigma, device=there)
            mean, std = (part.cpu() for part in prior.moments(noisy, level, given))
        square += float((mean - one).square().mean()) / len(x)
        power += torch.fft.fftn((mean - one) / std, dim=axes, norm="ortho").abs().square().mean((0, 1)) / len(
            x
        )
    found = by_ring(power, torch.ones_like(power))
    return square, tuple(found.tolist())


def _device(prior: Prior) -> torch.device:
    """Where the network is; a prior without one, such as an exact Gaussian, computes where its inputs are."""
    first = (
        next(iter(prior.net.parameters()), None)
        if isinstance(getattr(prior, "net", None), nn.Module)
        else None
    )
    return torch.device("cpu") if first is None else first.device


@torch.no_grad()
def denoising_losses(
    prior: Prior,
    images: Sequence[Tensor],
    labels: Tensor | None = None,
    numbers: Tensor | None = None,
    *,
    each: int = 8,
    seed: int = 0,
) -> Tensor:
    """(n_images,): the training loss of each whole image, a mean over ``each`` noise levels that lie evenly
    in the law that training draws them from.

    The same seed gives every prior the same noise, so two priors can be compared image by image. labels:
    (n,), -1 = unknown; numbers: one row each.
    """
    quantiles = (torch.arange(each, dtype=torch.float64) + 0.5) / each
    sigmas = torch.exp(torch.erfinv(2 * quantiles - 1) * 2**0.5 * SPREAD[1] + SPREAD[0]).float()
    found, there = [], _device(prior)
    for n, image in enumerate(images):
        noise = torch.randn((each, *image.shape), generator=generator(seed, "held out", n)).to(there)
        image, label = image.to(there), None if labels is None else labels[n : n + 1].to(there)
        number = None if numbers is None else numbers[n : n + 1].to(there)
        parts = []
        for sigma, one in zip(sigmas.to(there).split(_AT_ONCE), noise.split(_AT_ONCE), strict=True):
            k = len(sigma)
            given = Condition(
                None if label is None else label.expand(k), None if number is None else number.expand(k, -1)
            )
            parts.append(prior.loss(image[None].expand(k, *image.shape), sigma, one, given))
        found.append(torch.cat(parts).mean().cpu())
    return torch.stack(found)
