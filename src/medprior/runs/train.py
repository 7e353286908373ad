"""Train as a run: what was learned from, the loss, a live sheet of samples, and the prior in its own folder."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch

from ..data.seeds import generator
from ..errors import BadOption
from ..io.files import read_json, sha256, write_file, write_json
from ..jobs.fit import Dataset, fit
from ..prior import Condition, Prior
from ..sampling import flow, karras_levels
from ..training.loop import Progress
from ..training.presets import preset_named
from .cost import words
from .environment import peak_mib, versions
from .events import Event, OnEvent
from .folder import RunFolder
from .pictures import Window, contact_sheet, grey, mosaic
from .requests import Train
from .sources import device_named

__all__ = ["run_train"]

SHEET_EVERY = 30.0
"""Seconds between two sample sheets."""


def run_train(request: Train, on_event: OnEvent) -> RunFolder:
    """Learn, or go on learning; the folder holds checkpoints, events.jsonl, samples.png, run.json and prior/.

    Raises what ``jobs.fit`` raises, and BadOption for a folder that holds something else.
    """
    out = request.out or Path("runs") / f"train-{request.name or request.folder.resolve().name.lower().replace(' ', '-')}"
    key = {k: v for k, v in request.identity().items() if k not in ("minutes", "steps")}
    _ours(out, key, fresh=request.fresh)
    device = device_named(request.device)
    started = time.monotonic()
    listener = _Listener(out, on_event, request)
    out.mkdir(parents=True, exist_ok=True)
    write_json(out / "run.json", {"job": "train", "key": key, "complete": False, "versions": versions(), "device": device})
    on_event(Event("stage", "reading every scan once"))
    prior = fit(
        request.folder,
        request.preset,
        request.minutes,
        seed=request.seed,
        out=out,
        steps=request.steps,
        name=request.name,
        unit=request.unit,
        modality=request.modality,
        plane=request.plane,
        licence=request.licence,
        device=device,
        allow_synthetic=request.allow_synthetic,
        restart=request.fresh,
        on_scan=lambda done, total: on_event(Event("step", done=done, total=total)),
        on_data=listener.data,
        on_progress=listener.progress,
    )
    listener.sheet(prior)
    record = {
        "job": "train",
        "key": key,
        "request": request.model_dump(mode="json", exclude={"out", "fresh", "folder", "device"}),
        "overrides": ["scans marked synthetic were allowed"] if request.allow_synthetic else [],
        "prior": {"name": prior.card.name, "sha256": sha256(out / "prior" / "weights.safetensors")},
        "metrics": {"steps": prior.card.training.get("steps"), "loss": listener.loss, "errors": prior.card.to_json()["errors"], **prior.card.data},
        "device": device,
        "versions": versions(),
        "finished": datetime.now(UTC).isoformat(timespec="seconds"),
        "seconds": {"job": round(time.monotonic() - started, 3)},
        "peak_mib": round(peak_mib(), 1),
        "complete": True,
    }
    write_json(out / "run.json", record)
    return RunFolder(out, record)


def _ours(out: Path, key: dict[str, Any], *, fresh: bool) -> None:
    """A folder is empty, or holds a training run of the same request. Raises BadOption."""
    if not out.is_dir() or not any(out.iterdir()):
        return
    if not (out / "run.json").is_file():
        raise BadOption(f"out: {out} holds files that medprior did not write", "choose another folder; nothing was changed")
    if fresh:
        return
    stored = read_json(out / "run.json")
    if not isinstance(stored, dict) or stored.get("key") != key:
        raise BadOption(f"out: {out} holds another training run", "choose another folder, or start over with --fresh")


class _Listener:
    """Turns the loop's progress into events and, now and then, into a sheet of samples."""

    def __init__(self, out: Path, on_event: OnEvent, request: Train) -> None:
        self.out, self.on_event, self.request = out, on_event, request
        self.last, self.loss = 0.0, float("nan")

    def data(self, data: Dataset) -> None:
        card, preset = data.card, preset_named(self.request.preset)
        kind, labels = card.modality or "unknown modality", ", ".join(card.labels) or "none"
        self.on_event(Event("note", f"{card.data['scans']} scans give {len(data.train)} images of {kind} in {card.unit}; labels: {labels}"))
        if not data.held:
            self.on_event(Event("warning", "no val split: the error table will be measured on training images and flatters"))
        budget = f"{self.request.steps} steps" if self.request.steps else f"{self.request.minutes or 10:g} min"
        self.on_event(
            Event("cost", f"{budget} of batches with {preset.batch} patches of 64 x 64, widths {preset.widths}; stop with Ctrl-C, the same command continues")
        )
        self.on_event(Event("stage", "learning", 0, self.request.steps or 0))

    def progress(self, line: Progress, prior: Prior) -> None:
        self.loss = line.loss
        left = f"loss {line.loss:.4f}, {words(line.seconds_left)} left, {line.peak_mib:.0f} MiB"
        self.on_event(Event("step", f"learning: {left}", line.step, line.steps))
        if time.monotonic() - self.last > SHEET_EVERY:
            self.sheet(prior)
            self.last = time.monotonic()

    def sheet(self, prior: Prior) -> None:
        """samples.png: four unconditional draws at the network's smallest whole size, always from the same noise."""
        device = next(prior.net.parameters()).device
        rows, columns = prior.card.data["shape"]
        scale = min(1.0, 96 / max(rows, columns))
        size = tuple(max(16, round(n * scale)) for n in (rows, columns))
        x = 20.0 * torch.randn((4, len(prior.card.channels), *size), generator=generator(self.request.seed, "sheet")).to(device)
        numbers = torch.zeros((4, len(prior.card.numbers)), device=device) if prior.card.numbers else None
        with torch.no_grad():
            x = flow(prior, x, karras_levels(10, low=0.02, high=20.0), condition=Condition(numbers=numbers)).cpu()
        window = Window(-1.0, 1.0, "network range")
        step = prior.card.training.get("steps", 0)
        write_file(self.out / "samples.png", contact_sheet([(f"samples at step {step} (synthetic)", mosaic([grey(v[0].numpy(), window) for v in x], 4))]))
