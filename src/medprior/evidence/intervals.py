"""Intervals whose unit is the patient: images of one patient are not independent.

All are meant to cover at 4 patients, too; ``tests/unit/evidence/test_intervals.py`` shows it by simulation.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import cast

import numpy as np
import scipy  # its parts are loaded when they are first used
from numpy.typing import ArrayLike

from ..errors import BadOption
from ..prior.promises import Estimate
from .metrics import auroc

__all__ = ["Estimate", "clopper_pearson", "difference_of_shares", "interval", "intraclass_correlation"]


def clopper_pearson(hits: int, n: int, level: float = 0.95) -> Estimate:
    """Exact binomial interval of a share, hits of n independent trials (Clopper and Pearson, Biometrika 26,
    1934).
    """
    if not 0 <= hits <= n or n < 1 or not 0 < level < 1:
        raise BadOption(
            f"clopper_pearson: wanted 0 <= hits <= n, n >= 1 and a level between 0 and 1, got {hits}, {n}, "
            f"{level}"
        )
    found = scipy.stats.binomtest(hits, n).proportion_ci(level, method="exact")
    return Estimate(hits / n, float(found.low), float(found.high), level, n)


def difference_of_shares(hits: int, n: int, other_hits: int, other_n: int, level: float = 0.95) -> Estimate:
    """hits / n - other_hits / other_n of independent trials; it stays valid for a share of 0 or 1, where a
    bootstrap would be too narrow.

    n of the interval: all trials. Source: Newcombe, Stat. Med. 17, 1998, method 10 (the score intervals of
    Wilson, squared and added).
    """
    if not 0 <= hits <= n or not 0 <= other_hits <= other_n or not n or not other_n or not 0 < level < 1:
        raise BadOption(
            f"difference_of_shares: wanted 0 <= hits <= n twice and a level between 0 and 1, got {hits}, "
            f"{n}, {other_hits}, {other_n}, {level}"
        )
    (one, other), (own, its) = (
        (hits / n, other_hits / other_n),
        (_wilson(hits, n, level), _wilson(other_hits, other_n, level)),
    )
    low = one - other - float(np.hypot(one - own[0], its[1] - other))
    high = one - other + float(np.hypot(own[1] - one, other - its[0]))
    return Estimate(one - other, low, high, level, n + other_n)


def _wilson(hits: int, n: int, level: float) -> tuple[float, float]:
    found = scipy.stats.binomtest(hits, n).proportion_ci(level, method="wilson")
    return float(found.low), float(found.high)


def interval(
    statistic: Callable[..., float],
    *columns: ArrayLike,
    patients: Sequence[object],
    strata: Sequence[object] | None = None,
    level: float = 0.95,
) -> Estimate:
    """Interval of ``statistic(*columns)`` for new patients, by leaving out one patient at a time.

    columns: arrays (n, ...), one row an image; patients: (n,) whose image it is; strata: (n,) kind of each
    patient (e.g. the label), within which patients are left out: needed for ``auroc``. n of the interval:
    patients.

    A t interval with the delete-one-patient variance: for a mean of equally many images a patient it is the t
    interval of the patients' means. It holds for smooth statistics (means, differences, slopes), not for a
    median. ``auroc`` gets the score interval of Newcombe (Stat. Med. 25, 2006, method 5) with as many cases
    as patients, which covers near 1 and at 4 patients a class, too. Sources: Efron and Stein, Ann. Stat. 9,
    1981; degrees of freedom: Satterthwaite, Biometrics 2, 1946.

    Raises BadOption for fewer than two patients of a kind, a patient in two strata, or columns of unequal
    length.
    """
    data = [np.asarray(c) for c in columns]
    n = len(patients)
    kinds: list[object] = ["all"] * n if strata is None else list(strata)
    if not data or any(len(c) != n for c in data) or len(kinds) != n or not 0 < level < 1:
        raise BadOption(
            f"interval: wanted columns as long as patients ({n}) and a level between 0 and 1, got "
            f"{[len(c) for c in data]} and {level}"
        )
    groups = _patients(list(patients), kinds)
    value, count = float(statistic(*data)), sum(map(len, groups))
    if statistic is auroc:
        if len(groups) != 2:
            raise BadOption("interval: auroc needs the labels as strata")
        return Estimate(value, *_of_auroc(value, *map(len, groups), level=level), level, count)
    parts = [_jackknife(statistic, data, group) for group in groups]
    variance = sum(parts)
    if variance == 0 and set(np.unique(data[0])) <= {0, 1} and value in (0, 1):
        return clopper_pearson(int(value) * count, count, level)  # a share of which nothing varied
    if variance == 0:
        return Estimate(value, value, value, level, count)
    freedom = variance**2 / sum(v**2 / (len(g) - 1) for v, g in zip(parts, groups, strict=True))
    half = float(scipy.stats.t.ppf((1 + level) / 2, freedom)) * variance**0.5
    return Estimate(value, value - half, value + half, level, count)


def _patients(patients: list[object], kinds: list[object]) -> list[list[np.ndarray]]:
    """For each stratum, for each patient in it, the rows of that patient."""
    rows: dict[object, list[int]] = {}
    for at, who in enumerate(patients):
        rows.setdefault(who, []).append(at)
    groups: dict[object, list[np.ndarray]] = {}
    for at in rows.values():
        if len({kinds[i] for i in at}) > 1:
            raise BadOption(
                "interval: wanted each patient in one stratum, got one in several",
                "give the stratum of the patient, not of the image",
            )
        groups.setdefault(kinds[at[0]], []).append(np.asarray(at))
    if any(len(g) < 2 for g in groups.values()):
        raise BadOption(
            "interval: wanted at least two patients of each kind, got one",
            "an interval of one patient says nothing about the next",
        )
    return list(groups.values())


def intraclass_correlation(values: ArrayLike, patients: Sequence[object]) -> float | None:
    """How alike the scans of a patient are: the share of the variance of ``values`` (n,) that lies between
    patients, 0 to 1. None for fewer than two patients, or where none has two scans.

    Source: ICC(1,1) of the one-way analysis of variance, Shrout and Fleiss, Psychol. Bull. 86, 1979; unequal
    numbers of scans as in Donner, Int. Stat. Rev. 54, 1986.
    """
    x, names = (
        np.asarray(values, dtype=np.float64),
        {who: at for at, who in enumerate(dict.fromkeys(patients))},
    )
    at = np.array([names[who] for who in patients])
    count = np.bincount(at)
    k, n = len(count), len(x)
    if k < 2 or n == k:
        return None
    means = np.bincount(at, weights=x) / count
    between = float((count * (means - x.mean()) ** 2).sum()) / (k - 1)
    within = float(((x - means[at]) ** 2).sum()) / (n - k)
    size = (n - float((count**2).sum()) / n) / (k - 1)
    spread = between + (size - 1) * within
    return max(0.0, (between - within) / spread) if spread > 0 else 0.0


def _jackknife(statistic: Callable[..., float], data: list[np.ndarray], group: list[np.ndarray]) -> float:
    """Variance of the statistic from leaving out each patient of one stratum."""
    without = [float(statistic(*[np.delete(c, rows, axis=0) for c in data])) for rows in group]
    return (len(group) - 1) * float(np.var(without))


def _of_auroc(area: float, n: int, m: int, *, level: float) -> tuple[float, float]:
    """The areas that the score test does not reject; n, m: cases of each class (Newcombe 2006, method 5)."""
    z, middle = float(scipy.stats.norm.ppf((1 + level) / 2)), (n + m) / 2 - 1

    def beyond(true: float) -> float:
        shape = 1 + middle * ((1 - true) / (2 - true) + true / (1 + true))
        return abs(area - true) - z * (true * (1 - true) * shape / (n * m)) ** 0.5

    def root(low: float, high: float) -> float:
        return float(cast(float, scipy.optimize.brentq(beyond, low, high)))

    tiny = 1e-9
    low = root(tiny, area - tiny) if area > 2 * tiny else 0.0
    return low, root(area + tiny, 1 - tiny) if area < 1 - 2 * tiny else 1.0
