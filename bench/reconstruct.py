"""Reconstruction beside its alternatives, one run, one table: PSNR and SSIM, simulated measurements of real
test slices.

    python bench/reconstruct.py [--prior-folder FOLDER] [--split test] [--per-patient 3] [--tasks
    mri4,mri8,sr4,denoise,ct60] [--unets FOLDER]

Alternatives: zero-filled / FBP / bicubic / noisy; total variation and sparse wavelets (Haar or Daubechies 4,
random shifts), weights tuned on val slices; non-local means and block matching (denoising); plug-and-play HQS
(DPIR, 8 evaluations) with the same denoiser, its two knobs tuned on val slices, too; a U-Net for just that
operator, where ``bench/operator_unet.py`` has written one. No tuned value lies at an end of what was tried.
Data range 2 (network units -1..1). Intervals: over patients. Reads MEDPRIOR_DATA.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import numpy as np
import torch
from block_matching import block_matching
from operator_unet import stored
from tasks import RANGE, TASKS, Task, slices
from torch import Tensor
from tuned import Tuned, best_of

from medprior import Prior, load
from medprior.evidence.baselines.classic import nonlocal_means, total_variation
from medprior.evidence.baselines.wavelets import wavelet_sparse
from medprior.evidence.intervals import interval
from medprior.evidence.metrics import psnr, ssim
from medprior.jobs.reconstruct import Settings, least_squares, reconstruct
from medprior.operators import Measurement
from medprior.sampling import log_levels, plug_and_play

Method = Callable[[Measurement, int], Tensor]
"""(measurement of the physical image, seed) -> (1, 1, i, j) in network units."""


def dpir(prior: Prior, measurement: Measurement, x: Tensor, *, high: float, low: float) -> Tensor:
    """As published: eight evaluations, no momentum, the prior has the last word."""
    sigmas = log_levels(8, low=low, high=high)[:-1]
    return plug_and_play(prior, measurement, x, sigmas=sigmas, momentum=0.0, join=False)


def methods(
    name: str, task: Task, prior: Prior, val: list[Tensor], n_draws: int, unets: Path | None, untuned: bool
) -> Iterator[tuple[str, Method]]:
    """(title, method), cheap ones first; each is tuned on val when its turn comes."""
    low_high = task.physical

    def ours(m: Measurement, seed: int, n: int, fast: bool = False) -> Tensor:
        values = reconstruct(prior, m, n=n, seed=seed, settings=Settings(), scale=low_high, fast=fast).mean()[
            None
        ]
        return 2 * (values - low_high[0]) / (low_high[1] - low_high[0]) - 1

    yield "trivial", lambda m, i: task.trivial(m)
    if unets and (unets / f"{name}.safetensors").exists():
        net = stored(unets, name)
        yield "U-Net for this operator", lambda m, i: net(m)
    yield "ours, fast", lambda m, i: ours(m, i, 1, fast=True)
    if name == "denoise":
        yield "non-local means", lambda m, i: nonlocal_means(m.y, 0.3)
        yield "block matching (BM3D-type)", lambda m, i: block_matching(m.y, 0.3)
    if not untuned:
        yield from tuned_methods(task, prior, val)
    yield f"ours, mean of {n_draws}" if n_draws > 1 else "ours, one draw", lambda m, i: ours(m, i, n_draws)


def tuned_methods(task: Task, prior: Prior, val: list[Tensor]) -> Iterator[tuple[str, Method]]:
    """Plug-and-play, total variation and wavelets."""
    known = [
        (task.inside(task.measure(x, torch.Generator().manual_seed(1000 + i))), x) for i, x in enumerate(val)
    ]
    high, low = best_levels(prior, known)
    yield (
        f"DPIR, 8 evaluations, {high:.3g} to {low:.3g}",
        lambda m, i: dpir(prior, task.inside(m), least_squares(task.inside(m)), high=high, low=low),
    )
    tv = tuned(partial(total_variation, n=500), task.weights, known).weight
    yield (
        f"TV, weight {tv:.3g}",
        lambda m, i: total_variation(task.inside(m), tv, n=1500, start=least_squares(task.inside(m))),
    )
    family = {
        kind: tuned(partial(wavelet_sparse, wavelet=kind), task.weights, known) for kind in ("haar", "db4")
    }
    kind = max(family, key=lambda k: family[k].psnr)
    sparse = partial(wavelet_sparse, weight=family[kind].weight, wavelet=kind, n=400)
    yield (
        f"wavelets ({kind}), weight {family[kind].weight:.3g}",
        lambda m, i: sparse(task.inside(m), start=least_squares(task.inside(m))),
    )


def tuned(
    method: Callable[..., Tensor], weights: tuple[float, ...], known: list[tuple[Measurement, Tensor]]
) -> Tuned:
    """The weight that is best on val, by ``best_of``; each weight begins where the one before it ended, since
    few rays converge slowly.
    """
    near = [least_squares(m) for m, _ in known]

    def all_of(weight: float) -> Tensor:
        near[:] = [method(m, weight, start=x) for (m, _), x in zip(known, near, strict=True)]
        return torch.cat(near)

    return best_of(weights, all_of, torch.cat([x for _, x in known]), RANGE)


@torch.no_grad()
def best_levels(prior: Prior, known: list[tuple[Measurement, Tensor]]) -> tuple[float, float]:
    """(first, last level) of DPIR, best on val: uphill by factors of two from (1, 0.02) until every neighbour
    is worse.
    """
    guesses = [least_squares(m) for m, _ in known]
    scores: dict[tuple[float, float], float] = {}

    def score(knobs: tuple[float, float]) -> float:
        if knobs not in scores:
            high, low = knobs
            found = [
                psnr(dpir(prior, m, guess, high=high, low=low), x, RANGE)
                for (m, x), guess in zip(known, guesses, strict=True)
            ]
            scores[knobs] = float(torch.cat(found).mean())
        return scores[knobs]

    best, better = (1.0, 0.02), (1.0, 0.02)
    while True:
        high, low = best
        for knobs in ((2 * high, low), (high / 2, low), (high, 2 * low), (high, low / 2)):
            if knobs[0] > knobs[1] and score(knobs) > score(better):
                better = knobs
        if better == best:
            return best
        best = better


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--prior-folder", default="", help="folder that holds the priors by name; default the bundled ones"
    )
    parser.add_argument("--split", default="test", choices=("val", "test"))
    parser.add_argument("--per-patient", type=int, default=3)
    parser.add_argument(
        "--patients", type=int, default=10**6, help="the first so many, for a machine with little time"
    )
    parser.add_argument("--draws", type=int, default=8)
    parser.add_argument("--val", type=int, default=4, help="val slices to tune on")
    parser.add_argument("--tasks", default=",".join(TASKS))
    parser.add_argument("--unets", type=Path, help="folder of bench/operator_unet.py")
    parser.add_argument(
        "--ours", action="store_true", help="only the rows that need no tuning: ours, trivial, U-Net"
    )
    chosen = parser.parse_args()
    for name in chosen.tasks.split(","):
        task = TASKS[name]
        prior = load(f"{chosen.prior_folder}/{task.prior}" if chosen.prior_folder else task.prior)
        val, _ = slices(task.prior, "val", 1, seed=7)
        images, patients = slices(task.prior, chosen.split, chosen.per_patient)
        first = list(dict.fromkeys(patients))[: chosen.patients]
        images, patients = (
            [x for x, p in zip(images, patients, strict=True) if p in first],
            [p for p in patients if p in first],
        )
        print(
            f"\n{name}: {len(images)} simulated measurements of {chosen.split} slices, {len(set(patients))} patients",
            flush=True,
        )
        print(f"{'method':<34}{'PSNR dB (95 % interval)':<30}{'SSIM':<8}{'s/image':<8}", flush=True)
        for title, method in methods(
            name, task, prior, val[: chosen.val], chosen.draws, chosen.unets, chosen.ours
        ):
            print(f"{title:<34}{row(task, method, images, patients)}", flush=True)


@torch.no_grad()
def row(task: Task, method: Method, images: list[Tensor], patients: list[str]) -> str:
    """PSNR with its interval, SSIM, CPU seconds an image (median)."""
    decibels, similar, seconds = [], [], []
    for i, x in enumerate(images):
        m = task.measure(x, torch.Generator().manual_seed(i))
        began = time.process_time()
        got = method(m, i)
        seconds.append(time.process_time() - began)
        decibels.append(float(psnr(got, x, RANGE)[0]))
        similar.append(float(ssim(got, x, RANGE)[0]))
    at = interval(lambda v: float(np.mean(v)), decibels, patients=patients)
    return f"{f'{at.value:.2f} ({at.low:.2f} to {at.high:.2f})':<30}{np.mean(similar):<8.3f}{np.median(seconds):<8.2f}"


if __name__ == "__main__":
    main()
