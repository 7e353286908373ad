"""A few points that stand for many: each next one is the farthest from those already taken."""

from __future__ import annotations

import torch
from torch import Tensor

from ...errors import BadOption

__all__ = ["greedy_centres"]

_CANDIDATES = 2048
"""The farthest points, among which the next centres are looked for before all distances are renewed."""

_ROWS = 8192
"""Points whose distances are renewed at once: 64 MiB with 2048 new centres."""


def greedy_centres(points: Tensor, size: int, *, first: int = 0) -> Tensor:
    """(n, d) -> (at most size,) indices: the greedy k-centre set from ``first`` on, in the order found; fewer
    once every point lies on a centre.

    Distances only shrink as centres are added. So if the farthest of a few thousand candidates is farther
    than any point outside of them was, it is the farthest of all. The result is that of the plain algorithm,
    but one matrix product renews all distances for many centres. Source: Gonzalez, Theor. Comput. Sci. 38,
    1985; as coreset, Sener and Savarese, ICLR 2018. Raises BadOption for no points or a size below 1.
    """
    if points.ndim != 2 or not len(points) or size < 1 or not 0 <= first < len(points):
        raise BadOption(
            f"greedy_centres: wanted points (n, d) and a size of at least 1, got {tuple(points.shape)}, "
            f"{size} from {first}"
        )
    points = points - points.mean(0)  # small numbers: a square distance is a difference of squares
    norms = points.square().sum(1)
    nothing = 1e-5 * float(norms.mean())  # what rounding leaves between equal points
    chosen = [first]
    apart = _renewed(torch.full_like(norms, torch.inf), points, norms, chosen)
    while len(chosen) < size:
        new = _next_centres(points, norms, apart, size - len(chosen), nothing)
        if not new:
            break
        apart = _renewed(apart, points, norms, new)
        chosen += new
    return torch.tensor(chosen)


def _next_centres(points: Tensor, norms: Tensor, apart: Tensor, most: int, nothing: float) -> list[int]:
    """The next centres, at least one unless every point is taken. apart: (n,) square distance to the nearest
    centre.
    """
    far, at = apart.topk(min(_CANDIDATES, len(points)))
    limit = float(far[-1]) if len(at) < len(points) else 0.0
    candidates, square, new = points[at], norms[at], []
    while len(new) < most:
        i = int(far.argmax())
        if float(far[i]) <= nothing or float(far[i]) < limit:
            break
        new.append(int(at[i]))
        far = torch.minimum(far, torch.addmv(square, candidates, candidates[i], alpha=-2) + square[i])
    return new


def _renewed(apart: Tensor, points: Tensor, norms: Tensor, new: list[int]) -> Tensor:
    centres = points[new]
    nearest = [torch.addmm(norms[new], part, centres.T, alpha=-2).amin(1) for part in points.split(_ROWS)]
    return torch.minimum(apart, torch.cat(nearest) + norms)
