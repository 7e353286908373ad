"""The same picture, mirrored, turned, cut, shifted or made darker: what a copy audit must see through."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from ...data.affine import affine_places, resampled_at, turns
from ...errors import BadOption

__all__ = ["Move", "apply_move", "views", "warped"]


@dataclass(frozen=True, slots=True)
class Move:
    """One row a picture, each (n,). flip: left for right, 0 or 1. turn: degrees. crop: share of each side cut
    away in all, the rest enlarged to the old size. shift: (n, 2), rows and columns, as a share of the side.
    gamma: exponent of the grey from black to white."""

    flip: Tensor
    turn: Tensor
    crop: Tensor
    shift: Tensor
    gamma: Tensor

    @classmethod
    def of(
        cls,
        n: int,
        *,
        flip: bool = False,
        turn: float = 0.0,
        crop: float = 0.0,
        shift: tuple[float, float] = (0.0, 0.0),
        gamma: float = 1.0,
    ) -> Move:
        """The same move for n pictures."""
        return cls(
            torch.full((n,), float(flip)),
            torch.full((n,), turn),
            torch.full((n,), crop),
            torch.tensor([shift] * n),
            torch.full((n,), gamma),
        )


def apply_move(images: Tensor, move: Move) -> Tensor:
    """(n, C, i, j) in network units -> the same shape, bilinear; what lies outside repeats the border. Raises
    BadOption unless there is a row an image.
    """
    n = len(images)
    if images.ndim != 4 or any(
        len(t) != n for t in (move.flip, move.turn, move.crop, move.shift, move.gamma)
    ):
        raise BadOption(
            f"moved: wanted images (n, C, i, j) and a move for each, got {tuple(images.shape)} and "
            f"{len(move.flip)}"
        )
    matrix = (1 - move.crop)[:, None, None] * turns(-torch.deg2rad(move.turn))
    matrix[:, :, 1] *= (1 - 2 * move.flip)[:, None]
    places = affine_places(matrix.to(images), move.shift.to(images), images.shape[2:])
    found = resampled_at(images, places, mode="linear", beyond="border")
    power = move.gamma.to(images)[:, None, None, None]
    return 2 * ((found + 1) / 2).clamp(0, 1) ** power - 1


def views(image: Tensor, side: int) -> Tensor:
    """(C, i, j) or (C, i, j, k) -> (C or 3 C, side, side): the picture at that size, or a volume's three
    middle planes; averaged where it shrinks.
    """
    if image.ndim == 4:
        a, b, c = (n // 2 for n in image.shape[1:])
        planes = [image[:, a], image[:, :, b], image[..., c]]
    else:
        planes = [image]
    fit = [
        F.interpolate(p[None].float(), (side, side), mode="bilinear", align_corners=False, antialias=True)[0]
        for p in planes
    ]
    return torch.cat(fit)


def warped(images: Tensor, amount: float, rng: torch.Generator) -> Tensor:
    """(n, C, i, j) bent smoothly, each in its own way, by at most ``amount`` of the side."""
    n, size = len(images), images.shape[2:]
    bend = F.interpolate(torch.randn((n, 2, 4, 4), generator=rng), size, mode="bicubic", align_corners=True)
    bend = 2 * amount * bend / bend.flatten(1).abs().amax(1)[:, None, None, None]
    places = affine_places(torch.eye(2).expand(n, 2, 2), torch.zeros(n, 2), size)
    return resampled_at(images, places + bend.movedim(1, -1), mode="linear", beyond="border")
