"""What is written is marked (E1), nobody's where it is nobody's (E2), equal in values and mm for other
readers (E5), the same for the same seed (E6).
"""

from __future__ import annotations

import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import numpy as np
import pydicom
import pytest
import SimpleITK as sitk

from medprior.data.volume import Volume
from medprior.errors import BadGeometry, BadOption, Diverged, FileProblem, ShapeMismatch
from medprior.io.dicom.read.series import read_dicom
from medprior.io.dicom.write.instances import KINDS, write_dicom
from tests.corpus.dicom_parts import (
    CANARY,
    axial,
    ct_slice,
    encoded,
    enhanced,
    mirrored,
    patched,
    phantom,
    sagittal,
    save,
    save_all,
    uid,
)

MADE = ("reconstructed", "healthy twin", "augmented", "synthesized")


@pytest.fixture
def scan(tmp_path: Path) -> Volume:
    return read_dicom(save_all(tmp_path / "scan", mirrored()))


def written(volume: Volume, path: Path, kind: str, like: Volume | None = None) -> list[pydicom.Dataset]:
    write_dicom(volume, path, like=like, kind=kind, prior_hash="0123abcd", seed=7)
    files = [path] if path.is_file() else sorted(path.glob("*.dcm"))
    return [pydicom.dcmread(file) for file in files]


@pytest.mark.parametrize("kind", MADE)
def test_every_kind_is_marked(scan: Volume, tmp_path: Path, kind: str) -> None:
    originals = {s.SOPInstanceUID for s in mirrored()}
    for instance in written(scan, tmp_path / "out", kind, scan):
        assert instance.SyntheticData == "YES"
        assert list(instance.ImageType[:2]) == ["DERIVED", "SECONDARY"]
        assert "0123abcd" in instance.DerivationDescription and "seed 7" in instance.DerivationDescription
        assert "research use only, not for diagnosis" in instance.DerivationDescription
        purpose = instance.ContributingEquipmentSequence[0].PurposeOfReferenceCodeSequence[0].CodeValue
        assert purpose == ("109100" if kind in ("augmented", "synthesized") else "109102")
        assert instance.SeriesDescription.startswith("AI ")
        assert instance.preamble == b"\0" * 128
        assert instance.SeriesInstanceUID != uid("series") and instance.SOPInstanceUID not in originals
    assert read_dicom(tmp_path / "out").provenance.synthetic


@pytest.mark.parametrize("kind", ["augmented", "synthesized"])
def test_nothing_of_the_donor_is_left(scan: Volume, tmp_path: Path, kind: str) -> None:
    """E2: names, dates and every UID of the donor, searched in the bytes."""
    written(scan, tmp_path / "out", kind, scan)
    secrets = [
        CANARY,
        "19700101",
        uid("study"),
        uid("series"),
        uid("frame"),
        *(s.SOPInstanceUID for s in mirrored()),
    ]
    for file in (tmp_path / "out").iterdir():
        content = file.read_bytes()
        assert not [s for s in secrets if s.encode() in content], file.name


def test_a_reconstruction_stays_in_its_study_and_names_its_sources(scan: Volume, tmp_path: Path) -> None:
    made = written(scan, tmp_path / "out", "reconstructed", scan)
    originals = {s.SOPInstanceUID for s in mirrored()}
    assert {m.StudyInstanceUID for m in made} == {uid("study")} and {m.PatientID for m in made} == {
        f"{CANARY}-17"
    }
    assert {m.SourceImageSequence[0].ReferencedSOPInstanceUID for m in made} == originals
    assert not originals & {m.SOPInstanceUID for m in made}
    assert {m.FrameOfReferenceUID for m in made} == {uid("frame")}


@pytest.mark.parametrize("build", [axial, mirrored, sagittal, lambda: [enhanced()]])
def test_two_other_readers_find_the_same_values_in_the_same_places(tmp_path: Path, build) -> None:
    """E5: half a step of the stored type, 0.01 mm; the array order of the input is restored."""
    scan = read_dicom(save_all(tmp_path / "scan", build()))
    odd = scan.with_data(scan.data * 0.37 + 0.21)
    for name, volume in (("hu", odd), ("arbitrary", replace(odd, unit="a.u.", modality="MR"))):
        made = written(volume, tmp_path / name, "converted", scan)
        slope = float(made[0].RescaleSlope)
        image = sitk.ReadImage(
            sitk.ImageSeriesReader.GetGDCMSeriesFileNames(str(tmp_path / name)), sitk.sitkFloat64
        )
        assert volume.affine is not None
        for index in ((0, 0, 0), (3, 1, 2), tuple(n - 1 for n in volume.shape)):
            place = (volume.affine @ [*index, 1])[:3] * (-1, -1, 1)
            there = image.TransformPhysicalPointToContinuousIndex(place.tolist())
            assert np.abs(np.array(there) - np.round(there)).max() * max(image.GetSpacing()) < 0.01
            value = image[tuple(round(v) for v in there)]
            assert abs(value - float(volume.data[0][index])) <= slope / 2 * 1.001
        back = read_dicom(tmp_path / name)
        assert back.unit == volume.unit and back.modality == volume.modality
        assert back.affine is not None and np.abs(back.affine - volume.affine).max() < 0.01
        assert np.abs(back.data - volume.data).max() <= slope / 2 * 1.001
        pixels = np.stack([m.pixel_array * float(m.RescaleSlope) + float(m.RescaleIntercept) for m in made])
        assert np.isclose(pixels.sum(), volume.data.astype(np.float64).sum(), atol=slope * pixels.size)


def test_the_same_seed_gives_the_same_bytes(scan: Volume, tmp_path: Path) -> None:
    """E6; and another content is another object."""
    for name, volume in (("one", scan), ("two", scan), ("other", scan.with_data(scan.data + 1))):
        written(volume, tmp_path / name, "synthesized", scan)
    files = sorted(f.name for f in (tmp_path / "one").glob("*.dcm"))
    for name in files:
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes()
    first, other = (pydicom.dcmread(tmp_path / n / files[0]) for n in ("one", "other"))
    assert first.SOPInstanceUID != other.SOPInstanceUID and first.PatientID != other.PatientID


def test_a_map_is_a_parametric_map_in_the_study(scan: Volume, tmp_path: Path) -> None:
    score = replace(scan.with_data(np.abs(scan.data) / 3000), unit="a.u.")
    (made,) = written(score, tmp_path / "map", "map", scan)
    assert made.SOPClassUID.name == "Parametric Map Storage" and made.ContentQualification == "RESEARCH"
    assert made.StudyInstanceUID == uid("study") and made.SeriesDescription == "AI anomaly map"
    back = read_dicom(tmp_path / "map")
    assert np.array_equal(back.data, score.data) and back.affine is not None
    assert np.abs(back.affine - np.asarray(score.affine)).max() < 1e-6


def classes(scan: Volume) -> dict[str, tuple[Volume, str, Volume | None, str]]:
    """One of each class that is written: (volume, kind, like, suffix)."""
    picture = Volume(
        np.random.default_rng(0).integers(0, 255, (1, 12, 10)).astype(np.float32),
        modality="DX",
        spacing_mm=(0.2, 0.3),
    )
    radiograph = replace(picture, modality="CR", data=picture.data / 255)
    made: dict[str, tuple[Volume, str, Volume | None, str]] = {}
    for kind, like in (("reconstructed", scan), ("synthesized", None)):
        made |= {
            f"ct {kind}": (scan, kind, like, ""),
            f"mr {kind}": (replace(scan, unit="a.u.", modality="MR"), kind, None, ""),
            f"pet {kind}": (replace(scan, unit="Bq/mL", modality="PT"), kind, None, ""),
            f"dx {kind}": (picture, kind, None, ".dcm"),
            f"cr {kind}": (radiograph, kind, None, ".dcm"),
            f"us {kind}": (replace(picture, modality="US", spacing_mm=None), kind, None, ".dcm"),
            f"ct in one file {kind}": (scan, kind, like, ".dcm"),
            f"floats in one file {kind}": (
                replace(scan.with_data(scan.data / 7777), unit="a.u.", modality="MR"),
                kind,
                like,
                ".dcm",
            ),
            f"no place in one file {kind}": (Volume(scan.data, modality="US"), kind, None, ".dcm"),
        }
    return made | {"map": (replace(scan.with_data(np.abs(scan.data) / 3000), unit="a.u."), "map", scan, "")}


NEWER_THAN_THE_CHECKER = "(0008,001c)"
"""Synthetic Data is an element of 2023; the checker of some systems is older and takes it for unknown."""


def test_an_independent_checker_finds_no_error_in_any_class(scan: Volume, tmp_path: Path) -> None:
    """E1: dciodvfy of dicom3tools knows what each class demands."""
    checker = shutil.which("dciodvfy")
    if checker is None:
        pytest.skip("dciodvfy is not installed (Debian package dicom3tools)")
    wrong = []
    for name, (volume, kind, like, suffix) in classes(scan).items():
        path = tmp_path / (name.replace(" ", "-") + suffix)
        written(volume, path, kind, like)
        file = path if path.is_file() else min(path.glob("*.dcm"))
        told = subprocess.run([checker, "-new", str(file)], capture_output=True, text=True)
        lines = (told.stdout + told.stderr).splitlines()
        assert len(lines) > 0, "it says at least the class"
        wrong += [
            f"{name}: {line}"
            for line in lines
            if line.startswith("Error") and NEWER_THAN_THE_CHECKER not in line
        ]
    assert wrong == []


@pytest.mark.parametrize("kind", ["reconstructed", "synthesized"])
def test_a_volume_in_one_file_is_read_back_by_three_readers(scan: Volume, tmp_path: Path, kind: str) -> None:
    """E5: where a folder of slices will not do, one multi-frame Secondary Capture holds values and places."""
    for name, volume in (
        ("hu", scan.with_data(scan.data + 0.3)),
        ("floats", replace(scan.with_data(scan.data / 7777), unit="a.u.", modality="MR")),
    ):
        (made,) = written(volume, tmp_path / f"{name}.dcm", kind, scan)
        assert made.SOPClassUID.name == "Multi-frame Grayscale Word Secondary Capture Image Storage"
        assert made.SyntheticData == "YES" and made.NumberOfFrames == 6
        assert len(made.get("SourceImageSequence", [])) == (6 if kind == "reconstructed" else 0)
        half = float(made.RescaleSlope) / 2 * 1.001
        back = read_dicom(tmp_path / f"{name}.dcm")
        assert (
            np.abs(back.data - volume.data).max() <= half
            and back.affine is not None
            and back.unit == volume.unit
        )
        assert np.abs(back.affine - np.asarray(volume.affine)).max() < 1e-4
        image = sitk.ReadImage(str(tmp_path / f"{name}.dcm"), sitk.sitkFloat64)
        for index in ((0, 0, 0), (3, 1, 2), tuple(n - 1 for n in volume.shape)):
            place = (back.affine @ [*index, 1])[:3] * (-1, -1, 1)
            there = image.TransformPhysicalPointToContinuousIndex(place.tolist())
            assert np.abs(np.array(there) - np.round(there)).max() * max(image.GetSpacing()) < 0.01
            assert abs(image[tuple(round(v) for v in there)] - float(volume.data[0][index])) <= half
        pixels = made.pixel_array * float(made.RescaleSlope) + float(made.RescaleIntercept)
        assert np.isclose(pixels.sum(), volume.data.astype(np.float64).sum(), atol=2 * half * pixels.size)


def test_a_spacing_at_the_detector_stays_one(tmp_path: Path) -> None:
    """A radiograph's pixels are not calibrated in the patient by being written."""
    gone = dict.fromkeys(("ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing"))
    source = ct_slice(
        phantom()[0], Modality="CR", ImagerPixelSpacing=[0.1, 0.2], PatientOrientation=["L", "F"], **gone
    )
    scan = read_dicom(save(tmp_path / "in.dcm", source))
    (made,) = written(scan, tmp_path / "out.dcm", "reconstructed", scan)
    assert (
        "PixelSpacing" not in made
        and made.ImagerPixelSpacing == [0.1, 0.2]
        and made.PatientOrientation == ["L", "F"]
    )


def test_an_image_without_a_place_stays_without_one(tmp_path: Path) -> None:
    picture = Volume(
        np.linspace(0, 1, 80, dtype=np.float32).reshape(1, 10, 8), spacing_mm=(0.2, 0.3), modality="DX"
    )
    (made,) = written(picture, tmp_path / "x.dcm", "synthesized")
    assert "ImagePositionPatient" not in made and made.SOPClassUID.name == "Secondary Capture Image Storage"
    back = read_dicom(tmp_path / "x.dcm")
    assert back.affine is None and back.spacing_mm == (0.2, 0.3) and back.modality == "DX"
    assert np.abs(back.data - picture.data).max() <= float(made.RescaleSlope) / 2 * 1.001


def test_what_dicom_cannot_hold_is_refused_and_nothing_is_written(scan: Volume, tmp_path: Path) -> None:
    out = tmp_path / "refused"
    sheared = np.asarray(scan.affine).copy()
    sheared[0, 2] = 1.0
    with pytest.raises(ShapeMismatch, match="one channel"):
        write_dicom(replace(scan, data=np.repeat(scan.data, 2, axis=0)), out)
    with pytest.raises(BadGeometry, match="right angles"):
        write_dicom(replace(scan, affine=sheared), out)
    with pytest.raises(Diverged):
        write_dicom(scan.with_data(scan.data * np.nan), out)
    with pytest.raises(BadOption, match="DICOM holds one of"):
        write_dicom(scan, out, kind="mask")
    assert not out.exists() and "mask" not in KINDS


def test_a_folder_with_other_files_is_never_replaced(scan: Volume, tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("years of work")
    with pytest.raises(FileProblem, match="other files"):
        write_dicom(scan, tmp_path / "mine")
    assert (tmp_path / "mine" / "thesis.txt").read_text() == "years of work"


def test_headers_that_a_scanner_got_wrong_do_not_stop_the_writer(tmp_path: Path) -> None:
    good = encoded(ct_slice(phantom()[0], PatientAge="042Y", StudyDate="20200131", FrameOfReferenceUID=None))
    odd = patched(patched(good, b"042Y", b"42??"), b"20200131", b"no date ")
    scan = read_dicom(save(tmp_path / "odd.dcm", odd))
    (made,) = written(scan, tmp_path / "out.dcm", "reconstructed", scan)
    assert made.PatientID == f"{CANARY}-17" and read_dicom(tmp_path / "out.dcm").shape == scan.shape
    with pytest.raises(FileProblem, match="does not fit into the new object"):
        written(scan, tmp_path / "map.dcm", "map", scan)
    assert not (tmp_path / "map.dcm").exists()
