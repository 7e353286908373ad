"""How near a synthetic set comes to real scans, and how much of them it covers; beside it, what two sets of
real scans are apart.

Every number is of sets of equal size, since Fréchet distance and coverage change with it, and is read against
its floor: real training scans in the place of the synthetic ones.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ...data.seeds import generator
from ...errors import BadOption
from ..intervals import Estimate
from ..metrics import frechet_distance, mean_discrepancy, prdc

__all__ = ["MEASURES", "Fidelity", "Space", "fidelity", "gaussian_images"]

MEASURES = ("frechet", "mmd", "precision", "recall", "density", "coverage")
"""frechet, mmd: 0 is best; precision, recall, coverage: 1 is best; density: 1 is as dense as real scans."""

_HALVES = 30
"""Random halves behind every interval."""

_DIMENSIONS = 48
"""Directions of the features that are kept: a covariance needs several images for each."""


_FAR = 5.0
"""Deviations of the training scans at which a feature stops: a ratio whose denominator nearly vanishes would
else be all of the distance.
"""


@dataclass(frozen=True, slots=True)
class Space:
    """Features scaled by their deviations among real training scans and turned into the directions in which
    these differ most; mean variance there 1.

    All sets are seen in the same space.
    """

    mean: Tensor
    scale: Tensor
    turn: Tensor

    @classmethod
    def of(cls, train: Tensor) -> Space:
        """train: (n, d). At most 48 directions, at most a quarter of the scans. A feature that is the same in
        all scans has no part.
        """
        mean, std = train.double().mean(0), train.double().std(0)
        scale = torch.where(std > 1e-6 * (1 + mean.abs()), 1 / std, 0.0)
        seen = ((train.double() - mean) * scale).clamp(-_FAR, _FAR)
        _, values, vectors = torch.linalg.svd(seen - seen.mean(0), full_matrices=False)
        kept = max(2, min(_DIMENSIONS, len(train) // 4, int((values > 1e-6 * values[0]).sum())))
        size = (values[:kept].square().sum() / ((len(train) - 1) * kept)).sqrt()
        return cls(mean, scale, vectors[:kept].T / size)

    def __call__(self, features: Tensor) -> Tensor:
        return ((features.double() - self.mean) * self.scale).clamp(-_FAR, _FAR) @ self.turn


@dataclass(frozen=True, slots=True)
class Fidelity:
    """made: by measure, of the synthetic set against held-out scans. floor: the same of training scans.
    apart: made minus floor, with the same held-out scans.

    size: scans in each set compared. dimensions: of the features.
    """

    descriptor: str
    size: int
    dimensions: int
    made: dict[str, Estimate]
    floor: dict[str, Estimate]
    apart: dict[str, Estimate]


def fidelity(
    descriptor: str,
    made: Tensor,
    train: Tensor,
    held: Tensor,
    *,
    patients: Sequence[object] | None = None,
    seed: int = 0,
) -> Fidelity:
    """made, train, held: features (n, d). patients: whose each held-out scan is: a half holds whole patients.

    Intervals (95 %) come from random halves of each set, drawn without replacement, so that no image is its
    own neighbour: half-sampling, McCarthy, Rev. Int. Stat. Inst. 37, 1969. Values are means over the halves.
    Raises BadOption for fewer than 24 images in a set.
    """
    least = min(len(made), len(train), len(held))
    if least < 24:
        raise BadOption(
            f"fidelity: wanted at least 24 images in each set, got {len(made)} made, {len(train)} training, "
            f"{len(held)} held out"
        )
    space, size, rng = Space.of(train), least // 2, generator(seed, "fidelity", descriptor)
    m, t, h = space(made), space(train), space(held)
    whose = torch.tensor(_numbered(range(len(h)) if patients is None else patients))
    rows: list[tuple[dict[str, float], dict[str, float]]] = []
    for _ in range(_HALVES):
        others = h[_half(whose, size, rng)]
        k = len(others)
        rows.append(tuple(_measures(x[torch.randperm(len(x), generator=rng)[:k]], others) for x in (m, t)))  # pyright: ignore[reportArgumentType]
    columns = [
        {name: [pick(row)[name] for row in rows] for name in MEASURES}
        for pick in (lambda r: r[0], lambda r: r[1])
    ]
    apart = {
        name: [a - b for a, b in zip(columns[0][name], columns[1][name], strict=True)] for name in MEASURES
    }
    found = [{name: _spread(values[name], size) for name in MEASURES} for values in (*columns, apart)]
    return Fidelity(descriptor, size, space.turn.shape[1], *found)


def _numbered(names: Sequence[object] | range) -> list[int]:
    seen: dict[object, int] = {}
    return [seen.setdefault(name, len(seen)) for name in names]


def _half(whose: Tensor, size: int, rng: torch.Generator) -> Tensor:
    """Rows of whole patients, drawn until there are ``size``."""
    order = torch.randperm(int(whose.max()) + 1, generator=rng)
    rank = torch.empty_like(order).scatter_(0, order, torch.arange(len(order)))
    return rank[whose].argsort(stable=True)[:size]


def _measures(x: Tensor, real: Tensor) -> dict[str, float]:
    near = prdc(real, x)
    return {
        "frechet": frechet_distance(x, real),
        "mmd": mean_discrepancy(x, real),
        "precision": near.precision,
        "recall": near.recall,
        "density": near.density,
        "coverage": near.coverage,
    }


def _spread(values: Sequence[float], size: int) -> Estimate:
    found = torch.tensor(values, dtype=torch.float64)
    low, high = torch.quantile(found, torch.tensor([0.025, 0.975], dtype=torch.float64)).tolist()
    return Estimate(float(found.mean()), low, high, 0.95, size)


def gaussian_images(train: Sequence[Tensor], n: int, *, seed: int = 0) -> list[Tensor]:
    """n images of the plainest generator: a Gaussian with the training images' mean and covariance, pixel by
    pixel. The baseline of every report.

    train: (C, i, j[, k]) of one shape, network units. The draws are exact: normal weights of the centred
    images have their covariance.
    """
    shapes = {tuple(image.shape) for image in train}
    if len(shapes) > 1 or len(train) < 2:
        raise BadOption(
            f"gaussian images: wanted at least 2 images of one shape, got {len(train)} of {len(shapes)} "
            "shapes"
        )
    stack = torch.stack([image.float() for image in train])
    mean = stack.mean(0)
    weights = (
        torch.randn((n, len(stack)), generator=generator(seed, "gaussian images")) / (len(stack) - 1) ** 0.5
    )
    return list((mean + torch.einsum("nm,m...->n...", weights, stack - mean)).clamp(-1, 1))
