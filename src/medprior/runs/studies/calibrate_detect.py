"""Calibrate detect: healthy scans that the prior learned from -> what healthy looks like to it; held-out
healthy patients -> p-values and the map's scale.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np

from ...errors import BadOption
from ...evidence.conformal import patients_needed, smallest_p
from ...healthy.model import EVIDENCE, LEAST, HealthyModel, fingerprint, n_variants_for
from ...io.dataset.cache import keyed_hashes
from ...io.dataset.index import digest_of, one_each, patients_of
from ...io.dataset.scan import Index, Item
from ...io.disk.files import give_back
from ...jobs.detect import HEALTHY, evaluations
from ...jobs.detection.calibrate import ALPHA, calibrate_detection, learn_healthy
from ...jobs.detection.gate import known_parts
from ...prior.promises import DetectPromise, patients_named
from ...training.folder import read_healthy, read_promises, save_promises
from ..ask.requests import CalibrateDetect
from ..core.cost import announce
from ..core.inputs import LoadedPrior, of_split
from ..core.outputs import Outcome, Summary
from ..core.progress import Event, OnEvent
from ..core.run import RunFolder
from ..detect.page import EVIDENCE_IN_WORDS
from ..page.blocks import Charts, Section, Table
from ..page.charts import NEUTRAL, Chart, Series, chart_image
from .calibrate_reconstruct import into
from .detect import healthy_label
from .study import Collected, caveats_of, evaluated, results_csv

__all__ = ["run_calibrate_detect"]


def run_calibrate_detect(request: CalibrateDetect, on_event: OnEvent) -> RunFolder:
    """Learn and calibrate, write the run folder, then the prior's. Raises what ``evaluated`` raises,
    BadOption for a bundled prior without ``into``.
    """
    source, target, keeper = into(request)
    learned: dict[str, Any] = {}

    def work(
        request: CalibrateDetect,
        known: LoadedPrior,
        index: Index,
        items: tuple[Item, ...],
        collected: Collected,
        on_event: OnEvent,
    ) -> Outcome:
        result = _work(request, known, index, items, on_event)
        learned.update(known.prior.healthy)
        return result

    def whose(items: Sequence[Item]) -> list[int]:
        numbers = patients_of(items)
        return [numbers[item.owner] for item in items]

    form = {"form": 3}
    done = evaluated(request, on_event, work, more=form, every=True, told=whose)
    promise = DetectPromise.from_json(done.record["metrics"]["entry"])
    if not learned and not _holds(
        target, promise
    ):  # the run is complete, but the prior that it wrote is another one or gone
        on_event(Event("note", "its prior is not there any more: it is calibrated again"))
        done = evaluated(
            request.model_copy(update={"fresh": True}), on_event, work, more=form, every=True, told=whose
        )
        promise = DetectPromise.from_json(done.record["metrics"]["entry"])
    if learned:
        save_promises(source, replace(read_promises(keeper), detect=promise), target, healthy=learned)
        on_event(Event("note", f"written into {target.name}: detection gives p-values from now on"))
    give_back(target)
    return done


def _holds(folder: Path, promise: DetectPromise) -> bool:
    if not (folder / "card.json").is_file():
        return False
    return read_promises(folder).detect == promise and fingerprint(read_healthy(folder)) == promise.memory


def _work(
    request: CalibrateDetect, known: LoadedPrior, index: Index, items: tuple[Item, ...], on_event: OnEvent
) -> Outcome:
    prior = known.prior
    teachers, held = _divided(request, index, items)
    if short := _short_of_flags(len(held)):
        on_event(Event("warning", short))
    _, first = next(index.volumes([teachers[0]]))
    admitted = prior.admit(first, allow_other=request.allow_other)
    scans = len(teachers) * (1 + n_variants_for(admitted.images)) + len(held)
    announce(
        prior,
        scans * len(admitted.images),
        tuple(admitted.images.shape[2:]),
        evaluations(0, admitted.images),
        on_event,
    )
    on_event(Event("stage", "learning what healthy scans look like", 0, len(teachers)))
    progress = _progress(on_event, len(teachers))
    patients, volumes = ([item.owner for item in teachers], (volume for _, volume in index.volumes(teachers)))
    learn_healthy(
        prior,
        volumes,
        patients=patients,
        seed=request.seed,
        allow_other=request.allow_other,
        on_step=progress,
    )
    on_event(Event("stage", "holding other healthy patients against them", 0, len(held)))
    found = calibrate_detection(
        prior,
        (volume for _, volume in index.volumes(held)),
        allow_other=request.allow_other,
        on_step=_progress(on_event, len(held)),
    )
    splits = " and ".join(sorted(_splits(request, items)))
    key_name, hashed = keyed_hashes(item.digest for item in [*teachers, *held])
    named = patients_named(sum(bool(item.patient) for item in held), len(held))
    promise = replace(
        found,
        n_kind=len(known_parts(HealthyModel.of(prior.healthy).kind, found)),
        calibrated_on=f"{len(held)} healthy patients of the {splits} split",
        learned_from=len(teachers),
        data=digest_of([*teachers, *held]),
        date=str(date.today()),
        scans=tuple(sorted(hashed)),
        key_name=key_name,
        patients=named.removeprefix("patients: "),
    )
    return _outcome(promise, held, prior.card.name)


def _splits(request: CalibrateDetect, items: Sequence[Item]) -> set[str]:
    """Of the patients that calibrate. Without stated splits auto means all, and test stays out."""
    return {"val"} if request.split == "auto" else {item.split for item in items} - {"train"}


def _divided(request: CalibrateDetect, index: Index, items: Sequence[Item]) -> tuple[list[Item], list[Item]]:
    """(healthy scans to learn, one of each healthy patient to calibrate with). Raises BadOption for too
    few.
    """
    label, splits = _label(request, index), _splits(request, items)
    train = of_split(index, "train", allow_synthetic=request.allow_synthetic)
    teachers = [item for item in train if item.label == label]
    others = one_each([item for item in items if item.split in splits], unlabelled=True)
    held = [item for item in others if item.label == label]
    if len(teachers) < LEAST:
        raise BadOption(
            f"calibrate: wanted at least {LEAST} healthy scans in the train split, got {len(teachers)}",
            "give the folder that the prior learned from",
        )
    if len(held) < 4:
        raise BadOption(
            f"calibrate: wanted at least 4 healthy patients outside of the train split, got {len(held)}",
            "add patients to val; better 40",
        )
    return teachers, held


def _outcome(promise: DetectPromise, held: Sequence[Item], prior: str) -> Outcome:
    """prior: its name."""
    table: list[list[object]] = [["patient", *EVIDENCE, "highest value of the map"]]
    table += [
        [n, *(promise.evidence[name][n - 1] for name in EVIDENCE), peak]
        for n, peak in enumerate(promise.peaks, start=1)
    ]
    return Outcome(
        {"entry": promise.to_json()},
        [_section(promise, held)],
        [("evidence of held-out healthy patients", chart_image(_chart(promise)))],
        detection_calibration(promise),
        files=results_csv(table),
        lead=f"{promise.learned_from} healthy scans of the train split learned, {promise.calibrated_on} "
        f"calibrate. Prior: {prior}.",
    )


def detection_calibration(promise: DetectPromise) -> Summary:
    """How many patients calibrate, and what their number does not allow yet."""
    n = promise.n_healthy
    named = f" (patients: {promise.patients})" if promise.patients else ""
    text = f"{promise.learned_from} healthy scans learned, {n} healthy patients calibrate{named}"
    line, short = f"{text}: the smallest p-value is {smallest_p(n):.2g}.", _short_of_flags(n)
    return Summary((line, short) if short else (line,), f"{text}; no flags" if short else text)


def _short_of_flags(n: int) -> str:
    """What n healthy patients cannot support, and how many more are needed; "" where they suffice."""
    if (more := patients_needed(ALPHA) - n) <= 0:
        return ""
    needed = f"{more} more healthy patient{' is' if more == 1 else 's are'} needed"
    return f"No flags, and the map's scale is not calibrated: {needed}."


def _progress(on_event: OnEvent, total: int) -> Any:
    return lambda done: on_event(Event("step", done=done, total=total))


def _label(request: CalibrateDetect, index: Index) -> str:
    """The label of healthy scans; in a folder without labels all are taken for healthy. Raises BadOption."""
    return (
        healthy_label(request.healthy, index.labels, HEALTHY)
        if index.labels or request.healthy is not None
        else ""
    )


def _section(promise: DetectPromise, held: Sequence[Item]) -> Section:
    n = promise.n_healthy
    rows = [["what", "value"]]
    rows += [
        ["healthy scans learned", str(promise.learned_from)],
        ["healthy patients held out", f"{n} (patients: {promise.patients})" if promise.patients else str(n)],
        ["smallest p-value", f"{smallest_p(n):.3g}"],
        [
            "flags at 5 %",
            "given"
            if n >= patients_needed(ALPHA)
            else f"refused: at least {patients_needed(ALPHA)} patients are needed",
        ],
        [
            "gate before the score",
            f"knows {promise.n_kind} patients"
            if promise.n_kind >= patients_needed(ALPHA)
            else "NONE: at least 19 patients are needed",
        ],
        ["plain scores kept beside ours", ", ".join(promise.plain)],
        [
            "top of the map's scale",
            "not calibrated" if promise.map_high is None else f"{promise.map_high:.2f} deviations",
        ],
    ]
    parts = [["evidence", "mean", "standard deviation", "what it measures"]]
    parts += [
        [name, f"{np.mean(values):+.2f}", f"{np.std(values):.2f}", EVIDENCE_IN_WORDS[name]]
        for name, values in promise.evidence.items()
    ]
    return Section(
        "Calibrate detect: healthy scans, and others of their kind",
        "Every later scan is ranked among the held-out patients: its p-value is the share of them that look "
        "at least as unusual.",
        [
            Charts([_chart(promise)]),
            Table(rows, words=True),
            Table(
                parts,
                "Held-out patients lie above 0 where the prior knows the scans it learned better than "
                "others.",
                words=True,
            ),
        ],
        caveats=(
            "Healthy is what the label says; a finding that was not written down becomes part of healthy.",
            "p-values hold for patients who come as these did: same scanners, same way of scanning.",
            f"{promise.recognised[0].upper()}{promise.recognised[1:]}.",
            *caveats_of(held),
        ),
    )


def _chart(promise: DetectPromise) -> Chart:
    """One dot a patient for each kind of evidence."""
    series = []
    for n, name in enumerate(EVIDENCE):
        values = promise.evidence[name]
        series.append(Series("points", (n + np.linspace(-0.25, 0.25, len(values))).tolist(), values))
    zero = Series("level", y=[0.0], colour=NEUTRAL)
    return Chart(
        "Held-out healthy patients",
        "Each dot is a patient. 0 is the mean of the scans that were learned, 1 their mean deviation.",
        "evidence",
        "deviations of the scans learned",
        [zero, *series],
        ticks=[(n, name) for n, name in enumerate(EVIDENCE)],
    )
