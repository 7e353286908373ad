"""Classical augmentation while a network learns: every image is transformed anew in every pass over the data,
as strongly as its modality and label allow.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from ..augmentation import Frame, Policy, apply_record, draw_record

__all__ = ["ClassicalAugmentation"]

_KEPT = 192 * 2**20
"""Bytes of transformed images that are kept for the next network that learns from the same ones."""


class ClassicalAugmentation:
    """A ``Change`` of the classifier, and with masks a ``ChangePair`` of the segmenter.

    policies: one for each image of the data set. numbers: of the images, by default their places; an image
    keeps its number wherever it stands, so that two sets which share it see it transformed in the same way.
    versions: after so many passes the transforms begin again.
    """

    def __init__(
        self,
        policies: Sequence[Policy],
        seed: int,
        *,
        numbers: Sequence[int] | None = None,
        versions: int = 32,
    ) -> None:
        self.policies, self.seed, self.versions = list(policies), seed, versions
        self.numbers = list(numbers) if numbers is not None else list(range(len(self.policies)))
        self.kept: dict[tuple[int, int], tuple[Tensor, Tensor | None]] = {}
        self.bytes = 0

    def __call__(self, images: Tensor, places: Tensor, passes: Tensor) -> Tensor:
        """(B, C, i, j) -> the same shape; an image, its number and its pass give the same result whatever
        else is in the batch.
        """
        return torch.stack(
            [
                self._one(x, None, at, turn)[0]
                for x, at, turn in zip(images, places.tolist(), passes.tolist(), strict=True)
            ]
        )

    def pair(self, images: Tensor, masks: Tensor, places: Tensor, passes: Tensor) -> tuple[Tensor, Tensor]:
        """Images and masks (B, i, j), moved together."""
        made = [
            self._one(x, m, at, turn)
            for x, m, at, turn in zip(images, masks, places.tolist(), passes.tolist(), strict=True)
        ]
        return torch.stack([x for x, _ in made]), torch.stack([m for _, m in made if m is not None])

    def _one(self, image: Tensor, mask: Tensor | None, at: int, turn: int) -> tuple[Tensor, Tensor | None]:
        key = (self.numbers[at], turn % self.versions)
        if key not in self.kept:
            policy = self.policies[at]
            record = draw_record(
                policy, Frame(tuple(image.shape[1:]), (), "", policy.unit, policy.modality), self.seed, *key
            )
            moved, masks = apply_record(record, image, [] if mask is None else [mask])
            made = moved, masks[0] if masks else None
            self.bytes += moved.nbytes + (0 if mask is None else mask.nbytes)
            if self.bytes > _KEPT:
                return made
            self.kept[key] = made
        return self.kept[key]
