"""Labels that readers give: the queue of scans that goes out, and the table of answers that comes back from
any spreadsheet.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path, PurePosixPath

from ...errors import BadOption, did_you_mean, printable
from ..disk.files import write_file
from .index import Item
from .layout import stem
from .listing import csv_cell
from .tables import guessed_title, rows_of

__all__ = [
    "QUEUE",
    "UNSURE",
    "Answer",
    "Answers",
    "class_named",
    "names_of",
    "read_answers",
    "reader_named",
    "write_table",
]

UNSURE = "?"
"""The label of a reader who looked at a scan and cannot tell. It is kept, and is no label."""

QUEUE = ("scan", "label", "reader", "confidence", "seconds", "why")
"""Columns of the queue. A reader fills in the label; the rest may stay as it is."""

_TITLES = {
    "reader": ("reader", "annotator", "rater", "observer", "radiologist"),
    "confidence": ("confidence", "certainty"),
    "seconds": ("seconds", "duration", "secs"),
    "answered": ("answered", "timestamp", "datetime", "date", "time"),
    "why": ("why",),
}
"""Titles that a table of answers may use beside those of scan and label."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What one reader said of one scan. scan: its name in ``names_of``. label: a class, or ``UNSURE``.

    seconds: it took. confidence: from 0 to 1. answered: when, as the reader's table says it. number: its line
    in the trail, 0 where it is not recorded yet. at: when it was recorded, UTC. Raises BadOption for an empty
    text and a number out of its range.
    """

    scan: str
    label: str
    reader: str = "reader"
    seconds: float | None = None
    confidence: float | None = None
    answered: str = ""
    number: int = 0
    at: str = ""

    def __post_init__(self) -> None:
        for name in ("scan", "label", "reader"):
            if not str(getattr(self, name)).strip():
                raise BadOption(f"answer: the {name} is empty", f"{UNSURE!r} as label says: cannot tell")
        for name, most in (("seconds", 1e9), ("confidence", 1.0)):
            value = getattr(self, name)
            if value is not None and not 0 <= value <= most:
                raise BadOption(f"answer: {name}: wanted a number from 0 to {most:g}, got {value!r}")

    @property
    def key(self) -> tuple[str, str]:
        """Whose answer about what: a reader has one at a time."""
        return reader_named(self.reader).casefold(), self.scan


@dataclass(frozen=True, slots=True)
class Answers:
    """The rows of a table that hold an answer. empty: rows without a label. notes: sentences on what was not
    used.
    """

    rows: tuple[Answer, ...]
    empty: int = 0
    notes: tuple[str, ...] = ()


def names_of(items: Iterable[Item]) -> dict[str, Item]:
    """Name -> scan: the path below the data folder, with ``#part`` where a file holds several scans."""
    items = tuple(items)
    several = Counter(item.path for item in items)
    return {item.path if several[item.path] == 1 else f"{item.path}#{item.part}": item for item in items}


def reader_named(text: str) -> str:
    """A reader's name without blanks at its ends or twice in a row; without one, "reader"."""
    return " ".join(text.split()) or "reader"


def class_named(label: str, classes: Sequence[str], where: str, *, closed: bool) -> str:
    """The class that a cell means: small and capital letters are one. closed: no other class is allowed.

    Raises BadOption for a class that is not known.
    """
    text = " ".join(label.split())
    known = {name.casefold(): name for name in (*classes, UNSURE)}
    if closed and text.casefold() not in known:
        raise BadOption(
            f"{where}: {printable(text)!r} is none of the classes {', '.join(map(printable, classes))}",
            did_you_mean(text.casefold(), [*classes, UNSURE]),
        )
    return known.get(text.casefold(), text)


def read_answers(
    table: Path, names: Sequence[str], *, reader: str = "", classes: Sequence[str] = (), closed: bool = False
) -> Answers:
    """The answers in a table: commas, semicolons or tabs, columns in any order.

    names: of the scans, as ``names_of`` gives them. reader: of rows that name none. classes, closed: as in
    ``class_named``. Raises FileProblem or Corrupt for a file that is no table. Raises BadOption with the line
    for a scan that is not there, a cell that is no number, a class that is not known, and two labels of one
    reader for one scan.
    """
    called = printable(table.name)
    titles, rows = rows_of(table)
    columns, notes = _columns(titles, called)
    finder, found, empty = _Scans(names), dict[tuple[str, str], Answer](), 0
    seen, strangers = list(classes), list[str]()
    for line, row in enumerate(rows, 2):
        cell = {what: row.get(title, "") for what, title in columns.items()}
        where = f"{called}, line {line}"
        if not cell["label"]:
            empty += 1
            continue
        scan = finder.find(cell["scan"], where)
        if scan is None:
            strangers.append(f"line {line}: {printable(cell['scan']) or 'an empty cell'}")
            continue
        label = class_named(cell["label"], seen, where, closed=closed)
        seen += [label] if label not in (*seen, UNSURE) else []
        answer = Answer(
            scan,
            label,
            reader_named(cell.get("reader") or reader),
            _number(cell.get("seconds", ""), f"{where}, seconds", 1e9),
            _number(cell.get("confidence", ""), f"{where}, confidence", 1),
            cell.get("answered", ""),
        )
        if (before := found.setdefault(answer.key, answer)).label != label:
            raise BadOption(
                f"{where}: {printable(answer.reader)} gives {printable(scan)} two labels, "
                f"{printable(before.label)} and {printable(label)}",
                "give two readers names of their own; nothing was recorded",
            )
    if strangers:
        raise BadOption(
            f"{called}: {len(strangers)} of {len(rows)} rows name no scan of the folder ({_some(strangers)})",
            f"{_nearest(strangers[0], names)}; nothing was recorded",
        )
    return Answers(tuple(found.values()), empty, tuple(notes))


def write_table(path: Path, titles: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """A table that spreadsheets open as text in UTF-8, whole or not at all. Raises FileProblem when the disk
    refuses.
    """
    lines = [",".join('"' + csv_cell(cell).replace('"', '""') + '"' for cell in row) for row in rows]
    write_file(
        path, ("\ufeff" + "\r\n".join([",".join(titles), *lines, ""])).encode(errors="backslashreplace")
    )


class _Scans:
    """Scans by what a spreadsheet may have made of their names."""

    def __init__(self, names: Sequence[str]) -> None:
        self.exact = {csv_cell(name).strip(): name for name in names} | {name: name for name in names}
        self.loose: list[dict[str, set[str]]] = [{}, {}, {}]
        for name in names:
            file = PurePosixPath(name)
            for known, short in zip(self.loose, (file.name, stem(file), stem(file).lstrip("0")), strict=True):
                known.setdefault(short, set()).add(name)

    def find(self, cell: str, where: str) -> str | None:
        """None where nothing bears the name. Raises BadOption where two scans do."""
        text = cell.replace("\\", "/").removeprefix("./")
        if (whole := self.exact.get(cell) or self.exact.get(text)) is not None:
            return whole
        for known in self.loose:
            if (named := known.get(text)) and len(named) > 1:
                raise BadOption(
                    f"{where}: {len(named)} scans are called {printable(text)}",
                    "write their paths below the data folder instead; nothing was recorded",
                )
            if named:
                return next(iter(named))
        return None


def _columns(titles: Sequence[str], called: str) -> tuple[dict[str, str], list[str]]:
    """(what -> title of its column, sentences on the columns that are not used)."""
    plain = {re.sub(r"[^a-z0-9]", "", title.lower()): title for title in reversed(titles)}
    twice = [title for title, n in Counter(titles).items() if n > 1 and title]
    found = {"scan": guessed_title(titles, "path"), "label": guessed_title(titles, "label")}
    found |= {what: next((plain[n] for n in known if n in plain), None) for what, known in _TITLES.items()}
    if clash := [title for title in twice if title in found.values()]:
        raise BadOption(f"{called}: two columns are called {printable(clash[0])!r}", "keep one of them")
    for what in ("scan", "label"):
        if found[what] is None:
            raise BadOption(
                f"{called}: no column {what!r} among {', '.join(map(printable, titles))}",
                f"name the column {what!r}; nothing was recorded",
            )
    columns = {what: title for what, title in found.items() if title is not None}
    unused = [title for title in titles if title and title not in columns.values()]
    for title in unused:
        missing = [what for what, at in found.items() if at is None]
        if close := get_close_matches(title.lower(), missing, n=1, cutoff=0.75):
            raise BadOption(
                f"{called}: unknown column {printable(title)!r}",
                f"did you mean {close[0]!r}? Rename or remove it; nothing was recorded",
            )
    notes = [f"{called}: columns that are not used: {', '.join(map(printable, unused))}"] if unused else []
    return columns, notes


def _number(text: str, where: str, most: float) -> float | None:
    """A number as spreadsheets write it: 12.5, 12,5 or 80 %. Raises BadOption for anything else, and for one
    below 0 or above ``most``.
    """
    if not text:
        return None
    plain = text.replace("\u00a0", " ").strip()
    share = plain.endswith("%")
    try:
        value = float(plain.rstrip("% ").replace(",", ".")) / (100 if share else 1)
    except ValueError:
        value = -1.0
    if not 0 <= value <= most:
        raise BadOption(
            f"{where}: wanted a number from 0 to {most:g}, got {printable(text)!r}",
            "correct or empty the cell; nothing was recorded",
        )
    return value


def _some(lines: Sequence[str], most: int = 3) -> str:
    more = f" and {len(lines) - most} more" if len(lines) > most else ""
    return ", ".join(lines[:most]) + more


def _nearest(stranger: str, names: Sequence[str]) -> str:
    name = stranger.partition(": ")[2]
    close = get_close_matches(name, names, n=1)
    return (
        f"did you mean {printable(close[0])!r}?"
        if close
        else "take the names of the column scan in queue.csv"
    )
