"""What a reconstruction writes lies where its source lies, also for software that knows no 2-D images."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk

from medprior.data.volume import Volume
from medprior.io.read import read
from medprior.runs.core.inputs import known_prior
from medprior.runs.core.outputs import Output, write_output
from medprior.runs.reconstruct.run import in_space
from medprior.runs.reconstruct.simulate import known_image
from tests.unit.runs.conftest import save_tiny

SHAPE = {"R": 16, "A": 24, "S": 32}


def stored(path: Path, codes: str) -> Path:
    """A NIfTI file whose axes point to ``codes``, each voxel another number."""
    turn = {"R": (0, 1), "L": (0, -1), "A": (1, 1), "P": (1, -1), "S": (2, 1), "I": (2, -1)}
    shape = [list(SHAPE.values())[turn[c][0]] for c in codes]
    affine = np.eye(4)
    affine[:3, :3] = 0
    for axis, c in enumerate(codes):
        world, sign = turn[c]
        affine[world, axis] = sign * (1.0, 2.0, 3.0)[world]
    affine[:3, 3] = (-8.0, 11.0, 5.0)
    data = np.random.default_rng(0).uniform(0, 100, shape).astype(np.float32)
    nib.Nifti1Image(data, affine).to_filename(path)
    return path


@pytest.mark.parametrize("codes", ["RAS", "LPS", "SRA", "PIR"])
@pytest.mark.parametrize("axes", ["PL", "IL", "IP"])
def test_a_slice_of_a_volume_lies_on_its_source(codes: str, axes: str, tmp_path: Path) -> None:
    """By SimpleITK: three axes in the order of the file, and the same value at the same place."""
    source = read(stored(tmp_path / "scan.nii.gz", codes), modality="MR")
    prior = known_prior(str(save_tiny(tmp_path / "prior", axes=axes, modality="MR"))).prior
    known, _, _ = known_image(prior, source, at=5)
    output = in_space(Output("known", known, "converted", suffix=".nii.gz"), source)
    path = write_output(output, tmp_path, prior_hash="", seed=0)
    whole, part = sitk.ReadImage(str(tmp_path / "scan.nii.gz")), sitk.ReadImage(str(path))
    size, through = part.GetSize(), part.GetSize().index(1)
    assert part.GetDimension() == 3 and sorted(size)[0] == 1
    assert all(
        n == m for axis, (n, m) in enumerate(zip(size, whole.GetSize(), strict=True)) if axis != through
    )
    assert np.allclose(part.GetDirection(), whole.GetDirection())
    for at in ([0, 0, 0], [n - 1 for n in size], [n // 3 for n in size]):
        there = whole.TransformPhysicalPointToIndex(part.TransformIndexToPhysicalPoint(at))
        assert part[at] == pytest.approx(whole[there], abs=1e-2)


def test_other_outputs_stay_as_they_are(tmp_path: Path) -> None:
    source = read(stored(tmp_path / "scan.nii.gz", "RAS"), modality="MR")
    flat = Volume(np.zeros((1, 4, 5), np.float32), np.eye(4))
    for output, of in (
        (Output("draws", flat, "reconstructed", suffix=".npz"), source),
        (Output("whole", source, "reconstructed", suffix=".nii.gz"), source),
        (Output("picture", replace(flat, affine=None), "reconstructed", suffix=".nii.gz"), source),
        (Output("image", flat, "reconstructed", suffix=".nii.gz"), flat),
    ):
        assert in_space(output, of) is output
