"""Inserted lesions and lesion-free twins: what each reconstruction keeps of a lesion that is there, and what
it shows that is not there.

    python bench/lesions.py [--split test] [--per-patient 40] [--tasks mri4,sr4] [--draws 0] [--precision
    bfloat16]

Each slice is measured twice with the same noise (simulated): with three smooth-edged discs, and without.
Their radii are 12, 8 and 5 mm (voxels of 2 mm), their contrasts 0.4 or 0.2 of half the range (black -1, white
1), dark in bright tissue and bright in dark. Recovery: difference of disc and surrounding ring over that of
the truth (evidence/lesions.py). A false blob: connected voxels of a lesion-free twin that are off by over 3
SD, all to one side: 20 of them (80 mm^2, the smallest disc), and for the stricter count 5. The SD: what each
method errs by on val slices of other patients; for the fast estimate and the mean of draws their own
deviation, scaled there, which differs from voxel to voxel; for the other methods one number, the root mean
square over the head. Intervals: over patients. --draws N measures the
mean of N draws instead of the fast estimate. Reads MEDPRIOR_DATA.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import torch
from scipy.ndimage import binary_fill_holes
from tasks import RANGE, TASKS, Task, slices
from torch import Tensor
from tuned import best_of

from medprior import Prior, load
from medprior.errors import BadOption
from medprior.evidence.baselines.classic import total_variation
from medprior.evidence.intervals import Estimate, interval
from medprior.evidence.lesions import (
    CONTRASTS,
    RADII,
    Lesion,
    false_blobs,
    insert_lesions,
    lesion_ladder,
    recoveries,
)
from medprior.jobs.reconstruct import Settings, reconstruct
from medprior.operators import Measurement

SPACING = 2.0

Method = Callable[[Measurement, int], tuple[Tensor, Tensor]]
"""(measurement in network units, seed) -> image (1, 1, i, j), and its own unscaled deviation (1, 1, i, j) or
one number.
"""


@dataclass
class Found:
    """One method's findings. recovered: (radius, contrast, recovery, patient); blobs, specks: of each
    lesion-free twin, 20 or 5 voxels; owners: whose it is.
    """

    recovered: list[tuple[float, float, float, str]] = field(default_factory=list)
    blobs: list[int] = field(default_factory=list)
    specks: list[int] = field(default_factory=list)
    owners: list[str] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)


def head(x: Tensor) -> Tensor:
    """(i, j) bool: all that is not air around the head."""
    return torch.from_numpy(np.asarray(binary_fill_holes((x[0, 0] > -0.9).numpy())))


def pair(x: Tensor, seed: int) -> tuple[Tensor, list[Lesion]]:
    """The slice with its lesions, and where they are."""
    lesions = lesion_ladder(
        x, head(x), torch.Generator().manual_seed(seed), low=-1.0, high=1.0, spacing=SPACING
    )
    return insert_lesions(x, lesions, spacing=SPACING), lesions


def methods(task: Task, prior: Prior, weight: float, draws: int, precision: str) -> dict[str, Method]:
    def ours(m: Measurement, seed: int) -> tuple[Tensor, Tensor]:
        found = reconstruct(
            prior,
            m,
            n=max(draws, 1),
            seed=seed,
            settings=Settings(precision=precision),
            scale=(-1.0, 1.0),
            fast=not draws,
        )
        if found.deviation is None:
            raise BadOption("lesions: wanted a deviation beside the image, got none")
        return found.mean()[None], found.deviation[None]

    flat = torch.ones(())
    return {
        "trivial": lambda m, seed: (task.trivial(m), flat),
        f"TV, weight {weight:g}": lambda m, seed: (total_variation(m, weight), flat),
        f"ours, mean of {draws}" if draws else "ours, fast": ours,
    }


def tuned(task: Task) -> float:
    """TV's weight, best on val."""
    images, _ = slices(task.prior, "val", 1, seed=7)
    ms = [
        task.inside(task.measure(x, torch.Generator().manual_seed(1000 + i)))
        for i, x in enumerate(images[:3])
    ]
    return best_of(
        task.weights, lambda w: torch.cat([total_variation(m, w) for m in ms]), torch.cat(images[:3]), RANGE
    ).weight


def scaled(task: Task, method: Method, per_patient: int) -> float:
    """How many of its own deviations a method errs by on val, root mean square over the heads."""
    top, bottom = 0.0, 0.0
    for i, x in enumerate(slices(task.prior, "val", per_patient, seed=8)[0]):
        image, deviation = method(task.inside(task.measure(x, torch.Generator().manual_seed(2000 + i))), i)
        where = head(x)
        top += float((image - x)[0, 0][where].square().sum())
        bottom += float(deviation.expand(x.shape)[0, 0][where].square().sum())
    return (top / bottom) ** 0.5


def judged(
    method: Method, scale: float, task: Task, x: Tensor, number: int, owner: str, found: Found
) -> None:
    with_lesions, lesions = pair(x, number)
    began = time.perf_counter()
    kept, _ = method(task.inside(task.measure(with_lesions, torch.Generator().manual_seed(number))), number)
    twin, deviation = method(task.inside(task.measure(x, torch.Generator().manual_seed(number))), number)
    found.seconds.append((time.perf_counter() - began) / 2)
    for lesion, kept_share in recoveries(kept, with_lesions, lesions, spacing=SPACING):
        found.recovered.append((lesion.radius, abs(lesion.contrast), kept_share, owner))
    found.blobs.append(false_blobs(twin, x, scale * deviation, least=20))
    found.specks.append(false_blobs(twin, x, scale * deviation, least=5))
    found.owners.append(owner)


def worded(found: Estimate, digits: int) -> str:
    return f"{found.value:.{digits}f} ({found.low:.{digits}f} to {found.high:.{digits}f})"


def shown(name: str, split: str, scales: dict[str, float], all_found: dict[str, Found]) -> str:
    """The table so far."""
    first = next(iter(all_found.values()))
    lines = [
        f"{name}: {len(first.blobs)} {split} slices, {len(set(first.owners))} patients, simulated; {len(first.recovered)} lesions"
    ]
    titles = (
        "recovery, mean (95 % interval)",
        "blobs of 20 voxels per 100",
        "blobs of 5 voxels per 100",
        "SD scale",
        "s/image",
    )
    lines.append(
        f"{'method':<20}" + "".join(f"{t:<34}" for t in titles[:3]) + "".join(f"{t:<10}" for t in titles[3:])
    )
    for title, found in all_found.items():
        who = [r[3] for r in found.recovered]
        cells = [
            worded(interval(lambda v: float(np.mean(v)), [r[2] for r in found.recovered], patients=who), 3)
        ]
        cells += [
            worded(interval(lambda v: 100 * float(np.mean(v)), n, patients=found.owners), 1)
            for n in (found.blobs, found.specks)
        ]
        lines.append(
            f"{title:<20}"
            + "".join(f"{c:<34}" for c in cells)
            + f"{scales[title]:<10.3f}{np.median(found.seconds):<8.2f}"
        )
    lines.append(
        f"{'by radius, contrast':<20}"
        + "".join(f"{f'{r:g} mm, {c:g}':<16}" for r in RADII for c in CONTRASTS)
    )
    for title, found in all_found.items():
        cells = [
            [v for radius, contrast, v, _ in found.recovered if (radius, contrast) == (r, c)]
            for r in RADII
            for c in CONTRASTS
        ]
        lines.append(
            f"{title:<20}" + "".join(f"{f'{np.median(v):.3f} (n {len(v)})' if v else '-':<16}" for v in cells)
        )
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--split", default="test", choices=("val", "test"))
    parser.add_argument("--per-patient", type=int, default=40)
    parser.add_argument("--val-per-patient", type=int, default=3)
    parser.add_argument("--tasks", default="mri4,sr4")
    parser.add_argument("--draws", type=int, default=0)
    parser.add_argument("--precision", default="bfloat16", choices=("float32", "bfloat16"))
    parser.add_argument("--every", type=int, default=0, help="print the table so far after so many slices")
    chosen = parser.parse_args()
    for name in chosen.tasks.split(","):
        task = TASKS[name]
        with torch.no_grad():
            all_methods = methods(task, load(task.prior), tuned(task), chosen.draws, chosen.precision)
            scales = {
                title: scaled(task, method, chosen.val_per_patient) for title, method in all_methods.items()
            }
            all_found = {title: Found() for title in all_methods}
            images, owners = slices(task.prior, chosen.split, chosen.per_patient)
            order = torch.randperm(
                len(images), generator=torch.Generator().manual_seed(0)
            ).tolist()  # so that a run that is cut off has all patients
            for done, at in enumerate(order, start=1):
                for title, method in all_methods.items():
                    judged(method, scales[title], task, images[at], at, owners[at], all_found[title])
                if chosen.every and done % chosen.every == 0 and done < len(order):
                    print(f"\nso far: {shown(name, chosen.split, scales, all_found)}", flush=True)
        print(f"\n{shown(name, chosen.split, scales, all_found)}", flush=True)


if __name__ == "__main__":
    main()
