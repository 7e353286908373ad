"""Routes: blind readings, those of the page and those that ``medprior read`` has drawn."""

from __future__ import annotations

from functools import partial
from typing import Literal

from fastapi import APIRouter
from fastapi.responses import Response
from pydantic import BaseModel, Field

from ..io.read import read
from ..io.served.readings import BlindAnswer, BlindReading, ReadingStore
from ..runs.reading.plan import ReaderResult, ReadingSettings, Source, draw_reading, reader_results
from .hand_in import Here, study_of
from .look import FileAddress
from .shown import layers_of

__all__ = ["routes"]

routes = APIRouter()


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


@routes.get("/readings")
def readings(office: Here) -> list[ReadingCard]:
    found = [(store, one) for store in office.reading_stores() for one in store.all()]
    return [_card(*one) for one in sorted(found, key=lambda pair: -pair[1].made)]


def _card(store: ReadingStore, one: BlindReading) -> ReadingCard:
    readers = dict.fromkeys(answer.reader for answer in store.answers(one))
    return ReadingCard(
        id=one.id, title=one.title, kind=one.kind, questions=len(one.items), readers=list(readers)
    )


@routes.post("/readings")
def plan(planned: Planned, office: Here) -> ReadingCard:
    """Draw a reading. Raises BadOption where one of the two kinds of pictures is missing."""
    studies = [study_of(office, one) for one in planned.studies]
    real = [(one.name, partial(office.image, one)) for one in studies]
    made: list[Source] = [
        (f"{run.path.name}/{layer.name}", partial(read, layer.path))
        for run in map(office.runs.get, planned.runs)
        for layer in layers_of(run)
        if layer.kind == "grey" and layer.name not in ("known", "healthy_twin")
    ]
    how = ReadingSettings(planned.kind, planned.n, planned.seed, planned.title)
    reading, pictures = draw_reading(real, made, how, office.ids())
    office.readings.add(reading, pictures)
    return _card(office.readings, reading)


@routes.get("/readings/{name}")
def question(name: str, reader: str, office: Here) -> Question:
    store, reading = office.reading(name)
    mine = {one.item for one in store.answers(reading) if one.reader == reader}
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
    store, reading = office.reading(name)
    return Response(store.picture(reading, key), media_type="image/png")


@routes.post("/readings/{name}/answers", status_code=204)
def take_answer(name: str, given: Answered, office: Here) -> None:
    store, reading = office.reading(name)
    store.answer(reading, BlindAnswer(given.reader.strip(), given.number, given.answer, given.seconds))


@routes.get("/readings/{name}/results")
def results(name: str, office: Here) -> list[ReaderResult]:
    """Of readers who have answered every question: the truth comes at the end."""
    return reader_results(*office.reading(name))


@routes.post("/readings/{name}/export")
def export(name: str, office: Here) -> FileAddress:
    store, reading = office.reading(name)
    return FileAddress(address=office.ticket(store.export(reading), "answers.csv"))
