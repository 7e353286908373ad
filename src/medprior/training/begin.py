"""A network that begins with another one's weights: whole where shapes agree, the common corner where they
differ."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ..errors import BadOption

__all__ = ["begin_with"]


@torch.no_grad()
def begin_with(net: nn.Module, other: nn.Module) -> float:
    """Copy what fits of ``other`` into ``net``; gives the share of the numbers of ``net`` that were copied.

    A tensor of the same name and number of dimensions gives the corner that both have; the rest of ``net``
    stays as it was drawn. What names a class or a number (``label``, ``numbers``) is never copied: it means
    something else. Raises BadOption where nothing fits, as from a prior of volumes to one of slices.
    """
    given, copied, whole = other.state_dict(), 0, 0
    for name, own in net.state_dict().items():
        whole += own.numel()
        there = given.get(name)
        if there is None or there.ndim != own.ndim or name.startswith(("label.", "numbers.")):
            continue
        corner = tuple(slice(0, min(a, b)) for a, b in zip(own.shape, there.shape, strict=True))
        if name == "enter.weight" and own.shape[1] != there.shape[1]:
            continue  # channels of other images, and positions among them
        if own.ndim > 2 and own.shape[2:] != there.shape[2:]:
            continue
        part: Tensor = own[corner]
        part.copy_(there[corner])
        copied += part.numel()
    if not copied:
        raise BadOption(
            "begin_with: no weight of that prior fits this network", "choose a prior of the same ndim"
        )
    return copied / whole
