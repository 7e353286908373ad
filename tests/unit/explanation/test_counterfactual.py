"""The smallest change that turns an answer: where the exact one is known, it is found."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from medprior.data.seeds import generator
from medprior.explanation.counterfactual import Problem, at_distance, smallest
from medprior.explanation.latent import Search
from tests.golden.world import SHAPE, white_prior

SEARCH = Search(particles=16, repeats=4, n_steps=40, n_levels=4)


def problem(edge: float, *, gradients: bool) -> tuple[Problem, Tensor]:
    """A model that asks for a brighter upper half, and that half."""
    upper = torch.zeros(SHAPE)
    upper[:, : SHAPE[1] // 2] = 1
    scan = white_prior().draw(1, generator(1, "scan"))
    start = float((scan * upper).sum() / upper.sum())

    def likelihood(images: Tensor) -> Tensor:
        mean = (images * upper.to(images)).flatten(1).sum(1) / upper.sum()
        return torch.sigmoid(20 * (mean - start - edge))

    return Problem(white_prior(), scan, likelihood, gradients=gradients), upper[0] > 0


@pytest.mark.parametrize("gradients", [True, False])
def test_it_turns_the_answer_where_the_model_looks(gradients: bool) -> None:
    case, upper = problem(0.2, gradients=gradients)
    found = smallest(case, SEARCH, 0)
    assert found.enough and bool(found.turned.all())
    assert torch.allclose(case.likelihood(found.images), found.probabilities)
    change = (found.images - case.scan)[:, 0]
    assert float(change[:, upper].mean()) > 0.1
    assert float(change[:, upper].mean()) > 3 * abs(float(change[:, ~upper].mean()))


def test_a_gradient_finds_a_smaller_change() -> None:
    sizes = []
    for gradients in (True, False):
        case, _ = problem(0.2, gradients=gradients)
        sizes.append(float((at_distance(case, 0.5, SEARCH, 0).images - case.scan).abs().mean()))
    assert sizes[0] < sizes[1]


def test_what_cannot_be_turned_is_said() -> None:
    case, _ = problem(50.0, gradients=True)
    found = smallest(case, Search(repeats=2, n_steps=2), 0, (0.5,))
    assert not found.enough and float(found.probabilities.max()) < 0.5
