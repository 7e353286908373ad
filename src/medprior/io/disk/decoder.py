"""Parsers in C are run in a child process with limits of time and memory: a hostile file that makes one
crash, hang or swell costs one file, not the program.
"""

from __future__ import annotations

import atexit
import os
import signal
import socket
import subprocess
import sys
import threading
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

import numpy as np
from numpy.typing import NDArray

from ...errors import Corrupt, FileProblem, TooLarge
from .limits import Limits
from .messages import fault_from, next_message, packed, send_message, unpacked

__all__ = ["CodecError", "Decoder", "decoder", "read_apart"]

P = ParamSpec("P")
T = TypeVar("T")
_Question = tuple[Any, list[NDArray[Any]]]

_CHILD = Path(__file__).with_name("decoder_child.py")
_START = 120.0
"""Seconds for the child to import its libraries on a machine that is busy."""
_MEMORY = 3 * 2**27
"""Bytes that a parser may take beside what grows with the size that was checked."""
_PATIENCE = 3
"""Seconds by the clock for each second of the processor: other programs run, too."""
_WORKS = 0.05
"""Share of the time by the clock that a child gets at least while it computes."""
_BUFFER = 2**22
"""Bytes on their way, where the system allows as many."""
_AHEAD = 16
"""Calls that may be begun and not yet asked for."""
_ENVIRONMENT = {
    **dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1"),
    "HF_HUB_OFFLINE": "1",
    # memory of one file serves the next, where malloc is that of glibc
    "MALLOC_MMAP_THRESHOLD_": str(2**26),
    "MALLOC_TRIM_THRESHOLD_": str(2**27),
    "HDF5_PLUGIN_PRELOAD": "::",  # no library that a file asks for is loaded
}
_BROKEN = (EOFError, OSError, ValueError, KeyError, TypeError, AttributeError, MemoryError)
"""What an answer leads to that no sound child gives."""
_EXPORT = "convert it with a program that you trust, and try again"


class CodecError(Exception):
    """A parser refused what it was given, in its own words."""


class Decoder:
    """One child process, started when it is first needed and again after it died; threads take turns."""

    def __init__(self, child: Path = _CHILD, memory: int = _MEMORY) -> None:
        self._child, self._memory, self._lock = child, memory, threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._channel: socket.socket | None = None
        self._begun: deque[_Question] = deque()
        self._owner = os.getpid()

    def call(
        self, path: Path, seconds: float, function: Callable[P, T], *given: P.args, **named: P.kwargs
    ) -> T:
        """``function(*given, **named)``, computed by the child.

        path: the file that errors name. seconds: processor time, beside what ``Limits.check`` grants for the
        size of the file. function: of a module; what it takes and gives can be ``packed``. Raises the
        MedpriorError that the function raises, and CodecError for any other of its errors. Raises Corrupt
        when it crashes or takes longer, TooLarge when it wants more memory than its checked size explains,
        and FileProblem when no child can be started.
        """
        question = self._question(seconds, function, given, named)
        with self._lock:
            self._pass_over(path, question, seconds)
            channel = self._started(path)
            try:
                if not self._begun:
                    send_message(channel, *question)
                    self._begun.append(question)
                self._begun.popleft()
                told, block = self._told(path, channel, seconds)
                if "value" in told:
                    return unpacked(told["value"], block)
                error = fault_from(told) if told.get("ours") else None
            except _BROKEN as error:
                raise self._fault(path, seconds) from error
            except BaseException:
                self._end()  # interrupted between question and answer: the next call must not get this one's
                raise
        if error is not None:
            raise error
        if told["error"] == "MemoryError":
            raise TooLarge(path, "its codec needs more memory than its size explains", _EXPORT)
        raise CodecError(f"{told['error']}: {told['text']}")

    def begin(
        self, path: Path, seconds: float, function: Callable[P, T], *given: P.args, **named: P.kwargs
    ) -> None:
        """Let the child start on a ``call`` that will come soon; calls come in the order of these."""
        question = self._question(seconds, function, given, named)
        with self._lock, suppress(FileProblem, OSError):
            if len(self._begun) < _AHEAD:
                send_message(self._started(path), *question)
                self._begun.append(question)

    def _question(self, seconds: float, function: Callable[..., Any], given: Any, named: Any) -> _Question:
        plain, arrays = packed([given, named])
        head = {"call": [function.__module__, function.__qualname__], "given": plain}
        return head | {"memory": self._memory, "seconds": seconds}, arrays

    def _pass_over(self, path: Path, question: _Question, seconds: float) -> None:
        """Drop the answers to what was begun before ``question`` and is not wanted any more."""
        while self._begun and self._begun[0][0] != question[0]:
            self._begun.popleft()
            try:
                self._told(path, self._started(path), seconds)
            except (*_BROKEN, Corrupt):
                self._end()  # another file's fault

    def _told(self, path: Path, channel: socket.socket, seconds: float) -> tuple[Any, NDArray[np.uint8]]:
        """The answer. A child that works is waited for: it has its processor time as its limit."""
        spent = -1.0
        channel.settimeout(_PATIENCE * seconds)
        while True:
            try:
                return next_message(channel)
            except TimeoutError:
                now = self._processor_time()
                if now == 0 or now < spent + _WORKS * _PATIENCE * seconds:
                    self._end()
                    raise _late(path, seconds) from None
                spent = now

    def _processor_time(self) -> float:
        """Seconds of the processor that the child has used; 0 where the system does not tell."""
        try:
            stated = Path(f"/proc/{self._process.pid if self._process else 0}/stat").read_text()
        except OSError:
            return 0.0
        user, system = stated.rpartition(")")[2].split()[11:13]
        return (int(user) + int(system)) / os.sysconf("SC_CLK_TCK")

    def close(self) -> None:
        """End the child. A fork of this process has no say in it."""
        if os.getpid() == self._owner:
            with self._lock:
                self._end()

    def kill(self) -> None:
        """End the child at once, whatever it is at: a ``call`` in another thread fails."""
        if (process := self._process) is not None:
            process.kill()

    def _started(self, path: Path) -> socket.socket:
        """The channel to a child that lives."""
        if self._channel is not None and self._process is not None and self._process.poll() is None:
            return self._channel
        self._end()
        self._channel, theirs = socket.socketpair()
        for end in (self._channel, theirs):
            end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _BUFFER)
        command = [sys.executable, "-P", str(self._child), str(theirs.fileno())]
        environment = {**os.environ, **_ENVIRONMENT, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
        null = subprocess.DEVNULL  # codecs write to their error output what they find in a file
        try:
            with theirs:
                self._process = subprocess.Popen(
                    command,
                    stdin=null,
                    stdout=null,
                    stderr=null,
                    env=environment,
                    pass_fds=(theirs.fileno(),),
                )
            self._channel.settimeout(_START)
            if next_message(self._channel)[0] != "ready":
                raise EOFError
        except (EOFError, OSError, ValueError) as error:
            raise FileProblem(
                path,
                f"no process could be started to decode it ({self._end()})",
                "free memory, and try again",
            ) from error
        return self._channel

    def _fault(self, path: Path, seconds: float) -> Corrupt:
        """What a child that is gone, or does not keep to the rules, was at."""
        how = self._end()
        if how == "SIGXCPU":
            return _late(path, seconds)
        return Corrupt(path, f"its codec crashed ({how})", _EXPORT)

    def _end(self) -> str:
        """Kill the child, and say how it had ended if it had."""
        if self._channel is not None:
            self._channel.close()
        self._begun.clear()
        process, self._process, self._channel = self._process, None, None
        if process is None:
            return "it never ran"
        try:
            code = process.wait(0.2)  # one that crashed is about to be gone; its own end says more than ours
        except subprocess.TimeoutExpired:
            process.kill()
            code = process.wait()
        return signal.Signals(-code).name if code < 0 else f"exit code {code}"


def _late(path: Path, seconds: float) -> Corrupt:
    return Corrupt(
        path, f"its codec was not done after {seconds:g} s", "raise Limits.seconds if the file is yours"
    )


def read_apart(path: Path, limits: Limits, function: Callable[P, T], *given: P.args, **named: P.kwargs) -> T:
    """``function(*given, **named)`` in the child of this process. Whatever goes wrong there is a
    MedpriorError that names the file.
    """
    try:
        return decoder().call(path, limits.seconds, function, *given, **named)
    except CodecError as error:
        raise Corrupt(path, f"cannot be read ({error})", "copy the file again") from error


def decoder() -> Decoder:
    """The decoder of this process; a fork gets its own."""
    return _decoder_of(os.getpid())


@cache
def _decoder_of(process: int) -> Decoder:  # noqa: ARG001 (the key of the cache)
    made = Decoder()
    atexit.register(made.close)
    return made
