"""Tables of a data set: our own scans.csv, and a table of labels in the form that its maker chose."""

from __future__ import annotations

import csv
import math
import re
from collections.abc import Sequence
from dataclasses import replace
from difflib import get_close_matches
from io import StringIO
from pathlib import Path, PurePosixPath

from ...errors import BadOption, Corrupt, did_you_mean, printable
from ..disk.limits import regular_file
from ..groups import TAGS, Tags, age_band, sex_named, tags_in_row
from .layout import CHANNEL_NAME, SPLITS, Layout, Listed, Listing, stem

__all__ = ["TABLE", "foreign_table", "labelled", "rows_of", "scans_table"]

TABLE = "scans.csv"
_COLUMNS = ("path", "label", "patient", "split", "mask")
_FAMILIES = ("channel", "number")
"""Columns of these families say a name of their own behind a colon: channel:T2 holds files, number:age holds
numbers.
"""
_AGE_TOP = 90.0
"""An age above identifies a person, and is kept as this."""
_TITLES = {
    "path": (
        *("path", "filepath", "imagepath", "file", "filename", "image", "imageindex", "imagename", "imageid"),
        *("img", "scan", "scanid", "participantid", "subjectid", "caseid", "case", "id", "name"),
    ),
    "label": (
        *("label", "labels", "class", "diagnosis", "finding", "findings", "findinglabels", "target"),
        *("category", "dx"),
    ),
    "patient": ("patient", "patientid", "subject", "subjectid", "participant", "participantid", "caseid"),
    "split": ("split", "subset", "fold"),
    "sex": ("sex", "gender", "patientsex", "patientgender"),
    "age": ("age", "patientage"),
}
"""Titles that tables of labels use, in small letters and without blanks, best first."""


def scans_table(folder: Path) -> list[Listed]:
    """The rows of a scans.csv. Raises Corrupt or BadOption for one that cannot be used."""
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


def rows_of(table: Path) -> tuple[list[str], list[dict[str, str]]]:
    """(titles, rows) of a table separated by commas, semicolons or tabs. Raises FileProblem where it is
    missing, Corrupt where it is no table of text.
    """
    regular_file(table)
    try:
        text = re.sub(r"\Asep=.\r?\n", "", _decoded(table.read_bytes()))  # a spreadsheet's own first line
        first = text.partition("\n")[0]
        separator = max("\t;,", key=first.count)
        reader = csv.DictReader(StringIO(text, newline=""), delimiter=separator, strict=True)
        titles = [title.strip() for title in reader.fieldnames or []]
        reader.fieldnames = titles
        rows = []
        for row in reader:
            if any(row.pop(None, None) or ()):
                raise csv.Error(f"line {reader.line_num} has more cells than the head has titles")
            rows.append({key: (cell or "").strip() for key, cell in row.items()})
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise Corrupt(table, f"is no table of text ({error})", "save it as CSV in UTF-8") from error
    if not rows or not titles:
        raise Corrupt(table, "has no rows")
    return titles, rows


def _decoded(stored: bytes) -> str:
    """UTF-8 or UTF-16 with its mark, UTF-8 without, or an old encoding of Windows."""
    if stored.startswith((b"\xff\xfe", b"\xfe\xff")):
        return stored.decode("utf-16")
    try:
        return stored.decode("utf-8-sig")
    except UnicodeDecodeError:
        return stored.decode("cp1252")


class _Finder:
    """Files by what a table may call them: path, file name with or without suffix, folder, patient."""

    def __init__(self, folder: Path, entries: Sequence[Listed], others: Sequence[Listed]) -> None:
        self.maps: list[dict[str, list[Listed]]] = [{}, {}, {}, {}]
        for number, some in enumerate((entries, others)):
            for entry in some:
                relative = PurePosixPath(entry.path.relative_to(folder).as_posix())
                self._put(0, str(relative), entry)
                if number == 0:  # what is left out needs its full name
                    self._put(1, relative.name, entry)
                    self._put(2, stem(relative), entry)
                    above = {part for parent in relative.parents for part in (str(parent), parent.name)}
                    for name in (above | {entry.patient}) - {"", "."}:
                        self._put(3, name, entry)

    def _put(self, level: int, name: str, entry: Listed) -> None:
        self.maps[level].setdefault(name, []).append(entry)

    def find(self, cell: str, where: str) -> list[Listed]:
        """All that a cell names, [] for nothing. Raises BadOption where two files bear the name."""
        name = cell.replace("\\", "/").removeprefix("./")
        for level, known in enumerate(self.maps):
            found = known.get(name) or (known.get(f"sub-{name}") if level == 3 else None)
            if found and level in (1, 2) and len(found) > 1:
                raise BadOption(
                    f"{where}: {len(found)} files are called {printable(name)}",
                    "write their paths below the data folder instead",
                )
            if found:
                return found
        return []


def labelled(folder: Path, base: Listing, layout: Layout) -> Listing:
    """A listing with what a table of labels says of its files (``layout.labels``).

    Files that the table does not name are left out, or stay without label (``layout.unnamed``); rows that
    name no file here are counted in a note.

    Raises FileProblem or Corrupt for a table that cannot be read. Raises BadOption for a column that it has
    not, for a name that two files bear, and where no row names a file.
    """
    table = layout.labels if layout.labels is not None else Path(TABLE)
    table = table if table.is_file() or not (folder / table).is_file() else folder / table
    called = printable(table.name)
    titles, rows = rows_of(table)
    columns = _columns(titles, layout, table.name)
    others = [Listed(path) for path, *_ in base.left_out]
    finder = _Finder(folder, base.files, others)
    named, strangers = _named(rows, columns, finder, called)
    if not named:
        raise BadOption(
            f"labels: no row of {called} names a file of the folder in its column {columns['path']!r}",
            f"choose another column with --path-column: {', '.join(map(printable, titles))}",
        )
    left = [(path, *why) for path, *why in base.left_out if path not in named]
    free = [entry for entry in base.files if entry.path not in named and not entry.fault]
    if not layout.unnamed:
        left += [(e.path, f"{called} does not name it", "add a row for it to use it") for e in free]
    broken = [entry for entry in base.files if entry.fault and entry.path not in named]
    used = ", ".join(f"{what} from {title!r}" for what, title in columns.items())
    notes = [f"{called}: {used}"]
    if strangers:
        first = f"first line {strangers[0]}"
        notes.append(f"{len(strangers)} of {len(rows)} rows of {called} name no file here ({first})")
    kept = [replace(entry, label="", members=()) for entry in free] if layout.unnamed else []
    files = sorted((*named.values(), *broken, *kept), key=lambda entry: entry.path)
    return replace(
        base,
        files=tuple(files),
        left_out=tuple(left),  # type: ignore[arg-type]
        layout=f"{base.layout} and a table of labels",
        notes=(*base.notes, *notes),
    )


def _named(
    rows: Sequence[dict[str, str]], columns: dict[str, str], finder: _Finder, called: str
) -> tuple[dict[Path, Listed], list[int]]:
    """(the files that rows name, or images in them as in file.npz#3, with what the rows say; lines that name
    nothing).
    """
    said: dict[tuple[Path, str], Listed] = {}
    known: dict[Path, Listed] = {}
    strangers = []
    for number, row in enumerate(rows, 2):
        cell, where = row[columns["path"]], f"{called}, line {number}"
        found, part = finder.find(cell, where), ""
        if not found and "#" in cell:
            cell, _, part = cell.rpartition("#")
            found = finder.find(cell, where)
        strangers += [] if found else [number]
        for entry in found:
            key, new = (entry.path, part), _said(entry, row, columns)
            if key in said and _told(said[key]) != _told(new):
                new = replace(new, fault=f"{called} gives it two labels, patients or splits")
            said[key] = new
            known[entry.path] = entry
    inside: dict[Path, list[tuple[str, Listed]]] = {}
    for (path, part), one in said.items():
        if part:
            inside.setdefault(path, []).append((part, one))
    named = {}
    for path, entry in known.items():
        parts = tuple(inside.get(path, ()))
        fault = next((one.fault for _, one in parts if one.fault), "")
        whole = said.get((path, ""), replace(entry, label="", fault=fault))
        named[path] = replace(whole, members=parts)
    return named, strangers


def _told(entry: Listed) -> tuple[str, str, str]:
    return entry.label, entry.patient, entry.split


def _said(entry: Listed, row: dict[str, str], columns: dict[str, str]) -> Listed:
    cell = {what: row.get(title, "") for what, title in columns.items()}
    split = SPLITS.get(cell.get("split", "").lower(), "")
    return replace(
        entry,
        label=cell.get("label", entry.label),
        patient=cell.get("patient") or entry.patient,
        guessed=entry.guessed and not cell.get("patient"),
        split=split or entry.split,
        stated=True,
        tags=Tags(sex=sex_named(cell.get("sex", "")), age=age_band(cell.get("age", ""))).over(entry.tags),
    )


def _columns(titles: Sequence[str], layout: Layout, name: str) -> dict[str, str]:
    """What -> title of its column. Raises BadOption for a title that is not there, and without a path."""
    said = {"path": layout.path_column, "label": layout.label_column, "patient": layout.patient_column}
    found = {}
    for what in _TITLES:
        title = said.get(what) or guessed_title(titles, what)
        if title is not None and title not in titles:
            raise BadOption(
                f"{what}_column: {printable(name)} has no column {printable(title)!r}",
                did_you_mean(title, list(titles)),
            )
        if title is not None:
            found[what] = title
    if "path" not in found:
        raise BadOption(
            f"labels: no column of {printable(name)} is known to hold file names",
            f"say which one with --path-column: {', '.join(map(printable, titles))}",
        )
    return found


def guessed_title(titles: Sequence[str], what: str) -> str | None:
    """The column that holds path, label, ... by its title, or None."""
    plain = {re.sub(r"[^a-z0-9]", "", title.lower()): title for title in reversed(titles)}
    return next((plain[name] for name in _TITLES[what] if name in plain), None)


def foreign_table(folder: Path, passed: Sequence[str], entries: Sequence[Listed]) -> str:
    """A sentence about a table of labels that lies in the folder unused, and how to use it; "" without one.

    It is one if its column of paths names most of the files.
    """
    for name in passed:
        if not name.lower().endswith((".csv", ".tsv")) or name.count("/") > 1:
            continue
        try:
            titles, rows = rows_of(folder / name)
        except Exception:  # whatever it is, it is no table of labels
            continue
        path, label = guessed_title(titles, "path"), guessed_title(titles, "label")
        if path is None or (label is None and guessed_title(titles, "patient") is None):
            continue
        named = {row.get(path, "") for row in rows}
        known = sum(bool(_called(folder, entry) & named) for entry in entries)
        if entries and 2 * known > len(entries):
            patient = guessed_title(titles, "patient")
            options = [("path", path), ("label", label), ("patient", patient)]
            words = " ".join(f"--{what}-column {printable(title)!r}" for what, title in options if title)
            name = printable(name)
            return f"{name} names these files and is not used; to use it: --labels '{name}' {words}"
    return ""


def _called(folder: Path, entry: Listed) -> set[str]:
    relative = PurePosixPath(entry.path.relative_to(folder).as_posix())
    return {str(relative), relative.name, stem(relative)}


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
        if not CHANNEL_NAME.fullmatch(name) or name == "mask"
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
                raise BadOption(
                    f"{TABLE}: unknown column {column!r}", did_you_mean(family, ["path", *_FAMILIES])
                )
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
