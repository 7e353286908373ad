"""Typical scans first, patients as units, doubt later, and advice that is right at both ends."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from medprior.errors import BadOption
from medprior.learning.active import (
    ScanPool,
    advised,
    propose,
    ranking_area,
    reduced_features,
    unseen_probabilities,
)


def clouds(sizes: Sequence[int], seed: int = 0, spread: float = 0.3) -> tuple[np.ndarray, np.ndarray]:
    """(features, which cloud): clouds of so many scans, far apart."""
    rng = np.random.default_rng(seed)
    which = np.repeat(np.arange(len(sizes)), sizes)
    centres = 4 * rng.standard_normal((len(sizes), 12))
    return centres[which] + spread * rng.standard_normal((len(which), 12)), which


def pool_of(
    x: np.ndarray, labels: Sequence[str] | None = None, patients: Sequence[str] | None = None
) -> ScanPool:
    n = len(x)
    return ScanPool.of(reduced_features(x), labels or [""] * n, patients or [str(k) for k in range(n)])


def places(pool: ScanPool, n: int, **options) -> list[int]:
    return [choice.at for choice in propose(pool, n, **options).choices]


def test_typical_scans_come_from_all_clouds_and_from_their_middle() -> None:
    x, which = clouds([60, 30, 20, 8])
    chosen = propose(pool_of(x), 4)
    at = [choice.at for choice in chosen.choices]
    assert sorted(which[at]) == [0, 1, 2, 3] and (chosen.by, chosen.area) == ("typical", None)
    apart = np.linalg.norm(x - np.stack([x[which == k].mean(0) for k in which]), axis=1)
    assert all(apart[k] < np.quantile(apart[which == which[k]], 0.7) for k in at)
    assert {choice.why for choice in chosen.choices} == {
        f"typical: stands for {n} unlabelled scans" for n in (60, 30, 20, 8)
    }


def test_clouds_that_have_a_label_are_passed_over() -> None:
    x, which = clouds([40, 40, 40, 40])
    labels = [""] * 160
    labels[3], labels[50] = "ill", "ill"
    assert sorted(which[places(pool_of(x, labels), 2)]) == [2, 3]


def test_the_same_state_gives_the_same_batch_and_another_seed_another_order() -> None:
    x, _ = clouds([30, 30, 30])
    pool = pool_of(x)
    assert places(pool, 9) == places(pool, 9)
    assert any(places(pool, 9, by="random") != places(pool, 9, by="random", seed=k) for k in (1, 2))


@pytest.mark.parametrize("by", ["typical", "uncertain", "random"])
def test_a_patient_gives_one_scan_as_long_as_there_are_others(by: str) -> None:
    """Twenty slices of one patient stand for one patient."""
    x, _ = clouds([100, 6, 6])
    patients = ["first"] * 100 + [f"p{k}" for k in range(12)]
    labels = [""] * 112
    labels[100], labels[106] = "ill", "well"
    pool = pool_of(x, labels, patients)
    found = places(pool, 8, by=by)
    assert len({patients[k] for k in found}) == 8 and not set(found) & {100, 106}
    more = places(pool, 20, by=by)
    assert len(set(more)) == 20 and sum(patients[k] == "first" for k in more) == 20 - 10
    assert len(places(pool, 500, by=by)) == 110, "all that are left"


def test_equal_scans_are_no_trouble() -> None:
    assert (
        sorted(places(pool_of(np.zeros((9, 5))), 5)) != []
        and len(set(places(pool_of(np.zeros((9, 5))), 5))) == 5
    )


def two_classes(n: int = 80, apart: float = 3.0, seed: int = 0) -> tuple[np.ndarray, list[str]]:
    rng = np.random.default_rng(seed)
    kinds = np.arange(n) % 2
    x = rng.standard_normal((n, 8))
    x[:, 0] += apart * kinds
    return x, ["ill" if kind else "well" for kind in kinds]


def test_doubt_chooses_once_a_head_can_be_trusted() -> None:
    x, truth = two_classes(300)
    labels = [name if k < 40 else "" for k, name in enumerate(truth)]
    chosen = propose(pool_of(x, labels), 20)
    assert chosen.by == "uncertain" and chosen.area is not None and chosen.area > 0.9
    middle = np.abs(x[[choice.at for choice in chosen.choices], 0] - 1.5).mean()
    assert middle < np.abs(x[:, 0] - 1.5).mean() - 0.2, "nearer to the border than scans on average"
    assert all("ill" not in choice.why and "well" not in choice.why for choice in chosen.choices), "no hint"
    noise = [name if k < 40 else "" for k, name in enumerate(two_classes(300, seed=1)[1][::-1])]
    rng = np.random.default_rng(5)
    blind = propose(pool_of(rng.standard_normal((300, 8)), noise), 20)
    assert blind.by == "typical" and blind.area is not None and blind.area < 0.8


def test_what_cannot_be_chosen_is_said() -> None:
    x, truth = two_classes(12)
    with pytest.raises(BadOption, match="every scan is labelled already"):
        propose(pool_of(x, truth), 3)
    with pytest.raises(BadOption, match="wanted two classes or more for doubt, got ill"):
        propose(pool_of(x, ["ill"] + [""] * 11), 3, by="uncertain")
    with pytest.raises(BadOption, match="of the same scans, got 12, 11 and 12"):
        ScanPool.of(x, truth[:11], truth)


def test_folds_keep_patients_together() -> None:
    """Two equal scans of each patient: with the patient in both parts, every guess would be right."""
    rng = np.random.default_rng(0)
    x = np.repeat(rng.standard_normal((40, 60)), 2, 0)
    labels = [("ill", "well")[k] for k in np.repeat(rng.permutation(np.arange(40) % 2), 2)]
    patients = [str(k) for k in np.repeat(np.arange(40), 2)]
    area = ranking_area(pool_of(x, labels, patients))
    assert area is not None and 0.2 < area < 0.8
    assert (unseen_probabilities(pool_of(x, labels, patients)) >= 0).all()  # type: ignore[operator]
    assert ranking_area(pool_of(x, ["ill"] * 4 + ["well"] * 2 + [""] * 74, patients)) is None


def test_advice_says_why() -> None:
    x, truth = two_classes(200)

    def at(n: int, **options) -> str:
        labels = [name if k < n else "" for k, name in enumerate(truth)]
        return advised(pool_of(x, labels), 20, **options).reason

    assert at(0) == "Go on: a head needs two classes, and there is no label yet."
    assert "all labels so far are well" in advised(pool_of(x, ["well"] * 9 + [""] * 191), 20).reason
    assert at(6) == "Go on: only 3 labelled patients are ill: too few to measure a curve."
    assert at(200) == "Stop: every scan is labelled."


def test_advice_stops_where_nothing_is_gained_and_goes_on_where_much_is() -> None:
    x, truth = two_classes(400, apart=9.0)
    easy = advised(pool_of(x, [name if k < 60 else "" for k, name in enumerate(truth)]), 20)
    assert easy.word == "stop" and easy.gain is not None and easy.gain.high < 0.005
    assert easy.reason.startswith("Stop: the next 20 labels are expected to add 0.000")
    rng = np.random.default_rng(0)
    x = rng.standard_normal((400, 40))
    truth = ["ill" if v > 0 else "well" for v in x @ rng.standard_normal(40)]
    hard = advised(pool_of(x, [name if k < 60 else "" for k, name in enumerate(truth)]), 40)
    assert hard.word != "stop" and hard.gain is not None and 0.005 < hard.gain.value < 0.3
    assert -0.3 < hard.gain.low < hard.gain.high < 0.4, "a steep draw is no reason for a steep promise"
