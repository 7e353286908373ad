"""What the images that a prior has learned look like, coarsely: whether another is of their kind is asked of
this, not of the network.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from math import prod
from typing import Self

import torch
from torch import Tensor
from torch.nn import functional as F

from .rings import BINS, ring_of

__all__ = ["KIND_PARTS", "ImageKind"]

KIND_PARTS = ("anatomy or contrast", "shape or place", "sharpness or pixel size", "range of grey values")
"""What ``ImageKind.parts`` holds, in this order."""

_CELLS = {2: 28, 3: 12}
"""Cells a side of the coarse image: about 7 mm of a head, which any measurement worth a reconstruction
decides.
"""
_MOST = 40
"""Principal components, at most a quarter of the images."""
_BANDS = (1, 2, 3, 4, 5, 7)
"""First ring of each band of frequencies, and the end of the last; finer detail may come from the prior."""
_BLOCKS, _FOLDS = 20, 5
"""Images of one patient stand together: the set is cut into blocks, and every fifth block is held out."""
_QUANTILE, _ALARMS = 0.95, 0.05
"""Of the held-out images: those that stay below the limit of a part, and those that any part calls unlike.
These and the bands were chosen on train and val (bench/known_images.py).
"""
_LEAST = 40
"""Images below which nothing is said."""
_GREYS, _BRIGHT = torch.linspace(0.05, 0.95, 10), torch.linspace(0.1, 0.95, 6)
_FLOOR = 0.02
"""Least standard deviation of a quantile of the grey values, network units: air hardly varies."""
_RIDGE = 0.05


@dataclass(frozen=True, slots=True)
class ImageKind:
    """mean (d,), axes (k, d), spread (k,): of the coarse training images. detail_mean (b,), detail_white
    (b, b): the Gaussian of their detail. grey_mean (q,), grey_white (q, q): that of their grey values.

    limits: (5,), for each of KIND_PARTS, and for all of them together, so that 0.05 of the images are called
    unlike under a model of the others (five folds).
    """

    mean: Tensor
    axes: Tensor
    spread: Tensor
    detail_mean: Tensor
    detail_white: Tensor
    grey_mean: Tensor
    grey_white: Tensor
    limits: Tensor

    @classmethod
    def fitted(cls, images: Sequence[Tensor]) -> Self | None:
        """images: (C, i, j[, k]) in network units, those of a patient one after another; the first channel
        speaks for all. None for fewer than 40.
        """
        if len(images) < _LEAST:
            return None
        seen = [_Seen.of(image) for image in images]
        fold = [n * _BLOCKS // len(seen) % _FOLDS for n in range(len(seen))]
        held = []
        for out in range(_FOLDS):
            without = cls._of([one for one, at in zip(seen, fold, strict=True) if at != out])
            held += [without._parts(one) for one, at in zip(seen, fold, strict=True) if at == out]
        return replace(cls._of(seen), limits=_limits(torch.stack(held)))

    @classmethod
    def _of(cls, seen: Sequence[_Seen]) -> Self:
        coarse = torch.stack([one.coarse for one in seen])
        mean = coarse.mean(0)
        _, values, axes = torch.linalg.svd(coarse - mean, full_matrices=False)
        k = max(1, min(_MOST, len(seen) // 4))
        detail = _gaussian(torch.stack([one.detail for one in seen]), 1e-3)
        greys = _gaussian(torch.stack([one.greys for one in seen]), _FLOOR)
        spread = (values[:k] / len(seen) ** 0.5).clamp_min(1e-6)
        return cls(mean, axes[:k], spread, *detail, *greys, torch.ones(len(KIND_PARTS) + 1))

    def tensors(self) -> dict[str, Tensor]:
        """The components as float16: half the size of the file."""
        found = {f.name: getattr(self, f.name).contiguous() for f in fields(self)}
        return {**found, "axes": found["axes"].half()}

    @classmethod
    def read(cls, tensors: Mapping[str, Tensor]) -> Self:
        """Raises KeyError where one is missing."""
        return cls(*(tensors[f.name].float() for f in fields(cls)))

    def parts(self, image: Tensor) -> Tensor:
        """(C, i, j[, k]) in network units -> (5,): each of KIND_PARTS, and all together, over its limit;
        above 1 is unlike.
        """
        return _together(self._parts(_Seen.of(image)), self.limits[:-1]) / torch.cat(
            [torch.ones(len(KIND_PARTS)), self.limits[-1:]]
        )

    def unlike(self, image: Tensor) -> str:
        """Which of KIND_PARTS is most unlike, "" where neither one nor all of them together are."""
        found = self.parts(image)
        return KIND_PARTS[int(found[:-1].argmax())] if float(found.max()) > 1 else ""

    def _parts(self, seen: _Seen) -> Tensor:
        apart = seen.coarse - self.mean
        inside = self.axes @ apart
        return torch.stack(
            [
                (apart - inside @ self.axes).square().mean().sqrt(),
                (inside / self.spread).square().mean().sqrt(),
                _distance(seen.detail, self.detail_mean, self.detail_white),
                _distance(seen.greys, self.grey_mean, self.grey_white),
            ]
        )


@dataclass(frozen=True, slots=True)
class _Seen:
    """coarse: (cells,). detail: (bands,), ln of the power beside that of the others. greys: (16,), quantiles
    of the whole and of the brighter half.
    """

    coarse: Tensor
    detail: Tensor
    greys: Tensor

    @classmethod
    def of(cls, image: Tensor) -> Self:
        x = image[0].float().cpu()
        axes = tuple(range(x.ndim))
        power = torch.fft.fftn(x, dim=axes).abs().square().flatten() / x.numel() ** 2
        rings = torch.zeros(BINS).index_add(0, ring_of(tuple(x.shape)).flatten(), power)
        bands = [rings[a:b].sum() for a, b in zip(_BANDS[:-1], _BANDS[1:], strict=True)]
        detail = torch.stack(bands).clamp_min(1e-12).log()
        pool = F.adaptive_avg_pool2d if x.ndim == 2 else F.adaptive_avg_pool3d
        coarse = pool(x[None, None], _CELLS[x.ndim]).flatten()
        bright = coarse[coarse >= coarse.mean()]
        greys = torch.cat([torch.quantile(coarse, _GREYS), torch.quantile(bright, _BRIGHT)])
        return cls(coarse, detail - detail.mean(), greys)


def _together(parts: Tensor, limits: Tensor) -> Tensor:
    """(..., 4) -> (..., 5): each over its limit, and their root sum of squares."""
    each = parts / limits
    return torch.cat([each, each.square().sum(-1, keepdim=True).sqrt()], dim=-1)


def _limits(held: Tensor) -> Tensor:
    """(n, 4) of images that the model has not seen -> (5,)."""
    limits = torch.quantile(held, _QUANTILE, dim=0).clamp_min(1e-6)
    every = _together(held, limits)
    limits = torch.cat([limits, torch.quantile(every[:, -1], _QUANTILE)[None].clamp_min(1e-6)])
    worst = torch.cat([every[:, :-1], every[:, -1:] / limits[-1]], dim=1).amax(1)
    wider = torch.quantile(worst, 1 - _ALARMS)
    # the root sum of squares shrinks with the parts' limits
    return torch.cat([limits[:-1] * wider, limits[-1:]]).float()


def _gaussian(x: Tensor, least: float) -> tuple[Tensor, Tensor]:
    """(n, d) -> mean (d,) and white (d, d): the Mahalanobis distance is |white (x - mean)| / sqrt(d)."""
    apart = x - x.mean(0)
    scale = apart.square().mean(0).sqrt().clamp_min(least)
    correlation = (apart / scale).T.double() @ (apart / scale).double() / len(x)
    ridged = correlation + _RIDGE * torch.eye(len(scale), dtype=torch.float64)
    return x.mean(0), (torch.linalg.inv(torch.linalg.cholesky(ridged)) / scale).float()


def _distance(x: Tensor, mean: Tensor, white: Tensor) -> Tensor:
    return (white @ (x - mean)).norm() / prod(x.shape) ** 0.5
