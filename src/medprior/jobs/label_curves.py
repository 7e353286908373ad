"""How good is a head with so many labels? Draws of labels, several kinds of features under the same head,
and a network that is trained on the same labels.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..augmentation import Policy
from ..data.grids import middle_half
from ..data.seeds import generator, seed_for
from ..downstream.augmented import ClassicalAugmentation
from ..downstream.classifier import ClassifierSettings, train_classifier
from ..errors import BadOption
from ..evidence.detectors.imagenet import ImageNetFeatures, pictures
from ..learning.active import ScanPool, propose, reduced_features
from ..learning.features import FeatureSettings, features
from ..learning.heads import Projection, fit_linear, folds_by_patient
from ..prior import Prior
from ..prior.admit import Admitted, resize
from .learn import LearningSet, LearnSettings, chosen, ways_of

__all__ = [
    "ARMS",
    "OURS",
    "CurvePool",
    "LearningMethod",
    "Looked",
    "answers",
    "asked_labels",
    "draw_labels",
    "judged_by",
    "looked",
]

Array: TypeAlias = NDArray[Any]
PIXELS = {2: (32, 32), 3: (16, 16, 16)}
"""Size of the images whose pixels are features."""
COMPONENTS = 64
"""Principal components of plain features, not whitened."""
SLICES = 4
"""Slices of a volume that a network for pictures sees, evenly spaced in its middle half."""
SIDE = 64
"""Largest side of the images that a supervised network sees."""
FOLDS = 5
BATCH = 20
"""Labels that are asked for at once."""
MOST_ASKED = 200
"""Labels that are asked for: choosing takes longer with every batch, and helps with few."""


@dataclass(frozen=True, slots=True)
class LearningMethod:
    """name: in words. source: of the features, or "network" for one that is trained. unlabelled: whether
    scans without label are used. asked: labels are asked for as ``medprior label`` does, not drawn.
    """

    name: str
    source: str
    unlabelled: bool = False
    asked: bool = False

    def covers(self, n: int) -> bool:
        """Whether it is measured with so many labels."""
        return not self.asked or n <= MOST_ASKED


OURS = LearningMethod("prior, with unlabelled scans", "prior", unlabelled=True)
ARMS = (
    OURS,
    LearningMethod("prior, labels alone", "prior"),
    LearningMethod("prior, labels asked for", "prior", unlabelled=True, asked=True),
    LearningMethod("pixels", "pixels"),
    LearningMethod("pixels, with unlabelled scans", "pixels", unlabelled=True),
    LearningMethod("ImageNet features", "imagenet"),
    LearningMethod("ImageNet features, with unlabelled scans", "imagenet", unlabelled=True),
    LearningMethod("supervised network", "network"),
)


@dataclass(frozen=True, slots=True, eq=False)
class Looked:
    """One scan as each kind of features sees it. picture: (C, i, j) for a network that is trained; of a
    volume its middle slice.
    """

    features: Mapping[str, Array]
    picture: Tensor


def looked(prior: Prior, scan: Admitted, imagenet: ImageNetFeatures | None, how: FeatureSettings) -> Looked:
    """Features by the prior, of the pixels and, with a network, by ImageNet."""
    found = {"prior": features(prior, scan.images, scan.condition, how).mean(0).numpy()}
    whole = scan.whole
    found["pixels"] = resize(whole[None], PIXELS[whole.ndim - 1]).flatten().numpy()
    slices = scan.images if scan.images.ndim == 4 else scan.images[0].movedim(-1, 0)
    inner = middle_half(len(slices))
    some = slices[inner[:: max(1, len(inner) // SLICES)][:SLICES]]
    if imagenet is not None:
        found["imagenet"] = imagenet.summary(pictures(some)).mean(0).numpy()
    return Looked(found, slices[inner[len(inner) // 2]])


@dataclass(eq=False)
class CurvePool:
    """All scans of a study. y: (n, K), zeros where there is no label. judges: for each part of the study the
    places that judge; all others may be learned from.
    """

    features: Mapping[str, Array]
    images: Tensor
    y: Array
    labelled: Array
    owners: tuple[str, ...]
    judges: tuple[Array, ...]
    modality: str
    several: bool = False
    turned: dict[tuple[str, int], Array] = field(default_factory=dict)

    @classmethod
    def of(
        cls, scans: Sequence[Looked], y: Array, owners: Sequence[str], judges: Sequence[Array], **more: Any
    ) -> CurvePool:
        """From what was seen of each scan, in order."""
        names = scans[0].features
        side = min(SIDE, max(16, min(min(scan.picture.shape[1:]) for scan in scans)))
        images = torch.cat([resize(scan.picture[None], (side, side)) for scan in scans])
        rows = {name: np.stack([scan.features[name] for scan in scans]) for name in names}
        return cls(rows, images, y, y.sum(1) > 0, tuple(owners), tuple(judges), **more)

    @cached_property
    def judged(self) -> Array:
        """Places of all scans that judge, in the order of the parts."""
        return np.concatenate(self.judges)

    def learners(self, part: int) -> Array:
        """Places that may be learned from, with label or without: no patient of them judges."""
        own = {self.owners[n] for n in self.judges[part]}
        return np.array([n for n, who in enumerate(self.owners) if who not in own])

    def projected(self, source: str, part: int) -> Array:
        """(n, r): features in the directions of what may be learned from."""
        key = source, part
        if key not in self.turned:
            most = 256 if source == "prior" else COMPONENTS
            x = self.features[source]
            fitted = Projection.fitted(x[self.learners(part)], most, standardise=source != "pixels")
            self.turned[key] = fitted(x)
        return self.turned[key]


def judged_by(y: Array, owners: Sequence[str], test: Array, seed: int) -> tuple[Array, ...]:
    """The parts of a study. test: places of a test split; without any the patients with labels are parted
    into five folds that judge in turn.
    """
    if len(test):
        return (test,)
    at = np.flatnonzero(y.sum(1) > 0)
    fold = folds_by_patient(y[at], [owners[n] for n in at.tolist()], seed, FOLDS)
    return tuple(at[fold == k] for k in range(FOLDS) if (fold == k).any())


def draw_labels(pool: CurvePool, part: int, n: int, seed: int, *, stratified: bool) -> Array:
    """Places of n scans that are labelled, drawn at random until each class is there; stratified: in the
    shares of all. Raises BadOption where the folder has fewer.
    """
    known = [k for k in pool.learners(part) if pool.labelled[k]]
    if n > len(known):
        raise BadOption(
            f"sizes: wanted {n} labelled scans, the folder has {len(known)} to learn from",
            "leave the larger sizes out",
        )
    rng = generator(seed, "labels", part, n)
    if stratified:
        kinds = {tuple(pool.y[k]): [] for k in known}
        for k in np.array(known)[torch.randperm(len(known), generator=rng).numpy()]:
            kinds[tuple(pool.y[k])].append(int(k))
        places = sorted(((m + 0.5) / len(own), own[m]) for own in kinds.values() for m in range(len(own)))
        return np.array([k for _, k in places[:n]])
    for _ in range(1000):
        at = np.array(known)[torch.randperm(len(known), generator=rng).numpy()[:n]]
        if (pool.y[at].sum(0) > 0).all():
            return at
    raise BadOption(
        f"sizes: {n} scans drawn at random hardly ever show every class",
        "take larger sizes, or draw in the shares of all: --stratified",
    )


def asked_labels(pool: CurvePool, part: int, n: int, seed: int) -> Array:
    """Places of n scans whose labels ``propose`` asks for, in batches of 20."""
    known = [int(k) for k in pool.learners(part) if pool.labelled[k]]
    x = reduced_features(pool.features["prior"][known])
    owners, given = [pool.owners[k] for k in known], [""] * len(known)
    while (count := sum(map(bool, given))) < min(n, len(known)):
        for one in propose(ScanPool.of(x, given, owners), min(BATCH, n - count), seed=seed).choices:
            given[one.at] = str(pool.y[known[one.at]].argmax())
    return np.array([k for k, label in zip(known, given, strict=True) if label])


def answers(pool: CurvePool, arm: LearningMethod, part: int, at: Array, seed: int) -> Array:
    """(m, K) logits of the scans that judge, by a head or network that has learned from ``at``. With scans
    without label, out-of-fold answers of ``at`` choose the way to learn, as ``learn`` does.
    """
    judge = pool.judges[part]
    if arm.source == "network":
        return _network(pool, at, judge, seed)
    x = pool.projected(arm.source, part)
    if not arm.unlabelled:
        return fit_linear(x[at], pool.y[at], several=pool.several)(x[judge])
    free = np.setdiff1d(pool.learners(part), at)
    owners = tuple(pool.owners[n] for n in at.tolist())
    classes = tuple(map(str, range(pool.y.shape[1])))
    data = LearningSet(x[at], pool.y[at], owners, classes, x[free], pool.several)
    way, _ = chosen(ways_of(data, LearnSettings(seed=seed % 2**31)), owners)
    return way.fit(data.x, data.y)(x[judge])


def _network(pool: CurvePool, at: Array, judge: Array, seed: int) -> Array:
    """A ResNet from scratch with the usual augmentation of the modality."""
    policy = Policy.of(pool.modality, unit="a.u.")
    change = ClassicalAugmentation([policy] * len(at), seed)
    kinds = torch.from_numpy(pool.y[at].argmax(1))
    own = seed_for(seed, "network") % 2**62
    net = train_classifier(
        pool.images[at], kinds, ClassifierSettings(), own, change, n_labels=pool.y.shape[1]
    )
    return net(pool.images[judge]).clamp_min(1e-9).log().numpy()
