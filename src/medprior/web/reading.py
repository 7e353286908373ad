"""Routes: blind readings. Real and synthetic pictures of one size and grey scale, in an order drawn by a
seed; the reader sees neither file names nor marks.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Literal

import numpy as np
from fastapi import APIRouter
from fastapi.responses import Response
from PIL import Image
from pydantic import BaseModel, Field

from ..data.views import as_png, grey, upright, window_for
from ..data.volume import Volume
from ..errors import BadOption
from ..io.read import read
from ..io.served.readings import BlindAnswer, BlindItem, BlindReading
from .hand_in import Here, study_of
from .look import FileAddress
from .office import Office
from .shown import layers_of

__all__ = ["routes"]

routes = APIRouter()

TITLES = {"choice": "Which one is synthetic?", "rating": "Real or synthetic?"}


Sources = list[tuple[str, Callable[[], Volume]]]
"""Names of pictures, and how each is read."""


class Planned(BaseModel):
    """What a reading is made of. studies: real scans; runs: results with synthetic images. n: questions."""

    title: str = Field("", max_length=80)
    kind: Literal["choice", "rating"] = "choice"
    studies: list[str]
    runs: list[str]
    n: int = Field(20, ge=1, le=500)
    seed: int = Field(0, ge=0)


class ReadingCard(BaseModel):
    id: str
    title: str
    kind: str
    questions: int
    readers: list[str]


class Question(BaseModel):
    """The next question of a reader. number: counted from 0, None where all are answered."""

    title: str
    kind: str
    questions: int
    answered: int
    number: int | None
    pictures: list[str]


class Answered(BaseModel):
    reader: str = Field(min_length=1, max_length=60)
    number: int
    answer: int
    seconds: float = Field(ge=0, le=36_000)


class ReaderResult(BaseModel):
    """How often a reader was right, with the exact 95 % interval of that share."""

    reader: str
    right: int
    answers: int
    accuracy: float
    low: float
    high: float
    seconds: float


@routes.get("/readings")
def readings(office: Here) -> list[ReadingCard]:
    return [_card(office, one) for one in office.readings.all()]


def _card(office: Office, one: BlindReading) -> ReadingCard:
    readers = dict.fromkeys(answer.reader for answer in office.readings.answers(one))
    return ReadingCard(
        id=one.id, title=one.title, kind=one.kind, questions=len(one.items), readers=list(readers)
    )


@routes.post("/readings")
def plan(planned: Planned, office: Here) -> ReadingCard:
    """Draw a reading. Raises BadOption where one of the two kinds of pictures is missing."""
    studies = [study_of(office, one) for one in planned.studies]
    real: Sources = [(one.name, partial(office.image, one)) for one in studies]
    made: Sources = [
        (f"{run.path.name}/{layer.name}", partial(read, layer.path))
        for run in map(office.runs.get, planned.runs)
        for layer in layers_of(run)
        if layer.kind == "grey" and layer.name not in ("known", "healthy_twin")
    ]
    if not real or not made:
        raise BadOption("reading: wanted real scans and synthetic images", "choose at least one of each")
    questions = _questions(planned, _shots(office, planned, real, False), _shots(office, planned, made, True))
    shots = {shot.id: shot for one in questions for shot in one}
    side = min(min(upright(shot.volume).shape) for shot in shots.values())
    items = tuple(
        BlindItem(tuple(s.id for s in one), _truth(one), tuple(s.name for s in one)) for one in questions
    )
    title = planned.title.strip() or TITLES[planned.kind]
    reading = BlindReading(next(office.ids()), title, planned.kind, side, time.time(), items)
    office.readings.add(reading, [(name, _alike(shot.volume, side)) for name, shot in shots.items()])
    return _card(office, reading)


@dataclass(frozen=True, slots=True)
class _Shot:
    """A picture with its truth, under a random id."""

    id: str
    name: str
    made: bool
    volume: Volume


def _order(count: int, seed: int, *names: object) -> list[int]:
    from ..data.seeds import seed_for  # torch, which most of the page does without

    return sorted(range(count), key=lambda n: seed_for(seed, "reading", *names, n))


def _shots(office: Office, planned: Planned, found: Sources, made: bool) -> list[_Shot]:
    """As many as there are questions, drawn by the seed."""
    chosen = [found[n] for n in _order(len(found), planned.seed, made)][: planned.n]
    ids = office.ids()
    return [_Shot(next(ids), name, made, opened()) for name, opened in chosen]


def _questions(planned: Planned, real: Sequence[_Shot], made: Sequence[_Shot]) -> list[tuple[_Shot, ...]]:
    if planned.kind == "rating":
        every = [*real, *made]
        return [(every[n],) for n in _order(len(every), planned.seed, "order")][: planned.n]
    pairs = list(zip(real, made, strict=False))
    sides = [_order(2, planned.seed, "side", n) for n in range(len(pairs))]
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


@routes.get("/readings/{name}")
def question(name: str, reader: str, office: Here) -> Question:
    reading = office.readings.get(name)
    mine = {one.item for one in office.readings.answers(reading) if one.reader == reader}
    left = [n for n in range(len(reading.items)) if n not in mine]
    return Question(
        title=reading.title,
        kind=reading.kind,
        questions=len(reading.items),
        answered=len(mine),
        number=left[0] if left else None,
        pictures=list(reading.items[left[0]].pictures) if left else [],
    )


@routes.get("/readings/{name}/picture/{key}")
def picture(name: str, key: str, office: Here) -> Response:
    return Response(office.readings.picture(office.readings.get(name), key), media_type="image/png")


@routes.post("/readings/{name}/answers", status_code=204)
def take_answer(name: str, given: Answered, office: Here) -> None:
    one = BlindAnswer(given.reader.strip(), given.number, given.answer, given.seconds)
    office.readings.answer(office.readings.get(name), one)


@routes.get("/readings/{name}/results")
def results(name: str, office: Here) -> list[ReaderResult]:
    """Of readers who have answered every question: the truth comes at the end."""
    from ..evidence.intervals import clopper_pearson

    reading, found = office.readings.get(name), []
    answers = office.readings.answers(reading)
    for reader in dict.fromkeys(one.reader for one in answers):
        own = [one for one in answers if one.reader == reader]
        if len(own) < len(reading.items):
            continue
        right = sum(one.correct(reading) for one in own)
        share = clopper_pearson(right, len(own))
        seconds = sum(one.seconds for one in own) / len(own)
        found.append(
            ReaderResult(
                reader=reader,
                right=right,
                answers=len(own),
                accuracy=share.value,
                low=share.low,
                high=share.high,
                seconds=seconds,
            )
        )
    return found


@routes.post("/readings/{name}/export")
def export(name: str, office: Here) -> FileAddress:
    return FileAddress(
        address=office.ticket(office.readings.export(office.readings.get(name)), "answers.csv")
    )
