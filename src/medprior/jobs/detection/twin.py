"""The healthy twin: what the prior expects where a scan is unusual, and the scan everywhere else."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F

from ...data.grids import box_mean
from ...data.seeds import generator
from ...healthy.model import NetworkScan
from ...prior import Condition, Denoiser, Prior
from ...prior.promises import DetectPromise
from ...prior.wrappers import guided, with_known
from ...sampling import sdedit
from ..reconstruct import windowed

__all__ = ["HEALTHY", "PLAIN", "STEPS", "TWIN", "finding_levels", "free_above", "free_places", "healthy_twin"]

TWIN, STEPS = 1.6, 6
"""Level of the healthy twin, network units, and steps back: whatever is larger than small anatomy is
forgotten, but only where the map says so.
"""

HEALTHY = ("no_finding", "healthy", "normal")
"""Labels that healthy scans go by."""

PLAIN = {True: (2.0, 4.0), False: (2.0, 5.0)}
"""Where a finding begins and the top of the colour scale while nobody has calibrated them: with healthy scans
learned (deviations of theirs), and without.
"""


def free_places(
    unusual: Tensor, promise: DetectPromise | None, *, learned: bool, like: NetworkScan
) -> Tensor:
    """How freely the twin is made anew at each voxel, 0 to 1, broadcastable to the scan's images.
    1 everywhere if the prior learned no healthy scans.
    """
    if not learned:
        return (
            torch.ones(1, 1, *unusual.shape)
            if not like.stack
            else torch.ones(len(like.images), 1, *unusual.shape[:2])
        )
    low, high = finding_levels(promise, learned=True)
    return _grown(((unusual - low) / (high - low)).clamp(0, 1), like)


def free_above(unusual: Tensor, quantile: float, like: NetworkScan) -> Tensor:
    """The same, where the map is above a quantile of its own values."""
    return _grown((unusual >= unusual.flatten().quantile(quantile)).float(), like)


def _grown(share: Tensor, like: NetworkScan) -> Tensor:
    """Two voxels further to all sides, with soft edges."""
    grow = F.max_pool2d if share.ndim == 2 else F.max_pool3d
    grown = box_mean(grow(share[None, None], 5, stride=1, padding=2), 3)
    return grown[0, 0].movedim(-1, 0)[:, None] if like.stack else grown


def finding_levels(promise: DetectPromise | None, *, learned: bool) -> tuple[float, float]:
    """Where a finding's region ends, and what its peak must pass."""
    if promise is None or promise.map_high is None:
        return PLAIN[learned]
    return min(promise.usual, promise.map_high), promise.map_high


def healthy_twin(
    prior: Prior,
    scan: NetworkScan,
    free: Tensor,
    n: int,
    seed: int,
    on_step: Callable[[int, int], None] | None,
) -> Tensor:
    """The mean of n healthy twins, shaped as the images."""
    if not n:
        return scan.images
    total = torch.zeros_like(scan.images)
    at = (
        free.flatten(1).amax(1) > 0
        if len(free) == len(scan.images)
        else torch.ones(len(scan.images), dtype=torch.bool)
    )
    denoiser = with_known(_healthy(prior), scan.images[at], free[at] if len(free) == len(at) else free)
    condition = Condition(numbers=None if scan.condition.numbers is None else scan.condition.numbers[at])
    for i in range(n):
        twin = scan.images.clone()
        if bool(at.any()) and bool((free > 0).any()):  # slices in which nothing is unusual stay as they are
            with torch.no_grad():
                twin[at] = sdedit(
                    denoiser,
                    scan.images[at],
                    TWIN,
                    rng=generator(seed, "twin", i),
                    condition=condition,
                    n_steps=STEPS,
                )
        total += twin
        if on_step:
            on_step(i + 2, n + 1)
    return total / n


def _healthy(prior: Prior) -> Denoiser:
    """The prior, told that the patient is healthy where its card has such a label."""
    denoiser = windowed(prior)
    known = [name for name in HEALTHY if name in prior.card.labels]
    return guided(denoiser, prior.card.labels.index(known[0]), 1.0) if known else denoiser
