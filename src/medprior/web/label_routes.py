"""Routes: labelling with the queue of ``medprior label``. A run of that command opens a session; answers go
into its trail, one line each.
"""

from __future__ import annotations

from dataclasses import asdict

from fastapi import APIRouter
from pydantic import BaseModel, Field

from ..errors import BadOption, FileProblem
from .hand_in import Here

__all__ = ["routes"]

routes = APIRouter()


class LabelCase(BaseModel):
    """The next scan of a reader. number: as ``seen`` and ``plane`` name it, "" where nothing is left."""

    number: str
    why: str
    place: int
    batch: int
    mine: int
    open: int
    classes: list[str]
    newest: int | None


class GivenLabel(BaseModel):
    number: int
    label: str = Field(min_length=1, max_length=64)
    reader: str = Field(min_length=1, max_length=60)
    seconds: float = Field(0.0, ge=0, le=36_000)


class TakenBack(BaseModel):
    reader: str = Field(min_length=1, max_length=60)


class LabelReport(BaseModel):
    """What all readers together have said."""

    labels: dict[str, int]
    readers: list[str]
    disputed: int
    agreement: str
    advice: str
    suspects: list[dict[str, object]]


@routes.get("/labels/{name}")
def case(name: str, reader: str, office: Here) -> LabelCase:
    run = office.runs.get(name)
    session, batch = office.labels.session(name, run), office.labels.batch(name, run, reader)
    state = session.state()
    mine = [
        one
        for one in state.readings.given
        if one.key[0] == reader.casefold() and one.number not in state.readings.undone
    ]
    known = {one.scan for one in mine}
    left = [one for one in batch.scans if one.scan not in known]
    return LabelCase(
        number=str(session.scans.index(left[0].scan)) if left else "",
        why=left[0].why if left else "",
        place=len(batch.scans) - len(left) + 1,
        batch=len(batch.scans),
        mine=len(known),
        open=state.open_,
        classes=list(office.labels.request_of(run).classes) or session.classes(),
        newest=mine[-1].number if mine else None,
    )


@routes.post("/labels/{name}/answers")
def give_label(name: str, given: GivenLabel, office: Here) -> LabelCase:
    session = office.labels.session(name, office.runs.get(name))
    if not 0 <= given.number < len(session.scans):
        raise FileProblem("scan", "this is not here any more")
    session.record(session.scans[given.number], given.label, reader=given.reader, seconds=given.seconds)
    return case(name, given.reader, office)


@routes.post("/labels/{name}/undo")
def take_back(name: str, who: TakenBack, office: Here) -> LabelCase:
    """The newest answer of this reader."""
    newest = case(name, who.reader, office).newest
    if newest is None:
        raise BadOption("undo: this reader has no answer to take back")
    office.labels.undo(name, office.runs.get(name), who.reader, newest)
    return case(name, who.reader, office)


@routes.get("/labels/{name}/report")
def label_report(name: str, office: Here) -> LabelReport:
    run = office.runs.get(name)
    session, asked = office.labels.session(name, run), office.labels.request_of(run)
    state, agreement = session.state(), session.agreement()
    session.save_labels()
    said = [label for scan, label in state.labels.items() if label and scan in state.readings.of_scans()]
    alpha = agreement.alpha
    words = agreement.reason
    if alpha is not None:
        words = f"alpha {alpha.value:.2f} ({alpha.low:.2f} to {alpha.high:.2f}) on {agreement.scans} scans"
    suspects = session.suspects(seed=asked.seed)
    return LabelReport(
        labels={label: said.count(label) for label in sorted(set(said))},
        readers=list(state.readings.readers),
        disputed=len(state.readings.disputed()),
        agreement=words,
        advice=session.advice(asked.n, seed=asked.seed).reason,
        suspects=[{"number": str(session.scans.index(scan)), **asdict(one)} for scan, one in suspects],
    )
