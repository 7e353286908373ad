"""An anomaly map as a Parametric Map: float32, no scaling, beside the scan it belongs to (PS3.3 section
A.75).
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import highdicom
import numpy as np
from highdicom.pm import ParametricMap, RealWorldValueMapping
from pydicom.dataset import Dataset
from pydicom.sr.codedict import codes
from pydicom.uid import ExplicitVRLittleEndian, generate_uid

from ....data.volume import Volume
from ..read.open import Header
from .highdicom_parts import MAKER, complete_header, finalize, plane_positions

__all__ = ["parametric_map"]


def parametric_map(volume: Volume, sources: Sequence[Header], prior_hash: str, seed: int | None) -> Dataset:
    """The map of ``volume`` (source order, one channel) in the study of ``sources``; Content Qualification is
    RESEARCH.
    """
    values = volume.data[0][None] if volume.ndim == 2 else volume.data[0]
    low, high = float(values.min()), float(values.max())
    entropy = [
        hashlib.sha256(values.tobytes()).hexdigest(),
        prior_hash,
        str(seed),
        *(header.text("SOPInstanceUID") for header in sources),
    ]
    mapping = RealWorldValueMapping(
        lut_label="score",
        lut_explanation="anomaly score, research use only",
        unit=codes.UCUM.NoUnits,
        value_range=(low, max(high, np.nextafter(np.float32(low), np.float32(np.inf)).item())),
        slope=1.0,
        intercept=0.0,
    )
    made = ParametricMap(
        source_images=[complete_header(header) for header in sources],
        pixel_array=np.ascontiguousarray(values, np.float32),
        series_instance_uid=generate_uid(entropy_srcs=["map series", *entropy]),
        series_number=9900,
        sop_instance_uid=generate_uid(entropy_srcs=["map", *entropy]),
        instance_number=1,
        contains_recognizable_visual_features=False,
        real_world_value_mappings=[mapping],
        voi_lut_transformations=[
            highdicom.VOILUTTransformation(
                window_center=(low + high) / 2,
                window_width=max(high - low, 1e-3),
                voi_lut_function="LINEAR_EXACT",
            )
        ],
        transfer_syntax_uid=ExplicitVRLittleEndian,
        series_description="AI anomaly map",
        **plane_positions(volume),
        **MAKER,
    )
    made.Laterality = ""
    finalize(made, "anomaly map", volume.provenance.synthetic, prior_hash, seed, entropy)
    return made
