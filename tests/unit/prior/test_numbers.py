"""Numbers that a prior knows."""

from __future__ import annotations

import torch

from medprior.data.seeds import generator
from medprior.prior.card import Card
from medprior.prior.numbers import with_drawn_heights


def test_only_unknown_heights_are_drawn() -> None:
    card = Card("slices", "MR", numbers=("age", "height"))
    numbers = torch.tensor([[0.5, 0.2], [torch.nan, torch.nan]]).repeat(50, 1)
    filled = with_drawn_heights(card, numbers, generator(0, "heights"))
    assert torch.equal(filled[::2], numbers[::2]) and filled[1::2, 0].isnan().all()
    drawn = filled[1::2, 1]
    assert drawn.abs().max() <= 0.6 and drawn.std() > 0.2 and numbers[1::2, 1].isnan().all()


def test_a_card_without_heights_keeps_its_numbers() -> None:
    numbers = torch.full((3, 1), torch.nan)
    assert with_drawn_heights(Card("x", "MR", numbers=("age",)), numbers, generator(0)) is numbers
