"""Drawn apart from applied: a record of plain numbers makes the same image again, bit for bit; scans keep
their grid, unit and history.
"""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy import ndimage

from medprior.augmentation import (
    TRANSFORMS,
    Frame,
    Policy,
    Record,
    Strength,
    apply_record,
    draw_record,
    replay,
    vary_volume,
)
from medprior.data.volume import Volume
from medprior.errors import BadOption, MedpriorError, ShapeMismatch, WrongKind

CASES = [
    ("DX", (40, 32)),
    ("CT", (40, 32)),
    ("MR", (40, 32)),
    ("US", (40, 32)),
    ("MG", (40, 32)),
    ("PT", (40, 32)),
    ("MR", (20, 16, 12)),
    ("CT", (20, 16, 3)),
]


def always(policy: Policy) -> Policy:
    return replace(policy, allowed={n: replace(s, probability=1.0) for n, s in policy.allowed.items()})


def frame_of(modality: str, shape: tuple[int, ...]) -> Frame:
    return Frame(
        shape, codes="RAS" if len(shape) == 3 else "", unit=Policy.of(modality).unit, modality=modality
    )


def image(shape: tuple[int, ...], channels: int = 2) -> torch.Tensor:
    return 200 * torch.rand((channels, *shape), generator=torch.Generator().manual_seed(1))


def scan(shape: tuple[int, ...] = (20, 16, 12), modality: str = "MR", unit: str = "a.u.") -> Volume:
    affine = np.diag([1.5, 1.0, 2.0, 1.0])
    affine[:3, 3] = (-3, 5, 9)
    return Volume(image(shape, 1).numpy(), affine, unit, modality)


@pytest.mark.parametrize(("modality", "shape"), CASES)
def test_a_record_through_json_replays_bit_for_bit(modality: str, shape: tuple[int, ...]) -> None:
    policy, frame, x = always(Policy.of(modality)), frame_of(modality, shape), image(shape)
    mask = (x[0] > 100).long()
    record = draw_record(policy, frame, 7, 2, 5)
    assert [s["name"] for s in record.steps] == [n for n in TRANSFORMS if n in policy.allowed]
    again = Record.from_dict(json.loads(json.dumps(record.as_dict(), allow_nan=False)))
    assert again == record
    torch.rand(3)  # nothing hangs on the global state
    (one, (mask_one,)), (two, (mask_two,)) = apply_record(record, x, [mask]), apply_record(again, x, [mask])
    assert torch.equal(one, two) and torch.equal(mask_one, mask_two) and not torch.equal(one, x)


@pytest.mark.parametrize(("modality", "shape"), CASES)
def test_strength_zero_is_identity_to_the_bit(modality: str, shape: tuple[int, ...]) -> None:
    neutral = {"scale": 1.0, "contrast": 1.0, "gamma": 1.0, "low_resolution": 1.0, "dose": 1.0}
    policy = Policy.of(modality)
    policy = replace(
        policy, allowed={n: Strength(neutral.get(n, 0.0), neutral.get(n, 0.0), 1.0) for n in policy.allowed}
    )
    x, mask = image(shape), torch.ones(shape)
    record = draw_record(policy, frame_of(modality, shape), 0)
    y, (moved,) = apply_record(record, x, [mask])
    assert record.steps == () and torch.equal(x, y) and torch.equal(mask, moved)
    assert y.data_ptr() != x.data_ptr() and moved.data_ptr() != mask.data_ptr()


def test_seed_and_item_decide_and_each_transform_stands_alone() -> None:
    policy, frame = always(Policy.of("DX")), Frame((16, 16))
    one = draw_record(policy, frame, 0, 1, 2)
    assert one == draw_record(policy, frame, 0, 1, 2)
    assert (
        len(
            {
                json.dumps(draw_record(policy, frame, *key).as_dict()["steps"])
                for key in [(0, 1, 2), (0, 2, 1), (1, 1, 2), (0, 12)]
            }
        )
        == 4
    )
    fewer = draw_record(policy.without("rotate", "noise"), frame, 0, 1, 2)
    assert fewer.steps == tuple(s for s in one.steps if s["name"] not in ("rotate", "noise"))


def test_draws_fill_their_range() -> None:
    policy = Policy.of("DX").only("rotate").allowing("rotate", -10, 10, 0.5)
    degrees = [s["degrees"][0] for n in range(400) for s in draw_record(policy, Frame((8, 8)), 0, n).steps]
    assert 150 < len(degrees) < 250 and min(degrees) < -9 and max(degrees) > 9 and abs(np.mean(degrees)) < 1.5


def test_channels_move_together() -> None:
    x = image((24, 24), 1).expand(3, 24, 24) * torch.tensor([1.0, 2.0, 4.0]).view(3, 1, 1)
    y, _ = apply_record(draw_record(always(Policy.of("DX").without("noise")), Frame((24, 24)), 0), x)
    assert torch.allclose(y[1], 2 * y[0], atol=1e-2) and torch.allclose(y[2], 4 * y[0], atol=2e-2)


def test_a_scan_keeps_its_place_unit_and_history() -> None:
    volume = scan()
    mask = replace(volume, data=(volume.data > 100).astype(np.float32), unit="label")
    made = vary_volume(volume, always(Policy.of("MR")), 3, masks=[mask])
    assert (
        made.image.affine is not None
        and volume.affine is not None
        and np.array_equal(made.image.affine, volume.affine)
    )
    assert made.image.unit == "a.u." and made.image.modality == "MR"
    assert (
        made.image.provenance.history[-1].startswith(
            "augmented by medprior, no prior: policy MR in a.u., seed 3"
        )
        and "rotate" in made.image.provenance.history[-1]
    )
    assert set(np.unique(made.masks[0].data)) <= {0.0, 1.0} and made.masks[0].unit == "label"
    assert (
        made.image.provenance.synthetic
        and made.masks[0].provenance.synthetic
        and not volume.provenance.synthetic
    )
    again = replay(Record.from_dict(made.record.as_dict()), volume, [mask])
    assert np.array_equal(again.image.data, made.image.data) and np.array_equal(
        again.masks[0].data, made.masks[0].data
    )
    assert not np.shares_memory(made.image.data, volume.data)


def test_hounsfield_values_of_tissue_stay() -> None:
    """A ball of water in air, turned, scaled, bent, at a lower dose and noisier: water is 0 HU on average and
    air -1000.
    """
    i, j, _ = np.mgrid[:40, :40, :4]
    water = np.hypot(i - 19.5, j - 19.5) < 14
    volume = Volume(
        np.where(water, 0.0, -1000.0)[None].astype(np.float32), np.diag([4.0, 4.0, 5.0, 1.0]), "HU", "CT"
    )
    mask = replace(volume, data=water[None].astype(np.float32), unit="label")
    for n in range(4):
        made = vary_volume(
            volume, always(Policy.of("CT").without("low_resolution", "blur")), 0, n, masks=[mask]
        )
        inside = ndimage.minimum_filter(made.masks[0].data, (1, 5, 5, 1)) > 0
        outside = ndimage.maximum_filter(made.masks[0].data, (1, 5, 5, 1)) == 0
        assert abs(made.image.data[inside].mean()) < 8 and abs(made.image.data[outside].mean() + 1000) < 12


def test_a_policy_of_another_modality_is_refused() -> None:
    with pytest.raises(WrongKind):
        vary_volume(scan(unit="HU", modality="CT"), Policy.of("MR"))


def test_masks_must_lie_on_the_scan() -> None:
    volume = scan()
    elsewhere = replace(volume, affine=np.eye(4))
    with pytest.raises(ShapeMismatch, match="resample the mask"):
        vary_volume(volume, Policy.of("MR"), masks=[elsewhere])
    with pytest.raises(ShapeMismatch, match="mask lies on the grid"):
        apply_record(draw_record(Policy.of("MR"), Frame((8, 8)), 0), image((8, 8)), [torch.zeros(9, 8)])


def test_a_record_is_for_its_grid() -> None:
    record = draw_record(Policy.of("MR"), Frame((8, 8)), 0)
    with pytest.raises(ShapeMismatch, match="drawn for"):
        apply_record(record, image((8, 9)))
    with pytest.raises(ShapeMismatch, match="drawn for"):
        replay(draw_record(Policy.of("MR"), Frame((20, 16, 12), codes="RAS"), 0), scan())


@pytest.mark.parametrize(
    "change",
    [
        {"medprior_augmentation": 2},
        {"steps": [{"name": "scale", "factor": 0.0}]},
        {"steps": [{"name": "scale", "factor": float("nan")}]},
        {"steps": [{"name": "scale", "factor": 1.0, "more": 1}]},
        {"steps": [{"name": "scal", "factor": 1.0}]},
        {"steps": [{"name": "rotate", "degrees": [1.0, 2.0]}]},
        {"steps": [{"name": "flip_left_right", "axis": 2}]},
        {"steps": [{"name": "elastic", "share": 0.1, "cells": 10**9, "seed": 0}]},
        {"steps": [{"name": "noise", "share": 0.1, "seed": -1}]},
        {"steps": [{"name": "motion", "axis": 0, "segments": [{"from": 0}]}]},
        {"steps": "rotate"},
        {"steps": 3},
        {"frame": {}},
        {"frame": None},
        {"outside": "zeros"},
        {"item": ["a"]},
    ],
)
def test_a_record_from_a_stranger_is_looked_at(change: dict) -> None:
    record = draw_record(Policy.of("DX"), Frame((8, 8)), 0).as_dict()
    with pytest.raises(MedpriorError):
        Record.from_dict({**record, **change})


def test_half_precision_images_are_augmented_in_single() -> None:
    y, _ = apply_record(draw_record(always(Policy.of("DX")), Frame((16, 16)), 0), image((16, 16)).half())
    assert y.dtype == torch.float32 and torch.isfinite(y).all()


def test_images_that_want_a_gradient_get_none() -> None:
    x = image((16, 16)).requires_grad_()
    y, _ = apply_record(draw_record(always(Policy.of("DX")), Frame((16, 16)), 0), x)
    assert not y.requires_grad and torch.isfinite(y).all()


def test_a_negative_seed_is_refused() -> None:
    with pytest.raises(BadOption, match="seed"):
        draw_record(Policy.of("DX"), Frame((8, 8)), -1)
