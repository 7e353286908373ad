"""What the augmentation of a data set makes, in which order: a list of tickets, exact before anything is
drawn.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch

from ...data.seeds import generator
from ...errors import BadOption
from ...io.dataset.scan import Item
from ..ask.requests import AugmentSet

__all__ = ["BATCH", "ROUNDS", "Ticket", "batches", "lacking", "planned", "spread"]

BATCH = 16
"""Images that are made side by side, and all that memory holds at a time; of volumes one."""

ROUNDS = 3
"""How often --fill asks again, other scans of the label among them, for what was refused too often."""


@dataclass(frozen=True, slots=True)
class Ticket:
    """One image to be made. source: which of the chosen scans, from 0, or None for one from nothing but
    noise; nth: its how manieth.
    """

    source: int | None
    label: str
    nth: int


def lacking(request: AugmentSet, items: Sequence[Item]) -> dict[str, int]:
    """label -> how many images it lacks. Raises BadOption where no scan has a label, or nothing is
    lacking.
    """
    have = Counter(item.label for item in items if item.label)
    if not have:
        raise BadOption(
            "fill: no scan of this data set has a label",
            "sub-folders are labels, or the column label of a scans.csv; or give --n",
        )
    wanted = max(have.values()) if request.fill == "balanced" else int(request.fill or 0)
    lack = {label: max(0, wanted - n) for label, n in sorted(have.items())}
    if not any(lack.values()):
        raise BadOption(
            f"fill: every label has {min(have.values())} scans or more already, wanted {wanted}",
            "ask for more, or give --n",
        )
    return lack


def planned(request: AugmentSet, items: Sequence[Item]) -> list[Ticket]:
    """The first round: n of each scan, or what each label lacks."""
    if request.fill is None:
        return [Ticket(at, item.label, nth) for at, item in enumerate(items) for nth in range(request.n)]
    return spread(request, items, lacking(request, items), Counter(), turn=0)


def spread(
    request: AugmentSet,
    items: Sequence[Item],
    lack: Mapping[str, int],
    used: Counter[tuple[int | None, str]],
    *,
    turn: int,
) -> list[Ticket]:
    """So many of each label, as evenly over its scans as they go; which of them give one more is drawn. used:
    images asked for so far, by source and label.
    """
    tickets = []
    for label, n in lack.items():
        if request.fill_by == "synthesis":
            first = used[None, label]
            tickets += [Ticket(None, label, first + k) for k in range(n)]
            continue
        own = [at for at, item in enumerate(items) if item.label == label]
        if not own:
            continue
        more = torch.randperm(len(own), generator=generator(request.seed, "fill", label, turn)).tolist()[
            : n % len(own)
        ]
        for k, at in enumerate(own):
            first = used[at, label]
            tickets += [Ticket(at, label, first + j) for j in range(n // len(own) + (k in more))]
    return tickets


def batches(tickets: Sequence[Ticket], items: Sequence[Item]) -> list[list[Ticket]]:
    """Neighbours together, at most BATCH images; a volume alone."""
    found: list[list[Ticket]] = []
    for ticket in tickets:
        solid = ticket.source is not None and len(items[ticket.source].shape) == 3
        new = (
            not found
            or solid
            or len(found[-1]) == BATCH
            or _kind(found[-1][-1]) != _kind(ticket)
            or (found and _solid(found[-1][-1], items))
        )
        if new:
            found.append([])
        found[-1].append(ticket)
    return found


def _kind(ticket: Ticket) -> str:
    """Images from noise are drawn of one label at a time."""
    return f"new {ticket.label}" if ticket.source is None else ""


def _solid(ticket: Ticket, items: Sequence[Item]) -> bool:
    return ticket.source is not None and len(items[ticket.source].shape) == 3
