"""Augment: Volume -> noise to sigma, flow back (prior | label) -> Volumes with the source's label, grid and
affine.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypedDict, Unpack

import torch

from ..data.seeds import generator
from ..data.volume import Volume
from ..errors import BadOption
from ..prior import Condition, Prior
from ..prior.admit import Admitted, admit, release
from ..prior.wrappers import guided
from ..sampling import flow_back
from .given import GivenPrior, GivenScan, load_scan, prior_of
from .reconstruct import label_index, windowed

__all__ = ["EVALUATIONS", "VariationRequest", "augment", "level_of", "vary"]


EVALUATIONS = 15
"""Of the network for a variation: eight steps of Heun, the last of them one."""


def level_of(strength: float) -> float:
    """Strength 0..1 is the time of the straight path, t = sigma / (1 + sigma): 0 keeps the source, 1 forgets
    it.

    Raises BadOption outside of (0, 1).
    """
    if not 0 < strength < 1:
        raise BadOption(
            f"strength: wanted a number between 0 and 1, got {strength}",
            "0.3 is a gentle variation, 0.6 a bold one",
        )
    return strength / (1 - strength)


class Admission(TypedDict, total=False):
    """allow_other: let a scan of another modality or unit than the prior's pass, as of ``admit``."""

    allow_other: bool


def augment(
    prior: GivenPrior,
    volume: GivenScan,
    *,
    strength: float = 0.3,
    n: int = 4,
    seed: int = 0,
    label: str | None = None,
    guidance: float = 1.0,
    on_step: Callable[[int, int], None] | None = None,
    **admission: Unpack[Admission],
) -> list[Volume]:
    """n variations of a scan on its own grid, unit and affine, marked synthetic.

    strength: 0 keeps the source, 1 forgets it. label: condition on a class; give the source's own, so that
    the variation keeps it. admission: allow_other lets another modality or unit pass.

    Detail finer than the prior's largest frame is carried over from the source unchanged. Number i of a seed
    is the same however many are asked for. Raises BadOption (strength, n, label, guidance), WrongKind
    (another modality or unit than the prior's).
    """
    prior = prior_of(prior)
    volume = load_scan(volume, prior)
    level_of(strength)
    if n < 1:
        raise BadOption(f"n: wanted at least 1 variation, got {n}")
    admitted = admit(prior.card, volume, **admission)
    asked = f", label {label}" if label is not None else ""
    made = []
    for i in range(n):
        sentence = (
            f"varied by medprior: prior {prior.card.name}, strength {strength}{asked}, seed {seed}, "
            f"number {i}"
        )
        made += vary(
            prior,
            [VariationRequest(admitted, generator(seed, "augment", i), sentence, label)],
            strength=strength,
            guidance=guidance,
        )
        if on_step:
            on_step(i + 1, n)
    return made


@dataclass(frozen=True, slots=True)
class VariationRequest:
    """One variation to be made. rng: its own noise, so that it is the same image in whatever company it is
    made. label: a class of the card, or None.
    """

    admitted: Admitted
    rng: torch.Generator
    sentence: str
    label: str | None = None


def vary(
    prior: Prior, wanted: Sequence[VariationRequest], *, strength: float, guidance: float = 1.0
) -> list[Volume]:
    """One variation of each scan, those of one size and label side by side: many small images cost little
    more than one.

    Raises BadOption (strength, label, guidance), Diverged.
    """
    sigma, plain = level_of(strength), windowed(prior)
    made: list[Volume | None] = [None] * len(wanted)
    for label, together in _alike(wanted).items():
        denoiser = plain if label is None else guided(plain, label_index(prior, label), guidance)
        for part in together:
            x0 = torch.cat([wanted[n].admitted.images for n in part])
            noise = torch.cat(
                [torch.randn(wanted[n].admitted.images.shape, generator=wanted[n].rng) for n in part]
            )
            with torch.no_grad():
                x = flow_back(
                    denoiser,
                    x0 + sigma * noise,
                    sigma,
                    condition=_conditions([wanted[n].admitted.condition for n in part]),
                )
            for n, image in zip(part, x.split([len(wanted[n].admitted.images) for n in part]), strict=True):
                made[n] = release(wanted[n].admitted, image, sentence=wanted[n].sentence)
    return [volume for volume in made if volume is not None]


def _alike(wanted: Sequence[VariationRequest]) -> dict[str | None, list[list[int]]]:
    """label -> groups of numbers whose images have one size, in the order given."""
    found: dict[str | None, dict[tuple[int, ...], list[int]]] = {}
    for n, one in enumerate(wanted):
        found.setdefault(one.label, {}).setdefault(tuple(one.admitted.images.shape[1:]), []).append(n)
    return {label: list(sizes.values()) for label, sizes in found.items()}


def _conditions(of: Sequence[Condition]) -> Condition:
    """What is known of each image, one below the other. Of one card all name the same numbers, or none."""
    known = [one.numbers for one in of if one.numbers is not None]
    return Condition(numbers=torch.cat(known) if known else None)
