"""Distances among many points, a piece at a time: how far the nearest ones of a bank are, and groups of
points that are near each other.
"""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["grouped", "neighbour_distance"]

_AT_ONCE = 2048
"""Points that are compared with the whole bank at once: 20 000 distances each are 160 MiB."""


def neighbour_distance(points: Tensor, bank: Tensor, k: int = 3) -> Tensor:
    """(n, d), (m, d) -> (n,): mean Euclidean distance to the k nearest of the bank, fewer where it holds
    fewer.
    """
    k = min(k, len(bank))
    return torch.cat(
        [
            torch.cdist(part, bank).topk(k, dim=1, largest=False).values.mean(1)
            for part in points.split(_AT_ONCE)
        ]
    )


def grouped(points: Tensor, m: int, rng: torch.Generator, rounds: int = 10) -> Tensor:
    """(n, d) -> (n,) int64: to which of m groups each point belongs, by k-means (Lloyd, IEEE Trans. Inf.
    Theory 28, 1982) that starts from m of the points.
    """
    centres = points[torch.randperm(len(points), generator=rng)[:m]]
    at = _nearest(points, centres)
    for _ in range(rounds):
        count = torch.bincount(at, minlength=len(centres))
        means = torch.zeros_like(centres).index_add(0, at, points) / count.clamp_min(1)[:, None]
        centres = torch.where(count[:, None] > 0, means, centres)
        at = _nearest(points, centres)
    return at


def _nearest(points: Tensor, centres: Tensor) -> Tensor:
    return torch.cat([torch.cdist(part, centres).argmin(1) for part in points.split(_AT_ONCE)])
