"""Detect: Volume -> revisit at several sigma -> map, score, p-value from held-out healthy patients, healthy twin."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from ..data.seeds import generator, seed_for
from ..data.volume import Volume
from ..errors import BadOption, Diverged, Uncalibrated
from ..evidence.conformal import p_value, threshold, wanted
from ..prior import Denoiser, Prior
from ..prior.door import Admitted, admit, release, release_map
from ..prior.wrappers import guided
from ..sampling import revisit
from .reconstruct import windowed

__all__ = ["SIGMAS", "Found", "calibrate", "detect", "profile"]

SIGMAS = (0.1, 0.2, 0.4, 0.8, 1.6, 3.2)
"""Levels of the denoising-loss profile, network units."""

TWIN = 0.8
"""Level of the healthy twin, network units: small lesions are forgotten, anatomy stays. A first choice, not tuned yet."""

TWINS = 2
"""Healthy twins that are averaged; the map's scale holds for the number it was calibrated with."""

ALPHA = 0.05
"""False-positive rate of the map's colour scale and of a flag."""

_HEALTHY = ("no_finding", "healthy", "normal")


@dataclass(frozen=True, slots=True)
class Found:
    """What looks unlike the healthy scans that the prior knows.

    map: |scan - healthy twin|, on the scan's grid, in its own unit; ``map_high`` is the value that one healthy scan in twenty exceeds anywhere
    (None where fewer than 19 healthy patients, or none with as many twins, were measured): the colour scale, never stretched to what the map shows.
    It is one number in network units; where a unit is arbitrary (MR, X-ray) it moves with the intensity range of the scan, as the map does.
    score: how unusual the scan is (Mahalanobis distance of its loss profile; uncalibrated, the mean of that profile). It does not depend on the seed
    once calibrated. p_value: None when nothing was calibrated. n_healthy: patients behind the p-value.
    refused: why no p-value or flag can be given, "" when it can.
    """

    map: Volume
    healthy: Volume
    score: float
    p_value: float | None
    n_healthy: int
    map_high: float | None
    refused: str

    def flagged(self, alpha: float = 0.05) -> bool:
        """p <= alpha. Raises Uncalibrated when the healthy patients cannot support such a rate, BadOption unless 0 < alpha < 1."""
        if self.p_value is None or self.n_healthy < wanted(alpha):
            raise Uncalibrated(f"{self.n_healthy} healthy patients cannot support a flag at {alpha:g}", f"hold out at least {wanted(alpha)}")
        return self.p_value <= alpha


def detect(
    prior: Prior,
    volume: Volume,
    *,
    seed: int = 0,
    n_twins: int = TWINS,
    allow_other: bool = False,
    on_step: Callable[[int, int], None] | None = None,
) -> Found:
    """Map, score, p-value and healthy twin of a scan, from a prior that knows healthy scans.

    The twin keeps what is left of the scan after noise of TWIN network units was added and taken away; even of a healthy scan it is a little nearer to
    the prior's mean, which is why the map has a scale of its own. allow_other: let another modality or unit pass, without p-value and colour scale,
    since no healthy scan of its kind was measured. Raises WrongKind (another modality or unit than the prior's), BadOption (n_twins),
    Uncalibrated (a calibration of another version).
    """
    _usable(prior.trust.get("detect"))
    if n_twins < 1:
        raise BadOption(f"n_twins: wanted at least 1, got {n_twins}")
    admitted = admit(prior.card, volume, allow_other=allow_other)
    denoiser = _healthy(prior)
    with torch.no_grad():
        twin = _twin(denoiser, admitted, n_twins, seed, on_step)
        # the noise is that of the calibration: only then are this patient and the healthy ones measured by the same rule
        found = profile(denoiser, admitted, seed=prior.trust.get("detect", {}).get("seed", seed))
        if on_step:
            on_step(n_twins + 1, n_twins + 1)
    return _found(prior, admitted, twin, found, n_twins)


def _usable(entry: dict[str, Any] | None) -> None:
    if entry is not None and entry.get("sigmas") != list(SIGMAS):
        raise Uncalibrated(f"the prior was calibrated at the levels {entry.get('sigmas')}, wanted {list(SIGMAS)}", "calibrate it again")


def _twin(denoiser: Denoiser, admitted: Admitted, n: int, seed: int, on_step: Callable[[int, int], None] | None = None) -> Tensor:
    """The mean of n healthy twins, shaped as ``admitted.images``."""
    total = torch.zeros_like(admitted.images)
    for i in range(n):
        total += revisit(denoiser, admitted.images, TWIN, rng=generator(seed, "twin", i), condition=admitted.condition, n_steps=6)
        if on_step:
            on_step(i + 1, n + 1)
    return total / n


def _healthy(prior: Prior) -> Denoiser:
    """The prior, told that the patient is healthy where its card has such a label."""
    denoiser = windowed(prior)
    known = [name for name in _HEALTHY if name in prior.card.labels]
    return guided(denoiser, prior.card.labels.index(known[0]), 1.0) if known else denoiser


def residual(admitted: Admitted, twin: Tensor) -> Tensor:
    """(B, 1, i, j): |scan - twin| in network units, smoothed over 5 voxels, since one voxel alone is noise."""
    apart = (admitted.images - twin).abs().mean(1, keepdim=True)
    pool = F.avg_pool2d if apart.ndim == 4 else F.avg_pool3d
    return pool(apart, 5, stride=1, padding=2, count_include_pad=False)


def profile(denoiser: Denoiser, admitted: Admitted, *, seed: int = 0, n_draws: int = 2) -> Tensor:
    """(n_sigmas,): ln of the mean squared denoising error at each of SIGMAS, over all voxels and slices."""
    x, condition = admitted.images, admitted.condition
    losses = []
    for sigma in SIGMAS:
        errors = []
        for i in range(n_draws):
            noise = torch.randn(x.shape, generator=generator(seed, "profile", sigma, i))
            level = torch.full((len(x),), sigma)
            errors.append((denoiser(x + sigma * noise, level, condition) - x).square().mean())
        losses.append(torch.stack(errors).mean())
        if not losses[-1].isfinite():
            raise Diverged(0, sigma, "the denoising error")
    return torch.stack(losses).log()


def calibrate(prior: Prior, healthy: Iterable[Volume], *, seed: int = 0, n_twins: int = TWINS, on_step: Callable[[int], None] | None = None) -> dict[str, Any]:
    """The "detect" entry of trust.json from healthy scans of patients the prior has not learned from, one scan a patient.

    Their profiles are kept, and every later p-value is that of full conformal prediction among them: a flag at 5 % needs 19 patients.
    All of them give the map's scale, too. on_step: (scans done). Raises Uncalibrated for fewer than 4, BadOption (n_twins), WrongKind.
    """
    if n_twins < 1:
        raise BadOption(f"n_twins: wanted at least 1, got {n_twins}")
    profiles, peaks = [], []
    denoiser = _healthy(prior)
    for i, volume in enumerate(healthy):
        admitted = admit(prior.card, volume)
        with torch.no_grad():
            # twins differ by their noise as well: with one noise for all, the scale would be that noise's own
            peaks.append(float(residual(admitted, _twin(denoiser, admitted, n_twins, seed_for(seed, "patient", i))).max()))
            profiles.append(profile(denoiser, admitted, seed=seed))
        if on_step:
            on_step(i + 1)
    if len(profiles) < 4:
        raise Uncalibrated(f"{len(profiles)} healthy patients are too few to calibrate with", "hold out at least 4, better 40")
    high = threshold(peaks, ALPHA) if len(peaks) >= wanted(ALPHA) else None
    entry = {"sigmas": list(SIGMAS), "seed": seed, "n_twins": n_twins, "profiles": torch.stack(profiles).tolist()}
    return {**entry, "n_healthy": len(profiles), "map_high": high}


def _precision(profiles: Tensor) -> Tensor:
    """Inverse covariance, shrunk by a tenth to its diagonal: few patients, neighbouring levels go together."""
    covariance = torch.cov(profiles.T)
    shrunk = 0.9 * covariance + 0.1 * torch.diag(covariance.diagonal()) + 1e-8 * torch.eye(len(covariance), dtype=covariance.dtype)
    return torch.linalg.inv(shrunk)


def _distances(profiles: Tensor, among: Tensor) -> Tensor:
    """(n, k), (m, k) -> (n,): Mahalanobis distance of each profile from the mean of ``among``."""
    away = profiles - among.mean(0)
    return torch.einsum("ni,ij,nj->n", away, _precision(among), away).clamp_min(0).sqrt()


def judged(found: Tensor, healthy: Tensor) -> tuple[float, float]:
    """Score and p-value of one profile (k,) among those of healthy patients (n, k).

    The score is its distance from them. The p-value is full conformal (Vovk et al. 2005, section 2.2): the new patient joins the healthy ones,
    all n + 1 are measured from their common mean, and its rank among them counts; so every patient serves for the fit and for the rank,
    and the p-value is valid for any n.
    """
    found, healthy = found.double(), healthy.double()
    all_of_them = torch.cat([healthy, found[None]])
    ranked = _distances(all_of_them, all_of_them).tolist()
    return float(_distances(found[None], healthy)[0]), p_value(ranked[-1], ranked[:-1])


def _found(prior: Prior, admitted: Admitted, twin: Tensor, at: Tensor, n_twins: int) -> Found:
    entry = prior.trust.get("detect")
    half = (admitted.high - admitted.low) / 2
    healthy = release(admitted, twin, sentence=f"healthy twin by medprior: prior {prior.card.name}, sigma {TWIN}")
    apart = release_map(admitted, residual(admitted, twin) * half, sentence="|scan - healthy twin|")
    apart = replace(apart, unit=admitted.source.unit)
    if entry is None:
        return Found(apart, healthy, float(at.mean()), None, 0, None, "no healthy patients were held out for this prior: no p-value")
    if admitted.other:
        return Found(apart, healthy, float(at.mean()), None, 0, None, f"no p-value: {admitted.other}, and no healthy scan of its kind was measured")
    score, p = judged(at, torch.tensor(entry["profiles"]))
    n = entry["n_healthy"]
    refused = "" if n >= wanted(ALPHA) else f"{n} healthy patients cannot support a flag at 5 % (at least {wanted(ALPHA)} are needed)"
    high = entry["map_high"] * half if entry["map_high"] is not None and entry["n_twins"] == n_twins else None
    return Found(apart, healthy, score, p, n, high, refused)
