"""Descriptors of pictures: offline, the same twice, and telling kinds of picture apart."""

import pytest
import torch

from medprior.evidence.synthetic.descriptors import descriptors, missing_descriptors


def _pictures(n: int, seed: int, rough: bool) -> list[torch.Tensor]:
    rng = torch.Generator().manual_seed(seed)
    x = torch.randn((n, 1, 32, 32), generator=rng)
    return list((x if rough else torch.nn.functional.avg_pool2d(x, 7, 1, 3) * 4).clamp(-1, 1))


@pytest.mark.parametrize("at", range(2))
def test_each_descriptor_is_deterministic_and_separates_textures(at: int):
    if len(descriptors()) <= at:
        pytest.skip(f"not installed: {missing_descriptors()}")
    descriptor = descriptors()[at]
    smooth, again, rough = (
        descriptor(_pictures(6, 1, False)),
        descriptor(_pictures(6, 1, False)),
        descriptor(_pictures(4, 1, True)),
    )
    assert torch.equal(smooth, again) and smooth.isfinite().all() and rough.isfinite().all()
    assert (
        smooth.shape == (6, {"EfficientNet-Lite0": 1280, "radiomics": smooth.shape[1]}[descriptor.name])
        and rough.shape[1] == smooth.shape[1]
    )
    parted = (rough.amin(0) > smooth.amax(0)) | (rough.amax(0) < smooth.amin(0))
    assert (
        float(parted.float().mean()) > 0.1
    )  # of ten equal pictures a feature parts four from six by chance once in a hundred times


def test_what_is_missing_is_said():
    assert len(descriptors()) + len(missing_descriptors()) == 2
