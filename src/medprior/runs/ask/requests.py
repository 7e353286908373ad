"""What a person may ask for: one model a job, said once, true as command line, YAML, web form and run.json.

Importing this module loads pydantic and nothing heavier.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import ValidationError

from ...errors import BadOption, did_you_mean
from .jobs import (
    KNOBS,
    TASKS,
    Adapt,
    Augment,
    AugmentClassical,
    AugmentSet,
    Detect,
    Explain,
    Label,
    Reconstruct,
    Scan,
    Synthesize,
    Train,
)
from .learning import EvaluateLearn, Learn, Predict
from .reading import Read
from .request import HasScan, OneScan, Request, WithPrior, explained
from .studies import (
    CalibrateDetect,
    CalibrateReconstruct,
    CalibrateSynthesize,
    Calibration,
    EvaluateAugment,
    EvaluateDetect,
    EvaluateExplain,
    EvaluateReconstruct,
    Evaluation,
)

__all__ = [
    "KNOBS",
    "REQUESTS",
    "TASKS",
    "Adapt",
    "Augment",
    "AugmentClassical",
    "AugmentSet",
    "CalibrateDetect",
    "CalibrateReconstruct",
    "CalibrateSynthesize",
    "Calibration",
    "Detect",
    "EvaluateAugment",
    "EvaluateDetect",
    "EvaluateExplain",
    "EvaluateLearn",
    "EvaluateReconstruct",
    "Evaluation",
    "Explain",
    "HasScan",
    "Label",
    "Learn",
    "OneScan",
    "Predict",
    "Read",
    "Reconstruct",
    "Request",
    "Scan",
    "Synthesize",
    "Train",
    "WithPrior",
    "explained",
    "request_from",
]

REQUESTS: dict[str, type[Request]] = {
    r.job: r
    for r in (
        *(Reconstruct, Augment, AugmentClassical, AugmentSet, Synthesize, Detect, Explain, Train, Adapt),
        *(Label, Learn, Predict, Read),
        *(EvaluateReconstruct, EvaluateDetect, EvaluateAugment, EvaluateExplain, EvaluateLearn),
        *(CalibrateReconstruct, CalibrateDetect, CalibrateSynthesize),
    )
}


def request_from(job: str, values: Mapping[str, Any]) -> Request:
    """A request from plain values (YAML, a form, run.json). Raises BadOption naming every wrong field, with
    the nearest name of an unknown one.
    """
    if job not in REQUESTS:
        raise BadOption(f"job: {job!r} is not known", did_you_mean(job, list(REQUESTS)))
    try:
        return REQUESTS[job].model_validate(dict(values))
    except ValidationError as error:
        raise explained(error, list(REQUESTS[job].model_fields)) from None
