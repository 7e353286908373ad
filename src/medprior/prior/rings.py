"""Rings of spatial frequency: what depends on how fine a detail is, and not on its direction."""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["BINS", "along_rings", "by_ring", "radius", "ring_of"]

BINS = 24
"""Rings of spatial frequency, from the mean (0) to the corner of the Nyquist square (1)."""


def radius(size: tuple[int, ...]) -> Tensor:
    """(*size): each coefficient of an FFT's distance from the mean, 0..1."""
    squares = torch.zeros(size)
    for axis, n in enumerate(size):
        squares = (
            squares + torch.fft.fftfreq(n).reshape([-1 if a == axis else 1 for a in range(len(size))]) ** 2
        )
    return (squares / (0.25 * len(size))).sqrt()


def ring_of(size: tuple[int, ...], n: int = BINS) -> Tensor:
    """(*size) int64: the nearest of n rings of each coefficient of an FFT."""
    return (radius(size) * (n - 1)).round().long()


def by_ring(top: Tensor, bottom: Tensor, n: int = BINS) -> Tensor:
    """(*size), (*size) -> (n,): the sum of ``top`` over that of ``bottom`` in each ring; a ring where that is
    0 takes its lower neighbour's.

    (A small image may have no coefficient in a ring.)
    """
    ring = ring_of(tuple(top.shape), n).flatten().to(top.device)
    above, below = (
        torch.zeros(n, dtype=x.dtype, device=x.device).index_add(0, ring, x.flatten()) for x in (top, bottom)
    )
    found = above / torch.where(below == 0, 1, below)
    for i in range(1, n):
        if below[i] == 0:
            found[i] = found[i - 1]
    return found


def along_rings(rows: Tensor, size: tuple[int, ...]) -> Tensor:
    """(..., BINS) -> (..., *size): linear between the rings, in the order of ``torch.fft.fftn``."""
    place = radius(size).to(rows.device) * (BINS - 1)
    low = place.floor().long().clamp_max(BINS - 2)
    share = place - low
    return rows[..., low] * (1 - share) + rows[..., low + 1] * share
