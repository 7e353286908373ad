"""The demo: every part in one folder and on one page, complete at once the second time; scans come from
installed packages or are named.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from medprior.errors import FileProblem, MissingExtra
from medprior.io.read import read
from medprior.runs import demo
from medprior.runs.ask.requests import Augment, Detect, Reconstruct, Synthesize
from medprior.runs.demo import DemoScan, requests, run_demo, scan_paths


def test_the_parts_make_one_folder_and_one_page(tiny: Path, picture: Path, tmp_path: Path) -> None:
    prior = str(tiny)
    wanted = {
        "reconstruct": Reconstruct(
            input=picture, prior=prior, task="inpaint", n=2, steps=2, baselines="quick"
        ),
        "detect": Detect(input=picture, prior=prior, n_twins=1),
        "augment": Augment(input=picture, prior=prior, n=1),
        "synthesize": Synthesize(prior=prior, n=4, size=(16, 16), unproven=True),
    }
    heard: list[str] = []
    done = run_demo(tmp_path / "demo", 0, lambda event: heard.append(event.text), wanted=wanted)
    for name in wanted:
        assert (done.path / name / "run.json").is_file() and (done.path / name / "report.html").is_file()
    page = done.report.read_text()
    assert all(
        words in page
        for words in (
            "Reconstruct: missing pixels",
            "Healthy twin",
            "Augment: variations",
            "4 images",
            "UNCALIBRATED",
            "How long it took",
        )
    )
    assert "Mustermann" not in page and "://" not in page
    assert any("1 of 4" in text for text in heard)
    assert run_demo(tmp_path / "demo", 0, lambda event: None, wanted=wanted).reused


def test_the_scans_of_the_demo_are_there_and_readable() -> None:
    for name in ("data_store", "nilearn"):
        pytest.importorskip(name, reason="the extra 'demo' is not installed")
    paths = scan_paths()
    chest, abdomen = read(paths["chest"]), read(paths["abdomen"])
    assert (chest.modality, abdomen.modality, abdomen.unit) == ("CR", "CT", "HU")
    assert {"reconstruct-mri", "reconstruct-ct", "detect", "augment"} < set(requests(paths, 0))


def test_a_missing_package_is_named_with_the_command_that_installs_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(
        demo, "SCANS", {"chest": DemoScan("pydicom-data", "no_such_module_here", "x.dcm", "")}
    )
    with pytest.raises(MissingExtra, match=r"pydicom-data.*pip install 'medprior\[demo\]'"):
        scan_paths()
    monkeypatch.setattr(demo, "SCANS", {"chest": DemoScan("medprior", "medprior", "no-such-file.dcm", "")})
    with pytest.raises(FileProblem, match=r"no-such-file\.dcm"):
        scan_paths()
