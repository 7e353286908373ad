"""The section of detect: what the p-value says in words, the scan beside its healthy twin, and where the map
is unusual.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from PIL import Image

from ...data.axes import plane_of_codes
from ...data.views import grey, number, sides, upright, widest_slice, window_for
from ...data.volume import Volume
from ...evidence.conformal import patients_needed, smallest_p
from ...jobs.detect import Found, plain_scale
from ...jobs.detection.calibrate import ALPHA
from ...prior import Prior
from ..page.blocks import Compare, Fold, Grid, Picture, Section, Table
from ..page.pictures import coloured, flat, overlaid

__all__ = [
    "DISCOVERIES",
    "ELSEWHERE",
    "EVIDENCE_IN_WORDS",
    "beside_table",
    "detect_section",
    "evidence_table",
    "findings_line",
    "findings_table",
    "map_high",
    "map_level",
    "measured_table",
    "sentence",
    "slices_table",
    "twin_line",
]

DISCOVERIES = 0.1
"""False discovery rate at which a slice is named."""

SHOWN = 10
"""Findings in the report's table; run.json has all."""

_RARE = 0.99
"""Quantile of a map above which it is shown while it is not calibrated."""

EVIDENCE_IN_WORDS = {
    "features": "Distance of the features of the whole image (Mahalanobis). Not in the score.",
    "memory": "Distance of each place's features to the nearest healthy ones.",
    "layout": "What one denoising step would change, at low resolution (Mahalanobis).",
    "coarse": "The same at all noise levels, at a still lower resolution (Mahalanobis).",
    "profile": "Denoising errors over the noise levels (Mahalanobis). Not in the score.",
    "map": "Mean of the highest 1 % of the map.",
}


def findings_line(found: Found) -> str:
    """How many findings there are, also where there are none."""
    n = len(found.findings)
    if not n:
        if found.map_high is None:
            return "No finding: nothing in the map passes its fixed level, which is not calibrated."
        line = "No finding: nothing in the map passes what one healthy scan in twenty shows anywhere."
        whole = not found.refused and found.flagged()
        return f"{line} The scan as a whole is unusual, not one place." if whole else line
    largest = max(found.findings, key=lambda one: one.voxels)
    unit = "ml" if found.map.ndim == 3 else "mm2"
    size = f"{largest.voxels} voxels" if largest.size is None else f"{largest.size:.3g} {unit}"
    return f"{n} finding{'s' if n > 1 else ''}; the largest has {size}."


def twin_line(found: Found) -> str:
    """Whether the healthy twin of a flagged scan explains the flag, "" where nothing was flagged."""
    if found.twin_p_value is None:
        return ""
    p = f"p = {found.twin_p_value:.2g}"
    if found.twin_p_value <= ALPHA:
        return f"No region explains the flag: the healthy twin is unusual, too ({p})."
    return f"The healthy twin is not unusual ({p}): what it changed explains the flag."


def findings_table(volume: Volume, found: Found) -> list[Table]:
    """Size, place and p-value of each finding."""
    if not found.findings:
        return []
    unit, cells = ("ml", "voxels") if volume.ndim == 3 else ("mm2", "pixels")
    place = "centre, mm (right, front, up)" if volume.affine is not None else "centre, voxels"
    rows = [["finding", "size", place, "highest value", "p"]]
    rows += [
        [
            str(one.number),
            f"{one.voxels} {cells}" if one.size is None else f"{one.size:.3g} {unit}",
            ", ".join(f"{v:.0f}" for v in one.centre),
            f"{one.peak:.2f}",
            "not calibrated" if one.p_value is None else f"{one.p_value:.2g}",
        ]
        for one in found.findings[:SHOWN]
    ]
    more = len(found.findings) - SHOWN
    note = (
        "p: (1 + healthy patients whose map has any value as high, anywhere) / (all + 1). It holds for all "
        f"findings together.{f' {more} smaller peaks are in run.json.' if more > 0 else ''}"
    )
    return [Table(rows, note, open=True)]


def slices_table(found: Found) -> list[Table]:
    """The slices that stand out, of a volume that is cut into slices."""
    if not found.slices:
        return []
    out, n = [n + 1 for n, q in enumerate(found.slices) if q <= DISCOVERIES], len(found.slices)
    note = f"Of {n}, counted from 1 as the prior cuts them. q is at most 0.1 (Benjamini-Hochberg)."
    # q = p n / k for k slices with the smallest p, 1 / (healthy patients + 1)
    needed = math.ceil(n * smallest_p(found.n_healthy) / DISCOVERIES - 1e-9)
    if needed > n:
        note += (
            f" NO SLICE CAN BE NAMED: with {found.n_healthy} healthy patients {needed} slices would have to "
            f"be as rare as can be at once, and there are {n}. At least {patients_needed(DISCOVERIES)} "
            "healthy patients are needed. See the findings."
        )
    elif needed > 1:
        note += (
            f" {found.n_healthy} healthy patients cannot name a single slice: {needed} slices must be as "
            "rare as can be at once. See the findings."
        )
    return [Table([["slices that stand out", ", ".join(map(str, out)) or "none"]], note, words=True)]


def evidence_table(found: Found) -> list[Table]:
    """The parts of the score, and what each measures."""
    if not found.evidence:
        return []
    rows = [["evidence", "what it measures", "deviations"]]
    rows += [[name, EVIDENCE_IN_WORDS[name], f"{value:+.2f}"] for name, value in found.evidence.items()]
    note = "How far the scan is from healthy ones, in mean deviations of the healthy scans that were learned."
    return [Table(rows, note, words=True)]


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
    promise = prior.promises.detect
    found = promise.estimates() if promise else {}
    if promise is None or not found:
        text = (
            "not measured: medprior evaluate detect FOLDER --prior PRIOR, on patients that neither "
            "taught nor calibrated it"
        )
        return (
            [Table([["false positives, and what is found, of this prior", text]], words=True)]
            if promise
            else []
        )
    rows = [["measured of this prior", "value", "interval", "patients"]]
    rows += [
        [name.replace("_", " "), f"{at.value:.3f}", f"{at.low:.3f} to {at.high:.3f}", str(at.n)]
        for name, at in found.items()
    ]
    level = next(iter(found.values())).level
    return [
        Table(
            rows,
            note=f"On test patients of the prior's own source, {level:.0%} intervals; calibrated on "
            f"{promise.calibrated_on}.",
            open=True,
        )
    ]


def map_high(prior: Prior, found: Found) -> float:
    """The value at the top of the map's scale, the same for every scan of a prior."""
    return plain_scale(prior) if found.map_high is None else found.map_high


def map_level(found: Found) -> tuple[float, str]:
    """The value below which the map is transparent, and what it is: what one healthy scan in twenty reaches
    anywhere, or a quantile of this map where too few healthy scans have calibrated it.
    """
    if found.map_high is not None:
        return found.map_high, "Coloured where it passes what one healthy scan in twenty reaches anywhere."
    level = float(np.quantile(found.map.data, _RARE))
    return level, "Coloured: the highest 1 % of this map. Too few healthy scans have calibrated it."


ELSEWHERE = "0.231 (0.178 to 0.290)"
"""Share of healthy patients that were flagged at 5 % on the official test images of PneumoniaMNIST, which are
of another source than those that calibrated (bench/results/detect-pneumonia.json).
"""


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
        return (
            f"{text} It is flagged. So is one in twenty healthy patients of the source that calibrated this "
            f"prior. Of another source it can be several times as many: {ELSEWHERE} were on PneumoniaMNIST."
        )
    return f"{text} It is not flagged: that does not mean it is healthy."


@dataclass(frozen=True, slots=True)
class _Views:
    """The pictures of a scan; whole: the map without a threshold."""

    scan: Picture
    twin: Picture
    unusual: Picture
    whole: Picture

    def preview(self) -> list[tuple[str, Image.Image]]:
        scan, twin, layer = self.scan.image, self.twin.image, self.unusual.layer
        return [("scan", scan), ("healthy twin (synthetic)", twin), ("map", flat(scan, layer))]  # type: ignore[arg-type,list-item]


def _views(prior: Prior, volume: Volume, found: Found) -> _Views:
    plane, window = plane_of_codes(prior.card.axes), window_for(volume)
    widest = widest_slice(found.map, plane)
    cut = {"plane": plane, "at": None if widest is None else widest[0]}
    edges = sides(volume, plane=plane)
    values, scan = upright(found.map, **cut), grey(upright(volume, **cut), window)
    twin = grey(upright(found.healthy, **cut), window)
    where = f" Slice {widest[0] + 1} of {widest[1]} ({plane}), where the map is largest." if widest else ""
    level, meaning = map_level(found)
    top = max(2 * level, map_high(prior, found))
    unit = "Deviations from healthy scans." if found.evidence else "Change by a denoising step."
    return _Views(
        Picture(scan, "Scan", f"The input; {window}.{where}", window=window, edges=edges),
        Picture(
            twin,
            "Healthy twin",
            "What the model expects in a healthy patient. It was made anew only where the map is high.",
            synthetic=True,
            window=window,
            edges=edges,
        ),
        Picture(
            scan,
            "What looks unusual",
            meaning,
            legend=(number(level), number(top), "overlay"),
            layer=overlaid(values, level, top),
            window=window,
            edges=edges,
        ),
        Picture(
            coloured(values, map_high(prior, found)),
            "The whole map",
            f"{unit} Healthy scans have low values everywhere.",
            legend=("0", number(map_high(prior, found)), "inferno"),
            edges=edges,
        ),
    )


def detect_section(
    prior: Prior, volume: Volume, found: Found
) -> tuple[Section, list[tuple[str, Image.Image]]]:
    """The section, and (title, picture) of the preview."""
    views = _views(prior, volume, found)
    details = Fold(
        "Details: the whole map, the evidence, other detectors, and what was measured of this prior",
        [
            Grid([views.scan, views.twin, views.whole]),
            *evidence_table(found),
            beside_table(found),
            *measured_table(prior),
        ],
    )
    section = Section(
        "Detect: what does not look healthy",
        "The model compares this scan with healthy scans. Regions that are unusual are coloured; the healthy "
        "twin shows what it expected there.",
        [
            Compare(views.scan, views.twin, views.unusual),
            *findings_table(volume, found),
            *slices_table(found),
            details,
        ],
        verdict=" ".join(filter(None, (sentence(found), findings_line(found), twin_line(found)))),
        caveats=_limits(found),
    )
    return section, views.preview()


def _limits(found: Found) -> tuple[str, ...]:
    lines = [f"Judge with care: {found.unlike}."] if found.unlike else []
    if found.n_kind < patients_needed(ALPHA):
        lines.append(
            f"Whether this scan is of the right kind was not checked: {found.n_kind} healthy patients are "
            "too few."
        )
    lines.append(
        "The map shows unusual pixels, not disease. Markers, tubes, implants, rotation and another scanner "
        "are unusual, too."
    )
    lines.append(
        f"The score ({found.score:.3g}) is in standard deviations of held-out healthy scans, a mean over its "
        "evidence."
        if found.n_healthy
        else f"The score ({found.score:.3g}) has no unit, and nothing to compare it with."
    )
    return tuple(lines)
