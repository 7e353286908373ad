"""Plain detectors small enough to be kept with a prior, so that every result can stand beside them: mean
intensity, an atlas, a principal component analysis.

They are those of ``detectors``, on a coarser grid and in half precision. PatchCore and PaDiM pass each scan
through another network and stay where detectors are compared.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from ...errors import ShapeMismatch
from .detectors import INTENSITIES, Atlas, PCAResidual

__all__ = ["KEPT", "coarse_means", "fit_plain_scores", "plain_scores"]

KEPT = (*INTENSITIES, "atlas of mean and SD", "PCA residual")
"""Their names, as ``plain_detectors`` has them."""

_GRID = {2: (64, 64), 3: (32, 32, 32)}
"""Most voxels of the grid: with 16 components 0.15 MB for an image of one channel, 1.2 MB for a volume."""
_COMPONENTS = 16
_MOST = 400
"""Scans that they are fitted to at most, evenly chosen."""


def coarse_means(scan: Tensor, like: Tensor | None = None) -> Tensor:
    """(C, i, j[, k]) in network units -> (C, *grid), float32, means of the voxels that each of the grid
    holds; onto the grid of ``like`` where given.

    Raises ShapeMismatch for another number of dimensions than its.
    """
    if scan.ndim - 1 not in _GRID or (like is not None and (like.ndim, len(like)) != (scan.ndim, len(scan))):
        raise ShapeMismatch(
            "plain score, scan",
            "(C, i, j[, k])" if like is None else f"as {tuple(like.shape)}",
            tuple(scan.shape),
        )
    grid = (
        tuple(like.shape[1:])
        if like is not None
        else tuple(min(n, most) for n, most in zip(scan.shape[1:], _GRID[scan.ndim - 1], strict=True))
    )
    return F.interpolate(scan.detach().float().cpu()[None], grid, mode="area")[0]


def fit_plain_scores(scans: Sequence[Tensor]) -> dict[str, Tensor]:
    """What ``plain_scores`` needs, fitted to healthy scans as ``coarse_means`` gives them, all on one grid,
    which may be kept in half precision as this is.

    Raises BadOption for fewer than four.
    """
    chosen = [
        scans[i].float()
        for i in torch.linspace(0, len(scans) - 1, min(_MOST, len(scans))).round().long().tolist()
    ]
    atlas, pca = Atlas.fitted(chosen), PCAResidual.fitted(chosen, most=_COMPONENTS)
    return {
        "plain.mean": atlas.mean.half(),
        "plain.std": atlas.std.half(),
        "plain.components": pca.components.half(),
    }


def plain_scores(tensors: Mapping[str, Tensor], scan: Tensor) -> dict[str, float]:
    """{name: score} of (C, i, j[, k]), higher being less healthy; {} where the tensors do not hold those of
    ``fit_plain_scores``: before they were kept.

    Raises ShapeMismatch for a scan of other dimensions or channels than those that were learned.
    """
    if not {"plain.mean", "plain.std", "plain.components"} <= set(tensors):
        return {}
    mean, std, components = (tensors[f"plain.{name}"].float() for name in ("mean", "std", "components"))
    small = coarse_means(scan, mean)
    detectors = dict(
        zip(KEPT, (*INTENSITIES.values(), Atlas(mean, std), PCAResidual(mean, components)), strict=True)
    )
    return {name: round(detector(small).score, 7) for name, detector in detectors.items()}
