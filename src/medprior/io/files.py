"""Bytes on disk: whole or absent, checked when read, never pickled."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import socket
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ..errors import BadOption, Corrupt, FileProblem, Unsupported

__all__ = ["append_line", "check_manifest", "load_weights", "locked", "read_json", "save_weights", "sha256", "write_file", "write_folder", "write_json"]

MANIFEST = "manifest.json"


def sha256(path: Path) -> str:
    """Hexadecimal SHA-256 of a file."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _flush(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def write_file(path: str | Path, write: bytes | Callable[[Path], None]) -> None:
    """Old or new, never between: a temporary file beside it, fsync, rename, fsync of the folder.

    write: the bytes, or a function that fills the temporary path it is given (same suffix as ``path``).
    Raises FileProblem when the folder cannot be written or the disk is full; the old file stays untouched.
    """
    path = Path(path)
    temporary = path.with_name(f".{os.getpid()}-{time.monotonic_ns()}-{path.name}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        if isinstance(write, bytes):
            temporary.write_bytes(write)
        else:
            write(temporary)
        _flush(temporary)
        os.replace(temporary, path)
        _flush(path.parent)
    except OSError as error:
        raise FileProblem(path, f"could not be written ({error.strerror or error})", "free space or choose another --out; nothing was changed") from error
    finally:
        temporary.unlink(missing_ok=True)


def write_json(path: str | Path, value: Any) -> None:
    """UTF-8, sorted where order carries no meaning, NaN refused."""
    write_file(path, (json.dumps(value, indent=1, ensure_ascii=False, allow_nan=False, default=_plain) + "\n").encode())


def _plain(value: Any) -> Any:
    if isinstance(value, Path):
        return str(value)
    if hasattr(value, "tolist"):
        return value.tolist()
    raise BadOption(f"cannot be written as JSON: {type(value).__name__}")


def read_json(path: str | Path) -> Any:
    """Raises FileProblem when it is missing, Corrupt when it is not JSON."""
    try:
        return json.loads(Path(path).read_bytes())
    except OSError as error:
        raise FileProblem(path, f"cannot be read ({error.strerror})") from error
    except (ValueError, RecursionError) as error:
        raise Corrupt(path, f"is not valid JSON ({error})") from error


def append_line(path: str | Path, record: Mapping[str, Any]) -> None:
    """One event, one line of JSON; control characters are escaped by the format."""
    with open(path, "a", encoding="utf-8") as file:
        file.write(json.dumps(record, default=_plain) + "\n")


def write_folder(path: str | Path, fill: Callable[[Path], None]) -> None:
    """A folder that appears whole: files, fsync, a manifest of their SHA-256 last, then one rename.

    An existing folder of that name is replaced, and kept until the new one is in place.
    """
    path = Path(path)
    temporary = path.with_name(f".{os.getpid()}-{time.monotonic_ns()}-{path.name}")
    try:
        temporary.mkdir(parents=True)
        fill(temporary)
        files = sorted(p for p in temporary.rglob("*") if p.is_file())
        for file in files:
            _flush(file)
        write_json(temporary / MANIFEST, {str(p.relative_to(temporary)): sha256(p) for p in files})
        _flush(temporary)
        if path.exists():
            old = temporary.with_suffix(".old")
            os.rename(path, old)
            os.rename(temporary, path)
            shutil.rmtree(old)
        else:
            os.rename(temporary, path)
        _flush(path.parent)
    except OSError as error:
        raise FileProblem(path, f"could not be written ({error.strerror or error})", "free space or choose another --out; the old one is kept") from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def check_manifest(folder: str | Path) -> None:
    """Every file listed in the folder's manifest has the SHA-256 that was written down.

    Raises Corrupt naming the first file that has not.
    """
    folder = Path(folder)
    listed = read_json(folder / MANIFEST)
    if not isinstance(listed, dict) or not listed:
        raise Corrupt(folder / MANIFEST, "is not a list of checksums")
    for name, digest in listed.items():
        file = folder / name
        if not file.resolve().is_relative_to(folder.resolve()):
            raise Corrupt(folder / MANIFEST, f"names a file outside of the folder: {name!r}")
        if not file.is_file():
            raise Corrupt(file, "is missing", "copy the whole folder again")
        if sha256(file) != digest:
            raise Corrupt(file, "does not match its checksum", "copy the file again; do not use these weights")


def save_weights(path: str | Path, tensors: Mapping[str, Any], metadata: Mapping[str, str] | None = None) -> None:
    """Safetensors, atomically."""
    from safetensors.torch import save_file

    contiguous = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    write_file(path, lambda temporary: save_file(contiguous, temporary, dict(metadata or {})))


def load_weights(path: str | Path) -> dict[str, Any]:
    """The one door for weights: safetensors only, every value finite.

    Raises Unsupported for another format, Corrupt for a broken or non-finite file.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    path = Path(path)
    if path.suffix != ".safetensors":
        raise Unsupported(path, "weights are read from .safetensors only: other formats can run code when opened", "convert it where you trust it")
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


@contextmanager
def locked(folder: str | Path) -> Iterator[None]:
    """One run a folder. The lock is held by the open file, so a killed run leaves none behind.

    Raises FileProblem naming the owner when another run holds it.
    """
    import fcntl

    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    with open(folder / ".lock", "a+", encoding="utf-8") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            file.seek(0)
            raise FileProblem(folder, f"another run is working here: {file.read().strip() or 'unknown owner'}", "wait for it, or choose another --out") from None
        file.truncate(0)
        file.write(f"process {os.getpid()} on {socket.gethostname()}, since {time.strftime('%Y-%m-%d %H:%M:%S')}")
        file.flush()
        yield
