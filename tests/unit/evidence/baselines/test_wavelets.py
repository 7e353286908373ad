"""The wavelet baseline is not crippled: its closed form, its optimality, another library's cycle spinning,
and it beats doing nothing.
"""

from __future__ import annotations

import numpy as np
import pytest
import torch
from skimage.data import camera, shepp_logan_phantom
from skimage.transform import resize
from torch import Tensor

from medprior.errors import BadOption
from medprior.evidence.baselines.classic import zero_filled
from medprior.evidence.baselines.fista import noise_weights
from medprior.evidence.baselines.wavelets import _details, wavelet_sparse
from medprior.evidence.metrics import psnr
from medprior.operators import (
    ComplexGaussian,
    Gaussian,
    Measurement,
    cartesian_lines,
    identity,
    mri,
    simulate,
)

N = 64


def wavelet_objective(
    measurement: Measurement, x: Tensor, weight: float, *, wavelet: str = "haar", levels: int = 4
) -> Tensor:
    """(B,): sum w |A x - y|^2 / 2 + weight * sum |detail coefficients of x|, with the w of ``ridge``; sides
    must be multiples of 2^levels.
    """
    apart = (measurement.operator(x) - measurement.y).abs() ** 2 * noise_weights(measurement)
    sizes = [
        np.abs(values).reshape(len(x), -1).sum(1)
        for level in _details(x, wavelet, levels)[1:]
        for values in level.values()
    ]
    return apart.flatten(1).sum(1) / 2 + weight * torch.from_numpy(np.sum(sizes, axis=0)).to(apart)


def rng(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.fixture(scope="module")
def phantom() -> Tensor:
    """(1, 1, 64, 64), 0 to 1: the Shepp-Logan phantom."""
    return torch.from_numpy(resize(shepp_logan_phantom(), (N, N), anti_aliasing=True)).float()[None, None]


def haar(x: Tensor) -> list[Tensor]:
    """One level of the orthonormal Haar transform, written out: approximation first."""
    a, b, c, d = x[..., ::2, ::2], x[..., ::2, 1::2], x[..., 1::2, ::2], x[..., 1::2, 1::2]
    return [(a + b + c + d) / 2, (a - b + c - d) / 2, (a + b - c - d) / 2, (a - b - c + d) / 2]


def unhaar(parts: list[Tensor]) -> Tensor:
    p, q, r, s = parts
    x = torch.zeros(*p.shape[:-2], 2 * p.shape[-2], 2 * p.shape[-1])
    x[..., ::2, ::2], x[..., ::2, 1::2], x[..., 1::2, ::2], x[..., 1::2, 1::2] = (
        p + q + r + s,
        p - q + r - s,
        p + q - r - s,
        p - q - r + s,
    )
    return x / 2


def soft(y: Tensor, weight: float) -> Tensor:
    """Soft thresholding of the details of one Haar level, by hand."""
    parts = haar(y)
    return unhaar([parts[0], *(v.sign() * (v.abs() - weight).clamp_min(0) for v in parts[1:])])


def test_denoising_is_soft_thresholding(phantom: Tensor) -> None:
    """Without shifts and with the identity as operator, the minimum is known in closed form."""
    m = simulate(phantom, identity((1, N, N)), Gaussian(0.1), rng())
    found = wavelet_sparse(m, 0.15, levels=1, spin=False, tol=0.0)
    assert torch.allclose(found, soft(m.y, 0.15), atol=1e-5)


def test_random_shifts_are_cycle_spinning(phantom: Tensor) -> None:
    """With shifts it tends to the mean over all four places of a one-level grid, and that mean is better than
    any one of them.
    """
    m = simulate(phantom, identity((1, N, N)), Gaussian(0.1), rng())
    all_places = torch.stack(
        [soft(m.y.roll((a, b), (2, 3)), 0.15).roll((-a, -b), (2, 3)) for a in (0, 1) for b in (0, 1)]
    )
    found = wavelet_sparse(m, 0.15, levels=1, n=400)
    assert float((found - all_places.mean(0)).abs().max()) < 0.1 * float((found - all_places[0]).abs().max())
    assert float(psnr(found, phantom, 1.0)) > 0.5 + float(psnr(all_places[0], phantom, 1.0))


def test_it_reaches_its_minimum(phantom: Tensor) -> None:
    """Undersampled k-space: no small step in 20 random directions, nor a scaled image, is lower; and TV's
    objective is not what was minimised.
    """
    m = simulate(phantom, mri(cartesian_lines((N, N), 4, rng())), ComplexGaussian(0.02), rng(1))
    found = wavelet_sparse(m, 0.01, wavelet="db4", levels=3, spin=False, tol=1e-6)
    least = float(wavelet_objective(m, found, 0.01, wavelet="db4", levels=3))
    steps = [1e-3 * torch.randn(found.shape, generator=rng(i)) for i in range(20)]
    assert least < min(
        float(wavelet_objective(m, found + s, 0.01, wavelet="db4", levels=3))
        for s in [*steps, 0.01 * found, -0.01 * found]
    )
    assert least < float(
        wavelet_objective(
            m, wavelet_sparse(m, 0.03, wavelet="db4", levels=3, spin=False), 0.01, wavelet="db4", levels=3
        )
    )


def test_it_gains_decibels_and_shifts_gain_more(phantom: Tensor) -> None:
    """2x MRI of one coil: 2.5 dB over the zero-filled image, and cycle spinning is worth 0.8 dB more."""
    m = simulate(phantom, mri(cartesian_lines((N, N), 2, rng())), ComplexGaussian(0.05), rng(1))
    both = (wavelet_sparse(m, 0.05, spin=spin, n=100) for spin in (False, True))
    plain, spun, nothing = (float(psnr(v, phantom, 1.0)) for v in (*both, zero_filled(m)))
    assert plain > nothing + 2.5
    assert spun > plain + 0.8


def test_any_size_any_dimension_and_batches() -> None:
    """Odd sides lie in a larger image; volumes are volumes; images of a batch do not know of each other; the
    seed says all.
    """
    x = torch.from_numpy(resize(camera(), (45, 38), anti_aliasing=True)).float()[None, None]
    m = simulate(torch.cat([x, 3 * x.flip(2)]), identity((1, 45, 38)), Gaussian(0.1), rng())
    both = wavelet_sparse(m, 0.1, n=20)
    alone = wavelet_sparse(Measurement(m.y[1:], m.operator, m.noise), 0.1, n=20)
    assert both.shape == m.y.shape and torch.allclose(both[1:], alone, atol=1e-3)
    assert torch.equal(both, wavelet_sparse(m, 0.1, n=20))
    volume = simulate(torch.zeros(1, 1, 8, 8, 9), identity((1, 8, 8, 9)), Gaussian(0.1), rng())
    assert float(wavelet_sparse(volume, 0.5, levels=2, n=8).std()) < 0.5 * float(volume.y.std())


def test_what_cannot_be_is_refused(phantom: Tensor) -> None:
    m = simulate(phantom, identity((1, N, N)), Gaussian(0.1), rng())
    for weight, n, levels in ((-1.0, 9, 1), (float("nan"), 9, 1), (0.1, 0, 1), (0.1, 9, 0)):
        with pytest.raises(BadOption, match="wavelet_sparse: wanted a weight"):
            wavelet_sparse(m, weight, n=n, levels=levels)
    for wavelet in ("bior2.2", "walnut"):
        with pytest.raises(BadOption, match="orthogonal"):
            wavelet_sparse(m, 0.1, wavelet=wavelet)
