"""Train as a run: what was learned from, the loss, a live sheet of samples, and the prior in its own
folder.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from ...io.disk.files import hold, read_json, sha256, write_file
from ...jobs.fitting.changes import index_once
from ...jobs.fitting.fit import BEGUN, fitted
from ...jobs.fitting.options import Listener
from ...jobs.fitting.training_set import Dataset
from ...prior import Prior
from ...training.distributed import ranks_for
from ...training.folder import locate
from ..ask.requests import Train
from ..core.inputs import device_named
from ..core.outputs import Outcome, Summary
from ..core.progress import Event, OnEvent, silent
from ..core.run import RunFolder
from ..page.pictures import contact_sheet
from .listener import RunListener, complete, learning_run, ours, recorded
from .sheets import image_sheet, samples_of
from .train_page import kept_early, learned_sections, training_verdict

__all__ = ["run_train"]

MINUTES = 10.0
"""Time given where neither minutes nor steps are."""


def run_train(request: Train, on_event: OnEvent) -> RunFolder | None:
    """Learn, or go on learning; the folder holds checkpoints, events.jsonl, samples.png, report.html,
    run.json and prior/. A run that is complete is returned as it is.

    Under torchrun or ``accelerate launch`` rank 0 alone writes and reports; the others help and give None.
    Raises what ``jobs.fit`` raises, and BadOption for a folder that holds something else.
    """
    device = device_named(request.device)
    began = {} if request.begin_with is None else {"begun_with_sha256": _weights_of(request.begin_with)}
    run, ranks = learning_run(request, device, **began), ranks_for(device)
    options = request.fitting(run.out, device)
    if ranks.rank:
        index = index_once(options, Listener())
        if not complete(run, request, MINUTES, silent):
            fitted(options, Listener(), index)
        return None
    hold(run.out)
    ours(run.out, run.identity, fresh=request.fresh)
    sheet = _Sheet(run.out, request.seed)
    listener = RunListener(run, request, on_event, _described, sheet.draw)
    if ranks.count > 1:
        on_event(
            Event("note", f"{ranks.count} processes share every step; this one alone writes and reports")
        )
    index = index_once(options, listener)
    if (done := complete(run, request, MINUTES, on_event)) is not None:
        return done
    prior = fitted(options, listener, index)
    sheet.draw(prior)
    outcome = _outcome(request, prior, listener, sheet)
    known = {"name": prior.card.name, "sha256": sha256(run.out / "prior" / "weights.safetensors")}
    record = recorded(run, request, outcome, listener, prior=known, processes=ranks.count)
    outcome.fill(run.out, record)
    return RunFolder(run.out, record)


def _weights_of(prior: str) -> str:
    return sha256(locate(prior) / "weights.safetensors")


def _outcome(request: Train, prior: Prior, listener: RunListener, sheet: _Sheet) -> Outcome:
    card, read = prior.card, listener.read
    steps = card.training.get("steps")
    metrics = {
        "steps": steps,
        "of_steps": card.training.get("of_steps") or steps,
        "loss": listener.curve[-1][1] if listener.curve else None,
        "curve": listener.curve,
        "errors": card.to_json()["errors"],
        "held_out": len(read.held),
        **card.data,
    }
    verdict = training_verdict(prior, metrics, listener.seconds)
    if request.begin_with is not None:
        metrics["begun"] = begun = read_json(sheet.out / BEGUN)
        verdict += (
            f" It began with another prior ({begun['verdict']}): after {begun['steps']} steps the validation "
            f"loss was {begun['begun']:.4f}, from nothing {begun['nothing']:.4f}."
        )
    loss = "" if metrics["loss"] is None else f", loss {metrics['loss']:.4f}"
    kept = kept_early(prior)
    return Outcome(
        metrics,
        learned_sections(prior, metrics, sheet.picture, read.train, verdict),
        [],
        Summary((verdict, *([kept] if kept else [])), f"{steps} steps{loss}"),
        overrides=["scans marked synthetic were allowed"] if request.allow_synthetic else [],
        title=f"medprior train: {card.name}",
        lead=f"{card.data['scans']} scans of {card.modality or 'unknown modality'} in {card.unit}, preset "
        f"{request.preset}.",
    )


class _Sheet:
    """samples.png: four unconditional draws at a reduced size, always from the same noise."""

    def __init__(self, out: Path, seed: int) -> None:
        self.out, self.seed, self.picture = out, seed, None

    def draw(self, prior: Prior) -> None:
        self.picture = image_sheet(samples_of(prior, self.seed))
        title = f"samples at step {prior.card.training.get('steps', 0)} (synthetic)"
        write_file(self.out / "samples.png", contact_sheet([(title, self.picture)]))


def _described(data: Dataset) -> Iterator[Event]:
    """What was read, and what the user should know of it before the minutes pass."""
    card, scans = data.card, data.card.data["scans"]
    labels = ", ".join(card.labels) or "none"
    together = f"; channels learned together: {', '.join(card.channels)}" if len(card.channels) > 1 else ""
    together += f"; numbers: {', '.join(card.numbers)}" if card.ranges else ""
    kind = card.modality or "unknown modality"
    what = f"{len(data.train)} {'images' if card.ndim == 2 else 'volumes'} of {kind} in {card.unit}"
    yield Event("note", f"{scans} scans give {what}; labels: {labels}{together}")
    yield from (Event("warning", text) for text in data.notes)
    if not data.held:
        yield Event(
            "warning",
            "no validation set: there is no early stopping, and errors are measured on training images, "
            "which is too favourable",
        )
