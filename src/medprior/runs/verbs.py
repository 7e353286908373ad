"""The verbs as a table, and as Python functions: the same requests, runs and pages as on the command line."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pydantic import ValidationError

from ..errors import BadOption, did_you_mean, file_faults
from ..io.disk.files import give_back
from .ask import requests as ask
from .ask.words import function_at
from .core.progress import OnEvent, show_progress

if TYPE_CHECKING:
    from .core.run import RunFolder

__all__ = ["VERBS", "calibrate", "evaluate", "label", "on_folder", "perform", "report"]

VERBS: dict[str, tuple[type[ask.Request | ask.Scan], str]] = {
    "detect": (ask.Detect, "execute:execute"),
    "explain": (ask.Explain, "execute:execute"),
    "reconstruct": (ask.Reconstruct, "execute:execute"),
    "augment": (ask.Augment, "execute:execute"),
    "augment-classical": (ask.AugmentClassical, "execute:execute"),
    "augment-set": (ask.AugmentSet, "execute:execute"),
    "synthesize": (ask.Synthesize, "execute:execute"),
    "train": (ask.Train, "learn.train:run_train"),
    "adapt": (ask.Adapt, "learn.adapt:run_adapt"),
    "label": (ask.Label, "label.run:run_label"),
    "learn": (ask.Learn, "learn.head:run_learn"),
    "predict": (ask.Predict, "many.predict:run_predict"),
    "read": (ask.Read, "reading.run:run_read"),
    "evaluate reconstruct": (ask.EvaluateReconstruct, "studies.reconstruct:run_evaluate_reconstruct"),
    "evaluate detect": (ask.EvaluateDetect, "studies.detect:run_evaluate_detect"),
    "evaluate explain": (ask.EvaluateExplain, "studies.explain:run_evaluate_explain"),
    "evaluate augment": (ask.EvaluateAugment, "studies.augment:run_evaluate_augment"),
    "evaluate learn": (ask.EvaluateLearn, "curves:run_evaluate_learn"),
    "calibrate reconstruct": (
        ask.CalibrateReconstruct,
        "studies.calibrate_reconstruct:run_calibrate_reconstruct",
    ),
    "calibrate detect": (ask.CalibrateDetect, "studies.calibrate_detect:run_calibrate_detect"),
    "calibrate synthesize": (
        ask.CalibrateSynthesize,
        "studies.calibrate_synthesize:run_calibrate_synthesize",
    ),
    "scan": (ask.Scan, "scan:run_scan"),
}
"""The verbs that make a run folder: the options, whose docstring is the help, and "module:function" in runs,
which takes a request and a listener.
"""


def perform(where: str, request: ask.Request | ask.Scan, on_event: OnEvent) -> RunFolder | None:
    """Do a request. where: "module:function" of ``VERBS``. None: a helper of several training processes.

    Raises a MedpriorError for whatever the disk refuses.
    """
    try:
        with file_faults(request.out or "runs"):
            return function_at(where)(request, on_event)
    finally:
        give_back()


def calibrate(
    job: Literal["detect", "reconstruct", "synthesize"],
    folder: str | Path,
    prior: str | Path,
    *,
    progress: bool = True,
    **options: Any,
) -> RunFolder:
    """Measure on held-out patients of a data set how far a prior's results may be off.

    The result is stored in the prior's folder (``into=`` for a copy; a bundled prior needs one). options: as
    for ``medprior calibrate JOB``, with underscores. progress: show a bar. Raises BadOption for an unknown
    option, and what the run raises.
    """
    return _run(f"calibrate {job}", progress, folder=folder, prior=str(prior), **options)


def evaluate(
    job: Literal["reconstruct", "detect", "augment", "explain", "learn"],
    folder: str | Path,
    prior: str | Path = "",
    *,
    progress: bool = True,
    **options: Any,
) -> RunFolder:
    """Measure a prior on a data set, beside plain methods, with intervals over patients.

    options: as for ``medprior evaluate JOB``, with underscores. progress: show a bar. Raises BadOption for an
    unknown option, and what the run raises.
    """
    return _run(f"evaluate {job}", progress, folder=folder, prior=str(prior), **options)


def label(
    folder: str | Path, prior: str | Path, n: int = 20, *, progress: bool = True, **options: Any
) -> RunFolder:
    """Propose the scans whose labels help most, and take in the answers of readers; ``Labelling`` does the
    same without a page.

    n: how many. options: as for ``medprior label``, with underscores. progress: show a bar. Raises BadOption
    for an unknown option, and what the run raises.
    """
    return _run("label", progress, folder=folder, prior=str(prior), n=n, **options)


def on_folder(
    job: Literal["detect", "explain", "predict", "reconstruct"],
    folder: str | Path,
    *,
    progress: bool = True,
    **options: Any,
) -> RunFolder:
    """Do a job on every scan of a folder, as ``medprior JOB FOLDER`` does: results.csv, a page with the most
    unusual first, resumable to the scan.

    options: as for ``medprior JOB``, with underscores: ``on_folder("detect", "films", prior="my_prior",
    workers=8)``. progress: show a bar. The DICOM files of one series are one scan. Raises BadOption for an
    unknown option, and what the run raises.
    """
    if job not in ("detect", "explain", "predict", "reconstruct"):
        raise BadOption(f"{job}: no job for a folder", "detect, explain, predict or reconstruct")
    return _run(job, progress, input=folder, **options)


def report(*runs: str | Path, out: str | Path | None = None) -> RunFolder:
    """Make the page of one run again from its folder, or compare several runs on one page in ``out``."""
    from .rebuild import reported  # torch, which --help does without

    return reported([Path(run) for run in runs], None if out is None else Path(out))


def _run(words: str, progress: bool, **values: Any) -> RunFolder:
    if words not in VERBS:
        raise BadOption(f"{words}: no such verb", did_you_mean(words, list(VERBS)))
    request, where = VERBS[words]
    try:
        made = request.model_validate(values)
    except ValidationError as error:
        raise ask.explained(error, list(request.model_fields)) from None
    with show_progress(quiet=not progress) as listen:
        done = perform(where, made, listen)
    if done is None:
        raise BadOption(f"{words}: this process only helps another one")
    return done
