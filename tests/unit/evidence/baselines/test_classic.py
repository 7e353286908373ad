"""The baselines are not crippled: each against a closed form, an independent library or its own optimality,
and each beats doing nothing.
"""

from __future__ import annotations

from functools import partial

import pytest
import torch
from skimage.data import shepp_logan_phantom
from skimage.restoration import denoise_tv_chambolle
from skimage.transform import resize
from torch import Tensor

from medprior.errors import BadOption
from medprior.evidence.baselines.classic import (
    _differences,
    fbp,
    interpolate,
    nonlocal_means,
    ridge,
    total_variation,
    zero_filled,
)
from medprior.evidence.baselines.fista import noise_weights
from medprior.evidence.metrics import psnr
from medprior.operators import (
    ComplexGaussian,
    Gaussian,
    Measurement,
    Poisson,
    Unknown,
    cartesian_lines,
    downsample,
    fan_ct,
    identity,
    mri,
    parallel_ct,
    simulate,
    view_angles,
)

N = 64


def tv_objective(measurement: Measurement, x: Tensor, weight: float) -> Tensor:
    """(B,): sum w |A x - y|^2 / 2 + weight * sum |gradient x|, with the w of ``ridge`` and forward
    differences that are zero at the border.
    """
    apart = (measurement.operator(x) - measurement.y).abs() ** 2 * noise_weights(measurement)
    return apart.flatten(1).sum(1) / 2 + weight * _differences(x).square().sum(0).sqrt().flatten(1).sum(1)


def rng(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.fixture(scope="module")
def phantom() -> Tensor:
    """(1, 1, 64, 64), 0 to 1: the Shepp-Logan phantom."""
    return torch.from_numpy(resize(shepp_logan_phantom(), (N, N), anti_aliasing=True)).float()[None, None]


@pytest.mark.parametrize("weight", [0.05, 0.2])
def test_tv_denoising_is_the_minimum_that_another_library_finds(phantom: Tensor, weight: float) -> None:
    """At equal weight our objective is not above scikit-image's (Chambolle's algorithm, run to its end), and
    the images agree.
    """
    m = simulate(phantom, identity((1, N, N)), Gaussian(0.1), rng())
    ours = total_variation(m, weight)
    theirs = torch.from_numpy(
        denoise_tv_chambolle(m.y[0, 0].numpy(), weight=weight, eps=1e-7, max_num_iter=1000)
    )[None, None]
    assert float(tv_objective(m, ours, weight)) <= 1.0002 * float(tv_objective(m, theirs, weight))
    assert float((ours - theirs).square().mean().sqrt()) < 3e-3


def test_tv_denoising_gains_decibels(phantom: Tensor) -> None:
    """Noise of std 0.1 is 20 dB; tuned TV brings this piecewise constant phantom above 25."""
    m = simulate(phantom, identity((1, N, N)), Gaussian(0.1), rng())
    assert float(psnr(m.y, phantom, 1.0)) == pytest.approx(20, abs=0.3)
    assert float(psnr(total_variation(m, 0.08), phantom, 1.0)) > 25


def test_tv_reaches_its_minimum_for_every_kind_of_measurement(phantom: Tensor) -> None:
    """The objective at the answer is below that at 20 random and scaled neighbours, and within 0.1 % of a run
    that goes on from there.
    """
    cases = [
        (mri(cartesian_lines((N, N), 4, rng())), ComplexGaussian(0.02)),
        (parallel_ct((1, N, N), view_angles(15), N, spacing=0.1), Poisson(1e4)),
        (downsample((1, N, N), 4), Gaussian(0.02)),
    ]
    for A, noise in cases:
        m = simulate(phantom, A, noise, rng())
        found = total_variation(m, 0.01)
        least = float(tv_objective(m, found, 0.01))
        assert least <= 1.001 * float(
            tv_objective(m, total_variation(m, 0.01, n=300, tol=0.0, start=found), 0.01)
        ), A.name
        for seed in range(5):
            d = torch.randn(found.shape, generator=rng(seed))
            for other in (found + 1e-2 * d, found - 1e-2 * d, found * 1.01, found * 0.99):
                assert least < float(tv_objective(m, other, 0.01)), A.name


def test_tv_beats_what_needs_no_prior(phantom: Tensor) -> None:
    """On its own kind of image, by decibels: zero filling for MRI 4x, ridge and FBP for 15 views."""
    m = simulate(phantom, mri(cartesian_lines((N, N), 4, rng())), ComplexGaussian(0.02), rng())
    assert float(psnr(total_variation(m, 0.005), phantom, 1.0) - psnr(zero_filled(m), phantom, 1.0)) > 3
    A = parallel_ct((1, N, N), view_angles(15), N, spacing=0.1)
    m = simulate(phantom, A, Gaussian(0.02), rng())
    others = max(
        float(psnr(x, phantom, 1.0)) for x in (ridge(m, 1e-2), fbp(m.y, A), fbp(m.y, A, window="hann"))
    )
    assert float(psnr(total_variation(m, 0.005), phantom, 1.0)) > others + 3


def test_each_image_of_a_batch_is_solved_alone(phantom: Tensor) -> None:
    """A batch with its neighbour scaled by 100 gives the same image as alone."""
    m = simulate(torch.cat([phantom, 100 * phantom]), downsample((1, N, N), 2), Gaussian(0.01), rng())
    alone = Measurement(m.y[:1], m.operator, m.noise)
    both, one = (total_variation(v, 0.02, n=40, tol=0.0)[:1] for v in (m, alone))
    assert torch.allclose(both, one, atol=1e-4)


def test_tv_in_three_dimensions_keeps_a_constant() -> None:
    """A constant volume costs nothing, so it is found again exactly, with any weight and unknown noise."""
    m = Measurement(torch.full((1, 2, 4, 4, 4), 3.0), identity((2, 4, 4, 4)), Unknown())
    assert torch.allclose(total_variation(m, 10.0), m.y, atol=1e-4)


def test_weights_follow_the_noise(phantom: Tensor) -> None:
    """Half of the rays ten times noisier, and said so: better than the same rays treated as equal."""
    A = parallel_ct((1, N, N), view_angles(30), N, spacing=0.1)
    std = torch.full((1, 30, 1), 0.02)
    std[:, ::2] = 0.3
    m = simulate(phantom, A, Gaussian(std), rng())
    equal = Measurement(m.y, A, Unknown())
    told, untold = (
        max(float(psnr(total_variation(v, w, n=100), phantom, 1.0)) for w in (0.003, 0.03, 0.3))
        for v in (m, equal)
    )
    assert told > untold + 1


def test_ridge_is_the_normal_equation(phantom: Tensor) -> None:
    """A^H w (A x - y) + weight x = 0."""
    m = simulate(phantom, mri(cartesian_lines((N, N), 2, rng())), ComplexGaussian(0.05), rng())
    x = ridge(m, 0.1)
    assert float((m.operator.adjoint(m.operator(x) - m.y) + 0.1 * x).abs().max()) < 1e-4


def test_fbp_of_a_disc_from_its_closed_form() -> None:
    """The analytic sinogram of a disc of 0.02 per mm comes back as 0.02 inside and 0 outside, in the right
    place, for half and for full turns.
    """
    radius, centre, spacing = 14.0, (6.0, -9.0), 0.8
    u, v = torch.meshgrid(*[(torch.arange(N) - (N - 1) / 2) * spacing] * 2, indexing="ij")
    far = torch.hypot(u - centre[0], v - centre[1])
    for arc, n in ((180.0, 180), (360.0, 360)):
        A = parallel_ct((1, N, N), view_angles(n, arc=arc), 100, spacing=spacing, bin_spacing=0.6)
        s0 = centre[1] * torch.cos(A.angles) + centre[0] * torch.sin(A.angles)
        y = 0.02 * 2 * (radius**2 - (A.offsets - s0[:, None]) ** 2).clamp_min(0).sqrt()
        x = fbp(y.float()[None, None], A)[0, 0]
        assert x[far < radius - 2].mean() == pytest.approx(0.02, rel=0.01)
        assert float((x[far < radius - 2] - 0.02).abs().max()) < 0.0015
        assert float(x[(far > radius + 2) & (torch.hypot(u, v) < 25)].abs().mean()) < 0.0005


def test_fbp_of_a_fan_from_its_closed_form() -> None:
    """The same disc seen by a fan over a full turn, its chords in closed form: value and place are right;
    less than a turn is refused.
    """
    radius, centre, spacing = 14.0, (6.0, -9.0), 0.8
    u, v = torch.meshgrid(*[(torch.arange(N) - (N - 1) / 2) * spacing] * 2, indexing="ij")
    far = torch.hypot(u - centre[0], v - centre[1])
    seen = partial(
        fan_ct,
        (1, N, N),
        n_bins=140,
        source_to_axis=120.0,
        source_to_detector=240.0,
        bin_spacing=1.0,
        spacing=spacing,
    )
    A = seen(view_angles(360, arc=360.0))
    gamma = torch.atan(A.offsets / 240.0)
    normal = A.angles[:, None] + gamma
    apart = 120.0 * torch.sin(gamma) - (centre[1] * torch.cos(normal) + centre[0] * torch.sin(normal))
    y = (0.02 * 2 * (radius**2 - apart**2).clamp_min(0).sqrt()).float()[None, None]
    x = fbp(y, A)[0, 0]
    assert x[far < radius - 2].mean() == pytest.approx(0.02, rel=0.01)
    assert float((x[far < radius - 2] - 0.02).abs().max()) < 0.0015
    assert float(x[(far > radius + 2) & (torch.hypot(u, v) < 25)].abs().mean()) < 0.0005
    with pytest.raises(BadOption, match="full turn"):
        fbp(y[:, :, :180], seen(view_angles(180)))


def test_fbp_windows_and_volumes(phantom: Tensor) -> None:
    """Hann is smoother than the ramp under noise, a volume is done slice by slice, a curved detector is
    refused with the way out.
    """
    A = parallel_ct((1, N, N), view_angles(60), N, spacing=0.1)
    m = simulate(phantom, A, Gaussian(0.1), rng())
    assert float(psnr(fbp(m.y, A, window="hann"), phantom, 1.0)) > float(psnr(fbp(m.y, A), phantom, 1.0)) + 1
    stacked = parallel_ct((1, N, N, 2), view_angles(60), N, spacing=0.1)
    volume = fbp(torch.stack([m.y, 2 * m.y], dim=-1), stacked)
    assert torch.allclose(volume, torch.stack([fbp(m.y, A), 2 * fbp(m.y, A)], dim=-1), atol=1e-5)
    with pytest.raises(BadOption, match="choose from ramp"):
        fbp(m.y, A, window="hamming")
    fan = fan_ct(
        (1, 8, 8), [0.0, 90.0], 9, source_to_axis=20.0, source_to_detector=40.0, bin_spacing=1.0, curved=True
    )
    with pytest.raises(BadOption, match="total_variation"):
        fbp(torch.zeros(1, 1, 2, 9), fan)


def test_enlarged_keeps_its_place() -> None:
    """A linear ramp, averaged over blocks and enlarged, is the same ramp away from the border: no shift by
    half a voxel. 2-D and 3-D.
    """
    x = torch.arange(32.0).reshape(1, 1, 32, 1).expand(1, 1, 32, 32).clone()
    again = interpolate(downsample((1, 32, 32), 4)(x), (32, 32))
    assert torch.allclose(again[..., 8:24, :], x[..., 8:24, :], atol=0.05)
    volume = x[..., None].expand(1, 1, 32, 32, 4).clone()
    again = interpolate(downsample((1, 32, 32, 4), (4, 4, 1))(volume), (32, 32, 4))
    assert torch.allclose(again[..., 8:24, :, :], volume[..., 8:24, :, :], atol=0.05)


def test_nonlocal_means_gains_decibels(phantom: Tensor) -> None:
    m = simulate(phantom, identity((1, N, N)), Gaussian(0.1), rng())
    assert float(psnr(nonlocal_means(m.y, 0.1), phantom, 1.0)) > 23
