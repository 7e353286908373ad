"""Reconstruct: Measurement -> rule(prior, measurement) -> anneal or flow x N -> Draws."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from ..data.seeds import generator
from ..data.volume import Volume
from ..errors import BadOption, ShapeMismatch, nearest
from ..operators import Measurement, cg
from ..prior import Denoiser, Prior
from ..prior.door import scale_of
from ..prior.wrappers import guided, tiled
from ..sampling import RULES, Draws, follow, karras_levels, restore, start

__all__ = ["Settings", "least_squares", "reconstruct", "scale_from"]

OnStep = Callable[[int, int], None]


@dataclass(frozen=True, slots=True)
class Settings:
    """How a measurement is turned into draws; the defaults were chosen on validation scans (docs/reconstruct.md).

    rule: "proximal" or "moment_matching". n_steps: noise levels. high, low: first and last level, network units.
    tile: images with a larger side are denoised in windows of this side.
    """

    rule: str = "proximal"
    n_steps: int = 30
    high: float = 5.0
    low: float = 0.01
    tile: int = 256

    def __post_init__(self) -> None:
        if self.rule not in RULES:
            raise BadOption(f"rule: {self.rule!r} is not known", nearest(self.rule, list(RULES)))


def reconstruct(
    prior: Prior,
    measurement: Measurement,
    *,
    n: int = 8,
    seed: int = 0,
    settings: Settings | None = None,
    scale: tuple[float, float] | None = None,
    label: str | None = None,
    fast: bool = False,
    on_step: OnStep | None = None,
) -> Draws:
    """N draws of the image, given what was measured; all in one batch, in the measurement's physical unit.

    measurement: of an image (C, i, j) on the prior's axes. scale: the physical values at -1 and 1 of the prior; default the card's
    (CT), else estimated from the measurement (MR, X-ray). label: condition on a class of the card.
    fast: one deterministic point estimate from 8 evaluations (its "draws" are that one image; it has no spread).

    Raises ShapeMismatch (channels), BadOption (n, label, noise of zero), UnknownNoise, Diverged.
    """
    settings = settings or Settings()
    if n < 1:
        raise BadOption(f"n: wanted at least 1 draw, got {n}")
    domain = measurement.operator.domain
    if len(domain) != prior.card.ndim + 1 or domain[0] != len(prior.card.channels):
        raise ShapeMismatch("reconstruct", f"an image of {len(prior.card.channels)} channel(s) and {prior.card.ndim} dimensions", domain)
    low, high = scale or scale_from(prior, measurement)
    inside = measurement.shifted((high - low) / 2, (high + low) / 2)
    denoiser: Denoiser = tiled(prior, settings.tile, settings.tile // 4)
    if label is not None:
        denoiser = guided(denoiser, label_index(prior, label))
    with torch.no_grad():
        if fast:
            x = restore(denoiser, inside, least_squares(inside))
            made_by = f"{prior.card.name}, plug-and-play point estimate, 8 evaluations"
        else:
            x = _draws(denoiser, inside, domain, n, generator(seed, "reconstruct"), settings, on_step)
            made_by = f"{prior.card.name}, {settings.rule}, {settings.n_steps} levels from {settings.high:g} to {settings.low:g}"
    return Draws((x + 1) / 2 * (high - low) + low, seed, made_by)


def _draws(
    denoiser: Denoiser, inside: Measurement, domain: tuple[int, ...], n: int, rng: torch.Generator, settings: Settings, on_step: OnStep | None
) -> Tensor:
    guide = RULES[settings.rule](denoiser, inside, rng)
    sigmas = karras_levels(settings.n_steps, low=settings.low, high=settings.high)
    x = start(guide, (n, *domain), sigmas[0], rng=rng)
    return follow(guide, x, sigmas, rng=rng, on_step=on_step)


def label_index(prior: Prior, label: str) -> int:
    """Position of a label on the card. Raises BadOption with the nearest name."""
    if label not in prior.card.labels:
        known = list(prior.card.labels)
        raise BadOption(f"label: {label!r} is not on the card of {prior.card.name!r}", nearest(label, known) if known else "this prior has no labels")
    return prior.card.labels.index(label)


def least_squares(measurement: Measurement, n_iterations: int = 20) -> Tensor:
    """(1, *domain): the image that fits the measurement, no prior; a little damping keeps what was not measured at zero."""
    operator = measurement.operator
    start = operator.adjoint(measurement.y)
    size = float(torch.linalg.vector_norm(operator.apply(start)) / torch.linalg.vector_norm(start).clamp_min(1e-12)) ** 2
    return cg(lambda x: operator.adjoint(operator.apply(x)) + 1e-3 * size * x, start, torch.zeros_like(start), n=n_iterations)


def scale_from(prior: Prior, measurement: Measurement) -> tuple[float, float]:
    """The physical values at -1 and 1: the card's where the unit is physical, else those of the least-squares image."""
    if prior.card.scaling == "fixed":
        return prior.card.low, prior.card.high
    return scale_of(prior.card, Volume(least_squares(measurement)[0].numpy()))
