"""The one door to a DICOM file: everything that can be wrong with its bytes leaves here as a
MedpriorError.
"""

from __future__ import annotations

import logging
import math
import stat
import warnings
import zlib
from collections.abc import Iterator, MutableSequence, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom.charset import convert_encodings
from pydicom.datadict import tag_for_keyword
from pydicom.dataelem import RawDataElement, convert_raw_data_element
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.filereader import dcmread
from pydicom.tag import BaseTag
from pydicom.uid import UID

from ....errors import Corrupt, FileProblem, MedpriorError, TooLarge, Truncated, Unsupported
from ...disk.decoder import read_apart
from ...disk.limits import Limits
from .layout import Bad, Element, Short, Skeleton, walk

__all__ = ["Header", "dicom_error", "dicom_errors", "open_dicom", "open_if_dicom", "quiet", "whole_dataset"]

_HEAD = 2**16
_IMPLICIT, _EXPLICIT, _DEFLATED, _BIG = (
    "1.2.840.10008.1.2",
    "1.2.840.10008.1.2.1",
    "1.2.840.10008.1.2.1.99",
    "1.2.840.10008.1.2.2",
)


@contextmanager
def quiet() -> Iterator[None]:
    """pydicom warns and logs with the value that it dislikes, and values are names of patients: inside, it
    says nothing.
    """
    log = logging.getLogger("pydicom")
    level = log.level
    log.setLevel(logging.CRITICAL + 1)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        log.setLevel(level)


@contextmanager
def dicom_errors(path: Path) -> Iterator[None]:
    """Turns whatever pydicom, a codec or the system raises into a MedpriorError about ``path``; keeps pydicom
    quiet.

    KeyboardInterrupt and SystemExit pass; a MemoryError becomes TooLarge, never silence.
    """
    try:
        with quiet():
            yield
    except Exception as error:  # the exception classes of strangers: pydicom alone has six
        if isinstance(error, MedpriorError):
            raise
        raise dicom_error(path, error) from error


def dicom_error(path: Path, error: Exception) -> MedpriorError:
    """The MedpriorError that says what ``error`` means for ``path``."""
    match error:
        case MedpriorError():
            return error
        case MemoryError():
            return TooLarge(
                path,
                "needs more memory than this machine gives",
                "close other programs or set smaller Limits",
            )
        case RecursionError():
            return Corrupt(path, "its sequences are nested too deeply")
        case OSError():
            return FileProblem(path, f"cannot be read ({error.strerror or error})")
        case _:
            return Corrupt(
                path, f"is damaged ({type(error).__name__}: {_short(error)})", "export or copy it again"
            )


def _short(error: Exception) -> str:
    text = " ".join(str(error).split())
    return text if len(text) <= 160 else text[:157] + "..."


@lru_cache(maxsize=2048)
def _meaning(tag: int, vr: str | None, value: bytes, implicit: bool, little: bool) -> Any:
    """pydicom's reading of a value; the slices of a series repeat most of theirs, so they are kept."""
    raw = RawDataElement(BaseTag(tag), vr, len(value), value, 0, implicit, little)
    element = convert_raw_data_element(raw)
    return None if element.is_empty else element.value


@dataclass(frozen=True, slots=True)
class Header:
    """One file without its pixels. ``buffer`` holds the bytes before them, of a deflated file all of them;
    offsets count from the start of the file.
    """

    path: Path
    size: int
    syntax: UID
    implicit: bool
    little: bool
    skeleton: Skeleton
    buffer: bytes = field(repr=False)
    meta: dict[int, tuple[str | None, bytes]] = field(repr=False)
    inflated: bool = False

    @property
    def kind(self) -> str:
        """The plain name of its SOP class."""
        return (
            UID(self.text("SOPClassUID") or _uid(self.meta.get(0x00020002))).name or "unknown kind of object"
        )

    def get(self, keyword: str) -> Any:
        """The value of a top-level element as pydicom reads it, None when absent or empty."""
        tag = tag_for_keyword(keyword)
        element = self.skeleton.elements.get(tag) if tag is not None else None
        if tag is None or element is None or element.start == element.end:
            return None
        return _meaning(tag, element.vr, self.buffer[element.start : element.end], self.implicit, self.little)

    def text(self, keyword: str) -> str:
        """A code or identifier, stripped; "" when absent."""
        value = self.get(keyword)
        return "" if value is None else str(value).strip()

    def texts(self, keyword: str) -> tuple[str, ...]:
        """The values of a multi-valued code, e.g. Image Type."""
        value = self.get(keyword)
        if value is None:
            return ()
        return (value,) if isinstance(value, str) else tuple(str(v) for v in value)

    def numbers(self, keyword: str, n: int) -> tuple[float, ...] | None:
        """``n`` finite numbers, or None when absent. Raises Corrupt for another count, NaN or infinity."""
        value = self._readable(keyword)
        return None if value is None else finite_numbers(self.path, keyword, value, n)

    def whole(self, keyword: str, default: int | None = None) -> int | None:
        """One whole number. Raises Corrupt for another count."""
        value = self._readable(keyword)
        if value is None:
            return default
        numbers = finite_numbers(self.path, keyword, value, 1)
        return int(numbers[0])

    def _readable(self, keyword: str) -> Any:
        """The value of an element of numbers. "US or SS" in Implicit VR is what Pixel Representation says
        (PS3.5 section 6.2); text of a wrong VR (UT, LO) is read as the numbers that it holds.
        """
        value = self.get(keyword)
        if isinstance(value, bytes) and len(value) % 2 == 0:
            signed = keyword != "PixelRepresentation" and self.whole("PixelRepresentation") == 1
            order = f"{'<' if self.little else '>'}{'i' if signed else 'u'}2"
            return tuple(int(v) for v in np.frombuffer(value, order))
        if isinstance(value, str) and type(value) is str:
            return tuple(value.strip(" \0").split("\\"))
        return value

    def private_blocks(self, group: int, creator: str) -> Iterator[int]:
        """The blocks of a group's private elements that belong to ``creator`` (PS3.5 section 7.8.1)."""
        for block in range(0x10, 0x100):
            element = self.skeleton.elements.get(group << 16 | block)
            if element is None:
                return
            if self.buffer[element.start : element.end].decode("latin-1").strip(" \0") == creator:
                yield block

    def private(self, group: int, creator: str, number: int) -> bytes | None:
        """The bytes of a private element, None where the file has none of that creator."""
        for block in self.private_blocks(group, creator):
            element = self.skeleton.elements.get(group << 16 | block << 8 | number)
            if element is not None:
                return self.buffer[element.start : element.end]
        return None

    def dataset(self) -> Dataset:
        """A pydicom data set of all elements but the pixels; pydicom interprets them when they are asked
        for.
        """
        elements = {BaseTag(tag): self._raw(tag, element) for tag, element in self.skeleton.elements.items()}
        found = Dataset(elements)  # pyright: ignore[reportArgumentType]
        charset = self.texts("SpecificCharacterSet")
        found.set_original_encoding(
            self.implicit, self.little, convert_encodings(list(charset)) if charset else None
        )
        found.file_meta = FileMetaDataset()
        for tag, (vr, value) in self.meta.items():
            found.file_meta[BaseTag(tag)] = convert_raw_data_element(
                RawDataElement(BaseTag(tag), vr, len(value), value, 0, False, True)
            )
        return found

    def slim(self, keywords: Sequence[str]) -> Header:
        """The same file with these elements only: what an index of a hundred thousand files can afford to
        keep.
        """
        kept: dict[int, Element] = {}
        pieces: list[bytes] = []
        at = 0
        for keyword in keywords:
            tag = tag_for_keyword(keyword)
            element = self.skeleton.elements.get(tag) if tag is not None else None
            if tag is not None and element is not None:
                pieces.append(self.buffer[element.start : element.end])
                kept[tag] = Element(element.vr, at, at + len(pieces[-1]), element.undefined)
                at += len(pieces[-1])
        return replace(
            self, skeleton=Skeleton(kept, self.skeleton.pixels, ()), buffer=b"".join(pieces), meta={}
        )

    def _raw(self, tag: int, element: Element) -> RawDataElement:
        value = self.buffer[element.start : element.end]
        return RawDataElement(
            BaseTag(tag), element.vr, len(value), value, element.start, self.implicit, self.little
        )


def finite_numbers(path: Path, keyword: str, value: Any, n: int) -> tuple[float, ...]:
    """``value`` as ``n`` finite numbers. Raises Corrupt naming the keyword."""
    values = list(value) if isinstance(value, MutableSequence | tuple) else [value]
    try:
        numbers = tuple(float(v) for v in values)
    except (TypeError, ValueError, OverflowError) as error:
        raise Corrupt(path, f"{keyword} is not a number", "correct it; decimals have a point") from error
    if len(numbers) != n:
        raise Corrupt(path, f"{keyword}: wanted {n} numbers, got {len(numbers)}")
    if not all(math.isfinite(v) for v in numbers):
        raise Corrupt(path, f"{keyword} is not finite")
    return numbers


def _start(head: bytes) -> int | None:
    """Where the first element begins, or None."""
    if head[128:132] == b"DICM":
        return 132
    return 0 if head[:2] in (b"\x02\x00", b"\x08\x00") and head[3:4] == b"\x00" and len(head) > 8 else None


def open_dicom(path: Path, limit: Limits) -> Header:
    """The header of one file, checked to the end of its pixels; call inside ``dicom_errors``.

    Raises Unsupported when it is no DICOM file, Truncated naming the byte, Corrupt, TooLarge.
    """
    header = open_if_dicom(path, limit)
    if header is None:
        raise Unsupported(path, "is empty" if path.stat().st_size == 0 else "is not a DICOM file")
    return header


def whole_dataset(path: Path) -> Dataset:
    """One file with its pixels, as pydicom holds it; for files that ``open_dicom`` has checked. Raises what
    it raises.
    """
    with dicom_errors(path):
        return dcmread(path, force=True)


def open_if_dicom(path: Path, limit: Limits) -> Header | None:
    """As ``open_dicom``, but None for a file that does not begin as DICOM does (its magic word, or an element
    of group 0002 or 0008).
    """
    about = path.stat()
    if not stat.S_ISREG(about.st_mode):
        raise Unsupported(path, "is not a plain file")
    with open(path, "rb", buffering=0) as file:
        head = file.read(_HEAD)
        if _start(head) is None:
            return None
        size = max(about.st_size, len(head))
        try:
            return _parse(path, head, size, limit)
        except Short:
            if size <= len(head):
                return _whole(path, head, limit)
        if size > limit.bytes:
            raise TooLarge(
                path,
                f"has {size} bytes, the limit is {limit.bytes}",
                "raise Limits.bytes if the file is yours",
            )
        return _whole(path, head + file.read(), limit)


def _whole(path: Path, data: bytes, limit: Limits) -> Header:
    try:
        return _parse(path, data, len(data), limit)
    except Short as short:
        raise Truncated(
            path,
            f"truncated at byte {len(data)}: the element at byte {short.at} is longer than the file",
            "copy or export it again",
        ) from None


def _parse(path: Path, data: bytes, size: int, limit: Limits) -> Header:
    start = _start(data) or 0
    try:
        meta, start = _file_meta(data, start, size)
        syntax, known = _syntax(
            _uid(meta.get(0x00020010)) or (_EXPLICIT if data[start + 4 : start + 6].isalpha() else _IMPLICIT)
        )
        if not known:
            raise Unsupported(
                path,
                f"transfer syntax {syntax} is not a public one",
                "export it as Explicit VR Little Endian",
            )
        little = syntax != _BIG
        inflated = syntax == _DEFLATED
        if inflated:
            if size > len(data):
                raise Short(start)
            packed = np.frombuffer(data, np.uint8, offset=start)
            data, start = read_apart(path, limit, _inflate, path, packed, limit).tobytes(), 0
            size = len(data)
        implicit = not data[
            start + 4 : start + 6
        ].isalpha()  # some files lie about it; their first element does not
        skeleton, _ = walk(data, start, implicit=implicit, little=little, size=size)
    except Bad as bad:
        raise Corrupt(path, str(bad), "copy or export it again") from None
    if not inflated and skeleton.pixels is not None:
        data = data[
            : skeleton.pixels[1].start
        ]  # pixels are read when they are asked for: an index must not hold a whole archive
    return Header(path, size, syntax, implicit, little, skeleton, data, meta, inflated)


def _file_meta(data: bytes, start: int, size: int) -> tuple[dict[int, tuple[str | None, bytes]], int]:
    """(vr, value) of each element of group 0002, and where the data set begins."""
    if data[start : start + 2] != b"\x02\x00":
        return {}, start
    skeleton, end = walk(data, start, implicit=False, little=True, size=size, stop_group=0x0002)
    return {
        tag: (element.vr, data[element.start : element.end]) for tag, element in skeleton.elements.items()
    }, end


def _uid(element: tuple[str | None, bytes] | None) -> str:
    return element[1].decode("ascii", "replace").strip("\0 ") if element else ""


@lru_cache(maxsize=64)
def _syntax(uid: str) -> tuple[UID, bool]:
    """The transfer syntax, and whether it is one of the standard's."""
    syntax = UID(uid)
    return syntax, not syntax.is_private and syntax.is_transfer_syntax


def _inflate(path: Path, data: NDArray[np.uint8], limit: Limits) -> NDArray[np.uint8]:
    """A deflated data set, never longer than the limits allow."""
    most = int(min(limit.bytes, limit.allowed(len(data))))
    limit.check(path, 1, most, len(data))
    stream = zlib.decompressobj(-zlib.MAX_WBITS)
    try:
        found = stream.decompress(data.tobytes(), most + 1)
    except zlib.error as error:
        raise Corrupt(path, f"its deflated data set is damaged ({error})") from error
    if len(found) > most:
        raise TooLarge(
            path,
            f"its deflated data set grows beyond {most} bytes from {len(data)}",
            "raise Limits.ratio if the file is yours",
        )
    if not stream.eof:
        raise Truncated(
            path, f"truncated at byte {len(data)} of its deflated data set", "copy or export it again"
        )
    return np.frombuffer(found, np.uint8)
