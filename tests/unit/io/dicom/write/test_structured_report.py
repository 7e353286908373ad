"""The report of scores and findings: every number read back by another reader, each finding tied to its
segment, nobody's verification, no diagnosis.
"""

from __future__ import annotations

import shutil
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from highdicom.sr import srread
from pydicom.dataset import Dataset
from pydicom.sr.codedict import codes

from medprior.data.volume import Volume
from medprior.errors import BadOption, Diverged, FileProblem, ShapeMismatch
from medprior.io.dicom.read.series import read_dicom
from medprior.io.dicom.write.segmentation import MOST_SEGMENTS, write_segmentation
from medprior.io.dicom.write.structured_report import (
    ANOMALY_SCORE,
    FLAG_RATES,
    N_HEALTHY,
    P_VALUE,
    PEAK,
    ReportContent,
    ScoredFinding,
    write_structured_report,
)
from medprior.io.nifti.nifti import read_nifti
from medprior.io.write import write
from tests.corpus.dicom_parts import (
    CANARY,
    Later,
    ct_slice,
    film,
    mirrored,
    phantom,
    radiograph,
    save,
    save_all,
    uid,
)

NEWER_THAN_THE_CHECKER = "(0008,001c)"
SCORED = ReportContent(
    2.3456789,
    1 / 41,
    40,
    (
        ScoredFinding(1, 1.25, (-3.5, 7.25, 11.0), 9.5, 0.02),
        ScoredFinding(2, 0.004, (4.0, -8.0, 2.0), 4.75, 0.5),
        ScoredFinding(3, None, (0, 0, 0), 4.5, None),
    ),
)


@pytest.fixture
def scan(tmp_path: Path) -> Volume:
    return read_dicom(save_all(tmp_path / "scan", mirrored()))


def findings(scan: Volume, n: int = 3) -> Volume:
    labels = np.zeros(scan.data.size, np.float32)
    labels[: 2 * n] = np.repeat(np.arange(1, n + 1), 2)
    return replace(scan, data=labels.reshape(scan.data.shape), unit="label")


def segmented(scan: Volume, path: Path, n: int = 3) -> pydicom.Dataset:
    write_segmentation(findings(scan, n), path, like=scan, prior_hash="0123abcd", seed=7)
    return pydicom.dcmread(path)


def reported(scored: ReportContent, path: Path, like: Volume, segmentation: Path | None = None) -> Any:
    write_structured_report(scored, path, like=like, segmentation=segmentation, prior_hash="0123abcd", seed=7)
    return srread(path)


def groups(report: Dataset) -> list[Dataset]:
    """The measurement groups, as pydicom sees them: no help from the writer's classes."""
    container = [
        item
        for item in report.ContentSequence
        if item.ConceptNameCodeSequence[0].CodeValue == codes.DCM.ImagingMeasurements.value
    ]
    return list(container[0].ContentSequence)


def items(group: Dataset, code: str) -> list[Dataset]:
    return [item for item in group.ContentSequence if item.ConceptNameCodeSequence[0].CodeValue == code]


def number(group: Dataset, code: str) -> tuple[float, str]:
    """(value, UCUM unit) of the one measurement with this code."""
    (item,) = items(group, code)
    value = item.MeasuredValueSequence[0]
    return float(value.NumericValue), value.MeasurementUnitsCodeSequence[0].CodeValue


def conclusion(report: Dataset) -> str:
    return items(report, codes.DCM.Conclusion.value)[0].TextValue


def test_the_numbers_of_the_scan_and_of_each_finding(scan: Volume, tmp_path: Path) -> None:
    report = reported(SCORED, tmp_path / "report.dcm", scan)
    whole, *others = groups(report)
    assert number(whole, ANOMALY_SCORE.value) == (pytest.approx(2.3456789), "1")
    assert number(whole, P_VALUE.value) == (pytest.approx(1 / 41), "1") and number(
        whole, N_HEALTHY.value
    ) == (40, "{patients}")
    assert (
        items(whole, ANOMALY_SCORE.value)[0].ConceptNameCodeSequence[0].CodingSchemeDesignator == "99MEDPRIOR"
    )
    assert report.CodingSchemeIdentificationSequence[0].CodingSchemeDesignator == "99MEDPRIOR"
    assert [items(group, "112039")[0].TextValue for group in others] == [
        "finding 1",
        "finding 2",
        "finding 3",
    ]
    for group, finding in zip(others, SCORED.findings, strict=True):
        assert number(group, PEAK.value) == (finding.peak, "1")
        if finding.size is not None:
            assert number(group, codes.SCT.Volume.value) == (finding.size, "ml")
        else:
            assert items(group, codes.SCT.Volume.value) == []
        if finding.p_value is not None:
            assert number(group, P_VALUE.value) == (finding.p_value, "1")
        else:
            assert items(group, P_VALUE.value) == []


def test_the_rate_of_flags_among_healthy_patients_has_its_interval(scan: Volume, tmp_path: Path) -> None:
    report = reported(replace(SCORED, flag_rate=(0.0488, 0.006, 0.132)), tmp_path / "report.dcm", scan)
    rates = [number(groups(report)[0], code.value) for code in FLAG_RATES]
    assert rates == [(0.0488, "1"), (0.006, "1"), (0.132, "1")]
    assert "Of healthy patients 4.9 % are flagged, too (0.6 to 13.2 %)." in conclusion(report)


def test_centres_are_points_in_the_frame_of_reference(scan: Volume, tmp_path: Path) -> None:
    """RAS inside, LPS in the file: x and y change their sign, z does not."""
    report = reported(SCORED, tmp_path / "report.dcm", scan)
    assert report.SOPClassUID.name == "Comprehensive 3D SR Storage"
    centres = [items(group, codes.DCM.Center.value)[0] for group in groups(report)[1:]]
    assert [list(point.GraphicData) for point in centres] == [[3.5, -7.25, 11.0], [-4.0, 8.0, 2.0], [0, 0, 0]]
    assert {point.ReferencedFrameOfReferenceUID for point in centres} == {uid("frame")} and {
        point.GraphicType for point in centres
    } == {"POINT"}
    assert "finding 1: 1.25 ml, 3.5 mm left, 7.2 mm anterior, 11.0 mm superior" in conclusion(report)


@pytest.mark.parametrize("n", [1, 3])
def test_each_finding_names_its_segment(scan: Volume, tmp_path: Path, n: int) -> None:
    """One segment too, where highdicom's own reference fails; another reader finds them through highdicom."""
    segmentation = segmented(scan, tmp_path / "seg.dcm", n)
    report = reported(
        replace(SCORED, findings=SCORED.findings[:n]), tmp_path / "report.dcm", scan, tmp_path / "seg.dcm"
    )
    found = report.content.get_volumetric_roi_measurement_groups()
    assert len(found) == n
    for k, group in enumerate(found, 1):
        reference = group.referenced_segment[0].ReferencedSOPSequence[0]
        assert (
            reference.ReferencedSOPInstanceUID == segmentation.SOPInstanceUID
            and reference.ReferencedSegmentNumber == k
        )
        assert (
            group.tracking_uid == segmentation.SegmentSequence[k - 1].TrackingUID
            and group.tracking_identifier == f"finding {k}"
        )
    evidence = {instance for _, _, instance, _ in report.get_evidence()}
    assert evidence == {segmentation.SOPInstanceUID, *(image.SOPInstanceUID for image in mirrored())}


def test_numbers_with_gaps_find_the_right_segment(scan: Volume, tmp_path: Path) -> None:
    mask = findings(scan)
    write_segmentation(mask.with_data(mask.data * 10), tmp_path / "seg", like=scan)
    scored = replace(
        SCORED, findings=(replace(SCORED.findings[0], number=30), replace(SCORED.findings[1], number=10))
    )
    report = reported(scored, tmp_path / "report.dcm", scan, tmp_path / "seg")
    found = report.content.get_volumetric_roi_measurement_groups()
    assert [
        group.referenced_segment[0].ReferencedSOPSequence[0].ReferencedSegmentNumber for group in found
    ] == [3, 1]


def test_where_all_findings_share_a_segment_none_claims_it(scan: Volume, tmp_path: Path) -> None:
    segmentation = segmented(scan, tmp_path / "seg.dcm", MOST_SEGMENTS + 1)
    report = reported(SCORED, tmp_path / "report.dcm", scan, tmp_path / "seg.dcm")
    assert report.content.get_volumetric_roi_measurement_groups() == [] and len(groups(report)) == 4
    assert segmentation.SOPInstanceUID in {instance for _, _, instance, _ in report.get_evidence()}


def test_who_says_so(scan: Volume, tmp_path: Path) -> None:
    report = reported(SCORED, tmp_path / "report.dcm", scan)
    assert (
        report.VerificationFlag == "UNVERIFIED"
        and report.PreliminaryFlag == "PRELIMINARY"
        and "VerifyingObserverSequence" not in report
    )
    assert (
        report.StudyInstanceUID == uid("study")
        and report.PatientID == f"{CANARY}-17"
        and report.PatientName == f"{CANARY}^Jane"
    )
    (observer,) = report.content.get_observer_contexts()
    assert (
        observer.observer_type == codes.DCM.Device
        and observer.observer_identifying_attributes.name == "medprior"
    )
    assert report.content[0].ContentTemplateSequence[0].TemplateIdentifier == "1500"
    assert report.SyntheticData == "NO" and report.SeriesDescription.startswith("AI ")
    (equipment,) = report.ContributingEquipmentSequence
    assert "0123abcd" in equipment.ContributionDescription and "seed 7" in equipment.ContributionDescription
    assert "p-value 0.0244, 40 held-out healthy patients" in conclusion(report)


@pytest.mark.parametrize(
    ("scored", "says"),
    [
        (SCORED, "3 regions unlike the healthy scans"),
        (ReportContent(0.1, 0.9, 40), "does not mean that the patient is healthy"),
        (
            ReportContent(0.1, None, 0, note="no healthy patients were held out: no µ"),
            "no p-value, 0 held-out healthy patients. no healthy patients were held out: no ?.",
        ),
    ],
)
def test_it_always_says_what_it_is_not_for(
    scan: Volume, tmp_path: Path, scored: ReportContent, says: str
) -> None:
    report = reported(scored, tmp_path / "report.dcm", scan)
    assert "research use only, not for diagnosis" in conclusion(report) and says in conclusion(report)
    assert "No person has verified" in conclusion(report)
    assert len(items(groups(report)[0], P_VALUE.value)) == (scored.p_value is not None)


def test_an_image_with_a_place(tmp_path: Path) -> None:
    scan = read_dicom(save(tmp_path / "scan.dcm", ct_slice(phantom()[0])))
    segmentation = segmented(scan, tmp_path / "seg.dcm")
    report = reported(SCORED, tmp_path / "report.dcm", scan, tmp_path / "seg.dcm")
    found = report.content.get_planar_roi_measurement_groups()
    assert len(found) == 3 and number(found[1][0], codes.SCT.Area.value) == (0.004, "mm2")
    reference = found[1].referenced_segmentation_frame[0].ReferencedSOPSequence[0]
    assert reference.ReferencedSOPInstanceUID == segmentation.SOPInstanceUID
    frame = segmentation.PerFrameFunctionalGroupsSequence[reference.ReferencedFrameNumber - 1]
    assert frame.SegmentIdentificationSequence[0].ReferencedSegmentNumber == 2
    assert items(found[1][0], codes.DCM.Center.value)[0].ValueType == "SCOORD3D"


@pytest.mark.parametrize("with_segments", [True, False])
def test_an_image_without_a_place(tmp_path: Path, with_segments: bool) -> None:
    """No millimetres in the patient: a point on the pixels, of which DICOM counts the middle of the first as
    (0.5, 0.5), column before row.
    """
    scan = read_dicom(save(tmp_path / "radiograph.dcm", radiograph()))
    scored = ReportContent(1.0, None, 0, (ScoredFinding(1, None, (2.0, 5.25), 3.0, None),))
    segmentation = tmp_path / "seg.dcm" if with_segments else None
    if segmentation:
        segmented(scan, segmentation, 1)
    report = reported(scored, tmp_path / "report.dcm", scan, segmentation)
    assert report.SOPClassUID.name == "Comprehensive SR Storage"
    (point,) = items(groups(report)[1], codes.DCM.Center.value)
    assert point.ValueType == "SCOORD" and list(point.GraphicData) == [5.75, 2.5]
    image = point.ContentSequence[0].ReferencedSOPSequence[0].ReferencedSOPInstanceUID
    assert image == pydicom.dcmread(tmp_path / "radiograph.dcm").SOPInstanceUID
    assert "row 3.0, column 6.2 of the image" in conclusion(report)
    assert len(report.content.get_planar_roi_measurement_groups()) == (1 if with_segments else 0)


def test_a_film_has_no_point_on_a_frame_that_nobody_knows(tmp_path: Path) -> None:
    scan = read_dicom(save(tmp_path / "film.dcm", film()), frame=1)
    report = reported(
        ReportContent(1.0, None, 0, (ScoredFinding(1, None, (2.0, 5.0), 3.0, None),)),
        tmp_path / "report.dcm",
        scan,
    )
    assert (
        items(groups(report)[1], codes.DCM.Center.value) == []
        and number(groups(report)[1], PEAK.value)[0] == 3.0
    )


def test_the_same_run_gives_the_same_bytes(
    scan: Volume, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever the clock says; other numbers are another report."""
    one = reported(SCORED, tmp_path / "one.dcm", scan)
    monkeypatch.setattr("highdicom.base.datetime", Later)
    monkeypatch.setattr("highdicom.sr.sop.datetime", Later)
    reported(SCORED, tmp_path / "two.dcm", scan)
    assert (tmp_path / "one.dcm").read_bytes() == (tmp_path / "two.dcm").read_bytes()
    assert (
        reported(replace(SCORED, score=2.0), tmp_path / "other.dcm", scan).SOPInstanceUID
        != one.SOPInstanceUID
    )


def test_what_cannot_be_reported_is_refused_and_nothing_is_written(scan: Volume, tmp_path: Path) -> None:
    out, first = tmp_path / "report.dcm", SCORED.findings[0]
    write(scan, tmp_path / "scan.nii.gz", kind="converted")
    segmented(scan, tmp_path / "seg.dcm", 1)
    other = read_dicom(save_all(tmp_path / "other", mirrored_elsewhere()))
    with pytest.raises(BadOption, match="beside a DICOM scan"):
        write_structured_report(SCORED, out, like=read_nifti(tmp_path / "scan.nii.gz"))
    with pytest.raises(Diverged):
        write_structured_report(replace(SCORED, score=float("nan")), out, like=scan)
    with pytest.raises(Diverged):
        write_structured_report(
            replace(SCORED, findings=(replace(first, peak=float("inf")),)), out, like=scan
        )
    with pytest.raises(ShapeMismatch, match="mm RAS"):
        write_structured_report(
            replace(SCORED, findings=(replace(first, centre=(1.0, 2.0)),)), out, like=scan
        )
    with pytest.raises(BadOption, match="none twice"):
        write_structured_report(replace(SCORED, findings=(first, first)), out, like=scan)
    with pytest.raises(BadOption, match="no segment for finding 2"):
        write_structured_report(SCORED, out, like=scan, segmentation=tmp_path / "seg.dcm")
    with pytest.raises(BadOption, match="another scan"):
        write_structured_report(
            replace(SCORED, findings=()), out, like=other, segmentation=tmp_path / "seg.dcm"
        )
    with pytest.raises(BadOption, match="no DICOM Segmentation"):
        write_structured_report(SCORED, out, like=scan, segmentation=next((tmp_path / "scan").iterdir()))
    with pytest.raises(FileProblem, match="no such file"):
        write_structured_report(SCORED, out, like=scan, segmentation=tmp_path / "gone.dcm")
    assert not out.exists()


def mirrored_elsewhere() -> list[Dataset]:
    made = mirrored()
    for n, image in enumerate(made):
        image.SeriesInstanceUID, image.SOPInstanceUID = uid("elsewhere"), uid("elsewhere", n)
    return made


def test_an_independent_checker_finds_no_error(scan: Volume, tmp_path: Path) -> None:
    checker = shutil.which("dciodvfy")
    if checker is None:
        pytest.skip("dciodvfy is not installed (Debian package dicom3tools)")
    image = read_dicom(save(tmp_path / "radiograph.dcm", radiograph()))
    flat = ReportContent(1.0, None, 0, (ScoredFinding(1, None, (2.0, 5.0), 3.0, None),))
    segmented(scan, tmp_path / "seg.dcm")
    segmented(image, tmp_path / "flat.dcm", 1)
    wrong = []
    for name, scored, like, segmentation in (
        ("volume", SCORED, scan, None),
        ("volume with segments", SCORED, scan, tmp_path / "seg.dcm"),
        ("image", flat, image, None),
        ("image with segments", flat, image, tmp_path / "flat.dcm"),
    ):
        reported(scored, tmp_path / "report.dcm", like, segmentation)
        told = subprocess.run([checker, "-new", str(tmp_path / "report.dcm")], capture_output=True, text=True)
        lines = (told.stdout + told.stderr).splitlines()
        assert len(lines) > 0, "it says at least the class"
        wrong += [
            f"{name}: {line}"
            for line in lines
            if line.startswith("Error") and NEWER_THAN_THE_CHECKER not in line
        ]
    assert wrong == []
