"""A 3-D prior from a folder of volumes, and every verb with it: volumes go in whole and come out whole, where
they lie.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from scipy.ndimage import zoom

from medprior.cli import main
from medprior.data.volume import Volume
from medprior.errors import WrongKind
from medprior.io.dataset.scan import scan
from medprior.io.read import read
from medprior.io.write import write
from medprior.jobs.fitting.training_set import card_for
from medprior.training.folder import load
from tests.unit.runs.conftest import scene

AFFINE = np.array([[-2.0, 0, 0, 30], [0, 0, 3.0, -8], [0, 2.0, 0, 4], [0, 0, 0, 1]])


def body(seed: int, shape: tuple[int, int, int] = (18, 16, 20)) -> np.ndarray:
    """(1, *shape) smooth random grey values: no two seeds look alike."""
    coarse = np.random.default_rng(seed).uniform(10, 245, (4, 4, 4)).astype(np.float32)
    return np.asarray(zoom(coarse, [n / 4 for n in shape], order=3)).clip(10, 245)[None]


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run: volumes of two splits, 3 steps."""
    folder = tmp_path_factory.mktemp("solid")
    for split, n in (("train", 3), ("val", 1), ("test", 1)):
        (folder / "data" / split).mkdir(parents=True)
        for i in range(n):
            write(
                Volume(body(10 * n + i), AFFINE, modality="MR"),
                folder / "data" / split / f"{i}.nii.gz",
                kind="converted",
            )
    assert (
        main(
            [
                "train",
                str(folder / "data"),
                "--ndim",
                "3",
                "--preset",
                "tiny",
                "--steps",
                "3",
                "--modality",
                "MR",
                "--out",
                str(folder / "run"),
            ]
        )
        == 0
    )
    return folder


def test_the_card_of_a_solid_prior(trained: Path) -> None:
    card = load(trained / "run" / "prior").card
    assert (card.ndim, card.axes, card.numbers, card.modality) == (3, "RAS", (), "MR")
    assert card.spacing_mm == (2.0, 3.0, 2.0) and card.data["shape"] == [18, 20, 16], (
        "on the body's axes, whatever the order in the file"
    )
    assert card.errors and (trained / "run" / "report.html").is_file()


@pytest.mark.parametrize(
    ("verb", "options", "output"),
    [
        ("detect", ["--n-twins", "1"], "healthy_twin.nii.gz"),
        ("augment", ["--n", "1"], "variation_1.nii.gz"),
        (
            "reconstruct",
            ["--task", "denoise", "--n", "2", "--steps", "2", "--baselines", "quick"],
            "reconstruction.nii.gz",
        ),
        (
            "reconstruct",
            ["--task", "superres", "--factor", "2", "--fast", "--baselines", "quick"],
            "reconstruction.nii.gz",
        ),
        ("reconstruct", ["--task", "inpaint", "--fast", "--baselines", "quick"], "reconstruction.nii.gz"),
        (
            "reconstruct",
            ["--task", "mri", "--acceleration", "2", "--fast", "--baselines", "quick"],
            "reconstruction.nii.gz",
        ),
    ],
)
def test_every_verb_takes_the_volume_whole(
    verb: str, options: list[str], output: str, trained: Path, tmp_path: Path
) -> None:
    scan_path = trained / "data" / "test" / "0.nii.gz"
    asked = [
        verb,
        str(scan_path),
        "--prior",
        str(trained / "run"),
        "--modality",
        "MR",
        *options,
        "--out",
        str(tmp_path / "run"),
    ]
    assert main(asked) == 0
    source, made = read(scan_path), read(tmp_path / "run" / "outputs" / output)
    assert source.affine is not None and made.affine is not None and made.ndim == 3
    if verb != "reconstruct":
        assert made.shape == source.shape and np.allclose(made.affine, source.affine)
    # the same millimetres at the same corner, on whatever grid
    corner = np.array([0.0, 0, 0, 1])
    assert (
        np.abs(
            np.sort(np.abs((made.affine @ corner)[:3])) - np.sort(np.abs((source.affine @ corner)[:3]))
        ).max()
        < 40
    )
    assert (tmp_path / "run" / "report.html").is_file()


def test_new_volumes(trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    asked = ["synthesize", "--prior", str(trained / "run"), "--n", "1", "--unproven"]
    assert main([*asked, "--out", str(tmp_path / "run"), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["metrics"]["size"] == [18, 20, 16]
    made = read(tmp_path / "run" / "outputs" / "image_1.nii.gz")
    assert made.ndim == 3 and made.provenance.synthetic
    assert main([*asked, "--format", "png", "--out", str(tmp_path / "no")]) == 2
    assert "a 3-D prior draws volumes" in capsys.readouterr().err and not (tmp_path / "no").exists()


def test_what_does_not_fit_a_solid_prior_is_said(
    trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    picture = tmp_path / "flat.png"
    write(Volume(scene(0)), picture, kind="converted")
    assert main(["detect", str(picture), "--prior", str(trained / "run"), "--allow-other"]) == 2
    assert "is 3-D, this is an image" in capsys.readouterr().err
    asked = [
        "reconstruct",
        str(trained / "data" / "test" / "0.nii.gz"),
        "--prior",
        str(trained / "run"),
        "--modality",
        "MR",
        "--slice",
        "2",
    ]
    assert main(asked) == 2
    assert "takes the volume whole" in capsys.readouterr().err
    (tmp_path / "data").mkdir()
    write(Volume(scene(1)), tmp_path / "data" / "a.png", kind="converted")
    index = scan(tmp_path / "data")
    with pytest.raises(WrongKind, match="a 3-D prior learns from volumes"):
        card_for(index.items, "x", "axial", 3)
