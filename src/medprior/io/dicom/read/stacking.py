"""Planes in order along their normal, or the true name of what keeps them from making one volume."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from filecmp import cmp
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ....errors import BadGeometry, BadOption
from .geometry import Plane, along_of, even, without_holes

__all__ = ["APART", "ASIS", "Stacking", "sort_planes", "without_copies"]

_STRAIGHT = 1e-3
_ROUNDED = 0.06
"""Millimetres that a position rounded to 0.1 mm may be off."""
_UNEVEN = 0.03
"""Share of the step that a slice may be off its place for the mean step to serve."""
APART = 3.5
"""Steps from which on a space is no gap but parts two stacks."""
_RESAMPLE = "resample=True (--resample)"


@dataclass(frozen=True, slots=True)
class Stacking:
    """How slices become a volume. slices: "3-17", those to take, counted from 1 along the normal. resample:
    interpolate slices that lie unevenly or tilted onto an even, upright grid.
    """

    slices: str | None = None
    resample: bool = False

    def chosen(self, planes: Sequence[Plane]) -> list[Plane]:
        """The planes of the wanted slices. Raises BadOption."""
        if self.slices is None:
            return list(planes)
        found = re.fullmatch(r"\s*([0-9]{1,6})\s*[-:]\s*([0-9]{1,6})\s*", self.slices)
        first, last = (int(found[1]), int(found[2])) if found else (0, 0)
        if not 1 <= first <= last <= len(planes):
            raise BadOption(f"keep_slices: wanted FIRST-LAST within 1-{len(planes)}, got {self.slices!r}")
        return list(planes[first - 1 : last])


ASIS = Stacking()


def sort_planes(stack: Sequence[Plane], how: Stacking = ASIS) -> tuple[list[Plane], list[str]]:
    """The planes sorted along their normal, and what was repaired (identical copies are dropped; where
    positions are rounded, the mean step is taken).

    Raises BadGeometry naming the reason: unknown places, duplicates, a gap, spacing that changes, stacks
    apart, a tilt. Tolerance: 1 % of the step or 0.01 mm; 1e-3 for directions. With ``how.resample`` only
    unknown places and duplicates are refused.
    """
    folder = stack[0].header.path.parent
    for plane in stack:
        _check_placed(plane)
    planes, warnings = without_copies(stack)
    warnings += _shared_uids(planes)
    heights = along_of(planes)
    planes = how.chosen([planes[n] for n in np.argsort(heights, kind="stable")])
    heights = along_of(planes)
    steps = np.diff(heights)
    for n in np.flatnonzero(steps <= 0.01)[:1]:
        names = planes[n].header.path.name, planes[n + 1].header.path.name
        where = f"{names[0]} and {names[1]}, {heights[n]:.2f} mm along the normal"
        raise BadGeometry(
            folder,
            f"duplicate: two different slices lie at the same place ({where}), and nothing in their headers "
            "tells them apart",
            "leave one of them out, or export the series again",
        )
    if how.resample or len(planes) < 2:
        return planes, warnings
    if not even(heights):
        warnings.append(_mean_step(folder, planes, heights))
    _check_straight(folder, planes)
    return planes, warnings


def _check_placed(plane: Plane) -> None:
    said = (
        ("position", plane.position),
        ("orientation", plane.orientation),
        ("pixel spacing", plane.spacing),
    )
    missing = [name for name, value in said if value is None]
    if missing:
        raise BadGeometry(
            plane.header.path,
            f"does not say its {' and '.join(missing)}, so it cannot be stacked",
            "read its files one by one",
        )


def _mean_step(folder: Path, planes: Sequence[Plane], heights: NDArray[np.float64]) -> str:
    """The warning for slices that are nearly even. Raises BadGeometry for others, by what they are."""
    steps = np.diff(heights)
    places = np.arange(len(heights))
    off = float(np.ptp(heights - np.polyval(np.polyfit(places, heights, 1), places))) / 2
    step, mean = float(np.median(steps)), float(np.mean(steps))
    if off <= max(_ROUNDED, _UNEVEN * mean) and off < 0.25 * mean:
        return (
            f"slices lie {steps.min():.3f} to {steps.max():.3f} mm apart, up to {off:.3f} mm off their "
            f"places: the mean step of {mean:.4g} mm was taken"
        )
    raise BadGeometry(folder, *_uneven(planes, steps, step))


def _uneven(planes: Sequence[Plane], steps: NDArray[np.float64], step: float) -> tuple[str, str]:
    """(reason, remedy) of slices that lie unevenly."""
    tolerance, n = max(_ROUNDED, _UNEVEN * step), len(steps)
    changes = [int(at) for at in np.flatnonzero(np.abs(np.diff(steps)) > 2 * tolerance) + 1]
    wide = [int(at) for at in np.flatnonzero(steps > step + 2 * tolerance)]
    if len(changes) == 1 and 2 <= changes[0] <= n - 2:
        at = changes[0] + 1
        reason = (
            f"spacing changes once: {steps[: at - 1].mean():.3f} mm up to slice {at}, "
            f"{steps[at - 1 :].mean():.3f} mm from there on"
        )
        return reason, f"choose keep_slices='1-{at}' or '{at}-{n + 1}' (--keep-slices), or {_RESAMPLE}"
    parts = _parts(wide, n + 1) if wide else []
    choose = (
        f"choose keep_slices={' or '.join(map(repr, parts))} (--keep-slices)"
        if parts
        else "choose slices (--keep-slices)"
    )
    widest = wide[int(np.argmax(steps[wide]))] if wide else int(np.argmax(np.abs(steps - step)))
    where = f"{steps[widest]:.3f} mm between slice {widest + 1} and {widest + 2}"
    times = steps[wide] / step
    if wide and not without_holes(planes) and np.abs(times - np.round(times)).max() <= 0.1:
        lost = int(np.round(times).sum()) - len(wide)
        reason = (
            f"gap: slices are {step:.3f} mm apart, but {where}: {lost} {'is' if lost == 1 else 'are'} missing"
        )
        return reason, f"add the missing slices, {choose}, or {_RESAMPLE}"
    if len(wide) == 1 and len(changes) <= 2:
        kind = "a slice apart" if min(wide[0] + 1, n - wide[0]) == 1 else "two stacks"
        kind = "gap, though the slices are numbered without one" if times[0] < APART else kind
        return f"{kind}: slices are {step:.3f} mm apart, but {where}", f"{choose}, or {_RESAMPLE}"
    reason = f"uneven: slices lie {steps.min():.3f} to {steps.max():.3f} mm apart ({where})"
    return reason, f"{choose}, or {_RESAMPLE}"


def _parts(wide: Sequence[int], n: int) -> list[str]:
    """The longest runs of slices between wide steps, as ``slices`` takes them."""
    ends = [0, *(at + 1 for at in wide), n]
    runs = [(b - a, a) for a, b in zip(ends, ends[1:], strict=False) if b - a > 1]
    return [
        f"{a + 1}-{a + length}" for length, a in sorted(sorted(runs, reverse=True)[:2], key=lambda r: r[1])
    ]


def _check_straight(folder: Path, planes: Sequence[Plane]) -> None:
    places, normal = np.array([p.position for p in planes]), planes[0].normal
    total = places[-1] - places[0]
    length = float(np.linalg.norm(total))
    aside = float(np.linalg.norm(total - (total @ normal) * normal))
    if aside > max(0.01, _STRAIGHT * length):
        degrees = float(np.degrees(np.arcsin(min(1.0, aside / length))))
        reason = f"tilted: the slices are stacked {degrees:.2f} degrees off their normal (gantry tilt)"
        raise BadGeometry(folder, reason, f"{_RESAMPLE} makes it upright")
    off = places - places[0]
    off = off - np.outer(off @ total, total) / length**2
    beside = np.linalg.norm(off, axis=1)
    if beside.max() > max(_ROUNDED * 2**0.5, 0.01 * length / (len(planes) - 1)):
        n = int(beside.argmax()) + 1
        raise BadGeometry(
            folder,
            f"slice {n} lies {beside.max():.3f} mm beside the line of the others",
            f"choose slices (--keep-slices), or {_RESAMPLE}",
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


def without_copies(stack: Sequence[Plane]) -> tuple[list[Plane], list[str]]:
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
