"""The spool of the DICOM node: objects as they came, what they belong to, jobs, results and who has them.

A file lies whole under its name before its sender has an answer. The tables in one SQLite file only say what
the files are, and a start mends them. Names are keyed hashes, so that none tells a person.
"""

from __future__ import annotations

import hashlib
import hmac
import os
import secrets
import shutil
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from ...errors import FileProblem, TooLarge
from ..disk.files import flush, write_file

__all__ = ["Delivery", "Received", "Spool", "Unit", "UnitTask"]

_TABLES = """
create table if not exists instances (
    key text primary key, uid text not null, class text not null, series text not null, study text not null,
    unit text not null, peer text not null, bytes integer not null, digest text not null, at real not null,
    committed integer not null default 0);
create index if not exists of_unit on instances (unit);
create index if not exists of_study on instances (study);
create table if not exists units (
    key text primary key, study text not null, series text not null, rule text not null, peer text not null,
    modality text not null, state text not null, changed real not null, digest text not null default '',
    n integer not null default 0, told integer, said text not null default '');
create table if not exists tasks (
    id text primary key, unit text not null, digest text not null, job text not null default '',
    state text not null, said text not null default '', made real not null, ended real,
    size integer not null default 0);
create index if not exists of_state on tasks (state);
create table if not exists deliveries (
    number integer primary key autoincrement, task text not null, peer text not null, state text not null,
    tries integer not null default 0, due real not null, said text not null default '', ended real,
    unique (task, peer));
create table if not exists counters (name text primary key, n integer not null);
"""


@dataclass(frozen=True, slots=True)
class Received:
    """What one object is. unit: what one job works on, "" for none. rule: its name, "" for none."""

    uid: str
    sop_class: str
    series: str
    study: str
    unit: str
    rule: str
    modality: str
    peer: str


@dataclass(frozen=True, slots=True)
class Unit:
    """A series, or one image, that a rule gives a job. state: "open" (more may come), "asked", "answered" or
    "failed". changed: when its newest object came. digest: of what was last asked about, in n objects. told:
    how many objects its series has, as a peer says. said: why it failed.
    """

    key: str
    study: str
    series: str
    rule: str
    peer: str
    modality: str
    state: str
    changed: float
    digest: str = ""
    n: int = 0
    told: int | None = None
    said: str = ""


@dataclass(frozen=True, slots=True)
class UnitTask:
    """One job about a unit as it was. state: "asked", "answered" or "failed"."""

    id: str
    unit: str
    digest: str
    job: str
    state: str
    said: str
    made: float
    ended: float | None
    size: int


@dataclass(frozen=True, slots=True)
class Delivery:
    """The results of one task on their way to a peer. state: "waiting", "delivered" or "failed". due: when it
    is tried next. said: the last failure in words.
    """

    number: int
    task: str
    peer: str
    state: str
    tries: int
    due: float
    said: str
    ended: float | None


_UNIT = ", ".join(Unit.__dataclass_fields__)
_TASK = ", ".join(UnitTask.__dataclass_fields__)
_DELIVERY = ", ".join(Delivery.__dataclass_fields__)


class Spool:
    """root: a folder of its own. quota: bytes of all objects."""

    def __init__(self, root: Path, quota: int = 2**62) -> None:
        self.root, self.quota = root, quota
        homes = [f"instances/{n:02x}" for n in range(256)]
        for name in ("", "instances", "incoming", "tasks", *homes):
            (root / name).mkdir(parents=True, exist_ok=True, mode=0o700)
        root.chmod(0o700)
        flush(root / "instances")
        if not (secret := root / "secret").is_file():
            write_file(secret, secrets.token_bytes(32))
        self._secret = secret.read_bytes()
        self._lock = threading.RLock()
        self._base = sqlite3.connect(
            root / "spool.sqlite", timeout=30, isolation_level=None, check_same_thread=False
        )
        try:
            self._base.execute("pragma journal_mode = wal")
            self._base.execute("pragma synchronous = normal")
            self._base.executescript(_TABLES)
            (self._taken,) = self._base.execute("select coalesce(sum(bytes), 0) from instances").fetchone()
        except sqlite3.Error as error:
            raise FileProblem(root, f"the spool cannot be used ({error})", "move it away") from error

    @contextmanager
    def _change(self) -> Iterator[sqlite3.Connection]:
        """One transaction, all or nothing."""
        with self._lock:
            self._base.execute("begin immediate")
            try:
                yield self._base
                self._base.execute("commit")
            except BaseException:
                self._base.execute("rollback")
                raise

    def _rows(self, sql: str, *values: object) -> list[tuple]:
        with self._lock:
            return self._base.execute(sql, values).fetchall()

    def name(self, *uids: str) -> str:
        """A keyed name, which tells nothing of what it names."""
        return hmac.new(self._secret, "|".join(uids).encode(), hashlib.sha256).hexdigest()[:32]

    # what comes in

    def begin(self) -> None:
        """Once, before anything is received: forget what was half received."""
        for left in (self.root / "incoming").iterdir():
            left.unlink(missing_ok=True)

    def mend(self, look: Callable[[Path], Received]) -> int:
        """Write down files that a kill has left without a line in the tables. Gives their number."""
        known, found = {key for (key,) in self._rows("select key from instances")}, 0
        for path in sorted((self.root / "instances").glob("*/*.dcm")):
            if path.stem not in known:
                self._note(path.stem, look(path), path.stat().st_size, _digest(path.read_bytes()))
                found += 1
        return found

    @property
    def taken(self) -> int:
        """Bytes of all objects."""
        return self._taken

    def receive(self, pieces: Sequence[bytes | memoryview], look: Callable[[Path], Received]) -> bool:
        """Keep an object: whole on the disk under its own name before this returns. look: says what it is.

        Gives whether it is new: the same bytes again are not. Raises TooLarge where the quota or the disk is
        full; what ``look`` raises; nothing is then kept.
        """
        size = sum(map(len, pieces))
        if self._taken + size > self.quota or size > shutil.disk_usage(self.root).free:
            raise TooLarge("spool", "is full", "raise quota, or lower keep")
        path = self.root / "incoming" / f"{secrets.token_hex(16)}.dcm"
        try:
            with open(path, "xb") as file:
                for piece in pieces:
                    file.write(piece)
                file.flush()
                os.fsync(file.fileno())
            what = look(path)
            key, digest = self.name(what.uid), _digest(*pieces)
            place = self.path(key)
            path.replace(place)
            flush(place.parent)
        finally:
            path.unlink(missing_ok=True)
        return self._note(key, what, size, digest)

    def _note(self, key: str, what: Received, size: int, digest: str) -> bool:
        now = time.time()
        with self._change() as base:
            old = base.execute("select bytes, digest from instances where key = ?", (key,)).fetchone()
            self._taken += size - (old[0] if old else 0)
            base.execute(
                "insert into instances values (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, 0) on conflict (key) do update "
                "set series = excluded.series, study = excluded.study, unit = excluded.unit, "
                "peer = excluded.peer, bytes = excluded.bytes, digest = excluded.digest, at = excluded.at",
                (
                    *(key, what.uid, what.sop_class, what.series, what.study, what.unit, what.peer),
                    *(size, digest, now),
                ),
            )
            _count(base, "received")
            if old is not None and old[1] == digest:
                _count(base, "repeated")
                return False
            if what.unit:
                base.execute(
                    "insert into units (key, study, series, rule, peer, modality, state, changed) "
                    "values (?, ?, ?, ?, ?, ?, 'open', ?) on conflict (key) do update set state = 'open', "
                    "changed = excluded.changed, rule = excluded.rule, told = null",
                    (what.unit, what.study, what.series, what.rule, what.peer, what.modality, now),
                )
        return True

    def path(self, key: str) -> Path:
        """Where an object lies."""
        return self.root / "instances" / key[:2] / f"{key}.dcm"

    def holds(self, uid: str, *, commit: bool = False) -> bool:
        """Whether an object is here. commit: it stays until its owner removes it."""
        key = self.name(uid)
        found = bool(self._rows("select 1 from instances where key = ?", key)) and self.path(key).is_file()
        if found and commit:
            with self._change() as base:
                base.execute("update instances set committed = 1 where key = ?", (key,))
        return found

    # what is complete

    def open_units(self) -> list[tuple[Unit, float, int]]:
        """Units that may be complete, each with when the newest object of its study came, and with how many
        objects its series has here.
        """
        names = ", ".join(f"u.{name}" for name in Unit.__dataclass_fields__)
        found = self._rows(
            f"select {names}, (select max(at) from instances i where i.study = u.study), "
            "(select count(*) from instances i where i.series = u.series) "
            "from units u where state = 'open' order by changed"
        )
        return [(Unit(*row[:-2]), row[-2] or 0.0, row[-1]) for row in found]

    def tell(self, unit: Unit, n: int) -> None:
        """A peer says how many objects the series has."""
        with self._change() as base:
            base.execute("update units set told = ? where key = ?", (n, unit.key))

    def ask(self, unit: Unit) -> UnitTask | None:
        """Freeze what is here of a unit as a new task, with its objects as files that stay as they are.

        None where nothing has changed since it was last asked about, or where objects of then are gone.
        """
        with self._change() as base:
            rows = base.execute(
                "select key, digest, bytes from instances where unit = ? order by key", (unit.key,)
            ).fetchall()
            digest = _digest(*(row[1].encode() for row in rows))
            if not rows or digest == unit.digest or len(rows) < unit.n:
                short = f"{unit.n - len(rows)} objects were removed here: send the whole series again"
                said = short if len(rows) < unit.n else ""
                state = "failed" if said else "answered"
                base.execute("update units set state = ?, said = ? where key = ?", (state, said, unit.key))
                return None
            task = UnitTask(secrets.token_hex(16), unit.key, digest, "", "asked", "", time.time(), None, 0)
            folder = self.scan(task.id)
            folder.mkdir(parents=True, mode=0o700)
            for n, (key, _, _) in enumerate(rows, 1):
                os.link(self.path(key), folder / f"{n:06}.dcm")
            flush(folder)
            values = tuple(getattr(task, name) for name in UnitTask.__dataclass_fields__)
            base.execute(f"insert into tasks ({_TASK}) values (?, ?, ?, ?, ?, ?, ?, ?, ?)", values)
            base.execute(
                "update units set state = 'asked', digest = ?, n = ?, said = '' where key = ?",
                (digest, len(rows), unit.key),
            )
            return task

    def scan(self, task: str) -> Path:
        """The folder with the files of a task."""
        return self.root / "tasks" / task / "scan"

    def results(self, task: str) -> Path:
        """The folder of its results, whole where it exists."""
        return self.root / "tasks" / task / "results"

    def working(self) -> list[UnitTask]:
        """Tasks whose job has not ended, oldest first."""
        return [
            UnitTask(*row)
            for row in self._rows(f"select {_TASK} from tasks where state = 'asked' order by made")
        ]

    def started(self, task: str, job: str) -> None:
        """The job of a task is in the queue."""
        with self._change() as base:
            base.execute("update tasks set job = ? where id = ?", (job, task))

    def put_off(self, task: UnitTask, said: str) -> None:
        """The queue takes no job now. said: why."""
        with self._change() as base:
            base.execute("update tasks set said = ? where id = ?", (said, task.id))

    def unit(self, key: str) -> Unit | None:
        """The unit of that key."""
        return next((Unit(*row) for row in self._rows(f"select {_UNIT} from units where key = ?", key)), None)

    def task(self, name: str) -> UnitTask | None:
        """The task of that id."""
        return next((UnitTask(*r) for r in self._rows(f"select {_TASK} from tasks where id = ?", name)), None)

    def earlier(self, task: UnitTask) -> UnitTask | None:
        """The task before of the same unit whose results were sent, if its files are still here."""
        found = self._rows(
            f"select {_TASK} from tasks where unit = ? and state = 'answered' and made < ? "
            "order by made desc limit 1",
            *(task.unit, task.made),
        )
        return next((UnitTask(*row) for row in found), None)

    # what goes out

    def answered(self, task: UnitTask, peers: Sequence[str]) -> None:
        """Its results are whole: they are to be delivered to these peers."""
        self._end(task, "answered", "", peers)

    def failed(self, task: UnitTask, said: str) -> None:
        """There is no result. said: why."""
        self._end(task, "failed", said, ())

    def _end(self, task: UnitTask, state: str, said: str, peers: Sequence[str]) -> None:
        now = time.time()
        with self._change() as base:
            base.execute(
                "update tasks set state = ?, said = ?, ended = ? where id = ?", (state, said, now, task.id)
            )
            base.execute(
                "update units set state = ?, said = ? where key = ? and state = 'asked' and digest = ?",
                (state, said, task.unit, task.digest),
            )
            for peer in peers:
                base.execute(
                    "insert or ignore into deliveries (task, peer, state, due) values (?, ?, 'waiting', ?)",
                    (task.id, peer, now),
                )
            _count(base, state)

    def due(self, peer: str) -> Delivery | None:
        """What a peer is to get now, oldest first."""
        found = self._rows(
            f"select {_DELIVERY} from deliveries where peer = ? and state = 'waiting' and due <= ? "
            "order by number limit 1",
            *(peer, time.time()),
        )
        return next((Delivery(*row) for row in found), None)

    def delivered(self, one: Delivery) -> None:
        """A peer has it all."""
        self._tried(one, "delivered", one.due, "")

    def refused(self, one: Delivery, said: str, tries: int, pause: float) -> None:
        """A peer has not got it: again after a pause, which doubles, until it was tried so often."""
        state = "failed" if one.tries + 1 >= tries else "waiting"
        self._tried(one, state, time.time() + pause * 2**one.tries, said)

    def _tried(self, one: Delivery, state: str, due: float, said: str) -> None:
        with self._change() as base:
            base.execute(
                "update deliveries set state = ?, tries = tries + 1, due = ?, said = ?, ended = ? "
                "where number = ?",
                (state, due, said, None if state == "waiting" else time.time(), one.number),
            )
            _count(base, "delivered" if state == "delivered" else "refused")
            if state == "failed":
                _count(base, "given_up")

    def again(self) -> int:
        """Whatever has failed is tried again. Gives how much."""
        now = time.time()
        with self._change() as base:
            sent = base.execute(
                "update deliveries set state = 'waiting', tries = 0, due = ? where state = 'failed'", (now,)
            ).rowcount
            asked = base.execute(
                "update units set state = 'open', digest = '' where state = 'failed'"
            ).rowcount
        return sent + asked

    # what is shown

    def count(self, name: str, n: int = 1) -> None:
        """Count something that happened."""
        with self._change() as base:
            _count(base, name, n)

    def counters(self) -> dict[str, int]:
        """What has happened so far, by name."""
        return dict(self._rows("select name, n from counters order by name"))

    def states(self) -> dict[str, int]:
        """How many units and deliveries are in each state, e.g. "unit open"."""
        units = self._rows("select 'unit ' || state, count(*) from units group by state")
        sent = self._rows("select 'delivery ' || state, count(*) from deliveries group by state")
        return dict(units + sent)

    def newest(self, most: int = 100) -> list[tuple[Unit, UnitTask | None, list[Delivery]]]:
        """The units that changed last, each with its last task and where that went."""
        units = [
            Unit(*row) for row in self._rows(f"select {_UNIT} from units order by changed desc limit {most}")
        ]
        return [(unit, *self._last(unit)) for unit in units]

    def _last(self, unit: Unit) -> tuple[UnitTask | None, list[Delivery]]:
        found = self._rows(f"select {_TASK} from tasks where unit = ? order by made desc limit 1", unit.key)
        if not found:
            return None, []
        sent = self._rows(f"select {_DELIVERY} from deliveries where task = ? order by peer", found[0][0])
        return UnitTask(*found[0]), [Delivery(*row) for row in sent]

    def failures(self) -> list[tuple[float, str, str]]:
        """(when, what, why) of all that was given up, newest first."""
        units = self._rows("select changed, 'rule ' || rule, said from units where state = 'failed'")
        sent = self._rows("select ended, 'peer ' || peer, said from deliveries where state = 'failed'")
        return sorted(units + sent, reverse=True)

    # what leaves

    def clear(self, before: float) -> int:
        """Remove what was answered and delivered before then, and what never got a job. Gives the objects."""
        with self._change() as base:
            gone = base.execute(
                "select key, bytes from instances where committed = 0 and at < ? and (unit = '' or unit in "
                "(select key from units where state = 'answered')) and unit not in (select t.unit "
                "from tasks t join deliveries d on d.task = t.id where d.state != 'delivered')",
                (before,),
            ).fetchall()
            base.executemany("delete from instances where key = ?", [(key,) for key, _ in gone])
            old = base.execute(
                "select id from tasks where state != 'asked' and ended < ? and id not in "
                "(select task from deliveries where state != 'delivered')",
                (before,),
            ).fetchall()
        for key, size in gone:
            self.path(key).unlink(missing_ok=True)
            self._taken -= size
        for (task,) in old:
            shutil.rmtree(self.root / "tasks" / task, ignore_errors=True)
        return len(gone)


def _count(base: sqlite3.Connection, name: str, n: int = 1) -> None:
    base.execute(
        "insert into counters values (?, ?) on conflict (name) do update set n = n + ?", (name, n, n)
    )


def _digest(*pieces: bytes | memoryview) -> str:
    made = hashlib.sha256()
    for piece in pieces:
        made.update(piece)
    return made.hexdigest()
