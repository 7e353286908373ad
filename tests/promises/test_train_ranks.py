"""medprior train under torchrun: two processes make one run, and one of them speaks and writes."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
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


STUBS = {
    "srun": 'echo $$ > "$HOME/step"\nshift\nexec "$PYTHON" -m torch.distributed.run "$@"',
    "scontrol": 'case $1 in show) echo 127.0.0.1 ;; *) echo "$*" >> "$HOME/asked" ;; esac',
    "scancel": 'kill -TERM "$(cat "$HOME/step")"',
}
"""What SLURM does, as far as the file asks for it; it starts one task, on this machine."""


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_the_sbatch_file_saves_waits_and_goes_on(scans: Path, tmp_path: Path) -> None:
    """Two processes; the signal before the end of the time; the same job again until it is done."""
    for name, text in STUBS.items():
        (tmp_path / name).write_text(f"#!/bin/bash\n{text}\n")
        (tmp_path / name).chmod(0o755)
    out = tmp_path / "run"
    environment = {
        **os.environ,
        "HOME": str(tmp_path),
        "PATH": f"{tmp_path}{os.pathsep}{os.environ['PATH']}",
        "PYTHON": sys.executable,
        "PYTHONPATH": str(ROOT / "src"),
        "OMP_NUM_THREADS": "1",
        "ACCELERATE_USE_CPU": "true",
        "SLURM_JOB_ID": str(port()),
        "SLURM_JOB_NODELIST": "one",
        "SLURM_NNODES": "1",
        "SCANS": str(scans),
        "OUT": str(out),
        "PER_NODE": "2",
    }
    words = ["--preset", "tiny", "--device", "cpu", "--steps", "80"]
    command = ["bash", str(ROOT / "examples" / "slurm" / "train.sbatch"), *words]
    with subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True) as job:
        until = time.monotonic() + 240
        while not list((out / "checkpoints").glob("step-*")):
            assert time.monotonic() < until and job.poll() is None
            time.sleep(0.05)
        job.send_signal(signal.SIGUSR1)
        _, said = job.communicate(timeout=120)
    assert job.returncode == 0 and "saved; the same command continues" in said
    assert (tmp_path / "asked").read_text() == f"requeue {environment['SLURM_JOB_ID']}\n"
    assert not read_json(out / "run.json")["complete"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=400, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    record = read_json(out / "run.json")
    assert record["complete"] and record["metrics"]["steps"] == 80 and record["processes"] == 2
