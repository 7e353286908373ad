"""What lies in a folder: each real file once, its label and split by its place, or by a scans.csv."""

from __future__ import annotations

import csv
import hashlib
import math
import os
import re
import stat
from collections.abc import Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path, PurePosixPath

from ...errors import BadOption, Corrupt, FileProblem, nearest, printable
from ..groups import TAGS, UNTOLD, Tags, tags_in_row

__all__ = [
    "AS_MASK",
    "OWN_FILES",
    "SPLITS",
    "Listed",
    "Listing",
    "csv_cell",
    "file_state",
    "folder_state",
    "list_files",
    "place",
]

SPLITS = {
    "train": "train",
    "training": "train",
    "val": "val",
    "valid": "val",
    "validation": "val",
    "test": "test",
    "testing": "test",
}
"""Names of folders (and of the split column) that say which part of a data set something belongs to."""

OWN_FILES = ("index.json", "unusable.csv", ".medprior-key")
"""What a scan writes into the folder; side files (.medprior.json) are ours, too."""
TABLE = "scans.csv"
_COLUMNS = ("path", "label", "patient", "split", "mask")
_FAMILIES = ("channel", "number")
"""Columns of these families say a name of their own behind a colon: channel:T2 holds files, number:age holds
numbers.
"""
_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_-]{0,31}")
_AGE_TOP = 90.0
"""An age above identifies a person, and is kept as this."""
_DOCUMENTS = {
    ".txt",
    ".md",
    ".csv",
    ".tsv",
    ".json",
    ".xml",
    ".yaml",
    ".yml",
    ".html",
    ".htm",
    ".pdf",
    ".log",
    ".bval",
    ".bvec",
    ".py",
    ".rst",
    ".ini",
}


_LABEL_MAP = re.compile(
    r"(?:^|[._ "
    r"-])(?:labels?|label-?maps?|seg|dseg|aseg|segmentations?|ground-?truth|gt|masks?(?:[_-]?[0-9]+)?)$",
    re.IGNORECASE,
)
"""How the name of a label map ends, without its suffixes."""
_LABEL_FOLDERS = {"labels", "labelstr", "labelsts", "masks", "segmentations"}
AS_MASK = "name it as the mask of its scan in a scans.csv, or as an image there"


@dataclass(frozen=True, slots=True)
class Listed:
    """One file to look at. path: in the folder. fault: why it cannot even be opened, or "". stated: a
    scans.csv names it, and says the tags.

    called: the name of its channel. beside: (name, relative path) of other channels of the same patient on
    the same grid. numbers: (name, value).
    """

    path: Path
    label: str = ""
    patient: str = ""
    split: str = ""
    mask: str = ""
    fault: str = ""
    stated: bool = False
    tags: Tags = UNTOLD
    called: str = "image"
    beside: tuple[tuple[str, str], ...] = ()
    numbers: tuple[tuple[str, float], ...] = ()


@dataclass(frozen=True, slots=True)
class Listing:
    """files: to look at. passed: relative paths of documents and hidden files. label_maps: what looks like
    one among images, and why.
    """

    files: tuple[Listed, ...]
    passed: tuple[str, ...] = ()
    label_maps: tuple[tuple[Path, str], ...] = ()


def place(path: PurePosixPath) -> tuple[str, str]:
    """(label, split) by the folders that a relative path names: a folder called train, val or test is a
    split, the first other one the label.
    """
    folders = path.parts[:-1]
    split = next((SPLITS[f.lower()] for f in folders if f.lower() in SPLITS), "")
    label = next((f for f in folders if f.lower() not in SPLITS), "")
    return label, split


def list_files(folder: Path) -> Listing:
    """The files of a data set, and what was passed over or left out. With a scans.csv only its rows count.

    Raises FileProblem when the folder cannot be read, Corrupt or BadOption for a scans.csv that cannot be
    used.
    """
    if not folder.is_dir():
        raise FileProblem(folder, "is not a folder", "give the folder that holds the scans")
    if (folder / TABLE).is_file():
        return Listing(tuple(_table(folder)))
    found: list[Listed] = []
    passed: list[str] = []
    maps: dict[Path, str] = {}
    for path, fault in _walk(folder):
        relative = PurePosixPath(path.relative_to(folder).as_posix())
        if str(relative) in OWN_FILES or path.name.endswith(".medprior.json"):
            continue
        if not fault and _passed_over(path):
            passed.append(str(relative))
            continue
        if not fault and (reason := _label_map(relative)):
            maps[path] = reason
        label, split = place(relative)
        found.append(Listed(path, label, "", split, "", fault))
    images = [entry for entry in found if entry.path not in maps]
    if not any(not entry.fault for entry in images):
        return Listing(
            tuple(found), tuple(passed)
        )  # a folder of nothing but such names: they are what is meant
    return Listing(tuple(images), tuple(passed), tuple(maps.items()))


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


def folder_state(folder: Path) -> str:
    """A digest of what lies in a data set: names, sizes and times of its files, and what a scans.csv says of
    them. Another one: it may be other data.

    Raises what ``list_files`` raises.
    """
    digest = hashlib.sha256()
    for entry in list_files(folder).files:
        for path in (entry.path, *(folder / other for _, other in entry.beside)):
            try:
                about = path.stat()
            except OSError:  # the reader will say what is wrong with it
                continue
            name = path.relative_to(folder) if path.is_relative_to(folder) else path.name
            digest.update(f"{name}|{about.st_size}|{about.st_mtime_ns}\n".encode())
        digest.update(f"{entry.label}|{entry.split}|{entry.patient}\n".encode(errors="replace"))
    return digest.hexdigest()


def _label_map(relative: PurePosixPath) -> str:
    """Why a name looks like that of a label map, or ""."""
    stem = relative.name.removesuffix(".gz").removesuffix(".GZ")
    stem = stem.rpartition(".")[0] or stem
    if found := _LABEL_MAP.search(stem):
        return f"label map, by its name (...{found[0]})"
    folder = next((part for part in relative.parts[:-1] if part.lower() in _LABEL_FOLDERS), "")
    return f"label map, by its folder ({folder})" if folder else ""


def _passed_over(path: Path) -> bool:
    name = path.name.lower()
    return name.startswith(".") or name == "dicomdir" or path.suffix.lower() in _DOCUMENTS


def _walk(folder: Path) -> list[tuple[Path, str]]:
    """Each plain file once (by device and inode) in the order of names; what is no plain file comes with its
    fault. Own and hidden folders are not entered.
    """
    seen: set[tuple[int, int]] = set()
    found: list[tuple[Path, str]] = []
    waiting = [folder]
    while waiting:
        here = waiting.pop()
        try:
            names = sorted(os.listdir(here), reverse=True)  # noqa: PTH208 (names alone, without a Path for each)
        except OSError as error:
            if here == folder:
                raise FileProblem(folder, f"cannot be read ({error.strerror})") from error
            found.append((here, f"cannot be read ({error.strerror})"))
            continue
        for name in names:
            path = here / name
            try:
                about = path.stat()
            except OSError as error:
                found.append(
                    (
                        path,
                        "is a link to nowhere" if path.is_symlink() else f"cannot be read ({error.strerror})",
                    )
                )
                continue
            if (about.st_dev, about.st_ino) in seen:
                continue
            seen.add((about.st_dev, about.st_ino))
            if stat.S_ISDIR(about.st_mode):
                if not name.startswith("."):
                    waiting.append(path)
            elif stat.S_ISREG(about.st_mode):
                found.append((path, ""))
            else:
                found.append(
                    (path, "is no ordinary file (a pipe, a device or a socket), so it was not opened")
                )
    return sorted(found)


def _table(folder: Path) -> list[Listed]:
    table = folder / TABLE
    try:
        with open(table, encoding="utf-8-sig", newline="") as file:
            reader = csv.DictReader(file, strict=True)
            columns = [_column(c) for c in reader.fieldnames or []]
            called = next((c.partition(":")[2] for c in columns if c.startswith("path:")), "image")
            columns = ["path" if c.startswith("path:") else c for c in columns]
            _check_columns(table, columns, called)
            reader.fieldnames = columns
            rows = list(reader)
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise Corrupt(table, f"is not a table of comma-separated UTF-8 text ({error})") from error
    if not rows:
        raise Corrupt(table, "has no rows")
    seen: set[tuple[int, int]] = set()
    return [
        listed for n, row in enumerate(rows, 2) if (listed := _row(folder, n, row, seen, called)) is not None
    ]


def _column(title: str) -> str:
    """Small letters, but for the name behind a colon: channel:T2 stays T2."""
    family, colon, name = title.strip().partition(":")
    return f"{family.strip().lower()}{colon}{name.strip()}"


def _check_columns(table: Path, columns: list[str], called: str) -> None:
    if "path" not in columns:
        raise Corrupt(
            table,
            f"has no column path, but {', '.join(map(printable, columns)) or 'nothing'}",
            f"columns are {', '.join((*_COLUMNS, *TAGS))}",
        )
    if len(set(columns)) < len(columns):
        raise Corrupt(table, "names a column twice")
    names = [called, *(c.partition(":")[2] for c in columns if c.startswith("channel:"))]
    wrong = [
        name
        for name in (*names, *(c.partition(":")[2] for c in columns if c.startswith("number:")))
        if not _NAME.fullmatch(name) or name == "mask"
    ]
    if wrong or len(set(names)) < len(names):
        raise BadOption(
            f"{TABLE}: channels and numbers need names of their own, got "
            f"{', '.join(map(printable, wrong or names))}",
            "begin with a letter, then letters, digits, - or _, as in channel:T2; a label map goes into the "
            "column mask",
        )
    for column in columns:
        family = column.partition(":")[0]
        if ":" in column:
            if family not in _FAMILIES:
                raise BadOption(f"{TABLE}: unknown column {column!r}", nearest(family, ["path", *_FAMILIES]))
            continue
        if column in _FAMILIES or column in ("channels", "numbers"):
            raise BadOption(
                f"{TABLE}: the column {column!r} has no name of its own",
                f"write {column.rstrip('s')}:NAME, as in channel:T2 or number:age",
            )
        close = get_close_matches(column, _COLUMNS, n=1, cutoff=0.75)
        if column not in _COLUMNS and close:
            raise BadOption(f"{TABLE}: unknown column {column!r}", f"did you mean {close[0]!r}?")


def _row(folder: Path, number: int, row: dict, seen: set[tuple[int, int]], called: str) -> Listed | None:
    """One line of the table; None for a file that an earlier line has named already."""
    cell = {key: (row.get(key) or "").strip() for key in (*_COLUMNS, *TAGS)}
    split = cell["split"].lower()
    if split and split not in SPLITS:
        raise BadOption(f"{TABLE}, line {number}: unknown split {cell['split']!r}", "use train, val or test")
    tags = tags_in_row(cell, f"{TABLE}, line {number}")
    path = folder / cell["path"]
    beside = tuple(
        (key.partition(":")[2], text.strip())
        for key, text in row.items()
        if key and key.startswith("channel:") and (text or "").strip()
    )
    fault = next(
        (
            why
            for name in (cell["path"], *filter(None, (cell["mask"],)), *(name for _, name in beside))
            if (why := _place_fault(folder, name))
        ),
        "",
    )
    if not fault:
        about = path.stat()
        if (about.st_dev, about.st_ino) in seen:
            return None
        seen.add((about.st_dev, about.st_ino))
    numbers = tuple(
        _number(key.partition(":")[2], text, number)
        for key, text in row.items()
        if key and key.startswith("number:") and (text or "").strip()
    )
    return Listed(
        path,
        cell["label"],
        cell["patient"],
        SPLITS.get(split, ""),
        cell["mask"],
        fault,
        True,
        tags,
        called,
        beside,
        numbers,
    )


def _number(name: str, text: str, line: int) -> tuple[str, float]:
    """(name, value) of a cell. Raises BadOption that says where, never what: what stands in the wrong column
    may be a name or a date of birth.
    """
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise BadOption(
            f"{TABLE}, line {line}: the {name} is no number",
            "write digits with a point (61.5), or leave it empty where it is not known",
        )
    return name, min(value, _AGE_TOP) if name.lower() == "age" else value


def _place_fault(folder: Path, name: str) -> str:
    """Why a path of the table cannot be used: it must lie in the folder and exist."""
    if not name or "\0" in name or Path(name).is_absolute() or ".." in Path(name).parts:
        return f"the table names {name!r}, wanted a path inside of the folder"
    try:
        found = (folder / name).exists()
    except OSError:  # a name longer than any file can have
        found = False
    return "" if found else f"the table names {name!r}, which does not exist"


def csv_cell(text: str) -> str:
    """A cell that no spreadsheet takes for a formula: a leading = + - @ (or tab, return) is quoted, control
    characters are escaped.
    """
    safe = printable(text)
    return "'" + safe if safe[:1] in ("=", "+", "-", "@") else safe
