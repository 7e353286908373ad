"""How wrong a denoiser is, by noise level and by spatial frequency: what a rule takes its weight from."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

__all__ = ["BINS", "ErrorTable", "radius"]

BINS = 24
"""Rings of spatial frequency, from the mean (0) to the corner of the Nyquist square (1)."""


def radius(size: tuple[int, ...]) -> Tensor:
    """(*size): each coefficient of an FFT's distance from the mean, 0..1."""
    squares = torch.zeros(size)
    for axis, n in enumerate(size):
        squares = squares + torch.fft.fftfreq(n).reshape([-1 if a == axis else 1 for a in range(len(size))]) ** 2
    return (squares / (0.25 * len(size))).sqrt()


@dataclass(frozen=True, slots=True)
class ErrorTable:
    """Measured on scans that were not learned from.

    side: largest side of the images it was measured on, voxels. sigmas: (n,), rising. spectrum: n rows of BINS: mean squared error of a
    coefficient of the unitary FFT in each ring. Their mean over all coefficients is the mean squared error of a voxel (Parseval).
    """

    side: int
    sigmas: tuple[float, ...]
    spectrum: tuple[tuple[float, ...], ...]

    def rows(self, sigma: Tensor) -> NDArray[np.float64]:
        """(B,) -> (B, BINS), log-log interpolated; below the table a denoiser's error falls as sigma squared, above it stays."""
        at = np.log(sigma.detach().cpu().double().clamp_min(1e-8).numpy())
        where, known = np.log(np.array(self.sigmas)), np.log(np.maximum(np.array(self.spectrum), 1e-12))
        rows = np.stack([np.interp(at, where, column) for column in known.T], axis=1)
        return np.exp(rows + 2 * np.minimum(at - where[0], 0.0)[:, None])

    def at(self, sigma: Tensor, size: tuple[int, ...]) -> Tensor:
        """(B,) -> (B, *size): variance of each FFT coefficient, in the order of ``torch.fft.fftn``."""
        place = radius(size) * (BINS - 1)
        low = place.floor().long().clamp_max(BINS - 2)
        share = place - low
        rows = torch.from_numpy(self.rows(sigma)).float()
        return rows[:, low] * (1 - share) + rows[:, low + 1] * share

    def mean(self, sigma: Tensor) -> Tensor:
        """(B,) -> (B,): mean squared error of a voxel."""
        return self.at(sigma, (64, 64)).flatten(1).mean(1).to(sigma)
