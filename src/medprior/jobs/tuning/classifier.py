"""Tuning the prior with the classifier as one more way to learn, judged out of fold as the others are."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from ...augmentation import Policy
from ...data.volume import Volume
from ...downstream.augmented import ClassicalAugmentation
from ...errors import BadOption
from ...learning.consistency import ConsistencySettings, TunedClassifier, tune_classifier
from ...learning.features import FeatureSettings, features
from ...learning.heads import Array, LinearHead, Projection, fit_linear
from ...prior import Prior
from ...prior.admit import resize
from .ways import LearningSet, LearnSettings, WayToLearn, fold_parts, macro_auroc

__all__ = ["TUNED", "ImageSet", "check_one_label", "tuned_way"]

TUNED = "fine-tuning"
PARTED, FOLDS = 2, 3
"""Times that the patients are parted, and into how many folds. The other ways have more of both, and so learn
from more labels: it is judged with less, never with more.
"""


@dataclass(frozen=True, slots=True, eq=False)
class ImageSet:
    """marked: (n, C, i, j) in network units, labelled. free: (m, C, i, j) without label."""

    marked: Tensor
    free: Tensor

    @classmethod
    def of(
        cls, prior: Prior, marked: Iterable[Volume], free: Iterable[Volume], *, allow_other: bool = False
    ) -> ImageSet:
        """At their most frequent size. Raises BadOption for volumes."""
        kinds = [[prior.admit(v, allow_other=allow_other) for v in part] for part in (marked, free)]
        if prior.card.ndim != 2 or any(scan.stack for part in kinds for scan in part):
            raise BadOption(
                "learn: --fine-tune of a classifier wants pictures and a prior of pictures, not volumes",
                "leave --fine-tune out",
            )
        sizes = Counter(tuple(scan.images.shape[2:]) for part in kinds for scan in part)
        size = sizes.most_common(1)[0][0]
        rows = [[resize(scan.images, size) for scan in part] for part in kinds]
        return cls(torch.cat(rows[0]), torch.cat(rows[1]) if rows[1] else rows[0][0][:0])


def check_one_label(*, several: bool) -> None:
    """Raises BadOption where labels may come together."""
    if several:
        raise BadOption(
            "learn: --fine-tune wants one label a scan, these come together", "leave --fine-tune out"
        )


def tuned_way(
    data: LearningSet,
    prior: Prior,
    images: ImageSet,
    how: LearnSettings,
    settings: ConsistencySettings | None = None,
    on_step: Callable[[int, int], None] | None = None,
) -> WayToLearn:
    """images: of the scans of ``data``, in order; those without label may be fewer. on_step: trainings done,
    and in all. Raises BadOption for labels that may come together.
    """
    check_one_label(several=data.several)
    settings = settings or ConsistencySettings()
    seen = FeatureSettings((settings.sigma,), how.seed, how.allow_other)
    x, u = (features(prior, part, None, seen).numpy() for part in (images.marked, images.free))
    parts = fold_parts(data, how, FOLDS)[:PARTED]
    total, done = sum(len(np.unique(fold)) for fold in parts), 0
    stopped: list[str] = []

    def learned(at: Array, seed: int) -> TunedClassifier:
        projection = Projection.fitted(np.concatenate([x, u]))
        start = fit_linear(projection(x[at]), data.y[at]).behind(projection)
        change = ClassicalAugmentation(
            [Policy.of(prior.card.modality, unit=prior.card.unit)] * len(images.free), seed
        )
        return tune_classifier(
            prior, images.marked[at], data.y[at], images.free, start, seen, settings, change
        )

    logits = []
    for n, fold in enumerate(parts):
        found = np.zeros_like(data.y)
        for k in np.unique(fold):
            made = learned(np.flatnonzero(fold != k), how.seed + n)
            stopped += [made.reason] * bool(made.reason)
            found[fold == k] = made(images.marked[fold == k], seen)
            done += 1
            if on_step:
                on_step(done, total)
        logits.append(found)
    scores = tuple(macro_auroc(one, data.y, several=False) for one in logits)
    reason = stopped[0] if len(stopped) > total // 2 else ""

    def own() -> tuple[dict[str, Tensor], tuple[float, ...]]:
        return learned(np.arange(len(x)), how.seed).tensors(), seen.sigmas

    def never(_: Array, __: Array) -> LinearHead:
        raise BadOption("learn: a tuned network reads images, not features")

    return WayToLearn(TUNED, never, tuple(logits), scores, reason, own)
