"""Numbers as pictures: upright, the radiological way, through a stated window, with a fixed colour scale."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from ...data.views import as_png
from ...io.disk.stamp import RESEARCH_ONLY

__all__ = [
    "COLOURS",
    "OPACITY",
    "Drawn",
    "coloured",
    "contact_sheet",
    "data_uri",
    "flat",
    "mosaic",
    "overlaid",
    "scale_bar",
]

COLOURS = ("inferno", "viridis", "overlay")

OPACITY = 0.7
"""Of a layer over a picture, until somebody moves the slider."""

_MAPS = {
    "inferno": "0000040403120b0724150b37210c4a2f0a5b3d09654a0c6b57106e64156e71196e7d1e6d8a226a97"
    "2766a32c61b0315bbc3754c73e4cd24644db503be45a31eb6628f1731df68013f98e09fb9d07fcac11fbbc21f9cb35f5db4c"
    "f2ea69f3f68afcffa4",
    "viridis": "440154470d6048186a482374472d7b4537814240863e49893b528b375b8d33638d2f6b8e2c728e297a8e"
    "26828e23898e21918c1f988b1fa08822a78528ae8032b67a3fbc734ec36b5ec96270cf5784d44b98d83eaddc30c2df23d8e2"
    "19ece51bfde725",
}
"""33 points of each map by Smith and van der Walt (CC0), red, green and blue in hexadecimal."""


@dataclass(frozen=True, slots=True)
class Drawn:
    """A picture that was drawn before, as it lies in a run folder: PNG bytes, and (width, height)."""

    png: bytes
    size: tuple[int, int]


def coloured(image: NDArray[np.floating], high: float, *, name: str = "inferno") -> Image.Image:
    """0 to ``high`` in a perceptually even colour map, one of ``COLOURS``."""
    share = np.clip(image / high if high > 0 else np.zeros_like(image), 0, 1)
    return Image.fromarray(_colours(share, name))


def overlaid(values: NDArray[np.floating], level: float, high: float) -> Image.Image:
    """A layer for a picture of the same size: transparent below ``level``, from there to ``high`` in the
    colours of ``scale_bar("overlay")``.
    """
    share = np.clip((values - level) / max(high - level, 1e-12), 0, 1)
    alpha = np.where(values >= level, 255, 0).astype(np.uint8)
    return Image.fromarray(np.dstack([_colours(share, "overlay"), alpha]))


def flat(picture: Image.Image, layer: Image.Image, opacity: float = OPACITY) -> Image.Image:
    """The picture under its layer, as one picture without a slider."""
    faded = Image.fromarray(np.rint(opacity * np.asarray(layer.getchannel("A"))).astype(np.uint8))
    return Image.composite(layer.convert("RGB"), picture.convert("RGB"), faded)


def _colours(share: NDArray[np.floating], name: str) -> NDArray[np.uint8]:
    """(..., 3) colours of shares from 0 to 1. "overlay" is the bright part of "inferno": its lowest value can
    be seen on a dark scan.
    """
    table, start = ("inferno", 0.45) if name == "overlay" else (name, 0.0)
    points = np.frombuffer(bytes.fromhex(_MAPS[table]), np.uint8).reshape(-1, 3)
    at = (start + (1 - start) * np.asarray(share, dtype=np.float64)) * (len(points) - 1)
    channels = [np.interp(at, np.arange(len(points)), points[:, c]) for c in range(3)]
    return np.rint(np.stack(channels, -1)).astype(np.uint8)


def scale_bar(name: str = "inferno") -> Image.Image:
    """The legend of ``coloured``, low on the left."""
    return coloured(np.broadcast_to(np.linspace(0, 1, 256, dtype=np.float32), (10, 256)), 1.0, name=name)


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
    return as_png(sheet)


def data_uri(image: Image.Image | Drawn) -> str:
    """The picture as text that stands inside of a page."""
    return "data:image/png;base64," + base64.b64encode(
        image.png if isinstance(image, Drawn) else as_png(image)
    ).decode("ascii")
