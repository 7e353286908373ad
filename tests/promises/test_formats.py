"""Results come in the format of the input, where the input lies, in its unit."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from pydicom.data import get_testdata_file

from medprior.data.volume import Volume
from medprior.io.read import read
from medprior.io.write import write
from medprior.runs.ask.requests import request_from
from medprior.runs.execute import execute
from tests.unit.runs.conftest import save_tiny

KEPT = {"detect": "healthy_twin", "augment": "variation_1"}


@pytest.mark.parametrize("job", KEPT)
def test_a_volume_stays_a_volume_in_its_place(job: str, tmp_path: Path) -> None:
    prior = save_tiny(
        tmp_path / "mr", modality="MR", axes="PL", numbers=("height",), labels=(), spacing_mm=(2.0, 2.0)
    )
    affine = np.array(
        [[-2.0, 0, 0, 30], [0, 0, 3.0, -8], [0, 2.0, 0, 4], [0, 0, 0, 1]]
    )  # i to the left, j up, k to the front
    write(
        Volume(
            np.random.default_rng(0).uniform(10, 200, (1, 16, 12, 10)).astype(np.float32),
            affine,
            modality="MR",
        ),
        tmp_path / "v.nii.gz",
        kind="converted",
    )
    source = read(tmp_path / "v.nii.gz")
    done = execute(
        request_from(
            job,
            {"input": tmp_path / "v.nii.gz", "prior": str(prior), "out": tmp_path / job, "modality": "MR"},
        )
    )
    made = read(done.path / "outputs" / f"{KEPT[job]}.nii.gz")
    assert source.affine is not None and made.affine is not None
    assert (
        made.shape == source.shape and np.allclose(made.affine, source.affine) and made.provenance.synthetic
    )
    assert np.corrcoef(made.data.ravel(), source.data.ravel())[0, 1] > 0.5, "the axes were not mixed up"


@pytest.mark.parametrize(
    ("job", "changes"),
    [
        ("detect", {}),
        ("augment", {"n": 1}),
        ("reconstruct", {"task": "ct", "views": 20, "n": 2, "steps": 2, "baselines": "quick"}),
    ],
)
def test_dicom_stays_dicom_in_hounsfield_units(job: str, changes: dict, tmp_path: Path) -> None:
    prior = save_tiny(
        tmp_path / "ct",
        modality="CT",
        unit="HU",
        scaling="fixed",
        low=-1024.0,
        high=1024.0,
        axes="PL",
        labels=(),
        frame=(16, 128),
    )
    path = get_testdata_file("CT_small.dcm", download=False)
    source = read(str(path))
    done = execute(
        request_from(job, {"input": str(path), "prior": str(prior), "out": tmp_path / job, **changes})
    )
    name = {"detect": "healthy_twin", "augment": "variation_1", "reconstruct": "reconstruction"}[job]
    made = read(done.path / "outputs" / f"{name}.dcm")
    assert (made.unit, made.modality, made.shape) == ("HU", "CT", source.shape) and made.provenance.synthetic
    assert (
        source.affine is not None
        and made.affine is not None
        and np.allclose(made.affine, source.affine, atol=0.01)
    )
