"""What a data set's scans have besides one image: channels that are learned together, a label map among them,
and numbers.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from ...data.volume import Volume
from ...errors import BadOption, WrongKind, nearest, printable
from ...io.dataset.scan import Index, Item
from ...prior import Card
from ...prior.admit import Admitted, admit
from ...prior.joint import MASK, admit_parts, is_joint, parts
from ...prior.numbers import HEIGHT, learned_range

__all__ = ["all_channels", "between_slices", "known_numbers", "lacking", "with_channels"]

MOST_CLASSES = 24
"""Of a label map: each is a channel of the network."""


def with_channels(card: Card, items: Sequence[Item], wanted: Sequence[str] | None) -> Card:
    """The card with the channels and the numbers that the items have.

    wanted: names of channels, the image's own among them; default all. Raises BadOption for one that no item
    has, WrongKind where only some of the items have it, or a mask has no or too many classes.
    """
    card = _with_numbers(card, items)
    own = items[0].called
    beside = [name for item in items for name, _ in item.beside]
    every: list[str] = list(
        dict.fromkeys([own, *beside, *([MASK] if any(item.mask for item in items) else [])])
    )
    for name in wanted or ():
        if name not in every:
            raise BadOption(
                f"channels: no scan has a channel {name!r}; there are {', '.join(every)}",
                nearest(name, every),
            )
    chosen = [name for name in every if wanted is None or name in wanted]
    if own not in chosen:
        raise BadOption(
            f"channels: {own!r} is the image itself and is always learned", f"--channels {own} --channels ..."
        )
    if chosen == [own]:
        return card if own == "image" or len(card.channels) > 1 else replace(card, channels=(own,))
    if len(card.channels) > 1:
        raise WrongKind(
            "the scans hold several channels in one file, and a scans.csv names more",
            "give each channel its own file and column",
        )
    images = [name for name in chosen if name != MASK]
    joint = replace(
        card,
        channels=(*images, *(f"{MASK}:{value}" for value in (_classes(items) if MASK in chosen else ()))),
    )
    for name in chosen:
        without = [item for item in items if name in lacking(joint, item)]
        if without:
            raise WrongKind(
                f"{len(without)} of {len(items)} scans have no {name}, the first is "
                f"{printable(without[0].path)}",
                "fill in its cell in scans.csv, or learn without it: --channels "
                f"{' --channels '.join(n for n in chosen if n != name)}",
            )
    return joint


def _classes(items: Sequence[Item]) -> tuple[int, ...]:
    classes = tuple(sorted({value for item in items for value in item.classes}))
    if not 1 <= len(classes) <= MOST_CLASSES:
        raise WrongKind(
            f"the masks of the scans hold {len(classes)} classes besides the background, wanted 1 to "
            f"{MOST_CLASSES}",
            "group them into few tissues first, or learn the image alone with --channels image",
        )
    return classes


def _with_numbers(card: Card, items: Sequence[Item]) -> Card:
    """Numbers of which at least one value is known, each with its range; what is known of nobody cannot be
    learned.
    """
    names = list(dict.fromkeys(name for item in items for name, _ in item.numbers))
    if HEIGHT in names:
        raise BadOption(
            f"number:{HEIGHT}: this name is taken: it says where a slice lies in its volume",
            "call the column number:body_height",
        )
    if not names:
        return card
    ranges = [
        learned_range([dict(item.numbers)[name] for item in items if name in dict(item.numbers)])
        for name in names
    ]
    return replace(
        card, numbers=(*card.numbers, *names), ranges=(*((-1.0, 1.0) for _ in card.numbers), *ranges)
    )


def lacking(card: Card, item: Item) -> list[str]:
    """The parts of a joint card that an item has not."""
    if not is_joint(card):
        return []
    has = {item.called, *(name for name, _ in item.beside), *([MASK] if item.mask else [])}
    return [part.name for part in parts(card) if part.name not in has]


def all_channels(
    card: Card, index: Index, item: Item, volume: Volume, *, allow_other: bool = False
) -> Admitted:
    """An item in network units with every channel of the card; classes that the card does not know are
    background.
    """
    if not is_joint(card):
        return admit(card, volume, allow_other=allow_other)
    others = {part.name: index.beside(item, part.name) for part in parts(card) if part.name != item.called}
    return admit_parts(card, {item.called: volume, **others}, strict=False)[0]


def known_numbers(card: Card, item: Item, heights: Tensor | None, n: int) -> Tensor:
    """(n, n_numbers): heights of the item's slices where the card knows them, and what the table says of the
    item; NaN = unknown.
    """
    numbers = torch.full((n, len(card.numbers)), torch.nan) if heights is None else heights.clone()
    said = dict(item.numbers)
    for at, name in enumerate(card.numbers):
        if name in said:
            low, high = card.ranges[at]
            numbers[:, at] = 2 * (said[name] - low) / (high - low) - 1
    return numbers


def between_slices(card: Card, index: Index, items: Sequence[Item]) -> dict[str, float | int | None]:
    """What a prior of slices cannot know of volumes, for its card: how many slices they have and how far
    apart (mm), and by how much neighbours differ.

    neighbours: root mean square over the body, network units, of images alone.
    """
    counts, apart, top, bottom = [], [], 0.0, 0
    for _, volume in index.volumes(items):
        door = admit(replace(card, channels=card.channels[:1]), volume)
        counts.append(len(door.images))
        body = (door.images[1:] > -0.9) | (door.images[:-1] > -0.9)
        top += float(door.images.diff(dim=0)[body].square().sum())
        bottom += int(body.sum())
        if door.turned.spacing_mm is not None:
            apart.append(door.turned.spacing_mm[2])
    middle = sorted(apart)[len(apart) // 2] if apart else None
    return {
        "slices": sorted(counts)[len(counts) // 2],
        "through_mm": middle,
        "neighbours": round((top / max(bottom, 1)) ** 0.5, 4),
    }
