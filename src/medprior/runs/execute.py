"""From a request to a run folder: read, do, write. One straight line for every job."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch

from .. import __version__
from ..data.acquisitions import KSpace, Sinogram
from ..data.volume import Volume
from ..errors import BadOption
from ..io.dataset.listing import folder_state
from ..io.disk.files import write_file, write_folder
from ..io.read import read
from ..jobs.reconstruct import label_index
from ..prior import Prior
from .ask.requests import Augment, Detect, OneScan, Reconstruct, Request, Synthesize, WithPrior
from .augment.classical import run_augment_classical
from .augment.data_set import run_augment_set
from .augment.one_scan import run_augment
from .augment.scans import is_data_set
from .core.folder import RunFolder, default_out, finished, run_id, vacant
from .core.inputs import Known, device_named, given_of, known_prior, scan_hash, scan_of
from .core.outputs import Outcome, write_scored, written
from .core.progress import Event, OnEvent, silent
from .core.record import peak_mib, versions
from .detect.run import run_detect
from .page.pictures import contact_sheet
from .page.store import lead_of, write_report
from .reconstruct.run import run_reconstruct
from .synthesize.run import run_synthesize

__all__ = ["Performed", "execute", "prepared"]


@dataclass(frozen=True, slots=True)
class Performed:
    """A job that has been done and not yet been written."""

    request: Request
    known: Known
    outcome: Outcome
    record: dict[str, Any]
    lines: list[dict[str, Any]]

    def fill(self, folder: Path) -> None:
        """Write everything into an empty folder."""
        outputs = folder / "outputs"
        outputs.mkdir(parents=True)
        for output in self.outcome.outputs:
            written(output, outputs, prior_hash=self.known.sha256, seed=self.request.seed)
        for name, text in self.outcome.tables.items():
            write_file(outputs / name, text.encode())
        if self.outcome.scored is not None:
            write_scored(*self.outcome.scored, outputs, prior_hash=self.known.sha256, seed=self.request.seed)
        write_file(folder / "preview.png", contact_sheet(self.outcome.preview))
        write_file(folder / "events.jsonl", "".join(json.dumps(line) + "\n" for line in self.lines).encode())
        write_report(
            folder, f"medprior {self.request.job}", lead_of(self.record), self.outcome.sections, self.record
        )


def execute(request: Request, on_event: OnEvent = silent) -> RunFolder:
    """Do what the request says and write the run folder, whole or not at all; a complete run of the same
    request is returned at once.

    Raises a MedpriorError, naming what was wanted, what came and what to do; then nothing has been written.
    """
    if isinstance(request, Augment):
        if is_data_set(request):
            return run_augment_set(request, on_event)
        if request.classical:
            return run_augment_classical(request, on_event)
    work = prepared(request)
    out = request.out or default_out(request.job, work.identifier)
    if not request.fresh and (done := finished(out, work.identifier)):
        on_event(Event("note", "this run is complete already; use --fresh to repeat it"))
        return done
    vacant(out, work.identifier, fresh=request.fresh)
    performed = work.perform(on_event)
    write_folder(out, performed.fill)
    return RunFolder(out, performed.record)


@dataclass(frozen=True, slots=True)
class Prepared:
    """A request with its prior and its scan read, ready to be done. given: known channels of a joint
    synthesis. identifier: of the run.
    """

    request: Request
    known: Known
    volume: Volume | KSpace | Sinogram | None
    identity: dict[str, Any]
    device: str
    read_seconds: float
    given: Mapping[str, Volume] = field(default_factory=dict)

    @property
    def identifier(self) -> str:
        return run_id(self.identity)

    def perform(self, on_event: OnEvent) -> Performed:
        """Do the job."""
        started, log = time.monotonic(), _Log(on_event)
        outcome = _do(self.request, self.known, self.volume, self.given, log)
        seconds = {"read": self.read_seconds, "job": time.monotonic() - started}
        record = _record(self, outcome, seconds)
        return Performed(self.request, self.known, outcome, record, log.lines)


def prepared(request: Request) -> Prepared:
    """Read what the request names. Raises FileProblem and its kinds, WrongKind, BadOption."""
    if not isinstance(request, WithPrior):
        raise BadOption(f"execute: a request for {request.job} does not make a run folder of this kind")
    started = time.monotonic()
    device = device_named(request.device)
    known = known_prior(request.prior, device)
    if isinstance(request, Reconstruct | Augment | Synthesize) and request.label is not None:
        label_index(known.prior, request.label)  # before minutes are spent, not after
    given = given_of(request) if isinstance(request, Synthesize) else {}
    volume = scan_of(request) if isinstance(request, OneScan) else None
    scanned = scan_hash(volume) if volume is not None else None
    hashes = {
        "medprior": __version__,
        "prior_sha256": known.sha256,
        "trust_sha256": known.trust_sha256,
        "input_sha256": scanned,
    }
    if given:
        hashes["given_sha256"] = {name: scan_hash(one) for name, one in given.items()}
    if isinstance(request, Synthesize) and request.data is not None:
        hashes["data_state"] = folder_state(request.data)  # whether, and with what, the images were compared
    if isinstance(request, Augment) and request.paint is not None:
        hashes["paint_sha256"] = scan_hash(read(request.paint, unit="label"))
    return Prepared(
        request, known, volume, {**request.identity(), **hashes}, device, time.monotonic() - started, given
    )


class _Log:
    """Passes events on and keeps them for events.jsonl."""

    def __init__(self, on_event: OnEvent) -> None:
        self.on_event, self.started = on_event, time.monotonic()
        self.lines: list[dict[str, Any]] = []

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
    known: Known,
    volume: Volume | KSpace | Sinogram | None,
    given: Mapping[str, Volume],
    log: OnEvent,
) -> Outcome:
    for scan in given.values() if volume is None else (volume,):
        for warning in scan.provenance.warnings:
            log(Event("warning", warning))
        if scan.provenance.synthetic:
            log(Event("warning", "the input is marked synthetic: it shows no patient"))
    return _JOBS[type(request)](request, known.prior, given or volume, log)


_JOBS: dict[type[Request], Callable[[Any, Prior, Any, OnEvent], Outcome]] = {
    Augment: run_augment,
    Detect: run_detect,
    Reconstruct: run_reconstruct,
    Synthesize: run_synthesize,
}


def _record(work: Prepared, outcome: Outcome, seconds: dict[str, float]) -> dict[str, Any]:
    """run.json: no path and no file name (they may be somebody's identity); inputs and priors are named by
    their SHA-256.
    """
    return {
        "id": work.identifier,
        "job": work.request.job,
        "request": work.identity,
        "overrides": list(outcome.overrides),
        "prior": {"name": work.known.prior.card.name, "sha256": work.known.sha256},
        "input": None if work.volume is None else _about(work.volume, work.identity["input_sha256"]),
        **(
            {
                "given": {
                    name: _about(one, work.identity["given_sha256"][name]) for name, one in work.given.items()
                }
            }
            if work.given
            else {}
        ),
        "metrics": dict(outcome.metrics),
        "device": work.device,
        "threads": torch.get_num_threads(),
        "versions": versions(),
        "finished": datetime.now(UTC).isoformat(timespec="seconds"),
        "seconds": {name: round(value, 3) for name, value in seconds.items()},
        "peak_mib": round(peak_mib(), 1),
        "complete": True,
    }


def _about(volume: Volume | KSpace | Sinogram, digest: str) -> dict[str, Any]:
    if isinstance(volume, Volume):
        own = {
            "modality": volume.modality,
            "unit": volume.unit,
            "spacing_mm": None if volume.spacing_mm is None else list(volume.spacing_mm),
        }
    else:
        own = {"measured": "k-space" if isinstance(volume, KSpace) else "sinogram"}
    return {
        "sha256": digest,
        "format": volume.provenance.format,
        **own,
        "shape": list(volume.data.shape),
        "synthetic": volume.provenance.synthetic,
        "warnings": list(volume.provenance.warnings),
    }
