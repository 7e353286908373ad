"""Scan as a run: every file of a data set decoded once, what was understood of it, and the index."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np
from PIL import Image

from ..data.plain import JsonObject
from ..data.views import grey, upright, window_for
from ..errors import MedpriorError
from ..io.dataset.advice import advice, for_training, many, patients_line
from ..io.dataset.index import Index, Item, Unusable
from ..io.dataset.listing import folder_state
from ..io.dataset.scan import scan
from ..io.dataset.store import save_index
from .ask.requests import Scan
from .core.outputs import Outcome, Summary
from .core.progress import Event, OnEvent
from .core.run import Run, RunFolder
from .page.blocks import Grid, Picture, Section, Table
from .page.pictures import mosaic

__all__ = ["run_scan"]

LISTED = 20
"""Most unusable files, and most left out, that are printed; unusable.csv has them all."""

SHOWN = 24
"""Scans of the contact sheet."""
_SIDE = 128
_SIZES = 4
_NAMES = 6


def run_scan(request: Scan, on_event: OnEvent) -> RunFolder:
    """Look at a data set and write the run folder: index.json, unusable.csv, report.html, preview.png.

    Nothing is written into the data folder unless ``write_index`` says so. Raises what
    ``io.dataset.scan.scan`` raises, and BadOption for a folder that holds something else.
    """
    state = folder_state(request.folder, request.layout)
    run = Run("scan", {**request.identity(), "state": state}, request.out, request.fresh)
    if (done := run.done(on_event)) is not None:
        return done
    on_event(Event("stage", "reading every file once"))
    index = scan(
        request.folder,
        out=request.folder if request.write_index else None,
        unit=request.unit,
        modality=request.modality,
        colour=request.colour,
        layout=request.layout,
        on_progress=lambda done, total: on_event(Event("step", done=done, total=total)),
    )
    outcome = _outcome(index)
    return run.publish(outcome, run.record(outcome), lambda folder: save_index(index, folder))


def _outcome(index: Index) -> Outcome:
    rows, warnings = _understood(index), (*advice(index), *for_training(index))
    counts = f"{many(len(index.items), 'scan')} can be used"
    lines = [
        f"{counts}; unusable {len(index.unusable)}, left out {len(index.left_out)}, documents "
        f"{len(index.passed_over)}",
        *(f"{name:9} {text}" for name, text in rows),
        *(f"warning   {text}" for text in warnings if not text.startswith("patients:")),
    ]
    named = _listed("unusable", index.unusable) + _listed("left out", index.left_out)
    sheet = _sheet(index)
    caption = f"{SHOWN if len(index.items) > SHOWN else 'All'} scans, evenly chosen, each in its own window."
    blocks = [Table([("", ""), *rows], words=True, open=True)]
    pictures = [Grid([Picture(sheet, "Contact sheet", caption, wide=True)])] if sheet is not None else []
    sections = [
        Section("What was understood", blocks=blocks, caveats=warnings, verdict=f"{counts}."),
        Section("Contact sheet", blocks=pictures),
        *_faults(index),
    ]
    return Outcome(
        metrics=_record(index),
        sections=sections,
        preview=[("contact sheet", sheet)] if sheet is not None else [],
        summary=Summary((*lines, *named), counts),
        title="medprior scan",
        lead=f"{many(len(index.items), 'scan')} of a data set, read once. Nothing was learned.",
    )


def _understood(index: Index) -> list[tuple[str, str]]:
    """(what, in words), for a terminal and for the page."""
    labels = Counter(item.label for item in index.items if item.label)
    kinds = Counter(item.modality or "unknown" for item in index.items)
    sizes = Counter(" x ".join(map(str, item.shape)) for item in index.items)
    leaks = sum(item.leaks for item in index.items)
    rows = [
        ("layout", index.layout),
        ("patients", patients_line(index)),
        ("labels", _counted(labels) or "none"),
        ("modality", _counted(kinds)),
        ("size", _counted(sizes, _SIZES, "{} ({})")),
        ("spacing", _spacing(index.items)),
        ("values", _values(index.items)),
        ("splits", _counted(index.counts()) or "none"),
        (
            "copies",
            f"{many(len(index.duplicates), 'group')} of equal images, "
            f"{many(len(index.near_duplicates), 'pair')} of nearly equal ones",
        ),
    ]
    if later := [item for item in index.items if item.later]:
        names = dict.fromkeys(item.volume for item in index.items if item.volume)
        rows.append(
            (
                "volumes",
                f"{many(len(later), 'further volume')} of series that hold several: listed, not learned from "
                f"(the first of each is). By name: {', '.join(list(names)[:_NAMES])}"
                f"{' ...' if len(names) > _NAMES else ''}",
            )
        )
    if leaks:
        rows.append(
            (
                "splits",
                f"{many(leaks, 'scan')} of a patient or with pixels of a stricter split, not used; "
                f"{many(len(index.crossing), 'patient')} in several splits",
            )
        )
    if synthetic := sum(item.synthetic for item in index.items):
        rows.append(("synthetic", f"{many(synthetic, 'scan')} marked so: training refuses them"))
    return rows


def _counted(counts: dict[str, int], most: int = 24, form: str = "{} {}") -> str:
    """ "train 70, val 15", the most frequent first where some are left out."""
    rows = list(counts.items())
    if len(rows) > most:
        rows = sorted(rows, key=lambda row: -row[1])[:most]
    more = f" and {len(counts) - most} more" if len(counts) > most else ""
    return ", ".join(form.format(name, n) for name, n in rows) + more


def _spacing(items: Sequence[Item]) -> str:
    known = [item.spacing_mm for item in items if item.spacing_mm is not None]
    if not known:
        return "unknown"
    finest, coarsest = min(known), max(known)
    words = [" x ".join(f"{mm:.3g}" for mm in one) for one in (finest, coarsest)]
    text = words[0] if words[0] == words[1] else " to ".join(words)
    missing = len(items) - len(known)
    return f"{text} mm{f', unknown for {missing}' if missing else ''}"


def _values(items: Sequence[Item]) -> str:
    """The range of each unit."""
    found = []
    for unit in sorted({item.unit for item in items}):
        spans = [item.values for item in items if item.unit == unit and item.values is not None]
        if spans:
            low, high = min(low for low, _ in spans), max(high for _, high in spans)
            found.append(f"{low:g} to {high:g} {unit or '(no unit)'}")
    return ", ".join(found) or "unknown"


def _record(index: Index) -> JsonObject:
    """The findings as numbers; what is not known of the patients is null."""
    named, patients = index.named()
    return {
        "layout": index.layout,
        "usable": len(index.items),
        "unusable": [[u.path, u.reason, u.remedy] for u in index.unusable],
        "left_out": len(index.left_out),
        "passed_over": len(index.passed_over),
        "splits": index.counts(),
        "labels": dict(sorted(Counter(item.label for item in index.items if item.label).items())),
        "patients_named_for": named,
        "patients": patients if named == len(index.items) else None,
        "patients_in_several_splits": len(index.crossing) if named == len(index.items) else None,
        "duplicates": len(index.duplicates),
        "near_duplicates": len(index.near_duplicates),
        "leaks": sum(item.leaks for item in index.items),
        "further_volumes": sum(item.later for item in index.items),
        "synthetic": sum(item.synthetic for item in index.items),
        "modalities": dict(Counter(item.modality for item in index.items)),
        "units": dict(Counter(item.unit for item in index.items)),
        "warnings": [*advice(index), *for_training(index)],
    }


def _sheet(index: Index) -> Image.Image | None:
    """Small pictures of scans, evenly chosen; None where none can be shown."""
    at = np.linspace(0, len(index.items) - 1, min(len(index.items), SHOWN)).round().astype(int)
    tiles = []
    for item in (index.items[n] for n in sorted(set(at.tolist()))):
        try:
            volume = index.load(item)
        except MedpriorError:  # gone since it was looked at
            continue
        picture = grey(upright(volume), window_for(volume))
        picture.thumbnail((_SIDE, _SIDE))
        tile = Image.new("L", (_SIDE, _SIDE))
        tile.paste(picture, ((_SIDE - picture.width) // 2, (_SIDE - picture.height) // 2))
        tiles.append(tile)
    return mosaic(tiles, min(8, len(tiles))) if tiles else None


def _faults(index: Index) -> list[Section]:
    sections = []
    for heading, entries in (("Files that cannot be used", index.unusable), ("Left out", index.left_out)):
        if entries:
            rows = [(u.path, u.reason, u.remedy) for u in entries[:LISTED]]
            note = f"{LISTED} of {len(entries)}; unusable.csv has all." if len(entries) > LISTED else ""
            table = Table([("file", "reason", "what to do"), *rows], note=note, words=True)
            sections.append(Section(heading, blocks=[table]))
    return sections


def _listed(heading: str, entries: Sequence[Unusable]) -> list[str]:
    """A line for each of the first LISTED entries, and one for the rest."""
    lines = [f"{heading} {u.path}: {u.reason}{f'; {u.remedy}' if u.remedy else ''}" for u in entries[:LISTED]]
    more = len(entries) - LISTED
    return lines if more <= 0 else [*lines, f"{heading} and {more} more, see unusable.csv"]
