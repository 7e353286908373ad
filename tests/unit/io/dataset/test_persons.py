"""Labels that are persons are refused, and patients that are not named are never counted as known."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from medprior.errors import BadOption
from medprior.io.dataset.layout import Layout
from medprior.io.dataset.persons import look_like_persons, prefix_note, prefixes
from medprior.io.dataset.scan import scan
from tests.corpus.dicom_parts import ct_slice, phantom, save, uid
from tests.unit.io.dataset.test_places import made, splits_of_patients


@pytest.mark.parametrize(
    ("counts", "persons"),
    [
        ({"mueller": 1, "meier": 1}, True),
        ({f"case{n}": 2 for n in range(9)}, True),
        ({f"p{n}": 40 for n in range(20)}, True),
        ({f"Mueller_{n}": 3 for n in range(8)}, True),
        ({f"birads{n}": 3 for n in range(7)}, False),
        ({str(grade): 40 for grade in range(5)}, False),
        ({"glioma": 3, "meningioma": 3, "other": 3}, False),
        ({"normal": 1, "cyst": 1}, False),
        ({"one": 30}, False),
        ({f"BraTS20_Training_{n:03d}": 4 for n in range(5)}, True),
        ({f"patient{n}": 40 for n in range(3)}, True),
        ({"Patient A": 9, "Patient B": 9}, True),
        ({"Doe^Jane": 9, "Roe^John": 9}, True),
        ({"Müller, Jürgen": 9, "Schmidt, Anna": 9}, True),
        ({"EM_19700131": 9, "AS_19650228": 9}, True),
        ({f"class_{n:03d}": 4 for n in range(5)}, False),
        ({"case": 9, "other": 9}, False),
    ],
)
def test_labels_that_look_like_persons(counts: dict[str, int], persons: bool) -> None:
    assert look_like_persons(counts) is persons


def test_folders_that_look_like_patients_are_refused_before_a_name_is_written(tmp_path: Path) -> None:
    made(tmp_path / "data", *(f"CANARY{p}/{n}.png" for p in "abcd" for n in range(2)))
    with pytest.raises(BadOption, match=r"4 sub-folders for 8 scans look like patients.*--folders patients"):
        scan(tmp_path / "data", out=tmp_path / "out")
    assert not (tmp_path / "out" / "index.json").exists()
    index = scan(tmp_path / "data", out=tmp_path / "out", layout=Layout(folders="patients"))
    assert index.labels == () and index.named() == (8, 4)
    assert all(len(splits) == 1 for splits in splits_of_patients(index).values())
    assert all("CANARY" not in item.patient + item.label for item in index.items)
    assert len(scan(tmp_path / "data", out=tmp_path / "out", layout=Layout(folders="labels")).labels) == 4


def test_dicom_without_patients_in_folders_of_persons_is_refused_too(tmp_path: Path) -> None:
    for n in range(4):
        names = {"SeriesInstanceUID": uid(n, "s"), "PatientID": "", "Modality": "DX"}
        save(tmp_path / f"person {n}" / "x.dcm", ct_slice(phantom()[n], **names))
    with pytest.raises(BadOption, match="look like patients"):
        scan(tmp_path)
    assert scan(tmp_path, layout=Layout(folders="patients")).named() == (4, 4)


def test_scans_of_one_prefix_share_a_split_and_the_pattern_is_named(tmp_path: Path) -> None:
    made(tmp_path, *(f"{p:08d}_{n:03d}.png" for p in range(40) for n in range(3)))
    index = scan(tmp_path)
    assert index.named() == (0, 0), "a guess names nobody"
    assert any(r"(40 for 120 files); if they do: --patient-pattern '^(\d+)_'" in note for note in index.notes)
    by_prefix: dict[str, set[str]] = {}
    for item in index.items:
        by_prefix.setdefault(item.path[:8], set()).add(item.split)
    assert all(len(splits) == 1 for splits in by_prefix.values()) and len(index.counts()) == 3
    named = scan(tmp_path, layout=Layout(patient_pattern=r"^(\d+)_"))
    assert named.named() == (120, 40) and named.notes == ()


@pytest.mark.parametrize(
    "names",
    [
        [f"img_{n}.png" for n in range(9)],
        [f"2021_{n}.png" for n in range(9)],
        [f"{n:04d}.png" for n in range(9)],
        [f"{n}_0.png" for n in range(9)],
    ],
)
def test_names_that_hold_no_patient(names: list[str]) -> None:
    """One word for all, a year, a plain number, one scan each."""
    assert prefixes(names) == ([], "") and prefix_note(names) == ""


def test_letters_belong_to_a_patients_number() -> None:
    owners, pattern = prefixes([f"P{n // 2}-{n}.nii.gz" for n in range(12)])
    assert owners[:3] == ["P0", "P0", "P1"] and pattern == "^([A-Za-z0-9]+)-"


@pytest.mark.parametrize(
    ("names", "owners"),
    [
        ([f"CNV-{1016042 + n // 2}-{n % 2 + 1}.jpeg" for n in range(12)], "1016042"),
        ([f"person{n // 2}_virus_{n}.jpeg" for n in range(12)], "person0"),
        ([f"NORMAL2-IM-{500 + n // 2:04d}-{n:04d}.nii.gz" for n in range(12)], "0500"),
    ],
)
def test_a_patients_number_may_stand_behind_or_before_words(names: list[str], owners: str) -> None:
    """And the pattern that is named finds it."""
    found, pattern = prefixes(names)
    assert found[0] == found[1] == owners and len({*found}) == 6
    matches = [re.search(pattern, name) for name in names]
    assert [one[1] if one else "" for one in matches] == found


def test_a_pattern_that_fits_nothing_is_refused(tmp_path: Path) -> None:
    made(tmp_path, "a.png", "b.png")
    with pytest.raises(BadOption, match="found in no file name"):
        scan(tmp_path, layout=Layout(patient_pattern=r"^(\d+)_"))
    with pytest.raises(BadOption, match="no regular expression"):
        Layout(patient_pattern="(")
