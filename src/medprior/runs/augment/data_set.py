"""Augment a data set as a run: batch by batch, each written as soon as it is made, so that the same command
continues and one bad scan stops nothing.
"""

from __future__ import annotations

import csv
import hashlib
import io
import json
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ...data.plain import JsonObject
from ...errors import BadOption
from ...io.dataset.index import patients_of
from ...io.dataset.listing import csv_cell
from ...io.dataset.scan import Index, Item
from ...io.disk.files import locked, sha256
from ...io.disk.settings import read_settings
from ...jobs.augment import level_of
from ...jobs.reconstruct import label_index
from ..ask.requests import AugmentSet
from ..core.inputs import LoadedPrior, device_named, known_prior
from ..core.outputs import SHORT, Outcome, Summary
from ..core.partial import beside, linked
from ..core.progress import Event, OnEvent
from ..core.run import Run, RunFolder
from ..synthesize.audit_page import unproven
from .batches import Work
from .gates import UNLIKE, gates_for
from .page import Shown, section_of, sheet_of
from .scans import chosen_scans
from .state import State, Written
from .tickets import lacking, planned

__all__ = ["run_augment_set"]

COLUMNS = ("path", "label", "patient", "split", "mask")


def run_augment_set(request: AugmentSet, on_event: OnEvent) -> RunFolder:
    """Make, judge and write; the folder appears whole or not at all, until then what is done lies in
    OUT.partial. The same command continues there.

    Raises a MedpriorError where the request cannot be served at all; a scan that cannot be varied is listed
    and left out.
    """
    started = time.monotonic()
    device = device_named(request.device)
    known = None if request.classical else known_prior(request.prior, device)
    stated = dict(read_settings(request.policy)) if request.policy is not None else {}
    with chosen_scans(request, on_event) as (index, items):
        _checked(request, known, items)
        audited = _audited(request, known)
        run = Run.of(request, started, device, **_facts(request, known, stated, items, index))
        if (done := run.done(on_event)) is not None:
            return done
        with locked(beside(run.out)):
            state = State(run.out, run.id, fresh=request.fresh)
            if state.lines:
                on_event(Event("note", f"goes on: {len(state.lines)} batches are done already"))
            gates = gates_for(request, index, items, on_event)
            work = Work(request, known, stated, index, items, state, gates, on_event)
            work.all()
            done = _published(run, work, audited)
            state.forget()
    return done


def _checked(request: AugmentSet, known: LoadedPrior | None, items: Sequence[Item]) -> None:
    """What no scan can be served with is refused before any is read. Raises BadOption."""
    level_of(request.strength)
    if request.fill is None:
        return
    lack = lacking(request, items)
    if request.fill_by == "synthesis" and known is not None:
        if known.prior.card.ndim == 3 or any(len(item.shape) == 3 for item in items):
            raise BadOption("fill_by: synthesis fills data sets of images", "--fill-by variations")
        for label, n in lack.items():
            if n:
                label_index(known.prior, label)


def _audited(request: AugmentSet, known: LoadedPrior | None) -> tuple[str, ...]:
    """What to write down where images come from nothing but the prior: they can be scans it knows by heart,
    as those of synthesize can.

    Raises BadOption, before anything is drawn, where the prior's audit did not pass or was never made, unless
    that is allowed.
    """
    if request.fill_by != "synthesis" or known is None:
        return ()
    remedy = "run medprior calibrate synthesize, or take --fill-by variations"
    guidance = request.guidance if known.prior.card.labels else None
    return unproven(
        known.prior.promises.synthesize, request.unproven, guidance=guidance, remedy=remedy, job="fill_by"
    )


def _facts(
    request: AugmentSet,
    known: LoadedPrior | None,
    stated: Mapping[str, Any],
    items: Sequence[Item],
    index: Index,
) -> JsonObject:
    """What makes this run this one beside its request: the prior, the policy, and every scan that is varied
    or stands behind the gates.
    """
    numbers = patients_of(index.items)
    facts = [f"{i.digest}/{i.label}/{i.split}/{numbers[i.owner]}" for i in index.items]
    masks = [sha256(index.folder / i.mask) if request.classical and i.mask else "" for i in items]
    chosen = [f"{i.digest}/{i.label}/{mask}" for i, mask in zip(items, masks, strict=True)]
    return {
        "prior_sha256": known.sha256 if known else None,
        **({"trust_sha256": known.trust_sha256} if known and request.fill_by == "synthesis" else {}),
        "policy": json.loads(json.dumps(stated, default=str)),
        "data_sha256": hashlib.sha256("\n".join([*facts, "chosen", *chosen]).encode()).hexdigest(),
    }


def _overrides(work: Work, metrics: Mapping[str, Any], audited: Sequence[str]) -> list[str]:
    """audited: what was allowed although the prior's audit does not carry it."""
    request = work.request
    return [
        *(["another modality or unit than the prior's was allowed"] if request.allow_other else []),
        *(["scans marked synthetic were allowed"] if request.allow_synthetic else []),
        *(["near copies of real scans were kept: not for release"] if request.keep_copies else []),
        *(
            ["no judge looked whether variations carry their label"]
            if request.judge == "off" and not request.classical
            else []
        ),
        *(
            [f"copies of real scans were not looked for: {work.gates.why.get('copies', '')}"]
            if work.gates.copies is None and not request.classical
            else []
        ),
        *(
            [f"{unlike} images that no gate could look at were kept: they are {UNLIKE.partition(',')[0]}"]
            if (unlike := metrics["written_unlike"])
            else []
        ),
        *audited,
    ]


def _data(work: Work) -> JsonObject:
    """What a record says of the data set."""
    return {
        "scans": len(work.items),
        "patients": len(work.patients),
        "patients_named": all(i.patient for i in work.items),
        "split": work.request.split,
    }


def metrics_of(work: Work) -> JsonObject:
    """The mix, exact: what there was, what was asked for, what was written and what refused, by label."""
    rows, refused = work.rows(), work.refused()
    real, made = Counter(item.label for item in work.items), Counter(row.label for row in rows)
    first = Counter(ticket.label for ticket in planned(work.request, work.items))
    mix = {
        label or "no label": {
            "real": real[label],
            "asked": first[label],
            "written": made[label],
            "refused_for_label": sum(one.label == label and "label" in one.why for one in refused),
            "refused_as_copy": sum(one.label == label and "copy" in one.why for one in refused),
            "refused_as_unlike": sum(one.label == label and "kind" in one.why for one in refused),
        }
        for label in sorted(real)
    }
    return {
        "mix": mix,
        "strength": None
        if work.request.classical or work.request.fill_by == "synthesis"
        else work.request.strength,
        "drawn": sum(line.drawn for line in work.state.lines.values()),
        "written": len(rows),
        "written_unlike": sum(row.unlike for row in rows),
        "asked": sum(first.values()),
        "failed": len(work.failed()),
        "unusable": len(work.index.unusable),
        "short": bool(work.failed() or work.index.unusable or len(rows) < sum(first.values())),
        "gates": work.gates.record(),
    }


def missing(work: Work) -> list[tuple[str, str]]:
    """(relative path, reason) of every file of the data set that gave nothing."""
    bad = [
        (work.items[n].path if isinstance(n, int) else f"{n} image", why)
        for n, why in sorted(work.failed().items(), key=str)
    ]
    return [*bad, *((one.path, one.reason) for one in work.index.unusable)]


def summary_of(metrics: Mapping[str, Any]) -> Summary:
    """The mix of each label, and that some scans gave nothing."""
    lines = [
        f"{label}: {at['written']} of {at['asked']} written beside {at['real']} real scans; "
        f"refused: {at['refused_for_label']} lost their label, {at['refused_as_copy']} near copies, "
        f"{at['refused_as_unlike']} of another kind"
        for label, at in metrics["mix"].items()
    ]
    if bad := metrics["failed"] + metrics["unusable"]:
        lines.append(f"{bad} scans gave nothing, or not all: failed.csv says why")
    result = f"{metrics['written']} of {metrics['asked']} images written"
    return Summary(tuple(lines), result, SHORT if metrics["short"] else 0)


def _published(run: Run, work: Work, audited: Sequence[str]) -> RunFolder:
    """The run folder: images, tables, report; whole or not at all."""
    rows, metrics, state, known = work.rows(), metrics_of(work), work.state, work.known
    shown = Shown(
        *(work.request, work.gates, work.index, work.items),
        *(rows, work.refused(), state.outputs, state.examples),
    )
    lead = f"{len(work.items)} scans of a data set, split: {work.request.split}. "
    outcome = Outcome(
        metrics,
        section_of(shown, metrics),
        sheet_of(shown),
        summary_of(metrics),
        overrides=_overrides(work, metrics, audited),
        files=_files(work, rows),
        title="medprior augment-set",
        lead=lead + ("No prior was asked." if known is None else f"Prior: {known.prior.card.name}."),
    )

    def images(folder: Path) -> None:
        (folder / "outputs").mkdir()
        if state.outputs.is_dir():
            linked(state.outputs, folder / "outputs")

    prior = None if known is None else known.named
    return run.publish(outcome, run.record(outcome, prior=prior, input=None, data=_data(work)), images)


def _files(work: Work, rows: Sequence[Written]) -> dict[str, bytes]:
    """The tables of the run folder by name."""
    table = [COLUMNS, *([getattr(row, name) for name in COLUMNS] for row in rows)]
    names = ("path", "label", "source", "attempt", "probability", "p", "rho", "nearest", "copy")
    told = [names, *([_cell(getattr(row, name)) for name in names] for row in rows)]
    files = {"outputs/scans.csv": _plain(table), "variations.csv": _table(told), "events.jsonl": b""}
    if records := [json.dumps({"path": row.path, **row.record}) for row in rows if row.record is not None]:
        files["outputs/augmentation.jsonl"] = ("\n".join(records) + "\n").encode(errors="backslashreplace")
    if bad := missing(work):
        files["failed.csv"] = _table([("path", "reason"), *bad])
    return files


def _cell(value: object) -> object:
    return "" if value is None else value


def _table(rows: Sequence[Sequence[object]]) -> bytes:
    """For people and their spreadsheets: no cell is a formula."""
    return _plain([[csv_cell(cell) if isinstance(cell, str) else cell for cell in row] for row in rows])


def _plain(rows: Sequence[Sequence[object]]) -> bytes:
    """For a scan, which reads labels and paths to the letter: a quoted ``+ve`` would be another label."""
    out = io.StringIO()
    csv.writer(out, lineterminator="\r\n").writerows(rows)
    return out.getvalue().encode(errors="backslashreplace")
