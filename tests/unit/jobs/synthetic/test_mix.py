"""A mix is kept to the image."""

from __future__ import annotations

from collections import Counter

import pytest

from medprior.errors import BadOption
from medprior.jobs.synthetic.mix import plan_mix
from medprior.prior import Card

CARD = Card(
    "c", "MR", labels=("ill", "well", "odd"), numbers=("height", "age"), ranges=((-1.0, 1.0), (20.0, 80.0))
)


def test_shares_are_rounded_to_the_nearest_whole_images() -> None:
    assert Counter(plan_mix(CARD, n=7, mix="ill=0.5,well=0.5").labels) == {"ill": 4, "well": 3}
    assert plan_mix(CARD, n=10, mix="balanced").counts["label"] == {"ill": 4, "well": 3, "odd": 3}
    assert Counter(plan_mix(CARD, n=100, mix="ill=0.29,well=0.71").labels) == {"ill": 29, "well": 71}
    assert plan_mix(CARD, n=4, mix="ill=1,well=0").counts["label"] == {"ill": 4, "well": 0}


def test_counts_say_how_many() -> None:
    plan = plan_mix(CARD, n=None, mix="ill=3, well=5")
    assert plan.blocks() == [("ill", [0, 1, 2]), ("well", [3, 4, 5, 6, 7])]
    with pytest.raises(BadOption, match="counts sum to 8, and n is 9"):
        plan_mix(CARD, n=9, mix="ill=3,well=5")


def test_one_label_or_none() -> None:
    assert (
        plan_mix(CARD, n=None, default=3).labels == (None, None, None)
        and not plan_mix(CARD, n=2, label="ill").counts
    )
    assert plan_mix(CARD, n=2, label="ill").labels == ("ill", "ill")


def test_ranges_of_a_number_are_filled_evenly_and_independently_of_labels() -> None:
    plan = plan_mix(CARD, n=40, mix="balanced", numbers=["age=20..40:0.25,60..80:0.75"], seed=3)
    ages = plan.numbers["age"]
    assert plan.counts["age"] == {"20..40": 10, "60..80": 30} and sorted(ages)[:10] == [
        21 + 2 * i for i in range(10)
    ]
    young = [label for label, age in zip(plan.labels, ages, strict=True) if age < 50]
    assert len(set(young)) == 3, "the young are of every label"
    assert (
        plan_mix(CARD, n=40, mix="balanced", numbers=["age=20..40:0.25,60..80:0.75"], seed=3).numbers
        == plan.numbers
    )
    assert plan_mix(CARD, n=3, numbers=["age=60"]).numbers["age"] == (60.0, 60.0, 60.0)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"mix": "ill=0.5,wel=0.5"}, "did you mean 'well'"),
        ({"mix": "ill=0.5,well=0.2"}, "shares that sum to 1"),
        ({"mix": "ill"}, "NAME=SHARE"),
        ({"mix": "ill=0.5,ill=0.5"}, "once"),
        ({"mix": "ill=-1,well=2"}, "NAME=SHARE"),
        ({"mix": "balanced", "label": "ill"}, "got both"),
        ({"numbers": ["age"]}, "NAME=VALUE"),
        ({"numbers": ["age=60", "age=50"]}, "once for each name"),
        ({"numbers": ["age=old"]}, "a value or a range"),
        ({"numbers": ["age=40..20"]}, "a value or a range"),
        ({"numbers": ["ago=40"]}, "did you mean 'age'"),
    ],
)
def test_what_is_wrong_is_named(options: dict, words: str) -> None:
    with pytest.raises(BadOption, match=words):
        plan_mix(CARD, n=4, **options)
    with pytest.raises(BadOption, match="no labels"):
        plan_mix(Card("none", "MR"), n=4, mix="balanced")
