"""The page of an augmented data set: the mix, what was refused and why, and pictures of sources beside what
was made of them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import Image

from ...data.views import Window, grey, number, upright, window_for
from ...data.volume import Volume
from ...errors import MedpriorError
from ...io.dataset.scan import Index, Item
from ...io.read import read
from ..ask.requests import AugmentSet
from ..page.blocks import Grid, Picture, Section, Table
from .gates import Gates
from .state import Refused, Tried, Written

__all__ = ["Shown", "section_of", "sheet_of"]

SOURCES, EACH, REFUSED = 2, 3, 8
"""Sources of each label on the page, variations of each, refused ones in all; everything that passed is
written.
"""

LABELS = 6
"""Labels on the page."""

RELEASE = (
    "A gentle variation of a patient's scan is that patient's scan: it is not for release, whatever the "
    "gates say. "
    "For release draw a set with medprior synthesize and have its copies audited."
)


@dataclass(frozen=True, slots=True)
class Shown:
    """What the page is made of. outputs, examples: folders of what was written, and of a few that were
    refused.
    """

    request: AugmentSet
    gates: Gates
    index: Index
    items: Sequence[Item]
    rows: Sequence[Written]
    refused: Sequence[Refused]
    outputs: Path
    examples: Path


def section_of(shown: Shown, metrics: Mapping[str, Any]) -> list[Section]:
    """First the numbers, then the pictures."""
    return [_numbers(shown, metrics), _pictures(shown), *([_turned_away(shown)] if shown.refused else [])]


def sheet_of(shown: Shown) -> list[tuple[str, Image.Image]]:
    """preview.png: the first source of each label and one image of it."""
    found: list[tuple[str, Image.Image]] = []
    for row in _first(shown, 1)[:3]:
        found += [(p.title, p.image) for p in _group(shown, [row]) if isinstance(p.image, Image.Image)]
    return found or [("nothing was written", Image.new("L", (160, 120)))]


def _numbers(shown: Shown, metrics: Mapping[str, Any]) -> Section:
    request, mix = shown.request, metrics["mix"]
    rows = [
        [
            "label",
            "real scans",
            "asked for",
            "written",
            "refused: label lost",
            "refused: near copy",
            "refused: of another kind",
        ]
    ]
    for label, at in mix.items():
        rows.append(
            [
                label,
                *(
                    str(at[name])
                    for name in (
                        "real",
                        "asked",
                        "written",
                        "refused_for_label",
                        "refused_as_copy",
                        "refused_as_unlike",
                    )
                ),
            ]
        )
    of_prior = (
        "new images" if request.fill_by == "synthesis" else f"variations of strength {request.strength:g}"
    )
    way = "classical transforms" if request.classical else f"prior {of_prior}"
    note = (
        f"By {way}. A draw that both gates refuse counts in both columns; each refused image was drawn "
        f"again, up to {request.tries} times in all, but for "
        "those of other dimensions or channels than most scans, at which neither gate can look."
    )
    short = metrics["asked"] - metrics["written"]
    verdict = (
        f"{metrics['written']} of {metrics['asked']} images were written, from {metrics['drawn']} draws."
    )
    if short:
        verdict += f" {short} are missing: {_why_short(metrics)}."
    return Section(
        "Augment: a data set",
        "Images lie in folders by label; scans.csv names label, split and a running number "
        "for each patient. "
        "They are marked synthetic: training on them wants --allow-synthetic.",
        [Table(rows, note), *_judge_table(shown), *_copy_table(shown)],
        verdict=verdict,
        caveats=_caveats(shown, metrics),
    )


def _why_short(metrics: Mapping[str, Any]) -> str:
    refused = [
        f"{sum(at[key] for at in metrics['mix'].values())} draws {text}"
        for key, text in (
            ("refused_for_label", "lost their label"),
            ("refused_as_copy", "were near copies"),
            ("refused_as_unlike", "were of another kind"),
        )
    ]
    failed = f"; {metrics['failed']} scans could not be varied (failed.csv)" if metrics["failed"] else ""
    return " and ".join(refused) + failed


def _judge_table(shown: Shown) -> list[Table]:
    judge, alpha = shown.gates.judge, shown.gates.alpha
    if judge is None:
        return [
            Table(
                [["does it carry its label?", f"not checked: {shown.gates.why.get('judge', '')}"]], words=True
            )
        ]
    rows = [
        [
            "label",
            "real scans, held out",
            "median probability, real",
            "median probability, written",
            "median p, written",
        ]
    ]
    for label, real in judge.held.items():
        own = [row for row in shown.rows if row.label == label and row.p is not None]
        rows.append(
            [
                label,
                str(len(real)),
                _median(real),
                _median([r.probability for r in own]),
                _median([r.p for r in own]),
            ]
        )
    note = (
        f"Judged by {len(judge.classifiers)} classifiers; each image by one that has seen neither its source "
        "nor any scan of that patient, nor any variation. "
        f"Their balanced accuracy on real scans they have not seen is {judge.accuracy:.2f}. p: (1 + real "
        "scans of the label with at most the same "
        f"probability) / (all + 1); below {alpha:g} an image is refused, and about {alpha:.0%} of real scans "
        "would be."
    )
    return [Table(rows, note)]


def _copy_table(shown: Shown) -> list[Table]:
    gates = shown.gates
    if gates.copies is None:
        return [Table([["is it a copy?", f"not checked: {gates.why.get('copies', '')}"]], words=True)]
    done = "Near copies were kept (--keep-copies)." if gates.keep else "Near copies were refused."
    rows = [["nearest training scan", "images", "median correlation", "it is their own source"]]
    for name, of in (("written", shown.rows), ("refused", shown.refused)):
        known = [row for row in of if row.rho is not None]
        rows.append(
            [
                name,
                str(len(known)),
                _median([row.rho for row in known]),
                str(sum(row.nearest == row.source for row in known)),
            ]
        )
    note = (
        "Too near: its lead in correlation of local detail, after alignment, of the nearest training patient "
        "over the next nine. The source is one of them. "
        f"The limit of {gates.copies.limit:.3f} is the largest lead of {gates.held} held-out scans. {done}"
    )
    return [Table(rows, note)]


def _median(values: Iterable[float | None]) -> str:
    known = sorted(value for value in values if value is not None)
    return f"{known[len(known) // 2]:.3g}" if known else "none"


def _caveats(shown: Shown, metrics: Mapping[str, Any]) -> tuple[str, ...]:
    gates, lines = shown.gates, []
    if not shown.request.classical:
        lines.append(RELEASE)
    if gates.judge is not None and gates.judge.accuracy < 0.7:
        lines.append(
            f"The judge tells real scans apart with a balanced accuracy of {gates.judge.accuracy:.2f} only: "
            "it cannot refuse much."
        )
    lines.append(
        "The judge looks at small images: a label that hangs on a few pixels can be lost without its "
        "noticing."
        if gates.judge is not None
        else ""
    )
    if metrics["failed"] or metrics["unusable"]:
        lines.append(
            f"{metrics['failed']} scans could not be varied and {metrics['unusable']} files not be read; "
            "failed.csv says which and why."
        )
    lines.append(
        "Whether such images help a model is an experiment: train with and without them, with an equal "
        "number of ordinary augmentations as control."
    )
    return tuple(line for line in lines if line)


def _first(shown: Shown, each: int) -> list[Written]:
    """The first written image of the first ``each`` sources of each label."""
    found: dict[tuple[str, int | None], Written] = {}
    count: Counter[str] = Counter()
    for row in shown.rows:
        at = row.label, row.source
        if at not in found and count[row.label] < each:
            found[at] = row
            count[row.label] += 1
    return [row for row in found.values() if row.label in sorted(count)[:LABELS]]


def _pictures(shown: Shown) -> Section:
    blocks = []
    for row in _first(shown, SOURCES):
        together = [r for r in shown.rows if (r.label, r.source) == (row.label, row.source)][:EACH]
        blocks.append(Grid(_group(shown, together)))
    text = (
        "A source and what was made of it, through the source's window; the first of each label, none "
        "picked out."
    )
    return Section("Sources and their variations", text if blocks else "Nothing was written.", blocks)


def _group(shown: Shown, rows: Sequence[Written]) -> list[Picture]:
    """The source, then its images."""
    label, at = rows[0].label or "no label", rows[0].source
    pictures, window = [], None
    if at is not None:
        try:
            source = shown.index.load(shown.items[at])
        except MedpriorError:
            source = None  # it could be read when it was varied
        if source is not None:
            window = window_for(source)
            pictures.append(Picture(_grey(source, window), f"Source {at + 1}: {label}", f"{window}."))
    for n, row in enumerate(rows, start=1):
        image = read(shown.outputs / row.path, modality=shown.request.modality, unit=shown.request.unit)
        title = f"{'New' if at is None else 'Variation'} {n}: {label}"
        pictures.append(Picture(_grey(image, window or window_for(image)), title, said(row), synthetic=True))
    return pictures


def _grey(volume: Volume, window: Any) -> Image.Image:
    image = grey(upright(volume), window)
    times = max(1, 112 // max(image.size))  # images of 28 pixels are hard to see
    return (
        image.resize((image.width * times, image.height * times), Image.Resampling.NEAREST)
        if times > 1
        else image
    )


def said(row: Tried) -> str:
    """What the gates say of one image."""
    parts = []
    if row.probability is not None:
        parts.append(f"probability of its label {row.probability:.2f}, p = {row.p:.2f}")
    if row.rho is not None:
        nearest = row.nearest or 0
        whose = "its own source" if nearest == row.source else f"source {nearest + 1}"
        parts.append(
            f"nearest training scan: {whose}, correlation "
            f"{number(row.rho)}{', a near copy' if row.copy else ''}"
        )
    return f"{'; '.join(parts)}." if parts else "It was not checked."


def _turned_away(shown: Shown) -> Section:
    found = [one for one in shown.refused if one.picture][:REFUSED]
    pictures = []
    for one in found:
        image = grey(upright(read(shown.examples / one.picture)), Window(0.0, 255.0, "as it was drawn"))
        times = max(1, 112 // max(image.size))
        big = image.resize((image.width * times, image.height * times), Image.Resampling.NEAREST)
        why = " and ".join(
            {"label": "label lost", "copy": "near copy", "kind": "of another kind than most scans"}[w]
            for w in one.why
        )
        pictures.append(
            Picture(
                big, f"Refused: {why}", f"Asked for: {one.label or 'no label'}. {said(one)}", synthetic=True
            )
        )
    return Section(
        "Refused",
        f"{len(shown.refused)} draws were refused; the first of each kind. None of them was written.",
        [Grid(pictures)] if pictures else [],
    )
