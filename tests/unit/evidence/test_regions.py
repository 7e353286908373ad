"""Overlap of a map with drawn regions: worked by hand, and beside scikit-learn."""

from __future__ import annotations

import numpy as np
import pytest

from medprior.errors import BadOption, ShapeMismatch
from medprior.evidence.regions import best_dice, dice, pro


def drawn(n: int = 4000, *, ties: int = 0, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Values that know something, and one region of a twentieth of the voxels. ties: how many different
    values there are; 0: all differ.
    """
    rng = np.random.default_rng(seed)
    truth = np.zeros(n, dtype=bool)
    truth[: n // 20] = True
    values = rng.normal(size=n) + truth
    return (np.round(values * ties / 8) if ties else values), truth


def test_dice_by_hand() -> None:
    truth = np.array([[True, True, False], [False, False, False]])
    assert dice(truth, truth) == 1.0
    assert dice(np.array([[True, False, True], [True, False, False]]), truth) == pytest.approx(2 / 5)
    assert dice(~truth, truth) == 0.0


def test_nothing_found_where_nothing_is_is_perfect() -> None:
    nothing, something = np.zeros(4, dtype=bool), np.array([True, False, False, False])
    assert dice(nothing, nothing) == 1.0
    assert dice(something, nothing) == dice(nothing, something) == 0.0


@pytest.mark.parametrize("ties", [0, 5])
def test_best_dice_is_the_best_of_all_thresholds(ties: int) -> None:
    values, truth = drawn(400, ties=ties)
    every = [dice(values >= threshold, truth) for threshold in np.unique(values)]
    assert best_dice(values, truth) == pytest.approx(max(every), rel=1e-12)
    assert max(every) < 1


def test_best_dice_at_its_ends() -> None:
    truth = np.array([False, True, True, False])
    assert best_dice([0.0, 2.0, 1.0, 0.5], truth) == 1.0
    assert best_dice(np.zeros(4), truth) == pytest.approx(2 * 2 / 6)  # one value, one threshold: everything
    assert best_dice([3.0, 0.0, 0.0, 0.0], np.zeros(4, dtype=bool)) == 1.0


def test_best_dice_agrees_with_scikit_learn() -> None:
    curves = pytest.importorskip("sklearn.metrics")
    values, truth = drawn(1000)
    precision, recall, _ = curves.precision_recall_curve(truth, values)
    f1 = 2 * precision * recall / np.maximum(precision + recall, 1e-12)
    assert best_dice(values, truth) == pytest.approx(f1.max(), rel=1e-9)


def test_pro_by_hand() -> None:
    """Ten healthy voxels; a region of one voxel above them all, one of four of which two lie above all and
    two below all.
    """
    values = np.concatenate([np.arange(10), [99.0], [50.0, 50.0, -1.0, -1.0]])
    regions = np.array([0] * 10 + [7] + [2] * 4)
    assert pro(values, regions) == pytest.approx((1 + 0.5) / 2)
    assert pro(values, (regions > 0).astype(int)) == pytest.approx(
        3 / 5
    )  # as one region each voxel counts alike
    assert pro(values, regions, 1.0) == pytest.approx(0.75)


def test_pro_cuts_its_curve_at_the_rate() -> None:
    """The region lies between the fourth and the fifth of ten healthy voxels: nothing up to a rate of 0.4,
    all from there on.
    """
    values, regions = np.array([*range(10), 5.5]), np.array([0] * 10 + [1])
    assert pro(values, regions, 0.3) == 0.0
    assert pro(values, regions, 0.5) == pytest.approx(0.1 / 0.5)
    assert pro(values, regions, 1.0) == pytest.approx(0.6)


@pytest.mark.parametrize("most_false", [0.05, 0.3, 1.0])
def test_a_map_that_knows_nothing(most_false: float) -> None:
    """All values tie: the straight line, whatever the regions are."""
    assert pro(np.zeros(50), np.array([0] * 40 + [1] * 9 + [2]), most_false) == pytest.approx(most_false / 2)


@pytest.mark.parametrize("ties", [0, 9])
@pytest.mark.parametrize("most_false", [0.1, 0.3])
def test_pro_of_one_region_is_the_partial_area_of_scikit_learn(most_false: float, ties: int) -> None:
    curves = pytest.importorskip("sklearn.metrics")
    values, truth = drawn(ties=ties)
    standard = curves.roc_auc_score(
        truth, values, max_fpr=most_false
    )  # 0.5 (1 + (area - least) / (most - least)), McClish 1989
    least = most_false**2 / 2
    area = least + (2 * standard - 1) * (most_false - least)
    assert pro(values, truth.astype(int), most_false) == pytest.approx(
        area / most_false, abs=2e-3 if not ties else 1e-9
    )


def test_small_regions_count_as_much_as_large_ones() -> None:
    values, truth = drawn()
    regions = truth.astype(int)
    regions[:5], values[:5] = 9, values[:5] + 2
    parts = [
        pro(values[(regions == 0) | (regions == n)], regions[(regions == 0) | (regions == n)]) for n in (1, 9)
    ]
    assert pro(values, regions) == pytest.approx(np.mean(parts), abs=1e-9)
    assert abs(parts[0] - parts[1]) > 0.01


def test_healthy_voxels_outside_of_the_body_do_not_count() -> None:
    values, truth = drawn()
    outside = np.full(4000, 9.0)  # brighter than the region, and all of it air
    both, body = np.concatenate([values, outside]), np.arange(8000) < 4000
    regions = np.concatenate([truth.astype(int), np.zeros(4000, dtype=int)])
    assert pro(both, regions, body=body) == pytest.approx(pro(values, truth.astype(int)))
    assert pro(both, regions) < 0.1


def test_the_shape_of_the_arrays_does_not_matter() -> None:
    values, truth = drawn()
    assert pro(values.reshape(40, 10, 10), truth.astype(int).reshape(40, 10, 10)) == pro(
        values, truth.astype(int)
    )
    assert best_dice(values.reshape(40, 100), truth.reshape(40, 100)) == best_dice(values, truth)


def test_what_cannot_be_judged_is_refused() -> None:
    values, truth = drawn(40)
    regions = truth.astype(int)
    for wrong in (
        lambda: pro(values, truth),
        lambda: pro(values, 0 * regions),
        lambda: pro(values, 0 * regions + 1),
        lambda: pro(values, regions, 0.0),
    ):
        with pytest.raises(BadOption, match="pro: wanted"):
            wrong()
    with pytest.raises(BadOption, match="finite"):
        pro(np.where(truth, np.nan, values), regions)
    with pytest.raises(BadOption, match="bool"):
        best_dice(values, regions)
    with pytest.raises(BadOption, match="bool"):
        dice(values, truth)
    for wrong in (
        lambda: dice(truth, truth[:-1]),
        lambda: best_dice(values, truth[:-1]),
        lambda: pro(values, regions, body=truth[:-1]),
    ):
        with pytest.raises(ShapeMismatch):
            wrong()
