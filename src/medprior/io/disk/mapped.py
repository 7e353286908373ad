"""Arrays that together are larger than memory: in files of at most 1 GiB, read through the memory map."""

from __future__ import annotations

import tempfile
import weakref
from pathlib import Path
from typing import IO

import numpy as np
from numpy.typing import NDArray

from ...errors import file_faults

__all__ = ["MappedArrays", "free_memory"]

LARGEST = 2**30
"""Bytes of one file; an array that is larger has a file of its own."""


def free_memory() -> int:
    """Bytes that new arrays can take."""
    import psutil

    return psutil.virtual_memory().available


class MappedArrays:
    """Arrays of float32, appended once and read often. The system holds in memory what is read, and drops it
    where others need the room. The files have no name, so they go with the process, however it ends.

    folder: where they lie. most: bytes of one. Raises FileProblem where the disk refuses.
    """

    def __init__(self, folder: Path, most: int = LARGEST) -> None:
        self.folder, self.most = folder, most
        self._files: list[IO[bytes]] = []
        weakref.finalize(self, _close, self._files)  # a map stays as long as somebody reads in it
        self._sizes: list[int] = []
        self._maps: dict[int, NDArray[np.float32]] = {}
        self._places: list[tuple[int, int, tuple[int, ...]]] = []

    def append(self, array: NDArray[np.float32]) -> None:
        with file_faults(self.folder):
            if not self._files or self._sizes[-1] + array.nbytes > self.most:
                self.folder.mkdir(parents=True, exist_ok=True)
                self._files.append(tempfile.TemporaryFile(dir=self.folder, prefix="images-"))  # noqa: SIM115 (lives as long as this)
                self._sizes.append(0)
            last = len(self._files) - 1
            self._files[last].write(np.ascontiguousarray(array, np.float32).data)
        self._places.append((last, self._sizes[last] // 4, array.shape))
        self._sizes[last] += array.nbytes
        self._maps.pop(last, None)

    def __len__(self) -> int:
        return len(self._places)

    def __getitem__(self, n: int) -> NDArray[np.float32]:
        """The n-th array, a view of its file: what is written there changes it."""
        file, start, shape = self._places[n]
        if file not in self._maps:
            with file_faults(self.folder):
                self._files[file].flush()
                self._maps[file] = np.memmap(self._files[file], np.float32, "r+").view(np.ndarray)
        return self._maps[file][start : start + int(np.prod(shape))].reshape(shape)

    @property
    def files(self) -> int:
        return len(self._files)


def _close(files: list[IO[bytes]]) -> None:
    for file in files:
        file.close()
