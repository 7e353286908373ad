"""The marks on every DICOM object that medprior writes, and what it may take over from the source."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

from pydicom.dataset import Dataset
from pydicom.uid import (
    UID,
    ComputedRadiographyImageStorage,
    CTImageStorage,
    DigitalXRayImageStorageForPresentation,
    MRImageStorage,
    PositronEmissionTomographyImageStorage,
    SecondaryCaptureImageStorage,
)

from .... import __version__
from ....data.volume import Volume
from ...disk.stamp import RESEARCH_ONLY
from ..read.open import Header
from ..terms import is_defined

__all__ = [
    "COPIED_IDENTITY",
    "DEMANDED",
    "acquisition",
    "class_for",
    "contributing_equipment",
    "derived_marks",
    "description_of",
    "fictitious_patient",
]

COPIED_IDENTITY = (
    "SpecificCharacterSet", "PatientName", "PatientID", "IssuerOfPatientID", "PatientBirthDate", "PatientSex",
    "PatientAge", "PatientSize", "PatientWeight",
    "StudyDate", "StudyTime", "StudyID", "AccessionNumber", "ReferringPhysicianName", "StudyDescription",
)  # fmt: skip
"""What stays when the picture stays the patient's; nothing of it goes into augmented or synthesized
objects.
"""

_TECHNIQUE: dict[str, tuple[tuple[str, object], ...]] = {
    CTImageStorage: (("KVP", None), ("AcquisitionNumber", None), ("ConvolutionKernel", ...),
    ("PatientPosition", "")),
    MRImageStorage: (
        ("ScanningSequence", "RM"), ("SequenceVariant", "NONE"), ("ScanOptions", ""), ("MRAcquisitionType",
        ""), ("RepetitionTime", None), ("EchoTime", None),
        ("EchoTrainLength", None), ("InversionTime", ...), ("FlipAngle", ...), ("MagneticFieldStrength", ...),
        ("PatientPosition", ""),
    ),
    ComputedRadiographyImageStorage: (("KVP", None), ("BodyPartExamined", ""), ("ViewPosition", ""),
    ("PhotometricInterpretation", ...)),
    DigitalXRayImageStorageForPresentation: (),
    PositronEmissionTomographyImageStorage: (
        ("Units", ...), ("CountsSource", ...), ("SeriesType", ...), ("NumberOfSlices", ...),
        ("CorrectedImage", ...), ("DecayCorrection", ...),
        ("CollimatorType", ""), ("RandomsCorrectionMethod", ...), ("FrameReferenceTime", ...),
        ("ActualFrameDuration", ...), ("ImageIndex", ...),
    ),
    SecondaryCaptureImageStorage: (),
}  # fmt: skip
"""Technique of each class that may be taken over, and what stands where the source does not say (... :
nothing).
"""

DEMANDED = (
    "StudyDate",
    "StudyTime",
    "StudyID",
    "AccessionNumber",
    "ReferringPhysicianName",
    "PatientBirthDate",
    "PatientSex",
    "PatientName",
    "PatientID",
)
"""Elements that every image must have, if only empty."""

_CLASSES = {
    "CT": CTImageStorage,
    "MR": MRImageStorage,
    "CR": ComputedRadiographyImageStorage,
    "PT": PositronEmissionTomographyImageStorage,
}


def class_for(volume: Volume, source: Header | None) -> UID:
    """The SOP class of the modality, or Secondary Capture if that class needs unknown facts (CT and MR
    without a position, PET without a source).
    """
    wanted = _CLASSES.get(volume.modality, SecondaryCaptureImageStorage)
    if wanted == PositronEmissionTomographyImageStorage and (source is None or source.get("Units") is None):
        return SecondaryCaptureImageStorage
    if volume.modality in ("CT", "MR", "PT") and volume.affine is None:
        return SecondaryCaptureImageStorage
    if wanted == CTImageStorage and volume.unit != "HU":
        return SecondaryCaptureImageStorage
    return wanted


def acquisition(common: Dataset, source: Header | None, sop_class: UID, *, same_patient: bool) -> None:
    """Technique from the source by an allow-list, the image type, and the empty elements that the class
    demands. same_patient: words of the source may stay; else only numbers and terms of the standard do.
    """
    for keyword, otherwise in _TECHNIQUE[sop_class]:
        value = source.get(keyword) if source is not None else None
        if not same_patient and not is_defined(keyword, value):
            value = None
        if value is not None and keyword != "PhotometricInterpretation":
            setattr(common, keyword, value)
        elif otherwise is not ...:
            setattr(common, keyword, otherwise)
    third = {CTImageStorage: ["AXIAL"], MRImageStorage: ["OTHER"]}.get(sop_class, [])
    common.ImageType = ["DERIVED", "SECONDARY", *third]
    if sop_class == SecondaryCaptureImageStorage:
        common.ConversionType = "SYN"
    for keyword in DEMANDED:
        if keyword not in common:
            setattr(common, keyword, "")
    common.Laterality = ""
    common.ContentDate = common.ContentTime = ""
    common.BurnedInAnnotation = (
        "YES" if source is not None and source.text("BurnedInAnnotation") == "YES" else "NO"
    )
    if source is not None and source.text("LossyImageCompression") == "01":
        common.LossyImageCompression = "01"


def fictitious_patient(common: Dataset, entropy: Sequence[str]) -> None:
    """A patient who does not exist, told apart by the content alone."""
    name = "SYNTHETIC-" + hashlib.sha256("/".join(entropy).encode()).hexdigest()[:12].upper()
    common.PatientName, common.PatientID = f"{name}^MEDPRIOR", name
    common.PatientIdentityRemoved, common.DeidentificationMethod = "YES", "fictitious patient"


def description_of(kind: str, prior_hash: str, seed: int | None) -> str:
    """One sentence: what made it, from which prior and seed, and what it is not for."""
    return (
        f"medprior {__version__}: {kind}, prior {prior_hash or 'none'}, seed "
        f"{'none' if seed is None else seed}; {RESEARCH_ONLY}"
    )


def contributing_equipment(kind: str, prior_hash: str, seed: int | None) -> Dataset:
    """One item of Contributing Equipment Sequence (0018,A001): 109100 Synthesizing or 109102 Processing
    Equipment (PS3.16 CID 7005).
    """
    purpose, item = Dataset(), Dataset()
    synthesized = kind in ("synthesized", "augmented")
    purpose.CodeValue, purpose.CodingSchemeDesignator = ("109100" if synthesized else "109102"), "DCM"
    purpose.CodeMeaning = "Synthesizing Equipment" if synthesized else "Processing Equipment"
    item.PurposeOfReferenceCodeSequence = [purpose]
    item.Manufacturer, item.ManufacturerModelName, item.SoftwareVersions = "medprior", "medprior", __version__
    item.ContributionDescription = description_of(kind, prior_hash, seed)[:1024]
    return item


def derived_marks(
    instance: Dataset, kind: str, synthetic: bool, prior_hash: str, seed: int | None, origin: Sequence[Header]
) -> None:
    """Synthetic Data, Derivation Description, Contributing Equipment, research use only, and the instances it
    was derived from.
    """
    instance.SyntheticData = "YES" if synthetic else "NO"
    instance.DerivationDescription = description_of(kind, prior_hash, seed)[:1024]
    instance.ContributingEquipmentSequence = [contributing_equipment(kind, prior_hash, seed)]
    instance.ImageComments = f"AI, {RESEARCH_ONLY}"
    instance.Manufacturer, instance.ManufacturerModelName, instance.SoftwareVersions = (
        "medprior",
        "medprior",
        __version__,
    )
    references = []
    for header in origin:
        if header.text("SOPInstanceUID") and header.text("SOPClassUID"):
            reference = Dataset()
            reference.ReferencedSOPClassUID, reference.ReferencedSOPInstanceUID = (
                header.text("SOPClassUID"),
                header.text("SOPInstanceUID"),
            )
            references.append(reference)
    if references:
        instance.SourceImageSequence = references
