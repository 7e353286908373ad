"""Enlarge: labelled images in network units -> generated ones with their labels, in batches: what a training
set is enlarged with.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

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

__all__ = ["Variation", "draw_by_label", "prior_variations"]

TOGETHER = 32
"""Images that are varied side by side; part of what makes the same seed the same images."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Variation:
    """How images are varied. strengths: as ``augment`` has it, taken in turn for the first, second, ...
    variation. per_image: variations of each image. guidance: weight of the label. n_steps: noise levels.

    Raises BadOption for no strength, for one outside of (0, 1), and for no variation.
    """

    strengths: Sequence[float] = (0.5,)
    per_image: int = 1
    seed: int = 0
    guidance: float = 1.0
    n_steps: int = 8

    def __post_init__(self) -> None:
        if self.per_image < 1 or not self.levels:
            raise BadOption(
                f"variations: wanted at least one strength and one variation, got {self.strengths}, "
                f"{self.per_image}"
            )

    @property
    def levels(self) -> list[float]:
        """The noise level of each strength."""
        return [level_of(strength) for strength in self.strengths]


def prior_variations(
    prior: Prior,
    images: Tensor,
    how: Variation,
    *,
    labels: Sequence[str] | None = None,
    numbers: Tensor | None = None,
    on_step: Callable[[int, int], None] | None = None,
) -> Tensor:
    """(N, C, i, j) in network units -> (per_image, N, C, i, j): variations of each image, by
    ``sampling.sdedit`` (SDEdit, Meng et al. 2022).

    labels: the class of each image on the prior's card, so that variations keep it; None asks for none.
    numbers: (N, n_numbers) what the card can be told of each image. Raises BadOption.
    """
    levels = how.levels
    if images.ndim != 4:
        raise BadOption(f"variations: wanted images (N, C, i, j), got {tuple(images.shape)}")
    if labels is not None and len(labels) != len(images):
        raise BadOption(f"variations: wanted a label for each of {len(images)} images, got {len(labels)}")
    groups = (
        {None: list(range(len(images)))}
        if labels is None
        else {name: [n for n, own in enumerate(labels) if own == name] for name in sorted(set(labels))}
    )
    made = torch.empty((how.per_image, *images.shape))
    done = 0
    for name, places in groups.items():
        denoiser = windowed(prior)
        if name is not None:
            denoiser = guided(denoiser, label_index(prior, name), how.guidance)
        for turn in range(how.per_image):
            for part in range(0, len(places), TOGETHER):
                at = places[part : part + TOGETHER]
                rng = generator(how.seed, "variations", name, turn, part)
                known = Condition(numbers=None if numbers is None else numbers[at])
                with torch.no_grad():
                    made[turn, at] = sdedit(
                        denoiser,
                        images[at],
                        levels[turn % len(levels)],
                        rng=rng,
                        n_steps=how.n_steps,
                        condition=known,
                    )
                done += len(at)
                if on_step:
                    on_step(done, how.per_image * len(images))
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
