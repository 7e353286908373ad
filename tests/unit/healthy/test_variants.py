"""The same patient acquired a little otherwise: nothing at strength 0, one change for a whole scan,
intensities that mean something left alone.
"""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from medprior.healthy import variants as acquired
from medprior.healthy.variants import reacquire, repose

SHAPES = [(1, 1, 24, 20), (1, 2, 17, 31), (5, 1, 24, 20), (1, 1, 14, 12, 10), (1, 2, 9, 16, 3)]


@pytest.fixture(autouse=True)
def quiet(monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> None:
    """Noise has a test of its own."""
    if "noise" not in request.node.name:
        monkeypatch.setattr(acquired, "_NOISE", 0.0)


def rng(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def scan(*shape: int, seed: int = 0) -> Tensor:
    """Within -1 to 1, each image another."""
    return 2 * torch.rand(shape, generator=rng(seed)) - 1


def disc(size: tuple[int, int], at: tuple[float, float], radius: float) -> Tensor:
    """(1, 1, i, j): 1 inside, -1 outside, a soft rim."""
    i, j = torch.meshgrid(*(torch.arange(n, dtype=torch.float32) for n in size), indexing="ij")
    return torch.tanh(radius - ((i - at[0]) ** 2 + (j - at[1]) ** 2).sqrt())[None, None]


def centre_and_sides(image: Tensor) -> tuple[np.ndarray, np.ndarray]:
    """Of what is bright: centre (2,), and spread along its two principal axes."""
    weight = ((image[0, 0] + 1) / 2).clamp(0, 1).double().numpy()
    at = np.argwhere(np.ones_like(weight))
    centre = np.average(at, axis=0, weights=weight.ravel())
    return centre, np.sqrt(np.linalg.eigvalsh(np.cov(at.T, aweights=weight.ravel(), bias=True)))


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("absolute", [False, True])
def test_strength_0_changes_nothing(shape: tuple[int, ...], absolute: bool) -> None:
    x = scan(*shape)
    assert torch.allclose(reacquire(x, rng(), strength=0.0, absolute=absolute), x, atol=2e-4)


@pytest.mark.parametrize("shape", SHAPES)
def test_shape_and_precision_stay_and_the_scan_itself_is_left_alone(shape: tuple[int, ...]) -> None:
    x = scan(*shape)
    before = x.clone()
    found = reacquire(x, rng(1), strength=1.0)
    assert found.shape == x.shape and found.dtype == x.dtype and found.isfinite().all()
    assert not torch.allclose(found, x, atol=1e-2) and torch.equal(x, before)


def test_the_slices_of_a_stack_are_moved_alike() -> None:
    """Each slice as it would be alone: one patient has one posture."""
    x = scan(5, 1, 24, 20)
    together = reacquire(x, rng(3))
    for n in range(5):
        assert torch.allclose(together[n : n + 1], reacquire(x[n : n + 1], rng(3)), atol=1e-5)


def test_the_slices_of_a_volume_are_turned_alike() -> None:
    """A volume that is the same all along its third axis stays so, but for a coil's field."""
    x = scan(1, 1, 16, 14, 1).expand(-1, -1, -1, -1, 8)
    found = reacquire(x, rng(3), strength=1.0, absolute=True)
    assert torch.allclose(found, found[..., :1].expand_as(found), atol=1e-4)


def test_a_generator_makes_it_again_and_the_next_one_otherwise() -> None:
    x = scan(1, 1, 24, 20)
    assert torch.equal(reacquire(x, rng(5)), reacquire(x, rng(5)))
    assert not torch.allclose(reacquire(x, rng(5)), reacquire(x, rng(6)), atol=1e-2)


def test_the_change_grows_with_the_strength() -> None:
    x = disc((40, 30), (17, 12), 6)
    for seed in range(8):
        sizes = [float((reacquire(x, rng(seed), strength=s) - x).abs().mean()) for s in (0.1, 0.4, 1.0)]
        assert sizes == sorted(sizes) and sizes[2] > 2 * sizes[0]


@pytest.mark.parametrize("value", [-0.8, 0.0, 0.5, 1.7])
@pytest.mark.parametrize("size", [(24, 20), (12, 10, 8)])
def test_intensities_that_mean_something_stay(value: float, size: tuple[int, ...]) -> None:
    """Tissue of one density keeps it, wherever it is moved to; where the scale is arbitrary it does not."""
    x = torch.full((1, 1, *size), value)
    for seed in range(5):
        assert torch.allclose(reacquire(x, rng(seed), strength=1.0, absolute=True), x, atol=1e-5)
        assert float((reacquire(x, rng(seed), strength=1.0) - x).abs().max()) > 5e-3


def test_values_that_mean_something_and_lie_outside_of_the_range_stay() -> None:
    """Air below the window and metal above it."""
    x = disc((40, 40), (20, 20), 10) * 2
    found = reacquire(x, rng(2), strength=1.0, absolute=True)
    assert float(found[0, 0, 20, 20]) == pytest.approx(2, abs=1e-3) and float(
        found[0, 0, 1, 1]
    ) == pytest.approx(-2, abs=1e-3)


def test_nothing_is_moved_further_or_made_larger_than_a_posture_would() -> None:
    """A disc in the middle: at most 6 % of the side away, at most 15 % (and half of 10 % of aspect) larger;
    and of 40 draws some come near that.
    """
    size, middle = (48, 48), (23.5, 23.5)
    plain = centre_and_sides(disc(size, middle, 8))[1]
    found = [
        centre_and_sides(reacquire(disc(size, middle, 8), rng(seed), strength=1.0, absolute=True))
        for seed in range(40)
    ]
    moved = np.array([np.abs(centre - middle).max() for centre, _ in found]) / 48
    grown = np.array([np.abs(np.log(sides / plain)).max() for _, sides in found])
    assert 0.04 < moved.max() < 0.06 * np.exp(0.2) + 0.01 and moved.min() < 0.04
    assert 0.12 < grown.max() < 0.15 + 0.05 + 0.03


def test_an_oblong_image_is_turned_not_sheared() -> None:
    """A disc stays as round as the change of aspect allows, on an image three times as wide as high."""
    x = disc((32, 96), (15.5, 47.5), 8)
    for seed in range(20):
        small, large = centre_and_sides(reacquire(x, rng(seed), strength=1.0, absolute=True))[1]
        assert large / small < np.exp(0.1) * 1.02


def test_strength_0_changes_nothing_below_black_either() -> None:
    image = torch.linspace(-1.6, 1.4, 48).reshape(1, 1, 6, 8)
    assert torch.allclose(reacquire(image, torch.Generator().manual_seed(0), strength=0.0), image, atol=1e-5)


def test_a_volume_of_two_slices_is_one() -> None:
    assert reacquire(torch.randn(1, 1, 9, 8, 2), torch.Generator().manual_seed(0)).shape == (1, 1, 9, 8, 2)


@pytest.mark.parametrize("absolute", [False, True])
def test_noise_is_white_its_own_in_each_slice_and_at_most_so_large(
    absolute: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    x = torch.zeros(3, 1, 64, 64)
    sizes = []
    for seed in range(20):
        noisy = reacquire(x, rng(seed), strength=1.0, absolute=absolute)
        monkeypatch.setattr(acquired, "_NOISE", 0.0)
        noise = noisy - reacquire(x, rng(seed), strength=1.0, absolute=absolute)
        monkeypatch.undo()
        sizes.append(float(noise.std()))
        assert abs(float((noise[0] * noise[1]).mean())) < 0.1 * sizes[-1] ** 2
        assert abs(float((noise[..., 1:] * noise[..., :-1]).mean())) < 0.1 * sizes[-1] ** 2
    assert 0.04 < max(sizes) < 0.051 and min(sizes) < 0.02


def test_a_smooth_field_makes_one_corner_brighter_than_another() -> None:
    """As a coil does: an even image is uneven, and neighbours hardly differ; one of a fixed scale stays
    even.
    """
    x = torch.full((1, 1, 48, 48), 0.4)
    found = [reacquire(x, rng(seed), strength=1.0)[0, 0] for seed in range(10)]
    assert max(float(f.max() - f.min()) for f in found) > 0.1
    assert all(float(f.diff(dim=0).abs().max()) < 0.25 * float(f.max() - f.min()) for f in found)


def test_a_posture_alone_is_that_of_the_scan_acquired_otherwise() -> None:
    """Moved as with the same generator, and nothing else: where the acquisition changes nothing the two are
    one.
    """
    x = disc((40, 30), (17, 12), 6)
    for seed in range(4):
        moved, both = repose(x, rng(seed)), reacquire(x, rng(seed), absolute=True)
        centres = [centre_and_sides(image)[0] for image in (moved, both)]
        assert np.allclose(*centres, atol=0.05) and not torch.allclose(moved, x, atol=1e-2)
    even = torch.full((1, 1, 24, 20), 0.3)
    assert torch.allclose(repose(even, rng(1), strength=1.0), even, atol=1e-5)
