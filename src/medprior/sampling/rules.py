"""The rules whose covariance is the denoiser's own: named by it (``proximal``, ``merge_views``), or its
derivative. All rules stand in ``catalogue.py``.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from ..operators import Measurement
from ..operators.solve import cg
from ..prior import Condition, Denoiser, Redraw
from ..prior.denoiser import broadcast_level
from .krylov import root_times
from .response import fourier_filter, ring_response, weight_of

__all__ = [
    "Moments",
    "Rule",
    "data_fit",
    "informed",
    "known_channels",
    "laplace_draws",
    "matched_draw",
    "merge_views",
    "moment_matching",
    "posterior_mean",
    "proximal",
]

Rule = Callable[[Denoiser, Measurement, torch.Generator], Denoiser | Redraw]

_ENOUGH = 1e-3
"""A correction is solved for until its residual has fallen to this share: a looser one is seen in the draws
(tests/laws/test_rules.py).
"""


def data_fit(
    measurement: Measurement,
    z: Tensor,
    variance: float | Tensor,
    *,
    n_iterations: int = 40,
    answers: Tensor | None = None,
) -> Tensor:
    """argmin over x of |A x - y|^2 / noise variance + |x - z|^2 / variance, by conjugate gradients from z.

    variance: of all images, or (B, 1, 1, 1[, 1]) of each. answers: what ``ring_response`` found for this
    measurement; projections take half the iterations with it.
    """
    operator, weight = measurement.operator, weight_of(measurement).to(z.device)

    def normal(x: Tensor) -> Tensor:
        return operator.adjoint(weight * operator.apply(x)) + x / variance

    inverse = None if answers is None else lambda r: fourier_filter(r, 1 / (answers.to(r) + 1 / variance))
    pull = operator.adjoint(weight * (measurement.y - operator.apply(z)))
    return z + cg(normal, pull, torch.zeros_like(pull), n=n_iterations, tol=_ENOUGH, inverse=inverse)


class _Guess:
    """x0 given x as the denoiser names it: N(mean, C) with the root of C = std F^H spectrum^(1/2) F."""

    def __init__(self, denoiser: Denoiser, x: Tensor, sigma: Tensor, condition: Condition | None) -> None:
        self.mean, self.std = denoiser.moments(x, sigma, condition)
        self.ring = denoiser.spectrum(sigma, tuple(x.shape[2:])).to(x).sqrt()[:, None]

    def root(self, u: Tensor) -> Tensor:
        return self.std * fourier_filter(u, self.ring)

    def across(self, v: Tensor) -> Tensor:
        """The transpose of ``root``."""
        return fourier_filter(self.std * v, self.ring)

    def inverse(self, answers: Tensor) -> Callable[[Tensor], Tensor]:
        """About (I + root^T A^H w A root)^-1: exact where std is the same everywhere and A answers by
        ring.
        """
        variance = self.std.square().flatten(1).mean(1).reshape(-1, *[1] * (self.std.ndim - 1))
        return lambda r: fourier_filter(r, 1 / (1 + variance * self.ring.square() * answers))

    def draw(self, rng: torch.Generator) -> Tensor:
        return self.mean + self.root(
            torch.randn(self.mean.shape, generator=rng, dtype=self.mean.dtype).to(self.mean.device)
        )


class _Informed(Denoiser):
    def __init__(self, denoiser: Denoiser, image: Tensor, noise: float) -> None:
        self.denoiser, self.image, self.noise = denoiser, image, noise

    def __call__(self, x: Tensor, sigma: Tensor, condition: Condition | None = None) -> Tensor:
        return self.denoiser(*self._both(x, sigma), condition)

    def moments(self, x: Tensor, sigma: Tensor, condition: Condition | None = None) -> tuple[Tensor, Tensor]:
        return self.denoiser.moments(*self._both(x, sigma), condition)

    def error(self, sigma: Tensor) -> Tensor:
        return self.denoiser.error(self._left(sigma))

    def spectrum(self, sigma: Tensor, size: tuple[int, ...]) -> Tensor:
        return self.denoiser.spectrum(self._left(sigma), size)

    def _both(self, x: Tensor, sigma: Tensor) -> tuple[Tensor, Tensor]:
        """Two noisy views of one image are one view with less noise."""
        share = broadcast_level((self.noise**2 / (self.noise**2 + sigma**2)).to(x), x)
        return share * x + (1 - share) * self.image, self._left(sigma)

    def _left(self, sigma: Tensor) -> Tensor:
        return sigma * self.noise / (sigma**2 + self.noise**2).sqrt()


def informed(denoiser: Denoiser, image: Tensor, noise: float) -> Denoiser:
    """The mean where the image itself was measured, too, plus white noise: x and it are merged before the
    network is asked.

    image: (1, C, i, j[, k]), noise: its standard deviation, network units. Exact, since nothing is
    linearised.
    """
    return _Informed(denoiser, image, noise)


class _MergedViews(Redraw):
    def __init__(self, denoiser: Denoiser, rng: torch.Generator) -> None:
        self.denoiser, self.rng = denoiser, rng

    def __call__(self, x: Tensor, sigma: Tensor, condition: Condition | None = None) -> Tensor:
        return _Guess(self.denoiser, x, sigma, condition).draw(self.rng)


def merge_views(denoiser: Denoiser, image: Tensor, noise: float, rng: torch.Generator) -> Redraw:
    """The redraw where the measurement is the image itself plus white noise, see ``informed``.

    Exact for Gaussian priors whose covariance the denoiser names, and better than ``proximal`` for all.
    """
    return _MergedViews(informed(denoiser, image, noise), rng)


class _KnownChannels(Redraw):
    def __init__(
        self, denoiser: Denoiser, y: Tensor, kept: tuple[int, ...], noise: float, rng: torch.Generator
    ) -> None:
        self.denoiser, self.y, self.kept, self.noise, self.rng = denoiser, y, kept, noise, rng

    def __call__(self, x: Tensor, sigma: Tensor, condition: Condition | None = None) -> Tensor:
        x0 = _Guess(self.denoiser, x, sigma, condition).draw(self.rng)
        white = torch.randn((len(x), *self.y.shape[1:]), generator=self.rng, dtype=x.dtype).to(x.device)
        x0[:, list(self.kept)] = self.y + self.noise * white
        return x0


def known_channels(
    denoiser: Denoiser, y: Tensor, kept: tuple[int, ...], noise: float, rng: torch.Generator
) -> Redraw:
    """The redraw where some channels are known and nothing else: ``proximal`` for the operator ``channels``,
    in the limit of a small noise.

    y: (B or 1, channels, i, j[, k]). The covariance of a denoiser connects no channels, so the rest is its
    draw and there is no system to solve. The channels influence each other through the network alone.
    """
    return _KnownChannels(denoiser, y, kept, noise, rng)


class _Proximal(Redraw):
    def __init__(
        self, denoiser: Denoiser, measurement: Measurement, rng: torch.Generator, n_iterations: int
    ) -> None:
        self.denoiser, self.measurement, self.rng, self.n_iterations = (
            denoiser,
            measurement,
            rng,
            n_iterations,
        )
        self.answers = ring_response(measurement)

    def __call__(self, x: Tensor, sigma: Tensor, condition: Condition | None = None) -> Tensor:
        known = _Guess(self.denoiser, x, sigma, condition)
        return _product(
            known, self.measurement, self.rng, answers=self.answers, n_iterations=self.n_iterations
        )


def _product(
    known: _Guess,
    measurement: Measurement,
    rng: torch.Generator,
    *,
    answers: Tensor | None,
    n_iterations: int = 40,
) -> Tensor:
    """One draw for each image of a guess: noise on the data and on the guess makes the minimiser an exact
    draw of the Gaussian product.
    """
    guess = known.draw(rng)
    return _between(
        known,
        guess,
        measurement,
        _perturbed(measurement, len(guess), rng),
        answers=answers,
        n_iterations=n_iterations,
    )


def _between(
    known: _Guess,
    guess: Tensor,
    measurement: Measurement,
    y: Tensor,
    *,
    answers: Tensor | None,
    n_iterations: int = 40,
) -> Tensor:
    """argmin over x of |A x - y|^2 in variances of the noise + |x - guess|^2 in those of the guess."""
    operator, weight = measurement.operator, weight_of(measurement).to(guess.device)

    def normal(u: Tensor) -> Tensor:
        return u + known.across(operator.adjoint(weight * operator.apply(known.root(u))))

    # x = guess + C^(1/2) u: in u the system is well conditioned, whatever the covariance of the prior's error
    pull = known.across(operator.adjoint(weight * (y - operator.apply(guess))))
    inverse = None if answers is None else known.inverse(answers.to(guess))
    return guess + known.root(
        cg(normal, pull, torch.zeros_like(pull), n=n_iterations, tol=_ENOUGH, inverse=inverse)
    )


def posterior_mean(
    denoiser: Denoiser,
    measurement: Measurement,
    x: Tensor,
    sigma: Tensor,
    condition: Condition | None = None,
    *,
    answers: Tensor | None = None,
) -> Tensor:
    """(B, C, i, j[, k]): x denoised and weighed against the data, by the error that the denoiser names; the
    mean of what ``proximal`` draws.

    answers: what ``ring_response`` found for this measurement; the same image with fewer iterations.
    """
    known = _Guess(denoiser, x, sigma, condition)
    return _between(known, known.mean, measurement, measurement.y, answers=answers)


def laplace_draws(
    denoiser: Denoiser, measurement: Measurement, point: Tensor, sigma: float, n: int, rng: torch.Generator
) -> Tensor:
    """(n, C, i, j[, k]): draws from the product of the data's likelihood and what the prior says of one image
    (1, C, i, j[, k]) at noise ``sigma``.

    One network evaluation for all.
    """
    x = point + sigma * torch.randn(point.shape, generator=rng).to(point)
    known = _Guess(denoiser, x, torch.full((1,), sigma).to(point), None)
    known.mean = known.mean.expand(n, *point.shape[1:])
    return _product(known, measurement, rng, answers=ring_response(measurement))


def _perturbed(measurement: Measurement, n: int, rng: torch.Generator) -> Tensor:
    """(n, *codomain): the measurement with one more draw of its own noise, Gaussian in each real
    component.
    """
    y, parts = measurement.y, 2 if measurement.y.is_complex() else 1
    white = torch.randn((parts, n, *y.shape[1:]), generator=rng, dtype=y.dtype.to_real()).to(y.device)
    std = (1 / weight_of(measurement)).sqrt().to(white)
    return y + std * (torch.complex(white[0], white[1]) if parts == 2 else white[0])


def proximal(
    denoiser: Denoiser, measurement: Measurement, rng: torch.Generator, *, n_iterations: int = 40
) -> Redraw:
    """Denoise, then draw from the product of the data's likelihood and N(denoised, C), by conjugate
    gradients.

    C = std F^H spectrum F std: the prior's own standard deviation at each voxel says where it is unsure, and
    its measured error spectrum how neighbours err together (``Denoiser.moments``, ``Denoiser.spectrum``), so
    there is no knob to turn for a task. It belongs to the family of DiffPIR (Zhu et al. 2023) and DDS (Chung
    et al. 2024), whose C is a multiple of the identity. A perturbation makes the result a draw (Papandreou
    and Yuille 2010).
    """
    return _Proximal(denoiser, measurement, rng, n_iterations)


class Moments:
    """Mean and covariance of x0 given x, from the denoiser and its derivative: covariance = sigma^2 dD/dx
    (Tweedie's second moment).
    """

    def __init__(self, denoiser: Denoiser, x: Tensor, sigma: Tensor, condition: Condition | None) -> None:
        self.at = x.detach().requires_grad_()
        self.variance = broadcast_level((sigma**2).to(x), x)
        with torch.enable_grad():
            self.graph = denoiser(self.at, sigma, condition)
        self.mean = self.graph.detach()

    def covariance(self, v: Tensor) -> Tensor:
        """covariance @ v by one vector-Jacobian product; the Jacobian of a true denoiser is symmetric."""
        return self.variance * torch.autograd.grad(self.graph, self.at, v, retain_graph=True)[0]

    def towards(self, measurement: Measurement, start: Tensor, y: Tensor, n: int) -> Tensor:
        """start + C A^H (A C A^H + noise)^-1 (y - A start): a mean moved to the posterior's mean, a draw
        moved to a draw of the posterior.
        """
        operator, noise = measurement.operator, 1 / weight_of(measurement).to(start.device)

        def normal(u: Tensor) -> Tensor:
            return operator.apply(self.covariance(operator.adjoint(u))) + noise * u

        residual = y - operator.apply(start)
        u = cg(normal, residual, torch.zeros_like(residual), n=n, tol=1e-3)
        return start + self.covariance(operator.adjoint(u))


class _Matched(Denoiser):
    def __init__(self, denoiser: Denoiser, measurement: Measurement, n_iterations: int) -> None:
        self.denoiser, self.measurement, self.n_iterations = denoiser, measurement, n_iterations

    def error(self, sigma: Tensor) -> Tensor:
        return self.denoiser.error(sigma)

    def __call__(self, x: Tensor, sigma: Tensor, condition: Condition | None = None) -> Tensor:
        moments = Moments(self.denoiser, x, sigma, condition)
        return moments.towards(self.measurement, moments.mean, self.measurement.y, self.n_iterations)


def moment_matching(
    denoiser: Denoiser,
    measurement: Measurement,
    rng: torch.Generator | None = None,
    *,
    n_iterations: int = 20,
) -> Denoiser:
    """The mean of x0 given x and y, if x0 given x is Gaussian with the covariance C = sigma^2 dD/dx.

    Rozet et al. 2024 (MMPS), eq. 14 to 18: D + C A^T (A C A^T + noise)^-1 (y - A D), C v by one Jacobian
    product, the inverse by CG. n_iterations: most of CG, which stops where the residual has fallen to a
    thousandth: too few and the spread is wrong without a word.
    """
    return _Matched(denoiser, measurement, n_iterations)


class _MatchedDraw(Redraw):
    def __init__(
        self,
        denoiser: Denoiser,
        measurement: Measurement,
        rng: torch.Generator,
        n_iterations: int,
        n_root: int,
    ) -> None:
        self.denoiser, self.measurement, self.rng, self.n_iterations, self.n_root = (
            denoiser,
            measurement,
            rng,
            n_iterations,
            n_root,
        )

    def __call__(self, x: Tensor, sigma: Tensor, condition: Condition | None = None) -> Tensor:
        moments = Moments(self.denoiser, x, sigma, condition)
        white = torch.randn(x.shape, generator=self.rng, dtype=x.dtype).to(x.device)
        guess = moments.mean + root_times(moments.covariance, white, self.n_root)
        return moments.towards(
            self.measurement, guess, _perturbed(self.measurement, len(x), self.rng), self.n_iterations
        )


def matched_draw(
    denoiser: Denoiser,
    measurement: Measurement,
    rng: torch.Generator,
    *,
    n_iterations: int = 20,
    n_root: int = 8,
) -> Redraw:
    """A draw of x0 given x and y, if x0 given x is Gaussian with the covariance C = sigma^2 dD/dx: the redraw
    that belongs to ``moment_matching``.

    A draw of N(D, C), its root by Lanczos, moved to a draw of the posterior by Matheron's rule (Wilson et al.
    2021). Few levels suffice, since the loop's re-noising is exact and no step of an ODE is in it. n_root:
    Jacobian products for the root; n_iterations: most of CG.
    """
    return _MatchedDraw(denoiser, measurement, rng, n_iterations, n_root)
