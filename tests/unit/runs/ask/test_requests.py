"""Requests: ranges, nearest names, and one meaning in command line, YAML and run.json."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
from pydantic import ValidationError

from medprior.cli import main
from medprior.errors import BadOption
from medprior.runs.ask.requests import (
    KNOBS,
    REQUESTS,
    TASKS,
    Augment,
    Reconstruct,
    Request,
    Scan,
    request_from,
)

SCAN = {"input": "scan.png", "prior": "chest-xray"}
NEEDED = {
    "detect": SCAN,
    "augment": SCAN,
    "augment-classical": {"input": "scan.png"},
    "augment-set": {"folder": "scans", "prior": "chest-xray"},
    "explain": {**SCAN, "model": "model.onnx"},
    "reconstruct": SCAN,
    "synthesize": {"prior": "chest-xray"},
    "train": {"folder": "scans"},
    "label": {"folder": "scans", "prior": "chest-xray"},
    "learn": {"folder": "scans", "prior": "chest-xray"},
    "predict": {"input": "scan.png", "head": "runs/head"},
    "read": {"folder": "scans", "made": ["runs/drawn"]},
}
NEEDED |= {
    job: {"folder": "scans", "prior": "chest-xray"}
    for job in REQUESTS
    if job.startswith(("adapt", "evaluate-", "calibrate-"))
}

NEEDED["evaluate-explain"] |= {"model": "model.onnx"}


@pytest.mark.parametrize("job", REQUESTS)
def test_each_request_survives_json(job: str) -> None:
    """What was given makes the same request again."""
    request = request_from(job, NEEDED[job])
    assert request_from(job, json.loads(request.model_dump_json(exclude_unset=True))) == request


@pytest.mark.parametrize("model", [*REQUESTS.values(), Scan])
def test_every_field_says_what_it_is(model: type[Request]) -> None:
    assert [name for name, field in model.model_fields.items() if not field.description] == []


@pytest.mark.parametrize("job", REQUESTS)
def test_an_unknown_field_is_an_error_that_names_the_nearest(job: str) -> None:
    with pytest.raises(BadOption, match=r"sed: unknown option.*did you mean 'seed'"):
        request_from(job, {**NEEDED[job], "sed": 1})


def test_an_unknown_job_names_the_nearest() -> None:
    with pytest.raises(BadOption, match="did you mean 'detect'"):
        request_from("detct", SCAN)


OUTSIDE = {
    "detect": {"n_twins": 0, "seed": -1, "device": "tpu", "index": -1},
    "augment": {"n": 0, "strength": 1.0, "guidance": -1, "seed": 1.5},
    "augment-classical": {"n": 0, "index": -1},
    "augment-set": {"n": 0, "strength": 0, "fill": 0, "alpha": 1, "tries": 0, "split": "third"},
    "synthesize": {"n": 0, "size": (64,), "guidance": float("nan"), "format": "gif"},
    "reconstruct": {
        "task": "pet",
        "n": 0,
        "noise": 0,
        "factor": 1,
        "fraction": 1,
        "box": (1, 2),
        "acceleration": 0.5,
        "centre_fraction": 2,
        "views": 1,
        "photons": 1,
        "rule": "magic",
        "steps": 1,
        "slice": -1,
        "baselines": "no",
    },
    "evaluate-reconstruct": {
        "task": "mri",
        "n": 0,
        "per_patient": 0,
        "most": 0,
        "split": "third",
        "steps": 1,
    },
    "calibrate-reconstruct": {
        "task": "mri",
        "n": 0,
        "per_patient": 0,
        "most": 0,
        "split": "third",
        "steps": 1,
        "into": 7,
    },
    "evaluate-detect": {"alpha": 1, "n_twins": 0, "split": "none"},
    "train": {"preset": "huge", "minutes": 0, "steps": 0, "name": "My Prior", "plane": "oblique"},
}


@pytest.mark.parametrize(
    ("job", "field"), [(job, field) for job, fields in OUTSIDE.items() for field in fields]
)
def test_a_value_outside_of_its_range_is_refused_by_name(job: str, field: str) -> None:
    with pytest.raises(BadOption, match=field):
        request_from(job, {**NEEDED[job], field: OUTSIDE[job][field]})


@pytest.mark.parametrize(("text", "value"), [("1e-4", 1e-4), ("0.5", 0.5)])
def test_numbers_that_yaml_takes_for_text_are_numbers(text: str, value: float) -> None:
    request = request_from("augment", {**SCAN, "strength": text})
    assert isinstance(request, Augment) and request.strength == value


@pytest.mark.parametrize(
    ("job", "values", "said"),
    [
        ("reconstruct", {**SCAN, "task": "mri", "views": 30}, "views: no option for task mri"),
        ("reconstruct", {**SCAN, "task": "ct", "acceleration": 4.0}, "acceleration: no option for task ct"),
        ("reconstruct", {**SCAN, "views": 60}, "views: no option for task denoise"),
        ("augment", {**SCAN, "box": (0, 0, 4, 4), "strength": 0.5}, "strength: no option"),
        ("augment-set", {"folder": "f", "classical": True, "strength": 0.5}, "strength: no option with"),
        ("augment-set", {"folder": "f", "prior": "p", "fill_by": "variations"}, "fill_by: no option without"),
    ],
)
def test_an_option_that_belongs_elsewhere_is_refused_whatever_its_value(
    job: str, values: dict[str, Any], said: str
) -> None:
    """The values that the options have anyway: who wrote one expected that it does something."""
    with pytest.raises(BadOption, match=said):
        request_from(job, values)


def test_an_option_without_a_value_was_not_given() -> None:
    nothing = {name: None for names in KNOBS.values() for name in names if name in ("box", "partial", "arc")}
    assert request_from("reconstruct", {**SCAN, "task": "denoise", **nothing})


def test_the_identity_holds_what_changes_the_numbers_and_no_path() -> None:
    one = request_from("detect", {"input": "/home/erika/scan.png", "prior": "p", "out": "a", "fresh": True})
    two = request_from("detect", {"input": "elsewhere.png", "prior": "q", "out": "b"})
    assert one.identity() == two.identity()
    assert "erika" not in json.dumps(one.identity())
    assert one.identity() != request_from("detect", {"input": "x", "prior": "p", "seed": 1}).identity()


@pytest.mark.parametrize("name", TASKS)
def test_a_named_task_is_the_same_for_one_scan_as_for_an_evaluation(name: str) -> None:
    asked = Reconstruct.model_validate({"input": "x.png", "prior": "p", "task": name})
    assert {key: getattr(asked, key) for key in TASKS[name]} == TASKS[name]


def test_a_named_task_and_another_value_of_its_setting_contradict_each_other() -> None:
    with pytest.raises(ValidationError, match="task sr2 sets it already"):
        Reconstruct.model_validate({"input": "x.png", "prior": "p", "task": "sr2", "factor": 3})


@pytest.mark.parametrize(
    "verb",
    [
        "detect",
        "reconstruct",
        "augment",
        "augment-classical",
        "augment-set",
        "synthesize",
        "train",
        "adapt",
        "scan",
    ],
)
def test_help_shows_a_dozen_common_options_first(verb: str, capsys: pytest.CaptureFixture[str]) -> None:
    main([verb, "--help"])
    common = capsys.readouterr().out.split("Advanced options")[0]
    assert 2 <= len(re.findall(r"^│ [* ] *(?:[A-Z]+ )?--", common, re.MULTILINE)) <= 12
