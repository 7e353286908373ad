"""Changes of the numbers: the size that their parameters say, per channel, harmless on constant images, equal
to other libraries where those do the same.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy import ndimage
from torch import Tensor

from medprior.augmentation import TRANSFORMS, Frame, Policy, Record, Strength, apply_record, draw_record
from medprior.augmentation.intensity import image_statistics
from medprior.augmentation.policies import MODALITIES
from medprior.errors import BadOption

SHAPES = [(48, 40), (16, 20, 12)]


def image(*shape: int, seed: int = 0) -> Tensor:
    """Values 100 to 900, smooth."""
    x = torch.rand((1, *shape), generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return 100 + 800 * torch.from_numpy(
        ndimage.gaussian_filter(x.numpy(), 2, axes=tuple(range(1, x.ndim)))
    ).sub(0.3).div(0.4).clamp(0, 1)


def one(
    x: Tensor, name: str, unit: str = "", spacing: tuple[float, ...] = (), **parameters: object
) -> Tensor:
    frame = Frame(tuple(x.shape[1:]), spacing, unit=unit)
    return apply_record(Record(({"name": name, **parameters},), frame, "test", 0), x)[0]


@pytest.mark.parametrize("shape", SHAPES)
def test_shares_are_of_the_range_of_each_channel(shape: tuple[int, ...]) -> None:
    x = torch.cat([image(*shape), 10 * image(*shape)])
    at = image_statistics(x, Frame(shape))
    change = (one(x, "brightness", share=0.1) - x).flatten(1)
    assert torch.allclose(change.mean(1), 0.1 * at.span.flatten())
    noise = (one(x, "noise", share=0.1, seed=1) - x).flatten(1)
    assert torch.allclose(noise.std(1), 0.1 * at.span.flatten(), rtol=0.05)


@pytest.mark.parametrize(
    "shape",
    [
        (256, 256),
        (512, 512),
        (1024, 1024),
        (1024, 768),
        (28, 28),
        (64, 64, 64),
        (96, 96, 96),
        (256, 256, 24),
        (300, 277),
    ],
)
def test_the_range_is_measured_all_over_the_image_and_not_in_its_empty_border(shape: tuple[int, ...]) -> None:
    around = torch.meshgrid(*(torch.linspace(-1.25, 1.25, n) for n in shape), indexing="ij")
    x = (1 - torch.stack(list(around)).square().sum(0)).clamp(0)[
        None
    ]  # a ball in the middle, nothing at the border
    at, wanted = image_statistics(x, Frame(shape)), np.quantile(x.numpy(), (0.01, 0.99))
    assert not at.flat
    assert np.allclose([float(at.low), float(at.high)], wanted, atol=0.03)


def test_shares_of_hounsfield_units_are_of_water_and_air() -> None:
    x = torch.zeros(1, 200, 200, dtype=torch.float64)
    assert one(x, "noise", "HU", share=0.02, seed=0).std().item() == pytest.approx(20, rel=0.02)


@pytest.mark.parametrize("shape", SHAPES)
def test_gamma_keeps_both_ends_and_order(shape: tuple[int, ...]) -> None:
    x = image(*shape)
    at, y = image_statistics(x, Frame(shape)), one(x, "gamma", exponent=1.4)
    span = (x - at.low) / at.span
    inside = (span > 0) & (span < 1)
    assert bool((y[inside] <= x[inside] + 1e-9).all())
    assert torch.allclose(y[span > 0], (span[span > 0] ** 1.4) * at.span + at.low) and torch.allclose(
        y[span <= 0], x[span <= 0]
    )
    order = x.flatten().argsort()
    assert float(y.flatten()[order].diff().min()) >= -1e-9


def test_contrast_keeps_the_mean() -> None:
    x = image(48, 40)
    y = one(x, "contrast", factor=1.3)
    assert y.mean().item() == pytest.approx(x.mean().item()) and y.std().item() == pytest.approx(
        1.3 * x.std().item()
    )


@pytest.mark.parametrize(
    ("shape", "spacing"), [((48, 40), (1.0, 1.0)), ((48, 40), (1.0, 2.0)), ((16, 20, 12), (1.0, 1.0, 2.0))]
)
def test_blur_agrees_with_scipy(shape: tuple[int, ...], spacing: tuple[float, ...]) -> None:
    x, sigma = image(*shape), 1.3
    theirs = ndimage.gaussian_filter(
        x[0].numpy(),
        [sigma / s for s in spacing],
        mode="nearest",
        radius=[int(np.ceil(3 * sigma / s)) for s in spacing],
    )
    assert np.abs(one(x, "blur", spacing=spacing, sigma=sigma)[0].numpy() - theirs).max() < 1e-9


@pytest.mark.parametrize("shape", SHAPES)
def test_a_bias_field_multiplies_by_something_smooth_and_bounded(shape: tuple[int, ...]) -> None:
    x = image(*shape) + 1
    dark = image_statistics(x, Frame(shape)).low
    gain = (one(x, "bias_field", share=0.4, cells=2, seed=5) - dark) / (x - dark)
    known = (x - dark).abs() > 50
    log = gain.log()
    assert float(log[known].abs().max()) <= 0.4 + 1e-9 and float(log[known].std()) > 0.02
    steps = [
        (
            log.diff(dim=d).abs()[
                known.narrow(d, 0, known.shape[d] - 1) & known.narrow(d, 1, known.shape[d] - 1)
            ]
        ).max()
        for d in range(1, x.ndim)
    ]
    assert float(max(steps)) < 0.2


def test_lighting_is_a_ramp() -> None:
    x = torch.full((1, 11, 7), 3.0, dtype=torch.float64)
    x[0, 0, 0] = 1.0  # so that the image is not constant, and 1 the darkest
    y = one(x, "lighting", slopes=[0.2, 0.0])
    low = image_statistics(x, Frame((11, 7))).low.item()
    expected = low + (3 - low) * np.exp(0.2 * (2 * (np.arange(11) + 0.5) / 11 - 1))
    assert np.abs(y[0, :, 3].numpy() - expected).max() < 1e-9


def test_low_resolution_leaves_thick_slices_alone() -> None:
    x = image(16, 16, 6)
    y = one(x, "low_resolution", spacing=(1.0, 1.0, 5.0), zoom=0.5)
    along = x.mean((1, 2)) - y.mean((1, 2))
    assert float(along.abs().max()) < 1e-9 and float((y - x).abs().max()) > 1


@pytest.mark.parametrize("modality", ["DX", "CT", "MR", "US", "MG", "PT"])
@pytest.mark.parametrize("shape", [(20, 24), (12, 14, 10)])
def test_constant_images_stay_finite_and_arbitrary_ones_constant(
    modality: str, shape: tuple[int, ...]
) -> None:
    policy = Policy.of(modality).without("dose") if modality == "CT" else Policy.of(modality)
    policy = replace(
        policy, allowed={n: replace(s, probability=1.0) for n, s in policy.allowed.items()}, outside="edge"
    )
    frame = Frame(shape, codes="RAS"[: len(shape)], unit=policy.unit)
    x = torch.full((2, *shape), 7.0)
    y, _ = apply_record(draw_record(policy, frame, 0), x)
    assert torch.isfinite(y).all()
    if policy.unit != "HU":
        assert float((y - x).abs().max()) < 1e-3


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_numbers_that_are_not_finite_are_refused(bad: float) -> None:
    x = image(8, 8)
    x[0, 2, 3] = bad
    with pytest.raises(BadOption, match="1 numbers that are not finite"):
        one(x, "contrast", factor=1.2)


@pytest.mark.parametrize("name", [n for n, t in TRANSFORMS.items() if t.apply is not None and n != "dose"])
def test_an_image_is_never_changed_in_place(name: str) -> None:
    frame = Frame((16, 18), unit="")
    policy = replace(Policy.of("MR"), allowed={name: replace(_typical(name), probability=1.0)}, refused={})
    record = draw_record(policy, frame, 0)
    assert [step["name"] for step in record.steps] == [name]
    x = image(16, 18).float()
    kept = x.clone()
    y, _ = apply_record(record, x)
    assert torch.equal(x, kept) and y.data_ptr() != x.data_ptr() and not torch.equal(y, x)


def _typical(name: str) -> Strength:
    return next(m.allowed[name] for m in MODALITIES.values() if name in m.allowed)
