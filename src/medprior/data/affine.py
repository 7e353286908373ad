"""Turned, zoomed, sheared and shifted images: one convention for every affine resampling on the image's own
grid.

A matrix maps voxels of the result to voxels of the source, both from the middle of the grid, axes in array
order. A shift is a share of each side.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

__all__ = ["affine_places", "resampled_at", "turns"]


def turns(angle: Tensor, ndim: int = 2, first: int | Tensor = 0) -> Tensor:
    """(n,) radians -> (n, ndim, ndim) rotations in the plane of the axes ``first`` and the one after it."""
    each = torch.arange(len(angle), device=angle.device)
    second = (first + 1) % ndim
    matrix = torch.eye(ndim, dtype=angle.dtype, device=angle.device).repeat(len(angle), 1, 1)
    matrix[each, first, first] = matrix[each, second, second] = angle.cos()
    matrix[each, first, second], matrix[each, second, first] = -angle.sin(), angle.sin()
    return matrix


def affine_places(matrix: Tensor, shift: Tensor, shape: Sequence[int]) -> Tensor:
    """(n, d, d) and (n, d) -> (n, *shape, d): where each voxel of the result lies in the source.

    The last axis is in the order (last array axis first) and the unit (-1..1 from edge to edge) of
    torch.nn.functional.grid_sample with align_corners=False.
    """
    sides = torch.tensor([float(s) for s in shape], dtype=matrix.dtype, device=matrix.device)
    theta = torch.cat([matrix * sides / sides[:, None], 2 * shift[:, :, None]], dim=2)
    theta = torch.cat([theta[:, :, :-1].flip(1, 2), theta[:, :, -1:].flip(1)], dim=2)
    return F.affine_grid(theta, [len(theta), 1, *shape], align_corners=False)


def resampled_at(x: Tensor, places: Tensor, *, mode: str, beyond: str) -> Tensor:
    """(n, C, *shape) at ``affine_places`` -> the same shape. mode: "cubic" (linear in volumes), "linear" or
    "nearest". beyond: "reflection" or "border".
    """
    mode = "bicubic" if mode == "cubic" and x.ndim == 4 else "nearest" if mode == "nearest" else "bilinear"
    return F.grid_sample(x, places, mode=mode, padding_mode=beyond, align_corners=False)
