"""A trained network with its path, its card and what was measured of it: the prior."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from ..data.volume import Volume
from ..errors import ShapeMismatch
from ..nets import UNet, UNetShape
from .admit import Admitted, admit
from .card import Card
from .denoiser import Condition, Denoiser, broadcast_level, position_channels
from .image_kind import ImageKind
from .paths import Path, path_named
from .promises import Promises

__all__ = ["Prior", "untrained_prior"]


class Prior(Denoiser):
    """net + path + card; the mean of x0 in network units (about -1..1).

    promises: what was measured of it. healthy: what healthy scans look like to it, tensors that
    ``learning.healthy`` makes sense of; {} where none were shown. kind: what its training images look
    like, coarsely, or None.
    """

    def __init__(
        self,
        net: nn.Module,
        path: Path,
        card: Card,
        promises: Promises | None = None,
        healthy: dict[str, Tensor] | None = None,
        kind: ImageKind | None = None,
    ) -> None:
        self.net = net
        self.path = path
        self.card = card
        self.promises = promises or Promises()
        self.healthy = healthy or {}
        self.kind = kind

    def __repr__(self) -> str:
        """One line: "Prior chest-xray: DX images, labels no_finding, pneumonia"."""
        return f"Prior {self.card.name}: {self.card.summary()}"

    def __call__(self, x: Tensor, sigma: Tensor, condition: Condition | None = None) -> Tensor:
        """Raises ShapeMismatch for other channels or dimensions than the card's."""
        wanted = (len(self.card.channels), self.card.ndim)
        if (x.shape[1], x.ndim - 2) != wanted:
            raise ShapeMismatch(
                "Prior", f"(B, {wanted[0]}, {'i, j, k' if wanted[1] == 3 else 'i, j'})", tuple(x.shape)
            )
        return self._out(x, sigma, condition)[0]

    def moments(self, x: Tensor, sigma: Tensor, condition: Condition | None = None) -> tuple[Tensor, Tensor]:
        """The standard deviation is the network's own where it has learned one (Nix and Weigend 1994), else
        the card's for that sigma.
        """
        mean, doubt = self._out(x, sigma, condition)
        if doubt is None:
            return mean, broadcast_level(self.error(sigma).sqrt().expand(len(x)), x).to(x).expand_as(x)
        # far from what it has seen the network may claim any doubt; more than twice what the data themselves
        # vary by is never true
        doubt = doubt.clamp(-14.0, 1.4)
        return mean, self.path.c_out(broadcast_level(sigma.expand(len(x)).to(x.dtype), x)).abs() * torch.exp(
            doubt / 2
        )

    def _out(self, x: Tensor, sigma: Tensor, condition: Condition | None) -> tuple[Tensor, Tensor | None]:
        """The mean, and ln of the error's variance in units of c_out^2."""
        sigma = sigma.expand(len(x)).to(x.dtype)
        out = self.net(*self.inputs(x, sigma, condition or Condition()))
        s, n = broadcast_level(sigma, x), x.shape[1]
        return self.path.c_skip(s) * x + self.path.c_out(s) * out[:, :n], out[
            :, n:
        ] if self.card.doubt else None

    def error(self, sigma: Tensor) -> Tensor:
        """From the card's finest table; without one, that of a white Gaussian of the data's variance (an
        upper bound).
        """
        if not self.card.errors:
            return sigma**2 * self.card.sigma_data**2 / (sigma**2 + self.card.sigma_data**2)
        return self.card.errors[0].mean(sigma)

    @property
    def caution(self) -> float:
        """The card's."""
        return self.card.caution

    def spectrum(self, sigma: Tensor, size: tuple[int, ...]) -> Tensor:
        """From the table of the nearest fineness; white without one."""
        if not self.card.errors:
            return super().spectrum(sigma, size)
        return min(self.card.errors, key=lambda table: abs(math.log(table.side / max(size)))).at(sigma, size)

    def inputs(
        self, x: Tensor, sigma: Tensor, condition: Condition
    ) -> tuple[Tensor, Tensor, Tensor | None, Tensor | None]:
        """What the network eats: scaled image with position channels, noise, label, numbers."""
        position = condition.position
        if position is None:
            position = position_channels(tuple(x.shape[2:]), device=x.device)[None]
        eaten = torch.cat(
            [
                self.path.c_in(broadcast_level(sigma, x)) * x,
                position.to(x.dtype).expand(len(x), *[-1] * (x.ndim - 1)),
            ],
            dim=1,
        )
        return eaten, self.path.c_noise(sigma), condition.label, condition.numbers

    def admit(self, volume: Volume, *, allow_other: bool = False) -> Admitted:
        """The one door in: see ``door.admit``."""
        return admit(self.card, volume, allow_other=allow_other)

    def loss(self, x0: Tensor, sigma: Tensor, noise: Tensor, condition: Condition) -> Tensor:
        """(B,): mean squared error of the network on its unit-variance target (Karras et al. 2022, eq. 8 with
        lambda = 1 / c_out^2).
        """
        s = broadcast_level(sigma, x0)
        x = x0 + s * noise
        out = self.net(*self.inputs(x, sigma, condition))[:, : x0.shape[1]]
        target = (x0 - self.path.c_skip(s) * x) / self.path.c_out(s)
        return (out - target).square().flatten(1).mean(1)


def untrained_prior(card: Card) -> Prior:
    """An untrained prior with the shapes that the card names; initialised from torch's current generator."""
    shape = UNetShape(
        in_channels=len(card.channels) + card.ndim + 1,
        out_channels=len(card.channels),
        widths=card.widths,
        blocks=card.blocks,
        ndim=card.ndim,
        n_labels=len(card.labels),
        n_numbers=len(card.numbers),
        doubt=card.doubt,
    )
    return Prior(UNet(shape), path_named(card.path, card.sigma_data), card)
