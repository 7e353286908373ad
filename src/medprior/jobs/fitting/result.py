"""What follows learning, for fit and adapt: how wrong the prior still is, and its folder. It happens on the
device of the training and within the time that was kept for it.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from math import prod
from pathlib import Path

import torch
from torch import Tensor

from ...errors import FileProblem
from ...prior import Condition, Prior
from ...prior.image_kind import ImageKind
from ...prior.numbers import HEIGHT
from ...training.budget import Budget
from ...training.deviation_head import with_deviation_head
from ...training.folder import load
from ...training.held_out import SIGMAS, error_tables
from ...training.patches import Images
from .caution import EVALUATIONS, measured_caution
from .options import Listener

__all__ = ["Witnesses", "evaluation", "measured", "measuring", "seconds_for", "set_aside", "unchanged"]

_STEPS = 300
"""Most steps of the deviation head."""
_HEAD = 2.0
"""Cost of a step of the deviation head, in evaluations of its batch: all forward, the head alone backward."""
_LEVELS = 4 / 3
"""Cost of all resolutions, in that of the finest."""
_CAUTIOUS = 4
"""Most images whose reconstructions say how cautious the prior must be."""
_LOOKED_AT = 500
"""About so many training images say what kind the prior knows."""
_SHEET, _SIDE = 80, 96
"""Evaluations of an image of so many pixels a side that the sheet of samples takes."""
_REPORT = 2.0
"""Seconds for the report."""


@dataclass(frozen=True, slots=True)
class Witnesses:
    """Scans by which errors are measured: images (C, i, j[, k]) in network units, numbers: (n, n_numbers).
    most: that are used.
    """

    images: Sequence[Tensor]
    numbers: Tensor | None
    most: int


def seconds_for(prior: Prior, witnesses: Witnesses, batch: int) -> float:
    """What measuring will take on this machine, by one evaluation of a whole image."""
    each, voxels = evaluation(prior, witnesses), prod(witnesses.images[0].shape[1:])
    ndim = prior.card.ndim
    head = _STEPS * _HEAD * batch * 64**ndim / voxels
    tables = len(SIGMAS) * _LEVELS * min(witnesses.most, len(witnesses.images))
    caution = EVALUATIONS * min(_CAUTIOUS, len(witnesses.images))
    sheet = _SHEET * _SIDE**ndim / voxels
    return (head + tables + caution + sheet) * each + _REPORT


def evaluation(prior: Prior, witnesses: Witnesses) -> float:
    """Seconds of one evaluation; the first call pays for what later ones find ready."""
    there = next(prior.net.parameters()).device
    x, sigma = witnesses.images[0][None].to(there), torch.ones(1, device=there)
    given = Condition(numbers=None if witnesses.numbers is None else witnesses.numbers[:1].to(there))
    seconds = []
    for _ in range(2):
        started = time.perf_counter()
        with torch.no_grad():
            prior(x, sigma, given).cpu()
        seconds.append(time.perf_counter() - started)
    return min(seconds)


def measured(
    prior: Prior, images: Images, witnesses: Witnesses, *, batch: int, seed: int, budget: Budget
) -> Prior:
    """The prior with a deviation for each voxel, its error tables, its caution and the kind of its images.
    Its means do not move.
    """
    steps = min(_STEPS, max(10, prior.card.training["steps"] // 5))
    made = with_deviation_head(prior, images, steps=steps, batch=batch, seed=seed, seconds=budget.left(0.5))
    most, left = witnesses.most, budget.left(0.7)
    if left is not None:
        each = len(SIGMAS) * _LEVELS * evaluation(made, witnesses)
        most = max(1, min(most, int(left / each)))
    tables = error_tables(
        made, witnesses.images, witnesses.numbers, n_levels=len(images.levels), most=most, seed=seed
    )
    made.card = replace(made.card, errors=tables)
    made.kind = ImageKind.fitted(_typical(made, images))
    left = budget.left(0.5)
    if left is None or left > EVALUATIONS * evaluation(made, witnesses):
        device = next(made.net.parameters()).device
        caution = measured_caution(
            made, witnesses.images, most=min(most, _CAUTIOUS), device=device, seed=seed
        )
        made.card = replace(made.card, caution=caution)
    return made


def _typical(prior: Prior, images: Images) -> list[Tensor]:
    """Training images, evenly spaced; of volumes the slices of the middle half."""
    chosen = list(range(len(images.images)))
    if images.numbers is not None and HEIGHT in prior.card.numbers:
        heights = images.numbers[:, prior.card.numbers.index(HEIGHT)]
        chosen = [i for i in chosen if not abs(float(heights[i])) > 0.5]
    return [images.images[i] for i in chosen[:: max(1, len(chosen) // _LOOKED_AT)]]


@contextmanager
def measuring(listener: Listener, steps: int) -> Iterator[None]:
    """Says what happens, and where Ctrl-C comes now, that nothing is lost."""
    try:
        listener.stage("measuring how wrong it still is")
        yield
    except KeyboardInterrupt as error:
        raise KeyboardInterrupt(
            f"stopped after learning; all {steps} steps are saved, and the same command measures and writes "
            "the prior"
        ) from error


def unchanged(prior: Prior, folder: Path) -> Prior | None:
    """The prior that lies in ``folder`` where it has the same weights, so that all that was measured of it
    still holds; else None.
    """
    try:
        known = load(folder)
    except FileProblem:
        return None
    now, then = prior.net.state_dict(), known.net.state_dict()
    same = all(name in then and torch.equal(tensor.cpu(), then[name]) for name, tensor in now.items())
    if not same or prior.card.data != known.card.data:
        return None
    known.card = replace(known.card, training=prior.card.training, limits=prior.card.limits)
    return known


def set_aside(folder: Path, listener: Listener) -> None:
    """A prior whose calibrations are of other weights than those that are to be written: it is renamed, and
    the user reads where it lies.
    """
    try:
        former = load(folder)
    except FileProblem:
        return
    found = [*former.promises.to_json(), *(["healthy scans"] if former.healthy else [])]
    if not found:
        return
    name = f"{folder.name}-of-step-{former.card.training.get('steps', 0)}"
    taken = sum(1 for _ in folder.parent.glob(f"{name}*"))
    aside = folder.with_name(name + (f"-{taken + 1}" if taken else ""))
    folder.rename(aside)
    listener.note(
        f"the weights have changed, so the calibrations of the former ones ({', '.join(found)}) do not hold "
        f"for them; they lie in {aside.name} with the former prior. Calibrate the new one: medprior calibrate"
    )
