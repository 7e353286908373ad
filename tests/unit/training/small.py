"""The smallest run that still is one: an untrained tiny prior and images made of noise and a square."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor

from medprior.prior import Card, Prior
from medprior.prior.prior import untrained_prior
from medprior.training.loop import TrainingSettings
from medprior.training.patches import Images


def prior(seed: int = 0) -> Prior:
    torch.manual_seed(seed)
    card = Card("test", "MR", labels=("a", "b"), numbers=("height",), widths=(8, 16), blocks=1, preset="tiny")
    return untrained_prior(card)


def images(n: int = 6, side: int = 40, *, broken: tuple[int, ...] = ()) -> Images:
    """n images with labels, heights, two resolutions and two sizes of patch; the images ``broken`` hold one
    NaN voxel in each corner block.
    """
    rng = torch.Generator().manual_seed(1)
    made: list[Tensor] = []
    for item in range(n):
        x = 0.1 * torch.randn(1, side, side + 4, generator=rng)
        x[:, 5 + item : 15 + item, 8:20] += 0.8
        if item in broken:
            x[:, ::8, ::8] = torch.nan
        made.append(x)
    labels = torch.arange(n) % 3 - 1
    heights = torch.linspace(-1, 1, n)[:, None]
    return Images(made, labels, heights, levels=(0.7, 0.3), patches=((16, 0.5), (32, 0.5)), flip=1)


def settings(steps: int = 20, **other: object) -> TrainingSettings:
    return TrainingSettings(**{"steps": steps, "batch": 4, "save_every": 5, "seed": 3, **other})  # type: ignore[arg-type]


def run_until_killed(folder: str, steps: int) -> None:
    """A child's work: a run that saves at each step."""
    from medprior.training.loop import train

    torch.set_num_threads(1)
    train(prior(), images(), settings(steps, save_every=1), Path(folder))
