"""A node on loopback whose jobs are done by a function of the test."""

from __future__ import annotations

import contextlib
import gc
import json
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian

pytest.importorskip("pynetdicom", reason="the extra 'pacs' is not installed")
pytest.importorskip("fastapi", reason="the extra 'web' is not installed")

from pynetdicom import AE

from medprior.io.disk.files import give_back
from medprior.io.served.queue import Job, JobQueue
from medprior.pacs.node import PacsNode
from medprior.pacs.settings import PacsSettings

RULES = [{"name": "films", "when": {"Modality": "CR"}, "prior": "chest-xray", "quiet": 0.2, "back": ["sr"]}]
PEERS = [{"ae": "SCANNER", "port": 1, "may": ["store", "commit"]}]


def settings_of(**changes: Any) -> PacsSettings:
    """Settings of a node at a free port."""
    me = {"ae": "MEDPRIOR", "port": 0, **changes.pop("me", {})}
    values = {"me": me, "peers": PEERS, "rules": RULES, **changes}
    return PacsSettings.model_validate_json(json.dumps(values), strict=True)


def ready(image: Dataset) -> Dataset:
    """As pynetdicom sends it."""
    image.file_meta = FileMetaDataset()
    image.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    return image


@dataclass
class World:
    """A node and what it was asked to do."""

    node: PacsNode
    asked: list[tuple[str, dict[str, Any], str]]

    def send(self, images: Sequence[Dataset], title: str = "SCANNER", port: int = 0) -> list[int]:
        """Status of each C-STORE; [] where the association is refused."""
        entity = AE(title)
        for name in {image.SOPClassUID for image in images}:
            entity.add_requested_context(name, ExplicitVRLittleEndian)
        line = entity.associate("127.0.0.1", port or self.node.listener.port, ae_title="MEDPRIOR")
        if not line.is_established:
            return []
        found = [line.send_c_store(ready(image)).get("Status", -1) for image in images]
        line.release()
        return found

    def until(self, done: Callable[[], object], seconds: float = 10.0) -> None:
        """Wait for something. Raises AssertionError where it does not come."""
        ends = time.monotonic() + seconds
        while not done():
            assert time.monotonic() < ends, "it has not happened"
            time.sleep(0.02)


Begin = Callable[..., World]
Work = Callable[[Job], tuple[str, int]]


@pytest.fixture(autouse=True)
def sockets_are_collected_here() -> Iterator[None]:
    """pynetdicom leaves refused sockets to the garbage collector; no other test shall meet them."""
    yield
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        gc.collect()


@pytest.fixture
def begin(tmp_path: Path) -> Iterator[Begin]:
    """Starts nodes, and ends them. work: does a job, as its process would."""
    with contextlib.ExitStack() as stack:

        def start(
            settings: PacsSettings | None = None, work: Callable[[Job], tuple[str, int]] | None = None
        ) -> World:
            queue, asked = JobQueue(tmp_path / "queue.sqlite"), []

            def ask(verb: str, values: Any, task: str) -> Job:
                asked.append((verb, dict(values), task))
                job = Job(f"{len(queue.all()):016x}", verb, (), place=f"run{len(asked)}", scan=task)
                queue.add(job)
                if work is not None:
                    queue.claim()
                    state, code = work(job)
                    queue.end(job.id, state, "", code)
                return job

            node = PacsNode(settings or settings_of(), tmp_path / "runs", queue, ask)
            node.start()
            stack.callback(give_back, node.spool.root)
            stack.callback(node.stop)
            return World(node, asked)

        yield start
