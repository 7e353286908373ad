"""The volumes of one series: planes of one grid, told apart where they lie at the same places (echoes,
b-values and directions, time points) or in stacks of their own.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from .geometry import Plane, along_of, clusters, even, without_holes
from .stacking import APART, without_copies
from .told import TOLD

__all__ = ["PlaneStack", "group_stacks"]

_COSINES = 1e-3
_MOST_STACKS = 64
"""A plane is compared with so many stacks: thousands of directions in one series are no volume, and must not
take hours to say so.
"""
_ALIKE = 0.97
"""Cosine of the angle (14 degrees) by which a slice may be turned and still be meant as one of a stack."""
_BESIDE = 1.0
"""Millimetres in the plane from which on two slices at one height lie beside each other."""
_KINDS = {
    "M": "magnitude", "P": "phase", "R": "real", "I": "imaginary", "MAGNITUDE": "magnitude",
    "PHASE": "phase", "REAL": "real", "IMAGINARY": "imaginary", "ADC": "adc", "FA": "fa",
    "TRACEW": "trace", "TRACE": "trace", "PHASE MAP": "phase", "MIXED": "mixed", "0": "magnitude",
    "1": "phase", "2": "real", "3": "imaginary", "W": "water", "WATER": "water", "F": "fat", "FAT": "fat",
    "IP": "in", "IN_PHASE": "in", "OP": "out", "OPP_PHASE": "out", "OUT_PHASE": "out",
}  # fmt: skip
"""Terms of Image Type (and GE's number of it) that a name may hold: others may be typed by hand."""
_SHORT = {
    "echo": "echo", "te": "te", "b": "b", "inversion": "ti", "flip": "flip", "phase": "phase",
    "trigger": "trigger", "label": "label", "time": "t", "acquisition": "acq", "stack": "stack", "kv": "kv",
    "tr": "tr",
}  # fmt: skip
"""What a volume's name says of a fact, before its number."""
_RANKED = {
    "direction": "d", "kind": "kind", "comment": "kind", "option": "kind", "kernel": "kernel",
    "beside": "side",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class PlaneStack:
    """Planes that make one volume.

    grid: number of its grid in the series. name: of the volume on it. Both are "" where there is only one.
    lacks: places at which the other volumes have a slice and this one has none. misfit: what is said of a
    slice on another grid that lies in a hole of this one, or "".
    """

    planes: list[Plane]
    grid: str = ""
    name: str = ""
    lacks: int = 0
    misfit: str = ""


def group_stacks(planes: Iterable[Plane]) -> list[PlaneStack]:
    """The volumes among the planes of one series, in the order of their first slices' instance numbers.

    Planes of one volume have the same size, direction, spacing and purpose. A plane that does not say where
    it lies (a radiograph) stays alone.
    """
    grids = _grids(planes)
    if len(grids) == 1:
        return _volumes(grids[0])
    return [
        replace(stack, grid=str(n), misfit=_misfit(stack.planes, grids))
        for n, grid in enumerate(grids, 1)
        for stack in _volumes(grid)
    ]


def _misfit(planes: Sequence[Plane], grids: Sequence[Sequence[Plane]]) -> str:
    """What keeps the slice of a smaller grid, which lies in a hole of these, from being one of them; "" where
    there is none.
    """
    first = planes[0]
    if len(planes) < 3 or first.position is None or first.orientation is None:
        return ""
    heights = np.unique(along_of(planes))
    steps = np.diff(heights)
    holes = np.flatnonzero(steps > 1.5 * np.median(steps))
    strangers = [plane for grid in grids if 2 * len(grid) < len(planes) for plane in grid]
    for plane in strangers if len(holes) else ():
        if plane.position is None or plane.orientation is None or plane.localizer != first.localizer:
            continue
        height, cosine = along_of([plane], first)[0], float(plane.normal @ first.normal)
        if cosine > _ALIKE and any(heights[n] < height < heights[n + 1] for n in holes):
            return f"slice {plane.header.path.name} {_difference(plane, first)}"
    return ""


def _difference(one: Plane, other: Plane) -> str:
    """How a slice differs from the others."""
    if one.shape != other.shape:
        (rows, columns), (usual, wide) = one.shape, other.shape
        return f"has {rows} x {columns} pixels where the others have {usual} x {wide}"
    if not _same(one.orientation, other.orientation, _COSINES, False):
        turn = np.asarray(one.orientation).reshape(2, 3) @ np.asarray(other.orientation).reshape(2, 3).T
        degrees = float(np.degrees(np.arccos(np.clip(np.diag(turn), -1, 1))).max())
        return f"is turned by {degrees:.2f} degrees against the others"
    pixel, usual_pixel = (
        "unknown" if p is None else f"{p[0]:g} x {p[1]:g} mm" for p in (one.spacing, other.spacing)
    )
    return f"has pixels of {pixel} where the others have {usual_pixel}"


def _same(a: Sequence[float] | None, b: Sequence[float] | None, tolerance: float, relative: bool) -> bool:
    if a is None or b is None:
        return a is b
    return all(abs(x - y) <= tolerance * (abs(x) if relative else 1.0) for x, y in zip(a, b, strict=True))


def _grids(planes: Iterable[Plane]) -> list[list[Plane]]:
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
    return found


def _volumes(planes: list[Plane]) -> list[PlaneStack]:
    """Of planes on one grid."""
    if len(planes) < 2 or planes[0].position is None or planes[0].orientation is None:
        return [PlaneStack(planes)]
    at = clusters(along_of(planes), 0.01)
    n_places = int(at.max()) + 1
    if len(planes) > n_places:
        kept, _ = without_copies(planes)
        if len(kept) > n_places:
            return _Sorter(kept, clusters(along_of(kept, planes[0]), 0.01)).volumes()
    return (_apart(planes) if len(planes) == n_places else []) or [PlaneStack(planes)]


class _Sorter:
    """Shares out planes that lie at the same places: a fact splits them where each of its values covers all
    places equally often.
    """

    def __init__(self, planes: list[Plane], at: NDArray[np.int64]) -> None:
        self.planes, self.at = planes, at
        normal, first = planes[0].normal, np.asarray(planes[0].position)
        aside = np.array([p.position for p in planes]) - first
        aside -= np.outer(aside @ normal, normal)
        beside = clusters(aside @ np.asarray(planes[0].orientation).reshape(2, 3).sum(0), _BESIDE)
        self.facts: list[tuple[str, Callable[[int], str]]] = [
            (name, lambda n, k=k: planes[n].told[k]) for k, name in enumerate(TOLD)
        ]
        self.facts.append(("beside", lambda n: str(beside[n])))
        self.ranges = False
        """Whether its volumes reach over places of their own."""

    def volumes(self) -> list[PlaneStack]:
        n_places = int(self.at.max()) + 1
        found = sorted(self.split(list(range(len(self.planes)))), key=lambda leaf: self.order(leaf[1]))
        return [
            PlaneStack(
                [self.planes[n] for n in members],
                "",
                name,
                0 if self.ranges else n_places - len({*self.at[members].tolist()}),
            )
            for name, members in found
        ]

    def order(self, members: Iterable[int]) -> tuple[int, int]:
        return min(self.planes[n].order for n in members)

    def split(self, members: list[int]) -> Iterator[tuple[str, list[int]]]:
        """(name, members) of each volume."""
        if self.often(members) == 1:
            yield "", members
            return
        clocks = [(plane.told[TOLD.index("clock")], 0) for plane in self.planes]
        turns = [("turn", self.by_turn(members, keys)) for keys in ([p.order for p in self.planes], clocks)]
        for name, value in (*self.facts, *turns):
            groups = _grouped(members, value)
            if len(groups) > 1 and self.fits(members, list(groups.values())):
                yield from self.named(name, groups)
                return
        for name, value in self.facts[: TOLD.index("file")]:
            groups = _grouped(members, value)
            if len(groups) > 1 and all(map(self.unbroken, groups.values())):
                self.ranges = True
                yield from self.named(name, groups)
                return
        for name, value in self.facts[: TOLD.index("file")]:
            groups = _grouped(members, value)
            if len(groups) > 1 and self.fits(members, list(groups.values()), fewest=1):
                yield from self.named(name, groups)
                return
        yield "", members

    def named(self, fact: str, groups: dict[str, list[int]]) -> Iterator[tuple[str, list[int]]]:
        """Each group, split further."""
        values = sorted(groups, key=lambda text: (self.order(groups[text]), _rank(text)))
        for word, text in zip(_names(fact, values), values, strict=True):
            for rest, inner in self.split(groups[text]):
                yield "-".join(filter(None, (word, rest))), inner

    def unbroken(self, members: list[int]) -> bool:
        """Whether they have each place of a range of their own once: two phases of a CT need not begin and
        end at one height.
        """
        places = {*self.at[members].tolist()}
        return 1 < len(places) == len(members) == max(places) - min(places) + 1

    def often(self, members: list[int]) -> int:
        """How often each place occurs, 0 where they differ."""
        counts = {*Counter(self.at[members].tolist()).values()}
        return counts.pop() if len(counts) == 1 else 0

    def fits(self, members: list[int], groups: list[list[int]], fewest: int | None = None) -> bool:
        """Whether each group covers all places equally often. A minority may lack some: a series that was
        broken off. fewest: groups that must cover all, if not more than half.
        """
        n_places = len({*self.at[members].tolist()})
        sound = [bool(self.often(group)) and len({*self.at[group].tolist()}) == n_places for group in groups]
        torn = [group for group, fine in zip(groups, sound, strict=True) if not fine]
        enough = len(groups) // 2 + 1 if fewest is None else fewest
        return len(groups) - len(torn) >= enough and all(self.often(group) == 1 for group in torn)

    def by_turn(self, members: list[int], keys: Sequence[tuple[str | int, int]]) -> Callable[[int], str]:
        """The turn of each plane among those at its place, by instance number or clock; "" where these run
        neither volume by volume (of which the last may be broken off) nor place by place.
        """
        by_place: dict[int, list[int]] = {}
        for n in sorted(members, key=lambda n: keys[n]):
            by_place.setdefault(int(self.at[n]), []).append(n)
        rounds = max(map(len, by_place.values()))
        turns = [[there[k] for there in by_place.values() if k < len(there)] for k in range(rounds)]
        whole = all(len(there) == rounds for there in by_place.values())
        if not (_follow(turns, keys) or (whole and _follow(list(by_place.values()), keys))):
            return lambda _: ""
        turn_of = {n: str(turn) for turn, group in enumerate(turns) for n in group}
        return turn_of.__getitem__


def _follow(groups: list[list[int]], keys: Sequence[tuple[str | int, int]]) -> bool:
    """Whether the keys of each group lie wholly before those of the next, and none occurs twice."""
    spans = sorted((min(keys[n] for n in group), max(keys[n] for n in group)) for group in groups)
    once = len({keys[n] for group in groups for n in group}) == sum(map(len, groups))
    return once and all(a[1] < b[0] for a, b in zip(spans, spans[1:], strict=False))


def _grouped(members: Iterable[int], value: Callable[[int], str]) -> dict[str, list[int]]:
    groups: dict[str, list[int]] = {}
    for n in members:
        groups.setdefault(value(n), []).append(n)
    return groups


def _rank(text: str) -> tuple[float, str]:
    """Numbers in their order, then words."""
    number = _number("", text)
    return (np.inf if number is None or np.isnan(number) else number, text)


def _names(fact: str, values: Sequence[str]) -> list[str]:
    """A short word for each value: nothing that somebody typed."""
    ranks = range(1, len(values) + 1)
    if fact == "kind":
        different = [_different(text, values) for text in values]
        words = [_KINDS.get(text, f"kind{n}") for n, text in zip(ranks, different, strict=True)]
    elif fact in _SHORT and all(_number(fact, text) is not None for text in values if text):
        words = [f"{_SHORT[fact]}{_number(fact, text) or 0:g}" for text in values]
    else:
        words = [f"{_RANKED.get(fact, 't')}{n}" for n in ranks]
    return words if len({*words}) == len(words) else [f"{w}.{n}" for n, w in zip(ranks, words, strict=True)]


def _different(text: str, values: Sequence[str]) -> str:
    """The terms of an Image Type that the others have not; where nothing is left, those that all have."""
    common = set.intersection(*({*_terms(one)} for one in values))
    known = [term for term in _terms(text) if term in _KINDS]
    return next((term for term in _terms(text) if term in _KINDS and term not in common), "".join(known[:1]))


def _terms(text: str) -> list[str]:
    return [term.strip().upper() for piece in text.split("|") for term in piece.split("\\")]


def _number(fact: str, text: str) -> float | None:
    try:
        found = float(text.split("|")[0].split("\\")[0])
    except ValueError:
        return None
    return found % 1e9 if fact == "b" and np.isfinite(found) else found  # GE adds 1e9 to some b-values


def _apart(planes: list[Plane]) -> list[PlaneStack]:
    """The stacks of a series in which no place occurs twice and the heights are not even: by the stack or
    acquisition that the file names, or by one wide space across which the instance numbers go on. Empty where
    there are none.
    """
    ordered = [planes[n] for n in np.argsort(along_of(planes), kind="stable")]
    heights = along_of(ordered)
    if even(heights):
        return []
    for name in ("stack", "acquisition"):
        groups: dict[str, list[Plane]] = {}
        for plane in ordered:
            groups.setdefault(plane.told[TOLD.index(name)], []).append(plane)
        spans = sorted((along_of(g, ordered[0])[0], along_of(g, ordered[0])[-1]) for g in groups.values())
        disjoint = all(a[1] < b[0] for a, b in zip(spans, spans[1:], strict=False))
        if len(groups) > 1 and disjoint and all(len(g) > 1 and even(along_of(g)) for g in groups.values()):
            return [
                PlaneStack(g, "", w) for w, g in zip(_names(name, list(groups)), groups.values(), strict=True)
            ]
    steps = np.diff(heights)
    wide = int(steps.argmax())
    halves = ordered[: wide + 1], ordered[wide + 1 :]
    if steps[wide] < APART * float(np.median(steps)) or not without_holes(ordered):
        return []
    if not all(len(half) > 1 and even(along_of(half)) for half in halves):
        return []
    one, other = (float(np.ptp(along_of(half))) / (len(half) - 1) for half in halves)
    alike = abs(one - other) <= max(0.01, 0.01 * one)
    return [PlaneStack(half, "", f"stack{n}") for n, half in enumerate(halves, 1)] if alike else []
