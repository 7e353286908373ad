"""What goes between a process and its child comes out as it went in, and no lie is believed."""

from __future__ import annotations

import socket
import threading

import numpy as np
import pytest

from medprior.io.disk.messages import _LENGTHS, next_message, packed, send_message, unpacked


def through(value: object) -> object:
    """The value after its way over a socket."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        told, arrays = packed(value)
        sender = threading.Thread(target=send_message, args=(ours, told, arrays))
        sender.start()
        stated, block = next_message(theirs)
        sender.join()
        return unpacked(stated, block)


@pytest.mark.parametrize("side", [0, 3, 1500])
def test_arrays_come_out_as_they_went_in_and_can_be_written_into(side: int) -> None:
    first = np.random.default_rng(0).normal(size=(side, side)).astype(np.float32)
    second = np.arange(7, dtype=np.int16)
    found = through({"a": first, "b": [second[::2], "text", None]})
    assert isinstance(found, dict)
    assert np.array_equal(found["a"], first) and found["a"].dtype == np.float32
    assert np.array_equal(found["b"][0], second[::2]) and found["b"][1:] == ("text", None)
    if side:
        found["a"][0, 0] = 5
        assert found["a"][0, 0] == 5 and first[0, 0] != 5


def test_an_end_before_the_message_is_said() -> None:
    ours, theirs = socket.socketpair()
    with theirs:
        ours.sendall(_LENGTHS.pack(20, 0) + b"{")
        ours.close()
        with pytest.raises(EOFError):
            next_message(theirs)
