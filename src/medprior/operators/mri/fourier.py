"""MRI: a complex image, coil sensitivities, a Fourier transform, a mask.

k-space has its centre in the middle and keeps its full grid, zero where nothing was sampled.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ...errors import ShapeMismatch
from ..operator import Operator
from ..pixels import cast_weights
from ..pixels import mask as pixel_mask

__all__ = ["as_complex", "coils", "fourier", "mri", "pair"]


@dataclass(frozen=True, eq=False, repr=False, kw_only=True)
class AsComplex(Operator):
    """A real image as a complex one; the adjoint takes the real part."""

    def apply(self, x: Tensor) -> Tensor:
        return torch.complex(x, torch.zeros_like(x))

    def adjoint(self, y: Tensor) -> Tensor:
        return y.real


@dataclass(frozen=True, eq=False, repr=False, kw_only=True)
class Pair(Operator):
    """Channels (real part, imaginary part) as one complex channel."""

    def apply(self, x: Tensor) -> Tensor:
        return torch.complex(x[:, 0], x[:, 1]).unsqueeze(1)

    def adjoint(self, y: Tensor) -> Tensor:
        return torch.cat([y.real, y.imag], dim=1)


@dataclass(frozen=True, eq=False, repr=False, kw_only=True)
class Fourier(Operator):
    """Centred orthonormal FFT over all spatial axes: unitary."""

    def apply(self, x: Tensor) -> Tensor:
        axes = tuple(range(2, x.ndim))
        return torch.fft.fftshift(
            torch.fft.fftn(torch.fft.ifftshift(x, dim=axes), dim=axes, norm="ortho"), dim=axes
        )

    def adjoint(self, y: Tensor) -> Tensor:
        axes = tuple(range(2, y.ndim))
        return torch.fft.fftshift(
            torch.fft.ifftn(torch.fft.ifftshift(y, dim=axes), dim=axes, norm="ortho"), dim=axes
        )


@dataclass(frozen=True, eq=False, repr=False, kw_only=True)
class Coils(Operator):
    """One complex image seen by each of n_coils receivers: y_c = s_c * x."""

    sensitivities: Tensor

    def apply(self, x: Tensor) -> Tensor:
        return x * cast_weights(self.sensitivities, x)

    def adjoint(self, y: Tensor) -> Tensor:
        return (y * cast_weights(self.sensitivities, y).conj()).sum(1, keepdim=True)


def as_complex(shape: tuple[int, ...]) -> Operator:
    """A real image (C, i, j[, k]) as a complex one of the same shape."""
    return AsComplex(domain=tuple(shape), codomain=tuple(shape), is_complex=True)


def pair(shape: tuple[int, ...]) -> Operator:
    """Two real channels (2, i, j[, k]) = real and imaginary part -> complex (1, i, j[, k]). Raises
    ShapeMismatch for other channels.
    """
    if shape[0] != 2:
        raise ShapeMismatch("pair, channels", "2 (real and imaginary part)", shape[0])
    return Pair(domain=tuple(shape), codomain=(1, *shape[1:]), is_complex=True)


def fourier(shape: tuple[int, ...], *, complex_image: bool = False) -> Operator:
    """Image (C, i, j[, k]) -> k-space of the same shape: fftshift(fftn(ifftshift(x))) / sqrt(voxels), zero
    frequency at index n // 2.

    complex_image: the image itself is complex (inside of a chain). Source: convention of fastMRI (Zbontar et
    al., arXiv 1811.08839).
    """
    shape = tuple(shape)
    transform = Fourier(domain=shape, codomain=shape, is_complex=True, domain_is_complex=True)
    return transform if complex_image else transform @ as_complex(shape)


def coils(sensitivities: Tensor) -> Operator:
    """Complex (1, i, j[, k]) -> complex (n_coils, i, j[, k]), y_c = s_c x. sensitivities: (n_coils, i, j[,
    k]), complex or real.
    """
    shape = tuple(sensitivities.shape)
    return Coils(
        sensitivities=sensitivities,
        domain=(1, *shape[1:]),
        codomain=shape,
        is_complex=True,
        domain_is_complex=True,
    )


def mri(mask: Tensor, sensitivities: Tensor | None = None, *, complex_image: bool = False) -> Operator:
    """Cartesian MRI, y = M F S x (SENSE: Pruessmann et al., MRM 42, 1999).

    mask: (i, j[, k]), True where k-space was sampled, zero frequency at index n // 2; partial Fourier is a
    mask, too. sensitivities: complex (n_coils, i, j[, k]); None = one coil of sensitivity 1. The image is
    real, (1, i, j[, k]), its phase belonging to the sensitivities; with complex_image it is (2, i, j[, k]),
    real and imaginary part. The measurement is (n_coils, i, j[, k]) complex, zero outside the mask. Raises
    ShapeMismatch where mask and coils differ.
    """
    space = tuple(mask.shape)
    if sensitivities is not None and tuple(sensitivities.shape[1:]) != space:
        raise ShapeMismatch(
            "mri, sensitivities",
            f"(n_coils, {', '.join(map(str, space))}) as the mask",
            tuple(sensitivities.shape),
        )
    image = pair((2, *space)) if complex_image else as_complex((1, *space))
    received = image if sensitivities is None else coils(sensitivities) @ image
    n_coils = received.codomain[0]
    return (
        pixel_mask((n_coils, *space), mask, is_complex=True)
        @ fourier((n_coils, *space), complex_image=True)
        @ received
    )
