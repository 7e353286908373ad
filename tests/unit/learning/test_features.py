"""What the network knows of a scan: mean and deviation of each channel, every pixel's vector, the same noise
for every scan.
"""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from medprior.data.seeds import generator
from medprior.data.volume import Volume
from medprior.errors import BadOption, Diverged
from medprior.learning import features as module
from medprior.learning.features import (
    FeatureSettings,
    class_errors,
    features,
    pixel_features,
    volume_features,
)
from medprior.prior import Condition, Prior
from tests.unit.jobs.exact import tiny

CHANNELS = 8 + 16 + 8
"""Of one noise level: two resolutions down, one up."""
ONE = FeatureSettings((0.3,))


def scan(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed)) / 2


@pytest.mark.parametrize("size", [(17, 12), (16, 16), (9, 8, 6)])
def test_shapes(size: tuple[int, ...]) -> None:
    """Mean and deviation of every channel at three levels; a vector at each pixel of the image as it came."""
    prior, images = tiny(len(size)), scan(2, 1, *size)
    assert features(prior, images).shape == (2, 2 * 3 * CHANNELS)
    found = pixel_features(prior, images)
    assert found.shape == (2, 3 * CHANNELS, *size)
    assert not found.requires_grad


def test_features_are_mean_and_deviation_of_what_the_network_shows() -> None:
    prior, image = tiny(), scan(1, 1, 16, 16)
    noise = torch.randn((1, 16, 16), generator=generator(0, "features", 0.3))
    shown = prior.net.features(  # type: ignore[operator]
        *prior.inputs(image + 0.3 * noise, torch.tensor([0.3]), Condition()), upward=True
    )
    wanted = torch.cat([f(x.flatten(2)) for x in shown for f in (_mean, _deviation)], dim=1)
    assert torch.allclose(features(prior, image, how=ONE), wanted, atol=1e-6)
    finest = pixel_features(prior, image, how=ONE)[:, :8]
    assert torch.equal(finest, shown[0])


def _mean(x: Tensor) -> Tensor:
    return x.mean(2)


def _deviation(x: Tensor) -> Tensor:
    return x.square().mean(2).sub(x.mean(2).square()).clamp_min(0).sqrt()


def test_a_scan_has_the_same_features_alone_and_among_others(monkeypatch: pytest.MonkeyPatch) -> None:
    prior, images = tiny(), scan(5, 1, 16, 12)
    whole = features(prior, images)
    monkeypatch.setattr(module, "_AT_ONCE", 1)
    assert torch.allclose(whole, features(prior, images), atol=1e-5)
    assert torch.allclose(whole[3:4], features(prior, images[3:4]), atol=1e-5)


def test_scans_of_several_sizes_keep_their_order() -> None:
    """Neighbours of one size pass together; a volume under a 2-D prior is the mean over its slices."""
    prior, counted = tiny(), []
    volumes = [Volume(scan(1, side, 16, seed=n).numpy()) for n, side in enumerate((16, 16, 24, 16))]
    stack = Volume(scan(1, 16, 16, 3, seed=9).numpy())
    found = volume_features(prior, [*volumes, stack], on_step=counted.append)
    alone = torch.cat([volume_features(prior, [volume]) for volume in [*volumes, stack]])
    assert torch.allclose(found, alone, atol=1e-5) and counted == [2, 3, 5]
    admitted = prior.admit(stack)
    assert torch.allclose(alone[4], features(prior, admitted.images, admitted.condition).mean(0), atol=1e-5)


def test_what_cannot_be_done_is_said() -> None:
    prior = tiny()
    with pytest.raises(BadOption, match="wanted scans, got none"):
        volume_features(prior, [])
    with pytest.raises(BadOption, match="wanted noise levels above 0"):
        FeatureSettings((0.1, 0.0))
    with pytest.raises(BadOption, match="own network"):
        features(Prior(nn.Identity(), prior.path, prior.card), scan(1, 1, 16, 16))
    with pytest.raises(Diverged):
        features(prior, torch.full((1, 1, 16, 16), np.nan))


def test_class_errors_are_the_losses_under_each_label() -> None:
    """By hand at every level, the same noise for all labels; they add to 0."""
    prior, image = tiny(), scan(2, 1, 16, 16)
    found = class_errors(prior, image)
    assert found.shape == (2, 2) and torch.allclose(found.sum(1), torch.zeros(2), atol=1e-6)
    assert torch.allclose(class_errors(prior, image[1:]), found[1:], atol=1e-5)
    losses = [
        torch.stack(
            [
                prior.loss(
                    image,
                    torch.full((2,), sigma),
                    torch.randn((1, 16, 16), generator=generator(seed, "features", sigma)).expand(
                        2, 1, 16, 16
                    ),
                    Condition(torch.full((2,), label)),
                )
                for sigma in module.ERRORS_AT
                for seed in (0, 1)
            ]
        ).mean(0)
        for label in (0, 1)
    ]
    assert torch.allclose(found[:, 1] - found[:, 0], losses[1] - losses[0], atol=1e-5)
    with pytest.raises(BadOption, match="has no labels"):
        class_errors(tiny(2, labels=()), image)
