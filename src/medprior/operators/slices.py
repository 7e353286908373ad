"""Volumes slice by slice: one measurement repeated for every slice, and how far neighbouring slices are
apart.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor

from ..errors import BadOption
from .operator import Operator

__all__ = ["neighbours", "per_slice"]


@dataclass(frozen=True, eq=False, repr=False, kw_only=True)
class Neighbours(Operator):
    """Next minus this, along one axis of (C, i, j[, k])."""

    axis: int

    def apply(self, x: Tensor) -> Tensor:
        return x.diff(dim=self.axis + 1)

    def adjoint(self, y: Tensor) -> Tensor:
        nothing = y.new_zeros(*y.shape[: self.axis + 1], 1, *y.shape[self.axis + 2 :])
        # what stands after the last difference and before the first is zero
        return -y.diff(dim=self.axis + 1, prepend=nothing, append=nothing)


@dataclass(frozen=True, eq=False, repr=False, kw_only=True)
class PerSlice(Operator):
    """One operator on each slice along the last axis, all in one batch."""

    each: Operator

    def apply(self, x: Tensor) -> Tensor:
        return self._through(self.each.apply, x)

    def adjoint(self, y: Tensor) -> Tensor:
        return self._through(self.each.adjoint, y)

    @property
    def name(self) -> str:
        return f"PerSlice({self.each.name})"

    def _through(self, call: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
        slices = x.movedim(-1, 1)
        return call(slices.flatten(0, 1)).unflatten(0, slices.shape[:2]).movedim(1, -1)


def neighbours(shape: tuple[int, ...], axis: int) -> Operator:
    """y = x one voxel further along ``axis`` (1 = i, 2 = j, 3 = k) minus x: one fewer along it. shape: (C, i,
    j[, k]).

    Measured as zero, with a noise as large as neighbours really differ, it says that anatomy goes on from one
    slice to the next: the pairwise Gaussian Markov field (Besag, J. R. Stat. Soc. B 36(2), 1974); along the
    slices of a volume as the through-plane term of DiffusionMBIR (Chung et al., CVPR 2023). Raises BadOption
    for an axis that is not there, or of one voxel.
    """
    shape = tuple(shape)
    if not 1 <= axis < len(shape) or shape[axis] < 2:
        raise BadOption(
            f"neighbours: wanted an axis of 1..{len(shape) - 1} with at least 2 voxels, got {axis} of {shape}"
        )
    return Neighbours(axis=axis, domain=shape, codomain=(*shape[:axis], shape[axis] - 1, *shape[axis + 1 :]))


def per_slice(operator: Operator, n: int) -> Operator:
    """What ``operator`` measures of one image (C, i, j), of each of the n slices of a volume (C, i, j, n): y
    has the slices as its last axis.

    Slices with k-space or pixels of their own take a mask (i, j, n) after it: ``mask(shape, keep,
    is_complex=True) @ per_slice(fourier((1, i, j)), n)``. Raises BadOption for no slice or for an operator on
    volumes.
    """
    if n < 1 or len(operator.domain) != 3:
        raise BadOption(
            f"per_slice: wanted an operator on images (C, i, j) and at least 1 slice, got {operator!r} and "
            f"{n}"
        )
    return PerSlice(
        each=operator,
        domain=(*operator.domain, n),
        codomain=(*operator.codomain, n),
        is_complex=operator.is_complex,
        domain_is_complex=operator.domain_is_complex,
        observed=None
        if operator.observed is None
        else operator.observed.expand(operator.codomain)[..., None],
    )
