"""The node at work: what is complete goes to the queue of the page, and results go to peers."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydicom.dataset import Dataset

from ..errors import BadOption, MedpriorError
from ..io.disk.files import hold
from ..io.served.queue import ENDED, Job, JobQueue
from ..io.served.spool import Delivery, Spool, Unit, UnitTask
from ..runs.core.run import RunFolder
from ..runs.page.record import read_record
from .listen import PacsListener, identified
from .results import NO_RESULT, collect, collect_no_result
from .send import Confirmations, PeerRefused, count_of_series, report_commitment, send_files
from .settings import PacsSettings, Peer, Rule

__all__ = ["Ask", "PacsNode"]

Ask = Callable[[str, Mapping[str, Any], str], Job]
"""Puts a job into the queue: (verb, its options, id of the task)."""

_LOOK = 0.2
"""Seconds between two looks."""
_LONGEST_WAIT = 5.0
"""Quiet times after which a series is taken as it is, though a peer says that it has more objects."""
_SETTLED = 1.0
"""Seconds of silence after which a count that fits is believed."""
_CLEAR = 60.0
"""Seconds between two looks for what may be removed."""


@dataclass(slots=True)
class PacsNode:
    """settings: pacs.toml. folder: of the runs. queue, ask: of the page."""

    settings: PacsSettings
    folder: Path
    queue: JobQueue
    ask: Ask
    spool: Spool = field(init=False)
    listener: PacsListener = field(init=False)
    confirmations: Confirmations = field(default_factory=Confirmations)
    _stop: threading.Event = field(default_factory=threading.Event)
    _threads: list[threading.Thread] = field(default_factory=list)
    _asked: dict[str, float] = field(default_factory=dict)
    _cleared: float = 0.0

    def __post_init__(self) -> None:
        root = self.folder.absolute() / ".serve" / "pacs"
        self.spool = Spool(root, int(self.settings.me.quota * 10**9))
        self.listener = PacsListener(self.settings, self.spool, self._committed, self.confirmations.came)

    def start(self) -> None:
        """Take up what a former server has left, then listen. Raises FileProblem where another one works on
        the spool, BadOption for a port that is taken.
        """
        hold(self.spool.root)
        self.spool.begin()
        self.spool.mend(lambda path: identified(self.settings, self.spool.name, path, ""))
        self.listener.start()
        self._threads = [threading.Thread(target=self._clerk, daemon=True)]
        self._threads += [
            threading.Thread(target=self._carrier, args=(peer,), daemon=True) for peer in self.settings.peers
        ]
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """Take nothing more and send nothing more; the next server goes on."""
        self._stop.set()
        self.listener.stop()
        for thread in self._threads:
            thread.join(2)

    # complete?

    def _clerk(self) -> None:
        while not self._stop.wait(_LOOK):
            for work in (self._begin_all, self._end_all, self._clear):
                try:
                    work()
                except MedpriorError:
                    self.spool.count("faults")

    def _begin_all(self) -> None:
        for unit, newest, here in self.spool.open_units():
            if self._complete(unit, newest, here) and (task := self.spool.ask(unit)) is not None:
                self._begin(task, unit)

    def _complete(self, unit: Unit, newest: float, here: int) -> bool:
        """Whether nothing more is expected: silence, or as many objects as a peer says that there are."""
        rule, silent = self._rule(unit.rule), time.time() - newest
        if rule is None:
            return True
        counts = [peer for peer in self.settings.peers if peer.count]
        if silent < min(_SETTLED, rule.quiet):
            return False
        if counts and time.time() - self._asked.get(unit.key, 0.0) > max(1.0, rule.quiet / 10):
            self._asked[unit.key] = time.time()
            told = [count_of_series(self.settings.me, peer, unit.study, unit.series) for peer in counts]
            if known := [n for n in told if n is not None]:
                self.spool.tell(unit, max(known))
                return here >= max(known) or silent >= _LONGEST_WAIT * rule.quiet
        more = unit.told is not None and here < unit.told
        return silent >= rule.quiet * (_LONGEST_WAIT if more else 1.0)

    def _rule(self, name: str) -> Rule | None:
        return next((rule for rule in self.settings.rules if rule.name == name), None)

    # jobs

    def _begin(self, task: UnitTask, unit: Unit) -> None:
        rule = self._rule(unit.rule)
        if rule is None:
            self.spool.failed(task, f"{unit.rule} is no longer in the settings")
            return
        folder = self.spool.scan(task.id)
        files = sorted(folder.glob("*.dcm"))
        try:
            values = rule.request(files[0] if len(files) == 1 else folder)
            self.spool.started(task.id, self.ask(rule.job, values, task.id).id)
        except BadOption as error:  # the queue is full: it is asked again
            self.spool.put_off(task, str(error))

    def _end_all(self) -> None:
        for task in self.spool.working():
            unit, job = self.spool.unit(task.unit), self._job_of(task)
            if unit is None:
                self.spool.failed(task, "its scan is gone")
            elif job is None:
                self._begin(task, unit)
            elif job.state in ENDED:
                self._end(task, unit, job)

    def _job_of(self, task: UnitTask) -> Job | None:
        """Its job; a server that was killed between two lines has not written down which it is."""
        if task.job:
            return self.queue.get(task.job)
        return next((job for job in self.queue.all() if job.scan == task.id), None)

    def _end(self, task: UnitTask, unit: Unit, job: Job) -> None:
        rule = self._rule(unit.rule)
        if rule is None:
            self.spool.failed(task, f"{unit.rule} is no longer in the settings")
        elif unit.digest != task.digest:
            self.spool.failed(task, "more objects have come: a newer job has the scan")
        elif job.state == "done" or job.code in NO_RESULT:
            try:
                self._collected(task, rule, job)
            except (MedpriorError, OSError) as error:
                self.spool.failed(task, f"the results cannot be made ready ({type(error).__name__})")
        else:
            self.spool.failed(task, f"its job was {job.state}: see its log on the page")

    def _collected(self, task: UnitTask, rule: Rule, job: Job) -> None:
        """Results made whole on the disk, then their delivery written down."""
        scan = sorted(self.spool.scan(task.id).glob("*.dcm"))
        out, before = self.spool.results(task.id), self.spool.earlier(task)
        withdrawn = [] if before is None else self._own(self.spool.results(before.id))
        if job.state == "done":
            place = self.folder / job.place
            n = collect(RunFolder(place, read_record(place)), rule, scan, out, withdrawn)
        else:
            n = collect_no_result(NO_RESULT[job.code or 2], rule, scan, out, withdrawn)
        peers = self.settings.receivers(rule) if n else []
        self.spool.answered(task, [peer.ae for peer in peers])

    def _own(self, folder: Path) -> list[Path]:
        """Results that were sent before, without notes."""
        return [path for path in sorted(folder.glob("*.dcm")) if path.name != "999999.dcm"]

    # to the peers

    def _carrier(self, peer: Peer) -> None:
        """One peer's own thread: a peer that hangs makes no other one wait."""
        while not self._stop.wait(_LOOK):
            one = self.spool.due(peer.ae)
            if one is not None:
                self._deliver(one, peer)

    def _deliver(self, one: Delivery, peer: Peer) -> None:
        files = sorted(self.spool.results(one.task).glob("*.dcm"))
        try:
            send_files(self.settings.me, peer, files, self.confirmations)
        except PeerRefused as error:
            self.spool.refused(one, str(error), peer.tries, peer.pause)
        except (MedpriorError, OSError, RuntimeError, ValueError) as error:
            said = f"{peer.ae} could not be sent to ({type(error).__name__})"
            self.spool.refused(one, said, peer.tries, peer.pause)
        else:
            self.spool.delivered(one)

    def _committed(
        self, title: str, transaction: str, held: Sequence[Dataset], missing: Sequence[Dataset]
    ) -> None:
        """Answer a request for storage commitment, by a line of its own."""

        def answer() -> None:
            peer = self.settings.peer(title)
            for n in range(peer.tries):
                with suppress(PeerRefused):
                    report_commitment(self.settings.me, peer, transaction, held, missing)
                    return
                if self._stop.wait(peer.pause * 2**n):
                    return

        threading.Thread(target=answer, daemon=True).start()

    def _clear(self) -> None:
        now = time.time()
        if now - self._cleared > _CLEAR:
            self._cleared = now
            self.spool.clear(now - 3600 * self.settings.me.keep)
