"""N draws of an image, and what may be said of them."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ..errors import BadOption, Uncalibrated

__all__ = ["Calibration", "Draws", "Interval"]


@dataclass(frozen=True, slots=True)
class Calibration:
    """A split-conformal scale: on n calibration patients, mean +- scale * std * z covered the level (Angelopoulos and Bates 2023)."""

    level: float
    scale: float
    n: int


@dataclass(frozen=True, slots=True)
class Interval:
    """low, high: (C, i, j[, k]). calibrated: False means the raw quantiles of the draws, which are too narrow as a rule."""

    low: Tensor
    high: Tensor
    level: float
    calibrated: bool


@dataclass(frozen=True, slots=True)
class Draws:
    """values: (N, C, i, j[, k]), physical units. seed: of the run. made_by: prior, rule, steps, in words."""

    values: Tensor
    seed: int
    made_by: str

    def __len__(self) -> int:
        return len(self.values)

    def mean(self) -> Tensor:
        """(C, i, j[, k]): the point estimate with the least squared error."""
        return self.values.mean(0)

    def std(self) -> Tensor:
        """(C, i, j[, k]): spread of the draws, uncalibrated. Raises BadOption for fewer than two draws."""
        if len(self.values) < 2:
            raise BadOption("std: wanted at least 2 draws, got 1", "ask for n >= 8")
        return self.values.std(0)

    def quantile(self, q: float) -> Tensor:
        """(C, i, j[, k])."""
        return torch.quantile(self.values, q, dim=0)

    def interval(self, level: float = 0.9, calibration: Calibration | None = None, *, uncalibrated: bool = False) -> Interval:
        """An interval for each voxel.

        Raises Uncalibrated without a calibration of that level, unless ``uncalibrated=True`` asks for the raw quantiles, marked so.
        """
        if calibration is None:
            if not uncalibrated:
                raise Uncalibrated(f"no calibration at level {level} for {self.made_by}", "run calibrate, or ask with uncalibrated=True")
            return Interval(self.quantile((1 - level) / 2), self.quantile((1 + level) / 2), level, False)
        if calibration.level != level:
            raise Uncalibrated(f"calibrated at level {calibration.level}, asked for {level}", "ask for the calibrated level")
        half = calibration.scale * self.std()
        return Interval(self.mean() - half, self.mean() + half, level, True)
