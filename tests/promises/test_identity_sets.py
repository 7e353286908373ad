"""Verbs that take a data set: DICOM with a canary in every text element goes in, every byte written is
searched.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pydicom
import pytest

from medprior.io.dicom.write.marks import COPIED_IDENTITY
from tests.corpus.dicom_parts import radiograph, save, uid
from tests.golden.run_records import shorter
from tests.promises.test_identity import CANARY, TECHNIQUE, carriers, command, found, marked
from tests.unit.jobs.test_learn import striped
from tests.unit.runs.conftest import bright_model, save_tiny

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1500)]


@pytest.fixture(scope="module")
def scans(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """52 patients, half of them ill. The make of the scanner is a group by which results are told apart, as
    ``Tags`` says, so it holds no canary.
    """
    folder = tmp_path_factory.mktemp("sets") / "scans"
    images, labels = striped(52)
    for n, (image, label) in enumerate(zip(images, labels, strict=True)):
        image = image.repeat(2, 0).repeat(2, 1)
        made = marked(radiograph(Rows=32, Columns=32))
        made.Manufacturer, made.ManufacturerModelName = "Acme", "One"
        made.PixelData = (16 * image).astype(np.uint16).tobytes()
        made.PatientID, made.StudyInstanceUID = f"{CANARY}{n}", uid("study", n)
        made.SeriesInstanceUID, made.SOPInstanceUID = uid("series", n), uid("instance", n)
        split = "train" if n < 24 else "val" if n < 44 else "test"
        place = folder / split / ("healthy" if label == "plain" else "ill")
        place.mkdir(parents=True, exist_ok=True)
        save(place / f"{n}.dcm", made)
    return folder


@pytest.fixture(scope="module")
def head(scans: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    prior = save_tiny(tmp_path_factory.mktemp("own") / "tiny")
    out = tmp_path_factory.mktemp("heads") / "head"
    command("learn", scans, "--prior", prior, "--out", out)
    return out


def test_learn_and_predict(scans: Path, head: Path, tmp_path: Path) -> None:
    assert found(head.parent) == []
    command("predict", scans / "test", "--head", head, "--out", tmp_path / "out")
    only_what_is_stated(tmp_path / "out")


VERBS = {
    "label": ("label", "--n", 4),
    "adapt": ("adapt", "--steps", 2, "--replay", "none"),
    "evaluate detect": ("evaluate", "detect", "--baselines", "quick"),
    "evaluate reconstruct": ("evaluate", "reconstruct", "--fast", "--task", "sr2", "--most", 2),
    "calibrate detect": ("calibrate", "detect", "--into", "prior"),
    "calibrate reconstruct": ("calibrate", "reconstruct", "--fast", "--task", "sr2", "--into", "prior"),
    "evaluate learn": (
        *("evaluate", "learn", "--judge", "test", "--sizes", 8, "--draws", 2),
        *("--baselines", "quick"),
    ),
    "augment-set": ("augment-set", "--n", 1, "--judge", "off", "--allow-other"),
}


@pytest.mark.parametrize("name", VERBS)
def test_what_is_written_names_nobody(
    name: str, scans: Path, tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also the index beside a run, and that in the cache."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MEDPRIOR_CACHE", str(tmp_path / "cache"))
    command(*VERBS[name], scans, "--prior", tiny, "--out", tmp_path / "out")
    assert found(tmp_path) == [] and len(list(tmp_path.rglob("*"))) > 4


def test_calibrating_synthesis_names_nobody(
    scans: Path, tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The labels of the scans are none that this prior knows: it draws any."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MEDPRIOR_CACHE", str(tmp_path / "cache"))
    with shorter():
        chosen = ("--prior", tiny, "--n", 24, "--into", "prior", "--out", "out")
        command("calibrate", "synthesize", scans, *chosen)
    assert found(tmp_path) == [] and (tmp_path / "prior" / "trust.json").is_file()
    assert len((tmp_path / "out" / "results.csv").read_text().splitlines()) == 25


def test_evaluating_explanations_names_nobody(scans: Path, tiny: Path, tmp_path: Path) -> None:
    model = bright_model(tmp_path, 0.3)
    chosen = ("--model", model, "--most", 2, "--particles", 2, "--allow-other", "--out", tmp_path / "out")
    command("evaluate", "explain", scans, "--prior", tiny, *chosen)
    assert found(tmp_path / "out") == [] and len(list((tmp_path / "out").rglob("*"))) > 2


def test_a_folder_of_results_has_what_is_stated_alone(scans: Path, tiny: Path, tmp_path: Path) -> None:
    """DICOM that is derived from a scan says whose it is; nothing else does."""
    model, some = bright_model(tmp_path, 0.3), scans / "test" / "ill"
    command("detect", some, "--prior", tiny, "--allow-other", "--out", tmp_path / "out" / "detect")
    chosen = ("--prior", tiny, "--model", model, "--n", 1, "--particles", 2, "--allow-other")
    command("explain", next(some.iterdir()), *chosen, "--out", tmp_path / "out" / "explain")
    only_what_is_stated(tmp_path / "out")


def only_what_is_stated(out: Path) -> None:
    """DICOM of the same patient has identity by the stated list; nothing else has any."""
    dicoms = sorted(out.rglob("*.dcm"))
    assert len(dicoms) > 6
    assert set(found(out)) <= {str(path.relative_to(out)) for path in dicoms}
    for path in dicoms:
        assert carriers(pydicom.dcmread(path)) <= {*COPIED_IDENTITY, "SeriesDescription", *TECHNIQUE}
