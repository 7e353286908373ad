"""The shards of a run joined: the same rows, discoveries and files as of a run that was never parted."""

from __future__ import annotations

import heapq
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ...data.plain import JsonObject
from ...errors import BadOption, Corrupt, FileProblem
from ...io.disk.files import check_manifest, locked
from ...io.disk.tables import write_lines
from ..ask.many import shard_named
from ..core.partial import Partial, beside, linked, moved
from ..core.progress import OnEvent, silent
from ..core.run import Run, RunFolder
from ..page.record import read_record
from .begun import SCANS
from .rows import ROWS, rows_in
from .run import publish

__all__ = ["merge_runs", "merged"]

_IN_WORDS = {"scans": "the scans of the folder", "prior_sha256": "the prior"}
_NAMED = 12
"""Missing shards that an error names."""


def merge_runs(
    folders: Sequence[Path], out: Path | None = None, *, fresh: bool = False, on_event: OnEvent = silent
) -> RunFolder:
    """What ``medprior merge`` does: the folders of all shards of one run become one run folder.

    Raises BadOption where shards are missing, come twice or were asked for with other settings, each by name;
    FileProblem or Corrupt for a folder that is no complete run.
    """
    if not folders:
        raise BadOption("merge: wanted the folders of shards, got none", "medprior merge runs/detect-*")
    records = [_record(folder) for folder in folders]
    identity = _same_settings(folders, records)
    _complete(folders, records)
    first = records[0]
    run = Run(first["job"], identity, out, fresh, first.get("device") or "cpu", time.monotonic())
    if (done := run.done(on_event)) is not None:
        return done
    with locked(beside(run.out)):
        begun = Partial(run.out, run.id, fresh=True)
        done = merged(run, begun, folders, first, ours=False)
        begun.forget()
    return done


def merged(run: Run, begun: Partial, folders: Sequence[Path], first: JsonObject, *, ours: bool) -> RunFolder:
    """The run folder, made in ``begun``. first: record of one of the shards. ours: the shards lie in
    ``begun`` and end with this, so their scans are moved, not linked. Raises Corrupt where the rows of all
    are not those of every scan.
    """
    listed = first["metrics"]["listed"]
    rows = heapq.merge(*(rows_in(folder / ROWS) for folder in folders), key=lambda row: row.n)
    write_lines(begun.path / ROWS, (row.as_json() for row in rows))
    if [row.n for row in rows_in(begun.path / ROWS)] != list(range(1, listed + 1)):
        raise Corrupt(
            folders[0], "and the other shards do not hold each scan once", "do the shards again with --fresh"
        )
    for folder in folders:
        if (folder / SCANS).is_dir():
            (moved if ours else linked)(folder / SCANS, begun.path / SCANS)
    return publish(run, first["prior"], begun, listed)


def _record(folder: Path) -> JsonObject:
    record = read_record(folder)
    if not record.get("complete"):
        raise FileProblem(folder, "holds no complete run", "repeat its command first")
    check_manifest(folder)
    return record


def _same_settings(folders: Sequence[Path], records: Sequence[JsonObject]) -> Mapping[str, Any]:
    """The identity of the whole run. Raises BadOption naming what differs."""
    plain = [{k: v for k, v in record["request"].items() if k != "shard"} for record in records]
    for folder, other in zip(folders, plain, strict=True):
        differ = sorted(k for k in {*plain[0], *other} if plain[0].get(k) != other.get(k))
        if differ:
            named = ", ".join(_IN_WORDS.get(str(name), str(name)) for name in differ)
            raise BadOption(
                f"merge: {folders[0].name} and {folder.name} were not made with the same settings: {named}",
                "merge shards of one command",
            )
    return plain[0]


def _complete(folders: Sequence[Path], records: Sequence[JsonObject]) -> None:
    """Every shard once. Raises BadOption naming those that are missing, strange or there twice."""
    found: dict[int, Path] = {}
    of = 0
    for folder, record in zip(folders, records, strict=True):
        shard = shard_named(record["request"].get("shard"))
        if shard is None:
            raise BadOption(f"merge: {folder.name} is no shard of a run", "give the folders of its shards")
        number, total = shard
        of = of or total
        if total != of:
            raise BadOption(f"merge: {folder.name} is one of {total} shards, the others of {of}")
        if number in found:
            raise BadOption(f"merge: {found[number].name} and {folder.name} are both shard {number}/{of}")
        found[number] = folder
    missing = [f"{n}/{of}" for n in range(1, of + 1) if n not in found]
    if missing:
        more = f" and {len(missing) - _NAMED} more" if len(missing) > _NAMED else ""
        raise BadOption(
            f"merge: {len(missing)} of {of} shards are missing: {', '.join(missing[:_NAMED])}{more}",
            "run them first: the same command with --shard",
        )
