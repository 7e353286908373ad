"""Adapt as a run: what a few scans taught a prior, what it forgot, and the new prior in its own folder."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any

from torch import Tensor

from ...data.plain import JsonObject
from ...io.disk.files import hold, sha256, write_file
from ...jobs.fitting.adapt import Adapted, adapted
from ...jobs.fitting.adapt_data import Newcomers
from ...jobs.fitting.changes import index_once
from ...jobs.synthetic.synthesize import Drawing, draw_images
from ...prior import Prior
from ...training.folder import locate
from ..ask.requests import Adapt
from ..core.inputs import device_named
from ..core.outputs import Outcome, Summary
from ..core.progress import Event, OnEvent
from ..core.run import RunFolder
from ..page.pictures import contact_sheet
from .adapt_page import adapted_sections, close_to
from .listener import RunListener, complete, learning_run, ours, recorded
from .sheets import image_sheet, sample_size

__all__ = ["run_adapt"]

MINUTES = 5.0
"""Time given where neither minutes nor steps are."""
SHOWN = 8
"""Samples of each class in the report."""


def run_adapt(request: Adapt, on_event: OnEvent) -> RunFolder:
    """Tune, or go on tuning; the folder holds checkpoints, events.jsonl, samples.png, report.html, run.json
    and prior/. A run that is complete is returned as it is.

    Raises what ``jobs.adapt`` raises, and BadOption for a folder that holds something else.
    """
    parent = sha256(locate(request.prior) / "weights.safetensors")
    device = device_named(request.device)
    run = learning_run(request, device, prior_sha256=parent)
    options = request.adaptation(run.out, device)
    hold(run.out)
    ours(run.out, run.identity, fresh=request.fresh)
    listener = RunListener(run, request, on_event, _described)
    index = index_once(options, listener)
    if (finished := complete(run, request, MINUTES, on_event)) is not None:
        return finished
    done = adapted(options, listener, index)
    on_event(Event("stage", "drawing what it knows now"))
    samples = _samples(done.prior, request.seed)
    close = {name: close_to(images, done.data.learn.images) for name, images in samples.items()}
    for name, (near, total) in close.items():
        if near:
            on_event(
                Event(
                    "warning",
                    f"{near} of {total} samples ({name}) lie closer to a scan that was learned from than any "
                    "two of these lie to each other",
                )
            )
    sheet = [(f"{name} (synthetic)", image_sheet(images)) for name, images in samples.items()]
    write_file(run.out / "samples.png", contact_sheet(sheet))
    metrics = _metrics(done, listener.curve, close)
    old, new = done.prior.card.data["parent"]["name"], done.prior.card.name
    outcome = Outcome(
        metrics,
        adapted_sections(done, metrics, samples),
        [],
        adaptation_summary(metrics),
        overrides=[
            *(["scans marked synthetic were allowed"] if request.allow_synthetic else []),
            *done.data.others,
        ],
        title=f"medprior adapt: {new}",
        lead=f"{done.data.scans} scans were added to the prior {old}; method {done.method}.",
    )
    known = {"name": new, "sha256": sha256(run.out / "prior" / "weights.safetensors")}
    record = recorded(run, request, outcome, listener, prior=known, parent={"name": old, "sha256": parent})
    outcome.fill(run.out, record)
    return RunFolder(run.out, record)


def adaptation_summary(metrics: Mapping[str, Any]) -> Summary:
    """The loss on new scans and on old ones, before and after."""
    lines = [
        f"  {word}: {metrics[name]['parent']:.4f} before, {metrics[name]['child']:.4f} now"
        for word, name in (("new scans", "gained"), ("old ones", "forgotten"))
    ]
    result = "; ".join(line.strip() for line in lines)
    return Summary(("denoising loss (lower is better)", *lines), result)


def _described(data: Newcomers) -> Iterator[Event]:
    """What was read."""
    counts = ", ".join(f"{name} {n}" for name, n in data.counts.items()) or "no labels"
    yield Event(
        "note",
        f"{data.scans} scans ({counts}): {len(data.learn)} images to learn from, {len(data.held)} held out",
    )


def _samples(prior: Prior, seed: int) -> dict[str, Tensor]:
    """A few images of each class at a reduced size, always from the same noise; of a prior without labels of
    anything.
    """
    size, labels = sample_size(prior.card), prior.card.labels or (None,)
    n = SHOWN if len(size) == 2 else 2
    return {
        label or "any": draw_images(prior, n, Drawing(label=label, seed=seed, size=size))[0]
        for label in labels
    }


def _metrics(done: Adapted, curve: list[list[float]], close: dict[str, tuple[int, int]]) -> JsonObject:
    def means(pairs: Tensor) -> JsonObject:
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
        "of_steps": done.prior.card.training.get("of_steps") or done.prior.card.training.get("steps"),
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
