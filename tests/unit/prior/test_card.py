"""The card: written as JSON, read back equal, and never half understood."""

from __future__ import annotations

import json

import pytest

from medprior.errors import BadOption
from medprior.prior import Card
from medprior.prior.card import SCHEMA

FULL = Card(
    "full",
    "CT",
    unit="HU",
    channels=("soft", "bone"),
    scaling="fixed",
    low=-1024.0,
    high=1024.0,
    axes="PL",
    spacing_mm=(0.7, 0.7),
    frame=(32, 256),
    labels=("a", "b"),
    numbers=("height",),
    widths=(8, 16),
    data={"scans": 3, "labels": {"a": 1, "b": 2}, "shape": [10, 12]},
    training={"seed": 1},
    limits=("one", "two"),
)


@pytest.mark.parametrize("card", [FULL, Card("plain", "MR")], ids=["full", "plain"])
def test_a_card_comes_back_from_json_as_it_was(card: Card) -> None:
    assert Card.from_json(json.loads(json.dumps(card.to_json()))) == card


def test_a_key_that_is_missing_has_its_default() -> None:
    """Cards of earlier versions stay readable."""
    stored = json.loads(json.dumps(FULL.to_json()))
    for key in ("limits", "training", "errors", "quantiles"):
        del stored[key]
    found = Card.from_json(stored)
    assert found.limits == Card("plain", "MR").limits and found.widths == FULL.widths


def test_what_is_not_understood_is_refused() -> None:
    stored = FULL.to_json()
    for change, says in (
        ({"label": []}, "did you mean 'labels'"),
        ({"schema": SCHEMA + 1}, "newer"),
        ({"errors": [{"side": 64}]}, "errors.0.sigmas"),
    ):
        with pytest.raises(BadOption, match=says):
            Card.from_json({**stored, **change})


WRONG = {
    "scaling": "ranged",
    "low": 2000.0,
    "quantiles": [0.9, 0.1],
    "ndim": 4,
    "channels": [],
    "axes": "LP",
    "spacing_mm": [1.0, 0.0],
    "frame": [64, 32],
    "widths": [],
    "blocks": 10**9,
    "sigma_data": 0.0,
    "schema": "1",
}


@pytest.mark.parametrize("key", WRONG)
def test_a_value_that_no_prior_can_have_is_refused(key: str) -> None:
    """An unknown scaling, for one, would else be taken for another."""
    with pytest.raises(BadOption, match="card: "):
        Card.from_json({**FULL.to_json(), key: WRONG[key]})


@pytest.mark.parametrize(
    "axes, right", [("PLS", True), ("RAS", True), ("", True), ("PLA", False), ("PL", False), ("PLX", False)]
)
def test_a_volume_has_three_axes_of_the_body(axes: str, right: bool) -> None:
    stored = {**Card("solid", "MR", ndim=3).to_json(), "axes": axes}
    if right:
        assert Card.from_json(stored).axes == axes
    else:
        with pytest.raises(BadOption, match="axes"):
            Card.from_json(stored)


def test_a_card_of_another_kind_is_refused() -> None:
    for stored in (
        [],
        "card",
        {"modality": "MR"},
        {**FULL.to_json(), "widths": "wide"},
        {**FULL.to_json(), "low": None},
    ):
        with pytest.raises(BadOption, match="card: "):
            Card.from_json(stored)  # type: ignore[arg-type]
