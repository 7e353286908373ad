"""The evidence of a synthetic set on its page: how faithful, how various, whose copy; and the pages of
samples beside the scans nearest to them.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict
from typing import Any

import torch
from torch import Tensor

from ...data.plain import JsonObject
from ...data.views import Window, grey
from ...errors import BadOption
from ...evidence.intervals import Estimate
from ...evidence.synthetic.copies import WAYS, WayAudit
from ...evidence.synthetic.descriptors import missing_descriptors
from ...evidence.synthetic.fidelity import MEASURES, Fidelity
from ...evidence.synthetic.moves import views
from ...jobs.synthetic.audit import Control, KnownScans, SetEvidence
from ...jobs.synthetic.synthesize import DRAWING
from ...prior.promises import Audit
from ..page.blocks import Fold, Grid, Picture, Section, Table
from ..page.pictures import mosaic

__all__ = [
    "as_json",
    "audit_table",
    "control_section",
    "failing",
    "montage",
    "permitted",
    "proof_lines",
    "proof_sections",
    "unproven",
]

_WORDS = {
    "frechet": "Fréchet distance (0 is best)",
    "mmd": "mean discrepancy (0 is best)",
    "precision": "precision: made ones near a real one",
    "recall": "recall: real ones near a made one",
    "density": "density: real neighbourhoods a made one is in, over k",
    "coverage": "coverage: real ones with a made one as neighbour",
}

_SHOWN = 8
"""Samples on each montage."""

_SIDE = 96
"""Least side of a picture on it."""


def as_json(found: SetEvidence) -> JsonObject:
    """For run.json and trust.json."""
    return {
        "copies": [{"passed": way.passed, **asdict(way)} for way in found.copies],
        "fidelity": [
            {**asdict(one), "gaussian": {name: at.value for name, at in plain.made.items()}}
            for one, plain in _paired(found)
        ],
        "beyond_limit": found.beyond,
    }


def _paired(found: SetEvidence) -> list[tuple[Fidelity, Fidelity]]:
    return list(zip(found.fidelity, found.baseline, strict=True))


def proof_lines(found: SetEvidence) -> list[str]:
    """The few numbers that matter, for the screen."""
    lines = [
        f"copies by {way.way}: {way.copies.value:.1%} nearer than 95 % of held-out scans (at most "
        f"{way.allowed:.1%}), "
        f"nearer to training {way.nearer.value:.3f} ({way.nearer.low:.3f} to "
        f"{way.nearer.high:.3f}){'' if way.passed else '  ABOVE THE BAR'}"
        for way in found.copies
    ]
    lines += [
        f"real scans in their place, by {way.way}: nearer to training "
        f"{_at(way.reference)}{'  HELD-OUT SCANS ARE UNLIKE TRAINING' if way.unlike else ''}"
        for way in found.copies
        if way.reference
    ]
    return lines + [
        f"Fréchet distance on {one.descriptor}: {one.made['frechet'].value:.3g}, real against real "
        f"{one.floor['frechet'].value:.3g}, "
        f"plain Gaussian {plain.made['frechet'].value:.3g}; coverage {one.made['coverage'].value:.2f} of "
        f"{one.floor['coverage'].value:.2f}"
        for one, plain in _paired(found)
    ]


def audit_table(entry: Mapping[str, Any]) -> Table:
    """An audit as test, result, what is allowed, and whether it passed. entry: as ``as_json`` and trust.json
    hold it.
    """
    rows = [["test", "result", "allowed", "passed"]]
    for way in entry.get("copies", ()):
        copies, nearer, name = way["copies"], way["nearer"], way["way"]
        rows += [
            [
                f"copies by {name}: nearer to training than 95 % of held-out scans are",
                f"{copies['value']:.1%}",
                f"at most {way['allowed']:.1%}",
                _yes(copies["value"] <= way["allowed"]),
            ],
            [
                f"nearer to training than to other patients, by {name}",
                _between(nearer),
                "interval reaches 0.5 or less",
                _yes(nearer["low"] <= 0.5),
            ],
        ]
        if way.get("reference"):
            rows.append([f"the same of real scans, by {name}", _between(way["reference"]), "about 0.5", ""])
    if controls := entry.get("controls"):
        found = sum(one["passed"] for one in controls)
        of, passed = f"{found} of {len(controls)}", _yes(found == len(controls))
        rows.append(["kinds of hidden copies that the audit finds", of, "all", passed])
    for one in entry.get("membership", ()):
        attack = f"membership attack by {one['attack']}, AUC"
        rows.append([attack, _between(one["auc"]), "interval under 0.55", _yes(one["low"])])
    for one in entry.get("fidelity", ()):
        for measure, name in (("frechet", "Fréchet distance"), ("coverage", "coverage")):
            real = f"real scans: {one['floor'][measure]['value']:.3g}"
            rows.append([f"{name}, {one['descriptor']}", f"{one['made'][measure]['value']:.3g}", real, ""])
    return Table(rows, words=True, open=True)


def _yes(passed: bool) -> str:
    return "yes" if passed else "NO"


def _between(at: Mapping[str, Any]) -> str:
    return f"{at['value']:.3f} ({at['low']:.3f} to {at['high']:.3f})"


def failing(found: SetEvidence, *, filtered: bool = True) -> str:
    """ "" where the set passes, else why it may not be written, one sentence. filtered: what lies beyond was
    taken out.
    """
    return "; ".join(
        f"by {way.way} {way.copies.value:.1%} are copies (at most {way.allowed:.1%}), {_at(way.nearer)} lie "
        "nearer to training scans than to as many others "
        f"(0.5 where nothing was copied), {way.beyond} lie nearer than every held-out scan (chance "
        f"{way.chance:.2g}), {way.again} are a scan over again" + _unlike(way)
        for way in found.copies
        if not (way.passed if filtered else way.passed_unfiltered)
    )


def _unlike(way: WayAudit) -> str:
    """Said where a share that blocks is one that real scans show as well."""
    # a reference that is far below what the set shows, or below 0.5, excuses nothing
    if way.reference is None or not 0.5 < way.reference.low or not 0.5 < way.nearer.low <= way.reference.high:
        return ""
    return (
        f"; but so do {_at(way.reference)} of real scans in their place: what is held out is unlike "
        "training, and this share proves nothing. "
        "Divide train and val by chance, patient by patient, and train again"
    )


_COMPARE = "name the data set it learned from with --data, or run medprior calibrate synthesize"


def unproven(
    audit: Audit | None,
    allowed: bool,
    *,
    guidance: float | None = None,
    number_guidance: float | None = None,
    numbers: Collection[str] = (),
    remedy: str = _COMPARE,
    job: str = "synthesize",
) -> tuple[str, ...]:
    """What to write down where a set is not compared with scans itself: nothing where the prior's own audit
    passed and is of such images.

    guidance, number_guidance: of a label and of the ``numbers`` that are asked for, None where none is.
    Raises BadOption where the audit did not pass, is of other images or was never made, unless that is
    allowed.
    """
    why = _lacking(audit, guidance, number_guidance, numbers)
    return permitted(why, allowed, remedy, job) if why else ()


def permitted(why: str, allowed: bool, remedy: str, job: str = "synthesize") -> tuple[str, ...]:
    """The line for run.json. Raises BadOption where it is not allowed."""
    if not allowed:
        raise BadOption(
            f"{job}: {why}; nothing was written", f"{remedy}; --unproven writes them all the same and says so"
        )
    return (f"written although {why}",)


def _lacking(
    audit: Audit | None, guidance: float | None, number_guidance: float | None, numbers: Collection[str]
) -> str:
    """Why the audit of a prior does not stand for a set; "" where it does."""
    if audit is None:
        return "it was not measured whether this prior copies its patients"
    if not audit.passed:
        return "the audit of this prior found copies, or its controls failed"
    if audit.drawing != DRAWING:
        return "the audit of this prior is of images that another version drew in another way"
    if (number_guidance or 0) > 1 and (untold := [name for name in numbers if name not in audit.numbers]):
        return (
            f"the audit of this prior told no {', '.join(untold)}, and a guidance of {number_guidance:g} "
            "asks for images that are nearer to what it learned"
        )
    asked = (
        ("guidance", guidance, audit.guidance),
        ("number guidance", number_guidance, audit.number_guidance),
    )
    for name, weight, audited in asked:
        if weight is not None and weight > audited:
            return (
                f"the audit of this prior is of a {name} of {audited:g}, and {weight:g} asks for images "
                "that are nearer to what it learned"
            )
    return ""


def proof_sections(
    found: SetEvidence, known: KnownScans, made: Sequence[Tensor], refused: int, label: str | None
) -> list[Section]:
    """Three: copies, fidelity, montage."""
    return [_copies(found, known, refused), *_fidelity(found, label), montage(found, known, made)]


def _at(x: Estimate, digits: int = 3) -> str:
    return f"{x.value:.{digits}f} ({x.low:.{digits}f} to {x.high:.{digits}f})"


def _copies(found: SetEvidence, known: KnownScans, refused: int) -> Section:
    kind = any(way.reference is not None and way.reference.high < 0.5 for way in found.copies)
    mind = (
        " But real training scans lie nearer to held-out scans than to each other, so that the bar of 0.5 is "
        "too kind here."
        if kind
        else ""
    )
    verdict = (
        f"No sign that training scans were copied.{mind}" if found.passed else f"Copies: {failing(found)}."
    )
    text = (
        f"Compared with {len(known.train)} training images and {len(known.held)} of other patients. "
        f"{refused} of {len(found.nearest.rho)} images lay nearer "
        "to a training scan than any held-out scan does; such images are refused and never written."
    )
    details = Fold("Details: every share with its interval", [_shares_table(found)])
    return Section("Is any of them somebody's scan?", text, [audit_table(as_json(found)), details], verdict)


def _shares_table(found: SetEvidence) -> Table:
    """Every share of the audit of copies with its interval."""
    rows = [
        [
            "alike by",
            "copies",
            "at most",
            "training scans hit",
            "nearer to training than to others",
            "real scans in their place",
            "beyond",
            "placebo",
            "verdict",
        ]
    ]
    rows += [
        [
            way.way,
            _at(way.copies),
            f"{way.allowed:.3f}",
            _at(way.memorised),
            _at(way.nearer),
            "not asked" if way.reference is None else _at(way.reference),
            f"{way.beyond} (chance {way.chance:.2g})",
            f"{way.placebo:.3f}",
            "passes" if way.passed else "ABOVE THE BAR",
        ]
        for way in found.copies
    ]
    note = (
        "copies: share nearer to a training scan than 95 % of held-out scans are; at most: what 5 % of so "
        "many held-out patients can be by chance. Nearer to "
        "training: 0.5 where nothing was copied. Real scans in their place: training scans, one a patient, "
        "held against other patients' training scans and "
        "as many held-out ones; where that is not 0.5, what is held out is unlike training, or patients lie "
        "in training twice. Beyond: how many are nearer "
        "than every held-out scan, and how likely so many are by chance. Placebo: the same as copies with "
        "held-out scans in the place of training scans; no "
        "copying can raise it, so where it is as high, the set is plainer than real scans, not copied."
    )
    return Table(rows, note)


def _fidelity(found: SetEvidence, label: str | None) -> list[Section]:
    if not found.fidelity:
        why = (
            " ".join(missing_descriptors())
            or "Fewer than 24 scans of that label on a side: no distance between sets was measured."
        )
        return [Section("How faithful, how various?", why)]
    blocks = []
    for one, plain in _paired(found):
        rows = [["measure", "this set", "real against real", "plain Gaussian", "this set minus real"]]
        rows += [
            [_WORDS[m], _at(one.made[m]), _at(one.floor[m]), f"{plain.made[m].value:.3f}", _at(one.apart[m])]
            for m in MEASURES
        ]
        blocks.append(
            Table(
                rows,
                f"On {one.descriptor}, {one.dimensions} directions, {one.size} images against {one.size} "
                "held-out ones, 30 random halves.",
            )
        )
    near = all(one.apart["frechet"].low <= 0 for one in found.fidelity)
    verdict = (
        "Not told apart from real scans by these features."
        if near
        else "Real scans lie nearer to real scans than these images do, by interval."
    )
    asked = f" Scans of label {label}." if label else ""
    text = (
        "Held-out scans against this set, and against training scans in its place (the best one can ask "
        f"for).{asked}"
    )
    return [
        Section(
            "How faithful, how various?", text, blocks, verdict=verdict, caveats=tuple(missing_descriptors())
        )
    ]


def montage(found: SetEvidence, known: KnownScans, made: Sequence[Tensor]) -> Section:
    """The samples nearest to training scans, and some at even steps, above the scan nearest to each by either
    way.
    """
    order = found.nearest.rho.amax(1).argsort(descending=True).tolist()
    evenly = torch.linspace(0, len(made) - 1, min(_SHOWN, len(made))).round().long().tolist()
    pictures = []
    for title, at in ((f"The {len(order[:_SHOWN])} nearest", order[:_SHOWN]), ("At even steps", evenly)):
        rows = [
            [made[n] for n in at],
            *([known.train[int(found.nearest.at[n, way])] for n in at] for way in range(len(WAYS))),
        ]
        tiles = [_tile(image) for row in rows for image in row]
        said = "; ".join(", ".join(f"{v:.2f}" for v in found.nearest.rho[n].tolist()) for n in at)
        caption = (
            "Rows: made, REAL training scan nearest by pixels, by embedding. Correlations by pixels "
            f"and embedding: {said}."
        )
        pictures.append(Picture(mosaic(tiles, len(at)), title, caption, synthetic=True, wide=True))
    return Section(
        "Beside the scans nearest to them",
        "A copy shows here as a sample that has the bones, vessels or devices of the scan below it, not only "
        "its kind.",
        [Grid(pictures)],
        caveats=(
            "This page shows real training scans: keep it where the scans are kept, also where the made "
            "images may leave.",
        ),
    )


def _tile(image: Tensor) -> Any:
    side = max(_SIDE, min(256, max(image.shape[1:])))
    return grey(views(image, side)[0].numpy(), Window(-1.0, 1.0, "network range"))


def control_section(controls: Sequence[Control]) -> Section:
    """Whether the audit finds what it must."""
    rows = [["what was hidden", "found", *(f"by {way}" for way in WAYS), "must find", "verdict"]]
    rows += [
        [
            one.name,
            _at(one.found),
            *(f"{share:.3f}" for share in one.by_way),
            f"{one.wanted:.2f}",
            "passes" if one.passed else "FAILS",
        ]
        for one in controls
    ]
    valid = all(one.passed for one in controls)
    verdict = (
        "The audit finds the copies that were hidden from it."
        if valid
        else "NOT VALID: the audit misses copies, so its numbers say nothing of privacy."
    )
    text = (
        "Positive controls: training scans that were moved a little, and images of a twin prior that "
        "memorised 16 training scans."
    )
    return Section("Can this audit find a copy?", text, [Table(rows)], verdict=verdict)
