"""The native 3-D prior `hippocampus`: super-resolution beside plain methods, and what its draws cover.

    python bench/native.py superres [--split test] [--n 20]
    python bench/native.py synthesis [--n 60]

superres: SIMULATED measurements of real volumes, means of 2 x 2 x 2 voxels with noise of 0.02 (network units,
data range 2). Total variation: 3-D, its weight tuned on a validation volume. ours minus a method: paired over
patients, a t interval. There is no 2-D prior of the hippocampus, so slices on their own are not in the table.
synthesis: draws beside train volumes in their place, both against val and test volumes, which the prior has
not learned from; as many of each. Features: descriptors of evaluate (three middle planes). Real volumes are
cut or padded to the size of the draws. Reads MEDPRIOR_DATA.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable

import numpy as np
import torch
from pretrain import RECIPES, scans
from torch import Tensor
from torch.nn import functional as F
from tuned import best_of

from medprior import Prior, load
from medprior.data.seeds import generator
from medprior.evidence.baselines.classic import interpolate, total_variation
from medprior.evidence.intervals import interval
from medprior.evidence.metrics import psnr
from medprior.evidence.synthetic.descriptors import descriptors
from medprior.evidence.synthetic.fidelity import fidelity, gaussian_images
from medprior.jobs.reconstruct import least_squares, windowed
from medprior.jobs.synthetic.synthesize import Drawing, draw_images
from medprior.operators import Gaussian, Measurement, downsample, simulate
from medprior.prior.admit import admit
from medprior.sampling import plug_and_play

PRIOR, RANGE, NOISE = "hippocampus", 2.0, 0.02
SIZE = (36, 48, 36)
OURS = "native 3-D prior, fast (ours)"


def volumes(split: str, n: int | None = None) -> list[Tensor]:
    """(1, i, j, k) each, network units, even sizes."""
    found = []
    for volume, _, _ in scans(PRIOR, split):
        x = admit(RECIPES[PRIOR].card, volume).whole
        found.append(x[(..., *(slice(0, side // 2 * 2) for side in x.shape[1:]))])
        if len(found) == n:
            break
    return found


def measured(x: Tensor, seed: int) -> Measurement:
    rng = generator(seed, "native")
    return simulate(x[None], downsample(tuple(x.shape), 2), Gaussian(NOISE), rng)


def superres(args: argparse.Namespace) -> None:
    prior = load(PRIOR)
    val = volumes("val", 1)[0]
    at = measured(val, 1000)
    tuned = best_of(
        (3e-4, 1e-3, 3e-3, 1e-2), lambda w: total_variation(at, w, n=200, tol=1e-4), val[None], RANGE
    )
    methods: dict[str, Callable[[Measurement, Tensor], Tensor]] = {
        "linear interpolation": lambda m, x: interpolate(m.y, x.shape[1:]),
        "3-D total variation": lambda m, x: total_variation(m, tuned.weight, n=200, tol=1e-4),
        OURS: lambda m, x: plug_and_play(windowed(prior), m, least_squares(m)),
    }
    found: dict[str, list[float]] = {name: [] for name in methods}
    seconds: dict[str, list[float]] = {name: [] for name in methods}
    for seed, x in enumerate(volumes(args.split, args.n)):
        m = measured(x, seed)
        for name, method in methods.items():
            began = time.process_time()
            with torch.no_grad():
                got = method(m, x)
            seconds[name].append(time.process_time() - began)
            found[name].append(float(psnr(got, x[None], RANGE)[0]))
    n = len(found[OURS])
    print(f"{n} {args.split} volumes; total variation: weight {tuned.weight:g}, tuned on a validation volume")
    print(f"{'method':<32}{'PSNR dB':>24}{'ours minus it':>24}{'CPU s':>8}")
    for name, values in found.items():
        print(
            f"{name:<32}{mean_of(values, 2):>24}"
            f"{'' if name == OURS else mean_of(np.subtract(found[OURS], values), 2):>24}{np.median(seconds[name]):>8.1f}"
        )


def mean_of(values: object, digits: int) -> str:
    v = np.asarray(values)
    at = interval(np.mean, v, patients=range(len(v)))
    return f"{at.value:.{digits}f} ({at.low:.{digits}f}..{at.high:.{digits}f})"


def fitted(x: Tensor) -> Tensor:
    """Cut or padded evenly to SIZE, the padding as the border."""
    for axis, want in enumerate(SIZE, start=1):
        have = x.shape[axis]
        first = max(0, (have - want) // 2)
        x = x.narrow(axis, first, min(have, want))
        short = want - x.shape[axis]
        pad = [0, 0] * (3 - axis) + [short // 2, short - short // 2]
        x = F.pad(x[None], [*pad, *[0] * (6 - len(pad))], mode="replicate")[0]
    return x


def synthesis(args: argparse.Namespace) -> None:
    prior: Prior = load(PRIOR)
    made: list[Tensor] = []
    began = time.process_time()
    for seed in range(-(-args.n // 4)):
        x, _ = draw_images(prior, 4, Drawing(seed=seed, size=SIZE))
        made += list(x.clamp(-1, 1))
    seconds = (time.process_time() - began) / len(made)
    train = [fitted(x) for x in volumes("train")]
    held = [fitted(x) for split in ("val", "test") for x in volumes(split)]
    print(
        f"{len(made)} draws of {SIZE}, {seconds:.1f} CPU s each; {len(train)} train, {len(held)} held-out volumes"
    )
    print(f"{'features':<20}{'set':<24}{'Frechet':>22}{'coverage':>20}{'precision':>20}")
    for one in descriptors():
        known, others = one(train), one(held)
        sets = {"draws": made, "plain Gaussian": gaussian_images(train, len(made))}
        for name, images in sets.items():
            at = fidelity(one.name, one(images), known, others)
            rows = {name: at.made} | ({"train volumes": at.floor} if name == "draws" else {})
            for title, row in rows.items():
                shown = [
                    f"{row[m].value:.2f} ({row[m].low:.2f}..{row[m].high:.2f})"
                    for m in ("frechet", "coverage", "precision")
                ]
                print(f"{one.name:<20}{title:<24}{shown[0]:>22}{shown[1]:>20}{shown[2]:>20}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("what", choices=("superres", "synthesis"))
    parser.add_argument("--split", default="test", choices=("val", "test"))
    parser.add_argument("--n", type=int, default=20)
    args = parser.parse_args()
    torch.set_num_threads(1)
    {"superres": superres, "synthesis": synthesis}[args.what](args)


if __name__ == "__main__":
    main()
