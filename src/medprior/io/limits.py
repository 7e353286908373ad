"""How much a file may claim to hold before any memory is taken for it."""

from __future__ import annotations

import os
import stat
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ..errors import Corrupt, FileProblem, TooLarge

__all__ = ["Limits", "regular_file"]


@dataclass(frozen=True, slots=True)
class Limits:
    """What a reader accepts; anything above is refused with TooLarge, by name and before it is inflated.

    max_voxels: elements of one array, channels and time points included.
    max_ratio: bytes after inflating for each byte in the file (zero-padded label maps may need more).
    max_bytes: bytes of one array as it is stored, after inflating.
    max_files: entries of one archive or one series.
    """

    max_voxels: int = 2**31
    max_ratio: float = 200.0
    max_bytes: int = 4 * 2**30
    max_files: int = 20_000

    def check(self, path: str | Path, shape: Sequence[int], itemsize: int, stored: int) -> None:
        """Refuse an array of ``shape`` and ``itemsize`` bytes that is to come out of ``stored`` bytes of a file.

        Raises Corrupt for an axis below 1, TooLarge for what exceeds a limit.
        """
        voxels = 1
        for n in shape:
            if n < 1:
                raise Corrupt(path, f"declares an empty or negative axis: {tuple(shape)}")
            voxels *= int(n)
        if voxels > self.max_voxels:
            raise TooLarge(path, f"declares {voxels:,} voxels {tuple(shape)}, the limit is {self.max_voxels:,}", "raise Limits.max_voxels if you trust it")
        self.check_bytes(path, voxels * itemsize, stored)

    def check_bytes(self, path: str | Path, inflated: int, stored: int) -> None:
        """Refuse ``inflated`` bytes that are to come out of ``stored`` bytes of a file. Raises TooLarge."""
        if inflated > self.max_bytes:
            raise TooLarge(path, f"declares {inflated:,} bytes, the limit is {self.max_bytes:,}", "raise Limits.max_bytes if you trust it")
        if inflated > 2**20 and inflated > self.max_ratio * max(stored, 1):
            raise TooLarge(
                path,
                f"would inflate {stored:,} bytes to {inflated:,}, more than {self.max_ratio:g} to 1",
                "raise Limits.max_ratio if you trust it",
            )


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
        raise FileProblem(path, "is no ordinary file (a pipe, a device or a socket), so it was not opened", "copy its content into a file")
    if found.st_size == 0:
        raise Corrupt(path, "is empty (0 bytes)")
    return found.st_size
