"""Report as a verb: the page of a run made again from what lies in its folder, or one page that compares
several runs.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from ..errors import BadOption, Corrupt, FileProblem
from ..io.disk.files import read_json, sha256, write_file, write_folder, write_json
from .core.folder import RunFolder, default_out, finished, run_id, vacant
from .core.record import peak_mib, versions
from .page.blocks import Grid, Section, Table, page_bytes
from .page.store import PAGE, REPORT, page_of, sections_of, write_report

__all__ = ["compare", "rebuild", "reported", "result_of"]

MANIFEST = "manifest.json"


def reported(folders: Sequence[Path], out: Path | None = None, *, fresh: bool = False) -> RunFolder:
    """What ``medprior report`` does: one run is rebuilt in its place, several are compared. Raises BadOption
    for none, or ``out`` with one.
    """
    if not folders:
        raise BadOption(
            "report: wanted the folder of a run, got none", "medprior report runs/detect-1a2b3c4d"
        )
    if len(folders) > 1:
        return compare(folders, out, fresh=fresh)
    if out is not None:
        raise BadOption(
            "out: no option for one run, whose report lies in its own folder",
            "give several runs to compare them",
        )
    return rebuild(folders[0])


def rebuild(folder: Path) -> RunFolder:
    """Make report.html again, and those of the parts of a demo; ``reused`` says that not a byte has changed.

    Raises FileProblem for what is no complete run, Corrupt where another file than the report does not match
    its checksum.
    """
    record = _record(folder)
    _sound(folder)
    pages = {f"{name}/{REPORT}": folder / name for name in record.get("parts", ()) if Path(name).name == name}
    made = {name: page_bytes(page_of(at)) for name, at in {**pages, REPORT: folder}.items()}
    changed = {
        name: page for name, page in made.items() if _now(folder / name) != hashlib.sha256(page).hexdigest()
    }
    for name, new in changed.items():
        write_file(folder / name, new)
    if (folder / MANIFEST).is_file():
        listed = {**read_json(folder / MANIFEST), **{name: sha256(folder / name) for name in changed}}
        if changed:
            write_json(folder / MANIFEST, listed)
    return RunFolder(folder, record, reused=not changed)


def _now(path: Path) -> str:
    return sha256(path) if path.is_file() else ""


def _record(folder: Path) -> dict[str, Any]:
    if not folder.is_dir():
        raise FileProblem(
            folder,
            "is no folder of a run",
            "give a folder that medprior has written, such as runs/detect-1a2b3c4d",
        )
    record = read_json(folder / "run.json")
    if not isinstance(record, dict) or not record.get("complete"):
        raise FileProblem(folder, "holds no complete run", "repeat its command first")
    if not (folder / PAGE).is_file():
        raise FileProblem(
            folder / PAGE,
            "no such file: the run was written by an older medprior",
            "do the run again with --fresh",
        )
    return record


def _sound(folder: Path) -> None:
    """Every file but the reports is as its checksum says. A folder of a training run has no checksums of its
    own.
    """
    if not (folder / MANIFEST).is_file():
        return
    listed = read_json(folder / MANIFEST)
    if not isinstance(listed, dict):
        raise Corrupt(folder / MANIFEST, "is not a list of checksums")
    for name, digest in listed.items():
        path = folder / name
        if not path.resolve().is_relative_to(folder.resolve()):
            raise Corrupt(folder / MANIFEST, f"names a file outside of the folder: {name!r}")
        if path.name != REPORT and _now(path) != digest:
            raise Corrupt(path, "is missing or does not match its checksum", "do the run again with --fresh")


def compare(folders: Sequence[Path], out: Path | None = None, *, fresh: bool = False) -> RunFolder:
    """One page over several runs: what they found side by side, which options differ, then every section of
    each.

    Raises what ``rebuild`` raises, BadOption for fewer than two runs or an ``out`` that holds something else.
    """
    if len(folders) < 2:
        raise BadOption(f"report: wanted at least two runs to compare, got {len(folders)}")
    started = time.monotonic()
    records = [_record(folder) for folder in folders]
    for folder in folders:
        _sound(folder)
    identifier = run_id(
        {"job": "report", "runs": [record.get("id") or record.get("key") for record in records]}
    )
    target = out or default_out("report", identifier)
    if not fresh and (done := finished(target, identifier)):
        return done
    vacant(target, identifier, fresh=fresh)
    sections = [_table(records), *_scores(records), *_differences(records), *_pictures(folders)]
    for n, folder in enumerate(folders, start=1):
        sections += [
            replace(section, heading=f"Run {n} · {section.heading}") for section in sections_of(folder)
        ]
    record = {
        "id": identifier,
        "job": "report",
        "request": {"job": "report"},
        "runs": [{"id": r.get("id", ""), "job": r["job"], "metrics": r["metrics"]} for r in records],
        "metrics": {},
        "versions": versions(),
        "finished": datetime.now(UTC).isoformat(timespec="seconds"),
        "seconds": {"job": round(time.monotonic() - started, 3)},
        "peak_mib": round(peak_mib(), 1),
        "complete": True,
    }
    write_folder(
        target,
        lambda new: write_report(
            new,
            f"{len(folders)} runs compared",
            "Each number stands in the report of its own run, too.",
            sections,
            record,
        ),
    )
    return RunFolder(target, record)


def result_of(metrics: Mapping[str, Any]) -> str:
    """The number that matters of one run, beside the best plain method's."""
    if "methods" in metrics:
        (ours, found), *plain = reversed(metrics["methods"].items())
        if "measured" in metrics:
            return f"measured data, no known image; misfit {metrics['misfit']:.2f}"
        name, best = max(plain, key=lambda item: item[1]["psnr_db"])
        return f"{found['psnr_db']:.1f} dB ({ours}); {best['psnr_db']:.1f} dB ({name})"
    if "verdict" in metrics:
        return str(metrics["verdict"])
    if "auroc" in metrics:
        return (
            ", ".join(f"AUROC {at['value']:.3f} ({name})" for name, at in metrics["auroc"].items())
            or "one class only: no AUROC"
        )
    if "p_value" in metrics:
        return (
            f"p = {metrics['p_value']:.2g} from {metrics['n_healthy']} healthy patients"
            if metrics["p_value"] is not None
            else str(metrics["refused"])
        )
    if "correlation_with_source" in metrics:
        found = metrics["correlation_with_source"]
        return f"{len(found)} variations, correlation with the source {min(found):.2f} to {max(found):.2f}"
    if "steps" in metrics:
        return (
            f"{metrics['steps']} steps, loss "
            f"{metrics['loss'] if metrics['loss'] is None else format(metrics['loss'], '.4f')}"
        )
    if "size" in metrics:
        return (
            f"{metrics['n']} images of {' x '.join(map(str, metrics['size']))}, label "
            f"{metrics['label'] or ('mixed' if metrics.get('mix') else 'any')}"
        )
    return "see its own report"


def _table(records: Sequence[Mapping[str, Any]]) -> Section:
    rows = [["run", "job", "prior", "seed", "result"]]
    for n, record in enumerate(records, start=1):
        prior = record.get("prior") or {}
        rows.append(
            [
                str(n),
                record["job"],
                prior.get("name", "several"),
                str(record["request"].get("seed", "")),
                result_of(record["metrics"]),
            ]
        )
    inputs = {(record.get("input") or {}).get("sha256") for record in records}
    caveats = (
        ("The runs start from different scans: their numbers cannot be compared image by image.",)
        if len(inputs) > 1
        else ()
    )
    return Section("Side by side", "", [Table(rows, words=True)], caveats=caveats)


def _scores(records: Sequence[Mapping[str, Any]]) -> list[Section]:
    """PSNR and SSIM of every method of every run that has them."""
    found = [record["metrics"].get("methods", {}) for record in records]
    names = list(
        dict.fromkeys(
            name for methods in found for name, at in methods.items() if at.get("psnr_db") is not None
        )
    )
    if not names:
        return []
    rows = [["method", *(f"run {n}" for n in range(1, len(records) + 1))]]
    rows += [
        [name, *(f"{m[name]['psnr_db']:.2f} dB, {m[name]['ssim']:.3f}" if name in m else "" for m in found)]
        for name in names
    ]
    return [Section("Every method", "PSNR and SSIM against the known image.", [Table(rows)])]


def _differences(records: Sequence[Mapping[str, Any]]) -> list[Section]:
    """The options in which the requests differ."""
    names = list(dict.fromkeys(name for record in records for name in record["request"]))
    rows = [
        [name, *("" if (value := record["request"].get(name)) is None else str(value) for record in records)]
        for name in names
    ]
    rows = [row for row in rows if len(set(row[1:])) > 1]
    head = ["option", *(f"run {n}" for n in range(1, len(records) + 1))]
    return [Section("What was asked differently", "", [Table([head, *rows], words=True)])] if rows else []


def _pictures(folders: Sequence[Path]) -> list[Section]:
    """The first picture of each run that a prior had a part in."""
    shown = []
    for n, folder in enumerate(folders, start=1):
        pictures = [
            p
            for section in sections_of(folder)
            for block in section.blocks
            if isinstance(block, Grid)
            for p in block.pictures
            if p.synthetic
        ]
        shown += [replace(picture, title=f"Run {n}: {picture.title}", wide=False) for picture in pictures[:1]]
    return (
        [
            Section(
                "Results side by side",
                "The first picture of each run that a prior had a part in.",
                [Grid(shown)],
            )
        ]
        if shown
        else []
    )
