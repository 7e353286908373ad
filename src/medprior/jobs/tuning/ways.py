"""Ways to learn from a few labels and all unlabelled scans, each judged out of fold by patient."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray

from ...data.seeds import seed_for
from ...errors import BadOption
from ...evidence.gain import SeedScores, auroc_scores, paired_gain
from ...evidence.intervals import Estimate
from ...learning.features import SIGMAS
from ...learning.head_model import GENERATIVE
from ...learning.heads import (
    FOLDS,
    Fit,
    LinearHead,
    Projection,
    fit_linear,
    folds_by_patient,
    out_of_fold,
    probabilities,
    self_train,
)

__all__ = [
    "ALONE",
    "JUDGED",
    "SCALE",
    "SELF",
    "LearnSettings",
    "LearningSet",
    "WayToLearn",
    "chosen",
    "fold_parts",
    "macro_auroc",
    "tried",
    "ways_of",
]

Array: TypeAlias = NDArray[Any]
ALONE, SELF = "labels alone", "self-training"
REPEATS = 3
"""Times that the patients are parted into folds, each time in another way."""
SCALE = 100.0
"""Of differences between denoising errors, which are small."""
JUDGED = 1000
"""Scans without label with which self-training is judged; all of them teach the head."""


@dataclass(frozen=True, slots=True)
class LearnSettings:
    """sigmas: of the features. unlabelled: use scans without label. level: of prediction sets. seed: of
    folds and noise. Raises BadOption for a level that is not between 0 and 1.
    """

    sigmas: tuple[float, ...] = SIGMAS
    unlabelled: bool = True
    level: float = 0.9
    seed: int = 0
    allow_other: bool = False

    def __post_init__(self) -> None:
        if not 0 < self.level < 1:
            raise BadOption(f"level: wanted a share between 0 and 1, got {self.level}", "0.9 is usual")


@dataclass(frozen=True, slots=True, eq=False)
class LearningSet:
    """x: (n, d) features of labelled scans. y: (n, K) targets. patients: (n,). u: (m, d) without label.
    errors: (n, labels of the prior) as of ``class_errors``, where these are the classes.
    """

    x: Array
    y: Array
    patients: tuple[str, ...]
    classes: tuple[str, ...]
    u: Array
    several: bool = False
    errors: Array | None = None

    def part(self, at: Array) -> LearningSet:
        """Some of the labelled scans."""
        errors = None if self.errors is None else self.errors[at]
        own = tuple(self.patients[n] for n in at)
        return replace(self, x=self.x[at], y=self.y[at], patients=own, errors=errors)


@dataclass(frozen=True, slots=True, eq=False)
class WayToLearn:
    """One way to learn. logits: (n, K) of labelled scans out of fold, for each repetition. scores: their
    AUROC. fit: on features that ``Projection`` has turned. stopped: why it does not count, "" where it does.
    own: of a way with a network of its own, (its tensors, the noise levels that it reads).
    """

    name: str
    fit: Fit
    logits: tuple[Array, ...]
    scores: tuple[SeedScores, ...]
    stopped: str = ""
    own: Callable[[], tuple[dict[str, torch.Tensor], tuple[float, ...]]] | None = None


def macro_auroc(logits: Array, y: Array, *, several: bool) -> SeedScores:
    """Area under the ROC curve; of more than two classes or labels the mean of each against the rest."""
    p = probabilities(logits, several=several)
    if not several:
        return auroc_scores(p, y.argmax(1))
    both = [k for k in range(y.shape[1]) if 0 < y[:, k].sum() < len(y)]
    found = [auroc_scores(np.stack([1 - p[:, k], p[:, k]], 1), y[:, k]) for k in both]
    if not found:
        raise BadOption("auroc: wanted scans with and without a label", "label scans without any, too")
    return SeedScores(
        float(np.mean([one.value for one in found])), np.mean([one.parts for one in found], axis=0)
    )


def tried(data: LearningSet, how: LearnSettings) -> tuple[Projection, list[WayToLearn]]:
    """Every way to learn, each judged out of fold by patient: labels alone first."""
    projection = Projection.fitted(np.concatenate([data.x, data.u]))
    u = projection(data.u) if len(data.u) else np.zeros((0, projection.turn.shape[1]))
    return projection, ways_of(replace(data, x=projection(data.x), u=u), how)


def ways_of(data: LearningSet, how: LearnSettings) -> list[WayToLearn]:
    """As ``tried``, on features that are projected already. At most ``JUDGED`` scans without label judge."""
    x, u, several = data.x, data.u, data.several
    parts = fold_parts(data, how)

    def alone(a: Array, b: Array) -> LinearHead:
        return fit_linear(a, b, several=several)

    def with_scans(free: Array) -> Fit:
        return lambda a, b: self_train(a, b, free, several=several).head or alone(a, b)

    ways: dict[str, tuple[Fit, Fit]] = {ALONE: (alone, alone)}
    stopped = {}
    if len(u):
        stopped[SELF] = self_train(x, data.y, u, several=several).reason
        ways[SELF] = with_scans(u), with_scans(u[:: -(-len(u) // JUDGED)])
    if data.errors is not None:
        ways[GENERATIVE] = alone, alone
    found = []
    for name, (fit, judged) in ways.items():
        seen = data.errors * SCALE if name == GENERATIVE and data.errors is not None else x
        logits = tuple(out_of_fold(judged, seen, data.y, part) for part in parts)
        scores = tuple(macro_auroc(one, data.y, several=several) for one in logits)
        found.append(WayToLearn(name, fit, logits, scores, stopped.get(name, "")))
    return found


def fold_parts(data: LearningSet, how: LearnSettings, most: int | None = None) -> list[Array]:
    """(n,) the fold of each labelled scan, for each repetition; folds of patients, at most so many."""
    kinds = range(data.y.shape[1])
    fewest = min(len({w for w, row in zip(data.patients, data.y, strict=True) if row[k]}) for k in kinds)
    folds = max(2, min(most or FOLDS, fewest))
    return [
        folds_by_patient(data.y, data.patients, seed_for(how.seed, "repeat", n) % 2**31, folds)
        for n in range(REPEATS)
    ]


def chosen(ways: Sequence[WayToLearn], patients: Sequence[str]) -> tuple[WayToLearn, dict[str, Estimate]]:
    """The way that held-out labels prefer, and the gain of each over labels alone with its interval, on the
    repetitions that both have. A way that was stopped, or is worse in the mean, never wins.
    """
    base = ways[0]
    gains = {
        way.name: paired_gain(way.scores, base.scores[: len(way.scores)], patients)
        for way in ways[1:]
        if not way.stopped
    }
    best = max(gains, key=lambda name: gains[name].value, default="")
    winner = next((w for w in ways if w.name == best and gains[best].value >= 0), base)
    return winner, gains
