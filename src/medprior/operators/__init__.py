"""Measurements: operators with their algebra, noise, and the two put together."""

from .catalogue import CATALOGUE
from .ct import LineIntegrals, fan_ct, parallel_ct, view_angles
from .fourier import as_complex, coils, fourier, mri, pair
from .measurement import Measurement, simulate, together
from .noise import ComplexGaussian, Gaussian, Noise, Poisson, Rician, Unknown
from .operator import Operator, identity, stack
from .pixels import channels, crop, diagonal, mask
from .resample import blur, downsample, thick_slices
from .sampling_masks import cartesian_lines, partial_fourier, poisson_disc
from .solve import cg, norm

__all__ = [
    "CATALOGUE",
    "ComplexGaussian",
    "Gaussian",
    "LineIntegrals",
    "Measurement",
    "Noise",
    "Operator",
    "Poisson",
    "Rician",
    "Unknown",
    "as_complex",
    "blur",
    "cartesian_lines",
    "cg",
    "channels",
    "coils",
    "crop",
    "diagonal",
    "downsample",
    "fan_ct",
    "fourier",
    "identity",
    "mask",
    "mri",
    "norm",
    "pair",
    "parallel_ct",
    "partial_fourier",
    "poisson_disc",
    "simulate",
    "stack",
    "thick_slices",
    "together",
    "view_angles",
]
