"""Distances among many points, a piece at a time: how far the nearest ones of a bank are."""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["neighbour_distance"]

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
