"""Every verb leaves what it left before: in run.json and among the files."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator
from typing import Any

import pytest

from tests.golden.differences import differences, renewed
from tests.golden.run_records import CASES, STORED, World


@pytest.fixture(scope="session")
def stored() -> dict[str, Any]:
    return json.loads(STORED.read_text(encoding="utf-8"))


@pytest.fixture(scope="session")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    """Where the cases run, each once."""
    return World(tmp_path_factory.mktemp("world"))


@pytest.mark.parametrize("case", CASES)
def test_a_verb_leaves_what_it_left(case: str, world: World, stored: dict[str, Any]) -> None:
    found = list(differences(stored[case], world.record(case), case))
    assert not found, "\n".join(found)


def test_every_case_is_stored(stored: dict[str, Any]) -> None:
    assert list(stored) == list(CASES)


def leaves(value: Any, at: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The place of every value that holds no other."""
    if isinstance(value, dict | list) and value:
        for key, one in value.items() if isinstance(value, dict) else enumerate(value):
            yield from leaves(one, (*at, key))
    else:
        yield at


def test_the_comparison_bites(stored: dict[str, Any]) -> None:
    """A changed value is found, wherever it stands, and so are a field too few and one too many."""
    assert not list(differences(stored, copy.deepcopy(stored), ""))
    for name in ("detect", "evaluate detect", "unknown option"):
        for *way, last in leaves(stored[name]):
            changed = copy.deepcopy(stored[name])
            inner = changed
            for key in way:
                inner = inner[key]
            was = inner[last]
            inner[last] = was * 1.1 + 0.01 if isinstance(was, float) else f"not {was}"
            assert len(list(differences(stored[name], changed, name))) == 1, (name, *way, last)
            if isinstance(inner, dict):
                del inner[last]
                assert any("gone" in line for line in differences(stored[name], changed, name))
                assert any("new" in line for line in differences(changed, stored[name], name))


def test_only_what_is_meant_is_stored_anew() -> None:
    """Of three changed fields the one that INTENDED names is taken over; a new one likewise."""
    old = {"record": {"n": 1, "gone": 2}, "files": ["a"]}
    new = {"record": {"n": 3, "summary": 4, "other": 5}, "files": ["b", "c"]}
    kept = {"record": {"n": 1, "gone": 2, "summary": 4}, "files": ["b", "c"]}
    assert renewed(old, new, "case") == kept
