"""Cartesian k-space in HDF5: the layouts of fastMRI (arXiv 1811.08839) and of ISMRMRD (Inati et al., MRM
2017). Nothing outside of the file is followed.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import prod
from pathlib import Path
from xml.parsers import expat

import h5py
import numpy as np
from numpy.typing import NDArray

from ..data.acquisitions import KSpace
from ..data.volume import Provenance
from ..errors import BadOption, Corrupt, TooLarge, Truncated, Unsupported
from .disk.faults import faults_of, some
from .disk.limits import Limits, regular_file

__all__ = ["FastMri", "is_hdf5", "made_whole", "read_kspace_hdf5"]

_MAX_XML = 2**22
_MAX_ITEM = 2**12
"""Bytes of one number, or of one acquisition with its header."""
_LARGEST_CHUNK = 2**24
_FILTERS = (1, 2, 3, 4, 5, 6, 32000)
"""Deflate, shuffle, Fletcher32, szip, n-bit, scale-offset, and LZF, which h5py brings along."""
_REPACK = "write it again with gzip, or without compression"
# Bits of an ISMRMRD acquisition header, counted from 1 (ismrmrd.h, enum ISMRMRD_AcquisitionFlags): lines that
# are no part of the image.
_NOT_IMAGE = sum(1 << (bit - 1) for bit in (19, 20, 23, 24, 26, 27, 28, 30))
# Counters of a header that tell one image of a slice from another; "average" alone counts the same image
# measured again.
_OTHER_IMAGES = ("contrast", "phase", "repetition", "set")
_REVERSED = 1 << (22 - 1)
_NOISE = 1 << (19 - 1)
# Samples of a noise scan that are read, over all coils: the covariance of 32 coils is known to 1 % from them.
_NOISE_SAMPLES = 2**20


def is_hdf5(start: bytes) -> bool:
    """By the first bytes of a file."""
    return start.startswith(b"\x89HDF\r\n\x1a\n")


@dataclass(frozen=True, slots=True)
class FastMri:
    """A slice of fastMRI. packed: its numbers (coils, rows, columns), None where they lie in the file as they
    are, from ``offset`` on: to read them again costs less than to send them. kind: their type in NumPy's
    words. columns: those that ``mask`` names; measured: the first that the header says was measured, and the
    one behind the last; each None where nothing is said.
    """

    packed: NDArray | None
    offset: int
    kind: str
    shape: tuple[int, int, int]
    columns: NDArray[np.bool_] | None
    measured: tuple[int, int] | None
    reference: NDArray[np.float32] | None
    spacing: tuple[float, float] | None
    readout: int | None
    provenance: Provenance


def read_kspace_hdf5(path: Path, index: int | None, limits: Limits) -> KSpace | FastMri:
    """K-space of one slice, for ``made_whole``. Raises Unsupported for another layout, else Corrupt, TooLarge
    or FileProblem; BadOption for ``index``.
    """
    size = regular_file(path)
    with open(path, "rb") as file:
        if not is_hdf5(file.read(8)):
            raise Unsupported(path, "is no HDF5 file and no NPZ archive")
    with faults_of(path, "HDF5"), h5py.File(path, "r") as file:
        found = _own(path, file, "kspace")
        if isinstance(found, h5py.Dataset):
            return _fastmri(path, file, found, index, limits)
        found = _own(path, file, "dataset")
        if isinstance(found, h5py.Group):
            return _ismrmrd(path, found, index, limits, size)
        raise Unsupported(path, f"is neither fastMRI nor ISMRMRD k-space, it holds {some(file)}")


def slices_in_hdf5(path: Path, limits: Limits) -> int:
    """How many slices of k-space a file holds; 1 where ``read_kspace_hdf5`` is to say what is wrong."""
    regular_file(path)
    with faults_of(path, "HDF5"), h5py.File(path, "r") as file:
        found, group = _own(path, file, "kspace"), _own(path, file, "dataset")
        if isinstance(found, h5py.Dataset):
            return max(1, found.shape[0]) if found.ndim > 2 else 1
        rows = _own(path, group, "data") if isinstance(group, h5py.Group) else None
        if not isinstance(rows, h5py.Dataset) or "head" not in (rows.dtype.names or ()):
            return 1
        _checked(path, rows, limits)
        return int(rows["head"]["idx"]["slice"].max(initial=0)) + 1


def _own(path: Path, group: h5py.Group, name: str) -> h5py.Dataset | h5py.Group | h5py.Datatype | None:
    """A member that lies in this very file; links to other places are refused, not followed."""
    link = group.get(name, getlink=True) if name in group else None
    if link is None:
        return None
    if not isinstance(link, h5py.HardLink):
        raise Unsupported(path, f"{name!r} is a link to another place", "copy the data into one file")
    found = group[name]
    if isinstance(found, h5py.Dataset) and (found.is_virtual or found.external):
        raise Unsupported(path, f"the numbers of {name!r} lie in other files", "copy the data into one file")
    return found


def _checked(path: Path, values: h5py.Dataset, limits: Limits) -> None:
    """What is cheap to know before anything is inflated: sizes of numbers, chunks and filters."""
    if not 0 < values.dtype.itemsize <= _MAX_ITEM:
        raise Corrupt(path, f"declares numbers of {values.dtype.itemsize:,} bytes")
    limits.check_shape(path, values.shape or (1,), values.dtype.itemsize, values.id.get_storage_size())
    stored = values.id.get_create_plist()
    for n in range(stored.get_nfilters()):
        if (code := stored.get_filter(n)[0]) not in _FILTERS:
            raise Unsupported(path, f"is packed by filter {code}, which HDF5 does not have itself", _REPACK)
    chunk = prod(values.chunks or (1,)) * values.dtype.itemsize
    if chunk > max(_LARGEST_CHUNK, values.nbytes):
        raise TooLarge(path, f"declares chunks of {chunk:,} bytes for {values.nbytes:,}", _REPACK)
    limits.check(path, 1, values.nbytes + chunk)


def _finite(path: Path, values: NDArray) -> NDArray:
    bad = int(values.size - np.isfinite(values).sum())
    if bad:
        raise Corrupt(path, f"{bad:,} of {values.size:,} samples are NaN or infinite")
    return values


def _slice(path: Path, index: int | None, count: int) -> int:
    if index is None and count > 1:
        raise Unsupported(path, f"holds {count} slices", f"choose one with index (--index) 0 to {count - 1}")
    if not 0 <= (index or 0) < count:
        raise BadOption(f"index: wanted 0 to {count - 1} for {path.name}, got {index}")
    return index or 0


def _fastmri(path: Path, file: h5py.File, values: h5py.Dataset, index: int | None, limits: Limits) -> FastMri:
    if values.dtype.kind != "c" or values.ndim not in (3, 4):
        raise Corrupt(
            path,
            f"kspace: wanted complex numbers (slices, coils, rows, columns), got {values.dtype} "
            f"{values.shape}",
        )
    _checked(path, values, limits)
    n = _slice(path, index, values.shape[0])
    rows, columns = values.shape[-2:]
    shape = (prod(values.shape[1:-2]), rows, columns)
    start = values.id.get_offset() if values.id.get_storage_size() == values.nbytes else None
    header = _fastmri_header(path, file)
    told = header is not None and header.matrix[1] == columns
    spacing, readout = (header.spacing, header.readout) if header else (None, None)
    history = f"slice {n} of {values.shape[0]} from fastMRI HDF5, {shape}"
    return FastMri(
        None if start is not None else values[n].reshape(shape),
        (start or 0) + n * prod(shape) * values.dtype.itemsize,
        values.dtype.str,
        shape,
        _fastmri_columns(path, file, columns, limits),
        header.measured if header is not None and told else None,
        _fastmri_reference(path, file, n, limits),
        spacing,
        readout,
        Provenance(sources=(path,), format="hdf5", history=(history,)),
    )


def _fastmri_columns(path: Path, file: h5py.File, n: int, limits: Limits) -> NDArray[np.bool_] | None:
    """``mask`` of the test sets."""
    stated = _own(path, file, "mask")
    if not isinstance(stated, h5py.Dataset):
        return None
    _checked(path, stated, limits)
    if stated.size != n or stated.dtype.kind not in "biuf":
        raise Corrupt(path, f"mask: wanted ({n},), one an encoded column, got {stated.dtype} {stated.shape}")
    return stated[()].reshape(-1).astype(bool)


def made_whole(path: Path, found: KSpace | FastMri, limits: Limits) -> KSpace:
    """The k-space, in the process that asked for it. Raises Truncated, Corrupt, TooLarge or FileProblem."""
    if isinstance(found, KSpace):
        return found
    values = found.packed if found.packed is not None else _numbers(path, found, limits)
    data = _finite(path, values.astype(np.complex64, copy=False))
    return KSpace(
        data,
        _fastmri_mask(data, found),
        found.reference,
        found.spacing,
        found.provenance,
        readout=found.readout,
    )


def _numbers(path: Path, found: FastMri, limits: Limits) -> NDArray:
    """What lies in the file between two bytes, which are checked first."""
    kind, count = np.dtype(found.kind), prod(found.shape)
    limits.check(path, count, count * kind.itemsize)
    if (size := regular_file(path)) < found.offset + count * kind.itemsize:
        raise Truncated(path, f"ends at byte {size:,}, inside the numbers of 'kspace'", "copy the file again")
    with faults_of(path, "HDF5"), open(path, "rb") as file:
        return np.fromfile(file, kind, count, offset=found.offset).reshape(found.shape)


def _fastmri_mask(data: NDArray[np.complex64], found: FastMri) -> NDArray[np.bool_]:
    """``mask`` (columns,) of the test sets, elsewhere what is not zero in any coil.

    Columns outside of the header's encodingLimits, and such as are zero in all coils, were filled up: a mask
    that names them measured states more than the scanner did.
    """
    measured = (data != 0).any(0)
    if found.columns is None:
        return measured
    columns = found.columns & measured.any(0)
    if found.measured is not None:
        first, end = found.measured
        columns[:first], columns[end:] = False, False
    return np.broadcast_to(columns, data.shape[1:]).copy()


def _fastmri_reference(path: Path, file: h5py.File, n: int, limits: Limits) -> NDArray[np.float32] | None:
    for name in ("reconstruction_rss", "reconstruction_esc"):
        found = _own(path, file, name)
        if isinstance(found, h5py.Dataset):
            if found.ndim != 3 or found.dtype.kind != "f" or n >= found.shape[0]:
                raise Corrupt(
                    path,
                    f"{name}: wanted real numbers (slices, rows, columns), got {found.dtype} {found.shape}",
                )
            _checked(path, found, limits)
            return _finite(path, found[n].astype(np.float32))
    return None


def _fastmri_header(path: Path, file: h5py.File) -> _Encoding | None:
    found = _own(path, file, "ismrmrd_header")
    return _encoding(path, _text(path, found)) if isinstance(found, h5py.Dataset) else None


def _text(path: Path, values: h5py.Dataset) -> bytes:
    if values.size != 1:
        raise Corrupt(path, f"the header text has {values.size} parts, wanted 1")
    if values.dtype.kind not in "OS" or values.dtype.itemsize > _MAX_XML:
        raise Corrupt(path, f"the header text is {values.dtype.itemsize:,} bytes of {values.dtype}")
    content = values[()] if values.shape == () else values[(0,) * values.ndim]
    content = content.encode() if isinstance(content, str) else bytes(content)
    if len(content) > _MAX_XML:
        raise Corrupt(path, f"the header text has {len(content):,} bytes, wanted at most {_MAX_XML:,}")
    return content


@dataclass(frozen=True, slots=True)
class _Encoding:
    """What the first <encoding> of an ISMRMRD header says: matrix (x, y, z), centre and highest number of
    kspace_encoding_step_1, pixel size, samples that the image needs.
    """

    matrix: tuple[int, int, int]
    centre: int
    highest: int
    trajectory: str
    spacing: tuple[float, float] | None
    readout: int | None

    @property
    def measured(self) -> tuple[int, int]:
        """First column of the matrix that the encoding limits cover, and the one behind their last."""
        first = self.matrix[1] // 2 - self.centre
        return max(first, 0), max(first + self.highest + 1, 0)


def _encoding(path: Path, xml: bytes) -> _Encoding:
    """Parsed without document types: no entity is ever defined, expanded or fetched."""
    found: dict[str, str] = {}
    stack: list[str] = []
    counts = {"encoding": 0}
    parser = expat.ParserCreate()

    def refuse(*_: object) -> int:
        raise Unsupported(path, "its XML header declares a document type", "remove the DOCTYPE")

    def start(name: str, _: object) -> None:
        name = name.rsplit(":", 1)[-1]
        if len(stack) > 64:
            raise Corrupt(path, "its XML header is nested too deeply")
        stack.append(name)
        counts["encoding"] += name == "encoding"

    def text(value: str) -> None:
        if counts["encoding"] == 1 and "encoding" in stack:
            key = "/".join(stack[stack.index("encoding") + 1 :])
            found[key] = found.get(key, "") + value

    parser.StartDoctypeDeclHandler = refuse
    parser.EntityDeclHandler = refuse
    parser.ExternalEntityRefHandler = refuse
    parser.StartElementHandler = start
    parser.EndElementHandler = lambda _: stack.pop()
    parser.CharacterDataHandler = text
    try:
        parser.Parse(xml, True)
        matrix = tuple(int(found[f"encodedSpace/matrixSize/{axis}"]) for axis in "xyz")
        centre = int(found.get("encodingLimits/kspace_encoding_step_1/center", matrix[1] // 2))
        highest = int(found.get("encodingLimits/kspace_encoding_step_1/maximum", matrix[1] - 1))
        field = [float(found.get(f"encodedSpace/fieldOfView_mm/{axis}", 0)) for axis in "xy"]
        wanted = float(found.get("reconSpace/fieldOfView_mm/x", 0))
    except (expat.ExpatError, KeyError, ValueError) as error:
        raise Corrupt(path, f"its XML header cannot be understood ({error})") from error
    if min(matrix) < 1 or max(matrix) > 2**16:
        raise Corrupt(path, f"its header declares a matrix of {matrix}")
    sizes = (field[0] / matrix[0], field[1] / matrix[1])
    known = all(np.isfinite(s) and s > 0 for s in sizes)
    oversampled = known and 0 < wanted < field[0]
    readout = max(1, round(matrix[0] * wanted / field[0])) if oversampled else None
    return _Encoding(
        (matrix[0], matrix[1], matrix[2]),
        centre,
        highest,
        found.get("trajectory", "").strip().lower(),
        sizes if known else None,
        readout,
    )


def _ismrmrd(path: Path, group: h5py.Group, index: int | None, limits: Limits, size: int) -> KSpace:
    xml, rows = _own(path, group, "xml"), _own(path, group, "data")
    if (
        not isinstance(xml, h5py.Dataset)
        or not isinstance(rows, h5py.Dataset)
        or rows.dtype.names is None
        or not {"head", "data"} <= set(rows.dtype.names)
    ):
        raise Unsupported(
            path,
            "has a group 'dataset' that is no ISMRMRD acquisition (wanted xml and data with head and data)",
        )
    encoding = _encoding(path, _text(path, xml))
    if encoding.trajectory not in ("cartesian", ""):
        raise Unsupported(path, f"its trajectory is {encoding.trajectory}, wanted cartesian")
    if encoding.matrix[2] != 1:
        raise Unsupported(path, f"is encoded in three dimensions {encoding.matrix}, wanted slices")
    _checked(path, rows, limits)
    heads = rows["head"]
    image = np.flatnonzero((heads["flags"] & np.uint64(_NOT_IMAGE)) == 0)
    slices = heads["idx"]["slice"]
    if image.size == 0:
        raise Corrupt(path, "holds no acquisition of an image")
    count = int(slices[image].max()) + 1
    n = _slice(path, index, count)
    chosen = image[slices[image] == n]
    if chosen.size == 0:
        raise Corrupt(path, f"holds no line of slice {n}")
    for name in _OTHER_IMAGES:
        images = np.unique(heads["idx"][name][chosen])
        if images.size > 1:
            raise Unsupported(
                path,
                f"holds {images.size} images of slice {n}, which differ in {name!r}; all are not one",
                "keep one in the file",
            )
    data, times = _lines(path, rows, heads, chosen, encoding, limits, size)
    provenance = Provenance(
        sources=(path,),
        format="hdf5",
        history=(f"slice {n} of {count} from ISMRMRD HDF5, {data.shape}, repeats averaged",),
    )
    noise = _noise(path, rows, heads, chosen, float(np.median(times[times > 0])))
    return KSpace(data, times > 0, None, encoding.spacing, provenance, noise, encoding.readout)


def _noise(
    path: Path, rows: h5py.Dataset, heads: NDArray, chosen: NDArray, repeats: float
) -> NDArray[np.complex64] | None:
    """(coils, samples) of the noise scans, scaled to a sample of the image: its receiver was open for another
    time, and it is a mean of ``repeats``.

    Noise falls as 1 / sqrt of the time of a sample (Kellman and McVeigh, MRM 54(6), 2005).
    """
    n_coils, at = int(heads["active_channels"][chosen[0]]), float(heads["sample_time_us"][chosen[0]])
    lines, left = [], _NOISE_SAMPLES // n_coils
    for row in np.flatnonzero(heads["flags"] & np.uint64(_NOISE)):
        head = heads[row]
        time = float(head["sample_time_us"])
        usable = (
            int(head["active_channels"]) == n_coils
            and not int(head["encoding_space_ref"])
            and time > 0
            and at > 0
        )
        if left <= 0 or not usable:
            continue
        line = _line(path, head, rows[int(row)]["data"], n_coils)[0][:, :left]
        lines.append(line * np.float32(np.sqrt(time / at / repeats)))
        left -= line.shape[1]
    return _finite(path, np.concatenate(lines, 1)) if lines else None


def _lines(
    path: Path,
    rows: h5py.Dataset,
    heads: NDArray,
    chosen: NDArray,
    encoding: _Encoding,
    limits: Limits,
    size: int,
) -> tuple[NDArray[np.complex64], NDArray[np.int32]]:
    """Acquisitions put on the centred grid (coils, kx, ky), and how often each sample was measured: a line
    measured several times is averaged.
    """
    n_coils = int(heads["active_channels"][chosen[0]])
    nx, ny, _ = encoding.matrix
    shape = (n_coils, nx, ny)
    limits.check_shape(path, shape, 8, size)
    total, times = np.zeros(shape, np.complex64), np.zeros((nx, ny), np.int32)
    turned_too = _turned_too(heads[chosen], nx)
    for row in chosen:
        head = heads[row]
        line, centre = _line(path, head, rows[int(row)]["data"], n_coils, turned_too)
        ky = int(head["idx"]["kspace_encode_step_1"]) - encoding.centre + ny // 2
        first = nx // 2 - centre
        if not 0 <= ky < ny or first < 0 or first + line.shape[1] > nx:
            raise Corrupt(
                path, f"acquisition {int(row)} lies outside of the encoded matrix {encoding.matrix}"
            )
        total[:, first : first + line.shape[1], ky] += line
        times[first : first + line.shape[1], ky] += 1
    return _finite(path, total / np.maximum(times, 1)), times


def _turned_too(heads: NDArray, nx: int) -> bool:
    """Whether reversed lines state their centre as it is after turning. The format counts samples as they
    were recorded; some converters do not. Lines that run forwards tell, since all share one echo; where there
    are none, the centre that fits into the matrix of ``nx`` samples.
    """
    kept = heads["number_of_samples"].astype(int) - heads["discard_pre"] - heads["discard_post"]
    centre = heads["center_sample"].astype(int) - heads["discard_pre"]
    back = (heads["flags"] & np.uint64(_REVERSED)) != 0
    forwards = {*zip(kept[~back].tolist(), centre[~back].tolist(), strict=True)}
    said = {*zip(kept[back].tolist(), centre[back].tolist(), strict=True)}
    recorded = {(n, n - 1 - at) for n, at in said}
    if forwards:
        return not recorded <= forwards and bool(said) and said <= forwards
    fits = [all(0 <= nx // 2 - at <= nx - n for n, at in centres) for centres in (recorded, said)]
    return fits == [False, True]


def _line(
    path: Path, head: NDArray, values: NDArray, n_coils: int, turned_too: bool = False
) -> tuple[NDArray[np.complex64], int]:
    """One acquisition (coils, samples) without the samples that its header discards, and its centre; a
    reversed readout is turned. turned_too: its stated centre already is.
    """
    samples = int(head["number_of_samples"])
    if int(head["active_channels"]) != n_coils or values.size != 2 * n_coils * samples:
        raise Corrupt(
            path, f"an acquisition has {values.size} numbers, wanted 2 x {n_coils} coils x {samples} samples"
        )
    if int(head["encoding_space_ref"]) != 0:
        raise Unsupported(path, "uses several encoding spaces, wanted one")
    before, after = int(head["discard_pre"]), int(head["discard_post"])
    if before + after >= samples:
        raise Corrupt(path, f"an acquisition discards {before} + {after} of its {samples} samples")
    line = np.ascontiguousarray(values, np.float32).view(np.complex64).reshape(n_coils, samples)
    line, centre = line[:, before : samples - after], int(head["center_sample"]) - before
    if not int(head["flags"]) & _REVERSED:
        return line, centre
    return line[:, ::-1], centre if turned_too else line.shape[1] - 1 - centre
