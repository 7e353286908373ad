"""Calibrate: reconstructions of known scans of other patients -> the scale at which intervals hold, and what
kind of measurement they hold for.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import exp, log

import torch
from torch import Tensor

from ..errors import Uncalibrated
from ..evidence.calibration import SCALES, coverage_curve, fit_calibration, measurement_kind
from ..evidence.metrics import psnr
from ..operators import Measurement
from ..prior.promises import IntervalPromise, MeasurementKind, ReconstructionMethod
from ..sampling import Draws

__all__ = [
    "BODY",
    "CaseResiduals",
    "calibration_entry",
    "mean_kind",
    "narrower_than_one_width",
    "residuals_of",
]

BODY = -0.95
"""Voxels of the known image above this, in network units, count: air around the patient is easily right and
would make any interval look good.
"""

PLAIN_WIDTH = 0.02
"""Half width of the trivial interval at a scale of 1, network units."""


@dataclass(frozen=True, slots=True)
class CaseResiduals:
    """One reconstruction held against the truth.

    curve: share of the body's voxels inside, for each of ``SCALES``. ratio: mean squared error over mean
    squared deviation, whole image. width: median deviation in the body, network units. psnr_db: of the mean.
    kind: of the measurement. patient: whose scan. mean_width: mean deviation in the body, network units.
    plain_curve: as ``curve``, for the trivial interval, ``PLAIN_WIDTH`` times the scale at every voxel.
    """

    curve: list[float]
    ratio: float
    width: float
    psnr_db: float
    kind: MeasurementKind
    patient: str
    mean_width: float = 0.0
    plain_curve: tuple[float, ...] = ()


def residuals_of(
    draws: Draws, truth: Tensor, measurement: Measurement, scale: tuple[float, float], patient: str
) -> CaseResiduals:
    """truth: (1, C, i, j[, k]), in the unit of the draws. measurement: that of the truth, in the same unit.
    scale: the values at -1 and 1 of the prior.
    """
    half, middle = (scale[1] - scale[0]) / 2, (scale[1] + scale[0]) / 2
    if draws.deviation is None:
        raise Uncalibrated(
            f"nothing says how far {draws.made_by} may be off", "reconstruct with medprior.jobs.reconstruct"
        )
    apart, deviation = draws.mean() - truth[0], draws.deviation
    body = truth[0] > BODY * half + middle
    if not bool(body.any()):
        body = torch.ones_like(body)
    return CaseResiduals(
        list(_rounded(coverage_curve(apart, deviation, body))),
        float(apart.double().square().mean() / deviation.double().square().mean()),
        float(deviation[body].median()) / half,
        float(psnr(draws.mean()[None], truth, 2 * half)[0]),
        measurement_kind(measurement.shifted(half, middle)),
        patient,
        float(deviation[body].mean()) / half,
        _rounded(coverage_curve(apart, torch.full_like(deviation, PLAIN_WIDTH * half), body)),
    )


def _rounded(curve: Tensor) -> tuple[float, ...]:
    return tuple(round(v, 5) for v in curve.tolist())


def narrower_than_one_width(found: Sequence[CaseResiduals], level: float) -> float | None:
    """By which share our intervals are narrower, on average, than the trivial ones of one width for all
    voxels. Both hold ``level`` of the body's voxels of these scans. None where it was not measured.
    """
    if not all(one.plain_curve for one in found):
        return None
    scales = [
        SCALES[int((torch.tensor(curves, dtype=torch.float64).mean(0) >= level).double().argmax())]
        for curves in ([one.curve for one in found], [one.plain_curve for one in found])
    ]
    own = scales[0] * sum(one.mean_width for one in found) / len(found)
    return 1 - float(own / (scales[1] * PLAIN_WIDTH))


def mean_kind(found: Sequence[CaseResiduals]) -> MeasurementKind:
    """The kind that stands for all: its numbers in the geometric mean. Raises Uncalibrated where one of them
    is not of that kind.
    """
    first = found[0].kind

    def middle_of(values: Sequence[float]) -> float:
        return exp(sum(log(v) for v in values) / len(values))

    means = {
        name: middle_of([getattr(one.kind, name) for one in found])
        for name in ("share", "white", "smooth", "side", "worst")
    }
    sectors = [middle_of(values) for values in zip(*(one.kind.sectors for one in found), strict=True)]
    middle = replace(first, **{**means, "side": round(means["side"]), "sectors": sectors})
    for one in found:
        if apart := middle.apart(one.kind):
            raise Uncalibrated(
                f"the calibration scans are not of one kind: {apart}",
                "calibrate one task, and one size of image, at a time",
            )
    return middle


def calibration_entry(
    found: Sequence[CaseResiduals],
    how: ReconstructionMethod,
    title: str,
    *,
    level: float = 0.9,
    named: int | None = None,
) -> IntervalPromise:
    """What intervals of this kind rest on. title: the measurement in words. named: how many of the scans name
    their patient. Raises Uncalibrated for too few patients, or scans of several kinds.
    """
    kind = mean_kind(found)
    calibration = fit_calibration(
        torch.tensor([one.curve for one in found], dtype=torch.float64),
        [one.ratio for one in found],
        [one.patient for one in found],
        level,
        named,
    )
    widths = torch.tensor([2 * calibration.scale * one.width for one in found])
    psnr_db = sum(one.psnr_db for one in found) / len(found)
    return IntervalPromise(title, kind, how, calibration, round(float(widths.median()), 5), round(psnr_db, 3))
