"""Whether a scan is of the kind that a prior's healthy scans are: refused before it is scored, warned about,
or neither.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ...evidence.conformal import p_value, patients_needed
from ...healthy.acquisition import PARTS, AcquisitionModel, Sketch, describe_part
from ...prior.promises import DetectPromise

__all__ = ["GATE_ALPHA", "describe_difference", "gate_distance", "known_parts"]

GATE_ALPHA = 0.05
"""p-value from which a scan is called unlike; one that is refused has such a p-value, too."""

_SHARES = (0.99, 0.99, 0.99, 0.99, 0.98)
"""Of each of PARTS: quantile of the healthy scans that a scan must pass to be refused: not their farthest,
which in 300 films is one that hangs upside down.
"""
_ROOM = (1.5, 1.0, 1.2, 1.2, 1.0)
"""And so many times as far from their median as it: what disease changes has room."""
_SMALL, _SMALL_ROOM = 64, (1.0, 1.75, 1.75, 1.75, 1.0)
"""Images with sides under _SMALL voxels get wider limits by these factors: a consolidation in 28 pixels is as
large as the structures that sharpness and edges are measured by.
"""
_FEW = 15.0
"""With n healthy scans every limit is widened by a factor 1 + _FEW / n, since few scans underestimate the
spread. All were chosen on val (docs/explanation/detection.md).
"""


def known_parts(kind: AcquisitionModel, promise: DetectPromise | None) -> Tensor:
    """(n, parts): of the healthy scans learned, each by a kind learned without it, and of the patients who
    calibrated, where there are any.
    """
    held = torch.tensor(promise.kind) if promise else torch.zeros(0, kind.known.shape[1])
    return torch.cat([kind.known, held]).double()


def describe_difference(kind: AcquisitionModel, known: Tensor, sketch: Sketch) -> tuple[str, bool]:
    """In words what is other than in the healthy scans, "" where nothing is (p > 0.05), and whether it is too
    far from them to be judged.

    known: as of ``known_parts``; fewer than 19 say nothing. A scan's distance is that of its farthest part,
    in units of how far a healthy scan's may lie. p: rank of that distance among the healthy ones, full
    conformal as ``detect.gate_distance``, but with rules that were fitted to nine tenths of them each
    (cross-conformal, Vovk, Ann. Math. Artif. Intell. 74, 2015): not exact. What is sick is often a little
    unlike, so a small p-value alone refuses no scan.
    """
    if len(known) < patients_needed(GATE_ALPHA):
        return "", False
    parts = kind.parts(sketch).double()
    p, distance, part = gate_distance(parts, known, kind.other, side=sketch.side)
    if p > GATE_ALPHA:
        return "", False
    return (
        f"its {describe_part(part)} is not that of the {len(known)} healthy scans that it knows "
        f"(p = {p:.2g})",
        distance > 1,
    )


def gate_distance(parts: Tensor, known: Tensor, other: Tensor, *, side: int) -> tuple[float, float, int]:
    """p-value, distance, and the farthest part of one scan's parts among those of healthy scans (n, parts);
    other: as of ``AcquisitionModel``, side: of ``Sketch``.
    """
    known, first = known.double(), known.shape[1] - len(other)
    # decided without the scan, which would hide itself: a rule that cannot tell turned scans from healthy
    # ones refuses nobody
    tells = other > torch.quantile(known[:, first:], _SHARES[-1], dim=0)
    other = torch.where(tells, other.double(), torch.inf)
    together = torch.cat([known, parts[None]])
    room = [a * b for a, b in zip(_ROOM, _SMALL_ROOM, strict=True)] if side < _SMALL else list(_ROOM)
    ranked = _far(together, together, other, room).amax(1).tolist()
    far = _far(parts[None], known, other, room)[0]
    return p_value(ranked[-1], ranked[:-1]), float(far.max()), int(far.argmax())


def _far(parts: Tensor, known: Tensor, other: Tensor, room: list[float]) -> Tensor:
    """(m, parts) -> the same: 0 at the median of healthy scans, above 1 where no scan of the kind is
    expected.

    A rule's limit lies at least half way to the turned scans (other): what is farther from them than from its
    like is not turned.
    """
    which, middle = [min(n, len(PARTS) - 1) for n in range(parts.shape[1])], known.median(0).values
    outer = (
        torch.stack([torch.quantile(column, _SHARES[n]) for n, column in zip(which, known.T, strict=True)])
        - middle
    )
    limit = outer * torch.tensor([room[n] for n in which]) * (1 + _FEW / len(known))
    rules = slice(parts.shape[1] - len(other), None)
    limit[rules] = torch.maximum(limit[rules], (other - middle[rules]) / 2)
    return (parts - middle) / limit.clamp_min(1e-6)
