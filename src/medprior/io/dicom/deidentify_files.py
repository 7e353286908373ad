"""De-identification of a file or a folder of DICOM into a new folder, with a table that holds no name."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterator
from dataclasses import astuple, dataclass, fields
from io import BytesIO
from pathlib import Path

import pydicom
from pydicom.dataset import Dataset
from pydicom.uid import UID, ExplicitVRBigEndian, ExplicitVRLittleEndian, ImplicitVRLittleEndian

from ...errors import BadOption, Corrupt, FileProblem, MedpriorError, TooLarge, Truncated, WrongKind
from ..disk.files import write_file, write_folder
from ..disk.limits import Limits
from .deidentify import deidentified
from .read.open import dicom_errors, open_if_dicom
from .read.tree import files_below

__all__ = ["TABLE", "Deidentified", "Treated", "deidentify"]

TABLE = "deidentified.csv"
_LEAST_KEY = 16


@dataclass(frozen=True, slots=True)
class Treated:
    """One file. file: its new name, "" where it was refused. reason: why, without a word of its content.
    elements, private_elements: removed; uids: replaced. to_look_at: what a person must still check.
    """

    file: str = ""
    reason: str = ""
    elements: int = 0
    private_elements: int = 0
    uids: int = 0
    to_look_at: str = ""


@dataclass(frozen=True, slots=True)
class Deidentified:
    """out: the new folder. files: one row for each file of the source. refused: (path, reason) of those that
    were not written; the paths stay in memory, since they may name a person.
    """

    out: Path
    files: tuple[Treated, ...]
    refused: tuple[tuple[Path, str], ...]

    @property
    def written(self) -> int:
        """How many files the new folder holds."""
        return sum(bool(one.file) for one in self.files)

    def __repr__(self) -> str:
        return f"Deidentified: {self.written} files written, {len(self.refused)} refused"


def deidentify(
    source: str | Path,
    out: str | Path,
    *,
    key: str | Path | None = None,
    allow_burned_in: bool = False,
    on_step: Callable[[int, int], None] | None = None,
) -> Deidentified:
    """Copies of the DICOM files in ``source`` without identity, and ``deidentified.csv``, in a new folder.

    The profile is PS3.15 Annex E, Basic. Patients and UIDs get keyed names, so that series stay together.
    key: a file of at least 16 bytes that the site keeps; it is made where there is none, and the same key
    gives the same names. Without it a random key is used and forgotten. allow_burned_in: also take pixels
    that may carry text; look at them first. on_step: (files done, files in all). Whatever is no DICOM, is
    damaged or may carry text in its pixels is refused and counted. Raises BadOption for an ``out`` inside of
    the source or with files in it, and for a short key; FileProblem where there is no source.
    """
    source, out = Path(source), Path(out)
    _check_places(source, out, key)
    secret = _key(Path(key)) if key is not None else secrets.token_bytes(32)
    paths = [source] if source.is_file() else list(files_below(source))
    rows: list[Treated] = []
    refused: list[tuple[Path, str]] = []

    def fill(folder: Path) -> None:
        for n, (path, content, row) in enumerate(_treated(paths, secret, allow_burned_in), 1):
            if row.file:
                write_file(folder / row.file, content)
            else:
                refused.append((path, row.reason))
            rows.append(row)
            if on_step is not None:
                on_step(n, len(paths))
        write_file(folder / TABLE, _table(rows))

    write_folder(out, fill)
    return Deidentified(out, tuple(rows), tuple(refused))


def _check_places(source: Path, out: Path, key: str | Path | None) -> None:
    if not source.exists():
        raise FileProblem(source, "no such file or folder", "give a DICOM file or a folder of them")
    inside, root = out.resolve(), source.resolve()
    if inside == root or inside.is_relative_to(root) or root.is_relative_to(inside):
        raise BadOption(
            "out: lies in the source, or the source in it", "choose a folder elsewhere; nothing was changed"
        )
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise BadOption("out: holds files already", "choose an empty folder; nothing was changed")
    if key is not None and Path(key).resolve().is_relative_to(inside):
        raise BadOption("key: lies in the folder that is given away", "keep it elsewhere")


def _key(path: Path) -> bytes:
    """The key of a site, made once and readable by its owner only."""
    if not path.exists():
        write_file(path, secrets.token_bytes(32))
        path.chmod(0o600)
    try:
        found = path.read_bytes()
    except OSError as error:
        raise FileProblem(path, f"cannot be read ({error.strerror})") from error
    if len(found) < _LEAST_KEY:
        raise BadOption(f"key: wanted at least {_LEAST_KEY} bytes, got {len(found)}", "name a new file")
    return found


def _treated(
    paths: list[Path], secret: bytes, allow_burned_in: bool
) -> Iterator[tuple[Path, bytes, Treated]]:
    seen: set[str] = set()
    for path in paths:
        try:
            content, row = _one(path, secret, allow_burned_in)
        except MedpriorError as error:
            yield path, b"", Treated(reason=_reason(error))
            continue
        if row.file in seen:
            content, row = b"", Treated(reason="repeats the SOP Instance UID of another file")
        seen.add(row.file)
        yield path, content, row


def _one(path: Path, secret: bytes, allow_burned_in: bool) -> tuple[bytes, Treated]:
    with dicom_errors(path):
        if path.name.upper() == "DICOMDIR" or open_if_dicom(path, Limits()) is None:
            return b"", Treated(reason="no DICOM image")
        before = pydicom.dcmread(path, force=True)
        after, notes = deidentified(before, secret=secret, allow_burned_in=allow_burned_in)
        if "TransferSyntaxUID" not in after.file_meta:
            after.file_meta.TransferSyntaxUID = _syntax(before)
        stored = BytesIO()
        pydicom.dcmwrite(stored, after, enforce_file_format=True)
    old, new = _counted(before), _counted(after)
    return stored.getvalue(), Treated(
        file=f"{after.SeriesInstanceUID}/{after.SOPInstanceUID}.dcm",
        elements=max(0, old["elements"] - new["elements"]),
        private_elements=old["private"],
        uids=len(old["uids"] - new["uids"]),
        to_look_at="; ".join(notes),
    )


def _syntax(dataset: Dataset) -> UID:
    """Of a file that does not say it: what it was read as."""
    implicit, little = dataset.original_encoding
    if implicit:
        return ImplicitVRLittleEndian
    return ExplicitVRLittleEndian if little else ExplicitVRBigEndian


def _counted(dataset: Dataset) -> dict:
    """How many elements on all levels, how many private ones, and the UIDs."""
    elements, private, uids = 0, 0, set()
    for element in dataset.iterall():
        elements += 1
        private += element.tag.is_private
        if element.VR == "UI" and element.value:
            uids |= {str(element.value)} if isinstance(element.value, str) else set(map(str, element.value))
    return {"elements": elements, "private": private, "uids": uids}


def _reason(error: MedpriorError) -> str:
    """Why a file was refused, in words that hold nothing of the file."""
    if isinstance(error, WrongKind):
        return "the pixels may carry text: look at them, then allow it"
    kinds = {Truncated: "is cut short", TooLarge: "declares more than the limit", Corrupt: "is damaged"}
    return next((words for kind, words in kinds.items() if isinstance(error, kind)), "cannot be read")


def _table(rows: list[Treated]) -> bytes:
    names = [one.name for one in fields(Treated)]
    lines = [names, *([str(value) for value in astuple(row)] for row in rows)]
    return "".join(",".join(f'"{cell}"' for cell in line) + "\r\n" for line in lines).encode()
