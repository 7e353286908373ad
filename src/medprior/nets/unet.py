"""The U-Net of the prior, in 2-D and 3-D.

Few channels at full resolution, widening as it descends; skips are added, not concatenated; GroupNorm, scaled
and shifted by the noise level (Karras et al. 2022, appendix F, slimmed down). Chosen by quality per
CPU-second: see docs/presets.md and bench/networks.py.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

__all__ = ["Featured", "UNet", "UNetShape"]


@dataclass(frozen=True, slots=True)
class UNetShape:
    """Everything that fixes the weights' shapes.

    in_channels: image and position channels together. out_channels: image channels. widths: channels at each
    resolution, finest first. blocks: residual blocks at each resolution, each way. doubt: also say how wrong
    each output voxel is likely to be (ln of its error's variance), in out_channels more channels. ndim: 2 or
    3. n_labels: classes that can be asked for. n_numbers: scalars that can be asked for (slice height, age).
    """

    in_channels: int
    out_channels: int
    widths: tuple[int, ...] = (16, 32, 64, 128)
    blocks: int = 2
    ndim: int = 2
    n_labels: int = 0
    n_numbers: int = 0
    embedding: int = 128
    doubt: bool = False


def _conv(ndim: int, n_in: int, n_out: int, kernel: int, stride: int = 1) -> nn.Conv2d | nn.Conv3d:
    kind = nn.Conv2d if ndim == 2 else nn.Conv3d
    return kind(n_in, n_out, kernel, stride=stride, padding=kernel // 2 if stride == 1 else 0)


def _silent(conv: nn.Conv2d | nn.Conv3d) -> nn.Conv2d | nn.Conv3d:
    """A convolution that gives 0 until it has learned."""
    nn.init.zeros_(conv.weight)
    if conv.bias is not None:
        nn.init.zeros_(conv.bias)
    return conv


def _groups(width: int) -> int:
    return math.gcd(width, max(1, width // 8))


def waves(values: Tensor, n: int) -> Tensor:
    """(B,) -> (B, n): cosines and sines of geometrically spaced frequencies, for values of about -2..2."""
    frequencies = torch.exp(torch.linspace(0.0, math.log(64.0), n // 2, device=values.device))
    angles = values.float()[:, None] * frequencies[None]
    return torch.cat([angles.cos(), angles.sin()], dim=1)


class Block(nn.Module):
    """norm, SiLU, conv, norm shifted by the embedding, SiLU, conv, plus the input."""

    def __init__(self, width: int, embedding: int, ndim: int) -> None:
        super().__init__()
        self.norm1 = nn.GroupNorm(_groups(width), width)
        self.conv1 = _conv(ndim, width, width, 3)
        self.modulate = nn.Linear(embedding, 2 * width)
        self.norm2 = nn.GroupNorm(_groups(width), width)
        self.conv2 = _silent(_conv(ndim, width, width, 3))  # a block starts as the identity

    def forward(self, x: Tensor, embedding: Tensor) -> Tensor:
        scale, shift = self.modulate(embedding).reshape(x.shape[0], -1, *[1] * (x.ndim - 2)).chunk(2, dim=1)
        h = self.conv1(F.silu(self.norm1(x), inplace=not torch.is_grad_enabled()))
        h = torch.addcmul(shift, self.norm2(h), 1 + scale)
        return x + self.conv2(F.silu(h, inplace=not torch.is_grad_enabled()))


class Blocks(nn.ModuleList):
    """Residual blocks of one resolution, one after the other."""

    def forward(self, x: Tensor, embedding: Tensor) -> Tensor:
        for block in self:
            x = block(x, embedding)
        return x


class Featured(nn.Module):
    """A network that shows what it knows inside."""

    def features(
        self,
        x: Tensor,
        noise: Tensor,
        label: Tensor | None = None,
        numbers: Tensor | None = None,
        *,
        upward: bool = False,
    ) -> list[Tensor]:
        """Inputs as of ``forward``; features at each resolution on the way down, finest first: [(B, width, i,
        j[, k]), ...]. upward: those of the way up follow, coarsest first.
        """
        raise NotImplementedError


class UNet(Featured):
    """(B, in_channels, i, j[, k]) and a noise embedding input (B,) -> (B, out_channels, i, j[, k]).

    Any spatial size: the input is padded by reflection to a multiple of ``stride`` and the output cropped
    back. label: (B,) int64, -1 where unknown. numbers: (B, n_numbers), NaN where unknown.
    """

    def __init__(self, shape: UNetShape) -> None:
        super().__init__()
        self.shape = shape
        widths, ndim, width = shape.widths, shape.ndim, shape.embedding
        self.stride = 2 ** (len(widths) - 1)
        self.embed = nn.Sequential(nn.Linear(width, width), nn.SiLU(), nn.Linear(width, width), nn.SiLU())
        # drawn as nn.Embedding draws it, whose own way imports a compiler where the network has no memory yet
        drawn = torch.randn(shape.n_labels + 1, width) if shape.n_labels else None
        self.label = None if drawn is None else nn.Embedding(len(drawn), width, _weight=drawn)
        self.numbers = nn.Linear(shape.n_numbers * 33, width) if shape.n_numbers else None
        self.enter = _conv(ndim, shape.in_channels, widths[0], 3)
        self.descend = nn.ModuleList(
            Blocks(Block(w, width, ndim) for _ in range(shape.blocks)) for w in widths
        )
        self.shrink = nn.ModuleList(
            _conv(ndim, a, b, 2, stride=2) for a, b in zip(widths, widths[1:], strict=False)
        )
        self.ascend = nn.ModuleList(
            Blocks(Block(w, width, ndim) for _ in range(shape.blocks)) for w in widths[:-1]
        )
        self.grow = nn.ModuleList(_conv(ndim, b, a, 1) for a, b in zip(widths, widths[1:], strict=False))
        # silent: the first guess is the path's own skip, and as wrong as its unit-variance target is large
        # (ln 1)
        last = _silent(_conv(ndim, widths[0], shape.out_channels, 3))
        self.leave = nn.Sequential(nn.GroupNorm(_groups(widths[0]), widths[0]), nn.SiLU(), last)
        self.doubt = _silent(_conv(ndim, widths[0], shape.out_channels, 3)) if shape.doubt else None

    def forward(
        self, x: Tensor, noise: Tensor, label: Tensor | None = None, numbers: Tensor | None = None
    ) -> Tensor:
        size = x.shape[2:]
        kept, embedding = self._down(x, noise, label, numbers)
        x = kept[-1]
        for level in reversed(range(len(self.ascend))):
            x = self._rise(level, x, kept[level], embedding)
        hidden = self.leave[1](self.leave[0](x))
        out = self.leave[2](hidden)
        if self.doubt is not None:
            out = torch.cat([out, self.doubt(hidden)], dim=1)
        return out[(slice(None), slice(None), *(slice(0, n) for n in size))]

    def features(
        self,
        x: Tensor,
        noise: Tensor,
        label: Tensor | None = None,
        numbers: Tensor | None = None,
        *,
        upward: bool = False,
    ) -> list[Tensor]:
        """[(B, widths[l], i / 2**l, ...), ...], the sides padded to a multiple of ``stride``."""
        kept, embedding = self._down(x, noise, label, numbers)
        found = list(kept)
        for level in reversed(range(len(self.ascend))) if upward else ():
            found.append(self._rise(level, found[-1], kept[level], embedding))
        return found

    def _down(
        self, x: Tensor, noise: Tensor, label: Tensor | None, numbers: Tensor | None
    ) -> tuple[list[Tensor], Tensor]:
        """What each resolution knows, finest first, and the embedding."""
        x = self._padded(x)
        embedding = self.embed(self._condition(noise, label, numbers).to(x.dtype))
        x, kept = self.enter(x), []
        for level, blocks in enumerate(self.descend):
            x = blocks(x, embedding)
            kept.append(x)
            if level < len(self.shrink):
                x = self.shrink[level](x)
        return kept, embedding

    def _rise(self, level: int, x: Tensor, skip: Tensor, embedding: Tensor) -> Tensor:
        """From one resolution to the next finer one."""
        x = skip + F.interpolate(self.grow[level](x), scale_factor=2.0, mode="nearest")
        return self.ascend[level](x, embedding)

    def _condition(self, noise: Tensor, label: Tensor | None, numbers: Tensor | None) -> Tensor:
        embedding = waves(noise, self.shape.embedding)
        if self.label is not None:
            unknown = self.shape.n_labels
            label = (
                torch.full_like(noise, unknown, dtype=torch.long)
                if label is None
                else torch.where(label < 0, unknown, label)
            )
            embedding = embedding + self.label(label)
        if self.numbers is not None:
            if numbers is None:
                numbers = torch.full((len(noise), self.shape.n_numbers), torch.nan, device=noise.device)
            known = numbers.isfinite()
            angles = waves(torch.where(known, numbers, 0.0).flatten(), 32).reshape(*numbers.shape, 32)
            parts = torch.cat([angles * known[..., None], known[..., None].float()], dim=-1)
            embedding = embedding + self.numbers(parts.flatten(1))
        return embedding

    def _padded(self, x: Tensor) -> Tensor:
        missing = [-n % self.stride for n in x.shape[2:]]
        if not any(missing):
            return x
        pads = [p for m in reversed(missing) for p in (0, m)]
        reflect = all(m < n for m, n in zip(missing, x.shape[2:], strict=True))
        return F.pad(x, pads, mode="reflect" if reflect else "replicate")
