"""The trail: nothing that was recorded is ever lost, whatever happens between two lines."""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from medprior.errors import FileProblem
from medprior.io.disk.trail import opened_trail

TEXT = st.text(max_size=12)
RECORD = st.dictionaries(TEXT, TEXT | st.integers() | st.none(), max_size=4)
STEP = st.lists(RECORD, max_size=3) | st.binary(max_size=9)
"""A call that appends, or bytes that a killed process left behind."""

QUICK = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def records(path: Path) -> list[dict]:
    with opened_trail(path, write=False) as trail:
        return [dict(record) for _, record in trail.lines]


@QUICK
@given(st.lists(STEP, max_size=6))
def test_whatever_was_recorded_is_there_in_order(tmp_path: Path, steps: list) -> None:
    path = tmp_path / "trail"
    path.unlink(missing_ok=True)
    wanted: list[dict] = []
    before = b""
    for step in steps:
        if isinstance(step, bytes):
            left = step.replace(b"{", b"(")  # torn: whatever it is, it is no record
            with path.open("ab") as file:
                file.write(left)
        else:
            with opened_trail(path) as trail:
                trail.append(step)
            wanted += step
        stored = path.read_bytes()
        assert stored.startswith(before), "no byte is changed or removed"
        before = stored
    assert records(path) == wanted


def test_lines_are_numbered_and_damaged_ones_counted(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "trail"
    with opened_trail(path) as trail:
        trail.append([{"a": 1}])
    with path.open("ab") as file:
        file.write(b'{"a": 2\n[3]\n{"a": 4}')
    with opened_trail(path) as trail:
        assert trail.lines == ((1, {"a": 1}), (4, {"a": 4})) and trail.damaged == (2, 3)
        trail.append([{"a": 5}])
        assert trail.lines[-1] == (5, {"a": 5})


def test_no_file_is_an_empty_trail_and_reading_makes_none(tmp_path: Path) -> None:
    assert records(tmp_path / "none") == [] and list(tmp_path.iterdir()) == []


def _write(path: Path, name: int, n: int) -> None:
    for k in range(n):
        with opened_trail(path) as trail:
            trail.append([{"by": name, "k": k}, {"by": name, "k": k}])


def test_several_processes_write_at_once(tmp_path: Path) -> None:
    path, context = tmp_path / "trail", multiprocessing.get_context("fork")
    writers = [context.Process(target=_write, args=(path, name, 40)) for name in range(3)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join(60)
    found = records(path)
    for name in range(3):
        assert [r["k"] for r in found if r["by"] == name] == [k for k in range(40) for _ in range(2)]
    assert all(a == b for a, b in zip(found[::2], found[1::2], strict=True)), "a call's lines stand together"


def test_a_killed_writer_loses_nothing_that_it_had_recorded(tmp_path: Path) -> None:
    path, context = tmp_path / "trail", multiprocessing.get_context("fork")
    writer = context.Process(target=_write, args=(path, 0, 100_000))
    writer.start()
    while not path.is_file() or len(records(path)) < 20:
        pass
    os.kill(writer.pid or 0, signal.SIGKILL)
    writer.join(60)
    before = records(path)
    _write(path, 1, 1)
    assert records(path) == [*before, {"by": 1, "k": 0}, {"by": 1, "k": 0}]
    assert [r["k"] for r in before] == [k for k in range(len(before)) for k in (k, k)][: len(before)]


def test_a_full_disk_records_all_or_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "trail"
    _write(path, 0, 1)
    before, write = path.read_bytes(), os.write

    def full(handle: int, data: bytes) -> int:
        if len(data) <= 20:
            raise OSError(28, "No space left on device")
        return write(handle, data[:20])

    monkeypatch.setattr("medprior.io.disk.trail.os.write", full)
    with opened_trail(path) as trail, pytest.raises(FileProblem, match=r"No space left.*nothing was lost"):
        trail.append([{"a": "b" * 40}])
    assert path.read_bytes() == before


def test_what_is_no_file_is_refused(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "mine").write_text("a letter\n")
    (tmp_path / "link").symlink_to(tmp_path / "mine")
    for place in (tmp_path, tmp_path / "pipe", tmp_path / "link"):
        with pytest.raises(FileProblem), opened_trail(place):
            pass


def test_a_line_holds_any_text(tmp_path: Path) -> None:
    with opened_trail(tmp_path / "trail") as trail:
        trail.append([{"scan": "a\nb\u2028\ud800"}])
        assert trail.lines == ((1, {"scan": "a\nb\u2028\ud800"}),)
    assert json.loads((tmp_path / "trail").read_bytes())
