"""Enlarge: labelled images in network units -> generated ones with their labels, in batches: what a training
set is enlarged with.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from ...data.seeds import generator, seed_for
from ...errors import BadOption
from ...prior import Condition, Prior
from ...prior.wrappers import guided
from ...sampling import sdedit
from ..augment import level_of
from ..reconstruct import label_index, windowed
from .synthesize import Drawing, draw_images

__all__ = ["draw_by_label", "prior_variations"]

TOGETHER = 32
"""Images that are varied side by side; part of what makes the same seed the same images."""


def prior_variations(
    prior: Prior,
    images: Tensor,
    labels: Sequence[str] | None = None,
    *,
    strengths: Sequence[float] = (0.5,),
    per_image: int = 1,
    seed: int = 0,
    guidance: float = 1.0,
    numbers: Tensor | None = None,
    n_steps: int = 8,
    on_step: Callable[[int, int], None] | None = None,
) -> Tensor:
    """(N, C, i, j) in network units -> (per_image, N, C, i, j): variations of each image, by
    ``sampling.sdedit`` (SDEdit, Meng et al. 2022).

    labels: the class of each image on the prior's card, so that variations keep it; None asks for none.
    strengths: as ``augment`` has it, taken in turn for the first, second, ... variation. numbers: (N,
    n_numbers) what the card can be told of each image. Raises BadOption.
    """
    levels = [level_of(strength) for strength in strengths]
    if per_image < 1 or not levels or images.ndim != 4:
        raise BadOption(
            "variations: wanted images (N, C, i, j), at least one strength and one variation, got "
            f"{tuple(images.shape)}, {per_image}"
        )
    if labels is not None and len(labels) != len(images):
        raise BadOption(f"variations: wanted a label for each of {len(images)} images, got {len(labels)}")
    groups = (
        {None: list(range(len(images)))}
        if labels is None
        else {name: [n for n, own in enumerate(labels) if own == name] for name in sorted(set(labels))}
    )
    made = torch.empty((per_image, *images.shape))
    done = 0
    for name, places in groups.items():
        denoiser = (
            windowed(prior) if name is None else guided(windowed(prior), label_index(prior, name), guidance)
        )
        for turn in range(per_image):
            for part in range(0, len(places), TOGETHER):
                at = places[part : part + TOGETHER]
                rng = generator(seed, "variations", name, turn, part)
                known = Condition(numbers=None if numbers is None else numbers[at])
                with torch.no_grad():
                    made[turn, at] = sdedit(
                        denoiser,
                        images[at],
                        levels[turn % len(levels)],
                        rng=rng,
                        n_steps=n_steps,
                        condition=known,
                    )
                done += len(at)
                if on_step:
                    on_step(done, per_image * len(images))
    return made


def draw_by_label(
    prior: Prior,
    counts: dict[str, int],
    size: tuple[int, int],
    *,
    seed: int = 0,
    guidance: float = 1.5,
    on_step: Callable[[int, int], None] | None = None,
) -> dict[str, Tensor]:
    """New images of each label in network units, (count, C, i, j), from noise: see ``draw_images``, whose
    noise is another one for each label here.
    """
    made, done = {}, 0
    for name, count in counts.items():
        parts = []
        for part in range(0, count, TOGETHER):
            n = min(TOGETHER, count - part)
            parts.append(
                draw_images(
                    prior,
                    n,
                    Drawing(label=name, seed=seed_for(seed, name, part), size=size, guidance=guidance),
                )[0]
            )
            done += n
            if on_step:
                on_step(done, sum(counts.values()))
        made[name] = torch.cat(parts)
    return made
