"""A segmenter of few labels: the prior's features at each voxel, and five small networks that vote.

Source: Baranchuk et al., ICLR 2022; several noise levels as in Rosnati et al., ML4H 2023.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..data.seeds import generator, seed_for
from ..errors import BadOption
from ..prior import Condition, Prior
from ..prior.admit import Admitted
from .features import FeatureSettings, pixel_features

__all__ = ["VoxelHead", "VoxelSettings", "fit_voxel_head"]


@dataclass(frozen=True, slots=True)
class VoxelSettings:
    """voxels: drawn from each scan. votes: networks. hidden: their inner widths. steps, batch, rate: of
    AdamW. near: voxels around a structure that are drawn more often.
    """

    voxels: int = 3000
    votes: int = 5
    hidden: tuple[int, int] = (64, 32)
    steps: int = 400
    batch: int = 512
    rate: float = 2e-3
    near: int = 2


@dataclass(frozen=True, slots=True, eq=False)
class VoxelHead:
    """mean, scale: (d,) of the features. layers: for each layer a weight (votes, in, out) and a bias (votes,
    1, out). how: of the features.
    """

    mean: Tensor
    scale: Tensor
    layers: tuple[tuple[Tensor, Tensor], ...]
    how: FeatureSettings

    @property
    def n_labels(self) -> int:
        return self.layers[-1][0].shape[-1]

    @torch.no_grad()
    def __call__(self, prior: Prior, scan: Admitted) -> Tensor:
        """(n_labels, B, i, j[, k]): probabilities at each voxel of ``scan.images``, the mean of the votes."""
        found = []
        for n in range(len(scan.images)):
            x = pixel_features(prior, scan.images[n : n + 1], _of_image(scan.condition, n), self.how)[0]
            rows = (x.flatten(1).T - self.mean) / self.scale
            p = torch.cat([self.probabilities(part) for part in rows.split(16384)])
            found.append(p.T.reshape(-1, *x.shape[1:]))
        return torch.stack(found, dim=1)

    def probabilities(self, rows: Tensor) -> Tensor:
        """(n, d) standardised features -> (n, n_labels), the mean of the votes."""
        return _votes(self.layers, rows).softmax(-1).mean(0)

    def tensors(self) -> dict[str, Tensor]:
        """As they are stored."""
        kept = {"mean": self.mean, "scale": self.scale}
        for n, (weight, bias) in enumerate(self.layers):
            kept |= {f"{n}.weight": weight, f"{n}.bias": bias}
        return kept

    @classmethod
    def of(cls, tensors: Mapping[str, Tensor], how: FeatureSettings) -> Self:
        """From ``tensors``. Raises BadOption where one is missing."""
        n = sum(name.endswith(".weight") for name in tensors)
        try:
            layers = tuple((tensors[f"{k}.weight"], tensors[f"{k}.bias"]) for k in range(n))
            return cls(tensors["mean"], tensors["scale"], layers, how)
        except KeyError as missing:
            raise BadOption(f"head: the tensor {missing} is missing", "copy the whole folder again") from None


def _of_image(condition: Condition, n: int) -> Condition:
    numbers = condition.numbers
    return Condition(numbers=None if numbers is None else numbers[n : n + 1])


def _votes(layers: Sequence[tuple[Tensor, Tensor]], x: Tensor) -> Tensor:
    """(n, d) or (votes, n, d) -> (votes, n, K) logits."""
    x = x.expand(len(layers[0][0]), *x.shape[-2:])
    for weight, bias in layers[:-1]:
        x = F.relu(torch.baddbmm(bias, x, weight))
    return torch.baddbmm(layers[-1][1], x, layers[-1][0])


def fit_voxel_head(
    prior: Prior,
    scans: Sequence[Admitted],
    masks: Sequence[Tensor],
    n_labels: int,
    how: FeatureSettings,
    settings: VoxelSettings | None = None,
    on_step: Callable[[int, int], None] | None = None,
) -> VoxelHead:
    """masks: (B, i, j[, k]) whole numbers 0 to n_labels - 1 for ``images`` of each scan.

    Voxels of a structure and around it are drawn more often, and weigh less in turn. Raises BadOption for a
    mask of another shape, or where no voxel has a label above 0.
    """
    settings = settings or VoxelSettings()
    if not any(bool((mask > 0).any()) for mask in masks):
        raise BadOption("learn: no mask marks a voxel", "wanted label maps with values above 0")
    drawn = []
    for n, (scan, mask) in enumerate(zip(scans, masks, strict=True)):
        if mask.shape != (len(scan.images), *scan.images.shape[2:]):
            raise BadOption(f"learn: a mask of shape {tuple(mask.shape)} for {tuple(scan.images.shape)}")
        drawn.append(_drawn(prior, scan, mask, how, settings, seed_for(how.seed, "voxels", n) % 2**62))
        if on_step:
            on_step(n + 1, len(scans))
    x, y, w = (torch.cat(column) for column in zip(*drawn, strict=True))
    mean, scale = x.mean(0), x.std(0).clamp_min(1e-6)
    layers = _learned((x - mean) / scale, y, w, n_labels, settings, how.seed)
    return VoxelHead(mean, scale, layers, how)


def _drawn(
    prior: Prior, scan: Admitted, mask: Tensor, how: FeatureSettings, settings: VoxelSettings, seed: int
) -> tuple[Tensor, Tensor, Tensor]:
    """(n, d) features, (n,) labels, (n,) weights: a third of the voxels in a structure, a third around it, a
    third anywhere else.
    """
    inside = mask > 0
    around = _grown(inside, settings.near) & ~inside
    rng = generator(seed, "drawn")
    places, weights = [], []
    for kind in (inside, around, ~(inside | around)):
        own = torch.nonzero(kind.flatten())[:, 0]
        chosen = own[torch.randperm(len(own), generator=rng)[: settings.voxels // 3]]
        places.append(chosen)
        weights.append(torch.full((len(chosen),), len(own) / max(1, len(chosen))))
    at, weight = torch.cat(places), torch.cat(weights)
    each = mask[0].numel()
    rows = torch.empty(0)
    for n in torch.unique(at // each).tolist():
        found = pixel_features(prior, scan.images[n : n + 1], _of_image(scan.condition, n), how)[0].flatten(1)
        if not len(rows):
            rows = torch.empty(len(at), len(found))
        own = at // each == n
        rows[own] = found[:, at[own] % each].T
    return rows, mask.flatten()[at].long(), weight / weight.mean()


def _grown(inside: Tensor, by: int) -> Tensor:
    """(B, i, j[, k]): the structure and what lies around it."""
    pool = F.max_pool2d if inside.ndim == 3 else F.max_pool3d
    return pool(inside[:, None].float(), 2 * by + 1, stride=1, padding=by)[:, 0] > 0


def _learned(
    x: Tensor, y: Tensor, w: Tensor, n_labels: int, settings: VoxelSettings, seed: int
) -> tuple[tuple[Tensor, Tensor], ...]:
    """All networks at once, each on its own batches. Weights count by their square root: structures are
    small, and Dice wants their borders rather than the share of the background.
    """
    widths = (x.shape[1], *settings.hidden, n_labels)
    rng = generator(seed, "votes")
    layers = [
        (
            nn.Parameter(torch.randn(settings.votes, a, b, generator=rng) * (2 / a) ** 0.5),
            nn.Parameter(torch.zeros(settings.votes, 1, b)),
        )
        for a, b in zip(widths, widths[1:], strict=False)
    ]
    weight = w.sqrt()
    solver = torch.optim.AdamW([p for layer in layers for p in layer], lr=settings.rate, weight_decay=1e-2)
    schedule = torch.optim.lr_scheduler.OneCycleLR(solver, settings.rate, total_steps=settings.steps)
    with torch.enable_grad():
        for _ in range(settings.steps):
            at = torch.randint(len(x), (settings.votes, settings.batch), generator=rng)
            logits = _votes(layers, x[at])
            losses = F.cross_entropy(logits.flatten(0, 1), y[at].flatten(), reduction="none")
            solver.zero_grad(set_to_none=True)
            (losses * weight[at].flatten()).mean().backward()
            solver.step()
            schedule.step()
    return tuple((weight.detach(), bias.detach()) for weight, bias in layers)
