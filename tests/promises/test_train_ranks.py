"""medprior train under torchrun: two processes make one run, and one of them speaks and writes."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from medprior.data.volume import Volume
from medprior.io.disk.files import check_manifest, read_json
from medprior.io.write import write
from tests.unit.runs.conftest import scene

ROOT = Path(__file__).resolve().parents[2]


def port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


def torchrun(*tokens: str) -> subprocess.CompletedProcess[str]:
    """A real launcher on this machine alone, with two processes on the CPU."""
    launcher = [
        sys.executable,
        "-m",
        "torch.distributed.run",
        "--nproc-per-node=2",
        "--master-addr=127.0.0.1",
        f"--master-port={port()}",
    ]
    environment = {
        **os.environ,
        "PYTHONPATH": str(ROOT / "src"),
        "OMP_NUM_THREADS": "1",
        "ACCELERATE_USE_CPU": "true",
        "MPLBACKEND": "Agg",
    }
    return subprocess.run(
        [*launcher, "-m", "medprior", *tokens],
        capture_output=True,
        text=True,
        env=environment,
        timeout=280,
        check=False,
    )


@pytest.fixture(scope="module")
def scans(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data")
    for split, count in (("train", 4), ("val", 1)):
        (folder / split).mkdir()
        for n in range(count):
            write(Volume(scene(n + 10 * (split == "val"))), folder / split / f"{n}.png", kind="converted")
    return folder


@pytest.mark.slow
def test_two_processes_are_one_run(scans: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    done = torchrun(
        "train", str(scans), "--preset", "tiny", "--steps", "4", "--device", "cpu", "--out", str(out)
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert done.stdout.count("use it") == 1 and done.stderr.count("reading every scan once") == 1, (
        "rank 0 alone speaks"
    )
    record = read_json(out / "run.json")
    assert (
        record["complete"]
        and record["processes"] == 2
        and record["metrics"]["steps"] == 4
        and record["metrics"]["errors"]
    )
    check_manifest(out / "prior")
    assert (out / "report.html").is_file() and not [p.name for p in out.rglob(".tmp-*")]
    steps = [line for line in (out / "events.jsonl").read_text().splitlines() if '"step"' in line]
    assert len(steps) == 1, "one line for the one checkpoint"
    # and a wrong command ends all of them, with the reason
    (tmp_path / "empty").mkdir()
    wrong = torchrun(
        "train",
        str(tmp_path / "empty"),
        "--preset",
        "tiny",
        "--steps",
        "4",
        "--device",
        "cpu",
        "--out",
        str(tmp_path / "no"),
    )
    assert (
        wrong.returncode != 0 and "is empty" in wrong.stderr and not (tmp_path / "no" / "run.json").exists()
    )
