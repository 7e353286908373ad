"""How much a file may claim before memory is taken for it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from ..errors import BadOption, TooLarge

__all__ = ["Limits"]


@dataclass(frozen=True, slots=True)
class Limits:
    """What a reader may take: checked against the size that a file declares, before any memory is taken.

    voxels: number of values in one volume.
    ratio: declared bytes for each byte of the file (a compressed file that promises more is a bomb).
    bytes: memory for the decoded values.
    """

    voxels: int = 2**31
    ratio: float = 200.0
    bytes: int = 4 * 2**30

    def __post_init__(self) -> None:
        for name in ("voxels", "ratio", "bytes"):
            if not getattr(self, name) > 0:
                raise BadOption(f"Limits.{name}: wanted a number above 0, got {getattr(self, name)}")

    def check(self, path: Path, voxels: int, n_bytes: int, size: int | None = None) -> None:
        """``voxels`` values of ``n_bytes`` bytes in all, from ``size`` bytes on disk (None: not compressed).

        Raises TooLarge naming the limit that is exceeded.
        """
        if voxels > self.voxels:
            raise TooLarge(path, f"declares {voxels} voxels, the limit is {self.voxels}", "raise Limits.voxels if the file is yours")
        if n_bytes > self.bytes:
            raise TooLarge(path, f"needs {n_bytes} bytes of memory, the limit is {self.bytes}", "raise Limits.bytes if the file is yours")
        if size is not None and n_bytes > self.ratio * max(size, 1):
            raise TooLarge(path, f"promises {n_bytes} bytes from {size}, more than {self.ratio:g} to 1", "raise Limits.ratio if the file is yours")
