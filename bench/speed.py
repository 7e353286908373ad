"""Wall time on two cores. Of a slice (CT: 256 x 256, brain: 112 x 96): 8 draws with the default settings, and
the point estimate with its deviation. Of a film and of a whole head: detection, with one healthy twin.

    python bench/speed.py [--threads 2] [--precision float32] [--tasks ct60,mri4,film,head]

Measurements are simulated; the time is that of ``reconstruct`` or ``detect`` alone, second call (the first
builds matrices and plans). Reads MEDPRIOR_DATA.
"""

from __future__ import annotations

import argparse
import time

import torch
from pretrain import DATA
from tasks import TASKS, slices

from medprior import load, read
from medprior.jobs.detect import detect
from medprior.jobs.reconstruct import Settings, reconstruct

SCANS = {
    "film": ("chest-xray", "chest_xray_nih/val/pneumonia/*.png", "DX"),
    "head": ("brain-t1", "brain_mri_t1_3d_ixi/val/*_t1.nii.gz", "MR"),
}


def detection(name: str) -> None:
    """The gate is open: any scan of the kind takes as long."""
    known, where, modality = SCANS[name]
    prior, scan = load(known), read(sorted(DATA.glob(where))[0], modality=modality)
    times = []
    for _ in range(2):
        began = time.perf_counter()
        detect(prior, scan, n_twins=1, gate=False)
        times.append(time.perf_counter() - began)
    print(
        f"{name:<10}{' x '.join(map(str, scan.shape)):<14}{known:<12}{'detect':<10}{times[-1]:6.1f} s",
        flush=True,
    )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--precision", default="float32", choices=("float32", "bfloat16"))
    parser.add_argument("--tasks", default="ct60,mri4,film,head")
    chosen = parser.parse_args()
    torch.set_num_threads(chosen.threads)
    for name in chosen.tasks.split(","):
        if name in SCANS:
            detection(name)
            continue
        task = TASKS[name]
        prior = load(task.prior)
        x = slices(task.prior, "val", 1, seed=7)[0][0]
        m = task.measure(x, torch.Generator().manual_seed(0))
        for title, n, fast in (("fast", 1, True), ("8 draws", 8, False)):
            reconstruct(
                prior,
                m,
                n=1,
                seed=0,
                settings=Settings(n_steps=2, precision=chosen.precision),
                scale=task.physical,
                fast=True,
            )
            began = time.perf_counter()
            reconstruct(
                prior,
                m,
                n=n,
                seed=0,
                settings=Settings(precision=chosen.precision),
                scale=task.physical,
                fast=fast,
            )
            size = " x ".join(map(str, x.shape[2:]))
            print(
                f"{name:<10}{size:<12}{task.prior:<12}{title:<10}{time.perf_counter() - began:6.1f} s",
                flush=True,
            )


if __name__ == "__main__":
    main()
