"""Seeded mutations of every kind of file that medprior opens, and a judge of what they do to it.

    python -m tests.corpus.mutations [KIND ...] [--count 2000]

prints a table: how many were read, refused and answered by a crash of the guarded process, foreign
exceptions, the slowest in seconds of the processor, and the memory taken. Each mutation has its own seed:
KIND and number give the same bytes on every machine.
"""

from __future__ import annotations

import argparse
import gzip
import hashlib
import io
import json
import random
import resource
import shutil
import sys
import tempfile
import time
import zipfile
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from medprior.errors import MedpriorError
from medprior.io.arrays import read_kspace, read_sinogram
from medprior.io.dataset.scan import load_index, scan
from medprior.io.dataset.store import save_index
from medprior.io.disk.decoder import decoder
from medprior.io.read import read
from medprior.runs.core.outputs import Summary
from medprior.runs.learn.listener import known_curve
from medprior.runs.rebuild import rebuild
from medprior.training.folder import load
from tests.corpus import dicom, other
from tests.unit.io.test_arrays import hdf5, ismrmrd

OLD = Path(__file__).resolve().parent.parent / "golden" / "old_folders"
SYNTAXES = ("explicit", "implicit", "big", "deflated", "jpeg-ls")
TOKENS = (b"1e999", b"-1", b"null", b"[]", b"{}", b'"', b"\\u0000", b"NaN", b"true", b"9" * 25, b"[[[[")
TOKENS += (b",", b"\n", b'"\x1b[31m"', b"\xff", b"0", b'""', b'"../.."', b"1e-999", b"\\ud800")
VALUES = (None, True, -1, 0, 2**40, 1e300, -0.5, "", "x" * 5000, "\x1b[2J", "../..", [], {}, [[]], [None])


@dataclass(frozen=True)
class Kind:
    """good: the content to start from. put: (folder, content) -> the path to open. text: JSON or a table.
    pack: puts the content into a container with a checksum, half of the time after it was mutated: who
    changes a file can do that, too.
    """

    good: bytes
    put: Callable[[Path, bytes], Path]
    open: Callable[[Path], object]
    text: bool = False
    pack: Callable[[bytes], bytes] | None = None


@dataclass
class Result:
    """What a run of mutations did."""

    count: Counter[str] = field(default_factory=Counter)
    foreign: list[str] = field(default_factory=list)
    slowest: float = 0.0
    mib: float = 0.0


def mutated(data: bytes, rng: random.Random, *, text: bool = False) -> bytes:
    """One to four faults: bits, lengths, cuts, repeats, bytes put in or taken out. Most hit the head, some
    the end. text: also a token of the format, or a value in its place.
    """
    if text and rng.random() < 0.5:
        return other_value(data, rng)
    changed = bytearray(data)
    for _ in range(rng.choice((1, 1, 2, 3, 4))):
        if len(changed) < 8:
            break
        at = place(len(changed), rng)
        match rng.randrange(9):
            case 0 | 1:
                changed[at] ^= 1 << rng.randrange(8)
            case 2:
                changed[at] = rng.choice((0, 1, 0x7F, 0x80, 0xFF, 0x20, rng.randrange(256)))
            case 3:
                size = rng.choice((2, 4, 8))
                value = rng.choice((0, 1, 2 ** (8 * size) - 1, 2 ** (8 * size - 1), len(data), 0xE0DDFFFE))
                order = rng.choice(("little", "big"))
                changed[at : at + size] = (value % 2 ** (8 * size)).to_bytes(size, order)
            case 4:
                del changed[at:]
            case 5:
                changed[at:at] = changed[at : at + rng.randrange(1, 64)]
            case 6:
                del changed[at : at + rng.randrange(1, 16)]
            case 7:
                start = rng.randrange(len(data))
                changed[at : at + 64] = data[start : start + 64]
            case _:
                changed[at:at] = rng.choice(TOKENS) if text else rng.randbytes(rng.randrange(1, 16))
    return bytes(changed)


def place(size: int, rng: random.Random) -> int:
    """Where a fault hits: three of five times in the first 2 kB, one of seven in the last 1 kB."""
    part = rng.random()
    if part < 0.6:
        return rng.randrange(min(size, 2048))
    return size - 1 - rng.randrange(min(size, 1024)) if part < 0.75 else rng.randrange(size)


def other_value(data: bytes, rng: random.Random) -> bytes:
    """JSON with one value exchanged, taken out or doubled; a table with one token put in."""
    try:
        tree = json.loads(data)
    except ValueError:
        at = rng.randrange(len(data))
        return data[:at] + rng.choice(TOKENS) + data[at + rng.randrange(8) :]
    here = tree
    while True:
        keys = list(here) if isinstance(here, dict) else list(range(len(here)))
        key = rng.choice(keys)
        if isinstance(here[key], dict | list) and here[key] and rng.random() < 0.8:
            here = here[key]
            continue
        if rng.random() < 0.2 and isinstance(here, dict):
            del here[key]
        else:
            here[key] = rng.choice(VALUES)
        return json.dumps(tree).encode()


def kinds(folder: Path) -> dict[str, Kind]:
    """Every kind of file, by name."""
    whole = other.seeds()
    found = {
        f"dicom {path.stem}": Kind(path.read_bytes(), as_file(".dcm"), read)
        for path in dicom.seeds(folder / "dicom")
        if path.stem in SYNTAXES
    }
    names = {"nifti": "a.nii", "png": "d.png", "tiff": "f.tif", "jpeg": "h.jpg"}
    found |= {name: Kind(whole[file], as_file(Path(file).suffix), read) for name, file in names.items()}
    found["nifti.gz"] = Kind(whole["a.nii"], as_file(".nii.gz"), read, pack=gzip.compress)
    member = zipfile.ZipFile(io.BytesIO(whole["j.npz"])).read("image.npy")
    found["npz"] = Kind(member, as_file(".npz"), arrays, pack=lambda npy: other.zipped(("image.npy", npy)))
    (folder / "hdf5").mkdir()
    found["hdf5 fastmri"] = Kind(whole["l.h5"], as_file(".h5"), kspace)
    found["hdf5 ismrmrd"] = Kind(hdf5(folder / "hdf5", ismrmrd()).read_bytes(), as_file(".h5"), kspace)
    for name in ("card", "trust"):
        found[name] = Kind(
            (OLD / "prior" / f"{name}.json").read_bytes(), in_folder("prior", name), load, True
        )
    for name in ("run", "page"):
        found[name] = Kind(
            (OLD / "detect" / f"{name}.json").read_bytes(), in_folder("detect", name), run, True
        )
    return found | tables(folder / "tables")


def tables(folder: Path) -> dict[str, Kind]:
    """An index and a scans.csv of three small pictures."""
    folder.mkdir()
    for n in range(3):
        (folder / f"{n}.png").write_bytes(other.png(other.GREY + n))
    rows = "path,label,patient,split,sex,age\n0.png,a,p1,train,f,31\n1.png,b,p2,val,m,44\n2.png,a,p3,,,\n"

    def put(name: str) -> Callable[[Path, bytes], Path]:
        def put_there(_: Path, content: bytes) -> Path:
            (folder / name).write_bytes(content)
            return folder

        return put_there

    def table(path: Path) -> object:
        try:
            return scan(path)
        finally:
            (path / "scans.csv").unlink()

    def index(path: Path) -> object:
        try:
            scan(path, out=path)  # one that is not as its seal says is made anew
            return load_index(path)
        finally:
            for name in ("index.json", "index.sqlite"):
                (path / name).unlink(missing_ok=True)

    def by_hand(path: Path) -> object:
        return [item.shape for item in load_index(path / "index.json").items]

    found = scan(folder)
    save_index(found, folder / "passed on")
    content = (folder / "passed on" / "index.json").read_bytes()
    scan(folder, out=folder)
    sqlite = (folder / "index.sqlite").read_bytes()
    (folder / "index.sqlite").unlink()
    return {
        "index": Kind(content, put("index.json"), by_hand, True),
        "index of before": Kind(content, put("index.json"), index, True),
        "index of sqlite": Kind(sqlite, put("index.sqlite"), index),
        "scans.csv": Kind(rows.encode(), put("scans.csv"), table, True),
    }


def as_file(suffix: str) -> Callable[[Path, bytes], Path]:
    def put(folder: Path, content: bytes) -> Path:
        path = folder / f"scan{suffix}"
        path.unlink(missing_ok=True)  # a new file: some disks flush one that is overwritten
        path.write_bytes(content)
        return path

    return put


def in_folder(which: str, name: str) -> Callable[[Path, bytes], Path]:
    """Into a copy of an old folder, whose manifest vouches for it: who changes a file can do that, too."""

    def put(folder: Path, content: bytes) -> Path:
        home = folder / f"{which} {name}"
        if not home.is_dir():
            shutil.copytree(OLD / which, home)
            home.chmod(0o755)
        for file in ("manifest.json", f"{name}.json"):
            (home / file).unlink()
        (home / f"{name}.json").write_bytes(content)
        listed = json.loads((OLD / which / "manifest.json").read_text())
        listed[f"{name}.json"] = hashlib.sha256(content).hexdigest()
        (home / "manifest.json").write_text(json.dumps(listed))
        return home

    return put


def arrays(path: Path) -> object:
    for function in (read, read_kspace, read_sinogram):
        try:
            found = function(path)  # type: ignore[operator]
        except MedpriorError as error:
            last = error
        else:
            return found
    raise last


def kspace(path: Path) -> object:
    return read_kspace(path, index=0)


def run(folder: Path) -> object:
    """What reads a run: its page is made again, its words are told, its curve goes on."""
    done = rebuild(folder)
    return [*done.summary.headline, Summary.of(done.record), known_curve(folder), done.outputs]


def judged(kind: Kind, name: str, count: int, folder: Path) -> Result:
    """Open ``count`` mutations of one kind."""
    result, start = Result(), memory()
    for number in range(count):
        rng = random.Random(f"{name} {number}")
        if kind.pack is None:
            content = mutated(kind.good, rng, text=kind.text)
        elif number % 2:
            content = kind.pack(mutated(kind.good, rng))
        else:
            content = mutated(kind.pack(kind.good), rng)
        path, before = kind.put(folder, content), processor()
        try:
            kind.open(path)
            result.count["read"] += 1
        except MedpriorError as error:
            result.count["crashed" if "its codec crashed" in str(error) else "refused"] += 1
        except Exception as error:
            result.foreign.append(f"{name} {number}: {type(error).__name__}: {error}")
        result.slowest = max(result.slowest, processor() - before)
        result.mib = max(result.mib, memory() - start)
    return result


def processor() -> float:
    """Seconds of this process, and of its guarded child, past and present."""
    past = resource.getrusage(resource.RUSAGE_CHILDREN)
    return time.process_time() + past.ru_utime + past.ru_stime + decoder()._processor_time()


def memory() -> float:
    """MiB: the most that this process or one of its children has held."""
    who = (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
    child = decoder()._process
    living = Path(f"/proc/{child.pid if child else 0}/status")
    peak = (
        [line.split()[1] for line in living.read_text().splitlines() if line.startswith("VmHWM")]
        if (living.exists())
        else []
    )
    return sum(resource.getrusage(one).ru_maxrss / 1024 for one in who[:1]) + max(
        resource.getrusage(who[1]).ru_maxrss / 1024, *(int(kib) / 1024 for kib in peak), 0
    )


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("kinds", nargs="*")
    parser.add_argument("--count", type=int, default=2000)
    wanted, bad = parser.parse_args(), 0
    print("kind                 read  refused  crashed  foreign  slowest    MiB")
    with tempfile.TemporaryDirectory() as where:
        known = kinds(Path(where))
        work = Path(where) / "work"
        work.mkdir()
        for name in wanted.kinds or known:
            found = judged(known[name], name, wanted.count, work)
            counts = f"{found.count['read']:>7}{found.count['refused']:>9}{found.count['crashed']:>9}"
            last = f"{len(found.foreign):>9}{found.slowest:>7.1f} s{found.mib:>7.0f}"
            print(f"{name:<18}{counts}{last}", *found.foreign[:20], sep="\n", flush=True)
            bad += bool(found.foreign) or found.slowest > 10 or found.mib > 512
    return int(bad > 0)


if __name__ == "__main__":
    sys.exit(main())
