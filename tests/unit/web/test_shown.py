"""What a run folder shows: layers by their kind, and a map in its own numbers whatever its file."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from medprior.data.volume import Volume
from medprior.errors import FileProblem
from medprior.io.write import write
from medprior.web.shown import Runs, colours_of, files_of, findings_of, layers_of, read_layer


def run_with_map(folder: Path, suffix: str) -> Runs:
    """A map from 0 to 9 whose level is 5, as detect writes it."""
    outputs = folder / "detect-1" / "outputs"
    data = np.linspace(0, 9, 16, dtype=np.float32).reshape(1, 4, 4)
    window = (0.0, 10.0) if suffix == ".png" else None
    write(Volume(data), outputs / f"map{suffix}", kind="map", window=window)
    write(Volume(data * 20), outputs / "healthy_twin.png", kind="healthy twin")
    record = {"complete": True, "job": "detect", "metrics": {"map_high": 5.0, "findings": [{"number": 1}]}}
    (outputs.parent / "run.json").write_text(json.dumps(record))
    return Runs(folder)


@pytest.mark.parametrize("suffix", [".png", ".nii.gz"])
def test_a_map_keeps_its_scale_in_every_format(tmp_path: Path, suffix: str) -> None:
    ((name, run),) = run_with_map(tmp_path, suffix).all()
    grey, at = layers_of(run)
    assert (grey.name, grey.kind, at.name, at.kind) == ("healthy_twin", "grey", "map", "overlay")
    volume = read_layer(run, at)
    assert volume.data.max() == pytest.approx(9, rel=1e-3) and colours_of(run, at, volume) == (5.0, 10.0)
    assert findings_of(run) == [{"number": 1, "unit": "ml"}]
    assert "run.json" in dict(files_of(run)) and not any(".medprior" in key for key in dict(files_of(run)))
    assert Runs(tmp_path).get(name).path == run.path


def test_what_is_no_run_is_passed_over(tmp_path: Path) -> None:
    (tmp_path / "half").mkdir()
    (tmp_path / "half" / "run.json").write_text("{")
    runs = Runs(tmp_path)
    assert runs.all() == []
    with pytest.raises(FileProblem, match="not here"):
        runs.get("../half")
