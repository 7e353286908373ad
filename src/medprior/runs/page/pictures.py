"""Numbers as pictures: upright, the radiological way, through a stated window, with a fixed colour scale."""

from __future__ import annotations

import base64
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from io import BytesIO
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from ...data.axes import PLANES, axcodes, in_plane, reoriented, through
from ...data.volume import Volume
from ...io.disk.stamp import RESEARCH_ONLY

__all__ = [
    "Drawn",
    "Window",
    "coloured",
    "contact_sheet",
    "data_uri",
    "grey",
    "mosaic",
    "number",
    "plane_of",
    "plotted",
    "scale_bar",
    "sides",
    "upright",
    "window_for",
]

LARGEST = 640
"""Pixels of the longer side of a picture in a report."""


@dataclass(frozen=True, slots=True)
class Drawn:
    """A picture that was drawn before, as it lies in a run folder: PNG bytes, and (width, height)."""

    png: bytes
    size: tuple[int, int]


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


def plane_of(volume: Volume) -> str:
    """The plane of an image with a known affine: "axial", "coronal" or "sagittal"; "" when unknown."""
    if volume.affine is None:
        return ""
    stacked = axcodes(volume)[2]
    pairs = ({"S", "I"}, {"A", "P"}, {"R", "L"})
    return next(
        plane
        for plane in PLANES
        if next(p for p in pairs if stacked in p) == next(p for p in pairs if through(plane) in p)
    )


def upright(
    volume: Volume, *, plane: str = "axial", at: int | None = None, channel: int = 0
) -> NDArray[np.float32]:
    """(rows, columns) with square pixels, as a radiologist expects it: patient's right on the left, front or
    head up.

    A volume is cut in ``plane`` at slice ``at`` (default the middle); an image is turned in its own plane.
    With an unknown affine the array is shown as it is stored: i down, j to the right.
    """
    spacing = volume.spacing_mm
    if volume.affine is None:
        data = volume.data[channel]
        if volume.ndim == 3:
            data = data[..., data.shape[-1] // 2 if at is None else at]
    elif volume.ndim == 3:
        turned = reoriented(volume, PLANES[plane] + through(plane))
        data, spacing = (
            turned.data[channel, :, :, turned.shape[2] // 2 if at is None else at],
            turned.spacing_mm,
        )
    else:
        turned = in_plane(volume, PLANES[plane_of(volume)])
        data, spacing = turned.data[channel], turned.spacing_mm
    return _square(data, spacing)


def sides(volume: Volume, *, plane: str = "axial") -> str:
    """Which side of the patient is where in a picture by ``upright``; "" where that is unknown, or where no
    side shows.
    """
    shown = plane if volume.ndim == 3 else plane_of(volume)
    return (
        " The patient's right is on the left."
        if volume.affine is not None and shown in ("axial", "coronal")
        else ""
    )


def _square(data: NDArray[np.float32], spacing: tuple[float, ...] | None) -> NDArray[np.float32]:
    """Square pixels of the finer side, and no larger than a report needs."""
    rows, columns = data.shape
    if spacing is not None and abs(spacing[0] / spacing[1] - 1) > 0.01:
        finer = min(spacing[:2])
        rows, columns = round(rows * spacing[0] / finer), round(columns * spacing[1] / finer)
    shrink = min(1.0, LARGEST / max(rows, columns))
    size = max(1, round(columns * shrink)), max(1, round(rows * shrink))
    if size == data.shape[::-1]:
        return data
    return np.asarray(
        Image.fromarray(np.ascontiguousarray(data, dtype=np.float32)).resize(
            size, Image.Resampling.BOX if shrink < 1 else Image.Resampling.BICUBIC
        )
    )


def grey(image: NDArray[np.floating], window: Window) -> Image.Image:
    """(rows, columns) -> an 8-bit picture through a window."""
    share = np.clip((image - window.low) / (window.high - window.low), 0, 1)
    return Image.fromarray(np.rint(255 * share).astype(np.uint8))


def coloured(
    image: NDArray[np.floating], high: float, *, name: str = "inferno", over: Image.Image | None = None
) -> Image.Image:
    """0 to ``high`` in a perceptually even colour map; ``over`` a grey picture the low values are
    transparent.
    """
    from matplotlib import colormaps

    share = np.clip(image / high if high > 0 else np.zeros_like(image), 0, 1)
    colour = colormaps[name](share)[..., :3]
    if over is None:
        return Image.fromarray(np.rint(255 * colour).astype(np.uint8))
    below = np.asarray(over.convert("RGB"), dtype=np.float64) / 255
    weight = np.clip(1.6 * share, 0, 0.85)[..., None]
    return Image.fromarray(np.rint(255 * (weight * colour + (1 - weight) * below)).astype(np.uint8))


def scale_bar(name: str = "inferno") -> Image.Image:
    """The legend of ``coloured``, low on the left."""
    return coloured(np.broadcast_to(np.linspace(0, 1, 256, dtype=np.float32), (10, 256)), 1.0, name=name)


def plotted(draw: Callable[[Any], None], size: tuple[float, float] = (6.4, 3.2)) -> Image.Image:
    """A diagram. draw: is given matplotlib's Axes; size: inches at 100 pixels each."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=size, dpi=100, layout="constrained")
    canvas = FigureCanvasAgg(figure)
    draw(figure.add_subplot())
    canvas.draw()
    return Image.fromarray(np.asarray(canvas.buffer_rgba())[..., :3].copy())


def mosaic(images: Sequence[Image.Image], columns: int, gap: int = 2) -> Image.Image:
    """Pictures of one size side by side."""
    width, height = images[0].size
    rows = -(-len(images) // columns)
    sheet = Image.new("RGB", (columns * (width + gap) - gap, rows * (height + gap) - gap), (24, 26, 30))
    for n, image in enumerate(images):
        sheet.paste(image.convert("RGB"), (n % columns * (width + gap), n // columns * (height + gap)))
    return sheet


def contact_sheet(images: Sequence[tuple[str, Image.Image]], height: int = 300) -> bytes:
    """Titled pictures in a row, with the notice below: preview.png."""
    scaled = [
        (
            title,
            image.convert("RGB").resize(
                (max(1, round(image.width * height / image.height)), height), Image.Resampling.BICUBIC
            ),
        )
        for title, image in images
    ]
    gap, top, bottom = 12, 26, 24
    sheet = Image.new(
        "RGB",
        (sum(i.width for _, i in scaled) + gap * (len(scaled) + 1), height + top + bottom),
        (18, 20, 24),
    )
    draw, font, left = ImageDraw.Draw(sheet), ImageFont.load_default(14), gap
    for title, image in scaled:
        sheet.paste(image, (left, top))
        draw.text((left, 5), title, fill=(225, 228, 232), font=font)
        left += image.width + gap
    draw.text((gap, top + height + 4), f"medprior: {RESEARCH_ONLY}", fill=(240, 180, 90), font=font)
    return _png(sheet)


def data_uri(image: Image.Image | Drawn) -> str:
    """The picture as text that stands inside of a page."""
    return "data:image/png;base64," + base64.b64encode(
        image.png if isinstance(image, Drawn) else _png(image)
    ).decode("ascii")


def _png(image: Image.Image) -> bytes:
    out = BytesIO()
    image.save(out, "PNG", optimize=False)
    return out.getvalue()
