"""Evaluations: ours beside plain methods with intervals over patients, continued where stopped, the healthy
label never guessed.
"""

from __future__ import annotations

import csv
import io
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from medprior.cli import main
from medprior.data.volume import Volume
from medprior.errors import BadOption
from medprior.evidence.detectors.detectors import Atlas
from medprior.evidence.detectors.kept_scores import KEPT
from medprior.healthy.model import HealthyModel
from medprior.io.dataset.index import one_each
from medprior.io.dataset.scan import scan
from medprior.io.write import write
from medprior.jobs.detect import HEALTHY
from medprior.jobs.detection.calibrate import usable
from medprior.runs.ask.requests import CalibrateDetect, Detect, EvaluateDetect, EvaluateReconstruct
from medprior.runs.core.inputs import known_prior
from medprior.runs.core.progress import Event, silent
from medprior.runs.execute import execute
from medprior.runs.rebuild import rebuild
from medprior.runs.studies import detect as evaluate_detect
from medprior.runs.studies import reconstruct as evaluate_reconstruct
from medprior.runs.studies.calibrate_detect import run_calibrate_detect
from medprior.runs.studies.detect import Scanned, detection_figures, healthy_label, run_evaluate_detect
from medprior.runs.studies.detection.plain_detectors import Beside
from medprior.runs.studies.reconstruct import choose_images, run_evaluate_reconstruct
from medprior.runs.studies.study import results_csv
from medprior.runs.verbs import VERBS, perform
from medprior.training.folder import bundled, load
from tests.unit.runs.conftest import scene


@pytest.fixture(scope="module")
def scans(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """test/no_finding and test/pneumonia, three patients each; the file names are names of people."""
    folder = tmp_path_factory.mktemp("data")
    for label in ("no_finding", "pneumonia"):
        (folder / "test" / label).mkdir(parents=True)
        for n in range(3):
            write(
                Volume(scene(n + 10 * (label == "pneumonia"))),
                folder / "test" / label / f"Mustermann_{n}.png",
                kind="converted",
            )
    (folder / "train" / "no_finding").mkdir(parents=True)
    write(Volume(scene(50)), folder / "train" / "no_finding" / "a.png", kind="converted")
    return folder


def reconstruct_request(scans: Path, tiny: Path, out: Path, **changes) -> EvaluateReconstruct:
    return EvaluateReconstruct.model_validate(
        {"folder": scans, "prior": str(tiny), "out": out, "n": 2, "steps": 2, "most": 3, **changes}
    )


def test_reconstruct_stands_beside_plain_methods_with_intervals(
    scans: Path, tiny: Path, tmp_path: Path
) -> None:
    before = sorted(p.name for p in scans.rglob("*"))
    heard: list[Event] = []
    done = run_evaluate_reconstruct(reconstruct_request(scans, tiny, tmp_path / "run"), heard.append)
    metrics = done.record["metrics"]
    assert {"noisy image", "total variation, best weight for this image", "medprior, mean of 2 draws"} <= set(
        metrics["methods"]
    )
    for at in metrics["methods"].values():
        span = at["intervals"]["psnr_db"]
        assert span["low"] <= at["psnr_db"] == span["value"] <= span["high"] and span["n"] == 3
    assert metrics["gain_db"]["over"] in metrics["methods"] and done.record["data"]["split"] == "test"
    page = done.report.read_text()
    assert all(
        words in page
        for words in (
            "SIMULATED",
            "intervals are too narrow",
            "patients: named 0 of 3",
            "The image with the lowest PSNR",
        )
    )
    assert not any(b"Mustermann" in p.read_bytes() for p in done.path.rglob("*") if p.is_file())
    rows = (done.path / "results.csv").read_text().splitlines()
    assert rows[0] == "image,patient,method,psnr_db,ssim" and len(rows) == 1 + 3 * len(metrics["methods"])
    assert sorted(p.name for p in scans.rglob("*")) == before, "nothing is written among the data"
    assert [p.name for p in tmp_path.iterdir()] == ["run"] and rebuild(done.path).reused
    assert any(e.kind == "cost" and "left" in e.text for e in heard)
    assert run_evaluate_reconstruct(reconstruct_request(scans, tiny, tmp_path / "run"), silent).reused


def test_a_stopped_evaluation_goes_on(
    scans: Path, tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two of three images are done when it stops; the third is all that is done afterwards, and the numbers
    are those of an unbroken run.
    """
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
    from medprior.io.dataset.scan import Item

    def item(n: int, patient: str) -> Item:
        return Item(
            f"i{n}",
            "",
            "",
            "",
            patient,
            "test",
            "",
            "png",
            (8, 8),
            1,
            "a.u.",
            "",
            None,
            False,
            str(n),
            "",
            0,
            True,
            False,
            "",
        )

    items = [item(n, f"p{n // 5}") for n in range(20)]
    prior = known_prior(str(tiny)).prior
    found = choose_images(reconstruct_request(scans, tiny, scans, per_patient=2, most=6), prior, items)
    assert [image.patient for image in found] == [1, 1, 2, 2, 4, 4] or len(
        {image.patient for image in found}
    ) == 3
    assert (
        len(choose_images(reconstruct_request(scans, tiny, scans, per_patient=5, most=100), prior, items))
        == 20
    )


@pytest.fixture(scope="module")
def healthy_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Healthy scans with splits: 10 to learn from, 20 to calibrate with, 6 to judge; and 6 ill ones to judge,
    a bright patch in each, with masks of two.
    """
    folder = tmp_path_factory.mktemp("labelled")
    rows = ["path,label,patient,split,mask"]
    for n in range(42):
        split, label = (
            ("train", "normal")
            if n < 10
            else ("val", "normal")
            if n < 30
            else ("test", "normal" if n < 36 else "lesion")
        )
        image: Any = 0.3 * scene(n) + 60
        mask = ""
        if label == "lesion":
            image[0, 10:18, 12:20] += 120
            if n < 38:
                marked = np.zeros((1, 32, 32), np.float32)
                marked[0, 10:18, 12:20] = 1
                mask = f"mask_{n}.nii.gz"
                write(Volume(marked, unit="label"), folder / mask, kind="mask")
        write(Volume(image), folder / f"{n}.png", kind="converted")
        rows.append(f"{n}.png,{label},patient {n},{split},{mask}")
    (folder / "scans.csv").write_text("\n".join(rows) + "\n")
    return folder


@pytest.fixture(scope="module")
def calibrated(healthy_folder: Path, tiny: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny prior, shown the healthy scans by the run that users have."""
    place = tmp_path_factory.mktemp("calibrated")
    asked = {"folder": healthy_folder, "prior": str(tiny), "into": place / "prior", "out": place / "run"}
    before = {p.name: p.read_bytes() for p in tiny.iterdir()}
    done = run_calibrate_detect(CalibrateDetect.model_validate(asked), silent)
    assert {p.name: p.read_bytes() for p in tiny.iterdir()} == before, "the prior it came from is left alone"
    entry = done.record["metrics"]["entry"]
    assert (entry["learned_from"], entry["n_healthy"]) == (10, 20) and entry["map_high"] is not None
    assert {name: len(scores) for name, scores in entry["plain"].items()} == dict.fromkeys(KEPT, 20)
    page = done.report.read_text()
    assert "can recognise it in trust.json" in page
    assert "0.0476" in page and "PCA residual" in page and rebuild(done.path).reused
    return place / "prior"


def test_a_prior_is_shown_healthy_scans_and_ranks_others(calibrated: Path, tiny: Path) -> None:
    prior = load(calibrated)
    assert prior.promises.detect is not None
    assert prior.promises.detect.calibrated_on == "20 healthy patients of the val split" and prior.healthy
    for old, new in zip(load(tiny).net.parameters(), prior.net.parameters(), strict=True):
        assert torch.equal(old, new)


def test_every_report_has_plain_scores_beside_ours(
    healthy_folder: Path, calibrated: Path, tmp_path: Path
) -> None:
    """What was kept is read back with the prior, and ranks a scan that nobody has seen."""
    done = execute(
        Detect.model_validate(
            {"input": healthy_folder / "33.png", "prior": str(calibrated), "out": tmp_path / "run"}
        )
    )
    plain, page = done.record["metrics"]["plain"], done.report.read_text()
    assert done.record["metrics"]["p_value"] is not None and tuple(plain) == KEPT
    assert all(one["p_value"] == (1 + one["as_high"]) / 21 for one in plain.values())
    assert (
        "healthy patients at least as high" in page
        and "atlas of mean and SD" in page
        and "research use only" in page.lower()
    )


def test_bundled_priors_that_know_healthy_scans_are_of_this_version() -> None:
    """Their calibration counts, and every plain score stands beside it."""
    told = {name: prior for name in bundled() if (prior := load(name)).healthy}
    assert set(told) == {"chest-xray", "brain-t1"}
    for prior in told.values():
        promise = usable(prior)
        assert promise is not None and tuple(promise.plain) == KEPT
        assert HealthyModel.of(prior.healthy).kind.known.shape[1] == len(promise.kind[0])


def test_detect_on_a_labelled_folder(healthy_folder: Path, calibrated: Path, tmp_path: Path) -> None:
    asked = {
        "folder": healthy_folder,
        "prior": str(calibrated),
        "out": tmp_path / "run",
        "baselines": "quick",
    }
    done = run_evaluate_detect(EvaluateDetect.model_validate(asked), silent)
    metrics = done.record["metrics"]
    assert metrics["healthy"] == "normal" and metrics["healthy_scans"] == metrics["other_scans"] == 6
    assert set(metrics["auroc"]) == {
        "ours",
        "mean intensity",
        "minus mean intensity",
        "atlas of mean and SD",
        "PCA residual",
    }
    assert metrics["auroc"]["mean intensity"]["value"] == pytest.approx(
        1 - metrics["auroc"]["minus mean intensity"]["value"]
    )
    assert metrics["auroc"]["ours"]["value"] > 0.6  # of a network that has learned nothing
    for name, ahead in metrics["ahead"].items():
        assert ahead["value"] == pytest.approx(
            metrics["auroc"]["ours"]["value"] - metrics["auroc"][name]["value"]
        )
    rate = metrics["false_positive_rate"]
    assert rate["low"] <= rate["value"] <= rate["high"] and rate["n"] == 6
    rows = [line.split(",") for line in (done.path / "results.csv").read_text().splitlines()[1:]]
    p, q = ([float(row[n]) for row in rows] for n in (4, 5))
    assert all(a <= b + 1e-9 for a, b in zip(p, q, strict=True))
    assert metrics["discoveries"]["scans"] == sum(v <= 0.1 for v in q)
    where = metrics["located"]
    assert where["scans"] == 2 and where["share"] == pytest.approx(64 / 1024, abs=0.03)
    assert where["maps"]["mean intensity"]["average_precision"]["value"] > 2 * where["share"] and set(
        where["maps"]
    ) == set(metrics["auroc"])
    assert sum(one["n"] for one in where["by_size"]) == 2
    page = done.report.read_text()
    assert (
        "false positives" in page
        and "Clopper-Pearson" in page
        and "PRO" in page
        and "touched by a finding" in page
        and "weak rivals" not in page
    )
    assert rebuild(done.path).reused and "patient 3" not in (done.path / "results.csv").read_text()


@pytest.mark.parametrize(("rival", "said"), [("PaDiM, EfficientNet-Lite0", 1), ("PCA residual", 0)])
def test_rivals_with_a_small_network_are_called_weak(
    rival: str, said: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(evaluate_detect, "features_available", lambda: "")
    assert len(evaluate_detect._deep_rivals({"auroc": {"ours": {}, rival: {}}})) == said
    monkeypatch.setattr(evaluate_detect, "features_available", lambda: "no wheel")
    assert "missing here: no wheel" in evaluate_detect._deep_rivals({"auroc": {"ours": {}}})[0]


def test_a_prior_that_nobody_calibrated_ranks_but_promises_nothing(
    scans: Path, tiny: Path, tmp_path: Path
) -> None:
    """Where too few healthy scans are there, intensity alone stands beside it."""
    asked = {"folder": scans, "prior": str(tiny), "out": tmp_path / "raw"}
    raw = run_evaluate_detect(EvaluateDetect.model_validate(asked), silent)
    assert (
        "false_positive_rate" not in raw.record["metrics"] and "cannot support 0.05" in raw.report.read_text()
    )
    assert set(raw.record["metrics"]["auroc"]) == {"ours", "mean intensity", "minus mean intensity"}
    assert (
        "Mustermann" not in raw.report.read_text()
        and "Mustermann" not in (raw.path / "results.csv").read_text()
    )


def test_plain_detectors_never_learn_from_the_patients_they_judge(healthy_folder: Path, tiny: Path) -> None:
    """Without a train split each half of the patients is judged by what the other half's healthy scans
    taught.
    """
    index = scan(healthy_folder, out=healthy_folder.parent / "index")
    chosen = one_each(index.usable("val"))
    request = EvaluateDetect.model_validate(
        {"folder": healthy_folder, "prior": str(tiny), "baselines": "quick"}
    )
    prior = known_prior(str(tiny)).prior
    own = replace(index, items=tuple(item for item in index.items if item.split != "train"))
    beside = Beside(prior, own, chosen, "normal", request, silent)
    assert sorted(beside.half.values()) == [0] * 10 + [1] * 10
    for item in chosen[:6]:
        image = prior.admit(next(index.volumes([item]))[1]).whole
        others = [
            prior.admit(v).whole
            for i, v in index.volumes(chosen)
            if beside.half[i.patient] != beside.half[item.patient]
        ]
        wanted = Atlas.fitted(others)(image).score
        assert beside(item, prior.admit(next(index.volumes([item]))[1]))[
            "atlas of mean and SD"
        ].score == pytest.approx(wanted)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"healthy": "lesion"}, "at least 8 healthy scans in the train split, got 0"),
        ({"split": "train"}, "got 0"),
    ],
)
def test_too_little_to_calibrate_with_is_said(
    healthy_folder: Path, tiny: Path, tmp_path: Path, change: dict[str, str], words: str
) -> None:
    asked = {
        "folder": healthy_folder,
        "prior": str(tiny),
        "into": tmp_path / "prior",
        "out": tmp_path / "run",
        **change,
    }
    with pytest.raises(BadOption, match=words):
        perform(VERBS["calibrate detect"][1], CalibrateDetect.model_validate(asked), silent)
    assert not any(tmp_path.iterdir()), "nothing is half written"


@pytest.mark.parametrize(
    ("stated", "labels", "words"),
    [
        (None, [], "no labels"),
        (None, ["covid", "pneumonia"], "is not known"),
        ("helthy", ["healthy", "ill"], "did you mean 'healthy'"),
    ],
)
def test_which_label_is_healthy_is_never_guessed(stated: str | None, labels: list[str], words: str) -> None:
    with pytest.raises(BadOption, match=words):
        healthy_label(stated, labels, HEALTHY)


def scanned(n: int, sick: bool, score: float, p: float | None = 0.5) -> Scanned:
    return Scanned(sick, n, score, p, None, {"mean intensity": float(n % 3)})


def test_the_figures_are_those_of_the_scores() -> None:
    scans = [scanned(n, n >= 6, score=n, p=0.01 if n in (5, 9) else 0.5) for n in range(12)]
    found = detection_figures(scans, 0.05, n_healthy=19)
    assert found["auroc"]["ours"]["value"] == 1.0 and found["average_precision"]["ours"]["value"] == 1.0
    assert found["false_positive_rate"]["value"] == pytest.approx(1 / 6) and found["flagged_of_others"][
        "value"
    ] == pytest.approx(1 / 6)
    assert (
        found["auroc"]["mean intensity"]["value"] == 0.5 and found["ahead"]["mean intensity"]["value"] == 0.5
    )
    assert "false_positive_rate" not in detection_figures(scans, 0.05, n_healthy=18)


def test_shuffled_labels_are_told_apart_by_chance() -> None:
    rng = np.random.default_rng(0)
    scans = [scanned(n, bool(rng.integers(2)), score=float(rng.normal())) for n in range(200)]
    at = detection_figures(scans, 0.05, n_healthy=0)["auroc"]["ours"]
    assert at["low"] < 0.5 < at["high"]


def test_the_verbs(
    scans: Path, healthy_folder: Path, tiny: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    common = [str(scans), "--prior", str(tiny)]
    assert (
        main(
            [
                "evaluate",
                "reconstruct",
                *common,
                "--task",
                "sr2",
                "--fast",
                "--most",
                "2",
                "--out",
                str(tmp_path / "a"),
                "--json",
            ]
        )
        == 0
    )
    assert json.loads(capsys.readouterr().out)["request"]["task"] == "sr2"
    assert main(["evaluate", "detect", *common, "--baselines", "quick", "--out", str(tmp_path / "b")]) == 0
    assert "AUROC" in capsys.readouterr().out
    assert (
        main(
            [
                "calibrate",
                "detect",
                str(healthy_folder),
                "--prior",
                str(tiny),
                "--into",
                str(tmp_path / "p"),
                "--out",
                str(tmp_path / "d"),
            ]
        )
        == 0
    )
    assert "10 healthy scans learned, 20 healthy patients calibrate" in capsys.readouterr().out
    assert main(["evaluate", "detect", *common, "--healthy", "nobody", "--out", str(tmp_path / "c")]) == 2
    assert "nobody" in capsys.readouterr().err and sorted(p.name for p in tmp_path.iterdir()) == [
        "a",
        "b",
        "d",
        "p",
    ]


def test_results_csv_is_a_table_whatever_a_label_holds() -> None:
    rows = [
        ["scan", "label", "score"],
        [1, "effusion, left", "-0.125000"],
        [2, '=1+"1"', 3.5],
        [3, "-ve", None],
        [4, "", -1e-9],
    ]
    text = results_csv(rows)["results.csv"].decode()
    found = list(csv.reader(io.StringIO(text)))
    assert {len(row) for row in found} == {3} and [row[1] for row in found[1:]] == [
        "effusion, left",
        '\'=1+"1"',
        "'-ve",
        "",
    ]
    assert [row[2] for row in found[1:]] == ["-0.125000", "3.5", "None", "-1e-09"]
