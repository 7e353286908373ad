"""A run is a folder: outputs, run.json, events.jsonl, preview.png, report.html, and a manifest of their
checksums; whole or absent.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ...errors import BadOption, FileProblem
from ...io.disk.files import check_manifest, read_json

__all__ = ["RunFolder", "default_out", "finished", "run_id", "vacant"]


@dataclass(frozen=True, slots=True)
class RunFolder:
    """path: of the folder. record: run.json. reused: it was complete already, and nothing was computed."""

    path: Path
    record: dict[str, Any]
    reused: bool = False

    @property
    def outputs(self) -> list[Path]:
        """The files and DICOM folders of the result, in order."""
        return sorted((self.path / "outputs").iterdir()) if (self.path / "outputs").is_dir() else []

    @property
    def report(self) -> Path:
        return self.path / "report.html"


def run_id(identity: dict[str, Any]) -> str:
    """SHA-256 of what makes a run this run: request, inputs, prior, version."""
    return hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()


def default_out(job: str, identifier: str) -> Path:
    """runs/detect-1a2b3c4d: the same command finds the same folder again."""
    return Path("runs") / f"{job}-{identifier[:8]}"


def finished(out: Path, identifier: str) -> RunFolder | None:
    """The complete run with this identifier in ``out``, every file as its checksum says, or None."""
    try:
        record = read_json(out / "run.json")
        check_manifest(out)
    except FileProblem:
        return None
    if not isinstance(record, dict) or record.get("id") != identifier or not record.get("complete"):
        return None
    return RunFolder(out, record, reused=True)


def vacant(out: Path, identifier: str, *, fresh: bool) -> None:
    """Refuse a folder whose content would be lost.

    Raises BadOption where it holds something that is no run, or another run and ``fresh`` is not set;
    FileProblem where it is a file.
    """
    if not out.exists():
        return
    if not out.is_dir():
        raise FileProblem(out, "is a file, wanted a folder for the results")
    if not any(out.iterdir()):
        return
    if not (out / "run.json").is_file():
        raise BadOption(
            f"out: {out} holds files that medprior did not write",
            "choose another folder; nothing was changed",
        )
    record = read_json(out / "run.json")
    if not fresh and (not isinstance(record, dict) or record.get("id") != identifier):
        raise BadOption(f"out: {out} holds another run", "choose another folder, or replace it with --fresh")
