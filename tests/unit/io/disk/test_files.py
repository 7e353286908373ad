"""Promises D1, D2, D8, C1, C2: a file or folder is old or new, never between; weights are checked and never
run code; one run a folder.
"""

from __future__ import annotations

import errno
import os
import random
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from medprior.errors import BadOption, Corrupt, FileProblem, TooLarge, Unsupported
from medprior.io.disk import files
from medprior.io.disk.files import (
    SMALL,
    append_line,
    check_manifest,
    load_weights,
    locked,
    read_json,
    save_weights,
    sha256,
    write_file,
    write_folder,
    write_json,
)

KILLS = int(os.environ.get("MEDPRIOR_KILLS", "20"))
SOURCE = Path(files.__file__).parents[3]

WRITER = """
import sys
from pathlib import Path
from medprior.io.disk.files import write_file, write_folder
home, n = Path(sys.argv[1]), int(sys.argv[2])
def fill(folder):
    for name in "ab":
        write_file(folder / name, (b"%08d" % n) * 40_000)
first = n
while True:
    n += 1
    write_file(home / "file", (b"%08d" % n) * 40_000)
    write_folder(home / "folder", fill)
    if n == first + 1:
        print("ready", flush=True)
"""


def test_a_writer_killed_at_random_moments_leaves_whole_files_and_folders(tmp_path: Path) -> None:
    """SIGKILL while both are overwritten without pause: each time the file is one version, and the folder
    matches its manifest.
    """
    moments = random.Random(0)
    for n in range(KILLS):
        environment = {**os.environ, "PYTHONPATH": str(SOURCE)}
        writer = subprocess.Popen(
            [sys.executable, "-c", WRITER, str(tmp_path), str(1000 * n)],
            stdout=subprocess.PIPE,
            env=environment,
        )
        assert writer.stdout is not None
        writer.stdout.readline()
        time.sleep(moments.uniform(0.02, 0.08))
        writer.send_signal(signal.SIGKILL)
        writer.wait()
        writer.stdout.close()
        content = (tmp_path / "file").read_bytes()
        assert content == content[:8] * 40_000
        check_manifest(tmp_path / "folder")
        assert (tmp_path / "folder" / "a").read_bytes() == (tmp_path / "folder" / "b").read_bytes()
    last = "import sys; from medprior.io.disk.files import write_file; write_file(sys.argv[1], b'')"
    subprocess.run(
        [sys.executable, "-c", last, str(tmp_path / "last")],
        check=True,
        env={**os.environ, "PYTHONPATH": str(SOURCE)},
    )
    assert sorted(p.name for p in tmp_path.iterdir()) == ["file", "folder", "last"], (
        "what the killed left behind is swept by the next"
    )


def test_every_file_is_on_the_disk_once_before_the_folder_has_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each file and folder is flushed with its last bytes, and none twice: on some disks that takes 7 ms."""
    flushed: list[str] = []

    def note(path: Path) -> None:
        flushed.append(f"{path.name} {path.stat().st_size if path.is_file() else ''}".strip())

    def four(path: Path) -> None:
        path.write_bytes(b"four")

    def fill(folder: Path) -> None:
        write_file(folder / "a.txt", b"one")
        write_file(folder / "sub" / "b.txt", four)

    monkeypatch.setattr(files, "flush", note)
    write_folder(tmp_path / "whole", fill)
    manifest = (tmp_path / "whole" / "manifest.json").stat().st_size
    assert len(flushed) == 6 and {"a.txt 3", "b.txt 4", "sub", f"manifest.json {manifest}"} < set(flushed)
    assert flushed[-1] == tmp_path.name, "the new name itself"
    flushed.clear()
    write_file(tmp_path / "c.txt", b"x")
    assert len(flushed) == 2


def test_without_an_exchange_in_one_step_a_folder_is_still_replaced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(files, "_exchanged", lambda one, other: False)
    for text in (b"old", b"new"):
        write_folder(tmp_path / "x", lambda folder, text=text: write_file(folder / "a", text))
    check_manifest(tmp_path / "x")
    assert (tmp_path / "x" / "a").read_bytes() == b"new"
    assert [p.name for p in tmp_path.iterdir()] == ["x"]


def test_a_pair_of_renames_torn_by_a_kill_is_mended(tmp_path: Path) -> None:
    """The old folder, moved aside by a process that is dead, comes back when nothing new stands in its
    place.
    """
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    aside = tmp_path / f".tmp-{files._host()}-{dead.pid}-1-x.old"
    aside.mkdir()
    (aside / "a").write_bytes(b"old")
    write_file(tmp_path / "other", b"")
    assert (tmp_path / "x" / "a").read_bytes() == b"old"


def test_a_full_disk_keeps_the_old_file_and_says_what_is_needed(tmp_path: Path) -> None:
    def too_much(folder: Path) -> None:
        (folder / "c").write_bytes(b"x" * 5000)

    write_file(tmp_path / "a", b"good")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, before[1]))
    try:
        with pytest.raises(FileProblem, match="could not be written"):
            write_file(tmp_path / "a", b"x" * 5000)
        with pytest.raises(FileProblem, match="could not be written"):
            write_folder(tmp_path / "b", too_much)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert (tmp_path / "a").read_bytes() == b"good"
    assert [p.name for p in tmp_path.iterdir()] == ["a"]


def test_a_write_larger_than_the_free_space_is_refused_before_it_starts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(files.shutil, "disk_usage", lambda folder: type("usage", (), {"free": 10})())
    with pytest.raises(FileProblem, match=r"needs 11 bytes, 10 are free"):
        write_file(tmp_path / "a", b"x" * 11)


def test_a_passing_fault_of_the_disk_is_tried_again_and_a_lasting_one_is_not(tmp_path: Path) -> None:
    calls: list[int] = []

    def flaky(number: int, passes_after: int):
        def write(path: Path) -> None:
            calls.append(number)
            if len(calls) <= passes_after:
                raise OSError(number, os.strerror(number))
            path.write_bytes(b"ok")

        return write

    write_file(tmp_path / "a", flaky(errno.EIO, 2))
    assert ((tmp_path / "a").read_bytes(), len(calls)) == (b"ok", 3)
    calls.clear()
    with pytest.raises(FileProblem, match="No space left"):
        write_file(tmp_path / "b", flaky(errno.ENOSPC, 2))
    assert len(calls) == 1


def test_json_is_read_back_and_what_is_no_json_is_named(tmp_path: Path) -> None:
    write_json(tmp_path / "a.json", {"ä": [1, 2.5, None], "path": Path("x")})
    assert read_json(tmp_path / "a.json") == {"ä": [1, 2.5, None], "path": "x"}
    for text in (b"{", b'{"a": NaN}', b"[" * 100_000, b"\xff\xfe{}"):
        (tmp_path / "b.json").write_bytes(text)
        with pytest.raises(Corrupt, match="not valid JSON"):
            read_json(tmp_path / "b.json")
    with pytest.raises(FileProblem, match="no such file"):
        read_json(tmp_path / "c.json")
    with pytest.raises(BadOption, match="cannot be written as JSON"):
        write_json(tmp_path / "d.json", object())
    with pytest.raises(BadOption, match="JSON compliant"):
        write_json(tmp_path / "d.json", float("nan"))
    assert not (tmp_path / "d.json").exists()


def test_a_pipe_is_never_opened(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "p")
    with pytest.raises(FileProblem, match="pipe"):
        read_json(tmp_path / "p")


def test_one_event_is_one_line_whatever_its_text_holds(tmp_path: Path) -> None:
    append_line(tmp_path / "log", {"text": "a\nb\r\x1b[31m\u2028"})
    append_line(tmp_path / "log", {"n": 2})
    lines = (tmp_path / "log").read_bytes().split(b"\n")
    assert len(lines) == 3
    assert b"\x1b" not in lines[0]
    with pytest.raises(FileProblem, match="could not be written"):
        append_line(tmp_path / "none" / "log", {})


def test_every_flipped_bit_in_a_folder_of_weights_is_found_and_the_file_named(tmp_path: Path) -> None:
    """C2: 100 single-bit flips, 100 found."""
    home = tmp_path / "prior"
    write_folder(
        home, lambda folder: save_weights(folder / "weights.safetensors", {"a": torch.arange(2000.0)})
    )
    check_manifest(home)
    content = (home / "weights.safetensors").read_bytes()
    places = random.Random(0)
    for _ in range(100):
        at = places.randrange(8 * len(content))
        (home / "weights.safetensors").write_bytes(
            content[: at // 8] + bytes([content[at // 8] ^ 1 << at % 8]) + content[at // 8 + 1 :]
        )
        with pytest.raises(Corrupt, match=r"weights\.safetensors: does not match its checksum"):
            check_manifest(home)


def test_a_manifest_that_names_files_elsewhere_or_missing_ones_is_refused(tmp_path: Path) -> None:
    (tmp_path / "secret").write_bytes(b"x")
    home = tmp_path / "prior"
    for record, reason in (
        ({"../secret": sha256(tmp_path / "secret")}, "outside"),
        ({"gone": "0"}, "missing"),
        ({}, "not a list"),
        ([], "not a list"),
    ):
        write_json(home / "manifest.json", record)
        with pytest.raises(Corrupt, match=reason):
            check_manifest(home)


def test_weights_are_safetensors_finite_and_nothing_else(tmp_path: Path) -> None:
    """C1: a format that can run code is refused by its name, before it is opened."""
    save_weights(tmp_path / "a.safetensors", {"w": torch.ones(3), "n": torch.arange(2)})
    assert torch.equal(load_weights(tmp_path / "a.safetensors")["w"], torch.ones(3))
    save_weights(tmp_path / "b.safetensors", {"w": torch.tensor([1.0, float("nan")])})
    with pytest.raises(Corrupt, match="'w' holds NaN"):
        load_weights(tmp_path / "b.safetensors")
    for name in ("a.pt", "a.pth", "a.pkl", "a.npz", "a.ckpt", "a.bin"):
        (tmp_path / name).write_bytes(b"cos\nsystem\n(S'touch canary'\ntR.")
        with pytest.raises(Unsupported, match="can run code"):
            load_weights(tmp_path / name)
    (tmp_path / "c.safetensors").write_bytes((tmp_path / "a.pt").read_bytes())
    with pytest.raises(Corrupt, match="not a safetensors file"):
        load_weights(tmp_path / "c.safetensors")
    with pytest.raises(FileProblem, match="no such file"):
        load_weights(tmp_path / "d.safetensors")


def test_the_second_run_in_a_folder_is_refused_and_told_who_works_there(tmp_path: Path) -> None:
    with locked(tmp_path), pytest.raises(FileProblem, match=f"process {os.getpid()} on"), locked(tmp_path):
        pass
    assert not (tmp_path / ".lock").exists(), "a run that ended leaves no lock file"
    with locked(tmp_path):
        pass


def test_a_disk_without_locks_is_not_taken_for_another_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def none(*_: object) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr("fcntl.flock", none)
    with pytest.raises(FileProblem, match="knows no locks"), locked(tmp_path):
        pass


def test_a_killed_run_leaves_no_lock(tmp_path: Path) -> None:
    code = (
        "import sys, time; from medprior.io.disk.files import locked\nwith locked(sys.argv[1]):\n    "
        "print('in', flush=True); time.sleep(60)"
    )
    owner = subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path)],
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": str(SOURCE)},
    )
    assert owner.stdout is not None
    owner.stdout.readline()
    with pytest.raises(FileProblem, match=f"process {owner.pid}"), locked(tmp_path):
        pass
    owner.kill()
    owner.wait()
    owner.stdout.close()
    with locked(tmp_path):
        pass


def test_a_small_kind_of_json_is_refused_before_it_takes_memory(tmp_path: Path) -> None:
    with open(tmp_path / "card.json", "wb") as file:
        file.truncate(SMALL + 1)
    with pytest.raises(TooLarge, match="16,777,217 bytes of JSON, the limit is 16,777,216"):
        read_json(tmp_path / "card.json", SMALL)
