"""The measured error of a denoiser, against one whose error is known in closed form."""

from __future__ import annotations

import math

import pytest
import torch

from medprior.prior.error_table import ErrorTable
from medprior.prior.rings import BINS, radius
from medprior.training.held_out import SIGMAS, error_tables
from tests.unit.jobs.exact import Exact

SIZE = (24, 32)


@pytest.fixture(scope="module")
def tables() -> tuple[ErrorTable, ...]:
    return error_tables(Exact(), list(Exact().draw(24, SIZE, 1)), n_levels=2, seed=4)


@pytest.mark.parametrize("size", [(8, 8), (8, 12), (9, 7), (6, 6, 6), (5, 8, 4)])
def test_the_rings_run_from_the_mean_to_the_corner(size: tuple[int, ...]) -> None:
    found = radius(size)
    assert float(found.flatten()[0]) == 0.0
    assert float(found.max()) <= 1 + 1e-6 and (
        any(n % 2 for n in size) or float(found.max()) == pytest.approx(1)
    )
    assert torch.allclose(
        found, torch.roll(found.flip(tuple(range(len(size)))), (1,) * len(size), tuple(range(len(size))))
    )


@pytest.mark.parametrize("sigma", [0.03, 0.3, 1.0, 5.0])
def test_the_table_is_the_closed_form(tables: tuple[ErrorTable, ...], sigma: float) -> None:
    """Mean squared error within 10 %, between the levels that were measured too; spectrum within 25 % in the
    middle of the rings.
    """
    prior, at = Exact(), torch.tensor([sigma])
    assert float(tables[0].mean(at)) == pytest.approx(float(prior.spectrum(at, SIZE).mean()), rel=0.1)
    found, wanted = tables[0].at(at, SIZE)[0], prior.spectrum(at, SIZE)[0]
    for low, high in ((0.1, 0.2), (0.2, 0.4), (0.4, 0.7)):
        ring = (radius(SIZE) > low) & (radius(SIZE) <= high)
        assert float(found[ring].mean() / wanted[ring].mean()) == pytest.approx(1, abs=0.25)


def test_below_the_table_it_falls_as_sigma_squared(tables: tuple[ErrorTable, ...]) -> None:
    """A denoiser of nothing errs by nothing; above the table nothing is made up."""
    low, high = SIGMAS[0], SIGMAS[-1]
    found = tables[0].mean(torch.tensor([low, low / 10, high, high * 10]))
    assert float(found[1] / found[0]) == pytest.approx(0.01, rel=1e-3)
    assert float(found[3] / found[2]) == pytest.approx(1)


def test_one_table_a_fineness(tables: tuple[ErrorTable, ...]) -> None:
    assert [t.side for t in tables] == [32, 16]
    assert all(len(t.spectrum) == len(SIGMAS) and {len(row) for row in t.spectrum} == {BINS} for t in tables)
    assert all(math.isfinite(v) and v > 0 for t in tables for row in t.spectrum for v in row)


def test_the_same_seed_gives_the_same_table(tables: tuple[ErrorTable, ...]) -> None:
    again, other = (
        error_tables(Exact(), list(Exact().draw(24, SIZE, 1)), n_levels=2, seed=s) for s in (4, 5)
    )
    assert again == tables and other != tables
