"""Is one way of training better than another? Paired over seeds and over patients: both are drawn by chance,
and an interval must know both.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import scipy  # its parts are loaded when they are first used
from numpy.typing import ArrayLike

from ..errors import BadOption
from .intervals import Estimate

__all__ = ["SeedScores", "auroc_scores", "mean_scores", "paired_gain"]


@dataclass(frozen=True, slots=True, eq=False)
class SeedScores:
    """One trained network on one set of scans. value: of the metric. parts: (n,) how far each scan pulls it
    from its mean; they add to 0 (influence / n).
    """

    value: float
    parts: np.ndarray


def auroc_scores(probabilities: ArrayLike, labels: ArrayLike) -> SeedScores:
    """Area under the ROC curve; of three and more labels the mean over labels of each against the rest.
    probabilities: (n, K); labels: (n,) 0 to K - 1.

    The parts are DeLong's placement values, ties counting half. Source: DeLong, DeLong and Clarke-Pearson,
    Biometrics 44, 1988; their clustering in ``paired_gain``: Obuchowski, Biometrics 53, 1997. Raises
    BadOption where fewer than two labels are there.
    """
    p, y = np.asarray(probabilities, dtype=np.float64), np.asarray(labels)
    if p.ndim != 2 or y.shape != (len(p),) or not np.isfinite(p).all():
        raise BadOption(
            f"auroc: wanted finite probabilities (n, K) and labels (n,), got shapes {p.shape} and {y.shape}, "
            "or numbers that are not finite"
        )
    kinds = [k for k in range(p.shape[1]) if 0 < int((y == k).sum()) < len(y)]
    if not kinds:
        raise BadOption("auroc: wanted scans of at least two labels, got one")
    found = [_one(p[:, k], y == k) for k in kinds]
    return SeedScores(
        float(np.mean([one.value for one in found])), np.mean([one.parts for one in found], axis=0)
    )


def _one(scores: np.ndarray, positive: np.ndarray) -> SeedScores:
    ranks, m, n = scipy.stats.rankdata(scores), int(positive.sum()), int((~positive).sum())
    parts = np.empty(len(scores))
    parts[positive] = (
        ranks[positive] - scipy.stats.rankdata(scores[positive])
    ) / n  # share of negatives below each positive
    parts[~positive] = 1 - (ranks[~positive] - scipy.stats.rankdata(scores[~positive])) / m
    value = float(parts[positive].mean())
    parts[positive] = (parts[positive] - value) / m
    parts[~positive] = (parts[~positive] - value) / n
    return SeedScores(value, parts)


def mean_scores(values: ArrayLike) -> SeedScores:
    """The mean of a number of each scan, e.g. its Dice. values: (n,)."""
    x = np.asarray(values, dtype=np.float64)
    return SeedScores(float(x.mean()), (x - x.mean()) / len(x))


def paired_gain(
    ours: Sequence[SeedScores], other: Sequence[SeedScores], patients: Sequence[object], level: float = 0.95
) -> Estimate:
    """Mean over seeds of ours minus other, with an interval for new seeds AND new patients.

    ours, other: one of each seed, in the same order and on the same scans; patients: (n,) whose scan it is.
    The variance is that of the seeds' differences over their number, plus that of the seeds' mean over
    patients. What both share is counted twice, so the interval is slightly too wide. A t quantile whose
    degrees of freedom come from both. n of the interval: patients. Source: the two-way random-effects model;
    degrees of freedom: Satterthwaite, Biometrics Bulletin 2, 1946; variance over patients: infinitesimal
    jackknife. Raises BadOption for fewer than two seeds or patients, or unequal numbers.
    """
    seeds, n = len(ours), len(patients)
    if seeds < 2 or len(other) != seeds or any(len(one.parts) != n for one in (*ours, *other)):
        raise BadOption(
            f"paired_gain: wanted the same two seeds or more of both on the same {n} scans, got {seeds} and "
            f"{len(other)}"
        )
    names = {name: at for at, name in enumerate(dict.fromkeys(patients))}
    if len(names) < 2:
        raise BadOption(
            "paired_gain: wanted at least two patients, got one",
            "an interval of one patient says nothing about the next",
        )
    apart = np.array([a.value - b.value for a, b in zip(ours, other, strict=True)])
    pulls = np.mean([a.parts - b.parts for a, b in zip(ours, other, strict=True)], axis=0)
    whose = np.bincount([names[patient] for patient in patients], weights=pulls)
    of_seeds = float(apart.var(ddof=1)) / seeds
    of_patients = float(np.square(whose).sum()) * len(whose) / (len(whose) - 1)
    both = of_seeds + of_patients
    value = float(apart.mean())
    if both == 0:
        return Estimate(value, value, value, level, len(whose))
    freedom = both**2 / (of_seeds**2 / (seeds - 1) + of_patients**2 / (len(whose) - 1))
    reach = float(scipy.stats.t.ppf((1 + level) / 2, freedom)) * both**0.5
    return Estimate(value, value - reach, value + reach, level, len(whose))
