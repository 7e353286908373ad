"""How a measurement enters: a rule takes a denoiser and a measurement and gives back a denoiser (a mean) or a
redraw (a draw).

| rule | gives | exact for | cost an evaluation | |---|---|---|---| | decoupled | Redraw | white priors, in
the limit of many Langevin steps | one network call, no gradient, one fit, 20 times A and its adjoint | |
matched_draw | Redraw | Gaussian priors, from 6 levels on | one network call, 8 Jacobian products for the
root, one an iteration of CG | | moment_matching | Denoiser | Gaussian priors, 30 midpoint steps | one network
call, one Jacobian product an iteration of CG | | posterior_sampling | Denoiser | none | one network call, one
Jacobian product | | proximal | Redraw | priors whose p(x0 given x) is Gaussian with the covariance the
denoiser names | one network call, no gradient | | pseudoinverse_guidance | Denoiser | white priors | one
network call, one Jacobian product |

What the approximations give for a prior whose neighbours agree (24 voxels, eigenvalues 0.02 to 2.2; asserted
in tests/golden), where the denoiser names one white error and no more, by operator, noise and levels: error
of the mean over the prior's spread, and total variance over the exact one. The error of proximal and
decoupled falls with the number of levels, and is small if much was measured. Draws from few levels and scarce
data must be calibrated before their spread is believed. More levels do not mend the mean of the other two.

| rule | operator | std | levels | mean | spread |
|---|---|---|---|---|---|
| proximal | dense | 0.05 | 10 | 0.55 | 1.06 |
| proximal | dense | 0.05 | 30 | 0.37 | 0.99 |
| proximal | dense | 0.3 | 30 | 0.24 | 0.92 |
| proximal | mask | 0.05 | 10 | 0.37 | 1.44 |
| proximal | mask | 0.05 | 30 | 0.17 | 1.14 |
| proximal | mask | 0.3 | 30 | 0.23 | 1.08 |
| proximal | downsample | 0.05 | 30 | 0.02 | 0.98 |
| proximal | downsample | 0.3 | 30 | 0.17 | 1.03 |
| proximal | mri | 0.3 | 10 | 0.15 | 1.16 |
| proximal | denoise | 0.05 | 30 | 0.00 | 1.00 |
| proximal | denoise | 0.3 | 10 | 0.12 | 1.12 |
| proximal | denoise | 0.3 | 30 | 0.06 | 1.06 |
| pseudoinverse_guidance | dense | 0.05 | 10 | 0.46 | 1.19 |
| pseudoinverse_guidance | mask | 0.05 | 10 | 0.18 | 1.18 |
| pseudoinverse_guidance | mask | 0.3 | 10 | 0.14 | 0.94 |
| pseudoinverse_guidance | mask | 0.3 | 30 | 0.14 | 0.99 |
| pseudoinverse_guidance | downsample | 0.3 | 10 | 0.11 | 0.81 |
| pseudoinverse_guidance | mri | 0.3 | 10 | 0.10 | 0.94 |
| pseudoinverse_guidance | denoise | 0.05 | 10 | 0.05 | 1.39 |
| pseudoinverse_guidance | denoise | 0.3 | 10 | 0.09 | 0.87 |
| posterior_sampling | dense | 0.3 | 10 | 0.40 | 0.77 |
| posterior_sampling | mask | 0.05 | 10 | 0.13 | 1.00 |
| posterior_sampling | mask | 0.3 | 10 | 0.28 | 0.42 |
| posterior_sampling | mask | 0.3 | 30 | 0.28 | 0.44 |
| posterior_sampling | downsample | 0.3 | 10 | 0.33 | 0.37 |
| posterior_sampling | mri | 0.3 | 10 | 0.21 | 0.15 |
| posterior_sampling | denoise | 0.3 | 10 | 0.38 | 0.00 |
| decoupled | dense | 0.05 | 10 | 0.55 | 1.07 |
| decoupled | mask | 0.05 | 10 | 0.37 | 1.48 |
| decoupled | mask | 0.05 | 30 | 0.17 | 1.14 |
| decoupled | mask | 0.3 | 10 | 0.37 | 1.22 |
| decoupled | downsample | 0.3 | 10 | 0.23 | 1.11 |
| decoupled | mri | 0.3 | 10 | 0.15 | 1.22 |
| decoupled | denoise | 0.3 | 10 | 0.12 | 1.19 |
"""

from __future__ import annotations

from .published import decoupled, posterior_sampling, pseudoinverse_guidance
from .rules import Rule, matched_draw, moment_matching, proximal

__all__ = ["PASSES", "RULES"]

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
