"""Operators on the pixel grid: which pixels, which channels, how much of each."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ..errors import BadOption, ShapeMismatch
from .operator import Operator

__all__ = ["channels", "crop", "diagonal", "mask"]


@dataclass(frozen=True, eq=False, repr=False, kw_only=True)
class Mask(Operator):
    """y = keep * x; the rest is zero and unobserved."""

    keep: Tensor

    def passes(self, observed: Tensor | None) -> Tensor | None:
        return self.keep if observed is None else self.keep & observed.to(self.keep.device)

    def apply(self, x: Tensor) -> Tensor:
        return x * self.keep.to(x.device)

    def adjoint(self, y: Tensor) -> Tensor:
        return y * self.keep.to(y.device)


@dataclass(frozen=True, eq=False, repr=False, kw_only=True)
class Diagonal(Operator):
    """y = weights * x with real or complex weights."""

    weights: Tensor

    def passes(self, observed: Tensor | None) -> Tensor | None:
        return observed

    def apply(self, x: Tensor) -> Tensor:
        return x * cast_weights(self.weights, x)

    def adjoint(self, y: Tensor) -> Tensor:
        return y * cast_weights(self.weights, y).conj()


@dataclass(frozen=True, eq=False, repr=False, kw_only=True)
class Crop(Operator):
    """A window of the image."""

    window: tuple[slice, ...]

    def apply(self, x: Tensor) -> Tensor:
        return x[(slice(None), slice(None), *self.window)]

    def adjoint(self, y: Tensor) -> Tensor:
        x = y.new_zeros(y.shape[0], *self.domain)
        x[(slice(None), slice(None), *self.window)] = y
        return x


@dataclass(frozen=True, eq=False, repr=False, kw_only=True)
class Channels(Operator):
    """Some of the channels: what was acquired of a multi-contrast image."""

    kept: tuple[int, ...]

    def apply(self, x: Tensor) -> Tensor:
        return x[:, list(self.kept)]

    def adjoint(self, y: Tensor) -> Tensor:
        x = y.new_zeros(y.shape[0], *self.domain)
        x[:, list(self.kept)] = y
        return x


def cast_weights(weights: Tensor, x: Tensor) -> Tensor:
    """Real or complex ``weights`` on the device of x, in its precision."""
    real = x.dtype.to_real()
    return weights.to(x.device, real.to_complex() if weights.is_complex() else real)


def mask(shape: tuple[int, ...], keep: Tensor, *, is_complex: bool = False) -> Operator:
    """Inpainting, or a k-space mask: y = keep * x.

    shape: (C, i, j[, k]); keep: bool or 0/1, broadcasts over shape. Raises ShapeMismatch where it does not,
    BadOption for other values.
    """
    shape, seen = tuple(shape), keep.bool()
    if not torch.equal(seen.to(keep.dtype), keep):
        raise BadOption(
            "mask: wanted True/False or 0/1, got other values",
            "threshold it, or use diagonal(shape, weights) for weights",
        )
    _must_broadcast("mask, keep", seen, shape)
    return Mask(
        keep=seen,
        domain=shape,
        codomain=shape,
        is_complex=is_complex,
        domain_is_complex=is_complex,
        observed=seen,
    )


def diagonal(shape: tuple[int, ...], weights: Tensor, *, domain_is_complex: bool = False) -> Operator:
    """y = weights * x. weights: real, or complex where the image is; they broadcast over shape (C, i, j[,
    k]).
    """
    shape = tuple(shape)
    _must_broadcast("diagonal, weights", weights, shape)
    if weights.is_complex() and not domain_is_complex:
        raise BadOption(
            "diagonal: complex weights act on complex images",
            "put as_complex(shape) to the right: diagonal(...) @ as_complex(shape)",
        )
    return Diagonal(
        weights=weights,
        domain=shape,
        codomain=shape,
        is_complex=domain_is_complex,
        domain_is_complex=domain_is_complex,
    )


def crop(shape: tuple[int, ...], start: Sequence[int], size: Sequence[int]) -> Operator:
    """The window that begins at voxel ``start`` and has ``size`` voxels, all channels. shape: (C, i, j[, k]).
    Raises BadOption where it leaves the image.
    """
    shape, space = tuple(shape), tuple(shape[1:])
    fits = len(start) == len(size) == len(space) and all(
        0 <= a and 0 < n and a + n <= full for a, n, full in zip(start, size, space, strict=True)
    )
    if not fits:
        raise BadOption(
            f"crop: wanted a window inside {space}, got start {tuple(start)} and size {tuple(size)}"
        )
    window = tuple(slice(a, a + n) for a, n in zip(start, size, strict=True))
    return Crop(window=window, domain=shape, codomain=(shape[0], *size))


def channels(shape: tuple[int, ...], kept: Sequence[int]) -> Operator:
    """The channels ``kept``, in that order, each at most once. Raises BadOption for others."""
    shape, kept = tuple(shape), tuple(kept)
    if not kept or len(set(kept)) != len(kept) or any(not 0 <= c < shape[0] for c in kept):
        raise BadOption(f"channels: wanted distinct numbers from 0 to {shape[0] - 1}, got {kept}")
    return Channels(kept=kept, domain=shape, codomain=(len(kept), *shape[1:]))


def _must_broadcast(who: str, value: Tensor, shape: tuple[int, ...]) -> None:
    fits = value.ndim <= len(shape) and all(
        n in (1, full) for n, full in zip(reversed(value.shape), reversed(shape), strict=False)
    )
    if not fits:
        raise ShapeMismatch(who, f"something that broadcasts over {shape}", tuple(value.shape))
