"""The laws of a path, on every row of the table: unit variance in and out at every level, identity at zero
noise, one D whatever the row.
"""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from medprior.errors import BadOption
from medprior.prior import PATHS, Card, Condition, Path, Prior, path_named
from medprior.prior.denoiser import broadcast_level

SIGMAS = [0.002, 0.02, 0.1, 0.5, 1.0, 5.0, 20.0, 80.0]
DATA = 0.5


@pytest.fixture(params=sorted(PATHS))
def path(request: pytest.FixtureRequest) -> Path:
    return path_named(request.param, DATA)


def at(sigma: float) -> Tensor:
    return torch.tensor(sigma, dtype=torch.float64)


def draws(seed: int, n: int = 200_000) -> Tensor:
    return torch.randn(n, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@pytest.mark.parametrize("sigma", SIGMAS)
def test_the_network_sees_and_aims_at_unit_variance(path: Path, sigma: float) -> None:
    """c_in (x0 + s n) and (x0 - c_skip x) / c_out both have variance 1: measured on draws, not derived."""
    s, x0 = at(sigma), DATA * draws(0)
    x = x0 + s * draws(1)
    target = (x0 - path.c_skip(s) * x) / path.c_out(s)
    assert float((path.c_in(s) * x).var()) == pytest.approx(1, abs=0.02)
    assert float(target.var()) == pytest.approx(1, abs=0.02)


def test_no_noise_no_change(path: Path) -> None:
    """D(x, 0) = x, whatever the network says."""
    assert float(path.c_skip(at(0.0))) == 1
    assert float(path.c_out(at(0.0))) == 0
    assert bool(path.c_noise(at(0.0)).isfinite())


@pytest.mark.parametrize("sigma", SIGMAS)
def test_the_ideal_network_makes_the_wiener_filter(path: Path, sigma: float) -> None:
    """Regressing the target on the network's input and putting it through the path gives x * DATA^2 / (DATA^2
    + s^2), for both rows.
    """
    s = at(sigma)
    variance = DATA**2 + s**2
    covariance = (DATA**2 - path.c_skip(s) * variance) / path.c_out(s)  # of the target with x
    slope = covariance / (variance * path.c_in(s))  # best linear network: target = slope * input
    gain = path.c_skip(s) + path.c_out(s) * slope * path.c_in(s)
    assert float(gain) == pytest.approx(DATA**2 / float(variance), rel=1e-9)


@pytest.mark.parametrize("sigma", SIGMAS)
def test_rows_convert_into_one_another(sigma: float) -> None:
    """A karras output becomes a straight one through D and back, without loss."""
    s, x, out = at(sigma), draws(2, 1000), draws(3, 1000)
    rows = [path_named(name, DATA) for name in sorted(PATHS)]
    mean = rows[0].c_skip(s) * x + rows[0].c_out(s) * out
    other = (mean - rows[1].c_skip(s) * x) / rows[1].c_out(s)
    again = (rows[1].c_skip(s) * x + rows[1].c_out(s) * other - rows[0].c_skip(s) * x) / rows[0].c_out(s)
    assert float((again - out).abs().max()) < 1e-9


def test_straight_is_rectified_flow() -> None:
    """With t = s / (1 + s) and x_t = (1 - t) x0 + t n, the straight target is (n - x0) scaled to unit
    variance.
    """
    s, x0, n = at(0.7), DATA * draws(4, 1000), draws(5, 1000)
    path = path_named("straight", DATA)
    target = (x0 - path.c_skip(s) * (x0 + s * n)) / path.c_out(s)
    assert float((target - (n - x0) / (1 + DATA**2) ** 0.5).abs().max()) < 1e-12


class Ideal(nn.Module):
    """The best network for white data: a multiple of its input."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.path = path

    def forward(self, x: Tensor, noise: Tensor, label: Tensor | None, numbers: Tensor | None) -> Tensor:
        s = broadcast_level(torch.exp(4 * noise), x)
        variance = DATA**2 + s**2
        return (
            (DATA**2 - self.path.c_skip(s) * variance)
            / self.path.c_out(s)
            / (variance * self.path.c_in(s))
            * x[:, :1]
        )


def test_a_prior_with_the_ideal_network_is_the_wiener_filter(path: Path) -> None:
    """The whole class, not its parts: sigma is told apart image by image, position channels are no part of
    the answer.
    """
    prior = Prior(Ideal(path), path, Card("white", "MR", sigma_data=DATA))
    x, sigma = draws(6, 4 * 64).float().reshape(4, 1, 8, 8), torch.tensor([0.01, 0.3, 2.0, 40.0])
    wanted = x * broadcast_level(DATA**2 / (DATA**2 + sigma**2), x)
    assert float((prior(x, sigma) - wanted).abs().max()) < 1e-4


def test_the_loss_of_the_ideal_network_is_what_noise_leaves(path: Path) -> None:
    """Unit-variance target minus what the input explains: 1 - correlation^2, on data that really are
    white.
    """
    prior = Prior(Ideal(path), path, Card("white", "MR", sigma_data=DATA))
    x0, n = (
        DATA * draws(7, 50_000).float().reshape(1, 1, 50, 1000),
        draws(8, 50_000).float().reshape(1, 1, 50, 1000),
    )
    sigma = torch.tensor([0.5])
    s = at(0.5)
    variance = DATA**2 + s**2
    explained = ((DATA**2 - path.c_skip(s) * variance) / path.c_out(s)) ** 2 / variance
    assert float(prior.loss(x0, sigma, n, Condition())) == pytest.approx(float(1 - explained), abs=0.02)


def test_an_unknown_row_names_the_nearest() -> None:
    with pytest.raises(BadOption, match="did you mean 'karras'"):
        path_named("karas", DATA)
