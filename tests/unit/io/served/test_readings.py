from __future__ import annotations

from pathlib import Path

import pytest

from medprior.errors import BadOption, FileProblem
from medprior.io.served.readings import BlindAnswer, BlindItem, BlindReading, ReadingStore

READING = BlindReading(
    "a" * 16, "t", "rating", 8, 1.0, (BlindItem(("p",), 1, ("made",)), BlindItem(("q",), 0, ("real",)))
)


def test_a_plan_and_its_answers_come_back(tmp_path: Path) -> None:
    store = ReadingStore(tmp_path)
    store.add(READING, [("p", b"png"), ("q", b"gnp")])
    assert store.all() == [READING] and store.picture(READING, "p") == b"png"
    store.answer(READING, BlindAnswer("Ann", 0, 6, 1.0))
    store.answer(READING, BlindAnswer("Ann", 1, 4, 1.0))
    assert [one.correct(READING) for one in ReadingStore(tmp_path).answers(READING)] == [True, False]


@pytest.mark.parametrize("given", [("Ann", 2, 1), ("Ann", -1, 1), (" ", 0, 1), ("Ann", 0, 0), ("Ann", 0, 7)])
def test_what_is_no_answer_is_refused(tmp_path: Path, given: tuple[str, int, int]) -> None:
    store = ReadingStore(tmp_path)
    store.add(READING, [])
    with pytest.raises(BadOption):
        store.answer(READING, BlindAnswer(*given, 1.0))
    assert store.answers(READING) == []


def test_unknown_names_are_not_here(tmp_path: Path) -> None:
    store = ReadingStore(tmp_path)
    store.add(READING, [])
    for call in (lambda: store.get("../x"), lambda: store.picture(READING, "../reading.json")):
        with pytest.raises(FileProblem, match="not here"):
            call()
