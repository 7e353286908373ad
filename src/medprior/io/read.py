"""The one door for images: what a file is, is decided by its content, never by its name."""

from __future__ import annotations

import gzip
import stat
import tempfile
import zlib
from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from pathlib import Path

from ..data.labels import whole_labels
from ..data.volume import Volume
from ..errors import BadOption, Corrupt, FileProblem, Unsupported, file_faults
from .disk.archives import extract, member_names
from .disk.decoder import read_apart
from .disk.limits import Limits, regular_file
from .pictures import picture_format

__all__ = ["kind_of", "read", "read_all"]

_OTHERS = {
    b"\x93NUMPY": "a bare NumPy array: put it into an NPZ",
    b"7z\xbc\xaf": "a 7z archive: expand it first",
    b"Rar!": "a RAR archive: expand it first",
    b"BZh": "a bzip2 file: expand it first",
    b"\xfd7zXZ": "an xz file: expand it first",
    b"\x28\xb5\x2f\xfd": "a zstandard file: expand it first",
    b"%PDF": "a PDF document",
    b"GIF8": "a GIF picture: save it as PNG",
    b"BM": "a BMP picture: save it as PNG",
    b"NRRD": "an NRRD volume: convert it to NIfTI",
    b"ObjectType": "a MetaImage volume: convert it to NIfTI",
    b"<?xml": "an XML document",
    b"\x80\x02": "a pickle: it could run code, and is never opened",
    b"\x80\x03": "a pickle: it could run code, and is never opened",
    b"\x80\x04": "a pickle: it could run code, and is never opened",
    b"\x80\x05": "a pickle: it could run code, and is never opened",
}


@dataclass(frozen=True, slots=True)
class _Choices:
    """What a caller may say about a file; None (or False) where nothing was said."""

    series: str | None = None
    volume: str | None = None
    keep_slices: str | None = None
    resample: bool = False
    time: int | None = None
    channels: bool = False
    index: int | None = None
    unit: str | None = None
    modality: str | None = None
    colour: str | None = None
    nonfinite: float | None = None

    def only(self, path: Path, kind: str, allowed: tuple[str, ...]) -> None:
        """Raises BadOption for a choice that this kind of file does not know: it would be ignored in
        silence.
        """
        said = [
            f.name
            for f in fields(self)
            if (value := getattr(self, f.name)) is not None and value is not False
        ]
        wrong = [name for name in said if name not in allowed]
        if wrong:
            raise BadOption(
                f"{', '.join(wrong)}: no option for {kind} ({path.name})",
                f"options here are {', '.join(allowed) or 'none'}",
            )


def read(
    path: str | Path,
    *,
    series: str | None = None,
    volume: str | None = None,
    keep_slices: str | None = None,
    resample: bool = False,
    time: int | None = None,
    channels: bool = False,
    index: int | None = None,
    unit: str | None = None,
    modality: str | None = None,
    colour: str | None = None,
    nonfinite: float | None = None,
    limits: Limits | None = None,
) -> Volume:
    """An image as a Volume: a DICOM file, a folder that holds a DICOM series, NIfTI, PNG, TIFF, JPEG, NPZ, or
    a zip archive of any of them.

    series: which DICOM series of a folder (its id or UID). volume: the name of one volume, where a series
    holds several (echoes, b-values, time points; the error lists them), or its number in a 4-D NIfTI.
    keep_slices: "3-17", the slices of a DICOM series to take, counted from 1 along their normal. resample:
    interpolate DICOM slices that lie unevenly or tilted onto an even, upright grid. time, channels: one
    volume of a 4-D NIfTI, or all as channels. index: which image of an NPZ or frame of a DICOM film, counted
    from 0. unit, modality: what the numbers mean, where the file cannot say. colour: "luma" turns a colour
    picture to grey. nonfinite: the value put in place of NaN and infinity in NIfTI and TIFF. limits: how
    large a file may claim to be. Raises FileProblem or one of its kinds for a file that cannot be used,
    BadOption for a choice that does not fit it.
    """
    path, limits = Path(path), limits or Limits()
    choices = _Choices(
        series, volume, keep_slices, resample, time, channels, index, unit, modality, colour, nonfinite
    )
    return _opened(path, limits, lambda file, kind: [_read(file, kind, choices, limits)])[0]


def read_all(
    path: str | Path,
    *,
    series: str | None = None,
    unit: str | None = None,
    modality: str | None = None,
    colour: str | None = None,
    nonfinite: float | None = None,
    limits: Limits | None = None,
) -> list[Volume]:
    """Every image or volume of a file or folder, in order: of each DICOM series (without localizers), of a
    4-D NIfTI, of an NPZ stack; of any other file its one image. ``provenance.volume`` is the name of each.

    series: of this DICOM series only. Other arguments and errors as in ``read``; one volume that cannot be
    read refuses the whole. Only a volume of a DICOM series that was broken off is left out, and
    ``provenance.warnings`` of the others name it.
    """
    path, limits = Path(path), limits or Limits()
    choices = _Choices(series=series, unit=unit, modality=modality, colour=colour, nonfinite=nonfinite)
    return _opened(path, limits, lambda file, kind: _read_each(file, kind, choices, limits))


def _opened(path: Path, limits: Limits, reading: Callable[[Path, str], list[Volume]]) -> list[Volume]:
    """What ``reading`` makes of (path, kind), of the file in an archive where it is one."""
    with file_faults(path):
        kind = kind_of(path, limits)
        found = _expanded(path, limits, reading) if kind == "zip" else reading(path, kind)
    return [whole_labels(one) if one.unit == "label" else one for one in found]


def _read_each(path: Path, kind: str, choices: _Choices, limits: Limits) -> list[Volume]:
    if kind == "dicom":
        from .dicom.read.series import read_all_dicom

        choices.only(path, "DICOM", ("series",))
        return read_all_dicom(path, series=choices.series, limit=limits)
    if kind == "npz":
        from .arrays import holds_stack, read_stack

        if holds_stack(path, limits):
            choices.only(path, "NPZ", ("unit", "modality"))
            return list(read_stack(path, limits=limits, unit=choices.unit, modality=choices.modality).images)
    if kind == "nifti":
        whole = _read(path, kind, replace(choices, channels=True), limits)
        several = len(whole.data) > 1
        return [_numbered(whole, n) for n in range(len(whole.data))] if several else [whole]
    return [_read(path, kind, choices, limits)]


def _numbered(whole: Volume, n: int) -> Volume:
    """One volume of a 4-D file that was read as channels."""
    return replace(whole, data=whole.data[n : n + 1], provenance=replace(whole.provenance, volume=str(n)))


def _read(path: Path, kind: str, choices: _Choices, limits: Limits) -> Volume:
    if kind == "dicom":
        # pydicom is heavy: NIfTI and pictures are read without it
        from .dicom.read.series import read_dicom
        from .dicom.read.stacking import Stacking

        c = choices
        c.only(path, "DICOM", ("series", "volume", "keep_slices", "resample", "index"))
        how = Stacking(c.keep_slices, c.resample)
        return read_dicom(path, series=c.series, volume=c.volume, frame=c.index, how=how, limit=limits)
    if kind == "nifti":
        from .nifti.nifti import read_nifti

        c = choices
        c.only(path, "NIfTI", ("volume", "time", "channels", "unit", "modality", "nonfinite"))
        return read_nifti(
            path,
            limits=limits,
            time=c.time if c.volume is None else _time_of(c),
            channels=c.channels,
            unit=c.unit,
            modality=c.modality,
            nonfinite=c.nonfinite,
        )
    if kind == "picture":
        from .pictures import read_picture

        choices.only(path, "a picture", ("unit", "modality", "colour", "nonfinite"))
        c = choices
        return read_picture(
            path,
            limits=limits,
            colour=c.colour or "refuse",
            unit=c.unit,
            modality=c.modality,
            nonfinite=c.nonfinite,
        )
    if kind == "npz":
        from .arrays import read_array_volume

        choices.only(path, "NPZ", ("index", "unit", "modality"))
        return read_array_volume(
            path, limits=limits, index=choices.index, unit=choices.unit, modality=choices.modality
        )
    raise Unsupported(
        path, "is HDF5, which holds measurements, not an image", "read it with read_kspace, or reconstruct it"
    )


def _time_of(choices: _Choices) -> int:
    """The number of a volume of a 4-D NIfTI. Raises BadOption."""
    name = str(choices.volume)
    if choices.time is not None or not (name.isascii() and name.isdigit()):
        raise BadOption(
            f"volume: wanted the number of a volume, counted from 0, got {name!r}", "or give time, not both"
        )
    return int(name)


def kind_of(path: str | Path, limits: Limits | None = None) -> str:
    """ "dicom" (also a folder), "nifti", "picture", "npz", "zip" or "hdf5", by the content of the file.
    limits: for the list of members of an archive.

    Raises FileProblem for what is missing or no ordinary file (it is not opened), Corrupt for an empty file,
    Unsupported for anything else.
    """
    path = Path(path)
    if _is_folder(path):
        return "dicom"
    regular_file(path)
    try:
        with open(path, "rb") as file:
            start = file.read(132)
            if start[:2] == b"\x1f\x8b":
                return read_apart(path, limits or Limits(), _inside_gzip, path)
    except OSError as error:
        raise FileProblem(path, f"cannot be read ({error.strerror})") from error
    if start[:4] in (b"PK\x03\x04", b"PK\x05\x06"):
        names = member_names(path, limits or Limits())
        return "npz" if names and all(name.endswith(".npy") for name in names) else "zip"
    if start[128:132] == b"DICM":  # before the pictures: a DICOM preamble may look like the start of a TIFF
        return "dicom"
    if picture_format(start):
        return "picture"
    if start.startswith(b"\x89HDF\r\n\x1a\n"):
        return "hdf5"
    if _bare_dicom(start):
        return "dicom"
    if _nifti_start(start):
        return "nifti"
    named = next(
        (name for magic, name in _OTHERS.items() if start.startswith(magic)), "of no kind that is known here"
    )
    raise Unsupported(
        path, f"is {named}", "wanted DICOM, NIfTI, PNG, TIFF, JPEG, NPZ or a zip archive of them"
    )


def _is_folder(path: Path) -> bool:
    try:
        return stat.S_ISDIR(path.stat().st_mode)
    except (OSError, ValueError):
        return False  # regular_file says what is wrong with it


def _nifti_start(start: bytes) -> bool:
    return start[:4] in (b"\x5c\x01\0\0", b"\0\0\x01\x5c", b"\x1c\x02\0\0", b"\0\0\x02\x1c")


def _bare_dicom(start: bytes) -> bool:
    """A data set without its preamble begins with an element of group 0002 or 0008, little or big endian."""
    little = start[:2] in (b"\x02\0", b"\x08\0") and start[3:4] == b"\0"
    return little or (start[:2] in (b"\0\x02", b"\0\x08") and start[2:3] == b"\0")


def _inside_gzip(path: Path) -> str:
    try:
        with gzip.open(path) as stream:
            start = stream.read(4)
    except (OSError, EOFError, zlib.error) as error:
        raise Corrupt(
            path, f"the compressed stream is damaged at its start ({error})", "copy the file again"
        ) from error
    if _nifti_start(start):
        return "nifti"
    raise Unsupported(path, "is gzip, but does not hold NIfTI", "expand it first")


def _expanded(path: Path, limits: Limits, reading: Callable[[Path, str], list[Volume]]) -> list[Volume]:
    """A zip archive, expanded into a private folder that is gone afterwards: one file, or one DICOM
    series.
    """
    with tempfile.TemporaryDirectory(prefix="medprior-") as name:
        files = extract(path, Path(name), limits)
        if not files:
            raise Corrupt(path, "is an empty archive")
        inner = files[0] if len(files) == 1 else Path(name)
        try:
            kind = kind_of(inner, limits)
            if kind == "zip":
                raise Unsupported(path, "holds another archive", "expand it first")
            found = reading(inner, kind)
        except FileProblem as error:
            if error.path == path:
                raise
            inside = (
                error.path.relative_to(name).as_posix()
                if error.path.is_relative_to(name)
                else error.path.name
            )
            raise type(error)(
                path, f"{inside} in it: {error.reason}", error.remedy
            ) from error  # the place it was expanded to is gone
    note = f"expanded from a zip archive of {len(files)} files"
    return [
        replace(
            one, provenance=replace(one.provenance, sources=(path,), history=(note, *one.provenance.history))
        )
        for one in found
    ]
