"""Train and scan as runs: a folder of pictures becomes a prior that works, continues by itself, and learns
nothing it must not.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from medprior.cli import main
from medprior.data.volume import Volume
from medprior.errors import BadOption, WrongKind
from medprior.io.dataset.layout import AS_MASK
from medprior.io.disk.files import read_json
from medprior.io.write import write
from medprior.jobs.fitting.fit import card_for, fit
from medprior.runs.ask.requests import Train
from medprior.runs.core.progress import Event
from medprior.runs.core.run import RunFolder
from medprior.runs.learn.train import run_train
from medprior.runs.rebuild import rebuild
from medprior.runs.scan import LISTED
from medprior.training.folder import load
from tests.unit.runs.conftest import scene


@pytest.fixture(scope="module")
def scans(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data")
    for split, start in (("train", 0), ("val", 50), ("test", 80)):
        for label in ("no_finding", "pneumonia"):
            (folder / split / label).mkdir(parents=True)
            for n in range(3):
                write(
                    Volume(scene(start + n + 10 * (label == "pneumonia"))),
                    folder / split / label / f"{n}.png",
                    kind="converted",
                )
    return folder


def trained(request: Train, on_event) -> RunFolder:
    done = run_train(request, on_event)
    assert done is not None, "one process is rank 0"
    return done


def request(scans: Path, out: Path, **changes) -> Train:
    return Train.model_validate({"folder": scans, "out": out, "preset": "tiny", "steps": 12, **changes})


def test_a_folder_becomes_a_prior_and_the_same_command_continues(scans: Path, tmp_path: Path) -> None:
    heard: list[Event] = []
    done = trained(request(scans, tmp_path / "run"), heard.append)
    prior = load(tmp_path / "run" / "prior")
    card = prior.card
    assert card.labels == ("no_finding", "pneumonia") and card.scaling == "range" and card.modality == ""
    assert card.data["scans"] == 6 and card.training["steps"] == 12 and 0.1 < card.sigma_data < 1.5
    assert card.errors, "the error tables of the denoiser were measured"
    page = done.report.read_text()
    assert (
        "error of a guess voxel by voxel" in page
        and "Four unconditional draws" in page
        and rebuild(done.path).reused
    )
    assert {"run.json", "samples.png", "events.jsonl", "checkpoints", "prior"} <= {
        p.name for p in (tmp_path / "run").iterdir()
    }
    assert read_json(tmp_path / "run" / "run.json")["complete"] and done.record["metrics"]["steps"] == 12
    assert any(e.kind == "cost" for e in heard) and [e.done for e in heard if e.kind == "step"][-1] == 12
    again = trained(request(scans, tmp_path / "run", steps=14), heard.append)
    assert again.record["metrics"]["steps"] == 14
    with pytest.raises(BadOption, match="another training run"):
        run_train(request(scans, tmp_path / "run", seed=1), heard.append)


def test_the_same_seed_learns_the_same_weights(scans: Path, tmp_path: Path) -> None:
    one, two = (
        load(trained(request(scans, tmp_path / name), lambda event: None).path / "prior").net.state_dict()
        for name in ("a", "b")
    )
    assert one.keys() == two.keys() and all(torch.equal(one[name], two[name]) for name in one)


def test_val_and_test_are_never_learned_from(scans: Path, tmp_path: Path) -> None:
    seen: list[int] = []
    fit(
        scans,
        "tiny",
        steps=1,
        out=tmp_path / "run",
        on_data=lambda data: seen.extend((len(data.train), len(data.held))),
    )
    assert seen == [6, 6]


def test_synthetic_scans_are_refused_unless_named(scans: Path, tmp_path: Path) -> None:
    folder = tmp_path / "mixed"
    folder.mkdir()
    for n in range(3):
        write(Volume(scene(n)), folder / f"{n}.png", kind="synthesized" if n == 1 else "converted")
    with pytest.raises(WrongKind, match="marked synthetic"):
        run_train(request(folder, tmp_path / "run"), lambda event: None)
    done = trained(request(folder, tmp_path / "run", allow_synthetic=True, fresh=True), lambda event: None)
    assert done.record["overrides"]


def test_mixed_kinds_are_refused(tmp_path: Path) -> None:
    from medprior.io.dataset.scan import scan

    folder = tmp_path / "mixed"
    folder.mkdir()
    write(Volume(scene(0)), folder / "a.png", kind="converted")
    write(Volume(scene(1) - 1024, unit="HU", modality="CT"), folder / "b.npz", kind="converted")
    index = scan(folder)
    with pytest.raises(WrongKind, match="different modality"):
        card_for(index.items, "x", "axial")


def test_volumes_are_cut_the_radiological_way_and_know_their_height(tmp_path: Path) -> None:
    folder = tmp_path / "volumes"
    folder.mkdir()
    for n in range(3):
        data = np.random.default_rng(n).uniform(10, 200, (1, 20, 24, 6)).astype(np.float32)
        write(
            Volume(data, np.diag([2.0, 2.0, 4.0, 1.0]), modality="MR"),
            folder / f"{n}.nii.gz",
            kind="converted",
        )
    kept = []
    prior = fit(folder, "tiny", steps=2, out=tmp_path / "run", on_data=kept.append)
    data, card = kept[0], prior.card
    assert (card.axes, card.numbers, card.scaling, card.spacing_mm, card.modality) == (
        "PL",
        ("height",),
        "foreground",
        (2.0, 2.0),
        "MR",
    )
    assert {tuple(x.shape) for x in data.train} == {(1, 24, 20)} and len(data.train) % 6 == 0
    assert data.heights is not None and float(data.heights.min()) < -0.8 and float(data.heights.max()) > 0.8


@pytest.mark.parametrize(
    "asked",
    [{"steps": 0}, {"steps": -1}, {"minutes": 0}, {"minutes": float("nan")}, {"minutes": 1, "steps": 1}],
)
def test_no_time_and_no_steps_are_refused_before_anything_is_read(asked: dict, tmp_path: Path) -> None:
    """Nought is a mistake, not a wish for the default of ten minutes."""
    with pytest.raises(BadOption, match="steps"):
        fit(tmp_path / "not there", "tiny", out=tmp_path / "run", **asked)


def test_a_folder_of_somebody_else_is_left_alone(scans: Path, tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("years of work")
    with pytest.raises(BadOption, match="did not write"):
        run_train(request(scans, tmp_path, fresh=True), lambda event: None)


def test_scan_lists_what_cannot_be_used(
    scans: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "data"
    folder.mkdir()
    for n in range(2):
        write(Volume(scene(n)), folder / f"{n}.png", kind="converted")
    (folder / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\n broken")
    assert main(["scan", str(folder), "--out", str(tmp_path / "index")]) == 0
    said = capsys.readouterr().out
    assert "2 usable scans, 1 unusable" in said and "unusable broken.png" in said


def test_scan_says_what_it_left_out_and_how_to_take_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A sound file is never passed over without a word: path, reason and remedy, in lines and in JSON; only
    so many lines.
    """
    folder = tmp_path / "data"
    folder.mkdir()
    for n in range(LISTED + 2):
        write(Volume(scene(n)), folder / f"s{n:02d}.png", kind="converted")
        write(Volume(scene(100 + n)), folder / f"s{n:02d}_mask.png", kind="converted")
    common = ["scan", str(folder), "--out", str(tmp_path / "index")]
    assert main(common) == 0
    lines = capsys.readouterr().out.splitlines()
    assert f"{LISTED + 2} usable scans, 0 unusable, {LISTED + 2} left out, 0 files passed over" in lines
    named = [line for line in lines if line.startswith("left out s")]
    assert len(named) == LISTED and "left out and 2 more, see unusable.csv" in lines
    assert all("label map" in line and AS_MASK in line for line in named)
    assert main([*common, "--json"]) == 0
    left = json.loads(capsys.readouterr().out)["left_out"]
    assert [entry["path"] for entry in left] == [f"s{n:02d}_mask.png" for n in range(LISTED + 2)] and left[0][
        "remedy"
    ] == AS_MASK


def test_the_step_that_denoises_val_best_is_kept(tmp_path: Path) -> None:
    """Eight scans and 300 steps: they are learned by heart, and what other scans look like is forgotten on
    the way.
    """
    folder = tmp_path / "data"
    for n in range(14):
        place = folder / ("train" if n < 8 else "val")
        place.mkdir(parents=True, exist_ok=True)
        write(Volume(scene(n)), place / f"{n}.png", kind="converted")
    said: list[str] = []
    done = trained(request(folder, tmp_path / "run", steps=300), lambda event: said.append(event.text))
    prior = load(tmp_path / "run" / "prior")
    held = [json.loads(line) for line in (tmp_path / "run" / "events.jsonl").read_text().splitlines()]
    losses = {line["step"]: line["held_out"] for line in held if "held_out" in line}
    kept = prior.card.training["steps"]
    assert losses[kept] == min(losses.values()) and prior.card.training["of_steps"] == 300
    early = kept * 1.1 < 300
    assert any("was kept" in text for text in said) == early == ("was kept" in done.report.read_text())
