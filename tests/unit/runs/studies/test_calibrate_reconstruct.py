"""Calibrate: intervals appear after it, for its own kind of measurement alone; a bundled prior is copied, too
few images are refused.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from medprior.cli import main
from medprior.data.volume import Volume
from medprior.errors import BadOption
from medprior.io.disk.files import check_manifest, sha256
from medprior.io.write import write
from medprior.prior.promises import Promises
from medprior.runs.ask.requests import CalibrateReconstruct, Reconstruct
from medprior.runs.core.progress import silent
from medprior.runs.execute import execute
from medprior.runs.rebuild import rebuild
from medprior.runs.studies.calibrate_reconstruct import run_calibrate_reconstruct
from medprior.training.folder import read_promises
from tests.unit.runs.conftest import save_tiny, scene


@pytest.fixture(scope="module")
def scans(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """12 pictures in val, two in test."""
    folder = tmp_path_factory.mktemp("data")
    for split, n in (("val", 12), ("test", 2)):
        (folder / split).mkdir()
        for i in range(n):
            write(
                Volume(scene(i + 100 * (split == "test"))),
                folder / split / f"Mustermann_{i}.png",
                kind="converted",
            )
    return folder


def asked(scans: Path, prior: Path, out: Path, **changes) -> CalibrateReconstruct:
    return CalibrateReconstruct.model_validate(
        {"folder": scans, "prior": str(prior), "out": out, "fast": True, "task": "sr2", **changes}
    )


def test_an_interval_appears_and_serves_its_own_kind_alone(scans: Path, tmp_path: Path) -> None:
    prior = save_tiny(tmp_path / "tiny")
    weights = sha256(prior / "weights.safetensors")
    picture = scans / "test" / "Mustermann_0.png"

    def reconstructed(name: str, **changes):
        values = {
            "input": picture,
            "prior": str(prior),
            "out": tmp_path / name,
            "task": "superres",
            "factor": 2,
            "fast": True,
            "baselines": "quick",
        }
        return execute(Reconstruct.model_validate({**values, **changes}), silent)

    before = reconstructed("before")
    assert (
        before.record["metrics"]["interval"] is None
        and "nothing was calibrated" in before.record["metrics"]["interval_refused"]
    )
    assert "No interval is printed" in before.report.read_text(encoding="utf-8")
    done = run_calibrate_reconstruct(asked(scans, prior, tmp_path / "run"), silent)
    assert done.record["data"]["split"] == "val" and done.record["metrics"]["entry"]["calibration"]["n"] == 12
    assert rebuild(done.path).reused and "Mustermann" not in done.report.read_text(encoding="utf-8")
    assert "beside one width for all voxels" in done.report.read_text(encoding="utf-8")
    check_manifest(prior)
    assert sha256(prior / "weights.safetensors") == weights
    after = reconstructed("before", fresh=False, out=tmp_path / "after")
    at = after.record["metrics"]["interval"]
    assert at["n"] == 12 and 0 < at["covered_here"] <= 1 and at["median_width"] > 0
    assert {path.name for path in after.outputs} >= {"interval-low.png", "interval-high.png"}
    assert "SIMULATED measurements of 12 images" in after.report.read_text(encoding="utf-8")
    other = reconstructed("other", factor=4)
    assert (
        other.record["metrics"]["interval"] is None
        and "measured numbers a voxel" in other.record["metrics"]["interval_refused"]
    )


def test_a_second_calibration_of_the_same_kind_takes_the_place_of_the_first(
    scans: Path, tmp_path: Path
) -> None:
    prior = save_tiny(tmp_path / "tiny")
    for seed in (0, 1):
        run_calibrate_reconstruct(asked(scans, prior, tmp_path / f"run{seed}", seed=seed), silent)
    run_calibrate_reconstruct(asked(scans, prior, tmp_path / "denoise", task="denoise"), silent)
    assert [one.title for one in read_promises(prior).reconstruct] == ["superres factor 2", "denoise"]


def test_too_few_images_and_a_bundled_prior_are_refused(scans: Path, tmp_path: Path) -> None:
    prior = save_tiny(tmp_path / "tiny")
    with pytest.raises(BadOption, match="need 9 patients, got 2 images of 2: 7 patients are missing"):
        run_calibrate_reconstruct(asked(scans, prior, tmp_path / "few", split="test"), silent)
    with pytest.raises(BadOption, match="is not changed in its place"):
        run_calibrate_reconstruct(asked(scans, Path("chest-xray"), tmp_path / "bundled"), silent)
    assert read_promises(prior) == Promises()


def test_the_verb_writes_a_calibrated_copy(
    scans: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    prior = save_tiny(tmp_path / "tiny")
    copy = tmp_path / "copy"
    verb = [
        "calibrate",
        "reconstruct",
        str(scans),
        "--prior",
        str(prior),
        "--task",
        "sr2",
        "--fast",
        "--out",
        str(tmp_path / "run"),
        "--into",
        str(copy),
    ]
    assert main(verb) == 0
    assert "deviations, from 12 images of 12 patients (patients: named 0 of 12)" in capsys.readouterr().out
    assert read_promises(prior) == Promises() and len(read_promises(copy).reconstruct) == 1
