"""How alike two pictures are, whatever was done to hide it: their local detail after alignment."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np
import torch
import torch.nn.functional as F
from scipy.fft import dct
from torch import Tensor

from .moves import Move, apply_move, views

__all__ = ["SIDE", "Details", "as_pictures"]

SIDE = 64
"""Pixels on a side of the pictures that are compared."""

_GRID, _REACH = 32, 4
"""Pixels a side on which detail is compared, and how far a picture may be shifted there: 12 % of the side."""

_TURNS = tuple(range(-16, 17, 4))
"""Degrees that a picture may be turned by; mirrored or not."""

_ZOOMS = (0.0, 0.11, 0.21, 0.3)
"""Shares of the side that a copy may have been cropped by."""

_FEATURES = 200
"""Slow waves that the detail of a channel is described by."""

_FINE = 2.0
"""Pixels of the grid: what is broader is no detail."""

_SHRUNK = 0.3
"""How far, at least, the correlations of features are drawn to none."""

_FLAT, _FLOOR = 2e-3, 0.05
"""Least contrast that is made up for, and least variance of a direction as a share of the mean."""

_AT_ONCE = 4096
"""Known pictures that a query is compared with in one product: memory."""


@dataclass(frozen=True, slots=True, eq=False)
class Details:
    """Unit vectors of local detail, and those of n known pictures, each at four zooms: (4 n, d).

    A picture is divided by its local contrast, so that a change of gamma leaves it as it is. Its features are
    decorrelated over training pictures (shrunken covariance): what all have in common counts little, what is
    a patient's own counts much. So two patients correlate little, and a film that was mixed half and half
    with another still correlates by 0.7 with each.
    """

    weights: Tensor
    mean: Tensor
    known: Tensor
    n: int

    @classmethod
    def learn(cls, pictures: Tensor) -> Details:
        """From the training pictures (m, C, 64, 64), which are then the known ones."""
        channels = pictures.shape[1]
        waves = torch.block_diag(*[_waves()] * channels)
        features = _detail(F.avg_pool2d(pictures, SIDE // _GRID)).flatten(1) @ waves
        covariance = torch.cov(features.T)
        # few pictures: the directions that they do not span would count for too much
        shrunk = max(_SHRUNK, len(covariance) / (len(covariance) + len(pictures)))
        covariance = (1 - shrunk) * covariance + shrunk * covariance.diag().diag()
        size, directions = torch.linalg.eigh(covariance)
        decorrelated = directions / (size + _FLOOR * size.mean() + 1e-12).sqrt()
        return cls(waves @ decorrelated, features.mean(0) @ decorrelated, features, 0).knowing(pictures)

    def knowing(self, pictures: Tensor) -> Details:
        """The same features, with these as the known pictures."""
        zoomed = [apply_move(pictures, Move.of(len(pictures), crop=crop)) for crop in _ZOOMS]
        known = [self._features(_detail(F.avg_pool2d(x, SIDE // _GRID)).flatten(1)) for x in zoomed]
        return Details(self.weights, self.mean, torch.cat(known), len(pictures))

    def likeness(self, queries: Tensor) -> Tensor:
        """(n, C, 64, 64) -> (n, known): the highest correlation over mirrors, turns, crops and shifts.

        Source: correlation with every training image, Akbar et al., arXiv 2305.07644; alignment and features
        are ours.
        """
        return torch.stack([self._one(query) for query in queries])

    def _one(self, query: Tensor) -> Tensor:
        moved = apply_move(query.expand(len(_MOVES.turn), *query.shape), _MOVES)
        wide = F.pad(moved, [_REACH * SIDE // _GRID] * 4, mode="replicate")
        shifted = F.unfold(_detail(F.avg_pool2d(wide, SIDE // _GRID)), _GRID)  # (moves, C * grid^2, shifts)
        features = self._features(shifted.transpose(1, 2).flatten(0, 1))
        best = torch.cat([(part @ features.T).amax(1) for part in self.known.split(_AT_ONCE)])
        return best.view(len(_ZOOMS), self.n).amax(0)

    def _features(self, flat: Tensor) -> Tensor:
        return F.normalize(flat @ self.weights - self.mean, dim=1)


def _moves() -> Move:
    each = list(product((0.0, 1.0), _TURNS))
    n = len(each)
    none = Move.of(n)
    flips, turned = (torch.tensor(column, dtype=torch.float32) for column in zip(*each, strict=True))
    return Move(flips, turned, none.crop, none.shift, none.gamma)


_MOVES = _moves()


def _waves() -> Tensor:
    """(grid^2, features): cosines from slow to fine, without the mean, under a window that fades."""
    one = torch.from_numpy(dct(np.eye(_GRID), axis=0, norm="ortho")).float()
    rank = np.hypot(*np.mgrid[:_GRID, :_GRID]).ravel().argsort(kind="stable")[1 : _FEATURES + 1]
    window = torch.hann_window(_GRID + 2, periodic=False)[1:-1].sqrt()
    waves = [
        torch.outer(one[at // _GRID] * window, one[at % _GRID] * window).flatten() for at in rank.tolist()
    ]
    return torch.stack(waves, 1)


def _detail(x: Tensor) -> Tensor:
    """(n, C, i, j) without what is broad, over its local contrast."""
    fine = x - _blurred(x, _FINE)
    return fine / (_blurred(fine.square(), 1.5 * _FINE) + _FLAT).sqrt()


def _blurred(x: Tensor, sigma: float) -> Tensor:
    reach = int(3 * sigma + 1)
    kernel = torch.exp(-torch.arange(-reach, reach + 1).square() / (2 * sigma**2))
    kernel = (kernel / kernel.sum()).expand(x.shape[1], 1, 1, -1)
    for _ in range(2):
        x = F.conv2d(F.pad(x, (reach, reach, 0, 0), mode="replicate"), kernel, groups=x.shape[1]).transpose(
            2, 3
        )
    return x


def as_pictures(images: Sequence[Tensor]) -> Tensor:
    """Images (C, i, j) or volumes (C, i, j, k) of any sizes, network units -> (n, C or 3 C, 64, 64)."""
    return torch.stack([views(image, SIDE) for image in images])
