"""What a run says while it works, and how a person sees it: a bar with the time left, on standard error."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace

from ...errors import printable
from ...io.disk.files import append_line

__all__ = ["EVENTS", "Event", "OnEvent", "ended", "progress_bar", "show_progress", "silent"]

EVENTS = "MEDPRIOR_EVENTS"
"""Variable of the environment: a file that gets each event as a line of JSON, for programs that watch."""


@dataclass(frozen=True, slots=True)
class Event:
    """kind: "stage" (a part begins, ``total`` steps long), "step" (``done`` of ``total``), "cost", "note" or
    "warning". text: no file name, no identity.
    """

    kind: str
    text: str = ""
    done: int = 0
    total: int = 0


OnEvent = Callable[[Event], None]

EVERY = 30.0
"""Seconds between two lines of progress where there is no terminal."""
_STEPS_EVERY = 0.25
"""Seconds between two steps in the file of events."""


def silent(event: Event) -> None:
    """For callers that do not listen."""


@contextmanager
def show_progress(*, quiet: bool = False) -> Iterator[OnEvent]:
    """Gives a listener for the events of a run. quiet: warnings only. Without a terminal there are plain
    lines and no bar.
    """
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        SpinnerColumn,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    console = Console(stderr=True, highlight=False, markup=False)
    if quiet:
        yield _watched(silent)
        return
    columns = (
        SpinnerColumn(),
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console, disable=not console.is_terminal) as bars:
        yield _watched(_Listener(bars, console))


def _watched(listen: OnEvent) -> OnEvent:
    """The listener, and the file of ``EVENTS`` where one is named."""
    if not (path := os.environ.get(EVENTS)):
        return listen
    last = 0.0

    def both(event: Event) -> None:
        nonlocal last
        now = time.time()
        if event.kind != "step" or event.done == event.total or now - last > _STEPS_EVERY:
            last = now
            append_line(path, {"at": now, **asdict(event)})
        listen(event)

    return both


def ended(code: int) -> int:
    """The last event of a command, for whoever watches: its exit code, which is handed back."""
    if path := os.environ.get(EVENTS):
        append_line(path, {"at": time.time(), "kind": "end", "code": code})
    return code


@contextmanager
def progress_bar(text: str = "working") -> Iterator[Callable[[int, int], None]]:
    """A bar for ``on_step`` of a job in Python: ``with progress_bar() as step: detect(..., on_step=step)``.

    It shows steps and the time left on standard error; in a log file there is a line every 30 seconds.
    """
    with show_progress() as listen:
        listen(Event("stage", text))
        yield lambda done, total: listen(Event("step", done=done, total=total))


class _Listener:
    def __init__(self, bars, console) -> None:
        self.bars, self.console, self.task = bars, console, None
        self.name, self.said = "", 0.0

    def __call__(self, event: Event) -> None:
        event = replace(event, text=printable(event.text))
        if event.kind == "stage":
            self._close()
            self.name, self.said = event.text, time.monotonic()
            self.task = self.bars.add_task(event.text, total=event.total or None)
            if not self.console.is_terminal:
                self.console.print(event.text, soft_wrap=True)
        elif event.kind == "step" and self.task is not None:
            self.bars.update(
                self.task,
                completed=event.done,
                total=event.total or None,
                **({"description": event.text} if event.text else {}),
            )
            self._line(event)
        elif event.kind in ("note", "cost", "warning"):
            self.bars.console.print(
                {"note": "", "cost": "cost: ", "warning": "warning: "}[event.kind] + event.text,
                style="yellow" if event.kind == "warning" else None,
                soft_wrap=True,
            )

    def _line(self, event: Event) -> None:
        """Without a terminal (a log file): where the part stands, every ``EVERY`` seconds."""
        if self.console.is_terminal or time.monotonic() - self.said < EVERY:
            return
        self.said = time.monotonic()
        count = f"{event.done} of {event.total}" if event.total else str(event.done)
        self.console.print(event.text or f"{self.name}: {count}", soft_wrap=True)

    def _close(self) -> None:
        """A finished part shows a full bar."""
        if self.task is not None:
            total = self.bars.tasks[self.task].total
            self.bars.update(self.task, total=total or 1, completed=total or 1)
