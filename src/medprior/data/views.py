"""Scans as grey pictures: upright, the radiological way, through a stated window; also for notebooks."""

from __future__ import annotations

import base64
import html
from collections.abc import Sequence
from dataclasses import dataclass, replace
from io import BytesIO

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from .axes import PLANES, axcodes, orient_plane, reorient, stacking_axis
from .volume import Volume

__all__ = [
    "Window",
    "as_html",
    "as_png",
    "cut",
    "grey",
    "number",
    "plane_of",
    "quick_window",
    "row_of",
    "sides",
    "upright",
    "views_of",
    "widest_slice",
    "window_for",
]

LARGEST = 640
"""Pixels of the longer side of a picture in a report."""
_OPPOSITE = {letter: pair for pair in ("RL", "AP", "SI") for letter in pair}


@dataclass(frozen=True, slots=True)
class Window:
    """low is black, high is white, in the unit of the volume; name: how it is called."""

    low: float
    high: float
    name: str

    def __str__(self) -> str:
        return f"{self.name}, {number(self.low)} to {number(self.high)}"


def number(value: float) -> str:
    """Three digits that count, large numbers in full: 0.0123, 46.4, 30,931."""
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"


SOFT_TISSUE = Window(-160.0, 240.0, "soft tissue window (level 40, width 400 HU)")
LUNG = Window(-1350.0, 150.0, "lung window (level -600, width 1500 HU)")


def window_for(volume: Volume) -> Window:
    """Soft tissue for Hounsfield units, else the range of the volume without its extreme half percents."""
    if volume.unit == "HU":
        return SOFT_TISSUE
    low, high = (float(q) for q in np.quantile(volume.data, (0.005, 0.995)))
    return Window(low, high if high > low else low + 1.0, f"range of the scan ({volume.unit or 'no unit'})")


def quick_window(volume: Volume, most: int = 2_000_000) -> Window:
    """``window_for`` of evenly spaced voxels, at most about ``most``: for looking, not for a report."""
    step = max(1, round((volume.data.size / most) ** (1 / volume.ndim)))
    thin = volume.data[(slice(None), *(slice(None, None, step),) * volume.ndim)]
    return window_for(Volume(thin, unit=volume.unit))


def plane_of(volume: Volume) -> str:
    """The plane of an image with a known affine: "axial", "coronal" or "sagittal"; "" when unknown."""
    if volume.affine is None:
        return ""
    stacked = axcodes(volume)[2]
    pairs = ({"S", "I"}, {"A", "P"}, {"R", "L"})
    return next(
        plane
        for plane in PLANES
        if next(p for p in pairs if stacked in p) == next(p for p in pairs if stacking_axis(plane) in p)
    )


def upright(
    volume: Volume,
    *,
    plane: str = "axial",
    at: int | None = None,
    channel: int = 0,
    largest: int = LARGEST,
    nearest: bool = False,
) -> NDArray[np.float32]:
    """(rows, columns) with square pixels, as a radiologist expects it: patient's right on the left, front or
    head up.

    A volume is cut in ``plane`` at slice ``at`` (default the middle); an image is turned in its own plane.
    With an unknown affine the array is shown as it is stored: i down, j to the right. largest: pixels of the
    longer side. nearest: labels stay labels.
    """
    spacing = volume.spacing_mm
    if volume.affine is None:
        data = volume.data[channel]
        if volume.ndim == 3:
            data = data[..., data.shape[-1] // 2 if at is None else at]
    elif volume.ndim == 3:
        turned = cut(volume, plane, at)
        data, spacing = turned.data[channel, :, :, 0], turned.spacing_mm
    else:
        turned = orient_plane(volume, PLANES[plane_of(volume)])
        data, spacing = turned.data[channel], turned.spacing_mm
    return _square(data, spacing, largest, nearest)


def cut(volume: Volume, plane: str, at: int | None = None) -> Volume:
    """One slice of a volume, (C, rows, columns, 1), turned as a picture of ``plane`` is shown. at: counted
    from the feet, the back or the left; default the middle one. Only the slice is copied.
    """
    codes = PLANES[plane] + stacking_axis(plane)
    axis = next(n for n, letter in enumerate(axcodes(volume)) if codes[2] in _OPPOSITE[letter])
    count = volume.shape[axis]
    at = count // 2 if at is None else at
    stored = at if axcodes(volume)[axis] == codes[2] else count - 1 - at
    affine = np.array(volume.affine)
    affine[:3, 3] += stored * affine[:3, axis]
    # a slice and no np.take, which copies a whole volume that lies in another order in memory
    slab = volume.data[(*[slice(None)] * (axis + 1), slice(stored, stored + 1))]
    return reorient(replace(volume, data=slab, affine=affine), codes)


def sides(volume: Volume, *, plane: str = "axial") -> tuple[str, str]:
    """The letters of the patient's directions at the left and the right edge of a picture by ``upright``:
    ("R", "L"), of a sagittal cut ("A", "P"), ("", "") where the geometry is unknown.
    """
    if volume.affine is None:
        return "", ""
    right = PLANES[plane if volume.ndim == 3 else plane_of(volume)][1]
    return {"L": "R", "P": "A"}[right], right


def _square(
    data: NDArray[np.float32], spacing: tuple[float, ...] | None, largest: int, nearest: bool
) -> NDArray[np.float32]:
    """Square pixels of the finer side, and no larger than needed."""
    rows, columns = data.shape
    if spacing is not None and abs(spacing[0] / spacing[1] - 1) > 0.01:
        finer = min(spacing[:2])
        rows, columns = round(rows * spacing[0] / finer), round(columns * spacing[1] / finer)
    shrink = min(1.0, largest / max(rows, columns))
    size = max(1, round(columns * shrink)), max(1, round(rows * shrink))
    if size == data.shape[::-1]:
        return data
    between = Image.Resampling.BOX if shrink < 1 else Image.Resampling.BICUBIC
    picture = Image.fromarray(np.ascontiguousarray(data, dtype=np.float32))
    return np.asarray(picture.resize(size, Image.Resampling.NEAREST if nearest else between))


def grey(image: NDArray[np.floating], window: Window) -> Image.Image:
    """(rows, columns) -> an 8-bit picture through a window."""
    share = np.clip((image - window.low) / (window.high - window.low), 0, 1)
    return Image.fromarray(np.rint(255 * share).astype(np.uint8))


def as_png(image: Image.Image) -> bytes:
    """The bytes of a PNG file."""
    out = BytesIO()
    image.save(out, "PNG", optimize=False)
    return out.getvalue()


def views_of(volume: Volume, window: Window | None = None) -> Image.Image:
    """An image, or the three middle planes of a volume, through a window (default ``window_for``)."""
    window = window or window_for(volume)
    if volume.ndim == 2 or volume.affine is None:
        return grey(upright(volume), window)
    return row_of([grey(upright(volume, plane=plane), window) for plane in PLANES])


def row_of(images: Sequence[Image.Image], gap: int = 4) -> Image.Image:
    """Pictures side by side on black."""
    width = sum(image.width for image in images) + gap * (len(images) - 1)
    row, left = Image.new(images[0].mode, (width, max(image.height for image in images))), 0
    for image in images:
        row.paste(image, (left, 0))
        left += image.width + gap
    return row


def as_html(image: Image.Image, text: str) -> str:
    """What a notebook shows: the picture, one line of text, and what it is not for."""
    source = base64.b64encode(as_png(image)).decode("ascii")
    line = f"{html.escape(text)}. Research use only, not for diagnosis."
    return f'<figure><img src="data:image/png;base64,{source}"><figcaption>{line}</figcaption></figure>'


def widest_slice(values: Volume, plane: str) -> tuple[int, int] | None:
    """The slice of a volume with the largest value, from 0 as ``upright`` counts, and how many there are in
    that plane; None for an image.
    """
    if values.ndim == 2:
        return None
    known = values.affine is not None
    data = (reorient(values, PLANES[plane] + stacking_axis(plane)) if known else values).data
    return int(np.argmax(data[0].max(axis=(0, 1)))), data.shape[-1]
