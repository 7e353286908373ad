"""Numbers that a prior can be told of an image (age, dose, ...): from the user's scale to the network's and
back.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence

import torch
from torch import Tensor

from ..errors import BadOption, did_you_mean
from .card import Card

__all__ = ["HEIGHT", "encode_numbers", "guidable_columns", "learned_range", "range_of", "with_drawn_heights"]

HEIGHT = "height"
"""Where a slice lies in its volume, -1 (first) to 1 (last): known without being asked for."""

_BEYOND = 0.5
"""A number may lie so many half ranges outside of what was learned."""


def range_of(card: Card, name: str) -> tuple[float, float]:
    """The values at -1 and 1 of the network. Raises BadOption with the nearest name."""
    if name not in card.numbers:
        known = list(card.numbers)
        raise BadOption(
            f"number: {name!r} is not on the card of {card.name!r}",
            did_you_mean(name, known) if known else "this prior was trained without numbers (docs/train.md)",
        )
    at = card.numbers.index(name)
    return card.ranges[at] if card.ranges else (-1.0, 1.0)


def learned_range(values: Sequence[float]) -> tuple[float, float]:
    """Mean -+ 2 standard deviations of what is known (NaN is not): no patient's own value is kept. Of one
    value only, 1 to both sides.
    """
    known = [v for v in values if math.isfinite(v)]
    mean = sum(known) / len(known)
    spread = 2 * math.sqrt(sum((v - mean) ** 2 for v in known) / len(known)) or 1.0
    return float(f"{mean - spread:.4g}"), float(f"{mean + spread:.4g}")


def guidable_columns(card: Card, names: Collection[str]) -> tuple[int, ...]:
    """Columns of what is asked for, which guidance may exaggerate; where a slice lies is no property of a
    patient.
    """
    return tuple(n for n, name in enumerate(card.numbers) if name in names and name != HEIGHT)


def with_drawn_heights(card: Card, numbers: Tensor, rng: torch.Generator) -> Tensor:
    """(n, n_numbers) -> the same, with a height between -0.6 and 0.6 drawn for each slice whose height is
    unknown.
    """
    if HEIGHT not in card.numbers:
        return numbers
    at = card.numbers.index(HEIGHT)
    drawn = torch.rand(len(numbers), generator=rng) * 1.2 - 0.6
    numbers = numbers.clone()
    numbers[:, at] = torch.where(numbers[:, at].isnan(), drawn, numbers[:, at])
    return numbers


def encode_numbers(card: Card, values: Mapping[str, Sequence[float]], n: int) -> Tensor | None:
    """(n, n_numbers) in the card's order and scale, NaN where nothing is said; None for a card without
    numbers.

    values: n of each name, NaN = unknown. Raises BadOption for a name that is not on the card, or a value far
    outside of what was learned.
    """
    for name, given in values.items():
        low, high = range_of(card, name)
        room = _BEYOND * (high - low) / 2
        wrong = [v for v in given if math.isfinite(v) and not low - room <= v <= high + room]
        if wrong:
            raise BadOption(
                f"{name}: the prior has learned about {low:g} to {high:g}, got {wrong[0]:g}",
                "choose a value inside this range; the prior was not trained outside it",
            )
    if not card.numbers:
        return None
    numbers = torch.full((n, len(card.numbers)), torch.nan)
    for name, given in values.items():
        low, high = range_of(card, name)
        numbers[:, card.numbers.index(name)] = torch.tensor([2 * (v - low) / (high - low) - 1 for v in given])
    return numbers
