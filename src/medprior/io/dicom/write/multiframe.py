"""A volume in one DICOM file: Multi-frame Grayscale Word Secondary Capture, with the place of each frame
where it is known (PS3.3 section A.8.4).
"""

from __future__ import annotations

from collections.abc import Sequence
from copy import deepcopy

import numpy as np
from pydicom.dataset import Dataset
from pydicom.tag import Tag
from pydicom.uid import MultiFrameGrayscaleWordSecondaryCaptureImageStorage
from pydicom.valuerep import format_number_as_ds

__all__ = ["NO_DATE", "multiframe"]

_PER_FRAME = (
    "ImagePositionPatient",
    "ImageOrientationPatient",
    "PixelSpacing",
    "SliceThickness",
    "SpacingBetweenSlices",
)
_NO_SLICE = (
    *_PER_FRAME,
    "PixelData",
    "RescaleSlope",
    "RescaleIntercept",
    "RescaleType",
    "WindowCenter",
    "WindowWidth",
    "VOILUTFunction",
)
NO_DATE = "19000101"
"""The class demands a date, and the day of the run would give other bytes for the same seed."""
_TECHNIQUE = (
    "KVP", "AcquisitionNumber", "ConvolutionKernel", "PatientPosition", "ScanningSequence", "SequenceVariant",
    "ScanOptions", "MRAcquisitionType",
    "RepetitionTime", "EchoTime", "EchoTrainLength", "InversionTime", "FlipAngle", "MagneticFieldStrength",
    "ViewPosition", "BodyPartExamined", "Units",
    "CountsSource", "SeriesType", "NumberOfSlices", "CorrectedImage", "DecayCorrection", "CollimatorType",
    "RandomsCorrectionMethod", "FrameReferenceTime",
    "ActualFrameDuration", "ImageIndex",
)  # fmt: skip
"""Technique has no place in a secondary capture."""


def multiframe(slices: Sequence[Dataset]) -> Dataset:
    """The instances of one series, in order, as one object; its identity, marks and UIDs are those of the
    first, the sources those of all.
    """
    slices = [_unsigned(instance) for instance in slices]
    first = slices[0]
    made = deepcopy(first)
    for keyword in (*_NO_SLICE, *_TECHNIQUE):
        if keyword in made:
            delattr(made, keyword)
    made.SOPClassUID = MultiFrameGrayscaleWordSecondaryCaptureImageStorage
    made.ImageType = ["DERIVED", "SECONDARY"]
    made.ConversionType = "SYN"
    made.PatientOrientation = ""
    made.ContentDate, made.ContentTime = first.get("StudyDate") or NO_DATE, first.get("StudyTime") or "000000"
    made.NumberOfFrames = len(slices)
    made.RescaleSlope, made.RescaleIntercept, made.RescaleType = (
        first.RescaleSlope,
        first.RescaleIntercept,
        first.RescaleType,
    )
    made.PresentationLUTShape = "IDENTITY"
    made.FrameIncrementPointer = Tag("SliceLocationVector")
    made.SliceLocationVector = [_location(instance, n) for n, instance in enumerate(slices)]
    made.SharedFunctionalGroupsSequence = [_shared(first)]
    made.PerFrameFunctionalGroupsSequence = [_frame(instance, n) for n, instance in enumerate(slices, 1)]
    references = [item for instance in slices for item in instance.get("SourceImageSequence", ())]
    if references:
        made.SourceImageSequence = list({item.ReferencedSOPInstanceUID: item for item in references}.values())
    made.add_new(0x7FE00010, "OW", b"".join(instance.PixelData for instance in slices))
    return made


def _unsigned(instance: Dataset) -> Dataset:
    """The class holds no signed values: they are raised by 2^15, and the intercept lowered by as many
    steps.
    """
    if instance.PixelRepresentation == 0:
        return instance
    made = deepcopy(instance)
    made.PixelRepresentation = 0
    made.RescaleIntercept = format_number_as_ds(
        float(instance.RescaleIntercept) - 2**15 * float(instance.RescaleSlope)
    )
    made.PixelData = (
        (np.frombuffer(instance.PixelData, "<i2").astype(np.int32) + 2**15).astype("<u2").tobytes()
    )
    return made


def _location(instance: Dataset, n: int) -> float:
    """Millimetres along the normal, or the number of the frame where nobody knows its place."""
    if "ImagePositionPatient" not in instance:
        return float(n)
    x, y = (tuple(map(float, instance.ImageOrientationPatient[a : a + 3])) for a in (0, 3))
    normal = (x[1] * y[2] - x[2] * y[1], x[2] * y[0] - x[0] * y[2], x[0] * y[1] - x[1] * y[0])
    return round(sum(float(p) * d for p, d in zip(instance.ImagePositionPatient, normal, strict=True)), 6)


def _group(instance: Dataset, *keywords: str) -> Dataset:
    found = Dataset()
    for keyword in keywords:
        if keyword in instance:
            found[keyword] = deepcopy(instance[keyword])
    return found


def _shared(first: Dataset) -> Dataset:
    groups = Dataset()
    if "PixelSpacing" in first:
        groups.PixelMeasuresSequence = [
            _group(first, "PixelSpacing", "SliceThickness", "SpacingBetweenSlices")
        ]
    if "ImageOrientationPatient" in first:
        groups.PlaneOrientationSequence = [_group(first, "ImageOrientationPatient")]
    groups.PixelValueTransformationSequence = [
        _group(first, "RescaleSlope", "RescaleIntercept", "RescaleType")
    ]
    groups.FrameVOILUTSequence = [_group(first, "WindowCenter", "WindowWidth", "VOILUTFunction")]
    return groups


def _frame(instance: Dataset, n: int) -> Dataset:
    groups, content = Dataset(), Dataset()
    content.InStackPositionNumber, content.StackID = n, "1"
    groups.FrameContentSequence = [content]
    if "ImagePositionPatient" in instance:
        groups.PlanePositionSequence = [_group(instance, "ImagePositionPatient")]
    return groups
