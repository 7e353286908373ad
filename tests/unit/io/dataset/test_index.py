"""The items of an index: their owners, patients and the digest of a set."""

from __future__ import annotations

import hashlib
from typing import Any

from medprior.io.dataset.index import Item, digest_of, one_each, patients_of


def item(name: str, patient: str = "", label: str = "") -> Item:
    facts: dict[str, Any] = {
        "part": "",
        "split": "train",
        "mask": "",
        "kind": "picture",
        "unit": "a.u.",
        "modality": "",
    }
    return Item(
        id=name,
        path=f"{name}.png",
        label=label,
        patient=patient,
        shape=(4, 4),
        channels=1,
        spacing_mm=None,
        synthetic=False,
        digest=f"digest of {name}",
        thumb="",
        bucket=0,
        given=False,
        leaks=False,
        signature="",
        **facts,
    )


ITEMS = [
    item("a", "p", "sick"),
    item("b"),
    item("c", "p", "sick"),
    item("d", "p", "well"),
    item("e", "q", "sick"),
]


def test_a_scan_without_a_patient_is_a_patient_of_its_own() -> None:
    assert [one.owner for one in ITEMS] == ["p", "b", "p", "p", "q"]
    assert patients_of(ITEMS) == {"p": 1, "b": 2, "q": 3}


def test_the_first_scan_of_each_patient_and_label() -> None:
    assert [one.id for one in one_each(ITEMS)] == ["a", "d", "e"]
    assert [one.id for one in one_each(ITEMS, unlabelled=True)] == ["a", "b", "d", "e"]


def test_the_digest_of_a_set_is_that_of_its_pixels_in_any_order() -> None:
    wanted = hashlib.sha256(b"digest of a\ndigest of b").hexdigest()
    assert digest_of(ITEMS[:2]) == digest_of(ITEMS[1::-1]) == wanted != digest_of(ITEMS[:1])
