"""Whether an image could be one of the real scans, as far as the prior can tell."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ..data.seeds import generator
from ..errors import Uncalibrated
from ..prior import Condition, Denoiser

__all__ = ["Likeness", "learn_likeness"]

SIGMAS = (0.1, 0.2, 0.4)
"""Noise levels of the denoising errors, network units: an adversarial pattern shows at small ones."""

_REPEATS, _AT_ONCE = 4, 32
LEAST = 19
"""Real scans that a p-value of 0.05 needs."""


@dataclass(frozen=True, slots=True)
class Likeness:
    """Denoising errors of real scans. known: (n, levels), the logarithms of their mean squared errors."""

    denoiser: Denoiser
    known: Tensor

    def p_values(self, images: Tensor, condition: Condition | None = None) -> Tensor:
        """(B, C, i, j[, k]) network units -> (B,): the share of real scans that are at least as unusual.

        Conformal: the image counts among them. Two-sided: denoising errors may be too small, too.
        """
        found = denoising_errors(self.denoiser, images, condition)
        mean, std = self.known.mean(0), self.known.std(0).clamp_min(1e-6)
        usual = ((self.known - mean) / std).abs().amax(1)
        mine = ((found - mean) / std).abs().amax(1)
        return (1 + (usual[None] >= mine[:, None]).sum(1)) / (len(usual) + 1)

    def without(self, rows: Sequence[int]) -> Likeness:
        """The same of fewer real scans. rows: of ``known``. Raises Uncalibrated where under 19 are left."""
        if not rows:
            return self
        kept = torch.ones(len(self.known), dtype=torch.bool)
        kept[list(rows)] = False
        return Likeness(self.denoiser, _enough(self.known[kept]))


def learn_likeness(denoiser: Denoiser, images: Tensor, condition: Condition | None = None) -> Likeness:
    """From (n, C, i, j[, k]) real scans that the prior has not learned from. Raises Uncalibrated under 19."""
    return Likeness(denoiser, denoising_errors(denoiser, _enough(images), condition))


def _enough(rows: Tensor) -> Tensor:
    if len(rows) < LEAST:
        raise Uncalibrated(
            f"{len(rows)} real scans are too few to say what is in distribution", f"give at least {LEAST}"
        )
    return rows


def denoising_errors(denoiser: Denoiser, images: Tensor, condition: Condition | None = None) -> Tensor:
    """(B, levels): ln of the mean squared error of D at each of SIGMAS. The noise is the same for all."""
    rng = generator(0, "likeness")
    noise = torch.randn(len(SIGMAS), _REPEATS, *images.shape[1:], generator=rng)
    rows = []
    with torch.no_grad():
        for part in images.split(_AT_ONCE):
            errors = [
                sum(
                    (denoiser(part + sigma * white, torch.full((len(part),), sigma), condition) - part)
                    .square()
                    .flatten(1)
                    .mean(1)
                    for white in noise[n]
                )
                for n, sigma in enumerate(SIGMAS)
            ]
            rows.append(torch.stack(errors, 1).log())  # type: ignore[arg-type]
    return torch.cat(rows)
