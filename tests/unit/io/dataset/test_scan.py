"""Promises A9, A12, D9, E3, B8: everything is decoded once, what is bad is listed, nobody is in two splits,
own output is no training data.
"""

from __future__ import annotations

import csv
import gzip
import os
from pathlib import Path

import numpy as np
import pytest

from medprior.data.volume import Volume
from medprior.errors import BadOption, Corrupt, FileProblem, Truncated, WrongKind
from medprior.io.dataset import index as items
from medprior.io.dataset.layout import Layout
from medprior.io.dataset.listing import csv_cell
from medprior.io.dataset.scan import Index, load_index, scan
from medprior.io.dicom.read.series import read_series
from medprior.io.dicom.read.tree import list_series
from medprior.io.read import read
from medprior.io.write import write
from tests.corpus.dicom_parts import axial, ct_slice, encoded, phantom, save, save_all, uid
from tests.corpus.other import nifti, npz, png


def noise(seed: int, size: int = 24) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (size, size)).astype(np.uint8)


def put(path: Path, content: bytes) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


def pictures(folder: Path, count: int, label: str = "a", start: int = 0) -> None:
    for n in range(start, start + count):
        put(folder / label / f"{n:04d}.png", png(noise(n)))


def table(folder: Path, *rows: str) -> None:
    put(folder / "scans.csv", "\r\n".join(("path,label,patient,split,mask", *rows)).encode())


def by_path(index: Index) -> dict[str, str]:
    return {item.path: item.split for item in index.items}


def test_exactly_the_bad_files_are_listed_with_their_reasons(tmp_path: Path) -> None:
    """A9, with 200 good files and 3 bad ones; the bad are below the limit, so the good can be used."""
    pictures(tmp_path, 200)
    put(tmp_path / "a" / "cut.png", png()[:-40])
    put(tmp_path / "b" / "note.dat", b"text")
    put(tmp_path / "b" / "cut.nii", nifti(np.ones((3, 3, 3), np.int16))[:-2])
    found = scan(tmp_path, out=tmp_path)
    reasons = {u.path: u.reason for u in found.unusable}
    assert set(reasons) == {"a/cut.png", "b/note.dat", "b/cut.nii"}
    assert "inside" in reasons["a/cut.png"]
    assert "no kind" in reasons["b/note.dat"]
    assert "before its header says so" in reasons["b/cut.nii"]
    assert len(found.usable()) == 200
    with open(tmp_path / "unusable.csv", newline="") as file:
        assert {row["path"] for row in csv.DictReader(file)} == set(reasons)


def test_more_than_one_in_twenty_bad_stops_before_training(tmp_path: Path) -> None:
    pictures(tmp_path, 3)
    for n in range(20):
        put(tmp_path / "a" / f"bad{n}.png", b"text")
    found = scan(tmp_path)
    with pytest.raises(FileProblem, match=r"20 of 23 files are unusable, more than 5%"):
        found.usable()


def test_a_constant_image_is_unusable(tmp_path: Path) -> None:
    pictures(tmp_path, 1)
    put(tmp_path / "a" / "flat.png", png(np.full((9, 9), 7, np.uint8)))
    assert "constant: every value is 7" in scan(tmp_path).unusable[0].reason


def test_folders_are_labels_and_splits(tmp_path: Path) -> None:
    for n, name in enumerate(
        ["train/normal/a.png", "Validation/normal/b.png", "test/sick/deep/c.png", "train/d.png"]
    ):
        put(tmp_path / name, png(noise(n)))
    found = scan(tmp_path)
    assert {(i.path, i.label, i.split) for i in found.items} == {
        ("train/normal/a.png", "normal", "train"),
        ("Validation/normal/b.png", "normal", "val"),
        ("test/sick/deep/c.png", "sick", "test"),
        ("train/d.png", "", "train"),
    }
    assert found.labels == ("normal", "sick")


def test_splits_are_shared_out_70_15_15_the_same_everywhere_and_by_patient(tmp_path: Path) -> None:
    one, two = tmp_path / "one", tmp_path / "two"
    for folder in (one, two):
        pictures(folder, 300)
        table(folder, *(f"a/{n:04d}.png,x,patient{n // 2},," for n in range(300)))
    first, second = scan(one), scan(two)
    assert by_path(first) == by_path(second)
    assert first.items[0].patient != second.items[0].patient, "each data set has its own secret"
    splits: dict[str, set[str]] = {}
    for item in first.items:
        splits.setdefault(item.patient, set()).add(item.split)
    assert len(splits) == 150
    assert all(len(s) == 1 for s in splits.values())
    counts = first.counts()
    assert abs(counts["train"] - 210) < 30
    assert abs(counts["val"] - 45) < 20
    assert abs(counts["test"] - 45) < 20


def test_a_small_folder_has_something_to_learn_from(tmp_path: Path) -> None:
    """Scans that resemble each other share a split; where it is not train, training found nothing."""
    noise = np.random.default_rng(0).integers(0, 255, (32, 32))
    found = []
    for start in range(4):  # of these first members one in three has a bucket of val or test
        for n in range(3):
            folder = tmp_path / f"set{start}"
            folder.mkdir(exist_ok=True)
            (folder / f"{start}{n}.png").write_bytes(png((noise + n).clip(0, 255).astype(np.uint8)))
        found.append(scan(tmp_path / f"set{start}", modality="DX").items)
    assert any(items_[0].bucket >= 70 for items_ in found)
    assert all({one.split for one in items_} == {"train"} for items_ in found)


def test_a_patient_id_is_nowhere_in_what_is_written(tmp_path: Path) -> None:
    pictures(tmp_path / "data", 2)
    table(tmp_path / "data", "a/0000.png,x,CANARYDOE,,", "a/0001.png,x,CANARYDOE,,")
    series = save_all(tmp_path / "dicom" / "head", axial())
    assert series.is_dir()
    for folder in ("data", "dicom"):
        found = scan(tmp_path / folder, out=tmp_path / "out" / folder)
        assert found.items[0].patient.startswith("p")
        for path in (tmp_path / "out" / folder).iterdir():
            assert b"CANARY" not in path.read_bytes()
    assert (tmp_path / "out" / "data" / ".medprior-key").stat().st_mode & 0o077 == 0


def test_twins_share_a_split_and_are_found_under_two_patients(tmp_path: Path) -> None:
    """D9: exact by the pixels, whatever the format; near by the thumbnail."""
    base = np.add.outer(np.arange(64), np.arange(64) ** 1.5).astype(np.float32)
    for n in range(40):
        put(tmp_path / f"{n}.png", png(noise(n)))
    put(tmp_path / "same.npz", npz(image=noise(3)[None].astype(np.float32)))
    picture = (base / base.max() * 200).astype(np.uint8)
    put(tmp_path / "near1.png", png(picture))
    put(tmp_path / "near2.png", png(picture[1:, 2:] + np.uint8(9)))
    table(
        tmp_path,
        *(f"{n}.png,,p{n},," for n in range(40)),
        "same.npz,,other,,",
        "near1.png,,q1,,",
        "near2.png,,q2,,",
    )
    found = scan(tmp_path)
    names = {item.id: item.path for item in found.items}
    assert [sorted(names[i] for i in group) for group in found.duplicates] == [["3.png", "same.npz"]]
    assert [sorted(names[i] for i in pair) for pair in found.near_duplicates] == [["near1.png", "near2.png"]]
    split = by_path(found)
    assert split["3.png"] == split["same.npz"]
    assert split["near1.png"] == split["near2.png"]
    assert found.crossing == ()
    assert {"3.png", "same.npz"} - {item.path for item in found.usable()} in ({"3.png"}, {"same.npz"}), (
        "one of two exact twins is enough"
    )


def test_given_splits_that_share_a_patient_or_pixels_lose_the_shared_part(tmp_path: Path) -> None:
    pictures(tmp_path, 6)
    put(tmp_path / "a" / "again.png", png(noise(5)))
    rows = [
        "a/0000.png,,p,train,",
        "a/0001.png,,p,test,",
        "a/0002.png,,q,train,",
        "a/0003.png,,r,val,",
        "a/0004.png,,s,train,",
        "a/0005.png,,t,train,",
    ]
    table(tmp_path, *rows, "a/again.png,,u,val,")
    found = scan(tmp_path)
    assert len(found.crossing) == 1
    assert {item.path for item in found.items if item.leaks} == {"a/0000.png", "a/0005.png"}
    assert {item.path for item in found.usable("train")} == {"a/0002.png", "a/0004.png"}
    assert {item.path for item in found.usable("val")} == {"a/0003.png", "a/again.png"}


def test_own_output_is_refused_as_training_data_unless_it_is_asked_for(tmp_path: Path) -> None:
    """E3: NIfTI, picture and NPZ that medprior wrote; its side files are no scans."""
    pictures(tmp_path, 2)
    for n, name in enumerate(["x.png", "x.nii.gz", "x.npz"]):
        write(Volume(noise(50 + n)[None].astype(np.float32)), tmp_path / "a" / name, kind="synthesized")
    found = scan(tmp_path)
    assert sorted(item.path for item in found.items if item.synthetic) == ["a/x.nii.gz", "a/x.npz", "a/x.png"]
    assert found.unusable == ()
    with pytest.raises(WrongKind, match="3 of 5 scans are marked synthetic"):
        found.usable()
    assert len(found.usable(allow_synthetic=True)) == 5


def test_a_second_scan_decodes_only_what_changed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pictures(tmp_path, 5)
    first = scan(tmp_path, out=tmp_path)
    decoded: list[str] = []
    true_read = items.read
    monkeypatch.setattr(
        items, "read", lambda path, **options: decoded.append(path.name) or true_read(path, **options)
    )
    assert scan(tmp_path, out=tmp_path) == first
    assert decoded == []
    put(tmp_path / "a" / "0002.png", png(noise(99)))
    os.utime(tmp_path / "a" / "0002.png", ns=(1, 1))
    put(tmp_path / "a" / "0077.png", png(noise(77)))
    (tmp_path / "a" / "0000.png").unlink()
    again = scan(tmp_path, out=tmp_path)
    assert decoded == ["0002.png", "0077.png"]
    assert len(again.items) == 5
    assert all(
        by_path(again)[path] == split for path, split in by_path(first).items() if path in by_path(again)
    ), "recorded splits stay"
    scan(tmp_path, out=tmp_path, modality="DX")
    assert len(decoded) == 7, "other options, other numbers: all is decoded again"


def test_an_index_is_read_back_equal(tmp_path: Path) -> None:
    pictures(tmp_path, 3)
    found = scan(tmp_path, out=tmp_path, unit="HU", modality="CT")
    assert load_index(tmp_path) == found
    assert found.load(found.items[0]).unit == "HU"


def test_stacks_are_indexed_image_by_image(tmp_path: Path) -> None:
    images = np.stack([noise(n) for n in range(12)])
    put(
        tmp_path / "train" / "s.npz",
        npz(
            hu=images.astype(np.int16),
            patient=np.array([f"p{n // 3}" for n in range(12)]),
            labels=np.arange(12) % 2,
        ),
    )
    found = scan(tmp_path)
    assert [item.part for item in found.items] == [str(n) for n in range(12)]
    assert len({item.patient for item in found.items}) == 4
    assert found.labels == ("0", "1")
    for item, volume in found.volumes(found.usable("train")):
        assert np.array_equal(volume.data[0], images[int(item.part)])
        assert volume.unit == "HU"
    assert np.array_equal(found.load(found.items[5]).data[0], images[5])


def test_a_table_of_labels_names_images_inside_a_stack(tmp_path: Path) -> None:
    """Its other images stay without label, and what the table says later is read again."""
    images = np.stack([noise(n) for n in range(5)]).astype(np.int16)
    put(tmp_path / "data" / "s.npz", npz(hu=images))
    put(tmp_path / "data" / "one.npz", npz(hu=noise(9)[None].astype(np.int16)))
    how = Layout(labels=tmp_path / "labels.csv", unnamed=True)

    def labels_now(*rows: str) -> dict[str, str]:
        (tmp_path / "labels.csv").write_text("\n".join(["path,label,patient", *rows]))
        found = scan(tmp_path / "data", out=tmp_path / "out", layout=how)
        patients.append({item.part: item.patient for item in found.items if item.path == "s.npz"})
        return {f"{item.path}#{item.part}": item.label for item in found.items} | {
            one.path: one.reason for one in found.unusable
        }

    patients: list[dict[str, str]] = []
    found = labels_now("s.npz#1,ill,P", "s.npz#3,well,P", "s.npz#7,ill,Q")
    assert {name: label for name, label in found.items() if label} == {"s.npz#1": "ill", "s.npz#3": "well"}
    assert patients[0]["1"] == patients[0]["3"] != patients[0]["0"]
    assert labels_now("s.npz#1,well,P")["s.npz#3"] == ""
    assert not any(labels_now("one.npz,ill,P").get(f"s.npz#{n}") for n in range(5))
    assert "two labels" in labels_now("s.npz#1,well,P", "s.npz#1,ill,P")["s.npz"]


def test_dicom_is_indexed_by_series_and_a_patients_folder_is_no_label(tmp_path: Path) -> None:
    save_all(tmp_path / "JANE" / "ct", axial())
    save_all(tmp_path / "JANE" / "other", axial(SeriesInstanceUID=uid("second")))
    pixels = phantom()
    for n in range(2):
        for label in ("normal", "sick"):
            names = {"SeriesInstanceUID": uid(n, label), "PatientID": f"{label}{n}", "Modality": "DX"}
            save(tmp_path / label / f"{n}.dcm", ct_slice(pixels[n + 2 * (label == "sick")], **names))
    save(tmp_path / "JANE" / "ct" / "cut.dcm", save(tmp_path / "whole.dcm", axial()[0]).read_bytes()[:400])
    (tmp_path / "whole.dcm").unlink()
    put(tmp_path / "DICOMDIR", b"x")
    found = scan(tmp_path, out=tmp_path)
    assert {(item.path, item.label) for item in found.items if item.modality == "DX"} == {
        (f"{a}/{n}.dcm", a) for a in ("normal", "sick") for n in range(2)
    }
    series = [item for item in found.items if item.modality == "CT"]
    assert [(item.path, item.label, item.shape) for item in series] == [
        ("JANE/ct", "", (8, 10, 6)),
        ("JANE/other", "", (8, 10, 6)),
    ]
    assert [u.path for u in found.unusable] == ["JANE/ct/cut.dcm"]
    assert [any("damaged" in w for w in item.warnings) for item in series] == [True, False], (
        "it may have been the last slice"
    )
    assert found.load(series[0]).shape == (8, 10, 6)
    assert scan(tmp_path, out=tmp_path) == found


def test_one_bad_file_in_a_mixed_folder_costs_itself_and_its_own_series_only(tmp_path: Path) -> None:
    """A9: two series in one flat folder, a cut slice of the second, a file nobody knows, a segmentation, a
    report: the first series is used, the rest named.
    """
    second = axial(SeriesInstanceUID=uid("second"))
    for n, image in enumerate([*axial(), *second[:-1]]):
        save(tmp_path / f"{n:02d}.dcm", image)
    put(tmp_path / "cut.dcm", encoded(second[-1])[:-9])
    put(tmp_path / "odd.dcm", encoded(axial()[0])[:300])
    save(
        tmp_path / "drawn.dcm",
        ct_slice(phantom()[0], SOPClassUID="1.2.840.10008.5.1.4.1.1.66.4", Modality="SEG"),
    )
    save(
        tmp_path / "report.dcm",
        ct_slice(phantom()[0], SOPClassUID="1.2.840.10008.5.1.4.1.1.88.33", PixelData=None, Rows=None),
    )
    told: list[tuple[int, int]] = []
    found = scan(tmp_path, out=tmp_path, on_progress=lambda done, total: told.append((done, total)))
    assert told[-1] == (15, 15)
    assert [(item.shape, item.path, len(item.files)) for item in found.items] == [((8, 10, 6), ".", 6)]
    assert {u.path for u in found.unusable} == {"cut.dcm", "odd.dcm", "."}, (
        "the file, the stranger, and the series that misses a slice"
    )
    assert {u.path: u.reason.split(" (")[0] for u in found.left_out} == {
        "drawn.dcm": "label map",
        "report.dcm": "no image",
    }
    (first, other) = sorted(list_series(tmp_path), key=lambda one: len(one.damaged))
    wanted = read(save_all(tmp_path.parent / f"{tmp_path.name}-alone", axial())).data
    for volume in (found.load(found.items[0]), read_series(first), read(tmp_path, series=first.uid)):
        assert np.array_equal(volume.data, wanted)
    for call in (lambda: read_series(other), lambda: read(tmp_path, series=other.id)):
        with pytest.raises(Truncated, match=r"cut\.dcm"):
            call()
    assert load_index(tmp_path) == found == scan(tmp_path, out=tmp_path)
    (tmp_path / "00.dcm").write_bytes(encoded(second[0]))
    with pytest.raises(Corrupt, match="changed since"):
        read_series(first)


def test_label_maps_beside_scans_are_left_out_by_name_folder_and_header(tmp_path: Path) -> None:
    """Never silently: each is listed with its reason, in the index and in the table; a scans.csv overrules
    it.
    """
    names = [
        "a_T1w.nii.gz",
        "a_dseg.nii.gz",
        "b-seg.nii.gz",
        "x/scan1.png",
        "x/scan1_mask.png",
        "x/scan1_mask_1.png",
        "labelsTr/a.nii.gz",
        "mask.NII.GZ",
        "x/segment.png",
    ]
    for n, name in enumerate(names):
        put(
            tmp_path / name,
            png(noise(n))
            if name.endswith("png")
            else gzip.compress(nifti(noise(n)[..., None].astype(np.int16)), mtime=0),
        )
    header = bytearray(nifti((noise(77) % 3)[..., None].astype(np.int16)))
    header[68:70] = (1002).to_bytes(2, "little")
    put(tmp_path / "quiet.nii", bytes(header))
    write(
        Volume((noise(78) % 4)[None].astype(np.float32), unit="label"), tmp_path / "ours.nii.gz", kind="mask"
    )
    found = scan(tmp_path, out=tmp_path)
    assert {item.path for item in found.items} == {"a_T1w.nii.gz", "x/scan1.png", "x/segment.png"}
    left = {u.path: u.reason for u in found.left_out}
    assert set(left) == {*names, "quiet.nii", "ours.nii.gz"} - {item.path for item in found.items}
    assert (
        "by its folder (labelsTr)" in left["labelsTr/a.nii.gz"]
        and "_dseg" in left["a_dseg.nii.gz"]
        and "header" in left["quiet.nii"]
    )
    assert "left out: label map" in (tmp_path / "unusable.csv").read_text()
    assert len(found.usable()) == 3, "what is left out is not counted as bad"
    table(tmp_path, "x/scan1_mask.png,,,,", "quiet.nii,,,,")
    assert {item.path for item in scan(tmp_path, out=tmp_path).items} == {"x/scan1_mask.png", "quiet.nii"}


def test_a_folder_of_nothing_but_such_names_is_taken_as_it_is(tmp_path: Path) -> None:
    for n in range(3):
        put(tmp_path / f"{n}_seg.png", png(noise(n)))
    assert len(scan(tmp_path).items) == 3


def test_a_series_of_links_is_found_whichever_name_is_met(tmp_path: Path) -> None:
    """A12: the walk that lists files and the index of DICOM agree on the name of a file that has two."""
    save_all(tmp_path / "data" / "b", axial())
    for path in sorted((tmp_path / "data" / "b").iterdir()):
        os.link(path, path.with_name("a-" + path.name))
        path.with_name("z-" + path.name).symlink_to(path)
    found = scan(tmp_path / "data")
    assert [item.shape for item in found.items] == [(8, 10, 6)] and found.unusable == found.left_out == ()


def test_a_table_may_name_a_series_by_its_folder(tmp_path: Path) -> None:
    save_all(tmp_path / "one", axial())
    save_all(tmp_path / "two", axial(SeriesInstanceUID=uid("second")))
    table(tmp_path, "one,healthy,me,test,")
    found = scan(tmp_path)
    assert [(item.path, item.label, item.split) for item in found.items] == [("one", "healthy", "test")]


def test_a_mask_must_be_there_and_fit(tmp_path: Path) -> None:
    put(tmp_path / "a.png", png(noise(1)))
    put(tmp_path / "b.png", png(noise(2)))
    put(tmp_path / "m.png", png((noise(3) > 99).astype(np.uint8)))
    put(tmp_path / "small.png", png(noise(3, 5)))
    table(tmp_path, "a.png,,,,m.png", "b.png,,,,small.png")
    found = scan(tmp_path)
    mask = found.mask(found.items[0])
    assert mask is not None
    assert (mask.unit, set(np.unique(mask.data))) == ("label", {0, 1})
    assert found.unusable[0].path == "b.png"
    assert "its mask has shape (5, 5), wanted (24, 24)" in found.unusable[0].reason


def test_a_table_names_only_what_lies_in_the_folder(tmp_path: Path) -> None:
    put(tmp_path / "secret.png", png(noise(1)))
    put(tmp_path / "data" / "a.png", png(noise(2)))
    table(
        tmp_path / "data",
        "../secret.png,,,,",
        f"{tmp_path}/secret.png,,,,",
        "gone.png,,,,",
        "a.png,,,,",
        "a.png,again,,,",
    )
    found = scan(tmp_path / "data")
    assert [(item.path, item.label) for item in found.items] == [("a.png", "")], (
        "the first line of a file counts"
    )
    assert len(found.unusable) == 3
    assert all("names" in u.reason for u in found.unusable)


def test_a_key_is_whole_and_its_owners_only(tmp_path: Path) -> None:
    """An empty key would let anybody test a guess of a patient's name."""
    pictures(tmp_path, 1)
    put(tmp_path / ".medprior-key", b"")
    scan(tmp_path, out=tmp_path)
    key = tmp_path / ".medprior-key"
    assert len(key.read_bytes()) == 32 and key.stat().st_mode & 0o077 == 0
    before = key.read_bytes()
    scan(tmp_path, out=tmp_path)
    assert key.read_bytes() == before


def test_a_table_with_a_name_that_no_file_can_have_is_no_crash(tmp_path: Path) -> None:
    pictures(tmp_path, 1)
    table(tmp_path, "a/0000.png,,,,", f"{'x' * 5000}.png,,,,")
    found = scan(tmp_path)
    assert len(found.items) == 1 and "does not exist" in found.unusable[0].reason


def test_a_thousand_equal_images_are_one_group_not_half_a_million_pairs(tmp_path: Path) -> None:
    put(tmp_path / "s.npz", npz(images=np.stack([noise(1)] * 1000 + [noise(2)])))
    found = scan(tmp_path)
    assert [len(group) for group in found.duplicates] == [1000] and found.near_duplicates == ()
    assert len(found.usable()) == 2


def test_a_table_that_cannot_be_understood_is_refused(tmp_path: Path) -> None:
    put(tmp_path / "a.png", png())
    rows = {
        b"path,lable\na.png,x\n": (BadOption, "did you mean 'label'"),
        b"path,split\na.png,trian\n": (BadOption, "unknown split 'trian'"),
        b"file,label\na.png,x\n": (Corrupt, "no column path"),
        b"path,path\na.png,x\n": (Corrupt, "twice"),
        b"path\n": (Corrupt, "no rows"),
        b"\xff\xfe\x00path": (Corrupt, "UTF-8"),
    }
    for content, (kind, reason) in rows.items():
        put(tmp_path / "scans.csv", content)
        with pytest.raises(kind, match=reason):
            scan(tmp_path)
    put(tmp_path / "scans.csv", b"\xef\xbb\xbfPath,label,age\na.png,x,40\n")
    assert scan(tmp_path).labels == ("x",)


def test_links_pipes_and_odd_names(tmp_path: Path) -> None:
    """A12: each real file once, pipes never opened, round links never followed for ever, hidden files passed
    over.
    """
    data = tmp_path / "data"
    put(data / "a" / "one.png", png(noise(1)))
    os.link(data / "a" / "one.png", data / "a" / "two.png")
    (data / "a" / "three.png").symlink_to(data / "a" / "one.png")
    (data / "a" / "round").symlink_to(data)
    (data / "a" / "nowhere.png").symlink_to("gone")
    os.mkfifo(data / "a" / "pipe")
    put(data / "a" / "=cmd\x1b.png", b"bad")
    put(data / ".hidden" / "x.png", png(noise(2)))
    put(data / "a" / "README.md", b"text")
    found = scan(data, out=data)
    assert len(found.items) == 1
    assert {u.path: u.reason.split(",")[0] for u in found.unusable} == {
        "a/nowhere.png": "is a link to nowhere",
        "a/pipe": "is no ordinary file (a pipe",
        "a/=cmd\x1b.png": "is of no kind that is known here",
    }
    assert found.passed_over == ("a/README.md",)
    assert b"\x1b" not in (data / "unusable.csv").read_bytes()


@pytest.mark.parametrize("text", ["=1+1", "+1", "-1", "@x", "\t=1", "\r=1"])
def test_no_cell_is_a_formula(text: str) -> None:
    """B8"""
    assert csv_cell(text)[0] not in "=+-@\t\r"
    assert csv_cell("plain") == "plain"


def test_progress_is_told(tmp_path: Path) -> None:
    pictures(tmp_path, 3)
    told: list[tuple[int, int]] = []
    scan(tmp_path, on_progress=lambda done, total: told.append((done, total)))
    assert told == [(0, 3), (1, 3), (2, 3), (3, 3)]


def test_a_folder_that_cannot_be_used_is_named(tmp_path: Path) -> None:
    with pytest.raises(FileProblem, match="is not a folder"):
        scan(tmp_path / "none")
    (tmp_path / "bare").mkdir()
    (tmp_path / "bare" / "notes.txt").write_text("no scan")
    with pytest.raises(FileProblem, match="holds no usable scan"):
        scan(tmp_path / "bare").usable()
    pictures(tmp_path / "x", 2)
    with pytest.raises(BadOption, match="split"):
        scan(tmp_path / "x").usable("all")


def test_the_real_sets_are_indexed_without_a_bad_file(tmp_path: Path, real_data: Path) -> None:
    hounsfield = scan(real_data / "ct_slices_hu", out=tmp_path / "ct")
    assert (hounsfield.counts(), hounsfield.unusable, hounsfield.crossing) == (
        {"test": 13, "train": 68, "val": 9},
        (),
        (),
    )
    assert {item.unit for item in hounsfield.items} == {"HU"}
    ultrasound = scan(real_data / "medmnist_breast", out=tmp_path / "us")
    assert len(ultrasound.items) == 437 + 78 + 156
    assert ultrasound.near_duplicates, "the set is known for its near duplicates"


def test_nothing_is_written_unless_a_folder_is_named(tmp_path: Path) -> None:
    """Data of a hospital are often mounted read-only, and an index holds small pictures of each scan."""
    pictures(tmp_path, 3)
    before = sorted(tmp_path.rglob("*"))
    index = scan(tmp_path)
    assert sorted(tmp_path.rglob("*")) == before and len(index.items) == 3
    assert index.items[0].values == (float(noise(0).min()), float(noise(0).max()))


def test_an_empty_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(FileProblem, match="is empty"):
        scan(tmp_path)
    assert list(tmp_path.iterdir()) == []
