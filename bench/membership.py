"""Whether who holds a scan can tell that a prior was shown it: by what healthy.safetensors and trust.json keep.

    python bench/membership.py chest-xray [--most 60]

The attacker computes of his scan what detection computes. members: healthy films that the prior was shown, one
a patient; others: healthy films of val and test, which it was not. AUC: how well a number tells the two apart,
0.5 is chance, and the rivals are the mean grey value and the network's own denoising error. found at 1 %: share
of members that the number finds where it names 1 % of the others. calibrated: whether a patient of val, who
calibrates, is found again among the numbers of trust.json. Reads MEDPRIOR_DATA.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence

import numpy as np
import torch
from detect import Case, cases, first_each

from medprior import Prior, detect
from medprior.evidence.intervals import clopper_pearson, interval
from medprior.evidence.metrics import auroc
from medprior.healthy.model import EVIDENCE, HealthyModel, NetworkScan, summarize
from medprior.prior.admit import admit
from medprior.runs.core.inputs import known_prior

NUMBERS = (
    "mean grey value",
    "profile of denoising errors",
    "memory, nearest place",
    "memory, mean of places",
)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("name", choices=("chest-xray",))
    parser.add_argument("--most", type=int, default=60, help="members, and others, that are looked at")
    chosen = parser.parse_args()
    prior = known_prior(chosen.name).prior
    torch.set_num_threads(1)
    healthy = [c for c in cases("chest") if not c.sick]
    members = first_each(c for c in healthy if c.split == "train")[: chosen.most]
    others = first_each(c for c in healthy if c.split != "train")[: chosen.most]
    inside, outside = numbers(prior, members), numbers(prior, others)
    labels = np.repeat([1, 0], [len(inside), len(outside)])
    print(f"{len(inside)} members, {len(outside)} others")
    print(f"{'number':<34}{'AUC (95 % interval)':<28}found at 1 %")
    for n, name in enumerate(NUMBERS):
        scores = np.concatenate([inside[:, n], outside[:, n]])
        at = interval(auroc, scores, labels, patients=range(len(labels)), strata=labels.tolist())
        found = float((inside[:, n] > np.quantile(outside[:, n], 0.99)).mean())
        print(f"{name:<34}{f'{at.value:.3f} ({at.low:.3f} to {at.high:.3f})':<28}{found:.2f}", flush=True)
    calibrated(prior, [c for c in others if c.split == "val"])


def numbers(prior: Prior, found: Sequence[Case]) -> np.ndarray:
    """(n, 4) of each scan, higher for a member."""
    model, rows = HealthyModel.of(prior.healthy), []
    for case in found:
        door = admit(prior.card, case.volume)
        scan = NetworkScan(door.images, door.condition, stack=False)
        seen = summarize(prior, scan)
        near = model.memory.near(seen.local, scan.heights)
        error = float(seen.vectors["profile"].mean())
        rows.append([float(door.images.mean()), -error, -float(near.min()), -float(near.mean())])
    return np.array(rows)


def calibrated(prior: Prior, found: Sequence[Case]) -> None:
    """Of the patients who calibrate, and of others, whom the numbers of trust.json name."""
    if prior.promises.detect is None:
        return
    known = np.array([prior.promises.detect.evidence[name] for name in EVIDENCE]).T
    hits = 0
    for case in found:
        own = detect(prior, case.volume, n_twins=0, gate=False).evidence
        apart = np.abs(known - [own[name] for name in EVIDENCE]).max(1)
        hits += bool((apart < 0.01).any())
    print(f"healthy val patients whose numbers stand in trust.json: {clopper_pearson(hits, len(found))}")


if __name__ == "__main__":
    main()
