"""Compressed frames are decoded in a child process with a limit of time and memory: a codec that crashes or
hangs costs one file, not the program.
"""

from __future__ import annotations

import atexit
import json
import os
import signal
import socket
import subprocess
import sys
import threading
from functools import cache
from math import prod
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...data.plain import JsonObject
from ...errors import Corrupt, FileProblem, TooLarge

__all__ = ["CodecError", "Decoder", "decoder"]

_CHILD = Path(__file__).with_name("decoder_child.py")
_START = 120.0
"""Seconds for the child to import its libraries on a machine that is busy."""
_MEMORY = 2**29
"""Bytes that a codec may take beside what grows with the picture."""
_MEMORY_PER_VALUE = 24
"""Bytes for each value of the picture: JPEG 2000 works on 32-bit copies of all of it."""
_HEAD = 2**14
_ONE_THREAD = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")


class CodecError(Exception):
    """A codec refused a stream, in its own words."""


class Decoder:
    """One child process, started when it is first needed and again after it died; threads take turns."""

    def __init__(self, child: Path = _CHILD, memory: int = _MEMORY) -> None:
        self._child, self._memory, self._lock = child, memory, threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._connection: Connection | None = None
        self._owner = os.getpid()

    def frame(
        self, path: Path, syntax: str, elements: dict[str, Any], stream: bytes, seconds: float
    ) -> NDArray[Any]:
        """The pixels of one compressed frame, (rows, columns) or (rows, columns, 3) RGB.

        path: the file that errors name. elements: its Image Pixel module. seconds: wall-clock time for this
        frame. Raises CodecError when the codec refuses the stream, Corrupt when it crashes or takes longer,
        TooLarge when it wants more memory than the picture explains, FileProblem when no child can be
        started.
        """
        values = elements["Rows"] * elements["Columns"] * elements["SamplesPerPixel"]
        head = {"syntax": syntax, "elements": elements, "memory": self._memory + _MEMORY_PER_VALUE * values}
        with self._lock:
            connection = self._started(path)
            try:
                connection.send_bytes(json.dumps(head).encode())
                connection.send_bytes(stream)
                if not connection.poll(seconds):
                    self._end()
                    raise Corrupt(
                        path,
                        f"its codec was not done after {seconds:g} s",
                        "raise Limits.seconds if the file is yours",
                    )
                told = json.loads(connection.recv_bytes(_HEAD))
                if "error" not in told:
                    return _pixels(connection, told, values)
            except (EOFError, OSError, ValueError, KeyError, TypeError) as error:
                raise Corrupt(
                    path, f"its codec crashed ({self._end()})", "export it as Explicit VR Little Endian"
                ) from error
            except BaseException:
                self._end()  # interrupted between question and answer: the next frame must not get this one's
                raise
        if told["error"] == "MemoryError":
            raise TooLarge(
                path,
                "its codec needs more memory than its size explains",
                "export it as Explicit VR Little Endian",
            )
        raise CodecError(f"{told['error']}: {told['text']}")

    def close(self) -> None:
        """End the child. A fork of this process has no say in it."""
        if os.getpid() == self._owner:
            with self._lock:
                self._end()

    def _started(self, path: Path) -> Connection:
        """The connection to a child that lives."""
        if self._connection is not None and self._process is not None and self._process.poll() is None:
            return self._connection
        self._end()
        ours, theirs = socket.socketpair()
        command = [sys.executable, "-P", str(self._child), str(theirs.fileno())]
        environment = {**os.environ, **_ONE_THREAD, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
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
            self._connection = Connection(ours.detach())
            if not self._connection.poll(_START) or self._connection.recv_bytes(_HEAD) != b"ready":
                raise EOFError
        except (EOFError, OSError) as error:
            ours.close()
            raise FileProblem(
                path,
                f"no process could be started to decode it ({self._end()})",
                "export it as Explicit VR Little Endian",
            ) from error
        return self._connection

    def _end(self) -> str:
        """Kill the child, and say how it had ended if it had."""
        if self._connection is not None:
            self._connection.close()
        process, self._process, self._connection = self._process, None, None
        if process is None:
            return "it never ran"
        try:
            code = process.wait(0.2)  # one that crashed is about to be gone; its own end says more than ours
        except subprocess.TimeoutExpired:
            process.kill()
            code = process.wait()
        return signal.Signals(-code).name if code < 0 else f"exit code {code}"


def _pixels(connection: Connection, told: JsonObject, values: int) -> NDArray[Any]:
    """The answer's pixels; the child may have been taken over, so nothing it says is believed beyond what was
    asked for.
    """
    dtype, shape = np.dtype(str(told["dtype"])), tuple(int(n) for n in told["shape"])
    if dtype.kind not in "biuf" or not 2 <= len(shape) <= 3 or min(shape) < 1 or prod(shape) > 3 * values:
        raise ValueError("an answer of another shape")
    content = connection.recv_bytes(prod(shape) * dtype.itemsize)
    return np.frombuffer(bytearray(content), dtype).reshape(shape)


def decoder() -> Decoder:
    """The decoder of this process; a fork gets its own."""
    return _decoder_of(os.getpid())


@cache
def _decoder_of(process: int) -> Decoder:  # noqa: ARG001 (the key of the cache)
    made = Decoder()
    atexit.register(made.close)
    return made
