"""The training set of a folder of scans: images in network units, the card that they have in common, channels
that are learned together (a label map among them), and numbers.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from ...data.axes import PLANES
from ...data.volume import Volume
from ...errors import BadOption, Corrupt, FileProblem, WrongKind, did_you_mean
from ...io.dataset.advice import advice, for_training
from ...io.dataset.index import LEAST_SIDE, digest_of
from ...io.dataset.pixels.twins import pixel_hash
from ...io.dataset.scan import Index, Item
from ...prior import Card
from ...prior.admit import Admitted, admit
from ...prior.joint import MASK, admit_parts, is_joint, parts
from ...prior.numbers import HEIGHT, guidable_columns, learned_range
from ...training.patch_moves import PatchMoves
from ...training.patches import StoredImages

__all__ = ["Dataset", "admitted", "asked_of", "card_for", "dataset", "moves_of"]

LARGEST = {2: 256, 3: 128}
"""Longest side of an image, and of a volume, that is learned from; a larger one is made coarser (its detail
is carried over when a job writes).
"""
HELD_OUT = {2: 64, 3: 4}
"""Most images, and volumes, behind the error table: a volume is evaluated whole."""
DISTINCT = 5
"""Values of a number from which on what lies between them means something: a field strength or a yes has
fewer.
"""
SAMPLED = 2**26
"""Pixels of all images from which their standard deviation is taken, about."""
SOLID = "RAS"
"""Axes of a 3-D prior."""
MOST_CLASSES = 24
"""Of a label map: each is a channel of the network."""
_AXES = {"axial": (1, 0), "coronal": (2, 0), "sagittal": (2, 1)}
"""Array axes of a plane's slices."""


@dataclass(frozen=True, slots=True)
class Dataset:
    """Images in network units. train, held: (C, i, j[, k]) each; labels: of train, -1 = none; numbers: (n,
    n_numbers) of train and of held, NaN = unknown. asked: as of ``Images``. notes: what a person should
    know of the data set.
    """

    card: Card
    train: Sequence[Tensor]
    labels: Tensor | None
    numbers: Tensor | None
    held: tuple[Tensor, ...]
    held_numbers: Tensor | None
    asked: tuple[tuple[int, float], ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def heights(self) -> Tensor | None:
        """(n,): where the slices of train lie in their volumes."""
        return (
            None
            if self.numbers is None or HEIGHT not in self.card.numbers
            else self.numbers[:, self.card.numbers.index(HEIGHT)]
        )


def dataset(
    index: Index,
    items: Sequence[Item],
    name: str,
    *,
    plane: str = "axial",
    ndim: int = 2,
    channels: Sequence[str] | None = None,
    allow_synthetic: bool = False,
    home: Path | None = None,
) -> Dataset:
    """The images of ``items`` and of the val split in network units, with a card that is inferred from them.

    channels: as in ``fit``. home: folder for images that are too many for the memory. Raises BadOption for a
    plane, ndim or channel that is not known, WrongKind for mixed scans, channels that only some of them have,
    or images where volumes are wanted.
    """
    if plane not in PLANES or ndim not in (2, 3):
        raise BadOption(
            f"plane, ndim: wanted one of {', '.join(PLANES)} and 2 or 3, got {plane!r} and {ndim}"
        )
    _check_sides(index, items, plane, ndim)
    card = with_channels(card_for(items, name, plane, ndim), items, channels)
    coarse = replace(card, frame=(64, LARGEST[card.ndim]))
    stored = None if home is None else StoredImages(home)
    train_images, labels, numbers = admitted(coarse, index, items, stored=stored)
    if not train_images:
        raise FileProblem(
            index.folder, "holds no slice with any content", "check the scans: all are constant"
        )
    held, held_numbers = _held(coarse, index, allow_synthetic=allow_synthetic)
    if card.ndim == 2 and len(items[0].shape) == 3:
        card = replace(card, data={**card.data, **between_slices(card, index, _spaced(items, 24))})
    sides = [s for x in train_images for s in x.shape[1:]]
    some = min(4096, 1 + SAMPLED // len(train_images))
    pixels = torch.cat([x.flatten()[:: max(1, x.numel() // some)] for x in train_images])
    typical = Counter(tuple(x.shape[1:]) for x in train_images).most_common(1)[0][0]
    card = replace(
        card,
        sigma_data=round(float(pixels.std()), 4),
        frame=(min(64, min(sides)), max(sides)),
        data={**card.data, "images": len(train_images), "shape": list(typical)},
    )
    return Dataset(
        card,
        train_images,
        torch.tensor(labels) if card.labels else None,
        torch.stack(numbers) if card.numbers else None,
        tuple(held),
        torch.stack(held_numbers) if card.numbers and held else None,
        asked_of(card, items),
        (*advice(index), *for_training(index), *_where(stored)),
    )


def _held(card: Card, index: Index, *, allow_synthetic: bool) -> tuple[list[Tensor], list[Tensor]]:
    """Images of the val split and their numbers, none where there is none."""
    if not any(item.split == "val" and not item.leaks for item in index.items):
        return [], []
    most = HELD_OUT[card.ndim]
    usable = index.usable("val", allow_synthetic=allow_synthetic)
    others = [item for item in usable if not missing_parts(card, item)]
    held, _, numbers = admitted(card, index, _spaced(others, most))
    keep = np.linspace(0, len(held) - 1, min(most, len(held))).round().astype(int) if held else []
    return [held[i] for i in keep], [numbers[i] for i in keep]


def _where(stored: StoredImages | None) -> tuple[str, ...]:
    if stored is None or not stored.on_disk:
        return ()
    return (f"the images take {stored.size / 1e9:.3g} GB, too much for the memory: they are read from disk",)


def _check_sides(index: Index, items: Sequence[Item], plane: str, ndim: int) -> None:
    """Raises FileProblem for a scan whose slices, or which itself, are too small for a network."""
    for item in items:
        axes = _AXES[plane] if ndim == 2 and len(item.shape) == 3 else range(len(item.shape))
        sides = [item.shape[axis] for axis in axes]
        what = "is" if len(sides) == len(item.shape) else f"has {plane} slices of"
        other = "choose another plane (--plane)" if ndim == 2 else "learn from its slices (--ndim 2)"
        _check_size(index.folder / item.path, what, sides, other if len(item.shape) == 3 else "")


def _check_size(path: Path, what: str, sides: Sequence[int], other: str) -> None:
    if min(sides) < LEAST_SIDE:
        size = " x ".join(map(str, sides))
        raise FileProblem(
            path,
            f"{what} {size}: too small for a network, which wants {LEAST_SIDE} a side",
            f"leave it out, or {other}" if other else "leave it out",
        )


def _spaced(items: Sequence[Item], most: int) -> list[Item]:
    """At most so many of the items, evenly spaced."""
    return [items[i] for i in np.linspace(0, len(items) - 1, min(most, len(items))).round().astype(int)]


def card_for(items: Sequence[Item], name: str, plane: str, ndim: int = 2) -> Card:
    """What the scans have in common: modality, unit, channels, labels, spacing. Raises WrongKind where they
    are of several kinds.
    """
    for what in ("modality", "unit", "channels"):
        found = Counter(getattr(item, what) for item in items)
        if len(found) > 1:
            counts = ", ".join(f"{value or 'unknown'} {n}" for value, n in found.most_common())
            raise WrongKind(
                f"the data set mixes scans of different {what}: {counts}",
                "train one prior a kind, or state --unit and --modality for files that cannot say",
            )
    first = items[0]
    volumes = any(len(item.shape) == 3 for item in items)
    if volumes and not all(len(item.shape) == 3 for item in items):
        raise WrongKind("the data set mixes images and volumes", "train one prior a kind")
    if ndim == 3 and not volumes:
        raise WrongKind(
            "the data set holds images, and a 3-D prior learns from volumes",
            "leave out ndim=3, or give volumes (DICOM series, NIfTI)",
        )
    scaling = {"HU": "fixed"}.get(first.unit) or ("foreground" if first.modality == "MR" else "range")
    low, high = (-1024.0, 1024.0) if scaling == "fixed" else (0.0, 1.0)
    labels = tuple(sorted({item.label for item in items} - {""}))
    patients = {item.patient for item in items if item.patient}
    digest = digest_of(items)
    return Card(
        name=name,
        modality=first.modality,
        unit=first.unit,
        channels=("image",) if first.channels == 1 else tuple(f"channel_{n}" for n in range(first.channels)),
        scaling=scaling,
        low=low,
        high=high,
        quantiles=(0.0, 0.99) if scaling == "foreground" else (0.005, 0.995),
        axes=SOLID if ndim == 3 else PLANES[plane] if volumes else "",
        spacing_mm=_median_spacing(items, plane, ndim) if volumes else None,
        labels=labels if len(labels) > 1 else (),
        numbers=(HEIGHT,) if volumes and ndim == 2 else (),
        ndim=ndim,
        data={
            "scans": len(items),
            "patients": len(patients) or None,
            "sha256": digest,
            "labels": dict(Counter(item.label for item in items if item.label)),
        },
        limits=(
            "research use only, not for diagnosis",
            f"learned from {len(items)} scans; what they do not show, the prior does not know",
        ),
    )


def _median_spacing(items: Sequence[Item], plane: str, ndim: int = 2) -> tuple[float, ...] | None:
    """Voxel size that most scans are near to, mm, of a plane or of all axes; None when nobody knows. Arrays
    are near RAS: axes are known by number.

    Of a 3-D prior it is made coarser where the longest side would pass what is learned from.
    """
    axes = _AXES[plane] if ndim == 2 else (0, 1, 2)
    known = [item.spacing_mm for item in items if item.spacing_mm is not None and len(item.spacing_mm) == 3]
    if not known:
        return None
    middle = np.median(np.array(known), axis=0)
    sides = np.array(
        [
            np.array(item.shape) * item.spacing_mm
            for item in items
            if item.spacing_mm is not None and len(item.spacing_mm) == 3
        ]
    )
    coarser = 1.0 if ndim == 2 else max(1.0, float((sides.max(0) / middle).max()) / LARGEST[3])
    return tuple(round(float(middle[axis]) * coarser, 4) for axis in axes)


def admitted(
    card: Card,
    index: Index,
    items: Sequence[Item],
    *,
    allow_other: bool = False,
    stored: StoredImages | None = None,
) -> tuple[Sequence[Tensor], list[int], list[Tensor]]:
    """Every slice with content, or every volume, its label (-1 = none) and its numbers (n_numbers,), NaN =
    unknown. stored: gets the images. Raises what the door raises, and FileProblem for what is too small for a
    network.
    """
    images: list[Tensor] | StoredImages = [] if stored is None else stored
    classes: list[int] = []
    numbers: list[Tensor] = []
    seen = [n for part in parts(card) if not part.classes for n in part.channels]
    for item, volume in index.volumes(items):
        if pixel_hash(volume) != item.digest:  # else the card would vouch for other pixels than were learned
            raise Corrupt(
                index.folder / item.path,
                "has changed since the scans were indexed",
                "run the same command again",
            )
        inside = all_channels(card, index, item, volume, allow_other=allow_other)
        what = "shows this prior slices of" if card.ndim < volume.ndim else "is to this prior"
        _check_size(index.folder / item.path, what, inside.images.shape[2:], "")
        known = known_numbers(card, item, inside.condition.numbers, len(inside.images))
        for n, image in enumerate(inside.images):
            if volume.ndim == 3 and card.ndim == 2 and float((image[seen] > -0.9).float().mean()) < 0.05:
                continue  # air above the head teaches nothing
            images.append(image.clone())
            classes.append(card.labels.index(item.label) if item.label in card.labels else -1)
            numbers.append(known[n])
    return images, classes, numbers


def moves_of(card: Card) -> PatchMoves:
    """Mirrored from side to side: along the columns of a picture, in scans along the axis from right to left,
    where there is one.
    """
    sides = [axis for axis, points in enumerate(card.axes) if points in "RL"]
    mirror = sides[0] if sides else None if card.axes else card.ndim - 1
    return PatchMoves(
        mirror=mirror, maps=tuple(c for part in parts(card) if part.classes for c in part.channels)
    )


def asked_of(card: Card, items: Sequence[Item]) -> tuple[tuple[int, float], ...]:
    """(column, standard deviation) of the numbers that may be chosen when the prior draws.

    A training adds noise of this standard deviation, in network units, to them: the bandwidth of a kernel
    density of the patients' values (Silverman 1986, eq. 3.31). So ages between those of few patients are
    learned from all of them. A number with fewer than ``DISTINCT`` values gets no noise.
    """
    found = []
    for column in guidable_columns(card, card.numbers):
        name, (low, high) = card.numbers[column], card.ranges[column]
        by_patient = {item.owner: dict(item.numbers)[name] for item in items if name in dict(item.numbers)}
        values = np.array(list(by_patient.values()))
        spread = min(values.std(), float(np.subtract(*np.quantile(values, (0.75, 0.25)))) / 1.34)
        error = 0.9 * spread * len(values) ** -0.2 * 2 / (high - low)
        found.append((column, float(error) if len(set(values)) >= DISTINCT else 0.0))
    return tuple(found)


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
                did_you_mean(name, every),
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
        without = [item for item in items if name in missing_parts(joint, item)]
        if without:
            raise WrongKind(
                f"{len(without)} of {len(items)} scans have no {name}, the first is {without[0].path}",
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


def missing_parts(card: Card, item: Item) -> list[str]:
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
