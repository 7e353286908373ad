"""A run on many scans that is not finished: a folder beside the result to be, from which the same command
goes on.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path

from ...errors import FileProblem
from ...io.disk.files import LOCK, finish_folder, flush, read_json, write_json

__all__ = ["Partial", "beside", "linked", "moved"]

_HEAD, _RECORD = "state.json", "run.json"


class Partial:
    """OUT.partial: what was done so far. It is emptied where it belongs to another run. apart: folders in it
    that are no part of the result.
    """

    def __init__(self, out: Path, identifier: str, *, fresh: bool = False, apart: Sequence[str] = ()) -> None:
        """The folder is locked by whoever calls. Raises FileProblem where the disk refuses."""
        self.path, self.apart = beside(out), apart
        if fresh or not _same(self.path, identifier):
            _empty(self.path)
        write_json(self.path / _HEAD, {"id": identifier})

    def finish(self, out: Path, fill: Callable[[Path], None]) -> None:
        """It becomes the result: what ``fill`` writes, run.json among it, and all that it holds. A kill at
        any moment costs no more than what ``fill`` does.
        """
        for left in [*self.path.glob(".tmp-*"), *self.path.glob("*/.tmp-*")]:  # of a killed process
            shutil.rmtree(left) if left.is_dir() else left.unlink()

        def whole(folder: Path) -> None:
            fill(folder)
            (folder / _HEAD).unlink(missing_ok=True)  # from here on run.json says whose it is

        finish_folder(self.path, out, whole, but=(LOCK, *self.apart))
        (out / LOCK).unlink(missing_ok=True)
        for name in self.apart:
            shutil.rmtree(out / name, ignore_errors=True)

    def forget(self) -> None:
        """All is written where it belongs."""
        shutil.rmtree(self.path, ignore_errors=True)


def beside(out: Path) -> Path:
    """The name of the folder of an unfinished run."""
    return out.with_name(f"{out.name}.partial")


def linked(source: Path, target: Path) -> None:
    """A folder once more, by hard links where the disk knows them: no second copy of ten thousand images, and
    either of the two is whole whatever happens.
    """
    for folder, _, names in os.walk(source):
        here = target / Path(folder).relative_to(source)
        here.mkdir(parents=True, exist_ok=True)
        for name in names:
            if name.startswith(".tmp-"):
                continue  # left by a killed process
            try:
                os.link(Path(folder) / name, here / name)
            except OSError:
                shutil.copy2(Path(folder) / name, here / name)
                flush(here / name)
        flush(here)


def moved(source: Path, target: Path) -> None:
    """What a folder holds, into another one of the same disk. What is there already stays."""
    target.mkdir(parents=True, exist_ok=True)
    for one in sorted(source.iterdir()):
        if not one.name.startswith(".tmp-"):
            one.rename(target / one.name)
    flush(target)
    flush(source)


def _empty(path: Path) -> None:
    """All but the lock, which somebody holds."""
    for left in path.iterdir():
        if left.is_dir():
            shutil.rmtree(left, ignore_errors=True)
        elif left.name != LOCK:
            left.unlink(missing_ok=True)


def _same(path: Path, identifier: str) -> bool:
    for name in (_HEAD, _RECORD):
        with suppress(FileProblem):
            head = read_json(path / name)
            return isinstance(head, dict) and head.get("id") == identifier
    return False
