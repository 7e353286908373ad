"""Intervals cover what they promise: simulated patients with dependent images, few patients, areas near 1."""

from __future__ import annotations

from math import sqrt

import numpy as np
import pytest
from scipy import stats

from medprior.errors import BadOption
from medprior.evidence.intervals import (
    clopper_pearson,
    difference_of_shares,
    interval,
    intraclass_correlation,
)
from medprior.evidence.metrics import auroc


@pytest.mark.parametrize(
    ("hits", "n", "low", "high"),
    [(10, 200, 0.024, 0.090), (20, 400, 0.031, 0.076), (50, 1000, 0.037, 0.065), (20, 1000, 0.012, 0.031)],
)
def test_clopper_pearson_against_published_rows(hits: int, n: int, low: float, high: float) -> None:
    """Exact binomial limits, as printed in tables, to a tenth of a percent."""
    found = clopper_pearson(hits, n)
    assert (round(found.low, 3), round(found.high, 3)) == (low, high)


def test_clopper_pearson_at_the_ends() -> None:
    """No hit of n: upper limit 1 - (alpha / 2)^(1 / n); all hits: the mirror."""
    assert clopper_pearson(0, 30).high == pytest.approx(1 - 0.025 ** (1 / 30))
    assert (clopper_pearson(0, 30).low, clopper_pearson(30, 30).high) == (0, 1)
    with pytest.raises(BadOption):
        clopper_pearson(3, 2)


@pytest.mark.parametrize(
    ("counts", "low", "high"),
    [
        ((56, 70, 48, 80), 0.0524, 0.3339),
        ((9, 10, 3, 10), 0.1705, 0.8090),
        ((5, 56, 0, 29), -0.0381, 0.1926),
        ((0, 10, 0, 20), -0.1611, 0.2775),
    ],
)
def test_a_difference_of_shares_against_published_rows(
    counts: tuple[int, int, int, int], low: float, high: float
) -> None:
    """Newcombe, Stat. Med. 17, 1998, table II, method 10."""
    found = difference_of_shares(*counts)
    assert (found.low, found.high) == (
        pytest.approx(low, abs=6e-5),
        pytest.approx(high, abs=6e-5),
    ) and found.n == counts[1] + counts[3]
    with pytest.raises(BadOption):
        difference_of_shares(2, 1, 0, 3)


def test_the_intraclass_correlation_of_a_published_table() -> None:
    """Shrout and Fleiss 1979, table 2: six targets, four judges, ICC(1,1) = 0.17."""
    ratings = [[9, 2, 5, 8], [6, 1, 3, 2], [8, 4, 6, 8], [7, 1, 2, 6], [10, 5, 6, 9], [6, 2, 4, 7]]
    found = intraclass_correlation(np.ravel(ratings), np.repeat(range(6), 4).tolist())
    assert found == pytest.approx(0.166, abs=5e-4)
    assert intraclass_correlation([1.0, 2.0, 3.0], "abc") is None
    assert intraclass_correlation([1.0, 1.0, 1.0, 1.0], "aabb") == 0.0


def test_the_intraclass_correlation_is_that_of_the_simulation() -> None:
    rng = np.random.default_rng(0)
    count = rng.integers(1, 12, 400)
    whose = np.repeat(range(400), count)
    for true in (0.0, 0.3, 0.9):
        x = rng.normal(size=400)[whose] * sqrt(true) + rng.normal(size=len(whose)) * sqrt(1 - true)
        found = intraclass_correlation(x, whose.tolist())
        assert found is not None and found == pytest.approx(true, abs=0.06)


def test_the_unit_is_the_patient() -> None:
    """Ten equal images of a patient are one observation: the interval is as wide as with one image each."""
    values = np.random.default_rng(5).normal(size=30)
    alone = interval(np.mean, values, patients=range(30))
    copies = interval(np.mean, np.repeat(values, 10), patients=np.repeat(np.arange(30), 10).tolist())
    assert (copies.low, copies.high) == pytest.approx((alone.low, alone.high))
    assert copies.n == 30 and alone.low < alone.value < alone.high


def test_of_one_image_a_patient_it_is_students_interval() -> None:
    values = np.random.default_rng(6).normal(size=7)
    found = interval(np.mean, values, patients=range(7))
    wanted = stats.t.interval(0.95, 6, values.mean(), stats.sem(values))
    assert (found.low, found.high) == pytest.approx(wanted)


@pytest.mark.parametrize(("patients", "images"), [(4, 1), (4, 25), (5, 3), (8, 10), (20, 5)])
@pytest.mark.parametrize("correlation", [0.0, 0.5, 0.9])
def test_few_patients_are_covered(patients: int, images: int, correlation: float) -> None:
    """Of 95 % intervals of a mean, 0.93 to 0.98 hold the truth, whatever the intra-class correlation."""
    rng = np.random.default_rng(1000 * patients + images)
    owners, held, trials = np.repeat(np.arange(patients), images).tolist(), 0, 1500
    for _ in range(trials):
        of_patient = rng.normal(size=(patients, 1)) * sqrt(correlation)
        values = of_patient + rng.normal(size=(patients, images)) * sqrt(1 - correlation)
        found = interval(np.mean, values.ravel(), patients=owners)
        held += found.low <= 0 <= found.high
    assert 0.93 <= held / trials <= 0.98


@pytest.mark.parametrize(("healthy", "sick"), [(4, 4), (5, 10), (26, 59)])
@pytest.mark.parametrize("apart", [0.5, 1.2, 3.0])
def test_an_auroc_of_few_patients_is_covered(healthy: int, sick: int, apart: float) -> None:
    rng, held, trials = np.random.default_rng(healthy), 0, 1000
    labels = [0] * healthy + [1] * sick
    true = float(stats.norm.cdf(apart / sqrt(2)))
    for _ in range(trials):
        scores = rng.normal(size=len(labels)) + apart * np.array(labels)
        found = interval(auroc, scores, labels, patients=range(len(labels)), strata=labels)
        held += found.low <= true <= found.high
    assert 0.92 <= held / trials <= 0.99


def test_an_area_of_one_is_not_certain() -> None:
    found = interval(auroc, [0.0, 1, 2, 3], [0, 0, 1, 1], patients=range(4), strata=[0, 0, 1, 1])
    assert found.value == 1 and found.high == 1 and found.low < 0.5


def test_a_share_of_which_nothing_varied_has_the_exact_interval() -> None:
    found = interval(np.mean, [0, 0, 0, 0, 0, 0], patients=[1, 1, 2, 2, 3, 3])
    assert (found.low, found.high, found.n) == (0.0, clopper_pearson(0, 3).high, 3)


def test_an_interval_that_nothing_supports_is_refused() -> None:
    with pytest.raises(BadOption, match="two patients"):
        interval(np.mean, [1.0, 2.0], patients=["a", "a"])
    with pytest.raises(BadOption, match="one stratum"):
        interval(np.mean, [1.0, 2.0, 3.0], patients=["a", "a", "b"], strata=[0, 1, 1])
    with pytest.raises(BadOption, match="as long as"):
        interval(np.mean, [1.0], patients=["a", "b"])
    with pytest.raises(BadOption, match="labels as strata"):
        interval(auroc, [0.1, 0.2, 0.3, 0.4], [0, 0, 1, 1], patients=range(4))
