"""Detect: Volume -> how far from healthy scans, where, with which p-values from held-out healthy patients,
and the healthy twin as the explanation.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor
from torch.nn import functional as F

from ..data.views import Window, as_html, row_of, views_of
from ..data.volume import Volume
from ..errors import BadOption, OutOfDistribution, Uncalibrated
from ..evidence.blobs import blobs
from ..evidence.conformal import benjamini_hochberg, p_value, patients_needed
from ..evidence.detectors.kept_scores import plain_scores
from ..healthy.acquisition import sketch
from ..healthy.features import SIGMAS
from ..healthy.model import EVIDENCE, JOINED, NetworkScan, ScanEvidence, n_draws_for
from ..prior import Prior
from ..prior.admit import Admitted, admit, release, release_map
from ..prior.promises import DetectPromise
from .detection.calibrate import (
    ALPHA,
    HEIGHTS,
    conformal_score,
    evidence_of,
    healthy_model_of,
    healthy_scan_of,
    usable,
)
from .detection.gate import describe_difference, known_parts
from .detection.twin import HEALTHY, PLAIN, STEPS, TWIN, finding_levels, free_above, free_places, healthy_twin
from .given import GivenPrior, GivenScan, load_scan, prior_of

__all__ = ["HEALTHY", "Finding", "Found", "RankedScore", "detect", "evaluations", "plain_scale"]

_WIDER = (0.9, 0.7, 0.0)
"""Quantiles of the map above which a flagged scan's twin is made anew, one after the other, while the twin is
flagged itself: what makes a scan unusual need not lie where the map is highest.
"""


@dataclass(frozen=True, slots=True)
class Finding:
    """A connected region of the map that healthy scans hardly ever show. number: its value in the mask.

    size: ml in a volume, mm2 in an image, None where the voxel size is unknown. centre: mm RAS where the
    geometry is known, else voxels. peak: highest value of the map in it. p_value: (1 + healthy patients with
    any peak as high, anywhere) / (n + 1); None uncalibrated.
    """

    number: int
    voxels: int
    size: float | None
    centre: tuple[float, ...]
    peak: float
    p_value: float | None


@dataclass(frozen=True, slots=True)
class RankedScore:
    """A plain score of the scan, higher being less healthy, and its conformal p-value: (1 + as_high) / (n +
    1).

    as_high: how many of the n held-out healthy patients have at least this score.
    """

    score: float
    as_high: int
    p_value: float


@dataclass(frozen=True, slots=True, repr=False)
class Found:
    """What looks unlike the healthy scans that the prior knows.

    map: how unusual each place is, in deviations of healthy scans there, on the scan's grid; ``map_high`` is
    the value that one healthy scan in twenty exceeds anywhere (None where fewer than 19 healthy patients were
    measured): the colour scale, never stretched to what the map shows. mask: number of the finding at each
    voxel, 0 elsewhere. healthy: the healthy twin: what was made anew is where the map is high, the rest is
    the scan. score: mean of the joined evidence, in standard deviations of the held-out healthy patients.
    Without these it is in those of the learned healthy scans. It depends on no seed. evidence: all its parts,
    by name, in deviations of the scans that were learned; {} where there are none. p_value: None when nothing
    was calibrated. n_healthy: patients behind it. slices: of a volume cut into slices, the q-value
    (Benjamini-Hochberg) of each; empty otherwise. refused: why no p-value or flag can be given, "" when it
    can. other: why the scan is not of the kind of the healthy ones, "" when it is. unlike: in what it differs
    from those scans, be it little (p <= 0.05). n_kind: healthy patients that the gate knows; under 19 of them
    there is no gate. plain: what plain detectors say of the scan, by name, fitted to (at most 400 of) and
    ranked among the same healthy scans; {} where there are none. twin_p_value: of the healthy twin of a
    flagged scan. At 0.05 or less no region explains the flag. None: not flagged, or no twin was made.
    """

    map: Volume
    mask: Volume
    healthy: Volume
    score: float
    evidence: dict[str, float]
    p_value: float | None
    n_healthy: int
    map_high: float | None
    findings: tuple[Finding, ...]
    slices: tuple[float, ...]
    refused: str
    other: str = ""
    unlike: str = ""
    n_kind: int = 0
    plain: dict[str, RankedScore] = field(default_factory=dict)
    twin_p_value: float | None = None

    def __repr__(self) -> str:
        """One line: "Found: p = 0.3 (26 healthy patients), no finding"."""
        says = self.refused or "not calibrated"
        if self.p_value is not None:
            says = f"p = {self.p_value:.3g} ({self.n_healthy} healthy patients)"
        n = len(self.findings)
        return f"Found: {says}, {'no finding' if not n else '1 finding' if n == 1 else f'{n} findings'}"

    def show(self) -> Image.Image:
        """The healthy twin and the map side by side; white is ``map_high``, or the map's own maximum."""
        high = self.map_high or float(self.map.data.max()) or 1.0
        unusual = views_of(self.map, Window(0.0, high, "map"))
        return row_of([views_of(self.healthy), unusual])

    def _repr_html_(self) -> str:
        return as_html(self.show(), f"{self!r}. Left: healthy twin; right: map of unusual places")

    def flagged(self, alpha: float = 0.05) -> bool:
        """p <= alpha. Raises Uncalibrated when the healthy patients cannot support such a rate, BadOption
        unless 0 < alpha < 1.
        """
        if self.p_value is None or self.n_healthy < patients_needed(alpha):
            raise Uncalibrated(
                f"{self.n_healthy} healthy patients cannot support a flag at {alpha:g}",
                f"hold out at least {patients_needed(alpha)}",
            )
        return self.p_value <= alpha


def evaluations(n_twins: int, images: Tensor) -> int:
    """Passes of the network through a scan, as the door admits it."""
    return (len(SIGMAS) + 1) * n_draws_for(images) + n_twins * (2 * STEPS - 1)


def plain_scale(prior: Prior) -> float:
    """Top of the map's scale where too few healthy patients were held out: the same number for every scan."""
    return PLAIN[bool(prior.healthy)][1]


def detect(
    prior: GivenPrior,
    volume: GivenScan,
    *,
    seed: int = 0,
    n_twins: int = 1,
    allow_other: bool = False,
    gate: bool = True,
    on_step: Callable[[int, int], None] | None = None,
) -> Found:
    """Map, findings, score, p-value and healthy twin of a scan, from a prior that knows healthy scans.

    Where the map is low the twin is the scan. Where it is high, noise of TWIN network units is added and
    removed by the prior, and the surroundings stay (harmonised restoration, as in Bercea et al., "Mask,
    stitch and re-sample", 2023, and THOR, MICCAI 2024). n_twins: draws of it that are averaged; 0: none is
    made, and ``healthy`` is the scan itself. allow_other: accept a scan of another modality or unit, or one
    unlike the calibration scans. It gets no p-value, since no healthy scan of its kind was measured.
    gate=False scores whatever it looks like, with a p-value: for evaluations, which count what is refused.
    Raises WrongKind (another modality or unit than the prior's), OutOfDistribution (unlike the calibration
    scans in grey values, sharpness, layout or orientation). Also BadOption (n_twins), Uncalibrated (a
    calibration of another version).
    """
    prior = prior_of(prior)
    volume = load_scan(volume, prior)
    if n_twins < 0:
        raise BadOption(f"n_twins: wanted at least 0, got {n_twins}")
    promise = usable(prior)
    admitted = admit(prior.card, volume, allow_other=allow_other)
    scan = healthy_scan_of(prior, admitted)
    unlike, beyond, n_kind = _unlike(prior, scan, promise)
    if beyond and gate and not allow_other:
        raise OutOfDistribution(
            unlike,
            "check modality, body part and orientation; override it: --allow-other, in Python "
            "allow_other=True",
        )
    other = admitted.other or (unlike if beyond else "")
    unusual = evidence_of(prior, scan)
    if on_step:
        on_step(1, n_twins + 1)

    def twin_of(free: Tensor) -> Tensor:
        return healthy_twin(prior, scan, free, n_twins, seed, on_step)

    twin = twin_of(free_places(unusual.map, promise, learned=bool(prior.healthy), like=scan))
    promise = None if other and gate else promise
    twin_p = None
    if n_twins and promise is not None and _ranked_among(promise, unusual)[1] <= ALPHA:
        twin, twin_p = _explaining(prior, scan, unusual, twin, twin_of, promise)
    return replace(
        _found(prior, admitted, twin, unusual, promise, other, unlike),
        plain=_ranked(plain_scores(prior.healthy, scan.whole), promise),
        n_kind=n_kind,
        twin_p_value=twin_p,
    )


def _explaining(
    prior: Prior,
    scan: NetworkScan,
    unusual: ScanEvidence,
    twin: Tensor,
    twin_of: Callable[[Tensor], Tensor],
    promise: DetectPromise,
) -> tuple[Tensor, float]:
    """The first twin that is not flagged itself, of ever more of the scan, and its p-value; else the last."""

    def p_of(images: Tensor) -> float:
        return _ranked_among(promise, evidence_of(prior, replace(scan, images=images)))[1]

    p = p_of(twin)
    for quantile in _WIDER:
        if p > ALPHA:
            break
        twin = twin_of(free_above(unusual.map, quantile, scan))
        p = p_of(twin)
    return twin, p


def _ranked_among(promise: DetectPromise, unusual: ScanEvidence) -> tuple[float, float]:
    """Score and p-value of a scan's joined evidence among that of the calibration's patients."""
    joined = torch.tensor([float(unusual.evidence[EVIDENCE.index(name)]) for name in JOINED])
    return conformal_score(joined, torch.tensor([promise.evidence[name] for name in JOINED]).T)


def _unlike(prior: Prior, scan: NetworkScan, promise: DetectPromise | None) -> tuple[str, bool, int]:
    """As of ``gate.describe_difference``, and the patients that the gate knows; none where the prior was
    shown no healthy scans. Raises WrongKind as ``HealthyModel.check``.
    """
    if not prior.healthy:
        return "", False, 0
    known = healthy_model_of(prior)
    known.check(scan)
    parts = known_parts(known.kind, promise)
    text, beyond = describe_difference(known.kind, parts, sketch(scan.whole))
    return text and f"for prior {prior.card.name!r}: {text}", beyond, len(parts)


def _ranked(plain: dict[str, float], promise: DetectPromise | None) -> dict[str, RankedScore]:
    """Among the calibration's patients; {} where their plain scores were not kept."""
    known = promise.plain if promise else {}
    return {
        name: RankedScore(score, sum(one >= score for one in known[name]), p_value(score, known[name]))
        for name, score in plain.items()
        if known.get(name)
    }


def _found(
    prior: Prior,
    admitted: Admitted,
    twin: Tensor,
    unusual: ScanEvidence,
    promise: DetectPromise | None,
    other: str,
    unlike: str,
) -> Found:
    known = bool(prior.healthy)
    healthy = release(
        admitted, twin, sentence=f"healthy twin by medprior: prior {prior.card.name}, sigma {TWIN}"
    )
    at = release_map(admitted, unusual.map, sentence="how unusual each place is among healthy scans")
    low, high = finding_levels(promise, learned=known)
    labels, found = blobs(at.data[0], high, low)
    peaks = promise.peaks if promise else None
    findings = tuple(_finding(at, one.number, one.voxels, one.peak, one.centre, peaks) for one in found)
    mask = replace(at, data=labels[None].astype(np.float32), unit="label").noted(
        "findings: connected regions above what healthy scans show"
    )
    evidence = {name: float(unusual.evidence[n]) for n, name in enumerate(EVIDENCE)} if known else {}
    joined = torch.tensor([evidence[name] for name in JOINED]) if known else unusual.evidence
    score, p, n, refused = float(joined.mean()), None, 0, ""
    if promise is None:
        refused = "no healthy patients were held out for this prior: no p-value"
        if other:
            refused = f"no p-value: {other}, and no healthy scan of its kind was measured"
    else:
        score, p = _ranked_among(promise, unusual)
        n = promise.n_healthy
        refused = (
            ""
            if n >= patients_needed(ALPHA)
            else f"{n} healthy patients cannot support a flag at 5 % (at least {patients_needed(ALPHA)})"
        )
    slices = (
        _slices(unusual.map, promise.slice_peaks)
        if admitted.stack and promise and len(promise.slice_peaks) == n
        else ()
    )
    return Found(
        at,
        mask,
        healthy,
        score,
        evidence,
        p,
        n,
        promise.map_high if promise else None,
        findings,
        slices,
        refused,
        other,
        unlike,
    )


def _slices(unusual: Tensor, healthy: Sequence[Sequence[float]]) -> tuple[float, ...]:
    """q-value of each slice: its highest value among those of healthy patients at its height, and one place
    to either side.
    """
    known = F.max_pool1d(torch.tensor(healthy), 3, stride=1, padding=1).T.tolist()
    heights = [known[i * HEIGHTS // unusual.shape[2]] for i in range(unusual.shape[2])]
    return tuple(
        benjamini_hochberg(
            [p_value(float(peak), others) for peak, others in zip(unusual.amax((0, 1)), heights, strict=True)]
        )
    )


def _finding(
    at: Volume,
    number: int,
    voxels: int,
    peak: float,
    centre: tuple[float, ...],
    peaks: Sequence[float] | None,
) -> Finding:
    size = None
    if at.spacing_mm is not None:
        size = voxels * float(np.prod(at.spacing_mm)) / (1000.0 if at.ndim == 3 else 1.0)
    return Finding(
        number, voxels, size, _place(at, centre), peak, None if peaks is None else p_value(peak, peaks)
    )


def _place(at: Volume, centre: tuple[float, ...]) -> tuple[float, ...]:
    if at.affine is None:
        return centre
    where: NDArray[np.float64] = at.affine @ np.array([*centre, *[0.0] * (3 - len(centre)), 1.0])
    return tuple(float(v) for v in where[:3])
