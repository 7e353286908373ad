"""The queue of jobs in one SQLite file: what was asked for is kept through a reload, a restart and a kill."""

from __future__ import annotations

import json
import sqlite3
import time
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

from ...errors import BadOption, FileProblem

__all__ = ["ENDED", "Job", "JobQueue"]

ENDED = ("done", "failed", "cancelled")
"""States that a job does not leave."""

_TABLE = """
create table if not exists jobs (
    number integer primary key autoincrement, id text unique not null, verb text not null,
    words text not null, asked text not null, place text not null, scan text not null, state text not null,
    said text not null default '', code integer, tries integer not null default 0, process integer,
    queued real not null, started real, ended real)
"""


@dataclass(frozen=True, slots=True)
class Job:
    """One command. words: the command line after ``medprior``. asked: its options as JSON. place: name of its
    run folder. scan: id of the scan that it works on, "" for none. state: "waiting", "running", "cancelling"
    or one of ``ENDED``. said: its last words. code: exit code. tries: how often a process was started for it.
    process: the number of the newest. queued, started, ended: seconds since 1970.
    """

    id: str
    verb: str
    words: tuple[str, ...]
    asked: str = "{}"
    place: str = ""
    scan: str = ""
    state: str = "waiting"
    said: str = ""
    code: int | None = None
    tries: int = 0
    process: int | None = None
    queued: float = 0.0
    started: float | None = None
    ended: float | None = None


_COLUMNS = tuple(Job.__dataclass_fields__)
_NAMES = ", ".join(_COLUMNS)


def _job(row: Sequence[object]) -> Job:
    values = dict(zip(_COLUMNS, row, strict=True))
    return Job(**values | {"words": tuple(json.loads(str(values["words"])))})  # type: ignore[arg-type]


class JobQueue:
    """Jobs in order. Every method is one transaction, so threads and a kill find it whole. most: jobs that
    may wait at a time.
    """

    def __init__(self, path: Path, most: int = 1000) -> None:
        self.path, self.most = path, most
        path.parent.mkdir(parents=True, exist_ok=True)
        with self._open() as base:
            base.execute("pragma journal_mode = wal")
            base.execute(_TABLE)

    @contextmanager
    def _open(self) -> Iterator[sqlite3.Connection]:
        try:
            with closing(sqlite3.connect(self.path, timeout=30, isolation_level=None)) as base:
                base.execute("pragma synchronous = normal")
                yield base
        except sqlite3.Error as error:
            raise FileProblem(
                self.path, f"the queue cannot be used ({error})", "free space, or move it away"
            ) from error

    def _jobs(self, rest: str, *values: object) -> list[Job]:
        with self._open() as base:
            return [
                _job(row) for row in base.execute(f"select {', '.join(_COLUMNS)} from jobs {rest}", values)
            ]

    def add(self, job: Job) -> None:
        """Put a job at the end. Raises BadOption where too many wait already."""
        with self._open() as base:
            base.execute("begin immediate")
            (waiting,) = base.execute("select count(*) from jobs where state = 'waiting'").fetchone()
            if waiting >= self.most:
                base.execute("rollback")
                raise BadOption(
                    f"queue: {waiting} jobs wait already", "wait for some of them, or cancel them"
                )
            base.execute(
                "insert into jobs (id, verb, words, asked, place, scan, state, queued) "
                "values (?, ?, ?, ?, ?, ?, 'waiting', ?)",
                (job.id, job.verb, json.dumps(job.words), job.asked, job.place, job.scan, time.time()),
            )
            base.execute("commit")

    def all(self) -> list[Job]:
        """Newest first."""
        return self._jobs("order by number desc")

    def get(self, name: str) -> Job | None:
        """The job of that id."""
        return next(iter(self._jobs("where id = ?", name)), None)

    def running(self) -> list[Job]:
        """What a process works on, or was when the server ended."""
        return self._jobs("where state in ('running', 'cancelling') order by number")

    def claim(self) -> Job | None:
        """The next waiting job, which is running from now on."""
        found = (
            "update jobs set state = 'running', started = ?, process = null where number = "
            f"(select min(number) from jobs where state = 'waiting') returning {_NAMES}"
        )
        with self._open() as base:
            row = base.execute(found, (time.time(),)).fetchone()
            return None if row is None else _job(row)

    def started(self, name: str, process: int) -> None:
        """Write down which process works on a job."""
        self._change("process = ?, tries = tries + 1", "id = ?", process, name)

    def again(self, name: str) -> None:
        """A job whose process left without a word waits again."""
        self._change("state = 'waiting', process = null", "id = ? and state = 'running'", name)

    def end(self, name: str, state: str, said: str = "", code: int | None = None) -> None:
        """A job has come to its end, once: state is one of ``ENDED``."""
        self._change(
            "state = ?, said = ?, code = ?, ended = ?, process = null",
            "id = ? and ended is null",
            *(state, said, code, time.time(), name),
        )

    def cancel(self, name: str) -> None:
        """A waiting job ends at once; a running one is to be stopped by whoever started it."""
        self._change("state = 'cancelled', ended = ?", "id = ? and state = 'waiting'", time.time(), name)
        self._change("state = 'cancelling'", "id = ? and state = 'running'", name)

    def _change(self, what: str, where: str, *values: object) -> None:
        with self._open() as base:
            base.execute(f"update jobs set {what} where {where}", values)
