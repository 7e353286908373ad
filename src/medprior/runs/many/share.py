"""A run on many scans: in this process, in several processes here, or on a cluster. Whoever does it, the
commands are those of the shards, and the result is the same.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from itertools import islice
from pathlib import Path

from ...errors import FileProblem, MedpriorError
from ...io.dataset.worklist import ListedScan, ReadScan, digest_of_list, list_scans, read_scans, shard_of
from ...io.disk.files import locked
from ..ask.words import words_of
from ..core.cost import LONG, words
from ..core.partial import Partial, beside
from ..core.progress import Event, OnEvent
from ..core.run import Run, RunFolder
from ..page.record import read_record
from .engines import SUBMITTED, Ended, ShardTask, further_shards, on_dask, on_slurm, processes
from .job import ManyJob, of_one
from .merge import merged
from .run import do_scans

__all__ = ["run_many"]

_SHARDS = "shards"
_ON_CLUSTER = 64
"""Parts of a run on a cluster, unless another number is given."""
_REFUSED, _NAMED = (2, 3), 100
"""Exit codes of a command that another try would not help, and letters of the shards that an error names."""
_FIRST, _QUICK = 8, 5.0
"""Scans that are looked at for one that can be timed, and seconds below which it is timed again."""
_TRIES = 2
"""How often a shard is worked on whose process dies."""


def run_many(job: ManyJob, on_event: OnEvent) -> RunFolder:
    """Do it on every scan of the folder, or on a shard of it.

    Raises a MedpriorError where the request cannot be served at all, or where a shard has died twice. A scan
    that cannot be used has a row with the reason.
    """
    started = time.monotonic()
    on_event(Event("stage", "listing the scans"))
    scans = list_scans(job.source, job.request.layout)
    facts = {**job.facts, "scans": digest_of_list(scans)}
    if job.request.workers or job.request.cluster:
        return _shared(job, Run.of(job.request, started, job.device, **facts), scans, on_event)
    done = _alone(job, Run.of(job.request, started, job.device, **facts), scans, on_event)
    for shard, out in further_shards():
        own = replace(job, request=job.request.model_copy(update={"shard": shard, "out": out}))
        run = Run.of(own.request, time.monotonic(), job.device, **facts)
        done = _alone(own, run, scans, on_event)
    return done


def _alone(job: ManyJob, run: Run, scans: Sequence[ListedScan], on_event: OnEvent) -> RunFolder:
    """In this process, on all or on a shard."""
    return run.done(on_event) or do_scans(job, run, scans, on_event)


def _shared(job: ManyJob, run: Run, scans: Sequence[ListedScan], on_event: OnEvent) -> RunFolder:
    """By workers, or on a cluster."""
    if (done := run.done(on_event)) is not None:
        return done
    with locked(beside(run.out)):
        begun = Partial(run.out, run.id, fresh=job.request.fresh, apart=(_SHARDS, SUBMITTED))
        parts = _parts(job, begun.path, scans)
        _announce(job, scans, len(parts), on_event)
        _work_off(job, parts, begun.path, on_event)
        done = merged(run, begun, [part.out for part in parts], read_record(parts[0].out), ours=True)
        begun.forget()
    return done


def _parts(job: ManyJob, begun: Path, scans: Sequence[ListedScan]) -> list[ShardTask]:
    """The shards, with the command of each; no more than there are scans."""
    of = min(len(scans), job.request.jobs or job.request.workers or _ON_CLUSTER)
    digits, parts = len(str(of)), []
    held = Counter(shard_of(scan, of) for scan in scans)
    for n in range(1, of + 1):
        out = (begun / _SHARDS / f"{n:0{digits}d}-of-{of}").absolute()
        alone = {"workers": None, "cluster": None, "jobs": None, "fresh": False}
        own = {**_absolute(job), **alone, "shard": f"{n}/{of}", "out": out}
        request = job.request.model_copy(update=own)
        parts.append(ShardTask(n, of, out, words_of(request.job, request), held[n]))
    return parts


def _absolute(job: ManyJob) -> dict[str, object]:
    """Every file and folder of the request by its whole name: a worker may start elsewhere."""
    found: dict[str, object] = {}
    for name in type(job.request).model_fields:
        value = getattr(job.request, name)
        if isinstance(value, Path):
            found[name] = value.absolute()
    prior = Path(getattr(job.request, "prior", "") or "-")
    return found | ({"prior": str(prior.absolute())} if prior.is_dir() else {})


def _announce(job: ManyJob, scans: Sequence[ListedScan], shards: int, on_event: OnEvent) -> None:
    """What it will cost, by the first scan that can be used; a quick one is done twice, since the first time
    takes longer.
    """
    hands = min(shards, job.request.workers or shards)
    for scan, volume in islice(read_scans(job.folder, scans), _FIRST):
        if isinstance(volume, Exception):
            continue
        with suppress(MedpriorError):
            each = _seconds(job, scan, volume)
            if each < _QUICK:
                each = _seconds(job, scan, volume)
            whole = each * len(scans) / hands
            text = f"about {words(whole)}: {len(scans)} scans x {each:.2g} s / {hands} workers"
            on_event(Event("cost" if whole >= LONG else "note", text))
            return


def _seconds(job: ManyJob, scan: ListedScan, volume: ReadScan) -> float:
    """Of one scan, without its files."""
    started = time.monotonic()
    job.do(of_one(job.request, job.folder, scan), volume)
    return time.monotonic() - started


def _work_off(job: ManyJob, parts: Sequence[ShardTask], begun: Path, on_event: OnEvent) -> None:
    """Every shard, each tried again once where its worker has died. Raises FileProblem naming those that are
    not done, with the last words of one, at once where it was refused.
    """
    ended: dict[int, Ended] = {}
    for _ in range(_TRIES):
        left = [part for part in parts if not part.done]
        if not left:
            return
        cluster = job.request.cluster
        if cluster is None:
            ended = processes(left, job.request.workers or 1, begun / _SHARDS, on_event)
        elif cluster == "slurm":
            ended = on_slurm(left, begun, on_event)
        else:
            ended = on_dask(left, cluster, on_event)
        if any(one.code in _REFUSED for one in ended.values()):
            break
    if ended:
        names = ", ".join(f"{part.number}/{part.of}" for part in parts if part.number in ended)
        last = min(ended.values(), key=lambda one: one.code not in _REFUSED)
        raise FileProblem(
            begun,
            f"{len(ended)} of {len(parts)} shards are not done ({names[:_NAMED]}): {last.words}",
            "the same command goes on from there",
        )
