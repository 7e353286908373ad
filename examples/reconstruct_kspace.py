# %% [markdown]
# # Reconstruct from k-space
#
# A quarter of k-space and eight draws: how far are they from the truth, and does their spread say
# where? The measurement is simulated from one slice of the averaged T1 brain that nilearn carries. For
# a file of a scanner replace `measured` by the result of `medprior.operators.measured_kspace`.
#
#     python examples/reconstruct_kspace.py [DRAWS] [LEVELS]

# %%
import sys
from pathlib import Path

import nilearn
import torch

import medprior as mp
from medprior.data.axes import reorient

TEMPLATE = "datasets/data/mni_icbm152_t1_tal_nlin_sym_09a_converted.nii.gz"
n_draws = int(sys.argv[1]) if len(sys.argv) > 1 else 2
n_steps = int(sys.argv[2]) if len(sys.argv) > 2 else 12

brain = reorient(mp.read(Path(nilearn.__file__).parent / TEMPLATE, modality="MR"), "PLS")
middle = torch.from_numpy(brain.data[:, ::2, ::2, brain.shape[2] // 2].copy())[None]

# %% [markdown]
# A measurement is an operator, its noise and the numbers. Here the operator keeps every fourth line of
# k-space.

# %%
rng = torch.Generator().manual_seed(0)
mask = mp.operators.cartesian_lines(tuple(middle.shape[2:]), 4, rng)
scanner = mp.operators.mri(mask)
measured = mp.operators.simulate(middle, scanner, mp.ComplexGaussian(0.01 * float(middle.max())), rng)

# %% [markdown]
# Each draw fits the data and looks like a brain. Their mean is the result; their spread shows where
# they disagree.

# %%
draws = mp.reconstruct("brain-t1", measured, n=n_draws, seed=0, settings=mp.Settings(n_steps=n_steps))
zero_filled = scanner.H(measured.y)[0]


def error(image: torch.Tensor) -> float:
    """Root mean squared error, in percent of the brightest voxel."""
    return 100 * float((image - middle[0]).square().mean().sqrt() / middle.max())


print(f"sampled {100 * float(mask.float().mean()):.0f} % of k-space (simulated)")
print(f"zero-filled     {error(zero_filled):5.2f} %")
print(f"one draw        {error(draws.values[0]):5.2f} %")
print(f"mean of {len(draws)}       {error(draws.mean()):5.2f} %")
print(f"mean spread     {100 * float(draws.std().mean() / middle.max()):5.2f} % (uncalibrated)")
