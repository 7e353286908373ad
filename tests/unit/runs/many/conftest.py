"""Films of three patients, a prior that knows healthy ones, and what may not depend on who did the work."""

from __future__ import annotations

import csv
import hashlib
from pathlib import Path

import pytest

from medprior.data.volume import Volume
from medprior.io.write import write
from medprior.runs.core.run import RunFolder
from tests.unit.runs.conftest import scene

N = 6


@pytest.fixture(scope="package")
def films(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six films of three patients by a table, and one that is none."""
    folder = tmp_path_factory.mktemp("films")
    rows = ["path,patient"]
    for n in range(N):
        write(Volume(scene(n)), folder / f"film{n}.png", kind="converted")
        rows.append(f"film{n}.png,{'abc'[n // 2]}")
    (folder / "bad.png").write_bytes(b"\x89PNG\r\n\x1a\nno film")
    (folder / "scans.csv").write_text("\n".join([*rows, "bad.png,d"]) + "\n")
    return folder


def table(run: RunFolder) -> list[dict[str, str]]:
    """results.csv."""
    with open(run.path / "results.csv", encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def contents(run: RunFolder) -> dict[str, str]:
    """Everything but times."""
    timed = {"run.json", "page.json", "report.html", "manifest.json"}
    return {
        path.relative_to(run.path).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(run.path.rglob("*"))
        if path.is_file() and path.name not in timed
    }
