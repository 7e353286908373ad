"""medprior scan: what it understood, in words, on a page and as a picture."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pytest

from medprior.cli import main
from medprior.io.dataset.layout import AS_MASK
from medprior.io.dataset.scan import load_index
from medprior.runs.scan import LISTED
from tests.corpus.other import png
from tests.unit.io.dataset.test_places import made

FILES = ("index.json", "manifest.json", "page.json", "preview.png", "report.html", "run.json", "unusable.csv")


def looked_at(capsys: pytest.CaptureFixture[str], *tokens: str | Path) -> tuple[int, str]:
    code = main(["scan", *map(str, tokens)])
    return code, capsys.readouterr().out


def test_what_was_understood_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = made(tmp_path / "data", *(f"{kind}/{n}.png" for kind in ("normal", "sick") for n in range(6)))
    (data / "sick" / "x_mask.png").write_bytes(png(np.eye(20, dtype=np.uint8)))
    (data / "bad.png").write_bytes(b"\x89PNG")
    before = sorted(data.rglob("*"))
    code, said = looked_at(capsys, data, "--out", tmp_path / "run")
    assert code == 0
    for line in (
        "12 scans can be used; unusable 1, left out 1, documents 0",
        "layout    folders as labels",
        "patients  not named; each file counts as one patient. If file names hold the patient",
        "labels    normal 6, sick 6",
        "modality  unknown 12",
        "size      20 x 20 (12)",
        "spacing   unknown",
        "values    0 to 255 a.u.",
        "warning   12 scans are few to learn from; 50 or more",
        "warning   modality: unknown",
        "unusable bad.png",
        "left out sick/x_mask.png: label map, by its name",
    ):
        assert line in said
    for word in ("twins", "leaks", "passed over", "0 patients cross"):
        assert word not in said
    assert sorted(data.rglob("*")) == before
    assert sorted(path.name for path in (tmp_path / "run").iterdir()) == sorted(FILES)
    record = json.loads((tmp_path / "run" / "run.json").read_text())
    assert record["metrics"]["patients"] is None and record["metrics"]["patients_in_several_splits"] is None


def test_the_same_scan_is_complete_until_the_data_change(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    data = made(tmp_path / "data", "1_a.png", "2_a.png")
    assert looked_at(capsys, data)[0] == 0
    code, said = looked_at(capsys, data)
    assert (code, len(list((tmp_path / "runs").iterdir()))) == (0, 1) and "2 scans can be used" in said
    made(data, "1_b.png")
    assert "3 scans" in looked_at(capsys, data)[1]
    code, said = looked_at(capsys, data, "--patient-pattern", r"^(\d+)_", "--modality", "DX")
    assert "patients  2 patients, each named" in said and "modality  DX 3" in said
    assert len(list((tmp_path / "runs").iterdir())) == 3


def test_the_index_goes_beside_the_data_where_that_is_wanted(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = made(tmp_path / "data", "a.png", "b.png")
    assert looked_at(capsys, data, "--write-index", "--out", tmp_path / "run")[0] == 0
    assert (data / "index.sqlite").is_file() and (data / "unusable.csv").is_file()


def test_a_file_name_that_is_no_text_is_shown_escaped(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """In the report and in the index, damaged or sound; the report is made again to the byte."""
    data = made(tmp_path / "data", "a.png", os.fsdecode(b"\xfe.png"))
    (data / os.fsdecode(b"\xff.png")).write_bytes(b"\x89PNG")
    assert looked_at(capsys, data, "--write-index", "--out", tmp_path / "run")[0] == 0
    page = (tmp_path / "run" / "report.html").read_bytes()
    assert b"\\udcff.png" in page
    assert {item.path for item in load_index(data).items} == {"a.png", os.fsdecode(b"\xfe.png")}
    assert load_index(tmp_path / "run", data).items == load_index(data).items
    assert main(["report", str(tmp_path / "run")]) == 0
    assert (tmp_path / "run" / "report.html").read_bytes() == page


def test_folders_of_patients_end_in_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = made(tmp_path / "data", *(f"patient {name}/1.png" for name in "abcd"))
    assert main(["scan", str(data), "--out", str(tmp_path / "run")]) == 2
    assert "--folders patients" in capsys.readouterr().err and not (tmp_path / "run").exists()


def test_what_was_left_out_is_named_with_the_way_to_take_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A sound file is never left out in silence: path, reason and remedy; only so many lines."""
    data = made(tmp_path / "data", *(f"s{n:02d}.png" for n in range(LISTED + 2)))
    for n in range(LISTED + 2):
        (data / f"s{n:02d}_mask.png").write_bytes(png(np.eye(20, dtype=np.uint8) * (n + 1)))
    _, said = looked_at(capsys, data, "--out", tmp_path / "run")
    named = [line for line in said.splitlines() if line.startswith("left out s")]
    assert len(named) == LISTED and "left out and 2 more, see unusable.csv" in said.splitlines()
    assert all("label map" in line and AS_MASK in line for line in named)
