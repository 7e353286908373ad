"""Float values as 16-bit integers with a slope and an intercept, and the elements that say so."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.valuerep import format_number_as_ds

from ..read.pixels import RESCALE_TYPES

__all__ = ["Stored", "stored_values"]


@dataclass(frozen=True, slots=True)
class Stored:
    """values (slices, rows, columns) int16 or uint16; output = values * slope + intercept, exactly the
    numbers that the header will hold.
    """

    values: NDArray[np.integer]
    slope: float
    intercept: float
    unit: str
    window: tuple[float, float]

    @property
    def plain(self) -> bool:
        """Whole numbers without a rescale."""
        return self.slope == 1 and self.intercept == 0 and self.values.dtype.kind == "u"

    def describe(self, instance: Dataset, n: int) -> None:
        """Image Pixel, Modality LUT and VOI LUT modules of slice ``n``."""
        _, instance.Rows, instance.Columns = self.values.shape
        instance.SamplesPerPixel, instance.PhotometricInterpretation = 1, "MONOCHROME2"
        instance.BitsAllocated, instance.BitsStored, instance.HighBit = 16, 16, 15
        instance.PixelRepresentation = 1 if self.values.dtype.kind == "i" else 0
        instance.RescaleSlope, instance.RescaleIntercept = (
            format_number_as_ds(v) for v in (self.slope, self.intercept)
        )
        instance.RescaleType = RESCALE_TYPES.get(self.unit, "US")
        low, high = self.window
        if high - low < 1:
            # the default function asks for a width of 1 or more (PS3.3 section C.11.2.1.2)
            instance.VOILUTFunction = "LINEAR_EXACT"
        instance.WindowCenter, instance.WindowWidth = (
            format_number_as_ds(v) for v in ((low + high) / 2, max(high - low, 1e-3))
        )
        instance.add_new(
            0x7FE00010,
            "OW",
            np.ascontiguousarray(self.values[n]).astype(self.values.dtype.newbyteorder("<")).tobytes(),
        )


def stored_values(values: NDArray[np.float32], unit: str) -> Stored:
    """Steps of 1 for HU in 16 bits and for whole numbers from 0 to 65 535; else the range in 65 535 steps."""
    low, high = float(values.min()), float(values.max())
    window = (-160.0, 240.0) if unit == "HU" else (low, high)
    if unit == "HU" and low >= -32768.4 and high <= 32767.4:
        return Stored(np.rint(values).astype(np.int16), 1.0, 0.0, unit, window)
    if low >= 0 and high <= 65535 and np.array_equal(values, np.rint(values)):
        return Stored(values.astype(np.uint16), 1.0, 0.0, unit, window)
    intercept = float(format_number_as_ds(low))
    slope = float(
        format_number_as_ds(max((high - intercept) / 65534, 1e-30))
    )  # 65 534: the rounding of a 16-character number must not overflow
    numbers = np.clip(np.rint((values.astype(np.float64) - intercept) / slope), 0, 65535)
    return Stored(numbers.astype(np.uint16), slope, intercept, unit, window)
