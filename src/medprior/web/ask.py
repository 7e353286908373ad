"""Routes: forms, the queue of jobs, and priors."""

from __future__ import annotations

from fastapi import APIRouter, Request
from pydantic import BaseModel

from .. import __version__
from ..errors import FileProblem, MedpriorError
from ..io.served.queue import ENDED, Job
from ..runs.ask.words import words_of
from .forms import command_line, forms
from .hand_in import Here
from .office import Office

__all__ = ["routes"]

routes = APIRouter()

_SCAN = 16
"""Letters of the id of a scan that was handed in; other ways in have longer ones."""


class Filled(BaseModel):
    """A form as it was filled."""

    verb: str
    values: dict[str, object]


class JobCard(BaseModel):
    """A job in a list. part: what it is doing. done, total, left: of that part. run: id of its run."""

    id: str
    verb: str
    state: str
    scan: str
    place: str
    said: str
    queued: float
    started: float | None
    ended: float | None
    command: str
    part: str
    done: int
    total: int
    left: float | None
    run: str


class JobPage(JobCard):
    """again: how its form was filled."""

    log: str
    again: dict[str, str]


class PriorCard(BaseModel):
    id: str
    name: str
    lines: list[str]
    bundled: bool


@routes.get("/about")
def about_server(request: Request) -> dict[str, str | list[str]]:
    """Its version, and the names of pages that this server has beside the usual ones."""
    return {"version": __version__, "pages": request.app.state.pages}


@routes.get("/forms")
def all_forms() -> list[dict[str, object]]:
    return forms()


@routes.post("/command")
def command_of_form(filled: Filled, office: Here) -> dict[str, str]:
    """The command line of a form, before anything is done."""
    made = office.request(filled.verb, filled.values, f"{filled.verb.replace(' ', '-')}-new")
    return {"command": command_line(words_of(filled.verb, made), office.foreman.cwd)}


@routes.post("/jobs")
def enqueue(filled: Filled, office: Here) -> JobCard:
    return JobCard.model_validate(_facts(office, office.asked(filled.verb, filled.values), {}))


@routes.get("/jobs")
def jobs(office: Here) -> list[JobCard]:
    runs = {run.path.name: name for name, run in office.runs.all()}
    return [JobCard.model_validate(_facts(office, job, runs)) for job in office.queue.all()]


def _job(office: Office, name: str) -> Job:
    found = office.queue.get(name)
    if found is None:
        raise FileProblem("job", "this is not here any more")
    return found


def _facts(office: Office, job: Job, runs: dict[str, str]) -> dict[str, object]:
    at = office.foreman.desk(job).progress() if job.state in ("running", "cancelling") else None
    return {
        "id": job.id,
        "verb": job.verb,
        "state": job.state,
        "scan": job.scan if len(job.scan) == _SCAN else "",
        "place": job.place,
        "said": job.said,
        "queued": job.queued,
        "started": job.started,
        "ended": job.ended,
        "command": command_line(job.words, office.foreman.cwd),
        "part": at.text if at else "",
        "done": at.done if at else 0,
        "total": at.total if at else 0,
        "left": at.left if at else None,
        "run": runs.get(job.place, ""),
    }


@routes.get("/jobs/{name}")
def one_job(name: str, office: Here) -> JobPage:
    job = _job(office, name)
    runs = {run.path.name: name for name, run in office.runs.all()}
    more = {"log": office.foreman.desk(job).log(), "again": office.form_of(job)}
    return JobPage.model_validate({**_facts(office, job, runs), **more})


@routes.post("/jobs/{name}/cancel", status_code=204)
def cancel(name: str, office: Here) -> None:
    office.foreman.cancel(_job(office, name))


@routes.post("/jobs/{name}/again")
def again(name: str, office: Here) -> JobCard:
    """The command of a job that has failed or was cancelled, once more."""
    job = _job(office, name)
    if job.state not in ENDED:
        raise FileProblem("job", "it has not ended")
    return JobCard.model_validate(_facts(office, office.repeat(job), {}))


@routes.get("/priors")
def priors(office: Here) -> list[PriorCard]:
    from ..training.folder import bundled  # torch, which most of the page does without

    known = [(name, name, True) for name in bundled()]
    known += [(name, str(folder), False) for name, folder in office.runs.priors()]
    return [_prior(*one) for one in known]


def _prior(name: str, where: str, ours: bool) -> PriorCard:
    from ..runs.info import card_lines

    try:
        lines = card_lines(where)
    except MedpriorError as error:
        lines = [f"{name}: {error}"]
    return PriorCard(id=name, name=lines[0].partition(":")[0], lines=lines, bundled=ours)
