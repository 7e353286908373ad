"""Is a scan of the kind that was learned at all? Its grey values, detail, layout and orientation, beside
those of healthy scans; no network is asked.

A detector scores whatever it is given: a film upside down, a head for a chest, another reconstruction kernel.
What this looks at hardly changes with disease, but with each of those; it is asked before a score is given.

Orientation is seen in edges, not in greys: which way it gets brighter hardly depends on exposure (histograms
of oriented gradients, Dalal and Triggs, CVPR 2005). A scan is first laid on the mean of the healthy ones, by
shift, size and turn: patients stand differently, and a heart is small.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import product
from typing import Self

import torch
from torch import Tensor
from torch.nn import functional as F

from ..data.affine import affine_places, resampled_at, turns
from ..data.grids import box_mean
from ..data.seeds import generator
from .statistics import HeightGaussian, TensorRecord, resampled_rows

__all__ = ["PARTS", "AcquisitionModel", "Sketch", "describe_part", "sketch"]

PARTS = ("grey values", "sharpness or noise", "layout", "edges", "orientation (is it turned or mirrored?)")
"""What ``AcquisitionModel.parts`` holds, in this order; of the last there is one a symmetry."""

_SMALL, _SIDE, _CELLS = {2: 128, 3: 48}, {2: 32, 3: 24}, {2: 24, 3: 12}
"""Voxels a side of the small copy that edges are looked for in; cells a side of the layout and of the
pattern, and of the edges.
"""
_AROUND = 11
"""Cells across the surroundings that a pattern's cell is compared with."""
_MARGIN = 0.1
"""Share of a side at each border that does not count where a scan is laid on the mean: markers, collimators,
the table.
"""
_REACH = {"shift": 0.12, "zoom": 0.15, "turn": 0.12}
"""Farthest that a scan is moved at first, each way: half sides, ln size, radians; twice more by half as far.
Chosen on val.
"""
_FLAT = 0.3
"""Edges below this share of the mean edge are hardly raised by the normalisation: flat places have no
direction.
"""
_RIDGE = 300.0
"""Ridge of the rules, in mean variances of a cell: so stiff that they follow what all scans share. Chosen on
val, as the sides above.
"""
_EVEN = 0.5
"""Correlation of a pattern with its mirror image from which the body counts as two-sided."""
_FOLDS = 10
_QUANTILES = torch.linspace(0.05, 0.95, 10)


@dataclass(frozen=True, slots=True)
class Sketch:
    """greys: (10,) quantiles in network units. detail: (4,) ln of the power of detail at three scales and of
    the noise. small: (n, n[, n]).

    side: voxels of an image's shortest side, of a volume's longest.
    """

    greys: Tensor
    detail: Tensor
    small: Tensor
    side: int

    @property
    def layout(self) -> Tensor:
        """(32, 32) or (24, 24, 24): means of coarse cells, mean 0, norm 1."""
        cells = _pooled(self.small[None], _SIDE[self.small.ndim])[0]
        return _unit(cells - cells.mean())


def sketch(whole: Tensor) -> Sketch:
    """(C, i, j[, k]) network units -> what is looked at; the first channel speaks for all."""
    x = whole[0].float()
    powers, coarse = [], x
    for width in (3, 5, 9):
        coarser = box_mean(x[None, None], width)[0, 0]
        powers.append((coarse - coarser).square().mean())
        coarse = coarser
    some = x.flatten()[:: max(1, x.numel() // 65536)]
    detail = torch.stack([*powers, _noise(x)]).clamp_min(1e-10).log()
    return Sketch(
        torch.quantile(some, _QUANTILES),
        detail,
        _pooled(x[None], _SMALL[x.ndim])[0],
        min(x.shape) if x.ndim == 2 else max(x.shape),
    )


@dataclass(frozen=True, slots=True)
class AcquisitionModel(TensorRecord):
    """pattern: where healthy scans are bright beside what lies around, the mean; what a scan is laid on.
    layout, edges: their means, as of ``Sketch`` and ``_edges``.

    turns: (n, *edges.shape) linear rules, one for each symmetry, to separate healthy scans from their
    mirrored or turned images. grey_course to detail_white: the Gaussians of grey values and of detail, as of
    ``HeightGaussian``. known: (m, 4 + n), drawn anew from the law of the cross-validated check values of the
    first scan of each of m healthy patients. Ten folds share the registration template. other: (n,), what
    each rule gives for their image under its symmetry, the mean, in the same way.
    """

    pattern: Tensor
    layout: Tensor
    edges: Tensor
    turns: Tensor
    grey_course: Tensor
    grey_white: Tensor
    detail_course: Tensor
    detail_white: Tensor
    known: Tensor
    other: Tensor

    @classmethod
    def fitted(cls, scans: Sequence[Sequence[Sketch]], patients: Sequence[int] | None = None) -> Self:
        """From healthy scans: of each itself, and its variants. patients: the number of each scan's, default
        one each.
        """
        pattern = _even(torch.stack([_pattern(one.small) for scan in scans for one in scan]).mean(0))
        seen = [[_Seen.of(one, pattern, turned=one is scan[0]) for one in scan] for scan in scans]
        whole = cls._of(pattern, seen)
        patients = list(range(len(scans)) if patients is None else patients)
        folds = min(_FOLDS, len(set(patients)))
        known, other = [], []
        for fold in range(folds):
            at = [patient % folds == fold for patient in patients]
            without = cls._of(pattern, [scan for scan, out in zip(seen, at, strict=True) if not out])
            held = [seen[n][0] for n, out in enumerate(at) if out and patients.index(patients[n]) == n]
            known += [without._parts(one) for one in held]
            other += [-(without.turns * one.turned).flatten(1).sum(1) for one in held]
        known = resampled_rows(torch.stack(known), generator(0, "known"))
        return replace(whole, known=known, other=torch.stack(other).mean(0))

    @classmethod
    def _of(cls, pattern: Tensor, scans: Sequence[Sequence[_Seen]]) -> Self:
        seen = [one for scan in scans for one in scan]
        greys, detail = (
            HeightGaussian.fitted(torch.stack([getattr(one, name) for one in seen]))
            for name in ("greys", "detail")
        )
        layout, edges = (
            torch.stack([getattr(one, name) for one in seen]).mean(0) for name in ("layout", "edges")
        )
        apart = torch.stack([scan[0].edges - scan[0].turned for scan in scans]).mean(0)
        turns = _rules(torch.stack([one.edges for one in seen]), apart)
        return cls(
            pattern,
            layout,
            edges,
            turns,
            greys.course,
            greys.white,
            detail.course,
            detail.white,
            torch.zeros(0),
            torch.zeros(0),
        )

    def parts(self, sketch: Sketch) -> Tensor:
        """(4 + n,): how unlike in grey values, detail, layout and edges, and how far each rule goes towards
        the other side; more is worse, see ``known``.
        """
        return self._parts(_Seen.of(sketch, self.pattern, turned=False))

    def _parts(self, seen: _Seen) -> Tensor:
        greys = HeightGaussian(self.grey_course, self.grey_white).distance(seen.greys[None])
        detail = HeightGaussian(self.detail_course, self.detail_white).distance(seen.detail[None])
        unlike = torch.stack([-(seen.layout * self.layout).sum(), -(seen.edges * self.edges).sum()])
        turned = -(self.turns * seen.edges).flatten(1).sum(1)
        return torch.cat([greys, detail, unlike, turned])


def describe_part(number: int) -> str:
    """One of ``AcquisitionModel.parts`` in words."""
    return PARTS[min(number, len(PARTS) - 1)]


@dataclass(frozen=True, slots=True)
class _Seen:
    """A sketch laid on the pattern. edges: as of ``_edges``; turned: (n, *edges.shape), of its images under
    each symmetry, each laid on the pattern, too.
    """

    greys: Tensor
    detail: Tensor
    layout: Tensor
    edges: Tensor
    turned: Tensor

    @classmethod
    def of(cls, sketch: Sketch, pattern: Tensor, *, turned: bool = True) -> Self:
        found = [
            _edges(_laid_on(pattern, x))
            for x in ([sketch.small, *_symmetries(sketch.small)] if turned else [sketch.small])
        ]
        return cls(sketch.greys, sketch.detail, sketch.layout, found[0], torch.stack(found)[1:])


def _even(pattern: Tensor) -> Tensor:
    """Mean of the pattern and of the mirror image that it is most like, where it is like one: a mirrored scan
    is then laid on it just as the scan itself is, so that only what the body has on one side tells them
    apart."""
    mirrored = [pattern.flip(axis) for axis in range(pattern.ndim)]
    alike = [float((_unit(one) * _unit(pattern)).sum()) for one in mirrored]
    return (pattern + mirrored[alike.index(max(alike))]) / 2 if max(alike) > _EVEN else pattern


def _symmetries(x: Tensor) -> list[Tensor]:
    """Mirrored and turned in every way but the one it stands: 7 of an image; of a volume the 7 mirror
    images.
    """
    found = [
        x.flip([a for a, turned in enumerate(chosen) if turned])
        for chosen in product((False, True), repeat=x.ndim)
    ]
    if x.ndim == 2:
        found += [one.T for one in found]
    return found[1:]


def _rules(edges: Tensor, apart: Tensor) -> Tensor:
    """Fisher's linear discriminants between edges (n, ...) and their images, with a ridge: cells are many and
    scans are few.

    apart: (m, ...), the mean difference to each of m images.
    """
    n, shape = len(edges), edges.shape[1:]
    around = (edges - edges.mean(0)).flatten(1).double()
    kernel = around @ around.T / n
    ridge = max(
        1e-9, float(kernel.diagonal().mean()) / around.shape[1] * _RIDGE
    )  # of one scan alone there is no variance
    towards = apart.flatten(1).double().T
    # (C + r I)^-1 v = (v - A' (A A' / n + r I)^-1 A v / n) / r: a system as large as the scans are many, not
    # the cells
    inside = torch.linalg.solve(kernel + ridge * torch.eye(n, dtype=torch.float64), around @ towards / n)
    rules = ((towards - around.T @ inside) / ridge).T
    return (rules / rules.norm(dim=1, keepdim=True).clamp_min(1e-9)).float().reshape(-1, *shape)


def _edges(small: Tensor) -> Tensor:
    """(side, side[, side]) -> (directions, cells, cells[, cells]), norm 1: how strongly it gets brighter
    towards each direction, beside the other directions.

    Directions: 8 in an image; in a volume the 6 along its axes.
    """
    x = box_mean(small[None, None], 3)[0, 0]
    steps = torch.stack(torch.gradient(x))
    if x.ndim == 2:
        angles = torch.arange(8) * math.pi / 4
        size = steps.norm(dim=0)
        towards = (
            steps[0] * angles.cos()[:, None, None] + steps[1] * angles.sin()[:, None, None]
        ) / size.clamp_min(1e-9)
        strength = size * towards.clamp_min(0) ** 4
    else:
        strength = torch.cat([steps, -steps]).clamp_min(0)
    cells = _pooled(strength, _CELLS[x.ndim])
    size = cells.norm(dim=0)
    return _unit(cells / (size + _FLAT * size.mean() + 1e-9))


def _pattern(small: Tensor) -> Tensor:
    """(side, side[, side]) -> coarse cells in local standard deviations beside their surroundings; 0 near the
    border.
    """
    cells = _pooled(small[None], _SIDE[small.ndim])[None]
    mean = box_mean(cells, _AROUND)
    spread = (box_mean(cells.square(), _AROUND) - mean.square()).clamp_min(0).sqrt() + 0.05
    return ((cells - mean) / spread)[0, 0]


def _laid_on(pattern: Tensor, small: Tensor) -> Tensor:
    """The small copy shifted, zoomed and turned so that its pattern correlates best: a search along one
    number after another, each time by half as far.
    """
    n, own = small.ndim, _pattern(small)
    inner = _inner(own.shape)
    wanted = _unit((pattern - pattern[inner > 0].mean()) * inner)
    at = torch.zeros(n + 1 + (1 if n == 2 else 0))
    reach = torch.tensor([_REACH["shift"]] * n + [_REACH["zoom"]] + [_REACH["turn"]] * (len(at) - n - 1))
    for finer in (1.0, 0.5, 0.25, 0.125):
        for number in range(len(at)):
            tried = at.repeat(7, 1)
            tried[:, number] += torch.linspace(-1, 1, 7) * reach[number] * finer
            moved = _moved(own, tried) * inner
            moved = moved - moved.flatten(1).mean(1).reshape(-1, *[1] * n) * inner
            fit = (moved * wanted).flatten(1).sum(1) / moved.flatten(1).norm(dim=1).clamp_min(1e-9) - 0.01 * (
                tried / reach
            ).square().sum(1)
            at = tried[int(fit.argmax())]
    return _moved(small, at[None])[0]


def _inner(shape: Sequence[int]) -> Tensor:
    """1 where a pattern counts, 0 near its border."""
    inner = torch.zeros(*shape)
    inner[tuple(slice(round(_MARGIN * side), side - round(_MARGIN * side)) for side in shape)] = 1
    return inner


def _moved(x: Tensor, by: Tensor) -> Tensor:
    """(side, ...) -> (m, side, ...): by (m, n + 1 or + 2): shifts, ln size, and of an image the turn."""
    n, m = x.ndim, len(by)
    matrix = by[:, n, None, None].exp() * (turns(-by[:, 3]) if n == 2 else torch.eye(n))
    places = affine_places(matrix, by[:, :n].flip(1) / 2, x.shape)
    return resampled_at(x.expand(m, 1, *x.shape), places, mode="linear", beyond="border")[:, 0]


def _noise(x: Tensor) -> Tensor:
    """Variance of the noise in the brighter half: by the median of the finest diagonal differences (Donoho
    and Johnstone, Biometrika 81, 1994). A volume of one slice lies in its two other axes; a line has no
    diagonal.
    """
    if min(x.shape[:2]) < 2:
        x = x.movedim(min(range(2), key=x.shape.__getitem__), -1)
    if min(x.shape[:2]) < 2:
        return x.new_zeros(())
    even = x[: x.shape[0] // 2 * 2, : x.shape[1] // 2 * 2]
    a, b, c, d = even[::2, ::2], even[1::2, ::2], even[::2, 1::2], even[1::2, 1::2]
    bright = (a + b + c + d) / 4
    return (
        ((a - b - c + d) / 2)[bright >= bright.mean().clamp(max=bright.max())].abs().median() / 0.6745
    ).square()


def _pooled(x: Tensor, side: int) -> Tensor:
    """(C, i, j[, k]) -> (C, side, side[, side])."""
    return F.adaptive_avg_pool2d(x, side) if x.ndim == 3 else F.adaptive_avg_pool3d(x, side)


def _unit(x: Tensor) -> Tensor:
    return x / x.norm().clamp_min(1e-6)
