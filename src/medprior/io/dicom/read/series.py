"""DICOM in: one file, or a folder with one series among others, into a Volume."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ....data.volume import Provenance, Volume
from ....errors import BadGeometry, BadOption, Corrupt, FileProblem, Unsupported
from ...disk.limits import Limits
from .frames import frames
from .geometry import Plane, PlaneLayout, affine_2d, affine_3d, canonical
from .open import Header, dicom_errors, open_dicom
from .pixels import PixelFormat, inverted, modality_lut, unit_of, values
from .resample import on_even_grid
from .stacking import ASIS, Stacking, sort_planes
from .tree import (
    DicomSeries,
    Tree,
    broken_off,
    check_series,
    choose_series,
    files_below,
    index_files,
    planes_in,
    series_of,
)

__all__ = ["AT_THE_DETECTOR", "Pick", "read_all_dicom", "read_dicom", "read_files", "read_series"]

AT_THE_DETECTOR = "pixel spacing as at the detector, not in the patient"
_HOUNSFIELD = (-1500.0, 31_743.0)
"""HU that a CT scan may hold: below lies what pads a picture, above the end of the extended scale."""


@dataclass(frozen=True, slots=True)
class Pick:
    """What is meant among the images of a file or folder. series: its id or UID. volume: a name that
    ``DicomSeries`` gives. frame: of a film, counted from 0. how: the slices become a volume.
    """

    series: str | None = None
    volume: str | None = None
    frame: int | None = None
    how: Stacking = ASIS


def read_dicom(
    path: Path,
    *,
    series: str | None = None,
    volume: str | None = None,
    frame: int | None = None,
    how: Stacking = ASIS,
    limit: Limits | None = None,
) -> Volume:
    """One DICOM file, or the series in a folder (searched to its depth).

    A classic file becomes an image (1, i, j): i down the rows, j along the columns, affine RAS mm or None
    when the file does not say where it lies. A series, a mosaic or an enhanced multi-frame file becomes a
    volume (1, i, j, k) turned to the closest canonical RAS+; ``provenance.axes_map`` undoes the turn to
    (slice, row, column). frame: one frame of a film, counted from 0. series: the id from ``list_series`` (or
    the Series Instance UID), where there are several, or where a file beside it is damaged. volume: the name
    of one volume, where a series holds several. how: which slices, and whether they are resampled. Raises
    FileProblem and its kinds (Unsupported, also for a missing codec, Corrupt, Truncated, TooLarge,
    BadGeometry), BadOption for an unknown series, volume or frame.
    """
    path, limit = Path(path), limit or Limits()
    pick = Pick(series, volume, frame, how)
    with dicom_errors(path):
        if path.is_dir():
            tree, forms = index_files(sorted(files_below(path)), limit)
            picked, notes = choose_series(path, tree, series, volume, how)
            return _stacked(picked, forms, limit, notes, how)
        return _file(path, pick, limit)


def read_all_dicom(path: Path, *, series: str | None = None, limit: Limits | None = None) -> list[Volume]:
    """Every volume of a file or folder but localizers, in the order of ``list_series``. series: of this one
    only (its id or UID). A volume that was broken off is left out, and the warnings of the others name it.
    Raises as ``read_dicom``, for the first other volume that cannot be read.
    """
    path, limit = Path(path), limit or Limits()
    with dicom_errors(path):
        tree, forms = index_files(sorted(files_below(path)) if path.is_dir() else [path], limit)
        found = [one for one in tree.series if series in (None, one.id, one.uid, one.stem)]
        if series is not None and not found:
            choose_series(path, tree, series)  # says which there are
        if not found or (tree.faults and series is None):
            raise next(iter(tree.faults or tree.others), Unsupported(path, "holds no DICOM image"))
        body = [one for one in found if not one.localizer] or found
        torn = {one.id: fault for one in body if (fault := broken_off(one))}
        whole = [one for one in body if one.id not in torn]
        for one in whole or body:
            check_series(one)
        notes = [f"left out: {fault.reason}" for fault in torn.values()]
        return [_stacked(one, forms, limit, list(notes)) for one in whole]


def read_series(series: DicomSeries, *, limit: Limits | None = None) -> Volume:
    """Exactly one series of ``list_series`` or ``index_series``: only its own files are opened, whatever else
    lies in their folder.

    Raises the fault of a damaged file of this series, Corrupt when its files have changed since, else as
    ``read_dicom``.
    """
    limit = limit or Limits()
    with dicom_errors(series.paths[0].parent):
        check_series(series)
        planes, forms = _opened(series.paths, limit)
        listed = {(plane.header.path, plane.frame) for plane in series.planes}
        wanted = [plane for plane in planes if (plane.header.path, plane.frame) in listed]
        if len(wanted) != len(listed) or {plane.header.text("SeriesInstanceUID") for plane in wanted} != {
            series.uid
        }:
            raise Corrupt(series.paths[0], "has changed since its series was listed", "list the series again")
        return _stacked(replace(series, planes=tuple(wanted)), forms, limit, [])


def read_files(paths: Sequence[Path], *, limit: Limits | None = None) -> Volume:
    """The planes of exactly these files, which must make one stack. Raises as ``read_dicom``."""
    limit = limit or Limits()
    with dicom_errors(paths[0].parent):
        planes, forms = _opened(paths, limit)
        found = series_of(planes)
        picked, notes = choose_series(paths[0].parent, Tree(found))
        return _stacked(picked, forms, limit, notes)


def _opened(paths: Sequence[Path], limit: Limits) -> tuple[list[Plane], dict[Path, PixelFormat]]:
    planes: list[Plane] = []
    forms: dict[Path, PixelFormat] = {}
    for path in paths:
        with dicom_errors(path):
            about = path.stat()
            found, forms[path] = _planes_of_file(path, (about.st_mtime_ns, about.st_size), limit)
        planes += found
    return planes, forms


@lru_cache(maxsize=1)
def _planes_of_file(
    path: Path,
    state: tuple[int, int],  # noqa: ARG001 (a part of the key of the cache)
    limit: Limits,
) -> tuple[list[Plane], PixelFormat]:
    """The last file is kept: one of thousands of frames holds many volumes, which are read in turn."""
    return planes_in(open_dicom(path, limit), limit)


def _stacked(
    series: DicomSeries, forms: dict[Path, PixelFormat], limit: Limits, notes: list[str], how: Stacking = ASIS
) -> Volume:
    """The image or volume of one series, under its name where the series holds several."""
    planes = series.planes
    found = (
        _image(planes[0], forms[planes[0].header.path], limit, notes)
        if len(planes) == 1
        else _volume(planes, forms, limit, notes, how)
    )
    return replace(found, provenance=replace(found.provenance, volume=series.volume))


def _file(path: Path, pick: Pick, limit: Limits) -> Volume:
    if not path.exists():
        raise FileProblem(path, "no such file")
    planes, form = planes_in(open_dicom(path, limit), limit)
    if (frame := pick.frame) is not None:
        if not 0 <= frame < form.n_frames:
            raise BadOption(f"frame: wanted 0 to {form.n_frames - 1}, got {frame}")
        return _image(
            planes[frame], form, limit, [f"frame {frame} of {form.n_frames}"] if form.n_frames > 1 else []
        )
    if len(planes) == 1:
        return _image(planes[0], form, limit, [])
    if planes[0].position is None:
        raise BadGeometry(
            path,
            f"holds {form.n_frames} frames over time, not a volume",
            f"choose one with index (--index) 0 to {form.n_frames - 1}",
        )
    picked, notes = choose_series(path, Tree(series_of(planes)), pick.series, pick.volume, pick.how)
    return _stacked(picked, {path: form}, limit, notes, pick.how)


def _spacing(header: Header) -> tuple[tuple[float, ...] | None, list[str]]:
    """(down the rows, along the columns) in mm of an image without a place, and how it is known."""
    for keyword in ("PixelSpacing", "ImagerPixelSpacing", "NominalScannedPixelSpacing"):
        found = header.numbers(keyword, 2)
        if found and min(found) > 0:
            return found, [AT_THE_DETECTOR] if keyword == "ImagerPixelSpacing" else []
    regions = header.dataset().get("SequenceOfUltrasoundRegions") or []
    if (
        len(regions) == 1
        and regions[0].get("PhysicalUnitsXDirection") == regions[0].get("PhysicalUnitsYDirection") == 3
    ):
        delta = abs(float(regions[0].PhysicalDeltaY)) * 10, abs(float(regions[0].PhysicalDeltaX)) * 10
        return (delta if min(delta) > 0 else None), []
    return None, []


def _provenance(
    planes: Sequence[Plane], notes: Sequence[str], axes_map: tuple[tuple[int, bool], ...]
) -> Provenance:
    header = planes[0].header
    sources = tuple(dict.fromkeys(p.header.path for p in planes))
    what = f"read from DICOM: {len(sources)} file{'s' * (len(sources) > 1)}, {header.syntax.name}"
    return Provenance(
        sources, "dicom", header.text("SyntheticData") == "YES", (what,), axes_map, tuple(notes)
    )


def _image(plane: Plane, form: PixelFormat, limit: Limits, notes: list[str]) -> Volume:
    header = plane.header
    affine, unit = affine_2d(plane), unit_of(header, plane.rescale_type)
    spacing, how = _spacing(header) if affine is None else (None, [])
    data = np.empty((1, *plane.shape), np.float32)
    notes = notes + how + _fill([plane], {header.path: form}, data, unit, limit)
    if affine is not None and plane.thickness is None:
        notes.append("slice thickness unknown")
    return Volume(
        data,
        affine,
        unit,
        header.text("Modality"),
        spacing,
        _provenance([plane], notes, ((0, False), (1, False))),
    )


def _volume(
    stack: Sequence[Plane],
    forms: dict[Path, PixelFormat],
    limit: Limits,
    notes: list[str],
    how: Stacking = ASIS,
) -> Volume:
    planes, repaired = sort_planes(stack, how)
    first = planes[0]
    if len(planes) == 1:
        return _image(first, forms[first.header.path], limit, notes + repaired)
    unit = unit_of(first.header, first.rescale_type)
    for plane in planes:
        if unit_of(plane.header, plane.rescale_type) != unit or plane.header.text(
            "Modality"
        ) != first.header.text("Modality"):
            raise Corrupt(
                plane.header.path, "has another unit or modality than the other slices of its series"
            )
    shape = (len(planes), *first.shape)
    limit.check(first.header.path, int(np.prod(shape)), int(np.prod(shape)) * 4)
    notes = notes + repaired
    if how.resample:
        uneven = np.empty(shape, np.float32)
        notes += _fill(planes, forms, uneven, unit, limit)
        values, places = on_even_grid(uneven, planes, limit)
        layout, affine = canonical(affine_3d(places), values.shape)
        data, slices = _allocate(values.shape, layout)
        slices[...] = values
        notes.append(f"{len(planes)} slices were resampled onto {len(places)} that lie evenly")
    else:
        layout, affine = canonical(affine_3d(planes), shape)
        data, slices = _allocate(shape, layout)
        notes += _fill(planes, forms, slices, unit, limit)
    axes_map = tuple(zip(layout.axes, layout.flips, strict=True))
    return Volume(
        data, affine, unit, first.header.text("Modality"), None, _provenance(planes, notes, axes_map)
    )


def _allocate(
    shape: tuple[int, int, int], layout: PlaneLayout
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """The canonical (1, i, j, k) array and the same memory as (slice, row, column): slices are written in
    place and nothing is copied afterwards.
    """
    memory = np.empty(shape, np.float32)
    turned = memory.transpose(layout.axes)[None]
    backwards = dict(zip(layout.axes, layout.flips, strict=True))
    return turned, memory[tuple(slice(None, None, -1 if backwards[axis] else 1) for axis in range(3))]


def _fill(
    planes: Sequence[Plane],
    forms: dict[Path, PixelFormat],
    out: NDArray[np.float32],
    unit: str,
    limit: Limits,
) -> list[str]:
    """Writes the values of each plane into ``out`` (slice, row, column); returns what was done to them."""
    notes: list[str] = []
    by_file: dict[Path, list[int]] = {}
    for n, plane in enumerate(planes):
        by_file.setdefault(plane.header.path, []).append(n)
    padded: dict[int, NDArray[Any]] = {}
    ends: list[float] = []
    for path, where in by_file.items():
        header, form = planes[where[0]].header, forms[path]
        invert, lut = inverted(form, unit), modality_lut(header)
        source = header.dataset() if form.photometric == "PALETTE COLOR" else None
        padding = padding_of(header, form)
        wide = unit == "HU" and _may_leave_scale(form, planes[where[0]])
        with dicom_errors(path):  # a decoder's complaint names the file, not the folder
            for n, stored in _stored(header, form, planes, where, limit):
                if padding is not None:
                    mask: NDArray[Any] = (stored >= padding[0]) & (stored <= padding[1])
                    if mask.any():
                        padded[n] = mask
                values(stored, form, planes[n].rescale, out[n], invert=invert, source=source, lut=lut)
                if wide:
                    seen = out[n][~padded[n]] if n in padded else out[n]
                    ends += [float(seen.min()), float(seen.max())] if seen.size else []
        notes += [note for note in _notes(form, invert, unit) if note not in notes]
    if padded:
        notes.append(_fill_padding(out, padded))
    if ends and (min(ends) < _HOUNSFIELD[0] or max(ends) > _HOUNSFIELD[1]):
        notes.append(
            f"values from {min(ends):g} to {max(ends):g} HU, beyond what CT measures: probably padding that "
            "the file does not name"
        )
    if any(forms[path].floating for path in by_file):
        _check_finite(planes[0].header.path, out)
    return notes


def _may_leave_scale(form: PixelFormat, plane: Plane) -> bool:
    """Whether the bits in use allow values that no CT scan has; 12 bits seldom do."""
    ends = [stored * plane.rescale.slope + plane.rescale.intercept for stored in form.range]
    return min(ends) < _HOUNSFIELD[0] or max(ends) > _HOUNSFIELD[1]


def _stored(
    header: Header, form: PixelFormat, planes: Sequence[Plane], where: Sequence[int], limit: Limits
) -> Iterator[tuple[int, NDArray[Any]]]:
    """(number, stored values) of the planes of one file; a mosaic is decoded once and cut into its tiles."""
    if planes[where[0]].tile is None:
        yield from zip(where, frames(header, form, [planes[n].frame for n in where], limit), strict=True)
        return
    whole = next(frames(header, form, [0], limit))
    for n in where:
        (row, column), (rows, columns) = planes[n].tile or (0, 0), planes[n].shape
        yield n, whole[row : row + rows, column : column + columns]


def _check_finite(path: Path, out: NDArray[np.float32]) -> None:
    bad = int(out.size - np.isfinite(out).sum())
    if bad:
        raise Corrupt(
            path,
            f"{bad:,} of {out.size:,} voxels are NaN, infinite or beyond 32 bits",
            "mask them where the file is made",
        )


def _notes(form: PixelFormat, invert: bool, unit: str) -> list[str]:
    if invert:
        return ["MONOCHROME1 was turned to the polarity of MONOCHROME2 (high values bright)"]
    if form.photometric == "MONOCHROME1":
        return [f"MONOCHROME1 in {unit}: the physical values were kept"]
    return (
        []
        if form.samples == 1 and form.photometric != "PALETTE COLOR"
        else [f"{form.photometric} was turned to grey (ITU-R BT.601 luma)"]
    )


def padding_of(header: Header, form: PixelFormat) -> tuple[float, float] | None:
    """Lowest and highest stored value that mean "no pixel" (PS3.3 section C.7.5.1.1.2), None when the file
    names none.
    """
    value = header.whole("PixelPaddingValue")
    if value is None or form.samples == 3 or form.floating:
        return None
    other = header.whole("PixelPaddingRangeLimit", value)
    bits = 1 << form.allocated
    ends = [
        v - bits if form.signed and v >= bits // 2 else v + bits if not form.signed and v < 0 else v
        for v in (value, value if other is None else other)
    ]
    return min(ends), max(ends)


def _fill_padding(out: NDArray[np.float32], padded: dict[int, NDArray[Any]]) -> str:
    """Padding takes the lowest value of the image: -3024 HU outside of the field of view would be a
    measurement nobody made.
    """
    lowest = np.inf
    for n in range(len(out)):
        seen = out[n][~padded[n]] if n in padded else out[n]
        if seen.size:
            lowest = min(lowest, float(seen.min()))
    if np.isfinite(lowest):
        for n, mask in padded.items():
            out[n][mask] = lowest
    return (
        f"{sum(int(m.sum()) for m in padded.values())} padded pixels were set to {lowest:g}, the lowest "
        "value of the rest"
    )
