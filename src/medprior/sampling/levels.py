"""Noise levels that a loop walks down; the last one is 0."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from ..errors import BadOption

__all__ = ["karras_levels", "log_levels"]


def _checked(n: int, low: float, high: float) -> None:
    if n < 1 or not 0 < low < high or not math.isfinite(high):
        raise BadOption(f"noise levels: wanted n >= 1 and 0 < low < high, got n {n}, low {low}, high {high}")


def karras_levels(n: int, *, low: float = 0.01, high: float = 20.0, rho: float = 7.0) -> Tensor:
    """(n + 1,) from ``high`` down to ``low``, then 0 (Karras et al. 2022, eq. 5). Raises BadOption."""
    _checked(n, low, high)
    ramp = torch.linspace(0, 1, n, dtype=torch.float64)
    levels = (high ** (1 / rho) + ramp * (low ** (1 / rho) - high ** (1 / rho))) ** rho
    return torch.cat([levels, torch.zeros(1, dtype=torch.float64)])


def log_levels(n: int, *, low: float = 0.01, high: float = 20.0) -> Tensor:
    """(n + 1,) evenly spaced in the logarithm, then 0. Raises BadOption."""
    _checked(n, low, high)
    levels = torch.exp(torch.linspace(math.log(high), math.log(low), n, dtype=torch.float64))
    return torch.cat([levels, torch.zeros(1, dtype=torch.float64)])
