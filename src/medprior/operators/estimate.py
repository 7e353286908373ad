"""Unknown noise, estimated from the measurement itself: the corners of k-space, flat regions of an image,
neighbouring bins of a sinogram.

Each gives the noise and ``NoiseEstimate.how``, a sentence for the report: an estimate is never passed off as
a fact.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import log, sqrt

import torch
from torch import Tensor
from torch.nn import functional as F

from ..errors import BadOption, UnknownNoise
from .ct.cone import ConeBeam
from .ct.projections import LineIntegrals
from .measurement import Measurement
from .noise import ComplexGaussian, Gaussian, Noise, Poisson, Unknown

__all__ = [
    "NoiseEstimate",
    "flat_noise",
    "kspace_noise",
    "noise_covariance",
    "photon_noise",
    "wavelet_noise",
    "whiten",
    "with_estimated_noise",
]

DETAIL = (-0.12940952, -0.22414387, 0.83651630, -0.48296291)
"""High-pass filter of Daubechies' wavelet with two vanishing moments, norm 1: a plane leaves nothing in it,
white noise keeps its standard deviation.
"""
RUN = 30
"""Bins of a sinogram that are averaged at once."""
NORMAL_MAD = 0.67448975
"""Median of |n| for a standard normal n."""


@dataclass(frozen=True, slots=True)
class NoiseEstimate:
    """A noise and how it was found, one sentence."""

    noise: Noise
    how: str


def wavelet_noise(image: Tensor) -> NoiseEstimate:
    """White noise from the finest diagonal wavelet coefficients: median |d| / 0.6745. image: (..., i, j)
    real; all planes are one set.

    Fine detail that fills half of the image counts as noise; ``flat_noise`` is the better one there. Exact
    zeros (a blanked background) are left out. Source: Donoho and Johnstone, Biometrika 81(3), 1994. Raises
    BadOption for a complex image, or one that is too small or constant.
    """
    detail = _detail(image).flatten()
    detail = detail[detail != 0].abs()
    if not detail.numel():
        raise BadOption("noise: wanted a measurement with noise in it, got a constant one")
    std = float(detail.median()) / NORMAL_MAD
    return NoiseEstimate(
        Gaussian(std),
        f"white noise of standard deviation {std:.3g}, estimated from the finest wavelet coefficients "
        "(median absolute deviation)",
    )


def flat_noise(image: Tensor, *, side: int = 8) -> NoiseEstimate:
    """White noise from the flattest blocks of ``side`` pixels. image: (..., i, j) real; the last two axes are
    cut into blocks that overlap by half.

    The energy of the finest wavelet coefficients is taken block by block. From the flattest 5 % on, blocks
    are accepted while they lie within 1.5 standard errors of the mean of those accepted. Regions without
    edges agree; textured ones differ. Blocks of exact zeros (a blanked background) are left out. Source:
    sigma clipping, as in Olsen, CVGIP 55(4), 1993 (block methods). Raises BadOption as ``wavelet_noise``.
    """
    detail = _detail(image)
    if min(detail.shape[-2:]) < side:
        raise BadOption(
            f"flat_noise: wanted an image that holds a block of {side} x {side} pixels, got "
            f"{tuple(image.shape)}",
            "use a smaller side",
        )
    blocks = detail.unfold(1, side, (side + 1) // 2).unfold(2, side, (side + 1) // 2)
    level = _flattest(blocks.square().mean((-1, -2)).flatten(), side**2)
    std = float(level.sqrt())
    return NoiseEstimate(
        Gaussian(std),
        f"white noise of standard deviation {std:.3g}, estimated from the flattest blocks of {side} x {side} "
        "pixels",
    )


def _flattest(power: Tensor, count: int) -> Tensor:
    """Mean power of the blocks that agree with the flattest ones; count: numbers in a block, of which about
    half are independent: neighbours share pixels.
    """
    power = power[power > 0].sort().values
    if not power.numel():
        raise BadOption("noise: wanted a measurement with noise in it, got a constant one")
    slack = 1 + 1.5 * sqrt(2 / (count / 1.9))
    level, mean = power[int(0.05 * power.numel())] * 1.3, power.new_zeros(())
    while level != mean:
        mean = level
        level = power[power <= slack * mean].mean()
    return level


def _detail(image: Tensor) -> Tensor:
    """(n, i - 3, j - 3): diagonal wavelet coefficients of each plane, double precision."""
    if image.is_complex() or image.ndim < 2 or min(image.shape[-2:]) < 8:
        raise BadOption(
            f"noise of an image: wanted real (..., i, j) of at least 8 x 8 pixels, got {tuple(image.shape)} "
            f"{image.dtype}",
            "use kspace_noise",
        )
    taps = torch.tensor(DETAIL, dtype=torch.float64, device=image.device)
    planes = image.detach().double().reshape(-1, 1, *image.shape[-2:])
    detail = F.conv2d(planes, (taps[:, None] * taps)[None, None])[:, 0]
    return torch.where(
        detail.abs() > 1e-12 * planes.abs().amax(), detail, 0
    )  # what rounding leaves of a constant is none


def noise_covariance(kspace: Tensor, mask: Tensor | None = None, *, share: float = 0.05) -> Tensor:
    """(n_coils, n_coils) complex128: covariance E[n n^H] / 2 of the coils' noise, so that its diagonal is the
    variance of each real part.

    kspace: (n_coils, i, j[, k]) complex; mask: True where measured, default where any coil is not zero. It is
    read from the ``share`` of the measured samples that lie farthest from the zero frequency, where the body
    sends least. The diagonal comes from medians, which a few strong samples do not move. What the body still
    sends there counts as noise: an image with detail down to the pixel gives too large a value, never too
    small a one. Raises BadOption where there are not enough samples for that many coils.
    """
    if not kspace.is_complex() or kspace.ndim < 3:
        raise BadOption(
            f"noise_covariance: wanted complex k-space (n_coils, i, j[, k]), got {tuple(kspace.shape)} "
            f"{kspace.dtype}"
        )
    seen = (kspace != 0).any(0) if mask is None else mask.bool().expand(kspace.shape[1:]).to(kspace.device)
    axes = [
        (torch.arange(n, device=kspace.device, dtype=torch.float64) - n // 2) / (n / 2)
        for n in kspace.shape[1:]
    ]
    far = torch.stack(torch.meshgrid(*axes, indexing="ij")).square().sum(0)[seen]
    count, n_coils = int(share * far.numel()), kspace.shape[0]
    if count < max(50, 4 * n_coils):
        raise BadOption(
            f"noise_covariance: wanted {max(50, 4 * n_coils)} outer samples for {n_coils} coils, got {count}",
            "state the noise, or raise share",
        )
    outer = kspace[:, seen][:, far.topk(count).indices].to(torch.complex128)
    std = outer.abs().median(1).values / sqrt(2 * log(2))  # |n| is Rayleigh distributed
    if not bool((std > 0).all()):
        raise BadOption(
            "noise_covariance: wanted noise in every coil, got a coil that is zero in the outer samples",
            "leave that coil out, or give the mask",
        )
    plain = outer @ outer.mH
    scale = std / plain.diagonal().real.sqrt()
    return plain * scale[:, None] * scale


def whiten(kspace: Tensor, covariance: Tensor) -> Tensor:
    """L^-1 k with covariance = L L^H: coils whose noise is uncorrelated with standard deviation 1 in each
    part. kspace: (n_coils, ...) complex.

    Maps estimated from whitened k-space belong to it, and the image keeps its meaning. Source: Pruessmann et
    al., MRM 46(4), 2001, section on noise decorrelation. Raises BadOption for a covariance that is not one of
    these coils.
    """
    factor, wrong = torch.linalg.cholesky_ex(covariance.to(torch.complex128))
    if tuple(covariance.shape) != (kspace.shape[0],) * 2 or int(wrong):
        raise BadOption(
            f"whiten: wanted a positive definite covariance of {kspace.shape[0]} coils, got "
            f"{tuple(covariance.shape)}",
            "see noise_covariance",
        )
    lines = kspace.flatten(1).to(torch.complex128)
    return (
        torch.linalg.solve_triangular(factor.to(kspace.device), lines, upper=False)
        .reshape(kspace.shape)
        .to(kspace.dtype)
    )


def kspace_noise(kspace: Tensor, mask: Tensor | None = None, *, share: float = 0.05) -> NoiseEstimate:
    """Complex noise, one standard deviation a coil, from the outermost samples of k-space. Arguments and
    errors as ``noise_covariance``.
    """
    std = noise_covariance(kspace, mask, share=share).diagonal().real.sqrt()
    entries = std.to(kspace.real.dtype).reshape(-1, *[1] * (kspace.ndim - 1))
    low, high = float(std.min()), float(std.max())
    spread = f"{low:.3g}" if kspace.shape[0] == 1 else f"{low:.3g} to {high:.3g} by coil"
    noise = ComplexGaussian(low) if kspace.shape[0] == 1 else ComplexGaussian(entries)
    return NoiseEstimate(
        noise,
        f"complex noise of standard deviation {spread}, estimated from the outermost {share:.0%} of the "
        "k-space samples",
    )


def photon_noise(sinogram: Tensor) -> NoiseEstimate:
    """Photons a detector element receives without an object, from neighbouring bins. sinogram: (...,
    n_angles, n_bins[, k = 1]) line integrals.

    The second difference along the bins has the variance (e^(y-) + 4 e^y + e^(y+)) / counts and hardly any
    signal. Its square over that is averaged over runs of 30 bins; from the flattest runs, outside of edges,
    comes 1 / counts as in ``flat_noise``. Source: the noise of ``Poisson``, and differences as in Rank, Lendl
    and Unbehauen, IEE Proc. Vis. Image Signal Process. 146(2), 1999. Raises BadOption for too few bins or a
    sinogram without noise.
    """
    y = sinogram.detach().double()
    if y.is_complex() or y.ndim < 2 or y.shape[-1] < RUN + 2:
        wanted = f"real line integrals (..., n_angles, n_bins) of at least {RUN + 2} bins"
        raise BadOption(f"photon_noise: wanted {wanted}, got {tuple(sinogram.shape)} {sinogram.dtype}")
    before, here, after = y[..., :-2], y[..., 1:-1], y[..., 2:]
    power = (before - 2 * here + after).square() / (
        torch.exp(before) + 4 * torch.exp(here) + torch.exp(after)
    )
    runs = power.unfold(-1, RUN, RUN // 2).mean(-1).flatten()
    counts = 1 / float(_flattest(runs, RUN))
    return NoiseEstimate(
        Poisson(counts),
        f"{counts:.3g} photons a detector element, estimated from the differences of neighbouring bins",
    )


def with_estimated_noise(measurement: Measurement) -> tuple[Measurement, str]:
    """The measurement with its noise estimated where it was ``Unknown``, and the sentence that says how; else
    itself and "".

    Complex measurements go by ``kspace_noise``, sinograms by ``photon_noise``, images by ``flat_noise``.
    Raises UnknownNoise for any other kind of measurement, or a batch of several: their noise must be stated.
    """
    if not isinstance(measurement.noise, Unknown):
        return measurement, ""
    operator, y = measurement.operator, measurement.y
    one_grid = y.ndim >= 4 and y.shape[0] == 1
    if one_grid and operator.is_complex:
        seen = None if operator.observed is None else operator.observed.expand(operator.codomain).any(0)
        found = kspace_noise(y[0], seen)
    elif one_grid and isinstance(operator, LineIntegrals | ConeBeam):
        found = photon_noise(
            y[0] if y.ndim == 4 else y[0].movedim(-1, 1)
        )  # bins, or columns of the detector, last
    elif (
        one_grid
        and operator.observed is None
        and len(operator.codomain) == len(operator.domain)
        and not operator.domain_is_complex
    ):
        found = flat_noise(y[0] if y.ndim == 4 else y[0].movedim(-1, 1))
    else:
        raise UnknownNoise(
            f"the noise of this measurement ({operator.name}) is unknown and cannot be estimated from it",
            "state it, e.g. Gaussian(std)",
        )
    return replace(measurement, noise=found.noise), found.how
