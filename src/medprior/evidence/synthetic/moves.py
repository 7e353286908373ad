"""The same picture, mirrored, turned, cut, shifted or made darker: what a copy audit must see through."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from ...data.affine import affine_places, resampled_at, turns
from ...errors import BadOption

__all__ = ["Move", "apply_move", "random_move", "views"]


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


def random_move(n: int, rng: torch.Generator) -> Move:
    """Half are mirrored; up to 12 degrees, a quarter cut away, a tenth shifted, gamma 0.6 to 1.7: wider than
    what the audit's control does.
    """
    u = torch.rand((n, 6), generator=rng)
    return Move(
        (u[:, 0] < 0.5).float(),
        24 * u[:, 1] - 12,
        0.25 * u[:, 2],
        0.2 * u[:, 3:5] - 0.1,
        1.7 ** (2 * u[:, 5] - 1),
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
