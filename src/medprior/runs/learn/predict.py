"""Predict as a run: what a head says of a scan or of every scan of a folder, as a table and a page."""

from __future__ import annotations

import csv
import io
import time
from collections import Counter
from collections.abc import Iterator, Sequence

from ...data.plain import JsonObject
from ...data.volume import Volume
from ...errors import BadOption, optional
from ...io.dataset.listing import csv_cell
from ...jobs.learn import Prediction, predictions
from ...learning.features import volume_features
from ...learning.head_folder import Head, load_head
from ...learning.head_model import looker_of
from ...training.folder import load
from ..ask.requests import Predict
from ..core.inputs import about, device_named, elsewhere, indexed, scan_hash, scan_of
from ..core.outputs import Outcome, Summary
from ..core.progress import Event, OnEvent
from ..core.run import Run, RunFolder
from ..page.blocks import Section, Table
from .masks import segmented

__all__ = ["run_predict"]

SHOWN = 200
"""Rows of the table on the page; predictions.csv has them all."""


def run_predict(request: Predict, on_event: OnEvent) -> RunFolder:
    """Predict and write the run folder with predictions.csv.

    Raises what ``load_head`` and ``read`` raise, WrongKind for a scan that the prior was not made for.
    """
    started, device = time.monotonic(), device_named(request.device)
    head = load_head(request.head, load(request.prior) if request.prior else None)
    facts = {"head_sha256": head.digest, "prior_sha256": head.card.prior_sha256}
    if not request.input.is_dir():
        volume = scan_of(request)
        if not isinstance(volume, Volume):
            raise BadOption("predict: wanted an image, got a measurement", "reconstruct it first")
        digest = scan_hash(volume)
        run = Run.of(request, started, device, **facts, scans=[digest])
        if (done := run.done(on_event)) is not None:
            return done
        if head.card.kind == "segmenter":
            return _segmented(run, request, head, [volume], ["segmentation"], about(volume, digest))
        found = _asked(request, head, iter([volume]), 1, device, on_event)
        reported = _reported(volume, head, found[0])
        return _written(run, request, head, ["scan"], found, (about(volume, digest), reported))
    with indexed(request.input, request.unit, request.modality, on_event, request.layout) as index:
        items = index.usable(allow_synthetic=True)
        run = Run.of(request, started, device, **facts, scans=sorted(item.digest for item in items))
        if (done := run.done(on_event)) is not None:
            return done
        volumes = (volume for _, volume in index.volumes(items))
        if head.card.kind == "segmenter":
            digits = len(str(len(items)))
            names = [f"segmentation-{n:0{digits}d}" for n in range(1, len(items) + 1)]
            return _segmented(run, request, head, list(volumes), names, None)
        found = _asked(request, head, volumes, len(items), device, on_event)
    names = [f"{item.path}#{item.part}" if item.part else item.path for item in items]
    return _written(run, request, head, names, found, (None, None))


def _reported(volume: Volume, head: Head, found: Prediction) -> tuple[Volume, object] | None:
    """What a structured report says, for a scan from DICOM; None for others."""
    if volume.provenance.format != "dicom":
        return None
    optional("highdicom", "dicom", "a DICOM segmentation, map or report")
    from ...io.dicom.write.structured_report import ReportContent  # highdicom takes a second

    kept = f"Labels that cannot be ruled out: {', '.join(found.labels)}." if found.labels else ""
    how = (
        f"By a head on prior {head.card.prior}; {'' if found.calibrated else 'un'}calibrated. {kept}".strip()
    )
    return volume, ReportContent(0.0, None, 0, (), how, tuple(found.probabilities.items()))


def _segmented(
    run: Run, request: Predict, head: Head, volumes: Sequence[Volume], names: Sequence[str], scan: object
) -> RunFolder:
    outputs, rows, section = segmented(head, volumes, names, allow_other=request.allow_other)
    outcome = Outcome(
        {"segmentations": len(outputs)},
        [section],
        [],
        Summary((section.verdict,), section.verdict),
        outputs,
        files={"predictions.csv": table_of(rows)},
        title="medprior predict",
        lead=f"{len(volumes)} scans. {head!r}.",
    )
    return run.publish(outcome, _record(run, request, head, outcome, scan))


def _record(run: Run, request: Predict, head: Head, outcome: Outcome, scan: object) -> JsonObject:
    return run.record(
        outcome,
        prior={"name": head.card.prior, "sha256": head.card.prior_sha256},
        request={name: value for name, value in run.identity.items() if name != "scans"},
        input=scan,
    )


def table_of(rows: Sequence[Sequence[str]]) -> bytes:
    """A table as CSV; no name is a formula."""
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows([csv_cell(row[0]), *row[1:]] for row in rows)
    return text.getvalue().encode(errors="backslashreplace")


def _asked(
    request: Predict, head: Head, volumes: Iterator[Volume], total: int, device: str, on_event: OnEvent
) -> list[Prediction]:
    on_event(Event("stage", "looking at every scan with the prior", 0, total))
    found = volume_features(
        elsewhere(head.prior, device),
        volumes,
        head.features_for(allow_other=request.allow_other),
        lambda n: on_event(Event("step", done=n, total=total)),
        looker_of(head),
    )
    return predictions(head, found.numpy())


def _written(
    run: Run,
    request: Predict,
    head: Head,
    names: Sequence[str],
    found: Sequence[Prediction],
    input_: tuple[object, tuple[Volume, object] | None],
) -> RunFolder:
    """input_: what is said of a single scan, and its structured report."""
    card = head.card
    titles = ["scan", "label", "set", *(f"p {name}" for name in card.classes)]
    rows = [
        [name, one.label, " or ".join(one.labels), *(f"{p:.4f}" for p in one.probabilities.values())]
        for name, one in zip(names, found, strict=True)
    ]
    counts = Counter(one.label or "none" for one in found)
    unsure = sum(len(one.labels) > 1 for one in found)
    verdict = (
        str(found[0])
        if len(found) == 1
        else (
            ", ".join(f"{name} {n}" for name, n in counts.most_common())
            + (f"; it cannot tell for {unsure}" if card.reach is not None else "")
        )
    )
    said = "calibrated" if card.calibrated else "uncalibrated"
    how = f"Probabilities are {said}."
    if card.reach is not None:
        how += (
            f" A set holds the labels that cannot be ruled out: it covers {card.level:.0%} of patients like "
            "those learned from."
        )
    section = Section(
        "Predictions",
        how,
        [Table([titles, *rows[:SHOWN]], note="predictions.csv has all rows." if len(rows) > SHOWN else "")],
        verdict=verdict,
        caveats=(
            "The head was checked on patients like those that it learned from; another scanner or hospital "
            "may differ.",
        ),
    )
    outcome = Outcome(
        {"predictions": len(found), "counts": dict(counts), "unsure": unsure},
        [section],
        [],
        Summary((verdict,), verdict),
        overrides=["another modality or unit than the prior's was allowed"] if request.allow_other else [],
        scored=input_[1],
        files={"predictions.csv": table_of([titles, *rows])},
        title="medprior predict",
        lead=f"{len(found)} scans. {head!r}.",
    )
    return run.publish(outcome, _record(run, request, head, outcome, input_[0]))
