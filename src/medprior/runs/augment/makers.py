"""Who makes the images of an augmented data set: a prior from scans, a prior from nothing, or classical
transforms. Each has one method, ``make``.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

from ...augmentation import Policy, vary_volume
from ...data.plain import JsonObject
from ...data.seeds import generator, seed_for
from ...data.volume import Volume
from ...errors import cause
from ...io.dataset.scan import Index, Item
from ...jobs.augment import EVALUATIONS, VariationRequest, vary
from ...jobs.synthetic.synthesize import default_size, synthesize
from ...prior import Prior
from ..ask.requests import AugmentSet
from ..core.cost import LONG, announce, words
from ..core.progress import Event, OnEvent
from ..synthesize.run import EVALUATIONS as FROM_NOISE
from .tickets import Ticket

__all__ = ["ByPrior", "ByTransforms", "FromNoise", "Made", "Maker"]


@dataclass(frozen=True, slots=True)
class Made:
    """image, and with classical transforms its mask and the record that makes it again. like: the scan it was
    made of; window: of a picture without one.
    """

    image: Volume
    like: Volume | None = None
    mask: Volume | None = None
    like_mask: Volume | None = None
    record: JsonObject | None = None
    window: tuple[float, float] | None = None


class Maker(Protocol):
    """attempt: 0, then 1 and so on for those that were refused. A ticket that cannot be served gets its
    reason instead of an image.
    """

    def make(
        self, tickets: Sequence[Ticket], volumes: Mapping[int, Volume], attempt: int
    ) -> list[Made | str]: ...

    def announce(self, tickets: Sequence[Ticket], first: Volume | None, on_event: OnEvent) -> None:
        """Say what these will take. first: the scan of the first of them."""
        ...


class ByPrior:
    """Variations at the request's strength; conditioned on a scan's own label where the prior knows it."""

    def __init__(self, request: AugmentSet, prior: Prior, items: Sequence[Item]) -> None:
        self.request, self.prior, self.items = request, prior, items

    def make(
        self, tickets: Sequence[Ticket], volumes: Mapping[int, Volume], attempt: int
    ) -> list[Made | str]:
        found: list[Made | str] = [""] * len(tickets)
        wanted: dict[int, VariationRequest] = {}
        admitted: dict[int, Any] = {}
        for n, ticket in enumerate(tickets):
            at = ticket.source or 0
            try:
                if at not in admitted:
                    admitted[at] = self.prior.admit(volumes[at], allow_other=self.request.allow_other)
                wanted[n] = VariationRequest(
                    admitted[at], self._rng(ticket, attempt), self._sentence(ticket), self._label(ticket)
                )
            except Exception as error:  # one bad scan costs itself alone, whatever is wrong with it
                found[n] = cause(error)
        for n, image in zip(wanted, self._varied(list(wanted.values()), tickets, attempt), strict=True):
            found[n] = image if isinstance(image, str) else Made(image, like=volumes[tickets[n].source or 0])
        return found

    def announce(self, tickets: Sequence[Ticket], first: Volume | None, on_event: OnEvent) -> None:
        if first is not None:
            images = self.prior.admit(first, allow_other=self.request.allow_other).images
            announce(self.prior, len(images) * len(tickets), tuple(images.shape[2:]), EVALUATIONS, on_event)

    def _varied(
        self, wanted: list[VariationRequest], tickets: Sequence[Ticket], attempt: int
    ) -> list[Volume | str]:
        try:
            return [*vary(self.prior, wanted, strength=self.request.strength, guidance=self.request.guidance)]
        except Exception as error:  # which of them it was is seen one by one
            if len(wanted) == 1:
                return [cause(error)]
        alone = []
        for one in wanted:
            fresh = replace(one, rng=one.rng.manual_seed(one.rng.initial_seed()))
            alone += self._varied([fresh], tickets, attempt)
        return alone

    def _rng(self, ticket: Ticket, attempt: int) -> Any:
        return generator(
            self.request.seed, "augment set", self.items[ticket.source or 0].digest, ticket.nth, attempt
        )

    def _label(self, ticket: Ticket) -> str | None:
        return ticket.label if ticket.label in self.prior.card.labels else None

    def _sentence(self, ticket: Ticket) -> str:
        label = self._label(ticket)
        asked = f", label {label}" if label is not None else ""
        return (
            f"varied by medprior: prior {self.prior.card.name}, strength {self.request.strength}{asked}, "
            f"seed {self.request.seed}, number {ticket.nth}"
        )


class FromNoise:
    """New images of the prior's labels, at the size that it was trained to show."""

    def __init__(self, request: AugmentSet, prior: Prior) -> None:
        self.request, self.prior = request, prior

    def make(
        self, tickets: Sequence[Ticket], volumes: Mapping[int, Volume], attempt: int
    ) -> list[Made | str]:
        card, label = self.prior.card, tickets[0].label
        seed = seed_for(self.request.seed, "fill", label, tickets[0].nth, attempt)
        try:
            made = synthesize(
                self.prior,
                n=len(tickets),
                label=label,
                seed=seed,
                size=default_size(self.prior),
                guidance=self.request.guidance,
            )
        except Exception as error:
            return [cause(error)] * len(tickets)
        window = (card.low, card.high) if card.scaling == "fixed" else (0.0, 1.0)
        return [Made(image, window=window) for image in made]

    def announce(self, tickets: Sequence[Ticket], first: Volume | None, on_event: OnEvent) -> None:
        announce(self.prior, len(tickets), default_size(self.prior), FROM_NOISE, on_event)


class ByTransforms:
    """Classical transforms by the policy of each scan's modality, unit and label; masks move along."""

    def __init__(
        self, request: AugmentSet, stated: Mapping[str, Any], index: Index, items: Sequence[Item]
    ) -> None:
        self.request, self.stated, self.index, self.items = request, stated, index, items

    def policy(self, volume: Volume, label: str) -> Policy:
        """What the file of the request says, over what the scan says itself."""
        return Policy.from_dict(
            {
                "modality": volume.modality,
                "unit": volume.unit,
                **({"label": label} if label else {}),
                **self.stated,
            }
        )

    def make(
        self, tickets: Sequence[Ticket], volumes: Mapping[int, Volume], attempt: int
    ) -> list[Made | str]:
        found: list[Made | str] = []
        masks: dict[int, Volume | None] = {}
        for ticket in tickets:
            at = ticket.source or 0
            try:
                if at not in masks:
                    masks[at] = self.index.mask(self.items[at])
                found.append(self._one(ticket, volumes[at], masks[at], attempt))
            except Exception as error:
                found.append(cause(error))
        return found

    def announce(self, tickets: Sequence[Ticket], first: Volume | None, on_event: OnEvent) -> None:
        if first is not None:
            began = time.monotonic()
            self._one(tickets[0], first, None, 0)
            seconds = (time.monotonic() - began) * len(tickets)
            text = f"about {words(seconds)}: {len(tickets)} images at the pace of the first"
            on_event(Event("cost" if seconds >= LONG else "note", text))

    def _one(self, ticket: Ticket, volume: Volume, mask: Volume | None, attempt: int) -> Made:
        item = int(self.items[ticket.source or 0].digest[:12], 16)
        one = vary_volume(
            volume,
            self.policy(volume, ticket.label),
            self.request.seed,
            item,
            ticket.nth,
            attempt,
            masks=[] if mask is None else [mask],
        )
        return Made(one.image, volume, one.masks[0] if mask is not None else None, mask, one.record.as_dict())
