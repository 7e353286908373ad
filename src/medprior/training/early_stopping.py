"""What the validation loss says of a training: which step was best, and whether more steps would help."""

from __future__ import annotations

from collections.abc import Sequence

__all__ = ["FALLING", "still_falling"]

FALLING = 0.05
"""Share by which the best validation loss must have fallen over the last third of the steps to count as still
falling. The learning rate falls to its end there, which alone lowers the loss by a few percent.
"""
_LEAST = 4
"""Checkpoints from which on their losses say anything of a trend."""


def still_falling(held: Sequence[tuple[int, float]]) -> bool | None:
    """Whether the validation loss was still falling at the end; None where too few values tell.

    held: (step, validation loss) of each checkpoint, in order.
    """
    if len(held) < _LEAST:
        return None
    last = held[-1][0]
    early = [loss for step, loss in held if step <= 2 * last / 3]
    return bool(early) and min(loss for _, loss in held) < (1 - FALLING) * min(early)
