"""Lower resolution: averaging over blocks, thick slices with a true profile, a point spread function."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import log, pi, sqrt

import numpy as np
import torch
from torch import Tensor

from ..errors import BadOption
from .operator import Operator
from .pixels import cast_weights

__all__ = ["FWHM", "blur", "downsample", "thick_slices", "truncate"]

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
        return self._product(cast_weights(self.matrix, x), x)

    def adjoint(self, y: Tensor) -> Tensor:
        return self._product(cast_weights(self.matrix, y).T, y)

    def _product(self, matrix: Tensor, x: Tensor) -> Tensor:
        return (x.movedim(self.axis + 1, -1) @ matrix.T).movedim(-1, self.axis + 1)


def downsample(shape: tuple[int, ...], factor: int | Sequence[int]) -> Operator:
    """Super-resolution's forward model: each voxel is the mean of a block.

    shape: (C, i, j[, k]); factor: one, or one an axis. Source: the ideal square detector, y_p = mean of x
    over pixel p (Park et al., IEEE Signal Process. Mag. 20(3), 2003, section "observation model"). Raises
    BadOption where a side is no multiple of its factor.
    """
    shape = tuple(shape)
    factors = (factor,) * (len(shape) - 1) if isinstance(factor, int) else tuple(factor)
    if len(factors) != len(shape) - 1 or any(
        f < 1 or n % f for n, f in zip(shape[1:], factors, strict=False)
    ):
        raise BadOption(
            f"downsample: wanted sides {shape[1:]} that are multiples of the factor, got {factors}",
            "crop the image first",
        )
    return Downsample(
        factors=factors,
        domain=shape,
        codomain=(shape[0], *[n // f for n, f in zip(shape[1:], factors, strict=True)]),
    )


def thick_slices(
    shape: tuple[int, ...],
    axis: int,
    step: int,
    *,
    thickness: float | None = None,
    profile: str | Tensor = "gaussian",
    spacing: float = 1.0,
) -> Operator:
    """Slices of ``thickness`` mm every ``step`` voxels along ``axis`` (1 = i, 2 = j, 3 = k); spacing: mm a
    voxel along it (1 = thickness in voxels).

    thickness: full width (at half maximum for the Gaussian), default step * spacing: slices without gap; less
    leaves gaps, more overlaps. profile: "gaussian" (selective excitation of 2-D MRI), "box" (CT), or the
    measured profile of a pulse: samples (n,), none negative, evenly from one end of the slice to the other,
    ``thickness`` being the way from the first to the last. Each slice is a weighted mean; weights sum to 1.
    Source: Greenspan, Comput. J. 52(1), 2009, slice profile of the imaging model. Raises BadOption for an
    axis, step, width or profile that does not fit.
    """
    shape = tuple(shape)
    if (
        not 1 <= axis < len(shape)
        or not 1 <= step <= shape[axis]
        or not spacing > 0
        or (thickness is not None and not thickness > 0)
    ):
        raise BadOption(
            f"thick_slices: wanted an axis of 1..{len(shape) - 1}, a step of at most its side, a positive "
            "thickness and spacing, "
            f"got {axis}, {step}, {thickness} and {spacing:g}"
        )
    width = step if thickness is None else thickness / spacing  # in voxels from here on
    n_out = shape[axis] // step
    centre = (torch.arange(n_out, dtype=torch.float64) + 0.5) * step - 0.5
    weight = _profile(torch.arange(shape[axis], dtype=torch.float64) - centre[:, None], width, profile)
    if not bool((weight.sum(1) > 0).all()):
        raise BadOption(
            f"thick_slices: wanted a profile that reaches a voxel in each slice, got {width:g} voxels of "
            "width",
            "use a larger thickness",
        )
    codomain = (*shape[:axis], n_out, *shape[axis + 1 :])
    return AlongAxis(matrix=weight / weight.sum(1, keepdim=True), axis=axis, domain=shape, codomain=codomain)


def _profile(distance: Tensor, width: float, profile: str | Tensor) -> Tensor:
    """Weight of voxels at signed distances, in voxels, from the middle of a slice."""
    if isinstance(profile, Tensor):
        if (
            profile.ndim != 1
            or len(profile) < 2
            or not bool((profile >= 0).all())
            or not bool(profile.sum() > 0)
            or not bool(profile.isfinite().all())
        ):
            raise BadOption(
                "thick_slices: wanted a measured profile (n,) of at least two finite samples, none negative "
                "and not all zero",
                "take its magnitude",
            )
        places = np.linspace(-width / 2, width / 2, len(profile))
        fine = (np.arange(16) + 0.5) / 16 - 0.5  # a voxel takes the mean of the profile over its own depth
        return torch.from_numpy(
            np.interp(
                distance.numpy()[..., None] + fine, places, profile.double().numpy(), left=0, right=0
            ).mean(-1)
        )
    if profile == "gaussian":
        return torch.exp(-0.5 * (distance * FWHM / width) ** 2)
    if profile == "box":
        return (
            torch.minimum(distance + 0.5, torch.tensor(width / 2))
            - torch.maximum(distance - 0.5, torch.tensor(-width / 2))
        ).clamp_min(0)
    raise BadOption(
        f"thick_slices: profile {profile!r} is not known",
        "choose gaussian or box, or give samples of the measured one",
    )


def truncate(shape: tuple[int, ...], size: Sequence[int]) -> Operator:
    """In-plane resolution of MRI: the image of ``size`` voxels that the central k-space of an image (C, i,
    j[, k]) gives, over the same field of view.

    Real, with the point spread function of a sharp window (Gibbs ringing), and a constant image keeps its
    value. On an even side the outermost frequency, which has no partner, is taken as its real part. Source:
    Haacke et al., Magnetic Resonance Imaging, 1999, chapter 13. Raises BadOption for a larger size.
    """
    shape, size = tuple(shape), tuple(size)
    if len(size) != len(shape) - 1 or any(
        not 1 <= n <= full for n, full in zip(size, shape[1:], strict=False)
    ):
        raise BadOption(f"truncate: wanted sides of at least 1 and at most {shape[1:]}, got {size}")
    result: Operator | None = None
    for axis, n in enumerate(size, start=1):
        now = shape if result is None else result.codomain
        full = now[axis]
        frequency = torch.arange(n, dtype=torch.float64) - n // 2
        to = (
            torch.arange(n, dtype=torch.float64)[:, None] / n - torch.arange(full, dtype=torch.float64) / full
        )
        matrix = torch.cos(2 * pi * frequency * to[..., None]).sum(-1) / full
        one = AlongAxis(matrix=matrix, axis=axis, domain=now, codomain=(*now[:axis], n, *now[axis + 1 :]))
        result = one if result is None else one @ result
    if result is None:
        raise BadOption(f"truncate: wanted a shape (C, i, j[, k]), got {shape}")
    return result


def blur(
    shape: tuple[int, ...], fwhm: float | Sequence[float], *, spacing: float | Sequence[float] = 1.0
) -> Operator:
    """Gaussian point spread function with full width at half maximum ``fwhm`` in mm; spacing: mm a voxel (1 =
    fwhm in voxels).

    shape: (C, i, j[, k]). At the border the kernel is cut and divided by its sum, so that a constant image
    stays constant. Source: Gaussian resolution model, sigma = fwhm / 2.3548. Raises BadOption for a width
    that is not positive.
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
    values = (
        (float(value),) * (len(shape) - 1)
        if isinstance(value, int | float)
        else tuple(float(v) for v in value)
    )
    if len(values) != len(shape) - 1 or any(v <= 0 for v in values):
        raise BadOption(f"blur, {what}: wanted one positive number, or {len(shape) - 1} of them, got {value}")
    return values
