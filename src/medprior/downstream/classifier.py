"""A small image classifier, learned from scratch: what a downstream user would train. It measures whether
more images help.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..errors import BadOption, ShapeMismatch, optional
from .loop import Batches, OptimiserSettings, optimise, seeded_network

__all__ = ["Change", "Classifier", "ClassifierSettings", "train_classifier"]

Change = Callable[[Tensor, Tensor, Tensor], Tensor]
"""(images (B, C, i, j), their places in the data set (B,), the pass over the data that each is drawn in (B,))
-> images, of the same shape.
"""


@dataclass(frozen=True, slots=True)
class ClassifierSettings(OptimiserSettings):
    """widths: channels of the four stages. smoothing: of labels."""

    widths: tuple[int, int, int, int] = (16, 32, 64, 128)
    smoothing: float = 0.0


@dataclass(frozen=True, slots=True, eq=False)
class Classifier:
    """A trained network. Called with (N, C, i, j) in network units it gives probabilities (N, K), rows adding
    to 1.
    """

    net: nn.Module
    n_labels: int

    @torch.no_grad()
    def __call__(self, images: Tensor) -> Tensor:
        return torch.cat([self.net(part).softmax(1) for part in images.split(256)])


def train_classifier(
    images: Tensor,
    labels: Tensor,
    settings: ClassifierSettings,
    seed: int,
    augment: Change | None = None,
    *,
    n_labels: int | None = None,
    on_step: Callable[[int, int], None] | None = None,
) -> Classifier:
    """A ResNet of four stages (He et al. 2016, MONAI's), from scratch; the same seed gives the same first
    weights whatever the images are.

    images: (N, C, i, j) float32 in network units (-1..1). labels: (N,) whole numbers, or (N, K)
    probabilities. augment: see ``Change``. Raises ShapeMismatch, BadOption (no images, labels out of range,
    sides under 16), Diverged.
    """
    targets = _targets(images, labels, n_labels)
    net = seeded_network(
        lambda: _network(images.shape[1], targets.shape[1], min(images.shape[2:]), settings), seed
    )
    batches = Batches(targets.argmax(1) if settings.balance else None, len(targets), settings.batch, seed)

    def loss_at(at: Tensor, turns: Tensor) -> Tensor:
        x = images[at] if augment is None else augment(images[at], at, turns)
        return F.cross_entropy(net(x), targets[at], label_smoothing=settings.smoothing)

    return Classifier(optimise(net, batches, loss_at, settings, on_step), targets.shape[1])


def _network(channels: int, n_labels: int, side: int, settings: ClassifierSettings) -> nn.Module:
    """Untrained; the stem (5 x 5) halves the image, and large images are pooled once more."""
    optional("monai", "monai", "the classifier that judges augmentation")
    from monai.networks.nets.resnet import ResNet  # seconds to import, needed by few

    made: Any = ResNet(
        "basic",
        [1, 1, 1, 1],
        list(settings.widths),
        spatial_dims=2,
        n_input_channels=channels,
        conv1_t_size=5,
        conv1_t_stride=2,
        no_max_pool=side < 48,
        num_classes=n_labels,
    )
    return made


def _targets(images: Tensor, labels: Tensor, n_labels: int | None) -> Tensor:
    if images.ndim != 4 or len(images) != len(labels):
        raise ShapeMismatch(
            "classifier, images and labels",
            "(N, C, i, j) and (N,)",
            (tuple(images.shape), tuple(labels.shape)),
        )
    if len(images) == 0 or min(images.shape[2:]) < 16:
        raise BadOption(f"classifier: wanted images of at least 16 pixels a side, got {tuple(images.shape)}")
    if labels.ndim == 2:
        return labels.float()
    count = n_labels if n_labels is not None else int(labels.max()) + 1
    if count < 2 or int(labels.min()) < 0 or int(labels.max()) >= count:
        raise BadOption(
            f"classifier: wanted labels 0 to {count - 1} of at least two kinds, got {int(labels.min())} to "
            f"{int(labels.max())}"
        )
    return F.one_hot(labels.long(), count).float()
