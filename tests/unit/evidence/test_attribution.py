"""What the data said and what the prior said, against closed forms and against the pseudoinverse of every
operator of the catalogue.
"""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from medprior.errors import BadOption, MissingExtra, ShapeMismatch, UnknownNoise
from medprior.evidence.attribution import (
    EXACT,
    Attribution,
    Residual,
    attribution,
    data_shares,
    residual,
    split,
)
from medprior.operators import (
    CATALOGUE,
    ComplexGaussian,
    Gaussian,
    Measurement,
    Operator,
    Poisson,
    Unknown,
    blur,
    cartesian_lines,
    downsample,
    identity,
    mask,
    mri,
    parallel_ct,
    simulate,
    view_angles,
)
from medprior.prior.rings import BINS
from medprior.sampling import Draws


def rng(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def images(n: int, *shape: int, seed: int = 1) -> Tensor:
    return torch.randn(n, *shape, generator=rng(seed), dtype=torch.float64)


def near(a: Tensor, b: Tensor, tolerance: float = 1e-6) -> bool:
    return a.shape == b.shape and float((a - b).abs().max()) <= tolerance * float(b.abs().max())


def phantom(side: int) -> Tensor:
    """(1, 1, side, side): a smooth-edged disc."""
    place = torch.linspace(-1, 1, side)
    return torch.sigmoid(30 * (0.7 - (place[:, None] ** 2 + place**2).sqrt()))[None, None]


def drawn(values: Tensor) -> Draws:
    return Draws(values, 0, "made for a test")


KEEP = torch.rand(6, 8, generator=rng()) < 0.4


def test_of_a_mask_the_data_said_the_kept_pixels() -> None:
    x = images(3, 2, 6, 8)
    assert near(split(mask((2, 6, 8), KEEP), x).data, x * KEEP)


def test_of_block_means_the_data_said_the_means() -> None:
    x = images(2, 1, 6, 8)
    means = x.reshape(2, 1, 3, 2, 4, 2).mean((3, 5))
    assert near(
        split(downsample((1, 6, 8), 2), x).data, means.repeat_interleave(2, 2).repeat_interleave(2, 3)
    )


def test_of_sampled_kspace_the_data_said_each_frequency_and_its_mirror() -> None:
    """The image is real, so a frequency that was not sampled is known where its mirror was."""
    x = images(2, 1, 6, 8)
    here = torch.fft.ifftshift(KEEP)
    mirrored = here.flip(0, 1).roll((1, 1), (0, 1))
    expected = torch.fft.ifftn(torch.fft.fftn(x, dim=(2, 3)) * (here | mirrored), dim=(2, 3)).real
    found = split(mri(KEEP), x)
    assert near(found.data, expected) and found.iterations <= 3


def dense(A: Operator) -> Tensor:
    """The matrix of A between real vectors; complex numbers are pairs."""
    size = math.prod(A.domain)
    columns = torch.eye(size, dtype=torch.float64).reshape(size, *A.domain)
    basis = torch.cat([columns, 1j * columns]) if A.domain_is_complex else columns
    return as_real(A(basis)).T


def as_real(y: Tensor) -> Tensor:
    return torch.cat([y.real, y.imag], 1).flatten(1) if y.is_complex() else y.flatten(1)


NEARLY_SINGULAR = {
    "blur": 1e-4,
    "cone-ct": 2e-3,
    "cone-ct-anisotropic": 4e-4,
    "mri-complex": 6e-4,
    "parallel-ct": 2e-4,
}
"""Operators whose singular values fall without a gap: how far 300 iterations come on white noise, the hardest
image there is.
"""


@pytest.mark.parametrize("name", sorted(CATALOGUE))
def test_split_is_the_pseudoinverse_of_every_operator(name: str) -> None:
    """data = A+ A x, the two are orthogonal, the measurement does not see prior; in double precision."""
    try:
        A = CATALOGUE[name]()
    except MissingExtra as missing:
        pytest.skip(str(missing))
    x = images(2, *A.domain) + (1j * images(2, *A.domain, seed=2) if A.domain_is_complex else 0)
    found = split(A, x, tol=1e-6, n=300)
    assert near(found.data + found.prior, x, 1e-12)
    assert found.check <= NEARLY_SINGULAR.get(name, EXACT)
    across = (found.data.conj() * found.prior).real.flatten(1).sum(1)
    assert name in NEARLY_SINGULAR or float(across.abs().max()) < 1e-4 * float(x.abs().square().sum())
    matrix = dense(A)
    values, right = torch.linalg.svd(matrix, full_matrices=False)[1:]
    rows = right[values > 0.1 * values[0]]  # what is smaller is settled less by such a residual
    assert near(as_real(found.data) @ rows.T @ rows, as_real(x) @ rows.T @ rows, max(1e-4, 20 * found.check))
    seen = as_real(found.data)
    kept = right[values > 1e-11 * values[0]]
    assert float((seen - seen @ kept.T @ kept).abs().max()) < 1e-5 * float(seen.abs().max())


def test_projections_are_split_in_single_precision() -> None:
    """The promised figure on sparse views of something like an image: it takes iterations, not a better
    arithmetic.
    """
    A = parallel_ct((1, 32, 32), view_angles(12), 46)
    found = split(A, phantom(32))
    assert found.check <= EXACT and found.iterations > 20


def test_what_is_nearly_invisible_is_not_called_exact() -> None:
    found = split(blur((1, 32, 32), 6.0), images(1, 1, 32, 32).float(), n=30)
    assert found.check > EXACT and found.iterations == 30


def test_an_image_of_zeros_has_no_parts() -> None:
    found = split(identity((1, 4, 4)), torch.zeros(1, 1, 4, 4))
    assert float(found.data.abs().max()) == float(found.prior.abs().max()) == found.check == 0


MEASURED = {
    "mri": lambda x: simulate(x, mri(cartesian_lines((48, 48), 3, rng(3))), ComplexGaussian(0.05), rng(4)),
    "mask": lambda x: simulate(
        x, mask((1, 48, 48), torch.rand(48, 48, generator=rng(5)) < 0.5), Gaussian(0.05), rng(4)
    ),
    "photons": lambda x: simulate(
        0.02 * x.abs(), parallel_ct((1, 48, 48), view_angles(40), 69), Poisson(1e5), rng(4)
    ),
}


@pytest.mark.parametrize("name", sorted(MEASURED))
def test_the_truth_leaves_the_noise_and_nothing_else(name: str) -> None:
    x = images(1, 1, 48, 48).float()
    m = MEASURED[name](x)
    found = residual(m, drawn(0.02 * x.abs() if name == "photons" else x))
    assert found.draws is None and found.fits
    assert found.image == pytest.approx(1, abs=4 * math.sqrt(2 / m.count))


def test_draws_of_the_posterior_lie_as_far_from_the_data_as_the_truth_and_their_mean_nearer() -> None:
    """x ~ N(0, 1), y = x + 0.5 n: the posterior is N(y / 1.25, 0.2), the mean leaves 1 - 0.2 / 0.25 of the
    noise's variance and a draw all of it.
    """
    x = images(1, 1, 64, 64)
    m = simulate(x, identity((1, 64, 64)), Gaussian(0.5), rng(2))
    draws = m.y / 1.25 + math.sqrt(0.2) * images(50, 1, 64, 64, seed=3)
    found = residual(m, drawn(draws))
    assert found.draws == pytest.approx(1, abs=0.03)
    assert found.image == pytest.approx(1 - 0.8 * 49 / 50, abs=0.03)
    assert found.fits, "the mean alone would pass for one that follows the noise"


def test_what_does_not_fit_says_so_and_why() -> None:
    x = images(1, 1, 48, 48).float()
    m = simulate(x, identity((1, 48, 48)), Gaussian(0.1), rng(2))
    assert "too far" in residual(m, drawn(x + 0.2)).verdict and not residual(m, drawn(x + 0.2)).fits
    assert "too close" in residual(m, drawn(m.y)).verdict and not residual(m, drawn(m.y)).fits
    doubled = Measurement(m.y, m.operator, Gaussian(0.2))
    assert "smaller than was stated" in residual(doubled, drawn(x)).verdict
    assert residual(m, drawn(x)).verdict.startswith("fits the measurement")
    assert not Residual(image=1.5, draws=1.0).fits, (
        "the image that is shown must not lie farther off than its draws may"
    )


def test_a_measurement_of_nothing_and_unknown_noise_are_refused() -> None:
    with pytest.raises(BadOption, match="at least one observed entry"):
        Measurement(
            torch.zeros(1, 1, 4, 4), mask((1, 4, 4), torch.zeros(4, 4, dtype=torch.bool)), Gaussian(1.0)
        )
    unknown = Measurement(torch.zeros(1, 1, 4, 4), identity((1, 4, 4)), Unknown())
    with pytest.raises(UnknownNoise):
        residual(unknown, drawn(torch.zeros(1, 1, 4, 4)))


@pytest.mark.parametrize("std", [0.3, 1.0, 3.0])
def test_of_a_noisy_white_image_the_data_decide_the_share_of_wiener(std: float) -> None:
    """S = 1 at every frequency, A = identity: H = 1 / (1 + std^2)."""
    x = images(1, 1, 64, 64).float()
    image, share = data_shares(simulate(x, identity((1, 64, 64)), Gaussian(std), rng(2)), x)
    assert float((share - 1 / (1 + std**2)).abs().max()) < 0.08
    assert float((image * x).sum() / x.square().sum()) == pytest.approx(1 / (1 + std**2), abs=0.03)


def test_the_noise_decides_how_fine_the_data_reach() -> None:
    """A blurred image has no null space, and the strict split gives all of it to the data; with more noise
    the data reach less far, and the split says so.
    """
    x = phantom(64) + 0.1 * images(1, 1, 64, 64).float()
    found = [
        attribution(simulate(x, blur((1, 64, 64), 2.0), Gaussian(std), rng(2)), drawn(x))
        for std in (1e-3, 1e-2, 1e-1)
    ]
    assert found[0].finest < found[1].finest < found[2].finest < 64
    assert found[0].unheard_share < found[1].unheard_share < found[2].unheard_share < 0.2
    assert found[0].null_share == pytest.approx(found[2].null_share)


def test_data_that_decide_nothing_reach_nothing() -> None:
    m = simulate(images(1, 1, 32, 32).float(), identity((1, 32, 32)), Gaussian(1e4), rng())
    assert attribution(m, drawn(images(1, 1, 32, 32).float())).finest == math.inf


def masked(n_draws: int, truth: Tensor | None = None) -> tuple[Tensor, Tensor, Attribution]:
    keep = torch.rand(16, 16, generator=rng(7)) < 0.5
    x = images(1, 1, 16, 16).float()
    m = simulate(x, mask((1, 16, 16), keep), Gaussian(0.1), rng(8))
    values = x + torch.where(keep, 0.1, 0.7) * images(n_draws, 1, 16, 16, seed=9).float()
    return keep, values, attribution(m, drawn(values), truth=truth)


def test_attribution_of_a_mask_is_known_in_every_part() -> None:
    truth = images(1, 1, 16, 16, seed=11).float()
    keep, values, found = masked(8, truth)
    mean = values.mean(0)
    assert near(found.data_said, mean * keep, 1e-5) and near(found.prior_said, mean * ~keep, 1e-5)
    assert found.null_share == pytest.approx(
        float((mean * ~keep).square().sum() / mean.square().sum()), rel=1e-5
    )
    assert found.prior_spread is not None and near(found.prior_spread, values.std(0) * ~keep, 1e-4)
    assert found.hallucinated is not None and near(found.hallucinated, (mean - truth[0]) * ~keep, 1e-5)
    assert found.exact and found.data_share.shape == (BINS,) and found.unheard.shape == mean.shape


def test_one_image_has_no_spread_and_no_truth_no_hallucination() -> None:
    found = masked(1)[2]
    assert found.prior_spread is None and found.hallucinated is None and found.residual.draws is None


def test_units_do_not_matter() -> None:
    """The same in Hounsfield-like units: the residual, the check and the shares stay; a split is about the
    zero of the unit it is made in.
    """
    x = images(1, 1, 24, 24).float()
    m = simulate(x, mri(cartesian_lines((24, 24), 2, rng(3))), ComplexGaussian(0.1), rng(4))
    values = x + 0.1 * images(4, 1, 24, 24, seed=5).float()
    here, there = attribution(m, drawn(values)), attribution(m.shifted(0.01, 0.0), drawn(100 * values))
    assert there.residual.image == pytest.approx(
        here.residual.image, rel=1e-4
    ) and there.null_share == pytest.approx(here.null_share, rel=1e-4)
    assert near(there.data_share, here.data_share, 1e-3)
    moved = residual(m.shifted(0.01, 3.0), drawn(100 * (values - 3.0)))
    assert moved.draws == pytest.approx(here.residual.draws, rel=1e-3)


def test_several_measurements_and_another_truth_are_refused() -> None:
    x = images(2, 1, 8, 8).float()
    with pytest.raises(ShapeMismatch, match="one measurement"):
        attribution(simulate(x, identity((1, 8, 8)), Gaussian(0.1), rng()), drawn(x))
    with pytest.raises(ShapeMismatch, match="truth"):
        attribution(simulate(x[:1], identity((1, 8, 8)), Gaussian(0.1), rng()), drawn(x), truth=x)


def test_a_volume_has_parts_as_an_image_has() -> None:
    x = images(1, 1, 12, 10, 8).float()
    m = simulate(x, downsample((1, 12, 10, 8), 2), Gaussian(0.1), rng(4))
    found = attribution(m, drawn(x + 0.1 * images(3, 1, 12, 10, 8, seed=5).float()))
    assert found.exact and found.prior_said.shape == (1, 12, 10, 8) and 0.8 < found.null_share < 0.95
    assert found.prior_spread is not None and found.prior_spread.shape == (1, 12, 10, 8)
