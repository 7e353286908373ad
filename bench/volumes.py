"""Volumes by a 2-D prior beside slices on their own and total variation, SIMULATED measurements of real
brains: PSNR of the volume and through the slices.

    python bench/volumes.py [--split test] [--patients 3] [--slices 16] [--tasks
    mri8,thick4,mri8-3d,mri8-same] [--draws 0] [--precision float32]

A block of neighbouring slices of each patient, as the prior knows them (network units, data range 2). Slices
on their own: the same prior, the same six evaluations (or levels) and the same measurement, without the tie
between neighbours. Total variation: 3-D, its weight tuned on a validation volume. "through" is the PSNR of
the differences of neighbouring slices. Reads MEDPRIOR_DATA.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from pretrain import RECIPES, scans
from torch import Tensor
from tuned import best_of

from medprior import Prior, load
from medprior.evidence.baselines.classic import interpolate, total_variation, zero_filled
from medprior.evidence.metrics import psnr
from medprior.jobs.reconstruct import Settings, least_squares, windowed
from medprior.jobs.stacks import by_slice, couple_slices, point_estimate_by_slice
from medprior.operators import (
    ComplexGaussian,
    Gaussian,
    Measurement,
    cartesian_lines,
    fourier,
    mask,
    mri,
    per_slice,
    poisson_disc,
    simulate,
    thick_slices,
)
from medprior.prior.admit import admit
from medprior.prior.wrappers import cautious, in_bfloat16
from medprior.sampling import initial_image, log_levels, plug_and_play, proximal, sample, shrink_to

RANGE = 2.0
PRIOR = "brain-t1"
WEIGHTS = (3e-3, 1e-2, 3e-2)


@dataclass(frozen=True)
class Block:
    """x: (1, 1, i, j, k) neighbouring slices in network units; numbers: (k, n) their heights; patient: its
    number.
    """

    x: Tensor
    numbers: Tensor
    patient: str


def blocks(split: str, patients: int, slices: int) -> list[Block]:
    """From the middle of each patient's volume."""
    found = []
    for volume, _, patient in scans(PRIOR, split):
        admitted = admit(RECIPES[PRIOR].card, volume)
        first = (len(admitted.images) - slices) // 2
        x = admitted.images[first : first + slices].movedim(0, -1)[None].contiguous()
        numbers = admitted.condition.numbers
        if numbers is None:
            raise SystemExit(f"{PRIOR} knows no height")
        found.append(Block(x, numbers[first : first + slices], patient))
        if len(found) == patients:
            break
    return found


def _mri8(x: Tensor, rng: torch.Generator) -> Measurement:
    """Eight times fewer lines, drawn anew for each slice."""
    i, j, k = x.shape[2:]
    lines = torch.stack([cartesian_lines((i, j), 8, rng) for _ in range(k)], -1)
    return simulate(
        x,
        mask((1, i, j, k), lines, is_complex=True) @ per_slice(fourier((1, i, j)), k),
        ComplexGaussian(0.02),
        rng,
    )


def _mri8_same(x: Tensor, rng: torch.Generator) -> Measurement:
    """Eight times fewer lines, the same in all slices."""
    return simulate(x, mri(cartesian_lines(tuple(x.shape[2:]), 8, rng, axis=1)), ComplexGaussian(0.02), rng)


def _mri8_3d(x: Tensor, rng: torch.Generator) -> Measurement:
    """3-D k-space, Poisson-disc points of its two phase encodings."""
    i, j, k = x.shape[2:]
    points = poisson_disc((j, k), 8, rng, centre=6).expand(i, j, k).clone()
    return simulate(x, mri(points), ComplexGaussian(0.02), rng)


def _thick4(x: Tensor, rng: torch.Generator) -> Measurement:
    """Slices four times thicker."""
    return simulate(x, thick_slices(tuple(x.shape[1:]), 3, 4), Gaussian(0.02), rng)


TASKS: dict[str, Callable[[Tensor, torch.Generator], Measurement]] = {
    "mri8": _mri8,
    "thick4": _thick4,
    "mri8-3d": _mri8_3d,
    "mri8-same": _mri8_same,
}

Method = Callable[[Measurement, Block], Tensor]


def tv_weight(task: str, block: Block) -> float:
    """Best on a validation volume."""
    m = TASKS[task](block.x, torch.Generator().manual_seed(1000))
    return best_of(WEIGHTS, lambda w: total_variation(m, w, n=100, tol=1e-3), block.x, RANGE).weight


def methods(
    task: str, prior: Prior, weight: Callable[[], float], n_draws: int, precision: str
) -> dict[str, Method]:
    def volumes(block: Block):
        network = windowed(prior)
        return by_slice(in_bfloat16(network) if precision == "bfloat16" else network, block.numbers)

    def draws(m: Measurement, block: Block, tie: bool) -> Tensor:
        denoiser, rng = volumes(block), torch.Generator().manual_seed(0)
        point = (
            point_estimate_by_slice(denoiser, m, least_squares(m))
            if tie
            else plug_and_play(denoiser, m, least_squares(m))
        )
        guide = proximal(cautious(denoiser), couple_slices(m, point) if tie else m, rng)
        sigmas = log_levels(Settings().n_steps, low=Settings().low, high=Settings().high)
        x = sample(
            guide, initial_image(guide, (n_draws, *m.operator.domain), sigmas[0], rng=rng), sigmas, rng=rng
        )
        return shrink_to(x, point)[None]

    found: dict[str, Method] = {
        "linear" if task == "thick4" else "zero-filled": lambda m, b: (
            interpolate(m.y, b.x.shape[2:]) if task == "thick4" else zero_filled(m)
        ),
        "slices on their own, fast": lambda m, b: plug_and_play(volumes(b), m, least_squares(m)),
        "tied slices (ours), fast": lambda m, b: point_estimate_by_slice(volumes(b), m, least_squares(m)),
    }
    if n_draws:
        found[f"slices on their own, mean of {n_draws}"] = lambda m, b: draws(m, b, False)
        found[f"tied slices (ours), mean of {n_draws}"] = lambda m, b: draws(m, b, True)
    found["3-D total variation"] = lambda m, b: total_variation(m, weight(), n=100, tol=1e-3)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--split", default="test", choices=("val", "test"))
    parser.add_argument("--patients", type=int, default=3)
    parser.add_argument("--slices", type=int, default=16)
    parser.add_argument(
        "--draws", type=int, default=0, help="draws beside the point estimate; 0: the point estimate alone"
    )
    parser.add_argument("--precision", default="float32", choices=("float32", "bfloat16"))
    parser.add_argument("--tasks", default=",".join(TASKS))
    chosen = parser.parse_args()
    prior = load(PRIOR)
    found, val = blocks(chosen.split, chosen.patients, chosen.slices), blocks("val", 1, chosen.slices)[0]
    for task in chosen.tasks.split(","):
        known: dict[str, float] = {}

        def weight(task: str = task, known: dict[str, float] = known) -> float:
            known.setdefault(task, 0.0)
            known[task] = known[task] or tv_weight(task, val)
            return known[task]

        print(
            f"\n{task}: {TASKS[task].__doc__} {len(found)} {chosen.split} patients, {chosen.slices} slices each, SIMULATED",
            flush=True,
        )
        print(f"{'method':<34}{'PSNR dB, each patient':<34}{'mean':<8}{'through':<9}{'s/volume':<8}")
        for title, method in methods(task, prior, weight, chosen.draws, chosen.precision).items():
            decibels, through, seconds = [], [], []
            for i, block in enumerate(found):
                m = TASKS[task](block.x, torch.Generator().manual_seed(i))
                began = time.process_time()
                with torch.no_grad():
                    got = method(m, block)
                seconds.append(time.process_time() - began)
                decibels.append(float(psnr(got, block.x, RANGE)[0]))
                through.append(float(psnr(got.diff(dim=-1), block.x.diff(dim=-1), RANGE)[0]))
            each = " ".join(f"{d:.2f}" for d in decibels)
            print(
                f"{title:<34}{each:<34}{np.mean(decibels):<8.2f}{np.mean(through):<9.2f}{np.median(seconds):<8.1f}",
                flush=True,
            )
        for value in known.values():
            print(f"(total variation: weight {value:g}, tuned on a validation volume)", flush=True)


if __name__ == "__main__":
    main()
