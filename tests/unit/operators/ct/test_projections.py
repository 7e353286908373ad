"""CT against closed forms: the line integrals of a disc, the mass of an image, the fan that becomes
parallel.
"""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor
from torch.autograd import forward_ad

from medprior.errors import BadOption
from medprior.operators import fan_ct, parallel_ct, view_angles


def disc(n: int, spacing: float, radius: float, centre: tuple[float, float], fine: int = 8) -> Tensor:
    """(1, 1, n, n): the share of each pixel that lies in the disc; radius and centre (u along i, v along j)
    in mm from the middle.
    """
    place = ((torch.arange(n * fine, dtype=torch.float64) + 0.5) / fine - n / 2) * spacing
    inside = (place[:, None] - centre[0]) ** 2 + (place - centre[1]) ** 2 <= radius**2
    return inside.double().reshape(n, fine, n, fine).mean((1, 3))[None, None]


def test_line_integrals_of_a_disc() -> None:
    """A disc of attenuation 1/mm gives 2 sqrt(r^2 - (s - s0)^2), s0 = v cos + u sin, in every view: geometry,
    signs, millimetres.
    """
    n, spacing, radius, centre = 96, 0.7, 17.0, (9.0, -5.0)
    A = parallel_ct((1, n, n), view_angles(20), 121, spacing=spacing, bin_spacing=0.6)
    s0 = centre[1] * torch.cos(A.angles) + centre[0] * torch.sin(A.angles)
    exact = 2 * (radius**2 - (A.offsets - s0[:, None]) ** 2).clamp_min(0).sqrt()
    found = A(disc(n, spacing, radius, centre))[0, 0]
    inside = (A.offsets - s0[:, None]).abs() < radius - 2 * spacing
    assert float((found - exact)[inside].abs().max()) < 0.03 * 2 * radius
    assert float((found - exact).abs().mean()) < 0.005 * 2 * radius
    assert float(((found - exact)[inside]).mean().abs()) < 0.001 * 2 * radius


def test_every_view_sees_the_same_mass() -> None:
    """The sum of a view times the bin spacing is the sum of the image times the pixel area, also for
    anisotropic pixels.
    """
    A = parallel_ct((1, 40, 40), view_angles(12), 200, spacing=(1.5, 0.8), bin_spacing=0.4)
    x = disc(40, 1.0, 9.0, (3.0, 2.0))
    mass = A(x)[0, 0].sum(1) * 0.4
    assert torch.allclose(mass, x.sum() * 1.5 * 0.8 * torch.ones_like(mass), rtol=0.01)


def test_a_point_lands_where_the_convention_says() -> None:
    """At 0 degrees the detector runs along +j, at 90 degrees along +i."""
    x = torch.zeros(1, 1, 21, 21)
    x[0, 0, 4, 15] = 1
    y = parallel_ct((1, 21, 21), [0.0, 90.0], 21)(x)[0, 0]
    assert y.argmax(1).tolist() == [15, 4]
    assert torch.allclose(y.sum(1), torch.ones(2))


def test_a_fan_from_far_away_is_a_parallel_beam() -> None:
    """With the source at 10^6 mm and the detector behind the axis, both geometries agree."""
    far = 1e6
    fan = fan_ct(
        (1, 32, 32), view_angles(6), 45, source_to_axis=far, source_to_detector=far + 1, bin_spacing=1.0
    )
    parallel = parallel_ct((1, 32, 32), view_angles(6), 45)
    x = torch.rand(1, 1, 32, 32, generator=torch.Generator().manual_seed(0))
    assert float((fan(x) - parallel(x)).abs().max()) < 2e-3 * float(parallel(x).max())


def test_fan_line_integrals_of_a_disc() -> None:
    """In a fan the ray to detector position t passes the axis at R sin(atan(t / D)): chord of a centred
    disc.
    """
    A = fan_ct(
        (1, 80, 80),
        view_angles(9, arc=360.0),
        101,
        source_to_axis=120.0,
        source_to_detector=200.0,
        bin_spacing=1.2,
    )
    s = 120.0 * torch.sin(torch.atan(A.offsets / 200.0))
    exact = 2 * (25.0**2 - s**2).clamp_min(0).sqrt().expand(9, -1)
    found = A(disc(80, 1.0, 25.0, (0.0, 0.0)))[0, 0]
    assert float((found - exact).abs().mean()) < 0.01 * 50


def test_a_volume_is_measured_slice_by_slice() -> None:
    """(C, i, j, k) gives each k its own sinogram."""
    x = torch.rand(2, 1, 12, 12, 3, generator=torch.Generator().manual_seed(0))
    whole = parallel_ct((1, 12, 12, 3), view_angles(5), 17)(x)
    one = parallel_ct((1, 12, 12), view_angles(5), 17)
    assert torch.allclose(whole, torch.stack([one(x[..., k]) for k in range(3)], dim=-1), atol=1e-6)


def test_second_derivatives_go_through() -> None:
    """|A x|^2 differentiated twice gives 2 A^H A: Jacobian products of a denoiser under a measurement need
    it.
    """
    A = parallel_ct((1, 6, 6), view_angles(4), 9)
    x = torch.rand(
        1, 1, 6, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(0)
    ).requires_grad_()
    v = torch.rand(1, 1, 6, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    (first,) = torch.autograd.grad((A(x) ** 2).sum(), x, create_graph=True)
    (second,) = torch.autograd.grad(first, x, v)
    assert torch.allclose(second, 2 * A.gram(v))


@pytest.mark.filterwarnings(
    "ignore:`torch.jit.script` is deprecated:DeprecationWarning"
)  # raised inside of torch's own forward mode
def test_forward_derivatives_go_through() -> None:
    """The Jacobian-vector product of A is A: forward mode, for samplers that prefer it."""
    A = parallel_ct((1, 6, 6), view_angles(4), 9)
    x, v = (
        torch.rand(1, 1, 6, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
        for seed in (0, 1)
    )
    with forward_ad.dual_level():
        forward = forward_ad.unpack_dual(A(forward_ad.make_dual(x, v))).tangent
    assert forward is not None and torch.allclose(forward, A(v))


@pytest.mark.parametrize(
    "bad", [{"angles": []}, {"angles": [float("nan")]}, {"n_bins": 0}, {"spacing": 0.0}, {"shape": (8, 8)}]
)
def test_impossible_geometry_is_refused(bad: dict) -> None:
    """A geometry that cannot be is a BadOption that says what came."""
    with pytest.raises(BadOption, match="ct: wanted"):
        parallel_ct(**({"shape": (1, 8, 8), "angles": [0.0], "n_bins": 9} | bad))


def test_a_source_inside_of_the_detector_is_refused() -> None:
    with pytest.raises(BadOption, match="source_to_axis"):
        fan_ct((1, 8, 8), [0.0], 9, source_to_axis=50.0, source_to_detector=40.0, bin_spacing=1.0)


@pytest.mark.parametrize("curved", [False, True])
def test_a_fan_sees_an_eccentric_disc_where_its_source_says(curved: bool) -> None:
    """Chords from the stated places of source and detector, 2 sqrt(r^2 - d^2), d the distance of the disc
    from the ray: sides and directions of the fan.
    """
    R, D, centre, radius, offset = 120.0, 200.0, (11.0, -17.0), 14.0, 6.0
    A = fan_ct(
        (1, 80, 80),
        [0.0, 30.0, 200.0],
        101,
        source_to_axis=R,
        source_to_detector=D,
        bin_spacing=1.2,
        detector_offset=offset,
        curved=curved,
    )
    assert float(A.offsets.mean()) == pytest.approx(offset)
    for angle, found in zip(A.angles, A(disc(80, 1.0, radius, centre))[0, 0], strict=True):
        look, side = -torch.stack([angle.cos(), -angle.sin()]), torch.stack([angle.sin(), angle.cos()])
        source = -R * look
        gamma = A.offsets / D
        ends = source + D * (
            gamma.cos()[:, None] * look + gamma.sin()[:, None] * side
            if curved
            else look + gamma[:, None] * side
        )
        ray = (ends - source) / (ends - source).norm(dim=1, keepdim=True)
        to = torch.tensor(centre, dtype=torch.float64) - source
        distance = (ray[:, 0] * to[1] - ray[:, 1] * to[0]).abs()
        exact = 2 * (radius**2 - distance**2).clamp_min(0).sqrt()
        assert float((found - exact).abs().mean()) < 0.02 * radius


def test_a_shifted_detector_sees_the_same_rays() -> None:
    """A detector beside the axis of rotation by three bins is the wider one without its first bins: what a
    half-fan or a misaligned scanner measures.
    """
    x = torch.rand(1, 1, 20, 20, generator=torch.Generator().manual_seed(0))
    wide, shifted = (
        parallel_ct((1, 20, 20), view_angles(5), 33),
        parallel_ct((1, 20, 20), view_angles(5), 27, detector_offset=3.0),
    )
    assert torch.allclose(shifted(x), wide(x)[..., 6:], atol=1e-5)


def test_a_source_inside_of_the_image_is_refused() -> None:
    """Rays that start inside of the image would run backwards, too."""
    with pytest.raises(BadOption, match="outside of the image"):
        fan_ct((1, 64, 64), [0.0], 9, source_to_axis=40.0, source_to_detector=80.0, bin_spacing=1.0)


@pytest.mark.parametrize("arc, lack", [(180.0, 0.0), (360.0, 0.0), (60.0, 120.0), (150.0, 30.0)])
def test_what_a_limited_angle_of_parallel_rays_lacks(arc: float, lack: float) -> None:
    assert parallel_ct((1, 16, 16), view_angles(30, arc=arc, start=-20.0), 24).missing_arc == pytest.approx(
        lack, abs=1e-6
    )


@pytest.mark.parametrize(
    "arc, lack", [(360.0, 0.0), (240.0, 0.0), (90.0, 90.0 + 2 * math.degrees(math.atan(29.5 * 2 / 200)))]
)
def test_a_fan_needs_its_own_angle_more(arc: float, lack: float) -> None:
    operator = fan_ct(
        (1, 16, 16), view_angles(30, arc=arc), 60, source_to_axis=100, source_to_detector=200, bin_spacing=2.0
    )
    assert operator.missing_arc == pytest.approx(lack, abs=1e-4)
