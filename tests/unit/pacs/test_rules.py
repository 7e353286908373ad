"""Rules as tables of patterns, and what never gets a job."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydicom.dataset import Dataset

from medprior.io.dicom.read.open import Header, open_dicom
from medprior.io.disk.limits import Limits
from tests.corpus.dicom_parts import axial, radiograph, save
from tests.unit.pacs.conftest import settings_of

from medprior.pacs.rules import answers_of, never_worked_on, one_at_a_time, rule_for  # isort: skip


def header(folder: Path, image: Dataset) -> Header:
    return open_dicom(save(folder / "a.dcm", image), Limits())


@pytest.mark.parametrize(
    ("when", "fires"),
    [
        ({"Modality": "CR|DX"}, True),
        ({"Modality": "cr"}, True),
        ({"Modality": "C"}, False),
        ({"Modality": "C*"}, True),
        ({"Modality": "?R"}, True),
        ({"Modality": ".R"}, False),
        ({"Modality": "[C]R"}, False),
        ({"Modality": "__import__('os')"}, False),
        ({"ImageType": "PRIMARY"}, True),
        ({"StudyDescription": "*"}, True),
        ({"StudyDescription": ""}, True),
        ({"StudyDescription": "?*"}, False),
        ({"Rows": "*"}, True),
        ({"CallingAE": "SCAN*"}, True),
        ({"CallingAE": "OTHER"}, False),
        ({"Modality": "CR", "CallingAE": "OTHER"}, False),
    ],
)
def test_a_pattern_matches_all_of_a_value(tmp_path: Path, when: dict[str, str], fires: bool) -> None:
    known = settings_of(rules=[{"when": when, "prior": "chest-xray", "name": "a"}])
    image = header(tmp_path, radiograph(Modality="CR", ImageType=["ORIGINAL", "PRIMARY"]))
    assert (rule_for(known, image, "SCANNER") is not None) is fires
    why = answers_of(known, image, "SCANNER")[0].why
    assert bool(why) is not fires


def test_the_first_rule_wins_and_the_others_say_why(tmp_path: Path) -> None:
    known = settings_of(
        rules=[
            {"when": {"Modality": "MR", "BodyPartExamined": "BRAIN"}, "prior": "brain-t1", "name": "a"},
            {"when": {"Modality": "CR"}, "prior": "chest-xray", "name": "b"},
            {"when": {}, "prior": "chest-ct", "name": "c"},
        ]
    )
    image = header(tmp_path, radiograph(Modality="CR"))
    found = rule_for(known, image, "")
    assert found is not None and found.name == "b"
    assert answers_of(known, image)[0].why == ("Modality is 'CR', wanted MR", "BodyPartExamined is empty")


def test_hostile_patterns_and_values_take_no_time(tmp_path: Path) -> None:
    known = settings_of(rules=[{"when": {"StudyDescription": "*a" * 200 + "b"}, "prior": "p", "name": "a"}])
    image = header(tmp_path, radiograph(StudyDescription="a" * 64))
    assert rule_for(known, image, "") is None


def equipment() -> list[Dataset]:
    item = Dataset()
    item.Manufacturer = "medprior"
    return [item]


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"SOPClassUID": "1.2.840.10008.5.1.4.1.1.66.4"}, "segmentation"),
        ({"SOPClassUID": "1.2.840.10008.5.1.4.1.1.30"}, "parametric map"),
        ({"SOPClassUID": "1.2.840.10008.5.1.4.1.1.88.34"}, "report"),
        ({"SOPClassUID": "1.2.840.10008.5.1.4.1.1.88.59"}, "key object"),
        ({"SOPClassUID": "1.2.840.10008.5.1.4.1.1.11.1"}, "presentation state"),
        ({"Modality": "SR"}, "modality is SR"),
        ({"SyntheticData": "YES"}, "synthetic"),
        ({"Manufacturer": "medprior"}, "medprior has made it"),
        ({"ContributingEquipmentSequence": equipment()}, "medprior has made it"),
        ({}, ""),
    ],
)
def test_our_own_and_what_is_no_picture_get_no_job(
    tmp_path: Path, changes: dict[str, object], why: str
) -> None:
    image = header(tmp_path, radiograph(**changes))
    assert why in never_worked_on(image) and bool(never_worked_on(image)) is bool(why)
    known = settings_of(rules=[{"when": {}, "prior": "chest-xray", "name": "all"}])
    assert (rule_for(known, image, "") is None) is bool(why)


def test_a_film_stands_for_itself_and_a_slice_does_not(tmp_path: Path) -> None:
    rule, image, series = (
        settings_of().rules[0],
        settings_of(rules=[{"when": {}, "prior": "p", "each": "image"}]).rules[0],
        settings_of(rules=[{"when": {}, "prior": "p", "each": "series"}]).rules[0],
    )
    film, cut = header(tmp_path, radiograph()), header(tmp_path, axial()[0])
    assert one_at_a_time(rule, film) and not one_at_a_time(rule, cut)
    assert one_at_a_time(image, cut) and not one_at_a_time(series, film)
