"""What train and adapt share as runs: what is said while they work, the curve of the loss, when a run is
complete, and its record.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from ...data.plain import JsonObject
from ...errors import BadOption, FileProblem
from ...io.dataset.layout import OWN_FILES
from ...io.disk.files import sha256, write_json
from ...jobs.fitting.options import Listener
from ...prior import Prior
from ...training.budget import Budget
from ...training.loop import Progress
from ..ask.requests import Adapt, Train
from ..core.cost import words
from ..core.outputs import Outcome
from ..core.progress import Event, OnEvent
from ..core.run import Run, RunFolder, versions
from ..page.record import read_record

__all__ = ["RunListener", "complete", "known_curve", "learning_run", "ours", "recorded"]

SHEET_EVERY, SHEET_SHARE = 30.0, 20.0
"""Seconds between two sheets of samples at least, and so many times what one takes."""


def learning_run(request: Train | Adapt, device: str, **facts: Any) -> Run:
    """A run whose identity is the request without its time: more minutes continue the same run. facts: what
    else makes the run this one.
    """
    identity = {k: v for k, v in request.identity().items() if k not in ("minutes", "steps")} | facts
    name = request.name or request.folder.resolve().name.lower().replace(" ", "-")
    out = request.out or Path("runs") / f"{request.job}-{name}"
    return Run(request.job, identity, out, request.fresh, device)


def recorded(
    run: Run, request: Train | Adapt, outcome: Outcome, listener: RunListener, **more: Any
) -> JsonObject:
    """run.json of a run that is complete. more: what only this kind of run has."""
    hidden = {"out", "fresh", "folder", "device", "prior", "replay", "begin_with"}
    return run.record(
        outcome,
        seconds={**run.seconds, "learning": listener.seconds},
        key=dict(run.identity),
        request=request.model_dump(mode="json", exclude=hidden),
        **more,
    )


def ours(out: Path, key: Mapping[str, Any], *, fresh: bool) -> None:
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
    stored = read_record(out)
    if not isinstance(stored, dict) or stored.get("key") != dict(key):
        raise BadOption(
            f"out: {out} holds another training run", "choose another folder, or start over with --fresh"
        )


def complete(run: Run, request: Train | Adapt, default: float, on_event: OnEvent) -> RunFolder | None:
    """The run that lies in the folder, if it has learned as much as is wanted and its prior is as it was
    written; else None. default: minutes where neither these nor steps are given.
    """
    weights = run.out / "prior" / "weights.safetensors"
    if request.fresh or not weights.is_file() or not (run.out / "run.json").is_file():
        return None
    record = read_record(run.out)
    if not isinstance(record, dict) or not record.get("complete"):
        return None
    if sha256(weights) != record["prior"]["sha256"]:
        return None
    before, steps = record["request"], record["metrics"].get("of_steps") or record["metrics"]["steps"]
    if request.steps:
        enough = request.steps <= steps
    else:
        enough = not before["steps"] and (request.minutes or default) <= (before["minutes"] or default)
    if not enough:
        return None
    amount = f"{steps} steps" if before["steps"] else f"{before['minutes'] or default:g} min ({steps} steps)"
    on_event(
        Event(
            "note",
            f"this run is complete already: it learned for {amount}. Nothing was changed; more --minutes or "
            "--steps go on learning",
        )
    )
    return RunFolder(run.out, record, reused=True)


def known_curve(out: Path) -> list[list[float]]:
    """(step, loss[, validation loss]) of an earlier part of the run in a folder; [] where there is none."""
    try:
        record = read_record(out)
    except FileProblem:
        return []
    metrics = record.get("metrics") if isinstance(record, dict) else None
    curve = metrics.get("curve") if isinstance(metrics, dict) else None
    return [list(point) for point in curve] if isinstance(curve, list) else []


class RunListener(Listener):
    """Turns what a training says into events, keeps the curve, and draws a sheet of samples now and then.

    described: what there is to say of the scans. sheet: draws what the prior knows, or None.
    """

    def __init__(
        self,
        run: Run,
        request: Train | Adapt,
        on_event: OnEvent,
        described: Callable[[Any], Iterator[Event]],
        sheet: Callable[[Prior], None] | None = None,
    ) -> None:
        self.run, self.request, self.on_event = run, request, on_event
        self.described, self.sheet = described, sheet
        self.curve = [] if request.fresh else known_curve(run.out)
        self.read: Any = None
        self.seconds = self.drawn = 0.0
        self.wait = SHEET_EVERY

    def note(self, text: str) -> None:
        self.on_event(Event("warning", text))

    def stage(self, text: str, total: int = 0) -> None:
        self.on_event(Event("stage", text, 0, total))

    def step(self, done: int, total: int) -> None:
        self.on_event(Event("step", done=done, total=total))

    def data(self, data: Any) -> None:
        self.read = data
        self._keep()  # not before the scans are known to be usable: a refused folder leaves no run behind
        for event in self.described(data):
            self.on_event(event)

    def planned(self, budget: Budget) -> None:
        self.on_event(Event("cost", f"{self._split(budget)}; Ctrl-C saves, and the same command continues"))
        self.on_event(Event("stage", "learning", 0, self.request.steps or 0))

    def _split(self, budget: Budget) -> str:
        preset = getattr(self.request, "preset", "")
        with_preset = f" (preset {preset})" if preset else ""
        if budget.minutes is None or budget.learning is None:
            return f"{self.request.steps} steps{with_preset}"
        return (
            f"{budget.minutes:g} min in all{with_preset}: {words(budget.used)} were for reading, "
            f"{words(60 * budget.learning)} are for learning (with what was learned before), at most "
            f"{words(budget.measuring)} for measuring and samples"
        )

    def progress(self, line: Progress, prior: Prior) -> None:
        self.seconds = line.seconds
        if line.saved and math.isfinite(line.loss):
            held = [round(line.held, 5)] if math.isfinite(line.held) else []
            before = [point for point in self.curve if point[0] < line.step]
            self.curve = [*before, [line.step, round(line.loss, 5), *held]]
            self._keep()
        of = f" of about {line.steps}" if line.steps and not self.request.steps else ""
        of = f" of {line.steps}" if self.request.steps else of
        text = f"learning: step {line.step}{of}, loss {line.loss:.4f}, {words(line.seconds_left)} left"
        self.on_event(Event("step", text, line.step, line.steps))
        if self.sheet is not None and time.monotonic() - self.drawn > self.wait:
            begun = time.monotonic()
            self.sheet(prior)
            self.drawn = time.monotonic()
            self.wait = max(SHEET_EVERY, SHEET_SHARE * (self.drawn - begun))

    def _keep(self) -> None:
        begun = {"job": self.run.job, "key": dict(self.run.identity), "complete": False}
        facts = {"versions": versions(), "device": self.run.device, "metrics": {"curve": self.curve}}
        write_json(self.run.out / "run.json", begun | facts)
