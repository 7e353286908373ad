"""Everything that one server holds: scans, runs, the queue and its processes, and what may be fetched."""

from __future__ import annotations

import json
import os
import secrets
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from ..data.volume import Volume
from ..errors import FileProblem
from ..io.disk.files import sweep
from ..io.served.queue import Job, JobQueue
from ..io.served.readings import BlindReading, ReadingStore
from ..io.served.scans import ScanStore, Study
from ..runs.ask.request import Request
from ..runs.ask.requests import Label, Scan
from ..runs.ask.words import words_of
from ..runs.core.run import RunFolder
from ..runs.reading.plan import PLACE
from .forms import file_kind, form_request
from .pictures import Shelf
from .rooms.labels import LabelRoom
from .rooms.nearest import NearestRoom
from .shown import Runs, layers_of, read_layer
from .work import Foreman

__all__ = ["Office"]

_TICKET = 120.0
"""Seconds that a link to a file can be followed, once."""


@dataclass(slots=True)
class Office:
    """folder: of the runs; what the page adds lies in its ``.serve``. sets:
    folders of this machine that its owner has named as data sets.
    """

    folder: Path
    sets: Mapping[str, Path]
    largest: int
    workers: int = 1
    shelf: Shelf[Volume] = field(default_factory=Shelf[Volume])
    planes: Shelf[bytes] = field(default_factory=lambda: Shelf[bytes](256 * 2**20))
    scans: ScanStore = field(init=False)
    runs: Runs = field(init=False)
    queue: JobQueue = field(init=False)
    foreman: Foreman = field(init=False)
    readings: ReadingStore = field(init=False)
    labels: LabelRoom = field(init=False)
    near: NearestRoom = field(default_factory=NearestRoom)
    tickets: dict[str, tuple[float, Path, str]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.folder = self.folder.absolute()
        own = self.folder / ".serve"
        self.scans = ScanStore(own, self.largest)
        self.scans.on_read = lambda study, volume: self.shelf.put(_key(study), volume)
        self.runs = Runs(self.folder)
        self.queue = JobQueue(own / "queue.sqlite")
        self.foreman = Foreman(self.queue, own / "jobs", Path.cwd(), self.workers)
        self.readings = ReadingStore(own / "readings")
        self.labels = LabelRoom(self.label_request)
        sweep(self.folder)

    def ids(self) -> Iterator[str]:
        """Random names, one after the other."""
        while True:
            yield secrets.token_hex(8)

    def place(self, kind: str, reference: str) -> Path:
        """The path that a form's choice stands for: no request carries a path of its own.

        Raises FileProblem for what is not here.
        """
        if kind == "prior":
            from ..training.folder import bundled  # torch, which most of the page does without

            known = {name: Path(name) for name in bundled()} | dict(self.runs.priors())
        elif kind in ("run", "model", "any") and reference in (runs := dict(self.runs.all())):
            known = {reference: runs[reference].path}
        elif reference in self.sets:
            known = dict(self.sets)
        else:
            study = self.scans.get(reference)
            known = {} if study is None else {reference: self.scans.path(study)}
        if reference not in known:
            raise FileProblem(kind, "this is not here any more", "choose another one")
        return known[reference]

    def form_of(self, job: Job) -> dict[str, str]:
        """How the form of a job was filled, in names of the page: what ``place`` takes. Values that are no
        single word, and files that are not here any more, are left out.
        """
        named = {str(self.scans.path(study)): study.id for study in self.scans.all()}
        named |= {str(run.path): name for name, run in self.runs.all()}
        named |= {str(path): name for name, path in (*self.sets.items(), *self.runs.priors())}
        filled = {}
        for key, value in json.loads(job.asked).items():
            known = named.get(str(value)) if file_kind(job.verb, key) else None
            if known is None and os.sep not in str(value) and isinstance(value, str | int | float):
                known = str(value).lower() if isinstance(value, bool) else str(value)
            if known is not None and key != "out":
                filled[key] = known
        return filled

    def image(self, study: Study) -> Volume:
        """Raises what ``io.read`` raises."""
        return self.shelf.get(_key(study), lambda: self.scans.volume(study))

    def volume(self, kind: str, name: str, layer: str) -> tuple[str, Volume]:
        """A scan, a layer of a run or a scan to be labelled, and the key that it is kept under.

        Raises FileProblem for what is not here, and what ``io.read`` raises.
        """
        if kind == "studies":
            study = self.scans.get(name)
            if study is None:
                raise FileProblem("scan", "this is not here any more")
            return _key(study), self.image(study)
        run = self.runs.get(name)
        if kind == "labels":
            key = f"{name} {layer}"
            return key, self.shelf.get(key, lambda: self.labels.volume(name, run, layer))
        found = next((one for one in layers_of(run) if one.name == layer), None)
        if found is None:
            raise FileProblem("layer", "this is not here any more")
        key = f"{found.path} {found.path.stat().st_mtime_ns}"  # a run may be repeated in its place
        return key, self.shelf.get(key, lambda: read_layer(run, found))

    def request(self, verb: str, values: Mapping[str, object], name: str) -> Request | Scan:
        """What a form asks for, whose files are names of the page. name: of the run folder."""
        real: dict[str, object] = {}
        for key, value in values.items():
            kind = file_kind(verb, key)
            if not kind or value in ("generative", "none"):
                real[key] = value
            elif kind == "new":
                real[key] = self.folder / f"{name}-prior"
            elif isinstance(value, list):
                real[key] = [self.place(kind, str(one)) for one in value]
            else:
                real[key] = str(self.place(kind, str(value)))
        return form_request(verb, {**real, "out": self.folder / name})

    def asked(self, verb: str, values: Mapping[str, object]) -> Job:
        """A filled form goes into the queue. Raises BadOption for a wrong form or a full queue."""
        name = next(self.ids())
        place = f"{verb.replace(' ', '-')}-{name[:8]}"
        return self._job(name, verb, self.request(verb, values, place), place, str(values.get("input", "")))

    def ask(self, verb: str, values: Mapping[str, object], scan: str = "") -> Job:
        """The same with real paths, by the server itself. scan: id of the scan that it is about."""
        name = next(self.ids())
        place = f"{verb.replace(' ', '-')}-{name[:8]}"
        return self._job(name, verb, form_request(verb, {**values, "out": self.folder / place}), place, scan)

    def _job(self, name: str, verb: str, made: Request | Scan, place: str, scan: str) -> Job:
        asked = made.model_dump_json(exclude_unset=True)
        return self._queued(Job(name, verb, words_of(verb, made), asked, place, scan))

    def reading_stores(self) -> list[ReadingStore]:
        """The page's own, and that of each run of ``read``."""
        runs = [run.path for _, run in self.runs.all() if run.record.get("job") == "read"]
        return [self.readings, *(ReadingStore(path / PLACE) for path in runs)]

    def reading(self, name: str) -> tuple[ReadingStore, BlindReading]:
        """Raises FileProblem for an unknown id."""
        for store in self.reading_stores():
            if (found := next((one for one in store.all() if one.id == name), None)) is not None:
                return store, found
        raise FileProblem("reading", "this is not here any more")

    def label_request(self, run: RunFolder) -> Label:
        """How a run of ``label`` was asked for. Raises FileProblem where the page has not started it."""
        job = next((one for one in self.queue.all() if one.place == run.path.name), None)
        if job is None or job.verb != "label":
            raise FileProblem("label", "this was not started on the page", "start it here: New job, label")
        return Label.model_validate_json(job.asked)

    def repeat(self, job: Job) -> Job:
        """The same command under a new name; its run folder is the same."""
        return self._queued(replace(job, id=next(self.ids()), state="waiting"))

    def _queued(self, job: Job) -> Job:
        self.queue.add(job)
        self.foreman.call()
        return self.queue.get(job.id) or job

    def ticket(self, path: Path, name: str) -> str:
        """The address under which one file can be fetched once, for a link that sends no header."""
        now = time.monotonic()
        self.tickets = {key: value for key, value in self.tickets.items() if value[0] > now}
        key = secrets.token_urlsafe(24)
        self.tickets[key] = (now + _TICKET, path, name)
        return f"/ticket/{key}"

    def redeem(self, key: str) -> tuple[Path, str]:
        """(path, name) of a ticket, which is used up. Raises FileProblem for an old or unknown one."""
        ends, path, name = self.tickets.pop(key, (0.0, Path(), ""))
        if ends < time.monotonic() or not path.is_file():
            raise FileProblem("file", "this is not here any more", "click again")
        return path, name


def _key(study: Study) -> str:
    """Of the shelf: the same file said to be something else is another volume."""
    return f"{study.id} {study.said_unit} {study.said_modality}"
