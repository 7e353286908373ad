"""Does an enlarged image keep the power of fine structures? Real films, averaged in blocks of 2 x 2, are
enlarged again by a draw of the prior.

    python bench/enlarge.py [--prior chest-xray] [--n 24] [--side 256] [--split val]

Films of NIH ChestX-ray14 that the prior has not learned from. Power: mean over the films in bands of frequency
(shares of Nyquist, Hann window), divided by that of the films before averaging; 1 is right. interpolated: the
trivial baseline, which adds nothing. proximal: the rule of reconstruction with the averaged film as its
measurement, as medprior enlarged until 2026-11. Reads MEDPRIOR_DATA.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable

import numpy as np
import torch
from pretrain import scans
from torch import Tensor
from torch.nn import functional as F

from medprior import Prior, load
from medprior.data.seeds import generator
from medprior.jobs.reconstruct import windowed
from medprior.jobs.synthetic.synthesize import enlarged
from medprior.operators import Gaussian, Measurement, downsample
from medprior.prior import Condition
from medprior.prior.admit import admit
from medprior.sampling import anneal, karras_levels, proximal

BANDS = (0.03, 0.125, 0.25, 0.5, 1.0)


def films(prior: Prior, split: str, n: int, side: int) -> Tensor:
    """(n, 1, side, side) network units, one a patient."""
    found, seen = [], set()
    for volume, _, patient in scans("chest-xray", split):
        if patient not in seen and len(found) < n:
            seen.add(patient)
            found.append(admit(prior.card, volume).whole)
    x = torch.stack(found)
    return F.avg_pool2d(x, x.shape[-1] // side)


def power(x: Tensor) -> np.ndarray:
    """(len(BANDS) - 1,): mean power between two bands."""
    side = x.shape[-1]
    hann = torch.hann_window(side, periodic=False)
    at = (x[:, 0] - x[:, 0].mean((1, 2), keepdim=True)) * hann[:, None] * hann
    spectrum = torch.fft.fft2(at).abs().square()
    waves = 2 * torch.fft.fftfreq(side)
    radius = (waves[:, None].square() + waves.square()).sqrt()
    edges = zip(BANDS[:-1], BANDS[1:], strict=True)
    return np.array([float(spectrum[:, (radius >= a) & (radius < b)].mean()) for a, b in edges])


def by_proximal(prior: Prior, coarse: Tensor, rng: torch.Generator) -> Tensor:
    operator = downsample((1, *(2 * n for n in coarse.shape[2:])), 2)
    x = F.interpolate(coarse, scale_factor=2.0)
    x = x + torch.randn(x.shape, generator=rng)
    guide = proximal(windowed(prior), Measurement(coarse, operator, Gaussian(0.03)), rng)
    return anneal(guide, x, karras_levels(14, low=0.01, high=1.0), rng=rng, condition=Condition())


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--prior", default="chest-xray")
    parser.add_argument("--n", type=int, default=24)
    parser.add_argument("--side", type=int, default=256)
    parser.add_argument("--split", default="val", choices=("val", "test"))
    args = parser.parse_args()
    torch.set_num_threads(1)
    prior = load(args.prior)
    real = films(prior, args.split, args.n, args.side)
    wanted = power(real)
    methods: dict[str, Callable[[Tensor, torch.Generator], Tensor]] = {
        "interpolated": lambda coarse, rng: F.interpolate(
            coarse, scale_factor=2.0, mode="bicubic", align_corners=False
        ),
        "proximal, 14 levels": lambda coarse, rng: by_proximal(prior, coarse, rng),
        "known block means (ours)": lambda coarse, rng: enlarged(windowed(prior), coarse, Condition(), rng),
    }
    print(f"{len(real)} {args.split} films, enlarged from {args.side // 2} to {args.side} pixels")
    bands = [f"{a:g} to {b:g}" for a, b in zip(BANDS[:-1], BANDS[1:], strict=True)]
    print(
        f"{'power over that of the films':<30}" + "".join(f"{band:>14}" for band in bands) + f"{'CPU s':>8}"
    )
    for name, method in methods.items():
        rng, began = generator(0, "enlarge", name), time.process_time()
        with torch.no_grad():
            made = torch.cat([method(part, rng) for part in F.avg_pool2d(real, 2).split(8)])
        seconds = (time.process_time() - began) / len(real)
        print(
            f"{name:<30}" + "".join(f"{v:>14.2f}" for v in power(made) / wanted) + f"{seconds:>8.2f}",
            flush=True,
        )


if __name__ == "__main__":
    main()
