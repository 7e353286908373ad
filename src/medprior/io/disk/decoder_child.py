"""The child process that runs parsers written in C, which a hostile file may crash, hang or feed with memory.

It is started as a script of its own by ``decoder.py`` and talks over one inherited socket. A job is one
message, and so is its answer.
"""

from __future__ import annotations

import math
import resource
import socket
import sys
import time
import warnings
from importlib import import_module
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from medprior.errors import MedpriorError
from medprior.io.disk import limits
from medprior.io.disk.messages import fault_text, next_message, packed, send_message, unpacked

_STATM = Path("/proc/self/statm")
_FOLD = 5
"""Bytes that may be taken for each byte that a checked size promises: as stored, as float32, turned, to be
sent.
"""
_LITTLE = 2**24
"""Bytes that each job may make."""
_BYTES_A_SECOND = 2**24
"""Of what is made: a second more of the processor for each of these."""


class _Allowance:
    """Memory and processor time of one job; ``Limits.check`` adds to them what a file may need. What the last
    job has left is not set again: calls of the system cost more than a small picture.
    """

    def __init__(self) -> None:
        self.memory, self.seconds, self.granted, self.until = 0, 0.0, 0, 0.0

    def begin(self, memory: int, seconds: float) -> None:
        """For a new job."""
        if self.granted > _LITTLE or memory != self.memory or time.process_time() + seconds > self.until:
            self.memory, self.seconds = memory, seconds
            self._set(_LITTLE)

    def add(self, n_bytes: int) -> None:
        """For a size that was checked."""
        if n_bytes > self.granted:
            self._set(n_bytes)

    def _set(self, granted: int) -> None:
        self.granted = granted
        self.until = math.ceil(time.process_time() + self.seconds + 1 + granted / _BYTES_A_SECOND)
        _limit(resource.RLIMIT_CPU, self.until)
        if _STATM.exists():  # where the system does not tell, memory has no limit
            now = int(_STATM.read_text().split()[0]) * resource.getpagesize()
            _limit(resource.RLIMIT_AS, now + self.memory + _FOLD * granted)


def _limit(of: int, wanted: int | float) -> None:
    """At most what the user or the cluster allows (ulimit)."""
    most = resource.getrlimit(of)[1]
    resource.setrlimit(of, (int(wanted if most == resource.RLIM_INFINITY else min(wanted, most)), most))


def answer(channel: socket.socket, allowance: _Allowance) -> None:
    """One job: its result, or the class and the text of what went wrong."""
    head, block = next_message(channel)
    module, name = head["call"]
    function = getattr(import_module(module), name)
    arrays: list[NDArray[Any]] = []
    try:
        allowance.begin(head["memory"], head["seconds"])
        given, named = unpacked(head["given"], block)
        value, arrays = packed(function(*given, **named))
        told = {"value": value}
    except MedpriorError as error:
        told = {"ours": True, **fault_text(error)}
    except Exception as error:  # whatever a parser raises is told, not died of
        told = {"error": type(error).__name__, "text": " ".join(str(error).split())[:2000]}
    send_message(channel, told, arrays)


def main() -> None:
    """Jobs until the parent closes its end."""
    warnings.simplefilter("ignore")
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))  # a dump of its memory would hold somebody's scan
    channel = socket.socket(fileno=int(sys.argv[1]))
    allowance = _Allowance()
    limits.on_grant(allowance.add)
    send_message(channel, "ready")
    while True:
        try:
            answer(channel, allowance)
        except (EOFError, OSError):
            return


if __name__ == "__main__":
    main()
