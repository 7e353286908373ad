"""An index that is there already is used, and nothing in the cache can spoil a command."""

from __future__ import annotations

import hashlib
import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from medprior.data.volume import Volume
from medprior.errors import FileProblem
from medprior.io.dataset import cache
from medprior.io.dataset import scan as scanning
from medprior.io.dataset.cache import cache_folder, cached_scan, keyed_hashes
from medprior.io.dataset.index import Index
from medprior.io.dataset.layout import INDEX
from medprior.io.dataset.pixels import looking
from medprior.io.write import write


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MEDPRIOR_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return data_set(tmp_path / "scans")


@pytest.fixture
def decoded(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The files that were decoded."""
    names, read = list[str](), looking.read_item

    def reading(path: Path, *more: Any) -> Volume:
        names.append(path.name)
        return read(path, *more)

    monkeypatch.setattr(looking, "read_item", reading)
    return names


def data_set(folder: Path, n: int = 3) -> Path:
    for k in range(n):
        (folder / "ill").mkdir(parents=True, exist_ok=True)
        write(noisy(k), folder / "ill" / f"{k}.png", kind="converted")
    return folder


def noisy(seed: int) -> Volume:
    return Volume(np.random.default_rng(seed).uniform(0, 255, (1, 16, 16)).astype(np.float32))


def entries() -> list[Path]:
    return sorted((cache_folder() / "indexes").iterdir())


def facts(index: Index) -> list[tuple[str, str, str, str]]:
    return [(item.path, item.digest, item.label, item.split) for item in index.items]


def test_a_second_command_decodes_nothing(folder: Path, decoded: list[str]) -> None:
    first = cached_scan(folder)
    assert sorted(decoded) == ["0.png", "1.png", "2.png"]
    second = cached_scan(folder)
    assert len(decoded) == 3 and facts(first) == facts(second) == facts(scanning.scan(folder))


def test_a_new_file_alone_is_decoded_and_another_option_is_another_entry(
    folder: Path, decoded: list[str]
) -> None:
    """Splits are those of a first scan: what a command finds does not depend on what was cached before."""
    cached_scan(folder)
    write(noisy(3), folder / "3.png", kind="converted")
    assert facts(cached_scan(folder)) == facts(scanning.scan(folder)) and len(decoded) == 3 + 1 + 4
    assert cached_scan(folder, modality="DX").items[0].modality == "DX"
    assert len(entries()) == 2 and not list(folder.glob("*index*"))


def test_what_a_table_says_no_more_is_forgotten(folder: Path, decoded: list[str]) -> None:
    table = folder / "scans.csv"
    table.write_text("path,label,patient\nill/0.png,a,p\nill/1.png,b,p\nill/2.png,b,q\n")
    assert [(i.label, bool(i.patient)) for i in cached_scan(folder).items] == [("a", 1), ("b", 1), ("b", 1)]
    table.write_text("path,label\nill/0.png,\nill/1.png,b\nill/2.png,b\n")
    found = cached_scan(folder)
    assert [(i.label, i.patient) for i in found.items] == [("", ""), ("b", ""), ("b", "")]
    assert facts(found) == facts(scanning.scan(folder)) and len(decoded) == 3 + 3


@pytest.mark.parametrize("text", ["", "{", "SQLite format 3\0"])
def test_a_damaged_or_foreign_entry_is_made_again(folder: Path, decoded: list[str], text: str) -> None:
    wanted = facts(cached_scan(folder))
    (entries()[0] / INDEX).write_text(text)
    assert facts(cached_scan(folder)) == wanted and len(decoded) == 6
    assert facts(cached_scan(folder)) == wanted and len(decoded) == 6


def test_only_its_owner_can_read_it(folder: Path) -> None:
    cached_scan(folder)
    (entry,) = entries()
    assert entry.stat().st_mode & 0o777 == 0o700
    assert {path.stat().st_mode & 0o777 for path in entry.iterdir()} == {0o600}


def test_the_oldest_go_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cache, "MOST", 2)
    for n, name in enumerate("abc"):
        cached_scan(data_set(tmp_path / name))
        for entry in entries():
            if entry.stat().st_mtime > 1e9:
                os.utime(entry, (n, n))  # as if it was long ago
    assert sorted(int(entry.stat().st_mtime) for entry in entries()) == [1, 2]
    monkeypatch.setattr(cache, "MOST_BYTES", 1)
    cached_scan(tmp_path / "c")
    assert len(entries()) == 1


def test_without_a_cache_every_file_is_read(
    folder: Path, decoded: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("no folder can be made below this")
    monkeypatch.setenv("MEDPRIOR_CACHE", str(tmp_path / "file" / "cache"))
    assert len(cached_scan(folder).items) == len(cached_scan(folder).items) == 3
    assert len(decoded) == 6


def test_a_fault_of_the_data_set_is_told(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(FileProblem, match="is empty"):
        cached_scan(tmp_path / "empty")


def test_where_it_lies(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("MEDPRIOR_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert cache_folder() == tmp_path / "medprior"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert cache_folder() == tmp_path / ".cache" / "medprior"


def test_whoever_holds_a_scan_cannot_ask_whether_it_is_among_keyed_hashes() -> None:
    """The same on this machine, time after time; with another secret, or none, others."""
    digests = [hashlib.sha256(bytes([n])).hexdigest() for n in range(3)]
    name, mine = keyed_hashes(digests)
    assert (name, mine) == keyed_hashes(digests) and len(set(mine)) == 3
    assert not any(one in digest for one in mine for digest in digests)
    secret = cache_folder() / "secret"
    assert secret.stat().st_mode & 0o077 == 0 and all(p.stat().st_mode & 0o077 == 0 for p in secret.iterdir())
    shutil.rmtree(secret)
    other, theirs = keyed_hashes(digests)
    assert other != name and not set(theirs) & set(mine)
