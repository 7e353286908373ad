"""Counterfactuals without a gradient: draws of the prior that stay near the scan and turn a model's answer.

The counterfactual is a posterior draw with two statements. One is the scan, as a measurement with noise: the
noise says how far the draw may go. The other is the model's answer, as the likelihood of each draw.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from ..errors import BadOption, Diverged
from ..operators import Gaussian, Measurement, mask
from ..prior import Condition, Denoiser, Redraw
from ..prior.denoiser import broadcast_level
from ..sampling import informed, initial_image, merge_views, proximal

__all__ = ["Likelihood", "Search", "near_draws", "steered"]

Likelihood = Callable[[Tensor], Tensor]
"""(B, C, i, j[, k]) network units -> (B,) the model's probability of the target class."""

_KNOWN = 0.01
"""Noise of what lies outside of the region, network units: invisible in an 8 bit picture."""

_LEAST = 1e-6
"""A probability below this counts as this: a particle is unlikely, never impossible."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Search:
    """particles: of each of ``repeats`` independent searches. n_steps: noise levels. low: the last one.

    Raises BadOption for fewer than 2 particles, 1 repeat or 2 steps.
    """

    particles: int = 16
    repeats: int = 4
    n_steps: int = 12
    low: float = 0.03

    def __post_init__(self) -> None:
        for name, least in (("particles", 2), ("repeats", 1), ("n_steps", 2)):
            if getattr(self, name) < least:
                raise BadOption(f"{name}: wanted at least {least}, got {getattr(self, name)}")

    @property
    def evaluations(self) -> int:
        """Images through the network for one distance."""
        return (self.n_steps + 3) * self.particles * self.repeats


def near_draws(
    denoiser: Denoiser, scan: Tensor, distance: float, region: Tensor | None, rng: torch.Generator
) -> Redraw:
    """Draws of images near a scan. distance: standard deviation by which a voxel may differ, network units.

    scan: (1, C, i, j[, k]). region: shaped (i, j[, k]), True where the image may change; what lies outside
    enters as a measurement, as in ``jobs.inpaint``. None: it may change everywhere.
    """
    if region is None:
        return merge_views(denoiser, scan, distance, rng)
    outside = (~region).float().expand(scan.shape[1:])
    measurement = Measurement(scan * outside, mask(tuple(scan.shape[1:]), outside), Gaussian(_KNOWN))
    return proximal(informed(denoiser, scan, distance), measurement, rng)


def steered(
    redraw: Redraw,
    shape: tuple[int, ...],
    sigmas: Tensor,
    likelihood: Likelihood,
    *,
    search: Search,
    rng: torch.Generator,
    condition: Condition | None = None,
) -> tuple[Tensor, Tensor]:
    """(repeats, particles, C, i, j[, k]) final draws, and (repeats, particles) the model's probability.

    Sequential Monte Carlo on ``anneal``: at each level the draws of x0 are weighed by the likelihood, and
    resampled within their repeat (Feynman-Kac steering, Singhal et al. 2025, arXiv 2501.06848). For many
    particles the law is that of the redraw times the likelihood. Raises Diverged.
    """
    n = search.repeats * search.particles
    x = initial_image(redraw, (n, *shape), sigmas[0], rng=rng, condition=condition)
    x0, before = x, torch.zeros(search.repeats, search.particles)
    for level in range(len(sigmas) - 1):
        x0 = redraw(x, sigmas[level].to(x).expand(n), condition)
        if not x0.isfinite().all():
            raise Diverged(level, float(sigmas[level]))
        answer = likelihood(x0).clamp_min(_LEAST).log().reshape(before.shape)
        chosen = _resampled(answer - before, rng)
        flat = (chosen + torch.arange(len(chosen))[:, None] * search.particles).flatten()
        x0, before = x0[flat], answer.gather(1, chosen)
        white = torch.randn(x0.shape, generator=rng, dtype=x0.dtype).to(x0.device)
        x = x0 + broadcast_level(sigmas[level + 1].to(x).expand(n), x) * white
    return x0.reshape(*before.shape, *shape), before.exp()


def _resampled(log_weight: Tensor, rng: torch.Generator) -> Tensor:
    """(repeats, particles) -> indices within each repeat, by systematic resampling."""
    share = log_weight.softmax(1).cumsum(1)
    n = log_weight.shape[1]
    start = torch.rand(len(share), 1, generator=rng)
    return torch.searchsorted(share.contiguous(), (torch.arange(n) + start) / n).clamp_max(n - 1)
