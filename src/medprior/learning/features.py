"""What the prior's network knows of a scan: features of its way down and up at several noise levels.

Features of a trained denoiser tell classes and organs apart with few labels (Baranchuk et al., ICLR 2022;
Rosnati et al., ML4H 2023). The noise is the same for every scan of a size, so scans differ by their content
alone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import TypeAlias

import torch
from torch import Tensor
from torch.nn import functional as F

from ..data.seeds import generator
from ..data.volume import Volume
from ..errors import BadOption, Diverged
from ..nets import Featured
from ..prior import Condition, Prior
from ..prior.admit import Admitted

__all__ = [
    "SIGMAS",
    "FeatureSettings",
    "Looker",
    "class_errors",
    "features",
    "live_features",
    "live_pixel_features",
    "pixel_features",
    "volume_features",
]

SIGMAS = (0.1, 0.3, 0.8)
"""Noise levels at which the network is looked at, network units."""

ERRORS_AT = (0.2, 0.5, 1.0, 2.0)
"""Noise levels of the generative classifier."""

_AT_ONCE = 64 * 64 * 64
"""Voxels that pass the network together, one image at least."""


@dataclass(frozen=True, slots=True)
class FeatureSettings:
    """sigmas: noise levels in network units. seed: of the noise. allow_other: take another modality or unit.

    Raises BadOption for no level, or one that is not above 0.
    """

    sigmas: tuple[float, ...] = SIGMAS
    seed: int = 0
    allow_other: bool = False

    def __post_init__(self) -> None:
        if not self.sigmas or not all(0 < sigma < float("inf") for sigma in self.sigmas):
            raise BadOption(f"sigmas: wanted noise levels above 0, got {self.sigmas}")


USUAL = FeatureSettings()


def features(
    prior: Prior, images: Tensor, condition: Condition | None = None, how: FeatureSettings = USUAL
) -> Tensor:
    """(B, C, i, j[, k]) in network units -> (B, d): mean and standard deviation of each channel over the
    image, of all resolutions on the way down and up, at each noise level.

    condition: of the images, as ``Admitted.condition``. Raises BadOption for a prior whose network shows no
    features (an adopted one), Diverged where a number is not finite.
    """
    return torch.cat([_pooled(levels) for levels in _looked(prior, images, condition or Condition(), how)])


def live_features(prior: Prior, images: Tensor, how: FeatureSettings = USUAL) -> Tensor:
    """``features`` of a few images through which a gradient flows to the network."""
    return _pooled(
        _levels(prior, images, Condition(), how, [_noise(images, how.seed, s) for s in how.sigmas])
    )


def live_pixel_features(
    prior: Prior, images: Tensor, condition: Condition | None = None, how: FeatureSettings = USUAL
) -> Tensor:
    """``pixel_features`` of a few images through which a gradient flows to the network."""
    noises = [_noise(images, how.seed, sigma) for sigma in how.sigmas]
    return _enlarged(_levels(prior, images, condition or Condition(), how, noises), tuple(images.shape[2:]))


def pixel_features(
    prior: Prior, images: Tensor, condition: Condition | None = None, how: FeatureSettings = USUAL
) -> Tensor:
    """(B, C, i, j[, k]) in network units -> (B, d, i, j[, k]): every resolution enlarged to the image,
    linear. Raises what ``features`` raises.
    """
    size = tuple(images.shape[2:])
    return torch.cat(
        [_enlarged(levels, size) for levels in _looked(prior, images, condition or Condition(), how)]
    )


def class_errors(
    prior: Prior, images: Tensor, condition: Condition | None = None, how: FeatureSettings = USUAL
) -> Tensor:
    """(B, labels of the prior): how badly it denoises each image under each of its labels, minus their mean.

    The label with the least is the generative classifier's answer (Li et al., ICCV 2023).
    Raises BadOption for a prior without labels.
    """
    names = prior.card.labels
    if not names:
        raise BadOption(f"features: prior {prior.card.name!r} has no labels", "take features of its network")
    numbers, found = (condition or Condition()).numbers, []
    with torch.no_grad():
        for label in range(len(names)):
            known = Condition(torch.full((len(images),), label), numbers)
            errors = [
                prior.loss(images, torch.full((len(images),), sigma), noise.expand_as(images), known)
                for sigma in ERRORS_AT
                for noise in (_noise(images, how.seed, sigma), _noise(images, how.seed + 1, sigma))
            ]
            found.append(torch.stack(errors).mean(0))
    each = torch.stack(found, 1)
    return each - each.mean(1, keepdim=True)


Looker: TypeAlias = Callable[[Prior, Tensor, Condition, FeatureSettings], Tensor]
"""(prior, images (B, C, ...), condition, settings) -> (B, d)."""


def volume_features(
    prior: Prior,
    volumes: Iterable[Volume],
    how: FeatureSettings = USUAL,
    on_step: Callable[[int], None] | None = None,
    look: Looker = features,
) -> Tensor:
    """(n, d): ``features`` of each scan, or what ``look`` says of it; of a volume under a 2-D prior the mean
    over its slices.

    Neighbours of one size pass the network together. on_step: how many scans are done. Raises what ``look``
    and ``Prior.admit`` raise, BadOption for no scans.
    """
    found: list[Tensor] = []
    for batch in _batches(prior.admit(volume, allow_other=how.allow_other) for volume in volumes):
        known = [part.condition.numbers for part in batch]
        numbers = torch.cat([n for n in known if n is not None]) if None not in known else None
        rows = look(prior, torch.cat([part.images for part in batch]), Condition(numbers=numbers), how)
        found += [part.mean(0) for part in rows.split([len(part.images) for part in batch])]
        if on_step:
            on_step(len(found))
    if not found:
        raise BadOption("features: wanted scans, got none")
    return torch.stack(found)


def _batches(scans: Iterable[Admitted]) -> Iterator[list[Admitted]]:
    """Neighbours of one size, as many as pass the network together."""
    for _, same in groupby(scans, key=lambda scan: tuple(scan.images.shape[1:])):
        batch: list[Admitted] = []
        for scan in same:
            batch.append(scan)
            if sum(one.images[:, 0].numel() for one in batch) >= _AT_ONCE:
                yield batch
                batch = []
        if batch:
            yield batch


def _looked(
    prior: Prior, images: Tensor, condition: Condition, how: FeatureSettings
) -> Iterator[list[list[Tensor]]]:
    """For each part of the images, for each noise level, the features of all resolutions."""
    noises = [_noise(images, how.seed, sigma) for sigma in how.sigmas]
    step = max(1, _AT_ONCE // images[0, 0].numel())
    for start in range(0, len(images), step):
        at = slice(start, start + step)
        known = Condition(
            *(None if part is None else part[at] for part in (condition.label, condition.numbers))
        )
        with torch.no_grad():
            yield _levels(prior, images[at], known, how, noises)


def _levels(
    prior: Prior, x: Tensor, known: Condition, how: FeatureSettings, noises: Sequence[Tensor]
) -> list[list[Tensor]]:
    """For each noise level the features of all resolutions."""
    net = prior.net
    if not isinstance(net, Featured):
        raise BadOption(
            f"features: wanted a prior with medprior's own network, got a {type(net).__name__}",
            "train one with medprior train",
        )
    return [
        net.features(*prior.inputs(x + sigma * noise, torch.full((len(x),), sigma), known), upward=True)
        for sigma, noise in zip(how.sigmas, noises, strict=True)
    ]


def _noise(images: Tensor, seed: int, sigma: float) -> Tensor:
    """(1, C, i, j[, k]), the same for every image."""
    return torch.randn(images.shape[1:], generator=generator(seed, "features", sigma))[None]


def _pooled(levels: list[list[Tensor]]) -> Tensor:
    flat = [one.flatten(2) for maps in levels for one in maps]
    found = torch.cat([part for f in flat for part in (f.mean(2), f.std(2, correction=0))], dim=1)
    if not bool(found.isfinite().all()):
        raise Diverged(0, 0.0, "the features of a scan")
    return found


def _enlarged(levels: list[list[Tensor]], size: tuple[int, ...]) -> Tensor:
    """The finest resolution is padded to ``stride``, so all are enlarged to its grid and cropped."""
    finest = tuple(levels[0][0].shape[2:])
    mode = "bilinear" if len(size) == 2 else "trilinear"
    maps = [
        one
        if tuple(one.shape[2:]) == finest
        else F.interpolate(one, size=finest, mode=mode, align_corners=False)
        for noisy in levels
        for one in noisy
    ]
    return torch.cat([one[(..., *(slice(0, n) for n in size))] for one in maps], dim=1)
