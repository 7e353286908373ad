"""From objects to a job, from a job to peers: what is complete, what is late, and peers that fail."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from pydicom.dataset import Dataset

from tests.corpus.dicom_parts import axial, radiograph
from tests.unit.pacs.conftest import PEERS, Begin, settings_of

from pynetdicom import AE, evt  # isort: skip

from medprior.io.read import read  # isort: skip
from medprior.io.served.queue import Job  # isort: skip
from medprior.pacs.send import FIND  # isort: skip

SERIES = [{"name": "series", "when": {"Modality": "CT"}, "prior": "chest-ct", "quiet": 0.4, "back": ["sr"]}]

pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
"""pynetdicom leaves a socket that was refused to the garbage collector."""


class FakePacs:
    """A peer on loopback that answers as the test wants. got: what it was sent."""

    def __init__(self, status: int = 0, count: int | None = None, pause: float = 0.0) -> None:
        self.status, self.count, self.pause = status, count, pause
        self.got: list[Dataset] = []
        self.tries: list[float] = []
        entity = AE("PACS")
        entity.add_supported_context(FIND)
        handlers: list[Any] = [(evt.EVT_C_STORE, self._store), (evt.EVT_C_FIND, self._find)]
        server = entity.start_server(("127.0.0.1", 0), False, evt_handlers=handlers)
        assert server is not None
        self.server = server

    def _store(self, event: evt.Event) -> int:
        self.tries.append(time.monotonic())
        time.sleep(self.pause)
        if self.status == 0:
            self.got.append(event.dataset)
        return self.status

    def _find(self, event: evt.Event) -> Iterator[tuple[int, Dataset | None]]:
        if self.count is not None:
            found = event.identifier
            found.NumberOfSeriesRelatedInstances = self.count
            yield 0xFF00, found
        yield 0x0000, None

    def peer(self, **more: Any) -> dict[str, Any]:
        return {"ae": "PACS", "port": self.server.server_address[1], "send_back": True, "pause": 0.05, **more}


@pytest.fixture
def pacs() -> Iterator[Callable[..., FakePacs]]:
    made: list[FakePacs] = []

    def start(**how: Any) -> FakePacs:
        made.append(FakePacs(**how))
        return made[-1]

    yield start
    for one in made:
        one.server.shutdown()


def worker(folder: Path, scans: list[Path]) -> Callable[[Job], tuple[str, int]]:
    """Does a job as its process would: a run folder with a structured report beside the scan."""

    def work(job: Job) -> tuple[str, int]:
        from medprior.io.dicom.write.structured_report import ReportContent, write_structured_report

        place = folder / "runs" / job.place
        (place / "outputs").mkdir(parents=True)
        scan = folder / "runs" / ".serve" / "pacs" / "tasks" / job.scan / "scan"
        files = sorted(scan.glob("*"))
        scans.append(scan)
        volume = read(files[0] if len(files) == 1 else scan)
        content = ReportContent(1.0, 0.3, 26, flag_rate=(0.037, 0.001, 0.13))
        write_structured_report(content, place / "outputs" / "structured_report.dcm", like=volume)
        (place / "run.json").write_text(
            json.dumps({"job": "detect", "complete": True, "request": {"seed": 0}})
        )
        return "done", 0

    return work


def test_a_film_gets_an_answer_and_our_own_answer_gets_none(
    begin: Begin, pacs: Callable[..., FakePacs], tmp_path: Path
) -> None:
    store, scans = pacs(), []
    world = begin(settings_of(peers=[*PEERS, store.peer()]), worker(tmp_path, scans))
    assert world.send([radiograph()]) == [0]
    world.until(lambda: store.got)
    answer = store.got[0]
    assert answer.Modality == "SR" and answer.StudyInstanceUID == radiograph().StudyInstanceUID
    world.until(lambda: world.node.spool.states() == {"unit answered": 1, "delivery delivered": 1})
    assert world.send([answer]) == [0]  # our own result comes back: stored, and never worked on
    time.sleep(0.6)
    assert len(world.asked) == 1 and len(store.got) == 1


def test_a_late_object_gives_a_new_answer_and_withdraws_the_old_one(
    begin: Begin, pacs: Callable[..., FakePacs], tmp_path: Path
) -> None:
    store, scans, slices = pacs(), [], axial()
    world = begin(settings_of(peers=[*PEERS, store.peer()], rules=SERIES), worker(tmp_path, scans))
    assert world.send(slices[:4]) == [0] * 4
    world.until(lambda: len(store.got) == 1)
    assert world.send(slices) == [0] * len(slices)  # all of them again, and the last two
    world.until(lambda: len(store.got) == 3)
    assert [len(list(scan.glob("*"))) for scan in scans] == [4, len(slices)]
    first, second, note = store.got
    assert second.SOPInstanceUID != first.SOPInstanceUID and second.Modality == "SR"
    assert note.Modality == "KO" and note.ConceptNameCodeSequence[0].CodeValue == "113001"
    named = [i.ReferencedSOPSequence[0] for i in note.ContentSequence if "ReferencedSOPSequence" in i]
    assert [i.ReferencedSOPInstanceUID for i in named] == [first.SOPInstanceUID]
    assert world.send(slices) == [0] * len(slices)
    time.sleep(0.8)
    assert len(store.got) == 3 and len(world.asked) == 2  # a resend changes nothing


def test_a_count_that_fits_is_not_waited_for_and_one_that_does_not_is(
    begin: Begin, pacs: Callable[..., FakePacs], tmp_path: Path
) -> None:
    slices = axial()
    store = pacs(count=len(slices))
    rules = [{**SERIES[0], "quiet": 3.0}]
    world = begin(settings_of(peers=[*PEERS, store.peer(count=True)], rules=rules), worker(tmp_path, []))
    started = time.monotonic()
    world.send(slices[:-1])
    time.sleep(1.5)
    assert world.asked == []
    world.send(slices[-1:])
    world.until(lambda: store.got)
    assert time.monotonic() - started < 1.5 + 3.0


@pytest.mark.parametrize(
    ("how", "said"),
    [
        ({"status": 0xA700}, "PACS is out of resources"),
        ({"status": 0xC123}, r"PACS refuses .* \(status 0xC123\)"),
        ({"pause": 5.0}, "PACS has not answered in 0.3 seconds"),
    ],
)
def test_a_peer_that_fails_is_tried_five_times_and_stops_no_other(
    begin: Begin, pacs: Callable[..., FakePacs], tmp_path: Path, how: dict[str, Any], said: str
) -> None:
    import re

    bad, good = pacs(**how), pacs()
    patience = 0.3 if "pause" in how else 30.0
    peers = [*PEERS, bad.peer(pause=0.02, patience=patience), {**good.peer(), "ae": "GOOD"}]
    world = begin(settings_of(peers=peers), worker(tmp_path, []))
    assert world.send([radiograph()]) == [0]
    world.until(lambda: good.got, 3.0)
    world.until(world.node.spool.failures, 20.0)
    when, what, why = world.node.spool.failures()[0]
    assert what == "peer PACS" and re.search(said, why) and when <= time.time()
    assert len(bad.tries) == 5
    bad.status, bad.pause = 0, 0.0
    assert world.node.spool.again() == 1
    world.until(lambda: bad.got)


def test_a_peer_that_is_not_there_or_does_not_know_us_is_named(begin: Begin, tmp_path: Path) -> None:
    strict = AE("PACS")
    strict.add_supported_context(FIND)
    strict.require_calling_aet = ["SOMEBODY"]
    server = strict.start_server(("127.0.0.1", 0), False)
    assert server is not None
    peers = [*PEERS, {"ae": "PACS", "port": server.server_address[1], "send_back": True, "tries": 1}]
    peers += [{"ae": "GONE", "port": 9, "send_back": True, "tries": 1}]
    world = begin(settings_of(peers=peers), worker(tmp_path, []))
    world.send([radiograph()])
    world.until(lambda: len(world.node.spool.failures()) == 2)
    server.shutdown()
    why = {what: why for _, what, why in world.node.spool.failures()}
    assert why["peer PACS"] == "PACS does not know our AE title MEDPRIOR: enter it there"
    assert why["peer GONE"] == "GONE cannot be reached at 127.0.0.1:9"


@pytest.mark.parametrize(("code", "words"), [(3, "does not look like"), (2, "not of the kind")])
def test_where_nothing_can_be_said_a_report_says_so(
    begin: Begin, pacs: Callable[..., FakePacs], code: int, words: str
) -> None:
    store = pacs()
    world = begin(settings_of(peers=[*PEERS, store.peer()]), lambda job: ("failed", code))
    world.send([radiograph()])
    world.until(lambda: store.got)
    text = store.got[0].ContentSequence[-1].TextValue
    assert words in text and "No result can be given" in text
    assert world.node.spool.failures() == []


def test_a_job_that_breaks_is_a_failure_and_can_be_tried_again(begin: Begin) -> None:
    world = begin(None, lambda job: ("failed", 1))
    world.send([radiograph()])
    world.until(world.node.spool.failures)
    assert world.node.spool.failures()[0][1:] == ("rule films", "its job was failed: see its log on the page")
    assert world.node.spool.again() == 1
    world.until(lambda: len(world.asked) == 2)


def test_a_job_whose_name_was_not_written_down_is_found_again(begin: Begin) -> None:
    """A server may be killed between the queue and the spool."""
    world = begin()
    world.send([radiograph()])
    world.until(lambda: world.node.spool.working() and world.node.spool.working()[0].job)
    with world.node.spool._change() as base:
        base.execute("update tasks set job = ''")
    time.sleep(0.6)
    assert len(world.asked) == 1
