"""What a prior is adapted to: a few scans and gentle variations of them, beside what it knew already, all in
the parent's network units.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from ...augmentation import Frame, Policy, apply_record, draw_record
from ...data.seeds import generator
from ...errors import BadOption, WrongKind
from ...io.dataset.advice import advice
from ...io.dataset.index import digest_of, private
from ...io.dataset.scan import Index, Item, load_index, scan
from ...io.disk.files import load_weights, save_weights
from ...prior import Card, Prior
from ...prior.admit import same_modality
from ..synthetic.synthesize import Drawing, draw_images
from .options import Adaptation
from .training_set import HELD_OUT, admitted

__all__ = [
    "LabelledImages",
    "Newcomers",
    "gentle_policy",
    "gentle_variations",
    "known_of",
    "load_images",
    "newcomers",
    "replay_draws",
    "store",
]

HOLD_FROM = 8
"""Scans from which some are held out of the tuning to tell when it has learned enough; fewer are all needed
to learn from.
"""
HELD = 0.2
COPIES = 15
"""Variations of each image; fewer where they would not fit into ``ROOM`` bytes."""
ROOM = 2**28
GENTLE = 1 / 3
"""Share of a policy's range. A classifier must bear what a generative prior would learn to draw."""
SPATIAL = ("rotate", "scale", "shift")
UNKNOWN = 1e30
"""Stands for an unknown number in a file, which holds no NaN."""
MOST = {2: 512, 3: 16}
"""Most images, and volumes, of a replay folder that are kept in memory."""


@dataclass(frozen=True, slots=True)
class LabelledImages:
    """Images in network units, (C, i, j[, k]) each; labels: index on the child's card, -1 = unknown; numbers:
    (n_numbers,) each, NaN = unknown.
    """

    images: tuple[Tensor, ...] = ()
    labels: tuple[int, ...] = ()
    numbers: tuple[Tensor, ...] = ()

    def __len__(self) -> int:
        return len(self.images)

    def __add__(self, other: LabelledImages) -> LabelledImages:
        return LabelledImages(
            self.images + other.images, self.labels + other.labels, self.numbers + other.numbers
        )

    def some(self, which: Sequence[int]) -> LabelledImages:
        """Those with these numbers."""
        return LabelledImages(
            tuple(self.images[i] for i in which),
            tuple(self.labels[i] for i in which),
            tuple(self.numbers[i] for i in which),
        )

    def known(self, card: Card) -> tuple[Tensor | None, Tensor | None]:
        """Labels (n,) and numbers (n, n_numbers) as conditions for a prior of this card."""
        labels = torch.tensor(self.labels) if card.labels else None
        return labels, torch.stack(self.numbers) if card.numbers else None


@dataclass(frozen=True, slots=True)
class Newcomers:
    """learn, held: the few scans that are learned from, and those that tell how well. labels: new ones, in
    order. others: why a scan should not be here.

    scans, patients, counts: of all of them, held ones, too. sha256: of those that are learned from, by which
    an audit knows them again. notes: what a person should know of the folder.
    """

    learn: LabelledImages
    held: LabelledImages
    labels: tuple[str, ...]
    others: tuple[str, ...]
    scans: int
    patients: int | None
    counts: dict[str, int]
    sha256: str
    notes: tuple[str, ...] = ()


def newcomers(card: Card, index: Index, options: Adaptation) -> Newcomers:
    """The scans of an index as a prior of this card sees them. A val split that the folder states is held
    out, else a share ``hold`` where there are at least ``HOLD_FROM`` scans, by patient; a test split that it
    states is not opened.

    Raises FileProblem (nothing usable), WrongKind (synthetic; or what ``admit`` refuses: another modality,
    unit, channels or dimensions), BadOption.
    """
    items = [
        item
        for item in index.usable(allow_synthetic=options.allow_synthetic)
        if not (item.given and item.split == "test")
    ]
    if not items:
        raise BadOption(
            "adapt: the folder states a test split and nothing else",
            "put what shall be learned into train, or state no split",
        )
    labels = tuple(
        label for label in sorted({item.label for item in items} - {""}) if label not in card.labels
    )
    child = replace(card, labels=(*card.labels, *labels))
    learn, held = _parted(items, options.hold, options.seed)
    patients = {item.patient for item in items if item.patient}
    return Newcomers(
        _shown(child, index, learn, options.allow_other),
        _shown(child, index, held, options.allow_other),
        labels,
        tuple(sorted(_others(card, items))),
        len(items),
        len(patients) or None,
        dict(Counter(item.label for item in items if item.label)),
        digest_of(learn),
        advice(index),
    )


def _others(card: Card, items: Sequence[Item]) -> set[str]:
    """What --allow-other lets pass, for the record."""
    modalities = {
        item.modality
        for item in items
        if item.modality and card.modality and not same_modality(item.modality, card.modality)
    }
    units = {item.unit for item in items if item.unit != card.unit}
    return {f"modality {found}, the prior's is {card.modality}" for found in modalities} | {
        f"unit {found}, the prior's is {card.unit}" for found in units
    }


def _parted(items: Sequence[Item], hold: float, seed: int) -> tuple[list[Item], list[Item]]:
    """Learned from, held out. A patient is in one of them."""
    stated = [item for item in items if item.given and item.split == "val"]
    if stated and len(stated) < len(items):
        return [item for item in items if item not in stated], stated
    if len(items) < HOLD_FROM or hold == 0:
        return list(items), []
    groups: dict[str, list[Item]] = {}
    for item in items:
        groups.setdefault(item.owner, []).append(item)
    names = sorted(
        groups, key=lambda name: min(item.digest for item in groups[name])
    )  # opaque names hang on a secret of the folder, pixels do not
    order = torch.randperm(len(names), generator=generator(seed, "held out")).tolist()
    held: list[Item] = []
    for n in order:
        if len(held) + len(groups[names[n]]) <= max(1, round(hold * len(items))):
            held += groups[names[n]]
    chosen = {item.id for item in held}
    return [item for item in items if item.id not in chosen], held


def _shown(card: Card, index: Index, items: Sequence[Item], allow_other: bool) -> LabelledImages:
    images, labels, numbers = admitted(
        card, index, sorted(items, key=lambda item: item.path), allow_other=allow_other
    )
    return LabelledImages(tuple(images), tuple(labels), tuple(numbers))


def gentle_policy(card: Card, label: str) -> Policy:
    """What may be done to an image of this kind without making it a wrong one, at a third of the usual
    strength: it is turned, scaled and shifted.

    A prior draws what it is shown, so contrast, noise and blur stay as the scanners made them.
    """
    policy = Policy.of(card.modality, unit=card.unit, label=label or None)
    names = [name for name in SPATIAL if name in policy.allowed]
    policy = policy.only(*names)
    for name in names:
        usual = policy.allowed[name]
        low, high = (
            (usual.low**GENTLE, usual.high**GENTLE)
            if name == "scale"
            else (usual.low * GENTLE, usual.high * GENTLE)
        )
        policy = policy.allowing(name, low, high, 0.7)
    return policy


def gentle_variations(
    card: Card, shown: LabelledImages, *, seed: int = 0, copies: int = COPIES
) -> LabelledImages:
    """``copies`` gentle variations of each image, one image after the other."""
    room = ROOM // max(1, sum(4 * image.numel() for image in shown.images))
    copies = max(1, min(copies, room)) if copies else 0
    made: list[Tensor] = []
    for n, (image, label) in enumerate(zip(shown.images, shown.labels, strict=True)):
        policy = gentle_policy(card, card.labels[label] if label >= 0 else "")
        frame = Frame(tuple(image.shape[1:]), card.spacing_mm or (), card.axes, "", card.modality)
        made += [apply_record(draw_record(policy, frame, seed, n, k), image)[0] for k in range(copies)]
    spread = [n for n in range(len(shown)) for _ in range(copies)]
    return LabelledImages(
        tuple(made), tuple(shown.labels[n] for n in spread), tuple(shown.numbers[n] for n in spread)
    )


def replay_draws(
    parent: Prior, n: int, *, seed: int = 0, on_step: Callable[[int, int], None] | None = None
) -> LabelledImages:
    """n images that the parent draws: each of its labels alike, or none where it has none. The same seed
    gives the same images.
    """
    labels = parent.card.labels or (None,)
    found = LabelledImages()
    for k, label in enumerate(labels):
        count = n // len(labels) + (k < n % len(labels))
        if not count:
            continue
        x, condition = draw_images(parent, count, Drawing(label=label, seed=seed, guidance=1.0))
        numbers = condition.numbers if condition.numbers is not None else torch.zeros((count, 0))
        found = found + LabelledImages(tuple(x), (k if label is not None else -1,) * count, tuple(numbers))
        if on_step:
            on_step(len(found), n)
    return found


def store(shown: LabelledImages, path: Path) -> None:
    """Images that were drawn, to a file: who continues need not draw them again."""
    parts = {"labels": torch.tensor(shown.labels)}
    parts |= {f"image-{n}": image.contiguous() for n, image in enumerate(shown.images)}
    parts |= {
        f"numbers-{n}": known.nan_to_num(UNKNOWN) for n, known in enumerate(shown.numbers) if len(known)
    }
    save_weights(path, parts)


def load_images(path: Path) -> LabelledImages | None:
    """What ``store`` has written; None where there is none."""
    if not path.is_file():
        return None
    parts = load_weights(path)
    labels = tuple(int(label) for label in parts["labels"])
    images = tuple(parts[f"image-{n}"] for n in range(len(labels)))
    numbers = [parts.get(f"numbers-{n}", torch.zeros(0)) for n in range(len(labels))]
    return LabelledImages(
        images, labels, tuple(known.masked_fill(known == UNKNOWN, torch.nan) for known in numbers)
    )


def known_of(card: Card, options: Adaptation, *, old: int) -> tuple[LabelledImages, LabelledImages]:
    """Real scans of the parent's own kind, to replay and to judge by: the train and val parts of a folder, or
    four fifths and one fifth of it.

    old: the label of those whose folder names none of the card's. Raises as ``newcomers``.
    """
    folder, out = Path(options.replay), private(options.out) / "replay"
    scan(folder, out=out, unit=options.unit, modality=options.modality)
    index = load_index(out, folder)
    items = [*index.without_test()]
    learn, held = _parted(items, HELD, options.seed)
    if not held:
        raise WrongKind(
            f"replay: {len(items)} old scans are too few to replay and to judge by",
            f"give at least {HOLD_FROM}, or --replay generative",
        )
    parts = []
    for some, most in ((learn, MOST[card.ndim]), (held, HELD_OUT[card.ndim])):
        keep = sorted({round(i) for i in np.linspace(0, len(some) - 1, min(most, len(some)))})
        shown = _shown(card, index, [some[i] for i in keep], False)
        few = shown.some(sorted({round(i) for i in np.linspace(0, len(shown) - 1, min(most, len(shown)))}))
        parts.append(replace(few, labels=tuple(old if label < 0 else label for label in few.labels)))
    return parts[0], parts[1]
