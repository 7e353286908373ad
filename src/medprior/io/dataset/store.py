"""The index of a data set on disk: SQLite, sealed by a key that lies beside it; a small one to pass on is
JSON.

SQLite opens no file whose seal is not right, so a damaged or a foreign one never reaches its parser. A file
is built beside its place and renamed, and read as one that never changes. So it needs no lock and no log, and
lies well on a network disk, too. Thumbnails lie in a file of their own, which only another scan reads.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import os
import secrets
import sqlite3
from binascii import a2b_base64, b2a_base64
from collections.abc import Iterable, Iterator
from contextlib import closing
from dataclasses import asdict, dataclass, fields
from itertools import islice
from operator import attrgetter
from pathlib import Path
from typing import Any

from ...data.plain import JsonObject
from ...data.records import checked
from ...errors import BadOption, Corrupt, FileProblem
from ..disk.files import read_json, write_file, write_json
from ..groups import Tags
from .index import Index, Item, Unusable
from .layout import EXPORTED, INDEX, KEY, THUMBS, UNUSABLE
from .listing import csv_cell

__all__ = [
    "MOST_EXPORTED",
    "SCHEMA",
    "load_index",
    "previous",
    "save_index",
    "secret_key",
    "stored_scans",
    "stored_thumbnails",
]

SCHEMA = 1
_LARGEST = 2**28
"""Bytes of an index.json."""
MOST_EXPORTED = 20_000
"""Scans of an index.json: a larger index is SQLite wherever it lies."""
_KEY_BYTES = 32
_SEAL_BYTES = hashlib.sha256().digest_size
_MAGIC, _OURS = b"SQLite format 3\0", 0x6D647072
_HEAD = ("medprior_index", "mac")
_AGAIN = "remove it and scan the folder again"
_BLOCK, _PIECE = 1000, 2**20
_TABLES = """
PRAGMA journal_mode = OFF;
PRAGMA synchronous = OFF;
CREATE TABLE about (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE kinds (n INTEGER PRIMARY KEY, value TEXT NOT NULL);
CREATE TABLE scans (n INTEGER PRIMARY KEY, path, part, id, patient, split, bucket, low, high, signature,
  digest, kind INTEGER NOT NULL, more TEXT);
BEGIN;
"""
_ROW = "INSERT INTO scans VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
_ALL = """
SELECT path, part, id, patient, split, bucket, low, high, signature, digest, kind, more
FROM scans ORDER BY n
"""
_OWN = ("path", "part", "id", "patient", "split", "bucket", "values", "signature", "digest", "thumb")
_MORE = ("mask", "files", "beside", "numbers", "others", "volume")
"""What most scans have not."""
_KIND = tuple(f.name for f in fields(Item) if f.name not in (*_OWN, *_MORE))
"""What many scans share."""
_FAULTS = (sqlite3.Error, ValueError, TypeError, KeyError, AttributeError, RecursionError)
"""What a sealed file leads to that another version wrote."""


@dataclass(frozen=True, slots=True)
class _Stored:
    """An index without its folder, as it is written."""

    items: tuple[Item, ...]
    unusable: tuple[Unusable, ...]
    passed_over: tuple[str, ...]
    duplicates: tuple[tuple[str, ...], ...]
    near_duplicates: tuple[tuple[str, str], ...]
    crossing: tuple[str, ...]
    options: dict[str, str]
    left_out: tuple[Unusable, ...] = ()
    layout: str = "folders"
    notes: tuple[str, ...] = ()


_ABOUT = tuple(f.name for f in fields(_Stored) if f.name != "items")


def save_index(index: Index, target: Path, state: str = "") -> None:
    """The index and unusable.csv in ``target``, each whole or untouched: index.sqlite where a key lies beside
    it or it is large, else index.json. state: of the folder, as ``folder_state`` gives it.

    Raises FileProblem when the disk refuses.
    """
    about = {name: getattr(index, name) for name in _ABOUT}
    about |= {name: [asdict(entry) for entry in about[name]] for name in ("unusable", "left_out")}
    if (target / KEY).exists() or len(index.items) > MOST_EXPORTED:
        key = secret_key(target)
        write_file(target / INDEX, lambda path: _write(path, about | {"state": state}, index.items, key))
        write_file(target / THUMBS, lambda path: _write_thumbs(path, target / INDEX, index.items, key))
        (target / EXPORTED).unlink(missing_ok=True)  # of an older version
    else:
        items = [asdict(item) for item in index.items]
        write_json(target / EXPORTED, {"medprior_index": SCHEMA, **about, "items": items, "mac": ""})
    rows = [("path", "reason", "remedy"), *((u.path, u.reason, u.remedy) for u in index.unusable)]
    rows += [(u.path, f"left out: {u.reason}", u.remedy) for u in index.left_out]
    quoted = "".join(
        ",".join('"' + csv_cell(cell).replace('"', '""') + '"' for cell in row) + "\r\n" for row in rows
    )
    write_file(target / UNUSABLE, quoted.encode(errors="backslashreplace"))


def load_index(path: str | Path, folder: str | Path | None = None) -> Index:
    """An index.sqlite, an index.json, or the folder that holds one. folder: where the data set lies, when it
    is not the folder of the index.

    Raises FileProblem when it is missing, Corrupt when it is no index, of another version, or not as its seal
    says.
    """
    path = Path(path)
    if path.is_dir():
        path = path / INDEX if (path / INDEX).exists() else path / EXPORTED
    home = Path(folder) if folder is not None else path.parent
    if path.suffix == Path(INDEX).suffix:
        return _from_sqlite(path, home)[0]
    record = read_json(path, _LARGEST)
    if not isinstance(record, dict) or record.get("medprior_index") != SCHEMA:
        raise Corrupt(path, f"is no index of version {SCHEMA}", "scan the folder again")
    return _from_json(path, home, record)


def previous(target: Path, folder: Path, options: dict[str, str]) -> tuple[Index, str] | None:
    """The index of an earlier scan with the same options, and the state of the folder then; None where there
    is none, or one that is not as its seal says.

    Raises FileProblem rather than write over a file that is not ours.
    """
    found = None
    if (target / EXPORTED).exists():
        found = _earlier(target, folder)
    if (target / INDEX).exists():
        _check_ours(target / INDEX)
        try:
            found = _from_sqlite(target / INDEX, folder)
        except Corrupt:
            return None  # damaged, changed, or of another version: every file is read again
    return found if found is not None and found[0].options == options else None


def stored_scans(path: Path) -> Iterator[Item]:
    """The scans of an index.sqlite one by one, so that memory does not grow with their number. Raises
    FileProblem, Corrupt.
    """
    with closing(_opened(path)) as base:
        yield from _items(path, base)


def stored_thumbnails(target: Path) -> list[str] | None:
    """Those of the scans of index.sqlite, in their order; None where there are none that belong to it."""
    found: list[str] = []
    try:
        of = _seal_of(target / INDEX)
        path, size = target / THUMBS, (target / THUMBS).stat().st_size - _SEAL_BYTES
        if _seal_of(path) != _seal(path, (target / KEY).read_bytes(), size):
            return None
        with open(path, "rb") as file:
            if file.read(_SEAL_BYTES) != of:
                return None
            while file.tell() < size:
                raw = file.read(int.from_bytes(file.read(2), "big"))
                found.append(b2a_base64(raw, newline=False).decode())
    except OSError:
        return None
    return found


def secret_key(target: Path) -> bytes:
    """The secret of this folder, e.g. for a data set, made once and readable by its owner only; without it
    the opaque names lead nowhere.
    """
    path = target / KEY
    try:
        key = path.read_bytes() if path.exists() else b""
    except OSError as error:
        raise FileProblem(
            path, f"cannot be read ({error.strerror})", "scan as its owner, or choose another --out"
        ) from error
    if len(key) == _KEY_BYTES:
        return key
    key = secrets.token_bytes(_KEY_BYTES)
    write_file(path, lambda temporary: _write_secret(temporary, key))
    return key


def _write_secret(path: Path, key: bytes) -> None:
    """Nobody else may read it, at no moment."""
    with open(path, "wb", opener=lambda name, flags: os.open(name, flags, 0o600)) as file:
        file.write(key)


def _write(path: Path, about: JsonObject, items: Iterable[Item], key: bytes) -> None:
    """Everything into a new file, and its seal behind the last page, where SQLite does not look."""
    path.unlink(missing_ok=True)
    kinds: dict[tuple[Any, ...], int] = {}
    try:
        with closing(sqlite3.connect(f"{path.absolute().as_uri()}?nolock=1", uri=True)) as base:
            base.executescript(f"PRAGMA application_id = {_OURS}; PRAGMA user_version = {SCHEMA};{_TABLES}")
            scans = enumerate(items)
            while block := list(islice(scans, _BLOCK)):
                base.executemany(_ROW, [_row(n, item, kinds) for n, item in block])
            for kind, n in kinds.items():
                text = json.dumps(dict(zip(_KIND, kind, strict=True)), default=asdict)
                base.execute("INSERT INTO kinds VALUES (?, ?)", (n, text))
            said = ((name, json.dumps(value)) for name, value in about.items())
            base.executemany("INSERT INTO about VALUES (?, ?)", said)
            base.execute("COMMIT")
    except sqlite3.Error as error:
        raise OSError(f"SQLite: {error}") from error
    _put_seal(path, key)


def _write_thumbs(path: Path, index: Path, items: Iterable[Item], key: bytes) -> None:
    """The seal of the index to which they belong, then the bytes of each behind their number."""
    with open(path, "wb") as file:
        file.write(_seal_of(index))
        for item in items:
            raw = a2b_base64(item.thumb)
            file.write(len(raw).to_bytes(2, "big") + raw)
    _put_seal(path, key)


def _put_seal(path: Path, key: bytes) -> None:
    seal = _seal(path, key, path.stat().st_size)
    with open(path, "ab") as file:
        file.write(seal)


def _seal_of(path: Path) -> bytes:
    """The seal that a file bears, right or wrong."""
    with open(path, "rb") as file:
        file.seek(max(path.stat().st_size - _SEAL_BYTES, 0))
        return file.read()


def _row(n: int, item: Item, kinds: dict[tuple[Any, ...], int]) -> tuple[Any, ...]:
    low, high = item.values or (None, None)
    more = _more(item)
    return (
        n,
        _text(item.path),
        _text(item.part),
        item.id,
        item.patient,
        item.split,
        item.bucket,
        low,
        high,
        _hex(item.signature),
        _hex(item.digest),
        kinds.setdefault(_kind(item), len(kinds)),
        None if more == _NOTHING else json.dumps(dict(zip(_MORE, more, strict=True))),
    )


_kind, _more = attrgetter(*_KIND), attrgetter(*_MORE)
_NOTHING = ("", (), (), (), "", "")
_BARE: JsonObject = dict(zip(_MORE, _NOTHING, strict=True))


def _text(text: str) -> str | bytes:
    """A file name that is no text is bytes."""
    return text if text.isascii() else text.encode(errors="surrogatepass")


def _hex(text: str) -> str | bytes:
    """Half as long, where it is a hash."""
    try:
        short = bytes.fromhex(text)
    except ValueError:
        return text
    return short if short.hex() == text else text


def _opened(path: Path) -> sqlite3.Connection:
    """A file whose seal is right, to be read. Raises FileProblem, Corrupt."""
    try:
        size, key = path.stat().st_size, (path.parent / KEY).read_bytes()
        sealed = hmac.compare_digest(_seal_of(path), _seal(path, key, size - _SEAL_BYTES))
    except OSError as error:
        raise FileProblem(
            path, f"cannot be read with its key ({error.strerror})", "scan the folder again"
        ) from error
    if not sealed:
        raise Corrupt(path, "is no index that was made here: its seal is not right", _AGAIN)
    base = sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro&immutable=1", uri=True)
    if base.execute("PRAGMA user_version").fetchone() != (SCHEMA,):
        base.close()
        raise Corrupt(path, f"is no index of version {SCHEMA}", "scan the folder again")
    return base


def _seal(path: Path, key: bytes, size: int) -> bytes:
    """The HMAC of the first ``size`` bytes."""
    found = hmac.new(key, digestmod=hashlib.sha256)
    with open(path, "rb") as file:
        while size > 0 and (piece := file.read(min(size, _PIECE))):
            found.update(piece)
            size -= len(piece)
    return found.digest()


def _check_ours(path: Path) -> None:
    """Raises FileProblem for a file that this module did not begin."""
    with open(path, "rb") as file:
        start = file.read(72)
    if start and not (start.startswith(_MAGIC) and start[68:] == _OURS.to_bytes(4, "big")):
        raise FileProblem(path, "is not an index of medprior and is left alone", "choose another --out")


def _from_sqlite(path: Path, folder: Path) -> tuple[Index, str]:
    """(the index, the state of its folder). Raises FileProblem, Corrupt."""
    with closing(_opened(path)) as base:
        items = tuple(_items(path, base))
        try:
            about = {name: json.loads(value) for name, value in base.execute("SELECT name, value FROM about")}
        except _FAULTS as error:
            raise Corrupt(path, f"is not a complete index ({error})", _AGAIN) from error
    state = about.pop("state", "")
    return _from_json(path, folder, {**about, "items": []}, items), state


def _items(path: Path, base: sqlite3.Connection) -> Iterator[Item]:
    """Raises Corrupt for a row that makes no scan, or whose path leaves the folder."""
    try:
        kinds = {n: _known(value) for n, value in base.execute("SELECT n, value FROM kinds")}
        for row in base.execute(_ALL):
            where, part, name, patient, split, bucket, low, high, signature, digest, kind, more = row
            yield _inside(
                path,
                Item(
                    path=where if isinstance(where, str) else where.decode(errors="surrogatepass"),
                    part=part if isinstance(part, str) else part.decode(errors="surrogatepass"),
                    id=name,
                    patient=patient,
                    split=split,
                    bucket=bucket,
                    values=None if low is None else (low, high),
                    signature=signature if isinstance(signature, str) else signature.hex(),
                    digest=digest if isinstance(digest, str) else digest.hex(),
                    thumb="",
                    **kinds[kind],
                    **(_known(more) if more else _BARE),
                ),
            )
    except _FAULTS as error:
        raise Corrupt(path, f"is not a complete index ({error})", _AGAIN) from error


def _known(text: str) -> JsonObject:
    found = {name: _tupled(value) for name, value in json.loads(text).items()}
    return found | {"tags": Tags(**found["tags"])} if "tags" in found else found


def _tupled(value: Any) -> Any:
    return tuple(map(_tupled, value)) if isinstance(value, list) else value


def _inside(path: Path, item: Item) -> Item:
    """Raises Corrupt for a path that leaves the folder."""
    for name in (item.path, item.mask, *item.files, *(name for _, name in item.beside)):
        if name.startswith("/") or "\0" in name or (".." in name and ".." in Path(name).parts):
            raise Corrupt(path, f"is not a complete index (item {item.id!r} lies outside)", _AGAIN)
    return item


def _from_json(path: Path, folder: Path, record: JsonObject, items: tuple[Item, ...] = ()) -> Index:
    """The index in a record of JSON. items: beside those in it. Raises Corrupt when something is missing or
    of another type, or a path leaves the folder.
    """
    try:
        made = checked(_Stored, {k: v for k, v in record.items() if k not in _HEAD}, "index", _AGAIN)
    except BadOption as error:
        raise Corrupt(path, f"is not a complete index ({error.args[0]})", _AGAIN) from error
    found = (*(_inside(path, item) for item in made.items), *items)
    return Index(folder, found, **{name: getattr(made, name) for name in _ABOUT})


def _earlier(target: Path, folder: Path) -> tuple[Index, str] | None:
    """What an index.json of an older version says, where its own seal is right. Raises FileProblem."""
    path = target / EXPORTED
    record = read_json(path, _LARGEST)
    if not isinstance(record, dict) or "medprior_index" not in record:
        raise FileProblem(path, "is not an index of medprior and is left alone", "choose another --out")
    plain = {name: value for name, value in record.items() if name != "mac"}
    try:
        key = (target / KEY).read_bytes()
    except OSError:
        return None
    wanted = hmac.new(key, json.dumps(plain, sort_keys=True).encode(), hashlib.sha256).hexdigest()
    if record["medprior_index"] != SCHEMA or record.get("mac") != wanted:
        return None  # changed by hand, or of an older version: every file is read again
    return _from_json(path, folder, record), ""
