"""Volumes by a 2-D prior: every slice as the prior knows it, and neighbours that help each other."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from medprior.errors import BadOption, ShapeMismatch
from medprior.jobs import reconstruct as job
from medprior.jobs.reconstruct import Settings, reconstruct
from medprior.jobs.stacks import by_slice, couple_slices, point_estimate_by_slice
from medprior.operators import Gaussian, Measurement, identity, mask, simulate
from medprior.prior import Condition
from medprior.prior.admit import card_heights
from medprior.prior.denoiser import broadcast_level
from tests.unit.jobs.exact import CT, Exact, filtered, tiny

SIZE, DEPTH, HALF = (16, 16), 6, 1000.0
FEW = Settings(n_steps=8)


class Tall(Exact):
    """Higher slices are lighter."""

    def __init__(self) -> None:
        super().__init__(replace(CT, numbers=("age", "height")))

    def centre(self, x: torch.Tensor, condition: Condition | None) -> torch.Tensor:
        known = None if condition is None else condition.numbers
        return super().centre(x, condition) + (0.0 if known is None else broadcast_level(known[:, 1], x))


def seeded(seed: int = 1) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def anatomy(prior: Exact, change: float = 0.1) -> torch.Tensor:
    """(1, 1, *SIZE, DEPTH): slices of the prior that change little from one to the next, in network units."""
    walk = [prior.draw(1, SIZE, 0)]
    for seed in range(1, DEPTH):
        walk.append(
            prior.mean
            + (1 - change**2) ** 0.5 * (walk[-1] - prior.mean)
            + change * (prior.draw(1, SIZE, seed) - prior.mean)
        )
    return torch.stack(walk, -1)


def kept(x: torch.Tensor) -> torch.Tensor:
    """A fifth of the pixels of each slice, others in each."""
    return torch.rand(x.shape[2:], generator=seeded()) < 0.2


def holes(x: torch.Tensor) -> Measurement:
    """What is kept, in HU."""
    return simulate(x * HALF, mask(tuple(x.shape[1:]), kept(x)), Gaussian(30.0), seeded())


def error(found: torch.Tensor, x: torch.Tensor) -> float:
    return float((found - x[0] * HALF).square().mean().sqrt())


def test_every_slice_is_denoised_with_its_own_height() -> None:
    prior = Tall()
    numbers = card_heights(prior.card, 4)
    assert (
        numbers is not None
        and numbers[:, 1].tolist() == [-0.75, -0.25, 0.25, 0.75]
        and bool(numbers[:, 0].isnan().all())
    )
    x, sigma = torch.randn(2, 1, 8, 8, 4, generator=seeded()), torch.tensor([0.3, 0.5])
    together = by_slice(prior, numbers)(x, sigma)
    mean, _ = by_slice(prior, numbers).moments(x, sigma)
    for k in range(4):
        alone = prior(x[..., k], sigma, Condition(numbers=numbers[k : k + 1].expand(2, -1)))
        assert torch.allclose(together[..., k], alone, atol=1e-5) and torch.equal(
            mean[..., k], together[..., k]
        )
    assert not torch.allclose(together, by_slice(prior, numbers.flip(0))(x, sigma))
    assert card_heights(Exact().card, 4) is None


def test_slices_err_alone() -> None:
    """The covariance of a stack knows frequencies within a slice, and is white through the slices."""
    prior, sigma = Exact(), torch.tensor([0.4])
    found = by_slice(prior, None).spectrum(sigma, (*SIZE, 3))
    assert all(torch.equal(found[..., k], prior.spectrum(sigma, SIZE)) for k in range(3))
    assert torch.equal(by_slice(prior, None).error(sigma), prior.error(sigma))


def test_a_noisy_volume_gives_wieners_mean_and_spread_of_each_slice() -> None:
    """The same closed form as for one image, slice by slice."""
    prior, std = Exact(), 400.0
    x = torch.stack([prior.draw(1, SIZE, seed) for seed in range(3)], -1)
    measured = simulate(x * HALF, identity((1, *SIZE, 3)), Gaussian(std), seeded())
    draws = reconstruct(prior, measured, n=40, settings=FEW)
    variance = (std / HALF) ** 2
    spread = float((prior.gain(variance, SIZE) * variance).mean()) ** 0.5 * HALF
    assert float(draws.values.var(0).mean().sqrt()) == pytest.approx(spread, rel=0.1)
    for k in range(3):
        mean = prior.mean + filtered(measured.y[..., k] / HALF - prior.mean, prior.gain(variance, SIZE))
        assert error(draws.mean()[..., k], mean) < 1.3 * spread / len(draws) ** 0.5


@pytest.mark.parametrize("fast", [True, False])
def test_neighbours_lend_each_other_what_they_have_measured(fast: bool) -> None:
    """Slices that change little, each measured in other places: together they are known better by far than
    one by one.
    """
    prior = Exact()
    x = anatomy(prior)
    measured = holes(x)
    together = reconstruct(prior, measured, n=2, fast=fast, settings=FEW).mean()
    alone = []
    for k in range(DEPTH):
        one = Measurement(measured.y[..., k], mask((1, *SIZE), kept(x)[..., k]), measured.noise)
        alone.append(reconstruct(prior, one, n=2, fast=fast, settings=FEW).mean())
    assert error(together, x) < 0.85 * error(torch.stack(alone, -1), x)


def test_the_tie_is_loose_where_slices_differ() -> None:
    """An edge through the slices is kept: the noise of "they do not differ" is larger there than
    elsewhere.
    """
    inside = Measurement(torch.zeros(1, 1, 8, 8, 4), identity((1, 8, 8, 4)), Gaussian(0.1))
    guess = torch.zeros(1, 1, 8, 8, 4)
    guess[..., :4, :, 2:] = 2.0  # the upper half jumps between slice 1 and 2
    step = torch.zeros(1, 1, 8, 8, 4)
    step[..., 1, 1, 2:] = 1.0
    flat = torch.zeros(1, 1, 8, 8, 4)
    flat[..., 6, 6, 2:] = 1.0
    bound = couple_slices(inside, guess)
    there, elsewhere = (float((bound.operator(v) ** 2).sum() - (v**2).sum() / 0.01) for v in (step, flat))
    assert elsewhere > 100 * there > 0


@pytest.mark.parametrize("slices", [1, 2])
def test_few_slices_are_no_volume(slices: int) -> None:
    measured = holes(torch.rand(1, 1, 8, 8, slices, generator=seeded()))
    with pytest.raises(ShapeMismatch, match="at least 3 slices"):
        reconstruct(Exact(), measured)


def test_the_point_estimate_tells_how_far_it_is() -> None:
    prior, steps = Exact(), []
    x = anatomy(prior)
    inside = holes(x).shifted(HALF, 0.0)
    found = point_estimate_by_slice(
        by_slice(prior, None), inside, torch.zeros_like(x), lambda done, total: steps.append((done, total))
    )
    assert steps == [(3, 6), (6, 6)]
    assert error(found[0] * HALF, x) < 0.7 * error(torch.full_like(x[0], prior.mean * HALF), x)


def test_more_draws_than_memory_holds_are_made_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Parts share one stream of random numbers: all draws differ, the same seed repeats them, progress counts
    all parts.
    """
    prior, steps = tiny(labels=()), []
    measured = holes(torch.rand(1, 1, 8, 8, 3, generator=seeded()))
    monkeypatch.setattr(job, "_MOST", 2 * 8 * 8 * 3)
    draws = reconstruct(
        prior,
        measured,
        n=5,
        settings=Settings(n_steps=3),
        on_step=lambda done, total: steps.append((done, total)),
    )
    assert steps == [(i, 9) for i in range(1, 10)]
    assert (
        float(torch.cdist(draws.values.flatten(1), draws.values.flatten(1)).fill_diagonal_(torch.inf).min())
        > 0
    )
    assert torch.equal(draws.values, reconstruct(prior, measured, n=5, settings=Settings(n_steps=3)).values)


def test_a_part_of_a_volume_may_name_its_heights() -> None:
    """Where little was measured the prior's own idea of such a height shows."""
    prior = Tall()
    measured = holes(torch.zeros(1, 1, 8, 8, 3))
    whole = reconstruct(prior, measured, fast=True).values
    assert torch.equal(
        whole, reconstruct(prior, measured, fast=True, numbers=card_heights(prior.card, 3)).values
    )
    high = reconstruct(
        prior, measured, fast=True, numbers=torch.tensor([[torch.nan, 0.9]]).expand(3, -1)
    ).values
    assert float(high.mean() - whole.mean()) > 50
    with pytest.raises(ShapeMismatch, match=r"numbers: wanted \(3, 2\)"):
        reconstruct(prior, measured, numbers=torch.zeros(2, 2))
    with pytest.raises(BadOption, match="slices of a volume"):
        reconstruct(
            prior,
            Measurement(torch.rand(1, 1, 8, 8), identity((1, 8, 8)), Gaussian(0.1)),
            numbers=torch.zeros(1, 2),
        )


def test_a_volume_has_no_calibration_of_images() -> None:
    found = reconstruct(Exact(), holes(anatomy(Exact())), fast=True)
    assert found.calibration is None and found.deviation is not None and bool((found.deviation > 0).all())
