"""Every DICOM row of the corpus does what its manifest says (reliability A1 to A6, A8, A12), quickly and
without taking memory for what is only promised.
"""

from __future__ import annotations

import tracemalloc
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk

from medprior import errors
from medprior.data.volume import Volume
from medprior.io.dicom.read.series import read_dicom
from medprior.io.dicom.read.tree import index_series, list_series
from medprior.io.read import read
from tests.corpus import Case
from tests.corpus.dicom import cases
from tests.corpus.dicom_parts import CANARY, changed, ct_slice, phantom, save


@pytest.fixture(scope="module")
def rows(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Case]:
    found = cases(tmp_path_factory.mktemp("dicom"))
    by_name = {case.name: case for case in found}
    assert len(by_name) == len(found) >= 80
    return by_name


@pytest.mark.timeout(120)
def test_every_row_does_what_it_says(rows: dict[str, Case]) -> None:
    wrong = [
        f"{name}: wanted {case.expect}, got {got}"
        for name, case in rows.items()
        if (got := _fault(case, rows))
    ]
    assert not wrong, "\n".join(wrong)


def _fault(case: Case, rows: dict[str, Case]) -> str:
    """What differs from the expectation, "" when nothing does."""
    kind, _, rest = case.expect.partition(":")
    try:
        volume = read_dicom(case.path)
    except errors.MedpriorError as error:
        wanted, _, part = rest.partition(":")
        return (
            ""
            if kind == "refuses" and type(error) is getattr(errors, wanted) and part in str(error)
            else f"{type(error).__name__}: {error}"
        )
    if kind == "reads":
        return "" if np.isfinite(volume.data).all() else "values that are not finite"
    return _difference(volume, read_dicom(rows[rest].path)) if kind == "equal" else "a volume"


def _difference(volume: Volume, other: Volume) -> str:
    if volume.shape != other.shape or not np.array_equal(volume.data, other.data):
        return "other values"
    if volume.unit != other.unit or volume.modality != other.modality:
        return f"{volume.unit} {volume.modality}"
    if volume.affine is None or other.affine is None:
        return "" if volume.affine is other.affine else "another kind of geometry"
    return "" if np.abs(volume.affine - other.affine).max() < 1e-6 else "another place"


def test_bombs_take_no_memory(rows: dict[str, Case]) -> None:
    """A2: what is only promised is refused before memory is taken: each bomb stays under 64 MiB of Python and
    numpy memory.
    """
    bombs = [case for case in rows.values() if case.path.parent.name == "bombs" and "TooLarge" in case.expect]
    assert len(bombs) >= 6
    for case in bombs:
        tracemalloc.start()
        with pytest.raises(errors.TooLarge):
            read_dicom(case.path)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert peak < 64 * 2**20, f"{case.name} took {peak / 2**20:.0f} MiB"


def test_the_brightest_voxel_lies_in_the_same_place_in_every_copy(rows: dict[str, Case]) -> None:
    """A5: axial, mirrored, sagittal and enhanced copies of one patient; the place is computed by hand from
    the phantom, not read back.
    """
    k, j, i = np.unravel_index(int(phantom().argmax()), phantom().shape)
    truth = np.array([20 - 0.8 * i, 30 - 0.8 * j, 5 + 2.5 * k])
    for name in ("series", "series-mirrored", "series-sagittal", "enhanced", "enhanced-shuffled"):
        volume = read_dicom(rows[name].path)
        voxel = np.unravel_index(int(volume.data[0].argmax()), volume.shape)
        assert volume.affine is not None
        assert np.abs((volume.affine @ [*voxel, 1])[:3] - truth).max() < 0.01, name
        assert (np.diag(volume.affine)[:3] > 0).all(), "closest canonical RAS+"


def test_a_nifti_copy_of_the_patient_lies_in_the_same_place(rows: dict[str, Case], tmp_path: Path) -> None:
    """A5: the series written as NIfTI by another program, and read back: the same voxel at the same
    millimetre.
    """
    series = read_dicom(rows["series"].path)
    image = sitk.ReadImage(sitk.ImageSeriesReader.GetGDCMSeriesFileNames(str(rows["series"].path)))
    sitk.WriteImage(image, str(tmp_path / "a.nii.gz"))
    copy = read(tmp_path / "a.nii.gz")
    places = [
        np.asarray(v.affine) @ [*np.unravel_index(int(v.data[0].argmax()), v.shape), 1]
        for v in (series, copy)
    ]
    assert np.abs(places[0] - places[1]).max() < 0.01 and np.array_equal(series.data, copy.data)


def test_floating_pixels_that_are_no_numbers_are_refused_and_counted(tmp_path: Path) -> None:
    """A8"""
    values = np.ones((10, 8), np.float32)
    for bad in (np.nan, np.inf):
        values[2, 3] = bad
        made = changed(
            ct_slice(phantom()[0]),
            PixelData=None,
            BitsAllocated=32,
            BitsStored=None,
            HighBit=None,
            PixelRepresentation=None,
        )
        made.add_new(0x7FE00008, "OF", values.tobytes())
        with pytest.raises(errors.Corrupt, match="1 of 80 voxels are NaN"):
            read_dicom(save(tmp_path / "a.dcm", made))
    huge = ct_slice(phantom()[0], RescaleSlope="1e300")
    with pytest.raises(errors.Corrupt, match=r"Rescale Slope 1e\+300"):
        read_dicom(save(tmp_path / "b.dcm", huge))


def test_an_index_keeps_little_of_each_file(tmp_path: Path) -> None:
    """A tree of a hundred thousand files must be listed: under 6 KiB a file, pixels and most of the headers
    are not kept.
    """
    for n in range(60):
        save(
            tmp_path / f"{n}.dcm",
            ct_slice(np.zeros((64, 64), np.uint16), (0, 0, n), ImageComments="x" * 8000),
        )
    index_series(tmp_path)
    tracemalloc.start()
    found = index_series(tmp_path)
    kept = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    assert found.series[0].n_slices == 60
    assert kept / 60 < 6144, f"{kept / 60:.0f} bytes a file"


def test_unknown_geometry_stays_unknown(rows: dict[str, Case]) -> None:
    """A5: never an identity, never 1 mm made up."""
    for name in ("no-spacing", "spacing-zero"):
        volume = read_dicom(rows[name].path)
        assert volume.affine is None and volume.spacing_mm is None, name
    nowhere = read_dicom(rows["no-place"].path)
    assert nowhere.affine is None and nowhere.spacing_mm == (0.8, 0.8)


def test_units_are_the_stated_ones(rows: dict[str, Case]) -> None:
    """A4: PET stays in its unit, doses are scaled, SUV is never made up."""
    pet, dose = read_dicom(rows["pet"].path), read_dicom(rows["dose"].path)
    assert pet.unit == "Bq/mL" and np.array_equal(pet.data[0], phantom()[0] / 4)
    assert dose.unit == "Gy" and np.allclose(dose.data[0], phantom()[0] * 0.01, atol=1e-6)
    assert read_dicom(rows["rgb"].path).unit == "a.u."


def test_padding_takes_the_lowest_value_of_the_rest(rows: dict[str, Case]) -> None:
    volume = read_dicom(rows["padding-range"].path)
    stored = phantom()[0]
    assert np.array_equal(
        volume.data[0], np.where(stored <= 400, stored[stored > 400].min(), stored) - 1024.0
    )
    assert "padded" in volume.provenance.warnings[-1]


def test_marks_and_warnings_are_carried(rows: dict[str, Case]) -> None:
    """E3 can only refuse our own output if reading keeps its mark; an inverted image says that it was
    inverted.
    """
    assert read_dicom(rows["ct-synthetic"].path).provenance.synthetic
    assert not read_dicom(rows["ct"].path).provenance.synthetic
    assert "MONOCHROME1" in read_dicom(rows["monochrome1-twin"].path).provenance.warnings[0]
    assert "kept" in read_dicom(rows["ct-monochrome1-keeps-hu"].path).provenance.warnings[0]


def test_one_frame_of_a_film_and_one_of_several_series_can_be_chosen(rows: dict[str, Case]) -> None:
    assert read_dicom(rows["cine"].path, frame=2).shape == (10, 8)
    with pytest.raises(errors.BadOption, match="wanted 0 to 2, got 3"):
        read_dicom(rows["cine"].path, frame=3)
    for name in ("two-series", "two-phases", "two-times", "series-with-scout", "mixed-directions"):
        for series in list_series(rows[name].path):
            chosen = read_dicom(rows[name].path, series=series.id)
            assert chosen.data[0].size == series.n_slices * series.shape[0] * series.shape[1], name
    with pytest.raises(errors.BadOption, match="is not in two-series"):
        read_dicom(rows["two-series"].path, series="s-unknown")


def test_ids_and_errors_tell_nobody(rows: dict[str, Case]) -> None:
    """B9: neither the id of a series nor an error about several of them holds a name, a number or a UID of
    the patient.
    """
    with pytest.raises(errors.BadGeometry) as caught:
        read_dicom(rows["two-series"].path)
    assert CANARY not in str(caught.value) and "1.2.826" not in str(caught.value)
    assert all(CANARY not in s.id and s.uid not in repr(s) for s in list_series(rows["two-series"].path))


def test_a_bad_file_is_named_and_hides_no_other(rows: dict[str, Case]) -> None:
    """A9: an index of a tree lists each damaged file with its reason and still finds the series."""
    tree = index_series(rows["with-truncated"].path)
    assert [s.n_slices for s in tree.series] == [6]
    assert [(type(fault), fault.path.name) for fault in tree.faults] == [(errors.Truncated, "cut.dcm")]
