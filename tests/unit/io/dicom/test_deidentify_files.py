"""A folder of DICOM without identity: no canary of any text element in any byte, and a table."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pydicom
import pytest
from pydicom.datadict import DicomDictionary, keyword_for_tag
from pydicom.dataset import Dataset

from medprior.errors import BadOption, FileProblem
from medprior.io.dicom.deidentify_files import TABLE, deidentify
from tests.corpus.dicom_parts import axial, ct_slice, phantom, save, save_all, uid

CANARY = "CanaryDoe"
TEXTS = {"AE", "LO", "LT", "PN", "SH", "ST", "UC", "UR", "UT"}


def in_every_text(image: Dataset) -> Dataset:
    """The canary in each text element that the dictionary knows, at the top and in a sequence; dates of one
    day in each date.
    """
    nested = Dataset()
    for tag, (vr, _, _, retired, keyword) in DicomDictionary.items():
        if retired or tag >> 16 in (0x0000, 0x0002, 0x0004, 0x0006, 0xFFFA) or not keyword_for_tag(tag):
            continue
        if vr in TEXTS or keyword in ("BodyPartExamined", "ViewPosition"):
            image.add_new(tag, vr, text := CANARY.upper() if vr == "CS" else CANARY)
            nested.add_new(tag, vr, text)
        elif vr in ("DA", "DT"):
            image.add_new(tag, vr, "19610504")
    inner = Dataset()
    inner.update(nested)
    block = nested.private_block(0x0013, CANARY, create=True)
    block.add_new(2, "SQ", [inner])
    image.SourceImageSequence = [nested]
    image.private_block(0x0011, CANARY, create=True).add_new(1, "SQ", [inner])
    return image


@pytest.fixture
def source(tmp_path: Path) -> Path:
    folder = tmp_path / "source" / CANARY
    save_all(folder / "ct", [in_every_text(one) for one in axial(ImageType=["ORIGINAL", "PRIMARY", "AXIAL"])])
    return folder


def everything(folder: Path) -> bytes:
    return b"".join(
        p.read_bytes() + str(p.relative_to(folder)).encode() for p in folder.rglob("*") if p.is_file()
    )


def test_no_canary_of_any_text_element_is_in_any_byte(source: Path, tmp_path: Path) -> None:
    before = pydicom.dcmread(next(source.rglob("*.dcm")))
    done = deidentify(source, tmp_path / "out")
    assert (done.written, done.refused) == (6, ())
    written = everything(tmp_path / "out")
    for secret in (
        CANARY,
        CANARY.upper(),
        "19610504",
        str(before.SOPInstanceUID),
        str(before.StudyInstanceUID),
    ):
        assert secret.encode() not in written, secret
    files = sorted((tmp_path / "out").rglob("*.dcm"))
    made = [pydicom.dcmread(path) for path in files]
    assert len({one.SeriesInstanceUID for one in made}) == 1 and len({one.PatientID for one in made}) == 1
    assert len({one.SOPInstanceUID for one in made}) == 6
    positions = {float(one.ImagePositionPatient[2]): one for one in made}
    assert np.array_equal(positions[float(before.ImagePositionPatient[2])].pixel_array, before.pixel_array)


def test_the_table_says_what_was_done_and_names_nobody(source: Path, tmp_path: Path) -> None:
    save(source / "us.dcm", ct_slice(phantom()[0], Modality="US", SOPInstanceUID=uid("us")))
    (source / "notes.txt").write_text(CANARY)
    (source / "cut.dcm").write_bytes(next((source / "ct").iterdir()).read_bytes()[:-9])
    done = deidentify(source, tmp_path / "out")
    with open(tmp_path / "out" / TABLE, newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 9 and sum(bool(row["file"]) for row in rows) == 6
    assert {row["reason"] for row in rows} == {
        "",
        "no DICOM image",
        "is cut short",
        "the pixels may carry text: look at them, then allow it",
    }
    good = next(row for row in rows if row["file"])
    assert int(good["elements"]) > 300 and int(good["private_elements"]) >= 3 and int(good["uids"]) >= 3
    assert "may carry text" in good["to_look_at"], "nothing states that there is none"
    assert {path.name for path, _ in done.refused} == {"us.dcm", "notes.txt", "cut.dcm"}
    allowed = deidentify(source, tmp_path / "all", allow_burned_in=True)
    assert allowed.written == 7


def test_one_key_gives_one_name_wherever_it_is_used(source: Path, tmp_path: Path) -> None:
    key = tmp_path / "site.key"
    names = []
    for out, with_key in (("a", key), ("b", key), ("c", None)):
        deidentify(source, tmp_path / out, key=with_key)
        names.append(sorted(p.relative_to(tmp_path / out) for p in (tmp_path / out).rglob("*.dcm")))
    assert names[0] == names[1] != names[2]
    assert key.stat().st_mode & 0o077 == 0 and len(key.read_bytes()) == 32


def test_two_files_of_one_uid_are_not_written_over_each_other(tmp_path: Path) -> None:
    for n in range(2):
        image = ct_slice(phantom()[n], SOPInstanceUID=uid("same"), BurnedInAnnotation="NO")
        save(tmp_path / "in" / f"{n}.dcm", image)
    done = deidentify(tmp_path / "in", tmp_path / "out")
    assert done.written == 1 and "repeats the SOP Instance UID" in done.refused[0][1]


def test_nothing_goes_into_the_source_or_over_something_else(source: Path, tmp_path: Path) -> None:
    for out in (source, source / "new", source.parent):
        with pytest.raises(BadOption, match="lies in the source, or the source in it"):
            deidentify(source, out)
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine").write_text("x")
    with pytest.raises(BadOption, match="holds files already"):
        deidentify(source, tmp_path / "full")
    with pytest.raises(BadOption, match="lies in the folder that is given away"):
        deidentify(source, tmp_path / "out", key=tmp_path / "out" / "key")
    (tmp_path / "short").write_bytes(b"x")
    with pytest.raises(BadOption, match="at least 16 bytes"):
        deidentify(source, tmp_path / "out", key=tmp_path / "short")
    with pytest.raises(FileProblem, match="no such file or folder"):
        deidentify(tmp_path / "none", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_one_file_is_enough(source: Path, tmp_path: Path) -> None:
    assert deidentify(next(source.rglob("*.dcm")), tmp_path / "out").written == 1
