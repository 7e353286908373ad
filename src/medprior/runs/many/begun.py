"""What a started run on many scans has done: rows.jsonl, and a folder for each scan that keeps its files."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from ...io.dataset.worklist import ListedScan
from ...io.disk.files import append_line, read_json, write_folder, write_json
from ..core.partial import Partial
from .rows import ROWS, Row, rows_in

__all__ = ["SCANS", "THUMB", "BegunMany"]

SCANS, THUMB = "scans", "thumb.png"
_ROW = "row.json"


class BegunMany(Partial):
    """A scan is done once its row is written. Its folder appears whole before, with the row in it, so a scan
    whose row a kill has cut off is not done twice.
    """

    def __init__(self, out: Path, identifier: str, *, fresh: bool = False) -> None:
        super().__init__(out, identifier, fresh=fresh)
        self.rows = self.path / ROWS
        self.done = {row.n for row in rows_in(self.rows)}

    def folder_of(self, scan: ListedScan) -> str:
        """Where the files of a scan lie, relative to the run's folder: the same in every shard."""
        return f"{SCANS}/{scan.n:06d}"

    def waiting(self, scans: Sequence[ListedScan]) -> list[ListedScan]:
        """Those that are not done; the row of one whose folder is whole is written now."""
        left = []
        for scan in scans:
            if scan.n in self.done:
                continue
            whole = self.path / self.folder_of(scan) / _ROW
            if whole.is_file():
                self.note(Row(**read_json(whole)))
            else:
                left.append(scan)
        return left

    def note(self, row: Row, fill: Callable[[Path], None] | None = None) -> None:
        """This scan is done. fill: writes its files. Raises FileProblem where the disk refuses."""
        if fill is not None:

            def whole(folder: Path) -> None:
                fill(folder)
                write_json(folder / _ROW, row.as_json())

            write_folder(self.path / row.folder, whole)
        append_line(self.rows, row.as_json())
        self.done.add(row.n)
