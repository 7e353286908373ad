"""What a run will cost, measured before it begins: one network evaluation on this machine, times their number."""

from __future__ import annotations

import time

import torch

from ..prior import Prior
from .events import Event, OnEvent

__all__ = ["LONG", "announce", "words"]

LONG = 20.0
"""Seconds from which a person wants to know before."""


def announce(prior: Prior, images: int, size: tuple[int, ...], evaluations: int, on_event: OnEvent) -> None:
    """Tell what ``evaluations`` network evaluations of each of ``images`` images will take; the images are evaluated in batches of at most 16.

    A large image is measured by a part of it.
    """
    solid = len(size) == 3
    batch, side = (1, 48) if solid else (min(images, 16), 256)
    x = torch.zeros((batch, len(prior.card.channels), *(min(side, n) for n in size)))
    sigma = torch.ones(batch)
    with torch.no_grad():
        prior(x[(slice(0, 1), slice(None), *[slice(0, 32)] * len(size))], sigma[:1])  # the first call pays for what later ones find ready
        started = time.perf_counter()
        prior(x, sigma)
        each = (time.perf_counter() - started) / batch
    area = 1.0
    for n in size:
        area *= max(1.0, n / side)
    seconds = each * area * images * evaluations
    text = f"about {words(seconds)}: {images * evaluations} network evaluations of {' x '.join(map(str, size))}"
    on_event(Event("cost" if seconds >= LONG else "note", text))


def words(seconds: float) -> str:
    """A time as people say it."""
    if seconds < 90:
        return f"{max(1, round(seconds))} s"
    if seconds < 5400:
        return f"{round(seconds / 60)} min"
    return f"{seconds / 3600:.1f} h"
