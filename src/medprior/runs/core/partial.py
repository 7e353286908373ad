"""A run on many scans that is not finished: a folder beside the result to be, from which the same command
goes on.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from ...errors import FileProblem
from ...io.disk.files import read_json, write_json

__all__ = ["Partial", "beside", "linked"]

_HEAD = "state.json"


class Partial:
    """OUT.partial: what was done so far. It is emptied where it belongs to another run."""

    def __init__(self, out: Path, identifier: str, *, fresh: bool = False) -> None:
        """The folder is locked by whoever calls. Raises FileProblem where the disk refuses."""
        self.path = beside(out)
        if fresh or not _same(self.path, identifier):
            _empty(self.path)
        write_json(self.path / _HEAD, {"id": identifier})

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


def _empty(path: Path) -> None:
    """All but the lock, which somebody holds."""
    for left in path.iterdir():
        if left.is_dir():
            shutil.rmtree(left, ignore_errors=True)
        elif left.name != ".lock":
            left.unlink(missing_ok=True)


def _same(path: Path, identifier: str) -> bool:
    try:
        head = read_json(path / _HEAD)
    except FileProblem:
        return False
    return isinstance(head, dict) and head.get("id") == identifier
