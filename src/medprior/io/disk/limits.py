"""How much a file may claim to hold before any memory is taken for it."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import prod
from pathlib import Path

from ...errors import BadOption, Corrupt, FileProblem, TooLarge

__all__ = ["Limits", "on_grant", "regular_file"]


_HARMLESS = 2**24
"""Bytes that may be promised whatever the ratio: an empty mask of 256 x 256 x 256 is no bomb."""
_MADE = 4
"""Bytes of a value at least, once it is read: float32."""
_grants: list[Callable[[int], None]] = []


def on_grant(listener: Callable[[int], None]) -> None:
    """Call ``listener`` with the bytes of each size that passed ``Limits.check``, instead of an earlier one:
    a process under limits of its own may then take them.
    """
    _grants[:] = [listener]


@dataclass(frozen=True, slots=True)
class Limits:
    """What a reader may take: checked against the size that a file declares, before any memory is taken.

    voxels: number of values in one array, channels and time points included. ratio: declared bytes for each
    byte of the file, where they come to more than 16 MiB. Zero-padded label maps may need more. bytes: memory
    for the values as they are read, float32 at least. files: entries of one archive. seconds:
    processor time to decode one file or one compressed frame, beside one second for each 16 MiB that it
    makes.
    """

    voxels: int = 2**31
    ratio: float = 200.0
    bytes: int = 4 * 2**30
    files: int = 20_000
    seconds: float = 5.0

    def __post_init__(self) -> None:
        for name in ("voxels", "ratio", "bytes", "files", "seconds"):
            if not getattr(self, name) > 0:
                raise BadOption(f"Limits.{name}: wanted a number above 0, got {getattr(self, name)}")

    def allowed(self, size: int) -> float:
        """Most bytes that ``size`` bytes of a compressed file may promise."""
        return max(self.ratio * size, _HARMLESS)

    def check(self, path: str | Path, voxels: int, n_bytes: int, size: int | None = None) -> None:
        """``voxels`` values of ``n_bytes`` bytes in all, from ``size`` bytes on disk (None: not compressed).

        Raises TooLarge naming the limit that is exceeded.
        """
        if voxels > self.voxels:
            raise TooLarge(
                path,
                f"declares {voxels:,} voxels, the limit is {self.voxels:,}",
                "raise Limits.voxels if the file is yours",
            )
        if n_bytes > self.bytes:
            raise TooLarge(
                path,
                f"needs {n_bytes:,} bytes of memory, the limit is {self.bytes:,}",
                "raise Limits.bytes if the file is yours",
            )
        if size is not None and n_bytes > self.allowed(size):
            raise TooLarge(
                path,
                f"promises {n_bytes:,} bytes from {size:,}, more than {self.ratio:g} to 1",
                "raise Limits.ratio if the file is yours",
            )
        for listener in _grants:
            listener(n_bytes)

    def check_shape(
        self, path: str | Path, shape: Sequence[int], itemsize: int, size: int | None = None
    ) -> None:
        """The same for an array of ``shape`` with ``itemsize`` bytes each, which becomes float32 where that
        is more. Raises Corrupt for an axis below 1, else TooLarge.
        """
        if any(n < 1 for n in shape):
            raise Corrupt(path, f"declares an empty or negative axis: {tuple(shape)}")
        voxels = prod(int(n) for n in shape)
        self.check(path, voxels, voxels * max(itemsize, _MADE))
        if size is not None:
            self.check(path, voxels, voxels * itemsize, size)


def regular_file(path: str | Path) -> int:
    """The size in bytes of an ordinary file, links followed; pipes, devices and sockets are never opened.

    Raises FileProblem when it is missing, a folder, empty or no ordinary file.
    """
    try:
        found = os.stat(path)
    except FileNotFoundError:
        raise FileProblem(path, "no such file", "check the path") from None
    except (OSError, ValueError) as error:
        raise FileProblem(path, f"cannot be read ({error})") from error
    if stat.S_ISDIR(found.st_mode):
        raise FileProblem(path, "is a folder, wanted a file")
    if not stat.S_ISREG(found.st_mode):
        raise FileProblem(
            path,
            "is no ordinary file (a pipe, a device or a socket), so it was not opened",
            "copy its content into a file",
        )
    if found.st_size == 0:
        raise Corrupt(path, "is empty (0 bytes)")
    return found.st_size
