"""Rings of frequency: what is a function of the ring alone is found again, also where a small image leaves
rings empty.
"""

from __future__ import annotations

import pytest
import torch

from medprior.prior.rings import BINS, along_rings, by_ring, radius, ring_of


@pytest.mark.parametrize("size", [(64, 64), (40, 53), (9, 6), (12, 10, 8)])
def test_a_function_of_the_ring_comes_back(size: tuple[int, ...]) -> None:
    line = torch.linspace(3.0, 1.0, BINS)
    spread_out = along_rings(line, size)
    torch.testing.assert_close(spread_out, 3 - 2 * radius(size), rtol=0, atol=1e-5)
    found = by_ring(line[ring_of(size)] * 5, torch.full(size, 5.0))
    filled = ring_of(size).unique()
    torch.testing.assert_close(found[filled], line[filled])
    empty = sorted(set(range(BINS)) - set(filled.tolist()))
    assert (len(empty) > 0) == (size == (9, 6) or len(size) == 3)
    assert all(found[i] == found[i - 1] for i in empty)
