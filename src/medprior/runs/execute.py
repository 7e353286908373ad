"""From a request to a run folder: read, do, write. One straight line for every job."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from ..data.acquisitions import KSpace, Sinogram
from ..data.plain import JsonObject
from ..data.volume import Volume
from ..errors import BadOption
from ..io.dataset.layout import PLAIN
from ..io.dataset.listing import folder_state
from ..io.dataset.worklist import ReadScan
from ..io.disk.files import give_back
from ..io.read import read
from ..jobs.reconstruct import label_index
from .ask.requests import (
    Augment,
    AugmentClassical,
    AugmentSet,
    Detect,
    Explain,
    OneScan,
    Reconstruct,
    Request,
    Synthesize,
    WithPrior,
)
from .ask.words import function_at
from .core.inputs import (
    LoadedPrior,
    about,
    check_measured,
    device_named,
    given_of,
    known_prior,
    scan_hash,
    scan_of,
)
from .core.outputs import Outcome, Performed
from .core.progress import Event, OnEvent, silent
from .core.run import Run, RunFolder
from .many.job import ManyJob, ManyRequest, holds_many, image_only
from .many.share import run_many

__all__ = ["Prepared", "execute", "prepared"]


def execute(request: Request, on_event: OnEvent = silent) -> RunFolder:
    """Do what the request says and write the run folder, whole or not at all; a complete run of the same
    request is returned at once.

    Raises a MedpriorError, naming what was wanted, what came and what to do; then nothing has been written.
    """
    if isinstance(request, AugmentSet | AugmentClassical):
        return function_at(_JOBS[type(request)])(request, on_event)
    if isinstance(request, Detect | Explain | Reconstruct) and holds_many(request):
        return run_many(_job_on_many(request), on_event)
    work = prepared(request)
    if (done := work.run.done(on_event)) is not None:
        return done
    try:
        performed = work.perform(on_event)
        return work.run.publish(performed.outcome, performed.record)
    except BaseException:
        give_back(work.run.out)
        raise


@dataclass(frozen=True, slots=True)
class Prepared:
    """A request with its prior and its scan read, ready to be done. given: known channels of a joint
    synthesis.
    """

    request: Request
    run: Run
    known: LoadedPrior
    volume: Volume | KSpace | Sinogram | None
    read_seconds: float
    given: Mapping[str, Volume] = field(default_factory=dict)

    def perform(self, on_event: OnEvent) -> Performed:
        """Do the job."""
        started, log = time.monotonic(), _Log(on_event)
        outcome = _do(self.request, self.known, self.volume, self.given, log)
        seconds = {"read": self.read_seconds, "job": time.monotonic() - started}
        facts, more = self.run.identity, {}
        if self.given:
            more["given"] = {
                name: about(one, facts["given_sha256"][name]) for name, one in self.given.items()
            }
        scan = None if self.volume is None else about(self.volume, facts["input_sha256"])
        record = self.run.record(outcome, prior=self.known.named, seconds=seconds, input=scan, **more)
        events = "".join(json.dumps(line) + "\n" for line in log.lines)
        return Performed(replace(outcome, files={**outcome.files, "events.jsonl": events}), record)


def prepared(request: Request) -> Prepared:
    """Read what the request names. Raises FileProblem and its kinds, WrongKind, BadOption."""
    if not isinstance(request, WithPrior):
        raise BadOption(f"execute: a request for {request.job} does not make a run folder of this kind")
    if isinstance(request, Augment):
        from .augment.scans import refuse_data_set  # classical transforms, which no other job needs

        refuse_data_set(request)
    started = time.monotonic()
    device = device_named(request.device)
    known = known_prior(request.prior, device)
    if isinstance(request, Reconstruct | Augment | Synthesize) and request.label is not None:
        label_index(known.prior, request.label)  # before minutes are spent, not after
    given = given_of(request) if isinstance(request, Synthesize) else {}
    volume = scan_of(request) if isinstance(request, OneScan) else None
    facts: JsonObject = {"input_sha256": scan_hash(volume) if volume is not None else None}
    if given:
        facts["given_sha256"] = {name: scan_hash(one) for name, one in given.items()}
    run = Run.of(request, started, device, **known.hashes, **facts, **_beside(request))
    return Prepared(request, run, known, volume, time.monotonic() - started, given)


def _beside(request: WithPrior) -> JsonObject:
    """Digests of what a request names beside its scan and its prior."""
    facts: JsonObject = {}
    if isinstance(request, Synthesize) and request.data is not None:
        # whether, and with what, the images were compared
        facts["data_state"] = folder_state(request.data, request.layout)
    if isinstance(request, Augment) and request.paint is not None:
        facts["paint_sha256"] = scan_hash(read(request.paint, unit="label"))
    if isinstance(request, Explain):
        from .explain.model import model_digest  # only this job needs it

        facts["model_sha256"] = model_digest(request.model)
        if request.mask is not None:
            facts["mask_sha256"] = scan_hash(read(request.mask, unit="label"))
        if request.real is not None:
            facts["real_state"] = folder_state(request.real, PLAIN)
    return facts


def _job_on_many(request: Detect | Explain | Reconstruct) -> ManyJob:
    """The prior is loaded once; each scan is done as if it had been given alone."""
    device = device_named(request.device)
    known = known_prior(request.prior, device)
    if isinstance(request, Reconstruct) and request.label is not None:
        label_index(known.prior, request.label)
    facts = {**known.hashes, **_beside(request)}

    def do(one: ManyRequest, volume: ReadScan) -> Outcome:
        if not isinstance(one, Reconstruct):
            image_only(one, volume)
        elif not isinstance(volume, Volume):
            check_measured(one)
        return _do(one, known, volume, {}, silent)

    def record(
        one: ManyRequest, volume: Volume | KSpace | Sinogram, outcome: Outcome, seconds: float
    ) -> JsonObject:
        digest = scan_hash(volume)
        run = Run.of(one, time.monotonic(), device, **facts, input_sha256=digest)
        scan = about(volume, digest)
        return run.record(outcome, prior=known.named, seconds={"job": seconds}, input=scan)

    return ManyJob(request, facts, known.named, device, do, record)


class _Log:
    """Passes events on and keeps them for events.jsonl."""

    def __init__(self, on_event: OnEvent) -> None:
        self.on_event, self.started = on_event, time.monotonic()
        self.lines: list[JsonObject] = []

    def __call__(self, event: Event) -> None:
        self.lines.append(
            {
                "seconds": round(time.monotonic() - self.started, 3),
                "kind": event.kind,
                "text": event.text,
                "done": event.done,
                "total": event.total,
            }
        )
        self.on_event(event)


def _do(
    request: Request,
    known: LoadedPrior,
    volume: Volume | KSpace | Sinogram | None,
    given: Mapping[str, Volume],
    log: OnEvent,
) -> Outcome:
    for scan in given.values() if volume is None else (volume,):
        for warning in scan.provenance.warnings:
            log(Event("warning", warning))
        if scan.provenance.synthetic:
            log(Event("warning", "the input is marked synthetic: it shows no patient"))
    return function_at(_JOBS[type(request)])(request, known.prior, given or volume, log)


_JOBS: dict[type[Request], str] = {
    Augment: "augment.one_scan:run_augment",
    AugmentClassical: "augment.classical:run_augment_classical",
    AugmentSet: "augment.data_set:run_augment_set",
    Detect: "detect.run:run_detect",
    Explain: "explain.run:run_explain",
    Reconstruct: "reconstruct.run:run_reconstruct",
    Synthesize: "synthesize.run:run_synthesize",
}
"""What does each job. Its modules alone are loaded: those of all jobs would take a second."""
