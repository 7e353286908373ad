"""Conformal p-values, thresholds and false discovery rates: valid for any score, exact in their ranks, silent
where patients are too few.
"""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import pytest
from scipy.stats import false_discovery_control

from medprior.errors import BadOption, Uncalibrated
from medprior.evidence.conformal import (
    benjamini_hochberg,
    false_positive_rate,
    p_value,
    patients_needed,
    smallest_p,
    threshold,
)

LAWS = {
    "normal": lambda rng, n: rng.normal(size=n),
    "heavy tails": lambda rng, n: rng.standard_cauchy(size=n),
    "ties": lambda rng, n: rng.integers(0, 4, n).astype(float),
}


@pytest.mark.parametrize("law", LAWS)
def test_p_is_valid_for_any_law(law: str) -> None:
    """4000 worlds of 19 healthy patients and a healthy one more: P(p <= a) is at most a, and equal to it
    where no scores tie.
    """
    rng = np.random.default_rng(0)
    p = np.array([p_value(s[0], s[1:].tolist()) for s in (LAWS[law](rng, 20) for _ in range(4000))])
    for a in (0.05, 0.1, 0.25, 0.5):
        rate, error = (p <= a + 1e-12).mean(), math.sqrt(a * (1 - a) / 4000)
        assert rate <= a + 3.5 * error
        if law != "ties":
            assert rate >= a - 3.5 * error


def test_p_by_hand() -> None:
    assert p_value(2.0, [1.0, 2.0, 3.0]) == 3 / 4
    assert p_value(9.0, [1.0, 2.0, 3.0]) == smallest_p(3) == 1 / 4
    assert p_value(-math.inf, [1.0]) == 1.0


def test_the_threshold_keeps_its_rate() -> None:
    rng = np.random.default_rng(1)
    above = [s[0] > threshold(s[1:].tolist(), 0.1) for s in (rng.normal(size=31) for _ in range(4000))]
    assert np.mean(above) == pytest.approx(3 / 31, abs=3.5 * math.sqrt(0.1 * 0.9 / 4000))


@pytest.mark.parametrize("n", range(1, 130))
def test_the_threshold_is_the_exact_rank(n: int) -> None:
    """Floats or not, for every hundredth: the least healthy score with at most alpha of n + 1 above it, in
    exact fractions.
    """
    scores = [float(i) for i in range(1, n + 1)]
    for hundredths in range(1, 100):
        alpha = Fraction(hundredths, 100)
        rank = math.ceil((n + 1) * (1 - alpha))
        if rank > n:
            assert n < patients_needed(hundredths / 100)
            with pytest.raises(Uncalibrated, match=f"at least {patients_needed(hundredths / 100)}"):
                threshold(scores, hundredths / 100)
        else:
            assert threshold(scores, hundredths / 100) == rank


@pytest.mark.parametrize(
    "alpha, n", [(0.05, 19), (0.01, 99), (0.1, 9), (0.03, 33), (0.5, 1), (0.9, 1), (1 / 3, 2)]
)
def test_how_many_are_wanted(alpha: float, n: int) -> None:
    assert patients_needed(alpha) == n
    assert smallest_p(n) <= alpha < smallest_p(n - 1) or n == 1


@pytest.mark.parametrize("alpha", [0.0, 1.0, -1.0, 2.0, math.nan])
def test_a_rate_lies_between_0_and_1(alpha: float) -> None:
    with pytest.raises(BadOption, match="alpha"):
        threshold([1.0, 2.0], alpha)


def test_without_patients_or_numbers_there_is_no_p() -> None:
    """NaN is above nothing, and would be the rarest finding of all."""
    with pytest.raises(Uncalibrated, match="no healthy"):
        p_value(1.0, [])
    for score, scores in ((math.nan, [1.0]), (1.0, [1.0, math.nan])):
        with pytest.raises(BadOption, match=r"NaN|nan"):
            p_value(score, scores)


@pytest.mark.parametrize("n", [1, 2, 7, 60])
@pytest.mark.parametrize("ties", [False, True])
def test_q_values_are_those_of_scipy(n: int, ties: bool) -> None:
    """In the order of what was given, ties and all."""
    rng = np.random.default_rng(n)
    p = (rng.integers(1, 21, n) / 20 if ties else rng.uniform(1e-6, 1, n) ** 2).tolist()
    assert benjamini_hochberg(p) == pytest.approx(false_discovery_control(p).tolist(), abs=1e-12)


def test_q_by_hand() -> None:
    assert benjamini_hochberg([0.04, 0.01, 1.0, 0.03]) == pytest.approx(
        [0.04 * 4 / 3, 0.04, 1.0, 0.04 * 4 / 3]
    )
    assert benjamini_hochberg([]) == []


def test_of_what_q_values_find_one_in_ten_is_wrong() -> None:
    """Conformal p-values of 30 scans, 15 of them ill, that share a calibration set: the mean false share at q
    <= 0.1 is at most 0.1 times the healthy half.
    """
    rng, wrong = np.random.default_rng(0), []
    for _ in range(300):
        known = rng.normal(size=199).tolist()
        scores = [*rng.normal(size=15), *rng.normal(4, 1, size=15)]
        found = [q <= 0.1 for q in benjamini_hochberg([p_value(float(s), known) for s in scores])]
        wrong.append(sum(found[:15]) / max(1, sum(found)))
    assert 0.02 < np.mean(wrong) < 0.05 + 3.5 * np.std(wrong) / math.sqrt(300)


@pytest.mark.parametrize("p", [0.0, -0.1, 1.1, math.nan])
def test_what_is_no_p_value_has_no_q(p: float) -> None:
    with pytest.raises(BadOption, match=f"benjamini_hochberg.*{p}"):
        benjamini_hochberg([0.5, p, 0.2])


def test_the_rate_of_one_calibration_lies_in_its_interval() -> None:
    """Scores are uniform, so the share above a threshold is known exactly."""
    rng = np.random.default_rng(0)
    said = false_positive_rate(39, 0.05)
    rates = np.array([1 - threshold(rng.uniform(size=39).tolist(), 0.05) for _ in range(4000)])
    assert said.value == pytest.approx(2 / 40) and rates.mean() == pytest.approx(said.value, abs=0.003)
    inside = ((rates >= said.low) & (rates <= said.high)).mean()
    assert inside == pytest.approx(0.95, abs=0.012) and said.n == 39


def test_too_few_patients_have_no_such_rate() -> None:
    with pytest.raises(Uncalibrated):
        false_positive_rate(18, 0.05)
