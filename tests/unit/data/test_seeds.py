"""Seeds: the same on every machine and for ever, and independent for every purpose (D4, E6)."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from medprior.data.seeds import generator, seed_for
from medprior.errors import BadOption

names = st.lists(
    st.one_of(st.integers(0, 10**6), st.text(alphabet="abcdefgh_-.", min_size=1, max_size=8)),
    min_size=1,
    max_size=4,
)


def test_the_numbers_never_change() -> None:
    """Stored runs name their seeds: another formula would make them other runs."""
    assert seed_for(0, "draw", 3) == 4562444211404014318
    assert seed_for(7) == 4359823973405836615
    assert torch.randint(0, 10**6, (3,), generator=generator(0, "x")).tolist() == [855155, 696173, 707608]


@given(st.integers(0, 2**40), names)
def test_a_seed_is_a_63_bit_number_that_repeats(seed: int, purpose: list) -> None:
    found = seed_for(seed, *purpose)
    assert found == seed_for(seed, *purpose)
    assert 0 <= found < 2**63
    one, other = (torch.rand(4, generator=generator(seed, *purpose)) for _ in range(2))
    assert torch.equal(one, other)


@given(st.integers(0, 2**40), st.integers(0, 2**40), names, names)
def test_other_purposes_have_other_seeds(seed: int, other: int, purpose: list, another: list) -> None:
    if [str(n) for n in purpose] != [str(n) for n in another]:
        assert seed_for(seed, *purpose) != seed_for(seed, *another)
    if seed != other:
        assert seed_for(seed, *purpose) != seed_for(other, *purpose)


@pytest.mark.parametrize(
    ("one", "other"), [((1, "2/3"), (1, "2", "3")), (("a", ""), ("a",)), ((1, "b/c", "d"), (1, "b", "c/d"))]
)
def test_names_do_not_run_into_each_other(one: tuple, other: tuple) -> None:
    """A label with a slash in it is one name, not two."""
    assert seed_for(0, *one) != seed_for(0, *other)


def test_items_workers_and_epochs_never_share_a_seed() -> None:
    """D4: 4 workers, 2 epochs, 2 ranks, 500 items."""
    seeds = {
        seed_for(5, epoch, rank, worker, item)
        for epoch in range(2)
        for rank in range(2)
        for worker in range(4)
        for item in range(500)
    }
    assert len(seeds) == 8000


def test_streams_of_neighbouring_purposes_are_uncorrelated() -> None:
    draws = np.stack([torch.randn(2000, generator=generator(0, "item", n)).numpy() for n in range(40)])
    off = np.corrcoef(draws)[np.triu_indices(40, 1)]
    assert np.abs(off).max() < 5 / np.sqrt(2000), "780 pairs, five standard errors"
    assert abs(off.mean()) < 5 / np.sqrt(2000 * 780)


def test_the_global_state_is_neither_read_nor_changed() -> None:
    torch.manual_seed(1)
    before = torch.get_rng_state()
    first = torch.rand(2, generator=generator(3, "a"))
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(2)
    assert torch.equal(torch.rand(2, generator=generator(3, "a")), first)


def test_a_negative_seed_is_refused() -> None:
    with pytest.raises(BadOption, match=">= 0"):
        generator(-1)
