"""How alike two pictures are, in two ways that a copy audit needs: pixels after alignment, and an embedding
that was taught to see through moves.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ...data.seeds import generator
from ...errors import BadOption
from .moves import Move, apply_move, random_move, views

__all__ = [
    "CANDIDATES",
    "SIDE",
    "Embedding",
    "aligned_correlation",
    "as_pictures",
    "embedding_correlation",
    "learn_embedding",
]

SIDE = 32
"""Pixels on a side of the pictures whose pixels are compared, and of those that are embedded."""

_RIM = 2
"""Pixels at the border that do not count: a shift has invented them."""

CANDIDATES = 48
"""Training pictures a query is aligned with: those nearest to it before the fine alignment."""


def _unit(x: Tensor) -> Tensor:
    """(n, ...) -> (n, d): without its mean, of length 1, so that a product is a correlation."""
    flat = x.flatten(1)
    return F.normalize(flat - flat.mean(1, keepdim=True), dim=1)


def _inner(x: Tensor) -> Tensor:
    return x[..., _RIM:-_RIM, _RIM:-_RIM]


def _grid(
    flips: Sequence[bool], turns: Sequence[float], crops: Sequence[float], shifts: Sequence[float]
) -> list[Move]:
    return [
        Move.of(1, flip=f, turn=t, crop=c, shift=(a, b))
        for f, t, c, a, b in product(flips, turns, crops, shifts, shifts)
    ]


_COARSE = _grid((False, True), (-6.0, 0.0, 6.0), (-0.08, 0.0, 0.08), (0.0,))
_FINE = _grid((False, True), (-8.0, -4.0, 0.0, 4.0, 8.0), (-0.1, -0.05, 0.0, 0.05, 0.1), (-0.05, 0.0, 0.05))
"""A copy may be mirrored, turned, cut and shifted; the steps are what a correlation forgives at 32 pixels."""


def aligned_correlation(
    queries: Tensor, references: Tensor, *, candidates: int = CANDIDATES, asked: Tensor | None = None
) -> Tensor:
    """queries (n, C, 32, 32), references (m, C, 32, 32) -> (n, m): highest pixel correlation after alignment
    by mirror, turn, crop and shift.

    Every query is first compared with all references under eighteen coarse moves, then with its nearest
    ``candidates`` under 450 fine ones. asked: (n, m) bool, which pairs may count; -1 for all others. Source:
    pixel correlation with every training image, Akbar et al., arXiv 2305.07644; the alignment is ours.
    """
    known = _unit(_inner(references))
    best = torch.full((len(queries), len(references)), -1.0)
    for move in _COARSE:
        best = torch.maximum(best, _unit(_inner(apply_move(queries, _each(move, len(queries))))) @ known.T)
    if asked is not None:
        best = best.where(asked, -1.0)
    near = best.topk(min(candidates, len(references)), dim=1).indices
    for n, query in enumerate(queries):
        tried = _unit(_inner(apply_move(query.expand(len(_FINE), *query.shape), _FINE_MOVES)))
        best[n, near[n]] = torch.maximum(best[n, near[n]], (tried @ known[near[n]].T).amax(0))
    return best if asked is None else best.where(asked, -1.0)


def embedding_correlation(queries: Tensor, references: Tensor) -> Tensor:
    """Embeddings (n, d), (m, d) -> (n, m): their correlations."""
    return _unit(queries) @ _unit(references).T


def _each(move: Move, n: int) -> Move:
    return Move(
        *(t.expand(n, *t.shape[1:]) for t in (move.flip, move.turn, move.crop, move.shift, move.gamma))
    )


def _together(moves: Sequence[Move]) -> Move:
    parts = [(m.flip, m.turn, m.crop, m.shift, m.gamma) for m in moves]
    return Move(*(torch.cat(column) for column in zip(*parts, strict=True)))


_FINE_MOVES = _together(_FINE)


@dataclass(frozen=True, slots=True, eq=False)
class Embedding:
    """Pictures (n, C, 32, 32) -> (n, d), alike for a picture and its moved copies, unlike for two
    patients.
    """

    net: nn.Module

    def __call__(self, pictures: Tensor) -> Tensor:
        with torch.no_grad():
            return torch.cat([self.net(part) for part in pictures.split(256)])


def _network(channels: int, width: int = 32, out: int = 64) -> nn.Module:
    def stage(a: int, b: int, stride: int) -> list[nn.Module]:
        return [nn.Conv2d(a, b, 3, stride=stride, padding=1, bias=False), nn.GroupNorm(8, b), nn.ReLU()]

    # the map is not averaged to one place: where things lie tells patients apart
    return nn.Sequential(
        *stage(channels, width, 2),
        *stage(width, 2 * width, 2),
        *stage(2 * width, 2 * width, 2),
        nn.Flatten(),
        nn.Linear(32 * width, 128),
        nn.ReLU(),
        nn.Linear(128, out),
    )


def learn_embedding(
    pictures: Tensor, *, seed: int = 0, steps: int = 1200, batch: int = 64, temperature: float = 0.1
) -> Embedding:
    """An embedding learned from the training pictures (m, C, 32, 32): two moved copies of one must find each
    other among all others of a batch.

    Source: contrastive learning as in Chen et al., ICML 2020; taught on the training set itself as the copy
    search of Dar et al., arXiv 2402.01054. Raises BadOption for fewer than 8 pictures.
    """
    if pictures.ndim != 4 or len(pictures) < 8 or pictures.shape[2:] != (SIDE, SIDE):
        raise BadOption(
            f"embedding: wanted at least 8 pictures (m, C, {SIDE}, {SIDE}), got {tuple(pictures.shape)}",
            "an audit needs more scans",
        )
    rng = generator(seed, "embedding")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        net = _network(pictures.shape[1])
    optimizer = torch.optim.AdamW(net.parameters(), lr=2e-3, weight_decay=1e-4)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    size = min(batch, len(pictures))
    own = torch.arange(2 * size).roll(size)  # of each picture the row of its other copy
    for _ in range(steps):
        some = pictures[torch.randperm(len(pictures), generator=rng)[:size]]
        pair = torch.cat([apply_move(some, random_move(size, rng)), apply_move(some, random_move(size, rng))])
        pair = pair + 0.1 * torch.rand((2 * size, 1, 1, 1), generator=rng) * torch.randn(
            pair.shape, generator=rng
        )
        z = _unit(net(pair))
        alike = (z @ z.T / temperature).fill_diagonal_(float("-inf"))
        optimizer.zero_grad()
        F.cross_entropy(alike, own).backward()
        optimizer.step()
        schedule.step()
    return Embedding(net.eval().requires_grad_(False))


def as_pictures(images: Sequence[Tensor]) -> Tensor:
    """Images (C, i, j) or volumes (C, i, j, k) of any sizes, network units -> (n, C or 3 C, 32, 32)."""
    return torch.stack([views(image, SIDE) for image in images])
