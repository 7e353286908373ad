"""The loops. ``flow`` eats means, ``anneal`` eats draws; ``revisit`` and ``restore`` are short journeys on them."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from ..errors import Diverged
from ..operators import Measurement
from ..prior import Condition, Denoiser, Redraw
from .levels import log_levels
from .rules import fitted
from .steps import Step, heun

__all__ = ["anneal", "flow", "restore", "revisit"]

OnStep = Callable[[int, int], None]
"""(steps done, steps in all): for progress bars."""


def _finite(x: Tensor, step: int, sigma: Tensor) -> Tensor:
    if not x.isfinite().all():
        raise Diverged(step, float(sigma))
    return x


def flow(
    denoiser: Denoiser,
    x: Tensor,
    sigmas: Tensor,
    *,
    step: Step = heun,
    churn: float = 0.0,
    rng: torch.Generator | None = None,
    condition: Condition | None = None,
    on_step: OnStep | None = None,
) -> Tensor:
    """From x = x0 + sigmas[0] * n down the levels to sigmas[-1] (Karras et al. 2022, algorithm 2).

    x: (B, C, i, j[, k]). churn: fresh noise a step, as a share of the level (0 = ODE); needs rng.
    Raises Diverged as soon as a number is not finite.
    """
    for n in range(len(sigmas) - 1):
        sigma, following = sigmas[n], sigmas[n + 1]
        if churn and rng is not None:
            raised = sigma * (1 + churn)
            x = x + torch.sqrt(raised**2 - sigma**2).to(x) * torch.randn(x.shape, generator=rng, dtype=x.dtype).to(x.device)
            sigma = raised
        x = _finite(step(denoiser, x, sigma, following, condition), n, sigma)
        if on_step:
            on_step(n + 1, len(sigmas) - 1)
    return x


def anneal(redraw: Redraw, x: Tensor, sigmas: Tensor, *, rng: torch.Generator, condition: Condition | None = None, on_step: OnStep | None = None) -> Tensor:
    """Draw x0, re-noise to the next level, repeat; the last draw is returned (decoupled annealing, Zhang et al. 2025; DDIM with eta = 1)."""
    for n in range(len(sigmas) - 1):
        x0 = _finite(redraw(x, sigmas[n].to(x).expand(len(x)), condition), n, sigmas[n])
        x = x0 + sigmas[n + 1].to(x) * torch.randn(x.shape, generator=rng, dtype=x.dtype).to(x.device)
        if on_step:
            on_step(n + 1, len(sigmas) - 1)
    return x


def revisit(
    denoiser: Denoiser, x0: Tensor, sigma: float, *, rng: torch.Generator, n_steps: int = 8, step: Step = heun, condition: Condition | None = None
) -> Tensor:
    """Add noise to sigma, flow back: augment and detect share it (SDEdit, Meng et al. 2022). Small sigma keeps the source, large sigma the prior."""
    sigmas = log_levels(n_steps, low=min(0.02, sigma / 4), high=sigma)
    noise = torch.randn(x0.shape, generator=rng, dtype=x0.dtype).to(x0.device)
    return flow(denoiser, x0 + sigma * noise, sigmas, step=step, condition=condition)


def restore(
    denoiser: Denoiser, measurement: Measurement, x: Tensor, *, n_steps: int = 8, high: float = 1.0, low: float | None = None, condition: Condition | None = None
) -> Tensor:
    """A fast point estimate: denoise, fit the data, at falling levels (plug-and-play half-quadratic splitting, DPIR, Zhang et al. 2021).

    x: (B, C, i, j[, k]) a first guess in network units. Not a draw: its spread says nothing.
    """
    noise = float(torch.as_tensor(measurement.noise.variance(measurement.y)).mean() ** 0.5)
    sigmas = log_levels(n_steps, low=low or min(max(noise, 0.01), high / 2), high=high)
    for n, sigma in enumerate(sigmas[:-1]):
        # DPIR's order: fit the data first, then denoise; 0.23 is its published weight
        x = fitted(measurement, x, float(sigma) ** 2 / 0.23)
        x = _finite(denoiser(x, sigma.to(x).expand(len(x)), condition), n, sigma)
    return x
