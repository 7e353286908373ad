"""What a run will cost, measured before it begins: one network evaluation and one data fit on this machine,
times their number.
"""

from __future__ import annotations

import time

import torch

from ...jobs.reconstruct import FAST_EVALUATIONS, noisy_image
from ...operators import Measurement
from ...prior import Prior
from ...sampling import PASSES
from .progress import Event, OnEvent, silent

__all__ = ["LONG", "announce", "announce_reconstruction", "words"]

LONG = 20.0
"""Seconds from which a person wants to know before."""

_FIT = 40
"""Iterations of a data fit: most need all that they may take."""

_START, _AROUND = 2, 8
"""Evaluations that a draw begins with (``sampling.initial_image``), and data fits by which the deviation of a
point estimate is found.
"""


def announce_reconstruction(
    prior: Prior,
    measurement: Measurement,
    on_event: OnEvent,
    *,
    fast: bool,
    n: int,
    steps: int,
    rule: str = "proximal",
    scans: int = 1,
) -> int:
    """Tell what the reconstruction of ``scans`` such measurements will take. Gives the number of steps that
    it will report, 0 where it reports none.
    """
    size = measurement.operator.domain[1:]
    slices = size[-1] if len(size) > prior.card.ndim else 1  # a 2-D prior evaluates each slice of a volume
    seen = noisy_image(measurement) is not None  # then no rule is needed and nothing is fitted
    each = (
        2 if seen and fast else FAST_EVALUATIONS if fast else _START + steps * (1 if seen else PASSES[rule])
    )
    # a Jacobian product goes with one product of the operator, an evaluation without gradient with a fit
    products = (
        0
        if seen
        else _FIT * (FAST_EVALUATIONS + _AROUND)
        if fast
        else each * _FIT
        if PASSES[rule] == 1
        else each // 2
    )
    images = 1 if fast else n
    if on_event is silent:
        return (0 if seen else FAST_EVALUATIONS - 1) if fast else steps
    announce(
        prior,
        scans * images * slices,
        size[: prior.card.ndim],
        each,
        on_event,
        beside=scans * images * products * _product(measurement),
    )
    on_event(Event("note", "plain methods, and what the data and the prior said, come on top of it"))
    return (0 if seen else FAST_EVALUATIONS - 1) if fast else steps


def _product(measurement: Measurement) -> float:
    """Seconds of one product of the operator and its adjoint."""
    operator, seconds = measurement.operator, []
    x = torch.zeros((1, *operator.domain))
    for _ in range(4):  # the first call pays for what later ones find ready; a busy machine slows single ones
        started = time.perf_counter()
        operator.adjoint(operator.apply(x))
        seconds.append(time.perf_counter() - started)
    return min(seconds)


def announce(
    prior: Prior,
    images: int,
    size: tuple[int, ...],
    evaluations: int,
    on_event: OnEvent,
    *,
    beside: float = 0.0,
) -> None:
    """Tell what ``evaluations`` network evaluations of each of ``images`` images will take; the images are
    evaluated in batches of at most 16.

    A large image is measured by a part of it. beside: seconds that something else will take. Without
    a listener, as for each of many scans, nothing is measured.
    """
    if on_event is silent:
        return
    solid = len(size) == 3
    batch, side = (1, 48) if solid else (min(images, 16), 256)
    x = torch.zeros((batch, len(prior.card.channels), *(min(side, n) for n in size)))
    sigma = torch.ones(batch)
    with torch.no_grad():
        prior(
            x[(slice(0, 1), slice(None), *[slice(0, 32)] * len(size))], sigma[:1]
        )  # the first call pays for what later ones find ready
        started = time.perf_counter()
        prior(x, sigma)
        each = (time.perf_counter() - started) / batch
    area = 1.0
    for n in size:
        area *= max(1.0, n / side)
    seconds = each * area * images * evaluations + beside
    fits = " and the data fits between them" if beside else ""
    text = (
        f"about {words(seconds)}: {images * evaluations} network evaluations of "
        f"{' x '.join(map(str, size))}{fits}"
    )
    on_event(Event("cost" if seconds >= LONG else "note", text))


def words(seconds: float) -> str:
    """A time as people say it."""
    if seconds < 90:
        return f"{max(1, round(seconds))} s"
    if seconds < 5400:
        return f"{round(seconds / 60)} min"
    return f"{seconds / 3600:.1f} h"
