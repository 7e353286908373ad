"""The axes of a volume back in the order of the file that it came from."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from ..data.volume import Volume
from ..errors import ShapeMismatch

__all__ = ["in_source_order"]


def in_source_order(volume: Volume, like: Volume | None = None) -> Volume:
    """The volume with its axes back in the order of the file it came from (``Provenance.axes_map`` of its
    own, else of ``like``).

    Raises ShapeMismatch when the map does not fit the volume.
    """
    axes_map = volume.provenance.axes_map or (like.provenance.axes_map if like is not None else ())
    if not axes_map or axes_map == tuple((axis, False) for axis in range(len(axes_map))):
        return volume
    if sorted(axis for axis, _ in axes_map) != list(range(volume.ndim)):
        raise ShapeMismatch("Provenance.axes_map", f"each of {volume.ndim} axes once", axes_map)
    now_of = {old: (now, flipped) for now, (old, flipped) in enumerate(axes_map)}
    order = [now_of[old][0] for old in range(volume.ndim)]
    data = volume.data.transpose(0, *(1 + now for now in order))
    data = np.flip(data, tuple(1 + old for old in range(volume.ndim) if now_of[old][1]))
    restored = tuple((axis, False) for axis in range(volume.ndim))
    affine = (
        None
        if volume.affine is None
        else volume.affine @ _voxel_map(volume, order, [now_of[old][1] for old in range(volume.ndim)])
    )
    spacing = None if volume.spacing_mm is None else tuple(volume.spacing_mm[now] for now in order)
    provenance = replace(volume.provenance, axes_map=restored)
    return replace(
        volume, data=np.ascontiguousarray(data), affine=affine, spacing_mm=spacing, provenance=provenance
    )


def _voxel_map(volume: Volume, order: list[int], flipped: list[bool]) -> np.ndarray:
    """(4, 4): indices in the source order -> indices of ``volume``."""
    turn = np.eye(4)
    turn[: volume.ndim, : volume.ndim] = 0
    for old, now in enumerate(order):
        turn[now, old] = -1 if flipped[old] else 1
        turn[now, 3] = volume.shape[now] - 1 if flipped[old] else 0
    return turn
