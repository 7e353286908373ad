"""What lies in a folder: each real file once, its label, patient and split by its place or by a table."""

from __future__ import annotations

import hashlib
import os
import re
import stat
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath

from ...errors import BadOption, FileProblem, printable
from .layout import OWN_FILES, PLAIN, Layout, Listed, Listing
from .persons import check_labels, prefix_note
from .places import listed_by_place
from .tables import TABLE, foreign_table, labelled, scans_table

__all__ = ["csv_cell", "file_state", "folder_state", "list_files"]

_DOCUMENTS = {
    *(".txt", ".md", ".csv", ".tsv", ".json", ".xml", ".yaml", ".yml", ".html", ".htm", ".pdf", ".log"),
    *(".bval", ".bvec", ".py", ".rst", ".ini"),
}
_IMAGES = {
    *(".dcm", ".dicom", ".ima", ".nii", ".gz", ".hdr", ".img", ".dat", ".raw", ".npz", ".zip"),
    *(".png", ".tif", ".tiff", ".jpg", ".jpeg"),
}
"""Suffixes of images: a text file of such a name is a damaged image, of another name a document."""
_TEXT = re.compile(rb"[\t\n\r\x20-\x7e\x80-\xff]*")
_PROSE = (".txt", ".md", ".html", ".htm", ".pdf", ".log", ".py", ".rst", ".ini")
"""Suffixes of documents that say nothing of scans, as a table may."""
_NAMED = 3
"""Most links that a note names."""


@dataclass(frozen=True, slots=True)
class _Found:
    """A plain file, or what is none and why. link: a link on its way leads out of the folder."""

    path: Path
    fault: str = ""
    link: str = ""


def list_files(folder: Path, layout: Layout = PLAIN) -> Listing:
    """The files of a data set, and what was passed over or left out. With a scans.csv, and no other table
    given, only its rows count.

    Raises FileProblem when the folder cannot be read, and Corrupt or BadOption for a table that cannot be
    used. Raises BadOption for labels that look like patients, and for a patient_pattern that fits no name.
    """
    _check_folder(folder)
    if layout.labels is None and (folder / TABLE).is_file():
        rows = tuple(scans_table(folder))
        outside = [
            str(e.path.relative_to(folder)) for e in rows if not e.fault and _leads_out(e.path, folder)
        ]
        return _with_patients(Listing(rows, layout=TABLE, notes=_links(outside)), layout)
    images, passed, links = _sorted_out(folder)
    listing = listed_by_place(folder, images, passed, layout)
    if layout.labels is not None:
        listing = labelled(folder, listing, layout)
    elif unused := foreign_table(folder, passed, listing.files):
        listing = replace(listing, notes=(*listing.notes, unused))
    listing = _with_patients(replace(listing, notes=(*listing.notes, *_links(links))), layout)
    if layout.folders == "auto":
        check_labels(_one_a_file(listing.files))
    return listing


def _check_folder(folder: Path) -> None:
    if not folder.is_dir():
        raise FileProblem(folder, "is not a folder", "give the folder that holds the scans")


def _one_a_file(files: Sequence[Listed]) -> Counter[str]:
    """How many files each folder label has, among those that hold one scan each; the rest is known later."""
    several = (".npz", ".zip", ".dcm", ".dicom", ".ima", "")
    return Counter(
        entry.label
        for entry in files
        if entry.label and not entry.stated and not entry.fault and entry.path.suffix.lower() not in several
    )


def _sorted_out(folder: Path) -> tuple[list[tuple[PurePosixPath, str]], list[str], list[str]]:
    """((relative path, fault) of what may be images, documents, links that lead out of the folder)."""
    images: list[tuple[PurePosixPath, str]] = []
    passed: list[str] = []
    links: list[str] = []
    for found in _walk(folder):
        relative = PurePosixPath(found.path.relative_to(folder).as_posix())
        links += [found.link] if found.link else []
        if str(relative) in OWN_FILES or found.path.name.endswith(".medprior.json"):
            continue
        if not found.fault and _passed_over(found.path):
            passed.append(str(relative))
        else:
            images.append((relative, found.fault))
    return images, passed, list(dict.fromkeys(links))


def _links(names: Sequence[str]) -> tuple[str, ...]:
    if not names:
        return ()
    some = ", ".join(map(printable, names[:_NAMED]))
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    return (f"links lead out of the data set and were followed: {some}{more}",)


def _with_patients(listing: Listing, layout: Layout) -> Listing:
    """Patients by the pattern for file names; without one, a note where the names look as if they held some.

    Raises BadOption where the pattern fits no file name.
    """
    if layout.patient_pattern is None:
        note = prefix_note([e.path.name for e in listing.files if not e.patient and not e.fault])
        return replace(listing, notes=(*listing.notes, note)) if note else listing
    pattern = re.compile(layout.patient_pattern)
    files, fitting = [], 0
    for entry in listing.files:
        found = pattern.search(entry.path.name)
        patient = (found[1] if pattern.groups else found[0]) if found else ""
        fitting += bool(patient)
        files.append(replace(entry, patient=patient, guessed=False) if patient else entry)
    if files and not fitting:
        raise BadOption(
            f"patient_pattern: {layout.patient_pattern!r} is found in no file name",
            r"for 00000001_000.png write '^(\d+)_'",
        )
    return replace(listing, files=tuple(files))


def file_state(paths: Sequence[Path]) -> str:
    """Changes when a file does: names, sizes and times. Raises FileProblem for one that is gone."""
    digest = hashlib.sha256()
    for path in paths:
        try:
            about = path.stat()
        except OSError as error:
            raise FileProblem(path, f"cannot be read any more ({error.strerror})") from error
        digest.update(f"{path.name}|{about.st_size}|{about.st_mtime_ns}\n".encode(errors="replace"))
    return digest.hexdigest()[:32]


def folder_state(folder: Path, layout: Layout = PLAIN) -> str:
    """A digest of what lies in a data set: names, sizes and times of its files, and how it is to be
    understood. Another one: it may be other data. No file is opened.

    Raises FileProblem when the folder cannot be read.
    """
    _check_folder(folder)
    digest = hashlib.sha256(str(layout).encode(errors="replace"))
    if layout.labels is not None and layout.labels.is_file():
        digest.update(file_state([layout.labels]).encode())
    for name, about in _states(folder):
        what = f"{name}|{about.st_size}|{about.st_mtime_ns}|{about.st_mode & 0o444}\n"
        digest.update(what.encode(errors="replace"))
    return digest.hexdigest()


def _states(folder: Path) -> Iterator[tuple[str, os.stat_result]]:
    """(relative path, size, times) of each file that can say something of a data set; links are followed."""
    seen: set[tuple[int, int]] = set()
    waiting = [""]
    while waiting:
        place = waiting.pop()
        try:
            with os.scandir(folder / place) as entries:
                known = sorted(entries, key=lambda entry: entry.name)
        except OSError as error:
            if not place:
                raise FileProblem(folder, f"cannot be read ({error.strerror})") from error
            continue  # list_files says what is wrong with it
        for entry in known:
            name = place + entry.name
            try:
                about = entry.stat()
            except OSError:  # a link to nowhere
                continue
            if not stat.S_ISDIR(about.st_mode):
                if name not in OWN_FILES and not name.endswith((*_PROSE, ".medprior.json")):
                    yield name, about
            elif not entry.name.startswith(".") and (about.st_dev, about.st_ino) not in seen:
                seen.add((about.st_dev, about.st_ino))
                waiting.append(f"{name}/")


def _passed_over(path: Path) -> bool:
    name, suffix = path.name.lower(), path.suffix.lower()
    return (
        name.startswith(".")
        or name == "dicomdir"
        or suffix in _DOCUMENTS
        or (suffix not in _IMAGES and _is_text(path))
    )


def _is_text(path: Path) -> bool:
    """README, LICENSE, CHANGES: text from its first byte on, which no image is."""
    try:
        with open(path, "rb") as file:
            start = file.read(512)
    except OSError:  # the reader will say what is wrong with it
        return False
    return bool(start) and _TEXT.fullmatch(start) is not None


def _leads_out(path: Path, folder: Path) -> bool:
    """Whether a path, all links followed, lies outside of the folder."""
    return not Path(os.path.realpath(path)).is_relative_to(os.path.realpath(folder))


def _walk(folder: Path) -> list[_Found]:
    """Each plain file once (by device and inode) in the order of names; what is no plain file comes with its
    fault. Own and hidden folders are not entered.
    """
    seen: set[tuple[int, int]] = set()
    found: list[_Found] = []
    waiting = [(folder, "")]
    while waiting:
        here, link = waiting.pop()
        try:
            names = sorted(os.listdir(here), reverse=True)  # noqa: PTH208 (names alone, without a Path for each)
        except OSError as error:
            if here == folder:
                raise FileProblem(folder, f"cannot be read ({error.strerror})") from error
            found.append(_Found(here, f"cannot be read ({error.strerror})"))
            continue
        for name in names:
            path = here / name
            one = _looked_at(path, folder, link)
            try:
                about = path.stat()
            except OSError:
                found.append(one)
                continue
            if (about.st_dev, about.st_ino) in seen:
                continue
            seen.add((about.st_dev, about.st_ino))
            if not stat.S_ISDIR(about.st_mode):
                found.append(one)
            elif not name.startswith("."):
                waiting.append((path, one.link))
    return sorted(found, key=lambda one: one.path)


def _looked_at(path: Path, folder: Path, link: str) -> _Found:
    """One name of a folder, and whether it can be opened. link: of the folder that it lies in."""
    is_link = path.is_symlink()
    try:
        mode = path.stat().st_mode
    except OSError as error:
        return _Found(path, "is a link to nowhere" if is_link else f"cannot be read ({error.strerror})")
    if not link and is_link and _leads_out(path, folder):
        link = path.relative_to(folder).as_posix()
    plain = stat.S_ISREG(mode) or stat.S_ISDIR(mode)
    return _Found(
        path,
        "" if plain else "is no ordinary file (a pipe, a device or a socket), so it was not opened",
        link,
    )


def csv_cell(text: str) -> str:
    """A cell that no spreadsheet takes for a formula: a leading = + - @ (or tab, return) is quoted, control
    characters are escaped.
    """
    safe = printable(text)
    return "'" + safe if safe[:1] in ("=", "+", "-", "@") else safe
