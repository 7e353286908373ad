"""The loops. ``flow`` eats means, ``anneal`` eats draws; ``sdedit`` and ``plug_and_play`` are short journeys
on them.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from ..errors import BadOption, Diverged
from ..operators import Measurement
from ..prior import Condition, Denoiser, Redraw
from ..prior.wrappers import cautious
from .levels import log_levels
from .response import ring_response
from .rules import data_fit, posterior_mean
from .steps import Step, midpoint

__all__ = ["anneal", "flow", "flow_back", "initial_image", "multistep", "plug_and_play", "sample", "sdedit"]

OnStep = Callable[[int, int], None]
"""(steps done, steps in all): for progress bars."""


_LAST = (0.4, 0.1)
"""Doubt and share of the last word of a point estimate, for each 1 that the denoiser's caution is above 1;
chosen on val for a residual near 1 (bench/caution.py --last); the PSNR hardly depends on it.
"""


def _white(like: Tensor, rng: torch.Generator) -> Tensor:
    return torch.randn(like.shape, generator=rng, dtype=like.dtype).to(like.device)


def _finite(x: Tensor, step: int, sigma: Tensor) -> Tensor:
    if not x.isfinite().all():
        raise Diverged(step, float(sigma))
    return x


def flow(
    denoiser: Denoiser,
    x: Tensor,
    sigmas: Tensor,
    *,
    step: Step = midpoint,
    churn: float = 0.0,
    rng: torch.Generator | None = None,
    condition: Condition | None = None,
    on_step: OnStep | None = None,
) -> Tensor:
    """From x = x0 + sigmas[0] * n down the levels to sigmas[-1] (Karras et al. 2022, algorithm 2).

    x: (B, C, i, j[, k]). churn: fresh noise a step, as a share of the level (0 = ODE); needs rng. Raises
    Diverged as soon as a number is not finite, BadOption for a redraw (its loop is ``anneal``) and for churn
    without rng.
    """
    if isinstance(denoiser, Redraw):
        raise BadOption(
            "flow: wanted a mean (Denoiser), got a draw (Redraw)",
            "use anneal, or follow, which knows which loop belongs to which",
        )
    for n in range(len(sigmas) - 1):
        sigma, following = sigmas[n], sigmas[n + 1]
        if churn:
            if rng is None or not churn > 0:
                raise BadOption(
                    f"churn: wanted a share >= 0 and a generator, got {churn} and {rng}", "pass rng"
                )
            raised = sigma * (1 + churn)
            x = x + torch.sqrt(raised**2 - sigma**2).to(x) * _white(x, rng)
            sigma = raised
        x = _finite(step(denoiser, x, sigma, following, condition), n, sigma)
        if on_step:
            on_step(n + 1, len(sigmas) - 1)
    return x


def multistep(
    denoiser: Denoiser,
    x: Tensor,
    sigmas: Tensor,
    *,
    condition: Condition | None = None,
    on_step: OnStep | None = None,
) -> Tensor:
    """As ``flow`` without churn, of order 2 with one evaluation a level: the mean is carried on by its change
    since the last level.

    Half the cost of two-evaluation steps; few levels are enough to draw from noise. Source: DPM-Solver++(2M),
    Lu et al. 2022, arXiv 2211.01095, algorithm 2; the first step and the last, to 0, are of order 1. Raises
    what ``flow`` raises.
    """
    if isinstance(denoiser, Redraw):
        raise BadOption(
            "multistep: wanted a mean (Denoiser), got a draw (Redraw)",
            "use anneal, or follow, which knows which loop belongs to which",
        )
    last, former = None, torch.zeros(())
    for n in range(len(sigmas) - 1):
        sigma, following = sigmas[n], sigmas[n + 1]
        mean = denoiser(x, sigma.to(x).expand(len(x)), condition)
        carried = mean
        if last is not None and following > 0:
            stride = torch.log(sigma / following)
            carried = mean + (mean - last) * (stride / (2 * former)).to(x)
        ratio = (following / sigma).to(x)
        x = _finite(ratio * x + (1 - ratio) * carried, n, sigma)
        last, former = mean, torch.log(sigma / following)
        if on_step:
            on_step(n + 1, len(sigmas) - 1)
    return x


def anneal(
    redraw: Redraw,
    x: Tensor,
    sigmas: Tensor,
    *,
    rng: torch.Generator,
    condition: Condition | None = None,
    on_step: OnStep | None = None,
) -> Tensor:
    """Draw x0, re-noise to the next level, repeat; the last draw is returned (decoupled annealing, Zhang et
    al. 2025).

    Where the redraw is exact, every level's x has the right law, and so has the result, jitter of the last
    level included. Raises Diverged as soon as a number is not finite, BadOption for a mean: its draws would
    be overconfident without a word.
    """
    if not isinstance(redraw, Redraw):
        raise BadOption(
            "anneal: wanted a draw (Redraw), got a mean (Denoiser)",
            "use flow, or follow, which knows which loop belongs to which",
        )
    for n in range(len(sigmas) - 1):
        x0 = _finite(redraw(x, sigmas[n].to(x).expand(len(x)), condition), n, sigmas[n])
        x = x0 + sigmas[n + 1].to(x) * _white(x, rng)
        if on_step:
            on_step(n + 1, len(sigmas) - 1)
    return x


def sample(
    guide: Denoiser | Redraw,
    x: Tensor,
    sigmas: Tensor,
    *,
    rng: torch.Generator,
    condition: Condition | None = None,
    on_step: OnStep | None = None,
) -> Tensor:
    """The loop that belongs to what a rule gave: ``flow`` for a mean, ``anneal`` for a draw."""
    if isinstance(guide, Redraw):
        return anneal(guide, x, sigmas, rng=rng, condition=condition, on_step=on_step)
    return flow(guide, x, sigmas, condition=condition, on_step=on_step)


def initial_image(
    guide: Denoiser | Redraw,
    shape: tuple[int, ...],
    sigma: Tensor,
    *,
    rng: torch.Generator,
    condition: Condition | None = None,
    n_rounds: int = 2,
) -> Tensor:
    """x at the first level, (B, C, i, j[, k]) float32: noise around what the guide makes of noise.

    Noise has mean 0, and images do not. Over many voxels even a large sigma reveals that mean, so pure noise
    leads to images that are too bright (the leak of Lin et al. 2024, "Common diffusion noise schedules").
    Each round removes the share 1 - v / (v + sigma^2) of the error in a direction of variance v.
    """
    x = sigma.float() * torch.randn(shape, generator=rng)
    for _ in range(n_rounds):
        x = _finite(guide(x, sigma.to(x).expand(len(x)), condition), 0, sigma)
        x = x + sigma.to(x) * _white(x, rng)
    return x


def sdedit(
    denoiser: Denoiser,
    x0: Tensor,
    sigma: float,
    *,
    rng: torch.Generator,
    n_steps: int = 8,
    step: Step = midpoint,
    condition: Condition | None = None,
) -> Tensor:
    """Add noise to sigma, flow back: augment and detect share it (SDEdit, Meng et al. 2022). Small sigma
    keeps the source, large sigma the prior.
    """
    return flow_back(
        denoiser, x0 + sigma * _white(x0, rng), sigma, n_steps=n_steps, step=step, condition=condition
    )


def flow_back(
    denoiser: Denoiser,
    x: Tensor,
    sigma: float,
    *,
    n_steps: int = 8,
    step: Step = midpoint,
    condition: Condition | None = None,
) -> Tensor:
    """The second half of ``sdedit``, for whoever drew the noise: from x = x0 + sigma * n down to 0."""
    return flow(
        denoiser, x, log_levels(n_steps, low=min(0.02, sigma / 4), high=sigma), step=step, condition=condition
    )


def plug_and_play(
    denoiser: Denoiser,
    measurement: Measurement,
    x: Tensor,
    *,
    sigmas: Tensor | None = None,
    momentum: float = 0.4,
    join: bool = True,
    caution: bool = True,
    on_step: OnStep | None = None,
) -> Tensor:
    """A fast point estimate: fit the data, denoise, at falling levels (plug-and-play half-quadratic
    splitting, DPIR, Zhang et al. 2021), with momentum.

    x: (B, C, i, j[, k]) a first guess in network units. sigmas: the noise levels. The default is six, from 1
    where some frequencies were not measured, so that they must come from the prior, else from 0.5, down to a
    twentieth of that. momentum: each output of the network is extrapolated by this share of its last change
    (Polyak's heavy ball). Six evaluations then do what eight do without. join: the last word is not the
    prior's but weighed against the data once more, which brings the residual near 1. With neither it is DPIR.
    caution: in that weighing the error that the denoiser names is widened a little, as its own ``caution``
    says. Not a draw: its spread says nothing.
    """
    answers = ring_response(measurement)
    if sigmas is None:
        complete = answers is not None and float(answers.min()) > 0.05 * float(answers.mean())
        high = 0.5 if complete else 1.0
        sigmas = log_levels(6, low=high / 20, high=high)[:-1]
    extra = max(denoiser.caution - 1, 0.0) if caution else 0.0
    careful = cautious(denoiser, 1 + _LAST[0] * extra, _LAST[1] * extra)
    previous = None
    for n, sigma in enumerate(sigmas):
        # DPIR's order: fit the data first, then denoise; 0.23 is its published weight
        z = data_fit(measurement, x, float(sigma) ** 2 / 0.23, answers=answers)
        level = sigma.to(x).expand(len(x))
        last = n == len(sigmas) - 1
        mean = (
            posterior_mean(careful, measurement, z, level, answers=answers)
            if join and last
            else denoiser(z, level)
        )
        mean = _finite(mean, n, sigma)
        x = mean if previous is None or last else mean + momentum * (mean - previous)
        previous = mean
        if on_step:
            on_step(n + 1, len(sigmas))
    return x
