"""Routes: planes of scans and of results, as pictures and as volumes, and what a run has to say."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Literal

from fastapi import APIRouter, Query
from fastapi.responses import FileResponse, Response
from pydantic import BaseModel, Field

from ..errors import FileProblem
from ..io.served.scans import Study
from ..runs.core.run import RunFolder
from .forms import command_line
from .hand_in import Here
from .office import Office
from .pictures import PlaneView, drawn, legend, presets, views_in
from .rooms.nearest import NearestScan
from .shown import answer_of, colours_of, files_of, findings_of, layers_of

__all__ = ["routes"]

routes = APIRouter()
Colours = Literal["grey", "overlay", "inferno", "viridis", "labels"]


class PlaneAsked(BaseModel):
    """Which plane of a volume, and in what colours (``pictures.drawn``)."""

    plane: str
    at: int
    colours: Colours = "grey"
    low: float = Field(0.0, allow_inf_nan=False)
    high: float = Field(1.0, allow_inf_nan=False)
    start: float | None = Field(None, allow_inf_nan=False)
    channel: int = 0


class VolumePage(BaseModel):
    """What a viewer needs to know of a volume."""

    planes: list[PlaneView]
    presets: list[dict[str, object]]
    unit: str
    modality: str
    channels: int
    colours: tuple[float, float] | None = None


class LayerCard(BaseModel):
    """One layer of a run."""

    name: str
    kind: str


class RunCard(BaseModel):
    """A run in a list."""

    id: str
    folder: str
    job: str
    result: str
    finished: str
    prior: str
    scan: str
    preview: bool


class AnswerCard(BaseModel):
    """What a model or a head says of a scan. classes: (name, probability), the likeliest first. kept: what
    cannot be ruled out.
    """

    who: str
    given: str
    classes: list[tuple[str, float]]
    kept: list[str]


class RunPage(RunCard):
    """A run on a page of its own. verb, again: of its job, as a form of the page is filled; "" and nothing
    where the page has not started it. many: how many scans it is of, 0 for one.
    """

    headline: list[str]
    layers: list[LayerCard]
    findings: list[dict[str, object]]
    files: list[tuple[str, int]]
    command: str
    facts: list[tuple[str, str]]
    answer: AnswerCard | None
    verb: str
    again: dict[str, str]
    many: int


def _card(name: str, run: RunFolder, scans: list[Study]) -> Mapping[str, object]:
    record = run.record
    about = record.get("input") or {}
    scan = next((one.id for one in scans if one.digest and one.digest == about.get("sha256")), "")
    return {
        "id": name,
        "folder": run.path.name,
        "job": record.get("job", ""),
        "result": run.summary.result,
        "finished": record.get("finished", ""),
        "prior": (record.get("prior") or {}).get("name", ""),
        "scan": scan,
        "preview": (run.path / "preview.png").is_file(),
    }


@routes.get("/runs")
def runs(office: Here) -> list[RunCard]:
    scans = office.scans.all()
    return [RunCard.model_validate(_card(name, run, scans)) for name, run in office.runs.all()]


@routes.get("/runs/{name}")
def one_run(name: str, office: Here) -> RunPage:
    from ..runs.page.store import facts_of

    run = office.runs.get(name)
    job = next((job for job in office.queue.all() if job.place == run.path.name), None)
    metrics = run.record.get("metrics") or {}
    more = {
        "answer": answer_of(run),
        "verb": "" if job is None else job.verb,
        "again": {} if job is None else office.form_of(job),
        "many": metrics.get("scans", 0) if "listed" in metrics else 0,
        "headline": list(run.summary.headline),
        "layers": [LayerCard(name=layer.name, kind=layer.kind) for layer in layers_of(run)],
        "findings": findings_of(run),
        "files": [(name, path.stat().st_size) for name, path in files_of(run)],
        "command": "" if job is None else command_line(job.words, office.foreman.cwd),
        "facts": facts_of(run.record) if "request" in run.record else [],
    }
    return RunPage.model_validate({**_card(name, run, office.scans.all()), **more})


@routes.get("/runs/{name}/sections")
def sections(name: str, office: Here) -> list[dict[str, object]]:
    """What its report says: headings, tables, pictures, and charts as SVG."""
    from ..runs.page.store import told_sections

    return told_sections(office.runs.get(name).path)


@routes.get("/runs/{name}/preview.png")
def preview(name: str, office: Here) -> FileResponse:
    return FileResponse(office.runs.preview(name), media_type="image/png")


class Wanted(BaseModel):
    file: str


class FileAddress(BaseModel):
    address: str


@routes.post("/runs/{name}/ticket")
def ticket(name: str, wanted: Wanted, office: Here) -> FileAddress:
    files = dict(files_of(office.runs.get(name)))
    if wanted.file not in files:
        raise FileProblem("file", "this is not here any more")
    path = files[wanted.file]
    return FileAddress(address=office.ticket(path, path.name))


class NearestCard(BaseModel):
    """A scan of a data set beside a synthetic image. alike: correlation at 64 x 64 pixels."""

    name: str
    alike: float


def _nearest(office: Office, name: str, layer: str, of: str) -> NearestScan:
    return office.near.nearest(office.volume("runs", name, layer)[1], office.place("set", of))


@routes.get("/runs/{name}/nearest/{layer}")
def nearest(name: str, layer: str, of: str, office: Here) -> NearestCard:
    found = _nearest(office, name, layer, of)
    return NearestCard(name=found.name, alike=found.alike)


@routes.get("/runs/{name}/nearest/{layer}/picture")
def nearest_picture(name: str, layer: str, of: str, office: Here) -> Response:
    return Response(_nearest(office, name, layer, of).png, media_type="image/png")


Kind = Literal["studies", "runs", "labels"]


@routes.get("/{kind}/{name}/seen/{layer}")
def seen(kind: Kind, name: str, layer: str, office: Here) -> VolumePage:
    _, volume = office.volume(kind, name, layer)
    colours = None
    if kind == "runs":
        run = office.runs.get(name)
        at = next(one for one in layers_of(run) if one.name == layer)
        colours = colours_of(run, at, volume) if at.kind == "overlay" else None
    return VolumePage(
        planes=views_in(volume),
        presets=presets(volume),
        unit=volume.unit,
        modality=volume.modality,
        channels=len(volume.data),
        colours=colours,
    )


@routes.get("/{kind}/{name}/plane/{layer}")
def plane(kind: Kind, name: str, layer: str, office: Here, asked: Annotated[PlaneAsked, Query()]) -> Response:
    key, volume = office.volume(kind, name, layer)
    wanted = asked.model_dump()
    picture = office.planes.get((key, *wanted.values()), lambda: drawn(volume, **wanted))
    return Response(picture, media_type="image/png", headers={"Cache-Control": "private, max-age=3600"})


@routes.get("/{kind}/{name}/volume/{layer}")
def volume(kind: Kind, name: str, layer: str, office: Here) -> Response:
    from ..io.nifti.nifti import nifti_bytes

    return Response(
        nifti_bytes(office.volume(kind, name, layer)[1], packed=False), media_type="application/octet-stream"
    )


@routes.get("/legend/{colours}")
def colour_bar(colours: Colours) -> Response:
    return Response(legend(colours), media_type="image/png")
