"""Which lines or points of k-space are acquired. All masks are bool, True = sampled, zero frequency at index
n // 2.
"""

from __future__ import annotations

from math import ceil

import torch
from torch import Tensor

from ...errors import BadOption

__all__ = ["acceleration_of", "cartesian_lines", "partial_fourier", "poisson_disc"]


def cartesian_lines(
    size: tuple[int, ...],
    acceleration: float,
    rng: torch.Generator,
    *,
    centre_fraction: float | None = None,
    pattern: str = "random",
    power: float = 4.0,
    axis: int = -1,
) -> Tensor:
    """Phase-encoding lines: round(n / acceleration) of the n lines along ``axis``, a block in the centre
    among them.

    size: (i, j[, k]); centre_fraction: share of the n lines in the centre block, default 0.32 / acceleration
    (8 % at 4x, 4 % at 8x); pattern: "random" (uniform among the rest), "variable" (likelier near the centre:
    weight (1 - |k|)^power, |k| = 1 at the edge) or "equispaced" (a random offset). Source: fastMRI (Zbontar
    et al., arXiv 1811.08839, section 4.9), except that the number of lines is exact, not exact on average;
    the density of Lustig, Donoho and Pauly, MRM 58(6), 2007. Raises BadOption for an axis that is not there,
    an acceleration below 1 or a centre that leaves no line for it.
    """
    if not -len(size) <= axis < len(size):
        raise BadOption(f"cartesian_lines: wanted an axis of {size}, got {axis}")
    n = size[axis]
    share = 0.32 / acceleration if centre_fraction is None else centre_fraction
    n_lines, n_centre = round(n / acceleration), round(n * share)
    if not acceleration >= 1 or n_lines < 1 or n_centre > n_lines or share < 0:
        raise BadOption(
            "cartesian_lines: wanted an acceleration >= 1 whose lines hold the centre, got "
            f"{acceleration:g}: {n_lines} of {n} lines, {n_centre} central"
        )
    first = n // 2 - n_centre // 2
    kept = torch.zeros(n, dtype=torch.bool)
    kept[first : first + n_centre] = True
    rest = torch.nonzero(~kept).flatten()
    weight = (1 - (rest - n // 2).double().abs() / (n / 2 + 1)) ** power if pattern == "variable" else None
    kept[rest[_chosen(len(rest), n_lines - n_centre, pattern, rng, weight)]] = True
    view = [1] * len(size)
    view[axis] = n
    return kept.reshape(view).expand(size).clone()


def acceleration_of(mask: Tensor) -> float:
    """The acceleration a mask really has: points of the full grid for each one sampled. Raises BadOption for
    a mask that samples nothing.
    """
    count = int(mask.bool().sum())
    if not count:
        raise BadOption("acceleration_of: wanted a mask that samples something, got none")
    return mask.numel() / count


def partial_fourier(mask: Tensor, fraction: float, axis: int = 0) -> Tensor:
    """The mask without the last 1 - fraction of k-space along ``axis``. fraction: above 0.5, e.g. 6/8
    (Feinberg et al., Radiology 161, 1986).
    """
    if not 0.5 < fraction <= 1:
        raise BadOption(f"partial_fourier: wanted a fraction above 0.5 and at most 1, got {fraction:g}")
    kept = torch.arange(mask.shape[axis]) < ceil(mask.shape[axis] * fraction)
    view = [1] * mask.ndim
    view[axis] = -1
    return mask & kept.reshape(view)


def poisson_disc(
    size: tuple[int, int], acceleration: float, rng: torch.Generator, *, centre: int = 16, slope: float = 4.0
) -> Tensor:
    """Variable-density Poisson-disc points on the (i, j) plane of two phase encodings.

    A point keeps all others out of a disc of radius r0 (1 + slope |k|), |k| = 1 at the middle of an edge; r0
    is found by bisection so that i * j / acceleration points are kept to 2 %. centre: side in points of the
    fully sampled square in the middle, for calibration. Source: Bridson, SIGGRAPH 2007, by dart throwing over
    a random order of the grid; variable density as Lustig et al., MRM 58, 2007. Raises BadOption where the
    acceleration cannot be met.
    """
    if not acceleration >= 1 or len(size) != 2:
        raise BadOption(
            f"poisson_disc: wanted a size (i, j) and an acceleration >= 1, got {tuple(size)} and "
            f"{acceleration:g}"
        )
    wanted = size[0] * size[1] / acceleration
    if centre**2 > wanted or centre > min(size):
        raise BadOption(
            f"poisson_disc: wanted an acceleration that leaves room for the {centre}x{centre} centre, got "
            f"{acceleration:g} for {size}"
        )
    order = torch.randperm(size[0] * size[1], generator=rng)
    low, high = 0.0, float(max(size))
    best = torch.ones(size, dtype=torch.bool)
    for _ in range(24):
        radius = (low + high) / 2
        best = _darts(size, order, radius, centre, slope)
        got = int(best.sum())
        if abs(got - wanted) <= 0.01 * wanted:
            break
        low, high = (radius, high) if got > wanted else (low, radius)
    if abs(int(best.sum()) - wanted) > 0.02 * wanted:
        raise BadOption(
            f"poisson_disc: wanted {wanted:.0f} points of {size}, reached {int(best.sum())}",
            "use another acceleration or slope",
        )
    return best


def _chosen(n: int, count: int, pattern: str, rng: torch.Generator, weight: Tensor | None) -> Tensor:
    if weight is not None:
        return torch.multinomial(weight, count, generator=rng) if count else torch.zeros(0, dtype=torch.long)
    if pattern == "random":
        return torch.randperm(n, generator=rng)[:count]
    if pattern != "equispaced":
        raise BadOption(
            f"cartesian_lines: pattern {pattern!r} is not known", "choose random, variable or equispaced"
        )
    offset = torch.rand((), generator=rng, dtype=torch.float64)
    return ((torch.arange(count, dtype=torch.float64) + offset) * n / max(count, 1)).long()


def _darts(size: tuple[int, int], order: Tensor, r0: float, centre: int, slope: float) -> Tensor:
    rows, columns = ((torch.arange(n) - n // 2).double() / (n / 2) for n in size)
    radius = r0 * (1 + slope * torch.hypot(rows[:, None], columns))
    reach = radius.tolist()
    kept = torch.zeros(size, dtype=torch.bool).numpy()
    blocked = torch.zeros(size, dtype=torch.bool).numpy()
    square = tuple(slice(n // 2 - centre // 2, n // 2 - centre // 2 + centre) for n in size)
    kept[square] = blocked[square] = True
    squares = [torch.arange(n).double().square().numpy() for n in size]
    for at in order.tolist():
        i, j = divmod(at, size[1])
        if blocked[i, j]:
            continue
        kept[i, j] = True
        r = reach[i][j]
        top, left = max(0, ceil(i - r)), max(0, ceil(j - r))
        down, across = min(size[0], int(i + r) + 1), min(size[1], int(j + r) + 1)
        near = (
            squares[0][abs(torch.arange(top, down).numpy() - i)][:, None]
            + squares[1][abs(torch.arange(left, across).numpy() - j)]
            <= r * r
        )
        blocked[top:down, left:across] |= near
    return torch.from_numpy(kept)
