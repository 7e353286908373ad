"""A wall-clock budget of a training command: what it learns, and what it measures afterwards, fit into the
time that the user gave. And Ctrl-C, which ends a training without losing a step.
"""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import FrameType

__all__ = ["Budget", "stop_flag"]

LEAST = 0.25
"""Share of the time that is for learning, however long reading took and measuring will take."""


@dataclass(frozen=True, slots=True)
class Budget:
    """minutes: of the whole command, None where steps were given. started: when it began, seconds of
    ``time.monotonic``. measuring: seconds that are kept for what comes after learning.
    """

    minutes: float | None
    started: float
    measuring: float = 0.0

    @classmethod
    def begun(cls, minutes: float | None) -> Budget:
        return cls(minutes, time.monotonic())

    def keeping(self, seconds: float) -> Budget:
        """The same budget with so many seconds kept for measuring, at most a quarter of it."""
        return Budget(self.minutes, self.started, min(seconds, 0.25 * 60 * (self.minutes or 0.0)))

    @property
    def used(self) -> float:
        """Seconds since it began."""
        return time.monotonic() - self.started

    @property
    def learning(self) -> float | None:
        """Minutes for learning: what reading and measuring leave, at least a quarter of the whole."""
        if self.minutes is None:
            return None
        return max(LEAST * self.minutes, self.minutes - (self.used + self.measuring) / 60)

    def left(self, share: float = 1.0) -> float | None:
        """Seconds for a part of the measuring: this share of what is left, at least that of a half of what
        was kept for it. None without a budget.
        """
        if self.minutes is None:
            return None
        return share * max(60 * self.minutes - self.used, self.measuring / 2)


@contextmanager
def stop_flag() -> Iterator[threading.Event]:
    """Ctrl-C (SIGINT) and a scheduler's SIGTERM set a flag: the loop saves and leaves. A second Ctrl-C
    interrupts at once. Only the main thread can listen.
    """
    flag = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield flag
        return

    def stop(number: int, _: FrameType | None) -> None:
        if number == signal.SIGINT and flag.is_set():
            raise KeyboardInterrupt
        flag.set()

    former = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield flag
    finally:
        for number, handler in former.items():
            signal.signal(number, handler)
