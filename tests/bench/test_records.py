"""Files of results: what made them stands in them, and nobody types into them."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from bench import figures, records
from bench.records import UNRECORDED, Block, Results, load, save, shipped_priors

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def results(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for module in (records, figures):
        monkeypatch.setattr(module, "RESULTS", tmp_path)
    monkeypatch.setattr(figures, "ROWS", ())
    monkeypatch.setattr(figures, "PLAINEST", {"x": "a"})
    return tmp_path


def block(**changes) -> Block:
    commit = subprocess.run(
        ("git", "rev-parse", "HEAD"), cwd=ROOT, capture_output=True, text=True, check=False
    )
    made = Block(
        "python bench/x.py",
        commit.stdout.strip() or "0" * 40,
        False,
        {},
        "a machine",
        "2026-01-01",
        ("a 1.0",),
    )
    return replace(made, **changes)


def test_every_file_of_results_says_what_made_it() -> None:
    names = figures.names()
    assert len(names) >= 36 and not list(figures.refused())
    for name in names:
        for one in load(name).blocks:
            assert one.command and len(one.commit) == 40 and one.machine and one.date, name
            assert all(len(found) == 64 or found == UNRECORDED for found in one.priors.values()), name


def test_a_line_that_was_typed_in_is_refused(results: Path) -> None:
    save("x", Results("", (block(),)))
    assert list(figures.refused()) == []
    stored = json.loads((results / "x.json").read_text())
    stored["blocks"][0]["lines"][0] = "a 2.0"
    (results / "x.json").write_text(json.dumps(stored))
    (results / "y.txt").write_text("a 3.0\n")
    wrong = " ".join(figures.refused())
    assert "not those that were printed" in wrong and "y.txt" in wrong


def test_a_commit_that_a_rebase_left_behind_is_refused(
    results: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is still among the objects here, and in no clone."""

    def git(*words: str) -> str:
        who = ("-c", "user.name=a", "-c", "user.email=a@example.org", "-c", "commit.gpgsign=false")
        done = subprocess.run(
            ("git", *who, *words), cwd=tmp_path / "repo", capture_output=True, text=True, check=True
        )
        return done.stdout.strip()

    (tmp_path / "repo").mkdir()
    git("init", "-q")
    git("commit", "-q", "--allow-empty", "-m", "measured here")
    left = git("rev-parse", "HEAD")
    monkeypatch.setattr(figures, "ROOT", tmp_path / "repo")
    assert figures.strangers({left}) == set()
    git("commit", "-q", "--amend", "--allow-empty", "-m", "rebased")
    assert figures.strangers({left}) == {left}


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"commit": "f" * 40}, "is not known"),
        ({"dirty": True}, "differed"),
        ({"machine": ""}, "lacks machine"),
    ],
)
def test_a_block_without_its_facts_is_refused(results: Path, changes: dict[str, object], said: str) -> None:
    save("x", Results("", (block(**changes),)))
    assert any(said in sentence for sentence in figures.refused())


def test_figures_of_another_prior_say_so_and_fill_no_row(
    results: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    name, shipped = next(iter(shipped_priors().items()))
    old, new = block(priors={name: "0" * 64}), block(command="python bench/y.py", priors={name: shipped})
    assert not old.current and new.current and not block(earlier="of an earlier medprior").current
    assert f"of an earlier prior: {name}" in " ".join(figures.facts(old))
    assert "as shipped" in " ".join(figures.facts(new))
    row = figures.Row("a task", "x", lambda text: ("1", "2", "3") if "1.0" in text else None)
    monkeypatch.setattr(figures, "ROWS", (row,))
    save("x", Results("", (old,)))
    assert any("a task" in sentence for sentence in figures.refused())
    save("x", Results("", (old, new)))
    assert list(figures.refused()) == [] and "| 1 | 2 | 3 |" in figures.table()


def test_a_file_of_results_has_its_plainest_rival(results: Path) -> None:
    save("x", Results("", (block(lines=("ours 1.0",)),)))
    save("y", Results("", (block(),)))
    wrong = list(figures.refused())
    assert (
        len(wrong) == 2 and "lack its plainest rival, 'a'" in wrong[0] and "names no plain rival" in wrong[1]
    )
    assert "plainest rival here: *a*" in "".join(figures.section("x"))


def test_a_command_that_is_recorded_again_counts_up(results: Path) -> None:
    for _ in range(3):
        records.add("x", block())
    (one,) = load("x").blocks
    assert one.times == 3 and "Recorded 3 times" in " ".join(figures.facts(one))
    assert "Recorded" not in " ".join(figures.facts(block()))


def test_comparisons_are_counted() -> None:
    many = block(lines=tuple(f"arm {n} 0.5 (0.4 to 0.6)" for n in range(40)))
    assert "40 intervals: of so many at 95 %, about 2 miss" in " ".join(figures.facts(many))


def test_intervals_of_the_older_rule_say_so() -> None:
    """Percentile bootstraps over patients, as results held before records.py wrote them."""
    line = ("arm 0.5 (0.4 to 0.6)",)
    assert "percentile bootstraps" in " ".join(figures.facts(block(lines=line, recovered=True)))
    assert "percentile bootstraps" not in " ".join(figures.facts(block(lines=line)))
    assert "percentile bootstraps" not in " ".join(figures.facts(block(recovered=True)))


def test_a_run_is_recorded_with_the_priors_that_it_read(tmp_path: Path) -> None:
    """In a process of its own, as a person runs it; the file goes elsewhere."""
    (tmp_path / "script.py").write_text(
        "from medprior.training.folder import load, locate\n"
        "print('one', load(locate('chest-ct')).card.name)\n"
    )
    code = (
        "import sys, pathlib; from bench import records; "
        f"records.RESULTS = pathlib.Path({str(tmp_path)!r}); "
        f"sys.argv = ['records', 'x', '--', {str(tmp_path / 'script.py')!r}]; records.main()"
    )
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True, capture_output=True)
    stored = json.loads((tmp_path / "x.json").read_text())["blocks"]
    assert [one["lines"] for one in stored] == [["one chest-ct"]]
    assert stored[0]["priors"] == {"chest-ct": shipped_priors()["chest-ct"]} and stored[0]["dirty"] in (
        True,
        False,
    )
