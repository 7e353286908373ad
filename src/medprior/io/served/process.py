"""One process a job: it outlives the server, and holds a lock by which the next server finds it."""

from __future__ import annotations

import fcntl
import json
import os
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

__all__ = ["Desk", "Standing"]

_TAIL = 64 * 1024
"""Bytes of a log and of the events that are read: their end."""


@dataclass(frozen=True, slots=True)
class Standing:
    """text: the part that is being done. done, total: its steps, total 0 where unknown. left: seconds until
    the part ends, None where unknown. code: exit code, None while it has not ended.
    """

    text: str = ""
    done: int = 0
    total: int = 0
    left: float | None = None
    code: int | None = None


@dataclass(frozen=True, slots=True)
class Desk:
    """The folder of one job: its log, its events and its lock."""

    folder: Path

    @property
    def events(self) -> Path:
        """The file that the process adds its events to (``MEDPRIOR_EVENTS``)."""
        return self.folder / "events.jsonl"

    def start(
        self, command: Sequence[str], cwd: Path, more: Mapping[str, str], *, stdin: int = subprocess.DEVNULL
    ) -> subprocess.Popen[bytes] | None:
        """Start a process that writes into the log. None: a process of a former server still works here.

        cwd: its working folder. more: variables of its environment beside the server's. stdin: as of Popen.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        lock = os.open(self.folder / "lock", os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            self.events.unlink(missing_ok=True)
            with open(self.folder / "log", "ab") as log:
                return subprocess.Popen(
                    command,
                    cwd=cwd,
                    env={**os.environ, **more},
                    stdin=stdin,
                    stdout=log,
                    stderr=log,
                    pass_fds=[lock],  # the lock is held as long as either of the two lives
                    start_new_session=True,
                )
        except BlockingIOError:
            return None
        finally:
            os.close(lock)

    def busy(self) -> bool:
        """Whether a process works here."""
        try:
            lock = os.open(self.folder / "lock", os.O_RDWR)
        except FileNotFoundError:
            return False
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        finally:
            os.close(lock)
        return False

    def log(self) -> str:
        """The end of what the process has printed."""
        return _end_of(self.folder / "log").decode("utf-8", "replace")

    def progress(self) -> Standing:
        """Where the process stands, by the newest of its events."""
        text, done, total, code, first = "", 0, 0, None, (0.0, 0)
        now = 0.0
        for event in _events(_end_of(self.events)):
            now = event["at"]
            if event["kind"] == "stage":
                text, done, total, first = event["text"], 0, event["total"], (now, 0)
            elif event["kind"] == "step":
                text, done, total = event["text"] or text, event["done"], event["total"] or total
                first = first if first[0] and first[1] <= done else (now, done)
            elif event["kind"] == "end":
                code = event["code"]
        steps = done - first[1]
        left = (now - first[0]) / steps * (total - done) if steps > 0 and total >= done else None
        return Standing(text, done, total, left, code)


def _end_of(path: Path) -> bytes:
    try:
        with open(path, "rb") as file:
            file.seek(max(0, file.seek(0, os.SEEK_END) - _TAIL))
            return file.read()
    except FileNotFoundError:
        return b""


def _events(stored: bytes) -> Iterator[Mapping[str, Any]]:
    """The whole lines; the first and the last may be torn."""
    for line in stored.split(b"\n"):
        with suppress(ValueError):
            event = json.loads(line)
            if isinstance(event, dict):
                yield event
