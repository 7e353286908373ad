"""From stored numbers to numbers that mean something: how pixels are stored, polarity, Modality LUT, colour
to grey, unit.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.pixels import apply_color_lut, apply_modality_lut

from ....errors import Corrupt, TooLarge, Truncated, Unsupported
from ...disk.limits import Limits
from .open import Header, finite_numbers

__all__ = [
    "NOT_IMAGES",
    "RESCALE_TYPES",
    "PixelFormat",
    "Rescale",
    "inverted",
    "modality_lut",
    "pixel_format",
    "rescale_of",
    "unit_of",
    "values",
]

MOST_FRAMES = 32_768
_MOST_SLOPE = 1e28
"""2^32 steps of it are still a finite float32."""
_GREY = ("MONOCHROME1", "MONOCHROME2")
_COLOUR = ("RGB", "YBR_FULL", "YBR_FULL_422", "YBR_ICT", "YBR_RCT")
_LUMA = np.array([0.299, 0.587, 0.114])
"""ITU-R BT.601, the weights of DICOM's own YBR_FULL (PS3.3 section C.7.6.3.1.2)."""
_PET_UNITS = {
    "BQML": "Bq/mL",
    "CNTS": "counts",
    "GML": "g/mL",
    "PROPCNTS": "a.u.",
    "CPS": "counts/s",
    "PCNT": "%",
    "NONE": "a.u.",
}
RESCALE_TYPES = {
    "HU": "HU",
    "optical density x 1000": "OD",
    "mg/mL": "MGML",
    "Bq/mL": "BQML",
    "Gy": "GY",
    "g/mL": "GML",
    "counts": "CNTS",
}
"""Rescale Type by unit: the standard's terms, and PET's and dose's for objects whose class has no place of
its own for a unit.
"""
NOT_IMAGES = (
    "1.2.840.10008.5.1.4.1.1.66.4",
    "1.2.840.10008.5.1.4.1.1.66.5",
    "1.2.840.10008.5.1.4.1.1.66.7",
    "1.2.840.10008.5.1.4.1.1.481.3",
)
"""SOP classes of label maps: Segmentation, Surface Segmentation, Label Map Segmentation, RT Structure Set."""
_RESCALE_UNITS = {term: unit for unit, term in RESCALE_TYPES.items()}


@dataclass(frozen=True, slots=True)
class PixelFormat:
    """How the pixels are stored. depth: bits of each value in use; floating: Float or Double Float Pixel
    Data.
    """

    rows: int
    columns: int
    n_frames: int
    samples: int
    allocated: int
    depth: int
    high: int
    signed: bool
    photometric: str
    floating: bool
    encapsulated: bool

    @property
    def range(self) -> tuple[int, int]:
        """Lowest and highest stored value that the depth allows."""
        return (
            (-(1 << self.depth - 1), (1 << self.depth - 1) - 1) if self.signed else (0, (1 << self.depth) - 1)
        )

    @property
    def frame_bytes(self) -> int:
        """Bytes of one frame as it is stored uncompressed (YBR_FULL_422 shares its colours between two
        pixels).
        """
        samples = 2 if self.photometric == "YBR_FULL_422" and not self.encapsulated else self.samples
        return self.rows * self.columns * samples * self.allocated // 8


@dataclass(frozen=True, slots=True)
class Rescale:
    """output = stored * slope + intercept."""

    slope: float = 1.0
    intercept: float = 0.0


def pixel_format(header: Header, limit: Limits) -> PixelFormat:
    """How the pixels of a file are stored, checked against its size and the limits before anything is taken.

    Raises Unsupported (no pixels, unknown kind), Corrupt (contradictions), TooLarge, Truncated.
    """
    path, found = header.path, header.skeleton.pixels
    if found is None:
        raise Unsupported(path, f"holds no pixels ({header.kind})")
    if header.text("SOPClassUID") in NOT_IMAGES:
        raise Unsupported(path, "is a segmentation, not an image", "give the scan that it was drawn on")
    tag, element = found
    rows, columns, allocated, sign = (
        header.whole(k, 0) or 0 for k in ("Rows", "Columns", "BitsAllocated", "PixelRepresentation")
    )
    n_frames, samples = (
        1 if (n := header.whole(k, 1)) is None else n for k in ("NumberOfFrames", "SamplesPerPixel")
    )
    depth = header.whole("BitsStored", allocated) or allocated
    high = header.whole("HighBit", depth - 1)
    photometric = header.text("PhotometricInterpretation") or "MONOCHROME2"
    floating = tag != 0x7FE00010
    high = depth - 1 if high is None else high
    form = PixelFormat(
        rows,
        columns,
        n_frames,
        samples,
        allocated,
        depth,
        high,
        sign == 1,
        photometric,
        floating,
        element.undefined,
    )
    _check(path, form, sign)
    voxels = rows * columns * n_frames
    stored = element.end - element.start if element.undefined else None
    limit.check(path, voxels * samples, max(voxels * 4, form.frame_bytes * n_frames), None)
    if stored is not None:
        limit.check(path, voxels * samples, form.frame_bytes * n_frames, stored)
    elif element.end - element.start < form.frame_bytes * n_frames:
        want, got = form.frame_bytes * n_frames, element.end - element.start
        raise Truncated(
            path,
            f"truncated at byte {element.end}: its pixels need {want} bytes, it holds {got}",
            "copy or export it again",
        )
    return form


def _check(path: Path, form: PixelFormat, sign: int) -> None:
    if min(form.rows, form.columns, form.n_frames) < 1:
        raise Corrupt(
            path,
            f"Rows, Columns, Number of Frames: wanted numbers above 0, got {form.rows}, {form.columns}, "
            f"{form.n_frames}",
        )
    if form.n_frames > MOST_FRAMES:
        raise TooLarge(path, f"declares {form.n_frames} frames, the limit is {MOST_FRAMES}")
    if form.photometric not in (*_GREY, *_COLOUR, "PALETTE COLOR"):
        raise Unsupported(path, f"photometric interpretation {form.photometric[:16]!r} is not handled")
    if form.samples != (3 if form.photometric in _COLOUR else 1):
        raise Corrupt(path, f"{form.photometric} with {form.samples} samples a pixel")
    wanted = (32, 64) if form.floating else (1, 8, 16, 32)
    if form.allocated not in wanted:
        raise Unsupported(path, f"Bits Allocated: wanted one of {wanted}, got {form.allocated}")
    if sign not in (0, 1):
        raise Corrupt(path, f"Pixel Representation: wanted 0 or 1, got {sign}")
    if not 1 <= form.depth <= form.allocated or not form.depth - 1 <= form.high < form.allocated:
        raise Corrupt(
            path, f"Bits Stored {form.depth} and High Bit {form.high} do not fit into {form.allocated} bits"
        )


def rescale_of(path: Path, slope: object, intercept: object) -> Rescale:
    """Slope and intercept as numbers. Raises Corrupt when they are not finite or the slope is 0."""
    found = Rescale(
        1.0 if slope is None else finite_numbers(path, "RescaleSlope", slope, 1)[0],
        0.0 if intercept is None else finite_numbers(path, "RescaleIntercept", intercept, 1)[0],
    )
    if found.slope == 0:
        raise Corrupt(path, "Rescale Slope is 0: every voxel would be the same")
    if abs(found.slope) > _MOST_SLOPE or abs(found.intercept) > _MOST_SLOPE:
        raise Corrupt(
            path,
            f"Rescale Slope {found.slope:g} and Intercept {found.intercept:g} lead out of the numbers that "
            "32 bits hold",
        )
    return found


def modality_lut(header: Header) -> Dataset | None:
    """The data set with the file's Modality LUT Sequence, None when it has none."""
    return (
        header.dataset()
        if 0x00283000 in header.skeleton.elements and header.get("RescaleSlope") is None
        else None
    )


def inverted(form: PixelFormat, unit: str) -> bool:
    """MONOCHROME1 says that high values are shown dark. Arbitrary units are turned to the usual polarity; a
    physical unit keeps its values.
    """
    return form.photometric == "MONOCHROME1" and unit == "a.u."


def values(
    stored: NDArray[Any],
    form: PixelFormat,
    rescale: Rescale,
    out: NDArray[np.float32],
    *,
    invert: bool = False,
    source: Dataset | None = None,
    lut: Dataset | None = None,
) -> None:
    """Fills ``out`` (rows, columns) with what the stored values mean: polarity first, then the Modality LUT
    or slope and intercept; colours become luma.

    source: the data set with the palette; lut: the one with a Modality LUT Sequence.
    """
    if form.photometric == "PALETTE COLOR" and source is not None:
        stored = apply_color_lut(stored, source)
    if stored.ndim == 3:
        out[...] = stored[..., :3] @ _LUMA
        return
    if invert and not form.floating:
        low, high = form.range
        stored = (low + high) - stored.astype(np.int64)
    if lut is not None:
        stored = apply_modality_lut(stored, lut)
        rescale = Rescale()
    exact = rescale.slope == 1 and rescale.intercept == int(rescale.intercept) and stored.dtype.itemsize <= 2
    kind = np.float32 if exact else np.float64
    if rescale.slope == 1:
        np.add(stored, rescale.intercept, out=out, dtype=kind, casting="unsafe")  # pyright: ignore[reportCallIssue, reportArgumentType]
    else:
        out[...] = np.multiply(stored, rescale.slope, dtype=kind, casting="unsafe") + rescale.intercept  # pyright: ignore[reportCallIssue, reportArgumentType]


def unit_of(header: Header, rescale_type: str | None = None) -> str:
    """The unit that the file states: HU for CT with a rescale, PET's Units, Gy for doses; "a.u." where none
    is stated. SUV is never made up.
    """
    modality, stated = (
        header.text("Modality"),
        (rescale_type or header.text("RescaleType") or header.text("ModalityLUTType")).upper(),
    )
    if modality == "RTDOSE" and header.get("DoseUnits") is not None:
        return "Gy" if header.text("DoseUnits") == "GY" else "a.u."
    if modality == "PT" and header.get("Units") is not None:
        return _PET_UNITS.get(header.text("Units"), "a.u.")
    if stated in _RESCALE_UNITS:
        return _RESCALE_UNITS[stated]
    has_rescale = rescale_type is not None or header.get("RescaleIntercept") is not None
    return (
        "HU"
        if modality == "CT" and has_rescale and not stated and "LOCALIZER" not in header.texts("ImageType")
        else "a.u."
    )
