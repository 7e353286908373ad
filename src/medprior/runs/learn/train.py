"""Train as a run: what was learned from, the loss, a live sheet of samples, and the prior in its own
folder.
"""

from __future__ import annotations

import math
import time
from pathlib import Path
from typing import Any

import torch

from ...data.seeds import generator
from ...errors import BadOption
from ...io.dataset.layout import OWN_FILES
from ...io.disk.files import read_json, sha256, write_file, write_json
from ...jobs.fitting.fit import Dataset, fit
from ...prior import Condition, Prior
from ...sampling import flow, karras_levels
from ...training.distributed import ranks_for
from ...training.loop import Progress
from ...training.presets import preset_named
from ..ask.requests import Train
from ..core.cost import words
from ..core.inputs import device_named
from ..core.outputs import Outcome, Summary
from ..core.progress import Event, OnEvent
from ..core.run import Run, RunFolder, versions
from ..page.pictures import Window, contact_sheet, grey, mosaic
from .train_page import kept_early, learned_sections

__all__ = ["known_curve", "ours", "run_train"]

SHEET_EVERY = 30.0
"""Seconds between two sample sheets."""


def run_train(request: Train, on_event: OnEvent) -> RunFolder | None:
    """Learn, or go on learning; the folder holds checkpoints, events.jsonl, samples.png, report.html,
    run.json and prior/.

    Under torchrun or ``accelerate launch`` rank 0 alone writes and reports; the others help and give None.
    Raises what ``jobs.fit`` raises, and BadOption for a folder that holds something else.
    """
    out = (
        request.out
        or Path("runs") / f"train-{request.name or request.folder.resolve().name.lower().replace(' ', '-')}"
    )
    key = {k: v for k, v in request.identity().items() if k not in ("minutes", "steps")}
    device = device_named(request.device)
    ranks = ranks_for(device)
    if ranks.rank:
        _learned(request, out, device, None)
        return None
    ours(out, key, fresh=request.fresh)
    run = Run("train", key, out, request.fresh, device)
    listener = _Listener(
        out,
        on_event,
        request,
        {"job": "train", "key": key, "complete": False, "versions": versions(), "device": device},
    )
    if ranks.count > 1:
        on_event(
            Event("note", f"{ranks.count} processes share every step; this one alone writes and reports")
        )
    on_event(Event("stage", "reading every scan once"))
    prior = _learned(request, out, device, listener)
    listener.sheet(prior)
    if kept := kept_early(prior):
        on_event(Event("note", kept))
    metrics = {
        "steps": prior.card.training.get("steps"),
        "loss": listener.curve[-1][1] if listener.curve else None,
        "curve": listener.curve,
        "errors": prior.card.to_json()["errors"],
        "held_out": listener.held,
        **prior.card.data,
    }
    outcome = Outcome(
        metrics,
        learned_sections(prior, metrics, listener.picture),
        [],
        summary_of(metrics),
        overrides=["scans marked synthetic were allowed"] if request.allow_synthetic else [],
        title=f"medprior train: {prior.card.name}",
        lead=f"{prior.card.data['scans']} scans of {prior.card.modality or 'unknown modality'} in "
        f"{prior.card.unit}, preset {request.preset}.",
    )
    record = run.record(
        outcome,
        prior={"name": prior.card.name, "sha256": sha256(out / "prior" / "weights.safetensors")},
        key=key,
        request=request.model_dump(mode="json", exclude={"out", "fresh", "folder", "device"}),
        processes=ranks.count,
    )
    outcome.fill(out, record)
    return RunFolder(out, record)


def summary_of(metrics: dict[str, Any]) -> Summary:
    """How long it trained, and the loss at the end."""
    loss = "" if metrics["loss"] is None else f", loss {metrics['loss']:.4f}"
    text = f"{metrics['steps']} steps{loss}"
    return Summary((f"{text}.",), text)


def _learned(request: Train, out: Path, device: str, listener: _Listener | None) -> Prior:
    return fit(
        request.folder,
        request.preset,
        request.minutes,
        seed=request.seed,
        out=out,
        steps=request.steps,
        name=request.name,
        unit=request.unit,
        modality=request.modality,
        layout=request.layout,
        plane=request.plane,
        ndim=request.ndim,
        channels=request.channels,
        licence=request.licence,
        device=device,
        allow_synthetic=request.allow_synthetic,
        restart=request.fresh,
        on_scan=listener.scanned if listener else None,
        on_data=listener.data if listener else None,
        on_progress=listener.progress if listener else None,
    )


def ours(out: Path, key: dict[str, Any], *, fresh: bool) -> None:
    """A folder is empty, or holds a training run of the same request. Raises BadOption."""
    if not out.is_dir() or all(path.name in OWN_FILES for path in out.iterdir()):
        return  # empty, or the index of scans that were refused
    if not (out / "run.json").is_file():
        raise BadOption(
            f"out: {out} holds files that medprior did not write",
            "choose another folder; nothing was changed",
        )
    if fresh:
        return
    stored = read_json(out / "run.json")
    if not isinstance(stored, dict) or stored.get("key") != key:
        raise BadOption(
            f"out: {out} holds another training run", "choose another folder, or start over with --fresh"
        )


class _Listener:
    """Turns the loop's progress into events and, now and then, into a sheet of samples."""

    def __init__(self, out: Path, on_event: OnEvent, request: Train, record: dict[str, Any]) -> None:
        self.out, self.on_event, self.request, self.record = out, on_event, request, record
        self.last, self.held, self.curve, self.picture = 0.0, 0, [], None
        if not request.fresh and (out / "run.json").is_file():
            self.curve = known_curve(read_json(out / "run.json"))

    def scanned(self, done: int, total: int) -> None:
        self.on_event(Event("step", done=done, total=total))

    def data(self, data: Dataset) -> None:
        card, preset = data.card, preset_named(self.request.preset)
        self.held = len(data.held)
        self._keep()  # not before the scans are known to be usable: a refused folder leaves no run behind
        kind, labels = card.modality or "unknown modality", ", ".join(card.labels) or "none"
        together = (
            f"; channels learned together: {', '.join(card.channels)}" if len(card.channels) > 1 else ""
        )
        together += f"; numbers: {', '.join(card.numbers)}" if card.ranges else ""
        what = f"{len(data.train)} {'images' if card.ndim == 2 else 'volumes'} of {kind} in {card.unit}"
        self.on_event(Event("note", f"{card.data['scans']} scans give {what}; labels: {labels}{together}"))
        for note in data.notes:
            self.on_event(Event("warning", note))
        if not data.held:
            self.on_event(
                Event(
                    "warning",
                    "no val split: the error table will be measured on training images and flatters",
                )
            )
        budget = (
            f"{self.request.steps} steps" if self.request.steps else f"{self.request.minutes or 10:g} min"
        )
        patches = (
            f"{preset.batch} patches of 64 x 64"
            if card.ndim == 2
            else f"{max(2, preset.batch // 4)} patches of 32 x 32 x 32"
        )
        text = (
            f"{budget} of batches with {patches}, widths {preset.widths}; stop with Ctrl-C, the same "
            "command continues"
        )
        self.on_event(Event("cost", text))
        self.on_event(Event("stage", "learning", 0, self.request.steps or 0))

    def progress(self, line: Progress, prior: Prior) -> None:
        if math.isfinite(line.loss):
            self.curve = [
                *(point for point in self.curve if point[0] < line.step),
                [line.step, round(line.loss, 5)],
            ]
            self._keep()
        left = f"loss {line.loss:.4f}, {words(line.seconds_left)} left, {line.peak_mib:.0f} MiB"
        self.on_event(Event("step", f"learning: {left}", line.step, line.steps))
        if time.monotonic() - self.last > SHEET_EVERY:
            self.sheet(prior)
            self.last = time.monotonic()

    def _keep(self) -> None:
        write_json(self.out / "run.json", {**self.record, "metrics": {"curve": self.curve}})

    def sheet(self, prior: Prior) -> None:
        """samples.png: four unconditional draws at the network's smallest whole size, always from the same
        noise.
        """
        device = next(prior.net.parameters()).device
        shape = prior.card.data["shape"]
        scale = min(1.0, (96 if len(shape) == 2 else 48) / max(shape))
        size = tuple(max(16, round(n * scale)) for n in shape)
        x = 20.0 * torch.randn(
            (4, len(prior.card.channels), *size), generator=generator(self.request.seed, "sheet")
        ).to(device)
        numbers = torch.zeros((4, len(prior.card.numbers)), device=device) if prior.card.numbers else None
        with torch.no_grad():
            x = flow(
                prior, x, karras_levels(10, low=0.02, high=20.0), condition=Condition(numbers=numbers)
            ).cpu()
        window = Window(-1.0, 1.0, "network range")
        step = prior.card.training.get("steps", 0)
        flat = x if x.ndim == 4 else x[..., x.shape[-1] // 2].rot90(1, (2, 3))  # RAS: front up
        self.picture = mosaic([grey(v[0].numpy(), window) for v in flat], 4)
        write_file(
            self.out / "samples.png", contact_sheet([(f"samples at step {step} (synthetic)", self.picture)])
        )


def known_curve(record: Any) -> list[list[float]]:
    """(step, loss[, held-out loss]) of an earlier part of this run; [] where there is none."""
    metrics = record.get("metrics") if isinstance(record, dict) else None
    curve = metrics.get("curve") if isinstance(metrics, dict) else None
    return [list(point) for point in curve] if isinstance(curve, list) else []
