"""Label maps: whole numbers, each the index of a class."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from .volume import Volume

__all__ = ["LABEL_NOISE", "label_values", "whole_labels"]

LABEL_NOISE = 1e-3
"""How far the value of a label may lie from a whole number: float noise of a scale factor."""


def label_values(data: NDArray[np.float32]) -> tuple[int, ...]:
    """The values of a label map, sorted. Raises ValueError, saying why, where they are not whole numbers from
    0 up; float noise of a scale factor (up to 0.001) is none.
    """
    values = np.unique(data)
    whole = np.rint(values)
    off = ~(np.abs(values - whole) <= LABEL_NOISE) | (whole < 0)
    if off.any():
        wrong = float(values[off][0])
        raise ValueError(f"is no label map: it holds the value {wrong:.9g}, wanted whole numbers from 0 up")
    return tuple(sorted({int(v) for v in whole}))


def whole_labels(volume: Volume) -> Volume:
    """A label map without the float noise that a scale factor leaves; as it is where its values are whole, or
    are no labels.
    """
    whole = np.rint(volume.data)
    off = float(np.abs(volume.data - whole).max())
    if not 0 < off <= LABEL_NOISE:
        return volume
    note = f"labels were up to {off:.2g} off whole numbers, as a scale factor leaves them, and were rounded"
    warnings = (*volume.provenance.warnings, note)
    return replace(volume, data=whole, provenance=replace(volume.provenance, warnings=warnings))
