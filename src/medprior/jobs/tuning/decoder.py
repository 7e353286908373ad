"""A segmenter that tunes the prior's own network: it begins as the head on frozen features, and then all
learns from the masks, the way up faster than the way down.

Decoders pre-trained by denoising: Brempong et al., CVPR Workshops 2022.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ...augmentation import Policy
from ...downstream.augmented import ClassicalAugmentation
from ...downstream.loop import Batches, OptimiserSettings, optimise
from ...downstream.segmenter import dice_loss
from ...learning.consistency import NET, tuned_prior
from ...learning.features import FeatureSettings, live_pixel_features
from ...learning.voxels import VoxelHead
from ...prior import Condition, Prior
from ...prior.admit import Admitted

__all__ = ["DecoderSettings", "TunedDecoder", "same_size", "tune_decoder"]


@dataclass(frozen=True, slots=True)
class DecoderSettings(OptimiserSettings):
    """sigma: noise level of the features. down: share of the rate with which the way down learns. checks: how
    often held-out scans are asked on the way.
    """

    steps: int = 120
    batch: int = 12
    rate: float = 1e-3
    decay: float = 1e-3
    average: float = 0.95
    sigma: float = 0.1
    down: float = 0.3
    checks: int = 3

    @property
    def looked_at(self) -> tuple[int, ...]:
        """Steps at which held-out scans are asked, the last one among them."""
        return tuple(sorted({round(self.steps * (n + 1) / self.checks) for n in range(self.checks)} - {0}))


@dataclass(frozen=True, slots=True, eq=False)
class TunedDecoder:
    """prior: with the tuned network. head: on its features."""

    prior: Prior
    head: VoxelHead

    def __call__(self, scan: Admitted) -> Tensor:
        """(n_labels, B, i, j[, k]) probabilities at each voxel of ``scan.images``."""
        return self.head(self.prior, scan)

    def tensors(self) -> dict[str, Tensor]:
        """As a head stores them."""
        return self.head.tensors() | {NET + k: v for k, v in self.prior.net.state_dict().items()}

    @classmethod
    def of(cls, prior: Prior, tensors: Mapping[str, Tensor], how: FeatureSettings) -> TunedDecoder:
        """From ``tensors``. Raises BadOption where they do not fit."""
        own = {name: value for name, value in tensors.items() if not name.startswith(NET)}
        return cls(tuned_prior(prior, tensors), VoxelHead.of(own, how))


class _Learner(nn.Module):
    """Network and head as one module: (B, C, ...) -> ln of the mean probability, (B, n_labels, ...)."""

    def __init__(self, prior: Prior, head: VoxelHead) -> None:
        super().__init__()
        self.net = copy.deepcopy(prior.net).requires_grad_()
        self.prior, self.head = Prior(self.net, prior.path, prior.card), head
        self.layers = nn.ParameterList([nn.Parameter(part.clone()) for pair in head.layers for part in pair])

    def forward(self, x: Tensor, condition: Condition) -> Tensor:
        found = live_pixel_features(self.prior, x, condition, self.head.how)
        rows = (found.movedim(1, -1).flatten(0, -2) - self.head.mean) / self.head.scale
        p = replace(self.head, layers=self._pairs()).probabilities(rows)
        return p.clamp_min(1e-6).log().reshape(len(x), *x.shape[2:], -1).movedim(-1, 1)

    def _pairs(self) -> tuple[tuple[Tensor, Tensor], ...]:
        parts = list(self.layers)
        return tuple(zip(parts[::2], parts[1::2], strict=True))

    def kept(self, weights: Mapping[str, Tensor]) -> TunedDecoder:
        """What averaged weights make."""
        net = {k.removeprefix(NET): v.clone() for k, v in weights.items() if k.startswith(NET)}
        parts = [weights[f"layers.{n}"].clone() for n in range(len(self.layers))]
        layers = tuple(zip(parts[::2], parts[1::2], strict=True))
        prior = tuned_prior(self.prior, {NET + k: v for k, v in net.items()})
        return TunedDecoder(prior, replace(self.head, layers=layers))


def tune_decoder(
    prior: Prior,
    scans: Sequence[Admitted],
    masks: Sequence[Tensor],
    start: VoxelHead,
    settings: DecoderSettings,
    *,
    until: int | None = None,
    look: Callable[[int, TunedDecoder], None] | None = None,
) -> TunedDecoder:
    """start: the head on the frozen features of ``scans``; their masks (B, i, j[, k]) are whole numbers.
    until: the step to stop at. look: is shown the decoder at each of ``settings.looked_at``.

    Dice loss and cross entropy, with the usual augmentation of the modality; images with and without a
    structure come equally often. Raises Diverged, MissingExtra without MONAI.
    """
    error, seed = dice_loss(), start.how.seed
    images = same_size([scan.images for scan in scans], -1.0)
    labels = same_size(masks, 0)
    shown = (labels.flatten(1) > 0).any(1).long()
    known = [scan.condition.numbers for scan in scans]
    numbers = torch.cat([part for part in known if part is not None]) if None not in known else None
    policy = Policy.of(prior.card.modality, unit=prior.card.unit)
    change = ClassicalAugmentation([policy] * len(images), seed)
    learner = _Learner(prior, start)

    def loss_at(at: Tensor, turns: Tensor) -> Tensor:
        x, m = change.pair(images[at], labels[at], at, turns)
        return error(
            learner(x, Condition(numbers=None if numbers is None else numbers[at])), m[:, None].float()
        )

    def kept(step: int, weights: Mapping[str, Tensor]) -> bool:
        if look is not None and step in settings.looked_at:
            look(step, learner.kept(weights))
        return step == until

    late = ("net.descend", "net.shrink", "net.enter", "net.embed")
    slow = [p for name, p in learner.named_parameters() if name.startswith(late)]
    batches = Batches(shown, len(images), settings.batch, seed)
    made = optimise(learner, batches, loss_at, settings, kept=kept, slow=(slow, settings.down))
    return made.kept({name: value.detach() for name, value in made.state_dict().items()})


def same_size(parts: Sequence[Tensor], value: float) -> Tensor:
    """(n, ...): images of all scans, filled up behind the last row and column."""
    ndim = parts[0].ndim
    most = [max(part.shape[axis] for part in parts) for axis in range(1, ndim)]
    pads = [[n for a in reversed(range(1, ndim)) for n in (0, most[a - 1] - part.shape[a])] for part in parts]
    return torch.cat([F.pad(part, pad, value=value) for part, pad in zip(parts, pads, strict=True)])
