"""The classical denoisers side by side, PSNR in dB: tuned TV, non-local means, our block matching, and the
authors' bm3d package where it is installed.

    python bench/denoisers.py [--data ../shared/data]

Images: a photograph that ships with scikit-image (128 pixels) and one T1 slice of an IXI subject of the val
split. The bm3d package is free for non-commercial use only, so nothing here depends on it; `pip install bm3d`
into another environment shows how far our block matching is from it.
"""

from __future__ import annotations

import argparse
from importlib.util import find_spec
from pathlib import Path

import nibabel as nib
import numpy as np
import torch
from block_matching import block_matching
from skimage.data import camera
from skimage.transform import resize
from torch import Tensor
from tuned import best_of

from medprior.evidence.baselines.classic import nonlocal_means, total_variation
from medprior.evidence.metrics import psnr
from medprior.operators import Gaussian, identity, simulate


def images(data: Path) -> dict[str, Tensor]:
    """Each (1, 1, i, j), 0 to 1."""
    found = {"photograph": np.asarray(resize(camera(), (128, 128), anti_aliasing=True))}
    scans = sorted((data / "brain_mri_t1_3d_ixi" / "val").glob("*_t1.nii.gz"))
    if scans:
        volume = np.asarray(nib.load(scans[0]).dataobj)  # type: ignore[attr-defined]
        found["T1 slice"] = volume[:, :, volume.shape[2] // 2] / 255
    return {
        name: torch.from_numpy(np.ascontiguousarray(image)).float()[None, None]
        for name, image in found.items()
    }


def package(y: Tensor, std: float) -> Tensor | None:
    """The authors' implementation, or None where it is not installed."""
    if find_spec("bm3d") is None:
        return None
    import bm3d  # type: ignore[import-not-found]

    return torch.from_numpy(bm3d.bm3d(y[0, 0].double().numpy(), std)).to(y)[None, None]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    options = parser.parse_args()
    print(f"{'image':12s} {'std':>5s} {'noisy':>7s} {'TV':>7s} {'NLM':>7s} {'blocks':>7s} {'bm3d':>7s}")
    for name, x in images(options.data).items():
        for std in (0.05, 0.15):
            m = simulate(x, identity(tuple(x.shape[1:])), Gaussian(std), torch.Generator().manual_seed(0))
            tv = best_of([std / 3, std / 1.5], lambda w, m=m: total_variation(m, w, n=60), x, 1.0).psnr
            others = [nonlocal_means(m.y, std), block_matching(m.y, std), package(m.y, std)]
            row = [float(psnr(m.y, x, 1.0)), tv] + [
                float("nan") if o is None else float(psnr(o, x, 1.0)) for o in others
            ]
            print(f"{name:12s} {std:5.2f} " + " ".join(f"{value:7.2f}" for value in row), flush=True)
    print("\nTV is tuned on the image itself: an upper bound of what it can do.")


if __name__ == "__main__":
    main()
