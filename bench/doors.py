"""What it costs to read files in a guarded process: k-space in HDF5, a folder of pictures, a packed NIfTI, a
DICOM series.

Makes the files in a temporary folder, reads them again and again, and prints the seconds of the first round
(with the start of the process) and the median of the others. --against runs an earlier commit in turn with
this one, and prints what both take.

    python bench/doors.py [--rounds 9] [--pictures 1000] [--size 512] [--against COMMIT --times 5]
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import h5py
import nibabel as nib
import numpy as np
from dicom_speed import make_series
from PIL import Image

from medprior.io.arrays import read_kspace
from medprior.io.read import read

ROOT = Path(__file__).resolve().parents[1]


def make_kspace(path: Path) -> Path:
    """16 coils of 640 x 372, as fastMRI has them."""
    rng = np.random.default_rng(0)
    values = rng.normal(size=(1, 16, 640, 372, 2)).astype("f4").view("c8")[..., 0]
    with h5py.File(path, "w") as file:
        file["kspace"] = values
    return path


def make_pictures(folder: Path, count: int, size: int) -> list[Path]:
    """Smooth grey pictures with noise, 8 bits."""
    rng, paths = np.random.default_rng(0), []
    row = np.linspace(0, 200, size)
    for n in range(count):
        values = row[:, None] * row / 200 + rng.normal(20, 4, (size, size))
        paths.append(folder / f"{n}.png")
        Image.fromarray(values.clip(0, 255).astype("u1")).save(paths[-1])
    return paths


def make_nifti(path: Path) -> Path:
    values = np.random.default_rng(0).integers(0, 600, (192, 192, 160)).astype("i2")
    nib.save(nib.Nifti1Image(values, np.diag((1, 1, 1, 1))), path)
    return path


Timed = dict[str, tuple[float, float]]
"""Seconds of the first round and the median of the others, by what is read."""


def timed(work: Callable[[], object], rounds: int) -> tuple[float, float]:
    times = []
    for _ in range(rounds):
        start = time.perf_counter()
        work()
        times.append(time.perf_counter() - start)
    return times[0], statistics.median(times[1:])


def measured(folder: Path, rounds: int) -> Timed:
    """Of the files that ``make`` put into a folder."""
    pictures = sorted((folder / "pictures").iterdir())
    work: dict[str, tuple[Callable[[], object], int]] = {
        "k-space 16 x 640 x 372": (lambda: read_kspace(folder / "k.h5").data.sum(), rounds),
        "DICOM series 200 x 512 x 512": (lambda: read(folder / "series").data[0, 0, 0, 0], rounds),
        "NIfTI.gz 192 x 192 x 160": (lambda: read(folder / "n.nii.gz").data.sum(), max(3, rounds // 3)),
        f"{len(pictures)} PNG": (lambda: [read(p).data.sum() for p in pictures], max(3, rounds // 3)),
    }
    return {name: timed(*job) for name, job in work.items()}


def make(folder: Path, pictures: int, size: int) -> None:
    make_kspace(folder / "k.h5")
    make_nifti(folder / "n.nii.gz")
    (folder / "pictures").mkdir()
    make_pictures(folder / "pictures", pictures, size)
    (folder / "series").mkdir()
    make_series(folder / "series", 200, 512)


def in_turn(folder: Path, commit: str, rounds: int, times: int) -> None:
    """Prints the fastest median of this version and of an earlier one, which take turns."""
    other = folder / "other"
    other.mkdir()
    packed = subprocess.run(["git", "archive", commit, "src"], cwd=ROOT, capture_output=True, check=True)
    subprocess.run(["tar", "-x"], cwd=other, input=packed.stdout, check=True)
    found: dict[str, list[Timed]] = {"this": [], "earlier": []}
    for _ in range(times):
        for who, root in (("earlier", other), ("this", ROOT)):
            words = [sys.executable, __file__, "--only", str(folder), "--rounds", str(rounds)]
            places = os.pathsep.join((str(root / "src"), str(ROOT / "bench")))
            ran = subprocess.run(
                words, env={**os.environ, "PYTHONPATH": places}, capture_output=True, check=True
            )
            found[who].append(json.loads(ran.stdout))
    for name in found["this"][0]:
        ours, theirs = (min(one[name][1] for one in found[who]) for who in found)
        print(f"{name:<30} {ours:7.4f} s, {commit} {theirs:7.4f} s: {ours / theirs:5.2f} of it")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--pictures", type=int, default=1000)
    parser.add_argument("--size", type=int, default=512)
    parser.add_argument("--against")
    parser.add_argument("--times", type=int, default=5)
    parser.add_argument("--only", type=Path, help="measure a folder that is made already, as JSON")
    wanted = parser.parse_args()
    if wanted.only:
        print(json.dumps(measured(wanted.only, wanted.rounds)))
        return
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        make(folder, wanted.pictures, wanted.size)
        if wanted.against:
            in_turn(folder, wanted.against, wanted.rounds, wanted.times)
            return
        for name, (first, then) in measured(folder, wanted.rounds).items():
            print(f"{name:<34} first {first:7.3f} s   then {then:7.4f} s", flush=True)


if __name__ == "__main__":
    main()
