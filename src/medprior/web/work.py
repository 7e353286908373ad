"""The jobs of the queue, each in a process of its own, some at a time."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from ..io.served.process import Desk
from ..io.served.queue import Job, JobQueue
from ..runs.core.progress import EVENTS

__all__ = ["Foreman"]

_LOOK = 0.1
"""Seconds between two looks at a process."""
_GRACE = 1.5
"""Seconds for an interrupted process to leave by itself."""
_TRIES = 3
"""How often a job is started whose process vanishes with its server."""

_ENDED = "its process was ended from outside: is there enough memory?"


@dataclass(slots=True)
class Foreman:
    """Works a queue off. desks: folder of logs and events. cwd: where commands run. workers: jobs at a time.
    program: what stands before the words of a job.
    """

    queue: JobQueue
    desks: Path
    cwd: Path
    workers: int = 1
    program: Sequence[str] = (sys.executable, "-m", "medprior")
    _stop: threading.Event = field(default_factory=threading.Event)
    _news: threading.Event = field(default_factory=threading.Event)
    _threads: list[threading.Thread] = field(default_factory=list)

    def start(self) -> None:
        """Take up what a former server has left, then what waits."""
        left = self.queue.running()
        self._threads += [threading.Thread(target=self._resume, args=(job,), daemon=True) for job in left]
        self._threads += [threading.Thread(target=self._work, daemon=True) for _ in range(self.workers)]
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """Start nothing more. What runs goes on, and the next server finds it."""
        self._stop.set()
        self._news.set()
        for thread in self._threads:
            thread.join(2)

    def call(self) -> None:
        """There is a new job."""
        self._news.set()

    def desk(self, job: Job) -> Desk:
        return Desk(self.desks / job.id)

    def cancel(self, job: Job) -> None:
        """End a job that waits or runs. Its process leaves within two seconds; no half-written run stays."""
        self.queue.cancel(job.id)
        self._news.set()

    def _work(self) -> None:
        while not self._stop.is_set():
            # a process of a former server counts as one of the workers
            if self._adopted() >= self.workers or (job := self.queue.claim()) is None:
                self._news.wait(0.5)
                self._news.clear()
                continue
            self._do(job)

    def _adopted(self) -> int:
        return sum(thread.is_alive() for thread in self._threads[: -self.workers])

    def _do(self, job: Job) -> None:
        desk = self.desk(job)
        try:
            child = desk.start([*self.program, *job.words], self.cwd, {EVENTS: str(desk.events)})
        except OSError as error:
            self.queue.end(job.id, "failed", f"no process could be started ({error.strerror})", 1)
            return
        if child is None:
            self._resume(job)
            return
        self.queue.started(job.id, child.pid)
        while child.poll() is None and not self._stop.is_set():
            self._mind(job, child.pid)
            with suppress(subprocess.TimeoutExpired):
                child.wait(_LOOK)
        if child.returncode is not None:
            self._close(job, child.returncode)

    def _resume(self, job: Job) -> None:
        """Wait for a process that another server started; where there is none, the job waits again."""
        while self.desk(job).busy():
            if self._stop.wait(_LOOK):
                return
            if job.process is not None:
                self._mind(job, job.process)
        self._close(job, None)

    def _mind(self, job: Job, process: int) -> None:
        now = self.queue.get(job.id)
        if now is None or now.state != "cancelling":
            return
        for sign, patience in ((signal.SIGINT, _GRACE), (signal.SIGKILL, 0.0)):
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(process, sign)
            ends = time.monotonic() + patience
            while time.monotonic() < ends and self.desk(job).busy():
                time.sleep(_LOOK / 2)

    def _close(self, job: Job, code: int | None) -> None:
        """Write down how a job ended. code: of its process, None where another server started it."""
        desk, now = self.desk(job), self.queue.get(job.id)
        code = desk.progress().code if code is None else code
        last = next((line for line in reversed(desk.log().splitlines()) if line.startswith("medprior: ")), "")
        said = last.removeprefix("medprior: ")
        if now is not None and now.state == "cancelling" and code not in (0, 4):
            self.queue.end(job.id, "cancelled", "", code)
        elif code is None and job.tries < _TRIES:
            self.queue.again(job.id)
        elif code is None or code < 0:
            self.queue.end(job.id, "failed", _ENDED, code)
        else:
            self.queue.end(job.id, "done" if code in (0, 4) else "failed", said, code)
