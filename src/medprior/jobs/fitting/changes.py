"""A training that goes on must learn from the scans that it began with: what was added, changed or withdrawn
since is named.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ...errors import BadOption, FileProblem
from ...io.dataset.index import private
from ...io.dataset.scan import Index, Item, load_index, scan
from ...io.dataset.store import save_index
from ...training.distributed import ranks_for
from .options import Adaptation, Fitting, Listener

__all__ = ["Changes", "changes", "index_once"]

_NAMED = 5
"""Scans of each kind that are named."""


@dataclass(frozen=True, slots=True)
class Changes:
    """Relative paths of scans that were added, changed (pixels, label, numbers or split) and withdrawn."""

    added: tuple[str, ...]
    changed: tuple[str, ...]
    withdrawn: tuple[str, ...]

    def __bool__(self) -> bool:
        return bool(self.added or self.changed or self.withdrawn)

    def __str__(self) -> str:
        parts = (("added", self.added), ("changed", self.changed), ("withdrawn", self.withdrawn))
        return "; ".join(f"{len(names)} {word}: {_few(names)}" for word, names in parts if names)


def _few(names: Sequence[str]) -> str:
    more = len(names) - _NAMED
    return ", ".join(names[:_NAMED]) + (f" and {more} more" if more > 0 else "")


def changes(before: Index, now: Index) -> Changes:
    """What differs among the scans that a training may see: all but those of a stated test split."""
    old, new = _seen(before), _seen(now)
    return Changes(
        tuple(sorted(new.keys() - old.keys())),
        tuple(sorted(name for name in new.keys() & old.keys() if new[name] != old[name])),
        tuple(sorted(old.keys() - new.keys())),
    )


def _seen(index: Index) -> dict[str, tuple[object, ...]]:
    return {
        f"{i.path}{f' ({i.part})' if i.part else ''}": _facts(i) for i in index.items if i.split != "test"
    }


def _facts(item: Item) -> tuple[object, ...]:
    return item.digest, item.others, item.label, item.numbers, item.split, item.leaks, item.synthetic


def index_once(options: Fitting | Adaptation, listener: Listener) -> Index:
    """The index of the scans, each read once. Of several processes rank 0 reads.

    Raises BadOption where the folder ``out`` has learned something already and the scans are others now, and
    what ``scan`` raises.
    """
    ranks = ranks_for(options.device)
    if ranks.rank == 0:
        before = None if options.fresh else _before(options.out, options.folder)
        home = private(options.out)
        listener.stage("reading every scan once")
        now = scan(
            options.folder,
            out=home,
            unit=options.unit,
            modality=options.modality,
            layout=options.layout,
            on_progress=listener.step,
        )
        if before is not None and (found := changes(before, now)):
            save_index(before, home)  # what the weights have seen stays known
            raise BadOption(
                f"folder: the scans have changed since {options.out.name} learned from them. {found}",
                "put them back; or learn anew from what is there now: --fresh (fresh=True) or another --out",
            )
    ranks.wait()
    return load_index(private(options.out), options.folder)


def _before(out: Path, folder: Path) -> Index | None:
    """The index by which this folder has learned something; None where it has not."""
    if not (any((out / "checkpoints").glob("step-*")) or (out / "prior" / "card.json").is_file()):
        return None
    try:
        return load_index(private(out), folder)
    except FileProblem:
        return None  # of another version: the loop compares the digest of the pixels
