"""A blind reading is drawn: real and synthetic pictures of one size and grey scale, in an order by a seed;
the reader sees neither file names nor marks.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image

from ...data.views import as_png, grey, upright, window_for
from ...data.volume import Volume
from ...errors import BadOption
from ...io.served.readings import BlindItem, BlindReading, ReadingStore

__all__ = ["PLACE", "ReaderResult", "ReadingSettings", "Source", "draw_reading", "reader_results"]

PLACE = "reading"
"""Where the plan and its pictures lie in a run of ``read``."""

TITLES = {"choice": "Which one is synthetic?", "rating": "Real or synthetic?"}

Source = tuple[str, Callable[[], Volume]]
"""The name of a picture, and how it is read."""


@dataclass(frozen=True, slots=True)
class ReadingSettings:
    """kind: "choice" or "rating". n: most questions. title: "" for the usual one."""

    kind: str
    n: int
    seed: int
    title: str = ""


@dataclass(frozen=True, slots=True)
class _Shot:
    """A picture with its truth, under a random id."""

    id: str
    name: str
    made: bool
    volume: Volume


def draw_reading(
    real: Sequence[Source], made: Sequence[Source], how: ReadingSettings, ids: Iterator[str]
) -> tuple[BlindReading, list[tuple[str, bytes]]]:
    """The plan, and its pictures as PNG by id. ids: random names.

    Raises BadOption where one of the two kinds of pictures is missing.
    """
    if not real or not made:
        raise BadOption("reading: wanted real scans and synthetic images", "choose at least one of each")
    questions = _questions(how, _shots(real, how, ids, False), _shots(made, how, ids, True))
    shots = {shot.id: shot for one in questions for shot in one}
    side = min(min(upright(shot.volume).shape) for shot in shots.values())
    items = tuple(
        BlindItem(tuple(s.id for s in one), _truth(one), tuple(s.name for s in one)) for one in questions
    )
    title = how.title.strip() or TITLES[how.kind]
    reading = BlindReading(next(ids), title, how.kind, side, time.time(), items)
    return reading, [(name, _alike(shot.volume, side)) for name, shot in shots.items()]


def _order(count: int, seed: int, *names: object) -> list[int]:
    from ...data.seeds import seed_for  # torch, which most of the page does without

    return sorted(range(count), key=lambda n: seed_for(seed, "reading", *names, n))


def _shots(found: Sequence[Source], how: ReadingSettings, ids: Iterator[str], made: bool) -> list[_Shot]:
    """As many as there are questions, drawn by the seed."""
    chosen = [found[n] for n in _order(len(found), how.seed, made)][: how.n]
    return [_Shot(next(ids), name, made, opened()) for name, opened in chosen]


def _questions(how: ReadingSettings, real: Sequence[_Shot], made: Sequence[_Shot]) -> list[tuple[_Shot, ...]]:
    if how.kind == "rating":
        every = [*real, *made]
        return [(every[n],) for n in _order(len(every), how.seed, "order")][: how.n]
    pairs = list(zip(real, made, strict=False))
    sides = [_order(2, how.seed, "side", n) for n in range(len(pairs))]
    return [(pair[one], pair[other]) for pair, (one, other) in zip(pairs, sides, strict=True)]


def _truth(shots: Sequence[_Shot]) -> int:
    return next((n for n, shot in enumerate(shots, 1) if shot.made), 0)


def _alike(volume: Volume, side: int) -> bytes:
    """A square of one size out of the middle, grey by the image's own range: neither size, nor shape, nor bit
    depth tells where it came from.
    """
    image = grey(upright(volume), window_for(volume))
    scale = side / min(image.size)
    image = image.resize(
        (max(side, round(image.width * scale)), max(side, round(image.height * scale))), Image.Resampling.BOX
    )
    left, top = (image.width - side) // 2, (image.height - side) // 2
    return as_png(Image.fromarray(np.asarray(image)[top : top + side, left : left + side]))


@dataclass(frozen=True, slots=True)
class ReaderResult:
    """How often a reader was right, with the exact 95 % interval of that share. seconds: the mean."""

    reader: str
    right: int
    answers: int
    accuracy: float
    low: float
    high: float
    seconds: float


def reader_results(store: ReadingStore, reading: BlindReading) -> list[ReaderResult]:
    """Of readers who have answered every question: the truth comes at the end."""
    from ...evidence.intervals import clopper_pearson

    found, answers = [], store.answers(reading)
    for reader in dict.fromkeys(one.reader for one in answers):
        own = [one for one in answers if one.reader == reader]
        if len(own) < len(reading.items):
            continue
        right = sum(one.correct(reading) for one in own)
        share = clopper_pearson(right, len(own))
        seconds = sum(one.seconds for one in own) / len(own)
        found.append(ReaderResult(reader, right, len(own), share.value, share.low, share.high, seconds))
    return found
