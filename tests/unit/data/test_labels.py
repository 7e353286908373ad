"""Label maps: whole numbers, and the noise that scale factors leave on them."""

from __future__ import annotations

from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from medprior.data.labels import label_values, whole_labels
from medprior.data.volume import Volume
from medprior.io.read import read


def test_values_of_a_label_map() -> None:
    assert label_values(np.array([[0, 3], [1, 3]], np.float32)) == (0, 1, 3)
    for wrong in (0.5, -1, np.nan):
        with pytest.raises(ValueError, match="is no label map"):
            label_values(np.array([0, wrong], np.float32))


def test_float_noise_of_a_scale_factor_is_no_label(tmp_path: Path) -> None:
    """Thousandths times 1000, as a program that scales writes them: whole within 0.001, else refused with
    digits that show why.
    """
    stored = np.arange(24, dtype=np.int16).reshape(2, 3, 4) * 1000
    image = nib.Nifti1Image(stored, np.diag([2, 2, 3, 1]))
    image.header.set_slope_inter(np.float32(0.001), 0)
    nib.save(image, tmp_path / "labels.nii")
    found = read(tmp_path / "labels.nii", unit="label")
    assert (found.data == np.rint(found.data)).all() and label_values(found.data) == tuple(range(24))
    assert "were rounded" in found.provenance.warnings[-1]
    assert label_values(np.array([0.0009, 2.9995], np.float32)) == (0, 3)
    with pytest.raises(ValueError, match=r"holds the value 1\.001\d{3,}, wanted whole numbers"):
        label_values(np.array([0, 1.0019], np.float32))
    half = Volume(np.full((1, 2, 2), 0.5, np.float32), unit="label")
    assert whole_labels(half) is half, "a probability is no label with noise"
