"""Channels and numbers of a scans.csv: read, kept in the index, checked against the image, refused by
name.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from medprior.data.volume import Volume
from medprior.errors import BadOption, Corrupt, WrongKind
from medprior.io.dataset.scan import load_index, scan
from medprior.io.dataset.store import save_index
from medprior.io.read import read
from medprior.io.write import write

AFFINE = np.diag([2.0, 2.0, 3.0, 1.0])


def save(
    path: Path,
    seed: int,
    *,
    affine: np.ndarray = AFFINE,
    shape: tuple[int, ...] = (10, 12, 4),
    label: bool = False,
) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(seed)
    data = (
        rng.integers(0, 3, (1, *shape)).astype(np.float32)
        if label
        else rng.random((1, *shape)).astype(np.float32)
    )
    write(
        Volume(data, affine, "label" if label else "a.u.", "MR"), path, kind="mask" if label else "converted"
    )


def table(folder: Path, head: str, *rows: str) -> Path:
    (folder / "scans.csv").write_text("\n".join((head, *rows)) + "\n")
    return folder


def three(folder: Path) -> None:
    for n in (1, 2, 3):
        save(folder / f"{n}_t1.nii.gz", n)
        save(folder / f"{n}_t2.nii.gz", 10 + n)
        save(folder / f"{n}_seg.nii.gz", 20 + n, label=True)


def test_channels_masks_and_numbers_are_in_the_index(tmp_path: Path) -> None:
    three(tmp_path)
    table(
        tmp_path,
        "path:T1,Channel:T2,mask,number:age,number:dose",
        "1_t1.nii.gz,1_t2.nii.gz,1_seg.nii.gz,61.5,2",
        "2_t1.nii.gz,2_t2.nii.gz,2_seg.nii.gz,97,",
    )
    index = scan(tmp_path, out=tmp_path)
    again = load_index(tmp_path)
    assert again == index
    one, two = again.items
    assert (one.called, one.beside, one.classes, one.numbers) == (
        "T1",
        (("T2", "1_t2.nii.gz"),),
        (1, 2),
        (("age", 61.5), ("dose", 2.0)),
    )
    assert two.numbers == (("age", 90.0),), "an age over 90 is not told apart: it identifies a person"
    assert again.beside(one, "mask").unit == "label" and again.beside(one, "T2").shape == (10, 12, 4)
    with pytest.raises(BadOption, match="has no 'FLAIR'"):
        again.beside(one, "FLAIR")


def test_a_changed_mask_is_looked_at_again(tmp_path: Path) -> None:
    three(tmp_path)
    table(tmp_path, "path,mask,number:age", "1_t1.nii.gz,1_seg.nii.gz,40")
    assert scan(tmp_path).items[0].classes == (1, 2)
    write(
        Volume(np.full((1, 10, 12, 4), 7, np.float32), AFFINE, "label"),
        tmp_path / "1_seg.nii.gz",
        kind="mask",
    )
    table(tmp_path, "path,mask,number:age", "1_t1.nii.gz,1_seg.nii.gz,50")
    item = scan(tmp_path).items[0]
    assert item.classes == (7,) and item.numbers == (("age", 50.0),)


def test_another_grid_and_a_map_of_fractions_cost_the_scan_its_place(tmp_path: Path) -> None:
    three(tmp_path)
    save(tmp_path / "short.nii.gz", 5, shape=(10, 12, 3))
    moved = AFFINE.copy()
    moved[0, 3] = 6.0
    save(tmp_path / "moved.nii.gz", 6, affine=moved)
    table(
        tmp_path,
        "path,channel:T2,mask",
        "1_t1.nii.gz,short.nii.gz,",
        "2_t1.nii.gz,moved.nii.gz,",
        "3_t1.nii.gz,,2_t2.nii.gz",
        "1_t2.nii.gz,gone.nii.gz,",
    )
    found = {entry.path: f"{entry.reason} ({entry.remedy})" for entry in scan(tmp_path).unusable}
    assert "its channel T2 has shape (10, 12, 3), wanted (10, 12, 4) (resample it" in found["1_t1.nii.gz"]
    assert "its channel T2 lies up to 3.0 voxels away" in found["2_t1.nii.gz"]
    assert (
        "its mask is no label map: it holds the value 0." in found["3_t1.nii.gz"]
        and "round or threshold" in found["3_t1.nii.gz"]
    )
    assert "gone.nii.gz', which does not exist" in found["1_t2.nii.gz"]


@pytest.mark.parametrize(
    ("head", "words"),
    [
        ("path,chanel:T2", "did you mean 'channel'"),
        ("path,channel:", "names of their own"),
        ("path,channel:mask", "names of their own"),
        ("path:T2,channel:T2", "names of their own"),
        ("path,channel", "write channel:NAME"),
        ("path,numbers", "write number:NAME"),
    ],
)
def test_a_wrong_column_is_named(tmp_path: Path, head: str, words: str) -> None:
    three(tmp_path)
    with pytest.raises(BadOption, match=words):
        scan(table(tmp_path, head, "1_t1.nii.gz,1_t2.nii.gz"))


def test_a_wrong_number_says_where_and_not_what(tmp_path: Path) -> None:
    three(tmp_path)
    with pytest.raises(BadOption, match="line 2: the age is no number") as caught:
        scan(table(tmp_path, "path,number:age", "1_t1.nii.gz,1961-05-04"))
    assert "1961" not in str(caught.value)


def test_a_channel_outside_of_the_folder_is_refused(tmp_path: Path) -> None:
    three(tmp_path / "data")
    save(tmp_path / "secret.nii.gz", 9)
    found = scan(
        table(
            tmp_path / "data", "path,channel:T2", "1_t1.nii.gz,../secret.nii.gz", "2_t1.nii.gz,2_t2.nii.gz"
        ),
        out=tmp_path / "data",
    )
    assert [item.path for item in found.items] == ["2_t1.nii.gz"]
    save_index(found, tmp_path / "passed on")
    record = json.loads((tmp_path / "passed on" / "index.json").read_text())
    record["items"][0]["beside"] = [["T2", "../secret.nii.gz"]]
    (tmp_path / "passed on" / "index.json").write_text(json.dumps(record))
    with pytest.raises(Corrupt, match="lies outside"):
        load_index(tmp_path / "passed on", tmp_path / "data")


@pytest.mark.parametrize("which", ["t2", "seg"])
def test_a_made_channel_or_mask_marks_the_scan_as_synthetic(tmp_path: Path, which: str) -> None:
    """A real image with a made map teaches what a prior has made up: it wants to be allowed by name, also
    where the index is read again.
    """
    three(tmp_path / "data")
    path = tmp_path / "data" / f"2_{which}.nii.gz"
    write(read(path, unit="label" if which == "seg" else None), path, kind="synthesized")
    table(
        tmp_path / "data",
        "path:T1,channel:T2,mask",
        *(f"{n}_t1.nii.gz,{n}_t2.nii.gz,{n}_seg.nii.gz" for n in (1, 2, 3)),
    )
    for _ in range(2):
        index = scan(tmp_path / "data", out=tmp_path / "index")
        assert (
            [item.synthetic for item in index.items]
            == [False, True, False]
            == [item.synthetic for item in load_index(tmp_path / "index").items]
        )
        with pytest.raises(WrongKind, match="1 of 3 scans are marked synthetic"):
            index.usable()


def test_two_maps_of_one_image_are_two_examples_and_equal_ones_are_twins(tmp_path: Path) -> None:
    three(tmp_path)
    for n in (2, 3):
        (tmp_path / f"{n}_t1.nii.gz").write_bytes((tmp_path / "1_t1.nii.gz").read_bytes())
    (tmp_path / "3_seg.nii.gz").write_bytes((tmp_path / "1_seg.nii.gz").read_bytes())
    table(tmp_path, "path:T1,mask", *(f"{n}_t1.nii.gz,{n}_seg.nii.gz" for n in (1, 2, 3)))
    index = scan(tmp_path, out=tmp_path / "index")
    assert len({item.split for item in index.items}) == 1 and len(index.items) == 3
    assert [item.path for item in index.usable()] == ["1_t1.nii.gz", "2_t1.nii.gz"]
