"""A prior as a denoiser: what it refuses, what it says of its own error, and where its wrappers must change
nothing.
"""

from __future__ import annotations

import pytest
import torch

from medprior.errors import BadOption, ShapeMismatch
from medprior.prior import Card, Condition, Prior, path_named, position_channels
from medprior.prior.error_table import ErrorTable
from medprior.prior.prior import untrained_prior
from medprior.prior.rings import BINS
from medprior.prior.wrappers import slicewise, tiled


def made(**other: object) -> Prior:
    torch.manual_seed(0)
    prior = untrained_prior(Card("one", "MR", **{"widths": (8, 16), "blocks": 1, **other}))  # type: ignore[arg-type]
    for parameter in prior.net.parameters():
        torch.nn.init.normal_(parameter, std=0.1)
    prior.net.eval().requires_grad_(False)
    return prior


def noisy(*size: int, n: int = 2) -> torch.Tensor:
    return torch.randn(n, 1, *size, generator=torch.Generator().manual_seed(1))


SIGMA = torch.tensor([0.3, 4.0])


@pytest.mark.parametrize("shape", [(2, 2, 8, 8), (2, 1, 8, 8, 8), (2, 1, 8)])
def test_other_channels_or_dimensions_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(ShapeMismatch, match=r"\(B, 1, i, j\)"):
        made()(torch.zeros(shape), SIGMA)


@pytest.mark.parametrize("path", ["karras", "straight"])
def test_an_image_without_noise_is_given_back(path: str) -> None:
    """D(x, 0) = x, whatever the network says."""
    x = noisy(9, 12)
    assert float((made(path=path)(x, torch.tensor([1e-7])) - x).abs().max()) < 1e-4


def test_one_level_may_stand_for_a_batch_and_no_position_for_the_whole_image() -> None:
    prior, x = made(), noisy(10, 14)
    assert torch.equal(prior(x, SIGMA[:1]), prior(x, SIGMA[:1].expand(2)))
    assert torch.equal(
        prior(x, SIGMA),
        prior(x, SIGMA, Condition(position=position_channels((10, 14))[None].expand(2, -1, -1, -1))),
    )
    elsewhere = position_channels((10, 14), full=(40, 40), start=(20, 20))[None]
    assert float((prior(x, SIGMA) - prior(x, SIGMA, Condition(position=elsewhere))).abs().max()) > 1e-3


def test_tiles_are_the_whole_where_one_holds_it() -> None:
    """To the bit, mean and deviation; smaller tiles are another answer of nearly the same picture."""
    prior, x = made(doubt=True), noisy(40, 24)
    for whole, part in zip(prior.moments(x, SIGMA), tiled(prior, 40, 8).moments(x, SIGMA), strict=True):
        assert torch.equal(whole, part)
    assert not torch.equal(prior(x, SIGMA), tiled(prior, 32, 8)(x, SIGMA))


def test_tiles_of_a_volume_too() -> None:
    prior, x = made(ndim=3), noisy(12, 8, 16)
    assert torch.equal(tiled(prior, 16, 4)(x, SIGMA), prior(x, SIGMA))
    assert tiled(prior, 8, 2)(x, SIGMA).shape == x.shape


def test_slices_of_a_volume_are_the_images_they_are() -> None:
    prior, x = made(numbers=("height",)), noisy(12, 8, 5)
    heights = torch.linspace(-1, 1, 5)[:, None]
    found = slicewise(prior, 3)(x, SIGMA, Condition(numbers=heights))
    for k in range(5):
        torch.testing.assert_close(
            found[..., k],
            prior(x[..., k], SIGMA, Condition(numbers=heights[k].expand(2, 1))),
            rtol=1e-4,
            atol=1e-4,
        )


TABLES = tuple(
    ErrorTable(side, (0.1, 1.0, 10.0), (0.001, 0.02, 0.2), ((float(side),) * BINS,) * 3) for side in (128, 32)
)


def test_the_error_table_rises_between_its_levels_and_beyond() -> None:
    """Where the levels rise so does what is read off, and at the levels it is what was written."""
    prior = made(errors=TABLES)
    sigmas = torch.logspace(-3, 2, 200)
    found = prior.error(sigmas)
    assert bool((found.diff() >= 0).all()) and bool((found > 0).all())
    torch.testing.assert_close(prior.error(torch.tensor([0.1, 1.0, 10.0])), torch.tensor([0.001, 0.02, 0.2]))


@pytest.mark.parametrize(
    "size, side", [((128, 100), 128), ((300, 20), 128), ((65, 65), 128), ((60, 63), 32), ((8, 8), 32)]
)
def test_the_spectrum_is_of_the_nearest_fineness(size: tuple[int, int], side: int) -> None:
    found = made(errors=TABLES).spectrum(SIGMA, size)
    assert found.shape == (2, *size)
    torch.testing.assert_close(found, torch.full_like(found, float(side)))


def test_without_a_table_the_bound_of_a_white_gaussian_stands() -> None:
    prior, sigma = made(sigma_data=0.5), torch.tensor([0.01, 0.5, 100.0])
    torch.testing.assert_close(prior.error(sigma), torch.tensor([1e-4, 0.125, 0.25]), rtol=1e-3, atol=0)
    assert torch.equal(prior.spectrum(sigma, (4, 4)), torch.ones(3, 4, 4))
    mean, std = prior.moments(noisy(8, 8), SIGMA)
    torch.testing.assert_close(std[:, 0, 0, 0], prior.error(SIGMA).sqrt())
    assert torch.equal(mean, prior(noisy(8, 8), SIGMA))


@pytest.mark.parametrize("claim, factor", [(1e6, 1.4), (-1e6, -14.0)])
def test_a_doubt_that_runs_away_is_bounded(claim: float, factor: float) -> None:
    """Whatever the network claims: the variance is at most about four times that of the path's own target,
    and never nothing.
    """
    prior = made(doubt=True)
    torch.nn.init.constant_(prior.net.doubt.bias, claim)  # type: ignore[union-attr, arg-type]
    _, std = prior.moments(noisy(8, 8), SIGMA)
    target = prior.path.c_out(SIGMA).abs() * torch.exp(torch.tensor(factor / 2))
    torch.testing.assert_close(std, target.reshape(2, 1, 1, 1).expand_as(std))


def test_the_loss_of_an_untrained_prior_is_one() -> None:
    """The target has unit variance at every level (a law), and a new network says nothing: the first loss of
    a run is about 1.
    """
    torch.manual_seed(0)
    prior = untrained_prior(Card("one", "MR", widths=(8, 16), blocks=1, sigma_data=0.5))
    rng = torch.Generator().manual_seed(2)
    x0, noise = (torch.randn(64, 1, 16, 16, generator=rng) for _ in range(2))
    with torch.no_grad():
        loss = prior.loss(0.5 * x0, torch.logspace(-2, 2, 64), noise, Condition())
    assert loss.shape == (64,) and float(loss.mean()) == pytest.approx(1, abs=0.05)


def test_an_unknown_path_names_the_nearest() -> None:
    with pytest.raises(BadOption, match="did you mean 'straight'"):
        path_named("strait", 0.5)
