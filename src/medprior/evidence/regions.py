"""How well a map finds the regions that somebody has drawn: overlap at one threshold, at all of them, and for
each region alike.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from ..errors import BadOption, ShapeMismatch

__all__ = ["best_dice", "dice", "pro"]

_THRESHOLDS = 200


def dice(found: ArrayLike, truth: ArrayLike) -> float:
    """2 |found and truth| / (|found| + |truth|) of two bool arrays of one shape; 1 where both are empty.

    Source: Dice, Ecology 26(3), 1945. Raises ShapeMismatch, BadOption for what is not bool.
    """
    a, b = np.asarray(found), np.asarray(truth)
    if a.shape != b.shape:
        raise ShapeMismatch("dice, found", b.shape, a.shape)
    if a.dtype != np.bool_ or b.dtype != np.bool_:
        raise BadOption(
            f"dice: wanted two bool arrays, got {a.dtype} and {b.dtype}",
            "compare the map with a threshold first",
        )
    whole = int(a.sum()) + int(b.sum())
    return 2 * int((a & b).sum()) / whole if whole else 1.0


def best_dice(values: ArrayLike, truth: ArrayLike) -> float:
    """The highest ``dice`` that any threshold on values reaches: an oracle, because it was chosen with the
    truth in hand. Never a promise about new scans.

    values: any shape, higher is more suspicious; truth: bool, the same shape; found is values >= threshold.
    For one threshold over many scans join them into one array. 1 where nothing is to be found: a threshold
    above all values finds that. Source: "best possible Dice", Baur et al., Med. Image Anal. 69, 2021. Raises
    ShapeMismatch, BadOption for a truth that is not bool or values that are not finite.
    """
    v, t = _checked("best_dice", values, truth)
    if t.dtype != np.bool_:
        raise BadOption(f"best_dice: wanted a bool truth, got {t.dtype}")
    v, t = v.ravel(), t.ravel()
    if not t.any():
        return 1.0
    order = np.argsort(-v, kind="stable")
    last = np.append(np.flatnonzero(np.diff(v[order])), len(v) - 1)  # equal values share one threshold
    hits = np.cumsum(t[order])[last]
    return float((2 * hits / (last + 1 + t.sum())).max())


def pro(
    values: ArrayLike, regions: ArrayLike, most_false: float = 0.3, *, body: ArrayLike | None = None
) -> float:
    """Per-region overlap: the mean over regions of the share that is found, integrated over the
    false-positive rate from 0 to most_false, over most_false.

    values: any shape, higher is more suspicious; regions: int, the same shape, 0 is healthy and each other
    number one region, however small; body: bool, healthy voxels outside of it do not count. For many scans
    join them into one array and give each region a number of its own. 1 is perfect, and values that know
    nothing have most_false / 2. At most 200 thresholds, evenly spread over the rate; between them the curve
    is a straight line. Source: Bergmann et al., CVPR 2020. Raises ShapeMismatch, BadOption for no region, no
    healthy voxel, values that are not finite or another most_false.
    """
    v, r = _checked("pro", values, regions)
    inside = np.ones(r.shape, dtype=bool) if body is None else np.asarray(body)
    if inside.shape != r.shape:
        raise ShapeMismatch("pro, body", r.shape, inside.shape)
    if not np.issubdtype(r.dtype, np.integer) or inside.dtype != np.bool_ or not 0 < most_false <= 1:
        raise BadOption(
            f"pro: wanted int regions, a bool body and 0 < most_false <= 1, got {r.dtype}, {inside.dtype} "
            f"and {most_false}"
        )
    healthy = np.sort(v[(r == 0) & inside])[::-1]
    sick, number = np.unique(r[r != 0], return_inverse=True)
    if not len(healthy) or not len(sick):
        raise BadOption(
            f"pro: wanted at least one region and one healthy voxel, got {len(sick)} and {len(healthy)}"
        )
    thresholds = _thresholds(healthy, most_false)
    weight = 1.0 / (len(sick) * np.bincount(number))[number]  # each region counts as much as any other
    rate = _steps(healthy, np.full(len(healthy), 1.0 / len(healthy)), thresholds)
    overlap = _steps(v[r != 0], weight, thresholds)
    return _area(rate, overlap, most_false)


def _thresholds(healthy: np.ndarray, most_false: float) -> np.ndarray:
    """Healthy values (sorted, falling), so chosen that the rate of healthy voxels at or above them runs
    evenly from the first one to most_false or past it.
    """
    last = min(int(np.ceil(most_false * len(healthy))), len(healthy)) - 1
    return np.unique(
        healthy[np.linspace(0, max(last, 0), min(_THRESHOLDS, len(healthy))).round().astype(int)]
    )[::-1]


def _steps(values: np.ndarray, weight: np.ndarray, thresholds: np.ndarray) -> np.ndarray:
    """(1 + 2 t,): weight of all values above, then at or above, each of t falling thresholds, and 0 first.
    Both: voxels that tie are found together.
    """
    rising = thresholds[::-1]
    n = len(rising)
    above, from_on = (
        np.bincount(np.searchsorted(rising, values, side=side), weight, n + 1)[::-1].cumsum()[:n]
        for side in ("left", "right")
    )
    return np.concatenate([[0.0], np.stack([above, from_on], axis=1).ravel()])


def _area(rate: np.ndarray, overlap: np.ndarray, most_false: float) -> float:
    """Under the curve by trapezia from 0 to most_false, over most_false; what lies beyond is cut on the
    straight line to it.
    """
    end = float(np.interp(most_false, rate, overlap))
    within = rate <= most_false
    x, y = np.append(rate[within], most_false), np.append(overlap[within], end)
    return float(np.trapezoid(y, x) / most_false)


def _checked(who: str, values: ArrayLike, truth: ArrayLike) -> tuple[np.ndarray, np.ndarray]:
    v, t = np.asarray(values), np.asarray(truth)
    if v.shape != t.shape:
        raise ShapeMismatch(f"{who}, values", t.shape, v.shape)
    if not v.size or not np.isfinite(v).all():
        raise BadOption(
            f"{who}: wanted finite values, got {'none' if not v.size else 'NaN or infinity among them'}"
        )
    return v, t
