"""Cone-beam CT against closed forms: a ball, the fan beam of its middle row, and a geometry that is refused
where it cannot be.
"""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from medprior.errors import BadOption
from medprior.operators import ConeBeam, cg, cone_ct, fan_ct, view_angles

GEOMETRY: dict[str, Any] = {"source_to_axis": 100.0, "source_to_detector": 160.0}


def ball(
    size: tuple[int, int, int],
    spacing: tuple[float, float, float],
    radius: float,
    centre: tuple[float, float, float],
) -> Tensor:
    """(1, 1, i, j, k): the share of each voxel that lies in the ball, from 4 x 4 x 4 points."""
    place = [
        ((torch.arange(4 * n, dtype=torch.float64) + 0.5) / 4 - n / 2) * s - c
        for n, s, c in zip(size, spacing, centre, strict=True)
    ]
    u, v, w = torch.meshgrid(*place, indexing="ij")
    inside = (u**2 + v**2 + w**2 <= radius**2).double()
    return torch.nn.functional.avg_pool3d(inside[None, None], 4)


def chords(A: ConeBeam, R: float, D: float, radius: float, centre: tuple[float, float, float]) -> Tensor:
    """(n_angles, n_columns, n_rows): 2 sqrt(r^2 - d^2) from the stated places of source and detector."""
    views = []
    for angle in A.angles:
        look = torch.tensor([-angle.cos(), angle.sin(), 0.0], dtype=torch.float64)
        side = torch.tensor([angle.sin(), angle.cos(), 0.0], dtype=torch.float64)
        up = torch.tensor([0.0, 0.0, 1.0], dtype=torch.float64)
        ray = D * look + A.columns[:, None, None] * side + A.rows[:, None] * up
        to = torch.tensor(centre, dtype=torch.float64) + R * look
        distance = torch.linalg.cross(ray / ray.norm(dim=-1, keepdim=True), to.expand_as(ray)).norm(dim=-1)
        views.append(2 * (radius**2 - distance**2).clamp_min(0).sqrt())
    return torch.stack(views)


def test_line_integrals_of_a_ball() -> None:
    """A ball off the axis and the middle slice, voxels of three sides, an offset: pixels within 3 % (edges of
    voxels), their sum within 0.5 %.
    """
    spacing, centre, radius = (1.0, 1.2, 1.5), (6.0, -5.0, 4.0), 11.0
    A = cone_ct(
        (1, 40, 36, 32),
        [0.0, 35.0, 90.0, 200.0, 305.0],
        (61, 49),
        bin_spacing=(1.3, 1.4),
        spacing=spacing,
        detector_offset=(2.0, -3.0),
        **GEOMETRY,
    )
    found, exact = (
        A(ball((40, 36, 32), spacing, radius, centre))[0, 0],
        chords(A, 100.0, 160.0, radius, centre),
    )
    assert float((found - exact).abs().mean()) < 0.03 * exact.max() * float((exact > 0).double().mean())
    assert float((found.sum() / exact.sum()) - 1) == pytest.approx(0, abs=0.005)


def test_the_middle_row_is_a_fan() -> None:
    """A volume that does not change along k: the row in the plane of the source is the fan beam, and higher
    rows are longer by 1 / cos of their climb.
    """
    x = torch.rand(1, 1, 24, 20, generator=torch.Generator().manual_seed(0))
    angles = view_angles(6, arc=360.0)
    cone = cone_ct((1, 24, 20, 31), angles, (41, 9), bin_spacing=1.5, **GEOMETRY)
    fan = fan_ct((1, 24, 20), angles, 41, bin_spacing=1.5, **GEOMETRY)(x)
    found = cone(x[..., None].expand(-1, -1, -1, -1, 31))
    assert torch.allclose(found[..., 4], fan, atol=1e-4)
    assert torch.allclose(found[..., 6], fan * cone.lengths[:, 6].float(), atol=1e-4)


def test_least_squares_give_a_ball_back() -> None:
    """30 views round a ball: conjugate gradients on the matched pair converge to it."""
    A = cone_ct((1, 20, 20, 16), view_angles(30, arc=360.0), (33, 27), bin_spacing=1.6, **GEOMETRY)
    x = ball((20, 20, 16), (1.0, 1.0, 1.0), 6.0, (1.0, -2.0, 0.5)).float()
    y = A(x)
    found = cg(lambda v: A.gram(v) + 1e-2 * v, A.adjoint(y), torch.zeros_like(x), 25)
    assert float((found - x).norm() / x.norm()) < 0.1


@pytest.mark.parametrize(
    ("bad", "words"),
    [
        ({"shape": (1, 8, 8)}, "cone_ct: wanted"),
        ({"detector": (5, 0)}, "cone_ct: wanted"),
        ({"bin_spacing": 0.0}, "cone_ct: wanted"),
        ({"angles": []}, "ct: wanted"),
        ({"source_to_axis": 200.0}, "source_to_axis"),
        ({"source_to_axis": 5.0}, "outside of the image"),
        ({"bin_spacing": (1.0, 80.0)}, "45 degrees"),
    ],
)
def test_impossible_geometry_is_refused(bad: dict[str, Any], words: str) -> None:
    with pytest.raises(BadOption, match=words):
        cone_ct(
            **(
                {"shape": (1, 8, 8, 8), "angles": [0.0], "detector": (5, 7), "bin_spacing": 1.0}
                | GEOMETRY
                | bad
            )
        )
