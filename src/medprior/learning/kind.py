"""Is a scan of the kind that was learned at all? Its grey values, sharpness and layout, beside those of healthy scans; no network is asked.

A detector scores whatever it is given: a film upside down, a head for a chest, another reconstruction kernel. What this looks at hardly changes with disease,
but with each of those; it is asked before a score is given.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import product
from typing import Self

import torch
from torch import Tensor
from torch.nn import functional as F

from .usual import Stored, Usual, averaged

__all__ = ["Kind", "Sketch", "part_named", "sketched"]

_SIDE = {2: 32, 3: 24}
"""Cells a side of the layout."""
_RIDGE = 30.0
"""Ridge of the rules, in mean variances of a cell: so stiff that they follow what all scans share."""
_QUANTILES = torch.linspace(0.05, 0.95, 10)


@dataclass(frozen=True, slots=True)
class Sketch:
    """greys: (10,) quantiles in network units. sharpness: (3,) ln of the power of detail at three scales. layout: (side, side[, side]), mean 0, norm 1."""

    greys: Tensor
    sharpness: Tensor
    layout: Tensor


def sketched(whole: Tensor) -> Sketch:
    """(C, i, j[, k]) network units -> what is looked at; the first channel speaks for all."""
    x = whole[0].float()
    side = _SIDE[x.ndim]
    cells = F.adaptive_avg_pool2d(x[None], side)[0] if x.ndim == 2 else F.adaptive_avg_pool3d(x[None], side)[0]
    layout = cells - cells.mean()
    powers, coarse = [], x
    for width in (3, 5, 9):
        coarser = averaged(x[None, None], width)[0, 0]
        powers.append((coarse - coarser).square().mean())
        coarse = coarser
    some = x.flatten()[:: max(1, x.numel() // 65536)]
    return Sketch(torch.quantile(some, _QUANTILES), torch.stack(powers).clamp_min(1e-10).log(), layout / layout.norm().clamp_min(1e-6))


@dataclass(frozen=True, slots=True)
class Kind(Stored):
    """layout: mean of healthy scans. turns: (n, side, side[, side]) linear rules, each of which tells them from their image under one symmetry.

    course, white: the Gaussian of grey values and sharpness, as of ``Usual``. middle, spread: (2 + n,) of each part over healthy scans.
    """

    layout: Tensor
    turns: Tensor
    course: Tensor
    white: Tensor
    middle: Tensor
    spread: Tensor

    @classmethod
    def fitted(cls, sketches: Sequence[Sketch]) -> Self:
        """From healthy scans, and their variants."""
        layouts = torch.stack([s.layout for s in sketches])
        usual = Usual.fitted(torch.stack([_look(s) for s in sketches]))
        raw = cls(layouts.mean(0), _rules(layouts), usual.course, usual.white, torch.zeros(1), torch.ones(1))
        parts = torch.stack([raw.parts(s) for s in sketches])
        return replace(raw, middle=parts.mean(0), spread=parts.std(0).clamp_min(1e-6))

    def parts(self, sketch: Sketch) -> Tensor:
        """(2 + n,): how unlike in look, in layout, and how far each rule goes towards the other side, in standard deviations of healthy scans."""
        look = Usual(self.course, self.white).distance(_look(sketch)[None])
        unlike = -(sketch.layout * self.layout).sum()[None]
        turned = -(self.turns * sketch.layout).flatten(1).sum(1)
        return (torch.cat([look, unlike, turned]) - self.middle) / self.spread


def part_named(number: int) -> str:
    """One of ``Kind.parts`` in words."""
    return ("grey values or sharpness", "layout", "orientation (is it turned or mirrored?)")[min(number, 2)]


def _symmetries(layouts: Tensor) -> list[Tensor]:
    """(n, side, side[, side]) mirrored and turned in every way but the one it stands: 7 of an image; of a volume the 7 mirror images."""
    axes = range(1, layouts.ndim)
    found = [layouts.flip([a for a, turned in zip(axes, chosen, strict=True) if turned]) for chosen in product((False, True), repeat=layouts.ndim - 1)]
    if layouts.ndim == 3:
        found += [one.transpose(1, 2) for one in found]
    return found[1:]


def _rules(layouts: Tensor) -> Tensor:
    """Fisher's linear discriminant between the layouts and each of their images, with a ridge: cells are many and scans are few."""
    n, shape = len(layouts), layouts.shape[1:]
    apart = (layouts - layouts.mean(0)).flatten(1).double()
    kernel = apart @ apart.T / n
    ridge = float(kernel.diagonal().mean()) / apart.shape[1] * _RIDGE
    rules = []
    for other in _symmetries(layouts):
        towards = (layouts - other).mean(0).flatten().double()
        # (C + r I)^-1 v = (v - A' (A A' / n + r I)^-1 A v / n) / r: a system as large as the scans are many, not the cells
        inside = torch.linalg.solve(kernel + ridge * torch.eye(n, dtype=torch.float64), apart @ towards / n)
        rule = (towards - apart.T @ inside) / ridge
        rules.append((rule / rule.norm().clamp_min(1e-9)).float().reshape(shape))
    return torch.stack(rules)


def _look(sketch: Sketch) -> Tensor:
    return torch.cat([sketch.greys, sketch.sharpness])
