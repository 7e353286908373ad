"""What it costs to read files in a guarded process: k-space in HDF5, a folder of pictures, a packed NIfTI.

Makes the files in a temporary folder, reads them again and again, and prints the seconds of the first round
(with the start of the process) and the median of the others. Run it on two versions to compare them.

    python bench/doors.py [--rounds 9] [--pictures 1000] [--size 512]
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import h5py
import nibabel as nib
import numpy as np
from PIL import Image

from medprior.io.arrays import read_kspace
from medprior.io.read import read


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


def timed(name: str, work: Callable[[], object], rounds: int) -> None:
    times = []
    for _ in range(rounds):
        start = time.perf_counter()
        work()
        times.append(time.perf_counter() - start)
    print(f"{name:<34} first {times[0]:7.3f} s   then {statistics.median(times[1:]):7.4f} s", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--pictures", type=int, default=1000)
    parser.add_argument("--size", type=int, default=512)
    wanted = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        kspace, brain = make_kspace(folder / "k.h5"), make_nifti(folder / "n.nii.gz")
        pictures = make_pictures(folder, wanted.pictures, wanted.size)
        timed("k-space 16 x 640 x 372", lambda: read_kspace(kspace).data.sum(), wanted.rounds)
        timed("NIfTI.gz 192 x 192 x 160", lambda: read(brain).data.sum(), max(3, wanted.rounds // 3))
        timed(
            f"{wanted.pictures} PNG {wanted.size} x {wanted.size}",
            lambda: [read(path).data.sum() for path in pictures],
            max(3, wanted.rounds // 3),
        )


if __name__ == "__main__":
    main()
