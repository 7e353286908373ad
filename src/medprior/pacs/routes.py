"""The node on the page of ``medprior serve``, and its numbers as Prometheus reads them. No answer holds a
word or a UID of a scan.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from fastapi import APIRouter
from fastapi.responses import PlainTextResponse
from pydantic import BaseModel

from ..io.served.queue import JobQueue
from ..io.served.spool import Delivery, Unit, UnitTask
from .node import Ask, PacsNode
from .settings import read_pacs_settings

__all__ = ["PacsDoor", "attach_pacs"]


class ScanLine(BaseModel):
    """One series or image. sent: peer and state of each delivery."""

    rule: str
    modality: str
    objects: int
    changed: float
    state: str
    said: str
    job: str
    sent: list[str]


class NodePage(BaseModel):
    """taken, quota: bytes. states: numbers of scans and deliveries by state. faults: (when, what, why)."""

    ae: str
    port: int
    peers: list[str]
    taken: int
    quota: int
    states: dict[str, int]
    counters: dict[str, int]
    scans: list[ScanLine]
    faults: list[tuple[float, str, str]]


@dataclass(frozen=True, slots=True)
class PacsDoor:
    """The node as a way into the server of the page."""

    node: PacsNode
    page: str = "pacs"

    @property
    def routes(self) -> APIRouter:
        """For the page, and /metrics."""
        made, node = APIRouter(), self.node

        @made.get("/api/pacs")
        def page() -> NodePage:
            return _page(node)

        @made.post("/api/pacs/again")
        def again() -> dict[str, int]:
            return {"again": node.spool.again()}

        @made.get("/metrics")
        def metrics() -> PlainTextResponse:
            return PlainTextResponse(metrics_text(node), media_type="text/plain; version=0.0.4")

        return made

    def start(self) -> None:
        """Listen and work."""
        self.node.start()

    def stop(self) -> None:
        """Take and send nothing more."""
        self.node.stop()


def attach_pacs(settings: Path, folder: Path, queue: JobQueue, ask: Ask) -> PacsDoor:
    """The node of pacs.toml. Raises what ``read_pacs_settings`` raises."""
    return PacsDoor(PacsNode(read_pacs_settings(settings), folder, queue, ask))


def _page(node: PacsNode) -> NodePage:
    spool, me = node.spool, node.settings.me
    return NodePage(
        ae=me.ae,
        port=node.listener.port,
        peers=[peer.ae for peer in node.settings.peers],
        taken=spool.taken,
        quota=spool.quota,
        states=spool.states(),
        counters=spool.counters(),
        scans=[_line(*one) for one in spool.newest()],
        faults=spool.failures()[:200],
    )


def _line(unit: Unit, task: UnitTask | None, sent: list[Delivery]) -> ScanLine:
    return ScanLine(
        rule=unit.rule,
        modality=unit.modality if unit.modality.isalnum() else "",
        objects=unit.n,
        changed=unit.changed,
        state=unit.state,
        said=unit.said,
        job=task.job if task is not None else "",
        sent=[f"{one.peer}: {one.state}{f' ({one.said})' if one.said else ''}" for one in sent],
    )


def metrics_text(node: PacsNode) -> str:
    """Prometheus' text format 0.0.4."""
    return "".join(f"{line}\n" for line in _metrics(node))


def _metrics(node: PacsNode) -> Iterator[str]:
    for name, n in node.spool.counters().items():
        yield f"# TYPE medprior_pacs_{name}_total counter"
        yield f"medprior_pacs_{name}_total {n}"
    states = node.spool.states()
    for kind, shown in (("unit", "scans"), ("delivery", "deliveries")):
        yield f"# TYPE medprior_pacs_{shown} gauge"
        for name, n in states.items():
            what, _, state = name.partition(" ")
            if what == kind:
                yield f'medprior_pacs_{shown}{{state="{state}"}} {n}'
    jobs = [job.state for job in node.queue.all()]
    gauges = {
        "spool_bytes": node.spool.taken,
        "spool_quota_bytes": node.spool.quota,
        "jobs_waiting": jobs.count("waiting"),
        "jobs_running": jobs.count("running"),
        "time_seconds": int(time.time()),
    }
    for name, n in gauges.items():
        yield f"# TYPE medprior_pacs_{name} gauge"
        yield f"medprior_pacs_{name} {n}"
