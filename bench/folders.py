"""A folder of films as one run: in shards, killed at random moments, by workers, SLURM and Dask, and beside
a shell loop.

    python bench/folders.py shards [--films 2000]    one command, and 8 shards by 2 workers
    python bench/folders.py kills [--kills 20]       the same shards, SIGKILL of command and workers
    python bench/folders.py workers [--films 1000]   2 workers beside 1
    python bench/folders.py loop [--loop 12]         one command beside a loop of single ones
    python bench/folders.py engines [--films 200]    2 workers, one-node SLURM and Dask, with their daemons

Each part needs ``--work FOLDER``, in which the next ones find the films, the prior and the run of one command.

The films are those of PneumoniaMNIST's training set (28 x 28), written as PNG. The prior is a tiny one,
trained here for a minute and calibrated on other healthy films. It is of no use but to be quick: the less a
scan costs, the more the starts of processes and the writing of files weigh.

One run of one process is the measure. Merged results must equal it to the byte, and no scan may have two rows.
The trivial rival is a shell loop of single commands: some are timed, and their mean stands for each film.

CPU seconds are those of all processes. Wall seconds depend on what else the machine does: the load is
printed.
"""

from __future__ import annotations

import argparse
import ctypes
import hashlib
import json
import os
import random
import resource
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from medprior.data.volume import Volume
from medprior.io.dataset.worklist import list_scans, shard_of
from medprior.io.disk.tables import each_line
from medprior.io.read import read
from medprior.io.write import write
from medprior.jobs.detection.calibrate import calibrate_detection, learn_healthy
from medprior.prior import Card
from medprior.prior.prior import untrained_prior
from medprior.training.folder import save
from medprior.training.loop import TrainingSettings, train
from medprior.training.patches import Images
from tests.unit.runs.many.slurm_node import slurm_node

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
    parser.add_argument("part", choices=PARTS)
    parser.add_argument("--films", type=int, default=2000)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--loop", type=int, default=12)
    parser.add_argument("--work", type=Path, required=True)
    chosen = parser.parse_args()
    torch.set_num_threads(1)
    work: Path = chosen.work / f"{chosen.films}"
    prior = chosen.work / "prior"
    if not prior.is_dir():
        quick_prior(chosen.work)
    films(work / "films", chosen.films)
    print(f"{chosen.films} films of 28 x 28, load {os.getloadavg()[0]:.0f} on {os.cpu_count()} cores")
    PARTS[chosen.part](work, prior, chosen)


def shards(work: Path, prior: Path, chosen: argparse.Namespace) -> None:
    """What shards and workers cost beside one command."""
    n, whole = chosen.films, undisturbed(work, prior)
    told("one command", whole, n)
    print(f"bytes a film, its files included: {size_of(work / 'whole') / n:.0f}")
    spent = done(work, prior, f"w{WORKERS}", SHARED)
    told(f"{SHARDS} shards, {WORKERS} workers", spent, n)
    print(
        f"overhead of {SHARDS} shards and {WORKERS} workers: {100 * (spent.cpu / whole.cpu - 1):.1f} % of CPU"
    )
    print(f"equal to one command to the byte: {same(work, 'whole', f'w{WORKERS}')}")
    print(f"peak memory of a process {resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024:.0f} MiB")
    part = done(work, prior, "shard", ["--shard", f"1/{SHARDS}"])
    held = sum(shard_of(scan, SHARDS) == 1 for scan in list_scans(work / "films"))
    each = (whole.cpu - part.cpu) / (n - held)
    print(f"CPU seconds a film {each:.3f}, of a start {whole.cpu - n * each:.1f} (from one shard of {held})")


def undisturbed(work: Path, prior: Path) -> Spent:
    """One command on all films, done once for all parts."""
    known = work / "whole.json"
    if not known.is_file():
        spent = done(work, prior, "whole", [])
        known.write_text(json.dumps(asdict(spent)))
    return Spent(**json.loads(known.read_text()))


def workers(work: Path, prior: Path, chosen: argparse.Namespace) -> None:
    walls = []
    for n in (1, WORKERS):
        spent = done(work, prior, f"side-{n}", ["--workers", str(n), "--jobs", str(SHARDS)])
        told(f"{SHARDS} shards, {n} worker{'s' * (n > 1)}", spent, chosen.films)
        walls.append(spent.wall)
    print(f"{WORKERS} workers are {walls[0] / walls[1]:.2f} times as fast; load {os.getloadavg()[0]:.0f}")


def loop(work: Path, prior: Path, chosen: argparse.Namespace) -> None:
    whole = undisturbed(work, prior)
    told("one command", whole, chosen.films)
    ones = [done(work, prior, f"one{k}", [], work / "films" / f"{k:05d}.png") for k in range(chosen.loop)]
    cpu, wall = (sum(getattr(one, name) for one in ones) / len(ones) for name in ("cpu", "wall"))
    print(f"a single command: {cpu:.2f} s CPU, {wall:.2f} s (mean of {len(ones)})")
    print(f"a loop of {chosen.films}, by that mean: {cpu * chosen.films / whole.cpu:.1f} times the CPU,")
    print(f"{wall * chosen.films / whole.wall:.1f} times the time by the clock")


def engines(work: Path, prior: Path, chosen: argparse.Namespace) -> None:
    """The same by other hands; their daemons are started and ended within the time."""
    plain = done(work, prior, "plain", SHARED)
    told(f"{SHARDS} shards, {WORKERS} workers", plain, chosen.films)
    for name, served in (("SLURM", one_node), ("Dask", scheduler)):
        began = time.monotonic()
        with served(work) as cluster:
            spent = done(work, prior, name, ["--cluster", cluster, "--jobs", str(SHARDS)])
        more = time.monotonic() - began - plain.wall
        told(f"{SHARDS} shards, {name}", spent, chosen.films)
        print(f"{more:+.0f} s by the clock, daemons included; equal to the byte: {same(work, 'plain', name)}")


@contextmanager
def one_node(work: Path) -> Iterator[str]:
    with slurm_node(work / "node") as settings:
        os.environ["SLURM_CONF"] = settings
        yield "slurm"


@contextmanager
def scheduler(work: Path) -> Iterator[str]:
    """A scheduler and two workers of one thread, each a process."""
    from distributed import LocalCluster

    how: dict[str, Any] = {"protocol": "tcp", "dashboard_address": None}
    made: Any = LocalCluster(n_workers=WORKERS, threads_per_worker=1, **how)
    with made:
        yield made.scheduler_address


def kills(work: Path, prior: Path, chosen: argparse.Namespace) -> None:
    """The same command, begun again after each SIGKILL of it and its workers: up to two seconds after random
    numbers of scans were done.
    """
    whole = undisturbed(work, prior)
    adopt_orphans()
    draw, hits = random.Random(0), 0
    out, options, before = work / "killed", SHARED, cpu_of_children()
    for wanted in sorted(draw.sample(range(chosen.films), chosen.kills)):
        child = begun(work, prior, out, options)
        while child.poll() is None and rows_below(out) < wanted:
            time.sleep(0.1)
        with suppress(subprocess.TimeoutExpired):
            child.wait(draw.uniform(0, 2))
        hits += child.poll() is None
        for process in [child.pid, *below(child.pid)] if child.poll() is None else []:
            with suppress(ProcessLookupError):
                os.kill(process, signal.SIGKILL)
        child.wait()
        reap()
    begun(work, prior, out, options).wait()
    reap()
    cpu = cpu_of_children() - before
    twice = [
        n for n, count in Counter(row["n"] for row in each_line(out / "rows.jsonl")).items() if count > 1
    ]
    print(f"killed at {hits} moments, {WORKERS + 1} processes each time: {cpu:.1f} s CPU in all")
    print(f"one command without kills: {whole.cpu:.1f} s CPU; overhead {100 * (cpu / whole.cpu - 1):.1f} %")
    print(f"CPU seconds that a kill costs: {(cpu - whole.cpu) / hits:.1f}, with the starts of all after it")
    print(
        f"equal to one command to the byte: {same(work, 'whole', 'killed')}; scans with two rows: {len(twice)}"
    )


def adopt_orphans() -> None:
    """Workers whose parent was killed become ours, so that their time is counted (prctl of Linux)."""
    ctypes.CDLL(None).prctl(36, 1, 0, 0, 0)


def reap() -> None:
    """Wait for all that has ended or was killed."""
    with suppress(ChildProcessError):
        while True:
            os.wait()


def rows_below(out: Path) -> int:
    """Scans that are done so far; folders come and go meanwhile."""
    shards = out.with_name(f"{out.name}.partial") / "shards"
    done = 0
    for path in [*shards.glob("*-of-*/rows.jsonl"), *shards.glob("*-of-*.partial/rows.jsonl")]:
        with suppress(FileNotFoundError):
            done += path.read_bytes().count(b"\n")
    return done


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
    images = pneumonia()[0] if not (folder / f"{n - 1:05d}.png").is_file() else []
    for k in range(min(n, len(images))):
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


PARTS = {"shards": shards, "kills": kills, "workers": workers, "loop": loop, "engines": engines}
SHARED = ["--workers", str(WORKERS), "--jobs", str(SHARDS)]

if __name__ == "__main__":
    main()
