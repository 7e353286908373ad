"""Teaches a finished prior how wrong it is, voxel by voxel: one more output of the same network, its trunk
frozen.
"""

from __future__ import annotations

import time
from dataclasses import replace

import torch

from ..prior import Prior
from ..prior.denoiser import broadcast_level
from ..prior.prior import untrained_prior
from .patches import Images, draw_batch

__all__ = ["with_deviation_head"]


def with_deviation_head(
    prior: Prior,
    data: Images,
    *,
    steps: int = 300,
    rate: float = 3e-3,
    sigmas: tuple[float, float] = (-1.0, 1.6),
    batch: int = 16,
    seed: int = 0,
    seconds: float | None = None,
) -> Prior:
    """The same means, and a standard deviation for each voxel, learned by the Gaussian likelihood (Nix and
    Weigend 1994) on the device of the prior.

    data: what the prior was trained on, or better scans it has not seen. seconds: at most so many; then fewer
    steps are taken. The trunk is frozen, so the means do not move by a bit.
    """
    there = next(prior.net.parameters()).device
    made = untrained_prior(replace(prior.card, doubt=True))
    made.net.load_state_dict({**made.net.state_dict(), **prior.net.state_dict()})
    made.net.requires_grad_(False).eval().to(there)
    head = [p for name, p in made.net.named_parameters() if name.startswith("doubt.")]
    for parameter in head:
        parameter.requires_grad_(True)
    optimizer = torch.optim.Adam(head, lr=rate)
    started = time.monotonic()
    for step in range(steps):
        done = max(step / steps, (time.monotonic() - started) / seconds if seconds else 0.0)
        if done >= 1:
            break
        for group in optimizer.param_groups:
            group["lr"] = rate * (1 - done)
        at = draw_batch(data, step, seed=seed + 1, batch=batch, sigmas=sigmas, drop=0.1).to(there)
        mean, std = made.moments(at.x0 + broadcast_level(at.sigma, at.x0) * at.noise, at.sigma, at.condition)
        loss = (
            (mean - at.x0).square() / std.square()
            + 2 * (std / made.path.c_out(broadcast_level(at.sigma, at.x0)).abs()).log()
        ).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    made.net.requires_grad_(False)
    return Prior(made.net, prior.path, made.card, prior.promises)
