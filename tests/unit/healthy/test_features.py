"""How a prior sees a scan: the same noise for every scan of a size, each slice for itself, numbers that can
be worked out by hand.
"""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from medprior.data.seeds import generator
from medprior.errors import BadOption, Diverged
from medprior.healthy import features as module
from medprior.healthy.features import SIGMAS, ScanFeatures, scan_features
from medprior.prior import Condition, Prior, path_named
from tests.unit.jobs.exact import CT, Exact, tiny

PARTS = ("pooled", "local", "profile", "offset", "doubt")


def scan(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed)) / 2


def same(a: ScanFeatures, b: ScanFeatures, at: slice = slice(None)) -> bool:
    """b is the part of a."""
    return all(torch.allclose(getattr(a, part)[at], getattr(b, part), atol=1e-5) for part in PARTS)


class Blank(Exact):
    """Takes everything for 0.25, with a doubt of 0.3."""

    def moments(self, x: Tensor, sigma: Tensor, condition: Condition | None = None) -> tuple[Tensor, Tensor]:
        return torch.full_like(x, 0.25), torch.full_like(x, 0.3)


@pytest.mark.parametrize("size, coarse", [((17, 12), (9, 6)), ((24, 20), (12, 10)), ((9, 8, 6), (5, 4, 3))])
def test_shapes(size: tuple[int, ...], coarse: tuple[int, ...]) -> None:
    """Mean and deviation of 16 coarse features, 6 levels; nothing to differentiate through."""
    n = 3 if len(size) == 2 else 1
    found = scan_features(tiny(len(size)), scan(n, 1, *size), Condition())
    assert found.pooled.shape == (n, 32) and found.local.shape == (n, 16, *coarse)
    assert found.profile.shape == (n, len(SIGMAS)) and found.offset.shape == found.doubt.shape == (
        n,
        len(SIGMAS),
        *size,
    )
    assert not any(getattr(found, part).requires_grad for part in PARTS)


def test_the_errors_are_those_of_one_denoising_step() -> None:
    """A denoiser whose answer never changes: errors, directions and doubt by hand, means over channels."""
    x = scan(2, 2, 16, 12)
    found = scan_features(Blank(replace(CT, channels=("a", "b"))), x, Condition(), levels=(0.2, 3.0))
    wanted = (0.25 - x).square().mean((1, 2, 3)).log()
    assert torch.allclose(found.profile, wanted[:, None].expand(2, 2), atol=1e-5)
    assert torch.allclose(found.offset, (0.25 - x).mean(1)[:, None].expand(2, 2, 16, 12), atol=1e-6)
    assert torch.equal(found.doubt, torch.full((2, 2, 16, 12), 0.3))


def test_the_noise_is_named_by_its_level_and_draw() -> None:
    """The offset is the mean over draws of restored - scan, each with the noise of its own seed."""
    prior, x = Exact(), scan(1, 1, 16, 12)
    made = [
        prior(x + 0.4 * torch.randn(x.shape, generator=generator(7, "look", 0.4, d)), torch.tensor([0.4])) - x
        for d in range(3)
    ]
    found = scan_features(prior, x, Condition(), seed=7, n_draws=3, levels=(0.4,))
    assert torch.allclose(found.offset[:, 0], torch.stack(made).mean(0)[:, 0], atol=1e-6)
    assert float(found.profile) == pytest.approx(float(torch.stack(made).square().mean().log()), abs=1e-5)


def test_the_same_scan_looks_the_same_and_another_seed_is_another_noise() -> None:
    prior, x = tiny(), scan(2, 1, 24, 20)
    assert same(scan_features(prior, x, Condition()), scan_features(prior, x, Condition()))
    assert not same(scan_features(prior, x, Condition()), scan_features(prior, x, Condition(), seed=1))


def test_a_scan_alone_looks_as_it_does_as_the_first_slice_of_a_stack() -> None:
    prior, x = tiny(), scan(4, 1, 24, 20)
    assert same(scan_features(prior, x, Condition()), scan_features(prior, x[:1], Condition()), slice(0, 1))


def test_a_slice_does_not_hang_on_the_others() -> None:
    """The same noise falls on it, whatever lies beside it."""
    prior, x = tiny(), scan(4, 1, 24, 20)
    others = scan(4, 1, 24, 20, seed=1)
    others[2] = x[2]
    one, two = scan_features(prior, x, Condition()), scan_features(prior, others, Condition())
    for part in PARTS:
        assert torch.allclose(getattr(one, part)[2], getattr(two, part)[2], atol=1e-5)
    assert not same(one, two)


def test_how_many_slices_pass_at_once_is_invisible(monkeypatch: pytest.MonkeyPatch) -> None:
    """Noise, label and height stay with their slice."""
    prior, x = tiny(), scan(5, 1, 24, 20)
    for parameter in prior.net.parameters():
        nn.init.normal_(parameter, std=0.1, generator=torch.Generator().manual_seed(0))
    known = Condition(label=torch.tensor([0, 1, -1, 1, 0]), numbers=torch.linspace(-1, 1, 5)[:, None])
    whole = scan_features(prior, x, known)
    assert not same(whole, scan_features(prior, x, Condition())), "the condition reaches the network"
    for at_once in (1, 2 * 24 * 20):
        monkeypatch.setattr(module, "_AT_ONCE", at_once)
        assert same(whole, scan_features(prior, x, known))
    for small in (1, 3 * 5 * 24 * 20):
        monkeypatch.setattr(module, "_SMALL", small)
        assert same(whole, scan_features(prior, x, known))


@pytest.mark.parametrize("n_draws", [1, 2, 8])
def test_more_draws_leave_less_noise_in_the_direction(n_draws: int) -> None:
    """Sixteen draws of an exact prior as the truth: the distance to it falls as 1 / sqrt(n)."""
    prior, x = Exact(), scan(1, 1, 24, 20)
    truth = prior(x, torch.tensor([0.8])) - x  # linear: the mean over noise is the answer without it
    off = float(
        (scan_features(prior, x, Condition(), n_draws=n_draws, levels=(0.8,)).offset[:, 0] - truth[:, 0])
        .square()
        .mean()
        .sqrt()
    )
    one = float(
        (scan_features(prior, x, Condition(), seed=1, n_draws=1, levels=(0.8,)).offset[:, 0] - truth[:, 0])
        .square()
        .mean()
        .sqrt()
    )
    assert off / one == pytest.approx(n_draws**-0.5, rel=0.35)


def test_what_is_not_finite_diverges_by_name() -> None:
    x = scan(2, 1, 24, 20)
    x[1, 0, 3, 3] = torch.nan
    with pytest.raises(Diverged, match="denoising error"):
        scan_features(tiny(), x, Condition())
    broken = tiny()
    broken.net.leave[2].bias.data[:] = torch.inf  # type: ignore[union-attr, index]
    with pytest.raises(Diverged, match=r"0\.1"):
        scan_features(broken, scan(1, 1, 24, 20), Condition())


def test_a_network_that_shows_no_features_is_refused_by_name() -> None:
    with pytest.raises(BadOption, match="Conv2d"):
        scan_features(
            Prior(nn.Conv2d(4, 1, 1), path_named("karras", 0.5), CT), scan(1, 1, 24, 20), Condition()
        )


def test_a_thin_volume_and_a_network_of_one_resolution_are_looked_at() -> None:
    assert scan_features(tiny(3), torch.randn(1, 1, 9, 8, 4), Condition()).local.shape[-1] == 2
    assert scan_features(tiny(2, widths=(8,)), torch.randn(1, 1, 9, 8), Condition()).pooled.shape == (1, 16)
