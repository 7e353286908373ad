"""The four small pictures of README.md: one job each, by the bundled priors. No patient is shown: the brain is
the averaged template that nilearn carries, the radiographs are synthetic.

    python bench/pictures.py [reconstruct augment synthesize detect]     (two minutes on two cores)
"""

from __future__ import annotations

import sys
from pathlib import Path

import nilearn
import numpy as np
import torch
from PIL import Image

import medprior as mp
from medprior.data.axes import reorient

OUT = Path(__file__).resolve().parents[1] / "docs" / "pictures"
TEMPLATE = "datasets/data/mni_icbm152_t1_tal_nlin_sym_09a_converted.nii.gz"
HEIGHT = 180


def main(names: list[str]) -> None:
    jobs = {
        "reconstruct": reconstruct, "augment": augment, "synthesize": synthesize, "detect": detect,
    }  # fmt: skip
    for name in names or jobs:
        tiles = jobs[name]()
        Image.fromarray(np.concatenate(tiles, axis=1)).convert("P", palette=Image.Palette.ADAPTIVE).save(
            OUT / f"{name}.png", optimize=True
        )
        print(OUT / f"{name}.png", (OUT / f"{name}.png").stat().st_size)


def reconstruct() -> list[np.ndarray]:
    """Template, zero-filled, mean of eight draws: SIMULATED, every fourth line of k-space."""
    truth = torch.from_numpy(_template().data)[None]
    rng = torch.Generator().manual_seed(0)
    scanner = mp.operators.mri(mp.operators.cartesian_lines(tuple(truth.shape[2:]), 4, rng))
    measured = mp.operators.simulate(truth, scanner, mp.ComplexGaussian(0.02 * float(truth.max())), rng)
    draws = mp.reconstruct(mp.load("brain-t1"), measured, n=8, seed=0)
    high = float(truth.max())
    return [_tile(x, 0, high) for x in (truth[0], scanner.H(measured.y)[0], draws.mean())]


def augment() -> list[np.ndarray]:
    """Template and two variations."""
    scan = _template()
    made = mp.augment(mp.load("brain-t1"), scan, strength=0.3, n=2, seed=0)
    high = float(scan.data.max())
    return [_tile(volume.data, 0, high) for volume in (scan, *made)]


def synthesize() -> list[np.ndarray]:
    """Three radiographs that show no patient."""
    return [
        _tile(v.data, 0, 1) for v in mp.synthesize(mp.load("chest-xray"), n=3, label="no_finding", seed=1)
    ]


def detect() -> list[np.ndarray]:
    """A synthetic radiograph with a drawn blob, the map, the healthy twin."""
    prior = mp.load("chest-xray")
    odd = odd_radiograph(prior)
    found = mp.detect(prior, odd, seed=0, allow_other=True)
    change = _tile(found.map.data, 0, float(found.map.data.max()))
    return [_tile(odd.data, 0, 1), change, _tile(found.healthy.data, 0, 1)]


def odd_radiograph(prior: mp.Prior, size: tuple[int, int] | None = None) -> mp.Volume:
    """A synthetic radiograph with a drawn blob."""
    scan = mp.synthesize(prior, n=1, label="no_finding", size=size, seed=1)[0]
    data = scan.data.copy()
    i, j = np.indices(data.shape[1:]) / data.shape[1]
    data[0] += 0.35 * np.exp(-((i - 0.55) ** 2 + (j - 0.3) ** 2) / 0.003)
    return mp.Volume(data, scan.affine, unit=scan.unit, modality=scan.modality)


def _template() -> mp.Volume:
    """An axial slice of the template, half as fine, on the axes of the prior."""
    brain = reorient(mp.read(Path(nilearn.__file__).parent / TEMPLATE, modality="MR"), "PLS")
    data = brain.data[:, ::2, ::2, brain.shape[2] // 2].copy()
    affine = brain.affine @ np.diag([2.0, 2.0, 1.0, 1.0])
    return mp.Volume(data, affine, unit=brain.unit, modality="MR")


def _tile(image: np.ndarray | torch.Tensor, low: float, high: float) -> np.ndarray:
    grey = np.clip((np.asarray(image)[0] - low) / (high - low), 0, 1) * 255
    picture = Image.fromarray(grey.astype(np.uint8))
    return np.asarray(
        picture.resize((round(HEIGHT * picture.width / picture.height), HEIGHT), Image.Resampling.BICUBIC)
    )


if __name__ == "__main__":
    main(sys.argv[1:])
