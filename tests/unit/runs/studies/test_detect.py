"""The ROC curve of an evaluation, and what its verdict claims of two scores."""

from __future__ import annotations

import numpy as np
import pytest

from medprior.evidence.metrics import auroc
from medprior.runs.studies.detect import roc_points, told_apart


def test_the_area_under_the_curve_is_the_auroc() -> None:
    """With ties, which pass a threshold together."""
    rng = np.random.default_rng(0)
    scores, sick = np.round(rng.normal(size=60), 1), rng.random(60) < 0.4
    x, y = roc_points(scores, sick)
    assert (x[0], y[0], x[-1], y[-1]) == (0, 0, 1, 1)
    assert np.trapezoid(y, x) == pytest.approx(auroc(scores, sick.astype(int)))


def test_a_score_that_tells_all_apart_has_a_right_angle() -> None:
    assert roc_points(np.array([3.0, 2.0, 1.0]), np.array([True, False, False])) == (
        [0.0, 0.0, 0.5, 1.0],
        [0.0, 1.0, 1.0, 1.0],
    )


@pytest.mark.parametrize(
    ("low", "high", "word"),
    [
        (0.01, 0.2, "ahead of it"),
        (-0.2, -0.01, "BEHIND it"),
        (-0.24, 0.193, "not told apart from it"),
        (None, None, "not told apart from it"),
    ],
)
def test_two_scores_are_told_apart_by_the_interval_alone(low, high, word: str) -> None:
    assert told_apart({"value": -0.025, "low": low, "high": high}) == word
