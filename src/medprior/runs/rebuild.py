"""Report as a verb: the page of a run made again from what lies in its folder, or one page that compares
several runs.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from ..data.plain import JsonObject
from ..errors import BadOption, Corrupt, FileProblem
from ..io.disk.files import give_back, hold, read_json, sha256, write_file, write_json
from .core.outputs import Outcome, Summary
from .core.progress import silent
from .core.run import Run, RunFolder
from .page.blocks import Block, Compare, Fold, Grid, Picture, Section, Table, page_bytes
from .page.record import read_record
from .page.store import PAGE, REPORT, page_of, sections_of

__all__ = ["compare", "rebuild", "reported"]

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
    hold(folder)
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
    give_back(folder)
    return RunFolder(folder, record, reused=not changed)


def _now(path: Path) -> str:
    return sha256(path) if path.is_file() else ""


def _record(folder: Path) -> JsonObject:
    if not folder.is_dir():
        raise FileProblem(
            folder,
            "is no folder of a run",
            "give a folder that medprior has written, such as runs/detect-1a2b3c4d",
        )
    record = read_record(folder)
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
    identity = {"job": "report", "runs": [record.get("id") or record.get("key") for record in records]}
    run = Run("report", identity, out, fresh, started=started)
    if (done := run.done(silent)) is not None:
        return done
    names = _names(folders)
    sections = [_table(names, records), *_scores(names, records), *_differences(names, records)]
    sections += _pictures(names, folders)
    for name, folder in zip(names, folders, strict=True):
        sections += [
            replace(section, heading=f"{name} · {section.heading}") for section in sections_of(folder)
        ]
    outcome = Outcome(
        {},
        sections,
        [],
        Summary((), f"{len(folders)} runs compared"),
        title=f"{len(folders)} runs compared",
        lead="Each number stands in the report of its own run, too.",
    )
    compared = [{"id": r.get("id", ""), "job": r["job"], "metrics": r["metrics"]} for r in records]
    return run.publish(outcome, run.record(outcome, request={"job": "report"}, runs=compared))


def _names(folders: Sequence[Path]) -> list[str]:
    """What the page calls each run: its folder, with as many folders above it as tell it from the others."""
    paths = [folder.resolve() for folder in folders]
    names, depth = [path.name for path in paths], 1
    while len(set(names)) < len(set(paths)):
        depth += 1
        names = ["/".join(path.parts[-depth:]) for path in paths]
    return names


def _table(names: Sequence[str], records: Sequence[Mapping[str, Any]]) -> Section:
    rows = [["run", "job", "date", "input", "prior", "seed", "result"]]
    for name, record in zip(names, records, strict=True):
        prior = record.get("prior") or {}
        rows.append(
            [
                name,
                record["job"],
                str(record.get("finished", ""))[:10],
                _input(record),
                prior.get("name", "several"),
                str(record["request"].get("seed", "")),
                Summary.of(record).result,
            ]
        )
    inputs = {(record.get("input") or {}).get("sha256") for record in records}
    caveats = (
        ("The runs start from different scans: their numbers cannot be compared image by image.",)
        if len(inputs) > 1
        else ()
    )
    return Section("Side by side", "", [Table(rows, words=True)], caveats=caveats)


def _input(record: Mapping[str, Any]) -> str:
    """What a run started from: a scan by the start of its SHA-256, since a record holds no file name."""
    if (scan := record.get("input")) is not None:
        size = " x ".join(str(n) for n in scan["shape"][1:])
        return f"{scan.get('modality') or scan.get('measured') or 'scan'} {size}, {scan['sha256'][:8]}"
    if data := record.get("data"):
        return f"{data['scans']} scans"
    return "none"


def _scores(names: Sequence[str], records: Sequence[Mapping[str, Any]]) -> list[Section]:
    """PSNR and SSIM of every method of every run that has them."""
    found = [record["metrics"].get("methods", {}) for record in records]
    methods = list(
        dict.fromkeys(name for own in found for name, at in own.items() if at.get("psnr_db") is not None)
    )
    if not methods:
        return []
    rows = [["method", *names]]
    rows += [
        [name, *(f"{m[name]['psnr_db']:.2f} dB, {m[name]['ssim']:.3f}" if name in m else "" for m in found)]
        for name in methods
    ]
    return [Section("Every method", "PSNR and SSIM against the known image.", [Table(rows)])]


def _differences(names: Sequence[str], records: Sequence[Mapping[str, Any]]) -> list[Section]:
    """The options in which the requests differ."""
    options = list(dict.fromkeys(name for record in records for name in record["request"]))
    rows = [
        [name, *("" if (value := record["request"].get(name)) is None else str(value) for record in records)]
        for name in options
    ]
    rows = [row for row in rows if len(set(row[1:])) > 1]
    return (
        [Section("What was asked differently", "", [Table([["option", *names], *rows], words=True)])]
        if rows
        else []
    )


def _inside(blocks: Iterable[Block]) -> Iterator[Picture]:
    """Every picture of the blocks, in order."""
    for block in blocks:
        if isinstance(block, Grid):
            yield from block.pictures
        elif isinstance(block, Compare):
            yield from (one for one in (block.left, block.right, block.beside) if one is not None)
        elif isinstance(block, Fold):
            yield from _inside(block.blocks)


def _pictures(names: Sequence[str], folders: Sequence[Path]) -> list[Section]:
    """The first picture of each run that a prior had a part in."""
    shown = []
    for name, folder in zip(names, folders, strict=True):
        blocks = [block for section in sections_of(folder) for block in section.blocks]
        pictures = [picture for picture in _inside(blocks) if picture.synthetic]
        shown += [replace(picture, title=f"{name}: {picture.title}", wide=False) for picture in pictures[:1]]
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
