"""One resampling: known points arrive where they should, masks go along unblended, flips are exact, nothing
folds.
"""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy import ndimage
from scipy.interpolate import BSpline
from torch import Tensor

from medprior.augmentation import TRANSFORMS, Frame, Policy, Record, apply_record, draw_record, move_points
from medprior.augmentation.geometry import GEOMETRIC, mapping, resample_image
from medprior.augmentation.spline import INJECTIVE, basis, field, random_knots
from medprior.errors import ShapeMismatch

FRAMES = [Frame((40, 33)), Frame((40, 33), (0.5, 1.5)), Frame((20, 24, 17), (1.0, 2.0, 1.5), "RAS")]


def everything(frame: Frame, *, share: float = 0.2) -> tuple[dict, ...]:
    n = frame.ndim
    return (
        {"name": "rotate", "degrees": [12.0] if n == 2 else [5.0, -8.0, 11.0]},
        {"name": "scale", "factor": 1.1},
        {"name": "shift", "share": [0.03, -0.04, 0.02][:n]},
        {"name": "elastic", "share": share, "cells": 4, "seed": 3},
        {"name": "flip_left_right", "axis": 0},
    )


def recorded(frame: Frame, *steps: dict, outside: str = "edge") -> Record:
    return Record(tuple(steps), frame, "test", 0, outside=outside)


def ball(frame: Frame, at: Tensor, radius_mm: float) -> Tensor:
    """(1, ...) a soft Gaussian round ``at``, in voxels."""
    axes = torch.meshgrid(*(torch.arange(n, dtype=torch.float64) for n in frame.shape), indexing="ij")
    distance = sum(((a - c) * s) ** 2 for a, c, s in zip(axes, at.tolist(), frame.spacing, strict=True))
    return torch.exp(-torch.as_tensor(distance) / (2 * radius_mm**2))[None]


def centre_of(x: Tensor) -> Tensor:
    weight = x[0].double()
    axes = torch.meshgrid(*(torch.arange(n, dtype=torch.float64) for n in weight.shape), indexing="ij")
    return torch.stack([(a * weight).sum() / weight.sum() for a in axes])


def test_every_geometric_step_has_a_transform_and_the_rest_an_apply() -> None:
    assert {name for name, t in TRANSFORMS.items() if t.apply is None} == set(GEOMETRIC)


@pytest.mark.parametrize("frame", FRAMES, ids=str)
def test_a_landmark_arrives_where_points_moved_says_and_its_mask_with_it(frame: Frame) -> None:
    at = torch.tensor(
        [n / 2 + d for n, d in zip(frame.shape, (3.0, -2.0, 1.0), strict=False)], dtype=torch.float64
    )
    image = ball(frame, at, 1.2 * max(frame.spacing))
    mask = (image[0] > 0.2).to(torch.int16) * 7
    moved, (mask_moved,) = apply_record(
        recorded(frame, *everything(frame, share=0.05), outside="background"), image, [mask]
    )
    expected = move_points(recorded(frame, *everything(frame, share=0.05)), at[None])[0]
    assert (expected - at).norm() > 2
    assert (centre_of(moved - moved.min()) - expected).abs().max() < 0.35
    assert (centre_of((mask_moved == 7)[None].double()) - expected).abs().max() < 0.6
    assert set(mask_moved.unique().tolist()) == {0, 7} and mask_moved.dtype == torch.int16
    overlap = ((moved[0] > 0.2) & (mask_moved == 7)).sum() / ((moved[0] > 0.2) | (mask_moved == 7)).sum()
    assert overlap > 0.6


def test_a_rotation_is_one_of_millimetres_not_of_voxels() -> None:
    """90 degrees with pixels of 1 x 2 mm: a point 10 mm from the middle along i arrives 10 mm from it along
    j, 5 pixels.
    """
    frame = Frame((41, 41), (1.0, 2.0))
    moved = move_points(recorded(frame, {"name": "rotate", "degrees": [90.0]}), torch.tensor([[30.0, 20.0]]))
    assert torch.allclose(moved, torch.tensor([[20.0, 25.0]], dtype=torch.float64), atol=1e-9)


def test_scale_above_one_enlarges_and_a_shift_is_a_share_of_the_side() -> None:
    frame = Frame((41, 21))
    steps = ({"name": "scale", "factor": 2.0}, {"name": "shift", "share": [0.1, 0.0]})
    assert torch.allclose(
        move_points(recorded(frame, *steps), torch.tensor([[22.0, 12.0]]))[0],
        torch.tensor([20 + 4 + 4.1, 14.0], dtype=torch.float64),
    )


@pytest.mark.parametrize("frame", FRAMES, ids=str)
def test_the_resampling_agrees_with_scipy(frame: Frame) -> None:
    x = torch.rand((2, *frame.shape), generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    steps = [s for s in everything(frame) if s["name"] != "elastic"]
    where = mapping(steps, frame)
    assert where is not None
    offset = where.centre + where.offset - where.matrix @ where.centre
    for c, ours in enumerate(resample_image(x, where)):
        theirs = ndimage.affine_transform(x[c].numpy(), where.matrix, offset, order=1, mode="nearest")  # type: ignore[arg-type]
        assert np.abs(ours.numpy() - theirs).max() < 1e-9


def test_the_spline_basis_agrees_with_scipy() -> None:
    cells, n = 4, 37
    knots = np.arange(-3, cells + 4, dtype=float)
    place = (np.arange(n) + 0.5) * cells / n
    theirs = BSpline.design_matrix(place, knots, 3).toarray()
    assert np.abs(basis(n, cells).numpy() - theirs).max() < 1e-6


@pytest.mark.parametrize("shape", [(64, 48), (24, 20, 28)])
def test_the_strongest_elastic_field_folds_nothing(shape: tuple[int, ...]) -> None:
    """Its Jacobian stays positive, also for the worst of knots: all at one end or the other."""
    for seed in range(3):
        knots = random_knots(len(shape), len(shape), 4, seed).sign() * INJECTIVE
        cell = torch.tensor([n / 4 for n in shape]).view(-1, *[1] * len(shape))
        u = field(knots * cell, [basis(n, 4) for n in shape])
        d = torch.stack([torch.stack(torch.gradient(one)) for one in u])
        jacobian = d.movedim((0, 1), (-2, -1)) + torch.eye(len(shape))
        assert float(torch.linalg.det(jacobian).min()) > 0


@pytest.mark.parametrize("frame", FRAMES, ids=str)
def test_flips_are_exact_involutions(frame: Frame) -> None:
    x = torch.randn((3, *frame.shape), generator=torch.Generator().manual_seed(0))
    mask = torch.randint(0, 5, frame.shape)
    for axis in range(frame.ndim):
        record = recorded(frame, {"name": "flip_head_foot", "axis": axis})
        once, (moved,) = apply_record(record, x, [mask])
        assert torch.equal(once, x.flip(axis + 1)) and torch.equal(moved, mask.flip(axis))
        twice, (back,) = apply_record(record, once, [moved])
        assert torch.equal(twice, x) and torch.equal(back, mask)


def test_what_comes_in_from_outside_is_the_edge_or_background() -> None:
    frame = Frame((10, 10), unit="HU")
    x, mask = torch.full((1, 10, 10), 40.0), torch.ones(10, 10, dtype=torch.bool)
    shift = {"name": "shift", "share": [0.5, 0.0]}
    edge, (mask_edge,) = apply_record(recorded(frame, shift), x, [mask])
    assert torch.equal(edge, x) and mask_edge.all()
    air, (mask_air,) = apply_record(recorded(frame, shift, outside="background"), x, [mask])
    assert torch.equal(air[0, :5], torch.full((5, 10), -1000.0)) and torch.equal(air[0, 5:], x[0, 5:])
    assert mask_air.dtype == torch.bool and mask_air[5:].all() and not mask_air[:5].any()


def test_labels_beyond_the_reach_of_float32_survive() -> None:
    frame = Frame((12, 12))
    mask = torch.full((12, 12), 2**24 + 1, dtype=torch.int64)
    _, (moved,) = apply_record(
        recorded(frame, {"name": "rotate", "degrees": [30.0]}), torch.zeros(1, 12, 12), [mask]
    )
    assert moved.unique().tolist() == [2**24 + 1]


def test_slabs_of_a_volume_make_one_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    from medprior.augmentation import geometry

    frame = FRAMES[2]
    x = torch.rand((1, *frame.shape))
    where = mapping(everything(frame), frame)
    assert where is not None
    whole = resample_image(x, where)
    monkeypatch.setattr(geometry, "VOXELS_AT_ONCE", 1000)
    assert torch.allclose(resample_image(x, where), whole, atol=1e-6)


def test_a_frame_refuses_what_is_no_grid() -> None:
    for wrong in (
        lambda: Frame((3,)),
        lambda: Frame((3, 3), (1.0,)),
        lambda: Frame((3, 3), (1.0, -1.0)),
        lambda: Frame((3, 3), codes="RX"),
    ):
        with pytest.raises(ShapeMismatch):
            wrong()


def test_thick_slices_are_turned_in_their_plane() -> None:
    """And so are stacks that are far wider than high: a tilt would push them out of their own field of
    view.
    """
    thick, few = Frame((16, 16, 6), (1.0, 1.0, 5.0), "RAS"), Frame((4, 40, 40), (1.0, 1.0, 1.0), "SAR")
    assert (thick.thick, few.thick, FRAMES[2].thick) == (2, 0, None)
    steps = ({"name": "scale", "factor": 1.2}, {"name": "elastic", "share": 0.3, "cells": 5, "seed": 1})
    moved = move_points(recorded(thick, *steps), torch.tensor([[3.0, 4.0, 1.0]]))[0]
    assert float(moved[2]) == 1.0 and abs(float(moved[0]) - 3) > 0.3
    policy = (
        Policy.of("MR")
        .only("rotate", "shift")
        .allowing("rotate", 5, 10, 1.0)
        .allowing("shift", 0.01, 0.02, 1.0)
    )
    for frame, axis in ((thick, 2), (few, 0)):
        rotate, shift = draw_record(policy, frame, 0).steps
        assert [a for a in range(3) if rotate["degrees"][a]] == [axis] and [
            a for a in range(3) if not shift["share"][a]
        ] == [axis]
