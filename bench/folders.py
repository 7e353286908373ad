"""A folder of films as one run: killed at random moments, in shards, by two workers, and beside a shell loop.

    python bench/folders.py [--films 300] [--kills 20] [--loop 12]

The films are those of PneumoniaMNIST's training set (28 x 28), written as PNG. The prior is a tiny one,
trained here for a minute and calibrated on other healthy films. It is of no use but to be quick: the less a
scan costs, the more the starts of processes and the writing of files weigh.

One run of one process is the measure. The same films then go through 8 shards on 2 workers, undisturbed, and
again while the command and its workers get SIGKILL at random moments; the same command goes on each time.
Merged results must equal the measure to the byte, and no scan may have two rows. The trivial rival is a shell
loop of single commands: some are timed, and their mean stands for each film.

CPU seconds are those of all processes. Wall seconds depend on what else the machine does: the load is
printed.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import random
import resource
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch

from medprior.data.volume import Volume
from medprior.io.dataset.worklist import list_scans, shard_of
from medprior.io.disk.tables import each_line
from medprior.io.read import read
from medprior.io.write import write
from medprior.jobs.detect import calibrate_detection, learn_healthy
from medprior.prior import Card
from medprior.prior.prior import untrained_prior
from medprior.training.folder import save
from medprior.training.loop import TrainingSettings, train
from medprior.training.patches import Images

DATA = Path(os.environ.get("MEDPRIOR_DATA", Path(__file__).resolve().parents[2] / "shared" / "data"))
SHARDS, WORKERS = 8, 2
TIMED = {"run.json", "page.json", "report.html", "manifest.json"}
"""Files that hold times."""


@dataclass(frozen=True, slots=True)
class Spent:
    """wall, cpu: seconds, of all processes. code: exit code."""

    wall: float
    cpu: float
    code: int


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--films", type=int, default=300)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--loop", type=int, default=12)
    chosen = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as name:
        work = Path(name)
        prior = quick_prior(work)
        films(work / "films", chosen.films)
        print(f"{chosen.films} films of 28 x 28, load {os.getloadavg()[0]:.0f} on {os.cpu_count()} cores")
        compared(work, prior, chosen)


def compared(work: Path, prior: Path, chosen: argparse.Namespace) -> None:
    """Every way of doing the same, and how they differ."""
    n = chosen.films
    whole = done(work, prior, "whole", [])
    told("one command", whole, n)
    print(f"bytes a film, its files included: {size_of(work / 'whole') / n:.0f}")
    print(f"peak memory {resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024:.0f} MiB")
    few = done(work, prior, "shard", ["--shard", f"1/{SHARDS}"])
    held = sum(shard_of(scan, SHARDS) == 1 for scan in list_scans(work / "films"))
    each = (whole.cpu - few.cpu) / (n - held)
    print(f"CPU seconds a film {each:.3f}, of a start {whole.cpu - n * each:.2f}")
    share = 100 * (SHARDS - 1) * (whole.cpu - n * each) / (n * each)
    print(
        f"overhead of {SHARDS} shards of {n} films: {share:.1f} % of CPU; of 100,000: {share * n / 1e5:.2f} %"
    )
    for workers in (1, WORKERS):
        spent = done(work, prior, f"w{workers}", ["--workers", str(workers), "--jobs", str(SHARDS)])
        told(f"{SHARDS} shards, {workers} worker{'s' if workers > 1 else ''}", spent, n)
        print(f"equal to one command to the byte: {same(work, 'whole', f'w{workers}')}")
    killed(work, prior, chosen.kills, spent.wall)
    loop = [done(work, prior, f"one{k}", [], work / "films" / f"{k:05d}.png") for k in range(chosen.loop)]
    mean = sum(one.cpu for one in loop) / len(loop)
    print(
        f"a single command: {mean:.2f} s CPU, {sum(o.wall for o in loop) / len(loop):.2f} s (mean of {len(loop)})"
    )
    print(f"a loop of {n}, by that mean, beside one command: {mean * n / whole.cpu:.1f} times the CPU")


def killed(work: Path, prior: Path, kills: int, wall: float) -> None:
    """The same command, begun again after each SIGKILL of it and its workers."""
    draw, hits, cpu = random.Random(0), 0, cpu_of_children()
    out, options = work / "killed", ["--workers", str(WORKERS), "--jobs", str(SHARDS)]
    seen: Counter[str] = Counter()
    while hits < kills:
        child = begun(work, prior, out, options)
        try:
            child.wait(draw.uniform(0.1, 1.0) * wall / 3)
            break  # it was done before its end came
        except subprocess.TimeoutExpired:
            for process in [child.pid, *below(child.pid)]:
                os.kill(process, signal.SIGKILL)
            child.wait()
            hits += 1
            rows = sum(
                1 for path in out.with_name("killed.partial").rglob("rows.jsonl") for _ in each_line(path)
            )
            seen[f"{rows}"] += 1
    begun(work, prior, out, options).wait()
    twice = [
        n for n, count in Counter(row["n"] for row in each_line(out / "rows.jsonl")).items() if count > 1
    ]
    print(f"killed at {hits} moments, between which {len(seen)} different numbers of scans were done")
    print(
        f"equal to one command to the byte: {same(work, 'whole', 'killed')}; scans with two rows: {len(twice)}"
    )
    print(f"CPU seconds with all restarts {cpu_of_children() - cpu:.0f}")


def below(parent: int) -> list[int]:
    """Processes that a process has started, and theirs."""
    found = subprocess.run(
        ["ps", "-o", "pid=", "--ppid", str(parent)], capture_output=True, text=True, check=False
    )
    children = [int(one) for one in found.stdout.split()]
    return children + [one for child in children for one in below(child)]


def begun(
    work: Path, prior: Path, out: Path, options: Sequence[str], scan: Path | None = None
) -> subprocess.Popen:
    words = ["detect", str(scan or work / "films"), "--prior", str(prior), "--out", str(out), *options]
    plain = [] if scan else ["--pages", "none"]
    return subprocess.Popen(
        [sys.executable, "-m", "medprior", *words, *plain],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )


def done(work: Path, prior: Path, name: str, options: Sequence[str], scan: Path | None = None) -> Spent:
    """One command to its end."""
    started, cpu = time.monotonic(), cpu_of_children()
    code = begun(work, prior, work / name, options, scan).wait()
    if code not in (0, 3, 4):  # a film may be unlike the healthy ones
        raise SystemExit(f"{name}: exit code {code}")
    return Spent(time.monotonic() - started, cpu_of_children() - cpu, code)


def told(what: str, spent: Spent, films: int) -> None:
    print(f"{what}: {spent.cpu:.1f} s CPU, {spent.wall:.0f} s, {films / spent.wall:.2f} films/s", flush=True)


def cpu_of_children() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def same(work: Path, one: str, other: str) -> bool:
    return contents(work / one) == contents(work / other)


def contents(run: Path) -> dict[str, str]:
    """SHA-256 of each file without times."""
    return {
        path.relative_to(run).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(run.rglob("*"))
        if path.is_file() and path.name not in TIMED
    }


def size_of(run: Path) -> int:
    return sum(path.stat().st_size for path in run.rglob("*") if path.is_file())


def films(folder: Path, n: int) -> None:
    """The first n films of the training set; the calibration takes the last."""
    images = pneumonia()[0]
    for k in range(n):
        write(Volume(images[k][None].astype(np.float32)), folder / f"{k:05d}.png", kind="converted")


def pneumonia() -> tuple[np.ndarray, np.ndarray]:
    stored = np.load(DATA / "medmnist_pneumonia" / "train" / "pneumoniamnist_28.npz")
    return stored["images"], stored["labels"]


def quick_prior(work: Path) -> Path:
    """A prior of a few thousand weights that was shown 40 healthy films and calibrated on 40 others."""
    images, labels = pneumonia()
    healthy = images[labels == 0][-80:]
    for k, image in enumerate(healthy):
        write(Volume(image[None].astype(np.float32)), work / "healthy" / f"{k:02d}.png", kind="converted")
    volumes = [read(work / "healthy" / f"{k:02d}.png") for k in range(len(healthy))]
    torch.manual_seed(0)
    prior = untrained_prior(Card("quick", "", widths=(4, 8), blocks=1, frame=(28, 28)))
    scaled = [prior.admit(volume).images[0] for volume in volumes[:40]]
    train(
        prior, Images(scaled, patches=((28, 1.0),)), TrainingSettings(steps=200, batch=8), work / "training"
    )
    learn_healthy(prior, volumes[:40], n_variants=1)
    promise = calibrate_detection(prior, volumes[40:])
    prior.promises = replace(prior.promises, detect=promise)
    save(prior, work / "prior")
    return work / "prior"


if __name__ == "__main__":
    main()
