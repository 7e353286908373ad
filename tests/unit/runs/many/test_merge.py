"""Shards joined are the run that was never parted, to the byte; an incomplete or foreign set is refused by
name.
"""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from medprior.errors import BadOption, Corrupt
from medprior.runs.ask.requests import request_from
from medprior.runs.core.run import RunFolder
from medprior.runs.execute import execute
from medprior.runs.many.merge import merge_runs
from tests.unit.runs.many.conftest import contents, table

OF = 3


def run(films: Path, prior: Path, out: Path, **more: object) -> RunFolder:
    values = {"input": films, "prior": str(prior), "out": out, "pages": "none", **more}
    return execute(request_from("detect", values))


@pytest.fixture(scope="module")
def whole(films: Path, tiny: Path, tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    return run(films, tiny, tmp_path_factory.mktemp("whole") / "run")


@pytest.fixture(scope="module")
def shards(films: Path, tiny: Path, tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    home = tmp_path_factory.mktemp("shards")
    return [run(films, tiny, home / f"s{n}", shard=f"{n}/{OF}").path for n in range(1, OF + 1)]


def test_merged_shards_equal_the_whole(whole: RunFolder, shards: list[Path], tmp_path: Path) -> None:
    done = merge_runs(shards[::-1], tmp_path / "run")
    assert contents(done) == contents(whole)
    assert done.record["id"] == whole.record["id"]
    assert done.record["metrics"] == whole.record["metrics"] and done.summary == whole.summary
    assert merge_runs(shards, tmp_path / "run").reused


def test_no_scan_is_in_two_shards(whole: RunFolder, shards: list[Path]) -> None:
    parts = [[row["path"] for row in table(RunFolder(shard, {}))] for shard in shards]
    assert sorted(path for part in parts for path in part) == [row["path"] for row in table(whole)]
    assert sum(bool(part) for part in parts) > 1


def test_an_incomplete_or_foreign_set_is_refused_by_name(
    films: Path, tiny: Path, shards: list[Path], whole: RunFolder, tmp_path: Path
) -> None:
    with pytest.raises(BadOption, match="1 of 3 shards are missing: 2/3"):
        merge_runs([shards[0], shards[2]], tmp_path / "run")
    with pytest.raises(BadOption, match="are both shard 1/3"):
        merge_runs([shards[0], shards[0]], tmp_path / "run")
    with pytest.raises(BadOption, match="is no shard"):
        merge_runs([whole.path], tmp_path / "run")
    other = run(films, tiny, tmp_path / "other", shard="2/3", n_twins=2).path
    with pytest.raises(BadOption, match="s1 and other were not made with the same settings: n_twins"):
        merge_runs([shards[0], other, shards[2]], tmp_path / "run")
    with pytest.raises(BadOption, match="got none"):
        merge_runs([], tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_changed_shard_is_refused(shards: list[Path], tmp_path: Path) -> None:
    copy = shutil.copytree(shards[0], tmp_path / "copy")
    with open(copy / "rows.jsonl", "a", encoding="utf-8") as file:
        file.write("{}\n")
    with pytest.raises(Corrupt, match="does not match its checksum"):
        merge_runs([copy, *shards[1:]], tmp_path / "run")
