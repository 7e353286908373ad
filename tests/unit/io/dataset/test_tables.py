"""Tables of labels as other people write them."""

from __future__ import annotations

from pathlib import Path

import pytest

from medprior.errors import BadOption, Corrupt, FileProblem
from medprior.io.dataset.layout import Layout
from medprior.io.dataset.scan import Index, scan
from tests.unit.io.dataset.test_places import made


def labels(index: Index) -> dict[str, str]:
    return {item.path: item.label for item in index.items}


def table(path: Path, text: str, encoding: str = "utf-8") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(text.encode(encoding))
    return path


def test_columns_are_found_by_their_common_titles(tmp_path: Path) -> None:
    """As the table of NIH: titles with blanks, more rows than files, ages and sexes."""
    data = made(tmp_path / "data", "images/1_0.png", "images/1_1.png", "images/2_0.png", "images/9_0.png")
    rows = "1_0.png,Mass|Nodule,1,058Y,M\n1_1.png,No Finding,1,058Y,M\n2_0.png,NA,2,,\nelsewhere.png,x,3,,\n"
    head = "Image Index,Finding Labels,Patient ID,Patient Age,Patient Gender\n"
    file = table(tmp_path / "entry.csv", head + rows)
    index = scan(data, layout=Layout(file))
    assert labels(index) == {
        "images/1_0.png": "Mass|Nodule",
        "images/1_1.png": "No Finding",
        "images/2_0.png": "NA",
    }
    assert index.named() == (3, 2)
    assert (index.items[0].tags.age, index.items[0].tags.sex) == ("40 to 64", "male")
    assert [(u.path, u.reason) for u in index.left_out] == [("images/9_0.png", "entry.csv does not name it")]
    assert any("1 of 4 rows of entry.csv name no file here (first line 5)" in note for note in index.notes)
    assert index.unusable == ()


def test_columns_are_named_and_separated_by_semicolons_in_an_old_encoding(tmp_path: Path) -> None:
    data = made(tmp_path, "a.png", "b.png")
    table(tmp_path / "l.csv", "Datei;Befund;Fall\na;Gefäß;7\nb;frei;8\n", "cp1252")
    columns = ("Datei", "Befund", "Fall")
    index = scan(data, layout=Layout(Path("l.csv"), *columns))
    assert labels(index) == {"a.png": "Gefäß", "b.png": "frei"} and index.named() == (2, 2)
    with pytest.raises(BadOption, match=r"has no column 'Befnd'.*did you mean 'Befund'"):
        scan(data, layout=Layout(Path("l.csv"), "Datei", "Befnd"))
    with pytest.raises(BadOption, match=r"no column of l\.csv is known to hold file names"):
        scan(data, layout=Layout(Path("l.csv")))


def test_a_row_may_name_a_folder_or_a_subject(tmp_path: Path) -> None:
    data = made(tmp_path, *(f"sub-{s:02d}/ses-{e}/anat/x_T1w.nii" for s in (1, 2) for e in (1, 2)))
    table(tmp_path / "participants.tsv", "participant_id\tgroup\nsub-01\tcontrol\n02\tpatient\n")
    index = scan(data, layout=Layout(Path("participants.tsv"), label_column="group"))
    assert sorted(labels(index).values()) == ["control", "control", "patient", "patient"]
    assert index.named() == (4, 2) and index.layout == "BIDS and a table of labels"


def test_what_a_table_cannot_say(tmp_path: Path) -> None:
    data = made(tmp_path / "data", "x/a.png", "y/a.png", "b.png")
    twice = table(tmp_path / "twice.csv", "file,label\na.png,1\n")
    with pytest.raises(BadOption, match=r"twice\.csv, line 2: 2 files are called a\.png"):
        scan(data, layout=Layout(twice))
    strange = table(tmp_path / "strange.csv", "file,label\nz.png,1\n")
    with pytest.raises(BadOption, match=r"no row of strange\.csv names a file"):
        scan(data, layout=Layout(strange))
    with pytest.raises(FileProblem, match="no such file"):
        scan(data, layout=Layout(tmp_path / "none.csv"))
    with pytest.raises(Corrupt, match="no rows"):
        scan(data, layout=Layout(table(tmp_path / "bare.csv", "file,label\n")))
    torn = table(tmp_path / "torn.csv", "file,label\nx/a.png,1\nx/a.png,2\nb.png,1\n")
    index = scan(data, layout=Layout(torn))
    assert [u.reason for u in index.unusable] == ["torn.csv gives it two labels, patients or splits"]
    with pytest.raises(BadOption, match="path_column: no option without a table"):
        Layout(path_column="file")


def test_a_table_that_lies_there_unused_is_named_with_its_options(tmp_path: Path) -> None:
    made(tmp_path, "images/a.png", "images/b.png")
    table(tmp_path / "labels.csv", "filename,label\na.png,x\nb.png,y\n")
    index = scan(tmp_path)
    wanted = "to use it: --labels 'labels.csv' --path-column 'filename' --label-column 'label'"
    assert index.labels == () and any(wanted in note for note in index.notes)
    used = scan(tmp_path, layout=Layout(Path("labels.csv"), path_column="filename", label_column="label"))
    assert labels(used) == {"images/a.png": "x", "images/b.png": "y"}
    assert not any("to use it" in note for note in used.notes)


def test_a_label_that_has_changed_in_the_table_is_seen(tmp_path: Path) -> None:
    made(tmp_path, "a.png", "b.png")
    for name in ("x", "y"):
        table(tmp_path / "l.csv", f"file,label,patient\na.png,{name},1\nb.png,z,2\n")
        index = scan(tmp_path, out=tmp_path, layout=Layout(Path("l.csv")))
        assert labels(index)["a.png"] == name
