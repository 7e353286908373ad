"""medprior label: the queue out, the answers in, the page, and nothing that a person wrote is lost."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest

import medprior as mp
from medprior.cli import main
from tests.unit.jobs.test_label import scans_in, truth


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return scans_in(tmp_path_factory.mktemp("scans"))


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return tmp_path / "labels"


def label(data: Path, tiny: Path, out: Path, *more: str | Path) -> int:
    tokens = ["--prior", tiny, "--n", "6", "--out", out, *more]
    return main(["label", str(data), *map(str, tokens)])


def queue(out: Path) -> list[dict[str, str]]:
    with (out / "queue.csv").open(encoding="utf-8-sig", newline="") as file:
        return list(csv.DictReader(file))


def filled(out: Path, n: int | None = None, mood: str = "") -> None:
    """What a person does with a spreadsheet."""
    rows = queue(out)
    for row in rows[:n]:
        row["label"] = truth(row["scan"])
    with (out / "queue.csv").open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, [*rows[0], "mood"], delimiter=";")
        writer.writeheader()
        writer.writerows({**row, "mood": mood} for row in rows)


def test_the_queue_is_filled_in_where_it_lies(
    data: Path, tiny: Path, out: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert label(data, tiny, out) == 0
    said = capsys.readouterr()
    assert "6 scans to label: queue.csv." in said.out and "report  " in said.out
    assert "24 scans pass the network once" in said.err
    first = queue(out)
    assert len(first) == 6 and all(row["label"] == "" and "stands for" in row["why"] for row in first)
    assert label(data, tiny, out) == 0 and queue(out) == first, "nothing was answered: the same queue"
    filled(out, mood="tired")
    assert label(data, tiny, out) == 0
    said = capsys.readouterr()
    assert "6 new, 6 in all" in said.out and "columns that are not used: mood" in said.err
    assert not {row["scan"] for row in queue(out)} & {row["scan"] for row in first}
    assert "tired" in (out / "answered" / "queue-001.csv").read_text(), "what was written beside is kept"
    record = json.loads((out / "run.json").read_text())
    assert record["complete"] and record["metrics"]["labels"] == {
        name: sum(truth(row["scan"]) == name for row in first) for name in ("bright", "dark")
    }
    page = (out / "report.html").read_text()
    assert "Scans to label" in page and first[0]["scan"] not in page + (out / "run.json").read_text()
    assert mp.report(out).path == out, "the page can be made again"


def test_answers_come_from_another_table_and_both_count(
    data: Path, tiny: Path, out: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    label(data, tiny, out)
    rows = queue(out)
    table = tmp_path / "answers.csv"
    table.write_text(
        "label,scan,reader\n" + "".join(f"{truth(r['scan'])},{r['scan']},Bob\n" for r in rows[:4])
    )
    filled(out, 3)
    assert label(data, tiny, out, "--answers", table, "--reader", "Ann") == 0
    said = capsys.readouterr().out
    assert "7 new, 7 in all" in said
    assert "from 3 scans of 3 patients" in said or "Every label is" in said
    assert table.read_text().count("\n") == 5, "a table of the reader's own is not touched"


def test_wrong_answers_are_refused_and_the_queue_stays(
    data: Path, tiny: Path, out: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    label(data, tiny, out)
    filled(out)
    before = (out / "queue.csv").read_bytes()
    assert label(data, tiny, out, "--classes", "ill", "--classes", "darkk") == 2
    assert "is none of the classes ill, darkk" in capsys.readouterr().err
    edited = before.replace(b"p0", b"q0").replace(b"p1", b"q1").replace(b"p2", b"q2")
    (out / "queue.csv").write_bytes(edited)
    assert label(data, tiny, out) == 2
    said = capsys.readouterr().err
    assert "6 of 6 rows name no scan of the folder" in said and "nothing was recorded" in said
    assert (out / "queue.csv").read_bytes() == edited
    (out / "queue.csv").write_text("now\nsomething else\n")
    assert label(data, tiny, out) == 2 and "no column 'scan'" in capsys.readouterr().err


def test_a_correction_and_an_undo(
    data: Path, tiny: Path, out: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    label(data, tiny, out)
    scan, table = queue(out)[0]["scan"], tmp_path / "a.csv"
    for name, more, code, labels in (
        ("ill", (), 0, {"ill": 1}),
        ("well", (), 2, {"ill": 1}),
        ("well", ("--revise",), 0, {"well": 1}),
    ):
        table.write_text(f"scan,label\n{scan},{name}\n")
        assert label(data, tiny, out, "--answers", table, *more) == code
        assert json.loads((out / "run.json").read_text())["metrics"]["labels"] == labels
    assert "--revise, or give a second reader another name" in capsys.readouterr().err
    lines = [json.loads(text) for text in (out / "trail.jsonl").read_text().splitlines()]
    line = max(n for n, record in enumerate(lines, 1) if record.get("label") == "well")
    assert label(data, tiny, out, "--undo", str(line)) == 0
    assert json.loads((out / "run.json").read_text())["metrics"]["labels"] == {"ill": 1}


def test_all_are_labelled(tmp_path: Path, tiny: Path, out: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = scans_in(tmp_path / "few", 6)
    label(data, tiny, out)
    filled(out)
    assert label(data, tiny, out) == 0
    assert "Every scan is labelled already." in capsys.readouterr().out
    assert "Every scan is labelled already." in (out / "report.html").read_text()
    assert label(data, tiny, out) == 0


def test_a_folder_of_something_else_is_refused(
    data: Path, tiny: Path, out: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out.mkdir()
    (out / "thesis.txt").write_text("mine")
    assert label(data, tiny, out) == 2
    assert "holds no labels but something else" in capsys.readouterr().err
    assert [path.name for path in out.iterdir()] == ["thesis.txt"]
    assert label(data, tiny, out.with_name("new"), "--fresh") == 2
    assert "answers of readers are never thrown away" in capsys.readouterr().err


def test_python_does_the_same(data: Path, tiny: Path, out: Path) -> None:
    done = mp.label(data, tiny, n=3, out=out, progress=False)
    assert done.path == out and len(queue(out)) == 3
    assert mp.Labelling(data, str(tiny), out).state().open_ == 24
