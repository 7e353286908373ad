"""What an installation can and cannot do: one row a check, nothing is changed and nothing is asked of a
network.
"""

from __future__ import annotations

import os
import platform
import re
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, requires, version
from pathlib import Path
from typing import Literal

from .. import __version__
from ..data.plain import JsonObject
from ..errors import MedpriorError
from ..io.disk.files import check_manifest, write_file
from ..io.disk.workers import cores

__all__ = ["Check", "Status", "described", "diagnose"]

Status = Literal["ok", "warning", "problem"]

GIB = 2**30
MEMORY_WANTED = 3 * GIB
"""The bundled priors' four jobs stay below this: peak_mib in the run.json of the demo."""
DISK_WANTED = 2 * GIB


@dataclass(frozen=True, slots=True)
class Check:
    """subject: what was looked at. found: what is there. status: "problem" means that some job will fail.
    remedy: one sentence, "" when all is well.
    """

    subject: str
    status: Status
    found: str
    remedy: str = ""


def diagnose(folder: str | Path = ".") -> list[Check]:
    """Every check in the order of a person's questions. folder: where results are to be written."""
    checks: tuple[Callable[[], list[Check]], ...] = (
        _python,
        _torch,
        _accelerator,
        _memory,
        lambda: _disk(Path(folder)),
        _codecs,
        _extras,
        _priors,
    )
    return [row for check in checks for row in check()]


def described(rows: Sequence[Check]) -> tuple[JsonObject, list[str]]:
    """The checks as JSON, and as lines for a person."""
    signs = {"ok": "ok     ", "warning": "warning", "problem": "PROBLEM"}
    lines = []
    for row in rows:
        lines.append(f"{signs[row.status]}  {row.subject}: {row.found}")
        lines += [f"         -> {row.remedy}"] if row.remedy else []
    names = ("subject", "status", "found", "remedy")
    return {"checks": [{name: getattr(row, name) for name in names} for row in rows]}, lines


def _python() -> list[Check]:
    found = f"{platform.python_version()} on {platform.system()} {platform.machine()}"
    return [
        Check("medprior", "ok", f"{__version__} in {Path(__file__).parent.parent}"),
        Check("Python", "ok", found),
    ]


def _torch() -> list[Check]:
    try:
        import torch
    except (ImportError, OSError) as error:
        return [
            Check(
                "torch",
                "problem",
                f"does not import ({error})",
                "install it again: pip install --force-reinstall torch",
            )
        ]
    n = cores()
    threads = torch.get_num_threads()
    row = Check("torch", "ok", f"{torch.__version__}, {threads} threads on {n} cores")
    if threads > n:
        row = Check(
            "torch", "warning", row.found, f"more threads than cores is slow: set OMP_NUM_THREADS={n}"
        )
    return [row]


def _accelerator() -> list[Check]:
    try:
        import torch
    except (ImportError, OSError):
        return []  # the row on torch has said so
    if torch.cuda.is_available():
        rows = []
        for n in range(torch.cuda.device_count()):
            free, total = torch.cuda.mem_get_info(n)
            rows.append(
                Check(
                    f"GPU {n}",
                    "ok",
                    f"{torch.cuda.get_device_name(n)}, {free / GIB:.1f} of {total / GIB:.1f} GiB free",
                )
            )
        return rows
    if shutil.which("nvidia-smi"):
        return [
            Check(
                "GPU",
                "warning",
                "an NVIDIA driver, but this torch cannot use it",
                "install the CUDA build of torch that fits the driver",
            )
        ]
    return [Check("GPU", "ok", "none; everything runs on the CPU")]


def _memory() -> list[Check]:
    import psutil

    memory = psutil.virtual_memory()
    found = f"{memory.available / GIB:.1f} of {memory.total / GIB:.1f} GiB free"
    if memory.available < MEMORY_WANTED:
        return [
            Check(
                "memory",
                "warning",
                found,
                f"close other programs, or use smaller batches: {MEMORY_WANTED / GIB:.0f} GiB are "
                "comfortable",
            )
        ]
    return [Check("memory", "ok", found)]


def _disk(folder: Path) -> list[Check]:
    folder = folder.resolve()
    while not folder.exists():  # what a run would make itself is made nowhere here
        folder = folder.parent
    if not folder.is_dir():
        return [Check("writing", "problem", f"{folder} is a file, not a folder", "choose another --out")]
    probe = folder / f".medprior-doctor-{os.getpid()}"
    try:
        write_file(probe, b"probe")
    except MedpriorError as error:
        return [Check("writing", "problem", str(error), "choose another --out, or ask for permission")]
    probe.unlink(missing_ok=True)
    free = shutil.disk_usage(folder).free
    found = f"{free / GIB:.1f} GiB free in {folder}"
    if free < DISK_WANTED:
        return [
            Check("writing", "warning", found, "free some space: a training run keeps several checkpoints")
        ]
    return [Check("writing", "ok", found)]


def _codecs() -> list[Check]:
    """Which compressed DICOM pixels can be read, and by what."""
    from pydicom import uid
    from pydicom.pixels import get_decoder

    syntaxes = {
        "RLE": (uid.RLELossless,),
        "JPEG": (uid.JPEGBaseline8Bit, uid.JPEGExtended12Bit),
        "JPEG lossless": (uid.JPEGLossless, uid.JPEGLosslessSV1),
        "JPEG-LS": (uid.JPEGLSLossless, uid.JPEGLSNearLossless),
        "JPEG 2000": (uid.JPEG2000Lossless, uid.JPEG2000),
        "HTJ2K": (uid.HTJ2KLossless, uid.HTJ2K),
    }
    rows = []
    for name, uids in syntaxes.items():
        decoders = [get_decoder(u) for u in uids]
        numbers = ", ".join(str(u) for u in uids)
        if all(decoder.is_available for decoder in decoders):
            readers = sorted({plugin for decoder in decoders for plugin in decoder.available_plugins})
            rows.append(Check(f"codec {name}", "ok", f"{numbers}: read by {', '.join(readers)}"))
        else:
            extra = "htj2k" if name == "HTJ2K" else "dicom"
            rows.append(
                Check(f"codec {name}", "warning", f"{numbers}: no reader", f"pip install 'medprior[{extra}]'")
            )
    return rows


def _extras() -> list[Check]:
    rows = []
    for extra, packages in optional_packages().items():
        missing = [package for package in packages if not _installed(package)]
        found = ", ".join(f"{package} {version(package)}" for package in packages if package not in missing)
        if missing:
            found, remedy = f"not installed: {', '.join(missing)}", f"pip install 'medprior[{extra}]'"
            rows.append(Check(f"extra {extra}", "warning", found, remedy))
        else:
            rows.append(Check(f"extra {extra}", "ok", found))
    return rows


def optional_packages() -> dict[str, list[str]]:
    """Packages of each extra that users install, by name, from the metadata of this installation."""
    found: dict[str, list[str]] = {}
    for line in requires("medprior") or []:
        name, _, condition = line.partition(";")
        extra = re.search(r"extra == ['\"]([a-z0-9]+)['\"]", condition)
        package = re.match(r"[A-Za-z0-9_.-]+", name)
        if extra and package and package[0] != "medprior" and extra[1] not in _DEVELOPERS:
            found.setdefault(extra[1], []).append(package[0])
    return found


_DEVELOPERS = ("test", "docs", "dev")


def _installed(package: str) -> bool:
    try:
        version(package)
    except PackageNotFoundError:
        return False
    return True


def _priors() -> list[Check]:
    """The bundled priors, each file against its checksum."""
    try:
        from ..training.folder import bundled
    except (ImportError, OSError) as error:
        return [Check("priors", "problem", f"not looked at: {error}", "mend torch first, then ask again")]
    rows = []
    for name, folder in bundled().items():
        try:
            check_manifest(folder)
        except MedpriorError as error:
            rows.append(
                Check(
                    f"prior {name}", "problem", str(error), "install medprior again; do not use these weights"
                )
            )
        else:
            size = sum(file.stat().st_size for file in folder.iterdir())
            rows.append(Check(f"prior {name}", "ok", f"{size / 1e6:.1f} MB, checksums match"))
    return rows or [Check("priors", "warning", "none are bundled", "train one: medprior train FOLDER")]
