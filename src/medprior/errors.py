"""Every error that medprior raises on purpose.

MedpriorError                  what went wrong, what was wanted, what came, what to do
 |- FileProblem                a file or folder cannot be used (path, reason, remedy)
 |   |- Truncated              it ends before its own header says so
 |   |- Corrupt                a checksum, length or structure is wrong
 |   |- Unsupported            a valid file of a kind that is not handled (a codec, a SOP class)
 |   |- TooLarge               its declared size exceeds the limit
 |   `- BadGeometry            slices, affine or spacing that cannot be made into one volume
 |- ShapeMismatch              a tensor, mask or operator does not fit the other
 |- WrongKind                  modality, unit, spacing or orientation that a prior was not made for
 |   `- OutOfDistribution      it does not look like the scans that the prior was calibrated with
 |- BadOption                  an option or setting outside of what is allowed
 |- MissingExtra               an optional dependency is not installed
 |- Uncalibrated               an interval or a threshold that nothing has calibrated
 |- UnknownNoise               a measurement whose noise nobody has stated or estimated
 `- Diverged                   a computation left the finite numbers (step, sigma)
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from difflib import get_close_matches
from importlib import import_module
from pathlib import Path
from types import ModuleType

__all__ = [
    "BadGeometry",
    "BadOption",
    "Corrupt",
    "Diverged",
    "FileProblem",
    "MedpriorError",
    "MissingExtra",
    "ShapeMismatch",
    "TooLarge",
    "Truncated",
    "Uncalibrated",
    "UnknownNoise",
    "Unsupported",
    "WrongKind",
    "cause",
    "did_you_mean",
    "file_faults",
    "needs_posix",
    "optional",
]


class MedpriorError(Exception):
    """Base of all. ``remedy`` is what the user can do, one sentence."""

    def __init__(self, message: str, remedy: str = "") -> None:
        super().__init__(message)
        self.remedy = remedy

    def __str__(self) -> str:
        message = super().__str__()
        return printable(f"{message} ({self.remedy})" if self.remedy else message)


class FileProblem(MedpriorError):
    """A file or folder cannot be used; nothing was written."""

    def __init__(self, path: str | Path, reason: str, remedy: str = "") -> None:
        super().__init__(f"{path}: {reason}", remedy)
        self.path = Path(path)
        self.reason = reason


class Truncated(FileProblem):
    """The file ends before its header says so."""


class Corrupt(FileProblem):
    """A checksum, a length or the structure is wrong."""


class Unsupported(FileProblem):
    """A valid file of a kind that is not handled."""


class TooLarge(FileProblem):
    """The declared size exceeds the limit; no memory was taken."""


class BadGeometry(FileProblem):
    """Slices, affine or spacing that cannot be made into one volume."""


class ShapeMismatch(MedpriorError):
    """A tensor, a mask or an operator does not fit the other."""

    def __init__(self, who: str, wanted: object, got: object, remedy: str = "") -> None:
        super().__init__(f"{who}: wanted {wanted}, got {got}", remedy)


class WrongKind(MedpriorError):
    """Modality, unit, spacing or orientation that a prior was not made for."""


class OutOfDistribution(WrongKind):
    """A scan that is not of the kind that a prior was calibrated with: mirrored, another body part, another
    contrast. The command line exits with 3.
    """


class BadOption(MedpriorError):
    """An option or a setting outside of what is allowed."""


class MissingExtra(MedpriorError):
    """An optional dependency is not installed."""

    def __init__(self, package: str, extra: str, what: str) -> None:
        super().__init__(f"{what} needs the package {package}", f"pip install 'medprior[{extra}]'")


def optional(module: str, extra: str, what: str) -> ModuleType:
    """The module of an optional dependency. Raises MissingExtra with the pip line that installs it.

    extra: its name in pyproject.toml. what: the thing that needs it, as the start of a sentence.
    """
    try:
        return import_module(module)
    except ImportError as missing:
        raise MissingExtra(module, extra, what) from missing


class Uncalibrated(MedpriorError):
    """An interval or a threshold that nothing has calibrated."""


class UnknownNoise(MedpriorError):
    """A measurement with neither a stated nor an estimated noise."""


class Diverged(MedpriorError):
    """A computation left the finite numbers. NaN is never turned into a picture."""

    def __init__(self, step: int, sigma: float, what: str = "sampling") -> None:
        super().__init__(
            f"{what} left the finite numbers at step {step}, sigma {sigma:.4g}",
            "lower the learning rate, and look at the scans named"
            if what.startswith("training")
            else "use more steps, a smaller guidance weight, or check the noise level of the measurement",
        )
        self.step = step
        self.sigma = sigma


def needs_posix() -> None:
    """Raises MedpriorError on Windows, whose files cannot be locked, flushed and exchanged as is needed."""
    if sys.platform == "win32":
        raise MedpriorError(
            "medprior runs on Linux and macOS, this is Windows", "use the Windows Subsystem for Linux"
        )


def printable(text: object) -> str:
    """One line for a terminal: control characters are escaped, for names and headers come from strangers."""
    plain = str(text)
    if plain.isprintable():
        return plain
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in plain)


@contextmanager
def file_faults(path: str | Path) -> Iterator[None]:
    """Inside, an OSError (a missing right, a full disk, a name too long) leaves as a FileProblem that names
    the file.
    """
    try:
        yield
    except BrokenPipeError:
        raise
    except OSError as error:
        named = error.filename if isinstance(error.filename, str) and error.filename else path
        raise FileProblem(
            named, f"cannot be used ({error.strerror or error})", "check its permissions, and the disk"
        ) from error


def did_you_mean(word: str, choices: list[str]) -> str:
    """'did you mean ...' for an unknown name, or the list of choices."""
    close = get_close_matches(word, choices, n=1)
    return f"did you mean {close[0]!r}?" if close else f"choose from {', '.join(sorted(choices))}"


def cause(error: BaseException) -> str:
    """Why one image could not be made; no path."""
    reason = getattr(error, "reason", None)
    said = (
        reason
        if isinstance(reason, str)
        else Exception.__str__(error)
        if isinstance(error, Exception)
        else ""
    )
    return (
        said
        if isinstance(error, MedpriorError)
        else f"{type(error).__name__}: {' '.join(said.split())[:200]}"
    )
