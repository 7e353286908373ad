"""Predict as a run: what a head says of a scan, or of every scan of a folder."""

from __future__ import annotations

import time

from ...data.plain import JsonObject
from ...data.volume import Volume
from ...errors import BadOption
from ...io.dataset.worklist import ReadScan
from ...jobs.learn import predictions
from ...learning.features import volume_features
from ...learning.head_folder import Head, load_head
from ...learning.head_model import looker_of
from ...training.folder import load
from ..ask.requests import Predict
from ..core.inputs import about, device_named, elsewhere, scan_hash, scan_of
from ..core.outputs import Outcome
from ..core.progress import Event, OnEvent
from ..core.run import Run, RunFolder
from ..learn.predict import classified, outlined
from .job import ManyJob, ManyRequest, holds_many, image_only
from .share import run_many

__all__ = ["run_predict"]


def run_predict(request: Predict, on_event: OnEvent) -> RunFolder:
    """Predict and write the run folder: of one scan with predictions.csv, of many with results.csv.

    Raises what ``load_head`` and ``read`` raise, WrongKind for a scan that the prior was not made for.
    """
    started, device = time.monotonic(), device_named(request.device)
    head = load_head(request.head, load(request.prior) if request.prior else None)
    job = _job(request, head, device)
    if holds_many(request):
        return run_many(job, on_event)
    volume = scan_of(request)
    if not isinstance(volume, Volume):
        raise BadOption("predict: wanted an image, got a measurement", "reconstruct it first")
    run = Run.of(request, started, device, **job.facts, scans=[scan_hash(volume)])
    if (done := run.done(on_event)) is not None:
        return done
    on_event(Event("stage", "looking at the scan with the prior"))
    outcome = job.do(request, volume)
    return run.publish(outcome, job.record(request, volume, outcome, time.monotonic() - started))


def _job(request: Predict, head: Head, device: str) -> ManyJob:
    facts = {"head_sha256": head.digest, "prior_sha256": head.card.prior_sha256}
    named = {"name": head.card.prior, "sha256": head.card.prior_sha256}
    prior, how = elsewhere(head.prior, device), head.features_for(allow_other=request.allow_other)

    def do(one: ManyRequest, scan: ReadScan) -> Outcome:
        volume = image_only(one, scan)
        if head.card.kind == "segmenter":
            return outlined(request, head, volume)
        found = volume_features(prior, [volume], how, None, looker_of(head))
        return classified(request, head, volume, predictions(head, found.numpy())[0])

    def record(one: ManyRequest, volume: ReadScan, outcome: Outcome, seconds: float) -> JsonObject:
        digest = scan_hash(volume)
        run = Run.of(one, time.monotonic(), device, **facts, scans=[digest])
        plain = {name: value for name, value in run.identity.items() if name != "scans"}
        scan = about(volume, digest)
        return run.record(outcome, prior=named, seconds={"job": seconds}, request=plain, input=scan)

    return ManyJob(request, facts, named, device, do, record)
