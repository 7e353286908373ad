"""Mosaics taken apart: Siemens and UIH write all slices of an echo-planar volume as tiles of one picture.

Where the slices lie follows from private elements alone: Siemens' CSA header (read by nibabel; its geometry:
https://nipy.org/nibabel/dicom/dicom_mosaic.html), UIH's sequence of frames. A mosaic without them is refused:
a picture of many small heads is no slice of one head.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import replace
from io import BytesIO
from math import ceil, sqrt

import numpy as np
from numpy.typing import NDArray
from pydicom.charset import default_encoding
from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset
from pydicom.filereader import read_sequence

from ....errors import BadGeometry, Corrupt
from .geometry import Plane, orthonormal_plane
from .open import Header
from .told import TOLD

__all__ = ["tiles_of"]

_SIEMENS, _CSA, _UIH = "SIEMENS MR HEADER", "SIEMENS CSA HEADER", "Image Private Header"
_MOST = 1024
_UNKNOWN = "export it with its private elements, or as single slices"


def tiles_of(plane: Plane) -> list[Plane]:
    """The slices of a mosaic as planes, none where the file is no mosaic.

    Raises BadGeometry for a mosaic that does not say where its slices lie, Corrupt for one that contradicts
    itself.
    """
    header = plane.header
    uih = header.private(0x0065, _UIH, 0x50)
    if "MOSAIC" in header.texts("ImageType") and uih is None:
        return _siemens(plane)
    if uih is not None and (n := _whole(uih)) is not None and n > 1:
        return _uih(plane, n)
    return []


def _whole(value: bytes) -> int | None:
    text = value.decode("latin-1").strip(" \0")
    return int(float(text)) if text.replace(".", "", 1).isdigit() else None


def _siemens(plane: Plane) -> list[Plane]:
    found = plane.header.private(0x0029, _CSA, 0x10)
    if found is None:
        raise _refused(plane, "a Siemens mosaic without its CSA header")
    tags = _csa(plane.header, found)
    number, normal = _numbers(tags, "NumberOfImagesInMosaic"), _numbers(tags, "SliceNormalVector")
    if not number or not 1 <= number[0] <= _MOST or len(normal) != 3:
        raise _refused(
            plane, "a Siemens mosaic whose CSA header does not say the number of its slices or their normal"
        )
    if plane.position is None or plane.orientation is None or plane.spacing is None:
        raise _refused(plane, "a Siemens mosaic without position, orientation or pixel spacing")
    step = plane.header.numbers("SpacingBetweenSlices", 1) or plane.header.numbers("SliceThickness", 1)
    if not step or step[0] <= 0:
        raise _refused(plane, "a Siemens mosaic without the distance of its slices")
    n = int(number[0])
    side = ceil(sqrt(n))
    plane = orthonormal_plane(plane)
    if plane.position is None or plane.orientation is None or plane.spacing is None:
        raise _refused(plane, "a Siemens mosaic without pixel spacing")
    row, column = np.asarray(plane.orientation[:3]), np.asarray(plane.orientation[3:])
    shape = _tile_shape(plane, side)
    # the stated position centres the whole mosaic where the slice lies
    corner = (
        np.asarray(plane.position)
        + column * plane.spacing[0] * (plane.shape[0] - shape[0]) / 2
        + row * plane.spacing[1] * (plane.shape[1] - shape[1]) / 2
    )
    along = plane.normal * float(np.sign(plane.normal @ normal) or 1.0)
    return _tiles(plane, shape, side, [corner + k * step[0] * along for k in range(n)])


def _csa(header: Header, content: bytes) -> dict[str, dict]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # nibabel warns that its DICOM readers are new
        from nibabel.nicom.csareader import CSAReadError, read
    try:
        return read(content)["tags"]
    except (
        CSAReadError,
        AssertionError,
        ValueError,
        KeyError,
        TypeError,
        IndexError,
        OverflowError,
        UnboundLocalError,  # nibabel on an old header of one tag
    ) as error:
        raise Corrupt(header.path, "its Siemens CSA header is damaged", _UNKNOWN) from error


def _numbers(tags: dict[str, dict], name: str) -> list[float]:
    items = tags.get(name, {}).get("items") or []
    return [float(v) for v in items if isinstance(v, int | float) and np.isfinite(v)]


def _uih(plane: Plane, n: int) -> list[Plane]:
    """Each item of the MR VFrame Sequence says where one tile lies."""
    header = plane.header
    blocks = header.private_blocks(0x0065, _UIH)
    found = next((header.dataset().get((0x0065, block << 8 | 0x51)) for block in blocks), None)
    places = [one.get("ImagePositionPatient") for one in _items(found)]
    if len(places) != n or not all(place is not None and len(place) == 3 for place in places) or n > _MOST:
        raise _refused(plane, f"a UIH mosaic of {n} slices that does not say where they lie")
    side = ceil(sqrt(n))
    return _tiles(
        plane, _tile_shape(plane, side), side, [np.array([float(v) for v in one]) for one in places]
    )


def _items(element: DataElement | None) -> Sequence[Dataset]:
    """Of a private sequence; Implicit VR does not say that it is one (PS3.5 section 7.8.1)."""
    if element is None or element.VR not in ("SQ", "UN"):
        return ()
    if element.VR == "SQ" or not isinstance(element.value, bytes):
        return element.value or ()
    try:
        return list(read_sequence(BytesIO(element.value), True, True, len(element.value), default_encoding))
    except Exception:  # bytes that are no sequence, in whatever way
        return ()


def _tile_shape(plane: Plane, side: int) -> tuple[int, int]:
    rows, columns = plane.shape
    if rows % side or columns % side:
        raise Corrupt(
            plane.header.path,
            f"a mosaic of {rows} x {columns} pixels cannot hold {side} x {side} equal tiles",
        )
    return rows // side, columns // side


def _tiles(
    plane: Plane, shape: tuple[int, int], side: int, places: Sequence[NDArray[np.float64]]
) -> list[Plane]:
    told = tuple(plane.uid if name == "file" else text for name, text in zip(TOLD, plane.told, strict=True))
    return [
        replace(
            plane,
            told=told,
            frame=k,
            shape=shape,
            position=tuple(float(v) for v in place),
            order=(plane.order[0], k),
            tile=(k // side * shape[0], k % side * shape[1]),
        )
        for k, place in enumerate(places)
    ]


def _refused(plane: Plane, what: str) -> BadGeometry:
    return BadGeometry(plane.header.path, f"is {what}: its slices cannot be told apart", _UNKNOWN)
