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
from ...evidence.synthetic.copies import STATISTIC, CopyAudit
from ...evidence.synthetic.descriptors import missing_descriptors
from ...evidence.synthetic.fidelity import MEASURES, Fidelity
from ...evidence.synthetic.moves import views
from ...jobs.synthetic.audit import MATTERS, SHARES, Control, KnownScans, SetEvidence, valid_audit
from ...jobs.synthetic.synthesize import DRAWING
from ...prior.promises import Audit
from ..page.blocks import Fold, Grid, Picture, Section, Table
from ..page.pictures import mosaic

__all__ = [
    "as_json",
    "audit_table",
    "control_section",
    "copies_line",
    "failing",
    "montage",
    "permitted",
    "proof_lines",
    "proof_sections",
    "reach_lines",
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
        "copies": [{"way": "detail", "passed": found.copies.passed, **asdict(found.copies)}],
        "fidelity": [
            {**asdict(one), "gaussian": {name: at.value for name, at in plain.made.items()}}
            for one, plain in _paired(found)
        ],
    }


def _paired(found: SetEvidence) -> list[tuple[Fidelity, Fidelity]]:
    return list(zip(found.fidelity, found.baseline, strict=True))


def proof_lines(found: SetEvidence) -> list[str]:
    """The few numbers that matter, for the screen."""
    lines = [copies_line(found.copies)]
    return lines + [
        f"Fréchet distance on {one.descriptor}: {one.made['frechet'].value:.3g}, real against real "
        f"{one.floor['frechet'].value:.3g}, "
        f"plain Gaussian {plain.made['frechet'].value:.3g}; coverage {one.made['coverage'].value:.2f} of "
        f"{one.floor['coverage'].value:.2f}"
        for one, plain in _paired(found)
    ]


def copies_line(at: CopyAudit) -> str:
    """Of the images as they were drawn, how many lie too near, and what to think of it."""
    share = f"{at.copies.value:.1%} of {at.copies.n} images lie nearer to a training patient than any scan"
    verdict = "" if at.passed else "  ABOVE THE BAR"
    unlike = "  HELD-OUT SCANS ARE UNLIKE TRAINING" if at.unlike else ""
    return (
        f"copies: {share} of {at.held} held-out patients does (chance {at.chance:.2g} where nothing was "
        f"copied){verdict}{unlike}"
    )


def reach_lines(controls: Sequence[Control]) -> list[str]:
    """What the audit can find, and what was not asked: the least shares of copies found in 9 of 10 cases."""
    mixed = [one for one in controls if one.turned]
    seen = [f"{one.name} {one.smallest:.3g}" for one in mixed if one.asked and one.smallest is not None]
    missed = [
        f"{one.name} ({'never found' if one.smallest is None else f'from {one.smallest:.0%}'})"
        for one in mixed
        if not one.asked
    ]
    lines = [f"smallest share of copies found in 9 of 10 cases: {', '.join(seen)}"] if seen else []
    reason = f"copies of these kinds would have to be more than {MATTERS:.0%} of the set to be seen"
    return lines + ([f"not asked, since {reason}: {', '.join(missed)}"] if missed else [])


def audit_table(entry: Mapping[str, Any]) -> Table:
    """An audit as test, result, what is allowed, and whether it passed. entry: as ``as_json`` and trust.json
    hold it.
    """
    rows = [["test", "result", "allowed", "passed"]]
    for way in entry.get("copies", ()):
        share = f"{way['copies']['value']:.1%}"
        if "nearer" not in way:
            allowed = f"a chance above 5 %; here {way['chance']:.2g}"
            name = "nearer to a training patient than any held-out scan is"
        else:
            allowed = f"at most {way['allowed']:.1%}"
            name = f"copies by {way['way']}, older statistic that misses small shares"
        rows.append([name, share, allowed, _yes(way["passed"])])
    if controls := entry.get("controls"):
        found = sum(one["passed"] for one in controls)
        rows.append(["kinds of hidden copies that the audit finds", f"{found} of {len(controls)}", "", ""])
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
    at = found.copies
    if at.passed if filtered else at.passed_unfiltered:
        return ""
    repeats = "" if filtered or not at.again else f"; {at.again} are a scan over again"
    unlike = (
        "; but so do real scans in their place: what is held out is unlike training, and this share proves "
        "nothing. Divide train and val by chance, patient by patient, and train again"
    )
    return (
        f"{at.copies.value:.1%} of {at.copies.n} images lie nearer to a training patient than any held-out "
        f"scan does (chance {at.chance:.2g} where nothing was copied){repeats}{unlike if at.unlike else ''}"
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
    passed and is of such images, by the statistic of today.

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
    if audit.statistic != STATISTIC:
        return (
            "the audit of this prior is by an older statistic, which misses copies that are few or disguised"
        )
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
    verdict = (
        "No sign that training scans were copied." if found.copies.passed else f"Copies: {failing(found)}."
    )
    text = (
        f"Compared with {len(known.train)} training images of {found.copies.train} patients and "
        f"{len(known.held)} of {found.copies.held} others. {refused} of {len(found.nearest.rho)} images lay "
        "nearer to a training patient than any held-out scan does; such images are refused and never written."
    )
    details = Fold("Details: what is compared", [_details(found.copies)])
    return Section("Is any of them somebody's scan?", text, [audit_table(as_json(found)), details], verdict)


def _details(at: CopyAudit) -> Table:
    rows = [
        ["what", "value"],
        ["share beyond every held-out scan", _at(at.copies)],
        ["chance of so many where nothing was copied", f"{at.chance:.2g}"],
        ["limit: the largest score of a held-out scan", f"{at.limit:.3f}"],
        ["a training scan over again", str(at.again)],
        ["the same chance of real training scans in their place", f"{at.reference:.2g}"],
    ]
    note = (
        "Score: how much nearer the nearest training patient is than the next nine. Nearness is the "
        "correlation of local detail, free of contrast and decorrelated, over mirrors, turns up to 16 "
        "degrees, crops up to 30 % and shifts up to 12 %. The chance is exact for images that come as "
        "held-out patients do. Where that of real training scans is small, what is held out is unlike them."
    )
    return Table(rows, note, words=True)


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
    order = found.nearest.score.argsort(descending=True).tolist()
    evenly = torch.linspace(0, len(made) - 1, min(_SHOWN, len(made))).round().long().tolist()
    pictures = []
    for title, at in ((f"The {len(order[:_SHOWN])} nearest", order[:_SHOWN]), ("At even steps", evenly)):
        rows = [[made[n] for n in at], [known.train[int(found.nearest.at[n])] for n in at]]
        tiles = [_tile(image) for row in rows for image in row]
        said = ", ".join(f"{float(found.nearest.rho[n]):.2f}" for n in at)
        caption = f"Rows: made, REAL training scan nearest to it. Correlations of detail: {said}."
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
    """Whether the audit finds what it must, and from which share on."""
    rows = [
        [
            "what was hidden",
            "single copies found",
            *(f"verdict turns at {share:.0%}" for share in SHARES),
            "found in 9 of 10 from",
            "verdict",
        ]
    ]
    for one in controls:
        turned = [f"{value:.2f}" for value in one.turned] or ["", ""]
        smallest = "never" if one.smallest is None else f"{one.smallest:.3g}"
        verdict = (
            ("asked" if one.asked else "NOT ASKED") if one.turned else "passes" if one.passed else "FAILS"
        )
        name = f"{one.name} (outside of the search)" if one.outside else one.name
        rows.append([name, _at(one.found), *turned, smallest if one.turned else "", verdict])
    why = valid_audit(controls)
    verdict = (
        f"NOT VALID: {why}, so its numbers say nothing of privacy."
        if why
        else "The audit finds the copies that were hidden from it, as far as the table says."
    )
    text = (
        "Positive controls: training scans in disguise among the set's own images, and images of a twin "
        "prior that memorised 16 training scans. A kind that is only seen above "
        f"{MATTERS:.0%} of the set was not asked for."
    )
    return Section("Can this audit find a copy?", text, [Table(rows)], verdict=verdict)
