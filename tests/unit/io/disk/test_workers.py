"""Work in several processes gives what one gives, in order, whatever becomes of them."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from medprior.io.dataset.layout import Layout, Listed
from medprior.io.dataset.pixels.looking import Task, look_at_file
from medprior.io.dataset.scan import scan
from medprior.io.disk import workers
from medprior.io.disk.decoder import Decoder
from medprior.io.disk.limits import Limits
from medprior.io.disk.workers import in_processes
from tests.corpus.dicom_parts import ct_slice, phantom, save, uid
from tests.unit.io.dataset.test_cache import data_set


@pytest.fixture
def two(monkeypatch: pytest.MonkeyPatch) -> list[Decoder]:
    """Two processes for the smallest job; those that were started."""
    started = list[Decoder]()

    def noted(**named: Any) -> Decoder:
        started.append(Decoder(**named))
        return started[-1]

    monkeypatch.setattr(workers, "cores", lambda: 2)
    monkeypatch.setattr(workers, "_WORTH", 0.0)
    monkeypatch.setattr(workers, "Decoder", noted)
    return started


def tasks(folder: Path, n: int) -> list[tuple[Task, Listed, str]]:
    task = Task(folder, {}, Limits())
    return [(task, Listed(path), "picture") for path in sorted(data_set(folder, n).glob("ill/*"))]


def test_results_come_in_order_and_a_process_that_dies_costs_nothing(
    two: list[Decoder], tmp_path: Path
) -> None:
    jobs = tasks(tmp_path, 9)
    wanted = [look_at_file(*job) for job in jobs]
    found = []
    for n, one in enumerate(in_processes(look_at_file, jobs, 1.0)):
        found.append(one)
        if n == 2:
            two[0].kill()
    assert found == wanted and len(two) == 2
    assert not any(worker._process for worker in two), "they have ended"


def test_whoever_stops_early_waits_for_nobody(two: list[Decoder], tmp_path: Path) -> None:
    results = in_processes(look_at_file, tasks(tmp_path, 4), 1.0)
    next(results)
    start = time.monotonic()
    results.close()
    assert time.monotonic() - start < 5 and not any(worker._process for worker in two)


def test_a_scan_in_several_processes_is_that_of_one(
    two: list[Decoder], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Pictures, series of DICOM, what is damaged and what is none: items, reasons and splits."""
    data = data_set(tmp_path / "data", 3)
    (data / "ill" / "bad.png").write_bytes(b"\x89PNG\r\n\x1a\nand no more")
    for n in range(12):
        made = ct_slice(phantom()[n % 3] + np.uint16(n), position=(0, 0, 2.5 * (n % 6)))
        made.SeriesInstanceUID, made.PatientID = uid("series", n // 6), f"p{n // 6}"
        made.SOPInstanceUID = uid("instance", n)
        save(data / "ct" / f"{n}.dcm", made)
    (data / "ct" / "cut.dcm").write_bytes((data / "ct" / "0.dcm").read_bytes()[:700])
    monkeypatch.setattr("medprior.io.dicom.read.tree._PART", 5)
    labels = Layout(folders="labels")
    with monkeypatch.context() as here:
        for place in ("dataset.pixels.looking._seen", "dicom.read.tree._header"):
            here.setattr(f"medprior.io.{place}", lambda *_, **__: pytest.fail("was not done in a process"))
        many = scan(data, out=tmp_path / "out", layout=labels)
    assert len(two) > 2 and len(many.items) > 3 and len(many.unusable) >= 2
    monkeypatch.setattr(workers, "cores", lambda: 1)
    (tmp_path / "out" / "index.sqlite").unlink()
    assert scan(data, out=tmp_path / "out", layout=labels) == many
