"""Reconstruct: the posterior's mean and spread in physical units, and what is refused."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch

from medprior.data.volume import Volume
from medprior.errors import BadOption, ShapeMismatch, UnknownNoise, WrongKind
from medprior.jobs.reconstruct import Settings, label_index, reconstruct, scale_from
from medprior.operators import (
    ComplexGaussian,
    Gaussian,
    Measurement,
    Poisson,
    downsample,
    identity,
    mask,
    mri,
    simulate,
)
from medprior.operators.noise import Unknown
from medprior.prior import Condition
from medprior.prior.admit import scale_of
from medprior.prior.denoiser import broadcast_level
from medprior.sampling import Draws
from tests.unit.jobs.exact import CT, Exact, filtered, tiny

SIZE = (16, 16)
HALF, MIDDLE = 1000.0, 0.0
FEW = Settings(n_steps=12, high=5.0, low=0.01, caution=False)


def seeded(seed: int = 1) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def denoising(prior: Exact, std: float = 400.0, seed: int = 3) -> Measurement:
    """A draw of the prior in HU with white noise."""
    x = prior.draw(1, SIZE, seed) * HALF + MIDDLE
    return simulate(x, identity((1, *SIZE)), Gaussian(std), seeded(seed))


def wiener(prior: Exact, y: torch.Tensor, std: float) -> tuple[torch.Tensor, float]:
    """Mean (1, *SIZE) and standard deviation of a voxel of x given y = x + noise, physical units, in closed
    form.
    """
    variance = (std / HALF) ** 2
    mean = prior.mean + filtered((y - MIDDLE) / HALF - prior.mean, prior.gain(variance, SIZE))
    spread = float((prior.gain(variance, SIZE) * variance).mean()) ** 0.5
    return mean[0] * HALF + MIDDLE, spread * HALF


def assert_is(draws: Draws, mean: torch.Tensor, std: float) -> None:
    """Within four standard errors of the mean, voxel by voxel, and 5 % of the spread."""
    error = (draws.mean() - mean).square().mean().sqrt()
    assert float(error) < 1.3 * std / len(draws) ** 0.5
    assert float(draws.values.var(0).mean().sqrt()) == pytest.approx(std, rel=0.06)


def test_mean_and_spread_are_wieners_in_hounsfield_units() -> None:
    prior = Exact()
    measured = denoising(prior)
    assert_is(reconstruct(prior, measured, n=120, settings=FEW), *wiener(prior, measured.y, 400.0))


def test_moment_matching_gives_the_same_mean() -> None:
    prior = Exact()
    measured = denoising(prior)
    draws = reconstruct(prior, measured, n=120, settings=Settings(rule="moment_matching", n_steps=20))
    assert_is(draws, *wiener(prior, measured.y, 400.0))


def test_several_coils_are_one_image() -> None:
    """Full k-space by coils whose squares sum to 1 is the image itself with the noise of its real part: the
    same closed form.
    """
    prior = Exact(replace(CT, modality="MR"))
    maps = torch.randn((4, *SIZE), dtype=torch.complex64, generator=seeded())
    maps = maps / maps.abs().square().sum(0).sqrt()
    operator = mri(torch.ones(SIZE, dtype=torch.bool), maps)
    measured = simulate(prior.draw(1, SIZE, 3) * HALF, operator, ComplexGaussian(400.0), seeded())
    assert_is(
        reconstruct(prior, measured, n=120, settings=FEW), *wiener(prior, operator.adjoint(measured.y), 400.0)
    )


def test_counted_photons_weigh_by_what_came_through() -> None:
    """Poisson noise in line integrals: each voxel has its own variance, frozen at the measurement; the mean
    of the dense linear algebra.
    """
    card = replace(CT, low=0.0, high=4.0)
    prior, size, counts = Exact(card, mean=-0.5, power=1.0), (8, 8), 200.0
    x = (prior.draw(1, size, 5) + 1) * 2
    measured = simulate(x, identity((1, *size)), Poisson(counts), seeded())
    eye = torch.eye(64).reshape(64, 1, *size)
    covariance = filtered(eye, prior.spectra(size)).reshape(64, 64).double() * 4
    noise = torch.diag(measured.y.flatten().double().exp() / counts)
    mean = 1 + covariance @ torch.linalg.solve(covariance + noise, measured.y.flatten().double() - 1)
    draws = reconstruct(prior, measured, n=600, settings=FEW)
    expected = (covariance - covariance @ torch.linalg.solve(covariance + noise, covariance)).diagonal()
    error = (draws.mean().flatten() - mean) / expected.sqrt()
    assert float(error.square().mean()) < 2 / 600 + 0.003
    assert float((draws.values.var(0).flatten() / expected).mean()) == pytest.approx(1, abs=0.05)


class Sure(Exact):
    """In the upper half of the image it is off by twice the noise, and says a hundredth."""

    def moments(
        self, x: torch.Tensor, sigma: torch.Tensor, condition: Condition | None = None
    ) -> tuple[torch.Tensor, torch.Tensor]:
        mean, std = super().moments(x, sigma, condition)
        upper = torch.zeros_like(x)
        upper[:, :, : x.shape[2] // 2] = 1
        return mean + 2 * broadcast_level(sigma.to(x), x) * upper, std * (1 - 0.99 * upper)


def test_with_caution_draws_are_set_right_by_the_data() -> None:
    """The default; without it the rule believes the prior's own word where it is sure and wrong. Three in
    four pixels are measured, with little noise.
    """
    prior = Sure()
    x, kept = prior.draw(1, SIZE, 3), torch.rand(SIZE, generator=seeded(2)) < 0.75
    m = simulate(x, mask((1, *SIZE), kept), Gaussian(0.05), seeded())
    kept[SIZE[0] // 2 :] = False

    def wrong(caution: bool) -> float:
        mean = reconstruct(
            prior, m, n=4, settings=Settings(n_steps=8, caution=caution), scale=(-1.0, 1.0)
        ).values.mean(0)
        return float((mean - x[0])[0][kept].abs().mean())

    assert Settings().caution
    assert wrong(False) > 0.8
    assert wrong(True) < 0.4


@pytest.mark.parametrize("fast", [False, True])
@pytest.mark.parametrize("factor, offset", [(1e-3, 0.0), (1000.0, 0.0), (1.0, 5000.0)])
def test_another_unit_gives_the_same_image(fast: bool, factor: float, offset: float) -> None:
    """Hounsfield or anything else: the unit is a name, and the result follows it."""
    prior = Exact()
    measured = denoising(prior)
    other = Measurement(measured.y * factor + offset, measured.operator, Gaussian(400.0 * factor))
    there = Exact(replace(CT, low=-1000 * factor + offset, high=1000 * factor + offset))
    plain = reconstruct(prior, measured, n=2, fast=fast, settings=FEW).values
    found = reconstruct(there, other, n=2, fast=fast, settings=FEW).values
    assert torch.allclose((found - offset) / factor, plain, atol=2.0)


def test_the_point_estimate_is_near_the_mean() -> None:
    """Better than the measurement by far, and not much further from the closed form than the noise left
    over.
    """
    prior = Exact()
    measured = denoising(prior, 200.0)
    mean, std = wiener(prior, measured.y, 200.0)
    found = reconstruct(prior, measured, fast=True)
    assert len(found) == 1
    assert float((found.mean() - mean).square().mean().sqrt()) < std


def test_same_seed_same_bytes_and_nothing_is_changed() -> None:
    prior = tiny(scaling="foreground", quantiles=(0.0, 0.99))
    y = torch.rand((1, 1, *SIZE), generator=seeded()) * 300
    measured, before = Measurement(y, identity((1, *SIZE)), Gaussian(20.0)), y.clone()
    steps: list[tuple[int, int]] = []
    one = reconstruct(
        prior,
        measured,
        n=3,
        seed=4,
        settings=FEW,
        label="ill",
        on_step=lambda done, total: steps.append((done, total)),
    )
    assert torch.equal(
        one.values, reconstruct(prior, measured, n=3, seed=4, settings=FEW, label="ill").values
    )
    assert torch.equal(y, before)
    other = reconstruct(prior, measured, n=3, seed=5, settings=FEW, label="ill").values
    every = torch.cat([one.values, other]).flatten(1)
    assert float(torch.cdist(every, every).fill_diagonal_(torch.inf).min()) > 0
    assert steps == [(i, 12) for i in range(1, 13)]
    assert (one.seed, len(one)) == (4, 3) and "tiny" in one.made_by and "12 levels" in one.made_by


def test_a_label_moves_the_answer_where_little_was_measured() -> None:
    prior = Exact()
    measured = Measurement(torch.zeros(1, 1, 4, 4), downsample((1, *SIZE), 4), Gaussian(2000.0))
    dark, light = (
        float(reconstruct(prior, measured, n=40, label=name, settings=FEW).mean().mean())
        for name in ("dark", "light")
    )
    assert light - dark > 200


def test_double_precision_is_taken() -> None:
    """What comes from NumPy is double as a rule."""
    prior, y = tiny(), torch.rand((1, 1, *SIZE), generator=seeded(), dtype=torch.float64)
    found = reconstruct(prior, Measurement(y, identity((1, *SIZE)), Gaussian(0.1)), n=1, settings=FEW)
    assert found.values.dtype == torch.float32
    kspace = Measurement(
        y.to(torch.complex128), mri(torch.ones(SIZE, dtype=torch.bool)), ComplexGaussian(0.1)
    )
    assert reconstruct(prior, kspace, n=1, settings=FEW).values.isfinite().all()


def test_the_scale_is_that_of_the_measured_image() -> None:
    prior = tiny(scaling="range", quantiles=(0.01, 0.99))
    x = torch.rand((1, 1, *SIZE), generator=seeded()) * 300 + 50
    measured = simulate(x, mri(torch.ones(SIZE, dtype=torch.bool)), ComplexGaussian(0.01), seeded())
    assert scale_from(prior, measured) == pytest.approx(scale_of(prior.card, Volume(x[0].numpy())), rel=0.01)
    assert scale_from(Exact(), measured) == (-1000.0, 1000.0)


def test_lines_that_miss_the_centre_still_give_a_scale() -> None:
    """Of an image of five pixels a side, which a constant image does not reach."""
    kept = torch.zeros(5, 5, dtype=torch.bool)
    kept[0] = True
    x = torch.rand(1, 1, 5, 5, generator=seeded())
    low, high = scale_from(tiny(), simulate(x, mri(kept), ComplexGaussian(0.01), seeded()))
    assert math.isfinite(low) and low < high


def test_a_volume_by_a_3_d_prior() -> None:
    prior, size = tiny(3), (10, 12, 9)
    y = torch.rand((1, 1, *size), generator=seeded())
    found = reconstruct(prior, Measurement(y, identity((1, *size)), Gaussian(0.1)), n=2, settings=FEW)
    assert found.values.shape == (2, 1, *size)
    assert (
        reconstruct(prior, Measurement(y, identity((1, *size)), Gaussian(0.1)), fast=True)
        .values.isfinite()
        .all()
    )


IMAGE = (1, *SIZE)
ONE = Measurement(torch.rand((1, *IMAGE), generator=seeded()), identity(IMAGE), Gaussian(0.1))
REFUSED = {
    "no draws": (ONE, {"n": 0}, BadOption, "at least 1"),
    "label": (ONE, {"label": "il"}, BadOption, "did you mean 'ill'"),
    "scale": (ONE, {"scale": (1.0, 1.0)}, BadOption, "low < high"),
    "scale, NaN": (ONE, {"scale": (0.0, math.nan)}, BadOption, "low < high"),
    "a line": (
        Measurement(torch.rand(1, 1, 4), identity((1, 4)), Gaussian(0.1)),
        {},
        ShapeMismatch,
        "2 or 3 dimensions",
    ),
    "channels": (
        Measurement(torch.rand(1, 2, 4, 4), identity((2, 4, 4)), Gaussian(0.1)),
        {},
        ShapeMismatch,
        "1 channel",
    ),
    "complex image": (
        Measurement(
            torch.ones(1, 1, 4, 4, dtype=torch.complex64),
            mri(torch.ones(4, 4, dtype=torch.bool), complex_image=True),
            ComplexGaussian(0.1),
        ),
        {},
        ShapeMismatch,
        "real image",
    ),
    "two measurements": (
        Measurement(torch.rand(2, *IMAGE), identity(IMAGE), Gaussian(0.1)),
        {"n": 2},
        ShapeMismatch,
        "one measurement",
    ),
    "noise": (Measurement(torch.rand(1, *IMAGE), identity(IMAGE), Unknown()), {}, UnknownNoise, "state it"),
    "noise, fast": (
        Measurement(torch.rand(1, *IMAGE), identity(IMAGE), Unknown()),
        {"fast": True},
        UnknownNoise,
        "state it",
    ),
    "nothing": (
        Measurement(torch.zeros(1, *IMAGE), identity(IMAGE), Gaussian(0.1)),
        {},
        WrongKind,
        "constant",
    ),
    "seed": (ONE, {"seed": -1}, BadOption, "seed"),
    "steps": (ONE, {"settings": Settings(n_steps=0)}, BadOption, "noise levels"),
    "tile": (ONE, {"settings": Settings(tile=0)}, BadOption, "tile"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_wrong_input_is_named(case: str) -> None:
    measured, options, kind, says = REFUSED[case]
    with pytest.raises(kind, match=says):
        reconstruct(tiny(), measured, **options)


def test_unknown_rule_and_label_are_named() -> None:
    with pytest.raises(BadOption, match="did you mean 'proximal'"):
        Settings(rule="proximall")
    with pytest.raises(BadOption, match="no labels"):
        label_index(tiny(labels=()), "ill")


def test_caution_can_be_left_out_everywhere() -> None:
    """Of the draws and of the point estimate, whose last word it changes; and the result says so."""
    prior = Exact()
    x = prior.draw(1, SIZE, 3) * HALF + MIDDLE
    holes = simulate(
        x, mask((1, *SIZE), torch.rand(SIZE, generator=seeded()) < 0.5), Gaussian(200.0), seeded()
    )
    for fast in (True, False):
        careful, plain = (
            reconstruct(prior, holes, n=2, fast=fast, settings=Settings(n_steps=4, caution=caution))
            for caution in (True, False)
        )
        assert not torch.equal(careful.values, plain.values)
    assert plain.made_by.endswith("without caution") and "caution" not in careful.made_by
