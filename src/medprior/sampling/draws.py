"""N draws of an image, and what may be said of them."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from PIL import Image
from torch import Tensor

from ..data.views import as_html, grey, row_of, window_for
from ..data.volume import Volume
from ..errors import BadOption, Uncalibrated
from ..prior.promises import Calibration
from ..prior.rings import by_ring, ring_of

__all__ = ["Draws", "Interval", "shrink_to"]


@dataclass(frozen=True, slots=True)
class Interval:
    """low, high: (C, i, j[, k]). calibrated: False means the raw quantiles of the draws, with an unchecked
    width.
    """

    low: Tensor
    high: Tensor
    level: float
    calibrated: bool


@dataclass(frozen=True, slots=True, repr=False)
class Draws:
    """values: (N, C, i, j[, k]), physical units. seed: of the run. made_by: prior, rule, steps, in words.

    centre: (C, i, j[, k]) a better estimate of the posterior's mean than the average of N draws, or None.
    deviation: (C, i, j[, k]) how far the mean is likely to be off, up to the calibration's scale; a point
    estimate has one, too. calibration: of such reconstructions on other patients, or None; refused: why there
    is none. unlike: what of the image is not that of the prior's training images, "" where nothing is or
    where it is not known.
    """

    values: Tensor
    seed: int
    made_by: str
    centre: Tensor | None = None
    deviation: Tensor | None = None
    calibration: Calibration | None = None
    refused: str = ""
    unlike: str = ""

    def __len__(self) -> int:
        return len(self.values)

    def __repr__(self) -> str:
        """One line: "Draws: 8 of 1 x 112 x 96, ..., intervals calibrated on 20 patients"."""
        known = self.calibration
        trust = f"intervals calibrated on {known.basis}" if known else "intervals not calibrated"
        size = " x ".join(map(str, self.values.shape[1:]))
        trust += f", UNLIKE the training images: {self.unlike}" if self.unlike else ""
        return f"Draws: {len(self)} of {size}, seed {self.seed}, {self.made_by}, {trust}"

    def show(self) -> Image.Image:
        """Mean and standard deviation of the draws side by side, as stored; of a volume the middle slice."""
        shown = [self.mean()[0], self._deviation()[0]] if len(self) > 1 else [self.mean()[0]]
        arrays = [(x if x.ndim == 2 else x[..., x.shape[-1] // 2]).cpu().numpy() for x in shown]
        return row_of([grey(array, window_for(Volume(array[None]))) for array in arrays])

    def _repr_html_(self) -> str:
        return as_html(self.show(), f"{self!r}. Left: mean; right: standard deviation")

    def mean(self) -> Tensor:
        """(C, i, j[, k]): the point estimate with the least squared error."""
        return self.values.mean(0) if self.centre is None else self.centre

    def std(self) -> Tensor:
        """(C, i, j[, k]): spread of the draws, uncalibrated. Raises BadOption for fewer than two draws."""
        if len(self.values) < 2:
            raise BadOption("std: wanted at least 2 draws, got 1", "ask for n >= 8")
        return self.values.std(0)

    def quantile(self, q: float) -> Tensor:
        """(C, i, j[, k])."""
        return torch.quantile(self.values, q, dim=0)

    def interval(
        self, level: float = 0.9, calibration: Calibration | None = None, *, uncalibrated: bool = False
    ) -> Interval:
        """An interval for each voxel. calibration: default the one that came with the draws.

        Raises Uncalibrated without a calibration of that level, unless ``uncalibrated=True`` asks for the raw
        quantiles, marked so.
        """
        if uncalibrated:
            return Interval(self.quantile((1 - level) / 2), self.quantile((1 + level) / 2), level, False)
        half = self._calibrated(level, calibration).scale * self._deviation()
        return Interval(self.mean() - half, self.mean() + half, level, True)

    def psnr_bound(
        self, data_range: float, level: float = 0.9, calibration: Calibration | None = None
    ) -> float:
        """dB that the mean reaches with probability ``level``; data_range: white minus black, in the unit of
        the draws. Raises Uncalibrated, also where the calibration has fewer patients than the level needs.
        """
        known = self._calibrated(level, calibration)
        if known.missing:
            raise Uncalibrated(f"no bound on the PSNR: {known.short}", "calibrate on scans of more patients")
        error = known.error * float(self._deviation().double().square().mean())
        return 10 * math.log10(data_range**2 / error) if error > 0 else math.inf

    def _deviation(self) -> Tensor:
        return self.std() if self.deviation is None else self.deviation

    def _calibrated(self, level: float, calibration: Calibration | None) -> Calibration:
        found = calibration or self.calibration
        if found is None:
            why = f": {self.refused}" if self.refused else ""
            raise Uncalibrated(
                f"no interval at level {level} for {self.made_by}{why}",
                "calibrate it on other patients (medprior calibrate), or ask with uncalibrated=True",
            )
        if found.level != level:
            raise Uncalibrated(
                f"calibrated at level {found.level}, asked for {level}", "ask for the calibrated level"
            )
        return found


def shrink_to(values: Tensor, point: Tensor, *, rings: int = 12) -> Tensor:
    """(C, i, j[, k]): the average of N draws, drawn to a point estimate as far as the chance of so few draws
    explains the difference.

    values: (N, C, i, j[, k]); point: (1, C, i, j[, k]). An average of N draws has an error of its spread /
    sqrt(N). So it is shrunk by that known amount, ring by ring of spatial frequency (positive-part James and
    Stein 1961). Where both differ by more than chance the average stands. One draw has no known spread and is
    returned as it is.
    """
    if len(values) < 2:
        return values[0]
    axes = tuple(range(1, point.ndim - 1))
    mean = values.mean(0)
    apart = torch.fft.fftn(mean - point[0], dim=axes, norm="ortho")
    chance = torch.fft.fftn(values - mean, dim=tuple(a + 1 for a in axes), norm="ortho").abs().square().sum(
        0
    ) / ((len(values) - 1) * len(values))
    keep = (1 - by_ring(chance.sum(0), apart.abs().square().sum(0), rings)).clamp_min(0)
    ring = ring_of(tuple(point.shape[2:]), rings).to(point.device)
    return point[0] + torch.fft.ifftn(apart * keep[ring], dim=axes, norm="ortho").real
