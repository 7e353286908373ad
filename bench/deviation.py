"""Which deviation gives the narrowest intervals at equal coverage, of a point estimate: the prior's own map
or the Gaussian around it, at several levels.

    python bench/deviation.py [--tasks mri4,sr4,ct60] [--images 12]

Train images, since this chooses a form and calibrates nothing. Each form is scaled so that 90 % of the body's
voxels lie inside, over all images; the mean width that this takes is printed, in network units, beside that
of one number for all voxels. Reads MEDPRIOR_DATA.
"""

from __future__ import annotations

import argparse

import torch
from tasks import TASKS, slices
from torch import Tensor

from medprior import load
from medprior.jobs.calibrate import BODY
from medprior.jobs.reconstruct import least_squares
from medprior.sampling import draw_deviation, plug_and_play
from medprior.sampling.rules import laplace_draws

LEVELS = (0.1, 0.3, 0.6, 1.0)


def forms(prior, measurement, point: Tensor, rng: torch.Generator) -> dict[str, Tensor]:
    """name -> (C, i, j)."""
    found = {"one number": torch.ones_like(point[0])}
    for level in (0.05, *LEVELS):
        noisy = point + level * torch.randn(point.shape, generator=rng)
        found[f"map of the prior at {level}"] = prior.moments(noisy, torch.full((1,), level))[1][0]
    for level in LEVELS:
        drawn = laplace_draws(prior, measurement, point, level, 8, rng)
        found[f"Gaussian around it at {level}, raw"] = drawn.std(0)
        found[f"Gaussian around it at {level}"] = draw_deviation(drawn)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--tasks", default="mri4,sr4,ct60")
    parser.add_argument("--images", type=int, default=12)
    chosen = parser.parse_args()
    for name in chosen.tasks.split(","):
        task = TASKS[name]
        prior = load(task.prior)
        ratios: dict[str, list[Tensor]] = {}
        widths: dict[str, list[Tensor]] = {}
        for i, x in enumerate(slices(task.prior, "train", 1, seed=3)[0][: chosen.images]):
            m = task.inside(task.measure(x, torch.Generator().manual_seed(i)))
            with torch.no_grad():
                point = plug_and_play(prior, m, least_squares(m))
                made = forms(prior, m, point, torch.Generator().manual_seed(i))
            body = x[0] > BODY
            for form, deviation in made.items():
                ratios.setdefault(form, []).append(
                    ((point[0] - x[0]).abs() / deviation.clamp_min(1e-6))[body]
                )
                widths.setdefault(form, []).append(deviation[body])
        print(
            f"\n{name}: {chosen.images} train images; mean width of intervals that hold 90 % of the body's voxels"
        )
        for form in ratios:
            scale = float(torch.cat(ratios[form]).quantile(0.9))
            print(
                f"{form:<36}{2 * scale * float(torch.cat(widths[form]).mean()):.4f}   scale {scale:.2f}",
                flush=True,
            )


if __name__ == "__main__":
    main()
