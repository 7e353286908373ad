"""Augment: Volume -> revisit(prior | label) -> Draws with the source's label, grid and affine."""

from __future__ import annotations

from collections.abc import Callable

import torch

from ..data.seeds import generator
from ..data.volume import Volume
from ..errors import BadOption
from ..prior import Prior
from ..prior.door import admit, release
from ..prior.wrappers import guided
from ..sampling import revisit
from .reconstruct import label_index, windowed

__all__ = ["augment", "level_of"]


def level_of(strength: float) -> float:
    """Strength 0..1 is the time of the straight path, t = sigma / (1 + sigma): 0 keeps the source, 1 forgets it.

    Raises BadOption outside of (0, 1).
    """
    if not 0 < strength < 1:
        raise BadOption(f"strength: wanted a number between 0 and 1, got {strength}", "0.3 is a gentle variation, 0.6 a bold one")
    return strength / (1 - strength)


def augment(
    prior: Prior,
    volume: Volume,
    *,
    strength: float = 0.3,
    n: int = 4,
    seed: int = 0,
    label: str | None = None,
    guidance: float = 1.0,
    allow_other: bool = False,
    on_step: Callable[[int, int], None] | None = None,
) -> list[Volume]:
    """n variations of a scan on its own grid, unit and affine, marked synthetic.

    strength: 0 keeps the source, 1 forgets it. label: condition on a class; give the source's own, so that the variation keeps it.
    Detail finer than the prior's largest frame is carried over from the source unchanged. Number i of a seed is the same however many are asked for.
    Raises BadOption (strength, n, label, guidance), WrongKind (another modality or unit than the prior's).
    """
    sigma = level_of(strength)
    if n < 1:
        raise BadOption(f"n: wanted at least 1 variation, got {n}")
    admitted = admit(prior.card, volume, allow_other=allow_other)
    denoiser = windowed(prior)
    if label is not None:
        denoiser = guided(denoiser, label_index(prior, label), guidance)
    made = []
    for i in range(n):
        with torch.no_grad():
            x = revisit(denoiser, admitted.images, sigma, rng=generator(seed, "augment", i), condition=admitted.condition)
        asked = f", label {label}" if label is not None else ""
        sentence = f"varied by medprior: prior {prior.card.name}, strength {strength}{asked}, seed {seed}, number {i}"
        made.append(release(admitted, x, sentence=sentence))
        if on_step:
            on_step(i + 1, n)
    return made
