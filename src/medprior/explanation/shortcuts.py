"""What a model goes by over many scans: the places whose repainting turns its answers, by name.

A marker in a corner, a tube or a border that decides the answer is a shortcut (DeGrave et al., Nature Machine
Intelligence 3, 2021). Painting the place out of every scan proves it, and so does moving it into others.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.ndimage import label
from torch import Tensor

from ..errors import BadOption, ShapeMismatch
from ..prior.promises import Estimate
from .attribution import Infill, Occluded
from .latent import Likelihood

__all__ = ["MeanInterval", "ScanAnswer", "UsedPlace", "used_place"]

_EDGE = 0.2
"""Share of the side that counts as the border of the scan."""

_SMALL = 0.15
"""A place that is suspected has at most this share of the area."""

_CERTAIN = 1e-4
"""Probabilities are taken to lie so far from 0 and 1, so that log odds are finite."""

_LEAST = 5

MeanInterval: TypeAlias = Callable[[NDArray[np.float64]], Estimate]
Effect: TypeAlias = Callable[[Tensor], tuple[NDArray[np.float64], NDArray[np.bool_]]]


@dataclass(frozen=True, slots=True)
class ScanAnswer:
    """One scan: its windows that were painted out, how to paint, and how likely its answer is."""

    windows: Occluded
    infill: Infill
    likelihood: Likelihood


@dataclass(frozen=True, slots=True)
class OtherScan:
    """A scan (1, C, i, j[, k]) with another answer, and how likely the model thinks this one."""

    scan: Tensor
    likelihood: Likelihood


@dataclass(frozen=True, slots=True, eq=False)
class UsedPlace:
    """The place that a model's answers depend on most. where: (i, j[, k]) bool. name: in words. turned: share
    of the answers that turn when it is painted out, or moved in. elsewhere: the same for its mirror images in
    the scan. falls: of each scan, the log odds that its answer loses, less those that it loses with the
    mirror image that counts most. fall: their mean. n: scans.
    """

    where: Tensor
    name: str
    turned: float
    elsewhere: float
    falls: NDArray[np.float64]
    fall: Estimate

    @property
    def n(self) -> int:
        return len(self.falls)

    @property
    def suspect(self) -> bool:
        """A small place at the border matters more than its mirror images, by interval.

        A model that sees the disease, too, keeps its answer without the marker. So the odds decide, not the
        answers that turn.
        """
        small = float(self.where.float().mean()) <= _SMALL
        return small and self.name != "inside" and self.fall.low > 0


def used_place(scans: Sequence[ScanAnswer], mean_of: MeanInterval) -> UsedPlace:
    """The windows whose repainting lowers the log odds of the answer most, in the mean over scans, and what
    painting them out of each scan does. All scans have one size. mean_of: (n,) numbers, one a scan ->
    their mean with its interval for new patients.

    Raises BadOption for fewer than 5 scans, ShapeMismatch for several sizes.
    """
    if len(scans) < _LEAST:
        raise BadOption(f"shortcuts: wanted at least {_LEAST} scans of one answer, got {len(scans)}")
    sizes = {tuple(one.windows.scan.shape[2:]) for one in scans}
    if len(sizes) > 1:
        raise ShapeMismatch("shortcuts", "scans of one size", sorted(sizes))
    where = _around_peak(
        torch.stack([one.windows.importance(log_odds(one.likelihood)) for one in scans]).mean(0)
    )
    return _beside_its_mirror_images(where, lambda free: _painted_out(scans, free), mean_of)


def moved_place(scans: Sequence[ScanAnswer], others: Sequence[OtherScan], mean_of: MeanInterval) -> UsedPlace:
    """The windows that turn scans with another answer most, if they are moved into these from scans with this
    answer. A model that sees the disease keeps its answer without the marker; moved into a healthy scan, the
    marker shows. What the cut itself does is taken off: that of a window from another scan of their own
    answer. mean_of: as of ``used_place``, for ``others``.

    Raises BadOption for fewer than 5 of either, ShapeMismatch for several sizes.
    """
    if min(len(scans), len(others)) < _LEAST:
        raise BadOption(
            f"shortcuts: wanted at least {_LEAST} scans of each answer, got {len(scans)} and {len(others)}"
        )
    sizes = {tuple(one.shape[2:]) for one in (*(s.windows.scan for s in scans), *(o.scan for o in others))}
    if len(sizes) > 1:
        raise ShapeMismatch("shortcuts", "scans of one size", sorted(sizes))
    windows = scans[0].windows.free
    rise = torch.from_numpy(_moved_in(scans, others, windows)[0].mean(0)).float()
    each = rise.reshape(-1, *[1] * (windows.ndim - 2)) * windows[:, 0]
    where = _around_peak(each.sum(0) / windows[:, 0].sum(0).clamp_min(1))

    def effect(free: Tensor) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
        rises, turned = _moved_in(scans, others, free)
        return rises[:, 0], turned[:, 0]

    return _beside_its_mirror_images(where, effect, mean_of)


def _beside_its_mirror_images(where: Tensor, effect: Effect, mean_of: MeanInterval) -> UsedPlace:
    places = [where, *(one for one in _mirrored(where) if not bool((one & where).any()))]
    own, *rest = [effect(one.float()[None, None]) for one in places]
    most = np.max([fall for fall, _ in rest], axis=0) if rest else np.zeros(len(own[0]))
    return UsedPlace(
        where,
        place_name(where),
        float(own[1].mean()),
        float(np.mean([turned for _, turned in rest])) if rest else 0.0,
        own[0] - most,
        mean_of(own[0] - most),
    )


def log_odds(likelihood: Likelihood) -> Likelihood:
    """Log odds in place of probabilities: they do not saturate where a model is sure."""
    return lambda images: likelihood(images).clamp(_CERTAIN, 1 - _CERTAIN).logit()


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


def _mirrored(where: Tensor) -> list[Tensor]:
    """(i, j[, k]) turned over along each set of axes."""
    axes = range(where.ndim)
    return [where.flip(some) for n in range(1, where.ndim + 1) for some in combinations(axes, n)]


def _painted_out(scans: Sequence[ScanAnswer], free: Tensor) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """(n,) log odds lost with a place (1, 1, i, j[, k]) painted out of each scan, and whether its answer is
    then below half.
    """
    fall, turned = list[float](), list[bool]()
    for one in scans:
        odds = log_odds(one.likelihood)
        left = float(odds(one.infill(free))[0])
        fall.append(float(odds(one.windows.scan)[0]) - left)
        turned.append(left < 0)
    return np.array(fall), np.array(turned)


def _moved_in(
    scans: Sequence[ScanAnswer], others: Sequence[OtherScan], free: Tensor
) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """(n, B) log odds of this answer that places (B, 1, i, j[, k]) bring into each of the others, and whether
    only they turn it.
    """
    rises, turned = [], []
    for n, one in enumerate(others):
        odds, own = log_odds(one.likelihood), others[(n + 1) % len(others)].scan
        moved, control = (
            odds(one.scan + free * (donor - one.scan)) for donor in (scans[n % len(scans)].windows.scan, own)
        )
        rises.append((moved - control).double().numpy())
        turned.append(((moved > 0) & (control <= 0)).numpy())
    return np.stack(rises), np.stack(turned)
