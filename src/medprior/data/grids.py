"""The grid of a volume: which slices it has, and whether two volumes lie on one grid."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from .axes import axcodes, reorient
from .volume import Volume

__all__ = ["box_mean", "middle_half", "on_grid_of", "slice_heights"]

_NEAR = 0.1
"""Voxels by which corners may lie apart: programs round affines."""


def on_grid_of(volume: Volume, other: Volume) -> tuple[Volume, str]:
    """``other`` with its axes as those of ``volume``, and "" or why it does not lie on the same grid. No
    value is interpolated.

    Where one of the two does not say where it lies, the shape decides.
    """
    placed = volume.affine is not None and other.affine is not None
    if placed and volume.ndim == other.ndim == 3 and axcodes(volume) != axcodes(other):
        other = reorient(other, axcodes(volume))
    if other.shape != volume.shape:
        return other, f"has shape {other.shape}, wanted {volume.shape}"
    if placed and _apart(volume, other) > _NEAR:
        return other, f"lies up to {_apart(volume, other):.1f} voxels away from its scan, by their affines"
    return other, ""


def _apart(volume: Volume, other: Volume) -> float:
    """Most voxels of ``volume`` by which a corner of ``other`` lies elsewhere."""
    ends = [(0, n - 1) for n in (*volume.shape, 1)[:3]]
    corners = np.array([(i, j, k, 1) for i in ends[0] for j in ends[1] for k in ends[2]], dtype=np.float64).T
    moved = np.linalg.inv(np.asarray(volume.affine)) @ np.asarray(other.affine) @ corners
    return float(np.abs(moved - corners)[:3].max())


def middle_half(n: int) -> range:
    """Of n slices those of the middle half, at least one."""
    return range(n // 4, max(n // 4 + 1, n - n // 4))


def slice_heights(n: int) -> Tensor:
    """(n,): where each slice of a whole volume lies, from -1 (below the first) to 1 (above the last)."""
    return (2 * torch.arange(n) + 1) / n - 1


def box_mean(x: Tensor, width: int) -> Tensor:
    """(B, C, i, j[, k]) -> the same: mean over ``width`` voxels (odd) along each axis, fewer at the border
    and along an axis that is shorter.
    """
    widths = [min(width, n - 1 + n % 2) for n in x.shape[2:]]
    pool = F.avg_pool2d if x.ndim == 4 else F.avg_pool3d
    return pool(x, widths, stride=1, padding=[w // 2 for w in widths], count_include_pad=False)
