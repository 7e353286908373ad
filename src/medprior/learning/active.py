"""Which scans to label next: typical ones first, later those where a head is unsure and that differ from each
other. Patients are the units.

Sources: TypiClust (Hacohen et al., ICML 2022), Badge (Ash et al., ICLR 2020).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from ..data.seeds import generator, seed_for
from ..errors import BadOption, optional
from ..prior.promises import Estimate
from .heads import FOLDS, STRENGTH, UNIT, Projection, fit_linear, folds_by_patient, out_of_fold, probabilities

__all__ = [
    "Advice",
    "Choice",
    "Chosen",
    "ScanPool",
    "advised",
    "propose",
    "ranking_area",
    "reduced_features",
    "unseen_probabilities",
]

TRUSTED = 0.8
"""Out-of-fold area under the ROC curve from which a head's doubt chooses scans. Below it, doubt misleads."""

LEAST_EACH = 3
"""Labelled patients of each class that a fold needs."""

WORTH = 0.005
"""A gain of the area by the next batch below which more labels are not worth their time."""

DIMENSIONS = 64
_DRAWS = 24
_SHARES = (0.4, 0.4, 0.6, 0.6, 1.0, 1.0)
"""Of the labelled patients at which the learning curve is measured, each time others."""


@dataclass(frozen=True, slots=True, eq=False)
class ScanPool:
    """All scans that may be labelled. features: (n, d), as ``reduced_features`` gives them. labels: (n,) a
    class, or "" for none. patients: (n,) whose scan each is. open_: (n,) whether a scan may be proposed: it
    has no label, no reader was unsure of it, and it lies before no other reader.
    """

    features: np.ndarray
    labels: tuple[str, ...]
    patients: tuple[str, ...]
    open_: np.ndarray

    @classmethod
    def of(
        cls,
        features: np.ndarray,
        labels: Sequence[str],
        patients: Sequence[str],
        taken: Sequence[bool] | None = None,
    ) -> ScanPool:
        """taken: scans that may not be proposed, though they may have no label. Raises BadOption for unequal
        lengths.
        """
        gone = np.array([bool(label) for label in labels]) | np.asarray(taken or [False] * len(labels))
        if not len(features) == len(labels) == len(patients) == len(gone):
            raise BadOption(
                f"label: wanted features, labels and patients of the same scans, got {len(features)}, "
                f"{len(labels)} and {len(patients)}"
            )
        return cls(features, tuple(labels), tuple(patients), ~gone)

    @property
    def classes(self) -> tuple[str, ...]:
        return tuple(sorted(set(self.labels) - {""}))

    def targets(self, at: np.ndarray) -> np.ndarray:
        """(len(at), classes): 1 for the label of each of these scans."""
        return np.array([[float(self.labels[k] == name) for name in self.classes] for k in at])

    def patients_each(self) -> dict[str, int]:
        """class -> how many patients have it."""
        pairs = {(self.labels[k], self.patients[k]) for k in self.known}
        return {name: sum(label == name for label, _ in pairs) for name in self.classes}

    @property
    def known(self) -> np.ndarray:
        """Places of the labelled scans."""
        return np.flatnonzero([bool(label) for label in self.labels])


@dataclass(frozen=True, slots=True)
class Choice:
    """A scan to label. at: its place in the pool. why: in a sentence."""

    at: int
    why: str


@dataclass(frozen=True, slots=True)
class Chosen:
    """A batch, in an order that means nothing. by: how it was chosen. area: of the head, out of fold, or None
    where it cannot be measured.
    """

    choices: tuple[Choice, ...]
    by: str
    area: float | None


@dataclass(frozen=True, slots=True)
class Advice:
    """Whether to label on. word: "go on", "stop" or "cannot tell". reason: a sentence. gain: what the next
    batch adds to the area under the ROC curve, or None where there are too few labels.
    """

    word: str
    reason: str
    gain: Estimate | None = None


def propose(pool: ScanPool, n: int, *, by: str = "auto", seed: int = 0) -> Chosen:
    """The n scans whose labels help most, one of a patient as long as there are patients without a label.

    by: "typical", "uncertain", "random"; "auto" is typical until a head on the labels reaches 0.8, out of
    fold. Fewer than n where fewer are left. Raises BadOption where none is left, or "uncertain" has no head
    to ask; MissingExtra without the packages.
    """
    if not pool.open_.any():
        raise BadOption("label: every scan is labelled already, or lies before another reader")
    area = None if by == "random" else ranking_area(pool, seed)
    if by == "auto":
        by = "uncertain" if area is not None and area > TRUSTED else "typical"
    if by == "uncertain" and len(pool.classes) < 2:
        raise BadOption(
            f"label: wanted two classes or more for doubt, got {', '.join(pool.classes) or 'none'}",
            "choose typical scans until a second class was found",
        )
    chosen: list[int] = []
    while len(chosen) < n and pool.open_.sum() > len(chosen):
        chosen += _round(pool, n - len(chosen), chosen, by, seed)
    order = _permutation(len(chosen), seed, "order", len(pool.known))
    chosen = [chosen[k] for k in order]
    return Chosen(tuple(map(Choice, chosen, _reasons(pool, chosen, by))), by, area)


def _round(pool: ScanPool, n: int, chosen: list[int], by: str, seed: int) -> list[int]:
    """At most one scan of a patient: of patients without a label first, of the others once there are no such
    patients.
    """
    taken = {pool.patients[k] for k in (*np.flatnonzero(~pool.open_), *chosen)}
    left = [k for k in np.flatnonzero(pool.open_) if k not in set(chosen)]
    fresh = [k for k in left if pool.patients[k] not in taken] or left
    groups: dict[str, list[int]] = {}
    for k in fresh:
        groups.setdefault(pool.patients[k], []).append(int(k))
    doubt = _doubt(pool) if by == "uncertain" else None
    candidates = np.array([_one_of(pool, scans, doubt) for scans in groups.values()])
    if n >= len(candidates):
        return candidates.tolist()
    step = seed_for(seed, "label", len(pool.known), len(chosen)) % 2**31
    mixed = candidates[_permutation(len(candidates), seed, "random", len(pool.known))].tolist()
    found: list[int] = []
    if by == "typical":
        found = _typical(pool, candidates, chosen, n, step)
    elif by == "uncertain":
        found = _uncertain(pool, candidates, n, step)
    return [*found, *(k for k in mixed if k not in found)][:n]


def _one_of(pool: ScanPool, scans: list[int], doubt: np.ndarray | None) -> int:
    """Of one patient's scans the most doubtful, else the one nearest to their mean."""
    if doubt is not None:
        return scans[int(doubt[scans].argmax())]
    own = pool.features[scans]
    return scans[int(np.square(own - own.mean(0)).sum(1).argmin())]


def _typical(pool: ScanPool, candidates: np.ndarray, chosen: list[int], n: int, step: int) -> list[int]:
    """TypiClust: clusters without a label, and of each the scan in its densest place."""
    pools = optional("skactiveml.pool", "labels", "Choosing scans to label")
    covered = np.array([*np.flatnonzero(~pool.open_), *chosen], dtype=int)
    at = np.concatenate([candidates, covered])
    y = np.full(len(at), np.nan)
    y[len(candidates) :] = 0
    if len(np.unique(pool.features[at], axis=0)) < len(covered) + n:
        return []  # too many equal scans for so many clusters
    found = pools.TypiClust(random_state=step).query(pool.features[at], y, batch_size=n)
    return list(dict.fromkeys(at[found].tolist()))


def _uncertain(pool: ScanPool, candidates: np.ndarray, n: int, step: int) -> list[int]:
    """Badge: the head's gradients, far apart and large."""
    pools = optional("skactiveml.pool", "labels", "Choosing scans to label")
    wrapped = optional("skactiveml.classifier", "labels", "Choosing scans to label")
    linear = optional("sklearn.linear_model", "labels", "Choosing scans to label")
    at = np.concatenate([candidates, pool.known])
    y = np.full(len(at), np.nan)
    y[len(candidates) :] = pool.targets(pool.known).argmax(1)
    ridge = linear.LogisticRegression(C=STRENGTH * UNIT**2, class_weight="balanced", max_iter=1000)
    head = wrapped.SklearnClassifier(ridge, classes=range(len(pool.classes)), random_state=step)
    found = pools.Badge(random_state=step).query(pool.features[at], y, clf=head, batch_size=n)
    return list(dict.fromkeys(int(at[k]) for k in found))


def _doubt(pool: ScanPool) -> np.ndarray:
    """(n,): one minus the probability of the most probable class."""
    head = fit_linear(pool.features[pool.known], pool.targets(pool.known))
    return 1 - probabilities(head(pool.features), several=False).max(1)


def _reasons(pool: ScanPool, chosen: list[int], by: str) -> list[str]:
    """Why each scan, in a sentence: how many scans it stands for, or what the head says of it."""
    if by == "random":
        return ["drawn at random"] * len(chosen)
    centres = np.array([*chosen, *pool.known], dtype=int)
    open_ = np.flatnonzero(pool.open_)
    nearest = _distances(pool.features[open_], pool.features[centres]).argmin(1)
    stands = np.bincount(nearest, minlength=len(centres)).tolist()
    if by == "typical":
        return [f"typical: stands for {_scans(n)}" for n in stands[: len(chosen)]]
    sure = 1 - _doubt(pool)[chosen]  # not which class: that would lead a reader
    return [
        f"unsure: {share:.0%} for one class; stands for {_scans(n)}"
        for share, n in zip(sure, stands, strict=False)
    ]


def _scans(n: int) -> str:
    return f"{n} unlabelled scan{'s' * (n != 1)}"


def _distances(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """(n, m) squared distances."""
    return np.square(a).sum(1)[:, None] + np.square(b).sum(1) - 2 * a @ b.T


def _permutation(n: int, seed: int, *names: object) -> np.ndarray:
    return torch.randperm(n, generator=generator(seed, "label", *names)).numpy()


def reduced_features(features: np.ndarray) -> np.ndarray:
    """(n, d) -> (n, at most 64) in which scans are near or far from each other, mean square 1 in all; not
    whitened.
    """
    found = Projection.fitted(features, DIMENSIONS)(features)
    return found if found.shape[1] else np.zeros((len(features), 1))


def unseen_probabilities(pool: ScanPool, seed: int = 0) -> np.ndarray | None:
    """(labelled scans, classes) by heads that have not seen the patient. None where a class has fewer than
    ``LEAST_EACH`` patients, or there is one class only.
    """
    each, known = pool.patients_each(), pool.known
    if len(each) < 2 or min(each.values()) < LEAST_EACH:
        return None
    return _unseen(pool.features[known], pool.targets(known), [pool.patients[k] for k in known], seed)


def _unseen(
    x: np.ndarray, y: np.ndarray, patients: Sequence[str], seed: int, parts: int = FOLDS
) -> np.ndarray:
    folds = folds_by_patient(y, patients, seed, parts)
    return probabilities(out_of_fold(fit_linear, x, y, folds), several=False)


def ranking_area(pool: ScanPool, seed: int = 0) -> float | None:
    """Area under the ROC curve of the head, out of fold, mean over the classes against the rest; None where
    ``unseen_probabilities`` has none.
    """
    found = unseen_probabilities(pool, seed)
    return None if found is None else _area(pool.targets(pool.known), found)


def _area(y: np.ndarray, found: np.ndarray) -> float:
    metrics = optional("sklearn.metrics", "labels", "Choosing scans to label")
    return float(np.mean([metrics.roc_auc_score(y[:, k], found[:, k]) for k in range(y.shape[1])]))


def advised(pool: ScanPool, n: int, seed: int = 0) -> Advice:
    """Whether n more labels are worth their time: the learning curve of the labels at hand, carried on.

    Patients are drawn again with replacement. On each draw the area out of fold is measured with 40, 60
    and 100 % of the labels. A line in the logarithm of their number is fitted and carried on to n more
    labels. The 90 % interval is that of the draws.
    """
    left, each = int(pool.open_.sum()), pool.patients_each()
    if not left:
        return Advice("stop", "Stop: every scan is labelled.")
    if len(each) < 2:
        found = f"all labels so far are {next(iter(each))}" if each else "there is no label yet"
        return Advice("go on", f"Go on: a head needs two classes, and {found}.")
    rare = min(each, key=lambda name: each[name])
    if each[rare] < 2 * LEAST_EACH:
        few = "1 labelled patient is" if each[rare] == 1 else f"{each[rare]} labelled patients are"
        return Advice("go on", f"Go on: only {few} {rare}: too few to measure a curve.")
    gains = np.array([gain for k in range(_DRAWS) if (gain := _gain(pool, n, seed, k)) is not None])
    if len(gains) < _DRAWS // 2:
        return Advice("go on", "Go on: the labels are too few to measure a learning curve.")
    low, middle, high = np.quantile(gains, (0.05, 0.5, 0.95))
    gain = Estimate(float(middle), float(low), float(high), 0.9, len(pool.known))
    area = ranking_area(pool, seed)
    words = (
        f"the next {min(n, left)} labels are expected to add {gain.value:.3f} ({gain.low:.3f} to "
        f"{gain.high:.3f}) to an area under the ROC curve of {area:.3f}, out of fold"
    )
    if gain.high < WORTH:
        return Advice("stop", f"Stop: {words}.", gain)
    if gain.low > WORTH:
        return Advice("go on", f"Go on: {words}.", gain)
    return Advice("cannot tell", f"It cannot be told whether more labels help: {words}.", gain)


def _gain(pool: ScanPool, n: int, seed: int, draw: int) -> float | None:
    """The expected gain on one draw of the labelled patients; None where it lost a class."""
    known, drawn = pool.known, generator(seed, "label", "gain", draw)
    y, patients = pool.targets(known), np.array([pool.patients[k] for k in known])
    names = np.unique(patients)
    picked = names[torch.randint(len(names), (len(names),), generator=drawn).numpy()]
    rows = np.concatenate([np.flatnonzero(patients == name) for name in picked])
    sizes, areas = [], []
    for share in _SHARES:
        order = names[torch.randperm(len(names), generator=drawn).numpy()]
        at = rows[np.isin(patients[rows], order[: round(share * len(names))])]
        if min((len(set(patients[at][y[at, k] > 0])) for k in range(y.shape[1])), default=0) > 1:
            sizes.append(len(set(patients[at])))
            seen = pool.features[known][at], y[at], patients[at].tolist()
            areas.append(_area(y[at], _unseen(*seen, draw, parts=3)))
    if len(sizes) < 3 or sizes[-1] == sizes[0]:
        return None
    slope = float(np.polyfit(np.log(sizes), areas, 1)[0])
    return min(slope * float(np.log1p(n / len(names))), 1 - areas[-1])
