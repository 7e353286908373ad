"""A quarter of k-space, eight draws: how far are they from the truth, and does the spread say where?

The measurement is simulated from one slice of the averaged T1 brain that nilearn carries.

    python examples/reconstruct_mri.py
"""

from pathlib import Path

import nilearn
import torch

import medprior as mp
from medprior.data.axes import reoriented

template = (
    Path(nilearn.__file__).parent / "datasets" / "data" / "mni_icbm152_t1_tal_nlin_sym_09a_converted.nii.gz"
)
brain = reoriented(mp.read(template, modality="MR"), "PLS")
middle = torch.from_numpy(brain.data[:, ::2, ::2, brain.shape[2] // 2].copy())[None]

rng = torch.Generator().manual_seed(0)
mask = mp.operators.cartesian_lines(tuple(middle.shape[2:]), 4, rng)
scanner = mp.operators.mri(mask)
measured = mp.operators.simulate(middle, scanner, mp.ComplexGaussian(0.01 * float(middle.max())), rng)

prior = mp.load("brain-t1")
draws = mp.reconstruct(prior, measured, n=8, seed=0)
zero_filled = scanner.H(measured.y)[0]


def error(image: torch.Tensor) -> float:
    """Root mean squared error, in percent of the brightest voxel."""
    return 100 * float((image - middle[0]).square().mean().sqrt() / middle.max())


print(f"sampled {100 * float(mask.float().mean()):.0f} % of k-space (simulated)")
print(f"zero-filled     {error(zero_filled):5.2f} %")
print(f"one draw        {error(draws.values[0]):5.2f} %")
print(f"mean of {len(draws)}       {error(draws.mean()):5.2f} %")
print(f"mean spread     {100 * float(draws.std().mean() / middle.max()):5.2f} % (uncalibrated)")
