"""What the prior makes of a scan, slice by slice: its features, how far it is off at each noise level, and in
which direction.

Features are those of the network's encoder at a low noise level (Baranchuk et al., ICLR 2022). The errors are
of one denoising step at each level. The noise is the same for every scan of a size, so scans differ by their
content alone.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ..data.grids import box_mean
from ..data.seeds import generator
from ..errors import BadOption, Diverged
from ..nets import Featured
from ..prior import Condition, Prior

__all__ = ["FEATURES_AT", "SIGMAS", "ScanFeatures", "scan_features"]

SIGMAS = (0.1, 0.2, 0.4, 0.8, 1.6, 3.2)
"""Noise levels of the denoising errors, network units."""

FEATURES_AT = 0.15
"""Noise level at which features are looked at, network units; on val others from 0.05 to 1.2 told healthy
from sick about as well.
"""

_AT_ONCE = 16 * 128 * 128
"""Voxels that pass the network together, one slice at least."""


@dataclass(frozen=True, slots=True)
class ScanFeatures:
    """One scan as the prior sees it; B slices of a volume, one image, or one volume of a 3-D prior.

    pooled: (B, d), mean and standard deviation of each feature over the slice, all resolutions but the
    finest. local: (B, q, h, w[, d]), features of the coarsest resolution. profile: (B, n), ln of the mean
    squared error at each of SIGMAS. offset: (B, n, i, j[, k]), mean over noise of restored - scan at each of
    SIGMAS, mean over channels, network units. doubt: its expected size by the network itself (its own
    standard deviation), same shape.
    """

    pooled: Tensor
    local: Tensor
    profile: Tensor
    offset: Tensor
    doubt: Tensor


def scan_features(
    prior: Prior,
    images: Tensor,
    condition: Condition,
    *,
    seed: int = 0,
    n_draws: int = 2,
    levels: tuple[float, ...] = SIGMAS,
) -> ScanFeatures:
    """images: (B, C, i, j[, k]) network units. n_draws: noise images a level.

    Raises BadOption for a prior whose network shows no features (an adopted one), Diverged where a number is
    not finite.
    """
    net = prior.net
    if not isinstance(net, Featured):
        raise BadOption(
            f"look: wanted a prior with medprior's own network, got a {type(net).__name__}",
            "train one with medprior train",
        )
    noises = {
        (s, d): torch.randn(images.shape, generator=generator(seed, "look", s, d))
        for s in (FEATURES_AT, *levels)
        for d in range(n_draws)
    }
    parts = []
    with torch.no_grad():
        step = max(1, _AT_ONCE // images[0, 0].numel())
        for start in range(0, len(images), step):
            at = slice(start, start + step)
            known = Condition(
                *(None if part is None else part[at] for part in (condition.label, condition.numbers))
            )
            parts.append(
                _looked(
                    prior,
                    net,
                    images[at],
                    known,
                    {key: noise[at] for key, noise in noises.items()},
                    n_draws,
                    levels,
                )
            )
    return ScanFeatures(*(torch.cat(column) for column in zip(*parts, strict=True)))


def _looked(
    prior: Prior,
    net: Featured,
    x: Tensor,
    condition: Condition,
    noises: dict[tuple[float, int], Tensor],
    n_draws: int,
    levels: tuple[float, ...],
) -> tuple[Tensor, ...]:
    def noisy(sigma: float, draw: int) -> tuple[Tensor, Tensor]:
        return x + sigma * noises[sigma, draw].to(x), torch.full((len(x),), sigma, device=x.device)

    maps = [net.features(*prior.inputs(*noisy(FEATURES_AT, d), condition)) for d in range(n_draws)]
    features = [torch.stack(level).mean(0) for level in zip(*maps, strict=True)]
    flat = [f.flatten(2) for f in features[1:] or features]
    pooled = torch.cat([part for f in flat for part in (f.mean(2), f.std(2, correction=0))], dim=1)
    profile, offset, doubt = [], [], []
    for sigma in levels:
        restored, spreads = zip(
            *(prior.moments(*noisy(sigma, d), condition) for d in range(n_draws)), strict=True
        )
        apart = torch.stack([mean - x for mean in restored])
        if not bool(apart.isfinite().all()):
            raise Diverged(0, sigma, "the denoising error")
        profile.append(apart.square().flatten(2).mean(2).mean(0).clamp_min(1e-12).log())
        offset.append(apart.mean(0).mean(1))
        doubt.append(torch.stack(spreads).mean(0).mean(1))
    local = box_mean(features[-1], 3)  # a feature and what lies around it (Roth et al., CVPR 2022)
    return (
        pooled.cpu(),
        local.cpu(),
        torch.stack(profile, 1).cpu(),
        torch.stack(offset, 1).cpu(),
        torch.stack(doubt, 1).cpu(),
    )
