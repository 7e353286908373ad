"""Diffusion and flow matching as one table with two rows: four functions of sigma each.

D(x, sigma) = c_skip * x + c_out * net(c_in * x, c_noise). Law (tested): the network's input and its target
have unit variance at every sigma.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass

import torch
from torch import Tensor

from ..errors import BadOption, did_you_mean

__all__ = ["PATHS", "Karras", "Path", "Straight", "path_named"]


@dataclass(frozen=True, slots=True)
class Path(ABC):
    """sigma_data: standard deviation of the clean data in network units."""

    sigma_data: float = 0.5

    def c_in(self, sigma: Tensor) -> Tensor:
        return (sigma**2 + self.sigma_data**2).rsqrt()

    @abstractmethod
    def c_skip(self, sigma: Tensor) -> Tensor: ...

    @abstractmethod
    def c_out(self, sigma: Tensor) -> Tensor: ...

    def c_noise(self, sigma: Tensor) -> Tensor:
        """ln(sigma) / 4; for the straight path this is logit(t) / 4, the same number."""
        return torch.log(sigma.clamp_min(1e-8)) / 4


class Karras(Path):
    """EDM preconditioning (Karras et al. 2022, table 1)."""

    def c_skip(self, sigma: Tensor) -> Tensor:
        return self.sigma_data**2 / (sigma**2 + self.sigma_data**2)

    def c_out(self, sigma: Tensor) -> Tensor:
        return sigma * self.sigma_data * (sigma**2 + self.sigma_data**2).rsqrt()


class Straight(Path):
    """Rectified flow (Liu et al. 2023) with t = sigma / (1 + sigma): the network predicts n - x0, scaled to
    unit variance.
    """

    def c_skip(self, sigma: Tensor) -> Tensor:
        return 1 / (1 + sigma)

    def c_out(self, sigma: Tensor) -> Tensor:
        return -sigma / (1 + sigma) * (1 + self.sigma_data**2) ** 0.5


PATHS: dict[str, type[Path]] = {"karras": Karras, "straight": Straight}


def path_named(name: str, sigma_data: float) -> Path:
    """A row of the table by its name. Raises BadOption with the nearest name."""
    if name not in PATHS:
        raise BadOption(f"path: {name!r} is not known", did_you_mean(name, list(PATHS)))
    return PATHS[name](sigma_data)
