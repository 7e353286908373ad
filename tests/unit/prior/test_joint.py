"""The doors of joint priors: each part as it came, label maps exact, numbers in their range."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from medprior.data.axes import axcodes, reorient
from medprior.data.volume import Provenance, Volume
from medprior.errors import BadOption, WrongKind
from medprior.prior import Card
from medprior.prior.joint import (
    admit_parts,
    is_joint,
    label_map,
    part_named,
    part_volume,
    parts,
    synthetic_volume,
)
from medprior.prior.numbers import encode_numbers, learned_range, range_of

CARD = Card(
    "two", "MR", channels=("T1", "T2", "mask:1", "mask:4"), scaling="foreground", quantiles=(0.0, 0.99),
    axes="PL", spacing_mm=(2.0, 2.0),
    numbers=("height", "age"), ranges=((-1.0, 1.0), (20.0, 80.0)), frame=(16, 64), data={"through_mm": 3.0},
)  # fmt: skip
AFFINE = np.array([[0, 2.0, 0, -10], [-2.0, 0, 0, 5], [0, 0, 3.0, 7], [0, 0, 0, 1]])


def scan(seed: int = 0) -> Volume:
    return Volume(
        np.random.default_rng(seed).random((1, 20, 18, 5)).astype(np.float32) * 90,
        AFFINE,
        "a.u.",
        "MR",
        provenance=Provenance(format="nifti"),
    )


def labels(classes: tuple[int, ...] = (0, 1, 4)) -> Volume:
    return Volume(
        np.random.default_rng(1).choice(classes, size=(1, 20, 18, 5)).astype(np.float32),
        AFFINE,
        "label",
        provenance=Provenance(format="nifti"),
    )


def test_the_card_says_what_the_channels_are() -> None:
    assert [(p.name, p.channels, p.classes) for p in parts(CARD)] == [
        ("T1", (0,), ()),
        ("T2", (1,), ()),
        ("mask", (2, 3), (1, 4)),
    ]
    assert (
        is_joint(CARD)
        and not is_joint(Card("one", "MR"))
        and not is_joint(Card("rgb", "MR", channels=("channel_0", "channel_1")))
    )
    with pytest.raises(BadOption, match="not on the card of 'two', which has T1, T2, mask"):
        part_named(CARD, "T3")
    with pytest.raises(BadOption, match="knows one thing"):
        part_named(Card("one", "MR"), "mask")
    with pytest.raises(BadOption, match="label map by whole numbers"):
        Card.from_json({**CARD.to_json(), "channels": ["T1", "mask:x"]})


@pytest.mark.parametrize("codes", ["PLS", "RAS", "LIP"])
def test_a_label_map_comes_back_as_it_went_in_however_it_lies(codes: str) -> None:
    given = reorient(labels(), codes)
    door, kept = admit_parts(CARD, {"mask": given})
    assert (
        kept == (2, 3)
        and set(door.images.unique().tolist()) == {-1.0, 1.0}
        and door.images.shape[:2] == (5, 2)
    )
    back = part_volume(CARD, part_named(CARD, "mask"), door, door.images, "made")
    assert np.array_equal(back.data, given.data) and axcodes(back) == axcodes(given)
    assert back.affine is not None and given.affine is not None and np.allclose(back.affine, given.affine)
    assert back.unit == "label" and back.provenance.synthetic


def test_parts_lie_on_each_other() -> None:
    """A map that marks the bright half of T1 marks it in network units, too, whatever order of axes its file
    has; each image is scaled by itself.
    """
    bright = scan()
    where = labels().with_data((bright.data > 45) * 4.0)
    doubled = bright.with_data(bright.data * 7)
    door, kept = admit_parts(CARD, {"T1": bright, "T2": doubled, "mask": reorient(where, "RAS")})
    assert kept == (0, 1, 2, 3)
    t1, t2, one, four = door.images.unbind(1)
    assert torch.allclose(t1, t2, atol=1e-5)
    assert float(t1[four > 0].min()) > float(t1[four < 0].max()) and bool((one == -1).all())
    assert door.condition.numbers is not None and door.condition.numbers[:, 1].isnan().all()


def test_coarser_voxels_stay_whole_numbers() -> None:
    door, _ = admit_parts(replace(CARD, spacing_mm=(5.0, 5.0)), {"mask": labels()})
    assert door.images.shape[2:] == (8, 8) and set(door.images.unique().tolist()) == {-1.0, 1.0}
    back = part_volume(CARD, part_named(CARD, "mask"), door, door.images, "made")
    assert back.shape == (20, 18, 5) and set(np.unique(back.data)) <= {0.0, 1.0, 4.0}


def test_what_cannot_be_given_is_said() -> None:
    with pytest.raises(BadOption, match="knows the classes 1, 4, this holds 2"):
        admit_parts(CARD, {"mask": labels((0, 1, 2))})
    assert float(admit_parts(CARD, {"mask": labels((0, 2))}, strict=False)[0].images.max()) == -1
    with pytest.raises(WrongKind, match="no label map"):
        admit_parts(CARD, {"mask": labels().with_data(labels().data + 0.5)})
    moved = replace(labels(), affine=AFFINE + np.pad([[9.0], [0], [0], [0]], ((0, 0), (3, 0))))
    with pytest.raises(WrongKind, match=r"channel mask lies up to 4\.5 voxels away"):
        admit_parts(CARD, {"T1": scan(), "mask": moved})
    with pytest.raises(WrongKind, match="is for MR, this is CT"):
        admit_parts(CARD, {"T1": replace(scan(), modality="CT")})


def test_the_likeliest_class_or_none() -> None:
    x = torch.tensor([[[0.9, -0.2, 0.1, -1.0]], [[0.8, 0.3, 0.2, -0.1]]]).movedim(0, 1)
    assert label_map((1, 4), x).tolist() == [[1, 4, 4, 0]]


def test_what_was_drawn_from_nothing_lies_as_the_prior_knows_it() -> None:
    made = synthetic_volume(CARD, part_named(CARD, "T1"), torch.zeros(1, 8, 9, 5), ("made",))
    assert axcodes(made) == "PLS" and made.spacing_mm == (2.0, 2.0, 3.0) and float(made.data.mean()) == 0.5
    assert np.allclose(made.affine @ np.array([3.5, 4, 2, 1]), (0, 0, 0, 1))  # type: ignore[operator]
    assert (
        synthetic_volume(replace(CARD, data={}), part_named(CARD, "T1"), torch.zeros(1, 8, 9, 5), ()).affine
        is None
    )
    assert synthetic_volume(CARD, part_named(CARD, "mask"), torch.ones(2, 8, 9), ()).data.max() == 1


def test_numbers_go_to_the_networks_range_and_no_further() -> None:
    numbers = encode_numbers(CARD, {"age": [50.0, 80.0, math.nan]}, 3)
    assert (
        numbers is not None
        and numbers[:, 1].nan_to_num(9).tolist() == [0.0, 1.0, 9.0]
        and numbers[:, 0].isnan().all()
    )
    assert encode_numbers(Card("one", "MR"), {}, 3) is None and range_of(CARD, "height") == (-1.0, 1.0)
    with pytest.raises(BadOption, match="learned about 20 to 80, got 200"):
        encode_numbers(CARD, {"age": [200.0]}, 1)
    with pytest.raises(BadOption, match="did you mean 'age'"):
        encode_numbers(CARD, {"aeg": [50.0]}, 1)
    assert learned_range([40.0, 60.0, math.nan]) == (30.0, 70.0) and learned_range([5.0]) == (4.0, 6.0)
