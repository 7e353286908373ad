"""Promises A3, A5, A7, A8: values and place of a NIfTI are what the file says, by a stated rule, or are
called unknown.
"""

from __future__ import annotations

import gzip
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest

from medprior.data.axes import axcodes
from medprior.data.volume import Volume
from medprior.errors import BadOption, Corrupt, FileProblem, TooLarge, Truncated, Unsupported
from medprior.io.disk.limits import Limits
from medprior.io.nifti.affine import affine_difference
from medprior.io.nifti.nifti import nifti_bytes, read_nifti, write_nifti
from medprior.io.write import write
from tests.corpus.other import AFFINE, VOXELS, nifti


def header_of(path: Path) -> nib.Nifti1Header:
    image = nib.load(path)
    assert isinstance(image, nib.Nifti1Image)
    return image.header


def near(one: np.ndarray | None, other: np.ndarray) -> bool:
    return one is not None and bool(np.allclose(one, other, atol=1e-4))


def stored(folder: Path, content: bytes, name: str = "a.nii") -> Path:
    (folder / name).write_bytes(content)
    return folder / name


@pytest.mark.parametrize("codes", ["RAS", "LAS", "LPS", "PIR", "SLA", "IPL"])
def test_the_brightest_voxel_lies_at_the_same_millimetre_however_the_axes_are_stored(
    tmp_path: Path, codes: str
) -> None:
    """A5: against nibabel's own reorientation; the map of axes undoes the turn."""
    image = nib.Nifti1Image(VOXELS, AFFINE)
    turn = nib.orientations.ornt_transform(
        nib.orientations.io_orientation(AFFINE), nib.orientations.axcodes2ornt(tuple(codes))
    )
    other = image.as_reoriented(turn.tolist())
    volume = read_nifti(stored(tmp_path, nifti(np.asarray(other.dataobj), other.affine)))
    assert axcodes(volume) == "RAS"
    assert volume.affine is not None
    peak = np.unravel_index(volume.data[0].argmax(), volume.shape)
    truth = AFFINE @ [*np.unravel_index(VOXELS.argmax(), VOXELS.shape), 1]
    assert np.abs(volume.affine @ [*peak, 1] - truth).max() < 0.01
    for now, (old, flipped) in enumerate(volume.provenance.axes_map):
        assert volume.shape[now] == other.shape[old]
        assert flipped == (codes[old] not in "RAS")


def test_real_volumes_equal_the_stock_reader_in_values_and_place(tmp_path: Path, real_data: Path) -> None:
    files = sorted(real_data.glob("*/val/*.nii.gz"))[::6]
    assert files
    for file in files:
        volume, stock = read_nifti(file), nib.as_closest_canonical(nib.Nifti1Image.from_filename(file))
        assert np.array_equal(volume.data[0], np.asarray(stock.dataobj, dtype=np.float32))
        assert near(volume.affine, stock.affine)


FORMS = {
    "s-form all zero": ({"srow_x": 0, "srow_y": 0, "srow_z": 0, "qform_code": 0}, None, "all zero"),
    "s-form NaN": ({"srow_x": np.nan, "qform_code": 0}, None, "NaN"),
    "s-form singular": ({"srow_y": [2, 3, 0, 0], "srow_x": [2, 3, 0, 0], "qform_code": 0}, None, "singular"),
    "s-form overflowing": ({"srow_x": 3e38, "qform_code": 0}, None, "no sensible size"),
    "no codes": ({"sform_code": 0, "qform_code": 0}, None, "geometry is unknown"),
    "q-form without sizes": ({"sform_code": 0, "pixdim": [1, 0, 3, 4, 1, 1, 1, 1]}, None, "not positive"),
    "q-form NaN": ({"sform_code": 0, "quatern_b": np.nan}, None, "q-form"),
    "q-form steps in": ({"srow_x": np.nan}, AFFINE, "s-form holds NaN"),
}


@pytest.mark.parametrize("case", FORMS)
def test_a_form_that_cannot_be_used_is_named_and_nothing_is_invented(tmp_path: Path, case: str) -> None:
    """A7, the five faults and more: an affine is usable and from the file, or it is None; each time a warning
    says why.
    """
    fields, wanted, word = FORMS[case]
    volume = read_nifti(stored(tmp_path, nifti(**fields)))
    assert any(word in line for line in volume.provenance.warnings)
    if wanted is None:
        assert volume.affine is None
        assert axcodes(volume) == ""
    else:
        assert near(volume.affine, wanted)


def test_forms_that_disagree_are_reported_in_degrees_millimetres_and_mirror(tmp_path: Path) -> None:
    mirrored = read_nifti(stored(tmp_path, nifti(srow_x=[-2, 0, 0, 10])))
    assert (
        "180.00 degrees and 20.00 mm (they mirror each other); the s-form was used"
        in mirrored.provenance.warnings[0]
    )
    assert mirrored.affine is not None
    assert mirrored.affine[0, 0] == 2, "canonical order of the s-form"
    assert mirrored.provenance.axes_map[0] == (0, True)
    shifted = read_nifti(stored(tmp_path, nifti(srow_x=[2, 0, 0, -5])))
    assert "0.00 degrees and 5.00 mm (same handedness)" in shifted.provenance.warnings[0]
    assert read_nifti(stored(tmp_path, nifti())).provenance.warnings == ()


def test_the_measure_of_disagreement_knows_a_turn() -> None:
    turn = np.eye(4)
    turn[:2, :2] = [[np.cos(0.1), -np.sin(0.1)], [np.sin(0.1), np.cos(0.1)]]
    degrees, shift, mirror = affine_difference(np.eye(4), turn, (101, 1, 1))
    assert degrees == pytest.approx(np.degrees(0.1))
    assert shift == pytest.approx(2 * 100 * np.sin(0.05))
    assert not mirror


def test_without_codes_the_voxel_size_is_kept_when_it_was_set(tmp_path: Path) -> None:
    none: dict[str, Any] = {"sform_code": 0, "qform_code": 0}
    assert read_nifti(stored(tmp_path, nifti(**none))).spacing_mm == (2, 3, 4)
    assert read_nifti(stored(tmp_path, nifti(**none, pixdim=1, xyzt_units=0))).spacing_mm is None
    assert read_nifti(stored(tmp_path, nifti(**none, pixdim=1, xyzt_units=2))).spacing_mm == (1, 1, 1)
    assert read_nifti(stored(tmp_path, nifti(**none, pixdim=1500, xyzt_units=3))).spacing_mm == (
        1.5,
        1.5,
        1.5,
    )


def test_four_dimensions_need_a_choice(tmp_path: Path) -> None:
    series = np.stack([VOXELS, VOXELS + 1, VOXELS + 2], -1)
    for name, content in (("a.nii", nifti(series)), ("a.nii.gz", gzip.compress(nifti(series)))):
        path = stored(tmp_path, content, name)
        with pytest.raises(Unsupported, match=r"holds 3 volumes .*channels=True"):
            read_nifti(path)
        for time in range(3):
            assert np.array_equal(read_nifti(path, time=time).data[0], VOXELS + time)
        assert np.array_equal(read_nifti(path, channels=True).data, np.moveaxis(series, -1, 0))
        with pytest.raises(BadOption, match="wanted 0 to 2"):
            read_nifti(path, time=3)
        with pytest.raises(BadOption, match="one of them"):
            read_nifti(path, time=0, channels=True)
    vectors = read_nifti(stored(tmp_path, nifti(series[..., None, :])), channels=True)
    assert vectors.data.shape == (3, *VOXELS.shape)


def test_a_bit_in_a_volume_that_was_not_chosen_is_still_found(tmp_path: Path) -> None:
    """A3: the stream is read to its end, whatever part of it is wanted."""
    packed = bytearray(gzip.compress(nifti(np.stack([VOXELS] * 2, -1)), 0))
    packed[-200] ^= 1
    with pytest.raises(Corrupt, match="CRC"):
        read_nifti(stored(tmp_path, bytes(packed), "a.nii.gz"), time=0)


def test_not_finite_voxels_are_counted_and_refused_or_replaced_by_name(tmp_path: Path) -> None:
    voxels = VOXELS.astype(np.float32)
    voxels[0, 0, :3] = [np.nan, np.inf, -np.inf]
    path = stored(tmp_path, nifti(voxels))
    with pytest.raises(Corrupt, match=r"3 of 120 voxels are NaN or infinite .*nonfinite=0"):
        read_nifti(path)
    volume = read_nifti(path, nonfinite=-9)
    assert (volume.data == -9).sum() == 3
    assert "3 voxels were NaN or infinite and became -9" in volume.provenance.warnings


def test_scaling_is_done_in_double_precision(tmp_path: Path) -> None:
    voxels = np.array([[[2**24, 2**24 + 2]]], dtype=np.int32)
    volume = read_nifti(stored(tmp_path, nifti(voxels, scl_slope=1, scl_inter=-(2**24))))
    assert volume.data.ravel().tolist() == [0, 2]


def test_limits_are_settable(tmp_path: Path) -> None:
    path = stored(tmp_path, nifti())
    with pytest.raises(TooLarge, match=r"declares 120 voxels, the limit is 100"):
        read_nifti(path, limits=Limits(voxels=100))
    with pytest.raises(TooLarge, match="480 bytes"):
        read_nifti(path, limits=Limits(bytes=100))
    with pytest.raises(BadOption, match=r"Limits\.ratio"):
        Limits(ratio=0)
    empty = stored(tmp_path, gzip.compress(nifti(np.zeros((260, 260, 260), np.uint8)), 1), "b.nii.gz")
    with pytest.raises(TooLarge, match=r"raise Limits\.ratio"):
        read_nifti(empty, limits=Limits(ratio=100))
    assert read_nifti(empty, limits=Limits(ratio=2000)).shape == (260, 260, 260)


def test_units_come_from_the_caller_or_from_our_own_mark(tmp_path: Path) -> None:
    path = stored(tmp_path, nifti())
    assert (read_nifti(path).unit, read_nifti(path).modality) == ("a.u.", "")
    assert (read_nifti(path, unit="HU", modality="CT").unit, read_nifti(path, modality="CT").modality) == (
        "HU",
        "CT",
    )
    write_nifti(
        Volume(VOXELS[None].astype(np.float32), AFFINE, "optical density", "DX"),
        tmp_path / "b.nii.gz",
        synthetic=True,
    )
    again = read_nifti(tmp_path / "b.nii.gz")
    assert (again.unit, again.modality, again.provenance.synthetic) == ("optical density", "DX", True)
    assert read_nifti(tmp_path / "b.nii.gz", unit="HU").unit == "HU"


def test_what_is_written_has_two_equal_forms_and_says_what_it_is_for(tmp_path: Path) -> None:
    write_nifti(
        Volume(VOXELS[None].astype(np.float32), AFFINE), tmp_path / "a.nii", dtype="int16", synthetic=True
    )
    header = header_of(tmp_path / "a.nii")
    assert near(np.asarray(header.get_qform()), np.asarray(header.get_sform()))
    assert near(np.asarray(header.get_sform()), AFFINE)
    assert (int(header["qform_code"]), int(header["sform_code"]), header.get_data_dtype()) == (1, 1, np.int16)
    assert (
        header["descrip"].tobytes().startswith(b"medprior: synthetic / research use only, not for diagnosis")
    )
    with pytest.raises(BadOption, match=r"do not fit"):
        write_nifti(Volume(VOXELS[None] * 1000.0), tmp_path / "b.nii", dtype="int16")
    assert not (tmp_path / "b.nii").exists()


def test_a_sheared_grid_is_kept_by_the_s_form_alone(tmp_path: Path) -> None:
    """A q-form cannot hold a gantry tilt: none is written rather than a wrong one."""
    sheared = AFFINE.copy()
    sheared[1, 2] = 1.5
    write_nifti(Volume(VOXELS[None].astype(np.float32), sheared), tmp_path / "a.nii")
    assert int(header_of(tmp_path / "a.nii")["qform_code"]) == 0
    again = read_nifti(tmp_path / "a.nii")
    assert near(again.affine, sheared)
    assert again.provenance.warnings == ()


def test_the_same_volume_gives_the_same_bytes() -> None:
    """E6: no time in the gzip header."""
    volume = Volume(VOXELS[None].astype(np.float32), AFFINE)
    assert nifti_bytes(volume) == nifti_bytes(volume)
    assert nifti_bytes(volume)[4:8] == b"\0\0\0\0"


def test_without_geometry_no_orientation_is_written(tmp_path: Path) -> None:
    write_nifti(Volume(VOXELS[None].astype(np.float32), None, spacing_mm=(1, 2, 3)), tmp_path / "a.nii")
    again = read_nifti(tmp_path / "a.nii")
    assert again.affine is None
    assert again.spacing_mm == (1, 2, 3)
    write_nifti(Volume(VOXELS[None].astype(np.float32)), tmp_path / "b.nii")
    assert read_nifti(tmp_path / "b.nii").spacing_mm is None


def test_channels_become_the_fourth_axis(tmp_path: Path) -> None:
    two = np.stack([VOXELS, -VOXELS]).astype(np.float32)
    write_nifti(Volume(two, AFFINE), tmp_path / "a.nii")
    assert np.array_equal(read_nifti(tmp_path / "a.nii", channels=True).data, two)
    flat = np.stack([VOXELS[..., 0], -VOXELS[..., 0]]).astype(np.float32)
    write_nifti(Volume(flat, AFFINE), tmp_path / "b.nii")
    assert header_of(tmp_path / "b.nii").get_data_shape() == (6, 5, 1, 2)


def test_a_long_axis_needs_version_2(tmp_path: Path) -> None:
    write_nifti(Volume(np.ones((1, 40_000, 1, 1), np.float32), np.eye(4)), tmp_path / "a.nii")
    assert read_nifti(tmp_path / "a.nii").shape == (40_000, 1, 1)


def test_a_cut_file_says_where(tmp_path: Path) -> None:
    with pytest.raises(Truncated, match="ends at byte 200, inside the header of 348 bytes"):
        read_nifti(stored(tmp_path, nifti()[:200]))
    with pytest.raises(FileProblem, match="no such file"):
        read_nifti(tmp_path / "none.nii")


@pytest.mark.parametrize("codes", [{}, {"sform_code": 0, "qform_code": 0}])
def test_a_header_without_any_number_of_its_geometry_is_damaged(tmp_path: Path, codes: dict) -> None:
    """Transforms and voxel sizes of NaN: it is not unknown where the image lies, its header is broken."""
    nan = float("nan")
    rows = {name: [nan] * 4 for name in ("srow_x", "srow_y", "srow_z")}
    with pytest.raises(Corrupt, match="voxel sizes hold NaN or infinity"):
        read_nifti(stored(tmp_path, nifti(**rows, pixdim=[1, nan, nan, nan, 1, 1, 1, 1], **codes)))


@pytest.mark.parametrize("length", [24, 2**20, 4, -16])
def test_an_extension_must_fit_before_the_voxels(tmp_path: Path, length: int) -> None:
    """16 bytes are there; one that claims others leaves the start of the voxels in doubt."""
    extension = length.to_bytes(4, "little", signed=True) + (6).to_bytes(4, "little") + b"comment\0"
    content = bytearray(nifti(extension=extension))
    content[348] = 1
    with pytest.raises(Corrupt, match="does not fit before the voxels"):
        read_nifti(stored(tmp_path, bytes(content)))
    content[352:356] = (16).to_bytes(4, "little")
    assert read_nifti(stored(tmp_path, bytes(content))).data.shape == (1, *VOXELS.shape)


def test_voxels_do_not_start_inside_the_header(tmp_path: Path) -> None:
    """Byte 348 is where the mark of extensions stands: read from there, all is shifted by four bytes."""
    with pytest.raises(Corrupt, match="start at byte 348, inside the header, with 4 bytes left over"):
        read_nifti(stored(tmp_path, nifti(vox_offset=348)))


def test_codes_of_both_forms_are_kept(tmp_path: Path) -> None:
    """4 is MNI space, 3 Talairach: a result in another space would lie beside its scan."""
    image = nib.Nifti1Image(np.arange(60, dtype="i2").reshape(3, 4, 5), AFFINE)
    image.header.set_sform(AFFINE, 4)
    image.header.set_qform(AFFINE, 3)
    nib.save(image, tmp_path / "a.nii")
    write(read_nifti(tmp_path / "a.nii"), tmp_path / "b.nii", kind="converted")
    header = header_of(tmp_path / "b.nii")
    assert (int(header["sform_code"]), int(header["qform_code"])) == (4, 3)
