"""Resolution: slice profiles in millimetres, the truncated k-space of MRI, and the point spread function by
its width.
"""

from __future__ import annotations

import pytest
import torch

from medprior.errors import BadOption
from medprior.operators import blur, fourier, thick_slices, truncate


def rng(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def response(thickness: float, profile: str | torch.Tensor, spacing: float) -> torch.Tensor:
    """(n,): how a slice in the middle weighs the voxels."""
    x = torch.eye(41)[:, None, None, :].expand(-1, 1, 2, -1)
    return thick_slices((1, 2, 41), 2, 41, thickness=thickness, profile=profile, spacing=spacing)(x)[
        :, 0, 0, 0
    ]


def test_a_gaussian_slice_has_its_width_at_half_maximum() -> None:
    """6 mm at 0.5 mm a voxel: the weight 3 mm from the middle is half of the largest."""
    weight = response(6.0, "gaussian", 0.5)
    assert float(weight[20 + 6] / weight[20]) == pytest.approx(0.5, abs=1e-5)
    assert float(weight.sum()) == pytest.approx(1, abs=1e-5)


def test_a_box_slice_weighs_what_lies_in_it() -> None:
    """3 mm at 1.2 mm a voxel is 2.5 voxels: a whole one and three quarters of each neighbour; thinner than a
    voxel it is that voxel alone.
    """
    assert torch.allclose(
        response(3.0, "box", 1.2)[18:23], torch.tensor([0, 0.75, 1, 0.75, 0]) / 2.5, atol=1e-6
    )
    assert torch.allclose(response(0.4, "box", 1.0)[19:22], torch.tensor([0.0, 1, 0]))


def test_a_measured_profile_is_taken_as_it_is() -> None:
    """An asymmetric profile moves the slice's centre of mass to where its own lies; a measured box is the
    box.
    """
    lopsided = torch.tensor([0.0, 1.0, 0.0, 0.0, 0.0])
    weight = response(8.0, lopsided, 0.5)
    centre = float((weight * (torch.arange(41) - 20)).sum()) * 0.5
    assert centre == pytest.approx(-2.0, abs=0.02)
    assert torch.allclose(response(5.0, torch.ones(50), 1.0), response(5.0, "box", 1.0), atol=2e-3)


def test_slices_without_gap_keep_the_mass() -> None:
    """Boxes of step * spacing mm side by side are block means."""
    x = torch.rand(1, 1, 3, 12, generator=rng())
    assert torch.allclose(
        thick_slices((1, 3, 12), 2, 4, profile="box", spacing=2.0)(x),
        x.reshape(1, 1, 3, 3, 4).mean(-1),
        atol=1e-6,
    )


def test_truncation_is_the_central_window_of_kspace() -> None:
    """Odd sides: the k-space of the small image is the middle of the large one's; a constant stays; nothing
    is cut where the size is the same.
    """
    x = torch.rand(1, 1, 15, 21, generator=rng(), dtype=torch.float64)
    small = truncate((1, 15, 21), (7, 9))(x)
    large_k, small_k = fourier((1, 15, 21))(x) / (15 * 21) ** 0.5, fourier((1, 7, 9))(small) / (7 * 9) ** 0.5
    # the first voxel stays the first: origins at n // 2 differ by a phase ramp
    for axis, (full, n) in ((2, (15, 7)), (3, (21, 9))):
        k = torch.arange(n, dtype=torch.float64) - n // 2
        ramp = torch.polar(torch.ones_like(k), 2 * torch.pi * k * ((full // 2) / full - (n // 2) / n))
        small_k = small_k * ramp.reshape([-1 if a == axis else 1 for a in range(4)])
    assert torch.allclose(small_k, large_k[..., 4:11, 6:15])
    assert torch.allclose(
        truncate((1, 16, 12), (8, 6))(torch.ones(1, 1, 16, 12)), torch.ones(1, 1, 8, 6), atol=1e-5
    )
    assert torch.allclose(truncate((1, 15, 21), (15, 21))(x), x)


def test_a_point_spreads_to_its_width() -> None:
    """4 mm at (1, 0.5) mm a voxel: 2 mm from the point, along either axis, half of its height."""
    x = torch.zeros(1, 1, 41, 61)
    x[0, 0, 20, 30] = 1
    y = blur((1, 41, 61), 4.0, spacing=(1.0, 0.5))(x)[0, 0]
    assert float(y[22, 30] / y[20, 30]) == pytest.approx(0.5, abs=1e-4)
    assert float(y[20, 34] / y[20, 30]) == pytest.approx(0.5, abs=1e-4)


@pytest.mark.parametrize(
    "bad",
    [
        {"axis": 0},
        {"step": 0},
        {"thickness": 0.0},
        {"spacing": 0.0},
        {"profile": "round"},
        {"profile": torch.tensor([1.0, -1.0])},
        {"thickness": 1e-9},
    ],
)
def test_slices_that_cannot_be_are_refused(bad: dict) -> None:
    with pytest.raises(BadOption, match="thick_slices: "):
        thick_slices(
            **(
                {
                    "shape": (1, 8, 8),
                    "axis": 1,
                    "step": 4,
                    "profile": "box" if bad.get("thickness") is None else "gaussian",
                }
                | bad
            )
        )


def test_a_truncation_that_would_enlarge_is_refused() -> None:
    with pytest.raises(BadOption, match="at most"):
        truncate((1, 8, 8), (9, 8))
