"""Layouts that the field uses: who is a patient, what is a label, what is no image."""

from __future__ import annotations

from collections import Counter
from pathlib import Path, PurePosixPath

import numpy as np
import pytest

from medprior.io.dataset.layout import Layout
from medprior.io.dataset.places import label_map_reason, place
from medprior.io.dataset.scan import Index, load_index, scan
from tests.corpus.other import nifti, png


def put(path: Path, seed: int) -> None:
    """A picture or a volume of noise, no two alike."""
    path.parent.mkdir(parents=True, exist_ok=True)
    values = np.random.default_rng(seed).integers(0, 256, (20, 20))
    picture = path.suffix == ".png"
    path.write_bytes(png(values.astype(np.uint8)) if picture else nifti(values[..., None].astype(np.int16)))


def made(folder: Path, *names: str) -> Path:
    for seed, name in enumerate(names):
        put(folder / name, seed)
    return folder


def splits_of_patients(index: Index) -> dict[str, set[str]]:
    found: dict[str, set[str]] = {}
    for item in index.items:
        found.setdefault(item.patient, set()).add(item.split)
    return found


def test_bids_patients_are_subjects_whatever_the_session(tmp_path: Path) -> None:
    raw = [f"sub-{s:02d}/ses-{e}/anat/sub-{s:02d}_ses-{e}_T1w.nii" for s in range(1, 13) for e in (1, 2)]
    made(
        tmp_path,
        *raw,
        "sub-01/ses-1/func/sub-01_task-rest_bold.nii",
        "derivatives/x/sub-01/anat/sub-01_T1w.nii",
    )
    (tmp_path / "README").write_text("A study.\nMit Umlauten: ä.\n", encoding="utf-8")
    (tmp_path / "dataset_description.json").write_text('{"Name": "x", "BIDSVersion": "1.8.0"}')
    rows = "".join(f"sub-{s:02d}\t{20 + s}\tF\n" for s in range(1, 13))
    (tmp_path / "participants.tsv").write_text("participant_id\tage\tsex\n" + rows)
    index = scan(tmp_path, out=tmp_path.parent / "index")
    assert (index.layout, index.labels, index.unusable) == ("BIDS", (), ())
    assert index.named() == (24, 12)
    assert all(len(splits) == 1 for splits in splits_of_patients(index).values())
    assert {(item.tags.sex, item.tags.age) for item in index.items} == {("female", "18 to 39")}
    assert {u.path.split("/")[0]: u.reason for u in index.left_out} == {
        "sub-01": "BIDS: func data, no single image",
        "derivatives": "BIDS: in derivatives, so no raw scan",
    }
    assert "README" in index.passed_over
    assert not any(f"{item.patient}|{item.label}|{item.id}".count("sub-") for item in index.items)
    assert index == load_index(tmp_path.parent / "index", tmp_path)


def test_bids_without_its_description_and_with_several_kinds_of_image(tmp_path: Path) -> None:
    made(tmp_path, *(f"sub-{s:02d}/anat/sub-{s:02d}_{k}.nii" for s in range(4) for k in ("T1w", "FLAIR")))
    index = scan(tmp_path)
    assert (index.layout, index.named()) == ("BIDS", (8, 4))
    assert index.notes == ("several kinds of image are learned as one: FLAIR 4, T1w 4",)


def test_nnunet_cases_have_channels_and_a_test_set(tmp_path: Path) -> None:
    cases = [f"imagesTr/X_{n:03d}_{c:04d}.nii" for n in range(12) for c in range(2)]
    tests = [f"imagesTs/X_{n:03d}_{c:04d}.nii" for n in (90, 91) for c in range(2)]
    made(tmp_path, *cases, *tests, *(f"labelsTr/X_{n:03d}.nii" for n in range(12)))
    (tmp_path / "dataset.json").write_text('{"channel_names": {"0": "T1", "1": "T2"}}')
    index = scan(tmp_path)
    assert index.layout == "nnU-Net or Decathlon"
    assert len(index.items) == 14 and index.named() == (14, 14) and index.labels == ()
    assert {(item.called, *(name for name, _ in item.beside)) for item in index.items} == {("T1", "T2")}
    assert index.beside(index.items[0], "T2").data.shape == (1, 20, 20, 1)
    assert {item.path for item in index.items if item.split == "test"} == {
        f"imagesTs/X_{n:03d}_0000.nii" for n in (90, 91)
    }
    assert set(index.counts()) <= {"train", "val", "test"} and index.counts()["test"] == 2
    assert len(index.left_out) == 12 and all("label map" in u.reason for u in index.left_out)


def test_numbers_that_are_no_channels_and_a_set_to_validate_with(tmp_path: Path) -> None:
    """AMOS: the map has the name of the image, so amos_0004 is no fifth channel."""
    names = [
        f"{part}{to}/amos_{n:04d}.nii" for part in ("images", "labels") for to in ("Tr", "Va") for n in (4, 7)
    ]
    made(tmp_path, *names, "imagesTs/amos_0009.nii")
    index = scan(tmp_path)
    assert {(item.path[:8], item.split) for item in index.items} == {
        ("imagesTr", "train"),
        ("imagesVa", "val"),
        ("imagesTs", "test"),
    }
    assert len(index.items) == 5 and {item.beside for item in index.items} == {()}


def test_numbered_folders_that_only_hold_images_are_no_labels(tmp_path: Path) -> None:
    made(tmp_path, *(f"images_{n:03d}/images/{n:08d}_{k:03d}.png" for n in range(9) for k in range(2)))
    index = scan(tmp_path)
    assert index.labels == () and len(index.items) == 18
    assert (
        place(PurePosixPath("JPEGImages/x.png")) == place(PurePosixPath("training_images/x.png")) == ("", "")
    )
    assert place(PurePosixPath("image_quality/x.png")) == ("image_quality", "")


def test_mvtec_has_defects_as_labels_and_no_mask(tmp_path: Path) -> None:
    good = [f"train/good/{n:03d}.png" for n in range(30)]
    others = [f"test/{kind}/{n:03d}.png" for kind in ("good", "crack") for n in range(3)]
    made(tmp_path, *good, *others, *(f"ground_truth/crack/{n:03d}_mask.png" for n in range(3)))
    index = scan(tmp_path)
    assert (index.layout, index.labels) == ("MVTec", ("crack", "good"))
    assert Counter(item.split for item in index.items)["test"] == 6, "what is given for tests stays so"
    assert index.counts()["val"] > 0, "a part of train judges the training"
    assert len(index.left_out) == 3


@pytest.mark.parametrize(
    "folder",
    ["mask", "masks", "seg", "segmentation", "segmentations", "labels", "label", "ground_truth", "gt"],
)
def test_folders_of_masks_beside_images_are_no_images(tmp_path: Path, folder: str) -> None:
    made(tmp_path, "images/a.png", "images/b.png", f"{folder}/a.png", f"{folder.upper()}/b.png")
    index = scan(tmp_path)
    assert {item.path for item in index.items} == {"images/a.png", "images/b.png"}
    assert index.labels == (), "a folder called images is no label"
    assert len(index.left_out) == 2


def test_labels_lie_below_folders_that_only_hold_images(tmp_path: Path) -> None:
    names = ["Normal/1", "Normal/2", "Anomaly/1"]
    made(tmp_path, *(f"Data/Images/{n}.png" for n in names), "Data/Masks/Anomaly/1.png")
    index = scan(tmp_path)
    assert index.labels == ("Anomaly", "Normal") and len(index.items) == 3
    assert place(PurePosixPath("train/images/x.png")) == ("", "train")


def test_busi_masks_stand_beside_their_images(tmp_path: Path) -> None:
    names = ("benign (1)", "benign (1)_mask", "benign (1)_mask_1", "normal (1)")
    made(tmp_path, *(f"{name.split()[0]}/{name}.png" for name in names))
    index = scan(tmp_path)
    assert {item.path for item in index.items} == {"benign/benign (1).png", "normal/normal (1).png"}
    assert label_map_reason(PurePosixPath("x/segment.png")) == ""


@pytest.mark.parametrize(
    ("name", "is_map"),
    [
        ("Ground truth/1.png", True),
        ("annotations/1.png", True),
        ("lesion_mask/1.png", True),
        ("LesionMasks/1.png", True),
        ("1st_manual/1.png", True),
        ("contour/1.png", True),
        ("x/1_anno.png", True),
        ("label_1/1.png", False),
        ("masked/1.png", False),
        ("contours of the heart/1.png", False),
        ("mask images/1.png", True),
        ("masks_png/1.png", True),
        ("SegmentationClass/1.png", True),
        ("labelsVa/1.png", True),
        ("CT/1/Ground/1.png", True),
        ("x/segmentation-0.nii", True),
        ("x/label0001.nii.gz", True),
        ("x/liver_GT_012.png", True),
        ("x/mask_p1_s2.png", True),
        ("grounds/1.png", False),
        ("x/segments_1.png", False),
    ],
)
def test_folders_of_label_maps_are_known_by_how_their_names_end(name: str, is_map: bool) -> None:
    assert bool(label_map_reason(PurePosixPath(name))) is is_map


def test_folders_of_patients_below_labels_keep_a_patient_in_one_split(tmp_path: Path) -> None:
    names = [f"{'normal' if p % 2 else 'sick'}/P{p:02d}/{n}.png" for p in range(20) for n in range(3)]
    index = scan(made(tmp_path, *names))
    assert index.labels == ("normal", "sick") and index.named() == (60, 20)
    assert all(len(splits) == 1 for splits in splits_of_patients(index).values())
    alone = scan(tmp_path, layout=Layout(folders="labels"))
    assert alone.named() == (0, 0), "the folders were said to be labels and nothing else"
