"""How a measurement enters: a rule takes a denoiser and a measurement and gives back a denoiser (a mean) or a redraw (a draw).

| rule | gives | exact for | cost an evaluation |
|---|---|---|---|
| moment_matching | Denoiser | Gaussian priors | one network call, and one Jacobian product an iteration of CG |
| proximal | Redraw | priors whose p(x0 given x) is Gaussian with covariance r2 * I | one network call, no gradient |
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from ..errors import BadOption
from ..operators import Measurement
from ..operators.solve import cg
from ..prior import Condition, Denoiser, Redraw

__all__ = ["RULES", "Rule", "fitted", "moment_matching", "proximal"]

Rule = Callable[[Denoiser, Measurement, torch.Generator], Denoiser | Redraw]


def _weight(measurement: Measurement) -> Tensor:
    """1 / noise variance of each real component. Raises BadOption for noise of zero, UnknownNoise where nobody has stated it."""
    variance = torch.as_tensor(measurement.noise.variance(measurement.y), dtype=torch.float32)
    if not (variance > 0).all():
        raise BadOption("noise: wanted a standard deviation > 0, got 0", "state the true noise; 0.005 of the range is a quiet scan")
    return 1 / variance


def fitted(measurement: Measurement, z: Tensor, variance: float | Tensor, *, n_iterations: int = 12, y: Tensor | None = None) -> Tensor:
    """argmin over x of |A x - y|^2 / noise variance + |x - z|^2 / variance, by conjugate gradients from z (12 iterations suffice: tested)."""
    operator, weight = measurement.operator, _weight(measurement).to(z.device)
    y = measurement.y if y is None else y

    def normal(x: Tensor) -> Tensor:
        return operator.adjoint(weight * operator.apply(x)) + x / variance

    return cg(normal, operator.adjoint(weight * y).expand_as(z) + z / variance, z, n=n_iterations)


class _Proximal(Redraw):
    def __init__(self, denoiser: Denoiser, measurement: Measurement, rng: torch.Generator) -> None:
        self.denoiser, self.measurement, self.rng = denoiser, measurement, rng

    def __call__(self, x: Tensor, sigma: Tensor, condition: Condition | None = None) -> Tensor:
        mean = self.denoiser(x, sigma, condition)
        variance = self.denoiser.error(sigma).to(x).reshape(-1, *[1] * (x.ndim - 1))
        jitter = torch.randn(x.shape, generator=self.rng, dtype=x.dtype).to(x.device)
        # perturb and optimise: noise on the data and on the prior's guess makes the minimiser an exact draw of the Gaussian product
        clean = torch.zeros_like(self.measurement.y).expand(len(x), *self.measurement.y.shape[1:])
        y = self.measurement.y + _noise_like(clean, self.measurement, self.rng)
        return fitted(self.measurement, mean + variance.sqrt() * jitter, variance, y=y)


def _noise_like(zero: Tensor, measurement: Measurement, rng: torch.Generator) -> Tensor:
    """A Gaussian draw with the noise's variance in each real component of the measurement."""
    std = torch.as_tensor(measurement.noise.variance(measurement.y)).sqrt().to(zero.device)
    if zero.is_complex():
        real = torch.randn((2, *zero.shape), generator=rng).to(zero.device)
        return std * torch.complex(real[0], real[1]).to(zero.dtype)
    return std * torch.randn(zero.shape, generator=rng, dtype=zero.dtype).to(zero.device)


def proximal(denoiser: Denoiser, measurement: Measurement, rng: torch.Generator) -> Redraw:
    """Denoise, then draw from the product of the data's likelihood and N(denoised, r2 I), by conjugate gradients.

    r2 is the denoiser's own mean squared error at that sigma (``Denoiser.error``): no knob to turn for a task.
    The family of DiffPIR (Zhu et al. 2023) and DDS (Chung et al. 2024), with the perturbation that makes its result a draw.
    """
    return _Proximal(denoiser, measurement, rng)


class _Matched(Denoiser):
    def __init__(self, denoiser: Denoiser, measurement: Measurement, n_iterations: int) -> None:
        self.denoiser, self.measurement, self.n_iterations = denoiser, measurement, n_iterations

    def error(self, sigma: Tensor) -> Tensor:
        return self.denoiser.error(sigma)

    def __call__(self, x: Tensor, sigma: Tensor, condition: Condition | None = None) -> Tensor:
        operator, noise = self.measurement.operator, 1 / _weight(self.measurement).to(x.device)
        variance = (sigma**2).to(x).reshape(-1, *[1] * (x.ndim - 1))
        with torch.enable_grad():
            at = x.detach().requires_grad_()
            mean = self.denoiser(at, sigma, condition)

            def jacobian(v: Tensor) -> Tensor:
                return torch.autograd.grad(mean, at, v, retain_graph=True)[0]

            def normal(u: Tensor) -> Tensor:
                return operator.apply(variance * jacobian(operator.adjoint(u))) + noise * u

            residual = self.measurement.y - operator.apply(mean.detach())
            u = cg(normal, residual, torch.zeros_like(residual), n=self.n_iterations)
            shift = variance * jacobian(operator.adjoint(u))
        return (mean + shift).detach()


def moment_matching(denoiser: Denoiser, measurement: Measurement, rng: torch.Generator | None = None, *, n_iterations: int = 5) -> Denoiser:
    """The mean of x0 given x and y, if x0 given x is Gaussian with the covariance sigma^2 dD/dx (Tweedie's second moment).

    Rozet et al. 2024 (MMPS), eq. 14 to 18: D + C A^T (A C A^T + noise)^-1 (y - A D), C v by one Jacobian product, the inverse by CG.
    """
    return _Matched(denoiser, measurement, n_iterations)


RULES: dict[str, Rule] = {"proximal": proximal, "moment_matching": moment_matching}
