"""Slices that lie unevenly or tilted, interpolated onto an even, upright grid."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from math import prod

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import affine_transform

from ...disk.limits import Limits
from .geometry import Plane, along_of

__all__ = ["on_even_grid"]

_PIXEL = 1e-3
"""Share of a pixel below which a slice is not moved in its plane."""


def on_even_grid(
    slices: NDArray[np.float32], planes: Sequence[Plane], limit: Limits
) -> tuple[NDArray[np.float32], list[Plane]]:
    """(slice, row, column) values of sorted planes on a grid whose slices lie the median step apart, straight
    along their normal, and planes that say where the new slices lie.

    Linear interpolation, in the plane and between neighbours. Where a tilt moves slices out of the first
    one's frame, the frame grows, and what no slice shows takes the lowest value.
    """
    first, heights = planes[0], along_of(planes)
    axes = np.asarray(first.orientation).reshape(2, 3)[::-1]  # down the rows, along the columns
    spacing = np.asarray(first.spacing)
    shifts = (np.array([p.position for p in planes]) - np.asarray(first.position)) @ axes.T / spacing
    low, high = np.floor(shifts.min(0) + _PIXEL), np.ceil(shifts.max(0) - _PIXEL)
    step = np.sort(np.diff(heights))[(len(heights) - 2) // 2]
    steps = max(1, round(float((heights[-1] - heights[0]) / step)))
    shape = (steps + 1, *(int(n) for n in np.array(first.shape) + high - low))
    limit.check(first.header.path, prod(shape), prod(shape) * 4)
    wanted = np.linspace(heights[0], heights[-1], steps + 1)
    lowest = float(slices.min())

    def moved(n: int) -> NDArray[np.float32]:
        if np.abs(shifts[n]).max() <= _PIXEL and shape[1:] == first.shape:
            return slices[n]
        at = low - shifts[n]
        there = affine_transform(slices[n], np.ones(2), at, shape[1:], order=1, cval=lowest)
        return np.asarray(there, np.float32)

    found = np.empty(shape, np.float32)
    above = np.clip(np.searchsorted(heights, wanted), 1, len(heights) - 1)
    for n, (height, upper) in enumerate(zip(wanted, above, strict=True)):
        share = (height - heights[upper - 1]) / (heights[upper] - heights[upper - 1])
        found[n] = (1 - share) * moved(upper - 1) + share * moved(upper)
    corner = np.asarray(first.position) + (low * spacing) @ axes
    places = [tuple(corner + (height - heights[0]) * first.normal) for height in wanted]
    return found, [replace(first, position=place, shape=shape[1:]) for place in places]
