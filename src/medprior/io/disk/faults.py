"""What other people's readers raise becomes one error class that names the file."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from ...errors import Corrupt, FileProblem, MedpriorError, TooLarge, Truncated

__all__ = ["faults_of", "some"]

_NAMED, _LETTERS = 8, 40


@contextmanager
def faults_of(path: str | Path, what: str) -> Iterator[None]:
    """Inside, whatever a library raises or warns about ``path`` leaves as a FileProblem saying that it cannot
    be read as ``what``.

    KeyboardInterrupt and SystemExit pass, and so does a MedpriorError.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            yield
    except MedpriorError:
        raise
    except MemoryError as error:
        raise TooLarge(
            path, "needs more memory than this machine gives", "close other programs, or set smaller Limits"
        ) from error
    except RecursionError as error:
        raise Corrupt(path, f"is nested too deeply for {what}") from error
    except EOFError as error:
        raise Truncated(path, f"ends too early for {what}", "copy the file again") from error
    except OSError as error:
        if error.errno is not None and error.strerror:
            raise FileProblem(path, f"cannot be read ({error.strerror})") from error
        raise Corrupt(path, f"cannot be read as {what} ({_short(error)})", "copy the file again") from error
    except Exception as error:  # parsers of strangers raise whatever a broken field leads them to
        raise Corrupt(
            path, f"cannot be read as {what} ({type(error).__name__}: {_short(error)})", "copy the file again"
        ) from error


def some(names: Iterable[str]) -> str:
    """The first names in order, and how many more there are: a file of a stranger may hold a million."""
    found = sorted(names)
    first = (name if len(name) <= _LETTERS else name[: _LETTERS - 3] + "..." for name in found[:_NAMED])
    more = [f"{len(found) - _NAMED:,} more"] if len(found) > _NAMED else []
    return ", ".join([*first, *more]) or "nothing"


def _short(error: Exception) -> str:
    text = " ".join(str(error).split())
    return text if len(text) <= 160 else text[:157] + "..."
