"""Train and scan as runs: a folder of pictures becomes a prior that works, continues by itself, and learns
nothing it must not.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

from medprior.data.volume import Volume
from medprior.errors import BadOption, WrongKind
from medprior.io.disk.files import read_json, sha256, write_json
from medprior.io.write import write
from medprior.jobs.fitting.fit import fit
from medprior.jobs.fitting.training_set import card_for
from medprior.prior import Card, Prior
from medprior.prior.error_table import ErrorTable
from medprior.prior.promises import DetectPromise, Promises
from medprior.runs.ask.requests import Train
from medprior.runs.core.progress import Event
from medprior.runs.core.run import RunFolder
from medprior.runs.learn.train import run_train
from medprior.runs.learn.train_page import training_verdict
from medprior.runs.rebuild import rebuild
from medprior.training.folder import load, save_promises
from tests.unit.runs.conftest import scene

CALIBRATED = Promises(detect=DetectPromise(n_healthy=40))


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


@pytest.fixture(autouse=True)
def little(monkeypatch: pytest.MonkeyPatch) -> None:
    """Error tables by two scans: nothing here hangs on how many there are."""
    monkeypatch.setattr("medprior.jobs.fitting.fit.HELD_OUT", {2: 4, 3: 2})


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
        "error of the pixel-wise baseline" in page
        and "Four unconditional draws" in page
        and rebuild(done.path).reused
    )
    assert {"run.json", "samples.png", "events.jsonl", "checkpoints", "prior"} <= {
        p.name for p in (tmp_path / "run").iterdir()
    }
    assert read_json(tmp_path / "run" / "run.json")["complete"] and done.record["metrics"]["steps"] == 12
    assert any(e.kind == "cost" for e in heard) and [e.done for e in heard if e.kind == "step"][-1] == 12
    assert "Real scans" in page and "Validation error" in page and "train longer (12 steps" in page
    assert any(e.kind == "warning" and "scans are few to learn from" in e.text for e in heard)
    again = trained(request(scans, tmp_path / "run", steps=14), heard.append)
    assert again.record["metrics"]["steps"] == 14
    with pytest.raises(BadOption, match="another training run"):
        run_train(request(scans, tmp_path / "run", seed=1), heard.append)


def test_a_complete_run_is_returned_and_its_calibrations_stay_until_the_weights_change(
    scans: Path, tmp_path: Path
) -> None:
    """The same command, and one with fewer steps, touch nothing; one with more goes on learning and puts the
    calibrated prior aside, and says so.
    """
    out, heard = tmp_path / "run", list[Event]()
    trained(request(scans, out), heard.append)
    save_promises(out / "prior", CALIBRATED, out / "prior", healthy={"x": torch.ones(2)})
    before = {path: sha256(path) for path in sorted(out.rglob("*.*")) if path.is_file()}
    for steps in (12, 5):
        again = trained(request(scans, out, steps=steps), heard.append)
        assert again.reused and again.record["metrics"]["steps"] == 12
        assert heard[-1].text.startswith("this run is complete already: it learned for 12 steps")
    after = {path: sha256(path) for path in sorted(out.rglob("*.*")) if path.is_file()}
    assert {p.name for p in before if before[p] != after.get(p)} <= {
        "index.sqlite"
    } and before.keys() == after.keys()
    trained(request(scans, out, steps=30), heard.append)
    assert load(out / "prior").card.training["of_steps"] == 30 and load(out / "prior").promises == Promises()
    aside = load(out / "prior-of-step-12")
    assert aside.promises == CALIBRATED and aside.healthy["x"].tolist() == [1, 1]
    (said,) = [e.text for e in heard if "prior-of-step-12" in e.text]
    assert "(detect, healthy scans) do not hold" in said and "medprior calibrate" in said


@pytest.fixture
def ctrl_c() -> Iterator[None]:
    """A shell that starts a program in the background lets it ignore Ctrl-C; here it counts."""
    former = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, former)


@pytest.mark.usefixtures("ctrl_c")
def test_a_run_that_was_interrupted_continues(scans: Path, tmp_path: Path) -> None:
    """Ctrl-C while it learns, and again while it measures: the user reads what was saved, and no prior is
    written before it was measured.
    """
    out = tmp_path / "run"

    def stop_at(text: str) -> Callable[[Event], None]:
        def listen(event: Event) -> None:
            if text in event.text:
                os.kill(os.getpid(), signal.SIGINT)

        return listen

    with pytest.raises(KeyboardInterrupt, match="stopped after step 11, saved; the same command continues"):
        run_train(request(scans, out, steps=14), stop_at("learning: step 10"))
    with pytest.raises(KeyboardInterrupt, match="all 14 steps are saved"):
        run_train(request(scans, out, steps=14), stop_at("measuring"))
    assert not (out / "prior").exists() and not read_json(out / "run.json")["complete"]
    done = trained(request(scans, out, steps=14), lambda event: None)
    assert done.record["metrics"]["of_steps"] == 14
    assert [step for step, *_ in done.record["metrics"]["curve"]] == [10, 11, 14]


def test_weights_that_stay_keep_their_calibrations(scans: Path, tmp_path: Path) -> None:
    """The run is repeated, since its record is lost. The weights are the same: what was measured holds."""
    out = tmp_path / "run"
    trained(request(scans, out), lambda event: None)
    save_promises(out / "prior", CALIBRATED, out / "prior", healthy={"x": torch.ones(2)})
    weights = sha256(out / "prior" / "weights.safetensors")
    record = read_json(out / "run.json")
    write_json(out / "run.json", {**record, "complete": False})
    assert not trained(request(scans, out), lambda event: None).reused
    assert load(out / "prior").promises == CALIBRATED and load(out / "prior").healthy
    assert sha256(out / "prior" / "weights.safetensors") == weights
    assert not list(out.glob("prior-of-*"))


def test_scans_that_have_changed_are_named(scans: Path, tmp_path: Path) -> None:
    """A complete run is not returned for scans that its weights have not seen, nor does it learn them."""
    folder, out = tmp_path / "data", tmp_path / "run"
    shutil.copytree(scans, folder)
    trained(request(folder, out), lambda event: None)
    write(Volume(scene(99)), folder / "train" / "pneumonia" / "late.png", kind="converted")
    for steps in (12, 20):
        with pytest.raises(BadOption, match=r"1 added: train/pneumonia/late\.png"):
            run_train(request(folder, out, steps=steps), lambda event: None)
    done = trained(request(folder, out, fresh=True), lambda event: None)
    assert done.record["metrics"]["scans"] == 7


def test_minutes_hold_for_the_whole_command(scans: Path, tmp_path: Path) -> None:
    """Reading, learning, measuring and samples; the first line says how the time is shared. The samples and
    the report may pass it by a little.
    """
    heard: list[Event] = []
    started = time.monotonic()
    done = trained(request(scans, tmp_path / "run", steps=None, minutes=0.1), heard.append)
    assert time.monotonic() - started < 6 + 6
    (cost,) = [e.text for e in heard if e.kind == "cost"]
    assert cost.startswith("0.1 min in all (preset tiny): ") and "Ctrl-C saves" in cost
    assert "for learning" in cost and "for measuring" in cost
    lines = [e.text for e in heard if e.kind == "step" and e.text]
    assert lines and all("loss" in text and " left" in text for text in lines)
    assert done.record["metrics"]["of_steps"] > 10 and done.record["seconds"]["learning"] > 1
    assert trained(request(scans, tmp_path / "run", steps=None, minutes=0.1), heard.append).reused


@pytest.mark.parametrize(
    "training, held, said",
    [
        ({"still_falling": True}, 9, "still falling: train longer (500 steps in 3 min so far)"),
        ({"still_falling": False}, 9, "hardly falling any more"),
        ({"still_falling": False, "steps": 200}, 9, "more scans would"),
        ({}, 9, "Too few checkpoints"),
        ({}, 0, "Error on training images 0.080 (pixel-wise baseline 0.275)"),
    ],
)
def test_the_verdict_says_whether_longer_training_helps(training: dict, held: int, said: str) -> None:
    table = ErrorTable(64, (0.01, 0.35), (1e-4, 0.0064), ((1.0,),) * 2)
    card = Card(
        "x", "DX", sigma_data=0.4438, errors=(table,), training={"steps": 500, "of_steps": 500, **training}
    )
    found = training_verdict(Prior(torch.nn.Identity(), None, card), {"held_out": held}, 180.0)  # type: ignore[arg-type]
    assert said in found and found.endswith(".")
    assert ("Validation error 0.080" in found) == bool(held)


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


def test_the_step_that_denoises_val_best_is_kept(tmp_path: Path) -> None:
    """The prior memorises eight scans on the way; the step with the lowest validation loss is kept."""
    folder = tmp_path / "data"
    for n in range(14):
        place = folder / ("train" if n < 8 else "val")
        place.mkdir(parents=True, exist_ok=True)
        write(Volume(scene(n)), place / f"{n}.png", kind="converted")
    done = trained(request(folder, tmp_path / "run", steps=100), lambda event: None)
    prior = load(tmp_path / "run" / "prior")
    held = [json.loads(line) for line in (tmp_path / "run" / "events.jsonl").read_text().splitlines()]
    losses = {line["step"]: line["held_out"] for line in held if "held_out" in line}
    kept = prior.card.training["steps"]
    assert losses[kept] == min(losses.values()) and prior.card.training["of_steps"] == 100
    early = kept * 1.1 < 100
    said = [line for line in done.summary.headline if line.startswith(f"Early stopping: step {kept} of 100")]
    assert bool(said) == early == ("Early stopping" in done.report.read_text())


def test_another_prior_to_begin_with_is_tried_first(scans: Path, tmp_path: Path) -> None:
    """The advice comes before the training, stands in the report, and the card names the other prior."""
    events: list[Event] = []
    run_train(Train(folder=scans, preset="tiny", steps=2, out=tmp_path / "first"), events.append)
    request = Train(
        folder=scans,
        preset="tiny",
        steps=2,
        out=tmp_path / "second",
        begin_with=str(tmp_path / "first"),
        seed=1,
    )
    done = run_train(request, events.append)
    assert done is not None and any("of the weights were taken over" in event.text for event in events)
    begun = done.record["metrics"]["begun"]
    assert begun["verdict"] in ("help", "no difference", "hurts") and begun["share"] > 0.5
    assert "It began with another prior" in done.report.read_text()
    card = load(tmp_path / "second").card
    assert card.training["begun_with"]["name"] == "first"
    assert str(tmp_path) not in (tmp_path / "second" / "run.json").read_text()
    again = run_train(request, events.append)
    assert again is not None and again.reused
