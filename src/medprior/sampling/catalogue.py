"""How a measurement enters: a rule takes a denoiser and a measurement and gives back a denoiser (a mean) or a
redraw (a draw).

- ``decoupled``, a Redraw: exact for white priors, in the limit of many Langevin steps. One network call
  without gradient, one fit, 20 products of A and its adjoint.
- ``matched_draw``, a Redraw: exact for Gaussian priors, from 6 levels on. One network call, 8 Jacobian
  products for the root, one an iteration of CG.
- ``moment_matching``, a Denoiser: exact for Gaussian priors, 30 midpoint steps. One network call, one
  Jacobian product an iteration of CG.
- ``posterior_sampling``, a Denoiser: never exact. One network call, one Jacobian product.
- ``proximal``, a Redraw: exact where p(x0 given x) is Gaussian with the covariance that the denoiser names.
  One network call without gradient.
- ``pseudoinverse_guidance``, a Denoiser: exact for white priors. One network call, one Jacobian product.

``DECLARED`` is what the approximations give for a prior whose neighbours agree (24 voxels, eigenvalues 0.02
to 2.2), where the denoiser names one white error and no more. The error of proximal and decoupled falls with
the number of levels, and is small if much was measured. Draws from few levels and scarce data must be
calibrated before their spread is believed. More levels do not mend the mean of the other two.
"""

from __future__ import annotations

from dataclasses import dataclass

from .published import decoupled, posterior_sampling, pseudoinverse_guidance
from .rules import Rule, matched_draw, moment_matching, proximal

__all__ = ["DECLARED", "PASSES", "RULES", "Declared"]

RULES: dict[str, Rule] = {
    "decoupled": decoupled,
    "matched_draw": matched_draw,
    "moment_matching": moment_matching,
    "posterior_sampling": posterior_sampling,
    "proximal": proximal,
    "pseudoinverse_guidance": pseudoinverse_guidance,
}

PASSES: dict[str, int] = {
    "decoupled": 1,
    "matched_draw": 61,
    "moment_matching": 90,
    "posterior_sampling": 6,
    "proximal": 1,
    "pseudoinverse_guidance": 6,
}
"""Forward passes through the network a level at most, a Jacobian product counted as two: what a run will cost
at the worst.
"""


@dataclass(frozen=True, slots=True)
class Declared:
    """How far a rule is off for the exact Gaussian denoiser. operator: of the test; std: of its noise. mean:
    error of the mean over the prior's spread; spread: total variance of the draws over the posterior's.
    """

    rule: str
    operator: str
    std: float
    levels: int
    mean: float
    spread: float


DECLARED: tuple[Declared, ...] = (
    Declared("proximal", "dense", 0.05, 10, 0.55, 1.06),
    Declared("proximal", "dense", 0.05, 30, 0.37, 0.99),
    Declared("proximal", "dense", 0.3, 30, 0.24, 0.92),
    Declared("proximal", "mask", 0.05, 10, 0.37, 1.44),
    Declared("proximal", "mask", 0.05, 30, 0.17, 1.14),
    Declared("proximal", "mask", 0.3, 30, 0.23, 1.08),
    Declared("proximal", "downsample", 0.05, 30, 0.02, 0.98),
    Declared("proximal", "downsample", 0.3, 30, 0.17, 1.03),
    Declared("proximal", "mri", 0.3, 10, 0.15, 1.16),
    Declared("proximal", "denoise", 0.05, 30, 0.00, 1.00),
    Declared("proximal", "denoise", 0.3, 10, 0.12, 1.12),
    Declared("proximal", "denoise", 0.3, 30, 0.06, 1.06),
    Declared("pseudoinverse_guidance", "dense", 0.05, 10, 0.46, 1.19),
    Declared("pseudoinverse_guidance", "mask", 0.05, 10, 0.18, 1.18),
    Declared("pseudoinverse_guidance", "mask", 0.3, 10, 0.14, 0.94),
    Declared("pseudoinverse_guidance", "mask", 0.3, 30, 0.14, 0.99),
    Declared("pseudoinverse_guidance", "downsample", 0.3, 10, 0.11, 0.81),
    Declared("pseudoinverse_guidance", "mri", 0.3, 10, 0.10, 0.94),
    Declared("pseudoinverse_guidance", "denoise", 0.05, 10, 0.05, 1.39),
    Declared("pseudoinverse_guidance", "denoise", 0.3, 10, 0.09, 0.87),
    Declared("posterior_sampling", "dense", 0.3, 10, 0.40, 0.77),
    Declared("posterior_sampling", "mask", 0.05, 10, 0.13, 1.00),
    Declared("posterior_sampling", "mask", 0.3, 10, 0.28, 0.42),
    Declared("posterior_sampling", "mask", 0.3, 30, 0.28, 0.44),
    Declared("posterior_sampling", "downsample", 0.3, 10, 0.33, 0.37),
    Declared("posterior_sampling", "mri", 0.3, 10, 0.21, 0.15),
    Declared("posterior_sampling", "denoise", 0.3, 10, 0.38, 0.00),
    Declared("decoupled", "dense", 0.05, 10, 0.55, 1.07),
    Declared("decoupled", "mask", 0.05, 10, 0.37, 1.48),
    Declared("decoupled", "mask", 0.05, 30, 0.17, 1.14),
    Declared("decoupled", "mask", 0.3, 10, 0.37, 1.22),
    Declared("decoupled", "downsample", 0.3, 10, 0.23, 1.11),
    Declared("decoupled", "mri", 0.3, 10, 0.15, 1.22),
    Declared("decoupled", "denoise", 0.3, 10, 0.12, 1.19),
)
"""Of every approximation and operator; a test measures each row again."""
