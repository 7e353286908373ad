"""NIfTI-1 and NIfTI-2 in one file (.nii, .nii.gz): read to the end of the stream, written whole or not at
all.

Headers are parsed and made by nibabel; the voxels are read here, because the stock path stops before the
checksum of the gzip stream.
"""

from __future__ import annotations

import gzip
import io
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

import nibabel as nib
import nibabel.orientations as orient
import numpy as np
from numpy.typing import NDArray

from ...data.volume import Provenance, Volume
from ...errors import BadGeometry, BadOption, Corrupt, FileProblem, Truncated, Unsupported
from ..disk.decoder import read_apart
from ..disk.faults import faults_of
from ..disk.files import write_file
from ..disk.limits import Limits, regular_file
from ..disk.stamp import nifti_stamp, read_stamp
from .affine import affine_difference, choose_affine, known_spacing, spatial_shape

__all__ = ["nifti_bytes", "read_nifti", "write_nifti"]

_NUMBERS = {
    2: "u1",
    4: "i2",
    8: "i4",
    16: "f4",
    64: "f8",
    256: "i1",
    512: "u2",
    768: "u4",
    1024: "i8",
    1280: "u8",
}
_NAMES = {
    1: "1-bit",
    32: "complex",
    128: "RGB colour",
    1536: "float128",
    1792: "complex",
    2048: "complex",
    2304: "RGBA colour",
}
_LABELS = 1002
"""NIFTI_INTENT_LABEL: the voxels are indices of labels."""
_MAX_EXTENSIONS = 2**26
"""Bytes between header and voxels that are skipped; more is taken for a broken offset."""


def read_nifti(
    path: str | Path,
    *,
    limits: Limits | None = None,
    time: int | None = None,
    channels: bool = False,
    unit: str | None = None,
    modality: str | None = None,
    nonfinite: float | None = None,
) -> Volume:
    """One NIfTI file as a Volume in the closest RAS+ order (no interpolation); ``Provenance.axes_map`` undoes
    the turn.

    time: which volume of a 4-D file, counted from 0. channels: take the volumes of a 4-D file as channels
    instead. unit, modality: what the numbers mean. Default: what a medprior file states about itself, "label"
    where the intent says so, else "a.u." and "". nonfinite: the value put in place of NaN and infinity; None
    refuses them. Raises Truncated, Corrupt, TooLarge, Unsupported or FileProblem; BadOption for a ``time``
    that does not exist.
    """
    path, limits = Path(path), limits or Limits()
    size = regular_file(path)
    choices = (time, channels, nonfinite, unit, modality)
    if _is_packed(path):
        return read_apart(path, limits, _opened, path, size, limits, *choices)
    return _opened(path, size, limits, *choices)


def _is_packed(path: Path) -> bool:
    with faults_of(path, "NIfTI"), open(path, "rb") as file:
        return file.read(2) == b"\x1f\x8b"


def _opened(
    path: Path,
    size: int,
    limits: Limits,
    time: int | None,
    channels: bool,
    nonfinite: float | None,
    unit: str | None,
    modality: str | None,
) -> Volume:
    with faults_of(path, "NIfTI"):
        header, data, notes = _read(path, size, limits, time, channels, nonfinite)
        return _volume(path, header, data, notes, unit, modality)


def _read(
    path: Path, size: int, limits: Limits, time: int | None, channels: bool, nonfinite: float | None
) -> tuple[nib.Nifti1Header, NDArray[np.float32], tuple[str, ...]]:
    """Header, voxels (i, j[, k], C) in the order of the file, and what had to be said about them."""
    with _stream(path) as stream:
        header = _header(path, stream)
        dtype = _dtype(path, header)
        shape, extra = _shape(path, header)
        limits.check_shape(path, (*shape, extra), dtype.itemsize, size)
        first, count = _chosen(path, extra, time, channels)
        block = int(np.prod(shape, dtype=np.int64)) * dtype.itemsize
        start = _offset(path, header)
        _skip_extensions(path, stream, header, start)
        _skip(path, stream, first * block, "voxels")
        raw = _take(path, stream, count * block)
        trailing = _finish(path, stream, (extra - first - count) * block)
    if trailing and start < header.single_vox_offset:
        raise Corrupt(
            path,
            f"voxels are said to start at byte {start}, inside the header, with {trailing} bytes left over",
            "set vox_offset to where they start",
        )
    values, notes = _scaled(path, header, raw.view(dtype), nonfinite)
    data = values.reshape((*shape, count), order="F")
    if trailing:
        notes += (f"{trailing} bytes after the voxels were ignored",)
    return header, data, notes


@contextmanager
def _stream(path: Path) -> Iterator[BinaryIO]:
    """The bytes, inflated when they are gzip; every fault of the stream becomes a FileProblem."""
    try:
        with open(path, "rb") as file:
            packed = file.read(2) == b"\x1f\x8b"
            file.seek(0)
            if packed:
                with gzip.GzipFile(fileobj=file) as inflated:
                    yield io.BufferedReader(inflated, 2**18)  # type: ignore[type-var]
            else:
                yield file
    except EOFError as error:
        raise Truncated(path, "the compressed stream ends too early", "copy the file again") from error
    except (gzip.BadGzipFile, zlib.error) as error:
        raise Corrupt(path, f"the compressed stream is damaged ({error})", "copy the file again") from error
    except OSError as error:
        raise FileProblem(path, f"cannot be read ({error.strerror or error})") from error


def _header(path: Path, stream: BinaryIO) -> nib.Nifti1Header:
    start = stream.read(4)
    size = {b"\x5c\x01\0\0": 348, b"\0\0\x01\x5c": 348, b"\x1c\x02\0\0": 540, b"\0\0\x02\x1c": 540}.get(start)
    if size is None:
        raise Unsupported(path, "is not a NIfTI file: it does not start with a header size of 348 or 540")
    block = start + stream.read(size - 4)
    if len(block) < size:
        raise Truncated(
            path, f"ends at byte {len(block)}, inside the header of {size} bytes", "copy the file again"
        )
    magic = block[344:348] if size == 348 else block[4:8]
    if magic in (b"ni1\0", b"ni2\0"):
        raise Unsupported(path, "is one half of a .hdr/.img pair", "convert it to one .nii file")
    if magic not in (b"n+1\0", b"n+2\0"):
        raise Unsupported(
            path,
            f"has no NIfTI magic (found {magic!r}); Analyze 7.5 has no reliable orientation",
            "convert it to NIfTI",
        )
    endianness = "<" if start[0] else ">"
    return (nib.Nifti1Header if size == 348 else nib.Nifti2Header)(block, endianness, check=False)


def _dtype(path: Path, header: nib.Nifti1Header) -> np.dtype:
    code = int(header["datatype"])
    if code not in _NUMBERS:
        raise Unsupported(
            path, f"voxels of datatype {code} ({_NAMES.get(code, 'unknown')}), wanted whole or real numbers"
        )
    dtype = np.dtype(header.endianness + _NUMBERS[code])
    if int(header["bitpix"]) != 8 * dtype.itemsize:
        raise Corrupt(
            path, f"datatype {code} has {8 * dtype.itemsize} bits, the header says {int(header['bitpix'])}"
        )
    return dtype


def _shape(path: Path, header: nib.Nifti1Header) -> tuple[tuple[int, ...], int]:
    """The spatial shape (two or three axes) and how many such volumes the file holds."""
    dims = [int(n) for n in header["dim"]]
    if not 2 <= dims[0] <= 7:
        raise Corrupt(path, f"declares {dims[0]} axes, wanted 2 to 7")
    used = dims[1 : dims[0] + 1]
    if min(used) < 1:
        raise Corrupt(path, f"declares an empty or negative axis: {tuple(used)}")
    extra = 1
    for n in used[3:]:
        extra *= n
    return tuple(used[:3]), extra


def _chosen(path: Path, extra: int, time: int | None, channels: bool) -> tuple[int, int]:
    """First volume and number of volumes to take."""
    if channels and time is not None:
        raise BadOption("time and channels: wanted one of them, got both")
    if time is not None and not 0 <= time < extra:
        raise BadOption(f"time: wanted 0 to {extra - 1} for {path.name}, got {time}")
    if extra > 1 and time is None and not channels:
        raise Unsupported(
            path,
            f"holds {extra} volumes (4-D)",
            f"choose one with time=0 to time={extra - 1} (--volume 0 to --volume {extra - 1}), or "
            "channels=True to take all as channels",
        )
    return (0, extra) if channels else (time or 0, 1)


def _offset(path: Path, header: nib.Nifti1Header) -> int:
    value, least = float(header["vox_offset"]), header.single_vox_offset
    if value == 0:
        return least
    if not (np.isfinite(value) and value == int(value) and least - 4 <= value <= _MAX_EXTENSIONS):
        raise Corrupt(path, f"voxels are said to start at byte {value:g}, wanted {least} or a little more")
    return int(value)


def _skip_extensions(path: Path, stream: BinaryIO, header: nib.Nifti1Header, start: int) -> None:
    """From the end of the header to the voxels. Raises Corrupt where an extension goes on beyond their start:
    one of the two is wrong, and the image may be shifted.
    """
    room = start - stream.tell()
    between = stream.read(max(room, 0))
    if len(between) < room:
        raise Truncated(path, f"ends at byte {stream.tell()}, inside the header", "copy the file again")
    at = 4
    while between[:1] not in (b"", b"\0") and at + 8 <= len(between):
        length = int.from_bytes(between[at : at + 4], "little" if header.endianness == "<" else "big")
        if length == 0 and not any(between[at:]):
            return  # padding
        if length < 8 or at + length > len(between):
            raise Corrupt(
                path,
                f"an extension of {length:,} bytes does not fit before the voxels at byte {start}",
                "write the file again without the extension",
            )
        at += length


def _skip(path: Path, stream: BinaryIO, count: int, where: str) -> None:
    while count > 0:
        got = len(stream.read(min(count, 2**20)))
        if got == 0:
            raise Truncated(path, f"ends at byte {stream.tell()}, inside the {where}", "copy the file again")
        count -= got


def _take(path: Path, stream: BinaryIO, count: int) -> NDArray[np.uint8]:
    raw = np.empty(count, dtype=np.uint8)
    view, filled = raw.data, 0
    while filled < count:
        got = stream.readinto(view[filled : filled + 2**24])  # type: ignore[attr-defined]
        if not got:
            raise Truncated(
                path, f"ends {count - filled:,} bytes before its header says so", "copy the file again"
            )
        filled += got
    return raw


def _finish(path: Path, stream: BinaryIO, rest: int) -> int:
    """Read what is left, so that checksum and length of a gzip stream are verified; the number of bytes
    beyond ``rest``.
    """
    _skip(path, stream, rest, "voxels")
    trailing = 0
    while got := len(stream.read(2**20)):
        trailing += got
        if trailing > _MAX_EXTENSIONS:
            raise Corrupt(path, "goes on for more than 64 MiB after its voxels")
    return trailing


def _scaled(
    path: Path, header: nib.Nifti1Header, raw: NDArray, nonfinite: float | None
) -> tuple[NDArray[np.float32], tuple[str, ...]]:
    """The values as float32, slope and intercept applied in double precision, a piece at a time: never a
    second copy of the whole.
    """
    slope, intercept = float(header["scl_slope"]), float(header["scl_inter"])
    plain = (
        slope == 0
        or (slope == 1 and intercept == 0)
        or (np.isnan(slope) and (np.isnan(intercept) or intercept == 0))
    )
    if not plain and not (np.isfinite(slope) and np.isfinite(intercept)):
        raise Corrupt(path, f"scale {slope:g} and intercept {intercept:g} are not finite")
    data = np.empty(raw.size, dtype=np.float32)
    bad = 0
    with np.errstate(over="ignore", invalid="ignore"):
        for start in range(0, raw.size, 2**20):
            piece = slice(start, start + 2**20)
            data[piece] = raw[piece] if plain else raw[piece].astype(np.float64) * slope + intercept
            finite = np.isfinite(data[piece])
            if not finite.all():
                bad += int(finite.size - finite.sum())
                data[piece][~finite] = 0.0 if nonfinite is None else nonfinite
    if bad and nonfinite is None:
        raise Corrupt(
            path,
            f"{bad:,} of {data.size:,} voxels are NaN or infinite",
            "read it with nonfinite=0 to replace them",
        )
    return data, ((f"{bad} voxels were NaN or infinite and became {nonfinite:g}",) if bad else ())


def _text(header: nib.Nifti1Header, field: str) -> str:
    return header[field].tobytes().split(b"\0")[0].decode("latin-1")


def _volume(
    path: Path,
    header: nib.Nifti1Header,
    data: NDArray[np.float32],
    notes: tuple[str, ...],
    unit: str | None,
    modality: str | None,
) -> Volume:
    space = data.shape[:-1]
    affine, warnings = choose_affine(header, spatial_shape(space))
    if affine is None and not np.isfinite(header["pixdim"][1 : len(space) + 1]).all():
        raise Corrupt(
            path,
            "its voxel sizes hold NaN or infinity, and it has no usable affine",
            "correct its header, or convert the original again",
        )
    axes_map: tuple[tuple[int, bool], ...] = tuple((axis, False) for axis in range(len(space)))
    spacing = known_spacing(header, len(space))
    if affine is not None and len(space) == 3:
        data, affine, axes_map = _canonical(data, affine)
    stamp = read_stamp(_text(header, "descrip"), _text(header, "intent_name"))
    provenance = Provenance(
        sources=(path,),
        format="nifti",
        synthetic=stamp.synthetic,
        history=(f"read from NIfTI, shape {space}",),
        axes_map=axes_map,
        warnings=(*warnings, *notes),
        spaces=(int(header["sform_code"]), int(header["qform_code"])) if affine is not None else None,
    )
    return Volume(
        np.ascontiguousarray(np.moveaxis(data, -1, 0)),
        affine=affine,
        unit=unit
        if unit is not None
        else stamp.unit or ("label" if int(header["intent_code"]) == _LABELS else "a.u."),
        modality=stamp.modality if modality is None else modality,
        spacing_mm=spacing if affine is None else None,
        provenance=provenance,
    )


def _canonical(
    data: NDArray[np.float32], affine: NDArray[np.float64]
) -> tuple[NDArray[np.float32], NDArray[np.float64], tuple[tuple[int, bool], ...]]:
    """(i, j, k, C) turned to the closest RAS+; for each new axis, the old axis and whether it was flipped."""
    turn = orient.io_orientation(affine)  # one row an old axis: (new axis, direction)
    turned = orient.apply_orientation(data, turn)
    new_affine = affine @ orient.inv_ornt_aff(turn, data.shape[:3])
    old_of = {int(new): (old, bool(direction < 0)) for old, (new, direction) in enumerate(turn)}
    return turned, new_affine, tuple(old_of[new] for new in range(3))


def write_nifti(
    volume: Volume,
    path: str | Path,
    *,
    dtype: np.dtype | str = "float32",
    synthetic: bool | None = None,
    spaces: tuple[int, int] | None = None,
) -> None:
    """The volume in the array order it has now. q-form and s-form are equal; without an affine both codes are
    0.

    spaces: codes of s-form and q-form (default: those of the volume's own source, else 1 and 1).
    dtype: how voxels are stored; whole-number types are rounded, and refused when a value does not fit.
    Several channels become the 4th axis. Raises BadGeometry for an axis that NIfTI cannot hold, BadOption for
    values outside ``dtype``, FileProblem when the disk refuses.
    """
    path = Path(path)
    packed = path.name.endswith(".gz")
    write_file(path, nifti_bytes(volume, dtype=dtype, synthetic=synthetic, packed=packed, spaces=spaces))


def nifti_bytes(
    volume: Volume,
    *,
    dtype: np.dtype | str = "float32",
    synthetic: bool | None = None,
    packed: bool = True,
    spaces: tuple[int, int] | None = None,
) -> bytes:
    """What ``write_nifti`` writes; the same volume gives the same bytes (no time in the gzip header)."""
    stored = _stored(volume, np.dtype(dtype))
    kind = nib.Nifti1Image if max(stored.shape) < 2**15 else nib.Nifti2Image
    image = kind(stored, None, dtype=stored.dtype)
    header = image.header
    header.set_xyzt_units("mm")
    header.set_slope_inter(1, 0)
    if volume.affine is not None:
        codes = spaces or volume.provenance.spaces or (1, 1)
        _place(header, volume.affine, spatial_shape(volume.shape), codes)
    elif volume.spacing_mm is not None:
        header["pixdim"][1 : volume.ndim + 1] = volume.spacing_mm
    else:
        header["xyzt_units"] = 0
    made = volume.provenance.synthetic if synthetic is None else synthetic
    header["descrip"] = nifti_stamp(made, volume.modality).encode("latin-1", "replace")
    header["intent_name"] = volume.unit.encode("latin-1", "replace")[:15]
    raw = _serialised(header, stored)
    return gzip.compress(raw, compresslevel=6, mtime=0) if packed else raw


def _serialised(header: nib.Nifti1Header, stored: NDArray) -> bytes:
    header.set_data_offset(header.single_vox_offset)
    out = io.BytesIO()
    header.write_to(out)
    out.write(b"\0" * (header.single_vox_offset - out.tell()))
    out.write(stored.tobytes(order="F"))
    return out.getvalue()


def _place(
    header: nib.Nifti1Header, affine: NDArray[np.float64], shape: tuple[int, int, int], codes: tuple[int, int]
) -> None:
    """Both transforms. Sheared axes (gantry tilt) fit the s-form alone: a q-form that lies is worse than
    none.
    """
    known = [code if 0 <= code <= 5 else 1 for code in codes]
    header.set_sform(affine, known[0])
    header.set_qform(affine, known[1])
    _, shift, mirrored = affine_difference(affine, np.asarray(header.get_qform()), shape)
    if mirrored or shift > 0.05 * np.linalg.norm(affine[:3, :3], axis=0).min():
        header["qform_code"] = 0
        header["sform_code"] = known[0] or known[1]


def _stored(volume: Volume, dtype: np.dtype) -> NDArray:
    """(i, j, k[, C]) in the type of the file."""
    data = volume.data
    if dtype.kind in "iu":
        data = np.rint(data)
        info = np.iinfo(dtype)
        if not np.isfinite(data).all() or data.min() < info.min or data.max() > info.max:
            raise BadOption(
                f"dtype {dtype}: values reach from {data.min():g} to {data.max():g} and do not fit",
                "write float32",
            )
    if max(volume.shape) >= 2**31:
        raise BadGeometry("volume", f"an axis of {max(volume.shape)} voxels")
    if data.shape[0] == 1:
        return data[0].astype(dtype)
    space = data if volume.ndim == 3 else data[..., None]
    return np.moveaxis(space, 0, -1).astype(dtype)
