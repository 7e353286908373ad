"""What makes a run this one, whether it is complete already, and its record."""

from __future__ import annotations

from pathlib import Path

import pytest

from medprior.errors import BadOption, FileProblem
from medprior.io.disk.files import read_json, write_json
from medprior.runs.ask.requests import Detect
from medprior.runs.core.outputs import SHORT, Outcome, Summary
from medprior.runs.core.progress import Event, silent
from medprior.runs.core.run import Run, RunFolder
from medprior.runs.page.blocks import Section

PRIOR = {"name": "tiny", "sha256": "0" * 64}


def run_of(out: Path | None = None, *, seed: int = 0, fresh: bool = False, prior: str = "a") -> Run:
    return Run.of(Detect(input=Path("x.png"), prior=prior, seed=seed, out=out, fresh=fresh), 0.0, scan="abc")


def outcome() -> Outcome:
    summary = Summary(("p = 0.5.",), "p = 0.5", SHORT)
    return Outcome(
        {"p_value": 0.5}, [Section("Detect")], [], summary, files={"outputs/a.csv": "a\n"}, lead="One scan."
    )


def published(run: Run) -> RunFolder:
    found = outcome()
    return run.publish(found, run.record(found, prior=PRIOR, input=None))


def test_a_run_is_known_by_what_is_done_and_not_by_where() -> None:
    """Folder, prior name and --fresh do not count; another seed or another scan is another run."""
    here = run_of()
    assert here.id == run_of(Path("elsewhere"), fresh=True, prior="b").id
    assert here.out == Path("runs") / f"detect-{here.id[:8]}" and run_of(Path("own")).out == Path("own")
    other = Run.of(Detect(input=Path("x.png"), prior="a"), 0.0, scan="another")
    assert len({here.id, run_of(seed=1).id, other.id}) == 3


def test_a_complete_run_is_returned_and_a_damaged_one_is_not(tmp_path: Path) -> None:
    run, said = run_of(tmp_path / "run"), list[Event]()
    assert run.done(silent) is None
    made = published(run)
    again = run.done(said.append)
    assert again is not None and again.reused and again.record == made.record
    assert [event.text for event in said] == ["this run is complete already; use --fresh to repeat it"]
    assert run_of(tmp_path / "run", fresh=True).done(silent) is None
    (tmp_path / "run" / "outputs" / "a.csv").write_text("changed")
    assert run.done(silent) is None


def test_what_lies_in_the_folder_is_not_lost(tmp_path: Path) -> None:
    published(run_of(tmp_path / "run"))
    with pytest.raises(BadOption, match="holds another run"):
        run_of(tmp_path / "run", seed=1).done(silent)
    assert run_of(tmp_path / "run", seed=1, fresh=True).done(silent) is None
    (tmp_path / "own").mkdir()
    (tmp_path / "own" / "letter.txt").write_text("mine")
    with pytest.raises(BadOption, match="files that medprior did not write"):
        run_of(tmp_path / "own", fresh=True).done(silent)
    with pytest.raises(FileProblem, match="is a file"):
        run_of(tmp_path / "own" / "letter.txt").done(silent)


def test_the_record_has_what_every_run_has(tmp_path: Path) -> None:
    run = run_of(tmp_path / "run")
    record = read_json(published(run).path / "run.json")
    assert {name: record[name] for name in ("id", "job", "prior", "metrics", "input", "complete")} == {
        "id": run.id,
        "job": "detect",
        "prior": PRIOR,
        "metrics": {"p_value": 0.5},
        "input": None,
        "complete": True,
    }
    assert record["summary"] == {"headline": ["p = 0.5."], "result": "p = 0.5", "code": 4}
    assert record["request"]["scan"] == "abc" and "input" not in record["request"]
    assert list(record["seconds"]) == ["job"] and record["peak_mib"] > 1
    assert run.record(outcome(), request={"seed": 3}, parent="p")["request"] == {"seed": 3}


def test_a_summary_is_read_back_and_an_older_record_has_none(tmp_path: Path) -> None:
    made = published(run_of(tmp_path / "run"))
    assert made.summary == Summary(("p = 0.5.",), "p = 0.5", 4)
    write_json(tmp_path / "old.json", {k: v for k, v in made.record.items() if k != "summary"})
    assert Summary.of(read_json(tmp_path / "old.json")) == Summary((), "see its own report", 0)
