"""Channels of a data set -> one tensor each, and a card that says so."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from medprior.data.volume import Volume
from medprior.errors import BadOption, WrongKind
from medprior.io.index import scan
from medprior.io.write import write
from medprior.jobs.fit import Dataset, blur_of, dataset
from medprior.prior import Card
from medprior.prior.joint import is_joint

AFFINE = np.diag([2.0, 2.0, 3.0, 1.0])


def folder_of(folder: Path, *, head: str = "path:T1,channel:T2,mask,split,number:age", classes: int = 3, last: str = "") -> Path:
    """Four patients: T1 is bright where the mask is 2, T2 is its negative."""
    rows = []
    for n, split in enumerate(("train", "train", "train", "val")):
        rng = np.random.default_rng(n)
        mask = rng.integers(0, classes, (1, 18, 20, 5)).astype(np.float32)
        t1 = 10 + 40 * (mask == 2) + rng.random(mask.shape).astype(np.float32)
        for name, data in (("t1", t1), ("t2", 60 - t1)):
            write(Volume(data, AFFINE, "a.u.", "MR"), folder / f"{n}_{name}.nii.gz", kind="converted")
        write(Volume(mask, AFFINE, "label"), folder / f"{n}_seg.nii.gz", kind="mask")
        rows.append(f"{n}_t1.nii.gz,{n}_t2.nii.gz,{n}_seg.nii.gz,{split},{40 + 10 * n}")
    if last:
        rows[2] = last
    (folder / "scans.csv").write_text("\n".join((head, *rows)) + "\n")
    return folder


def learned(folder: Path, channels: list[str] | None = None, ndim: int = 2) -> Dataset:
    index = scan(folder)
    return dataset(index, index.usable("train"), "p", ndim=ndim, channels=channels)


def test_all_that_the_table_names_is_learned_together(tmp_path: Path) -> None:
    data = learned(folder_of(tmp_path))
    card = data.card
    assert card.channels == ("T1", "T2", "mask:1", "mask:2") and is_joint(card)
    assert card.numbers == ("height", "age") and card.ranges == ((-1.0, 1.0), (33.67, 66.33))
    assert {x.shape for x in (*data.train, *data.held)} == {(4, 20, 18)} and len(data.train) == 15
    x = torch.stack(data.train)
    bright = x[:, 3] > 0
    assert float(x[:, 0][bright].min()) > float(x[:, 0][~bright].max()), "the mask lies on the image"
    assert float(x[:, 1][bright].max()) < float(x[:, 1][~bright].min())
    assert bool(((x[:, 2:] + 1).abs() * (x[:, 2:] - 1).abs() == 0).all()), "classes are never between"
    assert data.numbers is not None and data.heights is not None and data.heights.tolist() == data.numbers[:, 0].tolist()
    assert data.numbers[:, 1].unique().tolist() == pytest.approx([-0.6125, 0.0, 0.6125], abs=1e-3)
    assert card.data["slices"] == 5 and card.data["through_mm"] == 3.0 and 0.1 < card.data["neighbours"] < 2


def test_some_of_them_or_the_image_alone(tmp_path: Path) -> None:
    folder = folder_of(tmp_path)
    assert learned(folder, ["mask", "T1"]).card.channels == ("T1", "mask:1", "mask:2")
    alone = learned(folder, ["T1"])
    assert alone.card.channels == ("T1",) and alone.train[0].shape[0] == 1
    with pytest.raises(BadOption, match="no scan has a channel 'T3'"):
        learned(folder, ["T1", "T3"])
    with pytest.raises(BadOption, match="is the image itself"):
        learned(folder, ["T2", "mask"])


def test_volumes_whole(tmp_path: Path) -> None:
    data = learned(folder_of(tmp_path), ndim=3)
    assert data.train[0].shape == (4, 18, 20, 5) and data.card.numbers == ("age",) and data.numbers is not None and data.numbers.shape == (3, 1)


def test_a_channel_that_only_some_have_is_refused_with_the_way_out(tmp_path: Path) -> None:
    with pytest.raises(WrongKind, match=r"1 of 3 scans have no T2, the first is 2_t1.nii.gz \(.*--channels T1 --channels mask"):
        learned(folder_of(tmp_path, last="2_t1.nii.gz,,2_seg.nii.gz,train,60"))


def test_an_unknown_number_is_unknown(tmp_path: Path) -> None:
    data = learned(folder_of(tmp_path, last="2_t1.nii.gz,2_t2.nii.gz,2_seg.nii.gz,train,"))
    assert data.numbers is not None and int(data.numbers[:, 1].isnan().sum()) == 5


def test_too_many_classes_and_none(tmp_path: Path) -> None:
    (tmp_path / "many").mkdir()
    (tmp_path / "none").mkdir()
    with pytest.raises(WrongKind, match=r"hold 59 classes.*group them"):
        learned(folder_of(tmp_path / "many", classes=60))
    with pytest.raises(WrongKind, match="hold 0 classes"):
        learned(folder_of(tmp_path / "none", classes=1))


def test_a_name_that_is_taken(tmp_path: Path) -> None:
    with pytest.raises(BadOption, match="this name is taken"):
        learned(folder_of(tmp_path, head="path:T1,channel:T2,mask,split,number:height"))


def test_a_number_is_blurred_by_what_its_patients_leave_open() -> None:
    """Silverman's rule over the patients, not over their slices; a height is where a slice lies, and exact."""
    card = Card("x", "MR", numbers=("height", "age", "dose"), ranges=((-1.0, 1.0), (20.0, 80.0), (0.0, 1.0)))
    ages = torch.randn(32, generator=torch.Generator().manual_seed(0)) / 2
    numbers = torch.stack([torch.linspace(-1, 1, 320), ages.repeat(10), torch.full((320,), 0.3)], dim=1)
    numbers[::7, 1] = torch.nan
    blur = blur_of(card, numbers)
    assert blur[0] == blur[2] == 0 and blur[1] == pytest.approx(0.9 * float(ages.std()) / 2)
    assert blur_of(Card("x", "MR", numbers=("height",), ranges=((-1.0, 1.0),)), numbers[:, :1]) == () == blur_of(card, None)
