"""What a started augmentation of a data set has done: a folder beside the result to be, from which the same
command goes on.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ...errors import Corrupt, FileProblem
from ...io.disk.files import append_line, read_json, read_lines, write_json

__all__ = ["State", "beside", "linked"]

_HEAD, _LINES = "state.json", "done.jsonl"


class State:
    """OUT.partial: outputs/, examples/, and a line for every batch that is done. A batch counts once its line
    is there; its files are whole before.
    """

    def __init__(self, out: Path, identifier: str, *, fresh: bool = False) -> None:
        """The folder is locked by whoever calls. Raises FileProblem where the disk refuses."""
        self.path = beside(out)
        if fresh or not _same(self.path, identifier):
            _empty(self.path)
        self.lines = _lines(self.path / _LINES)
        write_json(self.path / _HEAD, {"id": identifier})

    @property
    def outputs(self) -> Path:
        return self.path / "outputs"

    @property
    def examples(self) -> Path:
        return self.path / "examples"

    def __contains__(self, key: str) -> bool:
        return key in self.lines

    def __getitem__(self, key: str) -> dict[str, Any]:
        return self.lines[key]

    def keep(self, key: str, line: Mapping[str, Any]) -> None:
        """This batch is done."""
        self.lines[key] = {**line, "batch": key}
        append_line(self.path / _LINES, self.lines[key])

    def forget(self) -> None:
        """All is written where it belongs."""
        shutil.rmtree(self.path, ignore_errors=True)


def beside(out: Path) -> Path:
    """The name of the folder of an unfinished augmentation."""
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


def _lines(path: Path) -> dict[str, dict[str, Any]]:
    """The batches that are done. A last line that a kill has torn is cut off: its batch is made again."""
    try:
        return {line["batch"]: line for line in read_lines(path)}
    except (TypeError, KeyError) as error:
        raise Corrupt(
            path, f"is not what medprior wrote ({error})", "remove the folder, or start over with --fresh"
        ) from error
