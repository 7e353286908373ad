"""Rotation, scale, shift, flips and an elastic field as ONE resampling, so that detail is lost once; masks go along, label by label, never blended."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from ..errors import Diverged
from .frame import Frame
from .spline import basis, field, random_knots

__all__ = ["GEOMETRIC", "Mapping", "mapping", "moved_points", "resampled"]

GEOMETRIC = ("rotate", "scale", "shift", "elastic", "flip_left_right", "flip_front_back", "flip_head_foot")
"""Steps that move content; all others leave every voxel where it is."""

VOXELS_AT_ONCE = 2**20
"""A volume is resampled in slabs of about so many voxels: the grid of a whole one takes three times its memory."""


@dataclass(frozen=True, slots=True, eq=False)
class Mapping:
    """Where each voxel of the result looks in the source: x_in = centre + matrix (x_out - centre + field(x_out)) + offset, all in voxels.

    matrix: (n, n) float64; offset: (n,) float64; knots: (n, *lattice) voxels of displacement, or None; flips: axes mirrored, when nothing else happens.
    """

    shape: tuple[int, ...]
    matrix: Tensor
    offset: Tensor
    knots: Tensor | None
    flips: tuple[int, ...] | None

    @property
    def centre(self) -> Tensor:
        """(n,) the middle of the grid, in voxels."""
        return (torch.tensor(self.shape, dtype=torch.float64) - 1) / 2

    def bases(self) -> list[Tensor]:
        """One spline basis an axis; only where there is an elastic field."""
        lattice = () if self.knots is None else self.knots.shape[1:]
        return [basis(n, g - 3) for n, g in zip(self.shape, lattice, strict=False)]


def mapping(steps: Sequence[dict[str, Any]], frame: Frame) -> Mapping | None:
    """All geometric steps as one map, or None when there are none. Content is scaled, turned, mirrored and shifted about the middle, in millimetres."""
    found = {step["name"]: step for step in steps if step["name"] in GEOMETRIC}
    if not found:
        return None
    n, spacing = frame.ndim, torch.tensor(frame.spacing, dtype=torch.float64)
    forward = torch.eye(n, dtype=torch.float64)
    if "scale" in found:
        forward = forward * found["scale"]["factor"]
    if "rotate" in found:
        forward = _rotation(found["rotate"]["degrees"], n) @ forward
    mirrored = tuple(found[name]["axis"] for name in found if name.startswith("flip"))
    for axis in mirrored:
        forward[axis] = -forward[axis]
    shift = torch.zeros(n, dtype=torch.float64)
    if "shift" in found:  # a share of each side
        shift = torch.tensor(found["shift"]["share"], dtype=torch.float64) * torch.tensor(frame.shape, dtype=torch.float64)
    matrix = torch.linalg.inv(forward) * spacing / spacing[:, None]
    return Mapping(frame.shape, matrix, -matrix @ shift, _knots(found.get("elastic"), frame), mirrored if set(found) <= _FLIPS else None)


_FLIPS = {name for name in GEOMETRIC if name.startswith("flip")}


def _rotation(degrees: Sequence[float], n: int) -> Tensor:
    """About k in 2-D; about i, then j, then k in 3-D. A positive angle takes i towards j (j towards k, k towards i)."""
    turned = torch.eye(n, dtype=torch.float64)
    planes = [(0, 1)] if n == 2 else [(1, 2), (2, 0), (0, 1)]
    for (a, b), angle in zip(planes, degrees, strict=True):
        cosine, sine = math.cos(math.radians(angle)), math.sin(math.radians(angle))
        one = torch.eye(n, dtype=torch.float64)
        one[a, a], one[a, b], one[b, a], one[b, b] = cosine, -sine, sine, cosine
        turned = one @ turned
    return turned


def _knots(step: dict[str, Any] | None, frame: Frame) -> Tensor | None:
    if step is None:
        return None
    knots = step["share"] * random_knots(frame.ndim, frame.ndim, step["cells"], step["seed"])
    cell = torch.tensor([size / step["cells"] for size in frame.shape])
    return knots * cell.view(-1, *[1] * frame.ndim)


def resampled(x: Tensor, where: Mapping, *, nearest: bool = False, outside: Tensor | None = None) -> Tensor:
    """(C, i, j[, k]) -> the same shape: linear between voxels, or the nearest one's value. outside: (C, 1, 1[, 1]) what lies beyond the edge; None repeats it.

    Source of the sampling: torch.nn.functional.grid_sample, align_corners=False.
    """
    if where.flips is not None:
        return x.flip([axis + 1 for axis in where.flips])
    shape = where.shape
    padding, fill = ("border", None) if outside is None else ("zeros", outside)
    source = (x if fill is None else x - fill)[None]
    if not source.is_floating_point():
        source = source.to(torch.float64 if int(x.abs().max()) >= 2**24 else torch.float32)  # labels survive exactly
    result = torch.empty((len(x), *shape), dtype=source.dtype, device=x.device)
    step = max(1, VOXELS_AT_ONCE // math.prod(shape[1:]))
    for start, grid in _grids(where, step, source):
        part = F.grid_sample(source, grid, mode="nearest" if nearest else "bilinear", padding_mode=padding, align_corners=False)
        result[:, start : start + part.shape[2]] = part[0]
    result = result if fill is None else result.add_(fill)
    return result.to(x.dtype)


def _grids(where: Mapping, step: int, like: Tensor) -> Any:
    """(first row, grid (1, rows, j[, k], n)) of each slab, as grid_sample wants it: last axis first, -1 to 1 from edge to edge."""
    shape, n = where.shape, len(where.shape)
    sizes = torch.tensor(shape, dtype=torch.float64)
    matrix = where.matrix * 2 / sizes[:, None]
    origin = (2 * (where.centre + where.offset) + 1) / sizes - 1
    along = [torch.arange(size, dtype=torch.float64) - c for size, c in zip(shape, where.centre.tolist(), strict=True)]
    terms = [[(matrix[d, a] * along[a]).to(like).view([-1 if b == a else 1 for b in range(n)]) for a in range(n)] for d in range(n)]
    rest = [(terms[d][1] if n == 2 else terms[d][1] + terms[d][2]) + float(origin[d]) for d in range(n)]
    bases = where.bases()
    knots = None if where.knots is None else torch.einsum("da,a...->d...", matrix.to(where.knots), where.knots).to(like)
    for start in range(0, shape[0], step):
        rows = slice(start, min(start + step, shape[0]))
        grid = torch.empty((1, rows.stop - start, *shape[1:], n), dtype=like.dtype, device=like.device)
        for d in range(n):
            torch.add(terms[d][0][rows], rest[d], out=grid[0, ..., n - 1 - d])
        if knots is not None:
            moved = field(knots, [b[rows] if a == 0 else b for a, b in enumerate(bases)])
            grid[0] += moved.flip(0).movedim(0, -1)
        yield start, grid


def moved_points(points: Tensor, where: Mapping | None, *, rounds: int = 100) -> Tensor:
    """(m, n) voxel coordinates of landmarks in the source -> where they lie in the result, float64.

    The elastic field is undone by fixed-point iteration, which converges because it folds nothing; raises Diverged when it does not.
    """
    x = points.double()
    if where is None:
        return x
    straight = (x - where.centre - where.offset) @ torch.linalg.inv(where.matrix).T
    found = straight
    for _ in range(rounds):
        previous, found = found, straight - _displaced(found + where.centre, where)
        if float((found - previous).abs().max()) < 1e-6:
            return found + where.centre
    raise Diverged(rounds, 0.0, "the inverse of an elastic field")


def _displaced(points: Tensor, where: Mapping) -> Tensor:
    """(m, n) voxels of displacement at points between voxels, linear in the field's own samples as the resampling sees it."""
    if where.knots is None:
        return torch.zeros_like(points)
    dense = field(where.knots.double(), where.bases())[None]
    sizes = torch.tensor(where.shape, dtype=torch.float64)
    grid = ((2 * points + 1) / sizes - 1).flip(1).view(1, -1, *[1] * (len(where.shape) - 1), len(where.shape))
    return F.grid_sample(dense, grid, mode="bilinear", padding_mode="border", align_corners=False).reshape(len(where.shape), -1).T
