"""What the page shows of a run folder: its words, its layers, its findings and its files."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from ..data.volume import Volume
from ..errors import FileProblem, MedpriorError
from ..io.read import read
from ..runs.core.run import RunFolder
from ..runs.page.record import read_record

__all__ = ["Layer", "Runs", "answer_of", "colours_of", "files_of", "findings_of", "layers_of", "read_layer"]

_HIDDEN = ("manifest.json", "page.json", "events.jsonl")
_OVERLAYS = ("map", "spread", "interval", "width", "heat", "attribution")
_PICTURES = (".dcm", ".gz", ".nii", ".png", ".npz", ".tif", ".jpg")
_RARE = 0.99
_WHITE = 65535


@dataclass(frozen=True, slots=True)
class Layer:
    """One picture of a run. kind: "grey", "overlay", "labels" or "film" (draws, one after the other)."""

    name: str
    kind: str
    path: Path


@dataclass(frozen=True, slots=True)
class Runs:
    """The run folders below a folder, each under a name that says nothing of its path."""

    folder: Path

    def all(self) -> list[tuple[str, RunFolder]]:
        """(id, run), newest first."""
        found = [(_id(place.parent), place.parent) for place in self.folder.glob("*/run.json")]
        read = [(name, _run(path)) for name, path in found]
        whole = [(name, run) for name, run in read if run is not None]
        return sorted(whole, key=lambda pair: str(pair[1].record.get("finished", "")), reverse=True)

    def get(self, name: str) -> RunFolder:
        """Raises FileProblem for an unknown id."""
        for place in self.folder.glob("*/run.json"):
            if _id(place.parent) == name and (run := _run(place.parent)) is not None:
                return run
        raise FileProblem("run", "this is not here any more")

    def preview(self, name: str) -> Path:
        """Its picture at one glance. Raises FileProblem where there is none."""
        path = self.get(name).path / "preview.png"
        if not path.is_file():
            raise FileProblem("preview", "this is not here")
        return path

    def priors(self) -> Iterator[tuple[str, Path]]:
        """(id, folder) of every prior that a run has made."""
        for place in sorted(self.folder.glob("*/card.json")) + sorted(self.folder.glob("*/prior/card.json")):
            yield _id(place.parent), place.parent


def _id(folder: Path) -> str:
    return hashlib.sha256(folder.name.encode() + bytes(folder.parent)).hexdigest()[:16]


def _run(folder: Path) -> RunFolder | None:
    try:
        record = read_record(folder)
    except MedpriorError:
        return None
    return RunFolder(folder, record) if isinstance(record, dict) and record.get("complete") else None


def layers_of(run: RunFolder) -> list[Layer]:
    """Its pictures, in the order in which they are looked at."""
    found = [
        Layer(_stem(path), _kind(_stem(path)), path)
        for path in run.outputs
        if _kind(_stem(path)) and (path.is_dir() or path.suffix in _PICTURES)
    ]
    order = {"grey": 0, "film": 1, "overlay": 2, "labels": 3}
    return sorted(found, key=lambda layer: (order[layer.kind], layer.name))


def _stem(path: Path) -> str:
    return path.name.removesuffix(path.suffix).removesuffix(".nii") if path.suffix else path.name


def _kind(name: str) -> str:
    if name == "structured_report":
        return ""
    if name == "draws":
        return "film"
    if name == "findings" or name.endswith("mask"):
        return "labels"
    return "overlay" if name.split("-")[0].split("_")[0] in _OVERLAYS else "grey"


def read_layer(run: RunFolder, layer: Layer) -> Volume:
    """Its numbers. A map that was written as a picture holds 0 to twice its level as 0 to 65535: it gets its
    own numbers back. Raises what ``io.read`` raises.
    """
    volume = read(layer.path)
    level = _map_level(run)
    if layer.name != "map" or layer.path.suffix != ".png" or level is None:
        return volume
    return replace(volume, data=volume.data * np.float32(2 * level / _WHITE))


def _map_level(run: RunFolder) -> float | None:
    level = run.record.get("metrics", {}).get("map_high")
    return float(level) if isinstance(level, int | float) else None


def colours_of(run: RunFolder, layer: Layer, volume: Volume) -> tuple[float, float]:
    """(where colours begin, their top): of a detection map what one healthy scan in twenty reaches anywhere
    and twice that, the same for every scan of a prior; of others a rare value of the map itself.
    """
    if layer.name != "map":
        return 0.0, max(float(np.quantile(volume.data, 0.999)), 1e-6)
    level = _map_level(run) or max(float(np.quantile(volume.data, _RARE)), 1e-6)
    return level, 2 * level


def files_of(run: RunFolder) -> list[tuple[str, Path]]:
    """(name, path) of what may be downloaded: the report first, then results; the files of a DICOM series one
    by one.
    """
    found = [p for p in sorted(run.path.rglob("*")) if p.is_file() and p.name not in _HIDDEN]
    named = [(p.relative_to(run.path).as_posix(), p) for p in found]
    plain = [(name, p) for name, p in named if not any(part.startswith(".") for part in name.split("/"))]
    return sorted(plain, key=lambda pair: (pair[0] != "report.html", pair[0]))


def findings_of(run: RunFolder) -> list[dict[str, object]]:
    """Number, size with its unit, centre, peak and p-value of each finding of a detection."""
    found = (run.record.get("metrics") or {}).get("findings")
    shape = (run.record.get("input") or {}).get("shape")  # channels come first
    unit = "mm²" if isinstance(shape, list) and len(shape) == 3 else "ml"
    known = [one for one in found if isinstance(one, dict)] if isinstance(found, list) else []
    return [{**one, "unit": unit} for one in known]


def answer_of(run: RunFolder) -> dict[str, object] | None:
    """What the model of ``explain`` or the head of ``predict`` says, the likeliest class first; None for
    other runs.
    """
    said = run.record.get("metrics") or {}
    chances = said.get("answer", said.get("probabilities"))
    if not isinstance(chances, dict) or not chances:
        return None
    explained = "answer" in said
    return {
        "who": "The model answers" if explained else "The head says",
        "given": said.get("given") if explained else said.get("label"),
        "classes": sorted(chances.items(), key=lambda one: -one[1]),
        "kept": said.get("set") or [],
    }
