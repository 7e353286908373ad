"""What may be chosen for a training, and what a training tells while it works."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from ...errors import BadOption
from ...io.dataset.layout import PLAIN, Layout

if TYPE_CHECKING:
    from ...prior import Prior
    from ...training.budget import Budget
    from ...training.loop import Progress

__all__ = ["Adaptation", "Callbacks", "Fitting", "Listener", "chosen_of"]

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Fitting:
    """What ``fit`` does; the fields are described there. Raises BadOption for steps and minutes at once."""

    folder: Path
    preset: str = "small"
    minutes: float | None = None
    steps: int | None = None
    seed: int = 0
    out: Path = Path("prior")
    name: str | None = None
    unit: str | None = None
    modality: str | None = None
    layout: Layout = PLAIN
    plane: str = "axial"
    ndim: int = 2
    channels: tuple[str, ...] | None = None
    licence: str = ""
    device: str = "cpu"
    allow_synthetic: bool = False
    fresh: bool = False
    begin_with: str | None = None

    def __post_init__(self) -> None:
        _one_of(self.minutes, self.steps, "fit", "ten")

    @property
    def budget(self) -> float | None:
        """Minutes of the whole command; None where it does a number of steps."""
        return None if self.steps else (self.minutes or 10.0)


@dataclass(frozen=True, slots=True)
class Adaptation:
    """What ``adapt`` does; the fields are described there. Raises BadOption for steps and minutes at once,
    and for shares out of range.
    """

    prior: str
    folder: Path
    minutes: float | None = None
    steps: int | None = None
    method: str = "auto"
    seed: int = 0
    out: Path = Path("adapted")
    name: str | None = None
    rank: int = 8
    rate: float | None = None
    replay: str = "generative"
    share: float = 0.5
    old_label: str | None = None
    hold: float = 0.2
    copies: int = 15
    unit: str | None = None
    modality: str | None = None
    layout: Layout = PLAIN
    licence: str = ""
    device: str = "cpu"
    allow_other: bool = False
    allow_synthetic: bool = False
    fresh: bool = False

    def __post_init__(self) -> None:
        _one_of(self.minutes, self.steps, "adapt", "five")
        if not (0 <= self.share < 1 and 0 <= self.hold <= 0.5 and self.copies >= 0):
            raise BadOption(
                "adapt: wanted a share of 0 to below 1, a hold of 0 to 0.5 and copies >= 0, got "
                f"{self.share}, {self.hold}, {self.copies}"
            )

    @property
    def budget(self) -> float | None:
        """Minutes of the whole command; None where it does a number of steps."""
        return None if self.steps else (self.minutes or 5.0)

    @property
    def drawn(self) -> bool:
        """What the parent knew is drawn by itself, and comes from no folder of real scans."""
        return self.replay in ("generative", "none")


def _one_of(minutes: float | None, steps: int | None, job: str, usual: str) -> None:
    if minutes is not None and steps is not None:
        raise BadOption(f"{job}: wanted minutes or steps, got both")
    if (steps is not None and steps < 1) or (minutes is not None and not minutes > 0):
        raise BadOption(
            f"{job}: wanted steps >= 1 or minutes > 0, got steps {steps}, minutes {minutes}",
            f"leave both out for {usual} minutes",
        )


def chosen_of(kind: type[T], request: Any, **other: Any) -> T:
    """The options of a job from a request that has fields of the same names. other: those that differ."""
    names = [field.name for field in fields(kind) if hasattr(request, field.name)]  # pyright: ignore[reportArgumentType]
    return kind(**{name: getattr(request, name) for name in names} | other)


class Listener:
    """Is called with what a training does. Each method may stay as it is: then that is not listened to."""

    def note(self, text: str) -> None:
        """Something that the user should know."""

    def stage(self, text: str, total: int = 0) -> None:
        """A part of the work begins, ``total`` steps long where that is known."""

    def step(self, done: int, total: int) -> None:
        """So many steps of the part are done."""

    def data(self, data: Any) -> None:
        """The scans were read: a ``Dataset`` of fit, ``Newcomers`` of adapt."""

    def planned(self, budget: Budget) -> None:
        """Learning begins; how the time is shared."""

    def progress(self, line: Progress, prior: Prior) -> None:
        """Where the loop stands, about once a second, and the prior as it is now."""


@dataclass(frozen=True, slots=True)
class Callbacks(Listener):
    """Listens with functions: for callers in Python."""

    on_scan: Callable[[int, int], None] | None = None
    on_data: Callable[[Any], None] | None = None
    on_progress: Callable[[Progress, Prior], None] | None = None
    on_note: Callable[[str], None] | None = None

    def note(self, text: str) -> None:
        if self.on_note:
            self.on_note(text)

    def step(self, done: int, total: int) -> None:
        if self.on_scan:
            self.on_scan(done, total)

    def data(self, data: Any) -> None:
        if self.on_data:
            self.on_data(data)

    def progress(self, line: Progress, prior: Prior) -> None:
        if self.on_progress:
            self.on_progress(line, prior)
