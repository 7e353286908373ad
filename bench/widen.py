"""A wider network that begins as the narrow one it grew from."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from medprior.errors import BadOption
from medprior.nets import UNet

__all__ = ["widened"]


def widened(net: UNet, widths: tuple[int, ...]) -> UNet:
    """A U-Net of ``widths`` that gives the same output as ``net``, so that what was learned cheaply is kept
    (Net2Net, arXiv 1511.05641).

    The old channels do not hear the new ones until they learn to; the new ones are initialised as in any new
    network. Normalisation is over groups of 8 channels, so whole new groups leave the old statistics as they
    are. Raises BadOption unless each width is at least the old one and both are multiples of 8.
    """
    old = net.shape.widths
    if len(widths) != len(old) or any(
        new < was or new % 8 or was % 8 for new, was in zip(widths, old, strict=True)
    ):
        raise BadOption(f"widths: wanted {len(old)} multiples of 8, none below {old}, got {widths}")
    wide = UNet(replace(net.shape, widths=widths))
    known = net.state_dict()
    wide.load_state_dict(
        {name: _placed(name, known[name], fresh) for name, fresh in wide.state_dict().items()}
    )
    return wide


def _placed(name: str, was: Tensor, fresh: Tensor) -> Tensor:
    if ".modulate." in name:  # scale and shift lie one behind the other
        return torch.cat([_corner(a, b) for a, b in zip(was.chunk(2), fresh.chunk(2), strict=True)])
    return _corner(was, fresh)


def _corner(was: Tensor, fresh: Tensor) -> Tensor:
    out = fresh.clone()
    if was.ndim > 1:
        out[: len(was)] = 0
        out[: was.shape[0], : was.shape[1]] = was
    else:
        out[: len(was)] = was
    return out
