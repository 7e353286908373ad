"""Breast ultrasound with 50 labels: does it help to look at each scan mirrored, too, and at its quarters?

    python bench/views.py --prior PRIOR [--draws 10] [--labels 50]

Chosen among 9 kinds of features and 6 heads on folds of train and val; the official test set judges once.
"pixels": principal components of the pixels under the same head. Reads MEDPRIOR_DATA.
"""

from __future__ import annotations

import argparse

import numpy as np
import torch

import medprior as mp
from bench.features import BOTH, DEFAULT, POOLED, Key, looked, scans
from medprior.data.seeds import generator
from medprior.evidence.gain import SeedScores, auroc_scores, paired_gain
from medprior.learning.heads import Projection, fit_linear, probabilities


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--prior", required=True)
    parser.add_argument("--draws", type=int, default=10)
    parser.add_argument("--labels", type=int, default=50)
    args = parser.parse_args()
    prior = mp.load(args.prior)
    (learn, y), (test, truth) = scans("breast", "train", 10**6), scans("breast", "test", 10**6)
    seen = looked(prior, learn + test)
    mirrored = looked(prior, [np.ascontiguousarray(one[:, ::-1]) for one in learn + test])

    def joined(found: dict[Key, np.ndarray], pools: tuple[str, ...]) -> np.ndarray:
        keys = [(sigma, way, pool) for sigma in DEFAULT for way in BOTH for pool in pools]
        return np.concatenate([found[key] for key in keys], axis=1)

    wide = (*POOLED, "quarters")
    n = len(learn)
    pixels = np.stack([one.ravel() for one in learn + test]).astype(float)
    kinds = {
        "default": joined(seen, POOLED),
        "mirrored, quarters": joined(seen, wide) + joined(mirrored, wide),
    }
    turned = {name: Projection.fitted(x[:n])(x) for name, x in kinds.items()}
    turned["pixels"] = Projection.fitted(pixels[:n], 64, standardise=False)(pixels)
    scores: dict[str, list[SeedScores]] = {name: [] for name in turned}
    for draw in range(args.draws):
        at = torch.randperm(n, generator=generator(draw, "labels", "breast")).numpy()[: args.labels]
        for name, x in turned.items():
            logits = fit_linear(x[at], np.eye(2)[y[at].astype(int)])(x[n:])
            scores[name].append(auroc_scores(probabilities(logits, several=False), truth.astype(int)))
    patients = list(range(len(test)))
    nothing = [SeedScores(0.0, np.zeros(len(test)))] * args.draws
    print(f"BreastMNIST, official test, {args.labels} random labels, {args.draws} draws, labels alone")
    for name, own in scores.items():
        at = paired_gain(own, nothing, patients)
        print(f"{name:20s} AUROC {at.value:.4f} ({at.low:.4f} to {at.high:.4f})")
    for other in ("default", "pixels"):
        at = paired_gain(scores["mirrored, quarters"], scores[other], patients)
        print(f"mirrored, quarters - {other:10s} {at.value:+.4f} ({at.low:+.4f} to {at.high:+.4f})")


if __name__ == "__main__":
    main()
