"""The memory of places: features of healthy scans with their positions, and how far a place is from the
closest of them. This is PatchCore (Roth et al., CVPR 2022) with the prior's own features, and a weight on
position instead of its coreset.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Self

import torch
from torch import Tensor

from ..data.nearest import neighbour_distance
from ..prior.denoiser import position_channels

__all__ = ["Memory", "Shown", "slice_distances", "volume_distance_map"]

_BANK, _NEIGHBOURS, _AXES, _POSITION = 20_000, 3, 64, 3.0
"""Places in the memory; nearest ones that count; principal axes of their features; weight of the position (-1
to 1) beside features of unit spread.
"""

Shown = tuple[Tensor, Tensor | None, int]
"""Local features (B, q, h, w[, d]) of a scan as of ``Looked``; heights of its slices (B,) or None; the number
of its patient.
"""


@dataclass(frozen=True, slots=True)
class Memory:
    """bank: (m, p + n), principal features and weighted position of m places; turn: (p, q), shift: (q,):
    features -> principal.
    """

    bank: Tensor
    turn: Tensor
    shift: Tensor

    @classmethod
    def learned(cls, places: Sequence[Shown], rng: torch.Generator) -> tuple[Self, Tensor]:
        """Places of all scans, evenly drawn, and whose each is, (m,)."""
        each = -(-2 * _BANK // len(places))
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
        at = torch.randperm(len(features), generator=rng)[:_BANK]
        bank = torch.cat([(features[at] - middle) @ turn.T, where[at]], dim=1)
        return cls(bank.half().float(), turn, middle), owner[at]  # as the file will hold it

    @property
    def coordinates(self) -> int:
        """Of a place: 2 in an image, 3 in a volume."""
        return self.bank.shape[1] - len(self.turn)

    def tensors(self) -> dict[str, Tensor]:
        """As safetensors keep them; the bank in half precision."""
        return {"bank": self.bank.half(), "turn": self.turn, "shift": self.shift}

    @classmethod
    def of(cls, tensors: Mapping[str, Tensor]) -> Self:
        """Raises KeyError where one is missing."""
        return cls(tensors["bank"].float(), tensors["turn"].float(), tensors["shift"].float())

    def only(self, chosen: Tensor) -> Self:
        """chosen: (m,) bool."""
        return replace(self, bank=self.bank[chosen])

    def near(self, local: Tensor, heights: Tensor | None) -> Tensor:
        """(B, q, h, w[, d]) -> (B, h, w[, d]): ln of the mean distance of each place to the nearest ones."""
        features, where = _placed(local, heights)
        far = neighbour_distance(
            torch.cat([(features - self.shift) @ self.turn.T, where], dim=1), self.bank, _NEIGHBOURS
        )
        return far.reshape(len(local), *local.shape[2:]).clamp_min(1e-9).log()

    def without(self, places: Iterable[Shown], owners: Tensor) -> list[Tensor]:
        """As ``near``, of each scan by the places of other patients; owners: as of ``learned``."""
        return [self.only(owners != patient).near(local, heights) for local, heights, patient in places]


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
