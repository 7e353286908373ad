"""What goes between a process and its guarded child: JSON for plain values, bytes for arrays. Nothing is
pickled.

A message is two lengths, JSON, and a block of arrays. In the block each array starts at a multiple of 64
bytes.
"""

from __future__ import annotations

import json
import socket
import struct
from collections.abc import Iterator, Sequence
from dataclasses import fields, is_dataclass
from functools import cache
from importlib import import_module
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ... import errors
from ...errors import FileProblem, MedpriorError

__all__ = ["fault_from", "fault_text", "next_message", "packed", "send_message", "unpacked"]

_STEP = 64
_LENGTHS = struct.Struct(">QQ")
_PIECE = 2**20
_MOST = 2**26
"""Bytes of one message without its block."""
_KINDS = "biufcUS"


def send_message(channel: socket.socket, value: Any, arrays: Sequence[NDArray[Any]] = ()) -> None:
    """One message. value: for JSON. arrays: of the block. Raises OSError."""
    text = json.dumps(value).encode(errors="surrogatepass")
    size = sum(aligned(array.nbytes) for array in arrays)
    head = _LENGTHS.pack(len(text), size) + text
    if size <= _PIECE:  # at once: a call of the system costs more than a small copy
        channel.sendall(b"".join((head, *_blocks(arrays))))
        return
    channel.sendall(head)
    for part in _blocks(arrays):
        channel.sendall(part)


def _blocks(arrays: Sequence[NDArray[Any]]) -> Iterator[memoryview | bytes]:
    for array in arrays:
        if array.nbytes:
            yield np.ascontiguousarray(array).reshape(-1).view(np.uint8).data
            yield bytes(aligned(array.nbytes) - array.nbytes)


def next_message(channel: socket.socket) -> tuple[Any, NDArray[np.uint8]]:
    """(value, block) of the next message. Raises EOFError where it ends early, TimeoutError where none comes,
    OSError, ValueError.
    """
    head = channel.recv(_LENGTHS.size)
    n_text, n_block = _LENGTHS.unpack(head + _filled(channel, _LENGTHS.size - len(head)).tobytes())
    if n_text > _MOST:
        raise ValueError(f"a message of {n_text:,} bytes")
    text = _filled(channel, n_text)
    return json.loads(text.tobytes().decode(errors="surrogatepass")), _filled(channel, n_block)


def _filled(channel: socket.socket, size: int) -> NDArray[np.uint8]:
    found = np.empty(size, np.uint8)
    done = 0
    while done < size:
        try:
            got = channel.recv_into(found.data[done:])
        except TimeoutError as error:
            raise EOFError from error
        if not got:
            raise EOFError
        done += got
    return found


def packed(value: object) -> tuple[Any, list[NDArray[Any]]]:
    """(JSON, arrays) of a value.

    A value is plain, bytes, a path, an array, a dataclass or an error of medprior, or a list, tuple or
    dictionary of these.
    """
    arrays: list[NDArray[Any]] = []
    size = 0

    def plain(one: Any) -> Any:
        nonlocal size
        if one is None or isinstance(one, bool | int | float | str):
            return one
        if isinstance(one, Path):
            return {"path": str(one)}
        if isinstance(one, bytes):
            return {"bytes": one.decode("latin-1")}
        if isinstance(one, MedpriorError):
            return {"fault": fault_text(one)}
        if isinstance(one, list | tuple):
            return [plain(part) for part in one]
        if isinstance(one, np.ndarray):
            arrays.append(one)
            start, size = size, size + aligned(one.nbytes)
            return {"array": [start, one.dtype.str, list(one.shape)]}
        if isinstance(one, dict):
            return {"dict": [[plain(key), plain(part)] for key, part in one.items()]}
        if isinstance(one, np.generic):
            return one.item()
        if not is_dataclass(one):
            raise TypeError(f"{type(one).__name__} cannot be sent")
        kind = type(one)
        return {
            "of": [kind.__module__, kind.__qualname__],
            "with": {name: plain(getattr(one, name)) for name in _names(kind)},
        }

    return plain(value), arrays


@cache
def _names(kind: type[Any]) -> tuple[str, ...]:
    return tuple(field.name for field in fields(kind))


def aligned(size: int) -> int:
    """The room that so many bytes take in the block."""
    return -(-size // _STEP) * _STEP


def unpacked(stated: Any, block: Any) -> Any:
    """The value again: arrays are views of the block, sequences are tuples, dataclasses are made anew, which
    checks their shapes. Raises ValueError, KeyError, TypeError or AttributeError for what no ``packed`` made.
    """

    def made(one: Any) -> Any:
        if isinstance(one, list):
            return tuple(made(part) for part in one)
        if not isinstance(one, dict):
            return one
        if "path" in one:
            return Path(one["path"])
        if "bytes" in one:
            return one["bytes"].encode("latin-1")
        if "fault" in one:
            return fault_from(one["fault"])
        if "array" in one:
            return _array(one["array"], block)
        if "dict" in one:
            return {made(key): made(part) for key, part in one["dict"]}
        module, name = one["of"]
        if not module.startswith("medprior."):
            raise ValueError(f"{module}.{name} is none of ours")
        kind = getattr(import_module(module), name)
        if not (is_dataclass(kind) and isinstance(kind, type)):
            raise ValueError(f"{module}.{name} is no record")
        return kind(**{key: made(part) for key, part in one["with"].items()})

    return made(stated)


def _array(stated: Any, block: Any) -> NDArray[Any]:
    start, kind, shape = stated
    dtype = np.dtype(kind)
    if dtype.kind not in _KINDS or min(shape, default=1) < 0:
        raise ValueError(f"an array of {kind} {shape}")
    count = prod(shape)
    return np.frombuffer(block, dtype, count, start).reshape(shape) if count else np.empty(shape, dtype)


def fault_text(error: MedpriorError) -> dict[str, str]:
    """An error as plain text."""
    named = {"path": str(error.path), "reason": error.reason} if isinstance(error, FileProblem) else {}
    return {"error": type(error).__name__, "text": Exception.__str__(error), "remedy": error.remedy, **named}


def fault_from(stated: dict[str, str]) -> MedpriorError:
    """The error again. Raises ValueError for what is none of ours."""
    kind = getattr(errors, stated["error"], None)
    if not (isinstance(kind, type) and issubclass(kind, MedpriorError)):
        raise ValueError(f"{stated['error']} is no error of medprior")
    if issubclass(kind, FileProblem):
        return kind(stated["path"], stated["reason"], stated["remedy"])
    error = kind.__new__(kind)
    MedpriorError.__init__(error, stated["text"], stated["remedy"])
    return error
