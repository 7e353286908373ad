"""``medprior learn --segment``: from scans.csv to a head, and label maps in the format of the scan."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest

from medprior.cli import main
from medprior.data.volume import Volume
from medprior.io.read import read
from medprior.io.write import write
from medprior.jobs.learn_masks import DECODER, VOXELS
from medprior.jobs.tuning.decoder import DecoderSettings
from medprior.runs.learn.masks import overlay_of
from tests.corpus.checker import errors_of
from tests.corpus.dicom_parts import radiograph, save
from tests.unit.learning.test_voxels import QUICK, block


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six pictures with the masks of their bright blocks."""
    folder = tmp_path_factory.mktemp("masks")
    lines = ["path,patient,mask"]
    for n in range(6):
        image, mask = block(2, n)
        write(Volume(image.data.clip(0, 255).round()), folder / f"{n}.png", kind="converted")
        write(Volume(mask.numpy().astype(np.float32), unit="label"), folder / f"{n}_mask.png", kind="mask")
        lines.append(f"{n}.png,p{n},{n}_mask.png")
    (folder / "scans.csv").write_text("\n".join(lines))
    return folder


def test_learn_and_predict_masks(
    data: Path, tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("medprior.learning.voxels.VoxelSettings", lambda: QUICK)
    out = tmp_path / "head"
    assert main(["learn", str(data), "--prior", str(tiny), "--segment", "--out", str(out)]) == 0
    metrics = json.loads((out / "run.json").read_text())["metrics"]
    assert metrics["head"]["kind"] == "segmenter" and len(metrics["dice"]) == 6
    assert metrics["promises"]["estimates"]["Dice"]["n"] == 6
    assert main(["predict", str(data / "0.png"), "--head", str(out), "--out", str(tmp_path / "one")]) == 0
    found = read(tmp_path / "one" / "outputs" / "segmentation.png", unit="label")
    assert found.shape == (20, 20) and set(np.unique(found.data)) <= {0.0, 1.0}
    with open(tmp_path / "one" / "predictions.csv", newline="") as file:
        (row,) = csv.DictReader(file)
    assert int(row["structure 1"]) == int((found.data == 1).sum()) > 0


def test_a_dicom_scan_gets_a_segmentation_that_a_checker_accepts(
    data: Path, tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A head whose network was tuned; both ways stand on its page."""
    pytest.importorskip("highdicom")
    monkeypatch.setattr("medprior.learning.voxels.VoxelSettings", lambda: QUICK)
    few = DecoderSettings(steps=2, batch=4, sigma=0.3, checks=1)
    monkeypatch.setattr("medprior.runs.learn.masks.DecoderSettings", lambda: few)
    out = tmp_path / "head"
    learn = ["learn", str(data), "--prior", str(tiny), "--segment", "--fine-tune", "--out", str(out)]
    assert main(learn) == 0
    metrics = json.loads((out / "run.json").read_text())["metrics"]
    assert set(metrics["promises"]["compared"]) == {VOXELS, DECODER}
    assert "gain over features at each voxel" in (out / "report.html").read_text()
    scan = save(tmp_path / "film.dcm", radiograph())
    predict = ["predict", str(scan), "--head", str(out), "--allow-other", "--out", str(tmp_path / "one")]
    assert main(predict) == 0
    made = list((tmp_path / "one" / "outputs").glob("*.dcm"))
    assert made and all(errors_of(path) == [] for path in made)


def test_no_masks_is_a_sentence(tmp_path: Path, tiny: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write(Volume(block(2, 0)[0].data.round()), tmp_path / "a.png", kind="converted")
    assert main(["learn", str(tmp_path), "--prior", str(tiny), "--segment"]) == 2
    assert "no scan has a mask" in capsys.readouterr().err


def test_the_overlay_shows_the_slice_with_most_of_the_structure() -> None:
    volume = Volume(np.random.default_rng(0).normal(size=(1, 8, 8, 5)).astype(np.float32))
    mask = np.zeros((1, 8, 8, 5), np.float32)
    mask[0, 2:5, 2:5, 3] = 1
    shown = overlay_of(volume, Volume(mask, unit="label"), "a scan")
    assert shown.layer is not None and np.asarray(shown.layer)[..., 3].max() == 255
