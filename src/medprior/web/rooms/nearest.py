"""The scan of a data set that is most alike a synthetic image, to be laid beside it in a gallery."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from ...data.views import as_png, grey, quick_window, upright
from ...data.volume import Volume
from ...errors import BadOption
from ...io.dataset.layout import Layout
from ...runs.core.progress import silent

if TYPE_CHECKING:
    from torch import Tensor

    from ...io.dataset.scan import Index, Item

__all__ = ["NearestRoom", "NearestScan"]

_MOST = 4000
"""Scans of a set that are looked through."""
_SIDE = 320


@dataclass(frozen=True, slots=True)
class NearestScan:
    """name: of its file. alike: correlation with the image at 64 x 64 pixels, 1 for the same picture."""

    name: str
    alike: float
    png: bytes


@dataclass(frozen=True, slots=True)
class _Known:
    index: Index
    items: tuple[Item, ...]
    pictures: Tensor


@dataclass(slots=True)
class NearestRoom:
    """Sets that were read lately, by folder and kind of scan."""

    _sets: dict[tuple[Path, str, str], _Known] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def nearest(self, image: Volume, folder: Path) -> NearestScan:
        """Among all scans of a set, whatever their split. The copy audit looks closer: it also finds what was
        cropped, turned or mixed.

        Raises what ``scan`` raises, BadOption for a set without scans of that kind.
        """
        key = (folder, image.unit, image.modality)
        with self._lock:
            if key not in self._sets:
                self._sets = {key: _read(*key)}
            known = self._sets[key]
        likeness = known.pictures @ _compared(image)
        at = int(likeness.argmax())
        item = known.items[at]
        volume = next(found for _, found in known.index.volumes([item]))
        picture = grey(upright(volume), quick_window(volume))
        picture.thumbnail((_SIDE, _SIDE))
        return NearestScan(item.path, float(likeness[at]), as_png(picture))


def _read(folder: Path, unit: str, modality: str) -> _Known:
    import torch  # most of the page does without

    from ...runs.core.inputs import indexed

    said = None if unit == "a.u." else unit
    with indexed(folder, said, modality or None, silent, Layout(folders="labels")) as index:
        items = index.usable(None)[:_MOST]
        found = [(item, _compared(volume)) for item, volume in index.volumes(items)]
    if not found:
        raise BadOption("set: it holds no scan of this kind", "choose the set that the prior learned from")
    side = max(len(picture) for _, picture in found)
    alike = [(item, picture) for item, picture in found if len(picture) == side]
    return _Known(index, tuple(item for item, _ in alike), torch.stack([one for _, one in alike]))


def _compared(volume: Volume) -> Tensor:
    """(d,) a unit vector whose products are correlations."""
    import torch

    from ...evidence.synthetic.likeness import as_pictures

    flat = as_pictures([torch.from_numpy(volume.data.copy())])[0].flatten()
    return torch.nn.functional.normalize(flat - flat.mean(), dim=0)
