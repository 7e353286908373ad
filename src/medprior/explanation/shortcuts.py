"""What a model goes by over many scans: the places whose repainting turns its answers, by name.

A marker in a corner, a tube or a border that decides the answer is a shortcut (DeGrave et al., Nature Machine
Intelligence 3, 2021). Painting the place out of every scan proves it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.ndimage import label
from torch import Tensor

from ..errors import BadOption, ShapeMismatch
from .attribution import Infill, Occluded
from .latent import Likelihood

__all__ = ["ScanAnswer", "UsedPlace", "used_place"]

_EDGE = 0.2
"""Share of the side that counts as the border of the scan."""

_SUSPECT, _SMALL = 0.25, 0.15
"""A place at the border, at most _SMALL of the area, is suspected if painting it out turns _SUSPECT of the
answers.
"""

_LEAST = 5


@dataclass(frozen=True, slots=True)
class ScanAnswer:
    """One scan: its windows that were painted out, how to paint, and how likely its answer is."""

    windows: Occluded
    infill: Infill
    likelihood: Likelihood


@dataclass(frozen=True, slots=True)
class UsedPlace:
    """The place that a model's answers depend on most. where: (i, j[, k]) bool. name: in words. turned: share
    of the answers that turn when it is painted out. elsewhere: the same for its mirror images in the scan.
    n: scans.
    """

    where: Tensor
    name: str
    turned: float
    elsewhere: float
    n: int

    @property
    def suspect(self) -> bool:
        """A small place at the border turns many answers, and its mirror images do not."""
        small = float(self.where.float().mean()) <= _SMALL
        return small and self.name != "inside" and self.turned >= max(_SUSPECT, 2 * self.elsewhere)


def used_place(scans: Sequence[ScanAnswer]) -> UsedPlace:
    """The windows whose repainting lowers the answer most, in the mean over scans, and what painting them out
    of each scan does. All scans have one size.

    Raises BadOption for fewer than 5 scans, ShapeMismatch for several sizes.
    """
    if len(scans) < _LEAST:
        raise BadOption(f"shortcuts: wanted at least {_LEAST} scans of one answer, got {len(scans)}")
    sizes = {tuple(one.windows.scan.shape[2:]) for one in scans}
    if len(sizes) > 1:
        raise ShapeMismatch("shortcuts", "scans of one size", sorted(sizes))
    mean = torch.stack([one.windows.importance(one.likelihood) for one in scans]).mean(0)
    where = _around_peak(mean)
    mirrored = [where.flip(axis) for axis in range(where.ndim)]
    others = [one for one in mirrored if not bool((one & where).any())]
    elsewhere = [_turned(scans, one) for one in others]
    return UsedPlace(
        where, place_name(where), _turned(scans, where), sum(elsewhere) / max(1, len(elsewhere)), len(scans)
    )


def place_name(where: Tensor) -> str:
    """ "top left corner", "left border", "inside"; rows go down, columns to the right."""
    centre = [
        float(at.float().mean() + 0.5) / n for at, n in zip(where.nonzero().T, where.shape, strict=True)
    ]
    words = [("top", "bottom"), ("left", "right"), ("first slices", "last slices")]
    found = [
        pair[0] if at < _EDGE else pair[1]
        for at, pair in zip(centre, words, strict=False)
        if at < _EDGE or at > 1 - _EDGE
    ]
    return f"{' '.join(found)} {'corner' if len(found) > 1 else 'border'}" if found else "inside"


def _around_peak(mean: Tensor) -> Tensor:
    """The connected places of at least half of the peak, around it."""
    labels: NDArray[np.int32] = np.asarray(label((mean >= mean.max() / 2).numpy(), output=np.int32)[0])  # type: ignore[index]
    return torch.from_numpy(labels == labels.flat[int(mean.argmax())])


def _turned(scans: Sequence[ScanAnswer], where: Tensor) -> float:
    """Share of the scans whose answer falls below one half when a place is painted out."""
    free = where.float()[None, None]
    return sum(float(one.likelihood(one.infill(free))[0]) < 0.5 for one in scans) / len(scans)
