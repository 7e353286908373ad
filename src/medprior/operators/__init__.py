"""Measurements: operators with their algebra, noise, and the two put together."""

from .catalogue import CATALOGUE
from .ct.cone import ConeBeam, cone_ct
from .ct.projections import LineIntegrals, fan_ct, parallel_ct, view_angles
from .estimate import (
    NoiseEstimate,
    flat_noise,
    kspace_noise,
    noise_covariance,
    photon_noise,
    wavelet_noise,
    whiten,
    with_estimated_noise,
)
from .measurement import Measurement, simulate, together
from .mri.fourier import as_complex, coils, fourier, mri, pair
from .mri.from_scanner import measured_kspace, measured_sinogram, sinogram_operator
from .mri.nonuniform import density_compensation, nonuniform_mri, radial, spiral
from .mri.sampling_masks import acceleration_of, cartesian_lines, partial_fourier, poisson_disc
from .mri.sensitivities import calibration_region, coil_maps, simulated_coils, with_image_phase
from .noise import ComplexGaussian, Gaussian, Noise, Poisson, Rician, Speckle, Unknown
from .operator import Operator, identity, stack
from .pixels import channels, crop, diagonal, mask
from .resample import blur, downsample, thick_slices, truncate
from .slices import neighbours, per_slice
from .solve import cg, norm

__all__ = [
    "CATALOGUE",
    "ComplexGaussian",
    "ConeBeam",
    "Gaussian",
    "LineIntegrals",
    "Measurement",
    "Noise",
    "NoiseEstimate",
    "Operator",
    "Poisson",
    "Rician",
    "Speckle",
    "Unknown",
    "acceleration_of",
    "as_complex",
    "blur",
    "calibration_region",
    "cartesian_lines",
    "cg",
    "channels",
    "coil_maps",
    "coils",
    "cone_ct",
    "crop",
    "density_compensation",
    "diagonal",
    "downsample",
    "fan_ct",
    "flat_noise",
    "fourier",
    "identity",
    "kspace_noise",
    "mask",
    "measured_kspace",
    "measured_sinogram",
    "mri",
    "neighbours",
    "noise_covariance",
    "nonuniform_mri",
    "norm",
    "pair",
    "parallel_ct",
    "partial_fourier",
    "per_slice",
    "photon_noise",
    "poisson_disc",
    "radial",
    "simulate",
    "simulated_coils",
    "sinogram_operator",
    "spiral",
    "stack",
    "thick_slices",
    "together",
    "truncate",
    "view_angles",
    "wavelet_noise",
    "whiten",
    "with_estimated_noise",
    "with_image_phase",
]
