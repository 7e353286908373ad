"""The memory of places: features of healthy scans with their positions, and how far a place is from the
closest of them. This is PatchCore (Roth et al., CVPR 2022) with the prior's own features and a weight on
position. Means over many patients replace its coreset: who holds a scan shall not find it there.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Self

import torch
from torch import Tensor

from ..data.nearest import grouped, neighbour_distance
from ..prior.denoiser import position_channels

__all__ = ["Memory", "Shown", "slice_distances", "volume_distance_map"]

_PLACES, _AXES, _POSITION = 100_000, 64, 3.0
"""Places that are grouped; principal axes of their features; weight of the position (-1 to 1) beside features
of unit spread.
"""
_PATIENTS, _LEAST = 40, 10
"""Patients in a group, on average, and the least, half of all where these are few: a group of fewer is left
out. Chosen on val (bench/membership.py).
"""
_NEIGHBOURS = 3
"""Nearest ones that count in folders of older versions, whose bank holds places as they were."""

Shown = tuple[Tensor, Tensor | None, int]
"""Local features (B, q, h, w[, d]) of a scan as of ``Looked``; heights of its slices (B,) or None; the number
of its patient.
"""


@dataclass(frozen=True, slots=True)
class Memory:
    """bank: (m, p + n), principal features and weighted position, each the mean over the patients of a group
    of places; turn: (p, q), shift: (q,): features -> principal. neighbours: nearest ones that count.
    """

    bank: Tensor
    turn: Tensor
    shift: Tensor
    neighbours: int = 1

    @classmethod
    def learned(cls, places: Sequence[Shown], rng: torch.Generator) -> tuple[Self, Shares]:
        """From places of all scans, evenly drawn; and what each patient has in it."""
        each = -(-_PLACES // len(places))
        parts, wheres, owners = [], [], []
        for local, heights, patient in places:
            features, where = _placed(local, heights)
            at = torch.randperm(len(features), generator=rng)[:each]
            parts.append(features[at])
            wheres.append(where[at])
            owners.append(torch.full((len(at),), patient))
        features, where, owner = torch.cat(parts), torch.cat(wheres), torch.cat(owners)
        middle, spread = features.mean(0), features.std(0).clamp_min(1e-6)
        axes = torch.linalg.svd((features - middle) / spread, full_matrices=False)[2][:_AXES]
        turn = axes / spread / len(axes) ** 0.5
        points = torch.cat([(features - middle) @ turn.T, where], dim=1)
        shares = Shares.of(points, owner, len(places), rng)
        return cls(shares.bank().half().float(), turn, middle), shares  # as the file will hold it

    @property
    def coordinates(self) -> int:
        """Of a place: 2 in an image, 3 in a volume."""
        return self.bank.shape[1] - len(self.turn)

    def tensors(self) -> dict[str, Tensor]:
        """As safetensors keep them; the bank in half precision."""
        near = torch.tensor([self.neighbours])
        return {"bank": self.bank.half(), "turn": self.turn, "shift": self.shift, "neighbours": near}

    @classmethod
    def of(cls, tensors: Mapping[str, Tensor]) -> Self:
        """Raises KeyError where one is missing."""
        near = int(tensors["neighbours"]) if "neighbours" in tensors else _NEIGHBOURS
        return cls(tensors["bank"].float(), tensors["turn"].float(), tensors["shift"].float(), near)

    def near(self, local: Tensor, heights: Tensor | None) -> Tensor:
        """(B, q, h, w[, d]) -> (B, h, w[, d]): ln of the mean distance of each place to the nearest ones."""
        features, where = _placed(local, heights)
        far = neighbour_distance(
            torch.cat([(features - self.shift) @ self.turn.T, where], dim=1), self.bank, self.neighbours
        )
        return far.reshape(len(local), *local.shape[2:]).clamp_min(1e-9).log()

    def without(self, places: Iterable[Shown], shares: Shares) -> list[Tensor]:
        """As ``near``, of each scan by the other patients' part in the means; shares: as of ``learned``."""
        return [
            replace(self, bank=shares.bank(without=patient)).near(local, heights)
            for local, heights, patient in places
        ]


@dataclass(frozen=True, slots=True)
class Shares:
    """means: (q, d), each over the places of one patient in one group; group, patient: (q,), the numbers of
    these.
    """

    means: Tensor
    group: Tensor
    patient: Tensor

    @classmethod
    def of(cls, points: Tensor, owner: Tensor, looks: int, rng: torch.Generator) -> Self:
        """points: (n, d); owner: (n,), whose each is; looks: scans and variants of all patients."""
        known = len(owner.unique())
        many = min(_PATIENTS, known) * looks / known
        group = grouped(points, max(1, round(len(points) / many)), rng)
        pairs, at = torch.unique(torch.stack([group, owner]), dim=1, return_inverse=True)
        size = torch.bincount(at)
        means = points.new_zeros(len(size), points.shape[1]).index_add(0, at, points) / size[:, None]
        patients = torch.bincount(pairs[0])[pairs[0]]
        kept = patients >= min(max(1, min(_LEAST, known // 2)), int(patients.max()))
        return cls(means[kept], pairs[0, kept], pairs[1, kept])

    def bank(self, without: int | None = None) -> Tensor:
        """(m, d): of each group the mean over its patients; without: but this one."""
        kept = torch.ones_like(self.patient, dtype=torch.bool) if without is None else self.patient != without
        means, group = self.means[kept], self.group[kept]
        count = torch.bincount(group, minlength=int(self.group.max()) + 1)
        sums = self.means.new_zeros(len(count), means.shape[1]).index_add(0, group, means)
        return (sums / count.clamp_min(1)[:, None])[count > 0]


def slice_distances(near: Tensor) -> Tensor:
    """(B, h, w[, d]) -> (B,): ln of the mean distance."""
    return near.exp().flatten(1).mean(1).log()


def volume_distance_map(near: Tensor, heights: Tensor | None) -> Tensor:
    """(h, w[, d]): of a stack of slices one volume."""
    return near[0] if heights is None else near.movedim(0, -1)


def _placed(local: Tensor, heights: Tensor | None) -> tuple[Tensor, Tensor]:
    """(B, q, h, w[, d]) -> features (n, q) and weighted positions (n, 2 or 3) of all places; a slice's height
    is its third coordinate.
    """
    n, size = len(local), tuple(local.shape[2:])
    where = position_channels(size)[: len(size)].flatten(1).T.repeat(n, 1)
    if heights is not None:
        where = torch.cat([where, heights.repeat_interleave(len(where) // n)[:, None]], dim=1)
    return local.float().flatten(2).movedim(1, 2).flatten(0, 1), _POSITION * where
