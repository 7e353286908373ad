"""Paired gains: closed forms where there are any, coverage where there are none."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from medprior.errors import BadOption
from medprior.evidence.gain import SeedScores, auroc_scores, mean_scores, paired_gain
from medprior.evidence.metrics import auroc


def delong(scores: np.ndarray, labels: np.ndarray) -> float:
    """Variance of an AUROC as DeLong et al. wrote it, pair by pair."""
    x, y = scores[labels == 1], scores[labels == 0]
    kernel = (x[:, None] > y).astype(float) + 0.5 * (x[:, None] == y)
    return float(kernel.mean(1).var(ddof=1) / len(x) + kernel.mean(0).var(ddof=1) / len(y))


def test_parts_are_delongs() -> None:
    rng = np.random.default_rng(0)
    labels = np.arange(90) % 3 // 2
    scores = np.round(rng.normal(size=90) + labels, 1)  # ties, too
    found = auroc_scores(np.stack([-scores, scores], 1), labels)
    assert found.value == pytest.approx(auroc(scores, labels), abs=1e-12)
    assert abs(found.parts.sum()) < 1e-12
    corrected = sum(np.square(found.parts[labels == k]).sum() * m / (m - 1) for k, m in ((0, 60), (1, 30)))
    assert corrected == pytest.approx(delong(scores, labels), rel=1e-9)


def test_three_labels_are_the_mean_of_each_against_the_rest() -> None:
    rng = np.random.default_rng(1)
    p, y = rng.random((60, 3)), np.arange(60) % 3
    assert auroc_scores(p, y).value == pytest.approx(np.mean([auroc(p[:, k], y == k) for k in range(3)]))


def test_without_patients_that_differ_it_is_the_t_interval_of_the_seeds() -> None:
    apart = np.array([0.1, 0.3, 0.2, 0.6, 0.1])
    flat = [SeedScores(0.0, np.zeros(10))] * 5
    found = paired_gain([SeedScores(v, np.zeros(10)) for v in apart], flat, range(10))
    low, high = stats.t.interval(0.95, 4, apart.mean(), stats.sem(apart))
    assert (found.value, found.low, found.high, found.n) == pytest.approx((apart.mean(), low, high, 10))


def test_with_one_seed_it_is_the_t_interval_of_patients_and_scans_of_a_patient_count_as_one() -> None:
    values = np.random.default_rng(2).normal(0.1, 1, 20)
    zero = [mean_scores(np.zeros(20))] * 3
    low, high = stats.t.interval(0.95, 19, values.mean(), stats.sem(values))
    alone = paired_gain([mean_scores(values)] * 3, zero, range(20))
    assert (alone.low, alone.high) == pytest.approx((low, high))
    twice = paired_gain(
        [mean_scores(np.repeat(values, 2))] * 3,
        [mean_scores(np.zeros(40))] * 3,
        np.repeat(np.arange(20), 2).tolist(),
    )
    assert (twice.low, twice.high, twice.n) == pytest.approx((low, high, 20))


@pytest.mark.parametrize(("of_seeds", "of_patients"), [(0.05, 0.2), (0.02, 1.0), (0.2, 0.1)])
def test_the_interval_holds_for_new_seeds_and_new_patients(of_seeds: float, of_patients: float) -> None:
    """800 experiments of 5 seeds and 60 patients, both drawn by chance: 95 % must hold the truth, and far
    fewer would without one of the two.
    """
    rng, truth, held, patients_alone = np.random.default_rng(3), 0.1, 0, 0
    zero = [mean_scores(np.zeros(60))] * 5
    for _ in range(800):
        values = (
            truth
            + rng.normal(0, of_seeds, (5, 1))
            + rng.normal(0, of_patients, 60)
            + rng.normal(0, 0.3, (5, 60))
        )
        found = paired_gain([mean_scores(v) for v in values], zero, range(60))
        held += found.low <= truth <= found.high
        low, high = stats.t.interval(0.95, 59, values.mean(), stats.sem(values.mean(0)))
        patients_alone += low <= truth <= high
    assert 0.93 <= held / 800 <= 1
    if of_seeds > 0.1:
        assert patients_alone / 800 < 0.75


def test_what_cannot_be_paired_is_refused() -> None:
    one = [mean_scores(np.arange(4))]
    with pytest.raises(BadOption, match="two seeds"):
        paired_gain(one, one, range(4))
    with pytest.raises(BadOption, match="two patients"):
        paired_gain(one * 2, one * 2, ["a"] * 4)
    with pytest.raises(BadOption, match="two labels"):
        auroc_scores(np.ones((3, 2)), np.zeros(3))
