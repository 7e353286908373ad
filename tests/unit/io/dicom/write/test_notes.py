"""The picture with burned-in words, and the note that withdraws older results."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pydicom
import pytest

pytest.importorskip("highdicom", reason="the extra 'dicom' is not installed")

from medprior.io.dicom.write.notes import write_rejection_note, write_secondary_capture
from medprior.io.dicom.write.structured_report import write_no_result
from tests.corpus.dicom_parts import CANARY, axial, radiograph, save


def test_a_capture_has_its_pixels_and_says_that_words_are_burned_in(tmp_path: Path) -> None:
    scan = save(tmp_path / "scan.dcm", radiograph(StudyDescription=CANARY, InstitutionName=CANARY))
    picture = np.random.default_rng(0).integers(0, 256, (40, 60, 3)).astype(np.uint8)
    for name in ("one.dcm", "two.dcm"):
        write_secondary_capture(picture, tmp_path / name, scan, "detect", "ab" * 32, 0)
    made = pydicom.dcmread(tmp_path / "one.dcm")
    assert (made.pixel_array == picture).all() and made.BurnedInAnnotation == "YES"
    assert made.SyntheticData == "YES" and made.StudyInstanceUID == radiograph().StudyInstanceUID
    assert "research use only" in made.DerivationDescription and "InstitutionName" not in made
    assert (tmp_path / "one.dcm").read_bytes() == (tmp_path / "two.dcm").read_bytes()


def test_a_note_names_what_it_withdraws_and_why(tmp_path: Path) -> None:
    old = [save(tmp_path / f"{n}.dcm", image) for n, image in enumerate(axial()[:2])]
    write_rejection_note(old, tmp_path / "note.dcm", "A newer result takes its place.")
    made = pydicom.dcmread(tmp_path / "note.dcm")
    code = made.ConceptNameCodeSequence[0]
    assert (code.CodeValue, code.CodingSchemeDesignator) == ("113001", "DCM") and made.Modality == "KO"
    named = {
        item.ReferencedSOPInstanceUID
        for study in made.CurrentRequestedProcedureEvidenceSequence
        for series in study.ReferencedSeriesSequence
        for item in series.ReferencedSOPSequence
    }
    assert named == {str(image.SOPInstanceUID) for image in axial()[:2]}
    assert any("newer result" in str(item.get("TextValue", "")) for item in made.ContentSequence)


def test_a_report_without_a_result_needs_no_volume(tmp_path: Path) -> None:
    """Other files, other UID: the report names them as its evidence."""
    paths = [save(tmp_path / f"{n}.dcm", image) for n, image in enumerate(axial()[:3])]
    write_no_result("the scan is of another kind", tmp_path / "a.dcm", paths)
    write_no_result("the scan is of another kind", tmp_path / "b.dcm", paths[:2])
    one, other = (pydicom.dcmread(tmp_path / name) for name in ("a.dcm", "b.dcm"))
    assert "No result can be given: the scan is of another kind." in one.ContentSequence[-1].TextValue
    assert (
        one.SOPInstanceUID != other.SOPInstanceUID and one.SeriesDescription == "AI report without a result"
    )
