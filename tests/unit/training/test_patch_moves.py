"""Patches that are moved together with their places: what is told is where the content comes from."""

from functools import partial

import pytest
import torch
from torch import Tensor

from medprior.jobs.fitting.training_set import moves_of
from medprior.prior import Card, position_channels
from medprior.training.patch_moves import RANDOM, PatchMoves, move_patches
from medprior.training.patches import Batch, Images, draw_batch, expected_passes, plan_step
from medprior.training.resident import Resident


def randoms(n: int, seed: int = 0) -> Tensor:
    return torch.rand((n, RANDOM), generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("size", [(24, 24), (20, 33), (10, 12, 9)])
@pytest.mark.parametrize("mirror", [None, 0, 1])
def test_the_picture_is_what_lies_at_the_places_that_are_named(size: tuple[int, ...], mirror: int | None):
    """A picture that shows its own coordinates agrees with the places it is told, wherever it was moved
    to.
    """
    ndim = len(size)
    position = position_channels(size).expand(40, -1, *size)
    x, where = move_patches(position[:, :ndim].clone(), position, randoms(40), 1.0, PatchMoves(mirror=mirror))
    voxel = (
        2 / min(size)
        # torch's cubic (a = -0.75) keeps a straight line to a twentieth of a voxel, and overshoots where the
        # border folds it back
    )
    off = (x - where[:, :ndim]).abs()
    assert float(off.median()) < 0.06 * voxel and float(off.max()) < 0.5 * voxel
    assert float((where - position)[:, :ndim].abs().mean()) > 0.05, "they have moved"


def test_a_stretched_patch_says_how_much_finer_it_is():
    size = (32, 32)
    position = position_channels(size).expand(200, -1, *size)
    _, where = move_patches(position[:, :1].clone(), position, randoms(200), 1.0, PatchMoves())
    inner = where[:, :2, 12:20, 12:20]
    step = torch.linalg.vector_norm(inner.diff(dim=2)[:, :, 0, 0], dim=1) / (
        2 / 32
    )  # of the side, for one voxel down
    fineness = (where[:, 2, 0, 0] - position[:, 2, 0, 0]) * 2
    assert torch.allclose(fineness, -step.log2(), atol=1e-3)
    assert 0.83 < float(step.min()) < 0.9 and 1.05 < float(step.max()) < 1.12


def test_a_turn_is_a_turn_where_the_patch_is_not_square():
    size = (20, 60)
    position = position_channels(size).expand(50, -1, *size)
    _, where = move_patches(position[:, :1].clone(), position, randoms(50), 1.0, PatchMoves())
    voxels = where[:, :2, 9:12, 28:32] * torch.tensor([10.0, 30.0])[:, None, None]
    down, across = voxels.diff(dim=2)[:, :, 0, 0], voxels.diff(dim=3)[:, :, 0, 0]
    assert torch.allclose((down * across).sum(1), torch.zeros(50), atol=1e-3)
    assert torch.allclose(down.norm(dim=1), across.norm(dim=1), atol=1e-3)


def test_about_the_share_moves_half_of_it_is_mirrored_and_the_rest_keeps_its_bits():
    size = (16, 16)
    position = position_channels(size).expand(2000, -1, *size)
    x0 = torch.randn((2000, 1, *size), generator=torch.Generator().manual_seed(1))
    x, where = move_patches(x0, position, randoms(2000), 0.3, PatchMoves(mirror=1))
    same = torch.tensor([torch.equal(a, b) for a, b in zip(where, position, strict=True)])
    assert 0.27 < float((~same).float().mean()) < 0.33
    assert torch.equal(x[same], x0[same])
    backwards = where[~same, 1, 8].diff(dim=-1).mean(-1) < 0
    assert 0.42 < float(backwards.float().mean()) < 0.58
    assert bool((where[~same, 0, :, 8].diff(dim=-1).mean(-1) > 0).all()), "no other axis is mirrored"


def test_label_maps_stay_what_they_are():
    """Classes that tile the plane tile it still; the picture is interpolated."""
    size = (24, 24)
    position = position_channels(size).expand(20, -1, *size)
    rng = torch.Generator().manual_seed(2)
    label = torch.randint(0, 4, (20, *size), generator=rng)
    x0 = torch.stack(
        [
            torch.randn((20, *size), generator=rng),
            *(torch.where(label == c, 1.0, -1.0) for c in (0, 1, 2, 3)),
        ],
        dim=1,
    )
    x, _ = move_patches(x0, position, randoms(20), 1.0, PatchMoves(maps=(1, 2, 3, 4)))
    assert bool(((x[:, 1:] == 1).sum(1) == 1).all()) and not torch.equal(x[:, 1:], x0[:, 1:])
    assert len(x[:, 0].unique()) > 1000


def test_how_often_scans_are_seen_is_known_before_they_are():
    """What the steps of a training show, counted, over all resolutions and sizes of patch: the same share of
    moves at every step.
    """
    data = Images(
        [torch.zeros(1, 128, 128) for _ in range(30)],
        levels=(0.7, 0.3),
        patches=((64, 0.5), (128, 0.2), (256, 0.3)),
        moves=PatchMoves(),
    )
    plans = [plan_step(data, step, seed=0, batch=16, ranks=1, steps=600) for step in range(600)]
    seen = sum(plan.count * (plan.size[0] * plan.size[1] << 2 * plan.level) for plan in plans) / (
        30 * 128 * 128
    )
    assert expected_passes(data, 600, 16) == pytest.approx(seen, rel=0.05)
    assert (
        {plan.moved for plan in plans} == {data.moves.share_of(expected_passes(data, 600, 16))}
        if data.moves
        else False
    )


def test_what_will_be_seen_often_is_moved():
    moves = PatchMoves(share=0.8, passes=80)
    assert [moves.share_of(p) for p in (0, 80, 120, 160, 3000)] == [0.0, 0.0, 0.4, 0.8, 0.8]
    data = Images([position_channels((32, 32))[:2] for _ in range(4)], patches=((32, 1.0),), moves=moves)

    def still(batch: Batch) -> float:
        assert isinstance(batch.condition.position, Tensor)
        return float(
            torch.tensor(
                [torch.equal(p[:2], position_channels((32, 32))[:2]) for p in batch.condition.position]
            )
            .float()
            .mean()
        )

    for way in (partial(draw_batch, data), Resident(data, "cpu").draw):
        drawn = partial(way, 0, seed=0, batch=80, sigmas=(-1.0, 1.4))
        # a step of 80 patches looks 20 times at each of four images
        assert still(drawn()) == still(drawn(steps=4)) == 1.0
        often = drawn(steps=20)
        assert 0.08 < still(often) < 0.35
        assert torch.equal(often.x0, drawn(steps=20).x0), (
            "a batch is a function of seed, step, rank and steps"
        )
        assert isinstance(often.condition.position, Tensor)
        assert float((often.x0 - often.condition.position[:, :2]).abs().median()) < 0.06 * 2 / 32


@pytest.mark.parametrize(
    ("axes", "ndim", "mirror"), [("", 2, 1), ("PL", 2, 1), ("IP", 2, None), ("RAS", 3, 0)]
)
def test_scans_are_mirrored_from_side_to_side_alone(axes: str, ndim: int, mirror: int | None):
    assert moves_of(Card("x", "MR", axes=axes, ndim=ndim)).mirror == mirror


def test_the_maps_of_a_joint_prior_are_known_as_such():
    assert moves_of(Card("x", "MR", channels=("image", "mask:1", "mask:2"))).maps == (1, 2)
