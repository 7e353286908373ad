"""Conjugate gradients and the operator norm against dense linear algebra."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

from medprior.errors import Diverged
from medprior.operators import (
    Operator,
    blur,
    cg,
    diagonal,
    downsample,
    fourier,
    norm,
    parallel_ct,
    view_angles,
)


def dense(A: Operator) -> torch.Tensor:
    n = int(torch.tensor(A.domain).prod())
    return A(torch.eye(n, dtype=torch.float64).reshape(n, *A.domain)).flatten(1).T


def test_cg_solves_the_proximal_problem() -> None:
    """min |A x - y|^2 / (2 s^2) + |x - z|^2 / (2 r^2), each image with its own r, equals the dense
    solution.
    """
    A, s = downsample((1, 6, 6), 2), 0.1
    rng = torch.Generator().manual_seed(0)
    z, y = (torch.randn(2, *shape, dtype=torch.float64, generator=rng) for shape in (A.domain, A.codomain))
    r = torch.tensor([0.5, 5.0], dtype=torch.float64).reshape(2, 1, 1, 1)
    found = cg(lambda x: A.gram(x) / s**2 + x / r**2, A.adjoint(y) / s**2 + z / r**2, z, n=60, tol=1e-12)
    M = dense(A)
    for b in range(2):
        N = M.T @ M / s**2 + torch.eye(36, dtype=torch.float64) / r[b].item() ** 2
        exact = torch.linalg.solve(N, M.T @ y[b].flatten() / s**2 + z[b].flatten() / r[b].item() ** 2)
        assert torch.allclose(found[b].flatten(), exact, atol=1e-9)


def test_a_finished_image_is_left_alone() -> None:
    """An image that starts at its solution stays, bit for bit, while its neighbour is solved."""
    weights = torch.tensor([1.0, 2.0, 5.0])
    b = torch.stack([weights, torch.ones(3)])
    x0 = torch.stack([torch.ones(3), torch.zeros(3)])
    found = cg(lambda x: weights * x, b, x0, n=10, tol=1e-6)
    assert torch.equal(found[0], x0[0])
    assert torch.allclose(found[1], 1 / weights, atol=1e-6)


def test_cg_refuses_what_is_not_positive() -> None:
    with pytest.raises(Diverged, match="conjugate gradients"):
        cg(lambda x: -x, torch.ones(1, 3), torch.zeros(1, 3), n=3)
    with pytest.raises(Diverged):
        cg(lambda x: x * float("nan"), torch.ones(1, 3), torch.zeros(1, 3), n=3)


@pytest.mark.parametrize(
    "make",
    [
        lambda: downsample((1, 8, 8), 2),
        lambda: parallel_ct((1, 8, 8), view_angles(9), 13),
        lambda: fourier((1, 8, 8)),
    ],
)
def test_norm_is_the_largest_singular_value(make: Callable[[], Operator]) -> None:
    A = make()
    M = A(torch.eye(64).reshape(64, 1, 8, 8)).flatten(1).T
    assert norm(A) == pytest.approx(float(torch.linalg.matrix_norm(M, 2)), rel=0.01)


def test_norm_of_nothing_is_zero() -> None:
    assert norm(diagonal((1, 3, 3), torch.zeros(1, 3, 3))) == 0
    assert norm(3 * blur((1, 9, 9), 2.0)) == pytest.approx(3.0, rel=0.05)
