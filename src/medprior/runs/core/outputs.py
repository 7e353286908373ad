"""What a job hands back to be written: volumes, numbers, and the section of the report that shows them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from ...data.plain import JsonObject
from ...data.volume import Volume
from ...errors import Unsupported
from ...io.disk.files import write_file
from ...io.write import write
from ..page.blocks import Section
from ..page.pictures import contact_sheet
from ..page.store import lead_of, write_report

__all__ = [
    "SHORT",
    "Outcome",
    "Output",
    "Performed",
    "ScanResult",
    "Summary",
    "file_name",
    "suffix_of",
    "write_output",
    "write_scored",
]

SHORT = 4
"""Exit code of work on many scans that is done, and could not make all that was wanted."""

SUFFIXES = {
    "dicom": ".dcm",
    "nifti": ".nii.gz",
    "picture": ".png",
    "npz": ".npz",
    "hdf5": ".nii.gz",
    "memory": ".nii.gz",
}


@dataclass(frozen=True, slots=True)
class Output:
    """One file to write. kind: of ``io.write.KINDS``; like: the volume that was the input; suffix: "" means
    that of the input's format.

    window: (low, high) for a picture; None: the values themselves.
    """

    name: str
    volume: Volume
    kind: str
    like: Volume | None = None
    suffix: str = ""
    window: tuple[float, float] | None = None


@dataclass(frozen=True, slots=True)
class Summary:
    """What a run says of itself. headline: plain sentences, the last lines on the terminal; result: one short
    text for a page that compares runs. code: what the command line exits with, ``SHORT`` where some of
    many scans gave nothing.
    """

    headline: tuple[str, ...] = ()
    result: str = ""
    code: int = 0

    @classmethod
    def of(cls, record: Mapping[str, Any]) -> Summary:
        """From run.json; a run of an older medprior says only that its report does."""
        at = record.get("summary")
        if not isinstance(at, dict):
            return cls((), "see its own report")
        return cls(tuple(at["headline"]), at["result"], at["code"])

    def as_json(self) -> JsonObject:
        return {"headline": list(self.headline), "result": self.result, "code": self.code}


@dataclass(frozen=True, slots=True)
class ScanResult:
    """What a job says of one scan among many. cells: values by column of results.csv. unusual: the scans with
    the lowest stand first on the page. flagged: whether it needs a look.
    """

    cells: Mapping[str, str | float | bool | None] = field(default_factory=dict)
    unusual: tuple[float, ...] = ()
    flagged: bool = False


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a job found, before it is written. metrics: for run.json. sections: of the report, the first says
    most. preview: (title, picture). overrides: what was allowed although it does not fit.

    scored: (scan from DICOM, ``structured_report.ReportContent``) for a structured report beside the outputs.
    files: content by name, relative to the run folder. title, lead: of the report; "": by the job, by the
    input. answer: what a table of many scans says of this one.
    """

    metrics: Mapping[str, Any]
    sections: Sequence[Section]
    preview: Sequence[tuple[str, Image.Image]]
    summary: Summary
    outputs: Sequence[Output] = ()
    overrides: Sequence[str] = ()
    scored: tuple[Volume, Any] | None = None
    files: Mapping[str, str | bytes] = field(default_factory=dict)
    title: str = ""
    lead: str = ""
    answer: ScanResult = field(default_factory=ScanResult)

    def fill(self, folder: Path, record: Mapping[str, Any]) -> None:
        """Write everything, and the report of ``record`` last."""
        prior_hash, seed = (record["prior"] or {}).get("sha256", ""), record["request"].get("seed", 0)
        self.write_outputs(folder, prior_hash=prior_hash, seed=seed)
        for name, content in self.files.items():
            text = content.encode(errors="backslashreplace") if isinstance(content, str) else content
            write_file(folder / name, text)
        if self.preview:
            write_file(folder / "preview.png", contact_sheet(self.preview))
        title = self.title or f"medprior {record['job'].replace('-', ' ')}"
        write_report(folder, title, self.lead or lead_of(record), self.sections, record)

    def write_outputs(self, folder: Path, *, prior_hash: str, seed: int) -> None:
        """The files of the result alone, below ``folder``/outputs."""
        if self.outputs or self.scored is not None:
            (folder / "outputs").mkdir(parents=True, exist_ok=True)
        for output in self.outputs:
            write_output(output, folder / "outputs", prior_hash=prior_hash, seed=seed)
        if self.scored is not None:
            write_scored(*self.scored, folder / "outputs", prior_hash=prior_hash, seed=seed)


@dataclass(frozen=True, slots=True)
class Performed:
    """A job that has been done and not yet been written."""

    outcome: Outcome
    record: JsonObject


def file_name(label: str | None) -> str:
    """A label as the start of a file's name: it comes from somebody's card, so nothing in it may lead out of
    the folder or be no name at all.
    """
    return "".join(c if c.isalnum() or c in "-_" else "-" for c in label or "image")[:48]


def suffix_of(volume: Volume) -> str:
    """The suffix of a result in the format of the input; a DICOM series has none, it is a folder."""
    source = volume.provenance.format
    return "" if source == "dicom" and volume.ndim == 3 else SUFFIXES[source]


def write_output(output: Output, folder: Path, *, prior_hash: str, seed: int) -> Path:
    """Write one output below ``folder``. Values that an 8 or 16 bit picture cannot hold are clipped, and the
    history says so.
    """
    suffix = output.suffix or suffix_of(output.like or output.volume)
    path = folder / f"{output.name}{suffix}"
    volume, window = output.volume, output.window
    if suffix != ".png":
        window = None
    elif window is None:
        top = 65535 if output.like is not None and output.like.data.max() >= 255.5 else 255
        clipped = np.clip(volume.data, 0, top)
        if (clipped != volume.data).any():
            volume = replace(volume, data=clipped).noted(
                f"clipped to 0..{top}, what the picture's format holds"
            )
    marks = {"kind": output.kind, "prior_hash": prior_hash, "seed": seed}
    try:
        return write(volume, path, like=output.like, window=window, **marks)
    except Unsupported:
        if output.kind not in ("mask", "structures"):
            raise
        # a frame of a film that does not say where it lies has no DICOM Segmentation; its findings shall not
        # be lost for that
        return write(volume, folder / f"{output.name}.nii.gz", like=output.like, **marks)


def write_scored(scan: Volume, scored: Any, folder: Path, *, prior_hash: str, seed: int) -> Path:
    """structured_report.dcm among the outputs in ``folder``; findings are tied to the segmentation that lies
    there already.
    """
    from ...io.dicom.write.structured_report import write_structured_report

    segmentation = next(
        (path for name in ("findings", "findings.dcm") if (path := folder / name).exists()), None
    )
    path = folder / "structured_report.dcm"
    write_structured_report(
        scored, path, like=scan, segmentation=segmentation, prior_hash=prior_hash, seed=seed
    )
    return path
