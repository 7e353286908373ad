"""Does the interval of "nearer to training than to others" hold a half where nothing can have been copied:
real scans in all three places, again and again.

    python bench/nearer.py [--draws 100]      PneumoniaMNIST train and val of MEDPRIOR_DATA, divided anew by chance each time

The set asked about, the training scans and the held-out scans are parts of the same real films, so 0.5 is
true. Pixels, aligned, as the audit compares them.
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path

import numpy as np
import torch

from medprior.evidence.synthetic.copies import nearer_share
from medprior.evidence.synthetic.likeness import aligned_correlation, as_pictures

DATA = Path(os.environ.get("MEDPRIOR_DATA", Path(__file__).parents[2] / "shared" / "data"))
SIZES = ((2000, 1700, 500), (400, 1700, 500), (400, 1700, 60), (100, 100, 100))
"""Images asked about, training scans, held-out scans."""


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--draws", type=int, default=100)
    draws = parser.parse_args().draws
    images = []
    for split in ("train", "val"):
        for path in sorted((DATA / "medmnist_pneumonia" / split).glob("*.npz")):
            with np.load(path) as stored:
                images += [torch.from_numpy(x)[None].float() / 127.5 - 1 for x in stored["images"]]
    pictures = as_pictures(images)
    rho = torch.cat([aligned_correlation(part, pictures) for part in pictures.split(500)])
    rng = torch.Generator().manual_seed(0)
    print(
        f"{len(images)} real films divided by chance {draws} times: the share of the first part nearer to the second than to as many of the third\n"
    )
    print(
        f"{'asked':<8}{'train':<8}{'held out':<10}{'mean':<9}{'SD of the shares':<18}{'SD by the intervals':<21}{'0.5 inside':<12}all above 0.5"
    )
    for sizes in SIZES:
        found = []
        for _ in range(draws):
            asked, own, others = torch.randperm(len(images), generator=rng)[: sum(sizes)].split(sizes)
            patients, strangers = (
                [f"{side}{n}" for n in range(len(part))] for side, part in (("t", own), ("h", others))
            )
            at = nearer_share(rho[asked][:, own], rho[asked][:, others], patients, strangers, rng)
            found.append((at.value, at.low, at.high))
        value, low, high = np.array(found).T
        cells = (value.mean(), value.std(), ((high - low) / 2 / 1.96).mean())
        inside, above = ((low <= 0.5) & (high >= 0.5)).mean(), (low > 0.5).mean()
        print(
            f"{sizes[0]:<8}{sizes[1]:<8}{sizes[2]:<10}{cells[0]:<9.3f}{cells[1]:<18.4f}{cells[2]:<21.4f}{inside:<12.2f}{above:.2f}",
            flush=True,
        )


if __name__ == "__main__":
    main()
