"""Intervals that hold: a scale for what a reconstruction says of its own error, measured on scans of other
patients, and what kind of measurement it is for.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from math import pi, prod

import torch
from torch import Tensor

from ..data.seeds import generator
from ..errors import BadOption, Uncalibrated
from ..operators import Measurement, Operator
from ..operators.operator import Scaled
from ..prior.promises import Calibration, IntervalPromise, MeasurementKind, ReconstructionMethod
from ..prior.rings import radius
from .conformal import threshold

__all__ = [
    "LEAST",
    "METHOD",
    "SCALES",
    "conformal_scale",
    "coverage_curve",
    "entry_for",
    "fit_calibration",
    "measurement_kind",
    "operator_name",
]

SCALES = torch.logspace(-1, 2, 301, dtype=torch.float64)
"""Candidates for the scale of an interval, 2.3 % apart."""

LEAST = 50
"""Calibration scans below which no interval is printed."""

METHOD = 2
"""Raised whenever the images, or what is said of their error, change for the same settings: an interval
measured before that serves no more.

1: levels after Karras et al.; a point estimate of eight rounds. 2: levels even in the logarithm, caution, six
rounds with momentum.
"""

_SECTORS, _PARTS = 8, 4
"""Directions of frequency from 0 to 180 degrees, and parts along each side of the image.
"""

_DEAF = 1e6
"""The noise that is left where nothing was measured."""

_SAID = {
    "Downsample": "larger pixels",
    "Identity": "a noisy image",
    "LineIntegrals": "projections",
    "Mask": "missing pixels",
    "Mask @ Fourier @ AsComplex": "MRI of one coil",
    "Mask @ Fourier @ Coils @ AsComplex": "MRI of several coils",
}
"""Names of operators in words."""


def measurement_kind(inside: Measurement) -> MeasurementKind:
    """Of a measurement of an image in network units, whose noise is known."""
    operator = inside.operator
    variance = inside.noise.variance(inside.y)
    size = operator.domain[1:]
    axes = tuple(range(1, 1 + len(size)))
    fall = radius(size).clamp_min(1 / max(size))
    sector, part = _sector_of(size), _part_of(size)
    heard, there = torch.zeros((2, 2 + _SECTORS + _PARTS ** len(size)), dtype=torch.float64)
    for x in torch.randn(
        (4, *operator.domain), generator=generator(0, "kind")
    ):  # one by one: a volume is large
        smooth = torch.fft.ifftn(torch.fft.fftn(x, dim=axes) / fall, dim=axes).real
        fine, broad = (
            operator.adjoint(operator.apply(probe[None]) / variance)[0].to(x) for probe in (x, smooth)
        )
        spectrum = torch.fft.fftn(x, dim=axes)
        precise = (spectrum.conj() * torch.fft.fftn(fine, dim=axes)).real
        heard += torch.cat(
            [
                (x * fine).sum()[None],
                (smooth * broad).sum()[None],
                _sums(precise, sector, _SECTORS),
                _sums(x * fine, part, _PARTS ** len(size)),
            ]
        )
        power = _sums(spectrum.abs().square(), sector, _SECTORS), _sums(x.square(), part, _PARTS ** len(size))
        there += torch.cat([x.square().sum()[None], smooth.square().sum()[None], *power])
    left = [_left(float(h), float(t)) for h, t in zip(heard, there, strict=True)]
    worst = max(noise for noise, t in zip(left[2 + _SECTORS :], there[2 + _SECTORS :], strict=True) if t > 0)
    return MeasurementKind(
        operator_name(operator),
        inside.count / prod(operator.domain),
        left[0],
        left[1],
        max(size),
        len(size),
        left[2 : 2 + _SECTORS],
        worst,
    )


def operator_name(operator: Operator) -> str:
    """Of what was measured, without the factors that a change of units puts before it."""
    while isinstance(operator, Scaled):
        operator = operator.of
    return operator.name


def _sums(x: Tensor, group: Tensor, n: int) -> Tensor:
    """(C, *size), (*size) -> (n,): the sum over each group; what is in none, -1, is left out."""
    return torch.zeros(n + 1, dtype=torch.float64).index_add(
        0, group.flatten() + 1, x.sum(0).flatten().double()
    )[1:]


def _left(heard: float, there: float) -> float:
    """Standard deviation of the noise that is left, from precision times power, and power."""
    return (there / heard) ** 0.5 if heard > there / _DEAF**2 else _DEAF


def _part_of(size: tuple[int, ...]) -> Tensor:
    """(*size) int64: which part of the image."""
    part = torch.zeros(size, dtype=torch.long)
    for axis, n in enumerate(size):
        along = torch.arange(n) * min(_PARTS, n) // n
        part = part * _PARTS + along.reshape([-1 if a == axis else 1 for a in range(len(size))])
    return part


def _sector_of(size: tuple[int, ...]) -> Tensor:
    """(*size) int64: the direction of each coefficient of an FFT, in the plane of the first two axes; the
    mean belongs to none.
    """
    along, across = (
        torch.fft.fftfreq(n).reshape([-1 if a == axis else 1 for a in range(len(size))]).expand(size)
        for axis, n in enumerate(size[:2])
    )
    sector = ((torch.atan2(across, along) % pi) / pi * _SECTORS + 0.5).floor().long() % _SECTORS
    return torch.where((along == 0) & (across == 0), -1, sector)


def coverage_curve(apart: Tensor, deviation: Tensor, where: Tensor) -> Tensor:
    """(len(SCALES),): share of the voxels in ``where`` (bool) that differ by no more than scale * deviation;
    all shaped alike. Raises BadOption for none.
    """
    if not bool(where.any()):
        raise BadOption("covered: wanted at least one voxel to look at, got none")
    ratio = (apart.abs()[where] / deviation[where].clamp_min(1e-12)).double().sort().values
    return torch.searchsorted(ratio, SCALES, right=True).double() / len(ratio)


def conformal_scale(curves: Tensor, alpha: float) -> float:
    """The least scale at which a new scan has at most a share alpha of its voxels outside, in the mean over
    scans.

    curves: (n, len(SCALES)) from ``coverage_curve``, one row a calibration scan. Conformal risk control
    (Angelopoulos et al., ICLR 2024, eq. 4): the least scale with (n * mean share outside + 1) / (n + 1) <=
    alpha, which holds for any score where the scans are exchangeable. Raises Uncalibrated where n < 1 / alpha
    - 1, or where no scale is wide enough.
    """
    n = len(curves)
    risk = (n * (1 - curves.mean(0)) + 1) / (n + 1)
    enough = (risk <= alpha).nonzero()
    if not len(enough):
        raise Uncalibrated(
            f"{n} scans cannot support intervals that miss {alpha:g}",
            f"calibrate with at least {max(LEAST, int(1 / alpha))} scans",
        )
    return float(SCALES[enough[0, 0]])


def fit_calibration(curves: Tensor, ratios: Sequence[float], patients: int, level: float) -> Calibration:
    """curves: as ``conformal_scale``; ratios: of each scan, mean squared error over mean squared deviation.
    Raises Uncalibrated for fewer than LEAST scans.
    """
    if len(curves) < LEAST:
        raise Uncalibrated(
            f"{len(curves)} scans are too few to calibrate with",
            f"give at least {LEAST} of patients that the prior has not learned from",
        )
    return Calibration(
        level, conformal_scale(curves, 1 - level), len(curves), threshold(list(ratios), 1 - level), patients
    )


def entry_for(
    promised: Sequence[IntervalPromise], inside: Measurement, how: ReconstructionMethod
) -> tuple[Calibration | None, str]:
    """(the calibration that serves, "") of those that the prior has, or (None, why none does). inside: the
    measurement in network units.
    """
    if not promised:
        return None, "nothing was calibrated for this prior"
    name, ndim = operator_name(inside.operator), len(inside.operator.domain) - 1
    near = [one for one in promised if (one.kind.operator, one.kind.ndim) == (name, ndim)]
    # what kind it is costs as much as some steps of a reconstruction, and of a volume more memory than its
    # own
    if not near:
        return (
            None,
            f"calibrated so far: {', '.join(dict.fromkeys(one.title for one in promised))}; this is "
            f"{_SAID.get(name, name)}, {ndim}-D",
        )
    kind = measurement_kind(inside)
    for one in reversed(near):  # the newest first
        if not (one.how.apart(how) or one.kind.apart(kind)):
            return one.calibration, ""
    return None, _refusal(near, kind, how)


def _refusal(near: Sequence[IntervalPromise], kind: MeasurementKind, how: ReconstructionMethod) -> str:
    """Why none of the calibrations of this operator serves: with which options it would, where options alone
    are in the way, or else what each is for; each reason once.
    """
    options: dict[str, set[str]] = {}
    reasons: dict[str, None] = {}
    for one in reversed(near):  # the newest first
        own, apart = one.how, one.kind.apart(kind)
        chosen = replace(how, fast=own.fast, n=own.n, n_steps=own.n_steps)
        if not apart and not own.apart(chosen):
            options.setdefault(own.said, set()).add(one.title)
        reasons[f"{one.title}: {own.apart(how) or apart}"] = None
    if not options:
        return "no calibration of this kind: " + "; ".join(reasons)
    exist = " or ".join(f"for {' and '.join(sorted(titles))} with {said}" for said, titles in options.items())
    return f"intervals exist {exist}; this is a run with {how.said}"
