"""Does the healthy twin explain what was flagged? Lesions are inserted into healthy test scans (simulated).

    python bench/twin.py brain [--radii 12 8 5] [--contrast 0.4] [--split test]
    python bench/twin.py chest [--radii 24 12] [--contrast 0.4] [--n 20]

One smooth-edged ball (brain: T1 heads, radius in mm) or disc (chest films, radius in pixels of 256) per scan,
bright in dark tissue and dark in bright. contrast: in half ranges of the prior (black -1, white 1).
left: contrast of the lesion that is left in the twin, of flagged scans; 0 is none, 1 is all. elsewhere: mean
change outside of three radii, beside that of two twins of other seeds: the twin of a scan that is only drawn
again differs as much. The same scan without a lesion stands beside it. Reads MEDPRIOR_DATA.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

import medprior as mp
from medprior.data.seeds import generator
from medprior.data.volume import Volume
from medprior.errors import OutOfDistribution

DATA = Path(os.environ.get("MEDPRIOR_DATA", Path(__file__).resolve().parents[2] / "shared" / "data"))


def scans(args: argparse.Namespace) -> Iterator[Volume]:
    if args.set == "brain":
        for path in sorted((DATA / "brain_mri_t1_3d_ixi" / args.split).glob("*_t1.nii.gz"))[: args.n]:
            yield mp.read(path, modality="MR")
    else:
        seen = set()
        for path in sorted((DATA / "chest_xray_nih" / args.split / "no_finding").glob("*.png")):
            if path.name[:8] not in seen and len(seen) < args.n:
                seen.add(path.name[:8])
                yield mp.read(path, modality="DX")


def inserted(volume: Volume, radius: float, contrast: float, seed: int) -> tuple[Volume, np.ndarray]:
    """The scan with one lesion, and the distance of each voxel to its centre in radii, both (i, j[, k])."""
    grey = volume.data[0]
    tissue = grey > np.quantile(grey, 0.5)
    tissue[tuple(slice(n // 4) for n in grey.shape)] = False
    inside = np.zeros_like(tissue)
    inside[tuple(slice(int(0.3 * n), int(0.7 * n)) for n in grey.shape)] = True
    places = np.argwhere(inside & (tissue if grey.ndim == 3 else inside))
    centre = places[int(torch.randint(len(places), (1,), generator=generator(seed, "lesion")))]
    spacing = volume.spacing_mm or (1.0,) * grey.ndim
    axes = np.meshgrid(*[np.arange(n) for n in grey.shape], indexing="ij")
    away = sum(((x - c) * mm) ** 2 for x, c, mm in zip(axes, centre, spacing, strict=True)) ** 0.5 / radius
    weight = np.clip((1.25 - away) / 0.5, 0, 1)
    core = away < 1
    half = float(np.quantile(grey, 0.99) - grey.min()) / 2
    sign = -1.0 if grey[core].mean() > np.median(grey[tissue]) else 1.0
    data = (grey + sign * contrast * half * weight)[None].astype(np.float32)
    return replace(volume, data=np.clip(data, grey.min(), grey.max())), away


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("set", choices=("brain", "chest"))
    parser.add_argument("--radii", type=float, nargs="+", default=[12.0, 8.0, 5.0])
    parser.add_argument("--contrast", type=float, default=0.4)
    parser.add_argument("--split", choices=("val", "test"), default="test")
    parser.add_argument("--n", type=int, default=20)
    args = parser.parse_args()
    torch.set_num_threads(1)
    prior = mp.load({"brain": "brain-t1", "chest": "chest-xray"}[args.set])
    print(
        f"{'radius':>6}{'scans':>6}{'flagged':>8}{'left, flagged':>22}{'left, all':>10}{'elsewhere':>11}{'two twins':>11}{'explained':>11}"
    )
    for radius in (0.0, *args.radii):
        rows, refused = [], 0
        for number, volume in enumerate(scans(args)):
            scan, away = inserted(volume, radius or 1.0, args.contrast if radius else 0.0, number)
            try:
                found = mp.detect(prior, scan, seed=0)
            except OutOfDistribution:
                refused += 1
                continue
            again = mp.detect(prior, scan, seed=1)
            twin, other = found.healthy.data[0], again.healthy.data[0]
            core, far = away < 1, away > 3
            put = float((scan.data[0] - volume.data[0])[core].mean())
            left = float((twin - volume.data[0])[core].mean()) / put if radius else np.nan
            flagged = found.p_value is not None and found.p_value <= 0.05
            explained = found.twin_p_value is None or found.twin_p_value > 0.05
            change = np.abs(twin - scan.data[0])[far].mean()
            rows.append((flagged, left, change, np.abs(twin - other)[far].mean(), explained))
        flagged, left, elsewhere, two, explained = np.array(rows, dtype=float).T
        at = flagged > 0
        shown = f"{np.mean(left[at]):.2f} (worst {np.max(left[at]):.2f})" if at.any() and radius else "-"
        everywhere = f"{np.mean(left):.2f}" if radius else "-"
        print(
            f"{f'{radius:.0f}' if radius else 'none':>6}{len(rows):>6}{int(flagged.sum()):>8}{shown:>22}{everywhere:>10}{elsewhere.mean():>11.3f}{two.mean():>11.3f}"
            f"{int(explained[at].sum()):>8} of {int(at.sum())}"
            f"{f'   refused as of another kind: {refused}' if refused else ''}",
            flush=True,
        )


if __name__ == "__main__":
    main()
