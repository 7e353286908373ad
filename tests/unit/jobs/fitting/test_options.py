"""What may be chosen for a training: the request and the job agree, field by field."""

from __future__ import annotations

import inspect
from dataclasses import fields
from pathlib import Path

import pytest

from medprior.errors import BadOption
from medprior.jobs.fitting.adapt import adapt
from medprior.jobs.fitting.fit import fit
from medprior.jobs.fitting.options import Adaptation, Fitting
from medprior.runs.ask.requests import Adapt, Train


@pytest.mark.parametrize("front, options, request_kind", [(fit, Fitting, Train), (adapt, Adaptation, Adapt)])
def test_function_options_and_request_have_the_same_names_and_defaults(front, options, request_kind) -> None:
    """Of the request all but where results go, which it may leave open, and the device, which it may too."""
    kept = {field.name: field.default for field in fields(options)}
    front_has = {n: p.default for n, p in inspect.signature(front).parameters.items() if n[:3] != "on_"}
    assert set(front_has) == set(kept) <= {*request_kind.model_fields, "layout"}
    required = {"folder", "prior", "out", "device", "layout"}
    for name in set(kept) - required:
        assert front_has[name] == kept[name] == request_kind.model_fields[name].default, name


def test_a_request_becomes_options() -> None:
    made = Train.model_validate({"folder": "scans", "minutes": 2, "preset": "tiny", "fresh": True})
    wanted = Fitting(Path("scans"), "tiny", 2.0, out=Path("run"), fresh=True)
    assert made.fitting(Path("run"), "cpu") == wanted and wanted.budget == 2.0
    few = Adapt.model_validate({"folder": "scans", "prior": "chest-xray", "steps": 9, "replay": "none"})
    wanted = Adaptation("chest-xray", Path("scans"), steps=9, replay="none", out=Path("run"), device="cuda")
    assert few.adaptation(Path("run"), "cuda") == wanted and wanted.budget is None and wanted.drawn


@pytest.mark.parametrize("wrong", [{"share": 1.0}, {"hold": 0.6}, {"copies": -1}, {"minutes": 1, "steps": 1}])
def test_shares_and_times_out_of_range_are_refused(wrong: dict) -> None:
    with pytest.raises(BadOption, match="adapt: wanted"):
        Adaptation("chest-xray", Path("scans"), **wrong)
