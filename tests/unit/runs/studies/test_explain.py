"""evaluate explain: the rates over a folder, the second model, and the place that a model goes by."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from medprior.explanation.shortcuts import UsedPlace
from medprior.io.dataset.scan import scan
from medprior.io.disk.files import read_json
from medprior.prior.promises import Estimate
from medprior.runs.ask.requests import EvaluateExplain
from medprior.runs.studies.explain import place_metrics, run_evaluate_explain

from ..conftest import bright_model, scene


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for n in range(24):
        path = tmp_path / "set" / ("bright" if n % 2 else "dark") / f"{n}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.rint(scene(n)[0]).astype(np.uint8)).save(path)
    return tmp_path / "set"


def test_the_study_prints_its_rates_and_goes_on(tmp_path: Path, tiny: Path, folder: Path) -> None:
    model = bright_model(tmp_path, 0.45)
    request = EvaluateExplain(
        folder=folder,
        prior=str(tiny),
        model=model,
        judge=model,
        most=4,
        particles=4,
        maps=False,
        modality="DX",
        out=tmp_path / "run",
    )
    done = run_evaluate_explain(request, lambda event: None)
    found = read_json(done.path / "run.json")["metrics"]
    assert found["n"] == 4 and set(found["rates"]) == {"turned", "judge", "believed", "small"}
    turned, agreed = found["rates"]["turned"]["value"], found["rates"]["judge"]["value"]
    assert 0 <= turned <= 1 and agreed >= turned - 0.25, "a model agrees with itself"
    assert found["rates"]["believed"] is not None and found["rates"]["small"] is not None
    assert "second model" in done.report.read_text()
    assert run_evaluate_explain(request, lambda event: None).reused


def test_a_place_says_in_which_subgroups_it_counts(folder: Path) -> None:
    """Subgroups of fewer than five patients are not named."""
    items = list(scan(folder, modality="DX").usable())
    bright = [item for item in items if item.label == "bright"]
    dark = [item for item in items if item.label == "dark"]
    falls = np.array([2.0] * 8 + [0.5] * 6)
    where = torch.zeros(32, 32, dtype=torch.bool)
    place = UsedPlace(where, "top left corner", 0.5, 0.0, falls, Estimate(1.4, 0.9, 1.9, 0.95, 14))
    groups = place_metrics(place, [*bright[:8], *dark[:6]])["groups"]
    assert groups == [
        {"tag": "label", "group": "bright", "n": 8, "fall": 2.0},
        {"tag": "label", "group": "dark", "n": 6, "fall": 0.5},
    ]
    few = UsedPlace(where, "top left corner", 0.5, 0.0, falls[:4], Estimate(1.4, 0.9, 1.9, 0.95, 4))
    assert place_metrics(few, bright[:4])["groups"] == []
