"""What a started augmentation of a data set has done: a folder beside the result to be, from which the same
command goes on.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from pathlib import Path

from ...data.plain import JsonObject
from ...errors import Corrupt
from ...io.disk.files import append_line, read_lines
from ..core.partial import Partial

__all__ = ["Line", "Refused", "State", "Tried", "Written"]

_LINES = "done.jsonl"


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


class State(Partial):
    """outputs/, examples/, and a line for every batch that is done. A batch counts once its line is there;
    its files are whole before.
    """

    def __init__(self, out: Path, identifier: str, *, fresh: bool = False) -> None:
        """The folder is locked by whoever calls. Raises FileProblem where the disk refuses."""
        super().__init__(out, identifier, fresh=fresh)
        self.lines = _lines(self.path / _LINES)

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


def _lines(path: Path) -> dict[str, Line]:
    """The batches that are done. A last line that a kill has torn is cut off: its batch is made again."""
    try:
        return {line["batch"]: Line.of(line) for line in read_lines(path)}
    except (TypeError, KeyError) as error:
        raise Corrupt(
            path, f"is not what medprior wrote ({error})", "remove the folder, or start over with --fresh"
        ) from error
