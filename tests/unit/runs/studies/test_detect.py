"""The ROC curve of an evaluation, and what its verdict claims of two scores."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import cast

import numpy as np
import pytest

from medprior.evidence.metrics import auroc
from medprior.io.dataset.cache import keyed_hashes
from medprior.io.dataset.scan import Item
from medprior.prior.promises import DetectPromise
from medprior.runs.core.progress import Event
from medprior.runs.studies.detect import _fair, roc_points, told_apart


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


def test_scans_that_taught_the_prior_are_left_out_where_their_hashes_can_be_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Plain digests of an older version serve still; hashes by the secret of somebody else give a warning."""
    monkeypatch.setenv("MEDPRIOR_CACHE", str(tmp_path))
    items = cast(list[Item], [SimpleNamespace(digest=f"{n}" * 64) for n in range(3)])
    name, hashed = keyed_hashes(item.digest for item in items[:1])
    heard: list[Event] = []
    for promise in (DetectPromise(scans=hashed, key_name=name), DetectPromise(scans=("0" * 16,))):
        assert _fair(promise, items, heard.append) == items[1:] and not heard
    assert _fair(DetectPromise(scans=hashed, key_name="another"), items, heard.append) == items
    assert "calibrated by someone else" in heard[0].text
