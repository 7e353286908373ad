"""A file that only grows, a line of JSON for each record: for many processes at once, and nothing in it is
ever changed or removed.
"""

from __future__ import annotations

import fcntl
import json
import os
import stat
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from ...errors import FileProblem

__all__ = ["Trail", "opened_trail"]


class Trail:
    """A trail while no other process may write to it. lines: (number of the line, record) of every whole
    line. damaged: numbers of lines that are no record; they stay in the file and count for nothing.
    """

    def __init__(self, handle: int, path: Path) -> None:
        self._handle, self._path = handle, path
        self._length = os.fstat(handle).st_size
        stored = os.pread(handle, self._length, 0)
        self._torn = bool(stored) and not stored.endswith(b"\n")
        self.lines, self.damaged = _parsed(stored)

    def append(self, records: Sequence[Mapping[str, object]]) -> None:
        """All of them or none, on the disk when this returns. Raises FileProblem when the disk refuses."""
        text = "\n" * self._torn + "".join(json.dumps(dict(r), allow_nan=False) + "\n" for r in records)
        rest = text.encode()
        try:
            while rest:
                rest = rest[os.write(self._handle, rest) :]
            os.fsync(self._handle)
        except OSError as error:
            os.ftruncate(self._handle, self._length)
            raise FileProblem(
                self._path,
                f"could not be written ({error.strerror or error})",
                "free space; nothing was recorded, and nothing was lost",
            ) from error
        self.__init__(self._handle, self._path)


@contextmanager
def opened_trail(path: str | Path, *, write: bool = True) -> Iterator[Trail]:
    """The trail, locked until the block ends: another process waits. write: make the file where there is
    none. Without it, a file that is not there reads as an empty trail.

    Raises FileProblem where the disk refuses or knows no locks, and for what is no ordinary file.
    """
    path = Path(path)
    handle = _locked(path, write)
    try:
        yield Trail(handle, path)
    finally:
        os.close(handle)  # and with it the lock


def _locked(path: Path, write: bool) -> int:
    flags = os.O_RDWR | os.O_CREAT | os.O_APPEND if write else os.O_RDONLY
    try:
        if write:
            path.parent.mkdir(parents=True, exist_ok=True)
        handle = os.open(
            path if write or path.exists() else os.devnull, flags | os.O_NONBLOCK | os.O_NOFOLLOW, 0o600
        )
    except OSError as error:
        raise FileProblem(path, f"cannot be opened ({error.strerror or error})") from error
    try:
        if path.exists() and not stat.S_ISREG(os.fstat(handle).st_mode):
            raise FileProblem(path, "is no ordinary file (a pipe, a device or a socket)")
        fcntl.flock(handle, fcntl.LOCK_EX if write else fcntl.LOCK_SH)
    except OSError as error:
        os.close(handle)
        raise FileProblem(
            path,
            f"its disk knows no locks ({error.strerror})",
            "choose another --out, on a disk of this machine",
        ) from error
    except FileProblem:
        os.close(handle)
        raise
    return handle


def _parsed(stored: bytes) -> tuple[tuple[tuple[int, Mapping[str, object]], ...], tuple[int, ...]]:
    """(lines, damaged) of the bytes of a trail."""
    lines, damaged = [], []
    for number, line in enumerate(stored.split(b"\n"), 1):
        try:
            record = json.loads(line) if line.strip() else None
        except (ValueError, RecursionError):
            record = False
        if isinstance(record, dict):
            lines.append((number, record))
        elif record is not None:
            damaged.append(number)
    return tuple(lines), tuple(damaged)
