"""Channels of a data set -> one tensor each, and a card that says so."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from medprior.data.volume import Volume
from medprior.errors import BadOption, WrongKind
from medprior.io.dataset.index import Item
from medprior.io.dataset.scan import scan
from medprior.io.write import write
from medprior.jobs.fitting.fit import fit
from medprior.jobs.fitting.training_set import Dataset, asked_of, dataset
from medprior.prior import Card, Prior
from medprior.prior.joint import is_joint
from medprior.training.patches import Images

AFFINE = np.diag([2.0, 2.0, 3.0, 1.0])


def folder_of(
    folder: Path, *, head: str = "path:T1,channel:T2,mask,split,number:age", classes: int = 3, last: str = ""
) -> Path:
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
    x = torch.stack(list(data.train))
    bright = x[:, 3] > 0
    assert float(x[:, 0][bright].min()) > float(x[:, 0][~bright].max()), "the mask lies on the image"
    assert float(x[:, 1][bright].max()) < float(x[:, 1][~bright].min())
    assert bool(((x[:, 2:] + 1).abs() * (x[:, 2:] - 1).abs() == 0).all()), "classes are never between"
    assert (
        data.numbers is not None
        and data.heights is not None
        and data.heights.tolist() == data.numbers[:, 0].tolist()
    )
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
    assert (
        data.train[0].shape == (4, 18, 20, 5)
        and data.card.numbers == ("age",)
        and data.numbers is not None
        and data.numbers.shape == (3, 1)
    )


def test_a_channel_that_only_some_have_is_refused_with_the_way_out(tmp_path: Path) -> None:
    with pytest.raises(
        WrongKind,
        match=r"1 of 3 scans have no T2, the first is 2_t1.nii.gz \(.*--channels T1 --channels mask",
    ):
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


def item(patient: str, **numbers: float) -> Item:
    read = ("picture", (8, 8), 1, "a.u.", "MR", None, False, "", "", 0, True, False, "")
    return Item(
        f"i{patient}", f"{patient}.png", "", "", patient, "train", "", *read, numbers=tuple(numbers.items())
    )


CARD = Card("x", "MR", numbers=("height", "age", "field"), ranges=((-1.0, 1.0), (20.0, 80.0), (0.0, 4.0)))


def test_a_number_is_told_with_the_bandwidth_of_its_patients() -> None:
    """Silverman's rule by hand, in network units; two scans of a patient count once, two field strengths are
    exact.
    """
    ages = np.round(50 + 8 * np.random.default_rng(0).standard_normal(400))
    items = [item(str(n), age=float(age), field=1.5 + 1.5 * (n % 2)) for n, age in enumerate(ages)]
    a = min(ages.std(), (np.quantile(ages, 0.75) - np.quantile(ages, 0.25)) / 1.34)
    wanted = ((1, pytest.approx(0.9 * a * 400**-0.2 / 30)), (2, 0.0))
    assert asked_of(CARD, items) == wanted and asked_of(CARD, [*items, *items[:100]]) == wanted
    assert asked_of(Card("x", "MR", numbers=("height",), ranges=((-1.0, 1.0),)), items) == ()


def test_a_training_is_given_what_is_asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Three patients have three ages, each a class of its own; the height of a slice is no property of
    theirs.
    """
    given: list[Images] = []

    def stopped(prior: Prior, images: Images, *_: object, **__: object) -> Prior:
        given.append(images)
        raise KeyboardInterrupt

    monkeypatch.setattr("medprior.jobs.fitting.fit.train", stopped)
    with pytest.raises(KeyboardInterrupt):
        fit(folder_of(tmp_path), steps=1, out=tmp_path / "run")
    assert given[0].asked == ((1, 0.0),)


def test_an_unknown_age_moves_no_bandwidth() -> None:
    ages = [41.0, 47.0, 52.0, 58.0, 63.0, 70.0]
    known = [item(str(n), age=age, field=3.0) for n, age in enumerate(ages)]
    assert asked_of(CARD, [*known, item("none", field=3.0)]) == asked_of(CARD, known)


def test_a_set_beyond_memory_is_the_same_and_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    index = scan(folder_of(tmp_path / "data"))
    near = dataset(index, index.usable("train"), "p", home=tmp_path / "run")
    monkeypatch.setattr("medprior.training.patches.SHARE", 1e-9)
    far = dataset(index, index.usable("train"), "p", home=tmp_path / "run")
    assert far.card == near.card and all(map(torch.equal, far.train, near.train))
    assert any("read from disk" in note for note in far.notes) and near.notes == far.notes[:-1]
