"""min f(x) + g(x) where f is the misfit to a measurement and g has a proximal map: the one loop under total
variation and wavelets.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from ...errors import Diverged
from ...operators import Measurement, Unknown

__all__ = ["Prox", "noise_weights", "proximal_gradient"]

Prox = Callable[[Tensor, Tensor], Tensor]
"""(z, L) -> argmin g(x) / L + |x - z|^2 / 2; L has one entry an image, (B, 1, ...)."""


def proximal_gradient(
    measurement: Measurement,
    prox: Prox,
    who: str,
    *,
    n: int,
    tol: float,
    start: Tensor | None = None,
    restart: bool = True,
) -> Tensor:
    """argmin sum w |A x - y|^2 / 2 + g(x), (B, *domain), with the w of ``noise_weights``.

    n: most iterations; it stops when no image has changed by more than tol of its norm in ten. start: default
    A^H y, scaled. who: for the error. restart: momentum begins anew where it points uphill; not where prox is
    random and the last quarter of all iterates is averaged instead. Source: FISTA (Beck and Teboulle, IEEE
    Trans. Image Process. 18(11), 2009), restarts of O'Donoghue and Candès (Found. Comput. Math. 15, 2015).
    Raises Diverged.
    """
    A, w, y = measurement.operator, noise_weights(measurement), measurement.y
    back = A.adjoint(w * y)
    L = _largest(lambda x: A.adjoint(w * A(x)), back)
    x = ahead = back / L if start is None else start.clone()
    t, checked, total, n_total = torch.ones_like(L), x, torch.zeros_like(x), 0
    for i in range(n):
        new = prox(ahead - A.adjoint(w * (A(ahead) - y)) / L, L)
        uphill = (
            ((ahead - new) * (new - x)).flatten(1).sum(1).reshape(t.shape) > 0
            if restart
            else torch.zeros_like(t, dtype=torch.bool)
        )
        t_new = torch.where(uphill, 1, (1 + (1 + 4 * t**2).sqrt()) / 2)
        ahead = new + torch.where(uphill, 0, (t - 1) / t_new) * (new - x)
        x, t = new, t_new
        if not restart and i >= n - max(1, n // 4):
            total, n_total = total + x, n_total + 1
        if i % 10 == 9:
            if not bool(torch.isfinite(x).all()):
                raise Diverged(i, 0.0, who)
            if restart and _settled(x, checked, tol):
                break
            checked = x
    return x if restart else total / n_total


def noise_weights(measurement: Measurement) -> Tensor:
    """Mean variance over variance of each entry; 1 where the noise is unknown."""
    real = measurement.y.abs()
    if isinstance(measurement.noise, Unknown):
        return torch.ones((), dtype=real.dtype, device=real.device)
    variance = torch.as_tensor(
        measurement.noise.variance(measurement.y), dtype=real.dtype, device=real.device
    )
    return variance.mean() / variance


def _largest(normal: Callable[[Tensor], Tensor], like: Tensor) -> Tensor:
    """(B, 1, ...): the largest eigenvalue for each image by 30 power iterations, with 2 % added because they
    come from below.
    """
    x = torch.randn(like.shape, generator=torch.Generator().manual_seed(0), dtype=like.dtype).to(like.device)
    size = x.new_ones(len(x))
    for _ in range(30):
        x = normal(x / _wide(size, x))
        size = torch.linalg.vector_norm(x.flatten(1), dim=1).clamp_min(torch.finfo(x.dtype).tiny)
    return _wide(1.02 * size, x)


def _wide(value: Tensor, like: Tensor) -> Tensor:
    return value.reshape(-1, *[1] * (like.ndim - 1))


def _settled(x: Tensor, before: Tensor, tol: float) -> bool:
    change, size = ((v.flatten(1) ** 2).sum(1).sqrt() for v in (x - before, x))
    return bool((change <= tol * size).all())
