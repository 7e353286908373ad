"""Sessions of ``medprior label`` that are open on the page, and the batch that lies before each reader."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from ...data.volume import Volume
from ...errors import FileProblem
from ...runs.ask.requests import Label
from ...runs.core.progress import silent
from ...runs.core.run import RunFolder

if TYPE_CHECKING:
    from ...jobs.label import Labelling, Proposal

__all__ = ["LabelRoom"]


@dataclass(slots=True)
class LabelRoom:
    """Sessions that are open, by run. request_of: how the run was asked for, as its job says."""

    request_of: Callable[[RunFolder], Label]
    _open: dict[str, Labelling] = field(default_factory=dict)
    _batches: dict[tuple[str, str], Proposal] = field(default_factory=dict)
    _lock: threading.RLock = field(default_factory=threading.RLock)

    def session(self, name: str, run: RunFolder) -> Labelling:
        """Raises what ``Labelling`` raises."""
        from ...jobs.label import Labelling  # torch, which most of the page does without
        from ...runs.core.inputs import indexed, known_prior

        with self._lock:
            if name not in self._open:
                asked = self.request_of(run)
                prior = known_prior(asked.prior).prior
                with indexed(asked.folder, asked.unit, asked.modality, silent, asked.layout) as index:
                    scans = index
                self._open[name] = Labelling(
                    scans,
                    prior,
                    run.path,
                    split=asked.split,
                    allow_other=asked.allow_other,
                    allow_synthetic=asked.allow_synthetic,
                )
            return self._open[name]

    def batch(self, name: str, run: RunFolder, reader: str) -> Proposal:
        """What lies before a reader; a new batch once all of it is answered."""
        session, key = self.session(name, run), (name, reader.casefold())
        with self._lock:
            said = session.state().readings.current.values()
            mine = {answer.scan for answer in said if answer.key[0] == key[1]}
            old = self._batches.get(key)
            if old is None or all(one.scan in mine for one in old.scans):
                self._batches[key] = self._next(session, self.request_of(run), reader)
            return self._batches[key]

    def undo(self, name: str, run: RunFolder, reader: str, number: int) -> None:
        """Take an answer back; its scan lies before the reader again."""
        from ...jobs.label import Proposed

        scan = self.session(name, run).undo(number).scan
        with self._lock:
            old = self.batch(name, run, reader)
            if scan not in {one.scan for one in old.scans}:
                again = Proposed(scan, "taken back")
                self._batches[name, reader.casefold()] = replace(old, scans=(again, *old.scans))

    def _next(self, session: Labelling, asked: Label, reader: str) -> Proposal:
        from ...jobs.label import Proposal

        if not session.state().open_:
            return Proposal((), "none", None)
        return session.propose(asked.n, by=asked.by, reader=reader, repeat=asked.repeat, seed=asked.seed)

    def volume(self, name: str, run: RunFolder, number: str) -> Volume:
        """The scan of that number in the session. Raises FileProblem for another."""
        session = self.session(name, run)
        if not number.isdecimal() or int(number) >= len(session.scans):
            raise FileProblem("scan", "this is not here any more")
        item = session.names[session.scans[int(number)]]
        return next(volume for _, volume in session.index.volumes([item]))
