"""Pointwise and local changes of the numbers: each is a function (image, its drawn parameters, what was seen
of it) -> image of the same shape.

The image given may be overwritten, which saves most of the memory traffic of a volume; ``vary.apply_record``
gives a copy.

Shares are of ``ImageStatistics.span``: the range of the image itself where its unit is arbitrary, 1000 HU
(air to water) where it is Hounsfield's.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from .frame import Frame, Parameters
from .spline import basis, field, random_knots

__all__ = [
    "ImageStatistics",
    "bias_field",
    "brightness",
    "contrast",
    "gamma",
    "gaussian_blur",
    "image_statistics",
    "lighting",
    "low_resolution",
    "noise",
    "rician_noise",
    "white_noise",
]

SAMPLES = 1024
"""About so many evenly spaced voxels is the range taken from: the same of the same image, and no sort of
millions.
"""

AIR, WATER = -1000.0, 0.0
"""HU."""


@dataclass(frozen=True, slots=True, eq=False)
class ImageStatistics:
    """What is measured of an image before it is changed. low, high: (C, 1, 1[, 1]), 1st and 99th percentile
    of each channel, or air and water for HU.

    span: high - low, 0 for a constant image; flat: some channel has none.
    """

    frame: Frame
    low: Tensor
    high: Tensor
    span: Tensor
    flat: bool = False


def image_statistics(x: Tensor, frame: Frame) -> ImageStatistics:
    """x: (C, i, j[, k])."""
    wide = (-1, *[1] * frame.ndim)
    if frame.unit == "HU":
        low = torch.full((len(x),), AIR, dtype=x.dtype, device=x.device)
        return ImageStatistics(
            frame,
            low.view(wide),
            (low + (WATER - AIR)).view(wide),
            torch.full_like(low, WATER - AIR).view(wide),
        )
    apart = [max(1, n // round(SAMPLES ** (1 / frame.ndim))) for n in frame.shape]
    lattice = x[
        (slice(None), *(slice(step // 2, None, step) for step in apart))
    ]  # in the middle of cells: an edge is often empty
    some = np.sort(lattice.reshape(len(x), -1).cpu().numpy())  # vectorised: five times as fast as a partition
    last = some.shape[1] - 1
    ends = some[:, (round(0.01 * last), round(0.99 * last))]
    low, high = torch.from_numpy(ends).to(x.device).view(len(x), 2, *wide[1:]).unbind(1)
    return ImageStatistics(
        frame, low, high, high - low, any(first >= second for first, second in ends.tolist())
    )


def brightness(x: Tensor, p: Parameters, at: ImageStatistics) -> Tensor:
    """Adds a share of the range."""
    return x.add_(p["share"] * at.span)


def contrast(x: Tensor, p: Parameters, at: ImageStatistics) -> Tensor:
    """Stretches about the mean of each channel."""
    mean = x.mean(tuple(range(1, x.ndim)), keepdim=True)
    return torch.add(mean.mul_(1 - p["factor"]), x, alpha=p["factor"], out=x)


def gamma(x: Tensor, p: Parameters, at: ImageStatistics) -> Tensor:
    """(x - low) / span to a power, times span, plus low; what is darker than low has no power and stays, and
    so does a constant image.

    One logarithm and one power of two, with the span in their exponent: ten passes over the image are seven.
    """
    exponent, span, kept = p["exponent"], at.span, None
    if at.flat:
        kept, span = x.clone(), span + (span <= 0)
    dark = torch.minimum(x, at.low)
    log = _log(x.sub_(at.low).clamp_min_(_NOTHING))  # of 0 and what is nearly 0 it takes long
    powered = (
        torch.add(span.log2().mul_(1 - exponent), log, alpha=exponent / math.log(2), out=log)
        .exp2_()
        .add_(dark)
    )
    return powered if kept is None else torch.where(at.span <= 0, kept, powered)


_NOTHING = 1e-30
"""Below it a value counts as none."""


def _log(x: Tensor) -> Tensor:
    """In place; numpy's is three times as fast as torch's."""
    if x.device.type != "cpu":
        return x.log_()
    values = x.numpy()
    np.log(values, out=values)
    return x


def lighting(x: Tensor, p: Parameters, at: ImageStatistics) -> Tensor:
    """Multiplies by exp(slope . r) about ``low``, r from -1 to 1 across the image: the heel effect of a tube,
    the time gain of ultrasound.
    """
    gain = torch.ones((), dtype=x.dtype, device=x.device)
    for axis, slope in enumerate(p["slopes"]):
        n = x.shape[axis + 1]
        ramp = torch.exp(slope * (2 * (torch.arange(n, dtype=torch.float64) + 0.5) / n - 1)).to(x)
        gain = gain * ramp.view(-1, *[1] * (x.ndim - 2 - axis))
    return x.sub_(at.low).mul_(gain).add_(at.low)


def bias_field(x: Tensor, p: Parameters, at: ImageStatistics) -> Tensor:
    """Multiplies by exp of a smooth field, as receive coils do (Van Leemput et al. 1999; the B-spline form is
    N4's, Tustison et al. 2010). About ``low``.
    """
    knots = p["share"] * random_knots(1, x.ndim - 1, p["cells"], p["seed"]).double()
    gain = field(knots.to(x), [basis(n, p["cells"]).to(x) for n in x.shape[1:]]).exp_()
    return x.sub_(at.low).mul_(gain).add_(at.low)


def white_noise(x: Tensor, seed: int) -> Tensor:
    """Standard normal numbers like x, drawn on the CPU, so that every device adds the same."""
    return torch.randn(x.shape, generator=torch.Generator().manual_seed(seed)).to(x)


def noise(x: Tensor, p: Parameters, at: ImageStatistics) -> Tensor:
    """Adds white Gaussian noise."""
    return x.addcmul_(white_noise(x, p["seed"]), p["share"] * at.span)


def rician_noise(x: Tensor, p: Parameters, at: ImageStatistics) -> Tensor:
    """Noise in both parts of the complex signal that a magnitude image shows (Gudbjartsson and Patz 1995); no
    signal is the lowest value of each channel.
    """
    dark = x.amin(tuple(range(1, x.ndim)), keepdim=True)
    std = p["share"] * at.span
    real, imaginary = white_noise(torch.stack([x, x]), p["seed"]) * std
    return torch.hypot(x - dark + real, imaginary).add_(dark)


def gaussian_blur(x: Tensor, p: Parameters, at: ImageStatistics) -> Tensor:
    """A Gaussian of ``sigma`` voxels of the finest axis, as wide in millimetres along the others; edges are
    repeated.
    """
    finest = min(at.frame.spacing)
    for axis, spacing in enumerate(at.frame.spacing):
        x = _blurred(x, axis + 1, p["sigma"] * finest / spacing)
    return x


def _blurred(x: Tensor, axis: int, sigma: float) -> Tensor:
    radius = math.ceil(3 * sigma)
    if sigma < 1e-3 or x.shape[axis] == 1:
        return x
    d = torch.arange(-radius, radius + 1, dtype=torch.float64)
    weights = torch.exp(-((d / sigma) ** 2) / 2)
    weights = (weights / weights.sum()).to(x)
    n = x.shape[axis]
    if x.ndim == 3:  # a convolution is fastest on images, a product with a banded matrix on volumes
        kernel = weights.view((1, 1, -1, 1) if axis == 1 else (1, 1, 1, -1))
        rows = (torch.arange(-radius, n + radius)).clamp(0, n - 1).to(x.device)
        return F.conv2d(x.index_select(axis, rows)[:, None], kernel)[:, 0]
    band = torch.zeros(n, n, dtype=x.dtype, device=x.device)
    row = torch.arange(n, device=x.device)
    for step, weight in zip(range(-radius, radius + 1), weights, strict=True):
        band.index_put_((row, (row + step).clamp(0, n - 1)), weight.expand(n), accumulate=True)
    if axis == x.ndim - 1:
        return x @ band.T
    return torch.matmul(band, x.flatten(axis + 1)).reshape(x.shape)


def low_resolution(x: Tensor, p: Parameters, at: ImageStatistics) -> Tensor:
    """Sampled with voxels 1 / zoom as large, averaged over them, and brought back linearly; axes of thick
    slices stay as they are (nnU-Net).
    """
    size = [
        n if axis == at.frame.thick else max(1, round(n * p["zoom"])) for axis, n in enumerate(x.shape[1:])
    ]
    small = F.interpolate(x[None], size=size, mode="area")
    return F.interpolate(
        small, size=tuple(x.shape[1:]), mode="bilinear" if x.ndim == 3 else "trilinear", align_corners=False
    )[0]
