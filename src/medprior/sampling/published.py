"""Rules known by name from the literature, on the same two loops as ours; what each really gives stands in
the table of ``catalogue.py``.
"""

from __future__ import annotations

import math
from itertools import pairwise

import torch
from torch import Tensor

from ..data.seeds import generator
from ..operators import Measurement, norm
from ..prior import Condition, Denoiser, Redraw
from ..prior.denoiser import broadcast_level
from .levels import karras_levels
from .response import fourier_filter, ring_response, weight_of
from .rules import Moments, data_fit

__all__ = ["decoupled", "posterior_sampling", "pseudoinverse_guidance"]


class _Pulled(Denoiser):
    """A mean, moved along the network's derivative towards what the data ask for, but not past the data."""

    def __init__(self, denoiser: Denoiser, measurement: Measurement) -> None:
        self.denoiser, self.measurement = denoiser, measurement
        weight = weight_of(measurement)
        self.share = (weight / weight.mean()).to(measurement.y.device)

    def error(self, sigma: Tensor) -> Tensor:
        return self.denoiser.error(sigma)

    def dot(self, a: Tensor, b: Tensor) -> Tensor:
        """(B,): of two things in the measurement's space, loud entries counting less."""
        return (self.share * (a.conj() * b).real).flatten(1).sum(1)

    def moved(self, mean: Tensor, shift: Tensor, most: Tensor) -> Tensor:
        """mean + shift times ``most`` (B,), or times less where A mean would pass the data: few steps of an
        ODE answer that with ever larger swings.
        """
        operator = self.measurement.operator
        reach = operator.apply(shift)
        nearest = self.dot(reach, self.measurement.y - operator.apply(mean)) / self.dot(
            reach, reach
        ).clamp_min(1e-30)
        return mean + broadcast_level(torch.minimum(most, nearest), mean) * shift


class _Pseudoinverse(_Pulled):
    def __init__(self, denoiser: Denoiser, measurement: Measurement) -> None:
        super().__init__(denoiser, measurement)
        self.answers = ring_response(measurement)
        self.variance = float(
            denoiser.error(torch.full((1,), 1e3))
        )  # in so much noise x says nothing: the error is the data's variance

    def __call__(self, x: Tensor, sigma: Tensor, condition: Condition | None = None) -> Tensor:
        moments = Moments(self.denoiser, x, sigma, condition)
        variance = moments.variance * self.variance / (moments.variance + self.variance)
        # A^H (r^2 A A^H + noise)^-1 (y - A D) = (fit - D) / r^2, and a fit has its preconditioner
        asked = data_fit(self.measurement, moments.mean, variance, answers=self.answers) - moments.mean
        return self.moved(moments.mean, moments.covariance(asked / variance), x.new_ones(len(x)))


def pseudoinverse_guidance(
    denoiser: Denoiser, measurement: Measurement, rng: torch.Generator | None = None
) -> Denoiser:
    """The mean of x0 given x and y as if x0 given x were N(D, r^2 I), its gradient through the network
    (PiGDM, Song et al., ICLR 2023, eq. 8).

    D + sigma^2 J^T A^H (r^2 A A^H + noise)^-1 (y - A D), J = dD/dx, by one Jacobian product; the inverse by
    conjugate gradients. r^2 = sigma^2 v / (sigma^2 + v) is the published sigma^2 / (1 + sigma^2) for data of
    variance v. It is exact for white priors only. Where neighbours agree, sigma^2 J is larger than r^2 in
    broad shapes and would overshoot the data, so the move is cut there.
    """
    return _Pseudoinverse(denoiser, measurement)


class _Posterior(_Pulled):
    def __init__(self, denoiser: Denoiser, measurement: Measurement) -> None:
        super().__init__(denoiser, measurement)
        self.norm = norm(measurement.operator, device=measurement.y.device)

    def __call__(self, x: Tensor, sigma: Tensor, condition: Condition | None = None) -> Tensor:
        moments, operator = Moments(self.denoiser, x, sigma, condition), self.measurement.operator
        residual = self.measurement.y - operator.apply(moments.mean)
        published = 4 / (
            _noise_added(moments.variance.flatten()) * self.dot(residual, residual).sqrt() * self.norm
        )
        return self.moved(
            moments.mean, moments.covariance(operator.adjoint(self.share * residual)), published
        )


def _noise_added(variance: Tensor) -> Tensor:
    """beta of the step that begins at this sigma^2: 1000 steps, beta from 1e-4 to 0.02 in equal steps (Ho et
    al. 2020).

    There ln(1 + sigma^2), the sum of beta so far, is a parabola of the steps taken.
    """
    return (1e-4**2 + 2 * (0.02 - 1e-4) / 1000 * torch.log1p(variance)).sqrt()


def posterior_sampling(
    denoiser: Denoiser, measurement: Measurement, rng: torch.Generator | None = None
) -> Denoiser:
    """D moved down the gradient of |y - A D(x)| through the network (DPS, Chung et al., ICLR 2023, algorithm
    1).

    Published: each of 1000 steps moves x by zeta / |y - A D| times the gradient of |y - A D|^2, zeta about 1,
    for images in -1..1 and operators of norm 1. One such step lowers ln sigma by beta (1 + sigma^2) / (2
    sigma^2), so to a mean in an ODE over sigma it adds 4 / (beta |y - A D|) sigma^2 J^T A^H (y - A D). Loops
    of 10 to 100 steps overshoot with that: it is cut where A D would pass the data.

    The weight does not know the noise. Data with little noise are fitted too loosely, and the draws scatter
    too far. In noisy data, or with few measured numbers, the noise itself is fitted. Here for comparison.
    """
    return _Posterior(denoiser, measurement)


class _Decoupled(Redraw):
    def __init__(
        self, denoiser: Denoiser, measurement: Measurement, rng: torch.Generator, n_flow: int, n_langevin: int
    ) -> None:
        self.denoiser, self.measurement, self.rng, self.n_flow = denoiser, measurement, rng, n_flow
        self.answers = ring_response(measurement)
        self.stiffness = _stiffness(measurement, self.answers)
        # large steps to get there, small ones in the end: a step of share h leaves variances too large by 1 /
        # (1 - h / 2)
        self.steps = torch.logspace(0, -1, n_langevin).tolist()

    def __call__(self, x: Tensor, sigma: Tensor, condition: Condition | None = None) -> Tensor:
        operator, weight = self.measurement.operator, weight_of(self.measurement).to(x.device)
        guess, variance = self._ahead(x, sigma, condition)
        stiffness = self.stiffness.to(x) + 1 / variance
        # from where the data allow of a draw of the guess: the chain has little way to go, however
        # ill-conditioned A is
        z = data_fit(
            self.measurement, guess + variance.sqrt() * self._white(x), variance, answers=self.answers
        )
        for step in self.steps:
            slope = (
                operator.adjoint(weight * (operator.apply(z) - self.measurement.y)) + (z - guess) / variance
            )
            z = (
                z
                - step * fourier_filter(slope, 1 / stiffness)
                + math.sqrt(2 * step) * fourier_filter(self._white(x), stiffness.rsqrt())
            )
        return z

    def _ahead(self, x: Tensor, sigma: Tensor, condition: Condition | None) -> tuple[Tensor, Tensor]:
        """Where n_flow Euler steps of the prior's own ODE lead, and the mean variance of x0 given x."""
        mean, std = self.denoiser.moments(x, sigma, condition)
        variance = broadcast_level(std.square().flatten(1).mean(1), x)
        shares = karras_levels(self.n_flow, low=0.01, high=1.0).to(x)
        for n, (now, following) in enumerate(pairwise(shares)):
            mean = mean if n == 0 else self.denoiser(x, now * sigma, condition)
            x = mean + following / now * (x - mean)
        return x, variance

    def _white(self, x: Tensor) -> Tensor:
        return torch.randn(x.shape, generator=self.rng, dtype=x.dtype).to(x.device)


def _stiffness(measurement: Measurement, answers: Tensor | None) -> Tensor:
    """(1, 1, *size or 1s): at least A^H w A, by ring of frequency where ``ring_response`` knows it, else its
    largest eigenvalue; power iterations.
    """
    operator, weight = measurement.operator, weight_of(measurement).to(measurement.y.device)
    # a ring that hardly answers may hide what a direction within it answers
    known = (
        torch.ones((1,) * (len(operator.domain) + 1))
        if answers is None
        else answers.clamp_min(1e-3 * float(answers.max()))
    )
    v = torch.randn((1, *operator.domain), generator=generator(0, "stiffness")).to(weight)
    size = torch.ones(())
    for _ in range(20):
        v = fourier_filter(v / torch.linalg.vector_norm(v), known.rsqrt().to(v))
        v = fourier_filter(operator.adjoint(weight * operator.apply(v)), known.rsqrt().to(v))
        size = torch.linalg.vector_norm(v)
    return size * known.to(v)


def decoupled(
    denoiser: Denoiser,
    measurement: Measurement,
    rng: torch.Generator,
    *,
    n_flow: int = 1,
    n_langevin: int = 20,
) -> Redraw:
    """Draws of p(y given x0) N(x0; guess, r^2 I) by Langevin steps, re-noised by the loop (DAPS, Zhang et
    al., CVPR 2025, algorithm 1).

    guess: where n_flow Euler steps of the prior's ODE from x to 0 lead. One step gives the mean D; with r^2,
    the mean variance that the denoiser states, each redraw is then right for white priors. Published is a
    longer flow: its x0 has its spread already, and r^2 comes on top (tests/golden). The chain begins at the
    fit of a draw of the guess, so its mean is right from the start. The published method begins at the guess
    itself, from where projections are never reached. Step sizes come from the largest eigenvalue of A^H A /
    noise, by ring of frequency if the operator acts by ring. Directions far below it keep too little of the
    data's own noise. ``proximal`` draws without steps what is linear.
    """
    return _Decoupled(denoiser, measurement, rng, n_flow, n_langevin)
