"""Linear algebra that knows no physics: conjugate gradients and the norm of an operator."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from ..errors import BadOption, Diverged
from .operator import Operator

__all__ = ["cg", "norm"]


def cg(
    apply_normal: Callable[[Tensor], Tensor],
    b: Tensor,
    x0: Tensor,
    n: int,
    tol: float = 1e-6,
    *,
    inverse: Callable[[Tensor], Tensor] | None = None,
) -> Tensor:
    """Solve N x = b for each image of a batch, N symmetric and positive definite. b, x0: (B, ...).

    n: most iterations; tol: an image is done when |b - N x| <= tol * |b|, and it stays as it is from then on,
    whatever the others need. inverse: something like N^-1, symmetric and positive definite: the nearer, the
    fewer iterations (a preconditioner); |r| is then (r inverse r)^(1/2). Source: Hestenes and Stiefel, J.
    Res. NBS 49(6), 1952. Raises Diverged(iteration) for NaN or an N that is not positive.
    """
    x = x0.clone()
    r = b - apply_normal(x)
    z = inverse(r) if inverse else r
    p, size = z, _dot(r, z)
    goal = tol**2 * _dot(b, inverse(b) if inverse else b)
    for i in range(n):
        todo = ~(size <= goal)  # NaN counts as not done, and is found below
        if not bool(todo.any()):
            break
        q = apply_normal(p)
        curvature = _dot(p, q)
        if not bool((torch.isfinite(curvature) & ((curvature > 0) | ~todo)).all()):
            raise Diverged(i, 0.0, "conjugate gradients")
        step = torch.where(todo, size, 0) / torch.where(todo, curvature, 1)
        x = x + _wide(step, x) * p
        r = r - _wide(step, x) * q
        z = inverse(r) if inverse else r
        new = _dot(r, z)
        p = z + _wide(torch.where(todo, new, 0) / torch.where(todo, size, 1), x) * p
        size = new
    return x


def norm(operator: Operator, n: int = 30, *, seed: int = 0, device: torch.device | str = "cpu") -> float:
    """||A||, the largest singular value, by n power iterations on A^H A; a lower bound that is near 1 % after
    30. Raises Diverged for NaN.
    """
    if n < 1:
        raise BadOption(f"norm: wanted at least one iteration, got {n}")
    rng = torch.Generator().manual_seed(seed)
    x = torch.randn(1, *operator.domain, generator=rng)
    x = (torch.complex(x, torch.randn(x.shape, generator=rng)) if operator.domain_is_complex else x).to(
        device
    )
    size = torch.zeros(())
    for i in range(n):
        x = operator.adjoint(operator(x / torch.linalg.vector_norm(x)))
        size = torch.linalg.vector_norm(x)
        if not bool(torch.isfinite(size)):
            raise Diverged(i, 0.0, f"the norm of {operator.name}")
        if float(size) == 0:
            return 0.0
    return float(size.sqrt())


def _dot(a: Tensor, b: Tensor) -> Tensor:
    """(B,) in double precision: with weights such as 1e5 photons the sum over an image passes what a float32
    can hold.
    """
    return (a.conj() * b).real.flatten(1).sum(1, dtype=torch.float64)


def _wide(value: Tensor, like: Tensor) -> Tensor:
    return value.to(like.dtype.to_real()).reshape(-1, *[1] * (like.ndim - 1))
