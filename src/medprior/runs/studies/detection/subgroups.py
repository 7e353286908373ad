"""How a detector does in groups of patients: each group's figures, and how far they are from those of the
other patients.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np

from ....data.plain import JsonObject
from ....evidence.conformal import patients_needed
from ....evidence.intervals import Estimate, clopper_pearson, difference_of_shares, interval
from ....evidence.metrics import auroc
from ....io.dataset.index import Item
from ....io.groups import TAGS
from ...page.blocks import Section, Table
from ..study import span

__all__ = ["FEWEST", "GAP", "HANDFUL", "LEAST", "Member", "groups_of", "subgroup_section", "subgroups"]

LEAST = 30
"""Patients of a group, and healthy ones for its false positives, below which nothing is said of it."""
HANDFUL = 10
"""Patients of each kind of label below which no AUROC is given: an interval of fewer says too little of
itself.
"""
GAP = 0.05
"""A difference from the other patients that is named where chance does not explain it."""
FEWEST = 5
"""Patients of a group below which it is not told apart from other small ones: so few may be known to
somebody.
"""
SHOWN = 8
"""Groups of a tag in the report, the largest; run.json has all."""

FIGURES = ("auroc", "false_positive_rate")
_NUMBERED = ("site", "protocol")


@dataclass(frozen=True, slots=True)
class Member:
    """One scan of a patient. groups: {tag: group}, without tags that were not stated. hit: flagged at the
    promised rate.
    """

    sick: bool
    patient: int
    score: float
    hit: bool
    groups: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Group:
    """The figures of one group; a figure is None where the group is too small. Differences: minus the
    patients who are stated to be of another group. flagged: figures that stand out, of ``FIGURES``.
    """

    patients: int
    healthy: int
    others: int
    auroc: Estimate | None
    auroc_difference: Estimate | None
    false_positive_rate: Estimate | None
    false_positive_rate_difference: Estimate | None

    def figure(self, what: str) -> tuple[Estimate | None, Estimate | None]:
        """One of ``FIGURES``, and its difference from the others."""
        return getattr(self, what), getattr(self, f"{what}_difference")

    @property
    def flagged(self) -> list[str]:
        return [what for what in FIGURES if _stands_out(self.figure(what)[1])]


@dataclass(frozen=True, slots=True)
class Tag:
    """Groups of a tag by name, the largest first. not_stated: scans that do not say it."""

    not_stated: int
    groups: Mapping[str, Group]

    def to_json(self) -> JsonObject:
        groups = {name: {**asdict(one), "flagged": one.flagged} for name, one in self.groups.items()}
        return {"not_stated": self.not_stated, "groups": groups}


def groups_of(items: Sequence[Item]) -> list[dict[str, str]]:
    """For each scan, {tag: group}. Sites and protocols are numbered, the largest first: their names stay
    where they are.
    """
    found = [{tag: value for tag in TAGS if (value := getattr(item.tags, tag))} for item in items]
    for tag in _NUMBERED:
        order = Counter(groups[tag] for groups in found if tag in groups).most_common()
        numbers = {name: f"{tag} {n}" for n, (name, _) in enumerate(order, start=1)}
        found = [{**groups, tag: numbers[groups[tag]]} if tag in groups else groups for groups in found]
    return found


def subgroups(scans: Sequence[Member], alpha: float, n_healthy: int) -> dict[str, Tag]:
    """Of the tags that any scan states.

    Each group stands against the patients who are stated to be of another one. AUROC: interval over
    patients, each class of each side apart. False positives: Clopper-Pearson, their difference by
    ``difference_of_shares``; none where ``n_healthy`` cannot support alpha.
    """
    promised = n_healthy >= patients_needed(alpha)
    found = {}
    for tag in TAGS:
        told = _merged([scan for scan in scans if tag in scan.groups], tag)
        sizes = Counter(scan.groups[tag] for scan in told)
        if told:
            groups = {
                name: _figures(told, tag, name, promised)
                for name, _ in sorted(sizes.items(), key=lambda pair: (-pair[1], pair[0]))
            }
            found[tag] = Tag(len(scans) - len(told), groups)
    return found


def _merged(told: Sequence[Member], tag: str) -> list[Member]:
    """Groups of a handful become one."""
    patients: dict[str, set[int]] = {}
    for scan in told:
        patients.setdefault(scan.groups[tag], set()).add(scan.patient)
    few = {name for name, whose in patients.items() if len(whose) < FEWEST}
    return [
        replace(scan, groups={**scan.groups, tag: f"groups under {FEWEST}"})
        if scan.groups[tag] in few
        else scan
        for scan in told
    ]


def _figures(told: Sequence[Member], tag: str, name: str, promised: bool) -> Group:
    own, others = [s for s in told if s.groups[tag] == name], [s for s in told if s.groups[tag] != name]
    ranked = _ranks(own)
    healthy, rest = ([s.hit for s in part if not s.sick] for part in (own, others))
    enough = promised and len(healthy) >= LEAST
    apart = difference_of_shares if enough and len(rest) >= LEAST else None
    return Group(
        _patients(own),
        len(healthy),
        sum(s.sick for s in own),
        _auroc(own) if ranked else None,
        _apart(own, others) if ranked and _ranks(others) else None,
        clopper_pearson(sum(healthy), len(healthy)) if enough else None,
        apart and apart(sum(healthy), len(healthy), sum(rest), len(rest)),
    )


def _patients(scans: Sequence[Member]) -> int:
    return len({scan.patient for scan in scans})


def _ranks(scans: Sequence[Member]) -> bool:
    sick = sum(scan.sick for scan in scans)
    return _patients(scans) >= LEAST and min(sick, len(scans) - sick) >= HANDFUL


def _auroc(scans: Sequence[Member]) -> Estimate:
    labels = [int(s.sick) for s in scans]
    return interval(
        auroc,
        [s.score for s in scans],
        labels,
        patients=[f"{s.patient}/{s.sick}" for s in scans],
        strata=labels,
    )


def _apart(own: Sequence[Member], others: Sequence[Member]) -> Estimate:
    """AUROC of a group minus that of the others, from the same draws."""
    scans, inside = [*own, *others], np.arange(len(own) + len(others)) < len(own)
    labels = [int(s.sick) for s in scans]
    strata = [f"{s.sick}/{i}" for s, i in zip(scans, inside, strict=True)]
    patients = [f"{s.patient}/{kind}" for s, kind in zip(scans, strata, strict=True)]
    return interval(_difference, [s.score for s in scans], labels, inside, patients=patients, strata=strata)


def _difference(scores: Any, labels: Any, inside: Any) -> float:
    return auroc(scores[inside], labels[inside]) - auroc(scores[~inside], labels[~inside])


def _stands_out(difference: Estimate | None) -> bool:
    return (
        difference is not None and abs(difference.value) > GAP and not difference.low <= 0 <= difference.high
    )


def subgroup_section(found: Mapping[str, Tag]) -> Section:
    """For the report: a table, and a sentence for each group that stands out."""
    if not found:
        return Section(
            "Subgroups",
            "No scan says the sex, age, scanner, site or protocol (DICOM, or columns of scans.csv): nothing "
            "can be said of groups.",
        )
    n_compared = sum(_compared(at) for at in found.values())
    nothing = (
        "No group differs from the others by more than 5 points and more than chance."
        if n_compared
        else "No two groups are large enough to be compared."
    )
    lines = [
        _sentence(tag, name, what, one)
        for tag, at in found.items()
        for name, one in at.groups.items()
        for what in one.flagged
    ]
    return Section(
        "Subgroups",
        f"Each group beside the patients who are stated to be of another one. Too few: under {LEAST} "
        f"patients, for an AUROC also under {HANDFUL} of either "
        f"label, for false positives under {LEAST} healthy ones, or too few to calibrate the rate.",
        [_table(found)],
        verdict=" ".join(lines) or nothing,
        caveats=(
            *(
                [
                    f"{n_compared} differences were looked at: of such intervals one in twenty misses 0 by "
                    "chance."
                ]
                if n_compared
                else []
            ),
            "A group that does not stand out may still be served worse: small groups have wide intervals. "
            "Groups differ in more than their name.",
        ),
    )


def _compared(at: Tag) -> int:
    """How many differences a tag's groups give; of two groups each is the other's other."""
    n = sum(one.figure(what)[1] is not None for one in at.groups.values() for what in FIGURES)
    return n // 2 if len(at.groups) == 2 else n


def _table(found: Mapping[str, Tag]) -> Table:
    """The largest groups of each tag."""
    interval_of = ("95 % interval", "minus the others")
    rows = [["group", "patients", "AUROC", *interval_of, "false positives", *interval_of]]
    notes = [
        "AUROC: intervals over patients; false positives: Clopper-Pearson, their difference by Newcombe's "
        "method."
    ]
    for tag, at in found.items():
        for name, one in list(at.groups.items())[:SHOWN]:
            cells = [text for what in FIGURES for text in _cells(*one.figure(what))]
            rows.append([_named(tag, name), f"{one.healthy} healthy, {one.others} others", *cells])
        if len(at.groups) > SHOWN:
            notes.append(f"{len(at.groups) - SHOWN} smaller groups of {tag} are in run.json.")
        if at.not_stated:
            notes.append(f"{at.not_stated} scans do not state {tag}.")
    return Table(rows, " ".join(notes))


def _cells(at: Estimate | None, difference: Estimate | None) -> list[str]:
    if at is None:
        return ["too few", "", ""]
    apart = "too few others" if difference is None else f"{difference.value:+.3f} ({span(difference)})"
    return [f"{at.value:.3f}", span(at), apart]


def _named(tag: str, name: str) -> str:
    return name if tag in _NUMBERED else f"{tag}: {name}"


def _sentence(tag: str, name: str, what: str, one: Group) -> str:
    at, apart = one.figure(what)
    if at is None or apart is None:
        return ""
    named = _named(tag, name)
    by = f"by {abs(apart.value) * 100:.0f} points (95 % interval of the difference {span(apart)})"
    if what == "auroc":
        word = "WORSE" if apart.value < 0 else "better"
        return (
            f"{named[:1].upper()}{named[1:]}: healthy and other scans are told apart {word} than among "
            f"the others, AUROC {at.value:.3f}, {by}."
        )
    word = "MORE" if apart.value > 0 else "fewer"
    return (
        f"{named[:1].upper()}{named[1:]}: {word} healthy patients are flagged than among the others, "
        f"{at.value:.1%}, {by}."
    )
