"""What the loop learns from: position-aware patches of images (PaDIS, arXiv 2406.02462, with the patch size
drawn each step). Where all images would take too much of the memory, they lie on disk.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from math import inf, prod
from pathlib import Path
from typing import overload

import torch
from torch import Tensor
from torch.nn import functional as F

from ..data.seeds import generator
from ..errors import BadOption, ShapeMismatch
from ..io.disk.mapped import MappedArrays, free_memory
from ..prior import Condition, position_channels
from .patch_moves import RANDOM, PatchMoves, move_patches

__all__ = ["Batch", "Images", "Plan", "StoredImages", "draw_batch", "known_conditions", "plan_step"]

SHARE = 0.4
"""Of the memory that is free: with more, images lie on disk."""


@dataclass(frozen=True, slots=True)
class Batch:
    """One step's worth for one rank: clean patches in network units, their noise levels and noise, and what
    is known of them.

    items: which image each patch is of. total: patches of all ranks together.
    """

    x0: Tensor
    sigma: Tensor
    noise: Tensor
    condition: Condition
    items: tuple[int, ...]
    total: int

    def to(self, device: torch.device) -> Batch:
        """The same batch on a device."""
        given = (self.condition.label, self.condition.numbers, self.condition.position)
        condition = Condition(*(None if part is None else part.to(device) for part in given))
        x0, sigma, noise = (part.to(device) for part in (self.x0, self.sigma, self.noise))
        return Batch(x0, sigma, noise, condition, self.items, self.total)


class StoredImages(Sequence[Tensor]):
    """Images that are appended one by one: in memory, and, once they would take more than ``most`` bytes of
    it, in files of at most 1 GiB that are mapped into memory. Their values are the same.

    folder: where the files lie; they go with the process. most: default ``SHARE`` of what is free now.
    """

    def __init__(self, folder: Path, most: float | None = None) -> None:
        self.folder, self.size = folder, 0
        self.most = SHARE * free_memory() if most is None else most
        self._near: list[Tensor] = []
        self._far: MappedArrays | None = None

    def append(self, image: Tensor) -> None:
        """Raises FileProblem where the disk refuses."""
        self.size += 4 * image.numel()
        self._near.append(image)
        if self._far is None and self.size > self.most:
            self._far = MappedArrays(self.folder)
        if self._far is not None:
            for one in self._near:
                self._far.append(one.numpy())
            self._near.clear()

    @property
    def on_disk(self) -> bool:
        return self._far is not None

    def __len__(self) -> int:
        return len(self._near) if self._far is None else len(self._far)

    @overload
    def __getitem__(self, n: int) -> Tensor: ...
    @overload
    def __getitem__(self, n: slice) -> list[Tensor]: ...
    def __getitem__(self, n: int | slice) -> Tensor | list[Tensor]:
        if isinstance(n, slice):
            return [self[k] for k in range(*n.indices(len(self)))]
        if self._far is None:
            return self._near[n]
        return torch.from_numpy(self._far[range(len(self))[n]])


@dataclass(frozen=True, slots=True)
class Images:
    """The training set in network units.

    images: each (C, i, j[, k]). labels: one each, -1 = unknown. numbers: (n_images, n_numbers), NaN =
    unknown. levels: weight of each resolution: 1, 1/2, 1/4, ... of the stored one. patches: (side, weight) of
    each patch size; a side beyond the image means the whole image. weights: how often each image is taken, in
    any unit; None = all alike. flip: array axis (0 = i) that may be mirrored without making a wrong patient,
    or None. moves: how patches are moved together with their places, or None. asked: columns of the numbers
    that are properties of a patient, as heights are not, each with the standard deviation of the error that
    is added to it. typical: shape of the image of middle size.
    """

    images: Sequence[Tensor]
    labels: Tensor | None = None
    numbers: Tensor | None = None
    levels: tuple[float, ...] = (1.0,)
    patches: tuple[tuple[int, float], ...] = ((64, 1.0),)
    flip: int | None = None
    weights: Tensor | None = None
    moves: PatchMoves | None = None
    asked: tuple[tuple[int, float], ...] = ()
    typical: tuple[int, ...] = field(init=False, default=())

    def __post_init__(self) -> None:
        if not self.images:
            raise BadOption("training set: no images")
        object.__setattr__(
            self,
            "typical",
            sorted((tuple(x.shape[1:]) for x in self.images), key=prod)[len(self.images) // 2],
        )
        shapes = {(x.shape[0], x.ndim) for x in self.images}
        if len(shapes) > 1:
            raise ShapeMismatch(
                "training set", "images with the same channels and dimensions", sorted(shapes)
            )
        smallest = min(min(x.shape[1:]) for x in self.images)
        if smallest >> (len(self.levels) - 1) < 4:
            raise BadOption(
                f"training set: an image of side {smallest} has no {len(self.levels)} resolutions",
                "leave it out, or give fewer levels",
            )
        if self.labels is not None and len(self.labels) != len(self):
            raise ShapeMismatch(
                "training set, labels", f"one for each of {len(self)} images", len(self.labels)
            )
        if self.numbers is not None and len(self.numbers) != len(self):
            raise ShapeMismatch(
                "training set, numbers", f"a row for each of {len(self)} images", len(self.numbers)
            )
        columns = 0 if self.numbers is None else self.numbers.shape[1]
        if not all(0 <= column < columns and 0 <= error < inf for column, error in self.asked):
            raise ShapeMismatch(
                "training set, asked", f"columns below {columns}, each with a standard deviation", self.asked
            )
        if self.weights is not None and (
            len(self.weights) != len(self)
            or not bool((self.weights >= 0).all())
            or not float(self.weights.sum()) > 0
        ):
            raise ShapeMismatch(
                "training set, weights",
                f"one >= 0 for each of {len(self)} images, not all 0",
                tuple(self.weights.shape),
            )

    def __len__(self) -> int:
        return len(self.images)


@dataclass(frozen=True, slots=True)
class Plan:
    """What all ranks must agree on before they draw. level: halvings of the resolution. size: of each window,
    there. order: an image for each patch; the first ``count`` are taken. moved: share of them that is moved.
    """

    level: int
    size: tuple[int, ...]
    order: list[int]
    count: int
    moved: float


def plan_step(data: Images, step: int, *, seed: int, batch: int, ranks: int, steps: int = 0) -> Plan:
    """The plan of one step. Raises BadOption where there are more ranks than patches."""
    if batch < ranks:
        raise BadOption(
            f"batch: wanted at least one patch a rank, got {batch} for {ranks} ranks",
            "raise batch, or start fewer processes",
        )
    shared = generator(seed, "step", step)
    level = _pick(data.levels, shared)
    side = data.patches[_pick([w for _, w in data.patches], shared)][0]
    if data.weights is None:
        order = torch.randint(len(data), (batch,), generator=shared).tolist()
    else:
        order = torch.multinomial(data.weights, batch, replacement=True, generator=shared).tolist()
    ndim = data.images[0].ndim - 1
    # every image of a step gives a window of the same size: the smallest that all can give
    size = tuple(min(side, *(data.images[i].shape[1 + a] >> level for i in order)) for a in range(ndim))
    moved = (
        0.0 if data.moves is None or not steps else data.moves.share_of(expected_passes(data, steps, batch))
    )
    return Plan(level, size, order, _count(batch, size, ranks), moved)


def _count(batch: int, size: Sequence[int], ranks: int = 1) -> int:
    return min(batch, max(ranks, round(batch * 64 ** len(size) / max(64 ** len(size), prod(size)))))


def expected_passes(data: Images, steps: int, batch: int) -> float:
    """How often so many steps will have shown each voxel, on average: by the weights of resolutions and
    patches, of the typical image.
    """
    seen = 0.0
    for level, often in enumerate(data.levels):
        for side, weight in data.patches:
            size = [min(side, n >> level) for n in data.typical]
            share = often * weight / (sum(data.levels) * sum(w for _, w in data.patches))
            seen += share * _count(batch, size) * (prod(size) << level * len(size))
    return steps * seen / (len(data) * prod(data.typical))


def draw_batch(
    data: Images,
    step: int,
    *,
    seed: int,
    batch: int,
    sigmas: tuple[float, float],
    drop: float = 0.1,
    share: tuple[int, int] = (0, 1),
    steps: int = 0,
) -> Batch:
    """The batch of one step: a pure function of (seed, step, rank, steps), so that a resumed run sees what an
    unbroken run sees.

    batch: 64-voxel patches a step, over all ranks; larger patches come in smaller numbers. sigmas: mean and
    standard deviation of ln sigma. drop: how often labels and numbers are hidden, see ``known``. share:
    (rank, ranks), the part of the batch that is drawn. steps: of the whole training, by which ``data.moves``
    knows how often each scan will be seen. Raises BadOption where there are more ranks than patches.
    """
    rank, ranks = share
    plan = plan_step(data, step, seed=seed, batch=batch, ranks=ranks, steps=steps)
    own = [(n, plan.order[n]) for n in range(rank, plan.count, ranks)]
    pieces = [_window(data, item, plan.level, plan.size, generator(seed, "item", step, n)) for n, item in own]
    x0 = torch.stack([p[0] for p in pieces])
    position = torch.stack([p[1] for p in pieces])
    if data.moves is not None:
        u = torch.stack([torch.rand(RANDOM, generator=generator(seed, "move", step, n)) for n, _ in own])
        x0, position = move_patches(x0, position, u, plan.moved, data.moves)
    k = 0 if data.numbers is None else data.numbers.shape[1]
    rngs = [generator(seed, "drop", step, n) for n, _ in own]
    u = torch.stack([torch.cat([torch.rand(2, generator=rng), torch.rand(k, generator=rng)]) for rng in rngs])
    white = torch.stack([torch.randn(k, generator=rng) for rng in rngs])
    label, numbers = known_conditions(data, torch.tensor([item for _, item in own]), u, white, drop)
    makers = [generator(seed, "noise", step, n) for n, _ in own]
    noise = torch.stack([torch.randn(x0.shape[1:], generator=g) for g in makers])
    sigma = torch.exp(torch.cat([torch.randn(1, generator=g) for g in makers]) * sigmas[1] + sigmas[0])
    return Batch(
        x0, sigma, noise, Condition(label, numbers, position), tuple(item for _, item in own), plan.count
    )


def _pick(weights: Sequence[float], rng: torch.Generator) -> int:
    return int(torch.multinomial(torch.tensor(weights), 1, generator=rng))


def _window(
    data: Images, item: int, level: int, size: tuple[int, ...], rng: torch.Generator
) -> tuple[Tensor, Tensor]:
    image = data.images[item]
    full = tuple(n >> level for n in image.shape[1:])
    start = tuple(int(torch.randint(f - s + 1, (1,), generator=rng)) for f, s in zip(full, size, strict=True))
    if data.flip is not None and bool(torch.rand(1, generator=rng) < 0.5):
        image = image.flip(data.flip + 1)
    fine = image[
        (slice(None), *(slice(a << level, (a + s) << level) for a, s in zip(start, size, strict=True)))
    ]
    pool = F.avg_pool2d if len(size) == 2 else F.avg_pool3d
    x = pool(fine[None], 2**level)[0] if level else fine
    return x, position_channels(size, full=full, start=start)


def known_conditions(
    data: Images, items: Tensor, u: Tensor, white: Tensor, drop: float
) -> tuple[Tensor | None, Tensor | None]:
    """Labels (n,) and numbers (n, k) of ``items`` (n,) as conditions of the network. u: (n, 2 + k) uniform,
    white: (n, k) normal.

    Hidden with probability ``drop``: the label; all numbers at once; of several each by itself. The other
    side of guidance knows neither label nor what is asked for, so with half of the hidden labels these
    numbers are hidden, too.
    """
    label = None if data.labels is None else torch.where(u[:, 0] < drop, -1, data.labels[items])
    if data.numbers is None:
        return label, None
    numbers = data.numbers[items]
    hidden = (u[:, 1:2] < drop) | (
        (u[:, 2:] < drop) if numbers.shape[1] > 1 else torch.zeros_like(numbers, dtype=torch.bool)
    )
    for column, error in data.asked:
        numbers[:, column] += error * white[:, column]
        hidden[:, column] |= u[:, 0] < drop / 2
    return label, torch.where(hidden, torch.nan, numbers)
