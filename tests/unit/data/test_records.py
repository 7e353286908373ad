"""One schema for JSON: strict, and it names what is wrong."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from medprior.data.records import checked
from medprior.errors import BadOption


@dataclass(frozen=True, slots=True)
class Inner:
    side: int


@dataclass(frozen=True, slots=True)
class Outer:
    name: str
    sizes: tuple[float, ...] = ()
    inner: tuple[Inner, ...] = ()
    on: bool = False


def test_a_record_comes_back_with_its_types() -> None:
    found = checked(Outer, {"name": "a", "sizes": [1, 2.5], "inner": [{"side": 3}]}, "thing", "")
    assert found == Outer("a", (1.0, 2.5), (Inner(3),))


def test_a_name_that_is_no_text_is_kept() -> None:
    """A file name of other bytes, as Python holds it."""
    assert checked(Outer, {"name": "a\udc80"}, "thing", "").name == "a\udc80"


@pytest.mark.parametrize(
    ("stored", "says"),
    [
        ([], "all of it"),
        ({}, "name: Field required"),
        ({"name": 1}, "name"),
        ({"name": "a", "on": 1}, "on"),
        ({"name": "a", "sizes": ["1"]}, r"sizes\.0"),
        ({"name": "a", "inner": [{}]}, r"inner\.0\.side"),
        ({"name": "a", "size": []}, "unknown key 'size'.*did you mean 'sizes'"),
    ],
)
def test_what_is_wrong_is_named(stored: object, says: str) -> None:
    with pytest.raises(BadOption, match=f"thing: .*{says}"):
        checked(Outer, stored, "thing", "mend it")
