"""Slices of a volume: how far neighbours are apart, and one measurement for all of them."""

from __future__ import annotations

import pytest
import torch

from medprior.errors import BadOption
from medprior.operators import crop, fourier, mask, mri, neighbours, norm, parallel_ct, per_slice, view_angles


def test_neighbours_of_a_ramp_differ_by_its_step() -> None:
    ramp = torch.arange(5.0).expand(1, 1, 3, 4, 5) * 2.5
    assert torch.equal(neighbours((1, 3, 4, 5), 3)(ramp), torch.full((1, 1, 3, 4, 4), 2.5))
    assert float(neighbours((1, 3, 4, 5), 1)(ramp).abs().max()) == 0


def test_the_norm_of_neighbours_is_that_of_a_path() -> None:
    """||D|| = 2 cos(pi / 2n): the largest singular value of the differences along a line of n voxels."""
    assert norm(neighbours((1, 3, 8), 2), n=200) == pytest.approx(
        2 * torch.cos(torch.tensor(torch.pi / 16)).item(), rel=1e-3
    )


@pytest.mark.parametrize("size", [(1, 6, 8), (2, 6, 8)])
def test_each_slice_is_measured_as_if_it_were_alone(size: tuple[int, ...]) -> None:
    one = crop(size, (1, 2), (3, 4))
    x = torch.randn(2, *size, 5, generator=torch.Generator().manual_seed(0))
    together = per_slice(one, 5)(x)
    assert all(torch.equal(together[..., k], one(x[..., k])) for k in range(5))
    assert per_slice(one, 5).name == "PerSlice(Crop)"


def test_a_volume_of_projections_is_that_of_its_slices() -> None:
    """The operator that knows volumes and the one that repeats itself agree."""
    x = torch.rand(1, 1, 8, 8, 3, generator=torch.Generator().manual_seed(0))
    angles = view_angles(5)
    assert torch.allclose(
        per_slice(parallel_ct((1, 8, 8), angles, 11), 3)(x),
        parallel_ct((1, 8, 8, 3), angles, 11)(x),
        atol=1e-5,
    )


def test_slices_may_have_masks_of_their_own() -> None:
    keep = torch.rand(6, 8, 3, generator=torch.Generator().manual_seed(0)) < 0.5
    x = torch.rand(1, 1, 6, 8, 3, generator=torch.Generator().manual_seed(1))
    together = mask((1, 6, 8, 3), keep, is_complex=True) @ per_slice(fourier((1, 6, 8)), 3)
    for k in range(3):
        assert torch.allclose(together(x)[..., k], mri(keep[..., k])(x[..., k]), atol=1e-6)


@pytest.mark.parametrize("axis", [0, 3, -1])
def test_an_axis_that_is_not_there_is_refused(axis: int) -> None:
    with pytest.raises(BadOption, match=r"wanted an axis of 1\.\.2 with at least 2 voxels"):
        neighbours((1, 4, 5), axis)


def test_what_has_no_neighbour_or_no_slice_is_refused() -> None:
    with pytest.raises(BadOption, match="at least 2 voxels"):
        neighbours((1, 4, 5, 1), 3)
    with pytest.raises(BadOption, match="at least 1 slice"):
        per_slice(crop((1, 4, 4), (0, 0), (2, 2)), 0)
    with pytest.raises(BadOption, match="operator on images"):
        per_slice(fourier((1, 4, 4, 4)), 2)
