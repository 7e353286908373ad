"""A folder of scans as one run: the same files as scan by scan, resumable to the scan, and one bad scan stops
nothing.
"""

from __future__ import annotations

import csv
import json
import shutil
import tracemalloc
from pathlib import Path
from typing import Any

import pytest

import medprior as mp
from medprior.errors import BadOption
from medprior.evidence.conformal import benjamini_hochberg
from medprior.io.disk import files
from medprior.io.disk.tables import write_lines
from medprior.runs.ask.requests import request_from
from medprior.runs.core.outputs import SHORT
from medprior.runs.core.progress import Event
from medprior.runs.core.run import Run, RunFolder
from medprior.runs.execute import execute
from medprior.runs.many.merge import merge_runs
from medprior.runs.many.page import folder_outcome
from medprior.runs.many.rows import ROWS, Row, q_values, rows_in, write_results
from tests.unit.runs.many.conftest import N, contents, table


def detected(films: Path, prior: Path, out: Path, listen: Any = None, **more: Any) -> RunFolder:
    request = request_from("detect", {"input": films, "prior": str(prior), "out": out, **more})
    return execute(request, *([listen] if listen else []))


@pytest.fixture(scope="module")
def whole(films: Path, tiny: Path, tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    return detected(films, tiny, tmp_path_factory.mktemp("whole") / "run")


def test_every_scan_has_a_row_and_the_bad_one_its_reason(whole: RunFolder) -> None:
    rows = table(whole)
    assert [row["path"] for row in rows] == ["bad.png", *(f"film{n}.png" for n in range(N))]
    assert [row["patient"] for row in rows] == ["p00001", *(f"p0000{2 + n // 2}" for n in range(N))]
    assert rows[0]["error"] and not rows[0]["score"]
    assert all(row["score"] and not row["error"] for row in rows[1:])
    assert whole.summary.code == SHORT
    assert "1 scan could not be used" in " ".join(whole.summary.headline)


def test_from_python_it_is_the_same_run(whole: RunFolder, films: Path, tiny: Path) -> None:
    again = mp.on_folder("detect", films, prior=str(tiny), out=whole.path, progress=False)
    assert again.reused and again.path == whole.path
    with pytest.raises(BadOption, match="augment: no job for a folder"):
        mp.on_folder("augment", films, prior=str(tiny))  # pyright: ignore[reportArgumentType]


def test_files_are_those_of_a_single_run(whole: RunFolder, films: Path, tiny: Path, tmp_path: Path) -> None:
    alone = detected(films / "film2.png", tiny, tmp_path / "one")
    ours = whole.path / table(whole)[3]["folder"] / "outputs"
    assert {p.name: p.read_bytes() for p in alone.outputs} == {
        p.name: p.read_bytes() for p in sorted(ours.iterdir()) if p.is_file()
    }


def test_a_stopped_run_goes_on_and_does_no_scan_twice(
    films: Path, tiny: Path, whole: RunFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from medprior.runs.many import begun

    kept, done = begun.append_line, []

    def torn(path: Path, record: dict) -> None:
        """Killed after the folder of the fourth scan is whole, in the middle of its row."""
        if len(done) == 3:
            done.append("killed")
            with open(path, "a", encoding="utf-8") as file:
                file.write('{"n": 4, "pa')
            raise KeyboardInterrupt
        done.append(record)
        kept(path, record)

    monkeypatch.setattr(begun, "append_line", torn)
    with pytest.raises(KeyboardInterrupt):
        detected(films, tiny, tmp_path / "run")
    monkeypatch.setattr(begun, "append_line", kept)
    events: list[Event] = []
    again = detected(films, tiny, tmp_path / "run", events.append)
    assert contents(again) == contents(whole)
    assert [e.total - e.done for e in events if e.kind == "stage"][-1] == N + 1 - 4  # the fourth was whole
    assert not (tmp_path / "run.partial").exists()
    assert detected(films, tiny, tmp_path / "run").reused


def parted(run: RunFolder) -> tuple[list[dict[str, str]], list[dict[str, str]]]:
    """(rows of scans that were done, rows of others)."""
    return [row for row in table(run) if not row["error"]], [row for row in table(run) if row["error"]]


def test_an_index_is_an_input_and_gives_the_same_rows(
    films: Path, tiny: Path, whole: RunFolder, tmp_path: Path
) -> None:
    """The scans that it holds, the bad one with its reason; no file is listed again."""
    home = tmp_path / "films"
    shutil.copytree(films, home)
    mp.scan(home, out=home)
    (home / "new.png").write_bytes((home / "film0.png").read_bytes())
    run = detected(home / "index.sqlite", tiny, tmp_path / "run")
    rows, bad = parted(run)
    assert rows == parted(whole)[0] and [row["path"] for row in bad] == ["bad.png"]
    (home / "film1.png").unlink()
    _, (_, gone) = parted(detected(home / "index.sqlite", tiny, tmp_path / "gone"))
    assert gone["path"] == "film1.png" and "cannot be read any more" in gone["error"]
    shutil.copy2(films / "film1.png", home)
    parts = [detected(home / "index.sqlite", tiny, tmp_path / f"s{n}", shard=f"{n}/2").path for n in (1, 2)]
    assert contents(merge_runs(parts, tmp_path / "merged")) == contents(run)


def test_a_kill_just_before_its_folder_has_its_name_costs_no_scan(
    films: Path, tiny: Path, whole: RunFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All is written where it was begun, and run.json says whose it is: the next command only names it."""
    kept = files._put

    def killed(new: Path, path: Path) -> None:
        if path == tmp_path / "run":
            raise KeyboardInterrupt
        kept(new, path)

    monkeypatch.setattr(files, "_put", killed)
    with pytest.raises(KeyboardInterrupt):
        detected(films, tiny, tmp_path / "run")
    assert not (tmp_path / "run").exists() and (tmp_path / "run.partial/run.json").is_file()
    (tmp_path / "run.partial/scans/.tmp-0-0-left").mkdir()  # of a killed worker
    monkeypatch.setattr(files, "_put", kept)
    events: list[Event] = []
    again = detected(films, tiny, tmp_path / "run", events.append)
    assert contents(again) == contents(whole) and not (tmp_path / "run.partial").exists()
    assert [e.total - e.done for e in events if e.kind == "stage"][-1] == 0
    files.check_manifest(again.path)


def test_a_scan_is_flushed_once_and_not_at_the_end_again(
    films: Path, tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its own folder has done so: the end of a run takes no longer for a hundred thousand scans."""
    flushed: list[Path] = []
    kept = files.flush
    monkeypatch.setattr(files, "flush", lambda path: (flushed.append(Path(path)), kept(path)))
    run = detected(films, tiny, tmp_path / "run")
    named = [path.name for path in flushed if "scans" in path.parts]
    assert named.count("manifest.json") == len(list(run.path.glob("scans/*")))


@pytest.mark.parametrize(
    ("options", "folders", "pages"),
    [({"pages": "all"}, N, N), ({"keep": "none"}, 0, 0), ({"pages": "none"}, N, 0)],
)
def test_files_and_pages_are_kept_as_asked(
    films: Path, tiny: Path, tmp_path: Path, options: dict[str, str], folders: int, pages: int
) -> None:
    run = detected(films, tiny, tmp_path / "run", **options)
    assert sum(bool(row["folder"]) for row in table(run)) == folders
    assert len(list(run.path.glob("scans/*/report.html"))) == pages
    assert ("A page of any other scan" in run.report.read_text()) is (pages < N)


def test_options_of_many_scans_are_refused_for_one(films: Path, tiny: Path, tmp_path: Path) -> None:
    with pytest.raises(BadOption, match="shard: no option for one scan"):
        detected(films / "film1.png", tiny, tmp_path / "run", shard="1/2")
    with pytest.raises(BadOption, match="parts count from 1"):
        detected(films, tiny, tmp_path / "run", shard="0/2")


def test_the_rate_of_false_discoveries_is_held_over_the_folder(tmp_path: Path) -> None:
    from medprior.runs.many.rows import ROWS, Row, q_values, rows_in, write_results

    p = [0.01, 0.5, 0.02, 0.04, 0.9]
    rows = [Row(n, f"{n}.png", cells={"p_value": v}) for n, v in enumerate(p, start=1)]
    rows.insert(2, Row(9, "bad.png", error="is torn"))
    (tmp_path / ROWS).write_text("".join(json.dumps(row.as_json()) + "\n" for row in rows))
    found = q_values(rows_in(tmp_path / ROWS))
    assert list(found.q) == pytest.approx(benjamini_hochberg(p)) and found.n == 3
    write_results(tmp_path, tmp_path / ROWS, found)
    with open(tmp_path / "results.csv", encoding="utf-8", newline="") as file:
        said = [(row["q_value"], row["discovery"]) for row in csv.DictReader(file)]
    assert said == [
        ("0.05", "yes"),
        ("0.625", "no"),
        ("", ""),
        ("0.05", "yes"),
        ("0.0666667", "yes"),
        ("0.9", "no"),
    ]


def test_memory_at_the_end_of_a_run_hardly_grows_with_the_scans(tmp_path: Path) -> None:
    """Tables and page of 10,000 rows take at most 500 bytes a row more than those of 1,000."""

    def most(n: int) -> int:
        folder = tmp_path / str(n)
        folder.mkdir()
        rows = (Row(k, f"{k}.png", "", {"p_value": k / n, "score": 1.0}, (k / n,)) for k in range(1, n + 1))
        write_lines(folder / ROWS, (row.as_json() for row in rows))
        tracemalloc.start()
        try:
            found = q_values(rows_in(folder / ROWS))
            write_results(folder, folder / ROWS, found)
            folder_outcome(Run("detect", {}), {"name": "tiny"}, folder, found, n)
            return tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()

    few = most(1000)
    assert most(10_000) - few < 500 * 9000
