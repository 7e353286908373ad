"""Scan as a run: every file of a data set decoded once, and the index that training reads."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from ..errors import printable
from ..io.dataset.index import Unusable
from ..io.dataset.scan import scan
from .ask.requests import Scan
from .core.progress import Event, OnEvent

__all__ = ["run_scan"]

LISTED = 20
"""Most unusable files, and most left out, that are printed; unusable.csv has them all."""


def run_scan(request: Scan, on_event: OnEvent) -> tuple[dict[str, Any], list[str]]:
    """Index the folder; gives the findings as JSON and as lines for a person. Raises what ``io.index.scan``
    raises.
    """
    on_event(Event("stage", "reading every file once"))
    index = scan(
        request.folder,
        out=request.out,
        unit=request.unit,
        modality=request.modality,
        colour=request.colour,
        on_progress=lambda done, total: on_event(Event("step", done=done, total=total)),
    )
    counts, labels = index.counts(), index.labels
    record = {
        "usable": len(index.items),
        "unusable": [asdict(entry) for entry in index.unusable],
        "left_out": [asdict(entry) for entry in index.left_out],
        "passed_over": len(index.passed_over),
        "splits": counts,
        "labels": {label: sum(item.label == label for item in index.items) for label in labels},
        "duplicates": len(index.duplicates),
        "near_duplicates": len(index.near_duplicates),
        "patients_in_several_splits": len(index.crossing),
        "leaks": sum(item.leaks for item in index.items),
        "synthetic": sum(item.synthetic for item in index.items),
    }
    lines = [
        f"{len(index.items)} usable scans, {len(index.unusable)} unusable, {len(index.left_out)} left out, "
        f"{len(index.passed_over)} files passed over",
        f"splits   {', '.join(f'{name} {n}' for name, n in counts.items()) or 'none'}",
        f"labels   {', '.join(f'{name} {n}' for name, n in record['labels'].items()) or 'none'}",
        f"twins    {len(index.duplicates)} groups of equal pixels, {len(index.near_duplicates)} nearly equal "
        "pairs",
        f"leaks    {record['leaks']} scans share a patient or pixels with a stricter split and are left out; "
        f"{len(index.crossing)} patients cross splits",
    ]
    if record["synthetic"]:
        lines.append(f"marked   {record['synthetic']} scans are marked synthetic: training refuses them")
    return record, lines + _listed("unusable", index.unusable) + _listed("left out", index.left_out)


def _listed(heading: str, entries: Sequence[Unusable]) -> list[str]:
    """A line for each of the first LISTED entries, and one for the rest."""
    lines = [
        f"{heading} {printable(u.path)}: {u.reason}{f'; {u.remedy}' if u.remedy else ''}"
        for u in entries[:LISTED]
    ]
    more = len(entries) - LISTED
    return lines if more <= 0 else [*lines, f"{heading} and {more} more, see unusable.csv"]
