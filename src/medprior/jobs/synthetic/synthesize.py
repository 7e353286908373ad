"""Synthesize: guided(prior, label) -> flow from noise, coarse to fine -> Volumes marked synthetic."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypedDict, Unpack

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from ...data.seeds import generator
from ...data.volume import Provenance, Volume
from ...errors import BadOption
from ...prior import Condition, Denoiser, Prior
from ...prior.joint import is_joint, parts
from ...prior.numbers import encode_numbers, guidable_columns, with_drawn_heights
from ...prior.wrappers import guided, with_block_means
from ...sampling import initial_image, karras_levels, multistep
from ..given import GivenPrior, prior_of
from ..reconstruct import label_index, windowed

__all__ = [
    "DRAWING",
    "cropped",
    "default_size",
    "draw_images",
    "enlarged",
    "finenesses",
    "guided_prior",
    "ladder",
    "synthesize",
    "volumes_of",
]


DRAWING = 3
"""Counts the ways in which images were drawn: an audit is of images drawn in one way.

1: 18 levels of midpoint. 2: 24 levels of multistep, enlarged by 14 levels of ``proximal``. 3: enlarged by 10
levels of multistep.
"""

_FINER = 10
"""Noise levels of an enlargement."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Drawing:
    """How images are drawn.

    label: a class of the card, or None for any. size: of the image, default what the prior was trained to
    show whole. guidance, number_guidance: weights of the label and of the numbers that are asked for (never
    of a height); 1 is plain, above it exaggerates. n_steps: levels of the walk. numbers: of each image, by
    the names on the card (age, ...), NaN = unknown. stream: words that set these draws apart from others with
    the same seed.
    """

    label: str | None = None
    seed: int = 0
    size: tuple[int, ...] | None = None
    guidance: float = 1.5
    number_guidance: float = 1.0
    n_steps: int = 24
    numbers: Mapping[str, Sequence[float]] = field(default_factory=dict)
    stream: str = ""

    @property
    def rng(self) -> torch.Generator:
        """Of its seed and stream, from the beginning."""
        return generator(self.seed, "synthesize", *([self.stream] if self.stream else []))


class Walk(TypedDict, total=False):
    """What is seldom set of ``Drawing``."""

    number_guidance: float
    n_steps: int
    stream: str


def synthesize(
    prior: GivenPrior,
    *,
    n: int = 16,
    label: str | None = None,
    seed: int = 0,
    size: tuple[int, ...] | None = None,
    guidance: float = 1.5,
    numbers: Mapping[str, Sequence[float]] | None = None,
    on_step: Callable[[int, int], None] | None = None,
    **walk: Unpack[Walk],
) -> list[Volume]:
    """n new images, marked synthetic. Whether they are copies is not asked here: ``jobs.audit`` does, and so
    does every run.

    walk: number_guidance, n_steps and stream, as of ``Drawing``. Arguments and errors are those of
    ``draw_images``; BadOption for a joint prior, whose images are several volumes each.
    """
    prior = prior_of(prior)
    if is_joint(prior.card):
        raise BadOption(
            f"synthesize: prior {prior.card.name!r} draws {', '.join(p.name for p in parts(prior.card))} "
            "together",
            "use synthesize_joint",
        )
    how = Drawing(label=label, seed=seed, size=size, guidance=guidance, numbers=numbers or {}, **walk)
    x, _ = draw_images(prior, n, how, on_step=on_step)
    return volumes_of(prior, x, f"label {label}, seed {seed}")


def draw_images(
    prior: Prior, n: int, how: Drawing, *, on_step: Callable[[int, int], None] | None = None
) -> tuple[Tensor, Condition]:
    """n new images in network units, (n, C, *size), all channels of a joint prior, and what was asked for
    besides the label.

    An image at least twice as large as the prior's smallest frame is made coarse to fine: each finer one is a
    draw whose block means are the coarser. The same seed and n give the same bytes; another n gives other
    images, since all of a batch share one stream of random numbers. Heights of slices that are not given are
    drawn. on_step: (levels of the ladder done, in all). Raises BadOption (n, label, number, guidance, size
    smaller than 16), Diverged.
    """
    size = how.size or default_size(prior)
    if n < 1 or min(size) < 16 or len(size) != prior.card.ndim:
        raise BadOption(
            f"synthesize: wanted n >= 1 and a {prior.card.ndim}-D size of at least 16, got n {n}, size {size}"
        )
    denoiser = guided_prior(prior, how)
    rng = how.rng
    levels = ladder(size, prior.card.frame[0])[-finenesses(prior) :]
    with torch.no_grad():
        condition = _anywhere(prior, rng, encode_numbers(prior.card, how.numbers, n))
        x = _coarsest(denoiser, (n, len(prior.card.channels), *levels[0]), condition, rng, how.n_steps)
        for done in range(1, len(levels)):
            if on_step:
                on_step(done, len(levels))
            x = enlarged(denoiser, x, condition, rng)
    x = cropped(x, size)
    if on_step:
        on_step(len(levels), len(levels))
    return x, condition


def guided_prior(prior: Prior, how: Drawing) -> Denoiser:
    """The prior's denoiser, with guidance towards the label and the numbers that are asked for. Raises
    BadOption (label, guidance).
    """
    denoiser = windowed(prior)
    if how.label is not None:
        denoiser = guided(denoiser, label_index(prior, how.label), how.guidance)
    columns = guidable_columns(prior.card, how.numbers)
    return guided(denoiser, None, how.number_guidance, columns) if columns else denoiser


def volumes_of(prior: Prior, x: Tensor, how: str) -> list[Volume]:
    """Images in network units (n, C, i, j[, k]) -> volumes in the prior's unit, marked synthetic. how: goes
    into their history.
    """
    return [
        _volume(prior, image, f"made by medprior: prior {prior.card.name}, {how}, number {i}")
        for i, image in enumerate(x)
    ]


def default_size(prior: Prior) -> tuple[int, ...]:
    """The size the prior was trained to show whole."""
    shown = prior.card.data.get("shape")
    return tuple(shown) if shown else (prior.card.frame[1],) * prior.card.ndim


def finenesses(prior: Prior) -> int:
    """How many resolutions it has learned from, each half of the one before: what is coarser than all of them
    it has never seen. Unknown without tables.
    """
    return len(prior.card.errors) or 16


def cropped(x: Tensor, size: Sequence[int]) -> Tensor:
    """(n, C, ...) -> (n, C, *size), as much off both sides."""
    first = [(have - want) // 2 for have, want in zip(x.shape[2:], size, strict=True)]
    return x[(..., *(slice(at, at + want) for at, want in zip(first, size, strict=True)))]


def ladder(size: tuple[int, ...], coarsest: int) -> list[tuple[int, ...]]:
    """Sizes from coarse to fine, a factor of 2 apart; the largest side of the coarsest is near ``coarsest``,
    its smallest at least 8.

    All are exact halves, so the finest is up to a few voxels larger than an odd ``size`` and is cropped.
    """
    halvings = 0
    while max(size) >> halvings >= 2 * max(coarsest, 8) and min(size) >> (halvings + 1) >= 8:
        halvings += 1
    smallest = tuple(-(-s // 2**halvings) for s in size)
    return [tuple(s * 2**n for s in smallest) for n in range(halvings + 1)]


def _coarsest(
    denoiser: Denoiser, shape: tuple[int, ...], condition: Condition, rng: torch.Generator, n_steps: int
) -> Tensor:
    sigmas = karras_levels(n_steps, low=0.01, high=20.0)
    # from noise of mean zero images come out too bright or too dark: see ``initial_image``
    x = initial_image(denoiser, shape, sigmas[0], rng=rng, condition=condition)
    return multistep(denoiser, x, sigmas, condition=condition)


def enlarged(denoiser: Denoiser, coarse: Tensor, condition: Condition, rng: torch.Generator) -> Tensor:
    """Draws at twice the size whose 2x2 means are the coarse images.

    A walk that adds no noise keeps the power of fine structures; the redraws of ``proximal`` lose a third.
    """
    sigmas = karras_levels(_FINER, low=0.004, high=1.0)
    x = F.interpolate(coarse, scale_factor=2.0)
    x = x + torch.randn(x.shape, generator=rng)
    return multistep(with_block_means(denoiser, coarse), x, sigmas, condition=condition)


def _anywhere(prior: Prior, rng: torch.Generator, numbers: Tensor | None) -> Condition:
    """What was asked for; where no height was, heights drawn evenly for stacks of slices."""
    if numbers is None:
        return Condition()
    return Condition(numbers=with_drawn_heights(prior.card, numbers, rng))


def _volume(prior: Prior, image: Tensor, sentence: str) -> Volume:
    card = prior.card
    low, high = (card.low, card.high) if card.scaling == "fixed" else (0.0, 1.0)
    data = ((image.numpy() + 1) / 2 * (high - low) + low).astype(np.float32)
    return Volume(
        data,
        None,
        card.unit,
        card.modality,
        provenance=Provenance(synthetic=True, history=(sentence, "research use only, not for diagnosis")),
    )
