"""Distances to the nearest points: as a sort of all of them gives, whatever the pieces."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from medprior.data import nearest as module
from medprior.data.nearest import grouped, neighbour_distance


def points(n: int, d: int, seed: int = 0) -> Tensor:
    return torch.randn((n, d), generator=torch.Generator().manual_seed(seed))


def by_hand(x: Tensor, bank: Tensor, k: int) -> Tensor:
    far = (x.double()[:, None] - bank.double()).square().sum(2).sqrt()
    return far.sort(dim=1).values[:, :k].mean(1).float()


@pytest.mark.parametrize("n, m, d, k", [(7, 40, 3, 1), (50, 90, 18, 3), (1, 5, 2, 3), (30, 31, 67, 30)])
def test_the_mean_distance_to_the_nearest(n: int, m: int, d: int, k: int) -> None:
    x, bank = points(n, d), points(m, d, seed=1)
    assert torch.allclose(neighbour_distance(x, bank, k), by_hand(x, bank, k), atol=1e-4)


def test_three_unless_told_otherwise() -> None:
    bank = torch.tensor([[1.0], [2.0], [6.0], [50.0]])
    assert neighbour_distance(torch.zeros(1, 1), bank).tolist() == [3.0]


def test_a_small_bank_gives_what_it_holds() -> None:
    assert neighbour_distance(torch.zeros(2, 1), torch.tensor([[1.0], [3.0]]), 9).tolist() == [2.0, 2.0]


def test_a_point_of_the_bank_is_at_hand() -> None:
    bank = points(60, 8)
    assert float(neighbour_distance(bank, bank, 1).max()) < 5e-3


@pytest.mark.parametrize("at_once", [1, 7, 50])
def test_the_pieces_are_invisible(at_once: int, monkeypatch: pytest.MonkeyPatch) -> None:
    x, bank = points(50, 6), points(90, 6, seed=1)
    whole = neighbour_distance(x, bank)
    monkeypatch.setattr(module, "_AT_ONCE", at_once)
    assert torch.allclose(neighbour_distance(x, bank), whole, atol=1e-4)


def test_no_points_have_no_distances() -> None:
    assert neighbour_distance(torch.zeros(0, 4), points(9, 4)).shape == (0,)


def test_points_that_are_near_are_one_group() -> None:
    """Three clouds far apart, and more groups wanted than there are points."""
    x = torch.cat([points(20, 2, seed) + 50 * seed for seed in range(3)])
    at = grouped(x, 3, torch.Generator().manual_seed(1))
    assert sorted(len(at[n : n + 20].unique()) for n in (0, 20, 40))[0] == 1 and len(at.unique()) == 3
    assert len(grouped(points(4, 2), 9, torch.Generator().manual_seed(0)).unique()) == 4
