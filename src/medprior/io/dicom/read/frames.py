"""The stored values of frames: uncompressed grey straight from the file, compressed ones through a child
process, the rest through pydicom.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom.encaps import get_frame
from pydicom.pixels import convert_color_space, get_decoder
from pydicom.uid import UID

from ....errors import Corrupt, TooLarge, Truncated, Unsupported
from ...disk.decoder import CodecError, decoder
from ...disk.limits import Limits
from ..codecs import decode
from .open import Header
from .pixels import PixelFormat

__all__ = ["frames"]

_NATIVE = frozenset(
    ("1.2.840.10008.1.2", "1.2.840.10008.1.2.1", "1.2.840.10008.1.2.1.99", "1.2.840.10008.1.2.2")
)
_EXTENDED = "1.2.840.10008.1.2.4.51"
_PACKAGES = {
    "1.2.840.10008.1.2.4.50": "pillow",
    "1.2.840.10008.1.2.4.80": "pyjpegls",
    "1.2.840.10008.1.2.4.81": "pyjpegls",
    "1.2.840.10008.1.2.4.201": "pylibjpeg-openjpeg",
    "1.2.840.10008.1.2.4.202": "pylibjpeg-openjpeg",
    "1.2.840.10008.1.2.4.203": "pylibjpeg-openjpeg",
}
"""What decodes a syntax that python-gdcm does not."""
_CODECS = frozenset(
    f"1.2.840.10008.1.2.{end}"
    for end in (
        "4.50",
        "4.51",
        "4.57",
        "4.70",
        "4.80",
        "4.81",
        "4.90",
        "4.91",
        "4.201",
        "4.202",
        "4.203",
        "5",
    )
)
"""JPEG, JPEG-LS, JPEG 2000 (high-throughput, too) and RLE: what the packages decode when they are
installed.
"""
_STREAM_HEAD = 4096
"""Bytes of a compressed stream in which its size is looked for."""


def frames(
    header: Header, form: PixelFormat, indices: Sequence[int], limit: Limits
) -> Iterator[NDArray[Any]]:
    """The stored values of each frame asked for: (rows, columns), or (rows, columns, 3) RGB. One frame at a
    time is in memory where the file allows it.

    Raises Corrupt, Truncated, TooLarge, or Unsupported for a transfer syntax that no installed codec reads.
    """
    if (header.syntax in _NATIVE) == form.encapsulated:
        raise Corrupt(
            header.path,
            f"transfer syntax {header.syntax.name} {'with' if form.encapsulated else 'without'} encapsulated "
            "pixels",
        )
    if form.encapsulated:
        yield from _compressed(header, form, indices, limit)
    elif form.samples == 1 and form.allocated > 1:
        yield from _grey(header, form, indices)
    else:
        yield from _coloured(header, form, indices)


def _grey(header: Header, form: PixelFormat, indices: Sequence[int]) -> Iterator[NDArray[Any]]:
    """Uncompressed grey frames, straight from the file."""
    pixels = header.skeleton.pixels
    start = pixels[1].start if pixels else 0
    kind = "f" if form.floating else "i" if form.signed else "u"
    dtype = np.dtype(f"{'<' if header.little else '>'}{kind}{form.allocated // 8}")
    shape, step = (form.rows, form.columns), form.frame_bytes
    if header.inflated:
        for index in indices:
            yield _in_use(
                np.frombuffer(header.buffer, dtype, form.rows * form.columns, start + index * step).reshape(
                    shape
                ),
                form,
            )
        return
    with open(header.path, "rb", buffering=0) as file:
        for index in indices:
            frame = np.empty(shape, dtype)
            file.seek(start + index * step)
            if file.readinto(frame.data.cast("B")) != step:
                raise Truncated(header.path, f"truncated at byte {file.tell()} while it was read")
            yield _in_use(frame, form)


def _in_use(frame: NDArray[Any], form: PixelFormat) -> NDArray[Any]:
    """Only the bits in use, sign extended from High Bit; other bits may hold overlays."""
    if form.floating or form.depth == form.allocated:
        return frame
    if not form.signed and form.high == form.depth - 1 and frame.flags.writeable:
        return np.bitwise_and(frame, (1 << form.depth) - 1, out=frame)
    up, down = form.allocated - 1 - form.high, form.allocated - form.depth
    return np.right_shift(np.left_shift(frame, up), down)  # pyright: ignore[reportCallIssue, reportArgumentType]


def _coloured(header: Header, form: PixelFormat, indices: Sequence[int]) -> Iterator[NDArray[Any]]:
    """Uncompressed colours and single bits through pydicom, which does that in Python."""
    source = header.dataset()
    pixels = header.skeleton.pixels
    if pixels is None:
        raise Unsupported(header.path, "holds no pixels")
    source.add_new(
        0x7FE00010, "OB" if form.allocated <= 8 else "OW", _content(header, pixels[1].start, pixels[1].end)
    )
    for index in indices:
        frame, about = get_decoder(header.syntax).as_array(source, index=index, raw=form.samples == 1)
        space = str(about.get("photometric_interpretation", "RGB"))
        yield (
            convert_color_space(frame, space, "RGB")
            if form.samples == 3 and space.startswith("YBR")
            else frame
        )


def _content(header: Header, start: int, end: int) -> bytes:
    """Bytes of the data set, read from the file again."""
    if header.inflated:
        return header.buffer[start:end]
    with open(header.path, "rb") as file:
        file.seek(start)
        found = file.read(end - start)
    if len(found) != end - start:
        raise Truncated(header.path, f"truncated at byte {start + len(found)} while it was read")
    return found


def _compressed(
    header: Header, form: PixelFormat, indices: Sequence[int], limit: Limits
) -> Iterator[NDArray[Any]]:
    if not _readable(header.syntax):
        name, package = (
            f"transfer syntax {header.syntax} ({header.syntax.name})",
            _PACKAGES.get(header.syntax, "python-gdcm"),
        )
        if header.syntax not in _CODECS:
            raise Unsupported(
                header.path,
                f"{name} is read by no codec that medprior knows",
                "export it as Explicit VR Little Endian",
            )
        raise Unsupported(header.path, f"{name} needs the package {package}", f"pip install {package}")
    elements = {
        "Rows": form.rows,
        "Columns": form.columns,
        "NumberOfFrames": 1,
        "SamplesPerPixel": form.samples,
        "PhotometricInterpretation": form.photometric,
        "BitsAllocated": form.allocated,
        "BitsStored": form.depth,
        "HighBit": form.high,
        "PixelRepresentation": int(form.signed),
        "PlanarConfiguration": header.whole("PlanarConfiguration", 0),
    }
    for index in indices:
        stream = _stream(header, form, index)
        _check_size(header, form, stream)
        try:
            given = (str(header.syntax), elements, np.frombuffer(stream, np.uint8))
            frame = decoder().call(header.path, limit.seconds, decode, *given)
        except CodecError as error:
            raise _undecoded(header, error) from error
        if frame.shape[:2] != (form.rows, form.columns) or frame.dtype.kind not in "biuf":
            raise Corrupt(
                header.path,
                f"frame {index} decodes to {frame.shape[:2]}, its header says {(form.rows, form.columns)}",
            )
        yield frame


def _readable(syntax: UID) -> bool:
    """Whether an installed codec decodes it; films (MPEG) and the newest syntaxes have none."""
    try:
        return get_decoder(syntax).is_available
    except NotImplementedError:
        return False


def _stream(header: Header, form: PixelFormat, index: int) -> bytes:
    """The compressed bytes of one frame: the fragments are shared out as the file says, or by their
    number.
    """
    fragments = header.skeleton.fragments[1:]
    if form.n_frames == 1:
        return b"".join(_content(header, start, end) for start, end in fragments)
    if len(fragments) == form.n_frames:
        return _content(header, *fragments[index])
    pixels = header.skeleton.pixels
    content = _content(header, pixels[1].start, fragments[-1][1]) if pixels and fragments else b""
    lengths = (header.get("ExtendedOffsetTable"), header.get("ExtendedOffsetTableLengths"))
    offsets = (bytes(lengths[0]), bytes(lengths[1])) if lengths[0] and lengths[1] else None
    return get_frame(content, index, number_of_frames=form.n_frames, extended_offsets=offsets)


def _check_size(header: Header, form: PixelFormat, stream: bytes) -> None:
    """No compressed stream may promise a larger picture than the header that was checked against the
    limits.
    """
    size = _stream_size(stream[:_STREAM_HEAD])
    if size is not None and (size[0] > form.rows or size[1] > form.columns):
        raise TooLarge(
            header.path,
            f"a compressed frame is {size[0]} x {size[1]}, its header says {form.rows} x {form.columns}",
        )


def _stream_size(data: bytes) -> tuple[int, int] | None:
    """(rows, columns) that a JPEG, JPEG-LS or JPEG 2000 stream declares; None when it begins no stream."""
    if data[:4] == b"\xff\x4f\xff\x51":
        x1, y1, x0, y0 = (int.from_bytes(data[8 + 4 * n : 12 + 4 * n], "big") for n in range(4))
        return y1 - y0, x1 - x0
    at = 2
    while data[:2] == b"\xff\xd8" and at + 9 <= len(data) and data[at] == 0xFF:
        marker, length = data[at + 1], int.from_bytes(data[at + 2 : at + 4], "big")
        if marker == 0xF7 or (0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC)):
            return int.from_bytes(data[at + 5 : at + 7], "big"), int.from_bytes(data[at + 7 : at + 9], "big")
        at += 2 + length
    return None


def _undecoded(header: Header, error: CodecError) -> Unsupported | Corrupt:
    """A valid stream of a kind that no installed codec reads, or a broken one."""
    name = f"transfer syntax {header.syntax} ({header.syntax.name})"
    if header.syntax == _EXTENDED and "12-bit" in str(error):
        return Unsupported(
            header.path,
            f"{name} with 12 bits a pixel: no installed codec decodes it",
            "export it as Explicit VR Little Endian",
        )
    return Corrupt(header.path, f"its pixels in {name} are damaged", "export or copy it again")
