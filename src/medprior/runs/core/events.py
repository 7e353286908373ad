"""What a run tells while it works; the faces show it, events.jsonl keeps it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

__all__ = ["Event", "OnEvent", "silent"]


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


def silent(event: Event) -> None:
    """For callers that do not listen."""
