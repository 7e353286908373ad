"""Blind readings on disk: a plan that is drawn once, and answers to which lines are only added."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from ...errors import BadOption, FileProblem
from ..dataset.answers import write_table
from ..disk.files import append_line, read_json, read_lines, write_file, write_json

__all__ = ["BlindAnswer", "BlindItem", "BlindReading", "ReadingStore"]

_ID = re.compile(r"[0-9a-f]{16}")
TITLES = ("reader", "item", "source", "truth", "answer", "correct", "seconds")


@dataclass(frozen=True, slots=True)
class BlindItem:
    """One question. pictures: ids of its pictures, left to right. synthetic: number of the synthetic one, or
    of a single picture 1 where it is synthetic, else 0. sources: what each picture was made of, for the
    export.
    """

    pictures: tuple[str, ...]
    synthetic: int
    sources: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class BlindReading:
    """A plan. kind: "choice" (two pictures, which is synthetic?) or "rating" (one, from 1 surely real to 6
    surely synthetic). side: pixels of every picture.
    """

    id: str
    title: str
    kind: str
    side: int
    made: float
    items: tuple[BlindItem, ...]


@dataclass(frozen=True, slots=True)
class BlindAnswer:
    """reader: by name. answer: number of the picture that is called synthetic, or a rating."""

    reader: str
    item: int
    answer: int
    seconds: float

    def correct(self, reading: BlindReading) -> bool:
        """Whether the answer finds the synthetic picture, or lies on its side of the scale."""
        truth = reading.items[self.item].synthetic
        return self.answer == truth if reading.kind == "choice" else (self.answer > 3) == bool(truth)


class ReadingStore:
    """root: a folder of its own."""

    def __init__(self, root: Path) -> None:
        self.root = root
        root.mkdir(parents=True, exist_ok=True, mode=0o700)

    def add(self, reading: BlindReading, pictures: Sequence[tuple[str, bytes]]) -> None:
        """Keep a plan and its pictures, PNG by id."""
        home = self.root / reading.id
        for name, png in pictures:
            write_file(home / f"{name}.png", png)
        write_json(home / "reading.json", asdict(reading))

    def all(self) -> list[BlindReading]:
        """Newest first."""
        found = [self.get(place.parent.name) for place in self.root.glob("*/reading.json")]
        return sorted(found, key=lambda one: -one.made)

    def get(self, name: str) -> BlindReading:
        """Raises FileProblem for an unknown id."""
        place = self.root / name / "reading.json"
        if not _ID.fullmatch(name) or not place.is_file():
            raise FileProblem("reading", "this is not here any more")
        stored = read_json(place)
        items = tuple(
            BlindItem(tuple(one["pictures"]), one["synthetic"], tuple(one["sources"]))
            for one in stored["items"]
        )
        return BlindReading(**stored | {"items": items})

    def picture(self, reading: BlindReading, name: str) -> bytes:
        """Raises FileProblem for an unknown id."""
        if not any(name in item.pictures for item in reading.items):
            raise FileProblem("picture", "this is not here any more")
        return (self.root / reading.id / f"{name}.png").read_bytes()

    def answers(self, reading: BlindReading) -> list[BlindAnswer]:
        """In the order in which they were given."""
        return [BlindAnswer(**line) for line in read_lines(self.root / reading.id / "answers.jsonl")]

    def answer(self, reading: BlindReading, given: BlindAnswer) -> None:
        """Add one. Raises BadOption for a question that is not there or was answered by this reader, and for
        an answer outside of its scale.
        """
        most = 2 if reading.kind == "choice" else 6
        if not 0 <= given.item < len(reading.items) or not given.reader.strip():
            raise BadOption("answer: wanted a reader and a question of this reading")
        if not 1 <= given.answer <= most:
            raise BadOption(f"answer: wanted 1 to {most}, got {given.answer}")
        if any((one.reader, one.item) == (given.reader, given.item) for one in self.answers(reading)):
            raise BadOption("answer: this question was answered already", "an answer is final")
        append_line(self.root / reading.id / "answers.jsonl", asdict(given))

    def export(self, reading: BlindReading) -> Path:
        """Every answer with the truth as a table that spreadsheets open as text."""
        rows = [
            (
                one.reader,
                str(one.item + 1),
                " | ".join(reading.items[one.item].sources),
                str(reading.items[one.item].synthetic),
                str(one.answer),
                "yes" if one.correct(reading) else "no",
                f"{one.seconds:.1f}",
            )
            for one in self.answers(reading)
        ]
        path = self.root / reading.id / "answers.csv"
        write_table(path, TITLES, rows)
        return path
