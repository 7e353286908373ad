"""Bytes on disk: whole or absent, checked when read, never pickled."""

from __future__ import annotations

import ctypes
import errno
import hashlib
import json
import os
import re
import shutil
import socket
import stat
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from functools import lru_cache
from math import isfinite
from pathlib import Path
from typing import TYPE_CHECKING, Any, Never

from ...errors import BadOption, Corrupt, FileProblem, TooLarge, Unsupported, needs_posix
from .limits import regular_file

needs_posix()

if TYPE_CHECKING:
    from torch import Tensor

__all__ = [
    "LOCK",
    "append_line",
    "check_manifest",
    "digest_of_files",
    "finish_folder",
    "flush",
    "give_back",
    "hold",
    "load_weights",
    "locked",
    "read_json",
    "read_lines",
    "save_weights",
    "sha256",
    "sweep",
    "weight_shapes",
    "write_file",
    "write_folder",
    "write_json",
]

MANIFEST = "manifest.json"
LOCK = ".lock"
_OLD = ".old"
_HERE = -100
"""AT_FDCWD: relative names start at the working folder."""
_PASSING = {errno.EIO, errno.ESTALE, errno.EAGAIN, errno.EINTR, errno.ETIMEDOUT, errno.EBUSY}
_PAUSES = (0.1, 0.5)


def sha256(path: Path) -> str:
    """Hexadecimal SHA-256 of a file."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def digest_of_files(paths: Sequence[Path]) -> str:
    """SHA-256 of one file; of several, that of their digests in order."""
    digests = [sha256(path) for path in paths]
    return digests[0] if len(digests) == 1 else hashlib.sha256("\n".join(digests).encode()).hexdigest()


def flush(path: Path) -> None:
    """What was written to a file or a folder is on the disk when this returns."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _beside(path: Path) -> Path:
    """A temporary name in the same folder, with the same suffix, that tells which process on which machine
    made it.
    """
    return path.with_name(f"{_temporary()}{time.monotonic_ns()}-{path.name}")


def _temporary() -> str:
    return f".tmp-{_host()}-{os.getpid()}-"


def _host() -> str:
    return hashlib.sha256(socket.gethostname().encode()).hexdigest()[:8]


@lru_cache(maxsize=256)
def sweep(folder: Path) -> None:
    """Once a process: put back or remove what a killed process of this machine has left in ``folder``.
    Others' unfinished work is not touched.
    """
    for left in sorted(folder.glob(f".tmp-{_host()}-*")):
        found = re.fullmatch(r"\.tmp-\w+-(\d+)-\d+-(.*)", left.name)
        if found is None or _alive(int(found[1])):
            continue
        home = folder / found[2].removesuffix(_OLD)
        if found[2].endswith(_OLD) and not home.exists():
            os.rename(left, home)  # killed between two renames: the old folder is the whole one
        elif left.is_dir():
            shutil.rmtree(left, ignore_errors=True)
        else:
            left.unlink(missing_ok=True)


def _alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except (OSError, OverflowError):
        return True
    return True


def _persistently(work: Callable[[], None]) -> None:
    """A short fault of a network disk is tried again after a while; a full disk or a missing right is not."""
    for pause in (*_PAUSES, None):
        try:
            return work()
        except OSError as error:
            if pause is None or error.errno not in _PASSING:
                raise
            time.sleep(pause)
    return None


def write_file(path: str | Path, write: bytes | Callable[[Path], None]) -> None:
    """Old or new, never between: a temporary file beside it, fsync, rename, fsync of the folder.

    write: the bytes, or a function that fills the temporary path it is given (same suffix as ``path``; called
    again after a passing fault of the disk). Raises FileProblem when the folder cannot be written or the disk
    is full; the old file stays untouched. In a folder that ``write_folder`` fills, it is that which flushes.
    """
    path = Path(path)
    temporary = _beside(path)
    hidden = any(part.startswith(_temporary()) for part in path.parent.parts)

    def work() -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        if isinstance(write, bytes):
            _enough_space(path.parent, len(write))
            temporary.write_bytes(write)
        else:
            write(temporary)
        if not hidden:
            flush(temporary)
        os.replace(temporary, path)
        if not hidden:
            flush(path.parent)

    try:
        _persistently(work)
        if not hidden:
            sweep(path.parent)
    except OSError as error:
        raise FileProblem(
            path,
            f"could not be written ({error.strerror or error})",
            "free space or choose another --out; nothing was changed",
        ) from error
    finally:
        temporary.unlink(missing_ok=True)


def _enough_space(folder: Path, need: int) -> None:
    free = shutil.disk_usage(folder).free
    if need > free:
        raise OSError(errno.ENOSPC, f"needs {need:,} bytes, {free:,} are free")


def write_json(path: str | Path, value: Any) -> None:
    """UTF-8, in the order given. Raises BadOption for NaN, infinity and types that JSON does not know,
    FileProblem when the disk refuses.
    """
    try:
        text = json.dumps(value, indent=1, ensure_ascii=False, allow_nan=False, default=_plain)
    except ValueError as error:
        raise BadOption(f"cannot be written as JSON: {error}") from error
    write_file(path, (text + "\n").encode(errors="backslashreplace"))


def _plain(value: Any) -> Any:
    if isinstance(value, Path):
        return str(value)
    if hasattr(value, "tolist"):
        return value.tolist()
    raise BadOption(f"cannot be written as JSON: {type(value).__name__}")


SMALL = 2**24
"""Bytes of a card, and of what was measured of a prior: Python's objects take about 16 times as much."""


def read_json(path: str | Path, most: int = 2**26) -> Any:
    """The value in a file of JSON: finite numbers, whole ones of 64 bits.

    Raises FileProblem when it is missing or no ordinary file, TooLarge above ``most`` bytes, Corrupt when it
    is not JSON (NaN and Infinity are not).
    """
    if (size := regular_file(path)) > most:
        raise TooLarge(path, f"has {size:,} bytes of JSON, the limit is {most:,}", "make it again")
    try:
        content = Path(path).read_bytes()
        return json.loads(content, parse_constant=_no_number, parse_float=_finite, parse_int=_whole)
    except OSError as error:
        raise FileProblem(path, f"cannot be read ({error.strerror})") from error
    except (ValueError, RecursionError) as error:
        raise Corrupt(path, f"is not valid JSON ({error})") from error


def _no_number(name: str) -> Never:
    raise ValueError(f"{name} is no number of JSON")


def _finite(text: str) -> float:
    value = float(text)
    return value if isfinite(value) else _no_number(text[:40])


def _whole(text: str) -> int:
    value = int(text) if len(text) < 20 else 2**63
    return value if abs(value) < 2**63 else _no_number(text[:40])


def append_line(path: str | Path, record: Mapping[str, Any]) -> None:
    """One event, one line of JSON; control characters are escaped by the format. Raises FileProblem when the
    disk refuses.
    """
    try:
        with open(path, "a", encoding="utf-8", opener=_own) as file:
            file.write(json.dumps(record, default=_plain) + "\n")
    except OSError as error:
        raise FileProblem(
            path, f"could not be written ({error.strerror or error})", "free space or choose another --out"
        ) from error


def _own(name: str, flags: int) -> int:
    """A file of ours that is written in place: neither a link nor one that has another name. Raises
    OSError.
    """
    handle = os.open(name, flags | os.O_NOFOLLOW | os.O_NONBLOCK, 0o666)
    found = os.fstat(handle)
    if not stat.S_ISREG(found.st_mode) or found.st_nlink > 1:
        os.close(handle)
        raise OSError(errno.ELOOP, "it is a link, or no ordinary file")
    return handle


def read_lines(path: str | Path) -> list[Any]:
    """What ``append_line`` wrote, [] where there is no such file. A last line that a kill has torn is cut
    off.

    Raises FileProblem (cannot be read), Corrupt (holds something else).
    """
    path = Path(path)
    try:
        stored = path.read_bytes()
    except FileNotFoundError:
        return []
    except OSError as error:
        raise FileProblem(path, f"cannot be read ({error.strerror})") from error
    whole = stored[: stored.rfind(b"\n") + 1]
    if len(whole) < len(stored):
        os.truncate(path, len(whole))
    try:
        return [json.loads(line) for line in whole.splitlines()]
    except (ValueError, RecursionError) as error:
        raise Corrupt(
            path, f"is not what medprior wrote ({error})", "remove the folder, or start over with --fresh"
        ) from error


def write_folder(path: str | Path, fill: Callable[[Path], None]) -> None:
    """A folder that appears whole: files, fsync, a manifest of their SHA-256 last, then one rename.

    An existing folder of that name is exchanged for the new one in one step where the system can, else by two
    renames; the next process mends a torn pair. Raises FileProblem when the disk refuses; the old folder is
    kept.
    """
    path = Path(path)
    temporary = _beside(path)

    def work() -> None:
        shutil.rmtree(temporary, ignore_errors=True)
        temporary.mkdir(parents=True)
        fill(temporary)
        files = sorted(p for p in temporary.rglob("*") if p.is_file())
        write_json(temporary / MANIFEST, {p.relative_to(temporary).as_posix(): sha256(p) for p in files})
        for written in {temporary / MANIFEST, temporary, *files, *(p.parent for p in files)}:
            flush(written)
        _put(temporary, path)
        flush(path.parent)

    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        sweep(path.parent)
        _persistently(work)
    except OSError as error:
        raise FileProblem(
            path,
            f"could not be written ({error.strerror or error})",
            "free space or choose another --out; the old one is kept",
        ) from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def finish_folder(begun: Path, path: Path, fill: Callable[[Path], None], *, but: Sequence[str] = ()) -> None:
    """A folder that is filled up where it was begun, and then gets its name in one step. What
    ``write_folder`` wrote below it stays as it is: neither copied, nor read, nor flushed again. Until then
    all of it can be done again.

    but: names in it that are no part of the result; they come along, unlisted. Raises FileProblem when the
    disk refuses.
    """

    def work() -> None:
        fill(begun)
        listed, fresh = _checksums(begun, {*but, MANIFEST})
        write_json(begun / MANIFEST, listed)
        for written in fresh:
            flush(written)
        _put(begun, path)
        flush(path.parent)

    try:
        _persistently(work)
    except OSError as error:
        raise FileProblem(
            path, f"could not be written ({error.strerror or error})", "the same command goes on from there"
        ) from error


def _checksums(folder: Path, but: set[str]) -> tuple[dict[str, str], list[Path]]:
    """(SHA-256 of each file below a folder, by its name there; files and folders that may not be flushed).
    Folders with a manifest are believed.
    """
    found: dict[Path, str] = {}
    fresh = []
    for here, folders, names in os.walk(folder):
        place = Path(here)
        if place == folder:
            names, folders[:] = ([one for one in some if one not in but] for some in (names, folders))
        known = read_json(place / MANIFEST) if MANIFEST in names else None
        folders[:] = [] if known is not None else folders
        found |= {place / name: digest for name, digest in (known or {}).items()}
        for name in [MANIFEST] if known is not None else names:
            found[place / name] = sha256(place / name)
        fresh += [] if known is not None else [*(place / name for name in names), place]
    return {p.relative_to(folder).as_posix(): found[p] for p in sorted(found)}, fresh


def _put(new: Path, path: Path) -> None:
    """``new`` takes the place of ``path``; what was there ends up under the name of ``new``."""
    if not path.exists():
        os.rename(new, path)
    elif not _exchanged(new, path):
        old = new.with_name(new.name + _OLD)
        os.rename(path, old)
        os.rename(new, path)
        shutil.rmtree(old, ignore_errors=True)


def _exchanged(one: Path, other: Path) -> bool:
    """Two names swapped in one step (renameat2 with RENAME_EXCHANGE, Linux); False where the system or its
    disk cannot.
    """
    library = ctypes.CDLL(None, use_errno=True) if sys.platform == "linux" else None
    try:
        swap = library.renameat2  # type: ignore[union-attr]
    except AttributeError:
        return False
    return swap(_HERE, os.fsencode(one), _HERE, os.fsencode(other), 2) == 0


def check_manifest(folder: str | Path) -> None:
    """Every file listed in the folder's manifest has the SHA-256 that was written down.

    Raises Corrupt naming the first file that has not.
    """
    folder = Path(folder)
    listed = read_json(folder / MANIFEST)
    if not isinstance(listed, dict) or not listed or not all(name.isprintable() for name in listed):
        raise Corrupt(folder / MANIFEST, "is not a list of checksums")
    for name, digest in listed.items():
        file = folder / name
        if not file.resolve().is_relative_to(folder.resolve()):
            raise Corrupt(folder / MANIFEST, f"names a file outside of the folder: {name!r}")
        if not file.is_file():
            raise Corrupt(file, "is missing", "copy the whole folder again")
        if sha256(file) != digest:
            raise Corrupt(
                file, "does not match its checksum", "copy the file again; do not use these weights"
            )


def save_weights(
    path: str | Path, tensors: Mapping[str, Any], metadata: Mapping[str, str] | None = None
) -> None:
    """Safetensors, atomically."""
    from safetensors.torch import save as as_bytes

    contiguous = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    write_file(
        path, as_bytes(contiguous, dict(metadata) if metadata else None)
    )  # its own writer reports a full disk by an error of its own kind


def load_weights(path: str | Path) -> dict[str, Tensor]:
    """The one door for weights: safetensors only, every value finite.

    Raises Unsupported for another format, Corrupt for a broken or non-finite file.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    path = Path(path)
    if path.suffix != ".safetensors":
        raise Unsupported(
            path,
            "weights are read from .safetensors only: other formats can run code when opened",
            "convert it where you trust it",
        )
    if not path.is_file():
        raise FileProblem(path, "no such file")
    try:
        tensors = load_file(path)
    except (SafetensorError, OSError, ValueError) as error:
        raise Corrupt(path, f"is not a safetensors file ({error})") from error
    for name, tensor in tensors.items():
        if tensor.is_floating_point() and not tensor.isfinite().all():
            raise Corrupt(path, f"weight {name!r} holds NaN or infinity")
    return tensors


_held: dict[Path, ExitStack] = {}


def hold(folder: str | Path) -> None:
    """This process alone works on a folder, which need not exist yet, until it calls ``give_back``.

    Raises FileProblem naming the owner when another process holds it.
    """
    place = Path(folder).absolute()
    if place not in _held:
        stack = ExitStack()
        stack.enter_context(locked(place.parent, f".{place.name}.lock"))
        _held[place] = stack


def give_back(folder: str | Path | None = None) -> None:
    """Let others work on a folder that this process holds; default on all of them."""
    for place in list(_held) if folder is None else [Path(folder).absolute()]:
        if place in _held:
            _held.pop(place).close()


def weight_shapes(path: Path) -> dict[str, tuple[int, ...]]:
    """Name and shape of each tensor, as the header of a .safetensors file says.

    Raises Corrupt or FileProblem.
    """
    from safetensors import SafetensorError, safe_open

    regular_file(path)
    try:
        with safe_open(path, "pt") as file:
            return {name: tuple(file.get_slice(name).get_shape()) for name in file.keys()}  # noqa: SIM118
    except (SafetensorError, OSError, ValueError) as error:
        raise Corrupt(path, f"is not a safetensors file ({error})") from error


@contextmanager
def locked(folder: str | Path, name: str = LOCK) -> Iterator[None]:
    """One run a folder. The lock is held by the open file, so a killed run leaves none behind; at the end the
    file is removed.

    Raises FileProblem naming the owner when another run holds it, or where the lock cannot be made.
    """
    import fcntl

    path = Path(folder) / name
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        opened = open(path, "a+", encoding="utf-8", opener=_own)  # noqa: SIM115 (locked below, with its own errors)
    except OSError as error:
        raise FileProblem(
            path, f"cannot be locked ({error.strerror})", "remove it, or choose another --out"
        ) from error
    with opened as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if os.fstat(file.fileno()).st_nlink == 0:  # its run has ended, and removed the file, just now
                raise BlockingIOError
        except BlockingIOError:
            file.seek(0)
            owner = file.read(200).strip() or "unknown owner"
            raise FileProblem(
                folder, f"another run is working here: {owner}", "wait for it, or choose another --out"
            ) from None
        except OSError as error:
            raise FileProblem(
                folder,
                f"its disk knows no locks ({error.strerror})",
                "choose another --out, on a disk of this machine",
            ) from error
        file.truncate(0)
        file.write(
            f"process {os.getpid()} on {socket.gethostname()}, since {time.strftime('%Y-%m-%d %H:%M:%S')}"
        )
        file.flush()
        try:
            yield
        finally:
            path.unlink(missing_ok=True)
