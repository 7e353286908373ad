"""Heads of few labels: classes count equally, unlabelled scans help or are left out, probabilities are made
true."""

from __future__ import annotations

import numpy as np
import pytest

from medprior.learning import heads
from medprior.learning.heads import (
    LinearHead,
    Projection,
    calibrated,
    fit_linear,
    folds_by_patient,
    out_of_fold,
    probabilities,
    self_train,
)


def two_groups(
    n: int, share: float = 0.5, apart: float = 2.0, seed: int = 0
) -> tuple[np.ndarray, np.ndarray]:
    """Features (n, 12) of two Gaussian groups, and one-hot targets."""
    rng = np.random.default_rng(seed)
    kind = np.arange(n) < share * n
    x = rng.normal(size=(n, 12)) + apart * np.outer(np.where(kind, 1, -1), np.eye(12)[0])
    return x, np.eye(2)[kind.astype(int)]


def accuracy(logits: np.ndarray, y: np.ndarray) -> float:
    return float((logits.argmax(1) == y.argmax(1)).mean())


def test_a_projection_keeps_distances_and_whitens_nothing() -> None:
    """Standardised features are only turned: directions keep the variance that they have."""
    x = np.random.default_rng(0).normal(size=(40, 90)) @ np.diag(np.linspace(1, 9, 90))
    turned = Projection.fitted(x)(x)
    z = (x - x.mean(0)) / x.std(0) / np.sqrt(90)
    assert np.allclose(np.linalg.norm(turned[3] - turned[7]), np.linalg.norm(z[3] - z[7]))
    spread = turned.std(0)
    assert turned.shape[1] == 39 and np.all(np.diff(spread) < 1e-9) and spread[0] > 2 * spread[-1]
    many = Projection.fitted(np.tile(x, (4, 1)), most=5)(x)
    assert np.allclose(np.abs(many), np.abs(turned[:, :5]), atol=1e-6)


def test_the_head_behind_a_projection_is_the_same_head() -> None:
    x, y = two_groups(30)
    projection = Projection.fitted(x)
    head = fit_linear(projection(x), y)
    assert np.allclose(head(projection(x)), head.behind(projection)(x))


def test_classes_count_equally() -> None:
    """One scan in ten is of the first class; the line lies in the middle all the same."""
    x, y = two_groups(200, share=0.1, apart=0.5)
    head = fit_linear(x, y, strength=10)
    found = head(x).argmax(1)
    assert abs(found.mean() - 0.3) < 0.15 and found[:20].mean() > 0.5


def test_three_classes_one_of_them_not_there() -> None:
    x, y = two_groups(40)
    head = fit_linear(x, np.concatenate([y, np.zeros((40, 1))], axis=1))
    assert accuracy(head(x), y) > 0.95 and probabilities(head(x), several=False)[:, 2].max() < 1e-3


def test_labels_that_come_together_have_a_probability_each() -> None:
    x, y = two_groups(60)
    both = np.stack([y[:, 0], np.ones(60), np.zeros(60)], axis=1)
    p = probabilities(fit_linear(x, both, several=True)(x), several=True)
    assert ((p[:, 0] > 0.5) == (y[:, 0] > 0.5)).mean() > 0.95
    assert p[:, 1].min() > 0.9 and p[:, 2].max() < 0.1


def test_self_training_uses_the_scans_without_label() -> None:
    """Two labels point a little aside of what parts the groups; 400 scans without label put it right."""
    x, y = two_groups(400, apart=1.2)
    held, truth = two_groups(400, apart=1.2, seed=1)
    alone = [accuracy(fit_linear(x[at], y[at])(held), truth) for at in _draws(8)]
    ours = [_self(x, y, at, held, truth) for at in _draws(8)]
    assert np.mean(ours) > np.mean(alone) + 0.01


def _draws(n: int) -> list[np.ndarray]:
    rng = np.random.default_rng(0)
    return [np.concatenate([rng.choice(200, 3), 200 + rng.choice(200, 3)]) for _ in range(n)]


def _self(x: np.ndarray, y: np.ndarray, at: np.ndarray, held: np.ndarray, truth: np.ndarray) -> float:
    found = self_train(x[at], y[at], x)
    assert found.head is not None and found.reason == ""
    return accuracy(found.head(held), truth)


def test_self_training_that_drifts_is_stopped(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without alignment, unlabelled scans of one group alone would make that class all of the
    pseudo-labels."""
    x, y = two_groups(40)
    monkeypatch.setattr(heads, "share_aligned", lambda p, target, *, several: p)
    found = self_train(x, y, x[:10])
    assert found.head is None and "of the pseudo-labels and 50% of the labels" in found.reason


@pytest.mark.parametrize("several", [False, True])
def test_alignment_gives_pseudo_labels_the_shares_of_the_labels(several: bool) -> None:
    p = np.random.default_rng(0).dirichlet([4, 1], 200)
    moved = heads.share_aligned(p, np.array([0.5, 0.5]), several=several)
    assert abs(moved.mean(0)[0] - 0.5) < abs(p.mean(0)[0] - 0.5) / 2
    assert moved.min() >= 0 and moved.max() <= 1


def test_patients_stay_together_and_are_spread_by_kind() -> None:
    patients = [f"p{n // 2}" for n in range(40)]
    rare = (np.arange(40) // 2) % 4 == 0
    fold = folds_by_patient(np.eye(2)[rare.astype(int)], patients, 0, 5)
    assert all(fold[n] == fold[n + 1] for n in range(0, 40, 2))
    assert [int((fold[rare] == k).sum()) for k in range(5)] == [2] * 5


def test_out_of_fold_answers_have_not_seen_the_scan() -> None:
    x, y = two_groups(20)
    seen = []

    def fit(a: np.ndarray, b: np.ndarray) -> LinearHead:
        seen.append(len(a))
        return LinearHead(np.zeros((2, 12)), np.array([a[:, 0].sum(), 0.0]))

    logits = out_of_fold(fit, x, y, np.arange(20) % 4)
    assert seen == [15] * 4
    assert np.allclose(logits[1, 0], x[np.arange(20) % 4 != 1, 0].sum())


@pytest.mark.parametrize("several", [False, True])
def test_a_temperature_makes_too_sure_logits_true(several: bool) -> None:
    rng = np.random.default_rng(0)
    true = np.stack([np.zeros(1500), rng.normal(size=1500) * 1.5], axis=1)
    kind = rng.uniform(size=1500) < 1 / (1 + np.exp(-true[:, 1]))
    y = np.stack([~kind, kind], axis=1).astype(float)
    logits = np.stack([-true[:, 1], true[:, 1]], 1) if several else true
    found = calibrated(4 * logits, y, several=several)
    assert found.value == pytest.approx(4, rel=0.2)
    assert np.allclose(found(4 * logits) - found(4 * logits)[:, :1], logits - logits[:, :1], atol=1.2)
