"""Groups of patients: from a table or DICOM, coarse enough that nobody is told apart, no name of a place, and
what is wrong is named without being repeated.
"""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from medprior.errors import BadOption, Corrupt
from medprior.io.dataset.scan import load_index, scan
from medprior.io.dataset.store import save_index
from medprior.io.groups import TAGS, Tags, age_band, age_between
from tests.corpus.dicom_parts import CANARY, encoded, patched, phantom, radiograph, save
from tests.unit.io.dataset.test_scan import noise, png, put


@pytest.mark.parametrize(
    ("text", "band"),
    [
        ("0", "under 18"),
        ("17.9", "under 18"),
        ("018M", "under 18"),
        ("18", "18 to 39"),
        ("039Y", "18 to 39"),
        ("40 to 64", "40 to 64"),
        ("65", "65 and over"),
        ("90+", "65 and over"),
        (">89", "65 and over"),
        ("130", "65 and over"),
        ("131", ""),
        ("40+", ""),
        ("-1", ""),
        ("1970-01-01", ""),
        ("٤٧", ""),
        ("nan", ""),
    ],
)
def test_an_age_becomes_a_band(text: str, band: str) -> None:
    assert age_band(text) == band


def test_a_birthday_counts() -> None:
    assert (
        age_between("19700115", "20100114") == "18 to 39"
        and age_between("19700115", "20100115") == "40 to 64"
    )
    assert (
        age_between("20200101", "20190101")
        == age_between("", "20190101")
        == age_between("19700101", "1 Jan 2019")
        == ""
    )


def test_a_table_says_groups_and_places_stay_hidden(tmp_path: Path) -> None:
    """Read back from the index; a table that says more is heard without decoding anything again."""
    for n in range(3):
        put(tmp_path / f"{n}.png", png(noise(n)))
    put(
        tmp_path / "scans.csv",
        f"Path,sex,Age,site,scanner\n0.png,F,47,{CANARY},Acme "
        f"One\n1.png,male,>89,{CANARY.lower()},\n2.png,,unknown,B,n/a\n".encode(),
    )
    found = scan(tmp_path, out=tmp_path).items
    assert [(i.tags.sex, i.tags.age, i.tags.scanner) for i in found] == [
        ("female", "40 to 64", "Acme One"),
        ("male", "65 and over", ""),
        ("", "", ""),
    ]
    assert found[0].tags.site == found[1].tags.site != found[2].tags.site
    assert load_index(tmp_path).items == found
    assert CANARY.lower().encode() not in (tmp_path / "index.sqlite").read_bytes().lower()
    put(tmp_path / "scans.csv", b"path,sex\n0.png,other\n1.png,m\n2.png,f\n")
    assert [i.tags for i in scan(tmp_path, out=tmp_path).items] == [
        Tags("other"),
        Tags("male"),
        Tags("female"),
    ]


@pytest.mark.parametrize(
    ("column", "value", "words"),
    [
        ("sex", "Doe", "line 3: the sex is none of"),
        ("age", "1970-01-01", "line 3: the age is no"),
        ("age", "-3", "0 to 130"),
    ],
)
def test_what_is_wrong_in_a_table_is_named_and_not_repeated(
    tmp_path: Path, column: str, value: str, words: str
) -> None:
    """A shifted column holds names and dates of birth: the line is named, its text is not."""
    for n in range(2):
        put(tmp_path / f"{n}.png", png(noise(n)))
    put(tmp_path / "scans.csv", f"path,{column}\n0.png,\n1.png,{value}\n".encode())
    with pytest.raises(BadOption, match=words) as raised:
        scan(tmp_path, out=tmp_path)
    assert value not in str(raised.value) and "leave it empty" in str(raised.value)


def test_columns_that_mean_something_else_are_left_alone(tmp_path: Path) -> None:
    """They look like ours (size, site; image, age) and were always passed over."""
    put(tmp_path / "0.png", png(noise(0)))
    put(tmp_path / "scans.csv", b"path,size,image,stage,page,side\n0.png,1,2,3,4,5\n")
    assert scan(tmp_path, out=tmp_path).items[0].tags == Tags()


def test_a_header_says_groups(tmp_path: Path) -> None:
    """Age stated, or from two dates; the maker not twice; the table before the header; nothing that names
    anybody is written.
    """
    told = {
        "PatientSex": "F",
        "PatientAge": "047Y",
        "Manufacturer": "Acme",
        "ManufacturerModelName": "Acme  One",
        "InstitutionName": CANARY,
        "ProtocolName": f"chest {CANARY}",
    }
    save(tmp_path / "one" / "a.dcm", radiograph(**told))
    other = {
        "PatientID": f"{CANARY}-2",
        "PatientBirthDate": "19500203",
        "StudyDate": "20200101",
        "PatientSex": "X",
        "SeriesInstanceUID": "1.2.3",
    }
    save(
        tmp_path / "one" / "b.dcm",
        radiograph(
            **other, Manufacturer="Acme", ManufacturerModelName="Two", PixelData=phantom()[1].tobytes()
        ),
    )
    both = [scan(tmp_path, out=tmp_path).items for _ in range(2)]  # the second time from the index
    for first, second in both:
        assert (first.tags.sex, first.tags.age, first.tags.scanner) == ("female", "40 to 64", "Acme One")
        assert (second.tags.sex, second.tags.age, second.tags.scanner) == ("", "65 and over", "Acme Two")
        assert first.tags.site and second.tags.site == ""
    written = (tmp_path / "index.sqlite").read_bytes()
    assert not any(secret in written for secret in (CANARY.encode(), b"1950", b"047Y"))
    put(tmp_path / "scans.csv", b"path,sex,age\none/a.dcm,m,\n")
    assert scan(tmp_path, out=tmp_path).items[0].tags == replace(both[0][0].tags, sex="male")


def test_a_damaged_header_costs_the_tag_not_the_scan(tmp_path: Path) -> None:
    save(
        tmp_path / "a.dcm",
        patched(encoded(radiograph(PatientSex="F", PatientAge="047Y")), b"047Y", b"\xff\xfe\xfd\xfc"),
    )
    assert scan(tmp_path, out=tmp_path).items[0].tags == Tags("female")


def test_an_index_of_before_is_read_and_a_wrong_one_is_named(tmp_path: Path) -> None:
    put(tmp_path / "0.png", png(noise(0)))
    save_index(scan(tmp_path), tmp_path)
    record = json.loads((tmp_path / "index.json").read_text())
    assert set(record["items"][0].pop("tags")) == set(TAGS)
    (tmp_path / "index.json").write_text(json.dumps(record))
    assert load_index(tmp_path).items[0].tags == Tags()
    record["items"][0]["tags"] = {"sex": 3}
    (tmp_path / "index.json").write_text(json.dumps(record))
    with pytest.raises(Corrupt, match="complete index"):
        load_index(tmp_path)
