"""Does the result fit its measurement, and what did the data say? The residual of draws, of their mean and of
the fast estimate, and the null-space shares.

    python bench/attribution.py [--split test] [--per-patient 1] [--tasks mri4,sr4,denoise,ct60] [--draws 8]
    [--precision bfloat16]

Measurements are simulated, so their noise is known: the residual of noise alone is 1, and 0.8 to 1.2 fits
(evidence/attribution.py). Null share: of the image's energy, what the measurement cannot see; unheard: the
same with the noise counted; finest: period in voxels of the finest detail the data decided; check: how
invisible the null part is. Reads MEDPRIOR_DATA.
"""

from __future__ import annotations

import argparse
import time

import numpy as np
import torch
from tasks import TASKS, slices

from medprior import load
from medprior.evidence.attribution import attribution, residual
from medprior.jobs.reconstruct import Settings, reconstruct


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--split", default="test", choices=("val", "test"))
    parser.add_argument("--per-patient", type=int, default=1)
    parser.add_argument("--most", type=int, default=100, help="slices of a task at most")
    parser.add_argument("--tasks", default="mri4,sr4,denoise,ct60")
    parser.add_argument("--draws", type=int, default=8)
    parser.add_argument("--precision", default="bfloat16", choices=("float32", "bfloat16"))
    chosen = parser.parse_args()
    titles = (
        "one draw",
        f"mean of {chosen.draws}",
        "fast",
        "fits",
        "null share",
        "unheard",
        "finest",
        "check at most",
        "s",
    )
    print(
        f"{'task, slices':<16}"
        + "".join(f"{t:<26}" for t in titles[:3])
        + "".join(f"{t:<14}" for t in titles[3:]),
        flush=True,
    )
    for name in chosen.tasks.split(","):
        task = TASKS[name]
        prior, settings = load(task.prior), Settings(precision=chosen.precision)
        rows = []
        for i, x in enumerate(slices(task.prior, chosen.split, chosen.per_patient)[0][: chosen.most]):
            m = task.measure(x, torch.Generator().manual_seed(i))
            draws = reconstruct(prior, m, n=chosen.draws, seed=i, settings=settings, scale=task.physical)
            fast = reconstruct(prior, m, seed=i, settings=settings, scale=task.physical, fast=True)
            began = time.process_time()
            found = attribution(m, draws)
            seconds = time.process_time() - began
            numbers = (found.null_share, found.unheard_share, found.finest, found.check, seconds)
            rows.append(
                (
                    found.residual.draws,
                    found.residual.image,
                    residual(m, fast).image,
                    found.residual.fits,
                    *numbers,
                )
            )
        one, mean, quick, fits, null, unheard, finest, check, seconds = np.asarray(rows, dtype=np.float64).T
        cells = [f"{np.median(v):.3f} ({v.min():.3f} to {v.max():.3f})" for v in (one, mean, quick)]
        others = (
            f"{int(fits.sum())} of {len(fits)}",
            *(f"{np.median(v):.3g}" for v in (null, unheard, finest)),
            f"{check.max():.1e}",
            f"{np.median(seconds):.1f}",
        )
        print(
            f"{f'{name}, {len(rows)}':<16}"
            + "".join(f"{c:<26}" for c in cells)
            + "".join(f"{c:<14}" for c in others),
            flush=True,
        )


if __name__ == "__main__":
    main()
