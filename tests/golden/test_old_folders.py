"""A prior and two runs that were written before the refactoring are still read, used and shown.

old_folders/ holds an untrained prior of 16 x 16 pixels, calibrated for one measurement.
It also holds a picture, and a run of detect and of reconstruct on that picture. Detect's run had learned
from healthy scans, which would take 0.7 MB here. Nothing in there is ever written anew.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

import medprior as mp
from tests.golden.differences import differences
from tests.golden.run_records import called, stable

OLD = Path(__file__).with_name("old_folders")
RUNS = ("detect", "reconstruct")


def record_of(run: Path) -> dict[str, Any]:
    return json.loads((run / "run.json").read_text(encoding="utf-8"))


def test_an_old_prior_loads() -> None:
    prior = mp.load(OLD / "prior")
    assert prior.card.name == "tiny" and prior.card.labels == ("no_finding", "pneumonia")
    assert prior.promises.detect is None and not prior.healthy
    assert [one.title for one in prior.promises.reconstruct] == ["superres factor 2"]


def test_info_prints_an_old_prior() -> None:
    code, said, _ = called(["info", str(OLD / "prior")])
    assert code == 0 and "tiny: 2-D prior" in said
    assert "measured   reconstruct superres factor 2" in said


def run_again(tmp_path: Path, job: str, *options: str) -> dict[str, Any]:
    """What the job finds now in the old picture with the old prior."""
    out = tmp_path / job
    places = [str(OLD / "scan.png"), "--prior", str(OLD / "prior"), "--out", str(out)]
    code, _, heard = called([job, *places, "--device", "cpu", *options])
    assert code == 0, heard
    return record_of(out)["metrics"]


def test_an_old_prior_reconstructs_what_it_reconstructed(tmp_path: Path) -> None:
    """The same errors, the same calibrated interval, the same everything."""
    options = ["--task", "superres", "--factor", "2", "--fast", "--baselines", "quick"]
    old, new = record_of(OLD / "reconstruct")["metrics"], run_again(tmp_path, "reconstruct", *options)
    assert new.pop("unlike") == "", "such a prior cannot tell"
    assert not list(differences(stable(old), stable(new), "reconstruct"))
    assert new["interval"]["n"] == 50 and new["interval"]["covered_here"] == pytest.approx(0.847, abs=0.02)


def test_an_old_prior_without_healthy_patients_refuses_a_p_value(tmp_path: Path) -> None:
    new = run_again(tmp_path, "detect")
    assert new["p_value"] is None and new["refused"] and new["n_healthy"] == 0
    assert set(new) >= set(record_of(OLD / "detect")["metrics"])


@pytest.mark.parametrize("job", RUNS)
def test_the_report_of_an_old_run_is_made_again(job: str, tmp_path: Path) -> None:
    shutil.copytree(OLD / job, tmp_path / job)
    page = tmp_path / job / "report.html"
    page.unlink()
    code, said, heard = called(["report", str(tmp_path / job)])
    assert code == 0, heard
    assert str(page) in said and "not for diagnosis" in page.read_text(encoding="utf-8")
    code, said, _ = called(["report", str(tmp_path / job)])
    assert code == 0 and "nothing has changed" in said


def test_old_runs_are_compared_on_one_page(tmp_path: Path) -> None:
    code, _, heard = called(["report", *(str(OLD / job) for job in RUNS), "--out", str(tmp_path / "both")])
    assert code == 0, heard
    assert len(record_of(tmp_path / "both")["runs"]) == 2
