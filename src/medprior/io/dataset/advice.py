"""What a person should know of a data set before it is used: patients, kind, number and size of its scans."""

from __future__ import annotations

from collections.abc import Sequence

from .index import Index, Item

__all__ = ["advice", "for_training", "many", "patients_line", "smallest_side"]

WANTED = 50
"""Scans from which a prior is worth its minutes."""
FAR_TOO_FEW = 10
SMALLEST = 16
"""Pixels a side below which a network has nothing to learn from a picture."""
_NAMED = 3


def many(count: int, one: str, several: str = "") -> str:
    """ "1 scan", "2 scans"."""
    return f"{count} {one if count == 1 else several or f'{one}s'}"


def patients_line(index: Index) -> str:
    """How many patients there are, where that is known; else that it is unknown, and how to say it."""
    named, patients = index.named()
    if named == len(index.items):
        return f"{many(patients, 'patient')}, each named"
    counted = "each file counts as one patient"
    if not named:
        return f"not named; {counted}. If file names hold the patient: --patient-pattern"
    return (
        f"named for {named} of {len(index.items)} scans ({many(patients, 'patient')}); of the others "
        f"{counted}"
    )


def advice(index: Index) -> tuple[str, ...]:
    """The notes of the index, and what is not known of its patients."""
    named, _ = index.named()
    return index.notes if named == len(index.items) else (*index.notes, f"patients: {patients_line(index)}")


def for_training(index: Index) -> tuple[str, ...]:
    """What makes a data set a poor one to learn from, one sentence each."""
    items = [item for item in index.items if not item.later]
    count = len(items)
    found = []
    if count < FAR_TOO_FEW:
        found.append(f"{many(count, 'scan is', 'scans are')} far too few to learn from; {WANTED} or more")
    elif count < WANTED:
        found.append(f"{count} scans are few to learn from; {WANTED} or more")
    if small := [item for item in items if smallest_side(item) < SMALLEST]:
        found.append(f"too small for a network (a side below {SMALLEST} pixels): {_some(small)}")
    if any(not item.modality for item in items):
        found.append(
            "modality: unknown, so scans of any kind will be accepted; --modality DX (or CT, MR, US) says it"
        )
    return tuple(found)


def smallest_side(item: Item) -> int:
    """Of a picture its shorter side; of a volume, which may be thin, the second longest axis."""
    return sorted(item.shape, reverse=True)[1]


def _some(items: Sequence[Item]) -> str:
    named = [f"{item.path} ({' x '.join(map(str, item.shape))})" for item in items[:_NAMED]]
    return ", ".join(named) + (f" and {len(items) - _NAMED} more" if len(items) > _NAMED else "")
