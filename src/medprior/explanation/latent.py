"""A scan as noise of its prior, and moves of that noise.

The flow of a prior, run backwards, takes a scan to noise: its latent (Song et al. 2021, arXiv 2011.13456).
Forwards it gives the scan again. A latent that is moved a little gives another image of the prior, which
differs from the scan in what the move changes and in nothing else.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from ..errors import BadOption
from ..prior import Condition, Denoiser
from ..prior.wrappers import with_known
from ..sampling import flow, log_levels
from ..sampling.steps import euler, midpoint

__all__ = ["SHRINK", "Latent", "Likelihood", "Search", "nudged", "smooth_noise"]

Likelihood = Callable[[Tensor], Tensor]
"""(B, C, i, j[, k]) network units -> (B,) the model's probability of the target class."""

_LOW, _UP = 0.03, 10
"""The scan's own noise level, network units, and the levels from there to its latent."""

_AT_ONCE = 64
"""Images that are decoded at once."""

_CELLS = 7
"""A trial move has so many independent values along each axis: findings are larger than voxels."""

_NUDGE = 0.08
"""By which a scan is turned, sheared, scaled (radians, shares) and shifted (of half its side)."""


SHRINK = 10
"""Shares of the way to a found image that are tried at last."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Search:
    """repeats: independent searches. n_steps: moves of a latent at most, at each distance. particles: trial
    moves for each, for a model without gradients. n_levels: noise levels from a latent to its image.

    Raises BadOption for an odd number of particles or fewer than 2, for 1 repeat, n_steps, or 2 n_levels.
    """

    particles: int = 8
    repeats: int = 4
    n_steps: int = 30
    n_levels: int = 4

    def __post_init__(self) -> None:
        for name, least in (("particles", 2), ("repeats", 1), ("n_steps", 1), ("n_levels", 2)):
            if getattr(self, name) < least:
                raise BadOption(f"{name}: wanted at least {least}, got {getattr(self, name)}")
        if self.particles % 2:
            raise BadOption(f"particles: wanted an even number, got {self.particles}")

    @property
    def evaluations(self) -> int:
        """Images through the network at one distance, at most, of a model without gradients."""
        moved = self.n_steps * (self.particles + 1) + SHRINK
        return self.n_levels * (self.repeats * moved + 1) + 2 * _UP


@dataclass(frozen=True, slots=True)
class Latent:
    """scan: (1, C, i, j[, k]) network units. distance: noise level of the latent, network units; the higher,
    the more a move can change. free: (i, j[, k]) bool, where the image may change; None: everywhere. What
    lies outside of it is a measurement without noise, as in ``jobs.inpaint``.
    """

    denoiser: Denoiser
    scan: Tensor
    distance: float
    noise: Tensor
    levels: Tensor
    missing: Tensor
    free: Tensor | None
    condition: Condition | None

    @classmethod
    def of(
        cls,
        denoiser: Denoiser,
        scan: Tensor,
        distance: float,
        n_levels: int,
        *,
        free: Tensor | None = None,
        condition: Condition | None = None,
    ) -> Latent:
        """Encode. Raises Diverged."""
        up = log_levels(_UP, low=_LOW, high=distance)[:-1].flip(0)
        down = log_levels(n_levels, low=2 * _LOW, high=distance)
        nothing = torch.zeros_like(scan)
        with torch.no_grad():
            noise = flow(denoiser, scan, up, step=midpoint, condition=condition)
            known = denoiser if free is None else with_known(denoiser, scan, free.to(scan))
            made = cls(known, scan, distance, noise, down, nothing, free, condition)
            # few levels lose details of the scan; they are the same for all of its moves
            return cls(known, scan, distance, noise, down, scan - made.images(nothing), free, condition)

    def images(self, moves: Tensor) -> Tensor:
        """(B, C, i, j[, k]) moves, in standard deviations of the latent -> as many images; no move: the scan.

        Can be differentiated, at the memory of one evaluation.
        """
        return torch.cat([self._images(part) for part in moves.split(_AT_ONCE)])

    def _images(self, moves: Tensor) -> Tensor:
        if self.free is not None:
            moves = moves * self.free.to(moves)
        x = self.noise + self.distance * moves
        if moves.requires_grad:
            found = flow(_Lean(self.denoiser), x, self.levels, step=euler, condition=self.condition)
        else:
            found = flow(self.denoiser, x, self.levels, step=euler, condition=self.condition)
        found = found + self.missing
        return found if self.free is None else torch.where(self.free, found, self.scan)


class _Lean(Denoiser):
    """A gradient through many levels keeps one level's numbers at a time, and computes the others again."""

    def __init__(self, denoiser: Denoiser) -> None:
        self.denoiser = denoiser

    def __call__(self, x: Tensor, sigma: Tensor, condition: Condition | None = None) -> Tensor:
        return checkpoint(self.denoiser, x, sigma, condition, use_reentrant=False)  # type: ignore[return-value]

    def error(self, sigma: Tensor) -> Tensor:
        return self.denoiser.error(sigma)


def smooth_noise(n: int, scan: Tensor, rng: torch.Generator) -> Tensor:
    """(n, C, i, j[, k]), each of standard deviation 1, shaped as the scan (1, C, i, j[, k])."""
    axes = scan.ndim - 2
    coarse = torch.randn(n, scan.shape[1], *[min(_CELLS, side) for side in scan.shape[2:]], generator=rng)
    mode = "bicubic" if axes == 2 else "trilinear"
    fine = F.interpolate(coarse, scan.shape[2:], mode=mode, align_corners=False)
    return (fine / fine.flatten(1).std(1).clamp_min(1e-6).view(-1, *[1] * (axes + 1))).to(scan)


def nudged(images: Tensor, rng: torch.Generator) -> Tensor:
    """Each image, turned, sheared, scaled and shifted a little. An answer that stands such moves goes by the
    image and not by a pattern of pixels (Athalye et al., ICML 2018, arXiv 1707.07397).
    """
    axes = images.ndim - 2
    still = torch.cat([torch.eye(axes), torch.zeros(axes, 1)], 1).expand(len(images), -1, -1)
    moved = still + _NUDGE * torch.randn(still.shape, generator=rng)
    grid = F.affine_grid(moved.to(images), list(images.shape), align_corners=False)
    return F.grid_sample(images, grid, padding_mode="border", align_corners=False)
