"""The weight of a baseline, tuned on other patients."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from torch import Tensor

from medprior.errors import BadOption
from medprior.evidence.metrics import psnr


@dataclass(frozen=True, slots=True)
class Tuned:
    """The winner of ``best_of``: its weight, its mean PSNR in dB on the tuning images, and every (weight, dB)
    that was tried, in order of weight.
    """

    weight: float
    psnr: float
    tried: tuple[tuple[float, float], ...]


def best_of(
    weights: Sequence[float],
    reconstruct: Callable[[float], Tensor],
    reference: Tensor,
    data_range: float,
    *,
    most: int = 24,
) -> Tuned:
    """The weight with the best mean PSNR. Give it tuning images (val), never the ones that are reported.

    weights: at least two positive ones; where the best is the first or the last, the grid grows on that side
    by its own ratio, so that a baseline is never held back by its grid. most: weights tried in all. Raises
    BadOption for a bad grid, or one whose end is still the best after ``most``.
    """
    grid = sorted(set(weights))
    if len(grid) < 2 or grid[0] <= 0:
        raise BadOption(f"best_of: wanted at least two positive weights, got {list(weights)}")
    ratio = (grid[-1] / grid[0]) ** (1 / (len(grid) - 1))
    scores = {w: _score(reconstruct(w), reference, data_range) for w in grid}
    while len(scores) < most:
        best = max(scores, key=lambda w: scores[w])
        if min(scores) < best < max(scores):
            return Tuned(best, scores[best], tuple(sorted(scores.items())))
        further = best / ratio if best == min(scores) else best * ratio
        scores[further] = _score(reconstruct(further), reference, data_range)
    raise BadOption(
        f"best_of: the best of {len(scores)} weights is still at the end of the grid, {min(scores):.3g} to "
        f"{max(scores):.3g}",
        "give other weights",
    )


def _score(x: Tensor, reference: Tensor, data_range: float) -> float:
    return float(psnr(x, reference, data_range).mean())
