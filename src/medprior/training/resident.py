"""The training set in a GPU's own memory: a batch of any size costs a few launches there, where
``patches.draw_batch`` makes it patch by patch.
"""

from __future__ import annotations

from math import prod

import torch
from torch import Tensor
from torch.nn import functional as F

from ..data.seeds import generator
from ..prior import Condition
from .patch_moves import RANDOM, move_patches
from .patches import Batch, Images, Plan, known_conditions, plan_step

__all__ = ["Resident"]


class Resident:
    """Draws the batches of ``data`` on ``device``.

    The law is that of ``patches.draw_batch``: windows, places, mirrors, moves, noise levels and what is
    hidden have the same distributions, and a batch is a pure function of (seed, step, rank, steps). The
    numbers are others, because another generator makes them. All voxels lie in one line; those of a window
    are gathered by their numbers. Where they would take more than half of the GPU's free memory they stay on
    the host, and only the windows travel: slower, and the same batches.
    """

    def __init__(self, data: Images, device: str) -> None:
        self.data, self.device = data, torch.device(device)
        self.store = self._home(4 * sum(image.numel() for image in data.images))
        # (C, voxels of all images): one image after the other, rows after one another
        self.voxels = torch.cat([image.flatten(1) for image in data.images], dim=1).float().to(self.store)
        self.shapes = torch.tensor([image.shape[1:] for image in data.images])
        self.begins = torch.tensor([0, *(prod(image.shape[1:]) for image in data.images[:-1])]).cumsum(0)

    def _home(self, size: int) -> torch.device:
        """Where ``size`` bytes of voxels can lie."""
        free = torch.cuda.mem_get_info(self.device)[0] if self.device.type == "cuda" else 2 * size
        return self.device if 2 * size <= free else torch.device("cpu")

    def draw(
        self,
        step: int,
        *,
        seed: int,
        batch: int,
        sigmas: tuple[float, float],
        drop: float = 0.1,
        share: tuple[int, int] = (0, 1),
        steps: int = 0,
    ) -> Batch:
        """The batch of one step for one rank, on the device. Arguments and errors are those of
        ``patches.draw_batch``.
        """
        rank, ranks = share
        plan = plan_step(self.data, step, seed=seed, batch=batch, ranks=ranks, steps=steps)
        # every rank draws for all and keeps its share: cheap beside the network, and one law for any number
        # of ranks
        mine = slice(rank, plan.count, ranks)
        items = torch.tensor(plan.order[: plan.count])
        host, near = generator(seed, "windows", step), generator(seed, "noise", step, device=self.device)
        full = self.shapes[items] >> plan.level
        room = full - torch.tensor(plan.size) + 1
        start = (torch.rand(room.shape, generator=host, dtype=torch.float64) * room).long()
        turned = torch.rand(plan.count, generator=host) < (0.0 if self.data.flip is None else 0.5)
        u = torch.rand((plan.count, 2), generator=host)
        k = 0 if self.data.numbers is None else self.data.numbers.shape[1]
        u, white = (
            torch.cat([u, torch.rand((plan.count, k), generator=host)], dim=1),
            torch.randn((plan.count, k), generator=host),
        )
        noise = torch.randn((plan.count, len(self.voxels), *plan.size), generator=near, device=self.device)
        sigma = torch.exp(torch.randn(plan.count, generator=near, device=self.device) * sigmas[1] + sigmas[0])
        x0 = self._windows(plan, items[mine], start[mine], turned[mine])
        position = _positions(plan.size, full[mine].to(self.device), start[mine].to(self.device))
        if self.data.moves is not None:
            how = torch.rand((plan.count, RANDOM), generator=generator(seed, "moves", step))[mine]
            x0, position = move_patches(x0, position, how.to(self.device), plan.moved, self.data.moves)
        label, numbers = (
            x if x is None else x.to(self.device)
            for x in known_conditions(self.data, items[mine], u[mine], white[mine], drop)
        )
        condition = Condition(label, numbers, position)
        return Batch(x0, sigma[mine], noise[mine], condition, tuple(items[mine].tolist()), plan.count)

    def _windows(self, plan: Plan, items: Tensor, start: Tensor, turned: Tensor) -> Tensor:
        """(n, C, *size): cut at full resolution, then made coarser."""
        ndim = len(plan.size)
        index = _along(self.begins[items, None], 0, ndim).to(self.store)
        for axis, length in enumerate(plan.size):
            n = self.shapes[items, axis, None]
            place = (start[:, axis, None] << plan.level) + torch.arange(length << plan.level)
            if axis == self.data.flip:
                place = torch.where(turned[:, None], n - 1 - place, place)
            steps = self.shapes[items, axis + 1 :].prod(1)[:, None]
            index = index + _along(place * steps, axis, ndim).to(self.store)
        x = self.voxels[:, index].movedim(0, 1).to(self.device)
        pool = F.avg_pool2d if ndim == 2 else F.avg_pool3d
        return pool(x, 2**plan.level) if plan.level else x.contiguous()


def _along(values: Tensor, axis: int, ndim: int) -> Tensor:
    """(n, m) -> (n, 1, .., m, .., 1): along one of ``ndim`` axes of space."""
    return values.reshape(len(values), *[-1 if a == axis else 1 for a in range(ndim)])


def _positions(size: tuple[int, ...], full: Tensor, start: Tensor) -> Tensor:
    """``grid`` for each window. full, start: (n, ndim) -> (n, ndim + 1, *size)."""
    n, ndim = full.shape
    lines = [
        (2 * (torch.arange(length, device=full.device) + start[:, a, None].float()) + 1) / full[:, a, None]
        - 1
        for a, length in enumerate(size)
    ]
    fine = torch.log2(full.amax(1, keepdim=True) / 64.0) / 2
    return torch.stack(
        [
            *(_along(line, a, ndim).expand(n, *size) for a, line in enumerate(lines)),
            _along(fine, 0, ndim).expand(n, *size),
        ],
        dim=1,
    )
