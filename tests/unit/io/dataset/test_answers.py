"""A queue goes out, and comes back from whatever spreadsheet a reader has."""

from __future__ import annotations

import csv
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from medprior.errors import BadOption, Corrupt, FileProblem
from medprior.io.dataset.answers import QUEUE, Answer, names_of, read_answers, write_table
from medprior.io.dataset.scan import scan
from tests.unit.io.dataset.test_places import made

NAMES = ("a/0012.png", "a/x.png", "b/x.png", "=1+2.png", "é c.png")


def table(folder: Path, text: str, encoding: str = "utf-8") -> Path:
    path = folder / "answers.csv"
    path.write_bytes(text.encode(encoding))
    return path


def given_in(folder: Path, text: str, encoding: str = "utf-8", **options) -> list[tuple[str, str]]:
    return [(a.scan, a.label) for a in read_answers(table(folder, text, encoding), NAMES, **options).rows]


def test_a_queue_that_is_filled_in_is_a_table_of_answers(tmp_path: Path) -> None:
    path = tmp_path / "queue.csv"
    write_table(path, QUEUE, [(name, "", "ann", "", "", 'typical: "so", many') for name in NAMES])
    assert read_answers(path, NAMES).rows == () and read_answers(path, NAMES).empty == len(NAMES)
    text = path.read_text("utf-8-sig").replace('"",', '"well",', 1)
    found = read_answers(table(tmp_path, text), NAMES)
    assert found.rows == (Answer(NAMES[0], "well", "ann"),) and (found.empty, found.notes) == (4, ())


@pytest.mark.parametrize("separator", ",;\t")
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "cp1252"])
def test_any_separator_encoding_order_of_columns_and_date(
    tmp_path: Path, separator: str, encoding: str
) -> None:
    """As German, English and old spreadsheets write it, with a column of their own."""
    seconds = "3.5" if separator == "," else "3,5"
    rows = [
        ("Timestamp", "LABEL", "Comment", "Image", "Reader", "Seconds", "Confidence"),
        ("30.11.2026 14:05", "gesund", "schön", r"a\x.png", "Jürgen", seconds, "80 %"),
        ("46356.587", "krank", "", "./b/x.png", "Jürgen", "", "1"),
        ("", "", "", "é c.png", "Jürgen", "", ""),
    ]
    text = "\r\n".join(separator.join(row) for row in rows) + "\r\n"
    found = read_answers(table(tmp_path, text, encoding), NAMES)
    assert found.rows == (
        Answer("a/x.png", "gesund", "Jürgen", 3.5, 0.8, "30.11.2026 14:05"),
        Answer("b/x.png", "krank", "Jürgen", None, 1.0, "46356.587"),
    )
    assert found.empty == 1 and found.notes == ("answers.csv: columns that are not used: Comment",)


def test_what_a_spreadsheet_makes_of_names(tmp_path: Path) -> None:
    """Zeros in front are lost, a formula is quoted, a suffix is left out; two of a name are refused."""
    assert given_in(tmp_path, "scan,label\n12,l\n'=1+2.png,m\n") == [("a/0012.png", "l"), ("=1+2.png", "m")]
    assert given_in(tmp_path, "sep=;\nscan;label\n0012;l\n") == [("a/0012.png", "l")]
    with pytest.raises(BadOption, match=r"line 2: 2 scans are called x\.png"):
        given_in(tmp_path, "scan,label\nx.png,l\n")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "scan,label\na/0012.png,l\nz.png,l\n",
            r"1 of 2 rows name no scan .*line 3: z.png.*nothing was recorded",
        ),
        ("scan,label\na/012.pgn,l\n", r"did you mean 'a/0012.png'\?"),
        ("scan,lable\na/x.png,l\n", r"no column 'label' among scan, lable"),
        ("scan,label,secnds\na/x.png,l,3\n", r"unknown column 'secnds' \(did you mean 'seconds'"),
        ("scan,label,label\na/x.png,l,m\n", "two columns are called 'label'"),
        ("scan,label,seconds\na/x.png,l,long\n", "line 2, seconds: wanted a number from 0"),
        ("scan,label,confidence\na/x.png,l,80\n", "confidence: wanted a number from 0 to 1, got '80'"),
        ("scan,label,confidence\na/x.png,l,nan\n", "confidence: wanted a number"),
        ("scan,label\na/x.png,l\na/x.png,m\n", "line 3: reader gives a/x.png two labels, l and m"),
        ("scan,label,reader\na/x.png,l,Ann\na/x.png,m, ann \n", "names of their own; nothing was recorded"),
    ],
)
def test_what_cannot_be_meant_is_refused_whole(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(BadOption, match=message):
        given_in(tmp_path, text)


def test_a_table_that_is_none_is_refused(tmp_path: Path) -> None:
    for text in ("", "scan,label\n", "scan,label\na/x.png,0,8,3\n"):
        with pytest.raises(FileProblem):
            given_in(tmp_path, text)
    with pytest.raises(Corrupt, match="line 2 has more cells than the head has titles"):
        given_in(tmp_path, "scan,label\na/x.png,l,8,3\n")


def test_classes_are_one_whatever_their_capitals(tmp_path: Path) -> None:
    text = "scan,label\na/x.png,Well\nb/x.png, well \na/0012.png,?\n"
    assert given_in(tmp_path, text) == [("a/x.png", "Well"), ("b/x.png", "Well"), ("a/0012.png", "?")]
    assert given_in(tmp_path, text, classes=("WELL", "ill"), closed=True)[0] == ("a/x.png", "WELL")
    with pytest.raises(BadOption, match=r"'Well' is none of the classes ill, wells \(did you mean 'wells'"):
        given_in(tmp_path, text, classes=("ill", "wells"), closed=True)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(
        st.text(st.characters(codec="utf-8"), min_size=1, max_size=9), unique=True, min_size=1, max_size=5
    ),
    st.text(max_size=9),
)
def test_whatever_a_file_is_called_comes_back(tmp_path: Path, names: list[str], why: str) -> None:
    """Names with quotes, separators, line breaks, formulas."""
    names = [f"{k}{name}" if k else name for k, name in enumerate(names)]
    names = [name for name in dict.fromkeys(name.strip() for name in names) if name]
    path = tmp_path / "queue.csv"
    write_table(path, QUEUE, [(name, f"l{k}", "", "", "", why) for k, name in enumerate(names)])
    with path.open(encoding="utf-8-sig", newline="") as file:
        assert len(list(csv.reader(file))) == len(names) + 1
    if names:
        found = read_answers(path, names).rows
        assert [a.label for a in found] == [f"l{k}" for k in range(len(names))]
        assert {a.scan for a in found} <= set(names)


def test_names_are_paths_and_parts_of_one_file(tmp_path: Path) -> None:
    index = scan(made(tmp_path / "data", "a.png", "b/c.png"))
    assert set(names_of(index.items)) == {"a.png", "b/c.png"}
    twice = [replace(index.items[0], path="s.npz", part=str(n), id=str(n)) for n in range(2)]
    assert set(names_of(twice)) == {"s.npz#0", "s.npz#1"}


def test_an_answer_holds_what_can_be_true() -> None:
    for wrong in (
        {"scan": " "},
        {"label": ""},
        {"seconds": -1.0},
        {"confidence": 1.5},
        {"confidence": float("nan")},
    ):
        with pytest.raises(BadOption):
            Answer(**{"scan": "a", "label": "b", **wrong})
