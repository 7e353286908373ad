"""How much more an image changes than its measurement: at random, and in the worst direction that 20 steps
find.

    python bench/stability.py [--split test] [--per-patient 1] [--tasks mri4,sr4] [--steps 20] [--size 0.01]

Gain: |dx| / |x| over |dy| / |y|, dy of 1 % of the measurement's norm, inside of what was observed. Random:
white. Worst case: dy is moved to the gradient of |R(y + dy) - R(y)|^2 at each step, kept at its norm (for a
linear R the power method); the largest gain met counts, for every method alike. Beside the fast estimate the
linear methods: the trivial one, and ridge with its weight tuned on val. Adversarial changes of a
reconstruction: Antun et al., PNAS 117(48), 2020. Reads MEDPRIOR_DATA.
"""

from __future__ import annotations

import argparse
import time
import warnings
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import torch
from tasks import RANGE, TASKS, Task, slices
from torch import Tensor
from tuned import best_of

from medprior import load
from medprior.evidence.baselines.classic import ridge
from medprior.jobs.reconstruct import least_squares
from medprior.operators import Measurement
from medprior.sampling import plug_and_play

Method = Callable[[Measurement], Tensor]


def changed(m: Measurement, change: Tensor) -> Measurement:
    return replace(m, y=m.y + change)


def resized(change: Tensor, m: Measurement, size: float) -> Tensor:
    """The change inside of what was observed, at ``size`` times the norm of the measurement."""
    if m.operator.observed is not None:
        change = change * m.operator.observed
    return change * (size * torch.linalg.vector_norm(m.y) / torch.linalg.vector_norm(change))


def gains(method: Method, m: Measurement, size: float, steps: int, seed: int) -> tuple[float, float]:
    """(at random, worst case)."""
    rng = torch.Generator().manual_seed(seed)
    white = torch.randn((2, *m.y.shape), generator=rng)
    change = resized(torch.complex(white[0], white[1]) if m.y.is_complex() else white[0], m, size)
    with torch.no_grad():
        image = method(m)

    found = []
    for _ in range(steps + 1):
        at = change.detach().requires_grad_()
        apart = torch.linalg.vector_norm(method(changed(m, at)) - image)
        found.append(float(apart.detach() / torch.linalg.vector_norm(image)) / size)
        change = resized(torch.autograd.grad(apart, at)[0], m, size)
    return found[0], max(found)


def tuned(task: Task) -> float:
    """The weight of ridge, best on val."""
    images, _ = slices(task.prior, "val", 1, seed=7)
    ms = [task.inside(task.measure(x, torch.Generator().manual_seed(1000 + i))) for i, x in enumerate(images)]
    return best_of(
        (1e-3, 3e-3, 1e-2, 3e-2, 0.1),
        lambda w: torch.cat([ridge(m, w) for m in ms]),
        torch.cat(images),
        RANGE,
    ).weight


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--split", default="test", choices=("val", "test"))
    parser.add_argument("--per-patient", type=int, default=1)
    parser.add_argument("--tasks", default="mri4,sr4")
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--size", type=float, default=0.01)
    chosen = parser.parse_args()
    warnings.filterwarnings(
        "ignore", message="Converting a tensor with requires_grad"
    )  # least squares takes its damping, a plain number, from y
    for name in chosen.tasks.split(","):
        task = TASKS[name]
        prior, weight = load(task.prior), tuned(task)
        for parameter in prior.net.parameters():
            parameter.requires_grad_(False)
        methods: dict[str, Method] = {
            "trivial": task.trivial,
            f"ridge, weight {weight:g}": lambda m, weight=weight: ridge(m, weight),
            "ours, fast": lambda m, prior=prior: plug_and_play(prior, m, least_squares(m)),
        }
        images, owners = slices(task.prior, chosen.split, chosen.per_patient)
        print(
            f"\n{name}: {len(images)} simulated measurements of {chosen.split} slices, {len(set(owners))} patients, changed by {100 * chosen.size:g} %",
            flush=True,
        )
        print(
            f"{'method':<28}{'random, median':<18}{'random, most':<18}{'worst case, median':<22}{'worst case, most':<20}{'s/image':<8}"
        )
        for title, method in methods.items():
            began = time.perf_counter()
            found = [
                gains(
                    method,
                    task.inside(task.measure(x, torch.Generator().manual_seed(i))),
                    chosen.size,
                    chosen.steps,
                    i,
                )
                for i, x in enumerate(images)
            ]
            random, worst = np.asarray(found).T
            seconds = (time.perf_counter() - began) / len(images)
            print(
                f"{title:<28}{np.median(random):<18.3f}{random.max():<18.3f}{np.median(worst):<22.3f}{worst.max():<20.3f}{seconds:<8.1f}",
                flush=True,
            )


if __name__ == "__main__":
    main()
