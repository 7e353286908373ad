"""Volumes by a 2-D prior: all slices in one loop, each as the prior knows it, and what ties neighbouring
slices to each other.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F

from ..operators import Gaussian, Measurement, neighbours, together
from ..prior import Condition, Denoiser
from ..prior.wrappers import slicewise
from ..sampling import log_levels, plug_and_play

__all__ = ["by_slice", "couple_slices", "point_estimate_by_slice"]

_APART = 0.5
"""Standard deviation, network units, of the tie while nothing is known of the volume: over twice what
neighbouring slices of 2 mm really differ by (0.22, root mean square), since each slice's prior already knows
most of what its neighbour could say."""

_TIMES, _LEAST = 2.0, 0.1
"""The tie where a guess of the volume is known: so many times the difference of its neighbours there, and of
this least difference, network units. Of 2 and 3 times and of 0.1 and 0.2 no other is better by more than 0.04
dB for the point estimate of a validation volume (lines of each slice, thick slices, 3-D k-space)."""

_LEVELS = log_levels(6, low=0.05, high=1.0)[:-1]
"""Noise levels of a point estimate, those of ``plug_and_play``; half-way the tie is weighed anew."""


class _Stacked(Denoiser):
    """Slice by slice along the last axis; what the card can be told about each slice goes with it."""

    def __init__(self, denoiser: Denoiser, numbers: Tensor | None) -> None:
        self.denoiser, self.slices, self.numbers = denoiser, slicewise(denoiser), numbers

    def __call__(self, x: Tensor, sigma: Tensor, condition: Condition | None = None) -> Tensor:
        return self.slices(x, sigma, self._known(condition))

    def moments(self, x: Tensor, sigma: Tensor, condition: Condition | None = None) -> tuple[Tensor, Tensor]:
        return self.slices.moments(x, sigma, self._known(condition))

    def error(self, sigma: Tensor) -> Tensor:
        return self.denoiser.error(sigma)

    def spectrum(self, sigma: Tensor, size: tuple[int, ...]) -> Tensor:
        return self.slices.spectrum(sigma, size)

    def _known(self, condition: Condition | None) -> Condition:
        return Condition(None if condition is None else condition.label, self.numbers)


def by_slice(denoiser: Denoiser, numbers: Tensor | None) -> Denoiser:
    """A 2-D denoiser on volumes (B, C, i, j, k), slice by slice along k. numbers: (k, n) of each slice, in
    the card's order, or None.
    """
    return _Stacked(denoiser, numbers)


def couple_slices(inside: Measurement, guess: Tensor | None = None) -> Measurement:
    """The measurement of a volume (C, i, j, k) in network units, and "neighbouring slices differ by nothing"
    beside it, with the noise that this has.

    guess: (1, C, i, j, k). Where neighbours differ (an edge through the slices) the tie is loose, elsewhere
    firm. It is one step of reweighting, as in half-quadratic methods for heavy-tailed differences (Geman and
    Reynolds, IEEE Trans. Pattern Anal. 14(3), 1992).
    """
    between = neighbours(inside.operator.domain, axis=3)
    std = _APART if guess is None else _TIMES * _around(between(guess).square()[0] + _LEAST**2).sqrt()
    return together(inside, Measurement(torch.zeros(1, *between.codomain), between, Gaussian(std)))


def _around(x: Tensor) -> Tensor:
    """(C, i, j, k) -> the mean of 3 x 3 pixels of each slice: one pixel may agree with its neighbour by
    chance.
    """
    return F.avg_pool3d(x[None], (3, 3, 1), stride=1, padding=(1, 1, 0), count_include_pad=False)[0]


def point_estimate_by_slice(
    denoiser: Denoiser,
    inside: Measurement,
    start: Tensor,
    on_step: Callable[[int, int], None] | None = None,
    *,
    caution: bool = True,
) -> Tensor:
    """(1, C, i, j, k): the point estimate of a volume by six evaluations of each slice; half-way the tie is
    weighed anew.

    denoiser: of volumes, as ``by_slice`` makes it; start: a first guess, network units; caution: as of
    ``plug_and_play``.
    """
    x, guess, done = start, None, 0
    for levels in (_LEVELS[:3], _LEVELS[3:]):
        last = done > 0
        bound = couple_slices(inside, guess)
        x = plug_and_play(denoiser, bound, x, sigmas=levels, join=last, caution=caution)
        guess, done = x, done + len(levels)
        if on_step:
            on_step(done, len(_LEVELS))
    return x
