"""Coil sensitivities: maps that were known are found again, from full and from undersampled k-space, and a
measured scan is explained by its own maps.
"""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor

from medprior.errors import BadOption, ShapeMismatch
from medprior.io.arrays import read_kspace
from medprior.operators import (
    ComplexGaussian,
    Measurement,
    calibration_region,
    cartesian_lines,
    cg,
    coil_maps,
    mri,
    noise_covariance,
    poisson_disc,
    simulate,
    simulated_coils,
    whiten,
    with_image_phase,
)


def rng(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def head(n: int) -> Tensor:
    """(1, 1, n, n): a smooth-edged ellipse with two holes, 0 outside."""
    place = torch.linspace(-1, 1, n)
    u, v = torch.meshgrid(place, place, indexing="ij")
    body = torch.sigmoid(30 * (0.8 - torch.hypot(u / 0.95, v / 0.8)))
    holes = sum(torch.sigmoid(40 * (0.12 - torch.hypot(u - a, v - b))) for a, b in ((0.2, 0.3), (-0.3, -0.2)))
    return (body * (1 - 0.6 * holes))[None, None]


def agreement(found: Tensor, truth: Tensor, inside: Tensor) -> Tensor:
    """|<found, truth>| of the unit vectors at each voxel inside: 1 where they agree up to a phase."""
    return (found.conj() * truth).sum(0).abs()[inside]


@pytest.mark.parametrize("pattern", ["lines", "disc"])
def test_known_maps_are_found_from_undersampled_kspace(pattern: str) -> None:
    """SIMULATED coils, noise of 1 %: up to the phase that belongs to the image, the maps agree to 1 % inside
    of the body, and lie on it.
    """
    maps, x = simulated_coils(6, (64, 64), rng()), head(64)
    mask = (
        cartesian_lines((64, 64), 2.5, rng(), centre_fraction=0.3)
        if pattern == "lines"
        else poisson_disc((64, 64), 5, rng(), centre=20)
    )
    kspace = simulate(x, mri(mask, maps), ComplexGaussian(0.01), rng(1)).y[0]
    found = coil_maps(kspace, mask)
    inside = x[0, 0] > 0.5
    assert float(agreement(found, maps, inside).quantile(0.01)) > 0.99
    support = found.abs().square().sum(0)
    assert torch.allclose(support[inside], torch.ones(int(inside.sum())), atol=1e-4)
    assert set(support.round(decimals=3).unique().tolist()) <= {0.0, 1.0}


def test_maps_of_a_volume() -> None:
    """Three axes, a small kernel: the same agreement."""
    maps, x = simulated_coils(4, (16, 16, 12), rng()), head(16)[..., None].expand(-1, -1, -1, -1, 12)
    kspace = simulate(
        x, mri(torch.ones(16, 16, 12, dtype=torch.bool), maps), ComplexGaussian(0.002), rng(1)
    ).y[0]
    found = coil_maps(kspace, kernel=4, largest=12)
    assert float(agreement(found, maps, x[0, 0] > 0.5).quantile(0.1)) > 0.98


def test_the_phase_of_the_image_goes_into_the_maps() -> None:
    """An image with a slowly varying phase becomes real: what was complex is seen by a prior of
    magnitudes.
    """
    maps, x = simulated_coils(6, (64, 64), rng()), head(64)
    ramp = torch.linspace(-1, 1, 64)
    phase = torch.polar(torch.ones(64, 64), 2.0 * ramp[:, None] + 1.5 * ramp**2)
    everything = torch.ones(64, 64, dtype=torch.bool)
    kspace = simulate(x, mri(everything, maps * phase), ComplexGaussian(0.005), rng(1)).y
    mine = with_image_phase(coil_maps(kspace[0]), kspace[0])
    image = mri(everything, mine, complex_image=True).adjoint(kspace)[0]
    inside = x[0, 0] > 0.5
    assert float(image[1][inside].norm() / image[0][inside].norm()) < 0.05
    assert float((image[0] - x[0, 0])[inside].abs().max()) < 0.1


def test_phase_finer_than_the_fully_sampled_centre_is_found() -> None:
    """SIMULATED, 6 coils, 4 times fewer lines, a bump of phase: with maps that hold the phase of all samples
    a real image fits the data to the noise (1.3).
    """
    maps, x = simulated_coils(6, (96, 96), rng()), head(96)
    u, v = torch.meshgrid(torch.linspace(-1, 1, 96), torch.linspace(-1, 1, 96), indexing="ij")
    phase = torch.polar(torch.ones(96, 96), 1.5 * u + 2.0 * torch.exp(-((u - 0.4) ** 2 + v**2) / 0.02))
    mask = cartesian_lines((96, 96), 4, rng(), centre_fraction=0.12)
    y = simulate(x, mri(mask, maps * phase), ComplexGaussian(0.01), rng(1)).y
    A = mri(mask, with_image_phase(coil_maps(y[0], mask), y[0], mask))
    found = cg(lambda q: A.gram(q) + 0.01 * q, A.adjoint(y), torch.zeros_like(x), 20)
    assert float(Measurement(y, A, ComplexGaussian(0.01)).misfit(found)) < 1.3


def test_phase_finer_than_the_window_is_refined() -> None:
    """SIMULATED, 6 coils, 4 times fewer lines, steep bumps of phase: told the noise, ``with_image_phase``
    comes nearer to the true phase than smoothing does, and the misfit of a real image falls to that of the
    noise.
    """
    n, std = 96, 0.01
    maps, x = simulated_coils(6, (n, n), rng()), head(n)
    u, v = torch.meshgrid(torch.linspace(-1, 1, n), torch.linspace(-1, 1, n), indexing="ij")
    bumps = torch.exp(-((u - 0.2) ** 2 + v**2) / 0.001) - torch.exp(
        -((u + 0.3) ** 2 + (v - 0.1) ** 2) / 0.001
    )
    phase = torch.polar(torch.ones(n, n), 1.5 * u + 1.2 * bumps)
    mask = cartesian_lines((n, n), 4, rng(), centre_fraction=0.12)
    y = simulate(x, mri(mask, maps * phase), ComplexGaussian(std), rng(1)).y
    found = coil_maps(y[0], mask, crop=0.0)
    smooth, fine = with_image_phase(found, y[0], mask), with_image_phase(found, y[0], mask, std=std)

    def errors(maps_phased: torch.Tensor) -> tuple[float, float]:
        off = (maps_phased.conj() * maps * phase).sum(0).angle()[x[0, 0] > 0.2]
        A = mri(mask, maps_phased)
        image = cg(lambda q: A.gram(q) + 0.01 * q, A.adjoint(y), torch.zeros_like(x), 20)
        return float(off.square().mean().sqrt()), float(Measurement(y, A, ComplexGaussian(std)).misfit(image))

    (before, misfit_before), (after, misfit) = errors(smooth), errors(fine)
    assert after < 0.95 * before, (before, after)
    assert misfit < 1.0 < 1.1 < misfit_before, (misfit_before, misfit)
    few = torch.zeros_like(mask)
    few[40:56, 40:56] = True
    assert torch.equal(with_image_phase(found, y[0], few), with_image_phase(found, y[0], few, std=std)), (
        "too few numbers to refine from"
    )


def test_whitened_coils_are_uncorrelated() -> None:
    """Correlated noise of known covariance in 4 coils: the estimate is within 10 %, and after whitening the
    noise that was put in is the identity, to 10 %.
    """
    mix = torch.eye(4) * 0.03 + 0.01 * torch.randn(4, 4, generator=rng(2))
    x, maps = head(96), simulated_coils(4, (96, 96), rng())
    clean = simulate(x, mri(torch.ones(96, 96, dtype=torch.bool), maps), ComplexGaussian(1e-6), rng()).y[0]
    noise = torch.view_as_complex(torch.randn(4, 96, 96, 2, generator=rng(1)))
    kspace = clean + torch.einsum("cd,dij->cij", mix.to(noise.dtype), noise)
    covariance = noise_covariance(kspace)
    truth = (mix @ mix.T).to(covariance.dtype)
    assert float((covariance - truth).abs().max() / truth.abs().max()) < 0.1
    white = whiten(torch.einsum("cd,dij->cij", mix.to(noise.dtype), noise), covariance).flatten(1)
    assert float((white @ white.mH / (2 * white.shape[1]) - torch.eye(4)).abs().max()) < 0.1


def test_maps_of_a_measured_scan_lie_on_the_head(real_data: Path) -> None:
    """8 measured coils, 12 % of the samples: the centre is found, the maps cover the head and change slowly.
    That they explain the data is in test_measured.
    """
    file = read_kspace(real_data / "kspace_brain_sigpy" / "test" / "brain_8coil_poisson_r8.npz")
    kspace, mask = torch.from_numpy(file.data), torch.from_numpy(file.mask)
    assert [r.stop - r.start for r in calibration_region(mask)] == [24, 24]
    maps = coil_maps(whiten(kspace, noise_covariance(kspace, mask)), mask)
    support = maps.abs().square().sum(0) > 0.5
    assert 0.5 < float(support.double().mean()) < 0.9 and bool(support[60:170, 50:130].all())
    assert float(maps[:, 60:170, 50:130].diff(dim=1).abs().max()) < 0.05


def test_simulated_coils_are_smooth_and_each_sees_another_side() -> None:
    """Sum of squares 1; the brightest voxel of each of 4 coils lies in another corner or edge; neighbours
    differ by little; the generator repeats.
    """
    maps = simulated_coils(4, (48, 40), rng(), spacing=(1.0, 1.2))
    assert torch.allclose(maps.abs().square().sum(0), torch.ones(48, 40), atol=1e-5)
    assert len({int(m.abs().argmax()) for m in maps}) == 4
    assert float(maps.diff(dim=1).abs().max()) < 0.15
    assert torch.equal(maps, simulated_coils(4, (48, 40), rng(), spacing=(1.0, 1.2)))
    assert not torch.equal(maps, simulated_coils(4, (48, 40), rng(1), spacing=(1.0, 1.2)))


def test_what_cannot_be_estimated_is_refused() -> None:
    """No centre, too small a centre, real k-space, a mask of another size, one coil inside of the body: each
    error names what was wanted.
    """
    kspace = torch.view_as_complex(torch.randn(3, 32, 32, 2, generator=rng()))
    ring = torch.ones(32, 32, dtype=torch.bool)
    ring[14:18, 14:18] = False
    with pytest.raises(BadOption, match="zero frequency"):
        coil_maps(kspace, ring)
    few = torch.zeros(32, 32, dtype=torch.bool)
    few[14:18, 14:18] = True
    with pytest.raises(BadOption, match="8 x 8 samples, got 4 x 4"):
        coil_maps(kspace, few)
    with pytest.raises(ShapeMismatch, match="complex"):
        coil_maps(kspace.real)
    with pytest.raises(ShapeMismatch, match="mask"):
        coil_maps(kspace, ring[:16])
    with pytest.raises(BadOption, match="radius above"):
        simulated_coils(4, (32, 32), rng(), radius=1.0)
    with pytest.raises(BadOption, match="positive definite"):
        whiten(kspace, torch.zeros(3, 3))
    with pytest.raises(BadOption, match="outer samples"):
        noise_covariance(kspace, few)
