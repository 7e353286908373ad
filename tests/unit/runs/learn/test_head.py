"""``medprior learn`` and ``medprior predict`` as a user types them: pictures in folders, a table of labels,
and what is said where they cannot be learned from.
"""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest

from medprior.cli import main
from medprior.data.volume import Volume
from medprior.io.write import write
from medprior.learning.consistency import ConsistencySettings
from medprior.runs.learn.head import reliability_chart
from tests.corpus.checker import errors_of
from tests.corpus.dicom_parts import radiograph, save
from tests.unit.jobs.test_learn import striped


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """16 plain and 16 striped pictures in folders of their label, and 12 beside them without one."""
    folder = tmp_path_factory.mktemp("labelled")
    images, labels = striped(44)
    for n, (image, label) in enumerate(zip(images, labels, strict=True)):
        place = folder / label if n < 32 else folder
        place.mkdir(exist_ok=True)
        write(Volume(np.asarray(image, np.float32)[None]), place / f"{n:03d}.png", kind="converted")
    return folder


@pytest.fixture(scope="module")
def head(data: Path, tiny: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("heads") / "run"
    assert main(["learn", str(data), "--prior", str(tiny), "--out", str(out)]) == 0
    return out


def rows_of(run: Path, name: str = "predictions.csv") -> list[dict[str, str]]:
    with open(run / name, newline="") as file:
        return list(csv.DictReader(file))


def test_learn_writes_a_head_and_says_what_it_is_worth(head: Path) -> None:
    record = json.loads((head / "run.json").read_text())
    card = record["metrics"]["head"]
    assert card["classes"] == ["plain", "striped"] and card["labels"] == [16, 16] and card["unlabelled"] == 12
    assert card["calibrated"] and set(record["metrics"]["promises"]["compared"]) == {
        "labels alone",
        "self-training",
    }
    page = (head / "report.html").read_text()
    for words in ("Reliability", "labels alone", "self-training", "out of fold", "Research use only"):
        assert words in page
    assert {p.name for p in (head / "head").iterdir()} >= {
        "weights.safetensors",
        "card.json",
        "trust.json",
        "prior",
    }


def test_the_same_command_again_learns_nothing(
    head: Path, data: Path, tiny: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = (head / "run.json").read_bytes()
    assert main(["learn", str(data), "--prior", str(tiny), "--out", str(head)]) == 0
    assert (head / "run.json").read_bytes() == before
    assert f"use it  medprior predict SCAN_OR_FOLDER --head {head}" in capsys.readouterr().out


def test_predict_a_folder(head: Path, tmp_path: Path) -> None:
    images, labels = striped(12, 200)
    folder = tmp_path / "new"
    folder.mkdir()
    for n, image in enumerate(images):
        write(Volume(np.asarray(image, np.float32)[None]), folder / f"{n:03d}.png", kind="converted")
    assert main(["predict", str(folder), "--head", str(head), "--out", str(tmp_path / "out")]) == 0
    rows = rows_of(tmp_path / "out", "results.csv")
    assert [row["path"] for row in rows] == [f"{n:03d}.png" for n in range(12)]
    assert np.mean([row["label"] == true for row, true in zip(rows, labels, strict=True)]) > 0.7
    assert all(abs(float(row["p plain"]) + float(row["p striped"]) - 1) < 1e-3 for row in rows)
    assert all(row["label"] in row["set"].split(" or ") for row in rows)


def test_predict_one_scan_names_no_file(head: Path, data: Path, tmp_path: Path) -> None:
    scan = data / "striped" / "001.png"
    assert main(["predict", str(scan), "--head", str(head), "--out", str(tmp_path / "out")]) == 0
    (row,) = rows_of(tmp_path / "out")
    assert row["scan"] == "scan" and row["label"] == "striped"
    assert "001.png" not in (tmp_path / "out" / "run.json").read_text()


def test_a_head_of_another_prior_is_refused(
    head: Path, data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code = main(["predict", str(data), "--head", str(head), "--prior", "chest-xray"])
    assert code == 2 and "was learned on another prior" in capsys.readouterr().err


def table(path: Path, rows: list[tuple[str, str]]) -> Path:
    path.write_text("path,label\n" + "".join(f"{name},{label}\n" for name, label in rows))
    return path


def test_a_table_of_labels_leaves_the_others_without(
    data: Path, tiny: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A few rows; one names no file, which is said. All other files count as scans without label."""
    rows = [(f"{kind}/{n:03d}.png", kind) for n in range(12) for kind in [("plain", "striped")[n % 2]]]
    labels = table(tmp_path / "answers.csv", [*rows, ("gone.png", "plain")])
    out = tmp_path / "out"
    assert main(["learn", str(data), "--prior", str(tiny), "--labels", str(labels), "--out", str(out)]) == 0
    said = capsys.readouterr().err
    assert said.count("1 of 13 rows of answers.csv name no file here (first line 14)") == 1
    card = json.loads((out / "run.json").read_text())["metrics"]["head"]
    assert card["labels"] == [6, 6] and card["unlabelled"] == 32 and not card["calibrated"]
    assert "uncalibrated: fewer than 30 labels" in (out / "report.html").read_text()
    alone = ["learn", str(data), "--prior", str(tiny), "--labels", str(labels), "--labels-alone"]
    assert main([*alone, "--out", str(tmp_path / "alone")]) == 0
    card = json.loads((tmp_path / "alone" / "run.json").read_text())["metrics"]["head"]
    assert card["unlabelled"] == 0 and card["method"] == "labels alone"


@pytest.mark.parametrize(
    ("rows", "words"),
    [
        ([("plain/000.png", "plain"), ("plain/002.png", "plain")], "name one class only, 'plain'"),
        (
            [("plain/000.png", "a"), ("plain/002.png", "a"), ("plain/004.png", "b")],
            "the class 'b' has one scan",
        ),
        ([("gone.png", "a")], "no row of answers.csv names a file"),
    ],
)
def test_labels_that_cannot_be_learned_from_are_a_sentence(
    data: Path, tiny: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], rows: list, words: str
) -> None:
    labels = table(tmp_path / "answers.csv", rows)
    out = tmp_path / "out"
    assert main(["learn", str(data), "--prior", str(tiny), "--labels", str(labels), "--out", str(out)]) == 2
    assert words in capsys.readouterr().err and not out.exists()


def test_the_reliability_chart_shows_every_bin() -> None:
    chart = reliability_chart(((0.6, 0.5, 10), (0.9, 1.0, 10)))
    assert [one.kind for one in chart.series] == ["line", "line", "points"]
    assert list(chart.series[2].x) == [0.6, 0.9] and chart.square


def test_a_dicom_scan_gets_a_structured_report(head: Path, tmp_path: Path) -> None:
    """Its labels with their probabilities, in the study of the scan, and no anomaly score."""
    pytest.importorskip("highdicom")
    import pydicom
    from pydicom.data import get_testdata_file

    scan = Path(str(get_testdata_file("RG1_UNCR.dcm", download=False)))
    out = tmp_path / "out"
    assert main(["predict", str(scan), "--head", str(head), "--out", str(out)]) == 0
    made, source = pydicom.dcmread(out / "outputs" / "structured_report.dcm"), pydicom.dcmread(scan)
    assert made.Modality == "SR" and made.StudyInstanceUID == source.StudyInstanceUID
    text = str(made)
    assert "Probability of plain" in text and "Probability of striped" in text and "Anomaly" not in text
    assert made.SeriesDescription == "AI classification report"
    told = [str(element.value) for element in made.iterall() if element.VR == "UT"]
    assert any("No person has verified this report" in words for words in told)


def test_an_independent_checker_finds_no_error_in_the_report(head: Path, tmp_path: Path) -> None:
    pytest.importorskip("highdicom")
    scan, out = save(tmp_path / "film.dcm", radiograph()), tmp_path / "out"
    assert main(["predict", str(scan), "--head", str(head), "--allow-other", "--out", str(out)]) == 0
    assert errors_of(out / "outputs" / "structured_report.dcm") == []


def test_a_head_whose_network_was_tuned_is_one_more_way(
    data: Path,
    tiny: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Its page shows every way; labels that come together are refused before minutes are spent."""
    few = ConsistencySettings(steps=2, labelled=4, unlabelled=4)
    monkeypatch.setattr("medprior.jobs.tuning.classifier.ConsistencySettings", lambda: few)
    monkeypatch.setattr("medprior.jobs.tuning.ways.FOLDS", 2)
    out = tmp_path / "out"
    assert main(["learn", str(data), "--prior", str(tiny), "--fine-tune", "--out", str(out)]) == 0
    compared = json.loads((out / "run.json").read_text())["metrics"]["promises"]["compared"]
    assert set(compared) == {"labels alone", "self-training", "fine-tuning"}
    assert "fine-tuning" in (out / "report.html").read_text()
    rows = [(f"plain/{n:03d}.png", "a|b" if n % 4 else "a") for n in range(0, 20, 2)]
    several = ["--labels", str(table(tmp_path / "l.csv", rows)), "--fine-tune"]
    assert main(["learn", str(data), "--prior", str(tiny), *several]) == 2
    said = capsys.readouterr().err
    assert "wants one label a scan" in said and "looking at every scan" not in said.rpartition("l.csv")[2]


def test_a_prior_is_no_head(
    data: Path, tiny: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Nor the run of a training, which holds a prior as a head does."""
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "prior").symlink_to(tiny)
    for folder in (tiny, tmp_path / "run"):
        assert main(["predict", str(data / "plain" / "000.png"), "--head", str(folder)]) == 2
        assert "is neither the folder of a head nor that of its run" in capsys.readouterr().err
