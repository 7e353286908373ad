"""Each noise draws what its variance says, the same on every run, and refuses what it cannot be."""

from __future__ import annotations

import pytest
import torch

from medprior.errors import BadOption, UnknownNoise
from medprior.operators import ComplexGaussian, Gaussian, Noise, Poisson, Rician, Speckle, Unknown

N = 40_000


def rng() -> torch.Generator:
    return torch.Generator().manual_seed(3)


@pytest.mark.parametrize(
    ("noise", "clean"),
    [
        (Gaussian(0.3), torch.tensor(2.0)),
        (ComplexGaussian(0.3), torch.tensor(1.0 - 2.0j)),
        (Poisson(2000.0), torch.tensor(1.5)),
        (Rician(0.5), torch.tensor(0.0)),
        (Rician(0.5), torch.tensor(0.6)),
        (Rician(0.5), torch.tensor(200.0)),
    ],
)
def test_drawn_variance_is_the_stated_one(noise: Noise, clean: torch.Tensor) -> None:
    """Per real component, within 5 % at 40 000 draws (3 % is three standard errors); Poisson by the delta
    method.
    """
    drawn = noise.draw(clean.expand(N), rng())
    real = torch.view_as_real(drawn) if drawn.is_complex() else drawn[:, None]
    stated = float(torch.as_tensor(noise.variance(clean)))
    assert torch.allclose(
        real.double().var(0), torch.full((real.shape[1],), stated, dtype=torch.float64), rtol=0.05
    )


def test_rician_without_signal_is_rayleigh() -> None:
    """Closed form: variance (2 - pi / 2) std^2, mean std sqrt(pi / 2)."""
    assert float(Rician(2.0).variance(torch.zeros(()))) == pytest.approx((2 - torch.pi / 2) * 4)
    assert float(Rician(2.0).draw(torch.zeros(N), rng()).mean()) == pytest.approx(
        2 * (torch.pi / 2) ** 0.5, rel=0.02
    )


def test_a_ray_without_photons_stays_finite() -> None:
    """Behind 30 attenuation lengths nothing arrives: half a photon is recorded, not infinity."""
    assert float(Poisson(1000.0).draw(torch.tensor([30.0]), rng())) == pytest.approx(
        float(torch.log(torch.tensor(2000.0)))
    )


def test_the_same_generator_gives_the_same_noise() -> None:
    for noise in (Gaussian(1.0), Poisson(100.0), Rician(1.0), Speckle(2.0)):
        assert torch.equal(noise.draw(torch.ones(5), rng()), noise.draw(torch.ones(5), rng()))


def test_one_standard_deviation_an_entry() -> None:
    """std may be an array that broadcasts over the measurement."""
    drawn = Gaussian(torch.tensor([0.1, 10.0])).draw(torch.zeros(N, 2), rng())
    assert torch.allclose(drawn.std(0), torch.tensor([0.1, 10.0]), rtol=0.05)


def test_what_cannot_be_is_refused() -> None:
    for bad in (0.0, -1.0, float("nan"), float("inf")):
        for kind in (Gaussian, ComplexGaussian, Poisson, Rician, Speckle):
            with pytest.raises(BadOption, match="positive"):
                kind(bad)
    with pytest.raises(BadOption, match="ComplexGaussian"):
        Gaussian(1.0).draw(torch.zeros(2, dtype=torch.complex64), rng())
    with pytest.raises(BadOption, match="Gaussian"):
        ComplexGaussian(1.0).draw(torch.zeros(2), rng())
    with pytest.raises(UnknownNoise, match="state it"):
        Unknown().draw(torch.zeros(2), rng())


def test_read_out_noise_adds_to_that_of_photons() -> None:
    """At 300 photons behind 1.5 attenuation lengths, 5 photons of read-out noise: the drawn variance is the
    sum of both, within 8 % (delta method).
    """
    noise, clean = Poisson(3000.0, electronic=15.0), torch.full((N,), 1.5)
    stated = float(noise.variance(clean)[0])
    assert stated > 1.2 * float(torch.as_tensor(Poisson(3000.0).variance(clean))[0])
    assert float(noise.draw(clean, rng()).double().var()) == pytest.approx(stated, rel=0.08)


def test_photons_may_differ_from_ray_to_ray() -> None:
    """A bow-tie filter: one count a bin, in draw and in variance."""
    noise, clean = Poisson(torch.tensor([500.0, 5e4])), torch.full((N, 2), 0.5)
    assert torch.allclose(noise.draw(clean, rng()).var(0), noise.variance(clean)[0], rtol=0.05)


def test_speckle_has_the_moments_of_its_law() -> None:
    """Mean 1, variance 1 / looks: 4 looks on a clean value of 2; and exponential intensities at one look."""
    drawn = Speckle(4.0).draw(torch.full((N,), 2.0), rng()).double()
    assert float(drawn.mean()) == pytest.approx(2, rel=0.02)
    assert float(drawn.var()) == pytest.approx(float(Speckle(4.0).variance(torch.tensor(2.0))), rel=0.05)
    assert float((Speckle(1.0).draw(torch.ones(N), rng()) > 1).double().mean()) == pytest.approx(
        torch.e**-1, rel=0.03
    )


@pytest.mark.parametrize("shape", [(2, 1, 20, 24), (1, 1, 20, 24, 3)])
def test_speckle_is_frozen_at_its_local_mean(shape: tuple[int, ...]) -> None:
    """A dark speckle grain is no precise one: the Gaussian that stands for it takes the mean of its
    neighbourhood, also slice by slice, and is never 0.
    """
    clean = torch.full(shape, 3.0)
    frozen = Speckle(4.0).gaussian_at(Speckle(4.0).draw(clean, rng()))
    assert (
        isinstance(frozen, Gaussian)
        and isinstance(frozen.std, torch.Tensor)
        and frozen.std.shape == torch.Size(shape)
    )
    assert torch.allclose(frozen.std, torch.full(shape, 1.5), rtol=0.6)
    assert float(frozen.std.mean()) == pytest.approx(1.5, rel=0.05)
