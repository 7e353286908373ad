"""DICOM out: new instances, marked as derived and synthetic, of the class, geometry and unit of what went in
(PS3.3 section C.12.1).
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.filewriter import dcmwrite
from pydicom.uid import UID, ExplicitVRLittleEndian, SecondaryCaptureImageStorage, generate_uid
from pydicom.valuerep import format_number_as_ds

from ....data.volume import Volume
from ....errors import BadGeometry, BadOption, Diverged, FileProblem, ShapeMismatch, optional
from ...disk.files import MANIFEST, write_file, write_folder
from ...disk.limits import Limits
from ...source_order import in_source_order
from ..read.open import Header, dicom_errors, open_dicom, quiet
from ..read.series import AT_THE_DETECTOR
from ..terms import is_defined
from .marks import COPIED_IDENTITY, acquisition, class_for, derived_marks, fictitious_patient
from .multiframe import multiframe
from .rescale import Stored, stored_values

__all__ = ["KINDS", "check_writable", "headers_taken_over", "save_instance", "sources_of", "write_dicom"]

KINDS = {
    "reconstructed": True,
    "healthy twin": True,
    "counterfactual": True,
    "converted": True,
    "map": True,
    "augmented": False,
    "synthesized": False,
}
"""What a volume is, and whether it still is the patient's: then it stays in the study it came from; else
patient and study are fictitious.
"""


def write_dicom(
    volume: Volume,
    path: str | Path,
    *,
    like: Volume | None = None,
    kind: str = "reconstructed",
    prior_hash: str = "",
    seed: int | None = None,
) -> None:
    """An image (1, i, j) as the file ``path``, a volume (1, i, j, k) as a folder of slices, or as one
    multi-frame file where ``path`` ends in .dcm.

    Whole or not at all; the same content, kind, prior and seed give the same bytes. Values are stored in 16
    bits: HU and whole numbers in steps of 1, all else in 65 535 steps; a map as float32 (Parametric Map).
    What the class of the input cannot hold becomes a Secondary Capture. like: the volume that went in; its
    DICOM headers give study, class and technique, its array order is restored. Raises BadOption for an
    unknown kind, ShapeMismatch for channels, BadGeometry for a grid that is not rectangular, Diverged for
    numbers that are not finite, FileProblem when the disk refuses.
    """
    path = Path(path)
    if kind not in KINDS:
        raise BadOption(
            f"kind: DICOM holds one of {', '.join(KINDS)}, got {kind!r}",
            "medprior.write makes a Segmentation of a mask",
        )
    check_writable(volume, path)
    sources = sources_of(like if like is not None else volume)
    volume = in_source_order(volume, like)
    with headers_taken_over(path):
        if kind == "map" and sources and volume.affine is not None:
            optional("highdicom", "dicom", "a DICOM segmentation, map or report")
            from .parametric_map import parametric_map  # highdicom is heavy, and only maps need it

            made = [parametric_map(volume, sources, prior_hash, seed)]
        else:
            made = _instances(volume, sources, kind, prior_hash, seed)
        if volume.ndim == 2 or path.suffix.lower() == ".dcm":
            one = made[0] if len(made) == 1 else multiframe(made)
            write_file(path, lambda temporary: save_instance(one, temporary))
        else:
            write_folder(path, lambda folder: _save_all(made, folder))


@contextmanager
def headers_taken_over(path: Path) -> Iterator[None]:
    """The source's headers hold what its scanner wrote, valid or not: pydicom's warnings about them are no
    news, its refusals are a FileProblem.
    """
    try:
        with quiet():
            yield
    except (ValueError, TypeError, AttributeError, KeyError, OverflowError) as error:
        # its text may quote a name
        reason = f"a header of the source does not fit into the new object ({type(error).__name__})"
        raise FileProblem(path, reason, "write .nii.gz instead, or mend the source") from error


def check_writable(volume: Volume, path: Path) -> None:
    """Raises what ``write_dicom`` raises for a volume that no DICOM object can hold, or a folder that is
    somebody else's.
    """
    if len(volume.data) != 1:
        raise ShapeMismatch("write_dicom", "one channel", volume.data.shape, "write the channels one by one")
    if not np.isfinite(volume.data).all():
        raise Diverged(0, 0.0, "the volume to be written")
    if volume.ndim == 3 and path.is_dir() and any(path.iterdir()) and not (path / MANIFEST).is_file():
        raise FileProblem(
            path,
            "is a folder with other files, which a new series would replace",
            "name a folder that does not exist",
        )
    if volume.affine is not None:
        axes = volume.affine[:3, : volume.ndim] / np.linalg.norm(volume.affine[:3, : volume.ndim], axis=0)
        if np.abs(axes.T @ axes - np.eye(volume.ndim)).max() > 2e-3:
            raise BadGeometry(
                path,
                "the axes of the volume are not at right angles, DICOM slices need that",
                "resample it first",
            )


def sources_of(like: Volume) -> list[Header]:
    """The headers of the files that ``like`` was read from, as far as they are still there."""
    if like.provenance.format != "dicom":
        return []
    found = []
    for path in like.provenance.sources:
        if not path.is_file():
            return []
        with dicom_errors(path):
            found.append(open_dicom(path, Limits()))
    return found


def _instances(
    volume: Volume, sources: Sequence[Header], kind: str, prior_hash: str, seed: int | None
) -> list[Dataset]:
    first = sources[0] if sources else None
    slices = volume.data[0] if volume.ndim == 3 else volume.data
    stored = stored_values(slices, volume.unit)
    sop_class = class_for(volume, first)
    digest = hashlib.sha256(stored.values.tobytes()).hexdigest()
    entropy = [
        digest,
        kind,
        prior_hash,
        str(seed),
        str(None if volume.affine is None else volume.affine.round(6).tolist()),
    ]
    common = _common(volume, first, kind, sop_class, entropy)
    made = [_instance(common, volume, stored, n, entropy) for n in range(len(slices))]
    synthetic = volume.provenance.synthetic or kind not in ("converted", "map")
    for n, instance in enumerate(made):
        origin = sources if len(sources) != len(made) else sources[n : n + 1]
        derived_marks(instance, kind, synthetic, prior_hash, seed, origin if KINDS[kind] else ())
    return made


def _common(volume: Volume, first: Header | None, kind: str, sop_class: UID, entropy: list[str]) -> Dataset:
    """What all slices share."""
    common = Dataset()
    if first is not None and KINDS[kind]:
        source = first.dataset()
        for keyword in COPIED_IDENTITY:
            if keyword in source:
                setattr(common, keyword, source.get(keyword))
        common.StudyInstanceUID = source.get("StudyInstanceUID") or generate_uid(
            entropy_srcs=["study", *entropy]
        )
        description = str(source.get("SeriesDescription") or "")
    else:
        fictitious_patient(common, entropy)
        common.StudyInstanceUID = generate_uid(entropy_srcs=["study", *entropy])
        description = ""
    common.SOPClassUID = sop_class
    common.SeriesInstanceUID = generate_uid(entropy_srcs=["series", *entropy])
    common.SeriesDescription = f"AI {kind} {description}".strip()[:64]
    common.SeriesNumber = 9000 + min(
        int(first.whole("SeriesNumber", 0) or 0) if first is not None and KINDS[kind] else 0, 999
    )
    stated = volume.modality or (first.text("Modality") if first is not None else "")
    common.Modality = stated if is_defined("Modality", stated) else "OT"
    if volume.affine is not None:
        kept = str(first.get("FrameOfReferenceUID") or "") if first is not None and KINDS[kind] else ""
        common.FrameOfReferenceUID = kept or generate_uid(entropy_srcs=["frame of reference", *entropy])
        common.PositionReferenceIndicator = ""
    if volume.affine is None or sop_class == SecondaryCaptureImageStorage:
        told = first.get("PatientOrientation") if first is not None and volume.affine is None else None
        common.PatientOrientation = told if told and is_defined("PatientOrientation", told) else ""
    acquisition(common, first, sop_class, same_patient=KINDS[kind])
    return common


def _instance(common: Dataset, volume: Volume, stored: Stored, n: int, entropy: list[str]) -> Dataset:
    instance = Dataset()
    instance.update(common)
    instance.SOPInstanceUID = generate_uid(entropy_srcs=["instance", str(n), *entropy])
    instance.InstanceNumber = n + 1
    _place(instance, volume, n)
    stored.describe(instance, n)
    return instance


def _ds(value: float) -> str:
    return format_number_as_ds(float(value))


def _place(instance: Dataset, volume: Volume, n: int) -> None:
    """Position, directions and spacing in LPS mm; nothing where nothing is known."""
    row, column = (0, 1) if volume.ndim == 2 else (1, 2)
    if volume.affine is None:
        if volume.spacing_mm is not None:
            where = "ImagerPixelSpacing" if AT_THE_DETECTOR in volume.provenance.warnings else "PixelSpacing"
            setattr(instance, where, [_ds(s) for s in volume.spacing_mm[-2:]])
        return
    lps = np.diag([-1.0, -1.0, 1.0, 1.0]) @ volume.affine
    steps = np.linalg.norm(lps[:3, :3], axis=0)
    directions: NDArray[np.float64] = lps[:3, :3] / steps
    start = lps[:3, 3] + (n * lps[:3, 0] if volume.ndim == 3 else 0)
    instance.ImagePositionPatient = [_ds(v) for v in start]
    instance.ImageOrientationPatient = [_ds(v) for v in (*directions[:, column], *directions[:, row])]
    instance.PixelSpacing = [_ds(steps[row]), _ds(steps[column])]
    through = 2 if volume.ndim == 2 else 0
    if "slice thickness unknown" not in volume.provenance.warnings:
        instance.SliceThickness = _ds(steps[through])
    if volume.ndim == 3:
        instance.SpacingBetweenSlices = _ds(steps[0])


def save_instance(instance: Dataset, path: Path) -> None:
    """The file of one instance, Explicit VR Little Endian unless it names another syntax."""
    instance.preamble = b"\0" * 128  # pyright: ignore[reportAttributeAccessIssue]
    if getattr(instance, "file_meta", None) is None:
        instance.file_meta = FileMetaDataset()
        instance.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dcmwrite(path, instance, implicit_vr=False, little_endian=True, enforce_file_format=True)


def _save_all(made: Sequence[Dataset], folder: Path) -> None:
    if len(made) == 1 and "NumberOfFrames" in made[0]:
        save_instance(made[0], folder / "map.dcm")
        return
    for n, instance in enumerate(made, 1):
        save_instance(instance, folder / f"slice-{n:04d}.dcm")
