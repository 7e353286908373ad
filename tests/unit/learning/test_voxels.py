"""A head at each voxel: it finds a bright block, remembers what it is, and says what it cannot learn from."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from medprior.data.volume import Volume
from medprior.errors import BadOption
from medprior.learning.features import FeatureSettings
from medprior.learning.voxels import VoxelHead, VoxelSettings, fit_voxel_head
from medprior.prior.admit import Admitted
from tests.unit.jobs.exact import tiny

HOW = FeatureSettings((0.3,))
QUICK = VoxelSettings(voxels=300, votes=2, hidden=(16, 8), steps=120, batch=128)


def block(ndim: int, seed: int) -> tuple[Volume, Tensor]:
    """A noisy image or volume with a bright block, and the block."""
    rng = np.random.default_rng(seed)
    side = 20 if ndim == 2 else 12
    at = tuple(slice(k, k + side // 3) for k in rng.integers(1, side // 2, ndim))
    mask = np.zeros((side,) * ndim, np.int64)
    mask[at] = 1
    image = 100 + 60 * mask + rng.normal(0, 6, mask.shape)
    return Volume(image[None].astype(np.float32)), torch.from_numpy(mask)[None]


def blocks(ndim: int, n: int, first: int = 0) -> tuple[list[Admitted], list[Tensor]]:
    prior = tiny(ndim)
    made = [block(ndim, first + k) for k in range(n)]
    return [prior.admit(image) for image, _ in made], [mask for _, mask in made]


@pytest.mark.parametrize("ndim", [2, 3])
def test_a_block_is_found_in_new_scans(ndim: int) -> None:
    prior = tiny(ndim)
    scans, masks = blocks(ndim, 6)
    head = fit_voxel_head(prior, scans, masks, 2, HOW, QUICK)
    (new,), (truth,) = blocks(ndim, 1, 50)
    p = head(prior, new)
    assert p.shape == (2, *truth.shape) and torch.allclose(p.sum(0), torch.ones(truth.shape), atol=1e-5)
    found = p.argmax(0)
    assert 2 * float((found & truth).sum()) / float(found.sum() + truth.sum()) > 0.7


def test_it_comes_back_from_its_tensors_and_repeats() -> None:
    prior = tiny()
    scans, masks = blocks(2, 3)
    head = fit_voxel_head(prior, scans, masks, 2, HOW, QUICK)
    again = VoxelHead.of(head.tensors(), HOW)
    assert torch.equal(again(prior, scans[0]), head(prior, scans[0])) and again.n_labels == 2
    same = fit_voxel_head(prior, scans, masks, 2, HOW, QUICK)
    assert torch.equal(same(prior, scans[0]), head(prior, scans[0]))
    with pytest.raises(BadOption, match="the tensor 'mean' is missing"):
        VoxelHead.of({k: v for k, v in head.tensors().items() if k != "mean"}, HOW)


def test_masks_that_mark_nothing_or_lie_elsewhere_are_refused() -> None:
    prior = tiny()
    scans, masks = blocks(2, 2)
    with pytest.raises(BadOption, match="no mask marks a voxel"):
        fit_voxel_head(prior, scans, [0 * mask for mask in masks], 2, HOW, QUICK)
    with pytest.raises(BadOption, match="a mask of shape"):
        fit_voxel_head(prior, scans, [mask[:, 2:] for mask in masks], 2, HOW, QUICK)
