"""What a measurement answers by frequency: found where it helps, left alone where it does not."""

from __future__ import annotations

import math

import pytest
import torch

from medprior.operators import (
    ComplexGaussian,
    Gaussian,
    Measurement,
    Noise,
    Operator,
    Poisson,
    blur,
    cartesian_lines,
    cg,
    mri,
    parallel_ct,
    simulate,
    view_angles,
)
from medprior.sampling.response import fourier_filter, ring_response
from medprior.sampling.rules import data_fit


def _measurement(operator: Operator, weight: float = 1.0) -> Measurement:
    y = torch.zeros((1, *operator.codomain), dtype=torch.complex64 if operator.is_complex else None)
    noise = ComplexGaussian if operator.is_complex else Gaussian
    return Measurement(y, operator, noise(weight**-0.5))


def test_blur_answers_by_its_own_transfer_function() -> None:
    """A^H w A of a Gaussian blur of standard deviation s pixels is w exp(-s^2 |k|^2), as long as it is not
    near zero.
    """
    size, weight, fwhm = (64, 64), 4.0, 2.0
    gains = ring_response(_measurement(blur((1, *size), fwhm), weight))
    assert gains is not None
    std = fwhm / (8 * math.log(2)) ** 0.5
    for n in (2, 6, 12):
        assert float(gains[0, 0, n, 0]) == pytest.approx(
            weight * math.exp(-((std * 2 * math.pi * n / size[0]) ** 2)), rel=0.08
        )


def test_projections_answer_by_ring_and_lines_of_k_space_do_not() -> None:
    """Fewer steps for the same residual with it; for lines of k-space, where no ring is measured as a whole,
    there is none.
    """
    operator = parallel_ct((1, 64, 64), view_angles(40), 95)
    gains = ring_response(_measurement(operator))
    assert gains is not None
    # 1 / |k|: a frequency half as far out is answered twice as strongly, and a little more since pixels are
    # squares
    assert 1.7 < float(gains[0, 0, 8, 0] / gains[0, 0, 16, 0]) < 3
    rng = torch.Generator().manual_seed(0)
    assert ring_response(_measurement(mri(cartesian_lines((64, 64), 4, rng)))) is None

    def normal(x: torch.Tensor) -> torch.Tensor:
        return operator.adjoint(operator.apply(x)) + x

    b = torch.randn((1, 1, 64, 64), generator=rng)
    left = [
        float((b - normal(cg(normal, b, torch.zeros_like(b), 8, inverse=inverse))).norm())
        for inverse in (lambda r: fourier_filter(r, 1 / (gains + 1)), None)
    ]
    assert left[0] < 0.5 * left[1]


def test_a_fit_of_projections_comes_nearer_to_its_minimum() -> None:
    """What the cost of ``data_fit`` is above the least one, in a very stiff system: less than half of what it
    is without the answers.
    """
    rng = torch.Generator().manual_seed(1)
    operator = parallel_ct((1, 32, 32), view_angles(30), 47)
    x = torch.rand((1, 1, 32, 32), generator=rng)
    measurement = simulate(x, operator, Gaussian(0.05), rng)
    start, variance = torch.zeros_like(x), 0.1

    def cost(x: torch.Tensor) -> float:
        return float(
            (operator.apply(x) - measurement.y).square().sum() / 0.05**2
            + (x - start).square().sum() / variance
        )

    def normal(x: torch.Tensor) -> torch.Tensor:
        return operator.adjoint(operator.apply(x)) / 0.05**2 + x / variance

    least = cost(cg(normal, operator.adjoint(measurement.y) / 0.05**2, start, 3000, 1e-7))
    with_it, without = (
        cost(data_fit(measurement, start, variance, answers=answers))
        for answers in (ring_response(measurement), None)
    )
    assert least * 0.999 < with_it and with_it - least < 0.5 * (without - least)


SYSTEMS = {
    "photons, wide image": (parallel_ct((1, 24, 40), view_angles(40), 61), Poisson(2000.0), 0.02),
    "two channels, high image, odd width": (
        parallel_ct((2, 32, 21), view_angles(40), 47),
        Gaussian(0.2),
        1.0,
    ),
    "volume": (blur((1, 12, 16, 9), 2.0), Gaussian(0.05), 1.0),
}


@pytest.mark.parametrize("name", SYSTEMS)
def test_the_answers_change_the_way_and_not_the_minimum(name: str) -> None:
    """Any shape, channels, volumes, weights that differ from ray to ray, a batch: symmetric and positive as
    conjugate gradients need it, the gradient of the cost is gone at the end (it has fallen to 0.2 %), and
    after 15 steps it is less than half of what it is without."""
    operator, noise, size = SYSTEMS[name]
    measurement, z = hard_case(operator, noise, size)
    answers = ring_response(measurement)
    assert answers is not None and answers.shape == (1, 1, *operator.domain[1:]) and float(answers.min()) >= 0
    u, v = torch.randn((2, 3, *operator.domain), generator=torch.Generator().manual_seed(1))
    across, back = (float((a * fourier_filter(b, 1 / (answers + 1))).sum()) for a, b in ((u, v), (v, u)))
    assert abs(across - back) < 1e-4 * float((u * fourier_filter(u, 1 / (answers + 1))).sum())
    variance = size**2

    def gradient(x: torch.Tensor) -> torch.Tensor:
        """(3,): of each image of the batch."""
        pull = operator.adjoint(
            (operator.apply(x) - measurement.y) / torch.as_tensor(measurement.noise.variance(measurement.y))
        )
        return (pull + (x - z) / variance).flatten(1).norm(dim=1)

    done, early, plain = (
        data_fit(measurement, z, variance, n_iterations=n, answers=a)
        for n, a in ((60, answers), (15, answers), (15, None))
    )
    assert float((gradient(done) / gradient(z)).max()) < 2e-3
    assert float((gradient(early) / gradient(plain)).max()) < 0.5


def hard_case(operator: Operator, noise: Noise, size: float) -> tuple[Measurement, torch.Tensor]:
    rng = torch.Generator().manual_seed(0)
    truth = size * torch.rand((1, *operator.domain), generator=rng)
    return simulate(truth, operator, noise, rng), size * torch.rand((3, *operator.domain), generator=rng)
