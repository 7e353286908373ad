"""medprior deidentify: what a person reads, and the exit code."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from medprior.cli import main
from tests.corpus.dicom_parts import ct_slice, phantom, save, uid


def test_what_was_done_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for n in range(2):
        image = ct_slice(
            phantom()[n], SOPInstanceUID=uid(n, "x"), BurnedInAnnotation="NO", BodyPartExamined="HEAD"
        )
        save(tmp_path / "in" / f"{n}.dcm", image)
    assert main(["deidentify", str(tmp_path / "in"), "--out", str(tmp_path / "out")]) == 0
    said = capsys.readouterr().out
    assert "2 files without identity, 0 refused" in said
    assert "look at   2 files: a head can be recognised by its face" in said
    (tmp_path / "in" / "x.png").write_bytes(b"\x89PNG")
    code = main(["deidentify", str(tmp_path / "in"), "--out", str(tmp_path / "again"), "--json"])
    record = json.loads(capsys.readouterr().out)
    assert code == 4 and record["written"] == 2 and record["refused"] == {"no DICOM image": 1}
    assert main(["deidentify", str(tmp_path / "in"), "--out", str(tmp_path / "in" / "x")]) == 2
