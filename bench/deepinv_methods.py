"""What bench/deepinv_peers.py compares: the problems as deepinv's physics, its methods on them, and ours.

deepinv is imported where it is called, for it lies in a folder of its own (bench/peers.py).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from tasks import TASKS
from torch import Tensor, nn

from medprior import Prior
from medprior.jobs.reconstruct import least_squares, reconstruct
from medprior.operators import Gaussian, Measurement, Operator, blur, downsample, fourier, mask, simulate

KEPT = 0.3
WIDTH = 8.0
"""mm, full width at half maximum: four pixels."""


@dataclass(frozen=True)
class Basis:
    """A = U diag(values) V^T: the real orthonormal V, its transpose, and the singular values (1, 1, i, j). U
    follows from A and these.
    """

    forth: Callable[[Tensor], Tensor]
    back: Callable[[Tensor], Tensor]
    values: Tensor


@dataclass(frozen=True)
class Problem:
    measure: Callable[[Tensor, torch.Generator], Measurement]
    basis: Callable[[Operator], Basis]


def _hartley(operator: Operator) -> Basis:
    """Of a real image every line of k-space tells its opposite, too: the Hartley transform (real minus
    imaginary part) is its own inverse.
    """
    shape = operator.domain
    kept = torch.ones(shape) if operator.observed is None else operator.observed.float().expand(shape)
    turned = [(2 * (n // 2) - torch.arange(n)) % n for n in shape[1:]]
    opposite = kept[:, turned[0]][:, :, turned[1]]
    transform = fourier(shape)

    def both(x: Tensor) -> Tensor:
        k = transform.apply(x)
        return k.real - k.imag

    return Basis(both, both, ((kept + opposite) / 2).sqrt()[None])


def _pixels(operator: Operator) -> Basis:
    observed = (
        torch.ones(operator.domain)
        if operator.observed is None
        else operator.observed.float().expand(operator.domain)
    )
    return Basis(lambda c: c, lambda x: x, observed[None])


def _separable(along: Callable[[tuple[int, ...]], Operator]) -> Callable[[Operator], Basis]:
    """along: the operator for an image of one row or one column; the decompositions of both make that of the
    whole.
    """

    def basis(operator: Operator) -> Basis:
        bases, values = [], []
        for axis, n in enumerate(operator.domain[1:], start=2):
            columns = torch.eye(n).reshape(n, 1, *(n if a == axis else 1 for a in (2, 3)))
            matrix = along(tuple(columns.shape[1:])).apply(columns).flatten(1).T.double()
            _, s, v = torch.linalg.svd(matrix)
            bases.append(v.T.float())
            values.append(torch.nn.functional.pad(s, (0, n - len(s))).float())
        rows, columns = bases
        return Basis(
            lambda c: rows @ c @ columns.T, lambda x: rows.T @ x @ columns, torch.outer(*values)[None, None]
        )

    return basis


def _blocks(shape: tuple[int, ...]) -> Operator:
    return downsample(shape, [min(4, n) for n in shape[1:]])


def _spread(shape: tuple[int, ...]) -> Operator:
    return blur(shape, WIDTH, spacing=2.0)


def _holes(x: Tensor, rng: torch.Generator) -> Measurement:
    shape = tuple(x.shape[1:])
    return simulate(x, mask(shape, torch.rand(shape[1:], generator=rng) < KEPT), Gaussian(0.02), rng)


PROBLEMS = {
    "mri4": Problem(TASKS["mri4"].measure, _hartley),
    "sr4": Problem(TASKS["sr4"].measure, _separable(_blocks)),
    "inpaint": Problem(_holes, _pixels),
    "blur": Problem(
        lambda x, rng: simulate(x, _spread(tuple(x.shape[1:])), Gaussian(0.02), rng), _separable(_spread)
    ),
}
SAID = {
    "mri4": "single-coil Cartesian MRI, 4x, noise 0.02",
    "sr4": "super-resolution, means of 4x4 blocks, noise 0.02",
    "inpaint": "70 % of the pixels missing, noise 0.02",
    "blur": "Gaussian blur of 8 mm (4 pixels), noise 0.02",
}


class Adapter(nn.Module):
    """The prior as deepinv calls a denoiser: images in 0..1, so that sigma is half of ours. A level of 0 asks
    for nothing and gets the smallest one.
    """

    def __init__(self, prior: Prior) -> None:
        super().__init__()
        self.prior = prior

    def forward(self, x: Tensor, sigma: float | Tensor) -> Tensor:
        level = torch.as_tensor(2 * sigma, dtype=torch.float32).reshape(-1).clamp_min(2e-3).expand(len(x))
        return (self.prior(2 * x.float() - 1, level) + 1) / 2


@dataclass(frozen=True)
class Case:
    """One measurement: ours, and the same as deepinv's y and physics, of the image in 0..1."""

    truth: Tensor
    ours: Measurement
    y: Tensor
    physics: Any
    sigma: float
    patient: str
    seed: int

    @property
    def step(self) -> float:
        """1 / ||A||^2."""
        return 1 / float(self.physics.mask.max()) ** 2


def case(problem: Problem, truth: Tensor, patient: str, seed: int) -> Case:
    from deepinv.physics import DecomposablePhysics, GaussianNoise  # pyright: ignore[reportMissingImports]

    m = problem.measure(truth, torch.Generator().manual_seed(seed))
    operator, basis = m.operator, problem.basis(m.operator)
    # what is a ten-thousandth of the largest is nothing beside the noise
    inverse = torch.where(basis.values > 1e-4 * basis.values.max(), 1 / basis.values, 0)

    def across(c: Tensor) -> Tensor:
        y = operator.apply(basis.forth(inverse * c))
        return torch.view_as_real(y) if operator.is_complex else y

    def back(y: Tensor) -> Tensor:
        return inverse * basis.back(
            operator.adjoint(torch.view_as_complex(y.contiguous()) if operator.is_complex else y)
        )

    half = m.shifted(2.0, -1.0).y / 2
    y = torch.view_as_real(half) if operator.is_complex else half
    sigma = 0.5 * float(torch.as_tensor(m.noise.variance(m.y)).max()) ** 0.5
    physics = DecomposablePhysics(
        U=across,
        U_adjoint=back,
        V=basis.forth,
        V_adjoint=basis.back,
        mask=basis.values * (inverse > 0),
        noise_model=GaussianNoise(sigma),
    )
    x = torch.randn(truth.shape, generator=torch.Generator().manual_seed(0))
    wanted = torch.view_as_real(operator.apply(x)) if operator.is_complex else operator.apply(x)
    if (
        float((physics.A(x) - wanted).norm()) > 1e-3 * float(wanted.norm())
        or float(physics.adjointness_test(u=x)) > 1e-3
    ):
        raise SystemExit("the decomposition is not that of the operator")
    return Case(truth, m, y, physics, sigma, patient, seed)


Method = Callable[[Case], Tensor]
"""-> (1, 1, i, j) in network units."""


def dpir(
    prior: Prior,
    low: float | None = None,
    high: float | None = None,
    grey: bool = False,
    calls: int | None = None,
) -> Method:
    """low, high: last and first level; default what the class has, the true noise and 49/255. grey: what was
    not measured starts at 0.5, not at 0. calls: evaluations of the network, default those of the class, 8.
    """
    from deepinv.optim import DPIR, HQS, L2, PnP  # pyright: ignore[reportMissingImports]
    from deepinv.optim.dpir import get_DPIR_params  # pyright: ignore[reportMissingImports]

    def method(c: Case) -> Tensor:
        n = calls or get_DPIR_params(c.sigma)[2]
        levels = torch.from_numpy(np.geomspace(high or 49 / 255, low or c.sigma, n)).float()
        steps = (levels / max(0.01, c.sigma)) ** 2 / 0.23
        model = HQS(
            data_fidelity=L2(),
            prior=PnP(Adapter(prior)),
            max_iter=n,
            g_first=False,
            params_algo={"stepsize": steps, "g_param": levels},
        )
        if (low, high, calls) == (None, None, None):
            model = DPIR(sigma=c.sigma, denoiser=Adapter(prior))
        return 2 * model(c.y, c.physics, init=_grey(c) if grey else None) - 1

    return method


def _grey(c: Case) -> Tensor:
    flat = torch.full_like(c.truth, 0.5)
    return flat + c.physics.A_adjoint(c.y - c.physics.A(flat))


def diffpir(prior: Prior, n: int = 1, calls: int = 100, **knobs: Any) -> Method:
    from deepinv.optim import L2  # pyright: ignore[reportMissingImports]
    from deepinv.sampling import DiffPIR  # pyright: ignore[reportMissingImports]

    def method(c: Case) -> Tensor:
        torch.manual_seed(c.seed)
        model = DiffPIR(Adapter(prior), L2(), sigma=c.sigma, max_iter=calls, **knobs)
        made = model(c.y.expand(n, *c.y.shape[1:]), c.physics)
        return 2 * made.mean(0, keepdim=True) - 1

    return method


def ddrm(prior: Prior, n: int = 1, *, calls: int = 100, geometric: bool = False, **knobs: Any) -> Method:
    """geometric: its levels, 100 by default, which the class has linear from 1 to 0."""
    from deepinv.sampling import DDRM  # pyright: ignore[reportMissingImports]

    levels = np.append(np.geomspace(1, 0.002, calls - 1), 0.0) if geometric else np.linspace(1, 0, calls)

    def method(c: Case) -> Tensor:
        torch.manual_seed(c.seed)
        made = DDRM(Adapter(prior), sigmas=levels, **knobs)(c.y.repeat(n, *[1] * (c.y.ndim - 1)), c.physics)
        return 2 * made.mean(0, keepdim=True) - 1

    return method


def dps(prior: Prior, n_steps: int = 1000, **knobs: Any) -> Method:
    from deepinv.sampling import DPS  # pyright: ignore[reportMissingImports]

    def method(c: Case) -> Tensor:
        model = DPS(Adapter(prior), num_steps=n_steps, rng=torch.Generator(), **knobs)
        return 2 * model(c.y, c.physics, seed=c.seed).float() - 1

    return method


def sparse(kind: str, weight: float) -> Method:
    """FISTA, 200 iterations. Total variation: 20 inner iterations, started where the last ended; wavelets:
    db8, three levels.
    """
    from deepinv.optim import FISTA, L2, TVPrior, WaveletPrior  # pyright: ignore[reportMissingImports]

    def method(c: Case) -> Tensor:
        prior = TVPrior(n_it_max=20) if kind == "TV" else WaveletPrior()
        return (
            2
            * FISTA(data_fidelity=L2(), prior=prior, lambda_reg=weight, stepsize=c.step, max_iter=200)(
                c.y, c.physics
            )
            - 1
        )

    return method


def ours(prior: Prior, n: int, fast: bool = False) -> Method:
    return lambda c: reconstruct(prior, c.ours, n=n, seed=c.seed, scale=(-1.0, 1.0), fast=fast).mean()[None]


def unassisted() -> Method:
    """Least squares without a prior: the plainest image of the data."""
    return lambda c: least_squares(c.ours)
