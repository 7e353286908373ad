"""The same work on many files, in several processes of this package."""

from __future__ import annotations

import os
import queue
import sys
import threading
from collections.abc import Callable, Generator, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

from ...errors import MedpriorError
from .decoder import CodecError, Decoder

__all__ = ["cores", "in_processes"]

T = TypeVar("T")

_MOST = 16
"""Processes at most."""
_WORTH = 4.0
"""Seconds of work from which on the start of processes pays."""
_MEMORY = 2**36
"""Bytes that a worker may take: what a file may make it take is limited where the file is decoded."""
_SECONDS = 3600.0


def cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count() or 1


def in_processes(
    function: Callable[..., T],
    jobs: Sequence[tuple[Any, ...]],
    seconds: float,
    one_by_one: Callable[[Sequence[tuple[Any, ...]]], Iterable[tuple[Any, ...]]] = iter,
) -> Generator[T, None, None]:
    """``function(*job)`` of each job, in their order. Where it takes long and there are several cores, each
    is computed in one of several processes, and here if that process dies.

    function: of a module of this package; it raises no MedpriorError, and what it takes and gives can be
    ``packed``. seconds: a guess of the processor time of all. one_by_one: what the jobs go through otherwise.
    """
    n = min(cores(), _MOST, len(jobs))
    if n < 2 or seconds < _WORTH:
        yield from (function(*job) for job in one_by_one(jobs))
        return
    workers, free, over = [Decoder(memory=_MEMORY) for _ in range(n)], queue.SimpleQueue(), threading.Event()
    for worker in workers:
        free.put(worker)

    def done(job: tuple[Any, ...]) -> T:
        worker: Decoder = free.get()
        try:
            return worker.call(Path(), _SECONDS, function, *job)
        except (MedpriorError, CodecError):
            if over.is_set():
                raise
            return function(*job)
        finally:
            free.put(worker)

    pool = ThreadPoolExecutor(n)
    try:
        yield from pool.map(done, jobs)
    finally:
        over.set()
        for worker in workers:
            worker.kill()
        pool.shutdown(cancel_futures=True)
        for worker in workers:
            worker.close()
