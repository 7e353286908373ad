"""A job on many scans as a run: scan by scan, each whole and recorded before the next; the same command goes
on where it was stopped.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from PIL import Image

from ...data.views import as_png, grey, quick_window, upright
from ...data.volume import Volume
from ...errors import FileProblem, Unsupported, cause
from ...io.dataset.worklist import ListedScan, ReadScan, read_scans, shard_of
from ...io.disk.files import locked, write_file
from ..ask.many import shard_named
from ..core.cost import LONG, words
from ..core.outputs import Outcome
from ..core.partial import Partial, beside
from ..core.progress import Event, OnEvent
from ..core.run import Run, RunFolder
from .begun import THUMB, BegunMany
from .job import ManyJob, of_one
from .page import folder_outcome
from .rows import ROWS, Row, q_values, rows_in, write_results

__all__ = ["do_scans", "publish"]

SIDE = 160
_MEASURED = 3
"""Scans after which the time of all is known."""


def do_scans(job: ManyJob, run: Run, scans: Sequence[ListedScan], on_event: OnEvent) -> RunFolder:
    """Do it in this process on every scan, or on those of the request's shard. The folder of the run appears
    whole or not at all; until then what is done lies in OUT.partial.
    """
    shard = shard_named(job.request.shard)
    mine = scans if shard is None else [scan for scan in scans if shard_of(scan, shard[1]) == shard[0]]
    with locked(beside(run.out)):
        begun = BegunMany(run.out, run.id, fresh=job.request.fresh)
        if begun.done:
            on_event(Event("note", f"goes on: {len(begun.done)} scans are done already"))
        _Work(job, begun, on_event).all(mine)
        done = publish(run, job.prior, begun, len(scans))
        begun.forget()
    return done


def publish(run: Run, prior: Mapping[str, str], begun: Partial, listed: int) -> RunFolder:
    """The folder of a run whose rows and scans lie in ``begun``. listed: scans in the folder of data."""
    rows = begun.path / ROWS
    found = None if run.identity.get("shard") else q_values(rows_in(rows))
    write_results(begun.path, rows, found)
    outcome = folder_outcome(run, prior, begun.path, found, listed)
    return run.publish_begun(begun, outcome, run.record(outcome, prior=prior, input=None))


@dataclass(slots=True)
class _Work:
    """Scan after scan."""

    job: ManyJob
    begun: BegunMany
    on_event: OnEvent
    started: float = field(default_factory=time.monotonic)

    def all(self, scans: Sequence[ListedScan]) -> None:
        left, request = self.begun.waiting(scans), self.job.request
        before, self.started = len(scans) - len(left), time.monotonic()
        self.on_event(Event("stage", "working on the scans", before, len(scans)))
        said = {"unit": request.unit, "modality": request.modality, "resample": request.resample}
        for at, (scan, volume) in enumerate(read_scans(self.job.folder, left, **said), start=1):
            self.one(scan, volume)
            if at == min(_MEASURED, len(left)):
                self.announce(at, len(left))
            self.on_event(Event("step", done=before + at, total=len(scans)))

    def announce(self, measured: int, left: int) -> None:
        """What all will take, by the first."""
        each = (time.monotonic() - self.started) / measured
        text = f"about {words(each * left)}: {left} scans x {each:.2g} s"
        self.on_event(Event("cost" if each * left >= LONG else "note", text))

    def one(self, scan: ListedScan, volume: ReadScan | Exception) -> None:
        """One scan, its files and its row. Raises FileProblem where the disk refuses: then the run stops, and
        goes on from there.
        """
        started = time.monotonic()
        plain = Row(scan.n, scan.name, f"p{scan.unit:05d}" if scan.patient else "", {})
        if isinstance(volume, Exception):
            return self.begun.note(_failed(plain, volume))
        request = of_one(self.job.request, self.job.folder, scan)
        try:
            outcome = self.job.do(request, volume)
            answer = outcome.answer
        except Exception as error:  # whatever one scan is refused for costs that scan alone
            return self.begun.note(_failed(plain, error))
        wanted = self.job.request
        kept = wanted.keep == "all" or (wanted.keep == "flagged" and answer.flagged)
        page = kept and (wanted.pages == "all" or (wanted.pages == "flagged" and answer.flagged))
        row = Row(
            *(plain.n, plain.path, plain.patient, dict(answer.cells), answer.unusual, answer.flagged),
            verdict=outcome.summary.result,
            folder=self.begun.folder_of(scan) if kept else "",
            page=page,
        )

        def fill(folder: Path) -> None:
            record = self.job.record(request, volume, outcome, time.monotonic() - started) if page else None
            write_file(folder / THUMB, small_strip(outcome, volume))
            if record is not None:
                outcome.fill(folder, record)
            else:
                outcome.write_outputs(folder, prior_hash=self.job.prior["sha256"], seed=wanted.seed)

        try:
            self.begun.note(row, fill if kept else None)
        except Exception as error:  # what its format cannot hold costs that scan alone
            if isinstance(error, FileProblem) and not isinstance(error, Unsupported):
                raise
            self.begun.note(_failed(plain, error))
        return None


def _failed(row: Row, error: BaseException) -> Row:
    return Row(row.n, row.path, row.patient, {}, error=cause(error))


def small_strip(outcome: Outcome, volume: ReadScan) -> bytes:
    """The first and the last picture of the preview, small: the scan, and what the job shows in it."""
    pictures = [picture for _, picture in outcome.preview]
    if not pictures and isinstance(volume, Volume):
        pictures = [grey(upright(volume), quick_window(volume))]
    pictures = [pictures[0], *pictures[1:][-1:]]
    small = []
    for picture in pictures:
        copy = picture.convert("RGB")
        copy.thumbnail((SIDE, SIDE), Image.Resampling.BILINEAR)
        small.append(copy)
    strip = Image.new("RGB", (sum(one.width for one in small), max(one.height for one in small)))
    left = 0
    for one in small:
        strip.paste(one, (left, 0))
        left += one.width
    return as_png(strip)
