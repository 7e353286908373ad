"""What a started augmentation of a data set has done: a folder beside the result to be, from which the same
command goes on.
"""

from __future__ import annotations

import os
import shutil
from dataclasses import asdict, dataclass, field
from pathlib import Path

from ...data.plain import JsonObject
from ...errors import Corrupt, FileProblem
from ...io.disk.files import append_line, read_json, read_lines, write_json

__all__ = ["Line", "Refused", "State", "Tried", "Written", "beside", "linked"]

_HEAD, _LINES = "state.json", "done.jsonl"


@dataclass(frozen=True, slots=True, kw_only=True)
class Tried:
    """What the gates said of one image. source: place of its scan among the chosen ones, None for an image
    from noise; the rest as in ``gates.Seen``.
    """

    label: str
    source: int | None
    probability: float | None
    p: float | None
    rho: float | None
    nearest: int | None
    copy: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Written(Tried):
    """An image that was written. path, mask: below outputs/. record: what makes a classical one again."""

    path: str
    patient: str
    split: str
    mask: str
    attempt: int
    unlike: bool
    record: JsonObject | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Refused(Tried):
    """An image that was not written. why: "label", "copy", "kind"; picture: below examples/, "" for most."""

    why: list[str]
    picture: str = ""


@dataclass(slots=True)
class Line:
    """What one batch has done so far. failed: whose (``batches._key``) -> why nothing could be made."""

    rows: list[Written] = field(default_factory=list)
    refused: list[Refused] = field(default_factory=list)
    failed: dict[str, str] = field(default_factory=dict)
    drawn: int = 0
    copies: int = 0

    @classmethod
    def of(cls, stored: JsonObject) -> Line:
        """Undo ``asdict``."""
        rows = [Written(**one) for one in stored["rows"]]
        refused = [Refused(**one) for one in stored["refused"]]
        return cls(rows, refused, stored["failed"], stored["drawn"], stored["copies"])


class State:
    """OUT.partial: outputs/, examples/, and a line for every batch that is done. A batch counts once its line
    is there; its files are whole before.
    """

    def __init__(self, out: Path, identifier: str, *, fresh: bool = False) -> None:
        """The folder is locked by whoever calls. Raises FileProblem where the disk refuses."""
        self.path = beside(out)
        if fresh or not _same(self.path, identifier):
            _empty(self.path)
        self.lines = _lines(self.path / _LINES)
        write_json(self.path / _HEAD, {"id": identifier})

    @property
    def outputs(self) -> Path:
        return self.path / "outputs"

    @property
    def examples(self) -> Path:
        return self.path / "examples"

    def __contains__(self, key: str) -> bool:
        return key in self.lines

    def __getitem__(self, key: str) -> Line:
        return self.lines[key]

    def keep(self, key: str, line: Line) -> None:
        """This batch is done."""
        self.lines[key] = line
        append_line(self.path / _LINES, {**asdict(line), "batch": key})

    def forget(self) -> None:
        """All is written where it belongs."""
        shutil.rmtree(self.path, ignore_errors=True)


def beside(out: Path) -> Path:
    """The name of the folder of an unfinished augmentation."""
    return out.with_name(f"{out.name}.partial")


def linked(source: Path, target: Path) -> None:
    """A folder once more, by hard links where the disk knows them: no second copy of ten thousand images, and
    either of the two is whole whatever happens.
    """
    for folder, _, names in os.walk(source):
        here = target / Path(folder).relative_to(source)
        here.mkdir(parents=True, exist_ok=True)
        for name in names:
            if name.startswith(".tmp-"):
                continue  # left by a killed process
            try:
                os.link(Path(folder) / name, here / name)
            except OSError:
                shutil.copy2(Path(folder) / name, here / name)


def _empty(path: Path) -> None:
    """All but the lock, which somebody holds."""
    for left in path.iterdir():
        if left.is_dir():
            shutil.rmtree(left, ignore_errors=True)
        elif left.name != ".lock":
            left.unlink(missing_ok=True)


def _same(path: Path, identifier: str) -> bool:
    try:
        head = read_json(path / _HEAD)
    except FileProblem:
        return False
    return isinstance(head, dict) and head.get("id") == identifier


def _lines(path: Path) -> dict[str, Line]:
    """The batches that are done. A last line that a kill has torn is cut off: its batch is made again."""
    try:
        return {line["batch"]: Line.of(line) for line in read_lines(path)}
    except (TypeError, KeyError) as error:
        raise Corrupt(
            path, f"is not what medprior wrote ({error})", "remove the folder, or start over with --fresh"
        ) from error
