"""Pictures of a training: images side by side, real ones and what the prior draws."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from ...data.seeds import generator
from ...data.views import Window, grey
from ...prior import Card, Condition, Prior
from ...sampling import flow, karras_levels
from ..page.pictures import mosaic

__all__ = ["image_sheet", "reduced", "sample_size", "samples_of"]

SHOWN = 4
"""Images on the sheet of a training."""
_RANGE = Window(-1.0, 1.0, "network range")


def sample_size(card: Card) -> tuple[int, ...]:
    """Size of the samples on a page: that of the prior's typical image, reduced to 96 pixels (48 voxels) a
    side at most.
    """
    shape = card.data["shape"]
    scale = min(1.0, (96 if len(shape) == 2 else 48) / max(shape))
    return tuple(max(16, round(n * scale)) for n in shape)


def samples_of(prior: Prior, seed: int) -> Tensor:
    """(4, C, i, j[, k]): unconditional draws at the reduced size, always from the same noise."""
    card, device = prior.card, next(prior.net.parameters()).device
    noise = torch.randn(
        (SHOWN, len(card.channels), *sample_size(card)), generator=generator(seed, "sheet")
    ).to(device)
    numbers = torch.zeros((SHOWN, len(card.numbers)), device=device) if card.numbers else None
    levels = karras_levels(10, low=0.02, high=20.0)
    with torch.no_grad():
        return flow(prior, 20.0 * noise, levels, condition=Condition(numbers=numbers)).cpu()


def reduced(images: Sequence[Tensor], card: Card, most: int = SHOWN) -> list[Tensor]:
    """At most so many of the images, evenly spaced, at the size of the samples."""
    chosen = sorted({round(i * (len(images) - 1) / max(1, most - 1)) for i in range(most)})
    return [
        F.interpolate(images[i][None], size=sample_size(card), mode="area")[0]
        for i in chosen
        if i < len(images)
    ]


def image_sheet(images: Sequence[Tensor] | Tensor, most: int = 8) -> Any:
    """Images (C, i, j[, k]) in network units side by side; of a volume its middle slice, front up. Images of
    another size than the first one's are resized.
    """
    flat = [
        x[0] if x.ndim == 3 else x[0, ..., x.shape[-1] // 2].rot90(1, (0, 1)) for x in list(images)[:most]
    ]
    size = tuple(flat[0].shape)
    same = [
        x if tuple(x.shape) == size else F.interpolate(x[None, None], size=size, mode="area")[0, 0]
        for x in flat
    ]
    factor = max(1, round(96 / max(size)))
    pictures = [
        grey(x.repeat_interleave(factor, 0).repeat_interleave(factor, 1).numpy(), _RANGE) for x in same
    ]
    return mosaic(pictures, min(8, len(pictures)))
