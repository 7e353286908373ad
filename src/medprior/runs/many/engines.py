"""Who works on shards: processes of this machine, SLURM, or the workers of a Dask scheduler. Each gets the
same command, and what is done is seen from the folders of the shards.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ...errors import BadOption, FileProblem, optional
from ...io.served.process import Desk
from ..core.progress import EVENTS, Event, OnEvent
from ..page.record import read_record

__all__ = ["Ended", "ShardTask", "on_dask", "on_slurm", "processes", "work_off"]

ONE_THREAD = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1")
"""Of each worker: two that share the threads of a core are ten times slower."""
_LOOK, _LOOK_AFAR = 0.1, 1.0
"""Seconds between two looks at processes here, and at a cluster."""
_MOST_IN_ARRAY = 1000
"""Jobs of one SLURM array; sites allow 1001 unless they say otherwise."""
_A_DAY, _PATIENCE = 24 * 60, 600.0
"""Minutes of a job's time limit, and seconds that SLURM may be silent."""
_TAIL = 300
"""Letters of the last words of a worker that died."""


@dataclass(frozen=True, slots=True)
class ShardTask:
    """One shard. number: from 1. out: its run folder. words: its command, after ``medprior``."""

    number: int
    of: int
    out: Path
    words: tuple[str, ...]

    @property
    def done(self) -> bool:
        """Its run is complete."""
        with suppress(FileProblem):
            return bool(read_record(self.out).get("complete"))
        return False

    @property
    def desk(self) -> Desk:
        """Its log and its events."""
        return Desk(self.out.with_name(f"{self.out.name}.desk"))


@dataclass(frozen=True, slots=True)
class Ended:
    """How the command of a part ended: its exit code, None where it was killed or is not known, and its last
    words.
    """

    code: int | None = None
    words: str = ""


def processes(parts: Sequence[ShardTask], workers: int, on_event: OnEvent) -> dict[int, Ended]:
    """Each part in a process of its own, ``workers`` at a time. Gives how those ended that are not done."""
    waiting, running = list(parts), dict[int, tuple[ShardTask, subprocess.Popen[bytes] | None]]()
    on_event(Event("stage", f"working in {workers} processes"))
    try:
        while waiting or running:
            while waiting and len(running) < workers:
                part = waiting.pop(0)
                told = {**ONE_THREAD, EVENTS: str(part.desk.events)}
                running[part.number] = part, part.desk.start(_command(part.words), Path.cwd(), told)
            for number, (part, child) in list(running.items()):
                # None: the process of a former command, which was killed, works on here
                if not part.desk.busy() if child is None else child.poll() is not None:
                    del running[number]
            standing = [part.desk.progress() for part in parts]
            on_event(Event("step", done=sum(one.done for one in standing if one.total)))
            time.sleep(_LOOK)
    finally:
        _end([child for _, child in running.values() if child is not None])
    left = [part for part in parts if not part.done]
    return {part.number: Ended(part.desk.progress().code, _last_words(part.desk.log())) for part in left}


def _command(words: Sequence[str]) -> list[str]:
    return [sys.executable, "-m", "medprior", *words]


def _end(children: Sequence[subprocess.Popen[bytes]]) -> None:
    """Workers leave with the one that started them; what they have done stays."""
    for child in children:
        with suppress(ProcessLookupError):
            os.killpg(child.pid, signal.SIGINT)
    for child in children:
        try:
            child.wait(5)
        except subprocess.TimeoutExpired:
            child.kill()
            child.wait()


def _last_words(text: str) -> str:
    return " ".join(text.split())[-_TAIL:]


def work_off(words: Sequence[str]) -> tuple[int, str]:
    """One command, on whatever machine this is called. Gives its exit code and its last words."""
    done = subprocess.run(
        _command(words),
        env={**os.environ, **ONE_THREAD},
        capture_output=True,
        text=True,
        errors="replace",
        check=False,
    )
    return done.returncode, _last_words(done.stderr)


def on_slurm(parts: Sequence[ShardTask], folder: Path, on_event: OnEvent) -> dict[int, Ended]:
    """Each part as one task of SLURM arrays. sbatch takes partition, account and time limit from its own
    variables (SBATCH_PARTITION, SBATCH_ACCOUNT, SBATCH_TIMELIMIT).

    Raises MissingExtra without submitit, BadOption where there is no SLURM.
    """
    submitit = optional("submitit", "slurm", "--cluster slurm")
    logs = folder / "submitit"
    logs.mkdir(mode=0o700, parents=True, exist_ok=True)
    logs.chmod(0o700)  # what submitit hands over is code: no one else may write there
    try:
        executor = submitit.SlurmExecutor(folder=logs)
    except RuntimeError as error:
        raise BadOption(f"cluster: no SLURM here ({error})", "submit from a login node") from None
    executor.update_parameters(job_name="medprior", time=_A_DAY, cpus_per_task=1, signal_delay_s=30)
    on_event(Event("stage", f"working in {len(parts)} jobs of SLURM", 0, len(parts)))
    jobs: dict[int, Any] = {}
    for start in range(0, len(parts), _MOST_IN_ARRAY):
        some = parts[start : start + _MOST_IN_ARRAY]
        made = executor.map_array(work_off, [list(part.words) for part in some])
        jobs |= {part.number: job for part, job in zip(some, made, strict=True)}
    _wait(jobs, on_event)
    return {part.number: _slurm_end(jobs[part.number]) for part in parts if not part.done}


def _wait(jobs: Mapping[int, Any], on_event: OnEvent) -> None:
    """Until SLURM has ended them all; interrupted, they are cancelled."""
    waiting, absent, heard = dict(jobs), set[int](), time.monotonic()
    try:
        while waiting:
            known = _queued()
            heard = heard if known is None else time.monotonic()
            if time.monotonic() - heard > _PATIENCE:
                raise BadOption("cluster: SLURM has not answered for ten minutes", "see squeue, then go on")
            for number, job in list(waiting.items()):
                gone = known is not None and job.job_id not in known
                if job.paths.result_pickle.exists() or (gone and number in absent):
                    del waiting[number]
                elif gone:
                    absent.add(number)  # seen again before it counts: its result may still be on its way
            on_event(Event("step", done=len(jobs) - len(waiting), total=len(jobs)))
            time.sleep(_LOOK_AFAR)
    finally:
        for job in waiting.values():
            job.cancel(check=False)


def _queued() -> set[str] | None:
    """Names of this user's jobs that SLURM has not ended, None where it does not answer."""
    ask = ["squeue", "--noheader", "--array", "--me", "--format=%i"]
    try:
        found = subprocess.run(ask, capture_output=True, text=True, check=True, timeout=60)
    except (OSError, subprocess.SubprocessError):
        return None
    return set(found.stdout.split())


def _slurm_end(job: Any) -> Ended:
    if job.paths.result_pickle.exists():
        return Ended(*job.result())
    return Ended(None, _last_words(job.stderr() or ""))


def on_dask(parts: Sequence[ShardTask], address: str, on_event: OnEvent) -> dict[int, Ended]:
    """Each part as one task of the workers of a running scheduler. TLS is as Dask's own settings have it.

    Raises MissingExtra without distributed, BadOption where no scheduler answers.
    """
    distributed = optional("distributed", "dask", "--cluster tcp://...")
    try:
        client = distributed.Client(address, timeout="20s")
    except (OSError, ValueError) as error:
        raise BadOption(f"cluster: no Dask scheduler answers at {address} ({error})", "start one") from None
    on_event(Event("stage", f"working on {len(parts)} shards with Dask", 0, len(parts)))
    ended: dict[int, Ended] = {}
    with client:
        tasks = {client.submit(work_off, list(part.words), pure=False): part for part in parts}
        for n, task in enumerate(distributed.as_completed(tasks), start=1):
            well = task.status == "finished"
            ended[tasks[task].number] = Ended(*task.result()) if well else Ended(None, str(task.exception()))
            on_event(Event("step", done=n, total=len(parts)))
    return {part.number: ended[part.number] for part in parts if not part.done}
