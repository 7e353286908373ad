"""Zip archives: the one function that expands them, and the one that reads NumPy's archives. Nothing is ever
unpickled.
"""

from __future__ import annotations

import stat
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from math import prod
from pathlib import Path, PurePosixPath
from typing import IO

import numpy as np
from numpy.typing import NDArray

from ...errors import Corrupt, TooLarge, Unsupported
from .decoder import read_apart
from .faults import faults_of
from .limits import Limits, regular_file

__all__ = ["extract", "load_npz", "member_names"]

_MAX_DEPTH = 32
_PIECE = 2**20
_MAX_ITEM = 2**16
"""Bytes of one number or word."""


@contextmanager
def _archive(path: Path, limits: Limits) -> Iterator[tuple[zipfile.ZipFile, list[zipfile.ZipInfo]]]:
    """An open archive whose list of members has passed every check that needs no inflating."""
    size = regular_file(path)
    with faults_of(path, "a zip archive"), zipfile.ZipFile(path) as archive:
        members = archive.infolist()
        if len(members) > limits.files:
            raise TooLarge(
                path,
                f"lists {len(members):,} members, the limit is {limits.files:,}",
                "raise Limits.files if the file is yours",
            )
        limits.check(path, 1, sum(m.file_size for m in members), size)
        names = [m.filename.casefold().rstrip("/") for m in members]
        if len(set(names)) < len(names):
            raise Corrupt(path, "lists the same name twice")
        for member in members:
            if member.flag_bits & 0x1:
                raise Unsupported(
                    path, f"member {member.filename!r} is encrypted", "expand it where you have the password"
                )
            if member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
                raise Unsupported(
                    path,
                    f"member {member.filename!r} uses compression {member.compress_type}, wanted stored or "
                    "deflated",
                )
        yield archive, members


def member_names(path: Path, limits: Limits) -> list[str]:
    """The names of the members of an archive that passed the first checks. Raises FileProblem or one of its
    kinds.
    """
    with _archive(path, limits) as (_, members):
        return [m.filename for m in members]


def extract(path: Path, folder: Path, limits: Limits) -> list[Path]:
    """Expand a whole archive into ``folder`` (which must be new and private), or nothing: the files that were
    written.

    Names with "..", roots, drives, backslashes or control characters, links and other special members, more
    members, bytes or levels than the limits: the whole archive is refused before anything is written. Bytes
    are counted again while they are inflated, in a guarded process. Raises Corrupt, TooLarge, Unsupported or
    FileProblem.
    """
    return list(read_apart(path, limits, _extract, path, folder, limits))


def _extract(path: Path, folder: Path, limits: Limits) -> list[Path]:
    written = []
    with _archive(path, limits) as (archive, members):
        targets = [(m, _target(path, m, folder)) for m in members if not m.is_dir()]
        for member, target in targets:
            target.parent.mkdir(parents=True, exist_ok=True)
            with archive.open(member) as source, open(target, "xb") as file:
                left = member.file_size
                while piece := source.read(_PIECE):
                    left -= len(piece)
                    if left < 0:
                        raise Corrupt(path, f"member {member.filename!r} is longer than the archive says")
                    file.write(piece)
            if left:
                raise Corrupt(path, f"member {member.filename!r} is shorter than the archive says")
            written.append(target)
    return written


def _target(path: Path, member: zipfile.ZipInfo, folder: Path) -> Path:
    name = member.orig_filename
    kind = stat.S_IFMT(member.external_attr >> 16)
    if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
        raise Unsupported(path, f"member {name!r} is a link or a device", "expand it by hand")
    parts = PurePosixPath(name).parts
    hostile = (
        not parts
        or name.startswith("/")
        or "\\" in name
        or ":" in name
        or not name.isprintable()
        or ".." in parts
    )
    if hostile or len(parts) > _MAX_DEPTH or any(len(part.encode()) > 200 for part in parts):
        raise Corrupt(path, f"member {name!r} has a name that could leave the folder", "expand it by hand")
    target = folder.joinpath(*parts)
    if not target.resolve().is_relative_to(folder.resolve()):
        raise Corrupt(path, f"member {name!r} would be written outside of its folder")
    return target


def load_npz(path: str | Path, limits: Limits | None = None) -> dict[str, NDArray]:
    """Every array of an NPZ archive by its name, read to its end and checksum in a guarded process; numbers
    and text only, pickled objects are refused.

    Raises Corrupt, Truncated, TooLarge, Unsupported or FileProblem.
    """
    path, limits = Path(path), limits or Limits()
    return read_apart(path, limits, _load_npz, path, limits)


def _load_npz(path: Path, limits: Limits) -> dict[str, NDArray]:
    with _archive(path, limits) as (archive, members):
        arrays = {}
        for member in members:
            if not member.filename.endswith(".npy"):
                raise Unsupported(path, f"member {member.filename!r} is no NumPy array")
            arrays[member.filename.removesuffix(".npy")] = _array(path, archive, member, limits)
    if not arrays:
        raise Corrupt(path, "holds no array")
    return arrays


def _array(path: Path, archive: zipfile.ZipFile, member: zipfile.ZipInfo, limits: Limits) -> NDArray:
    with archive.open(member) as stream:
        version = np.lib.format.read_magic(stream)
        readers = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
        if version not in readers:
            raise Unsupported(path, f"array {member.filename!r} has format version {version}")
        shape, fortran, dtype = readers[version](stream)
        if dtype.hasobject or dtype.kind not in "biufcUS" or not 0 < dtype.itemsize <= _MAX_ITEM:
            raise Unsupported(
                path,
                f"array {member.filename!r} holds {dtype}, wanted numbers or text: pickled objects can run "
                "code",
            )
        limits.check_shape(path, shape, dtype.itemsize)
        count = prod(shape) * dtype.itemsize
        if stream.tell() + count != member.file_size:
            raise Corrupt(
                path,
                f"array {member.filename!r} declares {count:,} bytes, the archive holds "
                f"{member.file_size - stream.tell():,}",
            )
        values = np.frombuffer(_exactly(path, member.filename, stream, count), dtype)
    return values.reshape(shape, order="F" if fortran else "C")


def _exactly(path: Path, name: str, stream: IO[bytes], count: int) -> bytearray:
    content = bytearray()
    while piece := stream.read(_PIECE):  # to the end: only there is the checksum compared
        content += piece
        if len(content) > count:
            break
    if len(content) != count:
        raise Corrupt(path, f"array {name!r} has another length than it declares")
    return content
