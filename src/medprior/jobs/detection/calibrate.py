"""What a prior learns from healthy scans, and the calibration by healthy patients that it has not seen."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from ...data.volume import Volume
from ...errors import Uncalibrated
from ...evidence.conformal import p_value, patients_needed, threshold
from ...evidence.detectors.kept_scores import coarse_means, fit_plain_scores, plain_scores
from ...healthy.acquisition import sketch
from ...healthy.model import (
    EVIDENCE,
    HealthyModel,
    NetworkScan,
    ScanEvidence,
    fingerprint,
    learn_healthy_model,
    prior_expectation,
)
from ...prior import Prior
from ...prior.admit import Admitted, admit
from ...prior.promises import DetectPromise
from .twin import HEALTHY

__all__ = [
    "ALPHA",
    "HEIGHTS",
    "calibrate_detection",
    "conformal_score",
    "detection_entry",
    "evidence_of",
    "healthy_model_of",
    "healthy_scan_of",
    "learn_healthy",
    "usable",
]

ALPHA = 0.05
"""False-positive rate of the map's colour scale and of a flag."""

_GROWN = 0.995
"""A finding reaches where the map passes what so large a share of a healthy scan's voxels stays below."""

HEIGHTS = 32
"""Places along a volume at which the highest values of healthy scans are kept."""

_METHOD = 3
"""Of the evidence; a calibration of another one does not count."""


def learn_healthy(
    prior: Prior,
    healthy: Iterable[Volume],
    *,
    patients: Sequence[str] | None = None,
    seed: int = 0,
    n_variants: int | None = None,
    allow_other: bool = False,
    on_step: Callable[[int], None] | None = None,
) -> None:
    """Show the prior healthy scans, as a rule those that it learned from; kept in ``prior.healthy``, and a
    former calibration is forgotten.

    Plain detectors learn from the same scans and are kept beside it. patients: of each scan, where some have
    several. Raises Uncalibrated for fewer than 8 or for scans of one patient alone, WrongKind.
    """
    small: list[Tensor] = []

    def scans() -> Iterator[NetworkScan]:
        for volume in healthy:
            scan = healthy_scan_of(prior, admit(prior.card, volume, allow_other=allow_other))
            yield scan
            small.append(
                coarse_means(scan.whole, small[0] if small else None).clamp(-6e4, 6e4).half()
            )  # after it was found to be of one kind with the others

    known, _ = learn_healthy_model(
        prior, scans(), patients=patients, seed=seed, n_variants=n_variants, on_step=on_step
    )
    prior.healthy = known.tensors() | fit_plain_scores(small)
    prior.promises = replace(prior.promises, detect=None)


def calibrate_detection(
    prior: Prior,
    healthy: Iterable[Volume],
    *,
    allow_other: bool = False,
    on_step: Callable[[int], None] | None = None,
) -> DetectPromise:
    """The promise from healthy scans of patients the prior has not learned from, one
    scan a patient.

    Their evidence is kept, and every later p-value is that of full conformal prediction among them: a flag at
    5 % needs 19 patients. All of them give the map's scale, too. on_step: (scans done). Raises Uncalibrated
    for fewer than 4, or where no healthy scans were learned before, WrongKind.
    """
    if not prior.healthy:
        raise Uncalibrated(
            "this prior was shown no healthy scans",
            "medprior calibrate detect does both, in Python learn_healthy comes first",
        )
    found, plain = [], []
    for i, volume in enumerate(healthy):
        scan = healthy_scan_of(prior, admit(prior.card, volume, allow_other=allow_other))
        found.append(
            (evidence_of(prior, scan), healthy_model_of(prior).kind.parts(sketch(scan.whole)), scan.stack)
        )
        plain.append(plain_scores(prior.healthy, scan.whole))
        if on_step:
            on_step(i + 1)
    return replace(
        detection_entry(found),
        plain={name: tuple(one[name] for one in plain) for name in plain[0]},
        memory=fingerprint(prior.healthy),
        aggregated="neighbours" in prior.healthy,
    )


def detection_entry(found: list[tuple[ScanEvidence, Tensor, bool]]) -> DetectPromise:
    """The promise from what was seen of each patient, the parts of its kind, and whether it was a stack of
    slices. Raises Uncalibrated for fewer than 4.
    """
    if len(found) < 4:
        raise Uncalibrated(
            f"{len(found)} healthy patients are too few to calibrate with", "hold out at least 4, better 40"
        )
    peaks = [float(one.map.max()) for one, _, _ in found]
    return DetectPromise(
        method=_METHOD,
        evidence={
            name: tuple(round(float(one.evidence[n]), 5) for one, _, _ in found)
            for n, name in enumerate(EVIDENCE)
        },
        peaks=tuple(round(peak, 5) for peak in peaks),
        slice_peaks=tuple(tuple(round(v, 4) for v in _along(one.map)) for one, _, stack in found if stack),
        kind=tuple(tuple(round(float(v), 5) for v in parts) for _, parts, _ in found),
        usual=float(
            np.mean(
                [
                    float(one.map.flatten().kthvalue(max(1, round(_GROWN * one.map.numel()))).values)
                    for one, _, _ in found
                ]
            )
        ),
        n_healthy=len(found),
        map_high=threshold(peaks, ALPHA) if len(peaks) >= patients_needed(ALPHA) else None,
    )


def conformal_score(found: Tensor, healthy: Tensor) -> tuple[float, float]:
    """Score and p-value of one scan's evidence (k,) among that of healthy patients (n, k).

    The score is the mean of its parts in standard deviations of the healthy ones. The p-value is full
    conformal (Vovk et al. 2005, section 2.2). The new patient joins the healthy ones, each of the n + 1 is
    scored by the other n, and the rank of the new one counts. So every patient serves both scale and rank,
    and the p-value is valid for any n.
    """
    found, healthy = found.double(), healthy.double()
    ranked = _by_the_others(torch.cat([healthy, found[None]])).mean(1).tolist()
    score = ((found - healthy.mean(0)) / healthy.std(0).clamp_min(1e-6)).mean()
    return float(score), p_value(ranked[-1], ranked[:-1])


def _by_the_others(parts: Tensor) -> Tensor:
    """(n + 1, k) -> the same: each row in standard deviations of all other rows; with its own row among them
    a far outlier would hide itself.
    """
    n = len(parts) - 1
    x = parts.double() - parts.double().mean(0)
    mean = (x.sum(0) - x) / n
    variance = ((x.square().sum(0) - x.square()) - n * mean.square()) / max(1, n - 1)
    return (x - mean) / variance.clamp_min(1e-12).sqrt()


def usable(prior: Prior) -> DetectPromise | None:
    promise = prior.promises.detect
    if promise is not None and (
        promise.method != _METHOD or not prior.healthy or promise.memory != fingerprint(prior.healthy)
    ):
        raise Uncalibrated(
            "the prior was calibrated by another version of medprior, or with other healthy scans than it "
            "knows",
            "calibrate it again with medprior calibrate detect",
        )
    return promise


def healthy_scan_of(prior: Prior, admitted: Admitted) -> NetworkScan:
    """The scan, with the label of healthy scans where the prior knows one."""
    images, condition = admitted.images, admitted.condition
    known = [name for name in HEALTHY if name in prior.card.labels]
    if known:
        condition = replace(condition, label=torch.full((len(images),), prior.card.labels.index(known[0])))
    return NetworkScan(images, condition, admitted.stack)


def evidence_of(prior: Prior, scan: NetworkScan) -> ScanEvidence:
    return healthy_model_of(prior).unusual(prior, scan) if prior.healthy else prior_expectation(prior, scan)


def healthy_model_of(prior: Prior) -> HealthyModel:
    return HealthyModel.of(prior.healthy)


def _along(unusual: Tensor) -> list[float]:
    """(i, j, k) -> the highest value at each of 32 places along k."""
    return F.adaptive_max_pool1d(unusual.amax((0, 1))[None], HEIGHTS)[0].tolist()
