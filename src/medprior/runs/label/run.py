"""Label as a run that goes on: answers are recorded, the next scans are proposed, the page is made anew."""

from __future__ import annotations

import time
from dataclasses import asdict, replace
from pathlib import Path

from ...errors import BadOption, printable
from ...io.dataset.answers import QUEUE, UNSURE, write_table
from ...io.dataset.layout import OWN_FILES
from ...io.disk.files import locked
from ...jobs.label import LABELS, TRAIL, Labelling, Proposal
from ..ask.requests import Label
from ..core.inputs import device_named, indexed, known_prior
from ..core.outputs import Outcome, Summary
from ..core.progress import Event, OnEvent
from ..core.run import Run, RunFolder
from .page import REVIEW, Labelled, label_lines, label_sections, label_sheet

__all__ = ["run_label"]

TABLE, PUT_AWAY = "queue.csv", "answered"


def run_label(request: Label, on_event: OnEvent) -> RunFolder:
    """Record the answers, then propose; the folder holds queue.csv, labels.csv, review.csv, trail.jsonl,
    report.html and run.json.

    Nothing is thrown away: lines are only added to trail.jsonl, and a queue that a person has filled in is
    kept in answered/. Raises what ``Labelling`` and its methods raise, and BadOption for a folder that holds
    something else.
    """
    started = time.monotonic()
    out = request.out or Path("runs") / f"label-{request.folder.resolve().name.lower().replace(' ', '-')}"
    _ours(out)
    device = device_named(request.device)
    prior = known_prior(request.prior, device)
    run = replace(Run.of(request, started, device, **prior.hashes), place=out)
    read = indexed(request.folder, request.unit, request.modality, on_event, request.layout)
    with locked(out), read as index:
        session = Labelling(
            index,
            prior.prior,
            out,
            split=request.split,
            allow_other=request.allow_other,
            allow_synthetic=request.allow_synthetic,
            on_step=lambda done, total: on_event(Event("step", done=done, total=total)),
        )
        taken = _taken_in(request, session, on_event)
        on_event(Event("cost", f"{len(session.scans)} scans pass the network once; their features are kept"))
        on_event(Event("stage", "choosing scans to label"))
        found = _found(request, session, taken)
        _write(session, found, request.reader)
        outcome = _outcome(session, found)
        record = run.record(outcome, prior=prior.named)
        outcome.fill(out, record)
    return RunFolder(out, record)


def _ours(out: Path) -> None:
    """A folder is empty, or holds labels. Raises BadOption."""
    held = {path.name for path in out.iterdir()} if out.is_dir() else set()
    if held - {".lock", *OWN_FILES} and not held & {TRAIL, TABLE, LABELS}:
        raise BadOption(
            f"out: {out} holds no labels but something else", "choose another folder; nothing was changed"
        )


def _taken_in(request: Label, session: Labelling, on_event: OnEvent) -> int:
    """How many answers are new: in the queue as it lies in the folder, and in the table that was given."""
    if request.undo is not None:
        answer = session.undo(request.undo)
        on_event(Event("note", f"taken back: {answer.reader} on {printable(answer.scan)}: {answer.label}"))
    queue, taken = session.out / TABLE, 0
    tables = [queue] if queue.is_file() else []
    tables += [request.answers] if request.answers not in (None, queue) else []
    for table in tables:
        new, found = session.read(
            table, reader=request.reader, classes=request.classes, revise=request.revise
        )
        taken += new
        for note in found.notes:
            on_event(Event("note", note))
        if table == queue and (found.rows or found.notes):
            _put_away(queue)
    return taken


def _put_away(queue: Path) -> None:
    """A queue that a person has filled in keeps all that was written into it."""
    folder = queue.parent / PUT_AWAY
    folder.mkdir(exist_ok=True)
    queue.rename(folder / f"queue-{len([*folder.iterdir()]) + 1:03d}.csv")


def _found(request: Label, session: Labelling, taken: int) -> Labelled:
    state, batch = session.state(), Proposal((), "none", None)
    if state.open_ or (request.repeat and state.readings.current):
        batch = session.propose(
            request.n, by=request.by, reader=request.reader, repeat=request.repeat, seed=request.seed
        )
    return Labelled(
        state,
        batch,
        session.advice(request.n, seed=request.seed),
        session.agreement(),
        tuple(session.suspects(seed=request.seed)),
        taken,
        _doing(len(batch.scans), request.n),
    )


def _doing(scans: int, n: int) -> tuple[str, ...]:
    """What is to be done now."""
    if not scans:
        return ("Every scan is labelled already.", "labels.csv holds the labels: --labels uses them.")
    fewer = f", all that are left of {n} that were wanted" if scans < n else ""
    return (
        f"{scans} scans to label{fewer}: queue.csv.",
        f"Fill in its column label ({UNSURE} means: cannot tell), and give the same command again.",
    )


def _write(session: Labelling, found: Labelled, reader: str) -> None:
    session.save_labels()
    rows = [(one.scan, "", reader, "", "", one.why) for one in found.batch.scans]
    if rows:
        write_table(session.out / TABLE, QUEUE, rows)
    else:
        (session.out / TABLE).unlink(missing_ok=True)
    disputed = [(scan, "readers differ", "", "", "") for scan in found.state.readings.disputed()]
    wrong = [
        (scan, "looks wrong", one.label, one.instead, f"{one.probability:.2f}")
        for scan, one in found.suspects
    ]
    titles = ("scan", "what", "label", "instead", "probability of the label")
    write_table(session.out / REVIEW, titles, [*disputed, *wrong])


def _outcome(session: Labelling, found: Labelled) -> Outcome:
    alpha, gain = found.agreement.alpha, found.advice.gain
    metrics = {
        "proposed": len(found.batch.scans),
        "by": found.batch.by,
        "area_out_of_fold": found.batch.area,
        "answers": found.answers,
        "readers": len(found.readers),
        "labels": found.counts,
        "open": found.state.open_,
        "disputed": len(found.state.readings.disputed()),
        "suspects": len(found.suspects),
        "agreement": None if alpha is None else asdict(alpha),
        "advice": found.advice.word,
        "gain": None if gain is None else asdict(gain),
    }
    sheet = label_sheet(session, [one.scan for one in found.batch.scans])
    return Outcome(
        metrics,
        label_sections(session, found),
        [("scans to label", sheet)] if sheet is not None else [],
        Summary(tuple(label_lines(found)), f"{len(found.batch.scans)} proposed; advice: {found.advice.word}"),
        title="medprior label",
        lead=f"{len(session.scans)} scans may be labelled; {found.state.open_} have no answer.",
    )
