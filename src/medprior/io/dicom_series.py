"""DICOM in: one file, or a folder with one series among others, into a Volume."""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..data.volume import Provenance, Volume
from ..errors import BadGeometry, BadOption, Corrupt, FileProblem, MedpriorError, Unsupported, nearest
from .dicom_geometry import Layout, Plane, affine_2d, affine_3d, canonical, in_order, stacks
from .dicom_open import Header, door, named, open_dicom, open_if_dicom
from .dicom_pixels import PixelFormat, frames, inverted, modality_lut, pixel_format, unit_of, values
from .dicom_planes import planes_of
from .limits import Limits

__all__ = ["Series", "index_series", "list_series", "read_dicom"]


@dataclass(frozen=True, slots=True)
class Series:
    """Planes of one series that belong together. ``id`` is opaque: it says nothing about the patient and is the same on every machine."""

    id: str
    modality: str
    n_files: int
    n_slices: int
    shape: tuple[int, int]
    description: str
    localizer: bool
    paths: tuple[Path, ...] = field(repr=False)
    uid: str = field(repr=False)
    planes: tuple[Plane, ...] = field(repr=False)


def read_dicom(path: Path, *, series: str | None = None, frame: int | None = None, limit: Limits | None = None) -> Volume:
    """One DICOM file, or the series in a folder (searched to its depth).

    A classic file becomes an image (1, i, j): i down the rows, j along the columns, affine RAS mm or None when the file does not say where it lies.
    A series or an enhanced multi-frame file becomes a volume (1, i, j, k) turned to the closest canonical RAS+; ``provenance.axes_map`` undoes the turn to
    (slice, row, column). series: the id from ``list_series`` (or the Series Instance UID) where there are several; frame: one frame of a film, counted from 0.
    Raises FileProblem and its kinds (Unsupported, also for a missing codec, Corrupt, Truncated, TooLarge, BadGeometry),
    BadOption for an unknown series or frame.
    """
    path, limit = Path(path), limit or Limits()
    with door(path):
        if path.is_dir():
            return _folder(path, series, limit)
        return _file(path, series, frame, limit)


def list_series(folder: Path, *, limit: Limits | None = None) -> list[Series]:
    """Every stack of planes in a folder tree, by series; files that are no DICOM images or damaged are passed over (``index_series`` names those).

    Raises FileProblem when the folder cannot be read.
    """
    return index_series(folder, limit=limit)[0]


def index_series(folder: Path, *, limit: Limits | None = None) -> tuple[list[Series], list[MedpriorError]]:
    """The series of a folder tree, and an error for each DICOM file that cannot be used; only headers are read."""
    folder = Path(folder)
    with door(folder):
        return _index(folder, limit or Limits())[:2]


def _files(folder: Path) -> Iterator[Path]:
    """Each plain file of a tree once, in order; links are followed only to files not seen yet, pipes and devices are never opened."""
    seen: set[tuple[int, int]] = set()
    waiting = [folder]
    while waiting:
        place = waiting.pop()
        with os.scandir(place) as entries:
            for entry in sorted(entries, key=lambda e: e.name):
                try:
                    about = entry.stat()
                except OSError:  # a link to nowhere
                    continue
                if (about.st_dev, about.st_ino) in seen:
                    continue
                seen.add((about.st_dev, about.st_ino))
                if stat.S_ISDIR(about.st_mode):
                    waiting.append(Path(entry.path))
                elif stat.S_ISREG(about.st_mode):
                    yield Path(entry.path)


def _index(folder: Path, limit: Limits) -> tuple[list[Series], list[MedpriorError], dict[Path, PixelFormat]]:
    by_uid: dict[str, list[Plane]] = {}
    forms: dict[Path, PixelFormat] = {}
    bad: list[MedpriorError] = []
    for path in sorted(_files(folder)):
        try:
            header = open_if_dicom(path, limit)
            if header is None:
                continue
            if header.skeleton.pixels is None and header.get("Rows") is None:
                continue  # reports, plans, indices: DICOM, but no images
            forms[path] = pixel_format(header, limit)
            by_uid.setdefault(header.text("SeriesInstanceUID"), []).extend(planes_of(header, forms[path]))
        except Exception as error:  # one bad file must not hide the others: named here, raised or listed by the caller
            bad.append(named(path, error))
    found = []
    for uid, planes in by_uid.items():
        several = stacks(planes)
        found += [_series(uid, stack, n if len(several) > 1 else None) for n, stack in enumerate(several, 1)]
    return found, bad, forms


def _series(uid: str, planes: Sequence[Plane], number: int | None) -> Series:
    header = planes[0].header
    paths = tuple(dict.fromkeys(p.header.path for p in planes))
    name = "s" + hashlib.sha256(uid.encode()).hexdigest()[:8] + (f"-{number}" if number else "")
    description = str(header.dataset().get("SeriesDescription") or "").strip()
    return Series(name, header.text("Modality"), len(paths), len(planes), planes[0].shape, description, planes[0].localizer, paths, uid, tuple(planes))


def _folder(folder: Path, wanted: str | None, limit: Limits) -> Volume:
    found, bad, forms = _index(folder, limit)
    if bad:
        raise bad[0]
    if not found:
        raise Unsupported(folder, "no DICOM image in this folder")
    chosen, notes = _choose(folder, found, wanted)
    if len(chosen.planes) == 1:
        return _image(chosen.planes[0], forms[chosen.paths[0]], notes)
    return _volume(chosen.planes, forms, limit, notes)


def _choose(folder: Path, found: list[Series], wanted: str | None) -> tuple[Series, list[str]]:
    if wanted is not None:
        picked = [s for s in found if wanted in (s.id, s.uid)]
        if len(picked) == 1:
            return picked[0], []
        raise BadOption(f"series: {wanted!r} is not in {folder.name}", nearest(wanted, [s.id for s in found]))
    if len(found) == 1:
        return found[0], []
    body = [s for s in found if not s.localizer and s.n_slices > 1]
    rest = [s for s in found if s.localizer and body and s.uid == body[0].uid]
    if len(body) == 1 and len(rest) == len(found) - 1:
        return body[0], [f"{sum(s.n_slices for s in rest)} localizer images of the series were left out"]
    kinds = "; ".join(f"{s.id}: {s.modality}{' localizer' if s.localizer else ''}, {s.n_slices} x {s.shape[0]} x {s.shape[1]}" for s in found[:12])
    reason = "several series" if len({s.uid for s in found}) > 1 else "one series with stacks that differ (size, direction, spacing, phase or purpose)"
    raise BadGeometry(folder, f"{reason}: {kinds}{' ...' if len(found) > 12 else ''}", f"choose one, e.g. series={found[0].id!r}")


def _file(path: Path, series: str | None, frame: int | None, limit: Limits) -> Volume:
    if not path.exists():
        raise FileProblem(path, "no such file")
    header = open_dicom(path, limit)
    form = pixel_format(header, limit)
    if frame is not None:
        if not 0 <= frame < form.n_frames:
            raise BadOption(f"frame: wanted 0 to {form.n_frames - 1}, got {frame}")
        return _image(planes_of(header, form)[frame], form, [f"frame {frame} of {form.n_frames}"] if form.n_frames > 1 else [])
    if form.n_frames == 1:
        return _image(planes_of(header, form)[0], form, [])
    planes = planes_of(header, form)
    if planes[0].position is None:
        raise BadGeometry(path, f"holds {form.n_frames} frames over time, not a volume", f"choose one with frame=0 to frame={form.n_frames - 1}")
    several = stacks(planes)
    named = [_series(header.text("SeriesInstanceUID"), s, n if len(several) > 1 else None) for n, s in enumerate(several, 1)]
    chosen, notes = _choose(path, named, series)
    return _volume(chosen.planes, {path: form}, limit, notes)


def _spacing(header: Header) -> tuple[tuple[float, ...] | None, list[str]]:
    """(down the rows, along the columns) in mm of an image without a place, and how it is known."""
    for keyword in ("PixelSpacing", "ImagerPixelSpacing", "NominalScannedPixelSpacing"):
        found = header.numbers(keyword, 2)
        if found and min(found) > 0:
            return found, ["pixel spacing as at the detector, not in the patient"] if keyword == "ImagerPixelSpacing" else []
    regions = header.dataset().get("SequenceOfUltrasoundRegions") or []
    if len(regions) == 1 and regions[0].get("PhysicalUnitsXDirection") == regions[0].get("PhysicalUnitsYDirection") == 3:
        delta = abs(float(regions[0].PhysicalDeltaY)) * 10, abs(float(regions[0].PhysicalDeltaX)) * 10
        return (delta if min(delta) > 0 else None), []
    return None, []


def _provenance(planes: Sequence[Plane], notes: Sequence[str], axes_map: tuple[tuple[int, bool], ...]) -> Provenance:
    header = planes[0].header
    sources = tuple(dict.fromkeys(p.header.path for p in planes))
    what = f"read from DICOM: {len(sources)} file{'s' * (len(sources) > 1)}, {header.syntax.name}"
    return Provenance(sources, "dicom", header.text("SyntheticData") == "YES", (what,), axes_map, tuple(notes))


def _image(plane: Plane, form: PixelFormat, notes: list[str]) -> Volume:
    header = plane.header
    affine, unit = affine_2d(plane), unit_of(header, plane.rescale_type)
    spacing, how = _spacing(header) if affine is None else (None, [])
    data = np.empty((1, form.rows, form.columns), np.float32)
    notes = notes + how + _fill([plane], {header.path: form}, data, unit)
    if affine is not None and plane.thickness is None:
        notes.append("slice thickness unknown")
    return Volume(data, affine, unit, header.text("Modality"), spacing, _provenance([plane], notes, ((0, False), (1, False))))


def _volume(stack: Sequence[Plane], forms: dict[Path, PixelFormat], limit: Limits, notes: list[str]) -> Volume:
    planes, repaired = in_order(stack)
    first = planes[0]
    if len(planes) == 1:
        return _image(first, forms[first.header.path], notes + repaired)
    unit = unit_of(first.header, first.rescale_type)
    for plane in planes:
        if unit_of(plane.header, plane.rescale_type) != unit or plane.header.text("Modality") != first.header.text("Modality"):
            raise Corrupt(plane.header.path, "has another unit or modality than the other slices of its series")
    shape = (len(planes), *first.shape)
    limit.check(first.header.path, int(np.prod(shape)), int(np.prod(shape)) * 4)
    layout, affine = canonical(affine_3d(planes), shape)
    data, slices = _allocate(shape, layout)
    notes = notes + repaired + _fill(planes, forms, slices, unit)
    axes_map = tuple(zip(layout.axes, layout.flips, strict=True))
    return Volume(data, affine, unit, first.header.text("Modality"), None, _provenance(planes, notes, axes_map))


def _allocate(shape: tuple[int, int, int], layout: Layout) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """The canonical (1, i, j, k) array and the same memory as (slice, row, column): slices are written in place and nothing is copied afterwards."""
    memory = np.empty(shape, np.float32)
    turned = memory.transpose(layout.axes)[None]
    backwards = dict(zip(layout.axes, layout.flips, strict=True))
    return turned, memory[tuple(slice(None, None, -1 if backwards[axis] else 1) for axis in range(3))]


def _fill(planes: Sequence[Plane], forms: dict[Path, PixelFormat], out: NDArray[np.float32], unit: str) -> list[str]:
    """Writes the values of each plane into ``out`` (slice, row, column); returns what was done to them."""
    notes: list[str] = []
    by_file: dict[Path, list[int]] = {}
    for n, plane in enumerate(planes):
        by_file.setdefault(plane.header.path, []).append(n)
    padded: dict[int, NDArray[Any]] = {}
    for path, where in by_file.items():
        header, form = planes[where[0]].header, forms[path]
        invert, lut = inverted(form, unit), modality_lut(header)
        source = header.dataset() if form.photometric == "PALETTE COLOR" else None
        padding = padding_of(header, form)
        with door(path):  # a decoder's complaint names the file, not the folder
            for n, stored in zip(where, frames(header, form, [planes[n].frame for n in where]), strict=True):
                if padding is not None:
                    mask: NDArray[Any] = (stored >= padding[0]) & (stored <= padding[1])
                    if mask.any():
                        padded[n] = mask
                values(stored, form, planes[n].rescale, out[n], invert=invert, source=source, lut=lut)
        notes += [note for note in _notes(form, invert, unit) if note not in notes]
    if padded:
        notes.append(_fill_padding(out, padded))
    if any(form.floating for form in forms.values()) and not np.isfinite(out).all():
        notes.append(f"{int((~np.isfinite(out)).sum())} voxels are not finite")
    return notes


def _notes(form: PixelFormat, invert: bool, unit: str) -> list[str]:
    if invert:
        return ["MONOCHROME1 was turned to the polarity of MONOCHROME2 (high values bright)"]
    if form.photometric == "MONOCHROME1":
        return [f"MONOCHROME1 in {unit}: the physical values were kept"]
    return [] if form.samples == 1 and form.photometric != "PALETTE COLOR" else [f"{form.photometric} was turned to grey (ITU-R BT.601 luma)"]


def padding_of(header: Header, form: PixelFormat) -> tuple[float, float] | None:
    """Lowest and highest stored value that mean "no pixel" (PS3.3 section C.7.5.1.1.2), None when the file names none."""
    value = header.whole("PixelPaddingValue")
    if value is None or form.samples == 3 or form.floating:
        return None
    other = header.whole("PixelPaddingRangeLimit", value)
    bits = 1 << form.allocated
    ends = [v - bits if form.signed and v >= bits // 2 else v + bits if not form.signed and v < 0 else v for v in (value, value if other is None else other)]
    return min(ends), max(ends)


def _fill_padding(out: NDArray[np.float32], padded: dict[int, NDArray[Any]]) -> str:
    """Padding takes the lowest value of the image: -3024 HU outside of the field of view would be a measurement nobody made."""
    lowest = np.inf
    for n in range(len(out)):
        seen = out[n][~padded[n]] if n in padded else out[n]
        if seen.size:
            lowest = min(lowest, float(seen.min()))
    if np.isfinite(lowest):
        for n, mask in padded.items():
            out[n][mask] = lowest
    return f"{sum(int(m.sum()) for m in padded.values())} padded pixels were set to {lowest:g}, the lowest value of the rest"
