"""What the prior makes of a scan, slice by slice: its features, how far it is off at each noise level, and in
which direction.

Features are those of the network's encoder at a low noise level (Baranchuk et al., ICLR 2022). The errors are
of one denoising step at each level. The noise is the same for every scan of a size, so scans differ by their
content alone.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
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
_SMALL = 16 * 64 * 64
"""Voxels up to which levels and draws pass it together: above, that saves no time."""


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
    def noisy(sigmas: tuple[float, ...]) -> Iterator[tuple[Tensor, Tensor, Condition]]:
        """Each level with each draw; those of a small image pass the network together."""
        every, step = [(s, d) for s in sigmas for d in range(n_draws)], max(1, _SMALL // x[:, 0].numel())
        for some in (every[start : start + step] for start in range(0, len(every), step)):
            sigma = torch.tensor([s for s, _ in some], device=x.device).repeat_interleave(len(x))
            parts = (condition.label, condition.numbers)
            known = Condition(*(None if part is None else torch.cat([part] * len(some)) for part in parts))
            yield torch.cat([x + s * noises[s, d].to(x) for s, d in some]), sigma, known

    def by_draw(parts: Iterable[Tensor]) -> Tensor:
        """(levels, draws, B, ...)"""
        whole = torch.cat(list(parts))
        return whole.reshape(-1, n_draws, len(x), *whole.shape[1:])

    maps = [net.features(*prior.inputs(*look)) for look in noisy((FEATURES_AT,))]
    features = [by_draw(level)[0].mean(0) for level in zip(*maps, strict=True)]
    flat = [f.flatten(2) for f in features[1:] or features]
    pooled = torch.cat([part for f in flat for part in (f.mean(2), f.std(2, correction=0))], dim=1)
    restored, spreads = map(by_draw, zip(*(prior.moments(*look) for look in noisy(levels)), strict=True))
    apart = restored - x
    for sigma, one in zip(levels, apart, strict=True):
        if not bool(one.isfinite().all()):
            raise Diverged(0, sigma, "the denoising error")
    profile = apart.square().flatten(3).mean(3).mean(1).clamp_min(1e-12).log()
    local = box_mean(features[-1], 3)  # a feature and what lies around it (Roth et al., CVPR 2022)
    return (
        pooled.cpu(),
        local.cpu(),
        profile.mT.cpu(),
        apart.mean(1).mean(2).transpose(0, 1).cpu(),
        spreads.mean(1).mean(2).transpose(0, 1).cpu(),
    )
