"""Which places a model's answer depends on, with checks that can fail.

A map of importance convinces whether it is right or not (Adebayo et al., "Sanity checks for saliency maps",
NeurIPS 2018). So each map is tested twice. Its most important places are drawn anew by the prior: the answer
must fall by more than for random places. And a model with shuffled weights must give another map.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from math import prod
from types import MappingProxyType

import torch
from torch import Tensor

from ..data.grids import box_mean
from ..data.seeds import generator
from ..errors import optional
from ..prior import Condition, Denoiser
from ..prior.wrappers import with_known
from ..sampling import initial_image, karras_levels, multistep
from .latent import Likelihood

__all__ = ["Infill", "MapTest", "Occluded", "importance", "map_evaluations", "map_tests", "occluded"]

SHARES = (0.05, 0.1, 0.2, 0.4)
"""Of the scan's area that are drawn anew, the most important first."""

ALIKE = 0.3
"""Rank correlation of two maps from which they show the same."""

_STEPS, _START = 8, 2
"""Noise levels of an infill, and the evaluations that it begins with (``sampling.initial_image``)."""

_BATCH = 64
"""Images through the network at once."""

_RANDOM = 24
"""Random orders of places that a map is compared with: it passes by chance once in 25 times."""


@dataclass(frozen=True, slots=True)
class MapTest:
    """deletion: mean probability of the answer while the most important places are drawn anew; low is good.
    insertion: the same while all but these are drawn anew; high is good. random: deletion of random places,
    one for each order. alike: rank correlation with the map of a model with shuffled weights; None where the
    model's weights cannot be shuffled.
    """

    deletion: float
    insertion: float
    random: tuple[float, ...]
    alike: float | None

    @property
    def why_not(self) -> str:
        """Why the map must not be believed, "" where it passes.

        It passes where its deletion is lower than that of every random order: a p-value of 0.04.
        """
        if (1 + sum(one <= self.deletion for one in self.random)) / (len(self.random) + 1) > 0.05:
            return "drawing its places anew changes the answer no more than random places do"
        if self.alike is not None and self.alike > ALIKE:
            return f"a model with shuffled weights gives nearly this map (rank correlation {self.alike:.2f})"
        return ""

    @property
    def passes(self) -> bool:
        return not self.why_not


@dataclass(frozen=True, slots=True)
class Infill:
    """Draws parts of a scan anew, given the rest. scan: (1, C, i, j[, k]) network units. high: first noise
    level.
    """

    denoiser: Denoiser
    scan: Tensor
    seed: int
    condition: Condition | None = None
    n_steps: int = _STEPS
    high: float = 1.5

    def __call__(self, free: Tensor) -> Tensor:
        """free: (B, 1, i, j[, k]), 1 where the image is drawn -> (B, C, i, j[, k])."""
        rng = generator(self.seed, "infill")
        known = with_known(self.denoiser, self.scan, free)
        sigmas = karras_levels(self.n_steps, low=0.05, high=self.high)
        shape = (len(free), *self.scan.shape[1:])
        with torch.no_grad():
            start = initial_image(known, shape, sigmas[0], rng=rng, condition=self.condition)
            drawn = multistep(known, start, sigmas, condition=self.condition)
        return self.scan + free * (drawn - self.scan)


def map_tests(
    maps: Mapping[str, Tensor],
    infill: Infill,
    likelihood: Likelihood,
    *,
    shuffled: Mapping[str, Tensor] = MappingProxyType({}),
) -> dict[str, MapTest]:
    """Test maps (i, j[, k]) of one scan, each shaped as the scan, beside the same random orders of places.
    likelihood: the model's probability of its own answer. shuffled: the maps of the model with shuffled
    weights, as far as they can be had.
    """
    shape, rng = infill.scan.shape[2:], generator(infill.seed, "random maps")
    orders = [*maps.values(), *(_smooth(torch.randn(shape, generator=rng)) for _ in range(_RANDOM))]
    deleted = torch.stack([_most(one, share) for one in orders for share in SHARES])
    kept = torch.stack([~_most(one, share) for one in maps.values() for share in SHARES])
    free = torch.cat([deleted, kept])[:, None].float()
    answers = torch.cat([likelihood(infill(part)) for part in free.split(_BATCH)]).reshape(-1, len(SHARES))
    means = answers.mean(1).tolist()
    random = tuple(means[len(maps) : len(orders)])
    return {
        name: MapTest(
            means[n],
            means[len(orders) + n],
            random,
            _rank_correlation(values, shuffled[name]) if name in shuffled else None,
        )
        for n, (name, values) in enumerate(maps.items())
    }


@dataclass(frozen=True, slots=True)
class Occluded:
    """A scan with one window after the other drawn anew. free: (B, 1, i, j[, k]), 1 inside of the window.
    images: (B, C, i, j[, k]).
    """

    scan: Tensor
    free: Tensor
    images: Tensor

    def importance(self, likelihood: Likelihood) -> Tensor:
        """(i, j[, k]): by how much the answer falls where a window is drawn anew.

        Occlusion (Zeiler and Fergus, ECCV 2014) with the prior's infill in place of grey. The infill adds no
        edge that the model has never seen.
        """
        fall = (likelihood(self.scan) - likelihood(self.images)).reshape(-1, *[1] * (self.free.ndim - 2))
        return (fall * self.free[:, 0]).sum(0) / self.free[:, 0].sum(0).clamp_min(1)


def map_evaluations(shape: tuple[int, ...], n_maps: int) -> int:
    """Images through the network for all windows of (i, j[, k]) and for the tests of so many maps."""
    windows = prod(len(_starts(n, _window(n))) for n in shape)
    each = _STEPS + _START
    return each * (windows + len(SHARES) * (_RANDOM + 2 * n_maps))


def occluded(scan: Tensor, infill: Infill) -> Occluded:
    """Windows of a seventh of the side, two thirds of that apart. scan: (1, C, i, j[, k])."""
    shape = tuple(scan.shape[2:])
    window = [_window(n) for n in shape]
    starts = [_starts(n, w) for n, w in zip(shape, window, strict=True)]
    places = torch.cartesian_prod(*starts)
    free = torch.zeros(len(places), 1, *shape)
    for row, place in zip(free, places.tolist(), strict=True):
        row[(0, *(slice(a, a + w) for a, w in zip(place, window, strict=True)))] = 1
    return Occluded(scan, free, torch.cat([infill(part) for part in free.split(_BATCH)]))


def _window(side: int) -> int:
    return max(1, round(side / 7))


def _starts(side: int, window: int) -> Tensor:
    """Evenly from the first place to the last."""
    n = max(1, round(1.5 * side / window))
    return torch.linspace(0, side - window, n).round().long().unique()


def importance(
    scan: Tensor, scores: Callable[[Tensor], Tensor], baseline: Tensor, n_steps: int = 32
) -> Tensor:
    """(i, j[, k]): integrated gradients (Sundararajan et al., ICML 2017) from a baseline, as captum has them;
    of a model whose scores can be differentiated. baseline: shaped as the scan, e.g. its counterfactual.
    """
    captum = optional("captum.attr", "explain", "integrated gradients")
    found = captum.IntegratedGradients(scores).attribute(scan, baselines=baseline, n_steps=n_steps)
    return _smooth(found.detach()[0].abs().sum(0))


def _most(values: Tensor, share: float) -> Tensor:
    """bool: the places of the highest values, so large a share of all."""
    flat = values.flatten()
    most = torch.zeros_like(flat, dtype=torch.bool)
    most[flat.topk(max(1, round(share * len(flat)))).indices] = True
    return most.reshape(values.shape)


def _smooth(values: Tensor) -> Tensor:
    """A mean over a fourteenth of the side, so that places and not single voxels are compared."""
    width = 2 * max(1, min(values.shape) // 28) + 1
    return box_mean(values[None, None], width)[0, 0]


def _rank_correlation(a: Tensor, b: Tensor) -> float:
    """Spearman's, of all places."""
    from scipy.stats import spearmanr

    if a.min() == a.max() or b.min() == b.max():
        return 0.0
    return float(spearmanr(a.flatten().numpy(), b.flatten().numpy())[0])  # type: ignore[arg-type]
