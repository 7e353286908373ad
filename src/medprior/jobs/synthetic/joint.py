"""Joint synthesis: what is given of a patient is a measurement of some channels, everything else is drawn.

A label map gives images, one contrast gives another, nothing gives both: one prior, one rule, no second
network (docs/synthesize.md).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor
from torch.nn import functional as F

from ...data.volume import Volume
from ...errors import BadOption
from ...operators import Gaussian, Measurement, channels, downsample, neighbours, together
from ...prior import Condition, Denoiser, Prior
from ...prior.admit import Admitted, card_heights
from ...prior.card import Card
from ...prior.joint import Part, admit_parts, part_volume, parts, synthetic_volume
from ...prior.numbers import encode_numbers, with_drawn_heights
from ...prior.wrappers import with_known
from ...sampling import anneal, flow, initial_image, karras_levels, known_channels, log_levels, proximal
from ..given import GivenPrior, prior_of
from ..stacks import by_slice
from .synthesize import Drawing, cropped, default_size, finenesses, guided_prior, ladder

__all__ = ["draw_joint", "synthesize_joint"]

KNOWN = 0.02
"""Noise of a known channel, network units: a hundredth of the range, below what anybody sees."""

COARSE = 0.03
"""Noise of a coarser image as the measurement of a finer one, as in ``synthesize``."""

ALIKE = 0.9
"""Correlation of the noise that neighbouring slices are drawn from. Each slice is then a draw as any other,
and neighbours are alike, since the walk is smooth in its noise."""

TIE, TIMES = 0.5, 2.5
"""On the finer rungs, where the coarser volume holds the brightness: standard deviation of such a tie where
the card does not say by how much neighbours differ, network units; and how many times that difference it is
where it does."""

LEVELS = 3
"""Levels of the walk where something is known, for each where nothing is. Of two Gaussian channels with a
correlation of 0.8 the draws keep 0.79 of it with 36 levels from 20 down, 0.89 with 60 from 5 down, and 0.97
by ``moment_matching`` at many times the cost."""

SPACE = 2**22
"""Voxels that are drawn side by side."""

OnStep = Callable[[int, int], None]


@dataclass(frozen=True, slots=True)
class _Task:
    """What is drawn. shape: (C, i, j[, k]) of the finest image. known: (1, c, i, j[, k]) and the numbers of
    its channels, or None.

    tie: by how much neighbouring slices differ, None where the prior knows the whole volume. alike: the
    correlation of their noise. finenesses: how many the prior has learned from, each half of the one before.
    """

    denoiser: Denoiser
    shape: tuple[int, ...]
    known: tuple[Tensor, tuple[int, ...]] | None
    tie: float | None
    alike: float
    n_steps: int
    finenesses: int

    def within(self, size: tuple[int, ...], coarse: Tensor | None) -> Measurement | None:
        """All that is known of an image of this size, as one measurement; None for nothing."""
        shape, found = (self.shape[0], *size), []
        kept: tuple[int, ...] = ()
        if self.known is not None:
            y, kept = self.known
            found.append(Measurement(y, channels(shape, kept), Gaussian(KNOWN)))
        if coarse is not None:
            found.append(Measurement(coarse, downsample(shape, _factors(self, 2)), Gaussian(COARSE)))
        free = tuple(c for c in range(shape[0]) if c not in kept)
        if self.tie is not None and size[-1] > 1 and free:
            between = neighbours((len(free), *size), axis=3) @ channels(shape, free)
            found.append(Measurement(torch.zeros(1, *between.codomain), between, Gaussian(self.tie)))
        return None if not found else found[0] if len(found) == 1 else together(*found)


def synthesize_joint(
    prior: GivenPrior,
    *,
    n: int = 16,
    given: Mapping[str, Volume] | None = None,
    label: str | None = None,
    numbers: Mapping[str, float | Sequence[float]] | None = None,
    seed: int = 0,
    size: tuple[int, ...] | None = None,
    slices: int | None = None,
    guidance: float = 1.5,
    number_guidance: float = 1.0,
    n_steps: int = 18,
    alike: float = ALIKE,
    stream: str = "",
    on_step: OnStep | None = None,
) -> list[dict[str, Volume]]:
    """n examples, each all channels of the prior by name (image, T2, mask, ...), marked synthetic; a label
    map has whole numbers and the unit "label".

    given: channels that are known, on one grid; they are left out of the result, which lies on that grid
    (affine and array order are theirs). Each is a Measurement with a noise of 0.02 in network units, through
    the rule ``proximal``, or ``known_channels`` where nothing else is known. label: a class of the card.
    numbers: one for all or one for each, as the card names them; what is not said stays unknown, but for the
    height of slices. guidance, number_guidance: weights of the label and of the numbers that are asked for
    (never of a height); 1 is plain, above it exaggerates. size: of an image, where nothing is given. slices:
    a volume of so many by a prior of slices; a given volume has its own. alike: correlation, 0 to below 1, of
    the noise that neighbouring slices are drawn from; 0 makes each of another patient. n_steps: levels; three
    times as many if a part of the image is given. stream: words that set these draws apart from others with
    the same seed. The same seed and n give the same bytes. on_step: (steps done, in all). Raises BadOption
    (n, size, alike, label, number, channel, class), WrongKind (grids, units), Diverged.
    """
    prior = prior_of(prior)
    if n < 1 or not 0 <= alike < 1:
        raise BadOption(f"synthesize: wanted n >= 1 and alike from 0 to below 1, got {n} and {alike}")
    card, door, known = prior.card, None, None
    if given and (size is not None or slices is not None):
        raise BadOption("size, slices: what is given has a size of its own", "leave them out")
    if given:
        door, kept = _admitted(card, given)
        known = (door.whole[None], kept)
    shape = _free_shape(prior, size, slices) if door is None else (len(card.channels), *door.whole.shape[1:])
    each = {name: _each(name, value, n) for name, value in (numbers or {}).items()}
    how = Drawing(
        label=label,
        seed=seed,
        guidance=guidance,
        number_guidance=number_guidance,
        n_steps=n_steps,
        numbers=each,
        stream=stream,
    )
    drawn = _examples(prior, n, shape, how, alike=alike, known=known, door=door, on_step=on_step)
    wanted = [part for part in parts(card) if part.name not in (given or {})]
    told = f"given {', '.join(given)}, " if given else ""
    sentence = f"made by medprior: prior {card.name}, {told}label {label}, seed {seed}"
    return [
        {part.name: _volume(prior, part, door, x, f"{sentence}, number {i}") for part in wanted}
        for i, x in enumerate(drawn)
    ]


def _admitted(card: Card, given: Mapping[str, Volume]) -> tuple[Admitted, tuple[int, ...]]:
    """What is given, in network units, and the numbers of its channels. Raises BadOption where it is all."""
    door, kept = admit_parts(card, given)
    if len(kept) == len(card.channels):
        raise BadOption(
            f"given: {', '.join(given)} is all that prior {card.name!r} knows, nothing is left to draw",
            "give fewer channels",
        )
    return door, kept


def draw_joint(
    prior: Prior,
    n: int,
    *,
    seed: int = 0,
    size: tuple[int, ...] | None = None,
    n_steps: int = 18,
    on_step: OnStep | None = None,
) -> Tensor:
    """n examples with nothing given, as the network has them: (n, C, i, j[, k]) in network units. Arguments
    and errors as of ``synthesize_joint``.
    """
    how = Drawing(seed=seed, n_steps=n_steps)
    return _examples(prior, n, _free_shape(prior, size, None), how, on_step=on_step)


def _examples(
    prior: Prior,
    n: int,
    shape: tuple[int, ...],
    how: Drawing,
    *,
    alike: float = ALIKE,
    known: tuple[Tensor, tuple[int, ...]] | None = None,
    door: Admitted | None = None,
    on_step: OnStep | None = None,
) -> Tensor:
    """(n, *shape) in network units, in batches."""
    card, inside, rng = prior.card, guided_prior(prior, how), how.rng
    values = encode_numbers(card, how.numbers, n)
    solid = card.ndim == 2 and len(shape) == 4
    most = 1 if solid else max(1, SPACE // math.prod(shape))
    batches = [slice(first, min(first + most, n)) for first in range(0, n, most)]
    told_steps = _counted(on_step, len(batches))
    drawn = []
    with torch.no_grad():
        for at, batch in enumerate(batches):
            denoiser, condition = _asked(
                inside, card, shape, None if values is None else values[batch], rng, door
            )
            task = _Task(
                denoiser, shape, known, _tie(prior) if solid else None, alike, how.n_steps, finenesses(prior)
            )
            drawn.append(
                _drawn(task, batch.stop - batch.start, condition, prior.card.frame[0], rng, told_steps(at))
            )
    return torch.cat(drawn)


def _free_shape(prior: Prior, size: tuple[int, ...] | None, slices: int | None) -> tuple[int, ...]:
    card = prior.card
    size = size or default_size(prior)
    if min(size) < 16 or len(size) != card.ndim:
        raise BadOption(f"synthesize: wanted a {card.ndim}-D size of at least 16, got {size}")
    if slices is not None and (card.ndim == 3 or slices < 2):
        raise BadOption(
            f"slices: wanted at least 2, of a prior of slices, got {slices} and a {card.ndim}-D prior",
            "leave slices out",
        )
    return (len(card.channels), *size, *(() if slices is None else (slices,)))


def _tie(prior: Prior) -> float:
    differ = prior.card.data.get("neighbours")
    return TIMES * differ if differ else TIE


def _each(name: str, value: float | Sequence[float], n: int) -> list[float]:
    values = [float(value)] * n if isinstance(value, int | float) else [float(v) for v in value]
    if len(values) != n:
        raise BadOption(f"number {name}: wanted one for all or one for each of {n} images, got {len(values)}")
    return values


def _asked(
    inside: Denoiser,
    card: Card,
    shape: tuple[int, ...],
    values: Tensor | None,
    rng: torch.Generator,
    door: Admitted | None,
) -> tuple[Denoiser, Condition]:
    """The denoiser for such images, and what it is told of each; slices get their heights."""
    if values is None:
        return (by_slice(inside, None) if len(shape) == card.ndim + 2 else inside), Condition()
    at = card.numbers.index("height") if "height" in card.numbers else None
    if len(shape) == card.ndim + 2:  # slices of one volume: a row for each
        rows = values[:1].repeat(shape[-1], 1)
        own = card_heights(card, shape[-1])
        if at is not None and own is not None and rows[:, at].isnan().all():
            rows[:, at] = own[:, at]
        return by_slice(inside, rows), Condition()
    return inside, Condition(numbers=with_drawn_heights(card, values, rng) if door is None else values)


def _drawn(
    task: _Task,
    n: int,
    condition: Condition,
    coarsest: int,
    rng: torch.Generator,
    on_step: Callable[[float], None],
) -> Tensor:
    """(n, *shape): coarse to fine, each rung given what is known at its size and the rung before."""
    flat = 2 if task.tie is not None else len(task.shape) - 1
    size = task.shape[1 : flat + 1]
    # a prior that has learned from one fineness alone, as of small images, knows no coarser one: then there
    # is one rung
    rungs = [(*rung, *task.shape[flat + 1 :]) for rung in ladder(size, coarsest)[-task.finenesses :]]
    full = _padded(task.known[0], rungs[-1]) if task.known else None
    x: Tensor | None = None
    for at, rung in enumerate(rungs):
        now = (
            task
            if task.known is None or full is None
            else replace(task, known=(_pooled(task, full, 2 ** (len(rungs) - 1 - at)), task.known[1]))
        )

        def heard(done: int, total: int, at: int = at) -> None:
            on_step((at + done / total) / len(rungs))

        if x is None and task.tie is not None:
            x = _slices(now, n, rung, condition, rng, heard)
            continue
        measured = now.within(rung, x)
        if measured is None:
            sigmas = karras_levels(task.n_steps, low=0.01, high=20.0)
            x = initial_image(
                task.denoiser, (n, task.shape[0], *rung), sigmas[0], rng=rng, condition=condition
            )
            x = flow(task.denoiser, x, sigmas, condition=condition, on_step=heard)
            continue
        guide = (
            known_channels(task.denoiser, *now.known, KNOWN, rng)
            if now.known is not None and x is None
            else proximal(task.denoiser, measured, rng)
        )
        if x is None:
            # a known channel speaks through the noise of the level alone: many small levels, or what is drawn
            # follows it too little
            sigmas = log_levels(LEVELS * task.n_steps, low=0.02, high=5.0)
            x = initial_image(guide, (n, task.shape[0], *rung), sigmas[0], rng=rng, condition=condition)
        else:
            sigmas = karras_levels(14, low=0.01, high=1.0)
            x = _enlarged(task, x)
            x = x + torch.randn(x.shape, generator=rng)
        x = anneal(guide, x, sigmas, rng=rng, condition=condition, on_step=heard)
    if x is None:
        raise BadOption(f"synthesize: a size of {size} leaves nothing to draw")
    return cropped(x, task.shape[1:])


def _slices(
    task: _Task, n: int, size: tuple[int, ...], condition: Condition, rng: torch.Generator, on_step: OnStep
) -> Tensor:
    """(n, C, i, j, k): slices drawn from noise that is alike in neighbours, by the walk that adds none; what
    is known keeps its place at every level.
    """
    shape, denoiser = (n, task.shape[0], *size), task.denoiser
    if task.known is not None:
        y, numbers = task.known
        known, free = torch.zeros(1, *shape[1:]), torch.ones(1, shape[1], 1, 1, 1)
        known[:, list(numbers)], free[:, list(numbers)] = y, 0.0
        denoiser = with_known(denoiser, known, free)
    sigmas = karras_levels(task.n_steps, low=0.01, high=20.0)
    first = sigmas[0].float()
    x = first * _alike(shape, task.alike, rng)
    for _ in range(2):  # as ``initial_image`` does: images have a mean of their own
        x = denoiser(x, first.expand(n), condition) + first * _alike(shape, task.alike, rng)
    return flow(denoiser, x, sigmas, condition=condition, on_step=on_step)


def _alike(shape: tuple[int, ...], correlation: float, rng: torch.Generator) -> Tensor:
    """White noise in each slice, and a first-order autoregression from slice to slice."""
    white = torch.randn(shape, generator=rng)
    slices = [white[..., 0]]
    for k in range(1, shape[-1]):
        slices.append(correlation * slices[-1] + (1 - correlation**2) ** 0.5 * white[..., k])
    return torch.stack(slices, dim=-1)


def _factors(task: _Task, factor: int) -> tuple[int, ...]:
    """In the plane of the slices, or everywhere."""
    ndim = len(task.shape) - 1
    return (factor, factor, 1) if task.tie is not None else (factor,) * ndim


def _padded(y: Tensor, size: tuple[int, ...]) -> Tensor:
    """Its edges carried on to the size of the finest rung, as much on both sides."""
    missing = [(want - have) for have, want in zip(y.shape[2:], size, strict=True)]
    return (
        F.pad(y, [side for m in reversed(missing) for side in (m // 2, m - m // 2)], mode="replicate")
        if any(missing)
        else y
    )


def _pooled(task: _Task, y: Tensor, factor: int) -> Tensor:
    pool = F.avg_pool2d if y.ndim == 4 else F.avg_pool3d
    return y if factor == 1 else pool(y, _factors(task, factor))


def _enlarged(task: _Task, x: Tensor) -> Tensor:
    return F.interpolate(x, scale_factor=tuple(float(f) for f in _factors(task, 2)), mode="nearest")  # type: ignore[arg-type]


def _counted(on_step: OnStep | None, batches: int) -> Callable[[int], Callable[[float], None]]:
    """Hundredths of all batches."""

    def of_batch(at: int) -> Callable[[float], None]:
        def heard(share: float) -> None:
            if on_step:
                on_step(round(100 * (at + share) / batches), 100)

        return heard

    return of_batch


def _volume(prior: Prior, part: Part, door: Admitted | None, x: Tensor, sentence: str) -> Volume:
    """One part of one drawn example (C, i, j[, k])."""
    own = x[list(part.channels)]
    if door is None:
        return synthetic_volume(prior.card, part, own, (sentence, "research use only, not for diagnosis"))
    images = own.movedim(-1, 0) if door.stack else own[None]
    return part_volume(prior.card, part, door, images, sentence).noted("research use only, not for diagnosis")
