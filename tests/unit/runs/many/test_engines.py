"""Workers of this machine, SLURM and Dask: the same commands and the same bytes; a worker that dies costs its
shard one retry.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path

import pytest

from medprior.errors import BadOption, FileProblem
from medprior.io.served.process import Desk
from medprior.runs.ask.requests import request_from
from medprior.runs.core.progress import Event
from medprior.runs.core.run import RunFolder
from medprior.runs.execute import execute
from medprior.runs.many import engines
from medprior.runs.many.engines import Ended, ShardTask, processes
from tests.unit.runs.many.conftest import contents
from tests.unit.runs.many.slurm_node import lacking, slurm_node


def run(films: Path, prior: Path, out: Path, listen: object = None, **more: object) -> RunFolder:
    values = {"input": films, "prior": str(prior), "out": out, "pages": "none", **more}
    return execute(request_from("detect", values), *([listen] if listen else []))  # type: ignore[list-item]


@pytest.fixture(scope="module")
def whole(films: Path, tiny: Path, tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    return run(films, tiny, tmp_path_factory.mktemp("whole") / "run")


def killer(shards: Path, kills: list[int]) -> None:
    """Ends the worker as soon as it has done a shard and begun a scan of the next."""
    for _ in range(3000):
        if any(shards.glob("*-of-*/run.json")) and any(shards.glob("*.partial/rows.jsonl")):
            for process in Path("/proc").glob("[0-9]*"):
                with suppress(OSError):
                    words = (process / "cmdline").read_bytes()
                    if os.fsencode(shards) in words and b"--shard" in words:
                        os.kill(int(process.name), signal.SIGKILL)
                        kills.append(int(process.name))
                        return
        time.sleep(0.01)


def test_a_worker_does_shard_after_shard_and_its_death_costs_one_a_retry(
    films: Path, tiny: Path, whole: RunFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kills: list[int] = []
    events: list[Event] = []
    started: list[Sequence[str]] = []

    def command(words: Sequence[str]) -> list[str]:
        started.append(words)
        return [sys.executable, "-m", "medprior", *words]

    monkeypatch.setattr(engines, "_command", command)
    thread = threading.Thread(target=killer, args=(tmp_path / "run.partial" / "shards", kills))
    thread.start()
    done = run(films, tiny, tmp_path / "run", events.append, workers=1, jobs=4)
    thread.join()
    assert len(kills) == 1 and contents(done) == contents(whole)
    assert len(started) in (2, 3)  # one for all shards, one after its death, one for the shard that it cost
    assert any("workers" in event.text and "scans x" in event.text for event in events)
    steps = [event.done for event in events if event.kind == "step" and event.total == 7]
    assert steps and max(steps) <= 7
    assert not (tmp_path / "run.partial").exists()


def test_workers_run_side_by_side_and_tell_how_they_ended(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engines, "_command", lambda words: [sys.executable, "-S", "-c", *words])
    held = (
        "import pathlib, time\np = pathlib.Path({0!r})\n(p / {1!r}).touch()\n"
        "while not (p / {2!r}).exists(): time.sleep(0.02)"
    )
    killed = "import os, sys; sys.stderr.write('out of memory'); sys.stderr.flush(); os.kill(os.getpid(), 9)"
    meet = [held.format(str(tmp_path), "a", "b"), held.format(str(tmp_path), "b", "a")]
    parts = [ShardTask(n, 3, tmp_path / str(n), (text,)) for n, text in enumerate([*meet, killed], start=1)]
    ended = processes(parts, 2, tmp_path, lambda event: None)  # the first two end only where both run at once
    assert ended == {1: Ended(0), 2: Ended(0), 3: Ended(None, "out of memory")}


def test_workers_that_a_killed_command_left_end_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So that two processes never work on one shard."""
    monkeypatch.setattr(engines, "_command", lambda words: [sys.executable, "-S", "-c", *words])
    waits = [sys.executable, "-S", "-c", "import sys, time; sys.stdin.read(); time.sleep(0.3)"]
    former = Desk(tmp_path / "worker-7.desk").start(waits, tmp_path, {}, stdin=subprocess.PIPE)
    assert former is not None and former.stdin is not None
    events: list[Event] = []
    threading.Timer(0.3, former.stdin.close).start()  # as when its parent dies
    processes([ShardTask(1, 1, tmp_path / "1", ("pass",))], 1, tmp_path, events.append)
    assert former.poll() == 0 and any("command before" in event.text for event in events)


def test_a_shard_that_is_refused_is_named_at_once(films: Path, tiny: Path, tmp_path: Path) -> None:
    """Its folder holds somebody's notes, which no second try would change."""
    taken = tmp_path / "run.partial" / "shards" / "1-of-1"

    def listen(event: Event) -> None:
        if "processes" in event.text:
            taken.mkdir(parents=True, exist_ok=True)
            (taken / "notes.txt").write_text("somebody's")

    with pytest.raises(FileProblem, match=r"1 of 1 shards are not done \(1/1\): .*did not write"):
        run(films, tiny, tmp_path / "run", listen, workers=1)


def test_a_cluster_that_is_not_there_is_named(films: Path, tiny: Path, tmp_path: Path) -> None:
    pytest.importorskip("distributed")
    with pytest.raises(BadOption, match="workers, cluster: wanted one of them"):
        run(films, tiny, tmp_path / "run", workers=2, cluster="slurm")
    with pytest.raises(BadOption, match="wanted slurm, or the address"):
        run(films, tiny, tmp_path / "run", cluster="slrum")


def test_dask_gives_the_same_bytes(films: Path, tiny: Path, whole: RunFolder, tmp_path: Path) -> None:
    distributed = pytest.importorskip("distributed")
    how = {"processes": False, "protocol": "tcp", "host": "127.0.0.1", "dashboard_address": None}
    with distributed.LocalCluster(n_workers=1, threads_per_worker=2, **how) as cluster:
        done = run(films, tiny, tmp_path / "run", cluster=cluster.scheduler_address, jobs=2)
    assert contents(done) == contents(whole)


@pytest.fixture
def slurm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """SLURM on one node, on loopback."""
    if missing := lacking():
        pytest.skip(f"SLURM on one node: wanted root, and {missing}")
    with slurm_node(tmp_path / "slurm") as settings:
        monkeypatch.setenv("SLURM_CONF", settings)
        yield


@pytest.mark.usefixtures("slurm")
def test_slurm_gives_the_same_bytes(films: Path, tiny: Path, whole: RunFolder, tmp_path: Path) -> None:
    pytest.importorskip("submitit")
    done = run(films, tiny, tmp_path / "run", cluster="slurm", jobs=2)
    assert contents(done) == contents(whole)
