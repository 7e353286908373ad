"""A data set read for a run: its index lies beside it for as long as the run needs it, and nothing is written
into the data.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ...io.dataset.scan import Index, Item, scan
from .events import Event, OnEvent

__all__ = ["indexed", "of_split"]


@contextmanager
def indexed(folder: Path, unit: str | None, modality: str | None, on_event: OnEvent) -> Iterator[Index]:
    """The index of a folder. unit, modality: what the numbers mean where the files cannot say. Raises what
    ``scan`` raises.
    """
    on_event(Event("stage", "reading every scan once"))
    with tempfile.TemporaryDirectory(prefix="medprior-") as beside:
        yield scan(
            folder,
            out=beside,
            unit=unit,
            modality=modality,
            on_progress=lambda done, total: on_event(Event("step", done=done, total=total)),
        )


def of_split(index: Index, split: str, *, allow_synthetic: bool) -> tuple[Item, ...]:
    """The usable scans of a split, none where it is empty. Raises what else ``Index.usable`` raises."""
    return (
        index.usable(split, allow_synthetic=allow_synthetic)
        if any(item.split == split and not item.leaks for item in index.items)
        else ()
    )
