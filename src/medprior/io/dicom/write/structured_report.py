"""Scores and findings as a Structured Report beside the scan: TID 1500, from a device, unverified (PS3.3
sections A.35.3 and A.35.13).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from highdicom import sr
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.sr.codedict import codes
from pydicom.sr.coding import Code
from pydicom.uid import SegmentationStorage, generate_uid

from .... import __version__
from ....data.volume import Volume
from ....errors import BadOption, Diverged, FileProblem, ShapeMismatch
from ...disk.files import write_file
from ...disk.limits import Limits
from ...disk.stamp import RESEARCH_ONLY
from ..read.open import Header, dicom_errors, open_dicom
from .highdicom_parts import MAKER, SCHEME, coding_schemes, complete_header, finalize
from .instances import headers_taken_over, save_instance
from .segmentation import FILE, UNLIKE_HEALTHY, finding_name, sources_beside

__all__ = [
    "ANOMALY_SCORE",
    "FLAG_RATES",
    "NO_RESULT",
    "N_HEALTHY",
    "PEAK",
    "P_VALUE",
    "ReportContent",
    "ScoredFinding",
    "structured_report",
    "write_no_result",
    "write_structured_report",
]

ANOMALY_SCORE = Code("anomaly-score", SCHEME, "Anomaly score")
P_VALUE = Code("p-value", SCHEME, "p-value among healthy patients")
N_HEALTHY = Code("n-healthy", SCHEME, "Number of healthy patients")
FLAG_RATES = (
    Code("flag-rate", SCHEME, "Rate of flags among healthy patients"),
    Code("flag-rate-low", SCHEME, "Rate of flags among healthy patients, lower limit at 95 %"),
    Code("flag-rate-high", SCHEME, "Rate of flags among healthy patients, upper limit at 95 %"),
)
NO_RESULT = Code("no-result", SCHEME, "No result can be given")
PEAK = Code("peak", SCHEME, "Highest value of the anomaly map")

_ML = Code("ml", "UCUM", "milliliter")
_PATIENTS = Code("{patients}", "UCUM", "patients")


@dataclass(frozen=True, slots=True)
class ScoredFinding:
    """One finding. number: its value in the mask. size: ml in a volume, mm2 in an image, None where the size
    of a voxel is unknown.

    centre: (x, y, z) mm RAS where the scan says where it lies, else (row, column) of the image, counted from
    0. peak: highest value of the map in it. p_value: among healthy patients; None uncalibrated.
    """

    number: int
    size: float | None
    centre: tuple[float, ...]
    peak: float
    p_value: float | None


@dataclass(frozen=True, slots=True)
class ReportContent:
    """What a report says of a scan. score: of the whole scan, no unit. p_value: among ``n_healthy`` held-out
    healthy patients; None uncalibrated.

    note: why there is no p-value, or what else a reader must know; one sentence, no name or path.
    probabilities: (label, probability) by a classifier; the report then holds them and no anomaly score.
    flag_rate: share of healthy patients that is flagged, with its interval; () where nothing is flagged.
    Without a score the report says that there is no result, and why.
    """

    score: float | None
    p_value: float | None
    n_healthy: int
    findings: tuple[ScoredFinding, ...] = ()
    note: str = ""
    probabilities: tuple[tuple[str, float], ...] = ()
    flag_rate: tuple[float, ...] = ()

    @property
    def kind(self) -> str:
        """What sort of report it is."""
        if self.score is None:
            return "report without a result"
        return "classification report" if self.probabilities else "anomaly report"


def write_structured_report(
    scored: ReportContent,
    path: str | Path,
    *,
    like: Volume,
    segmentation: str | Path | None = None,
    prior_hash: str = "",
    seed: int | None = None,
) -> None:
    """A Comprehensive 3D SR (Comprehensive SR where the scan does not say where it lies) as the file
    ``path``.

    like: the scan, read from DICOM; patient and study are taken from it. segmentation: what
    ``write_segmentation`` has written for it (file or folder): each finding names its segment; where all
    findings share one, the segmentation is listed as evidence only. Whole or not at all; the same input gives
    the same bytes. Raises BadOption (a scan that is not from DICOM, a segmentation of another scan or without
    a finding's segment, two findings of one number). Also ShapeMismatch (a centre of too few numbers),
    Diverged (a number that is not finite), FileProblem.
    """
    path = Path(path)
    sources = sources_beside(like, path)
    _check(scored, like)
    found = None if segmentation is None else _opened(Path(segmentation), sources)
    with headers_taken_over(path):
        made = structured_report(scored, like, sources, found, prior_hash, seed)
        write_file(path, lambda temporary: save_instance(made, temporary))


def write_no_result(reason: str, path: str | Path, scan: Sequence[Path], prior_hash: str = "") -> None:
    """A report in the study of a scan which says that there is no result, and why: a scan that cannot even be
    made a volume has an answer, too.

    reason: one sentence without a name or a path. scan: its DICOM files. Raises FileProblem.
    """
    headers = []
    for file in scan:
        with dicom_errors(file):
            headers.append(open_dicom(file, Limits()))
    like = Volume(np.zeros((1, 1, 1), np.float32))
    with headers_taken_over(Path(path)):
        made = structured_report(
            ReportContent(None, None, 0, (), reason), like, headers, None, prior_hash, None
        )
        write_file(path, lambda temporary: save_instance(made, temporary))


def structured_report(
    scored: ReportContent,
    like: Volume,
    sources: Sequence[Header],
    segmentation: Dataset | None,
    prior_hash: str,
    seed: int | None,
) -> Dataset:
    """The report of ``scored`` in the study of ``sources``. Raises BadOption for a finding without a
    segment.
    """
    images = [complete_header(header) for header in sources]
    entropy = [
        repr(scored),
        prior_hash,
        str(seed),
        *(header.text("SOPInstanceUID") for header in sources),
        "" if segmentation is None else str(segmentation.SOPInstanceUID),
    ]
    algorithm = sr.AlgorithmIdentification(
        "medprior", __version__, [f"prior {prior_hash or 'none'}", f"seed {'none' if seed is None else seed}"]
    )
    groups = [
        _whole(scored, algorithm, entropy),
        *(_group(finding, like, images, segmentation, entropy) for finding in scored.findings),
    ]
    device = sr.DeviceObserverIdentifyingAttributes(
        uid=generate_uid(entropy_srcs=["device", "medprior", __version__]),
        name="medprior",
        manufacturer_name="medprior",
        model_name="medprior",
    )
    tree = sr.MeasurementReport(
        observation_context=sr.ObservationContext(
            observer_device_context=sr.ObserverContext(codes.DCM.Device, device)
        ),
        procedure_reported=codes.SCT.ImagingProcedure,
        imaging_measurements=groups,
    )
    told = sr.TextContentItem(
        codes.DCM.Conclusion, _conclusion(scored, like), sr.RelationshipTypeValues.CONTAINS
    )
    tree[0].ContentSequence.append(told)
    document = sr.ComprehensiveSR if like.affine is None else sr.Comprehensive3DSR
    made = document(
        evidence=images if segmentation is None else [*images, segmentation],
        content=tree[0],
        series_instance_uid=generate_uid(entropy_srcs=["report series", *entropy]),
        series_number=9902,
        sop_instance_uid=generate_uid(entropy_srcs=["report", *entropy]),
        instance_number=1,
        is_complete=True,
        is_final=False,
        is_verified=False,
        series_description=f"AI {scored.kind}",
        coding_schemes=coding_schemes(),
        **MAKER,
    )
    finalize(made, scored.kind, like.provenance.synthetic, prior_hash, seed, entropy)
    return made


def _check(scored: ReportContent, like: Volume) -> None:
    numbers = [finding.number for finding in scored.findings]
    if len(set(numbers)) != len(numbers) or any(number < 1 for number in numbers):
        raise BadOption(f"findings: wanted a number above 0 for each, none twice, got {numbers}")
    wanted = 2 if like.affine is None else 3
    values = [scored.score, scored.p_value, *(p for _, p in scored.probabilities)]
    for finding in scored.findings:
        if len(finding.centre) != wanted:
            raise ShapeMismatch(
                "ScoredFinding.centre", "(x, y, z) mm RAS" if wanted == 3 else "(row, column)", finding.centre
            )
        values += [finding.size, finding.peak, finding.p_value, *finding.centre]
    if not all(math.isfinite(value) for value in values if value is not None):
        raise Diverged(0, 0.0, "the numbers to be reported")


def _opened(path: Path, sources: Sequence[Header]) -> Dataset:
    """The header of the segmentation at ``path``."""
    path = path / FILE if path.is_dir() else path
    if not path.is_file():
        raise FileProblem(path, "no such file")
    with dicom_errors(path):
        found = open_dicom(path, Limits()).dataset()
        if found.get("SOPClassUID") != SegmentationStorage:
            raise BadOption(
                f"segmentation: {path.name} is no DICOM Segmentation",
                "name the file that write_segmentation has made",
            )
        series = {str(item.SeriesInstanceUID) for item in found.get("ReferencedSeriesSequence", ())}
        if (
            found.get("StudyInstanceUID") != sources[0].get("StudyInstanceUID")
            or sources[0].text("SeriesInstanceUID") not in series
        ):
            raise BadOption(
                f"segmentation: {path.name} belongs to another scan",
                "name the one that was made of this scan",
            )
    return found


def _number(name: Code, value: float, unit: Code, **more: Any) -> sr.Measurement:
    return sr.Measurement(name, value if isinstance(value, int) else float(value), unit, **more)


def _whole(
    scored: ReportContent, algorithm: sr.AlgorithmIdentification, entropy: Sequence[str]
) -> sr.MeasurementsAndQualitativeEvaluations:
    """Score, p-value and number of healthy patients. A p-value that nobody has is left out, never made up."""
    if scored.probabilities:
        numbers = [
            _number(_probability_of(n, label), p, codes.UCUM.NoUnits)
            for n, (label, p) in enumerate(scored.probabilities, 1)
        ]
    else:
        given = [(ANOMALY_SCORE, scored.score), (P_VALUE, scored.p_value)]
        given += list(zip(FLAG_RATES, scored.flag_rate, strict=False))
        numbers = [_number(name, value, codes.UCUM.NoUnits) for name, value in given if value is not None]
        if scored.score is not None:
            numbers.append(_number(N_HEALTHY, int(scored.n_healthy), _PATIENTS))
    nothing = sr.QualitativeEvaluation(NO_RESULT, codes.SCT.Yes)
    return sr.MeasurementsAndQualitativeEvaluations(
        tracking_identifier=sr.TrackingIdentifier(
            generate_uid(entropy_srcs=["whole scan", *entropy]), "whole scan"
        ),
        algorithm_id=algorithm,
        measurements=numbers or None,
        qualitative_evaluations=None if numbers else [nothing],
    )


def _probability_of(n: int, label: str) -> Code:
    """A label is a word of the person who learned it, and no code of the standard's."""
    plain = label.encode("ascii", "replace").decode()[:40]
    return Code(f"probability-{n}", SCHEME, f"Probability of {plain}")


def _group(
    finding: ScoredFinding,
    like: Volume,
    images: Sequence[Dataset],
    segmentation: Dataset | None,
    entropy: Sequence[str],
) -> (
    sr.MeasurementsAndQualitativeEvaluations
    | sr.PlanarROIMeasurementsAndQualitativeEvaluations
    | sr.VolumetricROIMeasurementsAndQualitativeEvaluations
):
    """One finding: TID 1411 in a volume, 1410 in an image, where it has a segment of its own; else TID
    1501.
    """
    name = finding_name(finding.number)
    numbers = [_number(PEAK, finding.peak, codes.UCUM.NoUnits)]
    if finding.size is not None:
        what, unit = (
            (codes.SCT.Volume, _ML) if like.ndim == 3 else (codes.SCT.Area, codes.UCUM.SquareMillimeter)
        )
        numbers.insert(0, _number(what, finding.size, unit))
    if finding.p_value is not None:
        numbers.append(_number(P_VALUE, finding.p_value, codes.UCUM.NoUnits))
    segment = None if segmentation is None else _segment(segmentation, name)
    uid = (
        generate_uid(entropy_srcs=["tracking", name, *entropy])
        if segment is None
        else str(segment.TrackingUID)
    )
    common: dict[str, Any] = {
        "tracking_identifier": sr.TrackingIdentifier(uid, name),
        "finding_type": UNLIKE_HEALTHY,
        "measurements": numbers,
    }
    if segmentation is None or segment is None:
        made = sr.MeasurementsAndQualitativeEvaluations(**common)
    elif like.ndim == 3:
        reference = sr.ReferencedSegment(
            SegmentationStorage, segmentation.SOPInstanceUID, int(segment.SegmentNumber), **_drawn_on(images)
        )
        made = sr.VolumetricROIMeasurementsAndQualitativeEvaluations(referenced_segment=reference, **common)
    # an image: each segment has one frame, in their order; the standard wants frame or segment, never both
    # (PS3.3 table 10-3)
    else:
        n, source = int(segment.SegmentNumber), sr.SourceImageForSegmentation.from_source_image(images[0])
        reference = sr.ReferencedSegmentationFrame(
            SegmentationStorage, segmentation.SOPInstanceUID, n, n, source
        )
        del reference[0].ReferencedSOPSequence[0].ReferencedSegmentNumber
        made = sr.PlanarROIMeasurementsAndQualitativeEvaluations(referenced_segment=reference, **common)
    centre = _centre(finding, like, images)
    if centre is not None:
        made[0].ContentSequence.append(centre)
    return made


def _segment(segmentation: Dataset, name: str) -> Dataset | None:
    """The segment of a finding, None where all share one. Not by ReferencedSegment.from_segmentation:
    highdicom 0.28 fails there on a single segment.
    """
    segments = segmentation.SegmentSequence
    named = [item for item in segments if item.get("TrackingID") == name]
    if named:
        return named[0]
    if len(segments) == 1 and str(segments[0].get("TrackingID", "")).startswith("all "):
        return None
    raise BadOption(
        f"segmentation: has no segment for {name}", "give the one that was written with these findings"
    )


def _drawn_on(images: Sequence[Dataset]) -> dict[str, Any]:
    if len(images) == 1:
        return {"source_images": [sr.SourceImageForSegmentation.from_source_image(images[0])]}
    return {"source_series": sr.SourceSeriesForSegmentation(images[0].SeriesInstanceUID)}


def _centre(
    finding: ScoredFinding, like: Volume, images: Sequence[Dataset]
) -> sr.Scoord3DContentItem | sr.ScoordContentItem | None:
    """The centre as a point: LPS mm in the frame of reference of the scan, or (column, row) of its image,
    whose first pixel's middle is (0.5, 0.5).

    None for one frame of a film that lies nowhere: its number is not known here.
    """
    contains = sr.RelationshipTypeValues.CONTAINS
    if like.affine is not None:
        lps: NDArray[np.float64] = np.array([finding.centre], np.float64) * (-1.0, -1.0, 1.0)
        return sr.Scoord3DContentItem(
            codes.DCM.Center,
            sr.GraphicTypeValues3D.POINT,
            lps,
            images[0].FrameOfReferenceUID,
            relationship_type=contains,
        )
    if int(images[0].get("NumberOfFrames") or 1) > 1:
        return None
    row, column = finding.centre
    point = sr.ScoordContentItem(
        codes.DCM.Center,
        sr.GraphicTypeValues.POINT,
        np.array([[column + 0.5, row + 0.5]]),
        relationship_type=contains,
    )
    point.ContentSequence = sr.ContentSequence([sr.SourceImageForRegion.from_source_image(images[0])])
    return point


def _conclusion(scored: ReportContent, like: Volume) -> str:
    """The report in plain words."""
    if scored.probabilities:
        shown = ", ".join(f"{label} {p:.2f}" for label, p in scored.probabilities)
        told = [f"AI, {RESEARCH_ONLY}.", f"{scored.note} Probabilities: {shown}."]
        plain = " ".join([*told, "No person has verified this report."])
        return plain.encode("ascii", "replace").decode()
    if scored.score is None:
        why = scored.note.encode("ascii", "replace").decode().rstrip(".")
        return f"AI, {RESEARCH_ONLY}. No result can be given: {why}. This says nothing about the patient."
    p = "no p-value" if scored.p_value is None else f"p-value {scored.p_value:.3g}"
    told = [
        f"AI, {RESEARCH_ONLY}.",
        f"Anomaly score {scored.score:.3g}, {p}, {scored.n_healthy} held-out healthy patients.",
    ]
    if scored.flag_rate:
        rate, low, high = (100 * share for share in scored.flag_rate)
        told.append(f"Of healthy patients {rate:.1f} % are flagged, too ({low:.1f} to {high:.1f} %).")
    if scored.note:
        told.append(scored.note.encode("ascii", "replace").decode().rstrip(".") + ".")
    if not scored.findings:
        told.append(
            "No region was found that is unlike the healthy scans; this does not mean that the patient is "
            "healthy."
        )
    else:
        told.append(
            f"{len(scored.findings)} region{'s' * (len(scored.findings) > 1)} unlike the healthy scans:"
        )
        told += [_sentence(finding, like) for finding in scored.findings]
    return " ".join([*told, "No person has verified this report."])


def _sentence(finding: ScoredFinding, like: Volume) -> str:
    size = (
        "size unknown" if finding.size is None else f"{finding.size:.3g} {'ml' if like.ndim == 3 else 'mm2'}"
    )
    p = "" if finding.p_value is None else f", p-value {finding.p_value:.3g}"
    if like.affine is None:
        where = "row {:.1f}, column {:.1f} of the image, counted from 1".format(
            *(value + 1 for value in finding.centre)
        )
    else:
        sides = (("right", "left"), ("anterior", "posterior"), ("superior", "inferior"))
        where = (
            ", ".join(
                f"{abs(value):.1f} mm {names[value < 0]}"
                for value, names in zip(finding.centre, sides, strict=True)
            )
            + " of the scan's origin"
        )
    return f"{finding_name(finding.number)}: {size}, {where}, peak {finding.peak:.3g}{p}."
