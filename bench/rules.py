"""Every rule on the same prior, the same measurements and the same budget of network evaluations: quality,
cost and spread, one run, one table.

    python bench/rules.py [--tasks mri4,mri8,sr4,inpaint70,ct20] [--budgets 30,100] [--rules
    proximal,decoupled] [--draws 4] [--images 3] [--coarse 2]

Simulated measurements of real val slices, one of each patient, made coarser so that it stays cheap: 56 x 48
pixels of 4 mm (brain), 64 x 64 of 5.6 mm (chest). An evaluation is one pass through the network for each
draw; a Jacobian product, a pass backwards, counts as two. Noise levels from 5 to 0.01, as many as the budget
pays for; "our levels": from 1.5 to 0.03, those of ``Settings``. PSNR: data range 2, of the plain mean of the
draws and of one draw. spread: squared error of the mean over the mean variance of the draws, 1 + 1/N where
the draws have the posterior's law, more where they agree too much. covered: share of voxels within the draws'
5 and 95 % quantiles. Reads MEDPRIOR_DATA.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from tasks import RANGE, TASKS, WATER, Task, fbp_inside, slices
from torch import Tensor
from torch.nn import functional as F

from medprior import load
from medprior.errors import Diverged
from medprior.evidence.metrics import psnr
from medprior.jobs.reconstruct import Settings
from medprior.operators import Gaussian, Measurement, Poisson, mask, parallel_ct, simulate, view_angles
from medprior.prior import Condition, Denoiser
from medprior.prior.wrappers import cautious
from medprior.sampling import (
    decoupled,
    initial_image,
    karras_levels,
    log_levels,
    matched_draw,
    moment_matching,
    posterior_sampling,
    proximal,
    pseudoinverse_guidance,
    sample,
)
from medprior.sampling.rules import Rule


def _inpaint(x: Tensor, rng: torch.Generator) -> Measurement:
    kept = torch.rand(x.shape[2:], generator=rng) >= 0.7
    return simulate(x, mask(tuple(x.shape[1:]), kept), Gaussian(0.02), rng)


def _sparse_view(x: Tensor, rng: torch.Generator) -> Measurement:
    """20 parallel views over a field of 36 cm, 1e5 photons a detector bin."""
    side = x.shape[-1]
    operator = parallel_ct(tuple(x.shape[1:]), view_angles(20), round(1.45 * side), spacing=358.4 / side)
    return simulate(WATER * (1 + 1.024 * x), operator, Poisson(1e5), rng)


SMALL = {
    "mri4": TASKS["mri4"],
    "mri8": TASKS["mri8"],
    "sr4": TASKS["sr4"],
    "inpaint70": Task("brain-t1", _inpaint, lambda m: m.y, ()),
    "ct20": Task("chest-ct", _sparse_view, lambda m: fbp_inside(m, "hann"), (), TASKS["ct60"].physical),
}


@dataclass(frozen=True)
class Entry:
    """A rule with what it is given. levels: by budget, as many as it pays for. chosen: those of ``Settings``,
    not from 5 to 0.01.
    """

    title: str
    rule: Rule
    levels: dict[int, int]
    chosen: bool = False


ENTRIES = (
    Entry("proximal", proximal, {30: 28, 100: 98}),
    Entry(
        "proximal with caution, our levels",
        lambda d, m, rng: proximal(cautious(d, 1.5), m, rng),
        {30: 28, 100: 98},
        chosen=True,
    ),
    Entry("decoupled", decoupled, {30: 28, 100: 98}),
    Entry("decoupled, our levels", decoupled, {30: 28, 100: 98}, chosen=True),
    Entry("decoupled, n_flow 4", partial(decoupled, n_flow=4), {30: 6, 100: 23}),
    Entry("pseudoinverse_guidance", pseudoinverse_guidance, {30: 5, 100: 16}),
    Entry("posterior_sampling", posterior_sampling, {30: 5, 100: 16}),
    Entry("moment_matching, 3 of CG", partial(moment_matching, n_iterations=3), {100: 4}),
    Entry("matched_draw, 3 of CG, 3 of root", partial(matched_draw, n_iterations=3, n_root=3), {100: 4}),
)


class Counted(Denoiser):
    """A denoiser that counts passes forward and, twofold, back."""

    def __init__(self, denoiser: Denoiser) -> None:
        self.denoiser, self.evaluations = denoiser, 0

    def __call__(self, x: Tensor, sigma: Tensor, condition: Condition | None = None) -> Tensor:
        self.evaluations += 1
        out = self.denoiser(x, sigma, condition)
        if out.requires_grad:
            out.register_hook(self._back)
        return out

    def _back(self, _: Tensor) -> None:
        self.evaluations += 2

    def moments(self, x: Tensor, sigma: Tensor, condition: Condition | None = None) -> tuple[Tensor, Tensor]:
        self.evaluations += 1
        return self.denoiser.moments(x, sigma, condition)

    def error(self, sigma: Tensor) -> Tensor:
        return self.denoiser.error(sigma)

    def spectrum(self, sigma: Tensor, size: tuple[int, ...]) -> Tensor:
        return self.denoiser.spectrum(sigma, size)


@dataclass(frozen=True)
class Outcome:
    """Of one image. seconds: of one core."""

    mean: float
    one: float
    error: float
    variance: float
    covered: float
    evaluations: int
    seconds: float


def drawn(
    entry: Entry, task: Task, prior: Denoiser, x: Tensor, i: int, n_levels: int, n_draws: int
) -> Outcome:
    inside = task.inside(task.measure(x, torch.Generator().manual_seed(1000 + i)))
    denoiser, rng = Counted(prior), torch.Generator().manual_seed(i)
    began = time.process_time()
    sigmas = (
        log_levels(n_levels, low=Settings().low, high=Settings().high)
        if entry.chosen
        else karras_levels(n_levels, low=0.01, high=5.0)
    )
    guide = entry.rule(denoiser, inside, rng)
    draws = sample(guide, initial_image(guide, (n_draws, *x.shape[1:]), sigmas[0], rng=rng), sigmas, rng=rng)
    seconds, mean = time.process_time() - began, draws.mean(0, keepdim=True)
    low, high = (torch.quantile(draws, q, dim=0) for q in (0.05, 0.95))
    return Outcome(
        float(psnr(mean, x, RANGE)[0]),
        float(psnr(draws[:1], x, RANGE)[0]),
        float((mean - x).square().mean()),
        float(draws.var(0).mean()),
        float(((x[0] >= low) & (x[0] <= high)).float().mean()),
        denoiser.evaluations,
        seconds,
    )


def attempted(entry: Entry, n_levels: int, task: Task, images: list[Tensor], n_draws: int) -> str:
    prior = load(task.prior)
    try:
        with torch.no_grad():
            return row(
                entry,
                n_levels,
                [drawn(entry, task, prior, x, i, n_levels, n_draws) for i, x in enumerate(images)],
            )
    except Diverged as error:
        return f"{entry.title:<34}{n_levels:<8}diverged at step {error.step}"


def row(entry: Entry, n_levels: int, found: list[Outcome]) -> str:
    def mean(of: Callable[[Outcome], float]) -> float:
        return float(np.mean([of(o) for o in found]))

    spread = mean(lambda o: o.error) / mean(lambda o: o.variance)
    figures = f"{mean(lambda o: o.mean):<10.2f}{mean(lambda o: o.one):<10.2f}{spread:<8.2f}{mean(lambda o: o.covered):<9.2f}{mean(lambda o: o.seconds):<8.1f}"
    return f"{entry.title:<34}{n_levels:<8}{mean(lambda o: o.evaluations):<6.0f}{figures}"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--tasks", default=",".join(SMALL))
    parser.add_argument("--budgets", default="30,100")
    parser.add_argument(
        "--rules", default="", help="only those whose title begins so, with commas; default all"
    )
    parser.add_argument("--draws", type=int, default=4)
    parser.add_argument("--images", type=int, default=3)
    parser.add_argument(
        "--coarse",
        type=int,
        default=2,
        help="pixels of the brain's slices that become one; twice as many of the chest's",
    )
    chosen = parser.parse_args()
    torch.set_num_threads(1)
    n = chosen.draws
    ideal = (n + 1 - 2 * (1 + 0.05 * (n - 1))) / (n + 1)
    print(
        f"{n} draws of each of {chosen.images} images; draws of the posterior's law: spread {1 + 1 / n:.2f}, covered {ideal:.2f}"
    )
    wanted = tuple(chosen.rules.split(","))
    kept: dict[str, list[Tensor]] = {}
    for budget in map(int, chosen.budgets.split(",")):
        for name in chosen.tasks.split(","):
            task = SMALL[name]
            if task.prior not in kept:
                kept[task.prior] = slices(task.prior, "val", 1, seed=7)[0][: chosen.images]
            side = chosen.coarse * (2 if task.prior == "chest-ct" else 1)
            images = [F.avg_pool2d(x, side) for x in kept[task.prior]]
            print(f"\n{name}, {images[0].shape[2]} x {images[0].shape[3]}, about {budget} evaluations")
            print(
                f"{'rule':<34}{'levels':<8}{'eval.':<6}{'mean dB':<10}{'one dB':<10}{'spread':<8}{'covered':<9}{'s/image':<8}",
                flush=True,
            )
            for entry in ENTRIES:
                if budget in entry.levels and entry.title.startswith(wanted):
                    print(attempted(entry, entry.levels[budget], task, images, n), flush=True)


if __name__ == "__main__":
    main()
