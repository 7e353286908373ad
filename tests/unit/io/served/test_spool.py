"""The spool: whole or absent, counted once, and mended after a kill."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import pytest

from medprior.errors import BadOption, TooLarge
from medprior.io.served.spool import Received, Spool


def look(spool: Spool, uid: str, unit: str = "u", series: str = "1.2") -> Callable[[Path], Received]:
    return lambda path: Received(uid, "1.2.840", series, "1.1", unit, "rule" if unit else "", "CR", "SCANNER")


def test_an_object_is_kept_once_and_the_same_bytes_change_nothing(tmp_path: Path) -> None:
    spool = Spool(tmp_path / "spool")
    assert spool.receive([b"abc", b"def"], look(spool, "1.2.3"))
    unit = spool.open_units()[0][0]
    assert spool.ask(unit) is not None and spool.open_units() == []
    assert not spool.receive([b"abcdef"], look(spool, "1.2.3"))
    assert (
        spool.open_units() == [] and spool.counters() == {"received": 2, "repeated": 1} and spool.taken == 6
    )
    assert spool.path(spool.name("1.2.3")).read_bytes() == b"abcdef" and spool.holds("1.2.3")
    assert spool.receive([b"other"], look(spool, "1.2.3")) and spool.taken == 5
    assert len(spool.open_units()) == 1  # other bytes under the same UID: it is looked at again


def test_what_cannot_be_understood_leaves_nothing(tmp_path: Path) -> None:
    def refuse(path: Path) -> Received:
        assert path.read_bytes() == b"abc"
        raise BadOption("no")

    spool = Spool(tmp_path / "spool")
    with pytest.raises(BadOption):
        spool.receive([b"abc"], refuse)
    assert list((tmp_path / "spool").rglob("*.dcm")) == [] and spool.taken == 0


def test_a_full_spool_says_so(tmp_path: Path) -> None:
    spool = Spool(tmp_path / "spool", quota=8)
    spool.receive([b"12345"], look(spool, "1"))
    with pytest.raises(TooLarge):
        spool.receive([b"12345"], look(spool, "2"))
    assert not spool.holds("2")


def test_a_kill_before_the_line_was_written_is_mended(tmp_path: Path) -> None:
    spool = Spool(tmp_path / "spool")
    spool.receive([b"abc"], look(spool, "1.2.3"))
    with spool._change() as base:
        base.execute("delete from instances")
        base.execute("delete from units")
    (tmp_path / "spool" / "incoming" / "half.dcm").write_bytes(b"x")
    again = Spool(tmp_path / "spool")
    again.begin()
    assert again.mend(look(again, "1.2.3")) == 1 and again.mend(look(again, "1.2.3")) == 0
    assert again.holds("1.2.3") and len(again.open_units()) == 1
    assert not list((tmp_path / "spool" / "incoming").iterdir())


def test_a_task_keeps_its_objects_as_they_were(tmp_path: Path) -> None:
    spool = Spool(tmp_path / "spool")
    spool.receive([b"one"], look(spool, "1"))
    unit, newest, here = spool.open_units()[0]
    task = spool.ask(unit)
    assert task is not None and here == 1 and newest <= time.time()
    spool.receive([b"two"], look(spool, "2"))
    spool.receive([b"changed"], look(spool, "1"))
    assert [p.read_bytes() for p in sorted(spool.scan(task.id).glob("*"))] == [b"one"]
    later = spool.ask(spool.open_units()[0][0])
    assert later is not None and later.digest != task.digest
    assert sorted(p.read_bytes() for p in spool.scan(later.id).glob("*")) == [b"changed", b"two"]
    spool.answered(task, ["PACS"])  # the older one ends last: the unit still waits for the newer
    assert spool.unit("u") == spool.unit("u") and spool.unit("u").state == "asked"  # type: ignore[union-attr]
    assert spool.earlier(later) is not None


def test_tries_are_bounded_and_pauses_double(tmp_path: Path) -> None:
    spool = Spool(tmp_path / "spool")
    spool.receive([b"one"], look(spool, "1"))
    task = spool.ask(spool.open_units()[0][0])
    assert task is not None
    spool.answered(task, ["PACS", "OTHER"])
    pauses = []
    for _ in range(5):
        with spool._change() as base:
            base.execute("update deliveries set due = 0 where peer = 'PACS' and state = 'waiting'")
        one = spool.due("PACS")
        assert one is not None
        spool.refused(one, "PACS is out of resources", 5, 10.0)
        pauses.append(spool._rows("select due from deliveries where peer = 'PACS'")[0][0] - time.time())
    assert [round(p / 10) for p in pauses] == [1, 2, 4, 8, 16] and spool.due("PACS") is None
    assert [row[1:] for row in spool.failures()] == [("peer PACS", "PACS is out of resources")]
    other = spool.due("OTHER")
    assert other is not None
    spool.delivered(other)
    assert spool.states() == {"unit answered": 1, "delivery delivered": 1, "delivery failed": 1}
    assert spool.again() == 1 and spool.due("PACS") is not None


def test_what_was_answered_leaves_and_a_late_object_alone_is_no_scan(tmp_path: Path) -> None:
    spool = Spool(tmp_path / "spool")
    for n in range(3):
        spool.receive([f"{n}".encode()], look(spool, f"1.{n}"))
    spool.receive([b"kept"], look(spool, "9", unit=""))
    assert spool.holds("9", commit=True)
    task = spool.ask(spool.open_units()[0][0])
    assert task is not None and spool.clear(time.time() + 1) == 0  # it is at work
    spool.answered(task, ["PACS"])
    assert spool.clear(time.time() + 1) == 0  # it is not delivered
    one = spool.due("PACS")
    assert one is not None
    spool.delivered(one)
    assert spool.clear(time.time() + 1) == 3 and not spool.scan(task.id).exists()
    assert spool.holds("9") and spool.taken == 4
    spool.receive([b"late"], look(spool, "1.7"))
    assert spool.ask(spool.open_units()[0][0]) is None
    assert "send the whole series again" in spool.failures()[0][2]


def test_names_tell_nothing_and_the_folder_is_private(tmp_path: Path) -> None:
    spool = Spool(tmp_path / "spool")
    spool.receive([b"one"], look(spool, "1.2.3.4567"))
    assert "4567" not in " ".join(str(p) for p in tmp_path.rglob("*.dcm"))
    assert (tmp_path / "spool").stat().st_mode & 0o77 == 0
    assert Spool(tmp_path / "other").name("1.2.3.4567") != spool.name("1.2.3.4567")
