"""The square root of a large symmetric matrix, known only by its products with vectors."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from ..prior.denoiser import broadcast_level

__all__ = ["root_times"]


def root_times(apply: Callable[[Tensor], Tensor], w: Tensor, n: int) -> Tensor:
    """N^(1/2) w for each image of a batch, N symmetric and positive semi-definite, by n products with it. w:
    (B, ...).

    Lanczos: |w| V f(T) e1 with V the basis of the Krylov space, T the tridiagonal matrix in it (Hochbruck and
    Lubich 1997; Chow and Saad 2014 for Gaussian draws). Exact when n reaches the number of distinct
    eigenvalues; a negative Ritz value, from a Jacobian that is not quite symmetric, counts as zero.
    """
    length = w.flatten(1).norm(dim=1)
    v = w / broadcast_level(length, w)
    basis, diagonal, beside = [v], [], []
    for step in range(n):
        u = apply(v)
        diagonal.append((u * v).flatten(1).sum(1))
        for (
            other
        ) in basis:  # orthogonal to all, not to the last two only: rounding undoes the short recurrence
            u = u - broadcast_level((u * other).flatten(1).sum(1), u) * other
        size = u.flatten(1).norm(dim=1)
        if step + 1 < n:
            # where the space is exhausted the next direction is zero and adds nothing
            alive = size > 1e-6 * diagonal[0].abs()
            beside.append(torch.where(alive, size, 0))
            v = torch.where(broadcast_level(alive, u), u / broadcast_level(torch.where(alive, size, 1), u), 0)
            basis.append(v)
    tridiagonal = torch.diag_embed(torch.stack(diagonal, 1))
    if beside:
        edge = torch.stack(beside, 1)
        tridiagonal = tridiagonal + torch.diag_embed(edge, 1) + torch.diag_embed(edge, -1)
    values, vectors = torch.linalg.eigh(tridiagonal)
    weights = (vectors * values.clamp_min(0).sqrt()[:, None] @ vectors[:, 0, :, None])[..., 0]
    return broadcast_level(length, w) * (
        torch.stack(basis, 1) * weights.reshape(*weights.shape, *[1] * (w.ndim - 1))
    ).sum(1)
