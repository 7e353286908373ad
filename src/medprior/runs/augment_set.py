"""Augment a data set as a run: batch by batch, each written as soon as it is made, so that the same command continues and one bad scan stops nothing."""

from __future__ import annotations

import csv
import hashlib
import io
import json
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch

from .. import __version__
from ..data.volume import Volume
from ..errors import BadOption
from ..io.files import locked, write_file, write_folder
from ..io.index import Index, Item
from ..io.listing import csv_cell
from ..io.settings import read_settings
from ..jobs.augment import level_of
from ..jobs.reconstruct import label_index
from .augment_gates import Gates, Seen, gates_for
from .augment_makers import ByPrior, ByTransforms, FromNoise, Made, Maker
from .augment_plan import ROUNDS, Ticket, batches, lacking, planned, spread
from .augment_scans import chosen_scans, loaded
from .augment_set_report import Shown, section_of, sheet_of
from .augment_state import State, beside, linked
from .environment import peak_mib, versions
from .evaluate import patients_of
from .events import Event, OnEvent
from .folder import RunFolder, default_out, finished, run_id, vacant
from .outcome import Output, written
from .pages import write_report
from .pictures import grey, upright, window_for
from .requests import Augment
from .sources import Known, device_named, known_prior
from .synthesize import file_name

__all__ = ["run_augment_set"]

COLUMNS = ("path", "label", "patient", "split", "mask")

HOPELESS = 32
"""Images after which nothing is drawn again if every one of them was a near copy: another draw at that strength is one, too."""


def run_augment_set(request: Augment, on_event: OnEvent) -> RunFolder:
    """Make, judge and write; the folder appears whole or not at all, until then what is done lies in OUT.partial. The same command continues there.

    Raises a MedpriorError where the request cannot be served at all; a scan that cannot be varied is listed and left out.
    """
    started = time.monotonic()
    device = device_named(request.device)
    known = None if request.classical else known_prior(request.prior, device)
    stated = dict(read_settings(request.policy)) if request.policy is not None else {}
    with chosen_scans(request, on_event) as (index, items):
        _checked(request, known, items)
        identity = _identity(request, known, stated, items, index)
        identifier = run_id(identity)
        out = request.out or default_out(request.job, identifier)
        if not request.fresh and (done := finished(out, identifier)):
            on_event(Event("note", "this run is complete already; use --fresh to repeat it"))
            return done
        vacant(out, identifier, fresh=request.fresh)
        with locked(_locks(out)):
            state = State(out, identifier, fresh=request.fresh)
            if state.lines:
                on_event(Event("note", f"goes on: {len(state.lines)} batches are done already"))
            work = _Work(request, known, stated, index, items, state, gates_for(request, index, items, on_event), on_event)
            work.all()
            record = work.record(identity, identifier, device, time.monotonic() - started)
            _publish(out, work, record)
            state.forget()
    return RunFolder(out, record)


def _locks(out: Path) -> Path:
    return beside(out).with_name(f"{beside(out).name}.lock")


def _checked(request: Augment, known: Known | None, items: Sequence[Item]) -> None:
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


def _identity(request: Augment, known: Known | None, stated: Mapping[str, Any], items: Sequence[Item], index: Index) -> dict[str, Any]:
    """What makes this run this one: the request, the prior, the policy, and every scan that is varied or stands behind the gates."""
    numbers = patients_of(index.items)
    facts = [f"{i.digest}/{i.label}/{i.split}/{numbers[i.patient or i.id]}/{i.mask != ''}" for i in index.items]
    chosen = [f"{i.digest}/{i.label}" for i in items]
    return {
        **request.identity(),
        "medprior": __version__,
        "prior_sha256": known.sha256 if known else None,
        "policy": json.loads(json.dumps(stated, default=str)),
        "data_sha256": hashlib.sha256("\n".join([*facts, "chosen", *chosen]).encode()).hexdigest(),
    }


class _Work:
    """One run: rounds of batches, each with its line in the state."""

    def __init__(
        self,
        request: Augment,
        known: Known | None,
        stated: Mapping[str, Any],
        index: Index,
        items: Sequence[Item],
        state: State,
        gates: Gates,
        on_event: OnEvent,
    ) -> None:
        self.request, self.known, self.index, self.items, self.state, self.gates, self.on_event = request, known, index, items, state, gates, on_event
        self.patients = patients_of(items)
        self.folders = _folders(items)
        self.maker = self._maker(stated)
        self.asked: Counter[tuple[int | None, str]] = Counter()

    def _maker(self, stated: Mapping[str, Any]) -> Maker:
        if self.known is None:
            return ByTransforms(self.request, stated, self.index, self.items)
        if self.request.fill_by == "synthesis":
            return FromNoise(self.request, self.known.prior)
        return ByPrior(self.request, self.known.prior, self.items)

    def all(self) -> None:
        """Every round; with --fill what was refused too often is asked of the label's other scans."""
        tickets = planned(self.request, self.items)
        for turn in range(ROUNDS):
            self.round(turn, tickets)
            if self.request.fill is None:
                return
            have = Counter(row["label"] for row in self.rows())
            lack = {label: n - have[label] for label, n in lacking(self.request, self.items).items() if n > have[label]}
            bad = self.failed()
            usable = [item if at not in bad else _nobody(item) for at, item in enumerate(self.items)]
            tickets = spread(self.request, usable, lack, self.asked, turn=turn + 1)
            if not tickets or self.hopeless():
                return

    def round(self, turn: int, tickets: Sequence[Ticket]) -> None:
        together = batches(tickets, self.items)
        self.asked.update((ticket.source, ticket.label) for ticket in tickets)
        self.on_event(Event("stage", "varying the scans" if turn == 0 else "once more, for what was refused", 0, len(tickets)))
        done, warned = 0, False
        for n, batch in enumerate(together):
            key = f"{turn}/{n}"
            if key not in self.state:
                self.state.keep(key, self.batch(batch))
            done += len(batch)
            if self.hopeless() and not warned:
                warned = True
                text = "every variation so far is a near copy of its source, and nothing is drawn again: take a larger --strength, or --keep-copies"
                self.on_event(Event("warning", text))
            self.on_event(Event("step", done=done, total=len(tickets)))

    def batch(self, tickets: Sequence[Ticket]) -> dict[str, Any]:
        """Make, look, write what passes, and draw the rest again."""
        sources = sorted({ticket.source for ticket in tickets if ticket.source is not None})
        read = {sources[n]: volume for n, volume in loaded(self.index, [self.items[at] for at in sources])}
        failed = {str(at): why for at, why in read.items() if isinstance(why, str)}
        volumes = {at: volume for at, volume in read.items() if isinstance(volume, Volume)}
        line: dict[str, Any] = {"rows": [], "refused": [], "failed": failed, "drawn": 0, "copies": 0}
        waiting = [ticket for ticket in tickets if ticket.source is None or ticket.source in volumes]
        for attempt in range(1 if self.hopeless() else self.request.tries):
            if not waiting:
                break
            waiting = self.attempt(waiting, volumes, attempt, line)
        line["rows"].sort(key=lambda row: row["path"])
        return line

    def attempt(self, tickets: Sequence[Ticket], volumes: Mapping[int, Volume], attempt: int, line: dict[str, Any]) -> list[Ticket]:
        """Those that were refused."""
        found = self.maker.make(tickets, volumes, attempt)
        good = [(ticket, made) for ticket, made in zip(tickets, found, strict=True) if isinstance(made, Made)]
        for ticket, made in zip(tickets, found, strict=True):
            if isinstance(made, str):
                line["failed"][str(ticket.source) if ticket.source is not None else ticket.label] = made
        again = []
        line["drawn"] += len(good)
        for (ticket, made), seen in zip(good, self.gates.look([t for t, _ in good], [m.image for _, m in good]), strict=True):
            line["copies"] += seen.copy
            if seen.refused:
                line["refused"].append(self.refusal(ticket, made, seen, attempt))
                again.append(ticket)
            else:
                line["rows"].append(self.write(ticket, made, seen, attempt))
        return again

    def write(self, ticket: Ticket, made: Made, seen: Seen, attempt: int) -> dict[str, Any]:
        """One image with its marks, and its mask."""
        item = None if ticket.source is None else self.items[ticket.source]
        name, folder = self._name(ticket), self.folders[ticket.label]
        marks = {"prior_hash": self.known.sha256 if self.known else "", "seed": self.request.seed}
        fixed = "" if made.like is not None else ".png"
        kind = "augmented" if made.like is not None else "synthesized"
        path = written(Output(name, made.image, kind, like=made.like, suffix=fixed, window=made.window), self.state.outputs / folder, **marks)
        mask = ""
        if made.mask is not None and made.like_mask is not None:  # never a DICOM Segmentation: it would tie a made-up image to the patient
            suffix = ".nii.gz" if made.like_mask.provenance.format == "dicom" else ""
            place = self.state.outputs / "masks" / folder
            mask = written(Output(name, made.mask, "mask", like=made.like_mask, suffix=suffix), place, **marks).relative_to(self.state.outputs).as_posix()
        return {
            "path": path.relative_to(self.state.outputs).as_posix(),
            "label": ticket.label,
            "patient": "" if item is None else f"p{self.patients[item.patient or item.id]:05d}",
            "split": self.request.split if item is None else item.split,
            "mask": mask,
            "source": ticket.source,
            "attempt": attempt,
            "probability": seen.probability,
            "p": seen.p,
            "rho": seen.rho,
            "copy": seen.copy,
            **({"record": made.record} if made.record is not None else {}),
        }

    def refusal(self, ticket: Ticket, made: Made, seen: Seen, attempt: int) -> dict[str, Any]:
        """What was refused and why; a picture of the first few."""
        why = [name for name, yes in (("label", seen.lost), ("copy", seen.copy)) if yes]
        told = {"label": ticket.label, "source": ticket.source, "why": why, "probability": seen.probability, "p": seen.p, "rho": seen.rho, "picture": ""}
        name = f"{'_'.join(why)}_{self.folders[ticket.label]}"
        shown = len(list(self.state.examples.glob(f"{name}_*.png"))) if self.state.examples.is_dir() else 0
        if shown < 2:
            told["picture"] = f"{name}_{ticket.source}_{ticket.nth}_{attempt}.png"
            buffer = io.BytesIO()
            grey(upright(made.image), window_for(made.like or made.image)).save(buffer, "PNG")
            write_file(self.state.examples / told["picture"], buffer.getvalue())
        return told

    def _name(self, ticket: Ticket) -> str:
        if ticket.source is None:
            return f"new_{ticket.nth + 1:06d}"
        return f"{ticket.source + 1:0{len(str(len(self.items)))}d}_{ticket.nth + 1}"

    def rows(self) -> list[dict[str, Any]]:
        """Every image that was written, in order."""
        return [row for line in self.state.lines.values() for row in line["rows"]]

    def refused(self) -> list[dict[str, Any]]:
        return [one for line in self.state.lines.values() for one in line["refused"]]

    def failed(self) -> dict[int | str, str]:
        """Scan, or label of images from noise -> why nothing, or not all, could be made of it."""
        return {int(at) if at.isdigit() else at: why for line in self.state.lines.values() for at, why in line["failed"].items()}

    def hopeless(self) -> bool:
        drawn, copies = (sum(line[name] for line in self.state.lines.values()) for name in ("drawn", "copies"))
        return not self.request.keep_copies and drawn >= HOPELESS and copies == drawn

    def record(self, identity: Mapping[str, Any], identifier: str, device: str, seconds: float) -> dict[str, Any]:
        """run.json: no path and no file name."""
        request, metrics = self.request, self.metrics()
        overrides = [
            *(["another modality or unit than the prior's was allowed"] if request.allow_other else []),
            *(["scans marked synthetic were allowed"] if request.allow_synthetic else []),
            *(["near copies of real scans were kept: not for release"] if request.keep_copies else []),
            *(["no judge looked whether variations carry their label"] if request.judge == "off" and not request.classical else []),
        ]
        return {
            "id": identifier,
            "job": "augment",
            "request": dict(identity),
            "overrides": overrides,
            "prior": {"name": self.known.prior.card.name, "sha256": self.known.sha256} if self.known else None,
            "input": None,
            "data": {"scans": len(self.items), "patients": len(self.patients), "patients_named": all(i.patient for i in self.items), "split": request.split},
            "metrics": metrics,
            "device": device,
            "threads": torch.get_num_threads(),
            "versions": versions(),
            "finished": datetime.now(UTC).isoformat(timespec="seconds"),
            "seconds": {"job": round(seconds, 3)},
            "peak_mib": round(peak_mib(), 1),
            "complete": True,
        }

    def metrics(self) -> dict[str, Any]:
        """The mix, exact: what there was, what was asked for, what was written and what refused, by label."""
        rows, refused = self.rows(), self.refused()
        real, made = Counter(item.label for item in self.items), Counter(row["label"] for row in rows)
        first = Counter(ticket.label for ticket in planned(self.request, self.items))
        mix = {
            label or "no label": {
                "real": real[label],
                "asked": first[label],
                "written": made[label],
                "refused_for_label": sum(one["label"] == label and "label" in one["why"] for one in refused),
                "refused_as_copy": sum(one["label"] == label and "copy" in one["why"] for one in refused),
            }
            for label in sorted(real)
        }
        return {
            "mix": mix,
            "strength": None if self.request.classical or self.request.fill_by == "synthesis" else self.request.strength,
            "drawn": sum(line["drawn"] for line in self.state.lines.values()),
            "written": len(rows),
            "asked": sum(first.values()),
            "failed": len(self.failed()),
            "unusable": len(self.index.unusable),
            "short": bool(self.failed() or self.index.unusable or len(rows) < sum(first.values())),
            "gates": self.gates.record(),
        }

    def short(self) -> list[tuple[str, str]]:
        """(relative path, reason) of every file of the data set that gave nothing."""
        bad = [(self.items[n].path if isinstance(n, int) else f"images of label {n}", why) for n, why in sorted(self.failed().items(), key=str)]
        return [*bad, *((one.path, one.reason) for one in self.index.unusable)]


def _nobody(item: Item) -> Item:
    """A scan that no more is asked of."""
    return replace(item, label="\0")


def _folders(items: Sequence[Item]) -> dict[str, str]:
    """label -> name of its folder, each its own."""
    found: dict[str, str] = {}
    for label in sorted({item.label for item in items}):
        name = plain = file_name(label) if label else "no_label"
        n = 1
        while name in (*found.values(), "masks"):
            n += 1
            name = f"{plain}-{n}"
        found[label] = name
    return found


def _publish(out: Path, work: _Work, record: Mapping[str, Any]) -> None:
    """The run folder: images, tables, report; whole or not at all."""
    rows = work.rows()
    shown = Shown(work.request, work.gates, work.index, work.items, rows, work.refused(), work.state.outputs, work.state.examples)

    def fill(folder: Path) -> None:
        (folder / "outputs").mkdir()
        if work.state.outputs.is_dir():
            linked(work.state.outputs, folder / "outputs")
        write_file(folder / "outputs" / "scans.csv", _table([COLUMNS, *([row[name] for name in COLUMNS] for row in rows)]))
        if records := [json.dumps({"path": row["path"], **row["record"]}) for row in rows if "record" in row]:
            write_file(folder / "outputs" / "augmentation.jsonl", ("\n".join(records) + "\n").encode())
        names = ("path", "label", "source", "attempt", "probability", "p", "rho", "copy")
        write_file(folder / "variations.csv", _table([names, *(["" if row[name] is None else row[name] for name in names] for row in rows)]))
        if bad := work.short():
            write_file(folder / "failed.csv", _table([("path", "reason"), *bad]))
        write_file(folder / "preview.png", sheet_of(shown))
        write_file(folder / "events.jsonl", b"")
        lead = f"{len(work.items)} scans of a data set, split: {work.request.split}. {'No prior was asked.' if work.known is None else ''}"
        if work.known is not None:
            lead = f"{lead}Prior: {work.known.prior.card.name}."
        write_report(folder, "medprior augment, a data set", lead.strip(), section_of(shown, record["metrics"]), record)

    write_folder(out, fill)


def _table(rows: Sequence[Sequence[object]]) -> bytes:
    out = io.StringIO()
    csv.writer(out, lineterminator="\r\n").writerows([[csv_cell(cell) if isinstance(cell, str) else cell for cell in row] for row in rows])
    return out.getvalue().encode(errors="backslashreplace")
