"""The arms of a downstream experiment: what each trains on, with which transforms, and what it then says of
the scans that judge.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from ...augmentation import Policy
from ...data.seeds import generator, seed_for
from ...downstream.augmented import ClassicalAugmentation
from ...downstream.classifier import ClassifierSettings, train_classifier
from ...downstream.segmenter import SegmenterSettings, mean_dice, train_segmenter
from ...errors import BadOption
from ...jobs.synthetic.enlarge import Variation, draw_by_label, prior_variations
from ...jobs.synthetic.joint import draw_joint
from ...prior import Prior
from ...prior.admit import resize
from ...prior.joint import MASK, label_map, part_named, parts
from ..ask.requests import EvaluateAugment
from .labelled_scans import LabelledScans

__all__ = [
    "SEEN_ARMS",
    "Arm",
    "Pool",
    "Trial",
    "arms_of",
    "enough",
    "images_of",
    "pool_of",
    "rest_of",
    "train_and_score",
    "trial_scans",
]

_SEEN = "labelled scans behind the prior"


@dataclass(frozen=True, slots=True)
class Arm:
    """extra: added to the real images, "" (nothing), "duplicates", "generative" or the labelled scans that
    the prior has learned from. ratio: how many for each real one. classical: transforms, online.
    """

    extra: str = ""
    ratio: float = 0.0
    classical: bool = False

    @property
    def name(self) -> str:
        """In words."""
        parts = ["real", *(["classical"] if self.classical else []), *([self.extra] if self.extra else [])]
        return " + ".join(parts)

    @property
    def key(self) -> str:
        """In run folders."""
        return f"{self.name} at {self.ratio:g}" if self.ratio else self.name


SEEN_ARMS = (Arm(_SEEN), Arm(_SEEN, classical=True))
"""The strongest rival: it learns from the labels that generated images know second-hand."""


def arms_of(ratios: tuple[float, ...]) -> list[Arm]:
    """Every arm: without more images, with duplicates (the control of equal count), with generated ones, each
    of the last also under classical transforms.
    """
    return [
        Arm(),
        Arm(classical=True),
        *(Arm("duplicates", ratio) for ratio in ratios),
        *(Arm("generative", ratio) for ratio in ratios),
        *(Arm("generative", ratio, classical=True) for ratio in ratios),
    ]


@dataclass(frozen=True, slots=True, eq=False)
class Pool:
    """Generated images in the order in which arms take them, so that a larger ratio holds all of a smaller
    one. masks: of a segmentation.
    """

    images: Tensor
    labels: Tensor
    masks: Tensor | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Trial:
    """One seed: the labelled images that were drawn, their pool of generated ones, and the transforms, which
    all arms share. seen: the other scans that the prior has learned from, with their labels.
    """

    seed: int
    real: LabelledScans
    at: Tensor
    pool: Pool
    settings: ClassifierSettings | SegmenterSettings
    classical: ClassicalAugmentation
    seen: Pool | None = None


def rest_of(seen: LabelledScans, digests: Collection[str]) -> Pool:
    """The images of all scans but those with these digests, which a trial has already."""
    at = seen.of_scans([n for n, digest in enumerate(seen.digests) if digest not in digests])
    return Pool(seen.images[at], seen.labels[at], None if seen.masks is None else seen.masks[at])


def trial_scans(data: LabelledScans, per_class: int | None, seed: int, *, segment: bool = False) -> list[int]:
    """Which scans of the train split have a label in this trial: all, or ``per_class`` of each label (of a
    segmentation: in all), drawn anew for each seed.

    Labels lie spread evenly, so that any first part of them has each label in its share of all. Raises
    BadOption where a label has fewer.
    """
    kinds = torch.zeros_like(data.scan_labels) if segment else data.scan_labels
    orders = []
    for k in range(1 if segment else len(data.names)):
        own = torch.nonzero(kinds == k)[:, 0]
        own = own[torch.randperm(len(own), generator=generator(seed, "labelled scans", k))]
        if per_class is not None and len(own) < per_class:
            raise BadOption(
                f"per_class: wanted {per_class} scans of {data.names[k] if data.names else 'the folder'}, "
                f"the train split has {len(own)}"
            )
        orders.append(own[:per_class].tolist())
    places = sorted(
        ((n + 0.5) / len(order), k, n) for k, order in enumerate(orders) for n in range(len(order))
    )
    return [orders[k][n] for _, k, n in places]


def images_of(ratio: float, real: int) -> int:
    """How many images an arm of this ratio adds to so many real ones."""
    return round(ratio * real)


def _wanted_labels(own: Tensor, wanted: int) -> Tensor:
    """The label of each image of a pool. own: of the labelled images, in their order."""
    return own.repeat(-(-wanted // len(own)))[:wanted]


def enough(given: LabelledScans, own: Tensor, wanted: int) -> bool:
    """Whether a folder holds so many images for labelled ones with the labels ``own``, label by label; of a
    segmentation in all.
    """
    if given.masks is not None:
        return len(given.images) >= wanted
    labels = _wanted_labels(own, wanted)
    return all(int((given.labels == k).sum()) >= int((labels == k).sum()) for k in labels.unique())


def pool_of(
    request: EvaluateAugment,
    prior: Prior,
    real: LabelledScans,
    at: Tensor,
    given: LabelledScans | None,
    wanted: int,
    seed: int,
    on_step: Callable,
) -> Pool:
    """So many generated images: from the folder, from noise by label or with masks, or variations of the
    drawn scans. at: the images of those.

    Raises BadOption where a folder holds too few: an arm on fewer images than its ratio says would be another
    arm.
    """
    own = real.labels[at]
    labels = _wanted_labels(own, wanted)
    if given is not None:
        if not enough(given, own, wanted):
            raise BadOption(
                f"generated: the folder holds too few images for the {wanted} that are wanted",
                "generate more, or lower --ratios",
            )
        return _from_folder(given, labels, seed)
    side = (int(real.images.shape[2]), int(real.images.shape[3]))
    if request.how == "synthesize" and request.segment:
        return _pairs(prior, wanted, real.images.shape[1], side, seed_for(seed, "pool") % 2**62, on_step)
    if request.how == "synthesize":
        counts = {name: int((labels == k).sum()) for k, name in enumerate(real.names)}
        made = draw_by_label(
            prior,
            counts,
            side,
            seed=seed_for(seed, "pool") % 2**62,
            guidance=request.guidance,
            on_step=on_step,
        )
        queues = {k: iter(made[name]) for k, name in enumerate(real.names)}
        return Pool(torch.stack([next(queues[int(k)]) for k in labels]), labels)
    names = [real.names[int(k)] for k in own] if request.keep_label else None
    numbers = None if real.numbers is None else real.numbers[at]
    how = Variation(
        strengths=request.strengths,
        per_image=-(-wanted // len(at)),
        seed=seed_for(seed, "pool") % 2**62,
        guidance=request.guidance,
        n_steps=request.levels,
    )
    varied = prior_variations(prior, real.images[at], how, labels=names, numbers=numbers, on_step=on_step)
    images = varied.flatten(0, 1)[:wanted]
    masks = None if real.masks is None else real.masks[at].repeat(-(-wanted // len(at)), 1, 1)[:wanted]
    return Pool(images, labels, masks)


def _pairs(prior: Prior, n: int, channels: int, side: tuple[int, int], seed: int, on_step: Callable) -> Pool:
    """Images with their masks by a joint prior, stretched to the side as the real ones are."""
    known = parts(prior.card)
    image, mask = known[0], part_named(prior.card, MASK)
    if len(image.channels) != channels:
        raise BadOption(
            f"prior {prior.card.name!r}: wanted images of {channels} channel, its {image.name} has "
            f"{len(image.channels)}"
        )
    drawn = draw_joint(prior, n, seed=seed, on_step=on_step)
    maps = label_map(mask.classes, drawn[:, list(mask.channels)])
    stretched = F.interpolate(maps[:, None].float(), size=side, mode="nearest-exact")[:, 0].round().long()
    return Pool(resize(drawn[:, list(image.channels)], side), torch.zeros(n, dtype=torch.long), stretched)


def _from_folder(given: LabelledScans, labels: Tensor, seed: int) -> Pool:
    """As many of each label as wanted, in a new order for each seed; none twice."""
    order = torch.randperm(len(given.labels), generator=generator(seed, "generated"))
    if given.masks is not None:
        order = order[: len(labels)]
        return Pool(given.images[order], given.labels[order], given.masks[order])
    queues = {int(k): iter(order[given.labels[order] == k].tolist()) for k in labels.unique()}
    taken = [next(queues[k]) for k in labels.tolist()]
    return Pool(given.images[taken], given.labels[taken])


def train_and_score(
    trial: Trial, arm: Arm, judges: dict[str, LabelledScans], n_labels: int
) -> dict[str, list]:
    """Train one arm; what it says of each split's scans: probabilities (scans, K), the mean over a scan's
    images, or the Dice of each scan.
    """
    images, labels, masks, numbers = _training_set(trial, arm)
    change = (
        ClassicalAugmentation([_policy(trial, int(k)) for k in labels], trial.seed, numbers=numbers)
        if arm.classical
        else None
    )
    if change is not None:
        change.kept, change.bytes = trial.classical.kept, trial.classical.bytes
    if isinstance(trial.settings, SegmenterSettings):
        if masks is None:
            raise BadOption("segmentation: the generated images have no masks")
        net = train_segmenter(
            images,
            masks,
            trial.settings,
            trial.seed,
            None if change is None else change.pair,
            n_labels=n_labels,
        )
        found = {split: _dice_of(net(data.images), data, n_labels) for split, data in judges.items()}
    else:
        made = train_classifier(images, labels, trial.settings, trial.seed, change, n_labels=n_labels)
        found = {split: _of_scans(made(data.images), data) for split, data in judges.items()}
    if change is not None:
        trial.classical.bytes = change.bytes
    return found


def _training_set(trial: Trial, arm: Arm) -> tuple[Tensor, Tensor, Tensor | None, list[int]]:
    """Images, labels, masks and the number of each, by which transforms know it again."""
    real, at, count = trial.real, trial.at, images_of(arm.ratio, len(trial.at))
    images, labels = real.images[at], real.labels[at]
    masks = None if real.masks is None else real.masks[at]
    if not arm.extra:
        return images, labels, masks, list(range(len(at)))
    first = 1_000_000
    if arm.extra == "duplicates":
        again = torch.arange(count) % len(at)
        more = Pool(images[again], labels[again], None if masks is None else masks[again])
    elif arm in SEEN_ARMS and trial.seen is not None:
        more, count, first = trial.seen, len(trial.seen.images), 2_000_000
    else:
        more = trial.pool
    if len(more.images) < count:
        raise BadOption(
            f"evaluate augment: {arm.key} wants {count} images, the pool holds {len(more.images)}"
        )
    both = torch.cat([images, more.images[:count]]), torch.cat([labels, more.labels[:count]])
    numbers = [*range(len(at)), *range(first, first + count)]
    return (
        *both,
        None if masks is None or more.masks is None else torch.cat([masks, more.masks[:count]]),
        numbers,
    )


def _policy(trial: Trial, label: int) -> Policy:
    """Network units are no Hounsfield units, of which strengths would be shares; what the modality refuses
    stays refused.
    """
    return Policy.of(
        trial.real.modality, unit="a.u.", label=trial.real.names[label] if trial.real.names else None
    )


def _of_scans(probabilities: Tensor, data: LabelledScans) -> list[list[float]]:
    total = torch.zeros((len(data.patients), probabilities.shape[1])).index_add_(0, data.scans, probabilities)
    mean = total / torch.bincount(data.scans, minlength=len(data.patients))[:, None]
    return [[round(float(p), 6) for p in row] for row in mean]


def _dice_of(found: Tensor, data: LabelledScans, n_labels: int) -> list[float]:
    masks = data.masks if data.masks is not None else found
    return [
        round(mean_dice(found[data.scans == s], masks[data.scans == s], n_labels), 6)
        for s in range(len(data.patients))
    ]
