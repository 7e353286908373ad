"""Smooth random fields: uniform cubic B-splines over a coarse lattice (Rueckert et al., IEEE Trans. Med.
Imaging 18(8), 1999).
"""

from __future__ import annotations

import string

import torch
from torch import Tensor

__all__ = ["INJECTIVE", "basis", "field", "random_knots"]

INJECTIVE = 0.4
"""Displacements below this share of the lattice spacing fold nothing in 2-D and 3-D (1 / 2.479; Choi and Lee,
Graphical Models 62(6), 2000).
"""


def basis(n: int, cells: int) -> Tensor:
    """(n, cells + 3): weight of each knot at the centre of each of n voxels; every row sums to 1."""
    place = (torch.arange(n, dtype=torch.float64) + 0.5) * cells / n
    cell = place.floor().clamp_max(cells - 1)
    t = place - cell
    weights = (
        torch.stack([(1 - t) ** 3, 3 * t**3 - 6 * t**2 + 4, -3 * t**3 + 3 * t**2 + 3 * t + 1, t**3], dim=1)
        / 6
    )
    columns = cell.long()[:, None] + torch.arange(4)
    return torch.zeros(n, cells + 3, dtype=torch.float64).scatter_(1, columns, weights).float()


def random_knots(n_fields: int, ndim: int, cells: int, seed: int) -> Tensor:
    """(n_fields, *(cells + 3 an axis)): evenly drawn from -1 to 1."""
    rng = torch.Generator().manual_seed(seed)
    return 2 * torch.rand((n_fields, *[cells + 3] * ndim), generator=rng) - 1


def field(knots: Tensor, bases: list[Tensor]) -> Tensor:
    """(F, *knots an axis), one basis (n, knots) an axis -> (F, *n): a field never leaves the range of its
    knots. A basis may be some rows of the whole.
    """
    for axis, weights in enumerate(bases):
        names = string.ascii_lowercase[: knots.ndim]
        old = names[1 + axis]
        knots = torch.einsum(f"{names},z{old}->{names.replace(old, 'z')}", knots, weights.to(knots))
    return knots
