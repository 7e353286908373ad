"""The list of scans of a folder: by headers alone, the same everywhere, patients together in one shard."""

from __future__ import annotations

import shutil
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from medprior.data.volume import Volume
from medprior.errors import FileProblem
from medprior.io.dataset.worklist import ListedScan, digest_of_list, list_scans, read_scans, shard_of
from medprior.io.write import write
from tests.corpus.dicom_parts import axial, encoded, save, save_all, uid


def film(path: Path, value: float = 100.0) -> None:
    data = np.full((1, 8, 8), value, np.float32)
    data[0, 0, 0] = 7
    write(Volume(data), path, kind="converted")


def test_shards_keep_patients_together_and_do_not_depend_on_the_place(tmp_path: Path) -> None:
    scans = [ListedScan(f"{n}.png", patient=f"{n // 3}") for n in range(300)]
    shards = {scan.name: shard_of(scan, 7) for scan in scans}
    assert all(len({shards[f"{3 * p + k}.png"] for k in range(3)}) == 1 for p in range(100))
    counts = Counter(shards.values())
    assert set(counts) == set(range(1, 8)) and max(counts.values()) < 90
    moved = [replace(scan, n=300 - scan.n, state="other") for scan in reversed(scans)]
    assert {scan.name: shard_of(scan, 7) for scan in moved} == shards
    assert [shard_of(scan, 7) for scan in scans[:9:3]] == [shard_of(scan, 7) for scan in scans[1:10:3]]


def test_a_moved_folder_has_the_same_list(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    for n in range(4):
        film(tmp_path / "a" / f"{n}.png", 10.0 + n)
    one = list_scans(tmp_path / "a")
    shutil.copytree(tmp_path / "a", tmp_path / "b" / "c")
    assert list_scans(tmp_path / "b" / "c") == one
    assert [scan.n for scan in one] == [1, 2, 3, 4] and [scan.unit for scan in one] == [1, 2, 3, 4]
    film(tmp_path / "a" / "2.png", 99.0)
    assert digest_of_list(list_scans(tmp_path / "a")) != digest_of_list(one)


def test_what_cannot_be_read_is_listed_with_its_reason(tmp_path: Path) -> None:
    film(tmp_path / "a.png")
    np.savez(tmp_path / "b.npz", images=np.arange(3 * 64, dtype=np.float32).reshape(3, 8, 8))
    (tmp_path / "c.png").write_bytes(b"\x89PNG\r\n\x1a\nno film")
    (tmp_path / "d.png").symlink_to(tmp_path / "nowhere")
    listed = list_scans(tmp_path)
    assert [scan.name for scan in listed] == ["a.png", "b.npz#0", "b.npz#1", "b.npz#2", "c.png", "d.png"]
    read = {scan.name: found for scan, found in read_scans(tmp_path, listed)}
    assert isinstance(read["c.png"], FileProblem) and "link to nowhere" in str(read["d.png"])
    stacked = read["b.npz#1"]
    assert isinstance(stacked, Volume) and stacked.data[0, 0, 0] == 64


def test_an_empty_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(FileProblem, match="holds no scan"):
        list_scans(tmp_path)


def test_dicom_series_are_scans_with_their_patient(tmp_path: Path) -> None:
    save_all(tmp_path / "one" / "ct", axial(PatientID="JANE"))
    second = axial(SeriesInstanceUID=uid("second"), PatientID="JANE")
    for n, image in enumerate([*axial(SeriesInstanceUID=uid("third"), PatientID="JOHN"), *second]):
        save(tmp_path / "flat" / f"{n:02d}.dcm", image)
    (tmp_path / "flat" / "cut.dcm").write_bytes(encoded(second[-1])[:300])
    listed = list_scans(tmp_path)
    assert [(scan.path, scan.patient, scan.unit) for scan in listed if not scan.fault] == [
        ("flat", listed[0].patient, 1),
        ("flat", listed[1].patient, 2 - (listed[1].patient == listed[0].patient)),
        ("one/ct", "JANE", 1 + (listed[0].patient == "JOHN")),
    ]
    assert {scan.patient for scan in listed if not scan.fault} == {"JANE", "JOHN"}
    assert [scan.path for scan in listed if scan.fault] == ["flat/cut.dcm"]
    for scan, found in read_scans(tmp_path, [one for one in listed if not one.fault]):
        assert isinstance(found, Volume) and found.shape == (8, 10, 6), (scan, found)
