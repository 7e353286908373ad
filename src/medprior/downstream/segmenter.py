"""A small segmentation network for slices, learned from scratch, and Dice of whole scans: does a set of image
and mask pairs help?
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..errors import BadOption, ShapeMismatch, optional
from .loop import Batches, OptimiserSettings, optimise, seeded_network

__all__ = ["ChangePair", "Segmenter", "SegmenterSettings", "dice_loss", "mean_dice", "train_segmenter"]

ChangePair = Callable[[Tensor, Tensor, Tensor, Tensor], tuple[Tensor, Tensor]]
"""(images (B, C, i, j), masks (B, i, j), places (B,), passes (B,)) -> images and masks, moved together;
places and passes as in ``classifier.Change``.
"""

_DEEPEST = 16
"""The network halves four times, so sides are padded to multiples of this."""


@dataclass(frozen=True, slots=True)
class SegmenterSettings(OptimiserSettings):
    """widths: channels of the five levels, and of the last layer."""

    batch: int = 16
    average: float = 0.98
    widths: tuple[int, int, int, int, int, int] = (16, 16, 32, 64, 96, 16)


@dataclass(frozen=True, slots=True, eq=False)
class Segmenter:
    """A trained network. Called with (N, C, i, j) in network units it gives labels (N, i, j), whole
    numbers.
    """

    net: nn.Module
    n_labels: int

    @torch.no_grad()
    def __call__(self, images: Tensor) -> Tensor:
        i, j = images.shape[2:]
        return torch.cat([self.net(_padded(part, -1.0)).argmax(1)[:, :i, :j] for part in images.split(64)])


def train_segmenter(
    images: Tensor,
    masks: Tensor,
    settings: SegmenterSettings,
    seed: int,
    augment: ChangePair | None = None,
    *,
    n_labels: int | None = None,
    on_step: Callable[[int, int], None] | None = None,
) -> Segmenter:
    """A U-Net (MONAI's BasicUNet) from scratch, with the sum of Dice loss and cross entropy; the same seed
    gives the same first weights.

    images: (N, C, i, j) float32 in network units. masks: (N, i, j) whole numbers, 0 is background. Raises
    ShapeMismatch, BadOption, Diverged.
    """
    if images.ndim != 4 or masks.shape != (len(images), *images.shape[2:]):
        raise ShapeMismatch(
            "segmenter, images and masks",
            "(N, C, i, j) and (N, i, j)",
            (tuple(images.shape), tuple(masks.shape)),
        )
    count = n_labels if n_labels is not None else int(masks.max()) + 1
    if len(images) == 0 or count < 2 or int(masks.min()) < 0 or int(masks.max()) >= count:
        raise BadOption(f"segmenter: wanted masks with labels 0 to {count - 1}, at least one of them above 0")
    optional("monai", "monai", "the segmenter that judges augmentation")
    from monai.networks.nets.basic_unet import BasicUNet  # seconds to import, needed by few

    net = seeded_network(
        lambda: BasicUNet(2, images.shape[1], count, settings.widths, norm=("batch", {"affine": True})), seed
    )
    error = dice_loss()
    shown = (
        (masks.flatten(1) > 0).any(1).long() if settings.balance else None
    )  # slices with and without the structure come equally often

    def loss_at(at: Tensor, turns: Tensor) -> Tensor:
        x, m = images[at], masks[at]
        if augment is not None:
            x, m = augment(x, m, at, turns)
        return error(net(_padded(x, -1.0)), _padded(m[:, None].float(), 0.0))

    return Segmenter(
        optimise(net, Batches(shown, len(images), settings.batch, seed), loss_at, settings, on_step), count
    )


def dice_loss() -> nn.Module:
    """(logits (B, K, ...), labels (B, 1, ...)) -> Dice loss and cross entropy. Raises MissingExtra without
    MONAI.
    """
    optional("monai", "monai", "learning to segment")
    from monai.losses.dice import DiceCELoss  # seconds to import, needed by few

    return DiceCELoss(softmax=True, to_onehot_y=True, batch=True)


def mean_dice(found: Tensor, truth: Tensor, n_labels: int) -> float:
    """Mean over the labels above 0 that the truth holds of 2 |A and B| / (|A| + |B|), of one scan: (..., i,
    j) whole numbers (Dice 1945).

    A truth without any label: 1 where nothing was found, else 0.
    """
    values = []
    for k in range(1, n_labels):
        a, b = found == k, truth == k
        if bool(b.any()):
            values.append(2 * float((a & b).sum()) / float(a.sum() + b.sum()))
    return sum(values) / len(values) if values else float(not bool((found > 0).any()))


def _padded(x: Tensor, value: float) -> Tensor:
    """(B, C, i, j) with ``value`` behind the last row and column up to a multiple of 16: at least 32, or deep
    levels would have a single pixel.
    """
    more = [max(2 * _DEEPEST, -(-n // _DEEPEST) * _DEEPEST) - n for n in x.shape[2:]]
    return F.pad(x, (0, more[1], 0, more[0]), value=value) if any(more) else x
