"""What highdicom's objects need to lie beside the scan they speak of: the scan's header made whole, its
planes, our marks, and no clock.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import highdicom
import numpy as np
from highdicom.coding_schemes import CodingSchemeIdentificationItem
from pydicom.datadict import keyword_for_tag
from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset
from pydicom.uid import generate_uid

from .... import __version__
from ....data.volume import Volume
from ..read.open import Header
from .marks import COPIED_IDENTITY, DEMANDED, contributing_equipment, description_of
from .multiframe import NO_DATE

__all__ = ["MAKER", "SCHEME", "coding_schemes", "complete_header", "finalize", "plane_positions"]

MAKER: dict[str, Any] = {
    "manufacturer": "medprior",
    "manufacturer_model_name": "medprior",
    "software_versions": __version__,
    "device_serial_number": "none",
}
"""The equipment, as highdicom's classes want it."""

_ABOUT_PEOPLE = (0x0032, 0x0038, 0x0040)
"""Groups of requests, visits and procedures; those below 0018 hold patient and study."""
_KEPT = {*COPIED_IDENTITY, *DEMANDED, "SOPClassUID", "SOPInstanceUID", "Modality", "ImageType"}

SCHEME = "99MEDPRIOR"
"""Designator of the codes that the standard has no word for."""


def coding_schemes() -> list[CodingSchemeIdentificationItem]:
    """Who answers for our codes."""
    return [CodingSchemeIdentificationItem(SCHEME, name="medprior", responsible_organization="medprior")]


def complete_header(header: Header) -> Dataset:
    """The source's data set with what the class demands where the scanner was silent: empty elements, a frame
    of reference made from its series. Of patient and study it has what our other objects take over, so that
    no class copies more.
    """
    source = header.dataset()
    for tag in list(source.keys()):
        about_people = tag.group < 0x0018 or tag.group in _ABOUT_PEOPLE or tag.is_private
        if about_people and keyword_for_tag(tag) not in _KEPT:
            del source[tag]
    for keyword in DEMANDED:
        if keyword not in source:
            setattr(source, keyword, "")
    source.PositionReferenceIndicator = ""  # free text, which the classes would copy
    if not source.get("FrameOfReferenceUID"):
        source.FrameOfReferenceUID = generate_uid(
            entropy_srcs=["frame of reference", header.text("SeriesInstanceUID")]
        )
    return source


def plane_positions(volume: Volume) -> dict[str, Any]:
    """Measures, directions and positions (LPS mm) of the planes of a volume in source order: (slice, row,
    column), or (row, column) of an image.
    """
    lps = np.diag([-1.0, -1.0, 1.0, 1.0]) @ (volume.affine if volume.affine is not None else np.eye(4))
    row, column, through = (0, 1, 2) if volume.ndim == 2 else (1, 2, 0)
    steps = np.linalg.norm(lps[:3, :3], axis=0)
    directions = lps[:3, :3] / steps
    starts = (
        [lps[:3, 3] + n * lps[:3, 0] for n in range(volume.shape[0])] if volume.ndim == 3 else [lps[:3, 3]]
    )
    return {
        "pixel_measures": highdicom.PixelMeasuresSequence(
            pixel_spacing=(steps[row], steps[column]),
            slice_thickness=steps[through],
            spacing_between_slices=steps[0] if volume.ndim == 3 else None,
        ),
        "plane_orientation": highdicom.PlaneOrientationSequence(
            "PATIENT", (*directions[:, column], *directions[:, row])
        ),
        "plane_positions": [highdicom.PlanePositionSequence("PATIENT", start.tolist()) for start in starts],
    }


def finalize(
    made: Dataset, what: str, synthetic: bool, prior_hash: str, seed: int | None, entropy: Sequence[str]
) -> None:
    """Marks the object, and takes out the hour and the chance that highdicom puts in: the same run gives the
    same bytes.

    The day of the content is that of the study, as in our multi-frame objects.
    """
    made.SyntheticData = "YES" if synthetic else "NO"
    if made.Modality != "SR":
        made.DerivationDescription = description_of(what, prior_hash, seed)[:1024]
    made[0x0018A001] = DataElement(0x0018A001, "SQ", [contributing_equipment(what, prior_hash, seed)])
    for keyword in ("InstanceCreationDate", "InstanceCreationTime"):
        if keyword in made:
            delattr(made, keyword)
    made.ContentDate, made.ContentTime = made.get("StudyDate") or NO_DATE, made.get("StudyTime") or "000000"
    organisation = generate_uid(entropy_srcs=["dimension organization", *entropy])
    for item in (*made.get("DimensionOrganizationSequence", ()), *made.get("DimensionIndexSequence", ())):
        item.DimensionOrganizationUID = organisation
