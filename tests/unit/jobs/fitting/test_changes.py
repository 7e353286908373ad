"""A training that goes on learns from the scans that it began with."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from medprior.data.volume import Volume
from medprior.errors import BadOption, Corrupt
from medprior.io.dataset.scan import load_index
from medprior.io.write import write
from medprior.jobs.fitting.changes import changes, index_once
from medprior.jobs.fitting.fit import fitted
from medprior.jobs.fitting.options import Fitting, Listener
from tests.unit.runs.conftest import scene


def put(path: Path, n: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    write(Volume(scene(n)), path, kind="converted")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for n in range(4):
        put(tmp_path / "data" / "train" / f"{n}.png", n)
    put(tmp_path / "data" / "test" / "t.png", 40)
    return tmp_path / "data"


def learned(folder: Path, out: Path, **other: object) -> Fitting:
    """A folder that has learned something: a checkpoint lies in it."""
    options = Fitting(folder, out=out, **other)  # type: ignore[arg-type]
    index_once(options, Listener())
    (out / "checkpoints" / "step-000000010").mkdir(parents=True, exist_ok=True)
    return options


def test_added_changed_and_withdrawn_scans_are_named_until_back(folder: Path, tmp_path: Path) -> None:
    options = learned(folder, tmp_path / "run")
    assert len(index_once(options, Listener()).items) == 5, "the same scans"
    shutil.copytree(folder, tmp_path / "safe")
    put(folder / "train" / "new.png", 20)
    put(folder / "train" / "1.png", 30)
    (folder / "train" / "2.png").unlink()
    for _ in range(2):  # a refusal leaves the index as it was: the next call refuses as well
        with pytest.raises(BadOption, match="scans have changed since run learned from them") as error:
            index_once(options, Listener())
        said = str(error.value)
        assert "1 added: train/new.png" in said and "1 changed: train/1.png" in said
        assert "1 withdrawn: train/2.png" in said and "--fresh" in said and "put them back" in said
    assert index_once(Fitting(folder, out=tmp_path / "run", fresh=True), Listener()).counts()
    shutil.rmtree(folder)
    shutil.copytree(tmp_path / "safe", folder)
    (tmp_path / "run.private" / "index.sqlite").unlink()
    assert len(index_once(options, Listener()).items) == 5


def test_another_label_is_a_change_and_a_test_scan_is_none(folder: Path, tmp_path: Path) -> None:
    learned(folder, tmp_path / "run")
    before = load_index(tmp_path / "run.private", folder)
    put(folder / "test" / "u.png", 41)
    assert not changes(before, index_once(learned(folder, tmp_path / "b"), Listener()))
    (folder / "train" / "sick").mkdir()
    (folder / "train" / "3.png").rename(folder / "train" / "sick" / "3.png")
    found = changes(before, index_once(learned(folder, tmp_path / "c"), Listener()))
    assert found.added == ("train/sick/3.png",) and found.withdrawn == ("train/3.png",)


def test_a_folder_that_has_learned_nothing_yet_takes_new_scans(folder: Path, tmp_path: Path) -> None:
    options = Fitting(folder, out=tmp_path / "run")
    index_once(options, Listener())
    put(folder / "train" / "new.png", 20)
    assert len(index_once(options, Listener()).items) == 6


def test_the_index_lies_beside_the_folder_that_is_passed_on(folder: Path, tmp_path: Path) -> None:
    """Also one of an older version, whose scans stay known."""
    learned(folder, tmp_path / "run")
    assert not [path for path in (tmp_path / "run").rglob("*") if path.is_file()]
    assert (tmp_path / "run.private").stat().st_mode & 0o777 == 0o700
    for name in ("index.sqlite", "unusable.csv", ".medprior-key"):
        (tmp_path / "run.private" / name).rename(tmp_path / "run" / name)
    put(folder / "train" / "new.png", 20)
    with pytest.raises(BadOption, match=r"1 added: train/new\.png"):
        index_once(Fitting(folder, out=tmp_path / "run"), Listener())
    assert not (tmp_path / "run" / "index.sqlite").exists()


def test_a_scan_that_changes_after_it_was_indexed_stops_the_training(folder: Path, tmp_path: Path) -> None:
    """Else the card would vouch for pixels that the weights have not seen."""
    options = Fitting(folder, preset="tiny", steps=1, out=tmp_path / "run")
    index = index_once(options, Listener())
    put(folder / "train" / "1.png", 30)
    with pytest.raises(Corrupt, match=r"1\.png: has changed since the scans were indexed"):
        fitted(options, Listener(), index)
