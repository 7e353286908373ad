"""Patches that show structure which is not the reference's, in and out of what the prior knows, beside total
variation: scanning Fourier ring correlation.

    python bench/patches.py [--split test] [--per-patient 4] [--tasks mri4,sr4] [--limits 0.1,0.2]
    [--precision bfloat16]

A patch of 24 voxels counts where its correlation with the true slice falls below 0.5 under a limit in cycles
a voxel (bench/ring_correlation.py). Out of what the prior knows: the same slices upside down. Simulated
measurements; intervals: over patients. Reads MEDPRIOR_DATA.
"""

from __future__ import annotations

import argparse

import torch
from lesions import head, methods, tuned, worded
from ring_correlation import agreement
from tasks import TASKS, slices

from medprior import load
from medprior.evidence.intervals import interval


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--split", default="test", choices=("val", "test"))
    parser.add_argument("--per-patient", type=int, default=4)
    parser.add_argument("--tasks", default="mri4,sr4")
    parser.add_argument("--limits", default="0.1,0.2")
    parser.add_argument("--precision", default="bfloat16", choices=("float32", "bfloat16"))
    chosen = parser.parse_args()
    limits = [float(v) for v in chosen.limits.split(",")]
    for name in chosen.tasks.split(","):
        task = TASKS[name]
        images, owners = slices(task.prior, chosen.split, chosen.per_patient)
        print(
            f"\n{name}: {len(images)} {chosen.split} slices, {len(set(owners))} patients, simulated; share of hallucinated patches"
        )
        print(
            f"{'method':<20}{'slices':<14}"
            + "".join(f"{f'under {v:g} cycles a voxel':<30}" for v in limits)
            + "median agreement",
            flush=True,
        )
        with torch.no_grad():
            for title, method in methods(task, load(task.prior), tuned(task), 0, chosen.precision).items():
                for side, turn in (("as known", False), ("upside down", True)):
                    rows, found = [], []
                    for i, image in enumerate(images):
                        x = image.flip(2) if turn else image
                        result = method(task.inside(task.measure(x, torch.Generator().manual_seed(i))), i)[0]
                        agreed = agreement(result, x, where=head(x))
                        found.append(agreed)
                        rows.append([float((agreed < v).double().mean()) for v in limits])
                    cells = [
                        worded(interval(lambda v: float(v.mean()), [r[k] for r in rows], patients=owners), 3)
                        for k in range(len(limits))
                    ]
                    print(
                        f"{title:<20}{side:<14}"
                        + "".join(f"{c:<30}" for c in cells)
                        + f"{float(torch.cat(found).median()):.3f}",
                        flush=True,
                    )


if __name__ == "__main__":
    main()
