"""One step of the probability-flow ODE dx/dsigma = (x - D(x, sigma)) / sigma (Karras et al. 2022, eq. 1 with
sigma(t) = t).

Euler in flow time t = sigma / (1 + sigma) is the same step: the straight path needs no code of its own.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from ..prior import Condition, Denoiser

__all__ = ["STEPS", "Step", "euler", "heun", "midpoint"]

Step = Callable[[Denoiser, Tensor, Tensor, Tensor, Condition | None], Tensor]
"""(denoiser, x, sigma, next sigma, condition) -> x at the next sigma; the sigmas are scalars."""


def _slope(denoiser: Denoiser, x: Tensor, sigma: Tensor, condition: Condition | None) -> Tensor:
    return (x - denoiser(x, sigma.to(x).expand(len(x)), condition)) / sigma.to(x)


def euler(
    denoiser: Denoiser, x: Tensor, sigma: Tensor, following: Tensor, condition: Condition | None = None
) -> Tensor:
    """Order 1, one evaluation (DDIM, Song et al. 2021)."""
    return x + (following - sigma).to(x) * _slope(denoiser, x, sigma, condition)


def heun(
    denoiser: Denoiser, x: Tensor, sigma: Tensor, following: Tensor, condition: Condition | None = None
) -> Tensor:
    """Order 2, two evaluations; the last step, to 0, has one (Karras et al. 2022, algorithm 1)."""
    slope = _slope(denoiser, x, sigma, condition)
    guess = x + (following - sigma).to(x) * slope
    if following == 0:
        return guess
    return x + (following - sigma).to(x) * 0.5 * (slope + _slope(denoiser, guess, following, condition))


def midpoint(
    denoiser: Denoiser, x: Tensor, sigma: Tensor, following: Tensor, condition: Condition | None = None
) -> Tensor:
    """Order 2, two evaluations, the second at the geometric mean of the levels (DPM-Solver-2, Lu et al.
    2022); the last step has one.
    """
    if following == 0:
        return euler(denoiser, x, sigma, following, condition)
    middle = torch.sqrt(sigma * following)
    halfway = euler(denoiser, x, sigma, middle, condition)
    # in lambda = -ln sigma the ODE is d(x / sigma) / dlambda = D / sigma: the midpoint's D serves the whole
    # step
    mean = denoiser(halfway, middle.to(x).expand(len(x)), condition)
    ratio = (following / sigma).to(x)
    return ratio * x + (1 - ratio) * mean


STEPS: dict[str, Step] = {"euler": euler, "heun": heun, "midpoint": midpoint}
