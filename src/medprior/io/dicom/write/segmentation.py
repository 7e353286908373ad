"""Findings as a binary Segmentation beside the scan that they were found in (PS3.3 section A.51)."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path

import highdicom
import numpy as np
from highdicom.seg import SegmentAlgorithmTypeValues, Segmentation, SegmentationTypeValues, SegmentDescription
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.sr.codedict import codes
from pydicom.sr.coding import Code
from pydicom.uid import ExplicitVRLittleEndian, generate_uid

from .... import __version__
from ....data.volume import Volume
from ....errors import BadGeometry, BadOption, FileProblem, ShapeMismatch, Unsupported
from ...disk.files import write_file, write_folder
from ...disk.stamp import RESEARCH_ONLY
from ...source_order import in_source_order
from ..read.open import Header
from .highdicom_parts import MAKER, SCHEME, coding_schemes, complete_header, finalize, plane_positions
from .instances import check_writable, headers_taken_over, save_instance, sources_of

__all__ = [
    "FILE",
    "MOST_SEGMENTS",
    "TAUGHT",
    "UNLIKE_HEALTHY",
    "finding_name",
    "segmentation",
    "sources_beside",
    "write_segmentation",
]

MOST_SEGMENTS = 64
"""Above it all findings share one segment: every segment has its own frames, and viewers list them one by
one.
"""

FILE = "segmentation.dcm"
"""The file in the folder of a segmentation."""

UNLIKE_HEALTHY = Code("unlike-healthy", SCHEME, "Region unlike healthy scans")
"""What a finding is: no code of the standard's says so little, and lesion or neoplasm would be a
diagnosis.
"""


TAUGHT = Code("taught-structure", SCHEME, "Structure that masks have taught")
"""What a segment of a segmenter is: only its teacher knows the anatomy."""


def finding_name(number: int) -> str:
    """Segment Label and Tracking ID of a finding; the report finds its segment by it."""
    return f"finding {number}"


def write_segmentation(
    mask: Volume,
    path: str | Path,
    *,
    like: Volume | None = None,
    prior_hash: str = "",
    seed: int | None = None,
    structures: bool = False,
) -> None:
    """The findings of ``mask`` as one binary Segmentation: the file ``path`` where it ends in .dcm, else the
    folder ``path`` with one file.

    mask: (1, i, j) or (1, i, j, k), unit "label": 0 background, each other whole number a finding. One
    segment a finding, named ``finding <number>``; above MOST_SEGMENTS one segment for all. like: the scan
    that it was found in, read from DICOM (default: the mask's own source); patient, study, frame of reference
    and geometry are taken from it. structures: they are no findings but what masks have taught. Frames
    without a finding are left out. The same mask, scan, prior and seed give the same bytes. Raises BadOption
    (no label volume, no finding in it, a scan that is not from DICOM), ShapeMismatch and BadGeometry (not
    the grid of the scan; a volume without a position). Also Unsupported (one frame of a film without a
    position), FileProblem (the scan's files are gone, their headers do not fit, the disk refuses).
    """
    path, like = Path(path), like if like is not None else mask
    sources = sources_beside(like, path)
    check_writable(mask, path)
    _same_grid(mask, like, path)
    if mask.affine is None and (mask.ndim == 3 or (sources[0].whole("NumberOfFrames", 1) or 1) > 1):
        kind = BadGeometry if mask.ndim == 3 else Unsupported
        raise kind(
            path,
            "the scan has several frames and does not say where they lie, a segmentation cannot name its "
            "place",
            "write .nii.gz or .png instead",
        )
    with headers_taken_over(path):
        made = segmentation(in_source_order(mask, like), sources, prior_hash, seed, structures=structures)
        if path.suffix.lower() == ".dcm":
            write_file(path, lambda temporary: save_instance(made, temporary))
        else:
            write_folder(path, lambda folder: save_instance(made, folder / FILE))


def sources_beside(like: Volume, path: Path) -> list[Header]:
    """The headers of the scan that ``path`` is to lie beside. Raises BadOption when it is not from DICOM,
    FileProblem when its files are gone.
    """
    if like.provenance.format != "dicom" or not like.provenance.sources:
        raise BadOption(
            f"like: {path.name} must lie beside a DICOM scan, whose patient, study and place it takes over; "
            f"got one from {like.provenance.format}",
            "write masks as .nii.gz or .png, numbers as .json",
        )
    found = sources_of(like)
    if not found:
        raise FileProblem(
            path,
            "the DICOM files of its scan are no longer where they were read",
            "put them back, or write .nii.gz instead",
        )
    return found


def segmentation(
    mask: Volume, sources: Sequence[Header], prior_hash: str, seed: int | None, *, structures: bool = False
) -> Dataset:
    """The segmentation of ``mask`` (source order, one channel, on the grid of ``sources``) in their study.
    Raises BadOption as ``write_segmentation``.
    """
    values = mask.data[0][None] if mask.ndim == 2 else mask.data[0]
    numbers = _numbers(mask)
    joint = len(numbers) > MOST_SEGMENTS
    segments = (
        (values > 0).astype(np.uint8) if joint else np.searchsorted([0, *numbers], values).astype(np.uint8)
    )
    place = "" if mask.affine is None else str(mask.affine.round(6).tolist())
    digest = hashlib.sha256(np.ascontiguousarray(values).tobytes()).hexdigest()
    entropy = [
        digest,
        str(values.shape),
        place,
        prior_hash,
        str(seed),
        *(header.text("SOPInstanceUID") for header in sources),
    ]
    what = "structures" if structures else "findings"
    names = [finding_name(number).replace("finding", what[:-1]) for number in numbers]
    names = [f"all {len(numbers)} {what}"] if joint else names
    made = Segmentation(
        source_images=[complete_header(header) for header in sources],
        pixel_array=segments,
        segmentation_type=SegmentationTypeValues.BINARY,
        segment_descriptions=[
            _described(n, name, TAUGHT if structures else UNLIKE_HEALTHY, prior_hash, seed, entropy)
            for n, name in enumerate(names, 1)
        ],
        series_instance_uid=generate_uid(entropy_srcs=["segmentation series", *entropy]),
        series_number=9901,
        sop_instance_uid=generate_uid(entropy_srcs=["segmentation", *entropy]),
        instance_number=1,
        content_label=what.upper(),
        content_description=f"AI {what}, {RESEARCH_ONLY}",
        series_description=f"AI {what}",
        transfer_syntax_uid=ExplicitVRLittleEndian,
        coding_schemes=coding_schemes(),
        **(plane_positions(mask) if mask.affine is not None else {}),
        **MAKER,
    )
    if mask.affine is None:
        _unplaced(made)
        made.PatientOrientation = sources[0].get("PatientOrientation") or ""
        if sources[0].get("FrameOfReferenceUID") is None:
            del made.FrameOfReferenceUID, made.PositionReferenceIndicator
    finalize(made, what, mask.provenance.synthetic, prior_hash, seed, entropy)
    return made


def _unplaced(made: Dataset) -> None:
    """Takes out the pixel spacing that highdicom copies without a slice thickness and then refuses to read;
    the image that each frame names has it.
    """
    shared = made.SharedFunctionalGroupsSequence[0]
    if "PixelMeasuresSequence" in shared:
        del shared.PixelMeasuresSequence


def _numbers(mask: Volume) -> list[int]:
    """The findings of a mask, lowest first."""
    if mask.unit != "label":
        raise BadOption(
            f"mask: wanted the unit 'label', got {mask.unit!r}", "write a map of scores with kind='map'"
        )
    found: NDArray[np.float32] = np.unique(mask.data)
    if found[0] < 0 or (found != np.rint(found)).any():
        raise BadOption(
            f"mask: wanted whole numbers from 0, got {found[0]:g} to {found[-1]:g}",
            "0 is background, each other number a finding",
        )
    numbers = [int(value) for value in found if value > 0]
    if not numbers:
        raise BadOption(
            "mask: holds no finding, and a DICOM Segmentation must have at least one segment (PS3.3 section "
            "C.8.20.2)",
            "write no segmentation; the report says that nothing was found",
        )
    return numbers


def _same_grid(mask: Volume, like: Volume, path: Path) -> None:
    if mask.shape != like.shape:
        raise ShapeMismatch(
            "write_segmentation",
            f"the grid of the scan, {like.shape}",
            mask.shape,
            "resample the mask to the scan first",
        )
    if (mask.affine is None) != (like.affine is None):
        raise BadGeometry(
            path,
            "of mask and scan, one says where it lies and the other does not",
            "give the mask the affine of the scan",
        )
    if mask.affine is not None and like.affine is not None and np.abs(mask.affine - like.affine).max() > 1e-3:
        raise BadGeometry(
            path, "the mask does not lie where the scan lies", "resample the mask to the scan first"
        )


def _described(
    n: int, name: str, kind: Code, prior_hash: str, seed: int | None, entropy: Sequence[str]
) -> SegmentDescription:
    algorithm = highdicom.AlgorithmIdentificationSequence(
        name="medprior",
        family=codes.cid7162.ArtificialIntelligence,
        version=__version__,
        source="medprior",
        parameters={"prior": prior_hash or "none", "seed": "none" if seed is None else str(seed)},
    )
    made = SegmentDescription(
        segment_number=n,
        segment_label=name,
        segmented_property_category=codes.cid7150.SpatialAndRelationalConcept,
        segmented_property_type=kind,
        algorithm_type=SegmentAlgorithmTypeValues.AUTOMATIC,
        algorithm_identification=algorithm,
        tracking_id=name,
        tracking_uid=generate_uid(entropy_srcs=["tracking", name, *entropy]),
    )
    made.SegmentDescription = f"AI, {RESEARCH_ONLY}"
    return made
