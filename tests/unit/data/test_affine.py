"""The affine convention: voxels from the middle, shifts as a share of each side."""

from __future__ import annotations

import math

import pytest
import torch

from medprior.data.affine import affine_places, resampled_at, turns


def image(*shape: int) -> torch.Tensor:
    return torch.arange(math.prod(shape), dtype=torch.float64).reshape(1, 1, *shape)


def at(x: torch.Tensor, matrix: torch.Tensor, shift: list[float]) -> torch.Tensor:
    places = affine_places(matrix.to(x), torch.tensor([shift]).to(x), x.shape[2:])
    return resampled_at(x, places, mode="linear", beyond="border")


@pytest.mark.parametrize("shape", [(4, 6), (4, 6, 5)])
def test_the_identity_changes_nothing(shape: tuple[int, ...]) -> None:
    x = image(*shape)
    assert torch.allclose(at(x, torch.eye(len(shape))[None], [0.0] * len(shape)), x)


def test_a_shift_is_a_share_of_each_side() -> None:
    x = image(4, 6)
    assert torch.allclose(at(x, torch.eye(2)[None], [0.25, 0.0])[..., :-1, :], x[..., 1:, :])
    assert torch.allclose(at(x, torch.eye(2)[None], [0.0, 1 / 6])[..., :-1], x[..., 1:])


def test_a_quarter_turn_reads_the_source_at_minus_j_i() -> None:
    x, quarter = image(5, 5), torch.tensor([math.pi / 2])
    assert torch.allclose(at(x, turns(quarter), [0.0, 0.0]), x.rot90(-1, (2, 3)), atol=1e-5)
    solid = image(5, 5, 5)
    for first, axes in ((0, (2, 3)), (1, (3, 4)), (2, (4, 2))):
        turned = at(solid, turns(quarter, 3, first), [0.0] * 3)
        assert torch.allclose(turned, solid.rot90(-1, axes), atol=1e-4)


def test_a_turn_stays_a_turn_where_the_image_is_not_square() -> None:
    """A ring about the middle keeps its radius in voxels."""
    i, j = torch.meshgrid(torch.arange(41.0) - 20, torch.arange(61.0) - 30, indexing="ij")
    ring = (-((i.hypot(j) - 6) ** 2) / 8).exp()[None, None].double()
    assert torch.allclose(at(ring, turns(torch.tensor([0.7])), [0.0, 0.0]), ring, atol=0.06)
