# %% [markdown]
# # Is the sampler right?
#
# A Gaussian prior has its posterior in closed form. Here four noisy pixels of sixteen are known, and a
# thousand draws are compared with that closed form.
#
#     python examples/exact_posterior.py

# %%
import torch

import medprior as mp
from medprior.operators import Gaussian, mask, simulate
from medprior.sampling import flow, karras_levels, moment_matching

shape, rng = (1, 4, 4), torch.Generator().manual_seed(0)
place = torch.arange(4.0)
near = torch.exp(-((place[:, None] - place[None]) ** 2) / 4) + 0.01 * torch.eye(4)
prior = mp.GaussianPrior(torch.zeros(16), torch.kron(near, near), shape)

x0 = prior.draw(1, rng)
known = torch.zeros(4, 4, dtype=torch.bool)
known[::2, ::2] = True
measured = simulate(x0, mask(shape, known), Gaussian(0.1), rng)

# %% [markdown]
# `flow` walks from pure noise down forty noise levels; the rule `moment_matching` brings the
# measurement in.

# %%
levels = karras_levels(40, low=0.005, high=20.0)
start = float(levels[0]) * torch.randn((1000, *shape), generator=rng)
draws = flow(moment_matching(prior, measured, rng), start, levels).flatten(1)

matrix = torch.diag(known.flatten().float())[known.flatten()]
mean, covariance = prior.posterior(matrix, measured.y.flatten()[known.flatten()], 0.1**2)

print("pixel   true mean  drawn mean   true std  drawn std")
for pixel in (0, 1, 5, 15):
    print(
        f"{pixel:5d} {mean[pixel]:11.3f} {draws.mean(0)[pixel]:11.3f} "
        f"{covariance[pixel, pixel].sqrt():10.3f} {draws.std(0)[pixel]:10.3f}"
    )
