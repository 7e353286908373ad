"""A change found on a coarse scan is a change of the scan itself, and nothing else of it moves."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F

from medprior.explanation.coarse import Coarse


@pytest.mark.parametrize("size", [(32, 24), (31, 24), (16, 20, 12)])
def test_no_change_is_the_scan_to_the_last_bit(size: tuple[int, ...]) -> None:
    whole = torch.randn(1, 1, *size, generator=torch.Generator().manual_seed(0))
    coarse = Coarse(whole, tuple(-(-n // 2) for n in size))
    assert tuple(coarse.scan.shape[2:]) == coarse.size
    assert torch.equal(coarse.lifted(coarse.scan.repeat(3, 1, *[1] * len(size))), whole.expand(3, -1, *size))


def test_a_change_is_enlarged_and_fine_detail_stays() -> None:
    whole = torch.randn(1, 1, 32, 32, generator=torch.Generator().manual_seed(0))
    coarse = Coarse(whole, (16, 16))
    change = torch.zeros(1, 1, 16, 16)
    change[..., 4:12, 4:12] = 0.5
    moved = coarse.lifted(coarse.scan + change) - whole
    assert torch.allclose(moved[..., 12:20, 12:20], torch.tensor(0.5), atol=1e-6)
    assert float(moved[..., :4, :4].abs().max()) == 0
    assert float((F.avg_pool2d(moved, 2) - change).abs().mean()) < 0.05


def test_a_scan_of_its_own_size_is_untouched() -> None:
    images = torch.randn(2, 1, 8, 8)
    coarse = Coarse(torch.zeros(1, 1, 8, 8), (8, 8))
    assert coarse.lifted(images) is images and coarse.scan is coarse.whole


def test_masks_follow_the_size() -> None:
    coarse = Coarse(torch.zeros(1, 1, 16, 16), (8, 8))
    mask = torch.zeros(16, 16, dtype=torch.bool)
    mask[4:8, 4:8] = True
    small = coarse.shrunk(mask)
    assert int(small.sum()) == 4 and torch.equal(coarse.grown(small), mask)
    point = torch.zeros(16, 16, dtype=torch.bool)
    point[5, 5] = True
    assert int(coarse.shrunk(point).sum()) == 1
