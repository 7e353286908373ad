"""Estimated noise: within 10 % on real scans of unseen patients with noise that was put in, and a sentence
that says that it is an estimate.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from medprior.errors import BadOption, UnknownNoise
from medprior.io.arrays import read_stack
from medprior.io.read import read
from medprior.operators import (
    ComplexGaussian,
    Gaussian,
    Measurement,
    Poisson,
    Unknown,
    cone_ct,
    flat_noise,
    identity,
    kspace_noise,
    mask,
    mri,
    parallel_ct,
    photon_noise,
    simulate,
    simulated_coils,
    view_angles,
    wavelet_noise,
    with_estimated_noise,
)


def rng(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.fixture(scope="module")
def scans(real_data: Path) -> dict[str, list[Tensor]]:
    """Slices of validation patients, 0 to 1, as float32 (i, j)."""
    ct = [
        torch.from_numpy(v.data[0]).add(1000).div(2000).clamp(0, 1)
        for v in read_stack(real_data / "ct_slices_hu" / "val" / "slices_256.npz").images[:4]
    ]
    brains = sorted((real_data / "brain_mri_t1_3d_ixi" / "val").glob("*t1.nii.gz"))
    mr = [torch.from_numpy(np.ascontiguousarray(read(p).data[0, :, :, 48])) / 255 for p in brains]
    films = sorted((real_data / "chest_xray_nih" / "val").glob("*/*.png"))[:4]
    return {"ct": ct, "mr": mr, "x-ray": [torch.from_numpy(read(p).data[0]) / 255 for p in films]}


@pytest.mark.parametrize("kind", ["ct", "mr", "x-ray"])
@pytest.mark.parametrize("std", [0.01, 0.03, 0.1])
def test_flat_regions_tell_the_noise_of_real_scans(
    scans: dict[str, list[Tensor]], kind: str, std: float
) -> None:
    """White noise of 1, 3 and 10 % of the range on slices of CT, MR and X-ray: each slice's estimate is
    within 10 % of what was put in.
    """
    for n, clean in enumerate(scans[kind]):
        noisy = clean + std * torch.randn(clean.shape, generator=rng(n))
        noise = flat_noise(noisy).noise
        assert isinstance(noise, Gaussian)
        assert float(noise.std) == pytest.approx(std, rel=0.1), (kind, n)


@pytest.mark.parametrize("std", [0.03, 0.1])
def test_wavelets_tell_the_noise_of_smooth_scans(scans: dict[str, list[Tensor]], std: float) -> None:
    """The median of the finest wavelet coefficients: within 10 % on CT and X-ray; on 2 mm brain slices detail
    counts as noise, which flat_noise avoids.
    """
    for n, clean in enumerate(scans["ct"] + scans["x-ray"]):
        noise = wavelet_noise(clean + std * torch.randn(clean.shape, generator=rng(n))).noise
        assert isinstance(noise, Gaussian) and float(noise.std) == pytest.approx(std, rel=0.1)


def test_the_corners_of_kspace_tell_the_noise_of_real_scans(scans: dict[str, list[Tensor]]) -> None:
    """Three SIMULATED coils, noise of 10 %: each coil within 10 %. Less noise than what a 2 mm slice sends
    into its corners is over-estimated, never under.
    """
    for n, clean in enumerate(scans["mr"]):
        maps = simulated_coils(3, tuple(clean.shape), rng(n))
        for std, least, most in ((0.1, 0.9, 1.1), (0.01, 0.9, 4.0)):
            y = simulate(
                clean[None, None],
                mri(torch.ones(clean.shape, dtype=torch.bool), maps),
                ComplexGaussian(std),
                rng(n),
            ).y[0]
            noise = kspace_noise(y).noise
            assert isinstance(noise, ComplexGaussian) and isinstance(noise.std, Tensor)
            assert noise.std.shape == (3, 1, 1)
            assert least * std < float(noise.std.min()) and float(noise.std.max()) < most * std


@pytest.mark.parametrize("counts", [1e3, 1e4, 1e5])
def test_neighbouring_bins_tell_the_dose(scans: dict[str, list[Tensor]], counts: float) -> None:
    """Parallel beam of real CT slices, 10^3 to 10^5 photons: the standard deviation of each ray within 10 %;
    20 % at 10^5, where edges are as large.
    """
    A = parallel_ct((1, 256, 256), view_angles(24), 365)
    for n, clean in enumerate(scans["ct"]):
        y = simulate(0.0193 * 2 * clean[None, None], A, Poisson(counts), rng(n)).y
        noise = photon_noise(y[0]).noise
        assert isinstance(noise, Poisson)
        assert 0.9 < (counts / float(noise.counts)) ** 0.5 < (1.2 if counts == 1e5 else 1.1)


def test_unknown_noise_becomes_an_estimate_that_says_so() -> None:
    """Each kind of measurement by its own estimator, in a sentence for the report; known noise is left alone;
    what cannot be estimated stays an error.
    """
    x = torch.rand(1, 1, 64, 64, generator=rng()).cumsum(-1).div(64)
    ct = parallel_ct((1, 64, 64), view_angles(30), 91, spacing=0.05)
    volume = x[:, :, :16, :16, None].expand(-1, -1, -1, -1, 12)
    cone = cone_ct(
        (1, 16, 16, 12),
        view_angles(8),
        (60, 12),
        source_to_axis=50.0,
        source_to_detector=80.0,
        bin_spacing=0.6,
    )
    cases = [
        (simulate(x, identity((1, 64, 64)), Gaussian(0.05), rng()), "flattest blocks"),
        (
            simulate(x, mri(torch.ones(64, 64, dtype=torch.bool)), ComplexGaussian(0.05), rng()),
            "outermost 5%",
        ),
        (simulate(x, ct, Poisson(1e4), rng()), "photons"),
        (simulate(volume, cone, Poisson(1e4), rng()), "photons"),
    ]
    for m, words in cases:
        truth = x if m.operator.domain == (1, 64, 64) else volume
        found, how = with_estimated_noise(Measurement(m.y, m.operator, Unknown(), m.simulated))
        assert words in how and "estimated" in how and found.simulated
        assert float(found.misfit(truth)[0]) == pytest.approx(1, abs=0.4)
        assert with_estimated_noise(found) == (found, "")
    inpainting = simulate(x, mask((1, 64, 64), x[0, 0] > 0.2), Gaussian(0.1), rng())
    with pytest.raises(UnknownNoise, match="state it"):
        with_estimated_noise(Measurement(inpainting.y, inpainting.operator, Unknown()))


def test_what_has_no_noise_is_refused() -> None:
    """A constant image, a tiny one, a complex one, a sinogram without noise: an error, not a noise of
    zero.
    """
    with pytest.raises(BadOption, match="constant"):
        flat_noise(torch.ones(64, 64))
    with pytest.raises(BadOption, match="constant"):
        wavelet_noise(torch.zeros(64, 64))
    with pytest.raises(BadOption, match="8 x 8"):
        flat_noise(torch.ones(4, 4))
    with pytest.raises(BadOption, match="8 x 8"):
        flat_noise(torch.rand(9, 9, generator=rng()))
    with pytest.raises(BadOption, match="kspace_noise"):
        wavelet_noise(torch.ones(64, 64, dtype=torch.complex64))
    with pytest.raises(BadOption, match="constant"):
        photon_noise(torch.zeros(4, 48))
    with pytest.raises(BadOption, match="32 bins"):
        photon_noise(torch.zeros(4, 6))
