"""Connected regions of a map: where they are, how large, how far above what healthy scans show."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import scipy  # its parts are loaded when they are first used
from numpy.typing import NDArray

__all__ = ["Blob", "blobs"]


@dataclass(frozen=True, slots=True)
class Blob:
    """number: its value in the label map, 1 is the highest. voxels: how many. peak: its highest value.
    centre: voxel coordinates of its centre of mass.
    """

    number: int
    voxels: int
    peak: float
    centre: tuple[float, ...]


def blobs(values: NDArray[np.floating], high: float, low: float) -> tuple[NDArray[np.int32], list[Blob]]:
    """(i, j[, k]) -> its labels, same shape, and the regions above ``low`` that reach ``high`` somewhere,
    highest peak first (hysteresis, Canny 1986).

    Voxels that touch by a corner belong together.
    """
    found = np.zeros(values.shape, np.int32)
    n = int(scipy.ndimage.label(values > min(low, high), structure=np.ones((3,) * values.ndim), output=found))  # pyright: ignore[reportArgumentType]
    if not n:
        return found, []
    peaks = np.asarray(scipy.ndimage.maximum(values, found, np.arange(1, n + 1)))
    order = [int(i) for i in np.argsort(-peaks, kind="stable") if peaks[i] > high]
    renamed = np.zeros(n + 1, np.int32)
    renamed[[i + 1 for i in order]] = np.arange(1, len(order) + 1)
    labels = renamed[found]
    sizes = np.bincount(labels.ravel(), minlength=len(order) + 1)
    centres = scipy.ndimage.center_of_mass(labels > 0, labels, np.arange(1, len(order) + 1)) if order else []
    return labels, [
        Blob(n, int(sizes[n]), float(peaks[i]), tuple(float(c) for c in centre))
        for n, (i, centre) in enumerate(zip(order, centres, strict=True), start=1)
    ]
