"""Which scans to label next: typical ones first, later those where a head is unsure and that differ from each
other. Patients are the units.

Sources: TypiClust (Hacohen et al., ICML 2022), Badge (Ash et al., ICLR 2020).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..data.seeds import generator, seed_for
from ..errors import BadOption, optional
from ..prior.promises import Estimate

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

_DIMENSIONS = 64
_DRAWS = 24
_SHARES = (0.4, 0.6, 0.8)


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
    at = np.concatenate([candidates, pool.known])
    y = np.full(len(at), np.nan)
    y[len(candidates) :] = [pool.classes.index(pool.labels[k]) for k in pool.known]
    classes = list(range(len(pool.classes)))
    head = wrapped.SklearnClassifier(_head(), classes=classes, random_state=step)
    found = pools.Badge(random_state=step).query(pool.features[at], y, clf=head, batch_size=n)
    return list(dict.fromkeys(int(at[k]) for k in found))


def _doubt(pool: ScanPool) -> np.ndarray:
    """(n,): one minus the probability of the most probable class."""
    known = pool.known
    head = _head().fit(pool.features[known], [pool.labels[k] for k in known])
    return 1 - head.predict_proba(pool.features).max(1)


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
    import torch

    return torch.randperm(n, generator=generator(seed, "label", *names)).numpy()


def reduced_features(features: np.ndarray, seed: int = 0) -> np.ndarray:
    """(n, d) -> (n, at most 64): each number scaled to variance 1, then principal components. They are not
    whitened, which would drown what a few labels can use. Raises MissingExtra without scikit-learn.
    """
    decomposition = optional("sklearn.decomposition", "labels", "Choosing scans to label")
    x = np.asarray(features, dtype=np.float64)
    spread = x.std(0)
    x = (x - x.mean(0))[:, spread > 1e-12] / spread[spread > 1e-12]
    if not x.shape[1]:
        return np.zeros((len(features), 1))
    size = min(_DIMENSIONS, *x.shape)
    found = decomposition.PCA(size, svd_solver="randomized", random_state=seed_for(seed, "reduce") % 2**31)
    found = found.fit_transform(x)
    return found / max(1e-12, float(found[:, 0].std()))


def _head() -> Any:
    """A logistic regression in which each class counts the same."""
    linear = optional("sklearn.linear_model", "labels", "Choosing scans to label")
    return linear.LogisticRegression(class_weight="balanced", max_iter=1000)


def unseen_probabilities(pool: ScanPool, seed: int = 0, folds: int = 5) -> np.ndarray | None:
    """(labelled scans, classes) probabilities by heads that have not seen the patient. None where a class has
    fewer than ``LEAST_EACH`` patients, or there is one class only.
    """
    known, classes = pool.known, pool.classes
    patients = np.array([pool.patients[k] for k in known])
    labels = np.array([pool.labels[k] for k in known])
    each = [len(set(patients[labels == name])) for name in classes]
    if len(classes) < 2 or min(each) < LEAST_EACH:
        return None
    return _folded(pool.features[known], labels, patients, min(folds, *each), seed)


def _folded(x: np.ndarray, labels: np.ndarray, patients: np.ndarray, folds: int, seed: int) -> np.ndarray:
    """NaN for scans of a fold that no head could be trained for."""
    selection = optional("sklearn.model_selection", "labels", "Choosing scans to label")
    splitter = selection.StratifiedGroupKFold(
        folds, shuffle=True, random_state=seed_for(seed, "folds") % 2**31
    )
    classes = np.unique(labels)
    found = np.full((len(x), len(classes)), np.nan)
    for train, held in splitter.split(x, labels, patients):
        if len(set(labels[train])) == len(classes):
            found[held] = _head().fit(x[train], labels[train]).predict_proba(x[held])
    return found


def ranking_area(pool: ScanPool, seed: int = 0) -> float | None:
    """Area under the ROC curve of the head, out of fold, mean over the classes against the rest; None where
    ``unseen_probabilities`` has none.
    """
    found = unseen_probabilities(pool, seed)
    return None if found is None else _area([pool.labels[k] for k in pool.known], found)


def _area(labels: Sequence[str], probabilities: np.ndarray) -> float | None:
    metrics = optional("sklearn.metrics", "labels", "Choosing scans to label")
    given, classes = np.asarray(labels), np.unique(labels)
    sound = np.isfinite(probabilities).all(1)
    areas = [
        metrics.roc_auc_score(given[sound] == name, probabilities[sound, k])
        for k, name in enumerate(classes)
        if len(set(given[sound] == name)) == 2
    ]
    return float(np.mean(areas)) if areas else None


def advised(pool: ScanPool, n: int, seed: int = 0) -> Advice:
    """Whether n more labels are worth their time: the learning curve of the labels at hand, carried on.

    Patients are drawn again with replacement. On each draw the area out of fold is measured with 40, 60, 80
    and 100 % of the labels. A power law 1 - area = b m^-c is fitted and carried on to n more labels. The 90 %
    interval is that of the draws.
    """
    left, each = int(pool.open_.sum()), pool.patients_each()
    if not left:
        return Advice("stop", "Every scan is labelled.")
    if len(each) < 2:
        found = f"all labels so far are {next(iter(each))}" if each else "there is no label yet"
        return Advice("go on", f"A head needs two classes, and {found}.")
    rare = min(each, key=lambda name: each[name])
    if each[rare] < 2 * LEAST_EACH:
        return Advice("go on", f"Only {each[rare]} labelled patients are {rare}: too few to measure a curve.")
    gains = np.array([gain for k in range(_DRAWS) if (gain := _gain(pool, n, seed, k)) is not None])
    if len(gains) < _DRAWS // 2:
        return Advice("go on", "The labels are too few to measure a learning curve.")
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
    """The expected gain on one draw of the labelled patients; None where a class is lost."""
    import torch

    known = pool.known
    labels, patients = np.array([pool.labels[k] for k in known]), np.array([pool.patients[k] for k in known])
    names, drawn = np.unique(patients), generator(seed, "label", "gain", draw)
    picked = names[torch.randint(len(names), (len(names),), generator=drawn).numpy()]
    rows = np.concatenate([np.flatnonzero(patients == name) for name in picked])
    order = names[torch.randperm(len(names), generator=drawn).numpy()]
    sizes, errors = [], []
    for share in (*_SHARES, 1.0):
        inside = rows[np.isin(patients[rows], order[: round(share * len(names))])]
        x, given, owners = pool.features[known][inside], labels[inside], patients[inside]
        each = [len(set(owners[given == name])) for name in np.unique(given)]
        if len(each) < len(pool.classes) or min(each) < 2:
            continue
        area = _area(given.tolist(), _folded(x, given, owners, min(3, *each), draw))
        if area is not None:
            sizes.append(len(set(owners)))
            errors.append(max(1 - area, 1e-4))
    if len(sizes) < 3 or sizes[-1] == sizes[0]:
        return None
    slope, height = np.polyfit(np.log(sizes), np.log(errors), 1)
    now = len(names)
    return float(np.exp(height) * (now**slope - (now + n) ** slope))
