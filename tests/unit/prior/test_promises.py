"""The files that ship come back to the byte, unknown keys are kept, and malformed promises are refused."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from medprior.errors import BadOption
from medprior.io.disk.files import write_json
from medprior.prior.promises import Audit, DetectPromise, Estimate, Promises
from medprior.training.folder import bundled

INTERVAL = {
    "title": "denoise",
    "kind": {"operator": "Identity", "share": 1.0, "white": 0.3, "smooth": 0.3, "side": 64, "ndim": 2},
    "how": {"fast": True, "n": 1, "rule": "proximal", "n_steps": 40, "high": 1.5, "low": 0.03},
    "calibration": {"level": 0.9, "scale": 1.5, "n": 60, "error": 0.6, "patients": 4},
}


@pytest.mark.parametrize("name", sorted(bundled()))
def test_the_files_that_ship_come_back_to_the_byte(name: str, tmp_path: Path) -> None:
    stored = bundled()[name] / "trust.json"
    write_json(tmp_path / "again.json", Promises.from_json(json.loads(stored.read_text())).to_json())
    assert (tmp_path / "again.json").read_bytes() == stored.read_bytes()


def test_what_an_older_version_left_out_has_a_default_and_stays_out() -> None:
    stored = {"reconstruct": [INTERVAL], "synthesize": {"passed": True}, "detect": {"scores": [1.0]}}
    promises = Promises.from_json(stored)
    assert promises.reconstruct[0].how.method == 1 and promises.reconstruct[0].kind.sectors == ()
    assert promises.synthesize is not None and promises.synthesize.number_guidance == 1.0
    assert promises.detect is not None and promises.detect.method == 0
    again = promises.to_json()
    assert list(again) == list(stored) and again["synthesize"] == stored["synthesize"]
    assert again["detect"] == stored["detect"]


def test_unknown_keys_are_kept_and_new_values_are_added() -> None:
    stored = {"later": {"x": 1}, "detect": {"of tomorrow": [1, {"a": None}], "n_healthy": 2}}
    promises = Promises.from_json(stored)
    assert promises.to_json() == stored and promises.detect is not None
    changed = replace(promises, detect=replace(promises.detect, n_healthy=3, map_high=2.5))
    assert changed.to_json()["detect"] == {"of tomorrow": [1, {"a": None}], "n_healthy": 3, "map_high": 2.5}


def test_what_is_measured_anew_has_every_key_and_nothing_measured_has_none() -> None:
    assert Promises().to_json() == {} == Promises.from_json({}).to_json()
    assert DetectPromise().to_json()["map_high"] is None and not Audit().to_json()["passed"]


def test_measured_numbers_with_an_interval_are_estimates() -> None:
    rate = {"value": 0.05, "low": 0.01, "high": 0.14, "n": 60}
    found = DetectPromise(measured={"rate": rate, "n_test_patients": 60}).estimates()
    assert found == {"rate": Estimate(0.05, 0.01, 0.14, 0.95, 60)}


@pytest.mark.parametrize(
    ("stored", "words"),
    [
        ([1], "promises: wanted Promises, got list"),
        ({"reconstruct": 1}, "promises: reconstruct: wanted tuple, got int"),
        ({"reconstruct": [{"title": "denoise"}]}, "missing or unknown"),
        ({"reconstruct": [{**INTERVAL, "how": {"speed": 1}}]}, "how: a value is missing or unknown"),
        ({"detect": {"n_healthy": "many"}}, "detect: n_healthy: wanted int, got str"),
        ({"detect": {"evidence": {"map": ["a"]}}}, "evidence: map: wanted float, got str"),
        ({"synthesize": {"passed": "yes"}}, "synthesize: passed: wanted bool, got str"),
    ],
)
def test_a_malformed_promise_is_refused(stored: Any, words: str) -> None:
    with pytest.raises(BadOption, match=words):
        Promises.from_json(stored)
