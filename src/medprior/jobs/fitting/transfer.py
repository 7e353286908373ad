"""Whether another prior helps to begin with: a short trial of both starts on the scans themselves.

Both networks learn for a few steps on the same batches; held-out scans compare them image by image. So
little tells which start is ahead, not by how much at the end: a start from nothing catches up with time.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ...errors import BadOption
from ...evidence.intervals import Estimate, interval
from ...prior import Prior
from ...training.held_out import denoising_losses
from ...training.loop import TrainingSettings, schedule
from ...training.patches import Images, draw_batch

__all__ = ["StartAdvice", "start_advice"]

TRIAL = 40
"""Steps of each start in the trial."""
MOST = 24
"""Held-out images that compare."""


@dataclass(frozen=True, slots=True)
class StartAdvice:
    """verdict: "help", "no difference" or "hurts". begun, nothing: held-out loss after the trial; gain: how
    much lower that of the other prior's start is, with an interval over images. share: of the weights that
    were copied.
    """

    verdict: str
    begun: float
    nothing: float
    gain: Estimate
    share: float
    steps: int = TRIAL

    def __str__(self) -> str:
        """One sentence."""
        said = {
            "help": "beginning with it will help",
            "hurts": "beginning with it hurts: begin from nothing",
            "no difference": "beginning with it makes no difference that can be seen",
        }[self.verdict]
        return (
            f"{said}: after {self.steps} steps the validation loss is {self.begun:.4f}, from nothing "
            f"{self.nothing:.4f} (difference {self.gain.value:+.4f}, {self.gain.low:+.4f} to "
            f"{self.gain.high:+.4f}; {self.share:.0%} of the weights were taken over)"
        )


def start_advice(
    begun: Prior,
    nothing: Prior,
    images: Images,
    held: Sequence[Tensor],
    numbers: Tensor | None,
    settings: TrainingSettings,
    *,
    share: float,
) -> StartAdvice:
    """Neither prior is changed. held: scans that are not learned from; numbers: a row of each. Raises
    BadOption for fewer than two of them.
    """
    if len(held) < 2:
        raise BadOption("begin_with: wanted two held-out scans or more to compare with", "add scans to val")
    at = list(range(0, len(held), max(1, len(held) // MOST)))[:MOST]
    some, known = [held[n] for n in at], None if numbers is None else numbers[at]
    losses = []
    for prior in (begun, nothing):
        learned = _after(prior, images, settings, TRIAL)
        with torch.no_grad():
            losses.append(denoising_losses(learned, some, None, known).numpy())
    who = [str(n) for n in range(len(some))]
    gain = interval(lambda a, b: float((b - a).mean()), *losses, patients=who)
    verdict = "help" if gain.low > 0 else "hurts" if gain.high < 0 else "no difference"
    return StartAdvice(verdict, float(losses[0].mean()), float(losses[1].mean()), gain, share)


def _after(prior: Prior, images: Images, settings: TrainingSettings, steps: int) -> Prior:
    """A copy of the prior that has learned for so many steps."""
    made = Prior(copy.deepcopy(prior.net).train(), prior.path, prior.card)
    weights = [p.requires_grad_() for p in made.net.parameters()]
    solver = torch.optim.Adam(weights, lr=settings.rate, betas=(0.9, 0.99))
    with torch.enable_grad():
        for step in range(steps):
            batch = draw_batch(
                images, step, seed=settings.seed, batch=settings.batch, sigmas=settings.sigmas, steps=steps
            )
            for group in solver.param_groups:
                group["lr"] = settings.rate * schedule(step, max(steps, 200))
            solver.zero_grad(set_to_none=True)
            made.loss(batch.x0, batch.sigma, batch.noise, batch.condition).mean().backward()
            nn.utils.clip_grad_norm_(weights, 1.0)
            solver.step()
    made.net.eval()
    return made
