"""Joint priors: several channels of one patient on one grid, contrasts and a label map, through the same
doors as one image.

A label map is one channel a class, 1 where the class is and -1 elsewhere; background is where none is. With
one channel and a level for each class, the mean of two classes would look like the class between them at
every border. With a channel each, the mean of a channel is the probability of its class, and the order of the
numbers has no meaning. The card names them mask:1, mask:2, ...
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from ..data.axes import plane_of_codes, stacking_axis
from ..data.grids import on_grid_of
from ..data.labels import label_values
from ..data.volume import Provenance, Volume
from ..errors import BadOption, WrongKind, did_you_mean
from .admit import Admitted, admit, card_heights, on_card_axes, on_source_grid, resize, size_for
from .card import Card
from .denoiser import Condition

__all__ = [
    "MASK",
    "Part",
    "admit_parts",
    "is_joint",
    "label_map",
    "part_named",
    "part_volume",
    "parts",
    "synthetic_volume",
]

MASK = "mask"
"""The name of a label map; its channels are mask:1, mask:2, ... by the values of the map."""


@dataclass(frozen=True, slots=True)
class Part:
    """One thing that a joint prior knows. channels: their numbers on the card. classes: the values of a label
    map, () of an image.
    """

    name: str
    channels: tuple[int, ...]
    classes: tuple[int, ...] = ()


def parts(card: Card) -> tuple[Part, ...]:
    """What the channels of a card are, in their order: images, then the label map where there is one."""
    images = tuple(
        Part(name, (n,)) for n, name in enumerate(card.channels) if not name.startswith(f"{MASK}:")
    )
    of_mask = [n for n, name in enumerate(card.channels) if name.startswith(f"{MASK}:")]
    classes = tuple(int(card.channels[n].partition(":")[2]) for n in of_mask)
    return (*images, Part(MASK, tuple(of_mask), classes)) if of_mask else images


def is_joint(card: Card) -> bool:
    """Several things of one patient, each a file of its own; the channels of one file are not."""
    return len(parts(card)) > 1 and not all(name.startswith("channel_") for name in card.channels)


def part_named(card: Card, name: str) -> Part:
    """Raises BadOption with the nearest name."""
    known = {part.name: part for part in parts(card)}
    if not is_joint(card):
        raise BadOption(
            f"prior {card.name!r} knows one thing, {', '.join(known)}: nothing of it can be given",
            "train one on channels (docs/synthesize.md)",
        )
    if name not in known:
        raise BadOption(
            f"channel: {name!r} is not on the card of {card.name!r}, which has {', '.join(known)}",
            did_you_mean(name, list(known)),
        )
    return known[name]


def admit_parts(
    card: Card, volumes: Mapping[str, Volume], *, strict: bool = True, allow_other: bool = False
) -> tuple[Admitted, tuple[int, ...]]:
    """Some or all parts of one patient -> network units: their channels one after the other, and the numbers
    of these channels on the card.

    Each image is scaled by itself; a label map is moved by nearest neighbour. The door (turned, source) is
    that of the first one. strict: refuse classes that the card does not know; else they are background.
    Raises BadOption (unknown channel or class), WrongKind (grids that differ, and what ``admit`` raises).
    """
    doors: list[Admitted] = []
    kept: list[int] = []
    first = next(iter(volumes.values()))
    for name, volume in volumes.items():
        part = part_named(card, name)
        volume, fault = on_grid_of(first, volume)
        if fault:
            raise WrongKind(
                f"channel {name} {fault}",
                "resample it onto the grid of the others, a label map by nearest neighbour",
            )
        doors.append(
            _admit_mask(card, part, volume, strict)
            if part.classes
            else admit(replace(card, channels=(name,)), volume, allow_other=allow_other)
        )
        kept += part.channels
    return replace(doors[0], images=torch.cat([door.images for door in doors], dim=1)), tuple(kept)


def _admit_mask(card: Card, part: Part, volume: Volume, strict: bool) -> Admitted:
    """A label map in network units, one channel a class."""
    try:
        found = label_values(volume.data)
    except ValueError as error:
        raise WrongKind(f"the mask {error}", "round or threshold it first") from None
    unknown = [value for value in found if value and value not in part.classes]
    if unknown and strict:
        raise BadOption(
            f"mask: prior {card.name!r} knows the classes {', '.join(map(str, part.classes))}, this holds "
            f"{', '.join(map(str, unknown[:5]))}",
            "give its classes the numbers that the prior was trained with",
        )
    if volume.ndim < card.ndim:
        raise WrongKind(
            f"prior {card.name!r} is 3-D, this mask is an image", "give a mask of the whole volume"
        )
    turned = on_card_axes(card, volume)
    size = size_for(card, turned)
    hot = torch.stack([torch.from_numpy(turned.data[0] == value) for value in part.classes]).float()
    hot = hot.movedim(-1, 0) if card.ndim == 2 and turned.ndim == 3 else hot[None]
    images = 2 * F.interpolate(hot, size=size, mode="nearest-exact") - 1
    return Admitted(
        images,
        -1.0,
        1.0,
        Condition(numbers=card_heights(card, len(images), stack=turned.ndim == 3)),
        turned,
        volume,
    )


def label_map(classes: Sequence[int], x: Tensor) -> Tensor:
    """(B, classes, ...) in network units -> (B, ...): the value of the likeliest class, 0 where none is
    likelier than not.
    """
    best = x.max(dim=1)
    return torch.where(best.values > 0, torch.tensor(classes, device=x.device)[best.indices], 0)


def part_volume(card: Card, part: Part, door: Admitted, images: Tensor, sentence: str) -> Volume:
    """Channels of one part (B, c, i, j) or (1, c, i, j, k), as ``door.images`` has the others -> a Volume on
    the door's source's grid, marked synthetic.
    """
    fine = resize(images.cpu(), door.turned.shape[: images.ndim - 2])
    values = label_map(part.classes, fine)[:, None].float() if part.classes else _physical(card, fine)
    x = values.movedim(0, -1) if door.stack else values[0]
    out = on_source_grid(door, replace(door.turned, data=x.numpy().astype(np.float32)))
    made = replace(out, unit="label" if part.classes else card.unit, modality=card.modality)
    return replace(
        made,
        provenance=Provenance(format=door.source.provenance.format, axes_map=door.source.provenance.axes_map),
    ).noted(sentence, synthetic=True)


def synthetic_volume(card: Card, part: Part, image: Tensor, history: tuple[str, ...]) -> Volume:
    """(c, i, j[, k]) of one part, drawn from nothing -> a Volume, marked synthetic; where the prior knows how
    its scans lie, it lies so, around the origin.
    """
    values = label_map(part.classes, image[None]).float() if part.classes else _physical(card, image)
    unit, spacing = "label" if part.classes else card.unit, _spacing(card, image.ndim - 1)
    marks = Provenance(synthetic=True, history=history)
    data = values.numpy().astype(np.float32)
    if card.axes and spacing is not None and image.ndim == 4:
        codes = card.axes if card.ndim == 3 else card.axes + stacking_axis(plane_of_codes(card.axes))
        return Volume(data, _affine(codes, spacing, data.shape[1:]), unit, card.modality, provenance=marks)
    return Volume(data, None, unit, card.modality, spacing, marks)


def _spacing(card: Card, ndim: int) -> tuple[float, ...] | None:
    """mm, of an image or of a volume of slices; None where the card does not say it."""
    if card.spacing_mm is None or len(card.spacing_mm) == ndim:
        return card.spacing_mm
    through = card.data.get("through_mm")
    return None if through is None else (*card.spacing_mm, float(through))


def _affine(codes: str, spacing: tuple[float, ...], shape: tuple[int, ...]) -> NDArray[np.float64]:
    """The voxel in the middle is the origin."""
    affine = np.eye(4)
    affine[:3, :3] = 0
    for axis, (letter, length) in enumerate(zip(codes, spacing, strict=True)):
        row, sign = {"R": (0, 1), "L": (0, -1), "A": (1, 1), "P": (1, -1), "S": (2, 1), "I": (2, -1)}[letter]
        affine[row, axis] = sign * length
    affine[:3, 3] = -affine[:3, :3] @ ((np.array(shape) - 1) / 2)
    return affine


def _physical(card: Card, x: Tensor) -> Tensor:
    """Network units -> the card's, or 0..1 where its scans have no unit of their own."""
    low, high = (card.low, card.high) if card.scaling == "fixed" else (0.0, 1.0)
    return (x + 1) / 2 * (high - low) + low
