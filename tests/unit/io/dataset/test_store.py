"""An index on disk: read back as it was, refused or made anew where it is not as its seal says, small."""

from __future__ import annotations

import hashlib
import hmac
import json
import sqlite3
import tracemalloc
from collections.abc import Iterator
from dataclasses import asdict, replace
from pathlib import Path

import pytest

from medprior.errors import Corrupt, FileProblem
from medprior.io.dataset import store
from medprior.io.dataset.index import Index, Item, Unusable
from medprior.io.dataset.layout import EXPORTED, INDEX, KEY, THUMBS
from medprior.io.dataset.pixels.twins import thumbnail
from medprior.io.dataset.scan import load_index, scan
from medprior.io.dataset.store import (
    MOST_EXPORTED,
    previous,
    save_index,
    secret_key,
    stored_scans,
    stored_thumbnails,
)
from medprior.io.groups import Tags
from tests.unit.io.dataset.test_cache import data_set, noisy

PLAIN = Item(
    *("i1", "a/1.dcm", "", "ill", "p1", "train", "", "dicom", (8, 8), 1, "HU", "CT", (0.5, 0.5)),
    synthetic=False,
    digest=hashlib.sha256(b"1").hexdigest(),
    thumb=thumbnail(noisy(0)),
    bucket=7,
    given=False,
    leaks=False,
    signature="0" * 32,
)
FULL = replace(
    PLAIN,
    path="b/\udcff é",
    part="s1-2",
    mask="m.nii",
    spacing_mm=None,
    warnings=("one", "two"),
    files=("1.dcm", "\udcfe.dcm"),
    tags=Tags("female", "40 to 64", "Acme", "s1", "q1"),
    beside=(("T2", "t2.nii"),),
    numbers=(("age", 41.5),),
    classes=(1, 3),
    others="no hash",
    signature="no hash",
    thumb="",
    values=(-1024.0, 0.1),
    volume="b1000",
    later=True,
)


def whole(folder: Path, items: tuple[Item, ...] = (PLAIN, FULL)) -> Index:
    bad = Unusable("x.dcm", "is damaged", "copy it again")
    return Index(folder, items, (bad,), ("README",), (bad,), (("i1", "i2"),), (("i1", "i2"),), ("p1",))


def test_everything_is_read_back_from_sqlite_and_from_json(tmp_path: Path) -> None:
    save_index(whole(tmp_path), tmp_path)
    assert (tmp_path / EXPORTED).is_file() and load_index(tmp_path) == whole(tmp_path)
    secret_key(tmp_path)
    save_index(whole(tmp_path), tmp_path, "state")
    assert not (tmp_path / EXPORTED).exists() and load_index(tmp_path / INDEX) == whole(tmp_path)
    assert tuple(stored_scans(tmp_path / INDEX)) == (PLAIN, FULL)
    assert previous(tmp_path, tmp_path, {}) == (whole(tmp_path), "state")
    assert previous(tmp_path, tmp_path, {"unit": "HU"}) is None
    assert stored_thumbnails(tmp_path) == [PLAIN.thumb, FULL.thumb] and PLAIN.thumb


def test_thumbnails_that_are_not_of_this_index_are_none(tmp_path: Path) -> None:
    """A kill between the two files, or a change: then every file is decoded again, and splits stay."""
    data, out = data_set(tmp_path / "data"), tmp_path / "out"
    right = scan(data, out=out)
    thumbs = (out / THUMBS).read_bytes()
    for bad in (thumbs[:-1], b"", bytes(32) + thumbs[32:], None):
        (out / THUMBS).unlink() if bad is None else (out / THUMBS).write_bytes(bad)
        assert stored_thumbnails(out) is None
        (data / "ill" / "new.png").write_bytes((data / "ill" / "0.png").read_bytes())
        found = scan(data, out=out)
        assert [item for item in found.items if "new" not in item.path] == list(right.items)
        assert all(item.thumb for item in found.items) and (out / THUMBS).read_bytes() != thumbs
        (data / "ill" / "new.png").unlink()
        assert scan(data, out=out) == right


def test_any_tool_can_read_it(tmp_path: Path) -> None:
    secret_key(tmp_path)
    save_index(whole(tmp_path), tmp_path)
    with sqlite3.connect(tmp_path / INDEX) as base:
        assert base.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        assert base.execute("SELECT path, patient, high FROM scans").fetchall()[0] == ("a/1.dcm", "p1", None)


def test_what_is_not_as_its_seal_says_is_refused_and_never_opened(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every byte counts: one that is changed, cut off or added, another key, or none."""
    secret_key(tmp_path)
    save_index(whole(tmp_path), tmp_path)
    good = (tmp_path / INDEX).read_bytes()
    monkeypatch.delattr(sqlite3, "connect")
    for at in (0, 20, 100, 4096, len(good) - 33, len(good) - 1):
        (tmp_path / INDEX).write_bytes(good[:at] + bytes([good[at] ^ 1]) + good[at + 1 :])
        with pytest.raises(Corrupt, match="its seal is not right"):
            load_index(tmp_path)
    for bad in (b"", good[:-1], good[:5], good + b"\0"):
        (tmp_path / INDEX).write_bytes(bad)
        with pytest.raises(Corrupt, match="its seal is not right"):
            load_index(tmp_path)
        if len(bad) != 5:  # of which nobody can say that it was ours
            assert previous(tmp_path, tmp_path, {}) is None
    (tmp_path / INDEX).write_bytes(good)
    (tmp_path / KEY).write_bytes(bytes(32))
    with pytest.raises(Corrupt, match="its seal is not right"):
        load_index(tmp_path)
    (tmp_path / KEY).unlink()
    with pytest.raises(FileProblem, match="cannot be read with its key"):
        load_index(tmp_path)


@pytest.mark.parametrize(
    "change", ["UPDATE scans SET path = '../x'", "DROP TABLE scans", "DELETE FROM kinds"]
)
def test_a_sealed_one_that_is_no_index_is_named(tmp_path: Path, change: str) -> None:
    key = secret_key(tmp_path)
    save_index(whole(tmp_path), tmp_path)
    path = tmp_path / INDEX
    with sqlite3.connect(path) as base:
        base.execute(change)
    base.close()
    sealed = path.read_bytes()
    path.write_bytes(sealed + hmac.new(key, sealed, hashlib.sha256).digest())
    with pytest.raises(Corrupt, match="is not a complete index"):
        load_index(tmp_path)


def test_a_file_of_somebody_else_is_left_alone(tmp_path: Path) -> None:
    data = data_set(tmp_path / "data")
    for name, content in ((INDEX, b"mine"), (EXPORTED, b'{"mine": 1}')):
        (tmp_path / name).mkdir()
        (tmp_path / name / name).write_bytes(content)
        with pytest.raises(FileProblem, match="left alone"):
            scan(data, out=tmp_path / name)
        assert (tmp_path / name / name).read_bytes() == content
    sqlite3.connect(tmp_path / INDEX / "other").execute("CREATE TABLE a (b)")
    (tmp_path / INDEX / "other").rename(tmp_path / INDEX / INDEX)
    with pytest.raises(FileProblem, match="left alone"):
        scan(data, out=tmp_path / INDEX)


def test_a_broken_json_is_named(tmp_path: Path) -> None:
    save_index(whole(tmp_path), tmp_path)
    good = json.loads((tmp_path / EXPORTED).read_text())
    outside = good["items"][0] | {"path": "../../etc/passwd"}
    for change in ({"medprior_index": 99}, {"items": [{}]}, {"items": [outside]}, {"unusable": 3}):
        (tmp_path / EXPORTED).write_text(json.dumps(good | change))
        with pytest.raises(Corrupt, match="index"):
            load_index(tmp_path)


def test_an_index_of_an_older_version_is_used_where_its_seal_is_right(tmp_path: Path) -> None:
    """Its splits stay, no file is decoded again, and SQLite takes its place."""
    data, out = data_set(tmp_path / "data"), tmp_path / "out"
    right = scan(data, out=out)
    items = tuple(replace(item, split="val", digest="f" * 64) for item in right.items)
    record = {"medprior_index": store.SCHEMA, **asdict(replace(right, folder=Path(), items=items))}
    record = json.loads(json.dumps({name: value for name, value in record.items() if name != "folder"}))
    mac = hmac.new(secret_key(out), json.dumps(record, sort_keys=True).encode(), hashlib.sha256).hexdigest()
    for sealed in (True, False):
        (out / INDEX).unlink()
        (out / EXPORTED).write_text(json.dumps(record | {"mac": mac if sealed else "0" * 64}))
        found = scan(data, out=out)
        assert [item.digest == "f" * 64 for item in found.items] == [sealed] * 3
        assert found.counts() == ({"val": 3} if sealed else right.counts())
        assert (out / INDEX).is_file() and not (out / EXPORTED).exists()


def test_nothing_is_opened_where_nothing_has_changed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = data_set(tmp_path / "data")
    first = scan(data, out=tmp_path / "out")
    with monkeypatch.context() as patched:
        patched.setattr("medprior.io.dataset.scan.list_files", lambda *_: pytest.fail("listed again"))
        assert scan(data, out=tmp_path / "out") == first
        for name in ("notes.txt", ".hidden/x.csv"):
            (data / name).parent.mkdir(exist_ok=True)
            (data / name).write_text("words")
        assert scan(data, out=tmp_path / "out") == first
    (data / "scans.csv").write_text("path,label\nill/0.png,well\n")
    assert [item.label for item in scan(data, out=tmp_path / "out").items] == ["well"]


def test_a_large_index_is_small_and_takes_no_memory(tmp_path: Path) -> None:
    """Below 200 bytes a scan, and a fixed amount of memory however many there are."""
    key, n = secret_key(tmp_path), 20_000

    def items() -> Iterator[Item]:
        for k in range(n):
            digest = hashlib.sha256(str(k).encode()).hexdigest()
            yield replace(PLAIN, id=f"i{k:016x}", path=f"a/{k:07}.dcm", patient=f"p{k:016x}", digest=digest)

    tracemalloc.start()
    store._write(tmp_path / INDEX, {}, items(), key)
    assert sum(item.split == "train" for item in stored_scans(tmp_path / INDEX)) == n
    assert tracemalloc.get_traced_memory()[1] < 8 * 2**20
    tracemalloc.stop()
    assert (tmp_path / INDEX).stat().st_size < n * 200
    assert n <= MOST_EXPORTED
