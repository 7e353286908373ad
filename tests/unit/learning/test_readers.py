"""Answers of several readers: nothing is lost, corrections are asked for, agreement has its known values."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import count

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from medprior.errors import BadOption
from medprior.io.dataset.answers import Answer
from medprior.learning.readers import (
    alpha,
    batch_line,
    chance_disagreement,
    counted,
    line_of,
    new_answers,
    replayed,
    suspects,
    undo_line,
)

SCANS, READERS, CLASSES = ("s1", "s2", "s3"), ("Ann", "bob"), ("ill", "well", "?")
ANSWER = st.builds(
    Answer, st.sampled_from(SCANS), st.sampled_from(CLASSES), st.sampled_from(READERS),
    st.none() | st.floats(0, 99), st.none() | st.floats(0, 1),
)  # fmt: skip
STEP = st.lists(ANSWER, max_size=4) | st.integers(1, 30)
"""Answers that are given, or a line that is taken back."""


class Trail:
    """Lines in memory, numbered from 1."""

    def __init__(self) -> None:
        self.lines: list[tuple[int, Mapping[str, object]]] = []
        self.numbers = count(1)

    def add(self, *records: Mapping[str, object]) -> None:
        self.lines += [(next(self.numbers), record) for record in records]


def trail_of(*answers: Answer) -> Trail:
    trail = Trail()
    trail.add(*(line_of(answer, "now") for answer in answers))
    return trail


@settings(max_examples=80, deadline=None)
@given(st.lists(STEP, max_size=8))
def test_no_answer_is_ever_lost(steps: list) -> None:
    """Against a plain model: a stack of answers for each reader and scan."""
    trail, stacks = Trail(), dict[tuple[str, str], list[tuple[int, str]]]()
    given_: list[Answer] = []
    for step in steps:
        readings = replayed(trail.lines)
        if isinstance(step, int):
            trail.add(undo_line(step, "now"))
            stacks = {key: [one for one in stack if one[0] != step] for key, stack in stacks.items()}
            continue
        step = list({answer.key: answer for answer in step}.values())
        fresh = new_answers(readings, step, revise=True)
        assert {a.key for a in step} - {a.key for a in fresh} <= readings.current.keys()
        start = len(trail.lines)
        trail.add(*(line_of(answer, "now") for answer in fresh))
        given_ += fresh
        for at, answer in enumerate(fresh, start + 1):
            stacks.setdefault(answer.key, []).append((at, answer.label))
        assert new_answers(replayed(trail.lines), step) == [], "the same table again adds nothing"
    found = replayed(trail.lines)
    assert [(a.scan, a.label) for a in found.given] == [(a.scan, a.label) for a in given_]
    assert {key: a.label for key, a in found.current.items()} == {
        key: stack[-1][1] for key, stack in stacks.items() if stack
    }
    assert all(found.current[key].number == stack[-1][0] for key, stack in stacks.items() if stack)


def test_a_line_says_all_of_an_answer() -> None:
    answer = Answer("s1", "ill", "Ann", 3.5, 0.8, "30.11.2026")
    found = replayed(trail_of(answer).lines).given[0]
    assert (found.scan, found.label, found.reader, found.seconds, found.confidence, found.answered) == (
        "s1", "ill", "Ann", 3.5, 0.8, "30.11.2026",
    )  # fmt: skip
    assert (found.number, found.at) == (1, "now")


OTHERS = [
    {},
    {"scan": "a"},
    {"scan": 1, "label": "b"},
    {"scan": "a", "label": "b", "x": ""},
    {"scan": "a", "label": "b", "seconds": "1"},
    {"undo": "1"},
]


@pytest.mark.parametrize("record", OTHERS)
def test_a_line_of_another_kind_is_damaged(record: dict) -> None:
    found = replayed([(1, record), *[(2, line_of(Answer("s1", "ill"), "now"))]], damaged=[7])
    assert found.damaged == (1, 7) and len(found.given) == 1


def test_a_second_reader_of_one_name_is_found_out() -> None:
    readings = replayed(trail_of(Answer("s1", "ill", "Ann")).lines)
    with pytest.raises(BadOption, match=r"Ann has labelled 1 of these .*s1: ill, now well.*--revise"):
        new_answers(readings, [Answer("s1", "well", "Ann")])
    with pytest.raises(BadOption, match="another name"):
        new_answers(readings, [Answer("s2", "well", "ann"), Answer("s1", "well", "ann ")])
    assert new_answers(readings, [Answer("s1", "well", "ANN")], revise=True)[0].reader == "Ann", (
        "as first spelled"
    )
    assert len(new_answers(readings, [Answer("s1", "well", "Bob")])) == 1


def test_the_label_of_most_readers_counts() -> None:
    said = [
        ("s1", "ill", "a"),
        ("s1", "ill", "b"),
        ("s1", "well", "c"),
        ("s2", "ill", "a"),
        ("s2", "well", "b"),
    ]
    said += [("s3", "?", "a"), ("s4", "well", "a"), ("s4", "?", "b")]
    trail = trail_of(*(Answer(*one) for one in said))
    trail.add(batch_line("Ann", ["s1"], "now"), batch_line("ann", ["s2"], "now"))
    found = replayed(trail.lines)
    assert found.labels() == {"s1": "ill", "s2": "", "s3": "", "s4": "well"}
    assert found.disputed() == ["s1", "s2"] and found.readers == ("a", "b", "c")
    assert found.proposed == {"ann": ("s2",)}
    scans, classes, counts = counted(found)
    assert (scans, classes, counts.tolist()) == (["s1", "s2"], ["ill", "well"], [[2, 1], [1, 1]])


def test_alpha_has_its_published_value() -> None:
    """The nominal example of Krippendorff (2011): 0.691."""
    units = ["1", "22", "11", "33", "334", "444", "13", "22", "11", "11", "33", "33", "34"]
    counts = [[unit.count(name) for name in "1234"] for unit in units]
    assert alpha(np.array(counts)) == pytest.approx(0.691358, abs=1e-6)
    assert np.isnan(alpha(np.array([[2, 0], [2, 0]])))
    two = np.array([[2, 0], [2, 0], [1, 1], [0, 2]])
    assert alpha(two) == pytest.approx(1 - (1 / 4) / chance_disagreement(two))


def test_labels_that_were_turned_are_suspects() -> None:
    rng = np.random.default_rng(0)
    truth = np.arange(60) % 2
    share = np.where(truth == 1, rng.uniform(0.8, 1, 60), rng.uniform(0, 0.2, 60))
    labels = ["ill" if t else "well" for t in truth]
    labels[7], labels[20] = "well", "ill"
    share[7], share[20] = 0.99, 0.01
    found = suspects(labels, ("ill", "well"), np.stack([share, 1 - share], 1))
    assert {one.at for one in found} == {7, 20}
    assert {(one.label, one.instead) for one in found} == {("well", "ill"), ("ill", "well")}
    assert all(one.probability < 0.3 for one in found)
