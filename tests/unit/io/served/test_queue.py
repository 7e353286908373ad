"""The queue keeps every job, in order, through anything."""

from __future__ import annotations

from pathlib import Path

import pytest

from medprior.errors import BadOption, FileProblem
from medprior.io.served.queue import Job, JobQueue


def job(name: str) -> Job:
    return Job(name, "detect", ("detect", "scan.dcm", "--prior", "p"), f"detect-{name}", "scan")


def test_jobs_are_claimed_in_order_and_end_once(tmp_path: Path) -> None:
    queue = JobQueue(tmp_path / "q.sqlite")
    for name in "abc":
        queue.add(job(name))
    first, second = queue.claim(), queue.claim()
    assert first and second and (first.id, second.id, first.state) == ("a", "b", "running")
    assert first.words == ("detect", "scan.dcm", "--prior", "p")
    queue.end("a", "done", "fine", 0)
    queue.end("a", "failed", "late", 1)  # the first end counts
    found = queue.get("a")
    assert found and (found.state, found.said, found.code) == ("done", "fine", 0)
    assert [one.id for one in JobQueue(tmp_path / "q.sqlite").all()] == ["c", "b", "a"]
    assert [one.id for one in queue.running()] == ["b"]


def test_a_process_counts_as_a_try_and_its_job_may_wait_again(tmp_path: Path) -> None:
    queue = JobQueue(tmp_path / "q.sqlite")
    queue.add(job("a"))
    queue.claim()
    queue.started("a", 4711)
    queue.again("a")
    again = queue.claim()
    assert again and (again.tries, again.process) == (1, None)


def test_waiting_jobs_are_cancelled_at_once_and_running_ones_asked_to_stop(tmp_path: Path) -> None:
    queue = JobQueue(tmp_path / "q.sqlite")
    queue.add(job("a"))
    queue.add(job("b"))
    queue.claim()
    queue.cancel("a")
    queue.cancel("b")
    assert {one.id: one.state for one in queue.all()} == {"a": "cancelling", "b": "cancelled"}
    assert queue.claim() is None


def test_a_full_queue_says_so(tmp_path: Path) -> None:
    queue = JobQueue(tmp_path / "q.sqlite", most=2)
    queue.add(job("a"))
    queue.add(job("b"))
    with pytest.raises(BadOption, match="2 jobs wait already"):
        queue.add(job("c"))
    assert len(queue.all()) == 2


def test_a_file_that_is_no_queue_is_refused(tmp_path: Path) -> None:
    (tmp_path / "q.sqlite").write_bytes(b"no database" * 100)
    with pytest.raises(FileProblem, match="cannot be used"):
        JobQueue(tmp_path / "q.sqlite")
