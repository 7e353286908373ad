"""The page of a run on many scans: the most unusual first, then the rows, then what could not be used."""

from __future__ import annotations

import heapq
from collections.abc import Mapping, Sequence
from pathlib import Path

from ...io.pictures import stored_png
from ...jobs.detection.calibrate import ALPHA
from ..core.outputs import SHORT, Outcome, Summary
from ..core.run import Run
from ..page.blocks import Grid, Picture, Section, Table
from ..page.pictures import Drawn
from .begun import THUMB
from .rows import CSV, DISCOVERY_RATE, ROWS, Discoveries, Row, rows_in

__all__ = ["folder_outcome"]

PICTURES, LINES, NAMED = 24, 200, 100
"""Scans with a picture on the page, with a row, and failed ones that are named there; results.csv has all."""


def folder_outcome(
    run: Run, prior: Mapping[str, str], begun: Path, found: Discoveries | None, listed: int
) -> Outcome:
    """The outcome of all scans together. begun: the folder with the rows. found: None for a shard."""
    rows = begun / ROWS
    first = heapq.nsmallest(
        LINES, (row for row in rows_in(rows) if not row.error), key=lambda row: (row.unusual, row.n)
    )
    failed = heapq.nsmallest(NAMED, (row for row in rows_in(rows) if row.error), key=lambda row: row.n)
    counts = {"scans": 0, "failed": 0, "flagged": 0, "p_values": 0}
    patients = set()
    for row in rows_in(rows):
        counts["scans"] += 1
        counts["failed"] += bool(row.error)
        counts["flagged"] += row.flagged
        counts["p_values"] += row.p_value is not None
        patients.add(row.patient or row.n)
    metrics = {**counts, "listed": listed, "patients": len(patients)}
    if found is not None and counts["p_values"]:
        metrics["discoveries"] = found.n
    lines = _said(metrics)
    shard = run.identity.get("shard")
    sections = [_section(run, begun, first, lines, metrics), *_failures(failed, counts["failed"])]
    part = f"Shard {shard} of {listed} scans: " if shard else ""
    return Outcome(
        metrics,
        sections,
        [],
        Summary(tuple(lines), lines[0], SHORT if counts["failed"] else 0),
        overrides=["scans that the prior is not for were allowed"] if run.identity.get("allow_other") else [],
        title=f"medprior {run.job}: {counts['scans']} scans",
        lead=f"{part}{counts['scans']} scans of {len(patients)} patients. Prior: {prior['name']}.",
    )


def _scans(n: int) -> str:
    return f"{n} scan{'' if n == 1 else 's'}"


def _said(metrics: dict[str, int]) -> list[str]:
    """What the run says of itself, in sentences."""
    n, failed = metrics["scans"], metrics["failed"]
    lines = [f"{n - failed} of {n} scans done."]
    if metrics["p_values"]:
        usual = ALPHA * metrics["p_values"]
        lines.append(
            f"{metrics['flagged']} scans are flagged (p at most {ALPHA:g}); of as many healthy scans "
            f"{usual:.3g} would be."
        )
    if "discoveries" in metrics:
        lines.append(
            f"{metrics['discoveries']} scans are discoveries at a false discovery rate of "
            f"{DISCOVERY_RATE:.0%} over this folder (Benjamini-Hochberg)."
        )
    if failed:
        lines.append(f"{_scans(failed)} could not be used; {CSV} says why.")
    return lines


def _section(
    run: Run, begun: Path, first: Sequence[Row], lines: Sequence[str], metrics: dict[str, int]
) -> Section:
    drawn = run.job in ("reconstruct", "explain")
    pictures = [_picture(begun, row, drawn) for row in first[:PICTURES] if row.folder]
    titles = list(first[0].cells) if first else []
    table = [["scan", *titles, "verdict", "page"]]
    table += [
        [row.path, *(_shown(row.cells.get(name)) for name in titles), row.verdict, _page_of(row)]
        for row in first
    ]
    more = metrics["scans"] - metrics["failed"] - len(first)
    note = f"{CSV} has {more} more." if more > 0 else f"{CSV} has the same rows in the order of the folder."
    if more > 0 or any(not row.page for row in first):
        note += " A page of any other scan: the same command with that scan in place of the folder."
    blocks = [*([Grid(pictures)] if pictures else []), Table(table, note, words=True, open=True)]
    text = "The most unusual scan comes first." if metrics["p_values"] else "What needs a look comes first."
    return Section(
        "All scans",
        text,
        blocks,
        verdict=" ".join(lines),
        caveats=_limits(run.identity.get("shard"), metrics),
    )


def _limits(shard: str | None, metrics: dict[str, int]) -> tuple[str, ...]:
    if not metrics["p_values"]:
        return ()
    if shard is not None:
        return ("This is one shard: the false discovery rate is held when the shards are merged.",)
    return (
        "The false discovery rate holds where the healthy scans of this folder are like those of the "
        "calibration (Bates et al. 2023). p-values of one patient's scans are not independent.",
    )


def _picture(begun: Path, row: Row, drawn: bool) -> Picture:
    return Picture(Drawn(*stored_png(begun / row.folder / THUMB)), row.path, row.verdict, synthetic=drawn)


def _page_of(row: Row) -> str:
    return f"{row.folder}/report.html" if row.page else ""


def _shown(value: object) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def _failures(failed: Sequence[Row], n: int) -> list[Section]:
    if not failed:
        return []
    rows = [["scan", "why"], *([row.path, row.error] for row in failed)]
    note = f"{CSV} has {n - len(failed)} more." if n > len(failed) else ""
    verdict = f"{_scans(n)} could not be used."
    return [Section("What could not be used", "", [Table(rows, note, words=True)], verdict=verdict)]
