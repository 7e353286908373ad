"""The parts that the DICOM rows of the corpus are built of: one small phantom as slices, as a series, as one
enhanced file.
"""

from __future__ import annotations

import datetime as clock
import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.filewriter import dcmwrite
from pydicom.uid import (
    UID,
    ComputedRadiographyImageStorage,
    CTImageStorage,
    EnhancedCTImageStorage,
    ExplicitVRLittleEndian,
    UltrasoundMultiFrameImageStorage,
    generate_uid,
)

CANARY = "CANARYDOE"
"""Part of every name and identifier in the corpus: it must never be found in what medprior writes without a
patient.
"""

SHAPE = (6, 10, 8)
"""The phantom's (k, j, i): slices, rows, columns of the axial series."""


def phantom() -> np.ndarray:
    """HU + 1024 in 12 bits, (k, j, i), no symmetry: a wrong flip cannot hide."""
    rng = np.random.default_rng(7)
    return rng.integers(0, 3000, SHAPE).astype(np.uint16)


def uid(*names: object) -> str:
    return str(generate_uid(entropy_srcs=["corpus", *map(str, names)]))


_AXIAL = (1, 0, 0, 0, 1, 0)


def ct_slice(
    pixels: np.ndarray, position: Any = (-20, -30, 5), orientation: Any = _AXIAL, **changes: Any
) -> Dataset:
    """One CT slice; ``changes`` are set last, None removes an element."""
    image = Dataset()
    image.SOPClassUID, image.SOPInstanceUID = (
        CTImageStorage,
        uid("instance", pixels.tobytes(), position, sorted(map(str, changes.items()))),
    )
    image.StudyInstanceUID, image.SeriesInstanceUID, image.FrameOfReferenceUID = (
        uid("study"),
        uid("series"),
        uid("frame"),
    )
    image.PatientName, image.PatientID, image.PatientBirthDate = f"{CANARY}^Jane", f"{CANARY}-17", "19700101"
    image.Modality, image.ImageType = "CT", ["ORIGINAL", "PRIMARY", "AXIAL"]
    image.SeriesDescription = f"thorax {CANARY}"
    image.ImagePositionPatient, image.ImageOrientationPatient = (
        [float(v) for v in position],
        [float(v) for v in orientation],
    )
    image.PixelSpacing, image.SliceThickness, image.InstanceNumber = [0.8, 0.8], 2.5, 1
    image.Rows, image.Columns = pixels.shape[:2]
    image.SamplesPerPixel, image.PhotometricInterpretation = 1, "MONOCHROME2"
    image.BitsAllocated, image.BitsStored, image.HighBit, image.PixelRepresentation = 16, 12, 11, 0
    image.RescaleSlope, image.RescaleIntercept, image.RescaleType = 1, -1024, "HU"
    image.add_new(0x7FE00010, "OW", np.ascontiguousarray(pixels).tobytes())
    return changed(image, **changes)


def radiograph(**changes: Any) -> Dataset:
    """One computed radiograph that does not say where it lies; its spacing is that at the detector."""
    gone = dict.fromkeys(
        (
            "ImagePositionPatient",
            "ImageOrientationPatient",
            "PixelSpacing",
            "SliceThickness",
            "FrameOfReferenceUID",
        )
    )
    sop_class = ComputedRadiographyImageStorage
    return ct_slice(
        phantom()[0],
        **{"Modality": "CR", "SOPClassUID": sop_class, "ImagerPixelSpacing": [0.1, 0.2], **gone, **changes},
    )


def film(n: int = 3) -> Dataset:
    """Frames of ultrasound over time, without a place."""
    made = radiograph(Modality="US", SOPClassUID=UltrasoundMultiFrameImageStorage, NumberOfFrames=n)
    made.add_new(0x7FE00010, "OW", phantom()[:n].tobytes())
    return made


def changed(image: Dataset, **changes: object) -> Dataset:
    for keyword, value in changes.items():
        if value is None:
            delattr(image, keyword)
        else:
            setattr(image, keyword, value)
    return image


def encoded(image: Dataset, syntax: str = ExplicitVRLittleEndian) -> bytes:
    """The bytes of a file."""
    image.file_meta = FileMetaDataset()
    image.file_meta.TransferSyntaxUID = UID(syntax)
    buffer = io.BytesIO()
    dcmwrite(buffer, image, enforce_file_format=True)
    return buffer.getvalue()


def save(path: Path, image: Dataset | bytes, syntax: str = ExplicitVRLittleEndian) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(image if isinstance(image, bytes) else encoded(image, syntax))
    return path


def patched(data: bytes, old: bytes, new: bytes) -> bytes:
    """One place of a file overwritten, its length kept."""
    assert data.count(old) == 1 and len(old) == len(new), (data.count(old), old, new)
    return data.replace(old, new)


def axial(**changes: Any) -> list[Dataset]:
    """The phantom as axial slices, feet first; voxel (i, j, k) lies at LPS (-20 + 0.8 i, -30 + 0.8 j, 5 + 2.5
    k).
    """
    return [
        ct_slice(pixels, (-20, -30, 5 + 2.5 * k), **{"InstanceNumber": k + 1, **changes})
        for k, pixels in enumerate(phantom())
    ]


def sagittal() -> list[Dataset]:
    """The same voxels as sagittal slices, rows from head to feet."""
    made = []
    for i in range(SHAPE[2]):
        pixels = phantom()[::-1, :, i]  # rows: k falling; columns: j
        position = (-20 + 0.8 * i, -30, 5 + 2.5 * (SHAPE[0] - 1))
        made.append(
            ct_slice(
                pixels,
                position,
                (0, 1, 0, 0, 0, -1),
                PixelSpacing=[2.5, 0.8],
                SliceThickness=0.8,
                InstanceNumber=i + 1,
            )
        )
    return made


def mirrored() -> list[Dataset]:
    """The same voxels with rows from right to left and columns from back to front."""
    made = []
    for k, pixels in enumerate(phantom()):
        position = (-20 + 0.8 * (SHAPE[2] - 1), -30 + 0.8 * (SHAPE[1] - 1), 5 + 2.5 * k)
        made.append(ct_slice(pixels[::-1, ::-1], position, (-1, 0, 0, 0, -1, 0), InstanceNumber=SHAPE[0] - k))
    return made


def enhanced(
    order: Sequence[int] = range(SHAPE[0]), slopes: Sequence[float] | None = None, **changes: object
) -> Dataset:
    """The phantom as one enhanced CT; with ``slopes`` frame k is stored as value / slope and says so
    itself.
    """
    frames = phantom()
    stored = [
        frames[k] if slopes is None else np.round(frames[k] / slopes[k]).astype(np.uint16) for k in order
    ]
    image = ct_slice(
        np.stack(stored)[0],
        SOPClassUID=EnhancedCTImageStorage,
        RescaleSlope=None,
        RescaleIntercept=None,
        RescaleType=None,
    )
    for keyword in ("ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing", "SliceThickness"):
        delattr(image, keyword)
    image.NumberOfFrames = len(stored)
    image.add_new(0x7FE00010, "OW", np.stack(stored).tobytes())
    shared, image.PerFrameFunctionalGroupsSequence = (
        Dataset(),
        [frame_groups(k, 1.0 if slopes is None else slopes[k]) for k in order],
    )
    shared.PixelMeasuresSequence, shared.PlaneOrientationSequence = [Dataset()], [Dataset()]
    shared.PixelMeasuresSequence[0].PixelSpacing, shared.PixelMeasuresSequence[0].SliceThickness = (
        [0.8, 0.8],
        2.5,
    )
    shared.PlaneOrientationSequence[0].ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
    image.SharedFunctionalGroupsSequence = [shared]
    return changed(image, **changes)


def frame_groups(k: int, slope: float) -> Dataset:
    groups, place, transform = Dataset(), Dataset(), Dataset()
    place.ImagePositionPatient = [-20, -30, 5 + 2.5 * k]
    transform.RescaleSlope, transform.RescaleIntercept, transform.RescaleType = slope, -1024, "HU"
    groups.PlanePositionSequence, groups.PixelValueTransformationSequence = [place], [transform]
    return groups


def save_all(folder: Path, images: Sequence[Dataset]) -> Path:
    """A series folder, file names in no order."""
    for n, image in enumerate(images):
        save(folder / f"{(n * 7 + 3) % 11:02d}-{n}.dcm", image)
    return folder


class Later:
    """Stands for the module ``datetime`` on another day: what is written must not tell."""

    date, time, timedelta, timezone = clock.date, clock.time, clock.timedelta, clock.timezone

    class datetime(clock.datetime):
        @classmethod
        def now(cls, tz: clock.tzinfo | None = None) -> clock.datetime:  # pyright: ignore[reportIncompatibleMethodOverride]
            return clock.datetime(2031, 5, 6, 7, 8, 9, tzinfo=tz)
