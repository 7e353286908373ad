"""Few scans made many: patches are turned, stretched, shifted and mirrored *together with their places*.

Because the network knows where each voxel comes from, it does not reproduce the augmentation when sampling
(Karras et al., NeurIPS 2022, with numbers as conditions; here the coordinates are the condition). A stretch
without a turn has the coordinates of a plain patch of an image of another size.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ..data.affine import affine_places, resampled_at, turns

__all__ = ["RANDOM", "PatchMoves", "move_patches"]

RANDOM = 8
"""Uniform random numbers that one patch takes."""

_TURN, _ZOOM, _SHIFT = math.radians(10.0), (-0.25, 0.15), 0.1
"""Most that a patch is turned, each way; binary logarithm of the part of its side that is seen, and how far
it is shifted, as a part of its side.
"""


@dataclass(frozen=True, slots=True)
class PatchMoves:
    """share: of the patches, at most. passes: over the training set, from first to last, up to which nothing
    moves; at twice as many it is ``share``. A training that sees its scans less often does not memorise them,
    and is better without moves. mirror: array axis (0 = i) along which half of the moved patches are
    mirrored, or None. maps: channels of label maps, which move by nearest neighbour.
    """

    share: float = 0.8
    passes: float = 80.0
    mirror: int | None = None
    maps: tuple[int, ...] = ()

    def share_of(self, passes: float) -> float:
        return self.share * min(1.0, max(0.0, passes / self.passes - 1))


def move_patches(
    x0: Tensor, position: Tensor, u: Tensor, share: float, moves: PatchMoves
) -> tuple[Tensor, Tensor]:
    """x0 (n, C, *size) and position (n, d + 1, *size) of patches, u (n, RANDOM) uniform in 0..1 -> the same,
    about ``share`` of the patches moved.

    Cubic in the plane, linear in volumes; what lies beyond the patch is mirrored back into it, and so are the
    places. Rows that do not move keep their bits.
    """
    rows = (u[:, 0] < share).nonzero()[:, 0]
    if not len(rows):
        return x0, position
    size = x0.shape[2:]
    u = u[rows].to(x0)
    zoom = 2 ** (_ZOOM[0] + (_ZOOM[1] - _ZOOM[0]) * u[:, 1])
    places = _places(size, u, zoom, moves.mirror)
    inside = x0[rows]
    x = resampled_at(inside, places, mode="cubic", beyond="reflection")
    if moves.maps:
        maps = list(moves.maps)
        x[:, maps] = resampled_at(inside[:, maps], places, mode="nearest", beyond="reflection")
    where = resampled_at(position[rows], places, mode="linear", beyond="reflection")
    where[:, -1] -= (zoom.log2() / 2).reshape(
        -1, *[1] * len(size)
    )  # a part of the side on as many voxels is a finer image
    x0, position = x0.clone(), position.clone()
    x0[rows], position[rows] = x, where
    return x0, position


def _places(size: Sequence[int], u: Tensor, zoom: Tensor, mirror: int | None) -> Tensor:
    """(n, *size, d): where each voxel of a moved patch comes from, see ``affine_places``."""
    ndim = len(size)
    turn = turns(_TURN * (2 * u[:, 2] - 1), ndim, 0 if ndim == 2 else (3 * u[:, 7]).long())
    if mirror is not None:
        turn[:, :, mirror] *= torch.where(u[:, 3] < 0.5, -1.0, 1.0)[:, None]
    return affine_places(zoom[:, None, None] * turn, _SHIFT * (2 * u[:, 4 : 4 + ndim] - 1), size)
