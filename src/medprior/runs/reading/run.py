"""Read as a run that goes on: a reading is drawn once, answers are taken in, the truth comes at the end."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import asdict, replace
from functools import partial
from itertools import count
from pathlib import Path

from ...data.seeds import seed_for
from ...data.volume import Volume
from ...errors import BadOption, printable
from ...io.dataset.answers import reader_named, write_table
from ...io.dataset.scan import Index, Item
from ...io.dataset.tables import rows_of
from ...io.disk.files import locked
from ...io.pictures import stored_png
from ...io.served.readings import BlindAnswer, BlindReading, ReadingStore
from ..ask.reading import Read
from ..core.inputs import indexed
from ..core.outputs import Outcome, Summary
from ..core.progress import Event, OnEvent
from ..core.run import Run, RunFolder
from ..page.blocks import Fold, Grid, Picture, Section, Table
from ..page.pictures import Drawn
from ..page.record import read_record
from .plan import PLACE, ReaderResult, ReadingSettings, Source, draw_reading, reader_results

__all__ = ["run_read"]

QUEUE, TRUTH = "queue.csv", "answers.csv"
_TITLES = ("question", "pictures", "answer", "reader", "seconds")
_WHAT = {
    "choice": "answer says which of the two is synthetic: 1 or 2.",
    "rating": "answer goes from 1, surely real, to 6, surely synthetic.",
}
_LIMIT = "An accuracy near 50 % says that these readers cannot tell these images, not that no one can."


def run_read(request: Read, on_event: OnEvent) -> RunFolder:
    """Draw the reading, or go on with it; the folder holds queue.csv, reading/, report.html and run.json, and
    answers.csv with the truth once somebody has answered all.

    Raises BadOption for a folder that holds something else, where a kind of pictures is missing, and for an
    answer that is none or was given already.
    """
    started = time.monotonic()
    out = request.out or Path("runs") / f"read-{request.folder.resolve().name.lower().replace(' ', '-')}"
    run = replace(Run.of(request, started), place=out)
    _ours(request, out)
    with locked(out):
        store = ReadingStore(out / PLACE)
        reading = next(iter(store.all()), None) or _drawn(request, store, on_event)
        taken = _taken_in(request, store, reading, out)
        if taken:
            on_event(Event("note", f"{taken} new answers"))
        outcome = _outcome(store, reading, out)
        record = run.record(outcome)
        outcome.fill(out, record)
    return RunFolder(out, record)


def _ours(request: Read, out: Path) -> None:
    """A folder is empty, or holds this reading. Raises BadOption."""
    held = {path.name for path in out.iterdir()} if out.is_dir() else set()
    if held - {".lock"} and PLACE not in held:
        raise BadOption(f"out: {out} holds no reading but something else", "choose another folder")
    if "run.json" in held:
        said = read_record(out).get("request", {})
        other = [name for name in ("kind", "n", "seed") if said.get(name) != getattr(request, name)]
        if other:
            raise BadOption(
                f"out: {out} holds a reading with another {', '.join(other)}", "choose another folder for it"
            )


def _drawn(request: Read, store: ReadingStore, on_event: OnEvent) -> BlindReading:
    said = (request.unit, request.modality)
    with indexed(request.folder, *said, on_event, request.layout) as index:
        real = _sources(index, "")
    made: list[Source] = []
    for folder in request.made:
        inside = folder / "outputs" if (folder / "run.json").is_file() else folder
        with indexed(inside, *said, on_event) as index:
            made += _sources(index, f"{folder.name}/", synthetic=True)
    ids = (f"{seed_for(request.seed, 'reading', 'id', n):016x}" for n in count())
    reading, pictures = draw_reading(real, made, ReadingSettings(request.kind, request.n, request.seed), ids)
    store.add(reading, pictures)
    return reading


def _sources(index: Index, before: str, *, synthetic: bool = False) -> list[Source]:
    items = index.usable(None, allow_synthetic=synthetic)
    return [(f"{before}{item.path}", partial(_opened, index, item)) for item in items]


def _opened(index: Index, item: Item) -> Volume:
    return next(volume for _, volume in index.volumes([item]))


def _taken_in(request: Read, store: ReadingStore, reading: BlindReading, out: Path) -> int:
    """How many answers of the queue are new. Raises BadOption naming the line of one that cannot be taken."""
    table = request.answers or out / QUEUE
    if request.answers is None and not table.is_file():
        return 0
    known = {(one.reader, one.item): one.answer for one in store.answers(reading)}
    new = 0
    for line, row in enumerate(rows_of(table)[1], 2):
        if not row.get("answer", "").strip():
            continue
        where = f"{printable(table.name)}, line {line}"
        given = _answer(row, request.reader, where)
        if known.get((given.reader, given.item)) == given.answer:
            continue
        try:
            store.answer(reading, given)
        except BadOption as error:
            raise BadOption(f"{where}: {error}") from error
        new += 1
    return new


def _answer(row: dict[str, str], reader: str, where: str) -> BlindAnswer:
    try:
        numbers = int(row["question"]), int(row["answer"]), float(row.get("seconds") or 0)
    except (KeyError, ValueError):
        raise BadOption(f"{where}: wanted a question and an answer as whole numbers") from None
    return BlindAnswer(reader_named(row.get("reader") or reader), numbers[0] - 1, *numbers[1:])


def _outcome(store: ReadingStore, reading: BlindReading, out: Path) -> Outcome:
    found, answers = reader_results(store, reading), store.answers(reading)
    begun = {one.reader for one in answers} - {one.reader for one in found}
    names = [[f"{PLACE}/{reading.id}/{one}.png" for one in item.pictures] for item in reading.items]
    rows = [(str(n + 1), " | ".join(one), "", "", "") for n, one in enumerate(names)]
    write_table(out / QUEUE, _TITLES, rows)
    if found:
        store.export(reading).replace(out / TRUTH)
    lines = [_said(one) for one in found] or [f"{len(reading.items)} questions wait for an answer: {QUEUE}."]
    doing = f"Fill in its columns answer and reader, and give the same command again. {_WHAT[reading.kind]}"
    section = Section(
        "Blind reading",
        doing,
        [*([_table(found)] if found else []), Fold("The questions", [Grid(list(_pictures(store, reading)))])],
        verdict=" ".join(lines),
        caveats=(_LIMIT,),
    )
    metrics = {"questions": len(reading.items), "kind": reading.kind, "begun": len(begun)}
    return Outcome(
        {**metrics, "readers": [asdict(one) for one in found]},
        [section],
        [],
        Summary((*lines, doing), lines[0]),
        title="medprior read",
        lead=f"{reading.title} {len(reading.items)} questions; pictures have {reading.side} pixels a side.",
    )


def _said(one: ReaderResult) -> str:
    return (
        f"{printable(one.reader)} was right in {one.right} of {one.answers}: {one.accuracy:.0%} "
        f"({one.low:.0%} to {one.high:.0%})."
    )


def _table(found: list[ReaderResult]) -> Table:
    rows = [["reader", "right", "of", "accuracy", "95 % interval", "seconds each"]]
    rows += [
        [
            printable(one.reader),
            str(one.right),
            str(one.answers),
            f"{one.accuracy:.2f}",
            f"{one.low:.2f} to {one.high:.2f}",
            f"{one.seconds:.1f}",
        ]
        for one in found
    ]
    return Table(rows, "The interval is exact for a share (Clopper and Pearson).", open=True)


def _pictures(store: ReadingStore, reading: BlindReading) -> Iterator[Picture]:
    for n, item in enumerate(reading.items, 1):
        for side, name in enumerate(item.pictures, 1):
            title = f"Question {n}" + (f", picture {side}" if len(item.pictures) > 1 else "")
            yield Picture(Drawn(*stored_png(store.root / reading.id / f"{name}.png")), title)
