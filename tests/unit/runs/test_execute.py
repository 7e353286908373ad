"""A run: the same bytes for the same seed, whole or absent, complete runs returned at once, no name of a file
in what is written.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import numpy as np
import pytest

from medprior.errors import BadOption, Corrupt, MedpriorError, Unsupported, WrongKind
from medprior.io.disk.files import read_json
from medprior.io.read import read
from medprior.runs.ask.requests import request_from
from medprior.runs.core.progress import Event
from medprior.runs.core.run import RunFolder
from medprior.runs.execute import execute
from tests.unit.runs.conftest import save_tiny

QUICK = {
    "detect": {"n_twins": 1},
    "augment": {"n": 2, "label": "pneumonia"},
    "synthesize": {"n": 3, "size": (16, 16), "label": "no_finding", "unproven": True},
    "reconstruct": {"n": 2, "steps": 3, "baselines": "quick"},
}


def run(job: str, tiny: Path, picture: Path, out: Path, **changes) -> RunFolder:
    values = {**QUICK[job], "prior": str(tiny), "out": out, **changes}
    if job != "synthesize":
        values.setdefault("input", picture)
    return execute(request_from(job, values))


def digests(folder: RunFolder) -> dict[str, str]:
    return {p.name: hashlib.sha256(p.read_bytes()).hexdigest() for p in folder.outputs}


@pytest.mark.parametrize("job", QUICK)
def test_the_same_seed_gives_the_same_bytes(job: str, tiny: Path, picture: Path, tmp_path: Path) -> None:
    one, two = (run(job, tiny, picture, tmp_path / name) for name in ("one", "two"))
    assert digests(one) == digests(two) and digests(one)
    other = run(job, tiny, picture, tmp_path / "other", seed=1)
    assert digests(other) != digests(one)
    timed = {"finished", "seconds", "peak_mib"}
    assert {k: v for k, v in one.record.items() if k not in timed} == {
        k: v for k, v in two.record.items() if k not in timed
    }


@pytest.mark.parametrize("job", QUICK)
def test_a_run_folder_is_complete_and_names_nobody(
    job: str, tiny: Path, picture: Path, tmp_path: Path
) -> None:
    done = run(job, tiny, picture, tmp_path / "run")
    assert {
        "run.json",
        "report.html",
        "page.json",
        "preview.png",
        "events.jsonl",
        "manifest.json",
        "outputs",
    } == {p.name for p in done.path.iterdir()}
    for path in done.path.rglob("*"):
        if path.is_file():
            assert b"Mustermann" not in path.read_bytes(), path
    record = read_json(done.path / "run.json")
    assert record["complete"] and record["request"]["seed"] == 0 and len(record["prior"]["sha256"]) == 64
    assert (record["input"] is None) == (job == "synthesize")
    for line in (done.path / "events.jsonl").read_text().splitlines():
        json.loads(line)
    page = (done.path / "report.html").read_text()
    assert page.lower().count("research use only, not for diagnosis") == 1, "once, at the top"
    assert "://" not in page and page.count("<script") == 1


def test_outputs_follow_the_input_and_are_marked(tiny: Path, picture: Path, tmp_path: Path) -> None:
    source = read(picture)
    for job in ("detect", "augment", "reconstruct"):
        for path in run(job, tiny, picture, tmp_path / job).outputs:
            if path.suffix == ".png":
                made = read(path)
                assert made.shape == source.shape
                assert made.provenance.synthetic == (path.stem != "known"), path


def test_a_complete_run_is_returned_at_once(tiny: Path, picture: Path, tmp_path: Path) -> None:
    first = run("detect", tiny, picture, tmp_path / "run")
    before = (first.path / "run.json").stat().st_mtime_ns
    again = run("detect", tiny, picture, tmp_path / "run")
    assert again.reused and not first.reused and (first.path / "run.json").stat().st_mtime_ns == before
    assert not run("detect", tiny, picture, tmp_path / "run", fresh=True).reused


def test_a_damaged_run_is_done_again(tiny: Path, picture: Path, tmp_path: Path) -> None:
    first = run("detect", tiny, picture, tmp_path / "run")
    (first.path / "outputs" / "map.png").write_bytes(b"broken")
    again = run("detect", tiny, picture, tmp_path / "run")
    assert not again.reused and digests(again)["map.png"] != hashlib.sha256(b"broken").hexdigest()


def test_other_files_and_other_runs_are_not_replaced(tiny: Path, picture: Path, tmp_path: Path) -> None:
    run("detect", tiny, picture, tmp_path / "run")
    with pytest.raises(BadOption, match="holds another run"):
        run("detect", tiny, picture, tmp_path / "run", seed=5)
    mine = tmp_path / "mine"
    mine.mkdir()
    (mine / "thesis.txt").write_text("years of work")
    with pytest.raises(BadOption, match="did not write"):
        run("detect", tiny, picture, mine, fresh=True)
    assert (mine / "thesis.txt").read_text() == "years of work"


def test_nothing_half_written_after_an_error(tiny: Path, picture: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    for changes in (
        {"label": "covid"},
        {"unit": "HU", "index": 3},
        {"task": "ct"},
        {"task": "inpaint", "box": (0, 0, 99, 99)},
    ):
        with pytest.raises(MedpriorError):
            run("reconstruct", tiny, picture, out, **changes)
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_is_a_named_error_and_leaves_nothing(
    tiny: Path, picture: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*arguments: object, **options: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("medprior.runs.core.outputs.write_output", full)
    with pytest.raises(MedpriorError, match="No space left on device"):
        run("detect", tiny, picture, tmp_path / "run")
    assert list(tmp_path.iterdir()) == []


def test_another_modality_is_refused_unless_it_is_allowed_and_written_down(
    picture: Path, tmp_path: Path
) -> None:
    prior = save_tiny(tmp_path / "mr", modality="MR")
    with pytest.raises(WrongKind, match="is for MR, this is US"):
        run("detect", prior, picture, tmp_path / "run", modality="US")
    done = run("detect", prior, picture, tmp_path / "run", modality="US", allow_other=True)
    assert done.record["overrides"] and done.record["request"]["allow_other"]
    assert "Override" in done.report.read_text()


@pytest.mark.parametrize("job", ["augment", "synthesize", "reconstruct"])
def test_an_unknown_label_is_refused_before_anything_is_drawn(
    job: str, tiny: Path, picture: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("medprior.runs.execute._do", lambda *_: pytest.fail("the job was begun"))
    with pytest.raises(BadOption, match="is not on the card"):
        run(job, tiny, picture, tmp_path / "run", label="pnemonia")
    assert list(tmp_path.iterdir()) == []


def test_a_changed_weight_is_refused(picture: Path, tmp_path: Path) -> None:
    prior = save_tiny(tmp_path / "changed")
    weights = bytearray((prior / "weights.safetensors").read_bytes())
    weights[-1] ^= 1
    (prior / "weights.safetensors").write_bytes(weights)
    with pytest.raises(Corrupt, match=r"weights\.safetensors"):
        run("detect", prior, picture, tmp_path / "run")


def test_a_run_tells_its_parts(tiny: Path, picture: Path, tmp_path: Path) -> None:
    heard: list[Event] = []
    execute(
        request_from("detect", {"input": picture, "prior": str(tiny), "out": tmp_path / "run", "n_twins": 1}),
        heard.append,
    )
    assert [e.done for e in heard if e.kind == "step"] == [1, 2]
    assert any("network evaluations" in e.text for e in heard)


def test_a_measured_file_is_refused_with_the_way_to_go(tiny: Path, tmp_path: Path) -> None:
    np.savez(tmp_path / "kspace.npz", kspace=np.ones((2, 8, 8), np.complex64))
    with pytest.raises(Unsupported, match=r"holds a measurement.*medprior reconstruct"):
        run("detect", tiny, tmp_path / "kspace.npz", tmp_path / "run")
