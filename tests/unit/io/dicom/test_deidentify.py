"""De-identification (PS3.15 Annex E): nothing planted survives on any level, the proof is written, and what
may carry text in its pixels is refused.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pydicom
import pytest
from pydicom.dataset import Dataset
from pydicom.uid import UID

from medprior.errors import BadOption, WrongKind
from medprior.io.dicom.deidentify import deidentified, keyed_uid
from tests.corpus.dicom_parts import CANARY, ct_slice, encoded, phantom, save, uid

SECRET = b"a secret of the site, 32 bytes.."


def planted() -> Dataset:
    """A slice with the canary in names, dates, private elements, free text and two levels of sequences."""
    image = ct_slice(phantom()[0], BurnedInAnnotation="NO", BodyPartExamined="CHEST")
    image.InstitutionName = image.StationName = image.PatientComments = image.StudyDescription = (
        image.OperatorsName
    ) = CANARY
    image.DeviceSerialNumber, image.AccessionNumber, image.StudyDate = CANARY, CANARY, "20200131"
    image.private_block(0x0011, CANARY, create=True).add_new(1, "LO", CANARY)
    reference, inner = Dataset(), Dataset()
    inner.PatientName, inner.InstitutionName = CANARY, CANARY
    reference.ReferencedSOPClassUID, reference.ReferencedSOPInstanceUID = (
        "1.2.840.10008.5.1.4.1.1.2",
        uid("referenced"),
    )
    reference.PatientID, reference.PurposeOfReferenceCodeSequence = CANARY, [inner]
    image.SourceImageSequence = [reference]
    return image


def test_nothing_planted_survives_on_any_level() -> None:
    before = planted()
    after, to_look_at = deidentified(before, secret=SECRET)
    written = encoded(after)
    for secret in (
        CANARY,
        before.StudyInstanceUID,
        before.SOPInstanceUID,
        uid("referenced"),
        "19700101",
        "20200131",
    ):
        assert secret.encode() not in written, secret
    assert after.PixelData == before.PixelData and after.ImagePositionPatient == before.ImagePositionPatient
    assert to_look_at == ()
    assert before.PatientName == f"{CANARY}^Jane", "the input is not touched"


def test_a_term_that_scanners_write_stays_and_a_typed_word_does_not() -> None:
    kept, dropped = planted(), planted()
    kept.ConvolutionKernel, kept.RescaleType = ["Br40d", "3"], "HU"
    dropped.ConvolutionKernel, dropped.RescaleType = f"{CANARY} soft", CANARY
    dropped.BodyPartExamined, dropped.ViewPosition = "DOE JANE", "PA"
    kept, dropped = (deidentified(one, secret=SECRET)[0] for one in (kept, dropped))
    assert list(kept.ConvolutionKernel) == ["Br40d", "3"] and kept.RescaleType == "HU"
    assert "ConvolutionKernel" not in dropped and dropped.RescaleType == "US", "unspecified, beside a slope"
    assert "BodyPartExamined" not in dropped and dropped.ViewPosition == "PA"


def test_nothing_survives_in_the_file_around_the_data_set(tmp_path: Path) -> None:
    """The meta information, the preamble, overlays, curves, unknown elements and group lengths of a real
    file, written as it was read.
    """
    content = bytearray(encoded(planted()))
    content[:9] = CANARY.encode()
    image = pydicom.dcmread(save(tmp_path / "in.dcm", bytes(content)))
    image.file_meta.SourceApplicationEntityTitle = CANARY
    image.file_meta.PrivateInformationCreatorUID, image.file_meta.PrivateInformation = (
        UID(uid("private")),
        CANARY.encode() + b"\0",
    )
    image.add_new(0x60003000, "OW", CANARY.encode() + b"\0")
    image.add_new(0x60004000, "LT", CANARY)
    image.add_new(0x50002500, "LO", CANARY)
    image.add_new(0x00081FFE, "LO", CANARY)
    image.SourceImageSequence[0].add_new(0x00281FFE, "UN", CANARY.encode() + b"\0")
    image.add_new(0x00100000, "UL", 222)
    after, _ = deidentified(image, secret=SECRET)
    after.save_as(tmp_path / "out.dcm")
    written = (tmp_path / "out.dcm").read_bytes()
    for secret in (
        CANARY,
        uid("private"),
        str(image.SOPInstanceUID),
        str(image.file_meta.MediaStorageSOPInstanceUID),
    ):
        assert secret.encode() not in written, secret
    assert written[:128] == bytes(128)
    back = pydicom.dcmread(tmp_path / "out.dcm")
    assert back.file_meta.MediaStorageSOPInstanceUID == back.SOPInstanceUID
    assert np.array_equal(back.pixel_array, phantom()[0])
    assert CANARY in str(image.file_meta.SourceApplicationEntityTitle), "the input is not touched"


def test_the_proof_is_written() -> None:
    after, _ = deidentified(planted(), secret=SECRET)
    assert after.PatientIdentityRemoved == "YES" and "2026c" in after.DeidentificationMethod
    assert after.DeidentificationMethodCodeSequence[0].CodeValue == "113100"
    assert after.ContributingEquipmentSequence[0].PurposeOfReferenceCodeSequence[0].CodeValue == "109104"
    assert after.LongitudinalTemporalInformationModified == "REMOVED"


def test_uids_are_the_same_for_the_same_secret_and_no_other() -> None:
    """Series stay together without a table of UIDs, and a guessed UID cannot be tested without the secret."""
    first, again = (deidentified(planted(), secret=SECRET)[0] for _ in range(2))
    other = deidentified(planted(), secret=SECRET[::-1])[0]
    assert (
        first.SeriesInstanceUID == again.SeriesInstanceUID == keyed_uid(SECRET, planted().SeriesInstanceUID)
    )
    assert first.SeriesInstanceUID != other.SeriesInstanceUID
    assert first.SOPClassUID == planted().SOPClassUID, "classes are no identity"
    assert encoded(first) == encoded(again)


@pytest.mark.parametrize(
    "changes",
    [
        {"Modality": "US"},
        {"Modality": "XA"},
        {"BurnedInAnnotation": "YES"},
        {"BurnedInAnnotation": None, "Modality": "DX"},
        {"BurnedInAnnotation": None, "ImageType": None},
    ],
)
def test_pixels_that_may_carry_text_are_refused(changes: dict[str, str | None]) -> None:
    image = planted()
    for keyword, value in changes.items():
        if value is None:
            delattr(image, keyword)
        else:
            setattr(image, keyword, value)
    with pytest.raises(WrongKind, match="names may be written in the pixels"):
        deidentified(image, secret=SECRET)
    assert deidentified(image, secret=SECRET, allow_burned_in=True)[0].PatientIdentityRemoved == "YES"


def test_heads_carry_a_warning_and_short_secrets_are_refused() -> None:
    image = planted()
    image.BodyPartExamined = "HEAD"
    assert "face" in deidentified(image, secret=SECRET)[1][0]
    with pytest.raises(BadOption, match="at least 16 bytes"):
        deidentified(image, secret=b"short")
