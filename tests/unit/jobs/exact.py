"""Priors that the jobs are held against: one whose every answer is known in closed form, and an untrained
network.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from medprior.data.volume import Provenance, Volume
from medprior.prior import Card, Condition, Prior, path_named
from medprior.prior.denoiser import broadcast_level
from medprior.prior.prior import untrained_prior
from medprior.prior.promises import Promises
from medprior.prior.rings import radius

CT = Card(
    "exact",
    "CT",
    unit="HU",
    scaling="fixed",
    low=-1000.0,
    high=1000.0,
    labels=("dark", "light"),
    frame=(16, 64),
    sigma_data=0.5,
)


class Exact(Prior):
    """x0 ~ N(mean, C), C stationary: power / (1 + (frequency / 0.15)^2)^1.5; label n moves the mean by
    ``apart[n]``. In network units.
    """

    def __init__(
        self,
        card: Card = CT,
        *,
        mean: float = -0.4,
        power: float = 2.0,
        apart: tuple[float, ...] = (-0.5, 0.5),
        promises: Promises | None = None,
    ):
        torch.manual_seed(0)
        features = untrained_prior(
            replace(card, widths=(8, 16), blocks=1)
        ).net  # untrained: its features are something to look at, its answers are not used
        super().__init__(
            features.eval().requires_grad_(False), path_named("karras", card.sigma_data), card, promises
        )
        self.mean, self.power, self.apart = mean, power, apart

    def spectra(self, size: tuple[int, ...]) -> Tensor:
        """(*size): variance of each coefficient of the unitary FFT."""
        return self.power / (1 + (radius(size) / 0.15) ** 2) ** 1.5

    def gain(self, variance: Tensor | float, size: tuple[int, ...]) -> Tensor:
        """Wiener's, for white noise of this variance."""
        return self.spectra(size) / (self.spectra(size) + variance)

    def centre(self, x: Tensor, condition: Condition | None) -> Tensor:
        label = None if condition is None else condition.label
        moved = (
            torch.zeros(len(x))
            if label is None
            else torch.where(label < 0, 0.0, torch.tensor(self.apart)[label])
        )
        return broadcast_level(self.mean + moved, x)

    def __call__(self, x: Tensor, sigma: Tensor, condition: Condition | None = None) -> Tensor:
        centre = self.centre(x, condition)
        return centre + filtered(
            x - centre, self.gain(broadcast_level(sigma.expand(len(x)).to(x) ** 2, x), tuple(x.shape[2:]))
        )

    def moments(self, x: Tensor, sigma: Tensor, condition: Condition | None = None) -> tuple[Tensor, Tensor]:
        """All of the covariance is in the spectrum, so the deviations that it is relative to are 1."""
        return self(x, sigma, condition), torch.ones_like(x)

    def spectrum(self, sigma: Tensor, size: tuple[int, ...]) -> Tensor:
        variance = broadcast_level(sigma.float() ** 2, torch.empty(1, *size))
        return self.gain(variance, size) * variance

    def error(self, sigma: Tensor) -> Tensor:
        return self.spectrum(sigma, (32,) * self.card.ndim).flatten(1).mean(1)

    def draw(self, n: int, size: tuple[int, ...], seed: int = 0) -> Tensor:
        """(n, 1, *size): draws of the prior itself, network units."""
        return self.mean + filtered(
            torch.randn((n, 1, *size), generator=torch.Generator().manual_seed(seed)),
            self.spectra(size).sqrt(),
        )


def filtered(x: Tensor, gain: Tensor) -> Tensor:
    axes = tuple(range(2, x.ndim))
    return torch.fft.ifftn(torch.fft.fftn(x, dim=axes) * gain, dim=axes).real


def volume_of(prior: Prior, image: Tensor) -> Volume:
    """(C, i, j[, k]) in network units -> a Volume in the card's."""
    data = (image.numpy() + 1) / 2 * (prior.card.high - prior.card.low) + prior.card.low
    return Volume(
        data.astype(np.float32),
        None,
        prior.card.unit,
        prior.card.modality,
        provenance=Provenance(history=("read",), format="dicom"),
    )


def tiny(ndim: int = 2, **other: Any) -> Prior:
    """An untrained network that is not the identity either: its last layer is drawn, too."""
    card = Card(
        "tiny",
        "MR",
        labels=("healthy", "ill"),
        numbers=("height",),
        widths=(8, 16),
        blocks=1,
        preset="tiny",
        ndim=ndim,
        frame=(16, 32),
    )
    torch.manual_seed(0)
    prior = untrained_prior(replace(card, **other))
    nn.init.normal_(prior.net.leave[2].weight, std=0.05)  # type: ignore[union-attr, index]
    prior.net.eval().requires_grad_(False)
    return prior


def healthy(n: int, seed: int, size: tuple[int, ...] = (24, 20)) -> list[Volume]:
    """Scans of so many patients, as the exact prior draws them."""
    prior = Exact()
    return [volume_of(prior, x) for x in prior.draw(n, size, seed)]
