"""Promises E1, E2, E5, E6: out goes the format, shape, order, place and unit of what came in, marked, whole,
readable by others.
"""

from __future__ import annotations

import json
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk
from PIL import Image

from medprior.data.volume import Provenance, Volume
from medprior.errors import BadOption, Diverged, ShapeMismatch
from medprior.io.dicom.write import instances
from medprior.io.read import read
from medprior.io.write import KINDS, side_file, write
from tests.corpus.other import AFFINE, VOXELS, nifti, png

ORDERS = ["RAS", "LAS", "LPS", "PIR", "SLA", "IPL"]
TURN = np.array([[0.9553, -0.2955, 0], [0.2955, 0.9553, 0], [0, 0, 1]])


def turned(codes: str, oblique: bool) -> nib.Nifti1Image:
    affine = AFFINE.copy()
    if oblique:
        affine[:3, :3] = TURN @ affine[:3, :3]
    image = nib.Nifti1Image(VOXELS, affine)
    turn = nib.orientations.ornt_transform(
        nib.orientations.io_orientation(AFFINE), nib.orientations.axcodes2ornt(tuple(codes))
    )
    return nib.Nifti1Image.from_image(image.as_reoriented(turn.tolist()))


def places_by_itk(image: sitk.Image) -> np.ndarray:
    """(4, 4) voxel -> mm RAS of a SimpleITK image, which counts in LPS."""
    affine = np.eye(4)
    affine[:3, :3] = np.array(image.GetDirection()).reshape(3, 3) * image.GetSpacing()
    affine[:3, 3] = image.GetOrigin()
    return np.diag([-1, -1, 1, 1]) @ affine


@pytest.mark.parametrize("unit", ["a.u.", "HU"])
@pytest.mark.parametrize("oblique", [False, True])
@pytest.mark.parametrize("codes", ORDERS)
def test_a_round_trip_is_read_back_equal_by_two_other_readers(
    tmp_path: Path, codes: str, oblique: bool, unit: str
) -> None:
    """E5: 24 volumes; values within half a step of the stored type, 0.01 mm, the array order of the input."""
    source = turned(codes, oblique)
    (tmp_path / "in.nii").write_bytes(nifti(np.asarray(source.dataobj), source.affine))
    volume = read(tmp_path / "in.nii", unit=unit)
    write(volume.with_data(volume.data + np.float32(0.25)), tmp_path / "out.nii.gz", like=volume)
    stock, itk = (
        nib.Nifti1Image.from_filename(tmp_path / "out.nii.gz"),
        sitk.ReadImage(str(tmp_path / "out.nii.gz")),
    )
    step = 0.5 if unit == "HU" else 1e-6
    for values in (stock.get_fdata(), sitk.GetArrayFromImage(itk).T):
        assert values.shape == source.shape
        assert np.abs(values - (np.asarray(source.dataobj) + 0.25)).max() <= step
    for affine in (np.asarray(stock.affine), np.asarray(stock.header.get_qform()), places_by_itk(itk)):
        corners = np.array([[i, j, k, 1] for i in (0, 6) for j in (0, 6) for k in (0, 6)])
        assert np.abs(corners @ (affine - np.asarray(source.affine)).T).max() < 0.01
    assert stock.get_data_dtype() == (np.int16 if unit == "HU" else np.float32)


@pytest.mark.parametrize("kind", sorted(KINDS))
def test_every_kind_is_marked_in_the_file_and_beside_it(tmp_path: Path, kind: str) -> None:
    """E1: all that a prior decided is synthetic; what was synthetic before stays so."""
    volume = Volume(
        VOXELS[None].astype(np.float32), AFFINE, provenance=Provenance(history=("made in a test",))
    )
    for name in ("a.nii.gz", "a.nii", "a.npz"):
        write(volume, tmp_path / name, kind=kind, prior_hash="abc", seed=7)
        record = json.loads(side_file(tmp_path / name).read_text())
        assert record["synthetic"] == read(tmp_path / name).provenance.synthetic == KINDS[kind]
        assert "research use only, not for diagnosis" in record["notice"]
        assert (record["kind"], record["prior_sha256"], record["seed"], record["history"]) == (
            kind,
            "abc",
            7,
            ["made in a test"],
        )
        write(volume.noted("drawn from a prior", synthetic=True), tmp_path / name, kind=kind)
        assert read(tmp_path / name).provenance.synthetic
    flat = Volume(VOXELS[None, ..., 0].clip(0).astype(np.float32))
    write(flat, tmp_path / "a.png", kind=kind)
    with Image.open(tmp_path / "a.png") as image:
        assert ("synthetic" in image.info["Description"]) == KINDS[kind]


def test_the_side_file_names_no_source(tmp_path: Path) -> None:
    """E2: a file name may be somebody's identity."""
    (tmp_path / "DOE^JANE_1950.nii").write_bytes(nifti())
    write(read(tmp_path / "DOE^JANE_1950.nii"), tmp_path / "out.nii.gz")
    for path in (side_file(tmp_path / "out.nii.gz"), tmp_path / "out.nii.gz"):
        assert b"DOE" not in path.read_bytes()


def test_the_type_on_disk_follows_the_meaning(tmp_path: Path) -> None:
    def stored(volume: Volume, kind: str) -> np.dtype:
        write(volume, tmp_path / "a.nii", kind=kind)
        return np.dtype(nib.Nifti1Image.from_filename(tmp_path / "a.nii").get_data_dtype())

    hounsfield, label = (
        Volume(VOXELS[None].astype(np.float32), AFFINE, "HU", "CT"),
        Volume((VOXELS[None] % 5).astype(np.float32), AFFINE, "label"),
    )
    assert stored(hounsfield, "reconstructed") == np.int16
    assert stored(hounsfield, "map") == np.float32
    assert stored(hounsfield.with_data(hounsfield.data * 1000), "reconstructed") == np.float32, (
        "never cut off"
    )
    assert stored(label, "mask") == np.uint8
    assert stored(label.with_data(-label.data), "mask") == np.int16
    assert stored(label.with_data(label.data + 0.5), "mask") == np.float32


def test_a_picture_keeps_the_depth_of_its_input(tmp_path: Path) -> None:
    for values in (
        np.arange(60, dtype=np.uint8).reshape(6, 10),
        np.arange(60, dtype=np.uint16).reshape(6, 10) * 1000,
    ):
        (tmp_path / "in.png").write_bytes(png(values))
        volume = read(tmp_path / "in.png")
        write(volume.with_data(volume.data * np.float32(0.004)), tmp_path / "out.png", like=volume)
        with Image.open(tmp_path / "out.png") as image:
            assert image.mode == ("L" if values.dtype == np.uint8 else "I;16")


def test_the_same_volume_gives_the_same_bytes(tmp_path: Path) -> None:
    """E6: file and side file."""
    volume = Volume(VOXELS[None].astype(np.float32), AFFINE)
    flat = Volume(volume.data[..., 0].clip(0))
    for name, what in (("a.nii.gz", volume), ("a.npz", volume), ("a.png", flat), ("a.tif", flat)):
        found = []
        for folder in ("one", "two"):
            write(what, tmp_path / folder / name, seed=1)
            found.append(
                (tmp_path / folder / name).read_bytes() + side_file(tmp_path / folder / name).read_bytes()
            )
        assert found[0] == found[1]


@pytest.mark.parametrize("value", [np.nan, np.inf])
@pytest.mark.parametrize("name", ["a.nii.gz", "a.npz", "a.png", "a.dcm", "series"])
def test_numbers_that_are_none_are_written_in_no_format(tmp_path: Path, name: str, value: float) -> None:
    """A8: outputs are finite."""
    data = VOXELS[None].astype(np.float32)
    data[0, 1, 2, 0] = value
    with pytest.raises(Diverged, match="volume to be written"):
        write(
            Volume(data[..., 0] if "." in name[1:-3] and name[-3:] in ("png", "dcm") else data, AFFINE),
            tmp_path / name,
        )
    assert list(tmp_path.iterdir()) == []


def test_what_cannot_be_written_is_refused_before_a_byte_is(tmp_path: Path) -> None:
    volume = Volume(VOXELS[None].astype(np.float32), AFFINE)
    with pytest.raises(BadOption, match="did you mean 'reconstructed'"):
        write(volume, tmp_path / "a.nii", kind="reconstruct")
    with pytest.raises(BadOption, match="unknown suffix"):
        write(volume, tmp_path / "a.xyz")
    with pytest.raises(BadOption, match="unknown suffix"):
        write(volume, tmp_path / "a.jpg")
    with pytest.raises(BadOption, match="window"):
        write(volume, tmp_path / "a.nii", window=(0, 1))
    with pytest.raises(ShapeMismatch):
        write(volume, tmp_path / "a.png")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("codes", [(4, 1), (4, 0), (0, 1), (2, 2)])
def test_a_result_names_the_space_of_its_input(tmp_path: Path, codes: tuple[int, int]) -> None:
    """MNI space stays MNI space: the codes of s-form and q-form are those that came in."""
    image = nib.Nifti1Image(VOXELS, AFFINE)
    image.header.set_sform(AFFINE, codes[0])
    image.header.set_qform(AFFINE, codes[1])
    nib.save(image, tmp_path / "in.nii")
    scan = read(tmp_path / "in.nii")
    made = Volume(scan.data * 2, scan.affine, scan.unit)
    write(made, tmp_path / "out.nii.gz", like=scan, kind="map")
    found = nib.load(tmp_path / "out.nii.gz")
    assert isinstance(found, nib.Nifti1Image)
    assert (int(found.header["sform_code"]), int(found.header["qform_code"])) == codes
    assert np.allclose(np.asarray(found.affine), AFFINE, atol=1e-4)


def test_a_folder_that_is_named_by_a_uid_is_a_folder(tmp_path: Path) -> None:
    scan = Volume(VOXELS[None].astype(np.float32), AFFINE, "HU", "CT")
    path = write(scan, tmp_path / "1.2.840.113619.2.55", kind="converted")
    assert path.is_dir() and len(list(path.glob("*.dcm"))) == VOXELS.shape[0]
    with pytest.raises(BadOption, match="unknown suffix"):
        write(scan, tmp_path / "a.mha")


def test_what_a_volume_can_be_is_known_to_dicom() -> None:
    """But for label maps, which are objects of their own."""
    assert set(KINDS) - {"mask", "structures"} == set(instances.KINDS)
