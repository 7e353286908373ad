"""Lower resolution: averaging over blocks, thick slices with a true profile, a point spread function."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import log, sqrt

import torch
from torch import Tensor

from ..errors import BadOption
from .operator import Operator
from .pixels import precise

__all__ = ["FWHM", "blur", "downsample", "thick_slices"]

FWHM = 2 * sqrt(2 * log(2))
"""Full width at half maximum of a Gaussian, in standard deviations."""


@dataclass(frozen=True, eq=False, repr=False, kw_only=True)
class Downsample(Operator):
    """Mean over blocks of factors[a] voxels along each axis a."""

    factors: tuple[int, ...]

    def apply(self, x: Tensor) -> Tensor:
        split = [n for size, f in zip(self.codomain[1:], self.factors, strict=True) for n in (size, f)]
        return x.reshape(*x.shape[:2], *split).mean(dim=tuple(range(3, 3 + 2 * len(self.factors), 2)))

    def adjoint(self, y: Tensor) -> Tensor:
        for axis, f in enumerate(self.factors):
            y = y.repeat_interleave(f, dim=2 + axis) / f
        return y


@dataclass(frozen=True, eq=False, repr=False, kw_only=True)
class AlongAxis(Operator):
    """One matrix (n_out, n_in), applied to every line along one axis of (C, i, j[, k])."""

    matrix: Tensor
    axis: int

    def apply(self, x: Tensor) -> Tensor:
        return self._product(precise(self.matrix, x), x)

    def adjoint(self, y: Tensor) -> Tensor:
        return self._product(precise(self.matrix, y).T, y)

    def _product(self, matrix: Tensor, x: Tensor) -> Tensor:
        return (x.movedim(self.axis + 1, -1) @ matrix.T).movedim(-1, self.axis + 1)


def downsample(shape: tuple[int, ...], factor: int | Sequence[int]) -> Operator:
    """Super-resolution's forward model: each voxel is the mean of a block.

    shape: (C, i, j[, k]); factor: one, or one an axis. Source: the ideal square detector, y_p = mean of x over pixel p (Park et al.,
    IEEE Signal Process. Mag. 20(3), 2003, section "observation model"). Raises BadOption where a side is no multiple of its factor.
    """
    shape = tuple(shape)
    factors = (factor,) * (len(shape) - 1) if isinstance(factor, int) else tuple(factor)
    if len(factors) != len(shape) - 1 or any(f < 1 or n % f for n, f in zip(shape[1:], factors, strict=False)):
        raise BadOption(f"downsample: wanted sides {shape[1:]} that are multiples of the factor, got {factors}", "crop the image first")
    return Downsample(factors=factors, domain=shape, codomain=(shape[0], *[n // f for n, f in zip(shape[1:], factors, strict=True)]))


def thick_slices(shape: tuple[int, ...], axis: int, step: int, *, thickness: float | None = None, profile: str = "gaussian") -> Operator:
    """Slices of ``thickness`` (in voxels of x) every ``step`` voxels along ``axis`` (1 = i, 2 = j, 3 = k).

    thickness: full width (at half maximum for the Gaussian), default ``step``: slices without gap. Each slice is a weighted mean; weights sum to 1.
    profile: "gaussian" (selective excitation of 2-D MRI) or "box" (CT). Source: Greenspan, Comput. J. 52(1), 2009, slice profile of the imaging model.
    Raises BadOption for an axis, step or profile that does not fit.
    """
    shape, thickness = tuple(shape), float(thickness or step)
    if not 1 <= axis < len(shape) or not 1 <= step <= shape[axis] or thickness <= 0:
        raise BadOption(
            f"thick_slices: wanted an axis of 1..{len(shape) - 1}, a step of at most its side and a positive thickness, got {axis}, {step}, {thickness:g}"
        )
    n_out = shape[axis] // step
    centre = (torch.arange(n_out, dtype=torch.float64) + 0.5) * step - 0.5
    distance = (torch.arange(shape[axis], dtype=torch.float64) - centre[:, None]).abs()
    if profile == "gaussian":
        weight = torch.exp(-0.5 * (distance * FWHM / thickness) ** 2)
    elif profile == "box":
        weight = (thickness / 2 + 0.5 - distance).clamp(0, 1)
    else:
        raise BadOption(f"thick_slices: profile {profile!r} is not known", "choose gaussian or box")
    codomain = (*shape[:axis], n_out, *shape[axis + 1 :])
    return AlongAxis(matrix=weight / weight.sum(1, keepdim=True), axis=axis, domain=shape, codomain=codomain)


def blur(shape: tuple[int, ...], fwhm: float | Sequence[float], *, spacing: float | Sequence[float] = 1.0) -> Operator:
    """Gaussian point spread function with full width at half maximum ``fwhm`` in mm; spacing: mm a voxel (1 = fwhm in voxels).

    shape: (C, i, j[, k]). At the border the kernel is cut and divided by its sum, so that a constant image stays constant.
    Source: Gaussian resolution model, sigma = fwhm / 2.3548. Raises BadOption for a width that is not positive.
    """
    shape = tuple(shape)
    widths, steps = _per_axis("fwhm", fwhm, shape), _per_axis("spacing", spacing, shape)
    result: Operator | None = None
    for axis, (width, mm) in enumerate(zip(widths, steps, strict=True), start=1):
        place = torch.arange(shape[axis], dtype=torch.float64) * mm
        weight = torch.exp(-0.5 * ((place - place[:, None]) * FWHM / width) ** 2)
        one = AlongAxis(matrix=weight / weight.sum(1, keepdim=True), axis=axis, domain=shape, codomain=shape)
        result = one if result is None else one @ result
    if result is None:
        raise BadOption(f"blur: wanted a shape (C, i, j[, k]), got {shape}")
    return result


def _per_axis(what: str, value: float | Sequence[float], shape: tuple[int, ...]) -> tuple[float, ...]:
    values = (float(value),) * (len(shape) - 1) if isinstance(value, int | float) else tuple(float(v) for v in value)
    if len(values) != len(shape) - 1 or any(v <= 0 for v in values):
        raise BadOption(f"blur, {what}: wanted one positive number, or {len(shape) - 1} of them, got {value}")
    return values
