"""How wrong a denoiser is, by noise level and by spatial frequency: what a rule takes its weight from."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from .rings import along_rings

__all__ = ["ErrorTable"]


@dataclass(frozen=True, slots=True)
class ErrorTable:
    """Measured on scans that were not learned from.

    side: largest side of the images it was measured on, voxels. sigmas: (n,), rising. errors: (n,) mean
    squared error of a voxel. spectrum: n rows of BINS: power of the error over its own stated standard
    deviation, in each ring of the unitary FFT. A row's mean over all coefficients is 1 where the stated
    deviations are right.
    """

    side: int
    sigmas: tuple[float, ...]
    errors: tuple[float, ...]
    spectrum: tuple[tuple[float, ...], ...]

    def mean(self, sigma: Tensor) -> Tensor:
        """(B,) -> (B,): mean squared error, log-log interpolated; below the table it falls as sigma squared,
        above it stays.
        """
        at, where = _log(sigma), np.log(np.array(self.sigmas))
        found = np.interp(at, where, np.log(np.maximum(self.errors, 1e-12))) + 2 * np.minimum(
            at - where[0], 0.0
        )
        return torch.from_numpy(np.exp(found)).to(sigma)

    def at(self, sigma: Tensor, size: tuple[int, ...]) -> Tensor:
        """(B,) -> (B, *size): the spectrum for each FFT coefficient, in the order of ``torch.fft.fftn``."""
        at, where = _log(sigma), np.log(np.array(self.sigmas))
        columns = np.log(np.maximum(np.array(self.spectrum), 1e-6)).T
        rows = torch.from_numpy(
            np.exp(np.stack([np.interp(at, where, column) for column in columns], axis=1))
        ).float()
        return along_rings(rows, size).to(sigma)


def _log(sigma: Tensor) -> NDArray[np.float64]:
    return np.log(sigma.detach().cpu().double().clamp_min(1e-8).numpy())
