"""The files of the page, kept in memory: they are few, and the same for everybody."""

from __future__ import annotations

from pathlib import Path

__all__ = ["page_files"]


def page_files(folder: Path) -> dict[str, bytes]:
    """Every file below a folder by its name from there, with slashes."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}
