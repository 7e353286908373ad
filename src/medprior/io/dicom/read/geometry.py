"""Where DICOM planes lie in the patient, and whether they make one volume. DICOM's LPS is turned to RAS here
and nowhere else.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

import nibabel.orientations as orient
import numpy as np
from numpy.typing import NDArray

from ....errors import BadGeometry
from .open import Header
from .pixels import Rescale

__all__ = [
    "Plane",
    "PlaneLayout",
    "affine_2d",
    "affine_3d",
    "along_of",
    "canonical",
    "clusters",
    "even",
    "orthonormal_plane",
    "without_holes",
]

_LPS_TO_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])


@dataclass(frozen=True, slots=True)
class Plane:
    """One 2-D image: a file, a frame of one, or a tile of a mosaic. position, orientation, spacing are
    DICOM's (LPS mm); None when the file does not say.

    told: what tells its volume apart, in the order of ``told.TOLD``. order: instance number and frame. tile:
    first row and column of its part of a mosaic; ``frame`` then counts the tiles.
    """

    header: Header
    frame: int
    shape: tuple[int, int]
    position: tuple[float, ...] | None
    orientation: tuple[float, ...] | None
    spacing: tuple[float, ...] | None
    thickness: float | None
    rescale: Rescale
    rescale_type: str | None
    told: tuple[str, ...]
    localizer: bool
    uid: str
    order: tuple[int, int]
    tile: tuple[int, int] | None = None

    @property
    def normal(self) -> NDArray[np.float64]:
        """Unit vector out of the plane: row direction x column direction."""
        cosines = np.asarray(self.orientation)
        return np.cross(cosines[:3], cosines[3:])


@dataclass(frozen=True, slots=True)
class PlaneLayout:
    """How (slice, row, column) becomes canonical (i, j, k): ``axes[n]`` is the source of axis n, ``flips[n]``
    whether it runs backwards.
    """

    axes: tuple[int, ...]
    flips: tuple[bool, ...]


def orthonormal_plane(plane: Plane) -> Plane:
    """The plane with exactly orthonormal directions (three decimals in a header must not shear the grid); a
    spacing of 0 means unknown.

    Raises BadGeometry when the directions are not nearly orthonormal or a spacing is negative.
    """
    path = plane.header.path
    if plane.spacing is not None and min(plane.spacing) <= 0:
        if min(plane.spacing) < 0:
            raise BadGeometry(path, f"pixel spacing {plane.spacing} is negative")
        plane = replace(plane, spacing=None)
    if plane.orientation is None:
        return plane
    orthonormal = _orthonormal(plane.orientation)
    if orthonormal is None:
        raise BadGeometry(
            path, f"direction cosines {tuple(round(v, 4) for v in plane.orientation)} are not orthonormal"
        )
    return plane if orthonormal == plane.orientation else replace(plane, orientation=orthonormal)


@lru_cache(maxsize=256)
def _orthonormal(cosines: tuple[float, ...]) -> tuple[float, ...] | None:
    """Row and column direction at right angles and of length 1; None when they are more than 1 % off."""
    row, column = np.asarray(cosines[:3]), np.asarray(cosines[3:])
    lengths = np.linalg.norm(row), np.linalg.norm(column)
    if not (abs(lengths[0] - 1) <= 1e-2 and abs(lengths[1] - 1) <= 1e-2 and abs(row @ column) <= 1e-2):
        return None
    row = row / lengths[0]
    column = column - (column @ row) * row
    return (*row.tolist(), *(column / np.linalg.norm(column)).tolist())


def affine_2d(plane: Plane) -> NDArray[np.float64] | None:
    """(row, column, normal) -> RAS mm of one image, None when its file does not say where it lies.

    The third column is normal x thickness; an unknown thickness leaves it 1 mm long, and no spacing is
    claimed from it.
    """
    if plane.position is None or plane.orientation is None or plane.spacing is None:
        return None
    affine = np.eye(4)
    affine[:3, 0] = np.asarray(plane.orientation[3:]) * plane.spacing[0]
    affine[:3, 1] = np.asarray(plane.orientation[:3]) * plane.spacing[1]
    affine[:3, 2] = plane.normal * (plane.thickness or 1.0)
    affine[:3, 3] = plane.position
    return _LPS_TO_RAS @ affine


def affine_3d(planes: Sequence[Plane]) -> NDArray[np.float64]:
    """(slice, row, column) -> RAS mm of planes in order."""
    first, last = np.asarray(planes[0].position), np.asarray(planes[-1].position)
    flat = affine_2d(planes[0])
    if flat is None:
        raise BadGeometry(planes[0].header.path, "does not say where it lies")
    affine = np.eye(4)
    affine[:3, 0] = _LPS_TO_RAS[:3, :3] @ ((last - first) / (len(planes) - 1))
    affine[:3, 1:3] = flat[:3, :2]
    affine[:3, 3] = flat[:3, 3]
    return affine


def canonical(affine: NDArray[np.float64], shape: Sequence[int]) -> tuple[PlaneLayout, NDArray[np.float64]]:
    """How to turn (slice, row, column) to the closest canonical RAS+, and the affine after the turn."""
    ornt = orient.io_orientation(affine)
    axes = tuple(int(a) for a in np.argsort(ornt[:, 0]))
    flips = tuple(bool(ornt[a, 1] < 0) for a in axes)
    return PlaneLayout(axes, flips), affine @ orient.inv_ornt_aff(ornt, tuple(shape))


def along_of(planes: Sequence[Plane], reference: Plane | None = None) -> NDArray[np.float64]:
    """Millimetres of each plane along the normal of ``reference`` (default: of the first)."""
    return np.array([p.position or () for p in planes], dtype=np.float64) @ (reference or planes[0]).normal


def clusters(values: NDArray[np.float64], apart: float) -> NDArray[np.int64]:
    """The place of each value among those that are more than ``apart`` away from each other, 0 the lowest."""
    order = np.argsort(values, kind="stable")
    found = np.empty(len(values), np.int64)
    found[order] = np.concatenate([[0], np.cumsum(np.diff(values[order]) > apart)])
    return found


def even(heights: NDArray[np.float64]) -> bool:
    """Whether sorted heights lie evenly: each within 0.01 mm or 1 % of the step of its place."""
    if len(heights) < 3:
        return True
    ideal = np.linspace(heights[0], heights[-1], len(heights))
    step = float(np.median(np.diff(heights)))
    return bool(np.abs(heights - ideal).max() <= max(0.01, 0.01 * step))


def without_holes(planes: Sequence[Plane]) -> bool:
    """Whether the instance numbers (or frames) of the planes follow each other, so that none is missing."""
    files = {plane.order[0] for plane in planes}
    numbers = sorted(plane.order[1 if len(files) == 1 else 0] for plane in planes)
    return all(b - a == 1 for a, b in zip(numbers, numbers[1:], strict=False))
