"""The smallest change of a scan that stays a believable scan and turns a model's answer."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from ..data.seeds import generator
from ..prior import Condition, Denoiser
from .latent import SHRINK, Latent, Likelihood, Search, nudged, smooth_noise

__all__ = ["DISTANCES", "Counterfactuals", "Problem", "at_distance", "smallest"]

DISTANCES = (0.5, 1.0, 2.0)
"""Noise levels of the latent that are tried, network units; at the largest little is left of the scan."""

_MOST_TURN = 0.75
"""Share of the repeats in which the answer must turn."""

_WANTED = 3.0
"""Log odds of the target at which a search ends, the mean over small nudges of the image: probability 0.95.
At the edge of the decision, 0, a second model is not convinced."""

_NUDGES = 5
"""Nudged copies of an image that the model answers, beside the image itself."""

_STEP, _TRIAL, _KEPT = 0.05, 0.15, 0.7
"""Length of a move and of a trial move, standard deviations of the latent; share of the last move that the
next keeps."""

_LEAST = 1e-6
"""A probability below this counts as this."""


@dataclass(frozen=True, slots=True)
class Counterfactuals:
    """One of each repeat: the first that convinces on its way from the scan, else the last.

    images: (repeats, C, i, j[, k]) network units. probabilities: (repeats,) of the target class. turned:
    (repeats,) bool. distance: of the ``Latent``.
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
    """scan: (1, C, i, j[, k]) network units. region: (i, j[, k]) bool, where it may change, None: everywhere.
    decided: the probability from which the answer counts as turned. gradients: the likelihood has them.
    """

    denoiser: Denoiser
    scan: Tensor
    likelihood: Likelihood
    region: Tensor | None = None
    condition: Condition | None = None
    decided: float = 0.5
    gradients: bool = False


def at_distance(problem: Problem, distance: float, search: Search, seed: int) -> Counterfactuals:
    """Counterfactuals at one distance, by moves of the latent uphill. Raises Diverged."""
    rng = generator(seed, "counterfactual", round(distance, 4))
    latent = Latent.of(
        problem.denoiser,
        problem.scan,
        distance,
        search.n_levels,
        free=problem.region,
        condition=problem.condition,
    )
    odds = _Odds(problem.likelihood, rng)
    moves = _STEP * smooth_noise(search.repeats, problem.scan, rng)
    way, reached = torch.zeros_like(moves), torch.zeros(search.repeats, dtype=torch.bool)
    for _ in range(search.n_steps):
        left = ~reached
        up = (
            _by_gradient(latent, odds, moves[left])
            if problem.gradients
            else _by_trials(latent, odds, moves[left], search.particles)
        )
        way[left] = _KEPT * way[left] + up
        moves[left] = moves[left] + _STEP * _unit(way[left])
        with torch.no_grad():
            reached[left] = odds(latent.images(moves[left])) >= _WANTED
        if reached.all():
            break
    with torch.no_grad():
        images = _shortened(latent, odds, moves)
        probabilities = problem.likelihood(images)
    return Counterfactuals(images, probabilities, probabilities >= problem.decided, distance)


def smallest(
    problem: Problem, search: Search, seed: int, distances: tuple[float, ...] = DISTANCES
) -> Counterfactuals:
    """The counterfactuals of the least distance at which three of four repeats turn the answer.

    Where none does, those of the largest distance: ``enough`` says so.
    """
    found = at_distance(problem, distances[0], search, seed)
    for distance in distances[1:]:
        if found.enough:
            break
        found = at_distance(problem, distance, search, seed)
    return found


@dataclass(frozen=True, slots=True)
class _Odds:
    """(B, C, i, j[, k]) -> (B,): log odds of the target, the mean over an image and nudged copies of it.

    A direction that turns one image and none of its nudged copies is an attack. This leaves it out.
    """

    likelihood: Likelihood
    rng: torch.Generator

    def __call__(self, images: Tensor, nudges: int = _NUDGES) -> Tensor:
        seen = torch.cat([images, *(nudged(images, self.rng) for _ in range(nudges))])
        p = self.likelihood(seen).clamp(_LEAST, 1 - _LEAST)
        return (p.log() - (1 - p).log()).reshape(1 + nudges, -1).mean(0)


def _by_gradient(latent: Latent, odds: _Odds, moves: Tensor) -> Tensor:
    """(n, ...) direction in which the odds rise, of standard deviation 1."""
    with torch.enable_grad():
        at = moves.detach().clone().requires_grad_()
        (slope,) = torch.autograd.grad(odds(latent.images(at)).sum(), at)
    return _unit(slope)


def _by_trials(latent: Latent, odds: _Odds, moves: Tensor, particles: int) -> Tensor:
    """The same without a gradient: the mean of smooth trial moves, each times its answer (evolution
    strategies, Salimans et al. 2017, arXiv 1703.03864, in the latent).
    """
    n, half = len(moves), particles // 2
    trials = smooth_noise(n * half, latent.scan, odds.rng).reshape(n, half, *moves.shape[1:])
    trials = torch.cat([trials, -trials], 1)
    with torch.no_grad():
        images = latent.images((moves[:, None] + _TRIAL * trials).flatten(0, 1))
        answers = odds(images, 1).reshape(n, -1)
    answers = answers - answers.mean(1, keepdim=True)
    return _unit((answers.view(n, -1, *[1] * (moves.ndim - 1)) * trials).mean(1))


def _shortened(latent: Latent, odds: _Odds, moves: Tensor) -> Tensor:
    """The images on the straight way to each move that convince first, else those of the whole move."""
    share = (torch.arange(1, SHRINK + 1) / SHRINK).to(moves)
    images = latent.images((share.view(-1, *[1] * moves.ndim) * moves).flatten(0, 1))
    good = (odds(images) >= _WANTED).reshape(SHRINK, -1)
    good[-1] = True
    first = good.float().argmax(0)
    return images.reshape(SHRINK, *moves.shape)[first, torch.arange(len(first))]


def _unit(x: Tensor) -> Tensor:
    """Each row with standard deviation 1 around 0."""
    return x / x.square().flatten(1).mean(1).sqrt().clamp_min(1e-12).view(-1, *[1] * (x.ndim - 1))
