"""What is said of a data set before it is used."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from medprior.io.dataset.advice import advice, for_training, patients_line
from medprior.io.dataset.layout import Layout
from medprior.io.dataset.scan import scan
from tests.corpus.other import png
from tests.unit.io.dataset.test_places import made


def test_what_nobody_named_is_unknown_and_not_none(tmp_path: Path) -> None:
    index = scan(made(tmp_path, "7a.png", "7b.png", "x.png"))
    assert patients_line(index).startswith("not named; each file counts as one patient")
    assert advice(index) == (f"patients: {patients_line(index)}",)
    some = scan(tmp_path, layout=Layout(patient_pattern=r"^(\d+)"))
    assert patients_line(some).startswith("named for 2 of 3 scans (1 patient)")
    assert "patients named for 0" in repr(index) and "3 scans" in repr(index)


def test_few_and_small_scans_and_an_unknown_modality_are_named(tmp_path: Path) -> None:
    made(tmp_path, "a.png", "b.png")
    (tmp_path / "strip.png").write_bytes(
        png(np.arange(970, dtype=np.uint16).reshape(10, 97).astype(np.uint8))
    )
    (tmp_path / "line.png").write_bytes(png(np.arange(97, dtype=np.uint8)[None]))
    index = scan(tmp_path)
    told = for_training(index)
    assert [u.reason for u in index.unusable] == ["is a picture of 1 x 97, too small for a network"]
    assert told[0] == "3 scans are far too few to learn from; 50 or more"
    assert told[1] == "too small for a network (a side below 16 pixels): strip.png (10 x 97)"
    assert "--modality DX" in told[2]
    assert len(for_training(scan(tmp_path, modality="DX"))) == 2


def test_a_thin_volume_is_not_too_small(tmp_path: Path) -> None:
    index = scan(made(tmp_path, *(f"{n}.nii" for n in range(50))), modality="MR")
    assert for_training(index) == ()
