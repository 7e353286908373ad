"""An anomaly map as a Parametric Map: float32, no scaling, beside the scan it belongs to (PS3.3 section A.75)."""

from __future__ import annotations

from collections.abc import Sequence

import highdicom
import numpy as np
from highdicom.pm import ParametricMap, RealWorldValueMapping
from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset
from pydicom.sr.codedict import codes
from pydicom.uid import ExplicitVRLittleEndian, generate_uid

from .. import __version__
from ..data.volume import Volume
from .dicom_marks import DEMANDED, contributing_equipment, description_of
from .dicom_open import Header

__all__ = ["parametric_map"]


def parametric_map(volume: Volume, sources: Sequence[Header], prior_hash: str, seed: int | None) -> Dataset:
    """The map of ``volume`` (source order, one channel) in the study of ``sources``; Content Qualification is RESEARCH."""
    values = volume.data[0][None] if volume.ndim == 2 else volume.data[0]
    low, high = float(values.min()), float(values.max())
    entropy = [values.tobytes().hex()[:4096], prior_hash, str(seed), str(sources[0].text("SOPInstanceUID"))]
    mapping = RealWorldValueMapping(
        lut_label="score",
        lut_explanation="anomaly score, research use only",
        unit=codes.UCUM.NoUnits,
        value_range=(low, max(high, np.nextafter(np.float32(low), np.float32(np.inf)).item())),
        slope=1.0,
        intercept=0.0,
    )
    lps = np.diag([-1.0, -1.0, 1.0, 1.0]) @ (volume.affine if volume.affine is not None else np.eye(4))
    row, column, through = (0, 1, 2) if volume.ndim == 2 else (1, 2, 0)
    steps = np.linalg.norm(lps[:3, :3], axis=0)
    directions = lps[:3, :3] / steps
    places = [lps[:3, 3] + (n * lps[:3, 0] if volume.ndim == 3 else 0) for n in range(len(values))]
    made = ParametricMap(
        source_images=[_complete(header) for header in sources],
        pixel_array=np.ascontiguousarray(values, np.float32),
        series_instance_uid=generate_uid(entropy_srcs=["map series", *entropy]),
        series_number=9900,
        sop_instance_uid=generate_uid(entropy_srcs=["map", *entropy]),
        instance_number=1,
        manufacturer="medprior",
        manufacturer_model_name="medprior",
        software_versions=__version__,
        device_serial_number="none",
        contains_recognizable_visual_features=False,
        real_world_value_mappings=[mapping],
        voi_lut_transformations=[
            highdicom.VOILUTTransformation(window_center=(low + high) / 2, window_width=max(high - low, 1e-3), voi_lut_function="LINEAR_EXACT")
        ],
        transfer_syntax_uid=ExplicitVRLittleEndian,
        pixel_measures=highdicom.PixelMeasuresSequence(
            pixel_spacing=(steps[row], steps[column]), slice_thickness=steps[through], spacing_between_slices=steps[0] if volume.ndim == 3 else None
        ),
        plane_orientation=highdicom.PlaneOrientationSequence("PATIENT", (*directions[:, column], *directions[:, row])),
        plane_positions=[highdicom.PlanePositionSequence("PATIENT", place.tolist()) for place in places],
        series_description="AI anomaly map",
    )
    made.SyntheticData = "NO" if not volume.provenance.synthetic else "YES"
    made.Laterality = ""
    made.DerivationDescription = description_of("anomaly map", prior_hash, seed)
    made[0x0018A001] = DataElement(0x0018A001, "SQ", [contributing_equipment("anomaly map", prior_hash, seed)])
    return made


def _complete(header: Header) -> Dataset:
    """The source's data set with what the class demands where the scanner was silent: empty elements, a frame of reference made from its series."""
    source = header.dataset()
    for keyword in DEMANDED:
        if keyword not in source:
            setattr(source, keyword, "")
    if not source.get("FrameOfReferenceUID"):
        source.FrameOfReferenceUID = generate_uid(entropy_srcs=["frame of reference", header.text("SeriesInstanceUID")])
    return source
