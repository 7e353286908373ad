"""Moves of a picture against what numpy does."""

import pytest
import torch

from medprior.errors import BadOption
from medprior.evidence.synthetic.moves import Move, apply_move, views, warped


def _picture(seed: int = 0, size: tuple[int, int] = (20, 20)) -> torch.Tensor:
    return torch.rand((1, 1, *size), generator=torch.Generator().manual_seed(seed)) * 2 - 1


def test_a_mirror_is_a_flip_of_columns():
    x = _picture()
    assert torch.allclose(apply_move(x, Move.of(1, flip=True)), x.flip(3), atol=1e-5)


@pytest.mark.parametrize("turn", [90.0, -90.0])
def test_a_quarter_turn_is_a_rotation_of_the_array(turn: float):
    x = _picture()
    found = apply_move(x, Move.of(1, turn=turn))
    assert any(torch.allclose(found, x.rot90(k, (2, 3)), atol=1e-4) for k in (1, 3))


def test_two_quarter_turns_of_opposite_sense_cancel():
    x = _picture(1)
    assert torch.allclose(
        apply_move(apply_move(x, Move.of(1, turn=90.0)), Move.of(1, turn=-90.0)), x, atol=1e-4
    )


def test_a_turn_keeps_circles_round_where_the_picture_is_not_square():
    i, j = torch.meshgrid(torch.arange(40.0) - 19.5, torch.arange(80.0) - 39.5, indexing="ij")
    disc = (2.0 * ((i**2 + j**2) < 100) - 1)[None, None]
    assert (apply_move(disc, Move.of(1, turn=37.0)) - disc).abs().mean() < 0.02


def test_a_shift_and_a_crop_move_and_enlarge():
    x = torch.full((1, 1, 20, 20), -1.0)
    x[..., 8:12, 8:12] = 1
    lit = (apply_move(x, Move.of(1, shift=(0.2, 0.0))) > 0).nonzero()[:, 2].float().mean()
    assert (
        abs(float(lit) - (9.5 - 4)) < 0.6
    )  # looked at from 0.2 * 20 pixels further down, so it stands higher
    assert (apply_move(x, Move.of(1, crop=0.5)) > 0).sum() > 2 * (x > 0).sum()


def test_gamma_leaves_black_and_white():
    x = torch.tensor([-1.0, 0.0, 1.0]).expand(1, 1, 3, 3)
    found = apply_move(x, Move.of(1, gamma=2.0))[0, 0, 0]
    assert found.tolist() == pytest.approx([-1.0, -0.5, 1.0], abs=1e-5)


def test_a_warp_bends_by_no_more_than_it_says():
    """A ramp from edge to edge reads off where each pixel came from."""
    ramp = torch.linspace(-1, 1, 65).expand(3, 1, 65, 65).contiguous()
    apart = (warped(ramp, 0.04, torch.Generator().manual_seed(3)) - ramp).abs()
    assert float(apart.max()) <= 0.0815 and bool((apart.flatten(1).amax(1) > 0.02).all())


def test_a_move_for_each_image_is_wanted():
    with pytest.raises(BadOption, match="a move for each"):
        apply_move(_picture(), Move.of(2))


def test_a_volume_shows_its_three_middle_planes():
    volume = torch.zeros((1, 8, 10, 12))
    volume[0, 4] = 1.0
    found = views(volume, 16)
    assert found.shape == (3, 16, 16)
    assert found[0].min() == 1.0 and found[1].max() > 0.5 and found[1].min() == 0.0
