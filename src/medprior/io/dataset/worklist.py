"""The scans of a folder, listed by their headers: no pixel is decoded, so that a hundred thousand are listed
in seconds and every machine gets the same list.
"""

from __future__ import annotations

import hashlib
import os
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import TypeAlias

from ...data.acquisitions import KSpace, Sinogram
from ...data.volume import Volume
from ...errors import BadOption, Corrupt, FileProblem, MedpriorError
from ..arrays import count_slices, holds_stack, measured_in, read_kspace, read_sinogram, read_stack
from ..disk.limits import Limits
from ..pictures import ahead
from ..read import kind_of, read
from .layout import INDEX, PLAIN, Layout, Listed
from .listing import file_state, list_files
from .scan import dicom_files, series_homes
from .store import load_index

__all__ = ["ListedScan", "ReadScan", "digest_of_list", "is_index", "list_scans", "read_scans", "shard_of"]

ReadScan: TypeAlias = Volume | KSpace | Sinogram
"""What one scan is once it is read."""


@dataclass(frozen=True, slots=True)
class ListedScan:
    """One scan that waits. n: its place in the whole list, from 1. path: relative to the folder, of a file or
    of the folder of a DICOM series. part: image number of an NPZ, slice of an HDF5 with several, series of a
    DICOM folder, else "".

    patient: as the folder, the table or the header says, "" where none does. unit: number of the patient
    among those of the list, from 1. files: of a DICOM series, relative to path. state: of its files. fault:
    why it cannot be read.
    """

    path: str
    part: str = ""
    patient: str = ""
    kind: str = ""
    files: tuple[str, ...] = ()
    state: str = ""
    fault: str = ""
    n: int = 0
    unit: int = 0

    @property
    def name(self) -> str:
        """Its own among all of the folder."""
        return f"{self.path}#{self.part}" if self.part else self.path

    @property
    def owner(self) -> str:
        """Whose scan it is; a scan whose patient is not named counts as a patient of its own."""
        return f"patient {self.patient}" if self.patient else f"scan {self.name}"


def is_index(path: Path) -> bool:
    """Whether a path is the index.sqlite of a folder."""
    return path.name == INDEX and path.is_file()


def list_scans(folder: Path, layout: Layout = PLAIN, limits: Limits | None = None) -> list[ListedScan]:
    """Every scan below a folder, or of its scans.csv, in the order of names. Label maps, localizers, reports
    and documents are no scans. A file that cannot be opened comes with its fault. Of an index.sqlite in the
    folder: what it holds, and no file is opened.

    Raises FileProblem when the folder holds nothing, and what ``list_files`` or ``load_index`` raises.
    """
    if is_index(folder):
        return _indexed(folder)
    limits = limits or Limits()
    found: list[ListedScan] = []
    dicom: dict[Path, Listed] = {}
    for entry in list_files(folder, layout).files:
        where = _relative(entry.path, folder)
        try:
            if entry.fault:
                raise FileProblem(entry.path, entry.fault)
            kind = kind_of(entry.path)
            if kind == "dicom":
                dicom |= dict.fromkeys(dicom_files(entry.path), entry)
                continue
            state = file_state([entry.path])
            found += [
                ListedScan(where, part, entry.patient or patient, kind, state=state)
                for part, patient in _parts(entry.path, kind, limits)
            ]
        except MedpriorError as error:
            found.append(_faulty(where, error, entry.patient))
    found += _series(folder, dicom, limits)
    if not found:
        raise FileProblem(folder, "holds no scan", "name the folder that holds the scans")
    return _numbered(found)


def _indexed(path: Path) -> list[ListedScan]:
    """patient: as the index has it, a keyed hash."""
    index, found = load_index(path), list[ListedScan]()
    for item in index.items:
        home = index.folder / item.path
        files = [home / name for name in item.files] or [home]
        try:
            said = (item.path, item.part, item.patient, item.kind, item.files)
            if not item.later:
                found.append(ListedScan(*said, f"{item.digest} {file_state(files)}"))
        except FileProblem as error:
            found.append(_faulty(item.path, error, item.patient))
    return _numbered([*found, *(ListedScan(one.path, fault=one.reason) for one in index.unusable)])


def _numbered(found: Iterable[ListedScan]) -> list[ListedScan]:
    """In the order of names, with the places of scans and patients."""
    patients: dict[str, int] = {}
    ordered = sorted(found, key=lambda scan: (scan.path, len(scan.part), scan.part))
    return [
        ListedScan(
            *(scan.path, scan.part, scan.patient, scan.kind, scan.files, scan.state, scan.fault),
            n=n,
            unit=patients.setdefault(scan.owner, len(patients) + 1),
        )
        for n, scan in enumerate(ordered, start=1)
    ]


def _relative(path: Path, folder: Path) -> str:
    return Path(os.path.relpath(path, folder)).as_posix()


def _faulty(where: str, error: MedpriorError, patient: str = "") -> ListedScan:
    reason = error.reason if isinstance(error, FileProblem) else Exception.__str__(error)
    return ListedScan(where, patient=patient, fault=reason)


def _parts(path: Path, kind: str, limits: Limits) -> list[tuple[str, str]]:
    """(part, patient) of each scan in one file that is no DICOM."""
    if kind == "npz" and holds_stack(path, limits):
        return [(str(n), patient) for n, patient in enumerate(read_stack(path, limits=limits).patients)]
    if kind == "hdf5":
        n = count_slices(path, limits)
        return [(str(k), "") for k in range(n)] if n > 1 else [("", "")]
    return [("", "")]


def _series(folder: Path, dicom: dict[Path, Listed], limits: Limits) -> Iterator[ListedScan]:
    """Every stack of planes among the DICOM files, and every file that is damaged."""
    if not dicom:
        return
    from ..dicom.read.tree import index_headers

    tree = index_headers(sorted(dicom), limits)
    for fault in tree.faults:
        yield _faulty(_relative(fault.path, folder), fault)
    homes = series_homes(tree.series)
    shared = Counter(path for one in tree.series for path in one.paths)
    for one in tree.series:
        if one.localizer:
            continue
        entry = dicom[one.paths[0]]
        home = one.paths[0] if one.n_files == 1 else homes[one.uid]
        alone = one.n_files > 1 and all(shared[path] == 1 for path in one.paths)
        yield ListedScan(
            _relative(home, folder),
            one.id,
            one.patient if entry.guessed and one.patient else entry.patient or one.patient,
            "dicom",
            tuple(_relative(path, home) for path in one.paths) if alone else (),
            file_state(one.paths),
            "" if not one.damaged else f"{len(one.damaged)} of its files cannot be used",
        )


def digest_of_list(scans: Iterable[ListedScan]) -> str:
    """Changes when a scan comes, goes or changes, or its patient does; it holds no name."""
    digest = hashlib.sha256()
    for scan in scans:
        digest.update(f"{scan.name}|{scan.state}|{scan.patient}|{scan.fault}\n".encode(errors="replace"))
    return digest.hexdigest()


def shard_of(scan: ListedScan, shards: int) -> int:
    """Which of 1, 2, ..., ``shards`` a scan belongs to: by the name of its patient alone.

    So a patient's scans are together, whatever the order of the list and wherever the folder lies.
    """
    digest = hashlib.sha256(f"medprior shard|{scan.owner}".encode(errors="replace")).digest()
    return int.from_bytes(digest[:8], "big") % shards + 1


def read_scans(
    folder: Path,
    scans: Sequence[ListedScan],
    *,
    unit: str | None = None,
    modality: str | None = None,
    resample: bool = False,
) -> Iterator[tuple[ListedScan, ReadScan | Exception]]:
    """Each scan, or what was measured of it, or what is wrong with it; the next pictures are decoded
    meanwhile.

    unit, modality, resample: as of ``read``.
    """
    said = {"unit": unit, "modality": modality}

    def path_of(scan: ListedScan) -> Path | None:
        return None if scan.fault else folder / scan.path

    for (path, kind), run in groupby(ahead(scans, path_of), key=lambda scan: (scan.path, scan.kind)):
        stack: Sequence[Volume] = ()
        for scan in run:
            try:
                if kind == "npz" and scan.part:
                    stack = stack or _stack(folder / path, said)
                    yield scan, stack[int(scan.part)]
                else:
                    yield scan, _alone(folder, scan, said, resample)
            except GeneratorExit:
                raise
            except Exception as error:  # whatever is wrong with one scan costs that scan alone
                yield scan, error


def _stack(path: Path, said: dict[str, str | None]) -> Sequence[Volume]:
    return read_stack(path, unit=said["unit"], modality=said["modality"]).images


def _alone(folder: Path, scan: ListedScan, said: dict[str, str | None], resample: bool) -> ReadScan:
    path = folder / scan.path
    if scan.fault:
        raise Corrupt(path, scan.fault)
    if what := measured_in(path, scan.kind):
        at = int(scan.part) if scan.part else None
        return read_sinogram(path) if what == "sinogram" else read_kspace(path, index=at)
    if scan.kind == "dicom":
        if scan.files and not resample:
            from ..dicom.read.series import read_files  # pydicom is heavy

            return read_files([path / name for name in scan.files])
        return read(path, series=scan.part if path.is_dir() else None, resample=resample)
    volume = read(path, unit=said["unit"], modality=said["modality"])
    if volume.unit == "label" and said["unit"] != "label":
        raise BadOption("it is a label map, as its header says, and no scan")
    return volume
