"""Heads on a prior's features: balanced logistic regression, self-training on unlabelled scans, probabilities
calibrated out of fold.

Targets are (n, K), 0 or 1: one 1 a row where a scan has one class; any number where labels are findings that
may come together (``several``).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.linalg import eigh

from ..data.seeds import generator
from ..errors import optional

__all__ = [
    "FOLDS",
    "Fit",
    "LinearHead",
    "Projection",
    "SelfTrained",
    "Temperature",
    "calibrated",
    "fit_linear",
    "folds_by_patient",
    "out_of_fold",
    "probabilities",
    "self_train",
    "share_aligned",
]

Array: TypeAlias = NDArray[Any]
STRENGTH = 0.03
"""Inverse strength of the ridge, for features of mean square 1 in all. Chosen among 0.01 to 10 on the val
split of PneumoniaMNIST, 20 and 50 labels, ten draws."""
ROUNDS = 4
DRIFT = 2.0
"""Self-training stops where the share of a class among pseudo-labels is so many times its share of the
labels."""
FOLDS = 5
COMPONENTS = 256
"""Most directions that a head sees; they keep their own variance: whitening ruins heads of few labels."""


@dataclass(frozen=True, slots=True, eq=False)
class Projection:
    """(n, d) features -> (n, r): standardised, turned into their principal directions, NOT whitened; mean
    square 1 in all.
    """

    mean: Array
    turn: Array

    @classmethod
    def fitted(cls, x: Array, most: int = COMPONENTS, *, standardise: bool = True) -> Projection:
        """From features of scans with and without labels. standardise: each feature to deviation 1 first."""
        x = np.asarray(x, dtype=np.float64)
        mean, deviation = x.mean(0), x.std(0)
        if not standardise:
            deviation = np.full_like(deviation, np.sqrt(np.square(deviation).mean()))
        scale = np.where(deviation > 1e-6, deviation, 1.0) * np.sqrt(x.shape[1])
        z = (x - mean) / scale
        if len(z) < z.shape[1]:
            values, vectors = np.linalg.eigh(z @ z.T)
            kept = np.flatnonzero(values > 1e-9 * max(values[-1], 1e-12))[::-1][:most]
            axes = z.T @ vectors[:, kept] / np.sqrt(values[kept])
        else:
            d = z.shape[1]
            _, vectors = eigh(z.T @ z, subset_by_index=(max(0, d - most), d - 1))
            axes = vectors[:, ::-1]
        return cls(mean, axes / scale[:, None])

    def __call__(self, x: Array) -> Array:
        return (np.asarray(x, dtype=np.float64) - self.mean) @ self.turn


@dataclass(frozen=True, slots=True, eq=False)
class LinearHead:
    """(n, d) features -> (n, K) logits. weight: (K, d); bias: (K,). several: labels may come together."""

    weight: Array
    bias: Array
    several: bool = False

    def __call__(self, x: Array) -> Array:
        return np.asarray(x, dtype=np.float64) @ self.weight.T + self.bias

    def behind(self, projection: Projection) -> LinearHead:
        """The same head on features that no projection has turned."""
        weight = self.weight @ projection.turn.T
        return replace(self, weight=weight, bias=self.bias - weight @ projection.mean)


Fit = Callable[[Array, Array], LinearHead]
"""(features (n, d), targets (n, K)) -> a head."""


def probabilities(logits: Array, *, several: bool) -> Array:
    """(n, K): rows add to 1, or with ``several`` each label has its own."""
    x = torch.as_tensor(np.asarray(logits))
    return (x.sigmoid() if several else x.softmax(1)).numpy()


def fit_linear(
    x: Array, y: Array, *, several: bool = False, weights: Array | None = None, strength: float = STRENGTH
) -> LinearHead:
    """Logistic regression in which classes count equally. weights: (n,) of the scans.

    A label that all scans or none have gets the constant that says so. Raises MissingExtra without
    scikit-learn.
    """
    linear: Any = optional("sklearn.linear_model", "labels", "learning from labels")
    w = np.ones(len(x)) if weights is None else weights

    def regression(target: Array) -> Any:
        made = linear.LogisticRegression(C=strength, max_iter=1000, class_weight="balanced")
        return made.fit(x * UNIT, target, w)

    if several:
        rows, bias = np.zeros((y.shape[1], x.shape[1])), np.zeros(y.shape[1])
        for k in range(y.shape[1]):
            if 0 < y[:, k].sum() < len(y):
                made = regression(y[:, k] > 0.5)
                rows[k], bias[k] = made.coef_[0] * UNIT, made.intercept_[0]
            else:
                bias[k] = np.log((y[:, k].sum() + 0.5) / (len(y) - y[:, k].sum() + 0.5))
        return LinearHead(rows, bias, several=True)
    kinds = y.argmax(1)
    rows, bias = np.zeros((y.shape[1], x.shape[1])), np.full(y.shape[1], _NEVER)
    known = np.unique(kinds)
    if len(known) == 1:
        bias[known] = 0.0
        return LinearHead(rows, bias)
    made = regression(kinds)
    coef, intercept = made.coef_ * UNIT, made.intercept_
    if len(known) == 2:
        coef, intercept = np.stack([0 * coef[0], coef[0]]), np.array([0.0, intercept[0]])
    rows[known], bias[known] = coef, intercept
    return LinearHead(rows, bias)


UNIT = 16.0
"""Features have a small mean square a direction; the solver likes them larger."""
_NEVER = -20.0
"""Logit of a class that no scan has."""


@dataclass(frozen=True, slots=True, eq=False)
class SelfTrained:
    """head: None where it was stopped. reason: why, "" otherwise. shares: (K,) of pseudo-labels."""

    head: LinearHead | None
    reason: str
    shares: Array


def self_train(
    x: Array, y: Array, unlabelled: Array, *, several: bool = False, strength: float = STRENGTH
) -> SelfTrained:
    """Four rounds of pseudo-labels on ``unlabelled`` (m, d), each weighed by its confidence squared.

    Pseudo-labels are aligned first: their mean is that of the labels (distribution alignment, Berthelot et
    al., ICLR 2020). A class whose share drifts by more than a factor of two stops it: the head would only
    confirm itself (Arazo et al., IJCNN 2020).
    """
    head = fit_linear(x, y, several=several, strength=strength)
    target, shares = y.mean(0), y.mean(0)
    for _ in range(ROUNDS):
        p = share_aligned(probabilities(head(unlabelled), several=several), target, several=several)
        hard = (p > 0.5).astype(float) if several else np.eye(y.shape[1])[p.argmax(1)]
        sure = (np.maximum(p, 1 - p).min(1) if several else p.max(1)) ** 2
        shares = hard.mean(0)
        off = [k for k in range(len(target)) if not target[k] / DRIFT <= shares[k] <= target[k] * DRIFT]
        if off:
            k = off[0]
            why = f"class {k + 1} is {shares[k]:.0%} of the pseudo-labels and {target[k]:.0%} of the labels"
            return SelfTrained(None, why, shares)
        sure = sure * min(1.0, WEIGHT * len(x) / sure.sum())
        weights = np.concatenate([np.ones(len(x)), sure])
        both = np.concatenate([x, unlabelled]), np.concatenate([y, hard])
        head = fit_linear(*both, several=several, weights=weights, strength=strength)
    return SelfTrained(head, "", shares)


WEIGHT = 4.0
"""All pseudo-labels together count at most so many times as much as all labels. Chosen as ``STRENGTH`` was,
among 1, 4 and no limit."""


def share_aligned(p: Array, target: Array, *, several: bool, mean: Array | None = None) -> Array:
    """(n, K) probabilities whose mean is about ``target`` (K,). mean: of all probabilities, where ``p`` are
    some of them.
    """
    own: Array = p.mean(0) if mean is None else mean
    ratio = target / np.maximum(own, 1e-6)
    if not several:
        moved = p * ratio
        return moved / moved.sum(1, keepdims=True)
    other = (1 - target) / np.maximum(1 - own, 1e-6)
    return p * ratio / (p * ratio + (1 - p) * other)


def folds_by_patient(y: Array, patients: Sequence[str], seed: int, folds: int = FOLDS) -> Array:
    """(n,) the fold of each scan: patients stay together, and each kind of patient is spread evenly."""
    kinds: dict[str, tuple[int, ...]] = {}
    for who, row in zip(patients, y, strict=True):
        old = kinds.get(who) or (0,) * y.shape[1]
        kinds[who] = tuple(max(a, int(b)) for a, b in zip(old, row, strict=True))
    names = list(kinds)
    order = torch.randperm(len(names), generator=generator(seed, "folds")).tolist()
    names = sorted((names[n] for n in order), key=lambda name: kinds[name])
    fold = {name: n % folds for n, name in enumerate(names)}
    return np.array([fold[who] for who in patients])


def out_of_fold(fit: Fit, x: Array, y: Array, folds: Array) -> Array:
    """(n, K) logits of each scan by a head that has not seen its patient."""
    found = np.zeros(y.shape, dtype=np.float64)
    for k in np.unique(folds):
        out = folds == k
        found[out] = fit(x[~out], y[~out])(x[out])
    return found


@dataclass(frozen=True, slots=True)
class Temperature:
    """logits -> logits / value + offset: what makes probabilities true out of fold (Guo et al., ICML 2017);
    the offset gives classes their share again, which a balanced head took from them.
    """

    value: float = 1.0
    offset: tuple[float, ...] = ()

    def __call__(self, logits: Array) -> Array:
        return logits / self.value + (np.array(self.offset) if self.offset else 0.0)


def calibrated(logits: Array, y: Array, *, several: bool) -> Temperature:
    """From logits (n, K) of scans that the head has not seen: least negative log likelihood, with a weak pull
    towards 1 and 0.
    """
    x, t = torch.as_tensor(logits), torch.as_tensor(np.asarray(y, dtype=np.float64))
    start = torch.cat([torch.zeros(1), torch.zeros(y.shape[1])]).double().requires_grad_()
    solver = torch.optim.LBFGS([start], max_iter=200, line_search_fn="strong_wolfe")

    def loss() -> torch.Tensor:
        z = x / start[0].exp() + start[1:]
        if several:
            error = torch.nn.functional.binary_cross_entropy_with_logits(z, t, reduction="sum")
        else:
            error = -(t * z.log_softmax(1)).sum()
        return error + 0.5 * start[0].square() + 0.25 * start[1:].square().sum()

    def closure() -> torch.Tensor:
        solver.zero_grad()
        value = loss()
        value.backward()
        return value

    with torch.enable_grad():
        solver.step(closure)  # pyright: ignore[reportArgumentType]
    found = start.detach()
    return Temperature(float(found[0].exp()), tuple(map(float, found[1:])))
