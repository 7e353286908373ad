"""How much more a prior errs in a reconstruction than it says: what its caution is taken from."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from ...data.seeds import generator
from ...operators import Gaussian, downsample, simulate
from ...prior import Denoiser
from ...prior.wrappers import on_device
from ...sampling import RULES, initial_image, log_levels, sample
from ..reconstruct import Settings

__all__ = ["EVALUATIONS", "measured_caution"]

_DRAWS, _LEVELS, _FACTOR, _NOISE = 4, 12, 4, 0.02
EVALUATIONS = _DRAWS * _LEVELS
"""Of the network for each image, the start counted as none."""
_MOST = 2.0
"""More caution only adds noise to the draws (bench/caution.py)."""


@torch.no_grad()
def measured_caution(
    denoiser: Denoiser,
    images: Sequence[Tensor],
    *,
    most: int = 4,
    device: torch.device | None = None,
    seed: int = 0,
) -> float:
    """1 to 2: squared error of the mean of draws over what their own variance makes of it, on held-out
    images; 1 where the draws have the posterior's law.

    images: (C, i, j[, k]) in network units. most: that are used, evenly spaced. Each is measured with
    pixels four times larger, SIMULATED, and drawn without caution: E|mean - x|^2 = (1 + 1/n) var for n draws
    of the right law. device: of the network.
    """
    chosen = sorted({round(i) for i in np.linspace(0, len(images) - 1, min(most, len(images)))})
    asked = denoiser if device is None else on_device(denoiser, device)
    error = variance = 0.0
    for i in chosen:
        size = [n - n % _FACTOR for n in images[i].shape[1:]]
        if min(size) < 2 * _FACTOR:
            continue
        x = images[i][(slice(None), *(slice(0, n) for n in size))][None].float()
        rng = generator(seed, "caution", i)
        m = simulate(x, downsample(tuple(x.shape[1:]), _FACTOR), Gaussian(_NOISE), rng)
        guide = RULES[Settings().rule](asked, m, rng)
        sigmas = log_levels(_LEVELS, low=Settings().low, high=Settings().high)
        start = initial_image(guide, (_DRAWS, *x.shape[1:]), sigmas[0], rng=rng)
        draws = sample(guide, start, sigmas, rng=rng)
        error += float((draws.mean(0) - x[0]).square().mean())
        variance += float(draws.var(0).mean()) * (1 + 1 / _DRAWS)
    return round(min(max(error / variance, 1.0), _MOST), 2) if variance > 0 else denoiser.caution
