"""What the node reads from a line, and how it waits on one: as pynetdicom, without its copies and pauses.

pynetdicom looks at each line, and at each queue between its threads, once in a millisecond. An object waits
for several of these looks, which takes longer than its bytes do. Here each thread sleeps until there is
something for it. A version of pynetdicom that no longer calls one of these functions falls back to its looks.
"""

from __future__ import annotations

import select
import socket
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import Any

from pynetdicom.pdu_primitives import P_DATA

__all__ = ["LARGEST_PDU", "PromptLine", "bounded_line"]

LARGEST_PDU = 2**20
_P_DATA, _HEAD = 4, 6
"""Type of a PDU with data, and bytes before its values (PS3.8 table 9-22)."""
_DATA_TRANSFER = "Sta6"
"""State of an association that is open (PS3.8 table 9-5)."""
_LOOK, _WAIT = 0.001, 0.05
"""Seconds between two looks of pynetdicom, and for how long nothing need be looked at."""


def bounded_line(association: Any, most: int) -> None:
    """No PDU, and no object, may take more bytes than was agreed (``most``, until ``_taken`` is 0 again)."""
    line = association.dul.socket

    def bounded(n: int) -> bytearray:
        association._taken = getattr(association, "_taken", 0) + n
        fits = n <= 2 * LARGEST_PDU and association._taken <= most
        return _read(line.socket, n) if fits else bytearray()

    line.recv = bounded


class PromptLine:
    """The line of an association that was accepted: its two threads wait for bytes, messages and answers, and
    each is woken at once.
    """

    def __init__(self, association: Any) -> None:
        self.dul, self.dimse = association.dul, association.dimse
        self._news = threading.Event()
        self._bell, self._heard = socket.socketpair()
        self._look, self._send, self._message = (
            *(self.dul._is_transport_event, self.dul.send_pdu),
            self.dimse.get_msg,
        )
        self.dul._decode_pdu = partial(_decoded, self.dul._decode_pdu)
        self.dul._is_transport_event, self.dul.send_pdu = self._bytes_or_answer, self._send_and_ring
        self.dimse.get_msg = self._next_message

    def close(self) -> None:
        """The line is closed."""
        self._bell.close()
        self._heard.close()

    def _bytes_or_answer(self) -> bool:
        """In the thread of the line: wait for bytes, or for something to send."""
        if not self.dimse.msg_queue.empty() or self.dul.peek_next_pdu() is not None:
            self._news.set()
        idle = self.dul.state_machine.current_state == _DATA_TRANSFER and self.dul.event_queue.empty()
        self.dul._run_loop_delay = 0 if idle else _LOOK
        if idle and not self.dul.socket.ready:
            with suppress(OSError, ValueError):  # closed meanwhile
                _answer_at_once(self.dul.socket.socket)
                if self._heard in select.select([self.dul.socket.socket, self._heard], [], [], _WAIT)[0]:
                    self._heard.recv(4096)
        return self._look()

    def _send_and_ring(self, primitive: Any) -> None:
        self._send(primitive)
        with suppress(OSError):
            self._bell.send(b"\0")

    def _next_message(self, block: bool = False) -> Any:
        """In the thread of the association: wait for a message, or for the end of the association."""
        if not block and self.dimse.msg_queue.empty():
            self._news.wait(_WAIT)
            self._news.clear()
        return self._message(block)


@dataclass(frozen=True, slots=True)
class _Data:
    """A P-DATA-TF PDU whose values are views of what was received."""

    values: Any

    def to_primitive(self) -> P_DATA:
        made = P_DATA()
        made._presentation_data_value_list = self.values
        return made


def _decoded(usual: Callable[[bytearray], tuple[Any, str]], pdu: bytearray) -> tuple[Any, str]:
    """As pynetdicom decodes a PDU, but one with data is not copied (PS3.8 sections 9.3.5 and E.2): that takes
    most of the time of an object. Raises ValueError for lengths that do not fit.
    """
    if pdu[0] != _P_DATA:
        return usual(pdu)
    view, start, values = memoryview(pdu).toreadonly(), _HEAD, []
    while start < len(view):
        end = start + 4 + int.from_bytes(view[start : start + 4])
        if end > len(view) or end < start + 6:
            raise ValueError("a value is longer or shorter than its PDU has room for")
        values.append((view[start + 4], view[start + 5 : end]))
        start = end
    return _Data(values), "Evt10"


def _answer_at_once(line: socket.socket) -> None:
    """Packets that come next are acknowledged when they come (TCP_QUICKACK, Linux): a sender that gathers
    small ones (RFC 896) would wait 40 ms for it. The system forgets it, so it is said again.
    """
    if sys.platform == "linux":
        line.setsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK, 1)


def _read(line: socket.socket, n: int) -> bytearray:
    """n bytes, fewer where the line ends; pynetdicom's own takes 4096 at a time."""
    found, taken = bytearray(n), 0
    while taken < n:
        _answer_at_once(line)
        if not (more := line.recv_into(memoryview(found)[taken:])):
            break
        taken += more
    return found if taken == n else found[:taken]
