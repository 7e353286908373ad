"""What a scanner measured before there was an image: k-space and sinograms."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from ..errors import ShapeMismatch
from .volume import Provenance

__all__ = ["KSpace", "Sinogram"]


@dataclass(frozen=True, slots=True)
class KSpace:
    """Cartesian k-space of one slice, centred: the image of a coil is fftshift(ifft2(ifftshift(data, axes=(1,
    2)), norm="ortho")).

    data: (coils, kx, ky) complex64, zero where nothing was measured; kx is the readout direction. mask: (kx,
    ky) bool, True where a sample was measured. reference: (rows, columns) float32, the image that a file
    brings along (root sum of squares), or None. spacing_mm: size of a pixel of the encoded field of view, or
    None when unknown. noise: (coils, samples) complex64 that the scanner measured without a signal, its
    variance that of a sample of data; None where there was no such scan. readout: samples of kx that the
    image needs, fewer than were measured where the readout is oversampled; None when unknown.
    """

    data: NDArray[np.complex64]
    mask: NDArray[np.bool_]
    reference: NDArray[np.float32] | None = None
    spacing_mm: tuple[float, float] | None = None
    provenance: Provenance = field(default_factory=Provenance)
    noise: NDArray[np.complex64] | None = None
    readout: int | None = None

    def __post_init__(self) -> None:
        if self.data.ndim != 3 or 0 in self.data.shape:
            raise ShapeMismatch("KSpace.data", "(coils, kx, ky)", self.data.shape)
        if self.mask.shape != self.data.shape[1:]:
            raise ShapeMismatch("KSpace.mask", self.data.shape[1:], self.mask.shape)
        if self.noise is not None and (self.noise.ndim != 2 or len(self.noise) != len(self.data)):
            raise ShapeMismatch("KSpace.noise", f"({len(self.data)} coils, samples)", self.noise.shape)
        object.__setattr__(self, "data", np.asarray(self.data, dtype=np.complex64))
        object.__setattr__(self, "mask", np.asarray(self.mask, dtype=bool))

    @property
    def acceleration(self) -> float:
        """Samples of the full grid for each one that was measured; infinite when none was."""
        measured = int(self.mask.sum())
        return self.mask.size / measured if measured else math.inf


@dataclass(frozen=True, slots=True)
class Sinogram:
    """Line integrals along rays.

    data: (views, bins) float32, negative logarithm of the transmitted share already taken. angles: (views,)
    float64, radians. geometry: what the file says about source, detector and their distances, names and units
    as in the file; empty when it says nothing.
    """

    data: NDArray[np.float32]
    angles: NDArray[np.float64]
    geometry: Mapping[str, float | str] = field(default_factory=dict)
    provenance: Provenance = field(default_factory=Provenance)

    def __post_init__(self) -> None:
        if self.data.ndim != 2 or 0 in self.data.shape:
            raise ShapeMismatch("Sinogram.data", "(views, bins)", self.data.shape)
        if self.angles.shape != self.data.shape[:1]:
            raise ShapeMismatch(
                "Sinogram.angles", self.data.shape[:1], self.angles.shape, "give one angle for each view"
            )
        object.__setattr__(self, "data", np.asarray(self.data, dtype=np.float32))
        object.__setattr__(self, "angles", np.asarray(self.angles, dtype=np.float64))
