"""The smallest change of a scan that stays a believable scan and turns a model's answer."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from ..data.seeds import generator
from ..prior import Condition, Denoiser
from ..sampling import karras_levels
from .particles import Likelihood, Search, near_draws, steered

__all__ = ["DISTANCES", "Counterfactuals", "at_distance", "smallest"]

DISTANCES = (0.1, 0.15, 0.22, 0.33, 0.5, 0.75, 1.1, 1.6)
"""Distances that are tried, network units; at the largest little is left of the scan."""

_MOST_TURN = 0.75
"""Share of the repeats in which the answer must turn."""


@dataclass(frozen=True, slots=True)
class Counterfactuals:
    """One of each repeat: the least changed draw that turns the answer, else the nearest to it.

    images: (repeats, C, i, j[, k]) network units. probabilities: (repeats,) of the target class. turned:
    (repeats,) bool. distance: of ``near_draws``.
    """

    images: Tensor
    probabilities: Tensor
    turned: Tensor
    distance: float

    @property
    def enough(self) -> bool:
        """Three of four repeats turn the answer."""
        return int(self.turned.sum()) >= math.ceil(_MOST_TURN * len(self.turned))


@dataclass(frozen=True, slots=True)
class Problem:
    """scan: (1, C, i, j[, k]) network units. region: where it may change, None: everywhere. decided: the
    probability from which the answer counts as turned.
    """

    denoiser: Denoiser
    scan: Tensor
    likelihood: Likelihood
    region: Tensor | None = None
    condition: Condition | None = None
    decided: float = 0.5


def at_distance(problem: Problem, distance: float, search: Search, seed: int) -> Counterfactuals:
    """Counterfactuals at one distance, by particles (see ``particles.steered``)."""
    rng = generator(seed, "counterfactual", round(distance, 4))
    redraw = near_draws(problem.denoiser, problem.scan, distance, problem.region, rng)
    sigmas = karras_levels(search.n_steps, low=min(search.low, distance / 4), high=4 * distance)
    found, probabilities = steered(
        redraw,
        tuple(problem.scan.shape[1:]),
        sigmas,
        problem.likelihood,
        search=search,
        rng=rng,
        condition=problem.condition,
    )
    change = (found - problem.scan[0]).abs().flatten(2).mean(2)
    turned = probabilities >= problem.decided
    best = torch.where(turned, 1 / (change + 1e-9) + 2, probabilities).argmax(1)
    rows = torch.arange(len(best))
    return Counterfactuals(found[rows, best], probabilities[rows, best], turned[rows, best], distance)


def smallest(
    problem: Problem, search: Search, seed: int, distances: tuple[float, ...] = DISTANCES
) -> Counterfactuals:
    """The counterfactuals of the least distance at which three of four repeats turn the answer, by bisection.

    Where none does, those of the largest distance: ``enough`` says so.
    """
    with torch.no_grad():
        low, high = 0, len(distances) - 1
        best = last = at_distance(problem, distances[high], search, seed)
        if not best.enough:
            return last
        while low < high:
            middle = (low + high) // 2
            tried = at_distance(problem, distances[middle], search, seed)
            if tried.enough:
                best, high = tried, middle
            else:
                low = middle + 1
        return best
