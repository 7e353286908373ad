"""A report as data: page.json in a run folder holds what the page shows, run.json what the run was;
report.html is a pure function of the two.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping, Sequence
from dataclasses import asdict, fields
from math import isfinite
from pathlib import Path
from typing import Any

from ...data.plain import JsonObject
from ...data.views import Window
from ...errors import Corrupt
from ...io.disk.files import read_json, write_file, write_json
from .blocks import Block, Charts, Compare, Fold, Grid, Page, Picture, Section, Table, page_bytes
from .charts import KINDS, NEUTRAL, Chart, Series, svg
from .pictures import COLOURS, Drawn, data_uri
from .record import read_record

__all__ = ["PAGE", "REPORT", "facts_of", "lead_of", "page_of", "sections_of", "told_sections", "write_report"]

PAGE, REPORT = "page.json", "report.html"

_FORMATS = {
    "dicom": "DICOM",
    "nifti": "NIfTI",
    "picture": "a picture",
    "npz": "NPZ",
    "hdf5": "HDF5",
    "memory": "memory",
}
_START = "data:image/png;base64,"


def write_report(
    folder: Path, title: str, lead: str, sections: Sequence[Section], record: Mapping[str, Any]
) -> None:
    """run.json, page.json, and report.html made of what was just written, so that it can be made again."""
    write_json(folder / "run.json", record)
    write_json(
        folder / PAGE, {"title": title, "lead": lead, "sections": [_stored_section(s) for s in sections]}
    )
    write_file(folder / REPORT, page_bytes(page_of(folder)))


def page_of(folder: Path) -> Page:
    """The page of a run folder. Raises FileProblem where a file is missing, Corrupt where it is no page."""
    stored, record = read_json(folder / PAGE), read_record(folder)
    return _read(
        folder,
        lambda: Page(
            _text(stored["title"]),
            _text(stored["lead"]),
            [_section(s) for s in stored["sections"]],
            facts_of(record),
        ),
    )


def sections_of(folder: Path) -> list[Section]:
    """The sections of a run folder's page."""
    stored = read_json(folder / PAGE)
    return _read(folder, lambda: [_section(s) for s in stored["sections"]])


def told_sections(folder: Path) -> list[JsonObject]:
    """The same as plain data, with every chart drawn: its ``svg``, ``title`` and ``caption``."""
    found = []
    for section in sections_of(folder):
        stored = _stored_section(section)
        for block, plain in zip(section.blocks, stored["blocks"], strict=True):
            _draw(block, plain)
        found.append(stored)
    return found


def _draw(block: Block, plain: JsonObject) -> None:
    if isinstance(block, Fold):
        for inner, one in zip(block.blocks, plain["blocks"], strict=True):
            _draw(inner, one)
    elif isinstance(block, Charts):
        plain["charts"] = [
            {"title": chart.title, "caption": chart.caption, "svg": svg(chart)} for chart in block.charts
        ]


def _read(folder: Path, make: Any) -> Any:
    try:
        return make()
    except (KeyError, TypeError, ValueError, AttributeError, binascii.Error) as error:
        raise Corrupt(
            folder / PAGE,
            f"is not the page of a run ({type(error).__name__}: {error})",
            "do the run again with --fresh",
        ) from error


def _stored_section(section: Section) -> JsonObject:
    blocks = [_stored_block(block) for block in section.blocks]
    return {
        "heading": section.heading,
        "text": section.text,
        "verdict": section.verdict,
        "caveats": list(section.caveats),
        "blocks": blocks,
    }


def _stored_block(block: Block) -> JsonObject:
    if isinstance(block, Grid):
        return {"kind": block.kind, "pictures": [_stored_picture(p) for p in block.pictures]}
    if isinstance(block, Compare):
        views = {"left": block.left, "right": block.right, "beside": block.beside}
        return {"kind": block.kind} | {name: _stored_picture(p) for name, p in views.items() if p is not None}
    if isinstance(block, Fold):
        inner = [_stored_block(one) for one in block.blocks]
        return {"kind": block.kind, "title": block.title, "blocks": inner}
    if isinstance(block, Charts):
        return {"kind": block.kind, "charts": [asdict(chart) for chart in block.charts]}
    return {f.name: getattr(block, f.name) for f in fields(block)}


def _stored_picture(picture: Picture) -> JsonObject:
    plain = {f.name: getattr(picture, f.name) for f in fields(picture)}
    layer, window = picture.layer, picture.window
    return {
        **plain,
        "edges": list(picture.edges),
        "window": None if window is None else [window.low, window.high, window.name],
        "layer": None if layer is None else data_uri(layer),
        "size": list(picture.image.size),
        "image": data_uri(picture.image),
    }


def _section(stored: Mapping[str, Any]) -> Section:
    caveats = tuple(_text(line) for line in stored["caveats"])
    return Section(
        _text(stored["heading"]),
        _text(stored["text"]),
        [_block(b) for b in stored["blocks"]],
        _text(stored["verdict"]),
        caveats,
    )


def _block(stored: Mapping[str, Any]) -> Block:
    """What an older version has not written is as if it were not there."""
    kind = stored["kind"]
    if kind == "grid":
        return Grid([_picture(p) for p in stored["pictures"]])
    if kind == "compare":
        beside = stored.get("beside")
        left, right = _picture(stored["left"]), _picture(stored["right"])
        return Compare(left, right, None if beside is None else _picture(beside))
    if kind == "fold":
        inner = [_block(one) for one in stored["blocks"]]
        return Fold(_text(stored["title"]), [one for one in inner if not isinstance(one, Fold)])
    if kind == "charts":
        return Charts([_chart(one) for one in stored["charts"]])
    if kind != "table":
        raise ValueError(f"a block of kind {kind!r}")
    rows = [[_text(cell) for cell in row] for row in stored["rows"]]
    best = None if stored["best"] is None else int(stored["best"])
    return Table(rows, _text(stored["note"]), best, bool(stored["words"]), bool(stored.get("open", False)))


def _picture(stored: Mapping[str, Any]) -> Picture:
    """A picture that was drawn before; anything but a PNG in the file itself is refused."""
    size = tuple(int(n) for n in stored["size"])
    low, high, colours = stored["legend"] or ("", "", "")
    if colours not in ("", *COLOURS):
        raise ValueError(f"colours {colours!r}")
    layer, window = stored.get("layer"), stored.get("window")
    left, right = (_text(letter) for letter in stored.get("edges", ("", "")))
    return Picture(
        _drawn(stored["image"], size),
        _text(stored["title"]),
        _text(stored["caption"]),
        bool(stored["synthetic"]),
        (_text(low), _text(high), colours) if colours else None,
        bool(stored["wide"]),
        None if layer is None else _drawn(layer, size),
        None if window is None else _window(window),
        (left, right),
    )


def _window(stored: Sequence[Any]) -> Window:
    low, high = _numbers(stored[:2])
    return Window(low, high, _text(stored[2]))


def _drawn(stored: Any, size: tuple[int, ...]) -> Drawn:
    uri = _text(stored)
    png = base64.b64decode(uri.removeprefix(_START), validate=True)
    if not uri.startswith(_START) or not png.startswith(b"\x89PNG"):
        raise ValueError("a picture that is no PNG")
    width, height = size
    return Drawn(png, (width, height))


def _chart(stored: Mapping[str, Any]) -> Chart:
    words = {name: _text(stored[name]) for name in ("title", "caption", "x_label", "y_label")}
    ticks = [(_numbers([place])[0], _text(name)) for place, name in stored["ticks"]]
    series = [_series(one) for one in stored["series"]]
    return Chart(
        **words, series=series, ticks=ticks, log_x=bool(stored["log_x"]), square=bool(stored["square"])
    )


def _series(stored: Mapping[str, Any]) -> Series:
    kind, colour = stored["kind"], int(stored["colour"])
    if kind not in KINDS or colour not in range(NEUTRAL + 1):
        raise ValueError(f"a series of kind {kind!r} in colour {colour}")
    x, y, low, high = (_numbers(stored[name]) for name in ("x", "y", "low", "high"))
    return Series(
        kind, x, y, _text(stored["name"]), colour, low, high, bool(stored["faint"]), bool(stored["dashed"])
    )


def _numbers(values: Any) -> list[float]:
    found = [float(value) for value in values]
    if not all(isfinite(value) for value in found):
        raise ValueError("a number that is not finite")
    return found


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise ValueError(f"wanted text, got a {type(value).__name__}")
    return value


def lead_of(record: Mapping[str, Any]) -> str:
    """One sentence about the input of a job on one scan."""
    about = record["input"]
    if about is None and record.get("given"):
        what = ", ".join(
            f"{name} ({' x '.join(str(n) for n in one['shape'][1:])})"
            for name, one in record["given"].items()
        )
        return (
            f"Given: {what}. All else was drawn by the prior {record['prior']['name']}, seed "
            f"{record['request']['seed']}."
        )
    if about is None:
        return (
            f"Made by the prior {record['prior']['name']} from nothing but noise, seed "
            f"{record['request']['seed']}."
        )
    size = " x ".join(str(n) for n in about["shape"][1:])
    if "measured" in about:
        shape = " x ".join(map(str, about["shape"]))
        return (
            f"Input: measured {about['measured']}, {shape}, read from {_FORMATS[about['format']]}. "
            f"Prior: {record['prior']['name']}."
        )
    cells = "pixels" if len(about["shape"]) == 3 else "voxels"
    return (
        f"Input: {about['modality'] or 'modality unknown'}, {size} {cells}, read from "
        f"{_FORMATS[about['format']]}. Prior: {record['prior']['name']}."
    )


def facts_of(record: Mapping[str, Any]) -> list[tuple[str, str]]:
    """The foot of a report, of whatever kind of run."""
    facts = [("Run", str(record["id"])[:16])]
    if "seed" in record.get("request", {}):
        facts.append(("Seed", str(record["request"]["seed"])))
    priors = (
        [record["prior"]]
        if record.get("prior")
        else [part["prior"] for part in record.get("parts", {}).values()]
    )
    facts += [
        ("Prior", f"{name}, SHA-256 {digest[:16]}")
        for name, digest in sorted({(p["name"], p["sha256"]) for p in priors})
    ]
    about = record.get("input")
    if about is not None:
        facts.append(("Input", f"SHA-256 {about['sha256'][:16]}"))
        facts += [("Reader's note", note) for note in about["warnings"]]
    facts += [("Scan", text) for text in record.get("scans", ())]
    facts += [("Override", text) for text in record.get("overrides", ())]
    device, threads = record.get("device"), record.get("threads")
    where = (
        f", on {device}{f' with {threads} threads' if threads and device == 'cpu' else ''}" if device else ""
    )
    times = ", ".join(f"{name} {value:.1f} s" for name, value in record["seconds"].items())
    facts.append(("Time", f"{times}{where}; peak memory {record['peak_mib']:.0f} MiB"))
    facts.append(("Versions", ", ".join(f"{name} {value}" for name, value in record["versions"].items())))
    facts.append(("Finished", record["finished"]))
    return facts
