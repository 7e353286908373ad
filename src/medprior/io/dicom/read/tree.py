"""What lies in a tree of DICOM files: its series, what is damaged, what is no image. Only headers are
read.
"""

from __future__ import annotations

import hashlib
import os
import re
import stat
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from ....errors import BadGeometry, BadOption, FileProblem, MedpriorError, Unsupported, did_you_mean
from ...disk.limits import Limits
from ...disk.workers import in_processes
from .geometry import Plane
from .groups import TAG_ELEMENTS
from .open import Header, dicom_error, dicom_errors, open_if_dicom
from .pixels import NOT_IMAGES, PixelFormat, pixel_format
from .planes import planes_of
from .stacking import ASIS, Stacking
from .volumes import PlaneStack, group_stacks

__all__ = [
    "DicomSeries",
    "Tree",
    "broken_off",
    "check_series",
    "choose_series",
    "files_below",
    "index_files",
    "index_headers",
    "index_series",
    "list_series",
    "planes_in",
    "series_of",
]

_KEPT = (
    "SpecificCharacterSet",
    "SOPClassUID",
    "SOPInstanceUID",
    "SeriesInstanceUID",
    "Modality",
    "SeriesDescription",
    "PatientID",
    *TAG_ELEMENTS,
)
"""Elements that an index keeps of each file."""
_HEAD = 2**16
_PART, _A_HEADER = 250, 0.0004
"""Files that a process reads at once, and seconds that a header takes."""


@dataclass(frozen=True, slots=True)
class DicomSeries:
    """Planes of one series that belong together. ``id`` is opaque: it says nothing about the patient and is
    the same on every machine.

    stem: the id without what tells volumes of one grid apart. volume: name of the volume in its series, ""
    where there is only one. lacks: places at which the other volumes have a slice and this one has none.
    misfit: what is said of a slice that should be one of it and lies on another grid. damaged: files that say
    they are of this series and cannot be used.
    """

    id: str
    stem: str
    volume: str
    lacks: int
    modality: str
    n_files: int
    n_slices: int
    shape: tuple[int, int]
    description: str
    localizer: bool
    paths: tuple[Path, ...] = field(repr=False)
    uid: str = field(repr=False)
    patient: str = field(repr=False)
    planes: tuple[Plane, ...] = field(repr=False)
    misfit: str = field(default="", repr=False)
    damaged: tuple[FileProblem, ...] = field(default=(), repr=False)


@dataclass(frozen=True, slots=True)
class Tree:
    """What a tree holds. faults: DICOM files that cannot be used. others: DICOM that is no image (reports,
    plans, segmentations), and what it is.

    stray: those of the faults that belong to an unknown series.
    """

    series: tuple[DicomSeries, ...]
    faults: tuple[FileProblem, ...] = ()
    others: tuple[FileProblem, ...] = ()
    stray: tuple[FileProblem, ...] = ()


def list_series(folder: str | Path, *, limit: Limits | None = None) -> list[DicomSeries]:
    """Every stack of planes in a folder tree, by series; files that are no DICOM images or damaged are passed
    over (``index_series`` names those).

    Raises FileProblem when the folder cannot be read.
    """
    return list(index_series(folder, limit=limit).series)


def index_series(folder: str | Path, *, limit: Limits | None = None) -> Tree:
    """The series of a folder tree, and an entry for each DICOM file that is damaged or no image; of each file
    only what names it is kept in memory.

    Raises FileProblem when the folder cannot be read.
    """
    folder = Path(folder)
    with dicom_errors(folder):
        return index_files(sorted(files_below(folder)), limit or Limits(), slim=True)[0]


def index_files(
    paths: Iterable[Path], limit: Limits, *, slim: bool = False
) -> tuple[Tree, dict[Path, PixelFormat]]:
    """The series among ``paths``, and how the pixels of each file are stored. slim: keep no more of each
    header than ``_KEPT``.
    """
    found = [_header(path, limit, slim) for path in paths]
    forms = {one.path: one.form for one in found if one.form is not None and not slim}
    return _tree(found), forms


def index_headers(paths: Sequence[Path], limit: Limits) -> Tree:
    """The series among ``paths``, of whose headers little is kept; many are read in several processes."""
    parts = [(tuple(paths[n : n + _PART]), limit) for n in range(0, len(paths), _PART)]
    found = in_processes(_headers, parts, _A_HEADER * len(paths))
    return _tree([one for part in found for one in part])


@dataclass(frozen=True, slots=True)
class _Found:
    """What a file holds: planes of a series, or a fault, or no image, or (nothing said) no DICOM."""

    path: Path
    uid: str = ""
    planes: tuple[Plane, ...] = ()
    form: PixelFormat | None = None
    fault: FileProblem | None = None
    other: FileProblem | None = None


def _headers(paths: Sequence[Path], limit: Limits) -> list[_Found]:
    return [replace(_header(path, limit, slim=True), form=None) for path in paths]


def _header(path: Path, limit: Limits, slim: bool) -> _Found:
    """One bad file must not hide the others: its fault is named here, and raised or listed by the caller."""
    try:
        header = open_if_dicom(path, limit)
        if header is None:
            return _Found(path)
        if (reason := _no_image(header)) is not None:
            return _Found(path, other=reason)
        planes, form = planes_in(header, limit)
        if slim:
            kept = header.slim(_KEPT)
            planes = [replace(plane, header=kept) for plane in planes]
        uid = header.text("SeriesInstanceUID")
    except Exception as error:  # as said above
        return _Found(path, fault=_about(path, dicom_error(path, error)))
    return _Found(path, uid, tuple(planes), form)


def _tree(found: Sequence[_Found]) -> Tree:
    by_uid: dict[str, list[Plane]] = {}
    for one in found:
        if one.planes:
            by_uid.setdefault(one.uid, []).extend(one.planes)
    faults = [one.fault for one in found if one.fault is not None]
    others = tuple(one.other for one in found if one.other is not None)
    claimed = [(_claimed_series(fault.path), fault) for fault in faults]
    stray = tuple(fault for uid, fault in claimed if not uid)
    return Tree(tuple(_all_series(by_uid, claimed)), tuple(faults), others, stray)


def planes_in(header: Header, limit: Limits) -> tuple[list[Plane], PixelFormat]:
    """The planes of one file, and how its pixels are stored. Raises what ``pixel_format`` and ``planes_of``
    raise.
    """
    form = pixel_format(header, limit)
    return planes_of(header, form), form


def _about(path: Path, error: MedpriorError) -> FileProblem:
    return (
        error if isinstance(error, FileProblem) else FileProblem(path, Exception.__str__(error), error.remedy)
    )


def _no_image(header: Header) -> FileProblem | None:
    """Why a whole DICOM file is not looked at for an image, or None."""
    if header.text("SOPClassUID") in NOT_IMAGES or header.text("Modality") in ("SEG", "RTSTRUCT"):
        return Unsupported(
            header.path, f"label map ({header.kind})", "name it as the mask of its scan in scans.csv"
        )
    if header.skeleton.pixels is None and header.get("Rows") is None:
        return Unsupported(header.path, f"no image ({header.kind})")
    return None


def files_below(folder: Path) -> Iterator[Path]:
    """Each plain file of a tree once; links are followed only to files not seen yet, pipes and devices are
    never opened.
    """
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


def _claimed_series(path: Path) -> str:
    """The Series Instance UID in the first bytes of a damaged file, "" when none is found: its structure
    cannot be trusted, so it is searched.
    """
    try:
        with open(path, "rb") as file:
            head = file.read(_HEAD)
    except OSError:
        return ""
    found = re.search(
        rb"\x20\x00\x0e\x00(?:UI..|..\0\0)([0-9.]{4,64})|\x00\x20\x00\x0eUI..([0-9.]{4,64})", head, re.DOTALL
    )
    return (found[1] or found[2]).decode() if found else ""


def _all_series(
    by_uid: dict[str, list[Plane]], claimed: Sequence[tuple[str, FileProblem]]
) -> Iterator[DicomSeries]:
    damaged: dict[str, list[FileProblem]] = {}
    for uid, fault in claimed:
        damaged.setdefault(uid, []).append(fault)
    for uid, planes in by_uid.items():
        for stack in group_stacks(planes):
            yield _series(uid, stack, damaged.get(uid, ()) if uid else ())


def series_of(planes: Sequence[Plane]) -> tuple[DicomSeries, ...]:
    """The series that ``planes`` make."""
    by_uid: dict[str, list[Plane]] = {}
    for plane in planes:
        by_uid.setdefault(plane.header.text("SeriesInstanceUID"), []).append(plane)
    return tuple(_all_series(by_uid, ()))


def _series(uid: str, stack: PlaneStack, damaged: Sequence[FileProblem]) -> DicomSeries:
    planes, header = stack.planes, stack.planes[0].header
    paths = tuple(dict.fromkeys(p.header.path for p in planes))
    stem = "-".join(filter(None, ("s" + hashlib.sha256(uid.encode()).hexdigest()[:8], stack.grid)))
    return DicomSeries(
        id="-".join(filter(None, (stem, stack.name))),
        stem=stem,
        volume="-".join(filter(None, (stack.grid, stack.name))),
        lacks=stack.lacks,
        modality=header.text("Modality"),
        n_files=len(paths),
        n_slices=len(planes),
        shape=planes[0].shape,
        description=str(header.dataset().get("SeriesDescription") or "").strip(),
        localizer=planes[0].localizer,
        paths=paths,
        uid=uid,
        patient=header.text("PatientID"),
        planes=tuple(planes),
        misfit=stack.misfit,
        damaged=tuple(damaged),
    )


def choose_series(
    place: Path, tree: Tree, wanted: str | None = None, volume: str | None = None, how: Stacking = ASIS
) -> tuple[DicomSeries, list[str]]:
    """The one series that is meant, and what was left out. place: what errors name. wanted: its id or UID.
    volume: its name among the volumes of one series. how: its slices become a volume.

    Without them there must be one only, and no file that may be of it may be damaged. With them, damaged
    files count when they say that they are of it. Raises the fault of such a file, BadOption for an unknown
    series or volume, BadGeometry where a choice is needed, Unsupported where there is no image.
    """
    if wanted is None and volume is None:
        series, notes = _only(place, tree)
        if tree.faults:
            raise _with_way_out(tree.faults[0], series)
        check_series(series, how)
        return series, notes
    picked = [one for one in tree.series if wanted in (None, one.id, one.uid, one.stem)]
    # one file of a series, alone: its volume has no name here, but the id that the series gave it
    picked = picked or [
        one for one in tree.series if not one.volume and str(wanted).startswith(f"{one.stem}-")
    ]
    if not picked:
        raise BadOption(
            f"series: {wanted!r} is not in {place.name}",
            did_you_mean(str(wanted), [one.id for one in tree.series])
            if tree.series
            else "no series is there",
        )
    named = [one for one in picked if volume in (None, one.volume)]
    if volume is not None and not named:
        names = [one.volume for one in picked if one.volume]
        raise BadOption(
            f"volume: {volume!r} is not in {place.name}",
            did_you_mean(volume, names) if names else "it holds one volume: leave the option out",
        )
    if len(named) > 1:
        raise _several(place, named)
    check_series(named[0], how)
    return named[0], [
        f"{len(tree.stray)} damaged files lie beside the series, which may be of it"
    ] if tree.stray else []


def check_series(series: DicomSeries, how: Stacking = ASIS) -> None:
    """Raises the fault of a damaged file of a series that is stacked. Raises BadGeometry for a volume that
    lacks slices or has one on another grid. Pictures that stand alone (radiographs) do not need each other.
    """
    if series.damaged and series.n_slices > 1:
        raise series.damaged[0]
    if (fault := broken_off(series)) is not None:
        raise fault
    if series.misfit and how == ASIS:
        raise BadGeometry(
            series.paths[0].parent,
            series.misfit,
            f"leave it out and choose slices or resample: series={series.id!r} (--series {series.id}) with "
            "keep_slices='FIRST-LAST' (--keep-slices) or resample=True (--resample)",
        )


def broken_off(series: DicomSeries) -> BadGeometry | None:
    """The fault of a volume that lacks slices which the others of its series have."""
    if not series.lacks:
        return None
    return BadGeometry(
        series.paths[0].parent,
        f"volume {series.volume} has {series.n_slices} of {series.n_slices + series.lacks} slices, as a "
        "scan that was broken off leaves it",
        "choose another volume, or add the slices that are missing",
    )


def _with_way_out(fault: FileProblem, series: DicomSeries) -> FileProblem:
    return type(fault)(
        fault.path,
        fault.reason,
        f"mend or remove it; series={series.id!r} reads the rest if it is of another series",
    )


def _only(place: Path, tree: Tree) -> tuple[DicomSeries, list[str]]:
    found = list(tree.series)
    if not found:
        only = tree.faults or (tree.others if len(tree.others) == 1 else ())
        raise next(iter(only), Unsupported(place, "no DICOM image in this folder"))
    if len(found) == 1:
        return found[0], []
    if torn := next((one for one in found if one.misfit and len({s.uid for s in found}) == 1), None):
        check_series(torn)
    body = [s for s in found if not s.localizer and s.n_slices > 1]
    rest = [s for s in found if s.localizer and body and s.uid == body[0].uid]
    if len(body) == 1 and len(rest) == len(found) - 1:
        return body[0], [f"{sum(s.n_slices for s in rest)} localizer images of the series were left out"]
    raise _several(place, found)


def _several(place: Path, found: Sequence[DicomSeries]) -> BadGeometry:
    """That a choice is needed, and how to make it."""
    if len({one.uid for one in found}) > 1:
        reason, option = "several series", f"series={found[0].id!r} (--series {found[0].id})"
    elif len({one.stem for one in found}) > 1:
        reason = "one series with stacks that differ (size, direction, spacing or purpose)"
        option = f"series={found[0].id!r} (--series {found[0].id})"
    else:
        reason = f"one series with {len(found)} volumes"
        option = f"volume={found[0].volume!r} (--volume {found[0].volume})"
    kinds = "; ".join(
        f"{one.volume if 'volume' in option else one.id}: {one.modality}"
        f"{' localizer' if one.localizer else ''}, {one.n_slices} x {one.shape[0]} x {one.shape[1]}"
        for one in found[:12]
    )
    return BadGeometry(
        place, f"{reason}: {kinds}{' ...' if len(found) > 12 else ''}", f"choose one, e.g. {option}"
    )
