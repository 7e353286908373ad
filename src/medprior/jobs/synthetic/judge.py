"""Judge: does a variation still carry its label? Asked of classifiers that have seen neither its source nor
any scan of that patient.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from ...data.seeds import generator, seed_for
from ...data.volume import Volume
from ...downstream.classifier import Classifier, ClassifierSettings, train_classifier
from ...errors import BadOption

__all__ = ["FOLDS", "Judge", "Verdict", "folds_of", "glance", "learn_judge"]

FOLDS = 4
"""Classifiers: each has learned from three quarters of the patients, and judges the rest and what was made of
them.
"""


@dataclass(frozen=True, slots=True)
class Verdict:
    """probability: that the classifier gives the label. p: conformal, against real scans of that label, each
    judged by a classifier that has not seen it.
    """

    probability: float
    p: float


@dataclass(frozen=True, slots=True, eq=False)
class Judge:
    """held: label -> what real scans get for their own label from a classifier that has not seen their
    patient. accuracy: balanced, on those scans.
    """

    labels: tuple[str, ...]
    classifiers: tuple[Classifier, ...]
    held: Mapping[str, tuple[float, ...]]
    accuracy: float

    def verdicts(self, images: Tensor, labels: Sequence[str], folds: Sequence[int]) -> list[Verdict]:
        """(N, C, side, side) by ``glance``; labels: that each should carry; folds: of the patient that each
        was made of, any where there is none.

        p = (1 + number of real scans of the label with at most this probability) / (their number + 1). A real
        scan of a new patient gets p <= alpha with probability at most alpha (Vovk et al. 2005). Raises
        BadOption for a label that the judge does not know.
        """
        for label in labels:
            if label not in self.labels:
                raise BadOption(f"judge: label {label!r} is not one of {', '.join(self.labels)}")
        found: list[Verdict | None] = [None] * len(labels)
        for fold in sorted(set(folds)):
            at = [n for n, own in enumerate(folds) if own == fold]
            for n, row in zip(at, self.classifiers[fold](images[at]), strict=True):
                probability = float(row[self.labels.index(labels[n])])
                real = self.held[labels[n]]
                found[n] = Verdict(
                    probability, (1 + sum(one <= probability for one in real)) / (len(real) + 1)
                )
        return [one for one in found if one is not None]


def learn_judge(
    images: Tensor,
    labels: Sequence[str],
    folds: Sequence[int],
    *,
    seed: int = 0,
    settings: ClassifierSettings | None = None,
    on_step: Callable[[int, int], None] | None = None,
) -> Judge:
    """Cross-fitted on real scans: classifier k learns from all folds but k, and says of fold k what scans
    that it has not seen get.

    images: (N, C, side, side) by ``glance``; labels: of each; folds: of each by ``folds_of``, so that a
    patient lies in one of them. Raises BadOption for fewer than two labels, and where all but one fold hold
    fewer than two.
    """
    names = tuple(sorted(set(labels)))
    if len(names) < 2:
        raise BadOption(
            f"judge: wanted at least two labels to tell apart, got {', '.join(names) or 'none'}",
            "--judge off",
        )
    settings = settings or ClassifierSettings()
    numbers, own = torch.tensor([names.index(label) for label in labels]), torch.tensor(folds)
    count = max(folds) + 1
    held = torch.zeros(len(labels), len(names))
    classifiers = []
    for fold in range(count):
        rest = own != fold
        if len(numbers[rest].unique()) < 2:
            raise BadOption("judge: too few patients: without a fold only one label is left", "--judge off")
        told = None if on_step is None else _told(on_step, fold, count)
        classifiers.append(
            train_classifier(
                images[rest],
                numbers[rest],
                settings,
                seed_for(seed, "judge", fold),
                n_labels=len(names),
                on_step=told,
            )
        )
        held[~rest] = classifiers[-1](images[~rest])
    right = held.argmax(1) == numbers
    accuracy = float(np.mean([right[numbers == n].float().mean() for n in range(len(names))]))
    scores = {name: tuple(held[numbers == n, n].tolist()) for n, name in enumerate(names)}
    return Judge(names, tuple(classifiers), scores, accuracy)


def _told(on_step: Callable[[int, int], None], fold: int, count: int) -> Callable[[int, int], None]:
    return lambda done, total: on_step(fold * total + done, count * total)


def folds_of(
    patients: Sequence[str], labels: Sequence[str], *, seed: int = 0, count: int = FOLDS
) -> list[int]:
    """The fold of each scan: of one patient all lie in one, and each label is spread over all of them."""
    first: dict[str, str] = {}
    for patient, label in zip(patients, labels, strict=True):
        first.setdefault(patient, label)
    count = max(2, min(count, *Counter(first.values()).values()))
    fold: dict[str, int] = {}
    for label in sorted(set(first.values())):
        own = [patient for patient, of in first.items() if of == label]
        order = torch.randperm(len(own), generator=generator(seed, "folds", label)).tolist()
        fold |= {own[at]: n % count for n, at in enumerate(order)}
    return [fold[patient] for patient in patients]


def glance(volume: Volume, side: int) -> Tensor:
    """(C, side, side) in -1..1, of a volume its three middle planes as channels: what judge and copy audit
    look at.

    Hounsfield units go from -1024 to 1024, all else from its half to its 99.5th hundredth.
    """
    data = torch.from_numpy(volume.data)
    low, high = (
        (-1024.0, 1024.0)
        if volume.unit == "HU"
        else (float(q) for q in np.quantile(volume.data, (0.005, 0.995)))
    )
    x = ((data - low) / max(high - low, 1e-6)).clamp(0, 1) * 2 - 1
    planes = (
        [x]
        if volume.ndim == 2
        else [x[:1, ..., x.shape[3] // 2], x[:1, :, x.shape[2] // 2, :], x[:1, x.shape[1] // 2]]
    )
    return torch.cat([_squared(plane[None], side)[0] for plane in planes])


def _squared(x: Tensor, side: int) -> Tensor:
    """Means where it gets coarser, so that nothing aliases; linear where it gets finer."""
    smaller = tuple(min(n, side) for n in x.shape[2:])
    if tuple(x.shape[2:]) != smaller:
        x = F.interpolate(x, size=smaller, mode="area")
    return (
        x
        if smaller == (side, side)
        else F.interpolate(x, size=(side, side), mode="bilinear", align_corners=False)
    )
