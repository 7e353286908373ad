"""Measurements: shapes and kinds are checked, what is simulated says so, scaling keeps the physics, and
several become one.
"""

from __future__ import annotations

import pytest
import torch

from medprior.errors import BadOption, ShapeMismatch, UnknownNoise
from medprior.operators import (
    ComplexGaussian,
    Gaussian,
    Measurement,
    Poisson,
    Unknown,
    diagonal,
    downsample,
    identity,
    mask,
    mri,
    parallel_ct,
    simulate,
    together,
    view_angles,
)


def rng(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def picture(*shape: int) -> torch.Tensor:
    return torch.rand(shape, generator=rng(7))


def test_simulated_measurements_say_so() -> None:
    """Only ``simulate`` sets the flag, and scaling keeps it."""
    m = simulate(picture(2, 1, 8, 8), identity((1, 8, 8)), Gaussian(0.1), rng())
    assert m.simulated and m.shifted(2.0, 0.5).simulated
    assert not Measurement(m.y, m.operator, m.noise).simulated


def test_the_misfit_of_the_truth_is_near_one() -> None:
    """Sum of squared residuals over variance and count, for real, masked, complex and Poisson
    measurements.
    """
    keep = picture(32, 32) < 0.5
    ct = parallel_ct((1, 32, 32), view_angles(24), 47)
    cases = [
        (identity((1, 32, 32)), Gaussian(0.2)),
        (mask((1, 32, 32), keep), Gaussian(0.2)),
        (mri(keep), ComplexGaussian(0.05)),
        (ct, Poisson(1e5)),
    ]
    x = picture(4, 1, 32, 32) * 0.1
    for operator, noise in cases:
        m = simulate(x, operator, noise, rng())
        assert torch.allclose(m.misfit(x), torch.ones(4), atol=0.15), operator.name


def test_count_is_the_number_of_real_numbers() -> None:
    keep = torch.zeros(8, 8, dtype=torch.bool)
    keep[:3] = True
    assert simulate(picture(1, 1, 8, 8), mri(keep), ComplexGaussian(0.1), rng()).count == 48
    assert simulate(picture(1, 2, 8, 8), mask((2, 8, 8), keep), Gaussian(0.1), rng()).count == 48
    assert simulate(picture(1, 1, 8, 8), downsample((1, 8, 8), 2), Gaussian(0.1), rng()).count == 16


def test_unobserved_entries_hold_no_noise() -> None:
    keep = picture(8, 8) < 0.5
    m = simulate(picture(1, 1, 8, 8), mri(keep), ComplexGaussian(1.0), rng())
    assert float(m.y[0, 0][~keep].abs().sum()) == 0


@pytest.mark.parametrize("offset", [0.3, torch.linspace(-1, 1, 12).reshape(1, 1, 12, 1)])
def test_shifting_keeps_the_residual(offset: float | torch.Tensor) -> None:
    """With x_phys = scale x_net + offset the misfit of x_net is that of x_phys, for real, complex and
    signal-dependent noise.
    """
    x_net = picture(2, 1, 12, 12).double()
    x_phys = 0.04 * x_net + offset
    for operator, noise in [
        (mri(picture(12, 12) < 0.6), ComplexGaussian(0.01)),
        (parallel_ct((1, 12, 12), view_angles(7), 17), Poisson(1e4)),
    ]:
        m = simulate(x_phys, operator, noise, rng())
        assert torch.allclose(m.shifted(0.04, offset).misfit(x_net), m.misfit(x_phys), rtol=1e-3)


def test_together_weighs_each_by_its_noise() -> None:
    """The misfit of the whole is the mean of the parts by their counts, and unobserved entries stay
    uncounted.
    """
    x, keep = picture(2, 1, 8, 8), picture(8, 8) < 0.5
    parts = [
        simulate(x, mri(keep), ComplexGaussian(0.3), rng()),
        simulate(x, downsample((1, 8, 8), 2), Gaussian(0.02), rng(1)),
    ]
    whole = together(*parts)
    assert whole.simulated and whole.count == parts[0].count + parts[1].count
    other = picture(2, 1, 8, 8).flip(-1)
    mean = sum(p.misfit(other) * p.count for p in parts) / whole.count
    assert torch.allclose(whole.misfit(other), torch.as_tensor(mean), rtol=1e-4)
    both = together(parts[0], parts[0])
    assert both.operator.is_complex and torch.allclose(both.misfit(other), parts[0].misfit(other), rtol=1e-4)


def test_a_wrong_measurement_names_the_remedy() -> None:
    """No batch axis, real for complex, NaN: refused, each with what to do."""
    operator = mri(torch.ones(6, 6, dtype=torch.bool))
    with pytest.raises(ShapeMismatch, match=r"y\[None\]"):
        Measurement(torch.zeros(1, 6, 6, dtype=torch.complex64), operator, Unknown())
    with pytest.raises(ShapeMismatch, match="complex"):
        Measurement(torch.zeros(1, 1, 6, 6), operator, Unknown())
    with pytest.raises(BadOption, match="1 NaN"):
        Measurement(torch.full((1, 1, 1, 1), float("nan")), identity((1, 1, 1)), Unknown())


def test_unknown_noise_is_said() -> None:
    m = Measurement(torch.zeros(1, 1, 4, 4), identity((1, 4, 4)), Unknown())
    with pytest.raises(UnknownNoise):
        m.misfit(torch.zeros(1, 1, 4, 4))
    assert isinstance(m.shifted(2.0, 0.0).noise, Unknown)


def test_nothing_measured_is_refused() -> None:
    """An empty mask is no measurement: the error says so instead of a division by zero."""
    with pytest.raises(BadOption, match="at least one observed"):
        Measurement(
            torch.zeros(1, 1, 6, 6), mask((1, 6, 6), torch.zeros(6, 6, dtype=torch.bool)), Gaussian(1.0)
        )


def test_weights_and_identity_keep_what_is_observed() -> None:
    """diagonal @ mask and identity @ mask observe what the mask does, a mask of a mask what both do; an
    average over pixels does not know.
    """
    keep, other = picture(8, 8) < 0.5, picture(3, 8, 8)[2] < 0.5
    A = mask((1, 8, 8), keep)
    for weighted in (
        diagonal((1, 8, 8), picture(8, 8)) @ A,
        identity((1, 8, 8)) @ A,
        (2.0 * identity((1, 8, 8))) @ A,
        identity((1, 8, 8)) @ (A @ A),
    ):
        assert weighted.observed is not None and torch.equal(weighted.observed, keep)
    both = (mask((1, 8, 8), other) @ A).observed
    assert both is not None and torch.equal(both, keep & other)
    assert (downsample((1, 8, 8), 2) @ A).observed is None
