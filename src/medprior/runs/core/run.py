"""A run is a folder: outputs, run.json, events.jsonl, preview.png, report.html, and a manifest of their
checksums; whole or absent.

``Run`` is one run before and while it is done: what makes it this one, where its folder lies, whether it is
complete already, its record, and how it is written.
"""

from __future__ import annotations

import hashlib
import json
import platform
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

from ... import __version__
from ...data.plain import JsonObject
from ...errors import BadOption, FileProblem
from ...io.disk.files import check_manifest, give_back, hold, write_folder
from ..ask.requests import Request
from ..page.record import read_record
from .outputs import Outcome, Summary
from .partial import Partial
from .progress import Event, OnEvent

__all__ = ["Run", "RunFolder", "versions"]


@dataclass(frozen=True, slots=True)
class RunFolder:
    """path: of the folder. record: run.json. reused: it was complete already, and nothing was computed."""

    path: Path
    record: JsonObject
    reused: bool = False

    @property
    def outputs(self) -> list[Path]:
        """The files and DICOM folders of the result, in order, without their side files."""
        folder = self.path / "outputs"
        found = sorted(folder.iterdir()) if folder.is_dir() else []
        return [path for path in found if path.name[0] != "." and not path.name.endswith(".medprior.json")]

    @property
    def report(self) -> Path:
        return self.path / "report.html"

    @property
    def summary(self) -> Summary:
        """What the run says of itself in a few words."""
        return Summary.of(self.record)


@dataclass(frozen=True, slots=True)
class Run:
    """job: the verb. identity: all that makes the run this one, as JSON: its request, the SHA-256 of its
    inputs and its prior, the version. place: its folder; None: runs/JOB-XXXXXXXX, so that the same command
    finds the same folder again. fresh: repeat it where it is complete. device: where networks run. started:
    seconds of ``time.monotonic``.
    """

    job: str
    identity: Mapping[str, Any]
    place: Path | None = None
    fresh: bool = False
    device: str = "cpu"
    started: float = field(default_factory=time.monotonic)

    @classmethod
    def of(cls, request: Request, started: float, device: str = "cpu", **facts: Any) -> Run:
        """facts: what else than the request and the version makes the run this one, most often SHA-256s."""
        identity = {**request.identity(), "medprior": __version__, **facts}
        return cls(request.job, identity, request.out, request.fresh, device, started)

    @property
    def id(self) -> str:
        """SHA-256 of the identity."""
        return hashlib.sha256(json.dumps(self.identity, sort_keys=True).encode()).hexdigest()

    @property
    def out(self) -> Path:
        """The folder."""
        return self.place or Path("runs") / f"{self.job}-{self.id[:8]}"

    @property
    def seconds(self) -> dict[str, float]:
        """Seconds since the start, as a record has them."""
        return {"job": time.monotonic() - self.started}

    def done(self, on_event: OnEvent) -> RunFolder | None:
        """The folder of this run where it is complete and not to be repeated, else None.

        The folder is held from here on. Raises BadOption where it holds something that is no run, or another
        run and ``fresh`` is not set; FileProblem where it is a file, or another process works on it.
        """
        hold(self.out)
        if not self.fresh and (found := self._complete()) is not None:
            give_back(self.out)
            on_event(Event("note", "this run is complete already; use --fresh to repeat it"))
            return found
        self._vacant()
        return None

    def _complete(self) -> RunFolder | None:
        """The complete run in the folder, every file as its checksum says."""
        try:
            record = read_record(self.out)
            check_manifest(self.out)
        except FileProblem:
            return None
        same = isinstance(record, dict) and record.get("id") == self.id and record.get("complete")
        return RunFolder(self.out, record, reused=True) if same else None

    def _vacant(self) -> None:
        """Refuse a folder whose content would be lost."""
        if not self.out.exists():
            return
        if not self.out.is_dir():
            raise FileProblem(self.out, "is a file, wanted a folder for the results")
        if not any(self.out.iterdir()):
            return
        if not (self.out / "run.json").is_file():
            raise BadOption(
                f"out: {self.out} holds files that medprior did not write",
                "choose another folder; nothing was changed",
            )
        record = read_record(self.out)
        if not self.fresh and (not isinstance(record, dict) or record.get("id") != self.id):
            raise BadOption(
                f"out: {self.out} holds another run", "choose another folder, or replace it with --fresh"
            )

    def record(
        self,
        outcome: Outcome,
        *,
        prior: Mapping[str, str] | None = None,
        seconds: Mapping[str, float] | None = None,
        **more: Any,
    ) -> JsonObject:
        """run.json: no path and no file name (they may be somebody's identity); inputs and priors are named
        by their SHA-256.

        prior: name and sha256. seconds: by part, without them those since the start. more: fields that this
        job alone has, or has otherwise.
        """
        import torch  # a reader of runs does without

        return {
            "id": self.id,
            "job": self.job,
            "request": dict(self.identity),
            "overrides": list(outcome.overrides),
            "prior": prior,
            "metrics": dict(outcome.metrics),
            "summary": outcome.summary.as_json(),
            "device": self.device,
            "threads": torch.get_num_threads(),
            "versions": versions(),
            "finished": datetime.now(UTC).isoformat(timespec="seconds"),
            "seconds": {name: round(value, 3) for name, value in (seconds or self.seconds).items()},
            "peak_mib": round(_peak_mib(), 1),
            "complete": True,
            **more,
        }

    def publish(
        self, outcome: Outcome, record: JsonObject, before: Callable[[Path], None] | None = None
    ) -> RunFolder:
        """Write the folder, whole or not at all. before: writes more into the empty folder."""

        def fill(folder: Path) -> None:
            if before is not None:
                before(folder)
            outcome.fill(folder, record)

        write_folder(self.out, fill)
        give_back(self.out)
        return RunFolder(self.out, record)

    def publish_begun(self, begun: Partial, outcome: Outcome, record: JsonObject) -> RunFolder:
        """The same of a folder in which most of it lies already."""
        begun.finish(self.out, lambda folder: outcome.fill(folder, record))
        give_back(self.out)
        return RunFolder(self.out, record)


def versions() -> dict[str, str]:
    """Of medprior, Python, the packages that decide the numbers, and the system."""
    return {
        "medprior": __version__,
        "python": platform.python_version(),
        **{name: version(name) for name in ("torch", "numpy")},
        "system": platform.platform(terse=True),
    }


def _peak_mib() -> float:
    """Most memory the process has held; Linux counts in KiB, macOS in bytes."""
    import resource  # not on Windows, which is refused in one line before this runs

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (2**20 if sys.platform == "darwin" else 2**10)
