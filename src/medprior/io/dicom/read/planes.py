"""The planes of one DICOM file: one for a classic image, one a frame for enhanced objects (PS3.3 section
C.7.6.16).
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from pydicom.dataset import Dataset

from ....errors import Corrupt
from .geometry import Plane, orthonormal_plane
from .mosaic import tiles_of
from .open import Header, finite_numbers
from .pixels import PixelFormat, rescale_of
from .told import TOLD, told_by_file, told_by_frame

__all__ = ["planes_of"]

_PLACES = (0x00209057, 0x00200032, 0x00209113, 0x00201041)
"""In-Stack Position Number, Image Position, Plane Position Sequence, Slice Location."""


def planes_of(header: Header, form: PixelFormat) -> list[Plane]:
    """Every frame with its place, spacing and rescale. Raises Corrupt, BadGeometry."""
    if 0x52009230 in header.skeleton.elements or 0x52009229 in header.skeleton.elements:
        found = _enhanced(header, form)
    elif header.text("Modality") == "RTDOSE" and form.n_frames > 1:
        found = _dose(header, form)
    else:
        first = _classic(header, form)
        frames = range(form.n_frames)
        several = len(frames) > 1
        found = [replace(first, frame=n, order=(first.order[0], n)) for n in frames] if several else [first]
        found = found if several else tiles_of(first) or found
    return [orthonormal_plane(plane) for plane in found]


def _classic(header: Header, form: PixelFormat) -> Plane:
    stacked = form.n_frames > 1  # one position cannot serve several frames
    dose = header.get("DoseGridScaling") if header.text("Modality") == "RTDOSE" else None
    thickness = _above_zero(header.numbers("SliceThickness", 1)) or _above_zero(
        header.numbers("SpacingBetweenSlices", 1)
    )
    return Plane(
        header=header,
        frame=0,
        shape=(form.rows, form.columns),
        position=None if stacked else header.numbers("ImagePositionPatient", 3),
        orientation=None if stacked else header.numbers("ImageOrientationPatient", 6),
        spacing=header.numbers("PixelSpacing", 2),
        thickness=thickness,
        rescale=rescale_of(
            header.path,
            dose if dose is not None else header.get("RescaleSlope"),
            header.get("RescaleIntercept"),
        ),
        rescale_type=None,
        told=told_by_file(header),
        localizer="LOCALIZER" in header.texts("ImageType"),
        uid=header.text("SOPInstanceUID"),
        order=(header.whole("InstanceNumber", 0) or 0, 0),
    )


def _above_zero(value: tuple[float, ...] | None) -> float | None:
    return abs(value[0]) if value and value[0] else None


def _dose(header: Header, form: PixelFormat) -> list[Plane]:
    """The frames of a dose grid lie at Grid Frame Offset Vector along the normal (PS3.3 section
    C.8.8.3.2).
    """
    offsets = header.numbers("GridFrameOffsetVector", form.n_frames)
    position, orientation = (
        header.numbers("ImagePositionPatient", 3),
        header.numbers("ImageOrientationPatient", 6),
    )
    spacing, rescale = (
        header.numbers("PixelSpacing", 2),
        rescale_of(header.path, header.get("DoseGridScaling"), None),
    )
    if offsets is None or position is None or orientation is None:
        raise Corrupt(header.path, "a dose grid that does not say where its frames lie")
    normal = np.cross(orientation[:3], orientation[3:])
    relative = [offset - offsets[0] for offset in offsets]
    places = [tuple(float(v) for v in np.asarray(position) + offset * normal) for offset in relative]
    uid, empty = header.text("SOPInstanceUID"), ("",) * len(TOLD)
    return [
        Plane(
            header,
            n,
            (form.rows, form.columns),
            p,
            orientation,
            spacing,
            None,
            rescale,
            None,
            empty,
            False,
            uid,
            (0, n),
        )
        for n, p in enumerate(places)
    ]


def _enhanced(header: Header, form: PixelFormat) -> list[Plane]:
    source = header.dataset()
    shared_groups = source.get("SharedFunctionalGroupsSequence") or [Dataset()]
    per_frame = source.get("PerFrameFunctionalGroupsSequence") or [Dataset()] * form.n_frames
    if len(per_frame) != form.n_frames:
        raise Corrupt(header.path, f"{form.n_frames} frames, but functional groups for {len(per_frame)}")
    return [_frame(header, form, n, frame, shared_groups[0]) for n, frame in enumerate(per_frame)]


def _frame(header: Header, form: PixelFormat, n: int, frame: Dataset, shared: Dataset) -> Plane:
    path = header.path

    def group(name: str) -> Dataset:
        """A functional group: per frame if it is there, else shared, else empty."""
        items = frame.get(name) or shared.get(name)
        return items[0] if items else Dataset()

    def numbers(where: Dataset, keyword: str, count: int) -> tuple[float, ...] | None:
        value: Any = where.get(keyword)
        return None if value is None or value == "" else finite_numbers(path, keyword, value, count)

    measures, transform = group("PixelMeasuresSequence"), group("PixelValueTransformationSequence")
    kinds = [
        str(v)
        for name in ("CTImageFrameTypeSequence", "MRImageFrameTypeSequence", "PETFrameTypeSequence")
        for v in (group(name).get("FrameType") or ())
    ]
    image_type = kinds or list(header.texts("ImageType"))
    slope, intercept = (transform.get(k, header.get(k)) for k in ("RescaleSlope", "RescaleIntercept"))
    return Plane(
        header=header,
        frame=n,
        shape=(form.rows, form.columns),
        position=numbers(group("PlanePositionSequence"), "ImagePositionPatient", 3),
        orientation=numbers(group("PlaneOrientationSequence"), "ImageOrientationPatient", 6),
        spacing=numbers(measures, "PixelSpacing", 2),
        thickness=_above_zero(numbers(measures, "SliceThickness", 1))
        or _above_zero(numbers(measures, "SpacingBetweenSlices", 1)),
        rescale=rescale_of(path, slope, intercept),
        rescale_type=str(transform.get("RescaleType") or "") if "RescaleIntercept" in transform else None,
        told=told_by_frame(header, group, image_type, _dimensions(header, group("FrameContentSequence"))),
        localizer="LOCALIZER" in image_type,
        uid=header.text("SOPInstanceUID"),
        order=(header.whole("InstanceNumber", 0) or 0, n),
    )


def _dimensions(header: Header, content: Dataset) -> tuple[int, ...]:
    """A frame's Dimension Index Values but those that count places (PS3.3 section C.7.6.17)."""
    values = content.get("DimensionIndexValues")
    if values is None:
        return ()
    pointers = [
        int(one.get("DimensionIndexPointer") or 0) for one in header.get("DimensionIndexSequence") or ()
    ]
    values = [values] if isinstance(values, int) else list(values)
    if len(pointers) != len(values):
        return ()
    return tuple(int(v) for v, tag in zip(values, pointers, strict=True) if tag not in _PLACES)
