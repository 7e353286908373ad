"""Real scans that say what is in distribution. They are read once for all scans of a folder."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path

import numpy as np

from ...data.volume import Volume
from ...errors import BadOption
from ...explanation.believable import Likeness
from ...io.dataset.cache import cached_scan
from ...io.dataset.pixels.twins import pixel_hash
from ...io.dataset.scan import Item
from ...jobs.explain import likeness_of
from ...prior import Prior
from ..ask.requests import Explain

__all__ = ["RealScans", "real_scans"]

_MOST = 200
"""Real scans that are read for p-values."""

_Case = tuple[Item, Volume]


@dataclass(frozen=True, slots=True, eq=False)
class RealScans:
    """cases: a scan and where it comes from. hashes: of their numbers. shapes: as the prior sees them."""

    prior: Prior
    allow_other: bool
    cases: tuple[_Case, ...]
    hashes: tuple[str, ...]
    shapes: tuple[tuple[int, ...], ...]
    _known: dict[tuple[int, ...], Likeness] = field(default_factory=dict)

    @classmethod
    def of(cls, prior: Prior, cases: Iterable[_Case], allow_other: bool) -> RealScans:
        """Raises what ``Prior.admit`` raises."""
        found = tuple(cases)
        shapes = tuple(tuple(prior.admit(volume, allow_other=allow_other).whole.shape) for _, volume in found)
        return cls(prior, allow_other, found, tuple(pixel_hash(volume) for _, volume in found), shapes)

    def others(self, scan: Volume) -> list[_Case]:
        """All but the scan itself."""
        own = pixel_hash(scan)
        return [case for case, digest in zip(self.cases, self.hashes, strict=True) if digest != own]

    def likeness(self, scan: Volume) -> Likeness | None:
        """What scans of the size of this one look like, without itself. None where no scan was given.

        Raises Uncalibrated for fewer than 19 of them.
        """
        if not self.cases:
            return None
        shape = tuple(self.prior.admit(scan, allow_other=self.allow_other).whole.shape)
        rows = [n for n, other in enumerate(self.shapes) if other == shape]
        own = pixel_hash(scan)
        if self.prior.card.numbers:  # what is usual depends on the numbers of the scan: nothing to keep
            rest = [self.cases[n][1] for n in rows if self.hashes[n] != own]
            return likeness_of(self.prior, scan, rest, allow_other=self.allow_other)
        if shape not in self._known:
            same = [self.cases[n][1] for n in rows]
            self._known[shape] = likeness_of(self.prior, scan, same, allow_other=self.allow_other)
        return self._known[shape].without([at for at, n in enumerate(rows) if self.hashes[n] == own])


def real_scans(request: Explain, prior: Prior) -> RealScans:
    """Those of the folder that the request names, evenly over its files; none where it names none.

    Raises BadOption for similar cases without a folder, and for a folder without usable scans.
    """
    if request.real is None:
        if request.similar:
            raise BadOption("similar: wanted real scans to look among", "name their folder: --real FOLDER")
        return RealScans(prior, request.allow_other, (), (), ())
    index = cached_scan(request.real, unit=request.unit, modality=request.modality)
    items = index.usable(None)
    if not items:
        raise BadOption(f"real: {request.real} holds no usable scan")
    at = {round(n) for n in np.linspace(0, len(items) - 1, min(_MOST, len(items)))}
    digests = tuple(items[n].digest for n in sorted(at))
    return _read(request.real, request.unit, request.modality, request.allow_other, prior, digests)


@lru_cache(maxsize=1)
def _read(
    folder: Path,
    unit: str | None,
    modality: str | None,
    allow_other: bool,
    prior: Prior,
    digests: tuple[str, ...],
) -> RealScans:
    index = cached_scan(folder, unit=unit, modality=modality)
    wanted = set(digests)
    items = [item for item in index.usable(None) if item.digest in wanted]
    return RealScans.of(prior, index.volumes(items), allow_other)
