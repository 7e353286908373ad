"""Where DICOM planes lie in the patient, and whether they make one volume. DICOM's LPS is turned to RAS here
and nowhere else.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from filecmp import cmp
from functools import lru_cache
from pathlib import Path

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
    "canonical",
    "group_stacks",
    "orthonormal_plane",
    "sort_planes",
]

_LPS_TO_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])
_COSINES = 1e-3
_MOST_STACKS = 64
"""A plane is compared with so many stacks: thousands of directions in one series are no volume, and must not
take hours to say so.
"""
PHASES = (
    "TemporalPositionIdentifier", "TemporalPositionIndex", "AcquisitionNumber", "EchoNumbers", "EchoTime",
    "TriggerTime", "NominalPercentageOfCardiacPhase",
    "DiffusionBValue", "StackID", "AcquisitionTime", "ImageType",
)  # fmt: skip
"""What tells apart the phases of a series in which each position occurs several times."""


@dataclass(frozen=True, slots=True)
class Plane:
    """One 2-D image: a file, or a frame of one. position, orientation, spacing are DICOM's (LPS mm); None
    when the file does not say.
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
    phase: tuple[str, ...]
    localizer: bool
    uid: str
    number: int

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


def _same(a: Sequence[float] | None, b: Sequence[float] | None, tolerance: float, relative: bool) -> bool:
    if a is None or b is None:
        return a is b
    return all(abs(x - y) <= tolerance * (abs(x) if relative else 1.0) for x, y in zip(a, b, strict=True))


def group_stacks(planes: Sequence[Plane]) -> list[list[Plane]]:
    """Planes that could lie in one volume: same size, direction, spacing and purpose; then one list a phase
    where each position occurs equally often.

    A plane that does not say where it lies (a radiograph) stays alone.
    """
    found: list[list[Plane]] = []
    for plane in planes:
        for stack in found[-_MOST_STACKS:] if plane.position is not None else ():
            first = stack[0]
            same = (
                first.shape == plane.shape
                and first.localizer == plane.localizer
                and _same(first.orientation, plane.orientation, _COSINES, False)
            )
            if same and _same(first.spacing, plane.spacing, 1e-2, True) and first.position is not None:
                stack.append(plane)
                break
        else:
            found.append([plane])
    return [phase for stack in found for phase in _phases(stack)]


def _phases(stack: list[Plane]) -> list[list[Plane]]:
    if len(stack) < 4 or stack[0].position is None or stack[0].orientation is None:
        return [stack]
    normal = stack[0].normal
    at = [round(float(np.dot(normal, p.position or ())), 2) for p in stack]
    n_positions = len(set(at))
    if n_positions == len(stack) or len(stack) % n_positions or n_positions < 2:
        return [stack]
    for index in range(len(PHASES)):
        groups: dict[str, list[Plane]] = {}
        places: dict[str, set[float]] = {}
        for plane, place in zip(stack, at, strict=True):
            groups.setdefault(plane.phase[index], []).append(plane)
            places.setdefault(plane.phase[index], set()).add(place)
        if len(groups) > 1 and all(len(g) == len(places[k]) == n_positions for k, g in groups.items()):
            return [groups[k] for k in sorted(groups)]
    return [stack]


def sort_planes(stack: Sequence[Plane]) -> tuple[list[Plane], list[str]]:
    """The planes sorted along their normal, and what was repaired (identical copies are dropped).

    Raises BadGeometry naming the reason: unknown places, duplicates, a gap, a tilt. Tolerance: 1 % of the
    step or 0.01 mm; 1e-3 for directions.
    """
    folder = stack[0].header.path.parent
    for plane in stack:
        missing = [
            n
            for n, v in (
                ("position", plane.position),
                ("orientation", plane.orientation),
                ("pixel spacing", plane.spacing),
            )
            if v is None
        ]
        if missing:
            raise BadGeometry(
                plane.header.path,
                f"does not say its {' and '.join(missing)}, so it cannot be stacked",
                "read its files one by one",
            )
    planes, warnings = _without_copies(stack)
    warnings += _shared_uids(planes)
    normal = planes[0].normal
    planes.sort(key=lambda p: float(np.dot(normal, p.position or ())))
    places = np.array([p.position for p in planes])
    along = places @ normal
    steps = np.diff(along)
    step = float(np.median(steps)) if len(steps) else 0.0
    tolerance = max(0.01, 0.01 * step)
    for n in np.flatnonzero(np.abs(steps) <= 0.01)[:1]:
        names = planes[n].header.path.name, planes[n + 1].header.path.name
        where = f"{names[0]} and {names[1]}, {along[n]:.2f} mm along the normal"
        raise BadGeometry(
            folder,
            f"duplicate: two different slices lie at the same place ({where})",
            "give one phase or echo",
        )
    worst = int(np.argmax(np.abs(steps - step))) if len(steps) else 0
    if len(steps) and abs(steps[worst] - step) > tolerance:
        where = f"{steps[worst]:.3f} mm between slice {worst + 1} and {worst + 2}"
        raise BadGeometry(
            folder, f"gap: slices are {step:.3f} mm apart, but {where}", "add the missing slices"
        )
    _check_straight(folder, places, normal, tolerance)
    return planes, warnings


def _check_straight(
    folder: Path, places: NDArray[np.float64], normal: NDArray[np.float64], tolerance: float
) -> None:
    total = places[-1] - places[0]
    length = float(np.linalg.norm(total))
    if length == 0:
        return
    aside = float(np.linalg.norm(total - (total @ normal) * normal))
    if aside > max(0.01, _COSINES * length):
        degrees = float(np.degrees(np.arcsin(min(1.0, aside / length))))
        reason = f"tilted: the slices are stacked {degrees:.2f} degrees off their normal (gantry tilt)"
        raise BadGeometry(folder, reason, "resample it to an upright grid first")
    ideal = places[0] + np.linspace(0, 1, len(places))[:, None] * total
    off = np.linalg.norm(places - ideal, axis=1)
    if off.max() > max(tolerance, 0.01):
        raise BadGeometry(
            folder, f"slice {int(off.argmax()) + 1} lies {off.max():.3f} mm beside the line of the others"
        )


def _shared_uids(planes: Sequence[Plane]) -> list[str]:
    """A warning where all slices have one SOP Instance UID, as bad anonymisers leave them. Raises BadGeometry
    where some slices that differ share one: one of them belongs to something else.
    """
    files: dict[str, set[Path]] = {}
    for plane in planes:
        files.setdefault(plane.uid, set()).add(plane.header.path)
    shared = next((sorted(paths) for uid, paths in files.items() if uid and len(paths) > 1), None)
    if shared is None:
        return []
    if len(files) == 1:
        return ["all slices have the same SOP Instance UID"]
    raise BadGeometry(
        shared[0].parent,
        f"two different slices have the same SOP Instance UID ({shared[0].name} and {shared[1].name})",
        "leave out the one that does not belong to the series, or export the series again",
    )


def _without_copies(stack: Sequence[Plane]) -> tuple[list[Plane], list[str]]:
    """One of each: the same file exported twice is no second slice. Equal UIDs alone prove nothing: bad
    anonymisers give one to all slices.
    """
    kept: dict[tuple[object, ...], Plane] = {}
    for n, plane in enumerate(stack):
        key = (plane.uid, plane.frame, plane.position)
        other = kept.get(key)
        same = (
            other is not None
            and other.header.size == plane.header.size
            and cmp(other.header.path, plane.header.path, shallow=False)
        )
        if not same:
            kept[key if other is None else (*key, n)] = plane
    n_copies = len(stack) - len(kept)
    return list(kept.values()), [f"{n_copies} copies of slices were left out"] if n_copies else []
