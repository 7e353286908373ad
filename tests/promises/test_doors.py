"""What comes from strangers: names for the terminal, links where a file of ours should be, folders that two
processes want, JSON that describes too much.
"""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from pathlib import Path

import pytest

import medprior
from medprior.cli import main
from medprior.errors import BadOption, Corrupt, FileProblem, MedpriorError, TooLarge, file_faults
from medprior.io.disk.files import append_line, give_back, hold, locked, read_json
from medprior.io.disk.limits import Limits
from medprior.runs.ask.requests import Augment
from medprior.runs.verbs import VERBS, perform
from medprior.training.folder import load

OLD = Path(__file__).resolve().parent.parent / "golden" / "old_folders"


def test_no_control_character_reaches_the_terminal(
    tiny: Path, picture: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """At the one place where lines are printed: results, errors and progress."""
    evil = tmp_path / "a\x1b[2J\rb\u202e"
    assert main(["augment", str(picture), "--prior", str(tiny), "--n", "1", "--out", str(evil)]) == 0
    assert main(["detect", str(evil / "none.png"), "--prior", str(tiny)]) == 2
    said = capsys.readouterr()
    assert "\\x1b[2J\\rb\\u202e" in said.out and "\\x1b[2J\\rb\\u202e" in said.err
    assert all(c.isprintable() or c == "\n" for c in said.out + said.err)
    assert "\x1b" not in str(BadOption("label \x1b[31m")) and "\n" not in str(Corrupt("a\nb", "is\nbroken"))


@pytest.mark.parametrize("link", ["symbolic", "hard"])
def test_a_lock_or_a_line_is_not_written_through_a_link(tmp_path: Path, link: str) -> None:
    victim = tmp_path / "victim"
    victim.write_text("precious")
    for name in (".lock", "events.jsonl"):
        path = tmp_path / "run" / name
        path.parent.mkdir(exist_ok=True)
        path.symlink_to(victim) if link == "symbolic" else path.hardlink_to(victim)
    with pytest.raises(FileProblem, match="cannot be locked"), locked(tmp_path / "run"):
        pass
    with pytest.raises(FileProblem, match="could not be written"):
        append_line(tmp_path / "run" / "events.jsonl", {"a": 1})
    assert victim.read_text() == "precious"


HOLDER = """
import sys, time
from medprior.io.disk.files import hold
hold(sys.argv[1])
print("held", flush=True)
time.sleep(60)
"""


def test_two_processes_on_one_folder(tiny: Path, picture: Path, tmp_path: Path) -> None:
    """The second is refused, whatever its verb, and told who works there; after a kill the folder is free."""
    out = tmp_path / "out"
    path = str(Path(medprior.__file__).parents[1])
    other = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(out)], stdout=subprocess.PIPE, env={"PYTHONPATH": path}
    )
    try:
        assert other.stdout is not None and other.stdout.readline() == b"held\n"
        scans = picture.parent
        for words in ("detect", "augment", "augment-classical", "reconstruct", "scan", "train"):
            scan = scans if words in ("scan", "train") else picture
            values = {"input": scan, "folder": scan, "prior": str(tiny), "out": out, "modality": "DX"}
            request = VERBS[words][0]
            known = {name: value for name, value in values.items() if name in request.model_fields}
            with pytest.raises(FileProblem, match=rf"another run is working here: process {other.pid}"):
                perform(VERBS[words][1], request.model_validate(known), lambda event: None)
        for words in ("calibrate detect", "calibrate reconstruct", "calibrate synthesize"):
            request, where = VERBS[words]
            asked = request.model_validate(
                {"folder": scans, "prior": str(tiny), "into": out, "out": tmp_path / "run"}
            )
            with pytest.raises(FileProblem, match=rf"another run is working here: process {other.pid}"):
                perform(where, asked, lambda event: None)
    finally:
        other.kill()
        other.communicate()
    hold(out)
    give_back()
    assert not list(tmp_path.glob(".out*"))


def test_what_the_disk_refuses_is_an_error_of_ours(
    tiny: Path, picture: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def forbidden(*_: object) -> None:
        raise PermissionError(13, "Permission denied", "/secret")

    monkeypatch.setattr("medprior.runs.execute.execute", forbidden)
    request = Augment.model_validate({"input": picture, "prior": str(tiny)})
    with pytest.raises(FileProblem, match=r"/secret: cannot be used \(Permission denied\)"):
        perform(VERBS["augment"][1], request, lambda event: None)
    with pytest.raises(BrokenPipeError), file_faults("a"):
        raise BrokenPipeError


def altered(folder: Path, **changes: object) -> Path:
    """A copy of an old prior, whose card says something else; its manifest vouches for it."""
    for path in (OLD / "prior").iterdir():
        (folder / path.name).write_bytes(path.read_bytes())
    card = json.loads((folder / "card.json").read_text()) | changes
    (folder / "card.json").write_text(json.dumps(card))
    listed = json.loads((folder / "manifest.json").read_text())
    listed["card.json"] = hashlib.sha256((folder / "card.json").read_bytes()).hexdigest()
    (folder / "manifest.json").write_text(json.dumps(listed))
    return folder


@pytest.mark.parametrize(
    "changes",
    [
        {"widths": [16, 2000, 4000, 4096]},
        {"widths": [16, 20_000]},
        {"blocks": 10**9},
        {"blocks": 64},
        {"labels": [f"l{n}" for n in range(20_000)]},
        {"channels": ["image", "mask:1000000000"]},
        {"channels": ["image", "mask:99999"]},
    ],
)
def test_a_card_takes_no_memory_before_its_weights_fit(tmp_path: Path, changes: dict[str, object]) -> None:
    """A network of gigabytes is compared with the header of its weights on the meta device."""
    before = peak()
    with pytest.raises(MedpriorError, match=r"card|does not fit"):
        load(altered(tmp_path, **changes))
    assert peak() - before < 64


def peak() -> float:
    """MiB that this process has held at most."""
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


@pytest.mark.parametrize(
    ("content", "kind"),
    [
        ("[" * 100_000, Corrupt),
        ("1e999", Corrupt),
        ("NaN", Corrupt),
        ("9" * 30, Corrupt),
        (str(2**63), Corrupt),
        ("[" + "0," * 2000 + "0]", TooLarge),
    ],
)
def test_json_is_finite_and_small(tmp_path: Path, content: str, kind: type[FileProblem]) -> None:
    (tmp_path / "a.json").write_text(content)
    with pytest.raises(kind):
        read_json(tmp_path / "a.json", most=2000 if kind is TooLarge else 2**20)


def test_limits_count_what_will_be_made() -> None:
    """2 GiB of bytes become 8 GiB of float32."""
    with pytest.raises(TooLarge, match="needs 8,"):
        Limits().check_shape("a.nii.gz", (2048, 1024, 1023), 1, 11 * 2**20)
