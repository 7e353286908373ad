"""Findings as a DICOM Segmentation: the same voxels in the same places for another reader, the patient's
study, the same bytes for the same run.
"""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import highdicom
import numpy as np
import pydicom
import pytest
import SimpleITK as sitk
from highdicom.seg import Segmentation, segread
from pydicom.data import get_testdata_file
from pydicom.uid import SegmentationStorage

from medprior.data.volume import Volume
from medprior.errors import BadGeometry, BadOption, FileProblem, ShapeMismatch, Unsupported
from medprior.io.dicom.read.series import read_dicom
from medprior.io.dicom.write.segmentation import FILE, MOST_SEGMENTS, UNLIKE_HEALTHY, write_segmentation
from medprior.io.nifti.nifti import read_nifti
from medprior.io.write import write
from tests.corpus.dicom_parts import (
    CANARY,
    SHAPE,
    Later,
    axial,
    ct_slice,
    enhanced,
    film,
    mirrored,
    phantom,
    radiograph,
    sagittal,
    save,
    save_all,
    uid,
)

NEWER_THAN_THE_CHECKER = "(0008,001c)"


def oblique(**changes: object) -> list[pydicom.Dataset]:
    """The phantom turned by 30 degrees about the first axis and by 20 about the third."""
    a, b = np.radians(30), np.radians(20)
    turn = np.array([[np.cos(b), -np.sin(b), 0], [np.sin(b), np.cos(b), 0], [0, 0, 1]]) @ np.array(
        [[1, 0, 0], [0, np.cos(a), -np.sin(a)], [0, np.sin(a), np.cos(a)]]
    )
    start = np.array([-20.0, -30.0, 5.0])
    return [
        ct_slice(
            pixels,
            start + 2.5 * k * turn[:, 2],
            (*turn[:, 0], *turn[:, 1]),
            **{"InstanceNumber": k + 1, **changes},
        )
        for k, pixels in enumerate(phantom())
    ]


SERIES: dict[str, Callable[[], list[pydicom.Dataset]]] = {
    "axial": axial,
    "shuffled": lambda: [axial()[k] for k in (3, 0, 5, 1, 4, 2)],
    "mirrored": mirrored,
    "sagittal": sagittal,
    "oblique": oblique,
    "enhanced": lambda: [enhanced()],
    "enhanced, shuffled": lambda: [enhanced([3, 0, 5, 1, 4, 2])],
    "no frame of reference": lambda: axial(FrameOfReferenceUID=None),
    "one UID for all slices": lambda: axial(SOPInstanceUID=uid("one")),
}


def findings(scan: Volume, n: int = 3) -> Volume:
    """``n`` findings that touch no two of the same corner: a wrong flip, turn or order cannot hide."""
    labels = np.zeros(scan.data.size, np.float32)
    places = np.random.default_rng(3).permutation(labels.size)
    for number in range(1, n + 1):
        labels[places[number * 5 : number * 5 + 5]] = number
    return replace(scan, data=labels.reshape(scan.data.shape), unit="label")


@pytest.fixture
def scan(tmp_path: Path) -> Volume:
    return read_dicom(save_all(tmp_path / "scan", mirrored()))


def made(mask: Volume, path: Path, like: Volume | None, **changes: object) -> Segmentation:
    write(mask, path, like=like, kind="mask", **{"prior_hash": "0123abcd", "seed": 7, **changes})  # pyright: ignore[reportArgumentType]
    return segread(path / FILE if path.is_dir() else path)


def in_place(found: Segmentation, number: int, mask: Volume) -> np.ndarray:
    """Segment ``number`` on the grid of ``mask``, put there by the places that the file states alone."""
    held = found.get_volume(segment_numbers=[number], combine_segments=True, allow_missing_positions=True)
    lps = np.diag([-1.0, -1.0, 1.0, 1.0]) @ np.asarray(mask.affine)
    back = np.linalg.inv(lps) @ held.affine
    out = np.zeros(mask.shape, bool)
    index = np.argwhere(held.array > 0)
    where = (back @ np.c_[index, np.ones(len(index))].T).T[:, :3]
    assert np.abs(where - np.round(where)).max() < 1e-3, "each voxel of the segment is a voxel of the scan"
    out[tuple(np.round(where).astype(int).T)] = True
    return out


@pytest.mark.parametrize("name", SERIES)
def test_every_finding_lies_where_it_was_found(tmp_path: Path, name: str) -> None:
    scan = read_dicom(save_all(tmp_path / "scan", SERIES[name]()))
    mask = findings(scan)
    found = made(mask, tmp_path / "out.dcm", scan)
    assert found.SegmentationType == "BINARY" and found.number_of_segments == 3
    for number in (1, 2, 3):
        assert np.array_equal(in_place(found, number, mask), mask.data[0] == number)


@pytest.mark.parametrize("name", ["mirrored", "oblique"])
def test_the_affine_makes_the_round_trip(tmp_path: Path, name: str) -> None:
    """A finding in every corner slice keeps all planes: what highdicom reads is the grid of the source, to a
    micrometre.
    """
    source = save_all(tmp_path / "scan", SERIES[name]())
    scan = read_dicom(source)
    mask = replace(scan, data=np.ones_like(scan.data), unit="label")
    held = made(mask, tmp_path / "out.dcm", scan).get_volume()
    theirs = highdicom.get_volume_from_series([pydicom.dcmread(file) for file in source.iterdir()])
    assert held.spatial_shape == theirs.spatial_shape
    matched = held.match_geometry(theirs)
    assert np.abs(matched.affine - theirs.affine).max() < 1e-3 and bool((matched.array == 1).all())
    assert matched.frame_of_reference_uid == theirs.frame_of_reference_uid == uid("frame")


def test_another_reader_sees_the_same_bits(scan: Volume, tmp_path: Path) -> None:
    """SimpleITK unpacks the bits of the frames itself; 80 pixels a frame, and a lone voxel in the corner."""
    labels = np.zeros_like(scan.data)
    labels[0, 0, 0, 0], labels[0, -1, 2, 3] = 1, 1
    found = made(replace(scan, data=labels, unit="label"), tmp_path / "out.dcm", scan)
    frames = sitk.GetArrayFromImage(sitk.ReadImage(str(tmp_path / "out.dcm")))
    frames = frames.reshape(-1, *SHAPE[1:])
    assert len(frames) == found.NumberOfFrames == 2 and np.array_equal(frames > 0, found.pixel_array > 0)
    assert int((frames > 0).sum()) == 2


def test_who_and_what_it_is(scan: Volume, tmp_path: Path) -> None:
    found = made(findings(scan), tmp_path / "out.dcm", scan)
    assert found.SOPClassUID == SegmentationStorage
    assert (
        found.StudyInstanceUID == uid("study")
        and found.PatientID == f"{CANARY}-17"
        and found.PatientName == f"{CANARY}^Jane"
    )
    assert found.FrameOfReferenceUID == uid("frame") and found.SeriesInstanceUID != uid("series")
    assert found.SyntheticData == "NO" and found.SeriesDescription.startswith("AI ")
    assert "research use only, not for diagnosis" in found.ContentDescription
    assert "0123abcd" in found.DerivationDescription and "seed 7" in found.DerivationDescription
    assert [item.ManufacturerModelName for item in found.ContributingEquipmentSequence] == ["medprior"]
    named = {
        item.ReferencedSOPInstanceUID
        for series in found.ReferencedSeriesSequence
        for item in series.ReferencedInstanceSequence
    }
    assert named == {image.SOPInstanceUID for image in mirrored()}
    for n, segment in enumerate(found.SegmentSequence, 1):
        assert (
            segment.SegmentLabel == segment.TrackingID == f"finding {n}"
            and segment.SegmentAlgorithmType == "AUTOMATIC"
        )
        assert segment.SegmentedPropertyTypeCodeSequence[0].CodeValue == UNLIKE_HEALTHY.value
        family = segment.SegmentationAlgorithmIdentificationSequence[0].AlgorithmFamilyCodeSequence[0]
        assert (family.CodeValue, family.CodingSchemeDesignator) == ("123110", "DCM")
        assert "research use only, not for diagnosis" in segment.SegmentDescription
    assert len({segment.TrackingUID for segment in found.SegmentSequence}) == 3


def test_a_mask_of_a_synthetic_scan_says_so(scan: Volume, tmp_path: Path) -> None:
    assert (
        made(findings(scan).noted("made up", synthetic=True), tmp_path / "out.dcm", scan).SyntheticData
        == "YES"
    )


def test_a_reader_of_scans_does_not_take_it_for_one(scan: Volume, tmp_path: Path) -> None:
    made(findings(scan), tmp_path / "out.dcm", scan)
    with pytest.raises(Unsupported, match="segmentation"):
        read_dicom(tmp_path / "out.dcm")


def test_the_same_run_gives_the_same_bytes(
    scan: Volume, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever the clock says; another mask, seed or prior is another object."""
    made(findings(scan), tmp_path / "one.dcm", scan)
    monkeypatch.setattr("highdicom.base.datetime", Later)
    made(findings(scan), tmp_path / "two.dcm", scan)
    assert (tmp_path / "one.dcm").read_bytes() == (tmp_path / "two.dcm").read_bytes()
    others = [
        made(findings(scan, 2), tmp_path / "a.dcm", scan),
        made(findings(scan), tmp_path / "b.dcm", scan, seed=8),
    ]
    others.append(made(findings(scan), tmp_path / "c.dcm", scan, prior_hash="ffff"))
    assert len({o.SOPInstanceUID for o in others} | {segread(tmp_path / "one.dcm").SOPInstanceUID}) == 4


def test_a_map_of_the_same_run_gives_the_same_bytes_too(
    scan: Volume, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    score = replace(scan.with_data(np.abs(scan.data) / 3000), unit="a.u.")
    write(score, tmp_path / "one.dcm", like=scan, kind="map", seed=1)
    monkeypatch.setattr("highdicom.base.datetime", Later)
    write(score, tmp_path / "two.dcm", like=scan, kind="map", seed=1)
    assert (tmp_path / "one.dcm").read_bytes() == (tmp_path / "two.dcm").read_bytes()
    score.data[0, -1, -1, -1] += 1
    write(score, tmp_path / "other.dcm", like=scan, kind="map", seed=1)
    assert (
        pydicom.dcmread(tmp_path / "one.dcm").SOPInstanceUID
        != pydicom.dcmread(tmp_path / "other.dcm").SOPInstanceUID
    )


def test_numbers_with_gaps_keep_their_names(scan: Volume, tmp_path: Path) -> None:
    mask = findings(scan)
    labels = mask.data.copy()
    labels[mask.data == 1], labels[mask.data == 3] = 40, 700
    mask = mask.with_data(labels)
    found = made(mask, tmp_path / "out.dcm", scan)
    assert [segment.SegmentLabel for segment in found.SegmentSequence] == [
        "finding 2",
        "finding 40",
        "finding 700",
    ]
    assert np.array_equal(in_place(found, 3, mask), labels[0] == 700)


@pytest.mark.parametrize(("n", "segments"), [(MOST_SEGMENTS, MOST_SEGMENTS), (MOST_SEGMENTS + 1, 1)])
def test_too_many_findings_share_one_segment(scan: Volume, tmp_path: Path, n: int, segments: int) -> None:
    mask = findings(scan, n)
    found = made(mask, tmp_path / "out.dcm", scan)
    assert found.number_of_segments == segments
    if segments == 1:
        assert found.SegmentSequence[0].SegmentLabel == f"all {n} findings"
        assert np.array_equal(in_place(found, 1, mask), mask.data[0] > 0)


def test_an_image_with_a_place(tmp_path: Path) -> None:
    scan = read_dicom(save(tmp_path / "scan.dcm", ct_slice(phantom()[0])))
    mask = findings(scan)
    found = made(mask, tmp_path / "out.dcm", scan)
    assert found.NumberOfFrames == 3 and np.array_equal(
        found.pixel_array, np.stack([mask.data[0] == n for n in (1, 2, 3)])
    )
    assert [
        list(g.PlanePositionSequence[0].ImagePositionPatient) for g in found.PerFrameFunctionalGroupsSequence
    ] == [[-20, -30, 5]] * 3
    shared = found.SharedFunctionalGroupsSequence[0]
    assert shared.PixelMeasuresSequence[0].PixelSpacing == [0.8, 0.8] and shared.PlaneOrientationSequence[
        0
    ].ImageOrientationPatient == [1, 0, 0, 0, 1, 0]


def test_one_frame_of_an_enhanced_file(tmp_path: Path) -> None:
    scan = read_dicom(save(tmp_path / "scan.dcm", enhanced([3, 0, 5, 1, 4, 2])), frame=2)
    found = made(findings(scan, 1), tmp_path / "out.dcm", scan)
    frame = found.PerFrameFunctionalGroupsSequence[0]
    assert list(frame.PlanePositionSequence[0].ImagePositionPatient) == [-20, -30, 5 + 2.5 * 5]
    assert frame.DerivationImageSequence[0].SourceImageSequence[0].ReferencedFrameNumber == 3
    assert np.array_equal(found.pixel_array > 0, findings(scan, 1).data[0] > 0)


@pytest.mark.parametrize("told", [{}, {"PixelSpacing": [0.1, 0.2]}])
def test_a_radiograph_without_a_place(tmp_path: Path, told: dict[str, object]) -> None:
    """Its findings lie on its pixels; no place in the patient is made up for them, and highdicom reads it
    whatever spacing the source has.
    """
    scan = read_dicom(save(tmp_path / "scan.dcm", radiograph(**told)))
    mask = findings(scan)
    found = made(mask, tmp_path / "out.dcm", scan)
    assert np.array_equal(found.pixel_array, np.stack([mask.data[0] == n for n in (1, 2, 3)]))
    assert (
        "FrameOfReferenceUID" not in found
        and "PlanePositionSequence" not in found.PerFrameFunctionalGroupsSequence[0]
    )
    source = found.PerFrameFunctionalGroupsSequence[0].DerivationImageSequence[0].SourceImageSequence[0]
    assert source.ReferencedSOPInstanceUID == pydicom.dcmread(tmp_path / "scan.dcm").SOPInstanceUID


@pytest.mark.parametrize("name", ["CT_small.dcm", "MR_small_bigendian.dcm", "MR_small_RLE.dcm", "SC_rgb.dcm"])
def test_headers_of_real_scanners_are_taken_over(tmp_path: Path, name: str) -> None:
    """Files that ship inside the wheel of pydicom; whatever their byte order and compression, ours is
    plain.
    """
    path = get_testdata_file(name, download=False)
    assert isinstance(path, str)
    scan = read_dicom(Path(path))
    mask = findings(scan, 2)
    found, source = made(mask, tmp_path / "out.dcm", scan), pydicom.dcmread(path)
    assert np.array_equal(found.pixel_array, np.stack([mask.data[0] == n for n in (1, 2)]))
    assert (found.PatientID, found.StudyInstanceUID) == (source.PatientID, source.StudyInstanceUID)
    assert found.get("FrameOfReferenceUID") == source.get("FrameOfReferenceUID")


def test_a_folder_of_its_own_where_the_name_has_no_suffix(scan: Volume, tmp_path: Path) -> None:
    made(findings(scan), tmp_path / "mask", scan)
    assert sorted(file.name for file in (tmp_path / "mask").glob("*.dcm")) == [FILE]


def test_an_empty_mask_is_refused(scan: Volume, tmp_path: Path) -> None:
    with pytest.raises(BadOption, match=r"no finding.*at least one segment"):
        write(findings(scan, 0), tmp_path / "out.dcm", like=scan, kind="mask")
    assert not (tmp_path / "out.dcm").exists()


def test_a_scan_that_is_not_from_dicom_is_refused(scan: Volume, tmp_path: Path) -> None:
    write(scan, tmp_path / "scan.nii.gz", kind="converted")
    other = read_nifti(tmp_path / "scan.nii.gz")
    with pytest.raises(BadOption, match=r"beside a DICOM scan.*nifti"):
        write(findings(other), tmp_path / "out.dcm", like=other, kind="mask")
    with pytest.raises(BadOption, match="memory"):
        write(Volume(np.ones((1, 4, 4), np.float32), unit="label"), tmp_path / "out.dcm", kind="mask")
    shutil.rmtree(tmp_path / "scan")
    with pytest.raises(FileProblem, match="no longer"):
        write(findings(scan), tmp_path / "out.dcm", like=scan, kind="mask")
    assert not (tmp_path / "out.dcm").exists()


def test_what_is_no_mask_of_this_scan_is_refused(scan: Volume, tmp_path: Path) -> None:
    mask, out = findings(scan), tmp_path / "out.dcm"
    moved = np.asarray(scan.affine) + np.array([[0, 0, 0, 1.0], *np.zeros((3, 4))])
    with pytest.raises(BadOption, match="unit 'label'"):
        write_segmentation(scan, out, like=scan)
    with pytest.raises(BadOption, match="whole numbers"):
        write_segmentation(mask.with_data(mask.data + 0.5), out, like=scan)
    with pytest.raises(BadOption, match="whole numbers"):
        write_segmentation(mask.with_data(mask.data - 1), out, like=scan)
    with pytest.raises(ShapeMismatch, match="grid of the scan"):
        write_segmentation(replace(mask, data=mask.data[:, 1:]), out, like=scan)
    with pytest.raises(BadGeometry, match="does not lie where"):
        write_segmentation(replace(mask, affine=moved), out, like=scan)
    with pytest.raises(BadGeometry, match="one says where"):
        write_segmentation(replace(mask, affine=None), out, like=scan)
    assert not out.exists()


def test_one_frame_of_a_film_is_refused(tmp_path: Path) -> None:
    scan = read_dicom(save(tmp_path / "film.dcm", film()), frame=1)
    with pytest.raises(Unsupported, match="several frames"):
        write(findings(scan), tmp_path / "out.dcm", like=scan, kind="mask")


def test_an_independent_checker_finds_no_error(scan: Volume, tmp_path: Path) -> None:
    checker = shutil.which("dciodvfy")
    if checker is None:
        pytest.skip("dciodvfy is not installed (Debian package dicom3tools)")
    image = read_dicom(save(tmp_path / "image.dcm", radiograph()))
    wrong = []
    for name, like, n in (("three", scan, 3), ("one", scan, 1), ("image", image, 2)):
        made(findings(like, n), tmp_path / f"{name}.dcm", like)
        told = subprocess.run(
            [checker, "-new", str(tmp_path / f"{name}.dcm")], capture_output=True, text=True
        )
        lines = (told.stdout + told.stderr).splitlines()
        assert len(lines) > 0, "it says at least the class"
        wrong += [
            f"{name}: {line}"
            for line in lines
            if line.startswith("Error") and NEWER_THAN_THE_CHECKER not in line
        ]
    assert wrong == []
