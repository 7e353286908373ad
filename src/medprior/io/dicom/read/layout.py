"""The skeleton of a DICOM file: where each element lies, and whether all of it is there. pydicom gives the
values their meaning.

pydicom stops silently where a file is cut, so the structure is walked here first; nothing is allocated but
what the file really holds.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

__all__ = ["DEEPEST", "MOST_ELEMENTS", "Bad", "Element", "Short", "Skeleton", "walk"]

DEEPEST = 32
"""Sequences within sequences; the deepest of the standard's own objects has under ten."""
MOST_ELEMENTS = 1_000_000

PIXELS = (0x7FE00008, 0x7FE00009, 0x7FE00010)
_LONG = frozenset(b"OB OD OF OL OV OW SQ SV UC UN UR UT UV".split())
_VRS = frozenset(b"AE AS AT CS DA DS DT FD FL IS LO LT PN SH SL SS ST TM UI UL US".split()) | _LONG
_NAMES = {vr: vr.decode() for vr in _VRS}
_ITEM, _ITEM_END, _SEQUENCE_END = 0xFFFEE000, 0xFFFEE00D, 0xFFFEE0DD
_UNDEFINED = 0xFFFFFFFF


class Short(Exception):
    """The bytes end at ``at`` before the element there does."""

    def __init__(self, at: int) -> None:
        super().__init__(at)
        self.at = at


class Bad(Exception):
    """The structure is wrong."""


@dataclass(frozen=True, slots=True)
class Element:
    """vr: two letters, or None (implicit). value: its bytes lie in [start, end); undefined: its end was
    marked, not counted.
    """

    vr: str | None
    start: int
    end: int
    undefined: bool


@dataclass(frozen=True, slots=True)
class Skeleton:
    """elements: the top level by tag, up to the pixels. pixels: (tag, element) or None. fragments: (start,
    end) of each, when encapsulated.
    """

    elements: dict[int, Element]
    pixels: tuple[int, Element] | None
    fragments: tuple[tuple[int, int], ...]


class _Walker:
    def __init__(self, data: bytes, size: int, little: bool) -> None:
        order = "<" if little else ">"
        self.data, self.size, self.n_elements = data, size, 0
        self.explicit_head = struct.Struct(order + "HH2sH").unpack_from
        self.implicit_head = struct.Struct(order + "HHL").unpack_from
        self.long = struct.Struct(order + "L").unpack_from

    def head(self, at: int, implicit: bool) -> tuple[int, bytes | None, int, int]:
        """(tag, vr, length, start of the value) of the element at ``at``."""
        self.n_elements += 1
        if self.n_elements > MOST_ELEMENTS:
            raise Bad(f"more than {MOST_ELEMENTS} elements")
        try:
            if implicit:
                group, element, length = self.implicit_head(self.data, at)
                return group << 16 | element, None, length, at + 8
            group, element, vr, length = self.explicit_head(self.data, at)
            if group == 0xFFFE:  # items and delimiters have no VR
                return group << 16 | element, None, self.long(self.data, at + 4)[0], at + 8
            if vr in _LONG:
                return group << 16 | element, vr, self.long(self.data, at + 8)[0], at + 12
            if vr not in _VRS:
                raise Bad(f"no value representation at byte {at} but {vr!r}")
            return group << 16 | element, vr, length, at + 8
        except struct.error:
            raise Short(at) from None

    def end(self, at: int, length: int) -> int:
        if at + length > self.size:
            raise Short(at)
        return at + length

    def sequence(self, at: int, length: int, implicit: bool, depth: int) -> int:
        """The end of a sequence whose items begin at ``at``; the delimiter belongs to it."""
        if depth > DEEPEST:
            raise Bad(f"sequences nested deeper than {DEEPEST}")
        stop = None if length == _UNDEFINED else self.end(at, length)
        while stop is None or at < stop:
            tag, _, length, at = self.head(at, implicit)
            if tag == _SEQUENCE_END and stop is None:
                return at
            if tag != _ITEM:
                raise Bad(f"no item but ({tag >> 16:04X},{tag & 0xFFFF:04X}) in a sequence before byte {at}")
            at = self.item(at, length, implicit, depth)
        return at

    def item(self, at: int, length: int, implicit: bool, depth: int) -> int:
        stop = None if length == _UNDEFINED else self.end(at, length)
        while stop is None or at < stop:
            tag, vr, length, at = self.head(at, implicit)
            if tag == _ITEM_END and stop is None:
                return at
            at = self.after(at, length, vr, implicit, depth)
        return at

    def after(self, at: int, length: int, vr: bytes | None, implicit: bool, depth: int) -> int:
        """The end of a value. Of unknown VR and undefined length it is a sequence in implicit VR (PS3.5
        section 6.2.2, note 2).
        """
        if vr == b"SQ" or length == _UNDEFINED:
            return self.sequence(at, length, implicit or vr == b"UN", depth + 1)
        return self.end(at, length)

    def fragments(self, at: int) -> tuple[tuple[int, int], ...]:
        """(start, end) of each fragment; the first is the offset table."""
        found = []
        while True:
            tag, _, length, at = self.head(at, True)
            if tag == _SEQUENCE_END:
                return tuple(found)
            if tag != _ITEM or length == _UNDEFINED:
                raise Bad(f"no fragment of pixel data before byte {at}")
            found.append((at, self.end(at, length)))
            at += length


def walk(
    data: bytes, start: int, *, implicit: bool, little: bool, size: int, stop_group: int | None = None
) -> tuple[Skeleton, int]:
    """The skeleton of the data set that begins at byte ``start`` of ``data``, and where the walk ended.

    data: the file, or its beginning; size: bytes of the whole file.
    Ends at the pixels, at ``size`` or before the first tag of another group than ``stop_group``.
    Raises Short where the bytes end too early, Bad where the structure is wrong.
    """
    walker = _Walker(data, size, little)
    elements: dict[int, Element] = {}
    at, before = start, -1
    while at < size:
        if (
            stop_group is not None
            and int.from_bytes(data[at : at + 2], "little" if little else "big") != stop_group
        ):
            break
        tag, vr, length, value = walker.head(at, implicit)
        if tag in PIXELS and length == _UNDEFINED:
            found = walker.fragments(value)
            return Skeleton(elements, (tag, Element(_NAMES.get(vr or b""), value, size, True)), found), size
        if tag in PIXELS and length > 0:
            return Skeleton(
                elements, (tag, Element(_NAMES.get(vr or b""), value, walker.end(value, length), False)), ()
            ), value + length
        if tag == 0 or tag >> 16 == 0xFFFE or (tag <= before and tag >> 16 == before >> 16 == 0x0002):
            raise Bad(f"unexpected tag ({tag >> 16:04X},{tag & 0xFFFF:04X}) at byte {at}")
        end = walker.after(value, length, vr, implicit, 0)
        if end > len(data):
            raise Short(at)
        elements[tag] = Element(_NAMES.get(vr or b""), value, end, length == _UNDEFINED)
        before, at = tag, end
    return Skeleton(elements, None, ()), at
