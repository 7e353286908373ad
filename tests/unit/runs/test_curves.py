"""``medprior evaluate learn``: learning curves of pictures in folders, beside plain features; the verdict."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from medprior.cli import main
from medprior.evidence.intervals import Estimate
from medprior.runs.curves import verdict_of_curves
from tests.unit.runs.learn.test_head import data

__all__ = ["data"]


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ways to learn are judged twice, as an interval needs, and halves of the patients judge."""
    monkeypatch.setattr("medprior.jobs.tuning.ways.REPEATS", 2)
    monkeypatch.setattr("medprior.jobs.label_curves.FOLDS", 2)


def evaluate(data: Path, prior: Path, out: Path, *more: str) -> int:
    options = ["--prior", str(prior), "--out", str(out), "--sizes", "6", "--sizes", "10", "--draws", "2"]
    return main(["evaluate", "learn", str(data), *options, *more])


def test_curves_with_and_without_unlabelled_scans(data: Path, tiny: Path, tmp_path: Path) -> None:
    """Two folds judge in turn; every number has an interval, every method its gain."""
    assert evaluate(data, tiny, tmp_path / "out", "--baselines", "quick") == 0
    metrics = json.loads((tmp_path / "out" / "run.json").read_text())["metrics"]
    assert metrics["ours"] == "prior, with unlabelled scans" and metrics["judged_by"].startswith("2 folds")
    assert set(metrics["auroc"]) == {
        *("prior, with unlabelled scans", "prior, labels alone", "prior, labels asked for"),
        *("pixels", "pixels, with unlabelled scans"),
    }
    for name, row in metrics["auroc"].items():
        assert set(row) == {"6", "10"} and all(at["n"] == 32 for at in row.values()), name
    assert metrics["auroc"]["prior, labels alone"]["10"]["value"] > 0.7
    page = (tmp_path / "out" / "report.html").read_text()
    assert (
        "Learning curve" in page
        and "How many labels?" in page
        and "Label " in page
        and "0.5 is chance" in page
    )
    rows = (tmp_path / "out" / "results.csv").read_text().splitlines()
    assert rows[0] == "method,labels,draw,AUROC" and len(rows) == 1 + 5 * 2 * 2


def test_what_cannot_be_measured_is_said(
    data: Path, tiny: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    quick = ("--baselines", "quick")
    assert evaluate(data, tiny, tmp_path / "out", *quick, "--judge", "test") == 2
    assert "no test split with labels" in capsys.readouterr().err
    assert evaluate(data, tiny, tmp_path / "out", *quick, "--sizes", "100") == 2
    said = capsys.readouterr().err
    assert "wanted 100 labelled scans, the folder has" in said and "learning from draws" not in said


def at(value: float, half: float = 0.01) -> Estimate:
    return Estimate(value, value - half, value + half, 0.95, 40)


def test_the_verdict_says_how_many_labels_and_how_sure() -> None:
    values = {"prior": {20: at(0.92), 100: at(0.926)}, "pixels": {20: at(0.86), 100: at(0.91)}}
    said = verdict_of_curves("prior", values, {"pixels": {20: at(0.06), 100: at(0.016)}}, ["pixels"])
    assert said.startswith("Label 20 scans (prior): AUROC is 0.920 (0.910 to 0.930). 100 labels add +0.006")
    assert "+0.060 (+0.050 to +0.070): sure" in said and "20 labels do what 100 do without the prior" in said
    values["prior"][100] = at(0.95)
    said = verdict_of_curves("prior", values, {"pixels": {20: at(0.06), 100: at(0.04)}}, ["pixels"])
    assert said.startswith("Label 100 scans") and "gained +0.030. More labels still help." in said


@pytest.mark.parametrize(("gain", "word"), [(0.005, "not sure"), (-0.05, "that it is worse is sure")])
def test_a_verdict_claims_no_more_than_the_interval(gain: float, word: str) -> None:
    values = {"prior": {20: at(0.9)}, "pixels": {20: at(0.9 - gain)}}
    said = verdict_of_curves("prior", values, {"pixels": {20: at(gain)}}, ["pixels"])
    assert word in said
