"""Detect as a run: the scan, its healthy twin, the map on a fixed scale, and what the p-value says in words."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from ..data.volume import Volume
from ..jobs.detect import Found, detect
from ..prior import Prior
from .cost import announce
from .events import Event, OnEvent
from .outcome import Outcome, Output
from .pictures import Window, coloured, grey, number, sides, upright, window_for
from .report import Compare, Grid, Picture, Section, Table
from .requests import Detect

__all__ = ["PLANES_OF", "run_detect", "sentence"]

PLANES_OF = {"PL": "axial", "IL": "coronal", "IP": "sagittal"}
"""The plane that a card's axes name."""


def run_detect(request: Detect, prior: Prior, volume: Volume, on_event: OnEvent) -> Outcome:
    """The job, its outputs and its section."""
    admitted = prior.admit(volume, allow_other=request.allow_other)
    announce(prior, len(admitted.images), tuple(admitted.images.shape[2:]), 11 * request.n_twins + 12, on_event)
    on_event(Event("stage", "healthy twins and denoising errors", 0, request.n_twins + 1))
    found = detect(
        prior,
        volume,
        seed=request.seed,
        n_twins=request.n_twins,
        allow_other=request.allow_other,
        on_step=lambda done, total: on_event(Event("step", done=done, total=total)),
    )
    high, scale_text = map_scale(found, (admitted.high - admitted.low) / 2)
    outputs = [
        Output("healthy_twin", found.healthy, "healthy twin", like=volume),
        Output("map", found.map, "map", like=volume, window=(0.0, max(high, float(found.map.data.max())))),
    ]
    metrics = {"score": found.score, "p_value": found.p_value, "n_healthy": found.n_healthy, "refused": found.refused, "map_high": found.map_high}
    plane = PLANES_OF.get(prior.card.axes, "axial")
    window = window_for(volume)
    section, preview = section_of(volume, found, high, scale_text, plane, window)
    section = replace(section, blocks=[*section.blocks, *measured_table(prior)])
    return Outcome(outputs, metrics, [section], preview, ("another modality or unit than the prior's was allowed",) if request.allow_other else ())


def measured_table(prior: Prior) -> list[Table]:
    """What trust.json says was measured of this prior's detection on patients that neither taught nor calibrated it; nothing where nothing was."""
    entry = prior.trust.get("detect", {})
    found = {name: at for name, at in entry.get("measured", {}).items() if isinstance(at, dict) and {"value", "low", "high", "n"} <= set(at)}
    if not found:
        return []
    rows = [["measured of this prior", "value", "interval", "patients"]]
    rows += [[name.replace("_", " "), f"{at['value']:.3f}", f"{at['low']:.3f} to {at['high']:.3f}", str(at["n"])] for name, at in found.items()]
    level = next(iter(found.values())).get("level", 0.95)
    return [
        Table(rows, note=f"On test patients of the prior's own source, {level:.0%} intervals; calibrated on {entry.get('calibrated_on', 'healthy patients')}.")
    ]


def map_scale(found: Found, half: float) -> tuple[float, str]:
    """The value at the top of the colour scale, the same for every scan of a prior, and where it comes from."""
    if found.map_high is not None:
        return found.map_high, "the top of the scale is what one healthy scan in twenty reaches anywhere"
    return 0.5 * half, "the scale is fixed at a quarter of the intensity range: no healthy scans have calibrated it"


def sentence(found: Found) -> str:
    """The p-value in plain words, or why there is none."""
    if found.p_value is None:
        return (
            f"{found.refused[:1].upper()}{found.refused[1:]}. The map shows where the scan differs from its healthy twin; whether that is unusual is not known."
        )
    as_unusual = round(found.p_value * (found.n_healthy + 1)) - 1
    text = (
        f"Of {found.n_healthy} healthy patients that the prior has not learned from, "
        f"{as_unusual} look at least as unusual as this scan: p = {found.p_value:.2g}."
    )
    if found.refused:
        return f"{text} No flag is given: {found.refused}."
    if found.flagged(0.05):
        return f"{text} It is flagged; one healthy scan in twenty would be, too."
    return f"{text} It is not flagged: that does not mean it is healthy."


def widest_slice(found: Found, plane: str) -> tuple[int, int] | None:
    """The slice of a volume where the map is largest, from 0 as ``upright`` counts, and how many there are in that plane; None for an image."""
    if found.map.ndim == 2:
        return None
    from ..data.axes import PLANES, reoriented, through

    data = reoriented(found.map, PLANES[plane] + through(plane)).data if found.map.affine is not None else found.map.data
    return int(np.argmax(data[0].max(axis=(0, 1)))), data.shape[-1]


def section_of(volume: Volume, found: Found, high: float, scale_text: str, plane: str, window: Window) -> tuple[Section, list]:
    widest = widest_slice(found, plane)
    at = None if widest is None else widest[0]
    cut = {"plane": plane, "at": at}
    source, twin, values = upright(volume, **cut), upright(found.healthy, **cut), upright(found.map, **cut)
    scan, healthy = grey(source, window), grey(twin, window)
    heat = coloured(values, high, over=scan)
    where = "" if widest is None else f" Slice {widest[0] + 1} of {widest[1]} ({plane}), where the map is largest."
    unit = volume.unit or "no unit"
    pictures = [
        Picture(scan, "Scan", f"The input; {window}.{sides(volume, plane=plane)}{where}"),
        Picture(healthy, "Healthy twin", "The nearest image that the prior takes for healthy; same window.", synthetic=True),
        Picture(
            heat,
            "Difference, laid over the scan",
            f"|scan - healthy twin| in {unit}, mean over 5 pixels each way; {scale_text}.",
            legend=("0", f"{number(high)} {unit}", "inferno"),
        ),
    ]
    compare = Compare(
        pictures[0], Picture(healthy, "Healthy twin", "Move the slider: what changes is what the prior does not expect in a healthy patient.", synthetic=True)
    )
    section = Section(
        "Detect: what does not look healthy",
        "Noise is added to the scan and taken away by a prior that knows healthy scans: what is unusual is forgotten, the anatomy stays: the healthy twin.",
        [Grid(pictures), compare],
        verdict=sentence(found),
        caveats=(
            "The map shows unusual pixels, not disease: markers, tubes, implants, rotation and another scanner are unusual, too.",
            f"The score ({found.score:.3g}) compares the scan's denoising errors at six noise levels with those of healthy scans; it has no unit.",
        ),
    )
    return section, [("scan", scan), ("healthy twin (synthetic)", healthy), ("difference", heat)]
