"""How far a reconstruction is likely to be from the truth, voxel by voxel: the shape of an interval, whose
scale is calibrated elsewhere.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ..data.grids import box_mean
from ..operators import Measurement
from ..prior import Denoiser
from .rules import laplace_draws

__all__ = ["draw_deviation", "local_deviation"]

_LEVEL = 0.1
"""Noise level, network units, at which the prior is asked how sure it is of a point estimate. Between 0.1 and
0.6 it hardly matters: the widths of calibrated intervals in MRI and super-resolution differ by 2 %
(bench/deviation.py)."""

_FLOOR = 0.05
"""Least deviation of a voxel, as a share of the image's own: eight draws may agree by chance."""


def draw_deviation(values: Tensor) -> Tensor:
    """(N, C, i, j[, k]) draws -> (C, i, j[, k]): their standard deviation, the variance averaged with that of
    the nearest neighbours.

    A variance from 8 draws is off by half of itself; neighbours have nearly the same one. At equal coverage
    the intervals are a tenth narrower than without.
    """
    variance = values.var(0)
    smooth = box_mean(variance[None], 3)[0]
    return (smooth + _FLOOR**2 * variance.mean()).sqrt()


def local_deviation(
    denoiser: Denoiser, measurement: Measurement, point: Tensor, rng: torch.Generator, *, n: int = 8
) -> Tensor:
    """(C, i, j[, k]): the deviation of n draws of the Gaussian that measurement and prior make together
    around a point estimate (1, C, i, j[, k]).

    It costs one network evaluation and n solves. It knows what the measurement leaves open as long as the
    image is about right. It is usually too narrow, since altogether different images are not considered. Its
    scale is calibrated (Laplace's approximation, MacKay 1992, by perturb and optimise).
    """
    return draw_deviation(laplace_draws(denoiser, measurement, point, _LEVEL, n, rng))
