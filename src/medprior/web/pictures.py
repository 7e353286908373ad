"""Planes of scans and results as PNG files, made here for every browser; volumes stay in memory while they
are looked at.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass, field
from io import BytesIO
from typing import Any, Generic, TypeVar

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ..data.axes import PLANES, axcodes, orient_plane, stacking_axis
from ..data.views import Window, cut, grey, plane_of, quick_window, sides, upright
from ..data.volume import Volume
from ..errors import BadOption
from ..runs.page.pictures import coloured, overlaid, scale_bar

__all__ = ["PlaneView", "Shelf", "drawn", "legend", "presets", "views_in"]

_LARGEST = 1600
"""Pixels of the longer side of a picture on the page."""
_FINDINGS = ((64, 224, 208), (255, 196, 87), (120, 170, 255), (255, 138, 160), (170, 230, 120))
"""Colours of a label map, one label after the other."""


@dataclass(frozen=True, slots=True)
class PlaneView:
    """One way to cut a scan. count: slices. rows, columns: of a picture. letters: at its left, right, upper
    and lower edge, "" where the geometry is unknown. mm: of one pixel, None where unknown. place: 3 x 4
    numbers that take (row, column, slice, 1) to millimetres (right, front, up), or to voxels where the
    geometry is unknown.
    """

    name: str
    count: int
    rows: int
    columns: int
    letters: tuple[str, str, str, str]
    mm: float | None
    place: list[list[float]]


def views_in(volume: Volume) -> list[PlaneView]:
    """Every plane that a scan can be shown in."""
    if volume.ndim == 3 and volume.affine is not None:
        return [_plane(volume, name, _count(volume, name)) for name in PLANES]
    return [_plane(volume, plane_of(volume) if volume.ndim == 2 else "", (*volume.shape, 1)[2])]


def _plane(volume: Volume, name: str, count: int) -> PlaneView:
    first = _turned(volume, name, 0)
    rows, columns = upright(volume, largest=_LARGEST, **_where(volume, name, 0)).shape
    base = np.eye(4) if first.affine is None else np.array(first.affine)
    if volume.ndim == 3 and first.affine is not None and count > 1:
        base[:3, 2] = np.array(_turned(volume, name, 1).affine)[:3, 3] - base[:3, 3]
    scale = np.array([first.shape[0] / rows, first.shape[1] / columns])
    place = np.stack([base[:3, 0] * scale[0], base[:3, 1] * scale[1], base[:3, 2], base[:3, 3]], axis=1)
    place[:, 3] += base[:3, :2] @ (scale - 1) / 2  # the middle of a pixel of the picture
    mm = None if first.spacing_mm is None else first.spacing_mm[0] * float(scale[0])
    return PlaneView(name or "as stored", count, rows, columns, _letters(volume, name), mm, place.tolist())


def _turned(volume: Volume, plane: str, at: int) -> Volume:
    """The slice of a volume, or the image, as it is shown."""
    if volume.affine is None:
        return volume
    return cut(volume, plane, at) if volume.ndim == 3 else orient_plane(volume, PLANES[plane])


def _letters(volume: Volume, plane: str) -> tuple[str, str, str, str]:
    if volume.affine is None:
        return "", "", "", ""
    left, right = sides(volume, plane=plane)
    down = PLANES[plane][0]
    return left, right, {"P": "A", "I": "S"}[down], down


def _count(volume: Volume, plane: str) -> int:
    pair = next(pair for pair in ("RL", "AP", "SI") if stacking_axis(plane) in pair)
    return volume.shape[next(n for n, letter in enumerate(axcodes(volume)) if letter in pair)]


def _where(volume: Volume, plane: str, at: int) -> Mapping[str, Any]:
    """As ``upright`` takes it. Raises BadOption for a plane or a slice that the scan has not."""
    solid = volume.ndim == 3 and volume.affine is not None
    if solid and plane not in PLANES:
        raise BadOption(f"plane: there is no plane {plane!r}", f"choose from {', '.join(PLANES)}")
    count = _count(volume, plane) if solid else (*volume.shape, 1)[2]
    if not 0 <= at < count:
        raise BadOption(f"slice: there is no slice {at}", f"choose 0 to {count - 1}")
    return {"plane": plane, "at": at} if solid else {"at": at}


def presets(volume: Volume) -> list[dict[str, object]]:
    """Windows that a radiologist expects, by name: of CT in Hounsfield units, else shares of the values."""
    first = quick_window(volume)
    if volume.unit == "HU":
        named = {
            "soft tissue": (-160, 240),
            "lung": (-1350, 150),
            "bone": (-500, 1300),
            "brain": (0, 80),
            "liver": (0, 150),
            "mediastinum": (-125, 225),
        }
        found = [(name, *map(float, ends)) for name, ends in named.items()]
    else:
        values = volume.data[..., :: max(1, volume.data.shape[-1] // 16)]
        ends = np.quantile(values, (0.0, 0.02, 0.4, 0.9, 0.98, 1.0)).tolist()
        found = [
            ("range of the scan", first.low, first.high),
            ("more contrast", ends[1], ends[4]),
            ("bright parts", ends[2], ends[5]),
            ("dark parts", ends[0], ends[3]),
        ]
    return [{"name": name, "low": low, "high": max(high, low + 1e-6)} for name, low, high in found]


def drawn(
    volume: Volume,
    plane: str,
    at: int,
    *,
    colours: str = "grey",
    low: float = 0.0,
    high: float = 1.0,
    start: float | None = None,
    channel: int = 0,
) -> bytes:
    """One plane as PNG. colours: "grey" through the window low..high; "inferno", 0..high in colours;
    "overlay", colours from low to high, transparent below start (default low); "labels", one colour a label,
    all else transparent.

    Raises BadOption for a plane or a slice that the scan has not.
    """
    where = _where(volume, plane, at)
    channel = min(max(channel, 0), len(volume.data) - 1)
    labels = colours == "labels"
    values = upright(volume, **where, channel=channel, largest=_LARGEST, nearest=labels)
    if labels:
        return _png(_labels(values))
    if colours == "grey":
        return _png(grey(values, Window(low, max(high, low + 1e-9), "")))
    if colours == "overlay":
        layer = overlaid(values, low, high)
        if start is not None:  # what is shown changes, the colour of a value does not
            layer.putalpha(Image.fromarray(np.where(values >= start, 255, 0).astype(np.uint8)))
        return _png(layer)
    return _png(coloured(values, high, name=colours))


def _labels(numbers: NDArray[np.floating]) -> Image.Image:
    """An outline of each label, two pixels wide, over a faint filling."""
    shown = np.zeros((*numbers.shape, 4), np.uint8)
    for number in np.unique(numbers[numbers > 0]):
        inside = numbers == number
        small = inside.copy()
        for _ in range(2):
            grown = np.pad(small, 1, constant_values=False)
            small = small & grown[:-2, 1:-1] & grown[2:, 1:-1] & grown[1:-1, :-2] & grown[1:-1, 2:]
        colour = _FINDINGS[(int(number) - 1) % len(_FINDINGS)]
        shown[inside] = (*colour, 40)
        shown[inside & ~small] = (*colour, 255)
    return Image.fromarray(shown)


def legend(name: str) -> bytes:
    """The colours of ``drawn`` from low to high."""
    return _png(scale_bar(name))


def _png(image: Image.Image) -> bytes:
    out = BytesIO()
    image.save(out, "PNG", compress_level=1)  # for this machine: speed counts, not size
    return out.getvalue()


Kept = TypeVar("Kept")


def _bytes_of(one: object) -> int:
    return one.data.nbytes if isinstance(one, Volume) else len(one)  # type: ignore[arg-type]


@dataclass(slots=True)
class Shelf(Generic[Kept]):
    """Volumes, or pictures as bytes, that were wanted lately, at most ``most`` bytes of them; threads that
    want the same one wait for one making.
    """

    most: int = 2 * 2**30
    _held: OrderedDict[Hashable, Kept] = field(default_factory=OrderedDict)
    _taken: int = 0
    _making: dict[Hashable, threading.Lock] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def put(self, key: Hashable, one: Kept) -> None:
        """Keep what was made elsewhere."""
        with self._lock:
            old = self._held.pop(key, None)
            self._held[key] = one
            self._taken += _bytes_of(one) - (0 if old is None else _bytes_of(old))
            while len(self._held) > 1 and self._taken > self.most:
                self._taken -= _bytes_of(self._held.popitem(last=False)[1])

    def get(self, key: Hashable, maker: Callable[[], Kept]) -> Kept:
        """Raises what ``maker`` raises, which makes that of the key."""
        with self._lock:
            if key in self._held:
                self._held.move_to_end(key)
                return self._held[key]
            turn = self._making.setdefault(key, threading.Lock())
        with turn:
            with self._lock:
                if key in self._held:
                    return self._held[key]
            made = maker()
            self.put(key, made)
            with self._lock:
                self._making.pop(key, None)
            return made
