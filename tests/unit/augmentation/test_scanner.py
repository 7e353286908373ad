"""What scanners do wrong, held against what theory says of it."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from medprior.augmentation import Frame, Record, apply_record

SQUARE = 64


def phantom(n: int = SQUARE, ndim: int = 2) -> Tensor:
    """(1, ...) a bright box on black, inside of which the values vary."""
    x = torch.zeros([n] * ndim, dtype=torch.float64)
    inside = tuple(slice(n // 4, 3 * n // 4) for _ in range(ndim))
    x[inside] = 500 + 100 * torch.rand(
        [n // 2] * ndim, generator=torch.Generator().manual_seed(0), dtype=torch.float64
    )
    return x[None]


def one(
    x: Tensor, name: str, unit: str = "", spacing: tuple[float, ...] = (), **parameters: object
) -> Tensor:
    return apply_record(
        Record(({"name": name, **parameters},), Frame(tuple(x.shape[1:]), spacing, unit=unit), "test", 0), x
    )[0]


def test_rician_noise_is_rayleigh_where_there_is_no_signal() -> None:
    """Mean sqrt(pi / 2) std and standard deviation sqrt(2 - pi / 2) std (Gudbjartsson and Patz 1995); far
    from zero it is Gaussian.
    """
    x = torch.cat([torch.zeros(100, 200), torch.full((100, 200), 1000.0)]).double()[None]
    std = 20.0
    y = one(x, "rician_noise", share=std / 1000, seed=1)
    dark, bright = y[0, :100], y[0, 100:]
    assert dark.mean().item() == pytest.approx(np.sqrt(np.pi / 2) * std, rel=0.02)
    assert dark.std().item() == pytest.approx(np.sqrt(2 - np.pi / 2) * std, rel=0.03)
    assert bright.std().item() == pytest.approx(std, rel=0.03) and float(y.min()) >= 0


@pytest.mark.parametrize("ndim", [2, 3])
def test_motion_leaves_the_anatomy_where_its_mask_is(ndim: int) -> None:
    """The middle of k-space was read at rest, so the best shift onto the source is none; the outer lines were
    not, so the image differs.
    """
    n = SQUARE if ndim == 2 else 24
    x = phantom(n, ndim)
    degrees = [4.0] if ndim == 2 else [2.0, 4.0, -3.0]
    segment = {"from": 0.2, "to": 1.0, "degrees": degrees, "share": [0.03] * ndim}
    y = one(x, "motion", axis=0, segments=[segment])
    axes = tuple(range(1, ndim + 1))
    correlation = torch.fft.ifftn(
        torch.fft.fftn(x, dim=axes) * torch.fft.fftn(y, dim=axes).conj(), dim=axes
    ).real
    assert int(correlation.argmax()) == 0
    assert float((y - x).abs().mean()) > 1 and torch.isfinite(y).all()


def test_motion_of_nothing_is_nothing() -> None:
    x = phantom()
    still = {"from": 0.2, "to": 1.0, "degrees": [0.0], "share": [0.0, 0.0]}
    assert float((one(x, "motion", axis=0, segments=[still]) - x).abs().max()) < 1e-9


@pytest.mark.parametrize("axis", [0, 1])
def test_ghosts_lie_where_the_weak_lines_say(axis: int) -> None:
    """Every 4th line weaker: copies at a quarter, a half and three quarters of the field of view, along that
    axis alone.
    """
    x = torch.zeros(1, SQUARE, SQUARE, dtype=torch.float64)
    x[0, 8, 8] = 1000.0
    y = one(x, "ghost", axis=axis, every=4, share=0.5)
    line = y[0, :, 8] if axis == 0 else y[0, 8]
    quarter = SQUARE // 4
    assert all(float(line[8 + step * quarter]) > 50 for step in (1, 2, 3))
    other = y[0, 8 + quarter // 2] if axis == 0 else y[0, :, 8 + quarter // 2]
    assert float(other.sum()) < 0.2 * 1000


def test_a_spike_is_a_wave_of_its_frequency() -> None:
    """A sample at (6, 10) of a field of 64 is a wave of 3 and 5 periods in half of it, where the image is
    bright enough to show it as it is.
    """
    x = torch.full((1, SQUARE, SQUARE), 500.0, dtype=torch.float64)
    x[0, 0, 0] = 0
    y = one(x, "spike", share=0.1, places=[[6 / SQUARE, 10 / SQUARE]])
    inner = (y - x)[0, 16:48, 16:48]
    spectrum = torch.fft.rfft2(inner - inner.mean()).abs()
    assert divmod(int(spectrum.argmax()), spectrum.shape[1]) in ((3, 5), (32 - 3, 5))
    assert float(inner.abs().max()) == pytest.approx(0.1 * 500, rel=0.1)


def disc(n: int, hu: float) -> Tensor:
    i, j = np.mgrid[:n, :n] - (n - 1) / 2
    return torch.from_numpy(np.where(np.hypot(i, j) < 0.4 * n, hu, -1000.0))[None]


def test_less_dose_is_more_noise_by_the_root_and_no_other_tissue() -> None:
    x = disc(96, 0.0)
    middle = (slice(None), slice(36, 60), slice(36, 60))
    few = {"photons": 1e5, "views": 180}
    stds = {}
    for fraction in (0.5, 0.2):
        change = torch.stack(
            [
                (one(x, "dose", "HU", (3.0, 3.0), fraction=fraction, seed=s, **few) - x)[middle]
                for s in range(6)
            ]
        )
        assert abs(float(change.mean())) < 0.2 * float(change.std())
        stds[fraction] = float(change.std())
    assert stds[0.2] / stds[0.5] == pytest.approx(np.sqrt((1 / 0.2 - 1) / (1 / 0.5 - 1)), rel=0.1)


def test_dose_noise_is_stronger_behind_more_tissue() -> None:
    few = {"photons": 1e5, "views": 180, "fraction": 0.25, "seed": 0}
    middle = (slice(None), slice(36, 60), slice(36, 60))
    thin, thick = (
        float((one(disc(96, 0.0), "dose", "HU", (mm, mm), **few) - disc(96, 0.0))[middle].std() * mm)
        for mm in (1.5, 3.0)
    )
    assert thick > 2 * thin  # noise times pixel size grows as exp(half of the path's attenuation)


def test_dose_noise_agrees_with_the_closed_form() -> None:
    """For a ramp filter the variance of a pixel is pi^2 / (12 views spacing^2) times that of its rays (Kak
    and Slaney, section 5.1); Hann's window leaves 12 times the integral of (2 f cos^2(pi f))^2, over f from 0
    to 1/2, of it."""
    from medprior.augmentation.scanner import WATER_PER_MM

    x, mm, photons = torch.full((1, 96, 96), -1000.0, dtype=torch.float64), 2.0, 1e4
    y = one(x, "dose", "HU", (mm, mm), fraction=0.5, photons=photons, views=180, seed=0) - x
    f = (np.arange(20000) + 0.5) / 40000
    hann = 24 * np.mean((f * np.cos(np.pi * f) ** 2) ** 2) / 2
    interpolated = 2 / 3  # linear interpolation between bins averages neighbours: mean of (1 - t)^2 + t^2
    ramp = np.pi / np.sqrt(12 * 180) / mm * np.sqrt(1 / photons) / WATER_PER_MM * 1000
    low, high = ramp * np.sqrt(hann * interpolated), ramp * np.sqrt(hann)
    assert 0.9 * low < float(y.std()) < 1.1 * high


def test_speckle_has_its_share_and_leaves_the_dark_dark() -> None:
    x = torch.cat([torch.zeros(64, 64), torch.full((64, 64), 100.0), 120 + torch.zeros(64, 64)]).double()[
        None
    ]
    y = one(x, "speckle", share=0.05, grain=[0.7, 1.2], seed=0)
    assert torch.equal(y[0, :64], x[0, :64])
    change = (y - x)[0, 64:]
    assert change.std().item() == pytest.approx(0.05 * 120, rel=0.15)
    across = (change[:, 1:] * change[:, :-1]).mean() / change.var()
    assert float(across) > 0.3  # it has grains, white noise has none
    skew = ((change - change.mean()) ** 3).mean() / change.std() ** 3
    assert float(skew) < -0.5  # the Fisher-Tippett law has a long dark tail


def test_volumes_get_dose_noise_slice_by_slice_along_the_body() -> None:
    x = disc(32, 0.0)[..., None].expand(1, 32, 32, 2).contiguous()
    frame = Frame((32, 32, 2), (6.0, 6.0, 5.0), "LPS", "HU")
    step = {"name": "dose", "fraction": 0.3, "photons": 1e5, "views": 60, "seed": 1}
    y = apply_record(Record((step,), frame, "test", 0), x)[0] - x
    turned = apply_record(
        Record((step,), Frame((2, 32, 32), (5.0, 6.0, 6.0), "SLP", "HU"), "test", 0),
        x.movedim(-1, 1).contiguous(),
    )[0] - x.movedim(-1, 1)
    assert torch.allclose(turned, y.movedim(-1, 1)) and float((y[..., 0] - y[..., 1]).abs().max()) > 1
