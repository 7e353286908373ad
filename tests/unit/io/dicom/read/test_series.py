"""Files of real scanners (they ship inside the wheels of pydicom and pydicom-data) beside two other readers:
values and geometry agree.
"""

from __future__ import annotations

import os
import warnings
from pathlib import Path

import numpy as np
import pydicom
import pytest
import SimpleITK as sitk
from pydicom.data import get_testdata_file
from pydicom.encaps import encapsulate
from pydicom.pixels import apply_modality_lut
from pydicom.uid import UID, UID_dictionary

from medprior.errors import BadGeometry, Corrupt, Unsupported
from medprior.io.dicom.read import frames as dicom_frames
from medprior.io.dicom.read.series import read_dicom
from tests.corpus.dicom_parts import axial, changed, ct_slice, encoded, phantom, save, save_all, uid

PLACED = (
    "CT_small.dcm",
    "MR_small.dcm",
    "MR_small_bigendian.dcm",
    "MR_small_RLE.dcm",
    "MR_small_jpeg_ls_lossless.dcm",
    "JPEG2000.dcm",
    "MR2_UNCR.dcm",
)
RADIOGRAPHS = ("RG1_UNCR.dcm", "RG3_J2KR.dcm")


def real(name: str) -> Path:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = get_testdata_file(name, download=False)
    if not isinstance(found, str | os.PathLike):
        pytest.skip(f"{name} is not installed (pip install pydicom-data)")
    return Path(found)


@pytest.mark.parametrize("name", PLACED)
def test_one_slice_agrees_with_pydicom_and_simpleitk(name: str) -> None:
    path = real(name)
    volume = read_dicom(path)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        source = pydicom.dcmread(path)
        values = apply_modality_lut(source.pixel_array, source)
    image = sitk.ReadImage(str(path), sitk.sitkFloat32)
    assert np.array_equal(volume.data[0], values.astype(np.float32))
    assert np.array_equal(volume.data[0], sitk.GetArrayFromImage(image)[0])
    if volume.affine is None:
        return
    for i, j in ((0, 0), (5, 2), (volume.shape[0] - 1, volume.shape[1] - 1)):
        there = np.array(image.TransformIndexToPhysicalPoint((j, i, 0)))
        assert np.abs((volume.affine @ [i, j, 0, 1])[:3] * (-1, -1, 1) - there).max() < 0.01


@pytest.mark.parametrize("name", RADIOGRAPHS)
def test_monochrome1_radiographs_show_bones_bright(name: str) -> None:
    """The same polarity as SimpleITK gives, and no geometry where the file has none."""
    volume = read_dicom(real(name))
    assert np.array_equal(
        volume.data[0], sitk.GetArrayFromImage(sitk.ReadImage(str(real(name)), sitk.sitkFloat32))[0]
    )
    assert volume.affine is None and "MONOCHROME1" in volume.provenance.warnings[-1]


def test_a_series_agrees_with_simpleitk(tmp_path: Path) -> None:
    folder = save_all(tmp_path, axial())
    volume, image = (
        read_dicom(folder),
        sitk.ReadImage(sitk.ImageSeriesReader.GetGDCMSeriesFileNames(str(folder)), sitk.sitkFloat32),
    )
    turned = sitk.DICOMOrient(image, "LPS")
    assert np.array_equal(volume.data[0], np.flip(sitk.GetArrayFromImage(turned).transpose(2, 1, 0), (0, 1)))
    assert volume.spacing_mm == pytest.approx((0.8, 0.8, 2.5))


@pytest.mark.parametrize(
    "name", ["US1_UNCR.dcm", "OBXXXX1A.dcm", "SC_ybr_full_422_uncompressed.dcm", "SC_rgb_jpeg_dcmtk.dcm"]
)
def test_colour_becomes_luma(name: str) -> None:
    """Palette, RGB and YBR: within one grey level of pydicom's RGB and Pillow's own conversion to grey."""
    from PIL import Image
    from pydicom.pixels import apply_color_lut, pixel_array

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        source = pydicom.dcmread(real(name))
        rgb = pixel_array(source)
        if source.PhotometricInterpretation == "PALETTE COLOR":
            rgb = apply_color_lut(rgb, source) // 257
    grey = np.asarray(Image.fromarray(rgb.astype(np.uint8)).convert("L"), dtype=np.float32)
    volume = read_dicom(real(name))
    scale = 257 if source.PhotometricInterpretation == "PALETTE COLOR" else 1
    assert np.abs(volume.data[0] / scale - grey).max() <= 1.5


def test_films_are_refused_by_name_and_frames_chosen() -> None:
    with pytest.raises(BadGeometry, match="holds 30 frames over time"):
        read_dicom(real("examples_ybr_color.dcm"))
    assert read_dicom(real("examples_ybr_color.dcm"), frame=3).data.max() > 100


def test_an_undecodable_kind_is_named() -> None:
    """A10: 12-bit JPEG Extended is read by no codec under a free licence."""
    with pytest.raises(Unsupported, match=r"1\.2\.840\.10008\.1\.2\.4\.51 \(JPEG Extended.*12 bits"):
        read_dicom(real("JPEG-lossy.dcm"))


def test_every_syntax_that_is_not_read_is_named(tmp_path: Path) -> None:
    """A10: each transfer syntax of the standard is read, or refused by its UID and its plain name, whatever
    the pixels are.
    """
    stream = encapsulate([b"\0" * 64])
    known = [UID(uid) for uid in UID_dictionary if UID(uid).is_transfer_syntax]
    assert len(known) > 40
    for syntax in known:
        if not syntax.is_encapsulated:
            continue
        made = changed(ct_slice(phantom()[0]), PixelData=None)
        made.add_new(0x7FE00010, "OB", stream)
        made["PixelData"].is_undefined_length = True
        with pytest.raises((Unsupported, Corrupt)) as caught:
            read_dicom(save(tmp_path / "a.dcm", encoded(made, syntax)))
        assert syntax in str(caught.value) and syntax.name in str(caught.value)
        assert dicom_frames._readable(syntax) or isinstance(caught.value, Unsupported), syntax.name


def test_a_missing_codec_names_syntax_and_package(monkeypatch: pytest.MonkeyPatch) -> None:
    """A10: what to install, for which transfer syntax, in plain words."""

    class Unavailable:
        is_available = False

    monkeypatch.setattr(dicom_frames, "get_decoder", lambda syntax: Unavailable())
    for name, package in (("JPEG2000.dcm", "python-gdcm"), ("MR_small_jpeg_ls_lossless.dcm", "pyjpegls")):
        with pytest.raises(Unsupported, match=rf"1\.2\.840\.10008\.1\.2\.4\.\d+ \(JPEG.*{package}"):
            read_dicom(real(name))


def test_different_slices_under_one_sop_uid_are_refused(tmp_path: Path) -> None:
    """One of them belongs to something else; where all have the same, an anonymiser has done it, and the
    places decide.
    """
    slices = axial()
    for n, one in enumerate(slices):
        one.SOPInstanceUID = uid("slice", max(n, 1))
    with pytest.raises(BadGeometry, match="two different slices have the same SOP Instance UID"):
        read_dicom(save_all(tmp_path / "two", slices))
    for one in slices:
        one.SOPInstanceUID = uid("all")
    volume = read_dicom(save_all(tmp_path / "all", slices))
    assert volume.shape == (8, 10, 6)
    assert "all slices have the same SOP Instance UID" in volume.provenance.warnings
