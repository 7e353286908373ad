"""Augment as a run: variations on the scan's own grid, marked synthetic, and how far each went from its
source.
"""

from __future__ import annotations

import numpy as np

from ...data.axes import plane_of_codes
from ...data.views import grey, number, sides, upright, window_for
from ...data.volume import Volume
from ...jobs.augment import EVALUATIONS, augment
from ...prior import Prior
from ..ask.requests import Augment
from ..core.cost import announce
from ..core.outputs import Outcome, Output, Summary
from ..core.progress import Event, OnEvent
from ..page.blocks import Grid, Picture, Section
from ..page.pictures import coloured
from .inpaint import run_paint

__all__ = ["run_augment"]

SHOWN = 8
"""Most variations in a report; all of them are written."""


def run_augment(request: Augment, prior: Prior, volume: Volume, on_event: OnEvent) -> Outcome:
    """The job, its outputs and its section."""
    if request.paint is not None or request.box is not None:
        return run_paint(request, prior, volume, on_event)
    admitted = prior.admit(volume, allow_other=request.allow_other)
    announce(prior, len(admitted.images) * request.n, tuple(admitted.images.shape[2:]), EVALUATIONS, on_event)
    on_event(Event("stage", "varying the scan", 0, request.n))
    made = augment(
        prior,
        volume,
        strength=request.strength,
        n=request.n,
        seed=request.seed,
        label=request.label,
        guidance=request.guidance,
        allow_other=request.allow_other,
        on_step=lambda done, total: on_event(Event("step", done=done, total=total)),
    )
    width = len(str(request.n))
    outputs = [
        Output(f"variation_{i:0{width}}", variation, "augmented", like=volume)
        for i, variation in enumerate(made, start=1)
    ]
    half = (admitted.high - admitted.low) / 2
    alike = [_correlation(variation, volume) for variation in made]
    metrics = {
        "correlation_with_source": alike,
        "rms_change": [float(np.sqrt(np.mean((v.data - volume.data) ** 2))) for v in made],
    }
    section, preview = _section(request, prior, volume, made, alike, half)
    overrides = ("another modality or unit than the prior's was allowed",) if request.allow_other else ()
    text = f"{len(made)} variations, correlation with the source {min(alike):.2f} to {max(alike):.2f}"
    return Outcome(metrics, [section], preview, Summary((f"{text}.",), text), outputs, overrides)


def _correlation(a: Volume, b: Volume) -> float:
    return float(np.corrcoef(a.data.ravel(), b.data.ravel())[0, 1])


def _section(
    request: Augment, prior: Prior, volume: Volume, made: list[Volume], alike: list[float], half: float
) -> tuple[Section, list]:
    window, plane = window_for(volume), plane_of_codes(prior.card.axes)
    scan, edges = grey(upright(volume, plane=plane), window), sides(volume, plane=plane)
    pictures = [Picture(scan, "Source", f"{window}.", window=window, edges=edges)]
    varied = [grey(upright(variation, plane=plane), window) for variation in made[:SHOWN]]
    for n, (image, r) in enumerate(zip(varied, alike, strict=False), start=1):
        pictures.append(
            Picture(
                image,
                f"Variation {n}",
                f"Correlation with the source {r:.3f}.",
                synthetic=True,
                window=window,
                edges=edges,
            )
        )
    change = np.abs(upright(made[0], plane=plane) - upright(volume, plane=plane))
    high, unit = 0.5 * half, volume.unit or "no unit"
    pictures.append(
        Picture(
            coloured(change, high),
            "What changed in variation 1",
            "|variation - source|.",
            legend=("0", f"{number(high)} {unit}", "inferno"),
        )
    )
    label = (
        f" They were asked to keep the label {request.label}."
        if request.label
        else " No label was given: check that the variations keep the scan's own."
    )
    section = Section(
        "Augment: variations of the scan",
        f"{len(made)} variations of strength {request.strength:g} (0 keeps the source, 1 forgets it) on the "
        f"scan's own grid and unit.{label}",
        [Grid(pictures)],
        caveats=(
            "Whether such images help a model is an experiment: train with and without them, with an equal "
            "number of ordinary augmentations as control.",
            "A variation can lose a small finding. Do not use it where the label hangs on a few pixels.",
        ),
    )
    return section, [
        ("source", scan),
        *((f"variation {n} (synthetic)", image) for n, image in enumerate(varied[:3], start=1)),
    ]
