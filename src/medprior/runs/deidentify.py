"""De-identification on the command line: what was written, what was refused, what a person must look at."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from ..data.plain import JsonObject
from ..io.dicom.deidentify_files import TABLE, deidentify
from ..io.disk.files import give_back, hold
from .core.outputs import SHORT
from .core.progress import Event, OnEvent

__all__ = ["run_deidentify"]

LISTED = 20


def run_deidentify(
    source: Path, out: Path, key: Path | None, allow_burned_in: bool, on_event: OnEvent
) -> tuple[JsonObject, list[str], int]:
    """(record, lines for a person, exit code: ``SHORT`` where a file was refused). Raises what ``deidentify``
    raises.
    """
    hold(out)
    on_event(Event("stage", "removing identity"))
    done = deidentify(
        source,
        out,
        key=key,
        allow_burned_in=allow_burned_in,
        on_step=lambda n, total: on_event(Event("step", done=n, total=total)),
    )
    give_back(out)
    reasons = Counter(reason for _, reason in done.refused)
    notes = Counter(note for one in done.files for note in one.to_look_at.split("; ") if note)
    lines = [
        f"{done.written} files without identity, {len(done.refused)} refused",
        *(f"look at   {n} files: {note}" for note, n in notes.items()),
        *(f"refused   {path}: {reason}" for path, reason in done.refused[:LISTED]),
    ]
    if len(done.refused) > LISTED:
        lines.append(f"refused   and {len(done.refused) - LISTED} more")
    lines += [
        f"output    {out}",
        f"table     {out / TABLE}",
        "Check a sample before you give it away: no program sees everything.",
    ]
    record = {"written": done.written, "refused": dict(reasons), "to_look_at": dict(notes)}
    return record, lines, SHORT if done.refused else 0
