"""The promise of the doctor: it names what will fail before a job does, and never fails itself."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from medprior.io.disk.files import write_folder
from medprior.runs import doctor
from medprior.runs.doctor import Check, diagnose


def row(rows: list[Check], subject: str) -> Check:
    return next(r for r in rows if r.subject == subject)


def test_every_row_that_is_not_well_says_what_to_do(tmp_path: Path) -> None:
    rows = diagnose(tmp_path)
    assert {"Python", "torch", "memory", "writing", "codec JPEG 2000", "extra demo"} <= {
        r.subject for r in rows
    }
    assert [r for r in rows if (r.status != "ok") != bool(r.remedy)] == []
    assert list(tmp_path.iterdir()) == []


def test_the_compressions_that_are_promised_have_a_reader(tmp_path: Path) -> None:
    rows = diagnose(tmp_path)
    promised = ["RLE", "JPEG", "JPEG lossless", "JPEG-LS", "JPEG 2000"]
    assert [name for name in promised if row(rows, f"codec {name}").status != "ok"] == []


def test_a_folder_that_cannot_be_written_is_a_problem(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("not a folder")
    assert row(diagnose(tmp_path / "file"), "writing").status == "problem"
    assert row(diagnose(tmp_path / "file" / "below"), "writing").status == "problem"


@pytest.mark.skipif(
    not Path("/proc/self").exists(), reason="no folder here that even an administrator cannot write"
)
def test_a_folder_without_permission_is_a_problem() -> None:
    found = row(diagnose("/proc/self"), "writing")
    assert found.status == "problem" and found.remedy


def test_a_folder_that_is_not_there_yet_is_not_made(tmp_path: Path) -> None:
    assert row(diagnose(tmp_path / "new" / "run"), "writing").status == "ok"
    assert list(tmp_path.iterdir()) == []


def test_a_changed_byte_in_a_prior_is_a_problem(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fill(folder: Path) -> None:
        (folder / "card.json").write_text("{}")
        (folder / "weights.safetensors").write_bytes(b"weights")

    write_folder(tmp_path / "lungs", fill)
    monkeypatch.setattr("medprior.training.folder.BUNDLED", tmp_path)
    assert row(diagnose(tmp_path), "prior lungs").status == "ok"
    (tmp_path / "lungs" / "weights.safetensors").write_bytes(b"weighty")
    assert row(diagnose(tmp_path), "prior lungs").status == "problem"


def test_a_missing_extra_names_its_install_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "optional_packages", lambda: {"demo": ["no-such-package-of-anyone"]})
    found = row(diagnose(tmp_path), "extra demo")
    assert found.status == "warning" and "medprior[demo]" in found.remedy


def test_every_extra_of_the_project_is_checked(monkeypatch: pytest.MonkeyPatch) -> None:
    lines = ["torch>=2", "nyxus>=0.11; extra == 'radiomics'", "medprior[dicom]; extra == 'demo'"]
    lines.append("ruff; extra == 'test'")
    monkeypatch.setattr(doctor, "requires", lambda _: lines)
    assert doctor.optional_packages() == {"radiomics": ["nyxus"]}


def test_more_threads_than_cores_is_a_warning(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.get_num_threads", lambda: 10 * (os.cpu_count() or 1))
    assert "OMP_NUM_THREADS" in row(diagnose(tmp_path), "torch").remedy


def test_a_torch_that_does_not_import_is_a_row_and_no_crash() -> None:
    """What a person with a broken installation asks the doctor for."""
    broken = (
        "import sys; sys.modules['torch'] = None; from medprior.cli import main; sys.exit(main(['doctor']))"
    )
    done = subprocess.run([sys.executable, "-c", broken], capture_output=True, text=True, timeout=120)
    assert done.returncode == 1 and "Traceback" not in done.stderr
    assert (
        "PROBLEM  torch: does not import" in done.stdout
        and "PROBLEM  priors: not looked at" in done.stdout
        and "writing" in done.stdout
    )
