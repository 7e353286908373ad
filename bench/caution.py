"""What caution and the levels do to draws: val slices, simulated measurements, the same network and noise for all rows.

    python bench/caution.py [--tasks mri4,sr4,fan60,lowdose] [--images 2] [--draws 8] [--precision bfloat16]

mean, one: PSNR in dB of the average of the draws (not drawn to a point estimate) and of a single one, data range 2; ratio: root mean square error of the
average over the draws' standard deviation, 1.06 for draws of the posterior's law. Reads MEDPRIOR_DATA.
"""

from __future__ import annotations

import argparse
import time

import numpy as np
import torch
from tasks import RANGE, TASKS, slices

from medprior import load
from medprior.evidence.metrics import psnr
from medprior.jobs.reconstruct import Settings, windowed
from medprior.prior.wrappers import cautious, halved
from medprior.sampling import RULES, follow, log_levels, start

NOW = Settings()
ROWS: dict[str, tuple[float, float, int, float, float]] = {
    "the network's own word": (1.0, 0.0, NOW.n_steps, NOW.high, NOW.low),
    "share 0.5": (1.0, 0.5, NOW.n_steps, NOW.high, NOW.low),
    "share 0.5, doubt 1.5 (chosen)": (1.5, 0.5, NOW.n_steps, NOW.high, NOW.low),
    "share 1, doubt 1.5": (1.5, 1.0, NOW.n_steps, NOW.high, NOW.low),
    "share 0.5, doubt 2.5": (2.5, 0.5, NOW.n_steps, NOW.high, NOW.low),
    "chosen, 30 levels": (1.5, 0.5, 30, NOW.high, NOW.low),
    "chosen, 5 to 0.01": (1.5, 0.5, NOW.n_steps, 5.0, 0.01),
}
"""doubt, share, levels, first and last level."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tasks", default="mri4,sr4,fan60,lowdose")
    parser.add_argument("--images", type=int, default=2)
    parser.add_argument("--draws", type=int, default=8)
    parser.add_argument("--precision", default="bfloat16", choices=("float32", "bfloat16"))
    chosen = parser.parse_args()
    for name in chosen.tasks.split(","):
        task = TASKS[name]
        network = windowed(load(task.prior))
        denoiser = halved(network) if chosen.precision == "bfloat16" else network
        images, _ = slices(task.prior, "val", 1, seed=7)
        print(f"\n{name}: {chosen.draws} draws of each of {min(chosen.images, len(images))} val slices")
        print(f"{'draws':<32}{'mean dB':<9}{'one dB':<8}{'ratio':<7}CPU s/image")
        for title, (doubt, share, n_steps, high, low) in ROWS.items():
            found, began = [], time.process_time()
            for i, x in enumerate(images[: chosen.images]):
                m, rng = task.inside(task.measure(x, torch.Generator().manual_seed(1000 + i))), torch.Generator().manual_seed(i)
                with torch.no_grad():
                    guide = RULES[NOW.rule](cautious(denoiser, doubt, share), m, rng)
                    sigmas = log_levels(n_steps, low=low, high=high)
                    made = follow(guide, start(guide, (chosen.draws, *m.operator.domain), sigmas[0], rng=rng), sigmas, rng=rng)
                mean = made.mean(0, keepdim=True)
                ratio = float((mean - x).square().mean().sqrt() / made.var(0).mean().sqrt())
                found.append((float(psnr(mean, x, RANGE)), float(psnr(made, x.expand_as(made), RANGE).mean()), ratio))
            mean_db, one_db, ratio = np.mean(found, axis=0)
            print(f"{title:<32}{mean_db:<9.2f}{one_db:<8.2f}{ratio:<7.2f}{(time.process_time() - began) / len(found):.0f}", flush=True)


if __name__ == "__main__":
    main()
