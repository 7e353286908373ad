"""p-values and thresholds that hold without assumptions on the score: conformal, by patient."""

from __future__ import annotations

import math
from collections.abc import Sequence

from ..errors import BadOption, Uncalibrated
from ..prior.promises import Estimate, patients_needed

__all__ = [
    "benjamini_hochberg",
    "false_positive_rate",
    "p_value",
    "patients_needed",
    "smallest_p",
    "threshold",
]


def p_value(score: float, healthy: Sequence[float]) -> float:
    """(1 + number of healthy scores >= score) / (n + 1): valid whatever the score (Vovk et al. 2005; Bates et
    al. 2023, eq. 2).

    healthy: scores of held-out healthy patients, one a patient. Raises Uncalibrated when there are none,
    BadOption for a score that is not a number: no healthy score is above NaN, so it would look like the
    rarest finding of all.
    """
    if not healthy:
        raise Uncalibrated(
            "no healthy patients were held out for this prior",
            "calibrate it with medprior.jobs.detection.calibrate.calibrate_detection",
        )
    if math.isnan(score) or any(math.isnan(h) for h in healthy):
        raise BadOption(
            f"p_value: wanted numbers, got the score {score} among {sum(math.isnan(h) for h in healthy)} "
            "healthy ones that are NaN"
        )
    return (1 + sum(h >= score for h in healthy)) / (len(healthy) + 1)


def smallest_p(n: int) -> float:
    """The smallest p-value that n healthy patients can give."""
    return 1 / (n + 1)


def false_positive_rate(n: int, alpha: float) -> Estimate:
    """Share of new healthy patients with p <= alpha, for the n patients of one calibration.

    It is distributed as Beta(k, n + 1 - k), k = floor(alpha (n + 1)), whatever the score. Source: Vovk, ACML
    2012, proposition 2a.

    Gives the mean, k / (n + 1), and the interval that holds 95 % of it. Raises Uncalibrated as ``threshold``.
    """
    from scipy.stats import beta

    threshold(range(n), alpha)  # refuses too few patients
    k = math.floor(alpha * (n + 1) + 1e-9)
    low, high = beta.ppf((0.025, 0.975), k, n + 1 - k)
    return Estimate(k / (n + 1), float(low), float(high), 0.95, n)


def threshold(healthy: Sequence[float], alpha: float) -> float:
    """The score above which a healthy patient lies with probability at most alpha.

    Raises Uncalibrated when n < 1 / alpha - 1: that few patients cannot support such a rate. Raises BadOption
    unless 0 < alpha < 1.
    """
    n, needed = len(healthy), patients_needed(alpha)
    if n < needed:
        raise Uncalibrated(
            f"{n} healthy patients cannot support a false-positive rate of {alpha:g}: {needed - n} are "
            "missing",
            f"hold out at least {needed}",
        )
    above = math.floor(alpha * (n + 1) + 1e-9)  # of n + 1 exchangeable scores, so many may lie above
    return sorted(healthy)[n - above]


def benjamini_hochberg(p_values: Sequence[float]) -> list[float]:
    """(n,) -> (n,): the least false discovery rate at which each would be called a finding (q-value): q <=
    0.1 finds with one in ten wrong on average.

    Source: Benjamini and Hochberg, J. R. Stat. Soc. B 57(1), 1995; conformal p-values that share a
    calibration set may enter it (Bates et al. 2023, theorem 2). Raises BadOption for a p-value outside of (0,
    1].
    """
    if any(not 0 < p <= 1 for p in p_values):
        raise BadOption(
            "benjamini_hochberg: wanted p-values above 0 and at most 1, got "
            f"{next(p for p in p_values if not 0 < p <= 1)}"
        )
    n, least = len(p_values), 1.0
    found = [1.0] * n
    for rank, at in sorted(enumerate(sorted(range(n), key=lambda i: p_values[i]), start=1), reverse=True):
        least = min(least, p_values[at] * n / rank)
        found[at] = least
    return found
