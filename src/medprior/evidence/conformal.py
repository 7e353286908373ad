"""p-values and thresholds that hold without assumptions on the score: split conformal, by patient."""

from __future__ import annotations

import math
from collections.abc import Sequence

from ..errors import Uncalibrated

__all__ = ["p_value", "smallest_p", "threshold"]


def p_value(score: float, healthy: Sequence[float]) -> float:
    """(1 + number of healthy scores >= score) / (n + 1): valid whatever the score (Vovk et al. 2005; Bates et al. 2023, eq. 2).

    healthy: scores of held-out healthy patients, one a patient. Raises Uncalibrated when there are none.
    """
    if not healthy:
        raise Uncalibrated("no healthy patients were held out for this prior", "calibrate it: medprior evaluate detect --calibrate")
    return (1 + sum(h >= score for h in healthy)) / (len(healthy) + 1)


def smallest_p(n: int) -> float:
    """The smallest p-value that n healthy patients can give."""
    return 1 / (n + 1)


def threshold(healthy: Sequence[float], alpha: float) -> float:
    """The score above which a healthy patient lies with probability at most alpha.

    Raises Uncalibrated when n < 1 / alpha - 1: that few patients cannot support such a rate.
    """
    n = len(healthy)
    rank = math.ceil((n + 1) * (1 - alpha))
    if rank > n:
        raise Uncalibrated(f"{n} healthy patients cannot support a false-positive rate of {alpha:g}", f"hold out at least {math.ceil(1 / alpha) - 1}")
    return sorted(healthy)[rank - 1]
