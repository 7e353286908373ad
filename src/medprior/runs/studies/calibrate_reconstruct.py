"""Calibrate reconstruct: simulated measurements of other patients' scans -> the scale at which intervals
hold, in the prior's trust.json.
"""

from __future__ import annotations

from dataclasses import asdict, replace
from datetime import date
from hashlib import sha256
from pathlib import Path
from typing import Any

import torch

from ...errors import BadOption
from ...evidence.calibration import SCALES
from ...io.dataset.scan import Index, Item
from ...io.disk.files import give_back, hold
from ...jobs.calibrate import CaseResiduals, calibration_entry, narrower_than_one_width, residuals_of
from ...jobs.reconstruct import Settings, how_of
from ...prior import Prior
from ...prior.promises import IntervalPromise, MeasurementKind, patients_needed
from ...training.folder import bundled, locate, read_healthy, read_promises, save_promises
from ..ask.requests import TASKS, CalibrateReconstruct, Calibration
from ..core.cost import announce_reconstruction
from ..core.inputs import LoadedPrior
from ..core.outputs import Outcome, Summary
from ..core.progress import Event, OnEvent
from ..core.run import RunFolder
from ..page.blocks import Charts, Section, Table
from ..page.charts import NEUTRAL, Chart, Series, chart_image
from ..reconstruct.run import solved
from ..reconstruct.simulate import case_of
from ..reconstruct.trust import LEVEL
from .reconstruct import asked, choose_images, with_volumes
from .study import Collected, caveats_of, evaluated, results_csv

__all__ = ["into", "run_calibrate_reconstruct", "title_of"]


def run_calibrate_reconstruct(request: CalibrateReconstruct, on_event: OnEvent) -> RunFolder:
    """Calibrate, write the run folder, then the prior's promises. Raises what ``evaluated`` raises, BadOption
    for a bundled prior without ``into``.
    """
    source, target, keeper = into(request)
    kept = read_promises(keeper)
    done = evaluated(request, on_event, _work)
    promise = IntervalPromise.from_json(done.record["metrics"]["entry"])
    others = [one for one in kept.reconstruct if not _replaced(one, promise)]
    save_promises(source, replace(kept, reconstruct=(*others, promise)), target, healthy=read_healthy(keeper))
    on_event(
        Event(
            "note", f"written into {target.name}/trust.json: intervals of this kind are printed from now on"
        )
    )
    give_back(target)
    return done


def into(request: Calibration) -> tuple[Path, Path, Path]:
    """Folder of the prior, folder for the calibrated one, and that of the two whose promises, and healthy
    scans, stay. The calibrated one is held from here on: what two write at once would be lost.

    Raises BadOption for a bundled prior without ``into``, FileProblem where another process works on it.
    """
    source = locate(request.prior)
    target = request.into or source
    if request.into is None and source in bundled().values():
        raise BadOption(
            f"into: the bundled prior {request.prior!r} is not changed in its place",
            "give --into FOLDER for a calibrated copy",
        )
    hold(target)
    return source, target, target if (target / "card.json").is_file() else source


def _replaced(old: IntervalPromise, new: IntervalPromise) -> bool:
    """The new entry is for the same, or the old one is by a method that no reconstruction uses any more."""
    return old.how.method != new.how.method or not (old.how.apart(new.how) or old.kind.apart(new.kind))


def _work(
    request: CalibrateReconstruct,
    known: LoadedPrior,
    index: Index,
    items: tuple[Item, ...],
    collected: Collected,
    on_event: OnEvent,
) -> Outcome:
    images = choose_images(request, known.prior, items)
    patients, needed = len({image.patient for image in images}), patients_needed(1 - LEVEL)
    if patients < needed:
        raise BadOption(
            f"calibrate: intervals at {LEVEL:.0%} need {needed} patients, got {len(images)} images of "
            f"{patients}: {needed - patients} patients are missing",
            "give scans of more patients; more slices of the same do not help",
        )
    fresh = [image for image in images if image.key not in collected]
    prior = Prior(
        known.prior.net, known.prior.path, known.prior.card
    )  # what was calibrated before has no part in it
    for done, (image, volume) in enumerate(with_volumes(index, images, collected)):
        wanted = asked(request, image)
        case = case_of(wanted, prior, volume)
        if not done:
            announce_reconstruction(
                prior,
                case.measurement,
                on_event,
                fast=request.fast,
                n=request.n,
                steps=request.steps,
                scans=len(fresh),
            )
            on_event(Event("stage", "reconstructing", 0, len(fresh)))
        draws = solved(wanted, prior, case.measurement)
        found = residuals_of(draws, case.image, case.measurement, case.scale, str(image.patient))
        collected.keep(image.key, {**asdict(found), "sentence": case.sentence})
        on_event(Event("step", done=done + 1, total=len(fresh)))
    named = sum(bool(image.item.patient) for image in images)
    rows, keys = [collected[image.key] for image in images], [image.key for image in images]
    return _summary(request, items, rows, keys, named)


def title_of(task: str) -> str:
    """A measurement of ``TASKS`` in words, e.g. "mri acceleration 4"."""
    return " ".join(
        f"{key} {value:g}" if isinstance(value, float | int) else value for key, value in TASKS[task].items()
    )


def _summary(
    request: CalibrateReconstruct,
    items: tuple[Item, ...],
    rows: list[dict[str, Any]],
    keys: list[str],
    named: int,
) -> Outcome:
    found = [
        CaseResiduals(
            **{**{k: v for k, v in row.items() if k != "sentence"}, "kind": MeasurementKind(**row["kind"])}
        )
        for row in rows
    ]
    settings = Settings(n_steps=request.steps)
    how = how_of(settings, 1 if request.fast else request.n, request.fast)
    promise = replace(
        calibration_entry(found, how, title_of(request.task), level=LEVEL, named=named),
        simulated=True,
        data=sha256("\n".join(sorted(keys)).encode()).hexdigest(),
        date=str(date.today()),
    )
    table = [["image", "patient", "psnr_db", "mean squared error over mean squared deviation"]]
    table += [
        [str(n), one.patient, f"{one.psnr_db:.4f}", f"{one.ratio:.5f}"]
        for n, one in enumerate(found, start=1)
    ]
    section = _section(request, items, found, promise, rows[0]["sentence"])
    return Outcome(
        {"entry": promise.to_json(), "simulated": rows[0]["sentence"]},
        [section],
        [("share of voxels inside, by scale of the interval", chart_image(_chart(found, promise)))],
        interval_calibration(promise),
        files=results_csv(table),
    )


def interval_calibration(promise: IntervalPromise) -> Summary:
    """What intervals of this kind rest on from now on."""
    at = promise.calibration
    text = f"{LEVEL:.0%} interval for {promise.title}: {at.scale:.2f} deviations"
    line = f"{text}, from {at.basis}; median width {promise.median_width / 2:.3g} of the intensity range."
    return Summary((line,), f"{text} ({at.patients} patients)")


def _section(
    request: CalibrateReconstruct,
    items: tuple[Item, ...],
    found: list[CaseResiduals],
    promise: IntervalPromise,
    sentence: str,
) -> Section:
    at = promise.calibration
    inside = [
        one.curve[int(torch.searchsorted(SCALES, torch.tensor(at.scale * (1 - 1e-9), dtype=torch.float64)))]
        for one in found
    ]
    rows = [["what", "value"]]
    rows += [
        ["images, patients", at.basis],
        ["units of the promise", at.units],
        [
            "result",
            "point estimate" if request.fast else f"mean of {request.n} draws, {request.steps} levels",
        ],
        [
            "scale of the interval",
            f"{at.scale:.2f} deviations (1.64 would do if they were Gaussian and right)",
        ],
        ["voxels inside, worst image", f"{min(inside):.1%}"],
        ["median width", f"{promise.median_width / 2:.4f} of the intensity range"],
        *_rival(found),
        ["mean squared error promised", f"at most {at.error:.2f} mean squared deviations"],
        ["mean PSNR", f"{promise.psnr_db:.2f} dB"],
    ]
    return Section(
        f"Calibrate reconstruct: {promise.title}",
        f"SIMULATED measurements; first image: {sentence}. Of a new scan of this kind, {LEVEL:.0%} of the "
        "body's voxels lie inside, in the mean over scans and patients "
        "(conformal risk control), as far as new scans come as these did.",
        [Charts([_chart(found, promise)]), Table(rows, words=True)],
        caveats=(
            *caveats_of(items),
            "The patients are the units: images of one are averaged, and more of them narrow nothing.",
        ),
    )


def _rival(found: list[CaseResiduals]) -> list[list[str]]:
    """The trivial interval beside ours."""
    share = narrower_than_one_width(found, LEVEL)
    if share is None:
        return []
    said = "narrower" if share >= 0 else "WIDER"
    return [["beside one width for all voxels", f"{abs(share):.1%} {said} on average, at the same coverage"]]


def _chart(found: list[CaseResiduals], promise: IntervalPromise) -> Chart:
    scales = SCALES.tolist()
    lines = [Series("line", scales, [float(share) for share in one.curve], faint=True) for one in found]
    chosen = Series("level", x=[promise.calibration.scale], colour=1, dashed=True)
    return Chart(
        "Share of the body's voxels inside",
        "Each line is an image. The dashed line is the scale that was chosen, the grey one the level wanted.",
        "scale of the interval, in deviations",
        "share of voxels inside",
        [*lines, Series("level", y=[LEVEL], colour=NEUTRAL), chosen],
        log_x=True,
    )
