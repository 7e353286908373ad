"""Reconstruction beside its alternatives, one run, one table: PSNR and SSIM, simulated measurements of real test slices.

    python bench/reconstruct.py [--prior-folder FOLDER] [--split test] [--per-patient 3] [--tasks mri4,mri8,sr4,denoise,ct60]

Alternatives: zero-filled / FBP / bicubic / noisy; total variation, its weight tuned on val slices; non-local means and block matching (denoising);
plug-and-play HQS (DPIR, 8 evaluations) with the same denoiser, its two knobs tuned on val slices, too. Data range 2 (network units -1..1).
Intervals: bootstrap over patients. Reads MEDPRIOR_DATA.
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

from medprior import Prior, load
from medprior.evidence.baselines import best_of, enlarged, fbp, nonlocal_means, total_variation, zero_filled
from medprior.evidence.block_matching import block_matching
from medprior.evidence.metrics import interval, psnr, ssim
from medprior.jobs.reconstruct import Settings, least_squares, reconstruct
from medprior.operators import (
    ComplexGaussian,
    Gaussian,
    LineIntegrals,
    Measurement,
    Poisson,
    cartesian_lines,
    downsample,
    identity,
    mri,
    parallel_ct,
    simulate,
    view_angles,
)
from medprior.prior.door import admit
from medprior.sampling import restore

RANGE = 2.0


@dataclass(frozen=True)
class Task:
    """prior: whose scans. measure: (image (1, 1, i, j) in network units, generator) -> measurement of the physical image.

    trivial: what costs nothing, in network units. weights: of TV, tried on val. physical: the values at -1 and 1.
    """

    prior: str
    measure: Callable[[Tensor, torch.Generator], Measurement]
    trivial: Callable[[Measurement], Tensor]
    weights: tuple[float, ...]
    physical: tuple[float, float] = (-1.0, 1.0)

    def inside(self, m: Measurement) -> Measurement:
        """The measurement of the image in network units."""
        low, high = self.physical
        return m.shifted((high - low) / 2, (high + low) / 2)


def _lines(acceleration: float) -> Callable[[Tensor, torch.Generator], Measurement]:
    def measure(x: Tensor, rng: torch.Generator) -> Measurement:
        return simulate(x, mri(cartesian_lines(tuple(x.shape[2:]), acceleration, rng)), ComplexGaussian(0.02), rng)

    return measure


WATER = 0.0193
"""1/mm at 70 keV (NIST). Network units are HU / 1024, so mu = WATER * (1 + 1.024 x)."""


def _sparse_view(x: Tensor, rng: torch.Generator) -> Measurement:
    """60 parallel views of attenuation in 1/mm, pixels of 1.4 mm, 1e5 photons a detector bin."""
    operator = parallel_ct(tuple(x.shape[1:]), view_angles(60), 367, spacing=1.4)
    return simulate(WATER * (1 + 1.024 * x), operator, Poisson(1e5), rng)


def _fbp(m: Measurement) -> Tensor:
    if not isinstance(m.operator, LineIntegrals):
        raise TypeError(m.operator.name)
    return (fbp(m.y, m.operator) / WATER - 1) / 1.024


TASKS = {
    "mri4": Task("brain-t1", _lines(4), zero_filled, (1e-3, 2e-3, 5e-3, 1e-2, 2e-2, 5e-2)),
    "mri8": Task("brain-t1", _lines(8), zero_filled, (1e-3, 2e-3, 5e-3, 1e-2, 2e-2, 5e-2)),
    "sr4": Task(
        "brain-t1",
        lambda x, rng: simulate(x, downsample(tuple(x.shape[1:]), 4), Gaussian(0.02), rng),
        lambda m: enlarged(m.y, m.operator.domain[1:]),
        (1e-4, 3e-4, 1e-3, 3e-3, 1e-2),
    ),
    "denoise": Task("brain-t1", lambda x, rng: simulate(x, identity(tuple(x.shape[1:])), Gaussian(0.3), rng), lambda m: m.y, (0.1, 0.15, 0.2, 0.3)),
    "ct60": Task("chest-ct", _sparse_view, _fbp, (1e-3, 3e-3, 1e-2, 3e-2, 0.1, 0.3), (-0.024 * WATER, 2.024 * WATER)),
}


def slices(name: str, split: str, per_patient: int, seed: int = 0) -> tuple[list[Tensor], list[str]]:
    """per_patient images of each patient, among the middle half of its slices, in network units."""
    rng = torch.Generator().manual_seed(seed)
    found: dict[str, list[Tensor]] = {}
    for volume, _, patient in scans(name, split):
        admitted = admit(RECIPES[name].card, volume).images
        n = len(admitted)
        found.setdefault(patient, []).extend(admitted[n // 4 : n - n // 4] if n > 4 else admitted)
    images, patients = [], []
    for patient, own in found.items():
        for i in torch.randperm(len(own), generator=rng)[:per_patient].tolist():
            images.append(own[i][None])
            patients.append(patient)
    return images, patients


def tuned(task: Task, prior: Prior, images: list[Tensor]) -> tuple[float, float, float]:
    """(TV weight, DPIR first level, DPIR last level) best on val."""
    ms = [task.inside(task.measure(x, torch.Generator().manual_seed(1000 + i))) for i, x in enumerate(images)]
    truth = torch.cat(images)
    tv = best_of(task.weights, lambda w: torch.cat([total_variation(m, w) for m in ms]), truth, RANGE)
    tried = {}
    for high in (0.12, 0.25, 0.5, 1.0, 2.0):
        for low in (0.01, 0.03):
            with torch.no_grad():
                tried[high, low] = float(psnr(torch.cat([restore(prior, m, least_squares(m), high=high, low=low) for m in ms]), truth, RANGE).mean())
    best = max(tried, key=lambda k: tried[k])
    return tv.weight, *best


def methods(name: str, task: Task, prior: Prior, knobs: tuple[float, float, float], n_draws: int) -> dict[str, Callable[[Measurement, int], Tensor]]:
    weight, high, low = knobs
    low_high = task.physical

    def ours(m: Measurement, seed: int, n: int, fast: bool = False) -> Tensor:
        values = reconstruct(prior, m, n=n, seed=seed, settings=Settings(), scale=low_high, fast=fast).mean()[None]
        return 2 * (values - low_high[0]) / (low_high[1] - low_high[0]) - 1

    def dpir(m: Measurement) -> Tensor:
        return restore(prior, m, least_squares(m), high=high, low=low)

    found: dict[str, Callable[[Measurement, int], Tensor]] = {
        "trivial": lambda m, i: task.trivial(m),
        f"TV, weight {weight:g}": lambda m, i: total_variation(task.inside(m), weight),
        f"DPIR, 8 evaluations, {high:g} to {low:g}": lambda m, i: dpir(task.inside(m)),
        "ours, fast": lambda m, i: ours(m, i, 1, fast=True),
        "ours, one draw": lambda m, i: ours(m, i, 1),
        f"ours, mean of {n_draws}": lambda m, i: ours(m, i, n_draws),
    }
    if name == "denoise":
        found["non-local means"] = lambda m, i: nonlocal_means(m.y, 0.3)
        found["block matching (BM3D-type)"] = lambda m, i: block_matching(m.y, 0.3)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--prior-folder", default="", help="folder that holds the priors by name; default the bundled ones")
    parser.add_argument("--split", default="test", choices=("val", "test"))
    parser.add_argument("--per-patient", type=int, default=3)
    parser.add_argument("--draws", type=int, default=8)
    parser.add_argument("--tasks", default=",".join(TASKS))
    chosen = parser.parse_args()
    for name in chosen.tasks.split(","):
        task = TASKS[name]
        prior = load(f"{chosen.prior_folder}/{task.prior}" if chosen.prior_folder else task.prior)
        val, _ = slices(task.prior, "val", 1, seed=7)
        knobs = tuned(task, prior, val[:4])
        images, patients = slices(task.prior, chosen.split, chosen.per_patient)
        print(f"\n{name}: {len(images)} simulated measurements of {chosen.split} slices, {len(set(patients))} patients", flush=True)
        print(f"{'method':<34}{'PSNR dB (95 % interval)':<30}{'SSIM':<8}{'s/image':<8}")
        for title, method in methods(name, task, prior, knobs, chosen.draws).items():
            decibels, similar, seconds = [], [], []
            for i, x in enumerate(images):
                m = task.measure(x, torch.Generator().manual_seed(i))
                began = time.perf_counter()
                with torch.no_grad():
                    got = method(m, i)
                seconds.append(time.perf_counter() - began)
                decibels.append(float(psnr(got, x, RANGE)[0]))
                similar.append(float(ssim(got, x, RANGE)[0]))
            at = interval(lambda v: float(np.mean(v)), decibels, patients=patients)
            print(f"{title:<34}{f'{at.value:.2f} ({at.low:.2f} to {at.high:.2f})':<30}{np.mean(similar):<8.3f}{np.median(seconds):<8.2f}", flush=True)


if __name__ == "__main__":
    main()
