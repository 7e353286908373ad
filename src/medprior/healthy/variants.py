"""The same patient, acquired a little otherwise: how a healthy scan may differ from another without anything
being wrong.

A detector that knows only the very scans it was shown takes another posture, dose or sharpness for a finding.
These variations go beside the scans that it learns from, so that such differences count for little.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F

from ..data.affine import affine_places, resampled_at, turns
from ..data.grids import box_mean

__all__ = ["reacquire", "repose"]

_ZOOM, _ASPECT, _TURN, _SHIFT = 0.15, 0.1, 8.0, 0.06
"""Most change of ln size, of ln aspect, degrees, and share of the side, at full strength."""
_GAMMA, _CONTRAST, _BRIGHTNESS, _FIELD = 0.35, 0.2, 0.05, 0.15
"""Most change of ln gamma, of ln contrast about mid-grey, of intensity (share of the range), and standard
deviation of a smooth field that multiplies it.
"""
_SOFTER, _SHARPER, _NOISE = 0.7, 0.4, 0.05
"""Most share of what neighbours differ by that is taken away, or added; standard deviation of white noise,
network units.
"""


def reacquire(
    images: Tensor, rng: torch.Generator, *, strength: float | None = None, absolute: bool = False
) -> Tensor:
    """(B, C, i, j[, k]) network units -> the same shape: one zoom, turn, shift, gamma, window, field,
    sharpness and noise level for the whole batch.

    A batch is one scan: an image, the slices of a volume, or a volume. strength: 0 changes nothing, 1 is the
    most; default drawn evenly between. absolute: intensities mean something (HU) and stay as they are, but
    for sharpness and noise.
    """

    def drawn(most: float) -> float:
        return most * size * (2 * float(torch.rand((), generator=rng)) - 1)

    size = _size(rng, strength)
    x = _moved(images, drawn)
    if not absolute:
        value, gamma = (x + 1) / 2, math.exp(drawn(_GAMMA))
        value = torch.where(
            value > 0, value.clamp_min(1e-6) ** gamma, value
        )  # what is blacker than black has no power
        value = value * (1 + drawn(_FIELD) * _smooth(x, rng))
        x = 2 * ((value - 0.5) * math.exp(drawn(_CONTRAST)) + 0.5 + drawn(_BRIGHTNESS)) - 1
    softer = drawn(1.0)
    x = x + softer * (_SOFTER if softer > 0 else _SHARPER) * (box_mean(x, 3) - x)
    return x + drawn(_NOISE) * torch.randn(x.shape, generator=rng).to(x)


def repose(images: Tensor, rng: torch.Generator, *, strength: float | None = None) -> Tensor:
    """As ``reacquire``, and with the same generator moved as there, but for zoom, turn and shift alone."""
    size = _size(rng, strength)
    return _moved(images, lambda most: most * size * (2 * float(torch.rand((), generator=rng)) - 1))


def _size(rng: torch.Generator, strength: float | None) -> float:
    return float(torch.rand((), generator=rng)) if strength is None else strength


def _smooth(like: Tensor, rng: torch.Generator) -> Tensor:
    """(1, 1, i, j[, k]): a random field of three knots a side."""
    n = like.ndim - 2
    knots = torch.randn((1, 1, *[3] * n), generator=rng).to(like)
    return F.interpolate(
        knots, size=tuple(like.shape[2:]), mode="bicubic" if n == 2 else "trilinear", align_corners=True
    )


def _moved(x: Tensor, drawn: Callable[[float], float]) -> Tensor:
    """Turned, zoomed and shifted in the plane of the first two axes; a volume is zoomed along the third as
    well.
    """
    n = x.ndim - 2
    zoom, aspect, turn = math.exp(drawn(_ZOOM)), drawn(_ASPECT) / 2, math.radians(drawn(_TURN))
    stretch = torch.tensor([math.exp(-aspect / 2), math.exp(aspect / 2), 1.0][:n])
    matrix = zoom * stretch[:, None] * turns(torch.tensor([-turn]), n) * stretch
    across, down = drawn(_SHIFT), drawn(_SHIFT)
    shift = torch.tensor([[down, across, 0.0][:n]])
    places = affine_places(matrix, shift, x.shape[2:]).to(x).expand(len(x), *x.shape[2:], n)
    return resampled_at(x, places, mode="cubic", beyond="reflection")
