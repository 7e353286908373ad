"""Detect as a run: the scan, its healthy twin, the map on a fixed scale, and what the p-value says in
words.
"""

from __future__ import annotations

from dataclasses import asdict, replace
from typing import Any

import numpy as np

from ...data.volume import Volume
from ...errors import optional
from ...evidence.conformal import wanted
from ...jobs.detect import ALPHA, Found, detect, evaluations, plain_scale
from ...prior import Prior
from ..ask.requests import Detect
from ..core.cost import announce
from ..core.outputs import Outcome, Output
from ..core.progress import Event, OnEvent
from ..page.blocks import Compare, Grid, Picture, Section, Table
from ..page.pictures import Window, coloured, grey, number, sides, upright, window_for

__all__ = ["PLANES_OF", "beside_table", "run_detect", "sentence"]

DISCOVERIES = 0.1
"""False discovery rate at which a slice is named."""

SHOWN = 10
"""Findings in the report's table; run.json has all."""

EVIDENCE_IN_WORDS = {
    "features": "features of the whole image (Mahalanobis; not in the score)",
    "memory": "features of each place (nearest healthy ones)",
    "layout": "what a denoising step would change, coarsely (Mahalanobis)",
    "coarse": "the same at all noise levels, more coarsely (Mahalanobis)",
    "profile": "denoising errors over the noise levels (Mahalanobis; not in the score)",
    "map": "the highest hundredth of the map",
}

PLANES_OF = {"PL": "axial", "IL": "coronal", "IP": "sagittal"}
"""The plane that a card's axes name."""


def run_detect(request: Detect, prior: Prior, volume: Volume, on_event: OnEvent) -> Outcome:
    """The job, its outputs and its section."""
    admitted = prior.admit(volume, allow_other=request.allow_other)
    announce(
        prior,
        len(admitted.images),
        tuple(admitted.images.shape[2:]),
        evaluations(request.n_twins, admitted.images),
        on_event,
    )
    on_event(Event("stage", "looking at the scan, and making its healthy twin", 0, request.n_twins + 1))
    found = detect(
        prior,
        volume,
        seed=request.seed,
        n_twins=request.n_twins,
        allow_other=request.allow_other,
        on_step=lambda done, total: on_event(Event("step", done=done, total=total)),
    )
    high, scale_text = map_scale(prior, found)
    outputs = [
        Output("healthy_twin", found.healthy, "healthy twin", like=volume),
        Output("map", found.map, "map", like=volume, window=(0.0, 2 * high)),
    ]
    if found.findings:
        outputs.append(Output("findings", found.mask, "mask", like=volume))
    metrics = {
        "score": found.score,
        "p_value": found.p_value,
        "n_healthy": found.n_healthy,
        "refused": found.refused,
        "map_high": found.map_high,
        "evidence": found.evidence,
        "other": found.other,
        "unlike": found.unlike,
        "n_kind": found.n_kind,
        "plain": {name: asdict(one) for name, one in found.plain.items()},
        "findings": [asdict(one) for one in found.findings],
        "slices": [n for n, q in enumerate(found.slices) if q <= DISCOVERIES],
    }
    plane = PLANES_OF.get(prior.card.axes, "axial")
    section, preview = section_of(volume, found, high, scale_text, plane, window_for(volume))
    section = replace(
        section,
        blocks=[*section.blocks, *tables_of(volume, found), beside_table(found), *measured_table(prior)],
    )
    overrides = (
        (f"a scan that the prior is not for was allowed{f': {found.other}' if found.other else ''}",)
        if request.allow_other
        else ()
    )
    return Outcome(outputs, metrics, [section], preview, overrides, _scored(volume, found))


def _scored(volume: Volume, found: Found) -> tuple[Volume, Any] | None:
    """What a structured report says, for a scan from DICOM; None for others."""
    if volume.provenance.format != "dicom":
        return None
    optional("highdicom", "dicom", "a DICOM segmentation, map or report")
    from ...io.dicom.write.structured_report import (  # highdicom takes a second, and only DICOM needs it
        Scored,
        ScoredFinding,
    )

    findings = tuple(
        ScoredFinding(one.number, one.size, one.centre, one.peak, one.p_value) for one in found.findings
    )
    return volume, Scored(
        found.score,
        found.p_value,
        found.n_healthy,
        findings,
        "; ".join(filter(None, (found.refused, found.unlike))),
    )


def tables_of(volume: Volume, found: Found) -> list[Table]:
    """The findings, the slices that stand out, and the parts of the score."""
    tables = []
    if found.findings:
        unit = "ml" if volume.ndim == 3 else "mm2"
        place = "centre, mm (right, front, up)" if volume.affine is not None else "centre, voxels"
        rows = [["finding", "size", place, "highest value", "p"]]
        for one in found.findings[:SHOWN]:
            size = (
                f"{one.voxels} {'voxels' if volume.ndim == 3 else 'pixels'}"
                if one.size is None
                else f"{one.size:.3g} {unit}"
            )
            p = "not calibrated" if one.p_value is None else f"{one.p_value:.2g}"
            rows.append(
                [str(one.number), size, ", ".join(f"{v:.0f}" for v in one.centre), f"{one.peak:.2f}", p]
            )
        more = (
            f" {len(found.findings) - SHOWN} smaller peaks are in run.json."
            if len(found.findings) > SHOWN
            else ""
        )
        tables.append(
            Table(
                rows,
                "p: (1 + healthy patients whose map has any value as high, anywhere) / (all + 1); so it "
                f"holds for all findings together.{more}",
            )
        )
    if found.slices:
        out, n = [n + 1 for n, q in enumerate(found.slices) if q <= DISCOVERIES], len(found.slices)
        note = (
            f"Of {n}, counted from 1 as the prior cuts them; q at most 0.1 (Benjamini-Hochberg; "
            "neighbouring slices are alike, and it takes them as they come)."
        )
        if n / (found.n_healthy + 1) > DISCOVERIES:
            needed = -(-n // max(1, int(DISCOVERIES * (found.n_healthy + 1))))
            note += (
                f" {found.n_healthy} healthy patients can name none on its own: {needed} must be as "
                "rare as can be at once. See the findings."
            )
        tables.append(
            Table([["slices that stand out", ", ".join(map(str, out)) or "none"]], note, words=True)
        )
    if found.evidence:
        rows = [
            ["evidence", "deviations"],
            *([EVIDENCE_IN_WORDS[name], f"{value:+.2f}"] for name, value in found.evidence.items()),
        ]
        tables.append(
            Table(
                rows,
                "How far the scan is from healthy ones, in mean deviations of the healthy scans that were "
                "learned.",
            )
        )
    return tables


def beside_table(found: Found) -> Table:
    """Our score and each plain one, ranked among the same healthy patients, or why there is none to stand
    beside.
    """
    elsewhere = (
        "PatchCore and PaDiM pass every scan through another network: medprior evaluate detect prints them."
    )
    if found.p_value is None:
        return Table(
            [["plain scores beside ours", "not ranked: no healthy patients to rank the scan among"]],
            elsewhere,
            words=True,
        )
    ours = round(found.p_value * (found.n_healthy + 1)) - 1
    rows = [
        ["score", "this scan", "healthy patients at least as high", "p"],
        ["medprior (ours)", f"{found.score:.3g}", str(ours), f"{found.p_value:.2g}"],
    ]
    rows += [
        [name, f"{one.score:.3g}", str(one.as_high), f"{one.p_value:.2g}"]
        for name, one in found.plain.items()
    ]
    note = (
        f"Of {found.n_healthy} held-out healthy patients, by the same conformal p-value; each score has "
        "a unit of its own, higher is less like healthy. "
    )
    note += "Which tells healthy from ill better is not seen in one scan. "
    return Table(
        rows, f"{note}Plain detectors learned from the same healthy scans (at most 400 of them). {elsewhere}"
    )


def measured_table(prior: Prior) -> list[Table]:
    """What trust.json says was measured of this prior's detection on patients that neither taught nor
    calibrated it, or that nothing was.
    """
    entry = prior.trust.get("detect", {})
    found = {
        name: at
        for name, at in entry.get("measured", {}).items()
        if isinstance(at, dict) and {"value", "low", "high", "n"} <= set(at)
    }
    if not found:
        text = (
            "not measured: medprior evaluate detect FOLDER --prior PRIOR, on patients that neither "
            "taught nor calibrated it"
        )
        return (
            [Table([["false positives, and what is found, of this prior", text]], words=True)]
            if entry
            else []
        )
    rows = [["measured of this prior", "value", "interval", "patients"]]
    rows += [
        [name.replace("_", " "), f"{at['value']:.3f}", f"{at['low']:.3f} to {at['high']:.3f}", str(at["n"])]
        for name, at in found.items()
    ]
    level = next(iter(found.values())).get("level", 0.95)
    return [
        Table(
            rows,
            note=f"On test patients of the prior's own source, {level:.0%} intervals; calibrated on "
            f"{entry.get('calibrated_on', 'healthy patients')}.",
        )
    ]


def map_scale(prior: Prior, found: Found) -> tuple[float, str]:
    """The value at the top of the colour scale, the same for every scan of a prior, and where it comes
    from.
    """
    if found.map_high is not None:
        return found.map_high, "the top of the scale is what one healthy scan in twenty reaches anywhere"
    return plain_scale(
        prior
    ), "the top of the scale is a fixed number: too few healthy scans have calibrated it"


def sentence(found: Found) -> str:
    """The p-value in plain words, or why there is none."""
    if found.p_value is None:
        return (
            f"{found.refused[:1].upper()}{found.refused[1:]}. The map shows where the scan is not what "
            "the prior expects; whether that is unusual is not known."
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
    """The slice of a volume where the map is largest, from 0 as ``upright`` counts, and how many there are in
    that plane; None for an image.
    """
    if found.map.ndim == 2:
        return None
    from ...data.axes import PLANES, reoriented, through

    data = (
        reoriented(found.map, PLANES[plane] + through(plane)).data
        if found.map.affine is not None
        else found.map.data
    )
    return int(np.argmax(data[0].max(axis=(0, 1)))), data.shape[-1]


def section_of(
    volume: Volume, found: Found, high: float, scale_text: str, plane: str, window: Window
) -> tuple[Section, list]:
    widest = widest_slice(found, plane)
    at = None if widest is None else widest[0]
    cut = {"plane": plane, "at": at}
    source, twin, values = upright(volume, **cut), upright(found.healthy, **cut), upright(found.map, **cut)
    scan, healthy = grey(source, window), grey(twin, window)
    heat = coloured(values, high, over=scan)
    where = (
        ""
        if widest is None
        else f" Slice {widest[0] + 1} of {widest[1]} ({plane}), where the map is largest."
    )
    what = (
        "Deviations from healthy scans at that place"
        if found.evidence
        else "What one denoising step would change, in units of the prior's own doubt"
    )
    pictures = [
        Picture(scan, "Scan", f"The input; {window}.{sides(volume, plane=plane)}{where}"),
        Picture(
            healthy,
            "Healthy twin",
            "The same scan, made anew by the prior only where the map is high; same window.",
            synthetic=True,
        ),
        Picture(
            heat,
            "How unusual, laid over the scan",
            f"{what}; {scale_text}.",
            legend=("0", number(high), "inferno"),
        ),
    ]
    compare = Compare(
        pictures[0],
        Picture(
            healthy,
            "Healthy twin",
            "Move the slider: what changes is what the prior does not expect in a healthy patient.",
            synthetic=True,
        ),
    )
    section = Section(
        "Detect: what does not look healthy",
        "A prior that knows healthy scans says at several noise levels what it would change, and how far its "
        "features are from those of healthy scans. "
        "Where that is unusual the scan is made anew: the healthy twin.",
        [Grid(pictures), compare],
        verdict=sentence(found),
        caveats=(
            *([f"Judge with care: {found.unlike}."] if found.unlike else []),
            *(
                [
                    f"Nothing looks whether this scan is of the right kind: {found.n_kind} healthy patients "
                    "are too few."
                ]
                if found.n_kind < wanted(ALPHA)
                else []
            ),
            "The map shows unusual pixels, not disease: markers, tubes, implants, rotation and another "
            "scanner are unusual, too.",
            f"The score ({found.score:.3g}) says how many standard deviations the scan lies above held-out "
            "healthy ones, mean over the evidence in it."
            if found.n_healthy
            else f"The score ({found.score:.3g}) has no unit, and nothing to compare it with.",
        ),
    )
    return section, [("scan", scan), ("healthy twin (synthetic)", healthy), ("map", heat)]
