"""A process of a job is found again by its lock, and its events say where it stands."""

from __future__ import annotations

import json
import sys
from pathlib import Path

from medprior.io.served.process import Desk


def test_one_process_at_a_time_works_at_a_desk(tmp_path: Path) -> None:
    desk = Desk(tmp_path / "job")
    assert not desk.busy()
    sleeper = [sys.executable, "-S", "-c", "print('hello', flush=True); import time; time.sleep(20)"]
    child = desk.start(sleeper, tmp_path, {})
    assert child is not None
    try:
        assert desk.busy() and desk.start(sleeper, tmp_path, {}) is None
        assert Desk(tmp_path / "job").busy()  # another server sees it, too
    finally:
        child.kill()
        child.wait()
    assert not desk.busy()


def test_the_log_holds_what_was_printed(tmp_path: Path) -> None:
    desk = Desk(tmp_path / "job")
    command = [sys.executable, "-S", "-c", "import os; print(os.environ['MORE'], b'\\xff')"]
    child = desk.start(command, tmp_path, {"MORE": "words"})
    assert child is not None and child.wait() == 0
    assert "words" in desk.log()


def test_events_give_the_part_the_steps_and_the_time_left(tmp_path: Path) -> None:
    desk = Desk(tmp_path)
    lines = [
        {"at": 100.0, "kind": "stage", "text": "drawing", "done": 0, "total": 10},
        {"at": 104.0, "kind": "step", "text": "", "done": 2, "total": 10},
    ]
    desk.events.write_text("".join(json.dumps(line) + "\n" for line in lines) + '{"at": 1')  # torn
    now = desk.progress()
    assert (now.text, now.done, now.total, now.left, now.code) == ("drawing", 2, 10, 16.0, None)
    with desk.events.open("a") as file:
        file.write('\n{"at": 110.0, "kind": "end", "code": 4}\n')
    assert desk.progress().code == 4


def test_nothing_is_known_of_a_job_that_has_said_nothing(tmp_path: Path) -> None:
    now = Desk(tmp_path).progress()
    assert (now.text, now.left, now.code) == ("", None, None) and Desk(tmp_path).log() == ""
