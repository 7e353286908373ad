"""Adapt as a run: a few scans become a class, the old ones stay where they were, and nothing is promised that
was measured of other weights.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from medprior.cli import main
from medprior.data.volume import Volume
from medprior.errors import BadOption
from medprior.io.disk.files import read_json, sha256
from medprior.io.write import write
from medprior.jobs.fitting.adapt import adapt
from medprior.prior.promises import DetectPromise, Promises
from medprior.runs.ask.requests import Adapt, request_from
from medprior.runs.core.progress import Event
from medprior.runs.learn.adapt import run_adapt
from medprior.runs.rebuild import rebuild
from medprior.training.folder import load, save_promises
from tests.unit.runs.conftest import save_tiny, scene

CALIBRATED = Promises(detect=DetectPromise(n_healthy=40))


@pytest.fixture(autouse=True)
def little(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing here hangs on how many images are replayed, and each takes 36 evaluations."""
    monkeypatch.setattr("medprior.jobs.fitting.adapt.DRAWN", {2: 6, 3: 2})
    monkeypatch.setattr("medprior.runs.learn.adapt.SHOWN", 2)


@pytest.fixture(scope="module")
def few(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("few") / "abscess"
    folder.mkdir()
    for n in range(10):
        write(Volume(scene(n)), folder / f"{n}.png", kind="converted")
    return folder.parent


@pytest.fixture(scope="module")
def old(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("old")
    for label, start in (("no_finding", 50), ("pneumonia", 70)):
        (folder / label).mkdir()
        for n in range(6):
            write(Volume(scene(start + n)), folder / label / f"{n}.png", kind="converted")
    return folder


def request(tiny: Path, few: Path, out: Path, **changes) -> Adapt:
    return Adapt.model_validate(
        {"prior": str(tiny), "folder": few, "out": out, "steps": 8, "device": "cpu", **changes}
    )


def test_a_folder_becomes_a_class_and_the_same_command_continues(
    tiny: Path, few: Path, tmp_path: Path
) -> None:
    heard: list[Event] = []
    done = run_adapt(request(tiny, few, tmp_path / "run"), heard.append)
    made = load(tmp_path / "run" / "prior")
    assert made.card.labels == ("no_finding", "pneumonia", "abscess")
    assert made.promises == Promises() and made.healthy == {}
    parent = made.card.data["parent"]
    assert parent["sha256"] == sha256(tiny / "weights.safetensors") == done.record["parent"]["sha256"]
    assert made.card.training["method"] == "lora" and made.card.training["replay"] == {
        "from": "generative",
        "images": 6,
        "share": 0.5,
    }
    assert made.card.data["labels"] == {"abscess": 10} and made.card.training["held_out"] == 2
    assert made.card.doubt and made.card.errors
    found = done.record["metrics"]
    assert 0 < found["tuned"] < found["parameters"], "low-rank additions move a part of it"
    assert found["gained"]["n"] == 2 and found["forgotten"] == {
        **found["forgotten"],
        "n": 2,
        "drawn_by_the_parent": True,
    }
    page = done.report.read_text()
    assert (
        "NOT inherited" in page
        and "Drawn: abscess" in page
        and "a class that is new to it" in page
        and rebuild(done.path).reused
    )
    assert str(few) not in json.dumps(read_json(done.path / "run.json")), "no path is written down"
    assert run_adapt(request(tiny, few, tmp_path / "run"), heard.append).reused
    assert heard[-1].text.startswith("this run is complete already")
    again = run_adapt(request(tiny, few, tmp_path / "run", steps=10), heard.append)
    assert again.record["metrics"]["curve"][-1][0] == 10
    with pytest.raises(BadOption, match="another training run"):
        run_adapt(request(tiny, few, tmp_path / "run", method="full"), heard.append)
    assert (
        main(
            [
                "synthesize",
                "--prior",
                str(tmp_path / "run"),
                "--label",
                "abscess",
                "--n",
                "1",
                "--unproven",
                "--out",
                str(tmp_path / "new"),
            ]
        )
        == 0
    )


@pytest.mark.parametrize("method", ["norm", "full"])
def test_the_same_seed_gives_the_same_bytes(method: str, tiny: Path, few: Path, tmp_path: Path) -> None:
    paths = [
        run_adapt(request(tiny, few, tmp_path / name, method=method, copies=2), lambda event: None).path
        / "prior"
        for name in ("a", "b")
    ]
    assert sha256(paths[0] / "weights.safetensors") == sha256(paths[1] / "weights.safetensors")
    assert sha256(paths[0] / "weights.safetensors") != sha256(tiny / "weights.safetensors")


def test_real_scans_are_replayed_and_judged_by(tiny: Path, few: Path, old: Path, tmp_path: Path) -> None:
    done = run_adapt(request(tiny, few, tmp_path / "run", replay=str(old), share=0.25), lambda event: None)
    replay = load(tmp_path / "run" / "prior").card.training["replay"]
    assert (
        replay == {"from": "real scans", "images": 10, "share": 0.25}
        and done.record["metrics"]["forgotten"]["n"] == 2
    )
    assert (
        done.record["key"]["replay"] == "real scans"
        and "held-out real scans of what it knew" in done.report.read_text()
    )


def test_promises_stay_with_the_parent(tiny: Path, few: Path, tmp_path: Path) -> None:
    save_promises(tiny, CALIBRATED, tmp_path / "parent", healthy={"x": torch.ones(2)})
    done = adapt(tmp_path / "parent", few, steps=2, out=tmp_path / "run", replay="none", copies=1)
    child = load(tmp_path / "run" / "prior")
    assert child.promises == Promises() and child.healthy == {} and len(done.old) == 2
    assert done.prior.card.training["replay"]["share"] == 0.0


def test_an_unlabelled_parent_names_what_it_knew(few: Path, tmp_path: Path) -> None:
    save_tiny(tmp_path / "parent", labels=())
    done = adapt(tmp_path / "parent", few, steps=2, out=tmp_path / "run", old_label="normal", copies=1)
    assert (
        done.prior.card.labels == ("normal", "abscess")
        and set(done.old.labels) == {0}
        and set(done.data.learn.labels) == {1}
    )
    with pytest.raises(BadOption, match="has labels already: normal, abscess"):
        adapt(tmp_path / "run" / "prior", few, steps=2, out=tmp_path / "again", old_label="normal")
    nameless = adapt(tmp_path / "parent", few, steps=2, out=tmp_path / "nameless", copies=1)
    assert nameless.prior.card.labels == ("abscess",) and set(nameless.old.labels) == {-1}


def test_volumes(tmp_path: Path) -> None:
    save_tiny(
        tmp_path / "parent",
        ndim=3,
        labels=(),
        axes="RAS",
        spacing_mm=(2.0, 2.0, 2.0),
        modality="MR",
        scaling="foreground",
        data={"shape": [16, 16, 16]},
    )
    (tmp_path / "few" / "tumour").mkdir(parents=True)
    for n in range(8):
        data = np.random.default_rng(n).uniform(10, 200, (1, 16, 18, 16)).astype(np.float32)
        write(
            Volume(data, np.diag([2.0, 2.0, 2.0, 1.0]), modality="MR"),
            tmp_path / "few" / "tumour" / f"{n}.nii.gz",
            kind="converted",
        )
    done = run_adapt(
        request(tmp_path / "parent", tmp_path / "few", tmp_path / "run", steps=2, copies=1, modality="MR"),
        lambda event: None,
    )
    prior = load(done.path / "prior")
    assert prior.card.ndim == 3 and prior.card.labels == ("tumour",) and done.report.is_file()


@pytest.mark.parametrize(
    "wrong, said",
    [
        ({"method": "lorra"}, "lora"),
        ({"share": 1.0}, "share"),
        ({"steps": 0}, "steps"),
        ({"replays": "x"}, "replay"),
    ],
)
def test_wrong_options_name_the_field(wrong: dict, said: str, tmp_path: Path) -> None:
    with pytest.raises(BadOption, match=said):
        request_from("adapt", {"prior": "x", "folder": str(tmp_path), **wrong})


def test_several_processes_are_refused(
    tiny: Path, few: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(BadOption, match="one process"):
        adapt(tiny, few, steps=2, out=tmp_path / "run")


def test_few_and_many_are_said(
    tiny: Path, few: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "three"
    folder.mkdir()
    for n in range(3):
        write(Volume(scene(n)), folder / f"{n}.png", kind="converted")
    assert (
        main(
            [
                "adapt",
                str(folder),
                "--prior",
                str(tiny),
                "--out",
                str(tmp_path / "run"),
                "--steps",
                "2",
                "--replay",
                "none",
            ]
        )
        == 0
    )
    said = capsys.readouterr().err
    assert "3 scans are fewer than 5" in said and "no scan is held out" in said


def test_missing_folders_are_named(
    tiny: Path, few: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["adapt", str(tmp_path / "nowhere"), "--prior", str(tiny), "--out", str(tmp_path / "a")]) == 2
    assert "nowhere" in capsys.readouterr().err
    assert (
        main(
            [
                "adapt",
                str(few),
                "--prior",
                str(tiny),
                "--out",
                str(tmp_path / "b"),
                "--steps",
                "2",
                "--replay",
                str(tmp_path / "lost"),
            ]
        )
        == 2
    )
    assert "lost" in capsys.readouterr().err
