"""Jobs are done once, whatever happens to the server."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest

from medprior.io.served.queue import ENDED, Job, JobQueue
from medprior.web.work import Foreman

TOOL = """
echo "medprior: said $1"
sleep $2
echo $1 >> done.txt
echo '{"at": 0, "kind": "end", "code": '$3'}' >> $MEDPRIOR_EVENTS
exit $3
"""

SERVER = """
import sys, time
from pathlib import Path
from medprior.io.served.queue import JobQueue
from medprior.web.work import Foreman
here = Path(sys.argv[1])
program = ("/bin/sh", str(here / "tool.sh"))
foreman = Foreman(JobQueue(here / "q.sqlite"), here / "jobs", here, 2, program)
foreman.start()
print("up", flush=True)
time.sleep(600)
"""


def foreman(here: Path, workers: int = 1) -> Foreman:
    (here / "tool.sh").write_text(TOOL)
    program = ("/bin/sh", str(here / "tool.sh"))
    return Foreman(JobQueue(here / "q.sqlite"), here / "jobs", here, workers, program)


def add(one: Foreman, name: str, seconds: float = 0.0, code: int = 0) -> Job:
    job = Job(name, "detect", (name, str(seconds), str(code)), name)
    one.queue.add(job)
    one.call()
    return job


def wait(one: Foreman, *states: str, seconds: float = 20.0) -> dict[str, str]:
    ends = time.monotonic() + seconds
    while time.monotonic() < ends:
        found = {job.id: job.state for job in one.queue.all()}
        if set(found.values()) <= set(states):
            return found
        time.sleep(0.02)
    raise AssertionError({job.id: job.state for job in one.queue.all()})


@pytest.mark.parametrize("code, state", [(0, "done"), (4, "done"), (2, "failed"), (3, "failed")])
def test_a_job_ends_as_its_command_does(tmp_path: Path, code: int, state: str) -> None:
    one = foreman(tmp_path)
    one.start()
    job = add(one, "a", 0.0, code)
    wait(one, *ENDED)
    one.stop()
    found = one.queue.get("a")
    assert found and (found.state, found.code, found.said) == (state, code, "said a")
    assert "said a" in one.desk(job).log()


def test_a_cancelled_job_leaves_within_two_seconds_and_the_queue_goes_on(tmp_path: Path) -> None:
    one = foreman(tmp_path)
    one.start()
    slow = add(one, "slow", 30.0)
    add(one, "next")
    while not one.desk(slow).busy():
        time.sleep(0.02)
    started = time.monotonic()
    one.cancel(slow)
    while one.desk(slow).busy():
        time.sleep(0.02)
    assert time.monotonic() - started < 2.0
    assert wait(one, *ENDED) == {"slow": "cancelled", "next": "done"}
    one.stop()
    assert (tmp_path / "done.txt").read_text() == "next\n"


def test_a_process_that_is_killed_from_outside_is_a_failure_in_words(tmp_path: Path) -> None:
    one = foreman(tmp_path)
    one.start()
    job = add(one, "a", 30.0)
    while (now := one.queue.get("a")) is None or now.process is None:
        time.sleep(0.02)
    os.kill(now.process, signal.SIGKILL)
    wait(one, "failed")
    one.stop()
    found = one.queue.get(job.id)
    assert found and "enough memory" in found.said


def test_a_job_whose_process_vanished_with_its_server_is_started_again(tmp_path: Path) -> None:
    one = foreman(tmp_path)
    add(one, "a")
    one.queue.claim()  # and then the server was killed, before it started a process
    one.start()
    assert wait(one, *ENDED) == {"a": "done"}
    one.stop()


def test_200_jobs_and_a_server_that_is_killed_20_times(tmp_path: Path) -> None:
    """None is lost, none is done twice."""
    one = foreman(tmp_path)
    names = [f"job{n:03}" for n in range(200)]
    for name in names:
        add(one, name, 0.01)
    (tmp_path / "server.py").write_text(SERVER)
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    for kill in range(21):
        server = subprocess.Popen(
            [sys.executable, str(tmp_path / "server.py"), str(tmp_path)],
            env=environment,
            stdout=subprocess.PIPE,
        )
        assert server.stdout is not None and server.stdout.readline() == b"up\n"
        if kill < 20:
            time.sleep(0.03 + 0.011 * kill)
        else:
            wait(one, *ENDED, seconds=60)
        server.kill()
        server.wait()
        server.stdout.close()
    assert Counter(job.state for job in one.queue.all()) == {"done": 200}
    done = Counter((tmp_path / "done.txt").read_text().split())
    assert set(done) == set(names) and max(done.values()) == 1
