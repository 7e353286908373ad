"""Indexes of data sets in the user's cache folder, so that a second command decodes no file again.

An index holds file names and thumbnails, so its folder is readable by its owner only.
"""

from __future__ import annotations

import hashlib
import hmac
import os
import re
import shutil
from collections.abc import Callable, Iterable
from pathlib import Path

from ...errors import FileProblem
from ..disk.limits import Limits
from .layout import PLAIN, Layout
from .scan import Index, scanned
from .store import secret_key

__all__ = ["CACHE", "cache_folder", "cached_scan", "keyed_hashes"]

CACHE = "MEDPRIOR_CACHE"
"""Environment variable that names another cache folder."""

MOST, MOST_BYTES = 32, 2**28
"""Indexes, and bytes of all of them, that are kept. The oldest go first."""

_NAME = re.compile(r"[0-9a-f]{32}")


def cache_folder() -> Path:
    """$MEDPRIOR_CACHE, else medprior in $XDG_CACHE_HOME or ~/.cache."""
    if stated := os.environ.get(CACHE):
        return Path(stated)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "medprior"


def keyed_hashes(digests: Iterable[str]) -> tuple[str, tuple[str, ...]]:
    """(name of the key, a hash of each), ("", ()) where no secret can be kept.

    The key is a secret of this user in the cache folder. Whoever holds a scan, but not the secret, cannot ask
    whether it is among them.
    """
    home = cache_folder() / "secret"
    if not _private(home):
        return "", ()
    key = secret_key(home)
    hashed = (hmac.new(key, digest.encode(), hashlib.sha256).hexdigest()[:16] for digest in digests)
    return hashlib.sha256(b"name of " + key).hexdigest()[:16], tuple(hashed)


def cached_scan(
    folder: Path,
    *,
    unit: str | None = None,
    modality: str | None = None,
    layout: Layout = PLAIN,
    on_progress: Callable[[int, int], None] | None = None,
) -> Index:
    """The index that ``scan`` gives; only files that are new or have changed since are decoded.

    A damaged or foreign entry is made again. Without a cache folder that can be written, every file is read.
    Raises what ``scan`` raises.
    """

    said = {"unit": unit, "modality": modality, "layout": str(layout)}
    options = {k: v for k, v in said.items() if v is not None}
    facts = (folder.resolve(), options, layout.labels and layout.labels.resolve())
    entry = cache_folder() / "indexes" / hashlib.sha256(repr(facts).encode(errors="replace")).hexdigest()[:32]

    def index(out: Path | None) -> Index:
        return scanned(folder, out, options, layout, Limits(), on_progress, keep_splits=False)

    for _ in range(2):
        if not _private(entry):
            break
        try:
            found = index(entry)
            _tidy(entry)
            return found
        except FileProblem as error:
            if not error.path.is_relative_to(entry):
                raise  # a fault of the data set, not of the cache
            shutil.rmtree(entry, ignore_errors=True)
    return index(None)


def _private(entry: Path) -> bool:
    """Make the folder, for its owner only. False where that is not possible."""
    try:
        entry.mkdir(mode=0o700, parents=True, exist_ok=True)
        entry.chmod(0o700)
        return os.access(entry, os.W_OK)
    except OSError:
        return False


def _tidy(entry: Path) -> None:
    """Close the files to others, mark the entry as used now, and drop the oldest beyond what is kept."""
    try:
        for path in entry.iterdir():
            path.chmod(0o600)
        os.utime(entry)
        others = [path for path in entry.parent.iterdir() if _NAME.fullmatch(path.name) and path != entry]
        room = MOST_BYTES - _size(entry)
        for n, other in enumerate(sorted(others, key=lambda path: -path.stat().st_mtime), start=2):
            room -= _size(other)
            if n > MOST or room < 0:
                shutil.rmtree(other, ignore_errors=True)
    except OSError:
        return  # another process tidies at the same time


def _size(entry: Path) -> int:
    return sum(path.stat().st_size for path in entry.iterdir())
