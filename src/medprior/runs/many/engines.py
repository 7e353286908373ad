"""Who works on shards: processes of this machine, SLURM, or the workers of a Dask scheduler. Each gets the
same command, and what is done is seen from the folders of the shards.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ...errors import BadOption, FileProblem, optional
from ...io.served.process import Desk
from ..core.progress import EVENTS, Event, OnEvent
from ..page.record import read_record

__all__ = [
    "SUBMITTED",
    "Ended",
    "ShardTask",
    "further_shards",
    "on_dask",
    "on_slurm",
    "processes",
    "work_off",
]

SUBMITTED = "submitit"
"""Folder of what is handed to SLURM."""
FURTHER = "MEDPRIOR_FURTHER"
"""Variable of the environment: set where a worker gets further shards from its standard input."""
ONE_THREAD = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1")
"""Of each worker: two that share the threads of a core are ten times slower."""
_LOOK, _LOOK_AFAR = 0.1, 1.0
"""Seconds between two looks at processes here, and at a cluster."""
_MOST_IN_ARRAY = 1000
"""Jobs of one SLURM array; sites allow 1001 unless they say otherwise."""
_A_DAY, _PATIENCE = 24 * 60, 600.0
"""Minutes of a job's time limit, and seconds that SLURM may be silent."""
_LEAVES = 5.0
"""Seconds that a worker has to end by itself."""
_TAIL = 300
"""Letters of the last words of a worker that died."""


@dataclass(frozen=True, slots=True)
class ShardTask:
    """One shard. number: from 1. out: its run folder. words: its command, after ``medprior``. scans: how many
    it holds.
    """

    number: int
    of: int
    out: Path
    words: tuple[str, ...]
    scans: int = 0

    @property
    def done(self) -> bool:
        """Its run is complete."""
        with suppress(FileProblem):
            return bool(read_record(self.out).get("complete"))
        return False


@dataclass(frozen=True, slots=True)
class Ended:
    """How the command of a part ended: its exit code, None where it was killed or is not known, and its last
    words.
    """

    code: int | None = None
    words: str = ""


@dataclass(slots=True)
class _Worker:
    """A process that does shard after shard: it imports and loads once. It gets its first as a command, the
    others as lines (``further_shards``). part: what it works on. A worker without its parent ends.
    """

    desk: Desk
    process: subprocess.Popen[bytes] | None = None
    part: ShardTask | None = None

    def take(self, part: ShardTask) -> None:
        self.part = part
        if self.process is None or self.process.stdin is None or self.process.poll() is not None:
            self.leave()
            return self._start(part)
        line = json.dumps([f"{part.number}/{part.of}", str(part.out)])
        with suppress(BrokenPipeError):  # it has just died: seen at the next look
            self.process.stdin.write(line.encode() + b"\n")
            self.process.stdin.flush()
        return None

    def _start(self, part: ShardTask) -> None:
        more = {**ONE_THREAD, EVENTS: str(self.desk.events), FURTHER: "1"}
        command = _command(part.words)
        while (process := self.desk.start(command, Path.cwd(), more, stdin=subprocess.PIPE)) is None:
            time.sleep(_LOOK)
        self.process = process

    def ended(self) -> Ended | None:
        """How its process ended, None while it lives."""
        code = None if self.process is None else self.process.poll()
        if code is None:
            return None
        return Ended(code if code >= 0 else None, _last_words(self.desk.log()))

    def leave(self, patience: float = _LEAVES) -> None:
        """It leaves with the one that started it, at once where it works; what it has done stays."""
        process, self.process = self.process, None
        if process is None:
            return
        if process.stdin is not None:
            with suppress(BrokenPipeError):
                process.stdin.close()
        for end in (None, signal.SIGINT, signal.SIGKILL):
            with suppress(ProcessLookupError):
                if end is not None:
                    os.killpg(process.pid, end)
            try:
                process.wait(0 if self.part and end is None else patience)
                return
            except subprocess.TimeoutExpired:
                continue


def further_shards() -> Iterator[tuple[str, Path]]:
    """In a worker of ``processes``: name and folder of each further shard, until its parent has no more."""
    if os.environ.get(FURTHER):
        for line in sys.stdin:
            shard, out = json.loads(line)
            yield shard, Path(out)


def processes(parts: Sequence[ShardTask], workers: int, folder: Path, on_event: OnEvent) -> dict[int, Ended]:
    """Each part by one of a few workers. folder: of their logs. Gives how those ended that are not done."""
    waiting, ended = list(parts), dict[int, Ended]()
    _wait_for_former(folder, on_event)
    hands = [_Worker(Desk(folder / f"worker-{n}.desk")) for n in range(1, min(workers, len(parts)) + 1)]
    whole, finished = sum(part.scans for part in parts), 0
    on_event(Event("stage", f"working in {workers} processes", 0, whole))
    try:
        while waiting or any(hand.part for hand in hands):
            for hand in hands:
                if (part := hand.part) is not None and part.done:
                    hand.part, finished = None, finished + part.scans
                elif part is not None and (how := hand.ended()) is not None and not part.done:
                    ended[part.number], hand.part = how, None
                if hand.part is None and waiting:
                    hand.take(waiting.pop(0))
            now = sum(min(hand.desk.progress().done, hand.part.scans) for hand in hands if hand.part)
            on_event(Event("step", done=finished + now, total=whole))
            time.sleep(_LOOK)
    finally:
        for hand in hands:
            hand.leave()
    return ended


def _wait_for_former(folder: Path, on_event: OnEvent) -> None:
    """A command that was killed may have left workers: each ends with the shard that it has."""
    former = [Desk(found) for found in folder.glob("worker-*.desk")]
    if any(desk.busy() for desk in former):
        on_event(Event("note", "workers of the command before finish their shards"))
        while any(desk.busy() for desk in former):
            time.sleep(_LOOK_AFAR)


def _command(words: Sequence[str]) -> list[str]:
    return [sys.executable, "-m", "medprior", *words]


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
    logs = folder / SUBMITTED
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
