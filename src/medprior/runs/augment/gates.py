"""Two gates that every image of an augmented data set passes, or is drawn again: it carries its label still,
and it is no copy of a real scan.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ...data.plain import JsonObject
from ...data.volume import Volume
from ...errors import BadOption
from ...evidence.conformal import patients_needed
from ...evidence.synthetic.copies import CopyIndex
from ...io.dataset.scan import Index, Item
from ...jobs.synthetic.judge import Judge, folds_of, glance, learn_judge
from ..ask.requests import AugmentSet
from ..core.inputs import of_split
from ..core.progress import Event, OnEvent
from .scans import loaded
from .tickets import Ticket

__all__ = ["UNLIKE", "Gates", "Seen", "gates_for"]

LARGEST, SMALLEST = 64, 28
"""Pixels a side at which scans are looked at."""

UNLIKE = (
    "of other dimensions or channels than most scans of this data set, so neither gate can look at it: "
    "give such scans a folder of their own"
)


@dataclass(frozen=True, slots=True)
class Seen:
    """What the gates say of one image. probability, p: of its label, None if not judged.

    rho: correlation with its nearest training scan, nearest: which of the chosen scans that is, from 0; None
    if not compared. lost: its label; copy: nearer to a training scan than it may be; unlike: of another kind
    (dimensions, channels) than the gates have learned from, so that they cannot judge it. refused: for any of
    them; copies and what is unlike pass where copies are kept.
    """

    probability: float | None = None
    p: float | None = None
    rho: float | None = None
    nearest: int | None = None
    lost: bool = False
    copy: bool = False
    unlike: bool = False
    refused: bool = False


@dataclass(frozen=True, slots=True)
class Gates:
    """judge, copies: None where that gate stands open; why: name -> the reason. shape, side: of what they
    look at. keep: near copies pass, and are counted.

    folds: of each chosen scan; places: which of them the copy index holds, in its order. held: scans that say
    how near is too near.
    """

    judge: Judge | None
    folds: Sequence[int]
    copies: CopyIndex | None
    places: Sequence[int]
    shape: tuple[int, ...]
    side: int
    alpha: float
    keep: bool
    why: Mapping[str, str]
    held: int = 0

    def look(self, tickets: Sequence[Ticket], images: Sequence[Volume]) -> list[Seen]:
        """One verdict for each image."""
        if not images or (self.judge is None and self.copies is None):
            return [Seen() for _ in images]
        looked = [glance(image, self.side) for image in images]
        alike = [n for n, x in enumerate(looked) if x.shape == self.shape]
        found = [Seen(unlike=True, refused=not self.keep) for _ in images]
        if not alike:
            return found
        small = torch.stack([looked[n] for n in alike])
        judged = self._judged([tickets[n] for n in alike], small)
        near, rho, at = self._near(small)
        for k, n in enumerate(alike):
            said = judged.get(k)
            lost = said is not None and said[1] < self.alpha
            refused = lost or (near[k] and not self.keep)
            found[n] = Seen(said and said[0], said and said[1], rho[k], at[k], lost, near[k], refused=refused)
        return found

    def _near(self, small: Tensor) -> tuple[list[bool], list[float | None], list[int | None]]:
        """Whether too near; correlation of detail with, and place of, the nearest training scan."""
        if self.copies is None:
            return [False] * len(small), [None] * len(small), [None] * len(small)
        found = self.copies.nearest(list(small))
        near = (found.score > self.copies.limit).tolist()
        return near, found.rho.tolist(), [self.places[int(n)] for n in found.at]

    def _judged(self, tickets: Sequence[Ticket], small: Tensor) -> dict[int, tuple[float, float]]:
        if self.judge is None:
            return {}
        known = [n for n, ticket in enumerate(tickets) if ticket.label in self.judge.labels]
        count = len(self.judge.classifiers)
        folds = [
            n % count if tickets[n].source is None else self.folds[tickets[n].source or 0] for n in known
        ]
        said = self.judge.verdicts(small[known], [tickets[n].label for n in known], folds) if known else []
        return {n: (one.probability, one.p) for n, one in zip(known, said, strict=True)}

    def record(self) -> JsonObject:
        """For run.json."""
        judge = self.judge and {
            "alpha": self.alpha,
            "classifiers": len(self.judge.classifiers),
            "balanced_accuracy": self.judge.accuracy,
            "real_scans": {label: len(scores) for label, scores in self.judge.held.items()},
            "rule": "p = (1 + real scans of the label with at most this probability, each by a classifier "
            "that has not seen its patient) / (n + 1) >= alpha",
        }
        copies = self.copies and {
            "held_out_scans": self.held,
            "limit": self.copies.limit,
            "rule": "nearer to a training patient than any held-out scan is, against the next nine patients, "
            "by the correlation of local detail after alignment",
            "kept": self.keep,
        }
        return {"judge": judge, "copies": copies, "open": dict(self.why), "pixels": self.side}


def gates_for(request: AugmentSet, index: Index, items: Sequence[Item], on_event: OnEvent) -> Gates:
    """Learn from real scans what both gates need; they hold every chosen scan, small, and nothing larger.

    Raises BadOption where a judge is asked for by name and cannot be had.
    """
    labels = Counter(item.label for item in items if item.label)
    with_judge = request.judge == "on" or (
        request.judge == "auto" and not request.classical and len(labels) > 1
    )
    held = [] if request.classical else _held_out(index, request)
    why = _closed(request, with_judge, bool(held))
    if not held and not request.classical:
        on_event(
            Event(
                "warning",
                "copies are not looked for: no scan of another split says how alike two patients are; put "
                "scans of other patients into val",
            )
        )
    if not (with_judge or held):
        return Gates(None, (), None, (), (), 0, request.alpha, request.keep_copies, why)
    on_event(Event("stage", "looking at every scan", 0, len(items) + len(held)))
    side = _side(items)
    small, usable = _glances(index, items, side, on_event, 0)
    judge, folds = (
        None,
        folds_of([item.owner for item in items], [item.label for item in items], seed=request.seed),
    )
    if with_judge:
        judge, reason = _judge(request, items, small, usable, folds, on_event)
        why |= {"judge": reason} if reason else {}
    copies, count = None, 0
    if held:
        others, kept = _glances(index, held, side, on_event, len(items), shape=small.shape[1:])
        count = len(kept)
        on_event(Event("stage", "learning how alike two patients are"))
        try:
            whose = [items[n].owner for n in usable] + [held[n].owner for n in kept]
            copies = CopyIndex.learn(
                list(small[usable]), list(others[kept]), patients=whose, seed=request.seed
            )
        except BadOption as error:
            on_event(Event("warning", f"copies are not looked for: {error}"))
            why["copies"] = Exception.__str__(error)
    return Gates(
        judge,
        folds,
        copies,
        usable,
        tuple(small.shape[1:]),
        side,
        request.alpha,
        request.keep_copies,
        why,
        count,
    )


def _closed(request: AugmentSet, judge: bool, copies: bool) -> dict[str, str]:
    """Why a gate is not there, by its name. judge, copies: whether each is."""
    why: dict[str, str] = {}
    if not judge:
        why["judge"] = (
            "switched off"
            if request.judge == "off"
            else "classical transforms go by a policy"
            if request.classical
            else "fewer than two labels"
        )
    if not copies:
        why["copies"] = (
            "classical transforms keep the patient: each is a copy"
            if request.classical
            else "no scan of a val split to hold against"
        )
    return why


def _judge(
    request: AugmentSet,
    items: Sequence[Item],
    small: Tensor,
    usable: Sequence[int],
    folds: Sequence[int],
    on_event: OnEvent,
) -> tuple[Judge | None, str]:
    known = [n for n in usable if items[n].label]
    on_event(Event("stage", "learning to tell the labels apart", 0, 0))
    try:
        judge = learn_judge(
            small[known],
            [items[n].label for n in known],
            [folds[n] for n in known],
            seed=request.seed,
            on_step=lambda done, total: (
                on_event(Event("step", done=done, total=total)) if done % 10 == 0 else None
            ),
        )
    except BadOption as error:
        if request.judge == "on":
            raise
        on_event(Event("warning", f"no judge: {error}"))
        return None, Exception.__str__(error)
    few = [
        f"{label} ({len(held)})"
        for label, held in judge.held.items()
        if len(held) < patients_needed(request.alpha)
    ]
    if few:
        on_event(
            Event(
                "warning",
                f"too few real scans to refuse any variation at alpha {request.alpha:g}: {', '.join(few)}",
            )
        )
    return judge, ""


def _held_out(index: Index, request: AugmentSet) -> tuple[Item, ...]:
    other = "val" if request.split != "val" else "test"
    return () if request.split == "all" else of_split(index, other, allow_synthetic=request.allow_synthetic)


def _side(items: Sequence[Item]) -> int:
    sides = sorted(max(item.shape) for item in items)
    return min(LARGEST, max(SMALLEST, sides[len(sides) // 2]))


def _glances(
    index: Index,
    items: Sequence[Item],
    side: int,
    on_event: OnEvent,
    before: int,
    *,
    shape: torch.Size | None = None,
) -> tuple[Tensor, list[int]]:
    """(n, C, side, side), and which of them could be read and are of one kind: of this shape, else of that of
    most; the others stay black.
    """
    found: dict[int, Tensor] = {}
    for n, volume in loaded(index, items):
        if not isinstance(volume, str):  # else it fails again, and is named, when its turn comes
            found[n] = glance(volume, side)
        on_event(Event("step", done=before + n + 1))
    kinds = Counter(one.shape for one in found.values())
    most = shape or (kinds.most_common(1)[0][0] if kinds else torch.Size((1, side, side)))
    usable = [n for n, one in found.items() if one.shape == most]
    small = torch.zeros(len(items), *most)
    for n in usable:
        small[n] = found[n]
    return small, usable
