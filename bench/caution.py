"""What caution and the levels do to draws, and caution to the last word of a point estimate: val slices,
simulated, the same network and noise for all rows.

    python bench/caution.py [--tasks mri4,sr4,fan60,lowdose] [--images 2] [--draws 8] [--precision bfloat16]
    python bench/caution.py --last [--tasks mri4,mri8,sr4] [--images 4]
    python bench/caution.py --measured [--images 8]

steadied, mean, one: PSNR in dB of the average of the draws drawn to the point estimate, of the plain one, and
of a single draw, data range 2; ratio: root mean square error of the plain average over the draws' standard
deviation, 1.06 for draws of the posterior's law; width: median width of an interval that holds 90 % of the
body, share of the range. --measured: what a training would write on the card of each bundled
prior. residual: of a point estimate, 1 is that of noise alone. Reads MEDPRIOR_DATA.
"""

from __future__ import annotations

import argparse
import time
from dataclasses import dataclass

import numpy as np
import torch
from tasks import RANGE, TASKS, slices
from torch import Tensor

from medprior import load
from medprior.evidence.metrics import psnr
from medprior.jobs.calibrate import BODY
from medprior.jobs.fitting.caution import measured_caution
from medprior.jobs.reconstruct import Settings, least_squares, windowed
from medprior.operators import Measurement
from medprior.prior import Denoiser
from medprior.prior.wrappers import cautious, in_bfloat16
from medprior.sampling import (
    RULES,
    draw_deviation,
    initial_image,
    log_levels,
    plug_and_play,
    sample,
    shrink_to,
)

NOW = Settings()


@dataclass(frozen=True)
class Row:
    """How draws are made; the defaults are those of ``Settings``."""

    doubt: float = 1.5
    share: float = 0.5
    rule: str = NOW.rule
    n_steps: int = NOW.n_steps
    high: float = NOW.high
    low: float = NOW.low


ROWS = {
    "the network's own word": Row(1.0, 0.0),
    "share 0.5": Row(1.0, 0.5),
    "share 0.5, doubt 1.5 (chosen)": Row(),
    "share 1, doubt 1.5": Row(share=1.0),
    "share 0.5, doubt 2.5": Row(doubt=2.5),
    "chosen, 30 levels": Row(n_steps=30),
    "chosen, 5 to 0.01": Row(high=5.0, low=0.01),
    "decoupled": Row(1.0, 0.0, "decoupled"),
}

LAST: dict[str, tuple[float, float] | None] = {
    "the prior's (join off)": None,
    "joined, the network's own word": (1.0, 0.0),
    "joined, doubt 1.2, share 0.05 (chosen)": (1.2, 0.05),
    "joined, doubt 1.5, share 0.5": (1.5, 0.5),
}
"""The last word of a point estimate, with which doubt and share."""

Pair = tuple[Tensor, Measurement]


def draws(denoiser: Denoiser, pairs: list[Pair], n_draws: int) -> None:
    points = [plug_and_play(denoiser, m, least_squares(m)) for _, m in pairs]
    print(f"{'draws':<40}{'steadied':<10}{'mean':<8}{'one':<8}{'ratio':<7}{'width':<8}CPU s/image")
    for title, row in ROWS.items():
        found, began = [], time.process_time()
        for i, (x, m) in enumerate(pairs):
            rng, sigmas = (
                torch.Generator().manual_seed(i),
                log_levels(row.n_steps, low=row.low, high=row.high),
            )
            guide = RULES[row.rule](cautious(denoiser, row.doubt, row.share), m, rng)
            made = sample(
                guide,
                initial_image(guide, (n_draws, *m.operator.domain), sigmas[0], rng=rng),
                sigmas,
                rng=rng,
            )
            mean, centre = made.mean(0, keepdim=True), shrink_to(made, points[i])[None]
            ratio = float((mean - x).square().mean().sqrt() / made.var(0).mean().sqrt())
            decibels = (
                float(psnr(centre, x, RANGE)),
                float(psnr(mean, x, RANGE)),
                float(psnr(made, x.expand_as(made), RANGE).mean()),
            )
            found.append((*decibels, ratio, width(centre, draw_deviation(made), x)))
        best, plain, one, ratio, wide = np.mean(found, axis=0)
        print(
            f"{title:<40}{best:<10.2f}{plain:<8.2f}{one:<8.2f}{ratio:<7.2f}{wide:<8.4f}{(time.process_time() - began) / len(found):.0f}",
            flush=True,
        )


def width(centre: Tensor, deviation: Tensor, x: Tensor) -> float:
    """Median width of the interval that holds 90 % of the body of this very image, share of the range: the
    shape is judged, not the scale.
    """
    body = x > BODY
    scale = torch.quantile(((centre - x).abs() / deviation)[body], 0.9)
    return float((2 * scale * deviation.expand_as(x))[body].median()) / RANGE


def last_words(denoiser: Denoiser, pairs: list[Pair]) -> None:
    print(f"{'last word of a point estimate':<40}{'dB':<9}residual, each")
    for title, wanted in LAST.items():
        found = []
        for x, m in pairs:
            guess = plug_and_play(
                denoiser if wanted is None else cautious(denoiser, *wanted),
                m,
                least_squares(m),
                join=wanted is not None,
                caution=False,
            )
            found.append((float(psnr(guess, x, RANGE)), float(m.misfit(guess)[0])))
        print(
            f"{title:<40}{np.mean([db for db, _ in found]):<9.2f}{' '.join(f'{residual:.2f}' for _, residual in found)}",
            flush=True,
        )


def cautions(most: int) -> None:
    for name in ("brain-t1", "chest-xray", "chest-ct"):
        prior = load(name)
        images = [x[0] for x in slices(name, "val", 2, seed=7)[0]]
        found = measured_caution(windowed(prior), images, most=most)
        print(
            f"{name:<12}{min(most, len(images))} val images: measured {found}, on its card {prior.caution}",
            flush=True,
        )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--tasks", default="mri4,sr4,fan60,lowdose")
    parser.add_argument("--images", type=int, default=2)
    parser.add_argument("--draws", type=int, default=8)
    parser.add_argument(
        "--last", action="store_true", help="the last word of a point estimate instead of draws"
    )
    parser.add_argument("--measured", action="store_true", help="what a training would measure")
    parser.add_argument("--precision", default="bfloat16", choices=("float32", "bfloat16"))
    chosen = parser.parse_args()
    if chosen.measured:
        cautions(chosen.images)
    for name in () if chosen.measured else chosen.tasks.split(","):
        task = TASKS[name]
        network = windowed(load(task.prior))
        denoiser = in_bfloat16(network) if chosen.precision == "bfloat16" else network
        images = slices(task.prior, "val", 1, seed=7)[0][: chosen.images]
        pairs = [
            (x, task.inside(task.measure(x, torch.Generator().manual_seed(1000 + i))))
            for i, x in enumerate(images)
        ]
        print(f"\n{name}: {len(pairs)} val slices{'' if chosen.last else f', {chosen.draws} draws of each'}")
        with torch.no_grad():
            last_words(denoiser, pairs) if chosen.last else draws(denoiser, pairs, chosen.draws)


if __name__ == "__main__":
    main()
