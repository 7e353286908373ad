"""Intervals that hold: a scale for what a reconstruction says of its own error, measured on scans of other
patients, and what kind of measurement it is for.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from math import pi, prod
from typing import Any

import torch
from torch import Tensor

from ..data.seeds import generator
from ..errors import BadOption, Uncalibrated
from ..operators import Measurement, Operator
from ..operators.operator import Scaled
from ..prior.rings import radius
from ..sampling import Calibration
from .conformal import threshold

__all__ = [
    "LEAST",
    "METHOD",
    "SCALES",
    "MeasurementKind",
    "ReconstructionMethod",
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

_SHARE, _HEARD, _SIZE = 1.15, 1.4, 1.5
"""How far another measurement may be from the calibrated kind, as factors: numbers a voxel, precision, side
of the image.
"""

_LOCAL, _SECTORS, _PARTS = 2.0, 8, 4
"""The same factor for the precision in one direction of frequency (of 8 from 0 to 180 degrees), and in one
part of the image (of 4 along each side): random lines differ by up to 1.4 there (of every fourth or eighth;
of every sixteenth by more than 2 at times); a box instead of scattered holes, or a limited angle, by far
more."""

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


@dataclass(frozen=True, slots=True)
class MeasurementKind:
    """What a calibration must know of a measurement, in network units; one of another kind has other errors.

    operator: its name. share: real numbers measured for each voxel. white, smooth: noise that would be left
    in an image of white noise, and in one whose amplitude falls as 1 / frequency as anatomy's does: (x . A^H
    C^-1 A x / x . x)^(-1/2). side: voxels of the longest side. ndim: 2 or 3. sectors: what is left of white
    noise in each of 8 directions of frequency, in the plane of the first two axes. worst: in that part of the
    image, of 4 along each side, that was measured worst.
    """

    operator: str
    share: float
    white: float
    smooth: float
    side: int
    ndim: int
    sectors: Sequence[float] = ()
    worst: float = 0.0

    def apart(self, other: MeasurementKind) -> str:
        """Why an interval of this kind does not serve ``other``; "" where it does."""
        if self.operator != other.operator:
            return f"it is for {self.operator}, this is {other.operator}"
        if self.ndim != other.ndim:
            return f"it is for {self.ndim}-D images"
        limits = {"share": _SHARE, "white": _HEARD, "smooth": _HEARD, "side": _SIZE}
        said = {
            "share": "measured numbers a voxel",
            "white": "noise on fine detail",
            "smooth": "noise on broad shapes",
            "side": "voxels a side",
        }
        for name, most in limits.items():
            mine, others = getattr(self, name), getattr(other, name)
            if not _near(mine, others, most):
                return f"it is for {mine:.3g} {said[name]}, here are {others:.3g}"
        if len(self.sectors) != len(other.sectors) or not all(
            _near(a, b) for a, b in zip(self.sectors, other.sectors, strict=True)
        ):
            return "it is for frequencies measured in other directions"
        if not _near(self.worst, other.worst):
            return "it is for other parts of the image left out"
        return ""


def _near(mine: float, other: float, most: float = _LOCAL) -> bool:
    return mine / most <= other <= mine * most


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


@dataclass(frozen=True, slots=True)
class ReconstructionMethod:
    """The settings of a reconstruction that its errors depend on; of a point estimate (``fast``) none but
    that it is one, and caution.

    caution, method: an entry without them was made before there was either.
    """

    fast: bool
    n: int
    rule: str
    n_steps: int
    high: float
    low: float
    caution: bool = False
    method: int = 1

    @property
    def said(self) -> str:
        """What a person chooses of it, as the command line calls it."""
        return "--fast" if self.fast else f"--n {self.n} --steps {self.n_steps}"

    def apart(self, other: ReconstructionMethod) -> str:
        """Why an interval measured so does not serve ``other``."""
        if self.method != other.method:
            return f"it was made by method {self.method} of medprior, this is {other.method}"
        if self.fast != other.fast:
            return f"it is for {'the point estimate' if self.fast else f'{self.n} draws'}"
        names = ("caution",) if self.fast else ("n", "rule", "n_steps", "high", "low", "caution")
        wrong = [
            f"{name} {getattr(self, name)}" for name in names if getattr(self, name) != getattr(other, name)
        ]
        return f"it is for {', '.join(wrong)}" if wrong else ""


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
    trust: Mapping[str, Any], inside: Measurement, how: ReconstructionMethod
) -> tuple[Calibration | None, str]:
    """(the calibration that serves, "") from a prior's trust.json, or (None, why none does). inside: the
    measurement in network units.
    """
    entries = trust.get("reconstruct", [])
    if not entries:
        return None, "nothing was calibrated for this prior"
    name, ndim = operator_name(inside.operator), len(inside.operator.domain) - 1
    near = [entry for entry in entries if (entry["kind"]["operator"], entry["kind"]["ndim"]) == (name, ndim)]
    # what kind it is costs as much as some steps of a reconstruction, and of a volume more memory than its
    # own
    if not near:
        return (
            None,
            f"calibrated so far: {', '.join(dict.fromkeys(entry['title'] for entry in entries))}; this is "
            f"{_SAID.get(name, name)}, {ndim}-D",
        )
    kind = measurement_kind(inside)
    for entry in reversed(near):  # the newest first
        if not (
            ReconstructionMethod(**entry["how"]).apart(how) or MeasurementKind(**entry["kind"]).apart(kind)
        ):
            return Calibration(**entry["calibration"]), ""
    return None, _refusal(near, kind, how)


def _refusal(near: Sequence[Mapping[str, Any]], kind: MeasurementKind, how: ReconstructionMethod) -> str:
    """Why none of the calibrations of this operator serves: with which options it would, where options alone
    are in the way, or else what each is for; each reason once.
    """
    options: dict[str, set[str]] = {}
    reasons: dict[str, None] = {}
    for entry in reversed(near):  # the newest first
        own, apart = ReconstructionMethod(**entry["how"]), MeasurementKind(**entry["kind"]).apart(kind)
        chosen = replace(how, fast=own.fast, n=own.n, n_steps=own.n_steps)
        if not apart and not own.apart(chosen):
            options.setdefault(own.said, set()).add(entry["title"])
        reasons[f"{entry['title']}: {own.apart(how) or apart}"] = None
    if not options:
        return "no calibration of this kind: " + "; ".join(reasons)
    exist = " or ".join(f"for {' and '.join(sorted(titles))} with {said}" for said, titles in options.items())
    return f"intervals exist {exist}; this is a run with {how.said}"
