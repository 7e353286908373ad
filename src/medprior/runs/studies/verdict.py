"""Is it worth it: gains with intervals, the ratio that val chooses, and a verdict that claims nothing which
an interval does not.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ...evidence.gain import SeedScores, paired_gain
from ...evidence.intervals import Estimate
from .study import span, stored
from .training_sets import SEEN_ARMS, Arm

__all__ = ["Worth", "verdict_of", "worth_of"]

WIDE = 0.2
"""Width of the interval of a gain from which on it says little of either sign."""


@dataclass(frozen=True, slots=True)
class Worth:
    """chosen: the arm with generated images that val prefers. on: the split that judges. against: the plain
    arm, real or real + classical, that is harder to beat there. A gain must lie above 0 over both. rival: the
    arm that learned from the labelled scans behind the prior, of two the one that does better there.

    gains: key of each arm -> {split: {over: interval as JSON}}; values: key -> {split: mean over seeds}.
    honest: another split has judged than has chosen.
    """

    chosen: Arm
    against: Arm
    on: str
    values: Mapping[str, Mapping[str, float]]
    gains: Mapping[str, Mapping[str, Mapping[str, Any]]]
    rival: Arm | None = None

    @property
    def rivalry(self) -> tuple[float, float] | None:
        """What the rival reaches where it judges, and what the chosen arm reaches; None without a rival."""
        if self.rival is None:
            return None
        return self.values[self.rival.key][self.on], self.values[self.chosen.key][self.on]

    @property
    def gain(self) -> Mapping[str, Any]:
        """Of the chosen arm over the one that it must beat, on the split that judges."""
        return self.gains[self.chosen.key][self.on][self.against.key]

    @property
    def honest(self) -> bool:
        """Another split has judged than has chosen."""
        return self.on != "val"


def worth_of(
    arms: Sequence[Arm],
    scored: Mapping[str, Mapping[str, Sequence[SeedScores]]],
    patients: Mapping[str, Sequence[object]],
    on: str,
) -> Worth:
    """scored: key of an arm -> split -> one of each seed. patients: split -> whose each scan is."""
    values = {
        key: {split: float(np.mean([one.value for one in ours])) for split, ours in found.items()}
        for key, found in scored.items()
    }
    plain = [arm for arm in arms if not arm.extra]
    chosen = max((arm for arm in arms if arm.extra == "generative"), key=lambda arm: values[arm.key]["val"])
    gains = {
        arm.key: {
            split: {
                base.key: stored(
                    paired_gain(scored[arm.key][split], scored[base.key][split], patients[split])
                )
                for base in plain
                if base is not arm
            }
            for split in patients
        }
        for arm in arms
    }
    # an intersection-union test: each interval has its level, and the claim is made only where both hold it
    against = min(plain, key=lambda base: gains[chosen.key][on][base.key]["low"])
    rivals = [arm for arm in arms if arm in SEEN_ARMS]
    rival = max(rivals, key=lambda arm: values[arm.key][on], default=None)
    return Worth(chosen, against, on, values, gains, rival)


def verdict_of(
    gain: Estimate | Mapping[str, Any],
    *,
    ratio: float,
    ours: str,
    against: str,
    metric: str,
    honest: bool = True,
    rivalry: tuple[float, float] | None = None,
    unasked: bool = False,
) -> str:
    """One of five sentences. It says "use it" only where the whole interval lies above 0, other scans than
    those that chose the ratio have judged, and the rival is not ahead. rivalry: as of ``Worth``. unasked: it
    is known of no rival that it is behind.
    """
    at = gain if isinstance(gain, Mapping) else stored(gain)
    figure = f"gain in {metric} {at['value']:+.3f} ({signed(at)}) over {against}"
    if at["low"] is not None and at["low"] > 0:
        if rivalry is not None and rivalry[0] >= rivalry[1]:
            return (
                "Do not use it: the network does better where it learns from the labelled scans behind the "
                f"prior, {metric} {rivalry[0]:.3f} against {rivalry[1]:.3f}. At ratio {ratio:g} ({ours}): "
                f"{figure}."
            )
        if not honest:
            return (
                f"It may help at ratio {ratio:g} ({ours}): {figure}, but the same scans have chosen the "
                "ratio. Confirm it with --split test before you use it."
            )
        mind = (
            " Not compared with a network that learns from the labelled scans behind these images: name "
            "their folder with --seen."
        )
        return f"Use it at ratio {ratio:g} ({ours}): {figure}.{mind if unasked else ''}"
    if at["high"] is not None and at["high"] < 0:
        return f"Do not use it: it does harm. At ratio {ratio:g} ({ours}): {figure}."
    wide = at["low"] is None or at["high"] - at["low"] > WIDE
    few = " Too few seeds, or too few patients: the interval is too wide to tell." if wide else ""
    return (
        f"Do not use it: no gain that could be told from chance. At ratio {ratio:g} ({ours}): {figure}.{few}"
    )


def signed(at: Mapping[str, Any]) -> str:
    """An interval of a difference."""
    return span(at) if at["low"] is None else f"{at['low']:+.3f} to {at['high']:+.3f}"
