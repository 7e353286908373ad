"""Rotation, scale, shift, flips and an elastic field as ONE resampling, so that detail is lost once; masks go
along, label by label, never blended.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from collections.abc import Mapping as Named
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from ..data.affine import turns
from ..errors import Diverged
from .frame import Frame, Parameters
from .spline import basis, field, random_knots

__all__ = ["GEOMETRIC", "Mapping", "map_points", "mapping", "resample_image"]

GEOMETRIC = ("rotate", "scale", "shift", "elastic", "flip_left_right", "flip_front_back", "flip_head_foot")
"""Steps that move content; all others leave every voxel where it is."""

VOXELS_AT_ONCE = 2**20
"""A volume is resampled in slabs of about so many voxels: the grid of a whole one takes three times its
memory.
"""


@dataclass(frozen=True, slots=True, eq=False)
class Mapping:
    """Where each voxel of the result looks in the source: x_in = centre + matrix (x_out - centre +
    field(x_out)) + offset, all in voxels.

    matrix: (n, n); offset: (n,); knots: (n, *lattice) voxels of displacement, or None; flips: axes mirrored,
    when nothing else happens.
    """

    shape: tuple[int, ...]
    matrix: NDArray[np.float64]
    offset: NDArray[np.float64]
    knots: Tensor | None
    flips: tuple[int, ...] | None

    @property
    def centre(self) -> NDArray[np.float64]:
        """(n,) the middle of the grid, in voxels."""
        return (np.array(self.shape) - 1) / 2

    def bases(self) -> list[Tensor]:
        """One spline basis an axis; only where there is an elastic field."""
        lattice = () if self.knots is None else self.knots.shape[1:]
        return [basis(n, g - 3) for n, g in zip(self.shape, lattice, strict=False)]


def mapping(steps: Sequence[Parameters], frame: Frame) -> Mapping | None:
    """All geometric steps as one map, or None when there are none. Content is scaled, turned, mirrored and
    shifted about the middle, in millimetres.

    Thick or few slices are scaled and bent in their plane alone (``Frame.thick``).
    """
    found = {step["name"]: step for step in steps if step["name"] in GEOMETRIC}
    if not found:
        return None
    n, spacing = frame.ndim, np.array(frame.spacing)
    mirrored = tuple(found[name]["axis"] for name in found if name.startswith("flip"))
    flips = mirrored if set(found) <= _FLIPS else None
    if n == 2:
        return _flat(found, frame, mirrored, flips)
    forward = np.eye(n)
    if "scale" in found:
        forward = np.diag([1.0 if axis == frame.thick else found["scale"]["factor"] for axis in range(n)])
    if "rotate" in found:
        forward = _rotation(found["rotate"]["degrees"]) @ forward
    for axis in mirrored:
        forward[axis] = -forward[axis]
    shift = np.zeros(n)
    if "shift" in found:  # a share of each side
        shift = np.array(found["shift"]["share"]) * frame.shape
    matrix = np.linalg.inv(forward) * spacing / spacing[:, None]
    return Mapping(frame.shape, matrix, -matrix @ shift, _knots(found.get("elastic"), frame), flips)


def _flat(
    found: Named[str, Parameters], frame: Frame, mirrored: tuple[int, ...], flips: tuple[int, ...] | None
) -> Mapping:
    """The same of an image, by hand: arrays of four numbers take longer to make than to use. Scale and
    rotation commute, so their inverse is known.
    """
    angle = math.radians(found["rotate"]["degrees"][0]) if "rotate" in found else 0.0
    smaller = 1 / found["scale"]["factor"] if "scale" in found else 1.0
    cosine, sine = smaller * math.cos(angle), smaller * math.sin(angle)
    ratio = frame.spacing[1] / frame.spacing[0]
    m = [[cosine, sine * ratio], [-sine / ratio, cosine]]
    for axis in mirrored:
        m[0][axis], m[1][axis] = -m[0][axis], -m[1][axis]
    i, j = (
        (share * n for share, n in zip(found["shift"]["share"], frame.shape, strict=True))
        if "shift" in found
        else (0.0, 0.0)
    )
    offset = np.array([-m[0][0] * i - m[0][1] * j, -m[1][0] * i - m[1][1] * j])
    return Mapping(frame.shape, np.array(m), offset, _knots(found.get("elastic"), frame), flips)


_FLIPS = {name for name in GEOMETRIC if name.startswith("flip")}


def _rotation(degrees: Sequence[float]) -> NDArray[np.float64]:
    """About i, then j, then k of a volume. A positive angle takes j towards k (k towards i, i towards j)."""
    angles = torch.deg2rad(torch.tensor(degrees, dtype=torch.float64))
    i, j, k = (turns(angle[None], 3, first)[0] for angle, first in zip(angles, (1, 2, 0), strict=True))
    return (k @ j @ i).numpy()


def _knots(step: Parameters | None, frame: Frame) -> Tensor | None:
    if step is None:
        return None
    knots = step["share"] * random_knots(frame.ndim, frame.ndim, step["cells"], step["seed"])
    cell = torch.tensor(
        [0.0 if axis == frame.thick else size / step["cells"] for axis, size in enumerate(frame.shape)]
    )
    return knots * cell.view(-1, *[1] * frame.ndim)


def resample_image(
    x: Tensor, where: Mapping, *, nearest: bool = False, outside: Tensor | None = None
) -> Tensor:
    """(C, i, j[, k]) -> the same shape: linear between voxels, or the nearest one's value. outside: (C, 1,
    1[, 1]) what lies beyond the edge; None repeats it.

    Source of the sampling: torch.nn.functional.grid_sample, align_corners=False.
    """
    if where.flips is not None:
        return x.flip([axis + 1 for axis in where.flips])
    shape = where.shape
    padding, fill = ("border", None) if outside is None else ("zeros", outside)
    source = (x if fill is None else x - fill)[None]
    if not source.is_floating_point():
        source = source.to(
            torch.float64 if int(x.abs().max()) >= 2**24 else torch.float32
        )  # labels survive exactly
    step = max(1, VOXELS_AT_ONCE // math.prod(shape[1:]))
    mode = "nearest" if nearest else "bilinear"
    slabs = (
        F.grid_sample(source, grid, mode=mode, padding_mode=padding, align_corners=False)[0]
        for grid in _grids(where, step, source)
    )
    if step >= shape[0]:
        result = next(slabs)
    else:
        result = torch.empty((len(x), *shape), dtype=source.dtype, device=x.device)
        for slab, rows in zip(slabs, result.split(step, dim=1), strict=True):
            rows.copy_(slab)
    result = result if fill is None else result.add_(fill)
    return result.to(x.dtype)


def _grids(where: Mapping, step: int, like: Tensor) -> Iterator[Tensor]:
    """(1, rows, j[, k], n) of each slab, as grid_sample wants it: last axis first, -1 to 1 from edge to
    edge.
    """
    shape, n = where.shape, len(where.shape)
    sizes = np.array(shape, dtype=np.float64)
    matrix, origin = where.matrix * (2 / sizes[:, None]), where.offset * (2 / sizes)
    along = [_along(size) for size in shape]
    bases = where.bases()
    knots = (
        None
        if where.knots is None
        else torch.einsum("da,a...->d...", torch.from_numpy(matrix).to(where.knots), where.knots).to(like)
    )
    for start in range(0, shape[0], step):
        rows = slice(start, min(start + step, shape[0]))
        grid = (_flat_grid if n == 2 else _solid_grid)(matrix, origin, [along[0][rows], *along[1:]], like)
        if knots is not None:
            moved = field(knots, [b[rows] if a == 0 else b for a, b in enumerate(bases)])
            grid[0] += moved.flip(0).movedim(0, -1)
        yield grid


def _flat_grid(
    matrix: NDArray[np.float64], origin: NDArray[np.float64], along: list[NDArray[np.float64]], like: Tensor
) -> Tensor:
    """(1, i, j, 2). A pair of coordinates is added as one complex number, which takes a tenth of the time of
    two strided additions.
    """
    kind = np.complex128 if like.dtype == torch.float64 else np.complex64
    (a, b), (c, d) = matrix.tolist()
    i = along[0] * complex(c, a)
    i += complex(origin[1], origin[0])
    j = along[1] * complex(d, b)
    down, across = (torch.from_numpy(part.astype(kind)).to(like.device) for part in (i, j))
    return torch.view_as_real(down[:, None] + across)[None]


@lru_cache(maxsize=64)
def _along(size: int) -> NDArray[np.float64]:
    """(size,) voxels from the middle; not to be written to."""
    return np.arange(size, dtype=np.float64) - (size - 1) / 2


def _solid_grid(
    matrix: NDArray[np.float64], origin: NDArray[np.float64], along: list[NDArray[np.float64]], like: Tensor
) -> Tensor:
    """(1, i, j, k, 3)"""
    grid = torch.empty((1, *(len(a) for a in along), 3), dtype=like.dtype, device=like.device)
    for d in range(3):
        i, j, k = (torch.from_numpy(matrix[d, a] * along[a]).to(like) for a in range(3))
        torch.add((i + float(origin[d]))[:, None, None], j[:, None] + k, out=grid[0, ..., 2 - d])
    return grid


def map_points(points: Tensor, where: Mapping | None, *, rounds: int = 100) -> Tensor:
    """(m, n) voxel coordinates of landmarks in the source -> where they lie in the result, float64.

    The elastic field is undone by fixed-point iteration, which converges because it folds nothing; raises
    Diverged when it does not.
    """
    x = points.double()
    if where is None:
        return x
    centre = torch.from_numpy(where.centre)
    straight = (x - centre - torch.from_numpy(where.offset)) @ torch.from_numpy(np.linalg.inv(where.matrix)).T
    found = straight
    for _ in range(rounds):
        previous, found = found, straight - _displaced(found + centre, where)
        if float((found - previous).abs().max()) < 1e-6:
            return found + centre
    raise Diverged(rounds, 0.0, "the inverse of an elastic field")


def _displaced(points: Tensor, where: Mapping) -> Tensor:
    """(m, n) voxels of displacement at points between voxels, linear in the field's own samples as the
    resampling sees it.
    """
    if where.knots is None:
        return torch.zeros_like(points)
    dense = field(where.knots.double(), where.bases())[None]
    sizes = torch.tensor(where.shape, dtype=torch.float64)
    grid = ((2 * points + 1) / sizes - 1).flip(1).view(1, -1, *[1] * (len(where.shape) - 1), len(where.shape))
    return (
        F.grid_sample(dense, grid, mode="bilinear", padding_mode="border", align_corners=False)
        .reshape(len(where.shape), -1)
        .T
    )
