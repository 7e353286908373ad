"""Reports made again: the same bytes from the same folder, a changed file refused, several runs on one
page.
"""

from __future__ import annotations

import hashlib
import json
from datetime import UTC, datetime
from pathlib import Path

import pytest

from medprior.cli import main
from medprior.errors import BadOption, Corrupt, FileProblem
from medprior.io.disk.files import check_manifest, read_json, write_json
from medprior.runs.ask.requests import Detect, Synthesize, request_from
from medprior.runs.core.run import RunFolder
from medprior.runs.demo import run_demo
from medprior.runs.execute import execute
from medprior.runs.rebuild import compare, rebuild, reported

QUICK = {
    "detect": {"n_twins": 1},
    "augment": {"n": 2},
    "synthesize": {"n": 3, "size": (16, 16), "unproven": True},
    "reconstruct": {"n": 2, "steps": 3, "baselines": "quick"},
}


def run(job: str, tiny: Path, picture: Path, out: Path, **changes) -> RunFolder:
    values = {**QUICK[job], "prior": str(tiny), "out": out, **changes}
    return execute(request_from(job, values if job == "synthesize" else {"input": picture, **values}))


def digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.mark.parametrize("job", QUICK)
def test_the_same_folder_gives_the_same_page(job: str, tiny: Path, picture: Path, tmp_path: Path) -> None:
    done = run(job, tiny, picture, tmp_path / "run")
    before = digest(done.report)
    assert rebuild(done.path).reused and digest(done.report) == before
    done.report.unlink()
    assert not rebuild(done.path).reused and digest(done.report) == before
    check_manifest(done.path)


def test_a_page_of_another_version_is_made_again_and_vouched_for(
    tiny: Path, picture: Path, tmp_path: Path
) -> None:
    done = run("detect", tiny, picture, tmp_path / "run")
    before = digest(done.report)
    done.report.write_text("<html>an older layout</html>")
    rebuild(done.path)
    assert digest(done.report) == before
    assert run("detect", tiny, picture, tmp_path / "run").reused, "the run is complete again"


@pytest.mark.parametrize("name", ["run.json", "page.json", "outputs/map.png"])
def test_a_report_is_never_made_of_changed_files(
    name: str, tiny: Path, picture: Path, tmp_path: Path
) -> None:
    done = run("detect", tiny, picture, tmp_path / "run")
    text = (done.path / name).read_bytes()
    (done.path / name).write_bytes(text.replace(b'"seed": 0', b'"seed": 1') + b" ")
    with pytest.raises(Corrupt, match="does not match its checksum"):
        rebuild(done.path)


@pytest.mark.parametrize(
    "changes",
    [
        {"sections": [{"heading": 1}]},
        {"sections": "text"},
        {"lead": ["a"]},
        {
            "sections": [
                {"heading": "", "text": "", "verdict": "", "caveats": [], "blocks": [{"kind": "script"}]}
            ]
        },
    ],
)
def test_a_page_of_a_stranger_is_no_program(changes: dict, tiny: Path, picture: Path, tmp_path: Path) -> None:
    done = run("synthesize", tiny, picture, tmp_path / "run")
    (done.path / "manifest.json").unlink()
    write_json(done.path / "page.json", {**read_json(done.path / "page.json"), **changes})
    with pytest.raises(Corrupt, match="is not the page of a run"):
        rebuild(done.path)


def test_a_picture_from_elsewhere_is_refused(tiny: Path, picture: Path, tmp_path: Path) -> None:
    done = run("synthesize", tiny, picture, tmp_path / "run")
    (done.path / "manifest.json").unlink()
    page = json.dumps(read_json(done.path / "page.json")).replace(
        "data:image/png;base64,", "https://example.org/"
    )
    (done.path / "page.json").write_text(page)
    with pytest.raises(Corrupt, match="is not the page of a run"):
        rebuild(done.path)


def test_what_is_no_run_is_said(tmp_path: Path) -> None:
    with pytest.raises(FileProblem, match="is no folder of a run"):
        rebuild(tmp_path / "nowhere")
    with pytest.raises(FileProblem, match=r"run\.json"):
        rebuild(tmp_path)
    write_json(tmp_path / "run.json", {"job": "train", "complete": False})
    with pytest.raises(FileProblem, match="no complete run"):
        rebuild(tmp_path)
    with pytest.raises(BadOption, match="no option for one run"):
        reported([tmp_path], tmp_path / "out")


def test_several_runs_make_one_page(tiny: Path, picture: Path, tmp_path: Path) -> None:
    runs = [
        run("reconstruct", tiny, picture, tmp_path / name, steps=steps).path
        for name, steps in (("a", 3), ("b", 4))
    ]
    done = compare(runs, tmp_path / "both")
    page = done.report.read_text()
    assert all(
        words in page
        for words in (
            "2 runs compared",
            "What was asked differently",
            "steps",
            "Results side by side",
            "b · Reconstruct",
            "noisy image",
        )
    )
    told = json.loads((done.path / "page.json").read_text())["sections"][0]["blocks"][0]["rows"]
    assert [row[:2] for row in told] == [["run", "job"], ["a", "reconstruct"], ["b", "reconstruct"]]
    date, scan, result = (told[1][told[0].index(name)] for name in ("date", "input", "result"))
    assert date == str(datetime.now(UTC).date()) and " dB (medprior, " in result
    assert scan.endswith(read_json(runs[0] / "run.json")["input"]["sha256"][:8])
    assert "Mustermann" not in page and "different scans" not in page
    assert compare(runs, tmp_path / "both").reused and rebuild(done.path).reused
    other = run("detect", tiny, picture, tmp_path / "c").path
    with pytest.raises(BadOption, match="holds another run"):
        compare([*runs, other], tmp_path / "both")
    made = run("synthesize", tiny, picture, tmp_path / "d").path
    assert "different scans" in compare([other, made], tmp_path / "mixed").report.read_text()


def test_runs_of_one_folder_name_are_told_apart(tiny: Path, picture: Path, tmp_path: Path) -> None:
    """Two folders called ``run`` take the name of the folder above with them."""
    runs = [run("detect", tiny, picture, tmp_path / name / "run").path for name in ("first", "second")]
    page = compare(runs, tmp_path / "both").report.read_text()
    assert "first/run · Detect" in page and "second/run · Detect" in page


def test_a_run_of_an_older_medprior_is_compared(tiny: Path, picture: Path, tmp_path: Path) -> None:
    """Its record has no summary, so the page refers to its own report."""
    runs = [run("detect", tiny, picture, tmp_path / name).path for name in ("old", "new")]
    record = read_json(runs[0] / "run.json")
    del record["summary"]
    write_json(runs[0] / "run.json", record)
    write_json(
        runs[0] / "manifest.json",
        {**read_json(runs[0] / "manifest.json"), "run.json": digest(runs[0] / "run.json")},
    )
    assert "see its own report" in compare(runs, tmp_path / "both").report.read_text()


def test_the_demo_is_rebuilt_with_its_parts(tiny: Path, picture: Path, tmp_path: Path) -> None:
    wanted = {
        "detect": Detect(input=picture, prior=str(tiny), n_twins=1),
        "synthesize": Synthesize(prior=str(tiny), n=1, size=(16, 16), unproven=True),
    }
    done = run_demo(tmp_path / "demo", 0, lambda event: None, wanted=wanted)
    pages = [done.report, done.path / "detect" / "report.html"]
    before = [digest(page) for page in pages]
    for page in pages:
        page.write_text("old")
    rebuild(done.path)
    assert [digest(page) for page in pages] == before
    check_manifest(done.path)


def test_the_verb(tiny: Path, picture: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    done = run("detect", tiny, picture, tmp_path / "run")
    assert main(["report", str(done.path)]) == 0
    assert "nothing has changed" in capsys.readouterr().out
    assert main(["report", str(done.path), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["id"] == done.record["id"]
    assert main(["report"]) == 2 and main(["report", str(tmp_path)]) == 2
    assert "medprior: " in capsys.readouterr().err
