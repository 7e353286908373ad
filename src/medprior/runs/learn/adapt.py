"""Adapt as a run: what a few scans taught a prior, what it forgot, and the new prior in its own folder."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

from torch import Tensor

from ...io.disk.files import read_json, sha256, write_file, write_json
from ...jobs.fitting.adapt import Adapted, adapt
from ...jobs.fitting.adapt_data import Newcomers
from ...jobs.synthetic.synthesize import drawn
from ...prior import Prior
from ...training.folder import locate
from ...training.loop import Progress
from ..ask.requests import Adapt
from ..core.cost import words
from ..core.inputs import device_named
from ..core.outputs import Outcome, Summary
from ..core.progress import Event, OnEvent
from ..core.run import Run, RunFolder, versions
from ..page.pictures import contact_sheet
from .adapt_page import adapted_sections, close_to, sheet_of
from .train import known_curve, ours

__all__ = ["run_adapt"]

SHOWN = 8
"""Samples of each class in the report."""


def run_adapt(request: Adapt, on_event: OnEvent) -> RunFolder:
    """Tune, or go on tuning; the folder holds checkpoints, events.jsonl, samples.png, report.html, run.json
    and prior/.

    Raises what ``jobs.adapt`` raises, and BadOption for a folder that holds something else.
    """
    home = locate(request.prior)
    parent = sha256(home / "weights.safetensors")
    out = (
        request.out
        or Path("runs") / f"adapt-{request.name or request.folder.resolve().name.lower().replace(' ', '-')}"
    )
    key = {
        **{k: v for k, v in request.identity().items() if k not in ("minutes", "steps")},
        "prior_sha256": parent,
    }
    device = device_named(request.device)
    ours(out, key, fresh=request.fresh)
    run = Run("adapt", key, out, request.fresh, device)
    listener = _Listener(
        out,
        on_event,
        request,
        {"job": "adapt", "key": key, "complete": False, "versions": versions(), "device": device},
    )
    on_event(Event("stage", "reading every scan once"))
    done = _adapted(request, home, out, device, listener)
    on_event(Event("stage", "drawing what it knows now"))
    samples = _samples(done.prior, request.seed)
    close = {name: close_to(images, done.data.learn.images) for name, images in samples.items()}
    metrics = _metrics(done, listener.curve, close)
    old, new = done.prior.card.data["parent"]["name"], done.prior.card.name
    outcome = Outcome(
        metrics,
        adapted_sections(done, metrics, samples),
        [],
        summary_of(metrics),
        overrides=[
            *(["scans marked synthetic were allowed"] if request.allow_synthetic else []),
            *done.data.others,
        ],
        title=f"medprior adapt: {new}",
        lead=f"{done.data.scans} scans taught the prior {old} something new; method {done.method}.",
    )
    hidden = {"out", "fresh", "folder", "device", "prior", "replay"}
    record = run.record(
        outcome,
        prior={"name": new, "sha256": sha256(out / "prior" / "weights.safetensors")},
        key=key,
        request=request.model_dump(mode="json", exclude=hidden),
        parent={"name": old, "sha256": parent},
    )
    for name, (near, total) in close.items():
        if near:
            on_event(
                Event(
                    "warning",
                    f"{near} of {total} samples ({name}) lie closer to a scan that was learned from than any "
                    "two of these lie to each other",
                )
            )
    write_file(
        out / "samples.png",
        contact_sheet([(f"{name} (synthetic)", sheet_of(images)) for name, images in samples.items()]),
    )
    outcome.fill(out, record)
    return RunFolder(out, record)


def summary_of(metrics: dict[str, Any]) -> Summary:
    """The loss on new scans and on old ones, before and after."""
    lines = [
        f"  {word}: {metrics[name]['parent']:.4f} before, {metrics[name]['child']:.4f} now"
        for word, name in (("new scans", "gained"), ("old ones", "forgotten"))
    ]
    result = "; ".join(line.strip() for line in lines)
    return Summary(("denoising loss (lower is better)", *lines), result)


def _adapted(request: Adapt, home: Path, out: Path, device: str, listener: _Listener) -> Adapted:
    return adapt(
        home,
        request.folder,
        request.minutes,
        method=request.method,
        steps=request.steps,
        seed=request.seed,
        out=out,
        name=request.name,
        rank=request.rank,
        rate=request.rate,
        replay=request.replay,
        share=request.share,
        old_label=request.old_label,
        hold=request.hold,
        copies=request.copies,
        unit=request.unit,
        modality=request.modality,
        layout=request.layout,
        licence=request.licence,
        device=device,
        allow_other=request.allow_other,
        allow_synthetic=request.allow_synthetic,
        restart=request.fresh,
        on_note=listener.noted,
        on_scan=listener.scanned,
        on_data=listener.data,
        on_progress=listener.progress,
    )


def _samples(prior: Prior, seed: int) -> dict[str, Tensor]:
    """A few images of each class at a reduced size, always from the same noise; of a prior without labels of
    anything.
    """
    shape = prior.card.data["shape"]
    scale = min(1.0, (96 if len(shape) == 2 else 48) / max(shape))
    size = tuple(max(16, round(n * scale)) for n in shape)
    labels = prior.card.labels or (None,)
    return {
        label or "any": drawn(prior, SHOWN if len(shape) == 2 else 2, label=label, seed=seed, size=size)[0]
        for label in labels
    }


def _metrics(done: Adapted, curve: list[list[float]], close: dict[str, tuple[int, int]]) -> dict[str, Any]:
    def means(pairs: Tensor) -> dict[str, Any]:
        change = pairs[:, 1] - pairs[:, 0]
        error = float(change.std() / math.sqrt(len(change))) if len(change) > 1 else None
        return {
            "parent": float(pairs[:, 0].mean()),
            "child": float(pairs[:, 1].mean()),
            "n": len(pairs),
            "standard_error_of_change": error,
        }

    return {
        "steps": done.prior.card.training.get("steps"),
        "loss": curve[-1][1] if curve else None,
        "curve": curve,
        "method": done.method,
        "tuned": done.tuned,
        "parameters": done.parameters,
        "gained": {**means(done.gained), "held_out": done.on_held},
        "forgotten": {**means(done.forgotten), "drawn_by_the_parent": done.drawn},
        "close_to_learned": {name: {"close": near, "of": total} for name, (near, total) in close.items()},
        "errors": done.prior.card.to_json()["errors"],
        **done.prior.card.data,
    }


class _Listener:
    """Turns what the job says into events, and keeps the curve."""

    def __init__(self, out: Path, on_event: OnEvent, request: Adapt, record: dict[str, Any]) -> None:
        self.out, self.on_event, self.request, self.record = out, on_event, request, record
        self.curve: list[list[float]] = []
        if not request.fresh and (out / "run.json").is_file():
            self.curve = known_curve(read_json(out / "run.json"))

    def noted(self, text: str) -> None:
        self.on_event(Event("note" if text.startswith("the prior draws") else "warning", text))

    def scanned(self, done: int, total: int) -> None:
        self.on_event(Event("step", done=done, total=total))

    def data(self, data: Newcomers) -> None:
        self._keep()  # not before the scans are known to be usable: a refused folder leaves no run behind
        counts = ", ".join(f"{name} {n}" for name, n in data.counts.items()) or "no labels"
        self.on_event(
            Event(
                "note",
                f"{data.scans} scans ({counts}): {len(data.learn)} images to learn from, {len(data.held)} "
                "held out",
            )
        )
        budget = f"{self.request.steps} steps" if self.request.steps else f"{self.request.minutes or 5:g} min"
        self.on_event(
            Event(
                "cost",
                f"{budget} of tuning, after the prior has drawn what is replayed; stop with Ctrl-C, the same "
                "command continues",
            )
        )
        self.on_event(Event("stage", "learning", 0, self.request.steps or 0))

    def progress(self, line: Progress, prior: Prior) -> None:
        if math.isfinite(line.loss):
            held = [round(line.held, 5)] if math.isfinite(line.held) else []
            self.curve = [
                *(point for point in self.curve if point[0] < line.step),
                [line.step, round(line.loss, 5), *held],
            ]
            self._keep()
        left = f"loss {line.loss:.4f}, {words(line.seconds_left)} left, {line.peak_mib:.0f} MiB"
        self.on_event(Event("step", f"learning: {left}", line.step, line.steps))

    def _keep(self) -> None:
        write_json(self.out / "run.json", {**self.record, "metrics": {"curve": self.curve}})
