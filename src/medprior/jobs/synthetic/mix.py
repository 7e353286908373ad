"""What a set of synthetic images is made of: how many of each label, and which numbers; kept to the image,
and written down.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch

from ...data.seeds import generator
from ...errors import BadOption, did_you_mean
from ...prior import Card
from ...prior.numbers import range_of

__all__ = ["Mix", "apportion", "plan_mix"]


@dataclass(frozen=True, slots=True)
class Mix:
    """labels: of each image, in blocks, None = any. numbers: of each image, by name. counts: what was asked
    for and kept, by label, and by number and range.
    """

    labels: tuple[str | None, ...]
    numbers: Mapping[str, tuple[float, ...]]
    counts: Mapping[str, Mapping[str, int]]

    def blocks(self) -> list[tuple[str | None, list[int]]]:
        """Each label with the images that have it."""
        found: dict[str | None, list[int]] = {}
        for at, label in enumerate(self.labels):
            found.setdefault(label, []).append(at)
        return list(found.items())


def plan_mix(
    card: Card,
    *,
    n: int | None,
    label: str | None = None,
    mix: str | None = None,
    numbers: Sequence[str] = (),
    seed: int = 0,
    default: int = 16,
) -> Mix:
    """What each image of a set is asked to be.

    mix: "normal=0.5,pneumonia=0.5" (shares), "normal=10,pneumonia=30" (counts) or "balanced" (all labels of
    the card alike). numbers: "age=60", or shares of ranges, "age=20..40:0.5,60..80:0.5", within which values
    are evenly spaced. n: how many, None = ``default``, or the sum of the counts. Shares are rounded by
    largest remainders, so that they are off by less than one image. Which image gets which number is drawn
    from the seed, so that label and numbers, and the numbers among each other, are independent. Raises
    BadOption.
    """
    if mix is not None and label is not None:
        raise BadOption("label, mix: wanted one of them, got both", "a mix names its labels")
    names: list[str | None] = [label]
    counts: dict[str, dict[str, int]] = {}
    if mix is not None:
        shares = _balanced(card) if mix.strip() == "balanced" else _pairs("mix", mix, "=")
        for name in shares:
            if name not in card.labels:
                known = list(card.labels)
                raise BadOption(
                    f"mix: {name!r} is no label of {card.name!r}",
                    did_you_mean(name, known) if known else "this prior has no labels",
                )
        kept = _kept("mix", shares, n, default)
        counts["label"] = kept
        names = [name for name, count in kept.items() for _ in range(count)]
    total = len(names) if mix is not None else n or default
    names = names if mix is not None else [label] * total
    values: dict[str, tuple[float, ...]] = {}
    for said in numbers:
        name, equals, text = said.partition("=")
        name = name.strip()
        if not equals or not text.strip() or name in values:
            raise BadOption(
                f"number: wanted NAME=VALUE once for each name, got {said!r}",
                "e.g. age=60, or age=20..40:0.5,60..80:0.5",
            )
        range_of(card, name)
        kept = _kept(f"number {name}", _ranges(name, text), total, total)
        counts[name] = kept
        line = [value for span, count in kept.items() for value in _spaced(name, span, count)]
        order = (
            torch.randperm(total, generator=generator(seed, "mix", name)).tolist()
            if len(set(line)) > 1
            else range(total)
        )
        values[name] = tuple(line[at] for at in order)
    return Mix(tuple(names), values, counts)


def _balanced(card: Card) -> dict[str, float]:
    if not card.labels:
        raise BadOption(f"mix: prior {card.name!r} has no labels to balance", "leave --mix out")
    return dict.fromkeys(card.labels, 1 / len(card.labels))


def _pairs(what: str, text: str, mark: str) -> dict[str, float]:
    """NAME=NUMBER, ...: a label may hold the mark itself, so the last one counts."""
    found: dict[str, float] = {}
    for piece in text.split(","):
        name, equals, number = (part.strip() for part in piece.rpartition(mark))
        try:
            value = float(number)
        except ValueError:
            value = math.nan
        if not equals or not name or name in found or not (math.isfinite(value) and value >= 0):
            raise BadOption(
                f"{what}: wanted NAME{mark}SHARE for each, once, got {piece!r}",
                "e.g. normal=0.5,pneumonia=0.5, or counts, or balanced",
            )
        found[name] = value
    return found


def _ranges(name: str, text: str) -> dict[str, float]:
    """One value or range is all of it."""
    return _pairs(f"number {name}", text, ":") if ":" in text else {text.strip(): 1.0}


def _spaced(name: str, span: str, count: int) -> list[float]:
    """``count`` values of "60" or "20..40"."""
    low, dots, high = span.partition("..")
    try:
        a, b = float(low), float(high) if dots else float(low)
    except ValueError:
        a = b = math.nan
    if not (math.isfinite(a) and math.isfinite(b) and a <= b):
        raise BadOption(
            f"number {name}: wanted a value or a range LOW..HIGH, got {span!r}", "e.g. 60, or 20..40"
        )
    return [a + (b - a) * (i + 0.5) / count for i in range(count)]


def apportion(shares: Mapping[str, float], n: int) -> dict[str, int]:
    """Shares that sum to 1 -> counts that sum to n, each off by less than one (largest remainders)."""
    whole = {name: math.floor(share * n + 1e-9) for name, share in shares.items()}
    left = sorted(shares, key=lambda name: whole[name] - shares[name] * n)[: n - sum(whole.values())]
    return {name: count + (name in left) for name, count in whole.items()}


def _kept(what: str, shares: Mapping[str, float], n: int | None, default: int) -> dict[str, int]:
    """Shares that sum to 1, or whole counts -> counts that sum to n."""
    total = sum(shares.values())
    if abs(total - 1) < 1e-6:
        return apportion(shares, n or default)
    if any(share != int(share) for share in shares.values()) or total < 1:
        raise BadOption(f"{what}: wanted shares that sum to 1, or whole counts, got a sum of {total:g}")
    if n is not None and n != int(total):
        raise BadOption(f"{what}: the counts sum to {total:g}, and n is {n}", "leave --n out, or give shares")
    return {name: int(count) for name, count in shares.items()}
