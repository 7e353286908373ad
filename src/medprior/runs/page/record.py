"""run.json: what a run says of itself, read by one schema."""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from pathlib import Path

from ...data.plain import JsonObject
from ...data.records import checked
from ...errors import BadOption, Corrupt
from ...io.disk.files import read_json

__all__ = ["RECORD", "read_record"]

RECORD = "run.json"


@dataclass(frozen=True, slots=True)
class _Record:
    """The parts that every kind of run may have, and their types; a kind may have more."""

    id: str = ""
    job: str = ""
    complete: bool = False
    key: JsonObject = field(default_factory=dict)
    request: JsonObject = field(default_factory=dict)
    overrides: tuple[str, ...] = ()
    prior: dict[str, str] | None = None
    input: JsonObject | None = None
    parts: dict[str, JsonObject] = field(default_factory=dict)
    metrics: JsonObject = field(default_factory=dict)
    summary: JsonObject = field(default_factory=dict)
    scans: tuple[str, ...] = ()
    device: str | None = None
    threads: int | None = None
    versions: dict[str, str] = field(default_factory=dict)
    finished: str = ""
    seconds: dict[str, float] = field(default_factory=dict)
    peak_mib: float = 0.0


def read_record(folder: Path) -> JsonObject:
    """The record in a run's folder. Raises FileProblem where there is none, Corrupt where it is no record."""
    path, remedy = folder / RECORD, "do the run again with --fresh"
    stored = read_json(path)
    if not isinstance(stored, dict):
        raise Corrupt(path, "is not the record of a run", remedy)
    known = {f.name: stored[f.name] for f in fields(_Record) if f.name in stored}
    try:
        checked(_Record, known, "run", remedy)
    except BadOption as error:
        raise Corrupt(path, f"is not the record of a run ({error.args[0]})", remedy) from error
    return stored
