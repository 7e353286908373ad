"""Routes: scans come in, are listed and leave."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends, Request
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import Response
from pydantic import BaseModel, Field

from ..errors import FileProblem
from ..io.served.scans import Refusal, Study
from .office import Office

__all__ = ["Here", "routes"]

routes = APIRouter()


def _office(request: Request) -> Office:
    return request.app.state.office


Here = Annotated[Office, Depends(_office)]


class Begun(BaseModel):
    upload: str


class Finished(BaseModel):
    studies: list[Study]
    refused: list[Refusal]


class SetTitle(BaseModel):
    as_set: str = ""


@routes.get("/studies")
def studies(office: Here) -> list[Study]:
    return office.scans.all()


@routes.get("/sets")
def sets(office: Here) -> list[str]:
    return list(office.sets)


@routes.post("/uploads")
def begin(office: Here) -> Begun:
    return Begun(upload=office.scans.begin(next(office.ids())).id)


@routes.post("/uploads/{upload}/files", status_code=204)
async def receive(upload: str, name: str, request: Request, office: Here) -> None:
    one = office.scans.opened(upload)
    with office.scans.receive(one, name) as write:
        async for piece in request.stream():
            await run_in_threadpool(write, piece)


@routes.post("/uploads/{upload}/end")
def end_upload(upload: str, title: SetTitle, office: Here) -> Finished:
    found, refused = office.scans.finish(office.scans.opened(upload), office.ids(), as_set=title.as_set[:80])
    return Finished(studies=found, refused=refused)


@routes.delete("/uploads/{upload}", status_code=204)
def drop(upload: str, office: Here) -> None:
    office.scans.drop(office.scans.opened(upload))


def study_of(office: Office, study: str) -> Study:
    """Raises FileProblem for an unknown id."""
    found = office.scans.get(study)
    if found is None:
        raise FileProblem("scan", "this is not here any more")
    return found


@routes.get("/studies/{study}")
def one_study(study: str, office: Here) -> Study:
    return study_of(office, study)


class ScanKind(BaseModel):
    unit: str = Field("", max_length=16)
    modality: str = Field("", max_length=16, pattern="^[A-Z]*$")


@routes.post("/studies/{study}/kind")
def tell_kind(study: str, said: ScanKind, office: Here) -> Study:
    """What a scan is, where its file does not say."""
    return office.scans.told(study_of(office, study), said.unit, said.modality)


@routes.delete("/studies/{study}", status_code=204)
def remove(study: str, office: Here) -> None:
    office.scans.remove(study_of(office, study))


@routes.get("/studies/{study}/small.png")
def small(study: str, office: Here) -> Response:
    return Response(office.scans.small(study_of(office, study)), media_type="image/png")


@routes.post("/demo")
def run_demo_scans(office: Here) -> Finished:
    """The scans that installed packages carry, and the demo's jobs on them in the queue."""
    from ..runs.demo import requests, scan_paths  # torch, which most of the page does without

    found: dict[str, Study] = {}
    for name, path in scan_paths().items():
        upload = office.scans.begin(next(office.ids()))
        office.scans.copy(upload, path)
        found[name] = office.scans.finish(upload, office.ids())[0][0]
    paths = {name: office.scans.path(one) for name, one in found.items()}
    scans = {path: found[name].id for name, path in paths.items()}
    for request in requests(paths, 0).values():
        values = request.model_dump(exclude_unset=True)
        office.ask(request.job, values, scans[values["input"]] if "input" in values else "")
    return Finished(studies=list(found.values()), refused=[])
