"""What every evaluation shares: a folder of scans, its split and its patients; results kept scan by scan, so
that the same command continues.
"""

from __future__ import annotations

import csv
import io
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from numpy.typing import ArrayLike

from ...errors import FileProblem
from ...evidence.intervals import Estimate, interval
from ...io.dataset.index import patients_of
from ...io.dataset.listing import csv_cell
from ...io.dataset.scan import Index, Item
from ...io.disk.files import give_back, read_json, write_json
from ...prior.promises import patients_named
from ..ask.requests import EvaluateLearn, Evaluation
from ..core.inputs import LoadedPrior, device_named, indexed, known_prior
from ..core.outputs import Outcome
from ..core.progress import Event, OnEvent
from ..core.run import Run, RunFolder

__all__ = ["Collected", "evaluated", "rate_or_none", "results_csv", "scans_of", "span"]


class Collected:
    """Results by key; each is written down at once beside the folder to be, so that a stopped evaluation goes
    on where it was.
    """

    def __init__(self, out: Path, identifier: str) -> None:
        self.path, self.identifier = out.with_name(f"{out.name}.partial.json"), identifier
        try:
            stored = read_json(self.path)
        except FileProblem:
            stored = {}
        known = isinstance(stored, dict) and stored.get("id") == identifier
        self.found: dict[str, dict[str, Any]] = stored["found"] if known else {}

    def __contains__(self, key: str) -> bool:
        return key in self.found

    def __getitem__(self, key: str) -> dict[str, Any]:
        return self.found[key]

    def keep(self, key: str, result: dict[str, Any]) -> None:
        self.found[key] = result
        write_json(self.path, {"id": self.identifier, "found": self.found})

    def forget(self) -> None:
        """All is written where it belongs."""
        self.path.unlink(missing_ok=True)


@contextmanager
def scans_of(
    request: Evaluation | EvaluateLearn, on_event: OnEvent
) -> Iterator[tuple[Index, tuple[Item, ...], str]]:
    """(index, the chosen scans, which split they are of). Nothing is written into the data folder. Raises
    what ``scan`` and ``Index.usable`` raise.
    """
    with indexed(request.folder, request.unit, request.modality, on_event, request.layout) as index:
        split = (
            request.split
            if request.split != "auto"
            else request.auto_split
            if any(item.given for item in index.items)
            else "all"
        )
        yield (
            index,
            index.usable(None if split == "all" else split, allow_synthetic=request.allow_synthetic),
            split,
        )


def rate_or_none(
    statistic: Any, *columns: ArrayLike, patients: Sequence[object], strata: Sequence[object] | None = None
) -> dict[str, Any]:
    """A number with its interval over patients as JSON; low and high are None where too few patients stand
    behind it.
    """
    kinds = list(strata) if strata is not None else [0] * len(patients)
    fewest = min(len({p for p, k in zip(patients, kinds, strict=True) if k == kind}) for kind in set(kinds))
    if fewest < 2:
        return {
            "value": float(statistic(*columns)),
            "low": None,
            "high": None,
            "level": 0.95,
            "n": len(set(patients)),
        }
    return stored(interval(statistic, *columns, patients=patients, strata=strata))


def span(at: Mapping[str, Any] | Estimate, digits: int = 3) -> str:
    """The interval of ``rate_or_none`` in words."""
    at = stored(at) if isinstance(at, Estimate) else at
    return "too few patients" if at["low"] is None else f"{at['low']:.{digits}f} to {at['high']:.{digits}f}"


def stored(at: Estimate) -> dict[str, Any]:
    """An interval as JSON."""
    return {"value": at.value, "low": at.low, "high": at.high, "level": at.level, "n": at.n}


Work = Callable[[Any, LoadedPrior, Index, tuple[Item, ...], Collected, OnEvent], Outcome]
"""(request, known, index, items, collected, on_event) -> what was found."""


def evaluated(
    request: Evaluation | EvaluateLearn,
    on_event: OnEvent,
    work: Work,
    *,
    more: Mapping[str, Any] | None = None,
    every: bool = False,
    told: Callable[[Sequence[Item]], Sequence[object]] | None = None,
    known: LoadedPrior | None = None,
) -> RunFolder:
    """Index, evaluate, write one folder.

    more: what else makes this evaluation this one. every: it depends on the scans of all splits, not on the
    chosen ones alone. told: and on what this says of each chosen scan, which is not written. known: instead
    of the prior that the request names. The folder appears whole or not at all; until then what is done lies
    in OUT.partial.json, from which the same command continues.
    """
    started = time.monotonic()
    device = device_named(request.device)
    known = known if known is not None else known_prior(request.prior, device)
    with scans_of(request, on_event) as (index, items, split):
        used = index.items if every else items
        said = told(used) if told is not None else [""] * len(used)
        facts = [f"{i.digest}/{i.label}/{i.split}{text}" for i, text in zip(used, said, strict=True)]
        run = Run.of(request, started, device, **known.hashes, **(more or {}), scans=sorted(facts))
        if (done := run.done(on_event)) is not None:
            return done
        collected = Collected(run.out, run.id)
        if request.fresh:
            collected.found.clear()
        elif collected.found:
            on_event(Event("note", f"goes on: {len(collected.found)} results are there already"))
        try:
            found = work(request, known, index, items, collected, on_event)
        except BaseException:
            give_back(run.out)
            raise
    outcome = replace(
        found, overrides=_allowed(request), lead=found.lead or lead_of_scans(items, split, known)
    )
    record = run.record(
        outcome,
        prior=known.named,
        request={name: value for name, value in run.identity.items() if name != "scans"},
        input=None,
        data={
            "scans": len(items),
            "patients": len(patients_of(items)),
            "patients_named": all(item.patient for item in items),
            "split": split,
        },
    )
    done = run.publish(outcome, record)
    collected.forget()
    return done


def lead_of_scans(items: Sequence[Item], split: str, known: LoadedPrior) -> str:
    """The first line of an evaluation's page."""
    whose = (
        f"of {len(patients_of(items))} patients"
        if all(item.patient for item in items)
        else f"({patients_named(sum(bool(item.patient) for item in items), len(items))})"
    )
    return f"{len(items)} scans {whose}, split: {split}. Prior: {known.prior.card.name}."


def _allowed(request: Evaluation | EvaluateLearn) -> list[str]:
    said = {
        "allow_other": "another modality or unit than the prior's was allowed",
        "allow_synthetic": "scans marked synthetic were allowed",
    }
    return [text for name, text in said.items() if getattr(request, name)]


def results_csv(rows: Sequence[Sequence[object]]) -> dict[str, bytes]:
    """The table of single scans (first row: names) as a file of the run folder.

    It is for people: a label may hold commas and quotes, and no label is a formula. Numbers stay numbers,
    negative ones too.
    """
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(
        [[cell if _is_number(cell) else csv_cell(cell) for cell in map(str, row)] for row in rows]
    )
    return {"results.csv": text.getvalue().encode(errors="backslashreplace")}


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def caveats_of(items: Sequence[Item]) -> tuple[str, ...]:
    """What a reader of any evaluation must know about its patients."""
    named = sum(bool(item.patient) for item in items)
    lines = [
        "Whether the prior has learned from these scans cannot be seen here: evaluate on patients that it "
        "has not."
    ]
    if named < len(items):
        lines.append(
            f"{patients_named(named, len(items))}. Each of the others counts as one patient; if several are "
            "of one, the intervals are too narrow."
        )
    return tuple(lines)
