"""Real cases that look like a scan to the prior: what a reader would lay beside it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from ..errors import BadOption, ShapeMismatch

__all__ = ["Neighbour", "nearest_cases"]


@dataclass(frozen=True, slots=True)
class Neighbour:
    """at: which of the cases. alike: cosine of the standardised features, 1 for the same scan."""

    at: int
    label: str
    alike: float


def nearest_cases(scan: Tensor, cases: Tensor, labels: Sequence[str], n: int) -> list[Neighbour]:
    """The n nearest cases of each label, nearest first. scan: (d,) features; cases: (m, d).

    Features are standardised over the cases, so that none counts for its unit alone. Raises ShapeMismatch
    for features of another length or labels of another number, BadOption for fewer than two cases.
    """
    if cases.ndim != 2 or scan.shape != cases.shape[1:] or len(labels) != len(cases):
        raise ShapeMismatch("similar cases", f"({len(labels)}, {len(scan)})", tuple(cases.shape))
    if len(cases) < 2:
        raise BadOption(f"similar cases: wanted at least 2 real scans, got {len(cases)}")
    mean, std = cases.mean(0), cases.std(0).clamp_min(1e-9)
    alike = F.cosine_similarity((scan - mean)[None] / std, (cases - mean) / std)
    found = []
    for label in sorted(set(labels)):
        mine = torch.tensor([at for at, name in enumerate(labels) if name == label])
        best = mine[alike[mine].argsort(descending=True)[:n]].tolist()
        found += [Neighbour(at, label, float(alike[at])) for at in best]
    return found
