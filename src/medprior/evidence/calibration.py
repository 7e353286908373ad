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
from .conformal import patients_needed
from .intervals import intraclass_correlation

__all__ = [
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
    """The least scale at which a new patient has at most a share alpha of voxels outside, in the mean over
    patients.

    curves: (n, len(SCALES)), one row a patient: the mean over the patient's scans of ``coverage_curve``.
    Raises Uncalibrated where n < 1 / alpha - 1, or where no scale is wide enough.
    """
    if (at := _controlled(1 - curves, alpha)) is None:
        raise Uncalibrated(
            f"{len(curves)} patients cannot support intervals that miss {alpha:g}",
            f"calibrate with at least {patients_needed(alpha)}, better 50",
        )
    return float(SCALES[at])


def _controlled(missed: Tensor, alpha: float) -> int | None:
    """The first of k candidates, in rising order, whose loss for a new patient is at most alpha in the mean.

    missed: (n, k) in 0..1, falling along k: of each patient the mean over scans. Conformal risk control
    (Angelopoulos et al., ICLR 2024, eq. 4): (n * mean loss + 1) / (n + 1) <= alpha, for exchangeable
    patients, however alike the scans of one are.
    """
    n = len(missed)
    enough = ((n * missed.mean(0) + 1) / (n + 1) <= alpha + 1e-9).nonzero()
    return int(enough[0, 0]) if len(enough) else None


def _by_patient(rows: Tensor, patients: Sequence[object]) -> Tensor:
    """(scans, k) -> (patients, k): means of the scans of each."""
    names = {who: at for at, who in enumerate(dict.fromkeys(patients))}
    at = torch.tensor([names[who] for who in patients])
    sums = torch.zeros((len(names), rows.shape[1]), dtype=rows.dtype).index_add(0, at, rows)
    return sums / torch.bincount(at)[:, None]


def fit_calibration(
    curves: Tensor,
    ratios: Sequence[float],
    patients: Sequence[object],
    level: float,
    named: int | None = None,
) -> Calibration:
    """curves: (scans, len(SCALES)) from ``coverage_curve``; ratios: of each scan, mean squared error over
    mean squared deviation; patients: whose each scan is; named: how many scans name their patient.

    The units are patients: the scans of one are averaged. Raises Uncalibrated for fewer than 1 / (1 - level)
    - 1 patients.
    """
    n, needed = len(set(patients)), patients_needed(1 - level)
    if n < needed:
        raise Uncalibrated(
            f"intervals at {level:.0%} for a new patient need {needed} patients, got {len(curves)} scans of "
            f"{n}: {needed - n} patients are missing",
            "give scans of more patients that the prior has not learned from; more of the same do not help",
        )
    found = torch.tensor(ratios, dtype=torch.float64)
    bounds = found.sort().values
    at = _controlled(_by_patient((found[:, None] > bounds).double(), patients), 1 - level)
    return Calibration(
        level,
        conformal_scale(_by_patient(curves, patients), 1 - level),
        len(curves),
        float(bounds[at if at is not None else -1]),
        n,
        "patients",
        intraclass_correlation(found.clamp_min(1e-12).log().numpy(), patients),
        named,
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
