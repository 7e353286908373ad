"""A run of explain: from an ONNX file to the page, and what the terminal says."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from medprior.data.volume import Volume
from medprior.errors import BadOption, Unsupported
from medprior.io.disk.files import read_json
from medprior.jobs.learn import learn
from medprior.runs.ask.requests import Explain
from medprior.runs.execute import execute

from ..conftest import blobs, bright_model, scene

pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")


@pytest.fixture
def scan(tmp_path: Path) -> Path:
    path = tmp_path / "scan.png"
    Image.fromarray(np.rint(blobs()[0]).astype(np.uint8)).save(path)
    return path


def test_the_run_holds_the_images_the_numbers_and_the_page(tmp_path: Path, tiny: Path, scan: Path) -> None:
    model = bright_model(tmp_path, 0.3)
    request = Explain(
        input=scan, prior=str(tiny), model=model, n=2, particles=4, modality="DX", out=tmp_path / "run"
    )
    done = execute(request)
    found = read_json(done.path / "run.json")["metrics"]
    assert found["given"] in ("dark", "bright") and found["given"] != found["target"]
    assert len(found["counterfactuals"]) == 2 and set(found["maps"]) == {"occlusion", "change"}
    names = [path.name for path in done.outputs]
    assert "counterfactual_1.png" in names and "difference.png" in names
    shown = [name for name in names if name.startswith("importance")]
    assert shown == [f"importance_{name}.png" for name, one in found["maps"].items() if not one["why_not"]]
    page = done.report.read_text()
    assert "The model answers" in page and "Research use only" in page
    assert done.summary.headline[0].startswith(f"The model answers {found['given']}")
    assert execute(request).reused
    assert str(tmp_path) not in (done.path / "run.json").read_text()


def test_gradients_of_a_head_give_a_third_map_with_its_check(tmp_path: Path, tiny: Path, scan: Path) -> None:
    """The model with shuffled weights has gradients, too, so that all maps are held against its own."""
    pytest.importorskip("captum")
    images = [blobs(seed=seed)[0] for seed in range(6)]
    scans = [scan_of(image) for image in (*(255 - one for one in images), *images)]
    learn(scans, str(tiny), ["dark"] * 6 + ["bright"] * 6, out=tmp_path / "head")
    done = execute(
        Explain(
            input=scan,
            prior=str(tiny),
            model=tmp_path / "head",
            n=2,
            gradients=True,
            modality="DX",
            out=tmp_path / "run",
        )
    )
    maps = read_json(done.path / "run.json")["metrics"]["maps"]
    assert set(maps) == {"occlusion", "change", "gradients"}
    assert all(one["alike"] is not None for one in maps.values())


def scan_of(image: np.ndarray) -> Volume:
    return Volume(image[None].astype(np.float32), unit="a.u.", modality="DX")


def test_a_model_that_is_no_onnx_file_is_refused(tmp_path: Path, tiny: Path, scan: Path) -> None:
    pickled = tmp_path / "model.pt"
    pickled.write_bytes(b"x")
    with pytest.raises(Unsupported, match="export your model"):
        execute(Explain(input=scan, prior=str(tiny), model=pickled, modality="DX", out=tmp_path / "run"))
    assert not (tmp_path / "run").exists()


def test_a_folder_of_scans_has_a_row_of_answers_each(tmp_path: Path, tiny: Path, scan: Path) -> None:
    folder = tmp_path / "scans"
    folder.mkdir()
    for name in ("a.png", "b.png"):
        (folder / name).write_bytes(scan.read_bytes())
    model = bright_model(tmp_path, 0.3)
    request = Explain(
        input=folder, prior=str(tiny), model=model, n=1, particles=2, modality="DX", out=tmp_path / "run"
    )
    done = execute(request)
    titles, *rows = (done.path / "results.csv").read_text().splitlines()
    assert titles == "path,patient,answer,probability,target,turned,change,p_believable,verdict,error,folder"
    assert [row.split(",")[0] for row in rows] == ["a.png", "b.png"] and not done.summary.code
    assert rows[0].split(",")[2:8] == rows[1].split(",")[2:8] and rows[0].split(",")[2] in ("dark", "bright")


def test_similar_cases_of_each_label_stand_on_the_page(tmp_path: Path, tiny: Path, scan: Path) -> None:
    for n in range(22):
        path = tmp_path / "real" / ("bright" if n % 2 else "dark") / f"{n}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.rint(scene(n)[0]).astype(np.uint8)).save(path)
    (tmp_path / "real" / "dark" / "same.png").write_bytes(scan.read_bytes())  # the scan is no case of its own
    stages: list[str] = []
    request = Explain(
        input=scan,
        prior=str(tiny),
        model=bright_model(tmp_path, 0.3),
        modality="DX",
        n=1,
        particles=2,
        similar=1,
        real=tmp_path / "real",
        out=tmp_path / "run",
    )
    done = execute(request, lambda event: stages.append(event.text) if event.kind == "stage" else None)
    page = done.report.read_text()
    assert page.count("Similar case: bright") == page.count("Similar case: dark") >= 1
    assert read_json(done.path / "run.json")["metrics"]["p_value"] >= 1 / 23
    assert stages.index("reading real scans") < stages.index(
        "looking for the smallest change that turns the answer"
    )
    with pytest.raises(BadOption, match="--real"):
        execute(request.model_copy(update={"real": None, "out": tmp_path / "other"}))
