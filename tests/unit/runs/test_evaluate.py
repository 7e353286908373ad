"""Evaluations: ours beside plain methods with intervals over patients, continued where stopped, the healthy label never guessed."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch

from medprior.cli import main
from medprior.data.volume import Volume
from medprior.errors import BadOption
from medprior.evidence.metrics import auroc, interval
from medprior.io.write import write
from medprior.jobs.detect import calibrate
from medprior.runs import evaluate_reconstruct
from medprior.runs.evaluate_detect import Scanned, baselines, figures, healthy_label, run_evaluate_detect
from medprior.runs.evaluate_reconstruct import chosen, run_evaluate_reconstruct
from medprior.runs.events import Event, silent
from medprior.runs.rebuild import rebuild
from medprior.runs.requests import EvaluateDetect, EvaluateReconstruct
from medprior.runs.sources import known_prior
from medprior.training.folder import save_prior

from .conftest import scene


@pytest.fixture(autouse=True)
def few_resamples(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is tested here hangs on values; how well intervals cover is tested with the metrics, and 2000 resamples of each number are most of the time."""
    monkeypatch.setattr("medprior.runs.evaluate.interval", partial(interval, draws=100))


@pytest.fixture(scope="module")
def scans(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """test/no_finding and test/pneumonia, three patients each; the file names are names of people."""
    folder = tmp_path_factory.mktemp("data")
    for label in ("no_finding", "pneumonia"):
        (folder / "test" / label).mkdir(parents=True)
        for n in range(3):
            write(Volume(scene(n + 10 * (label == "pneumonia"))), folder / "test" / label / f"Mustermann_{n}.png", kind="converted")
    (folder / "train" / "no_finding").mkdir(parents=True)
    write(Volume(scene(50)), folder / "train" / "no_finding" / "a.png", kind="converted")
    return folder


def reconstruct_request(scans: Path, tiny: Path, out: Path, **changes) -> EvaluateReconstruct:
    return EvaluateReconstruct.model_validate({"folder": scans, "prior": str(tiny), "out": out, "n": 2, "steps": 2, "most": 3, **changes})


def test_reconstruct_stands_beside_plain_methods_with_intervals(scans: Path, tiny: Path, tmp_path: Path) -> None:
    before = sorted(p.name for p in scans.rglob("*"))
    heard: list[Event] = []
    done = run_evaluate_reconstruct(reconstruct_request(scans, tiny, tmp_path / "run"), heard.append)
    metrics = done.record["metrics"]
    assert {"noisy image", "total variation, best weight for this image", "medprior, mean of 2 draws"} <= set(metrics["methods"])
    for at in metrics["methods"].values():
        span = at["intervals"]["psnr_db"]
        assert span["low"] <= at["psnr_db"] == span["value"] <= span["high"] and span["n"] == 3
    assert metrics["gain_db"]["over"] in metrics["methods"] and done.record["data"]["split"] == "test"
    page = done.report.read_text()
    assert all(words in page for words in ("SIMULATED", "intervals are too narrow", "name no patient", "The image with the lowest PSNR"))
    assert not any(b"Mustermann" in p.read_bytes() for p in done.path.rglob("*") if p.is_file())
    rows = (done.path / "results.csv").read_text().splitlines()
    assert rows[0] == "image,patient,method,psnr_db,ssim" and len(rows) == 1 + 3 * len(metrics["methods"])
    assert sorted(p.name for p in scans.rglob("*")) == before, "nothing is written among the data"
    assert [p.name for p in tmp_path.iterdir()] == ["run"] and rebuild(done.path).reused
    assert any(e.kind == "cost" and "left" in e.text for e in heard)
    assert run_evaluate_reconstruct(reconstruct_request(scans, tiny, tmp_path / "run"), silent).reused


def test_a_stopped_evaluation_goes_on(scans: Path, tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two of three images are done when it stops; the third is all that is done afterwards, and the numbers are those of an unbroken run."""
    asked = reconstruct_request(scans, tiny, tmp_path / "run", fast=True)
    whole = run_evaluate_reconstruct(reconstruct_request(scans, tiny, tmp_path / "whole", fast=True), silent)
    solved, calls = evaluate_reconstruct.solved, []

    def stopping(*arguments):
        calls.append(1)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return solved(*arguments)

    monkeypatch.setattr(evaluate_reconstruct, "solved", stopping)
    with pytest.raises(KeyboardInterrupt):
        run_evaluate_reconstruct(asked, silent)
    assert not (tmp_path / "run").exists() and (tmp_path / "run.partial.json").is_file()
    heard: list[Event] = []
    again = run_evaluate_reconstruct(asked, heard.append)
    assert any("2 results are there already" in event.text for event in heard)
    assert again.record["metrics"]["methods"] == whole.record["metrics"]["methods"]
    assert not (tmp_path / "run.partial.json").exists()


def test_images_are_chosen_evenly_by_patient(scans: Path, tiny: Path) -> None:
    from medprior.io.index import Item

    def item(n: int, patient: str) -> Item:
        return Item(f"i{n}", "", "", "", patient, "test", "", "png", (8, 8), 1, "a.u.", "", None, False, str(n), "", 0, True, False, "")

    items = [item(n, f"p{n // 5}") for n in range(20)]
    prior = known_prior(str(tiny)).prior
    found = chosen(reconstruct_request(scans, tiny, scans, per_patient=2, most=6), prior, items)
    assert [image.patient for image in found] == [1, 1, 2, 2, 4, 4] or len({image.patient for image in found}) == 3
    assert len(chosen(reconstruct_request(scans, tiny, scans, per_patient=5, most=100), prior, items)) == 20


def test_detect_on_a_labelled_folder(scans: Path, tiny: Path, tmp_path: Path) -> None:
    prior = known_prior(str(tiny)).prior
    prior.trust["detect"] = calibrate(prior, [Volume(scene(100 + n)) for n in range(19)], n_twins=1)
    save_prior(prior, tmp_path / "calibrated", trust=prior.trust)
    asked = {"folder": scans, "prior": str(tmp_path / "calibrated"), "out": tmp_path / "run", "n_twins": 1}
    done = run_evaluate_detect(EvaluateDetect.model_validate(asked), silent)
    metrics = done.record["metrics"]
    assert metrics["healthy"] == "no_finding" and metrics["healthy_scans"] == metrics["other_scans"] == 3
    assert {"ours", "mean intensity", "minus mean intensity"} == set(metrics["auroc"]), "three healthy scans make no atlas"
    assert metrics["auroc"]["mean intensity"]["value"] == pytest.approx(1 - metrics["auroc"]["minus mean intensity"]["value"])
    rate = metrics["false_positive_rate"]
    assert rate["low"] <= rate["value"] <= rate["high"] and rate["n"] == 3
    page = done.report.read_text()
    assert "Mustermann" not in page and "false positives" in page and "Clopper-Pearson" in page
    assert rebuild(done.path).reused and "Mustermann" not in (done.path / "results.csv").read_text()
    # a prior that nobody has calibrated ranks, but promises nothing
    raw = run_evaluate_detect(EvaluateDetect.model_validate({**asked, "prior": str(tiny), "out": tmp_path / "raw"}), silent)
    assert "false_positive_rate" not in raw.record["metrics"] and "cannot support 0.05" in raw.report.read_text()


@pytest.mark.parametrize(
    ("stated", "labels", "words"),
    [
        (None, [], "no labels"),
        (None, ["covid", "pneumonia"], "is not known"),
        ("helthy", ["healthy", "ill"], "did you mean 'healthy'"),
    ],
)
def test_which_label_is_healthy_is_never_guessed(stated: str | None, labels: list[str], words: str, tiny: Path) -> None:
    request = EvaluateDetect.model_validate({"folder": "x", "prior": "p", "healthy": stated})
    with pytest.raises(BadOption, match=words):
        healthy_label(request, labels)


def scanned(n: int, sick: bool, score: float, p: float | None = 0.5) -> Scanned:
    small = torch.full((1, 64, 64), 0.1 * (n % 3)) + (0.8 if sick else 0.0)
    return Scanned(sick, n, score, p, None, small)


def test_the_figures_are_those_of_the_scores() -> None:
    scans = [scanned(n, n >= 6, score=n, p=0.01 if n in (5, 9) else 0.5) for n in range(12)]
    found = figures(scans, 0.05, n_healthy=19)
    assert found["auroc"]["ours"]["value"] == 1.0 and found["average_precision"]["ours"]["value"] == 1.0
    assert found["false_positive_rate"]["value"] == pytest.approx(1 / 6) and found["flagged_of_others"]["value"] == pytest.approx(1 / 6)
    assert found["auroc"]["atlas of mean and SD"]["value"] == 1.0, "a bright patch is far from the atlas"
    assert "false_positive_rate" not in figures(scans, 0.05, n_healthy=18)


def test_the_atlas_never_holds_the_patient_it_judges() -> None:
    """One healthy outlier: with itself in the atlas it would look ordinary; and healthy noise ranks by chance."""
    rng = np.random.default_rng(0)
    scans = [Scanned(False, n, 0.0, None, None, torch.from_numpy(rng.normal(size=(1, 64, 64)))) for n in range(8)]
    odd = Scanned(False, 99, 0.0, None, None, torch.full((1, 64, 64), 9.0))
    scores = baselines([*scans, odd])["atlas of mean and SD"]
    assert scores[-1] > 20 * max(scores[:-1])
    same = [Scanned(n % 2 == 1, n, 0.0, None, None, torch.from_numpy(rng.normal(size=(1, 64, 64)))) for n in range(60)]
    found = auroc(baselines(same)["atlas of mean and SD"], [int(s.sick) for s in same])
    assert 0.3 < found < 0.7


def test_the_verbs(scans: Path, tiny: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    common = [str(scans), "--prior", str(tiny)]
    assert main(["evaluate", "reconstruct", *common, "--task", "sr2", "--fast", "--most", "2", "--out", str(tmp_path / "a"), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["request"]["task"] == "sr2"
    assert main(["evaluate", "detect", *common, "--n-twins", "1", "--out", str(tmp_path / "b")]) == 0
    assert "AUROC" in capsys.readouterr().out
    assert main(["evaluate", "detect", *common, "--healthy", "nobody", "--out", str(tmp_path / "c")]) == 2
    assert "nobody" in capsys.readouterr().err and sorted(p.name for p in tmp_path.iterdir()) == ["a", "b"]
