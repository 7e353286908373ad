"""Whether who holds a scan can tell that a prior was shown it: by what healthy.safetensors and trust.json keep.

    python bench/membership.py chest-xray [--prior FOLDER] [--most 60]
    python bench/membership.py brain-t1 --quick        # without the numbers of all noise levels

The attacker computes of his scan what detection computes. members: healthy scans that the prior was shown, one
a patient; others: healthy scans of val and test, which it was not. AUC: how well a number tells the two apart,
0.5 is chance. The plain rivals ask nothing of what is kept: the mean grey value, and the network's own
denoising error. found at 1 %: share of members that the number finds where it names 1 % of the others.
calibrated: the same of the patients of val, who calibrated, against those of test. --prior: another folder,
e.g. one of before. Reads MEDPRIOR_DATA.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence

import numpy as np
import torch
from detect import cases, first_each
from detect_volumes import heads

from medprior import Prior, Volume, detect, read
from medprior.evidence.intervals import interval
from medprior.evidence.metrics import auroc
from medprior.healthy.acquisition import sketch
from medprior.healthy.features import scan_features
from medprior.healthy.model import JOINED, HealthyModel, NetworkScan, summarize
from medprior.jobs.detection.calibrate import usable
from medprior.prior.admit import admit
from medprior.prior.promises import DetectPromise
from medprior.runs.core.inputs import known_prior

Sides = dict[str, list[Volume]]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("name", choices=("chest-xray", "brain-t1"))
    parser.add_argument("--prior", default="")
    parser.add_argument("--most", type=int, default=60, help="members, and others, that are looked at")
    parser.add_argument("--quick", action="store_true")
    chosen = parser.parse_args()
    prior = known_prior(chosen.prior or chosen.name).prior
    torch.set_num_threads(1)
    sides = films(chosen.most) if chosen.name == "chest-xray" else brains(chosen.most)
    others = sides["val"] + sides["test"]
    print(f"{len(sides['train'])} members, {len(others)} others")
    print(f"{'number':<34}{'AUC (95 % interval)':<28}found at 1 %")
    model = HealthyModel.of(prior.healthy)
    rows = [[numbers(prior, model, one, chosen.quick) for one in part] for part in (sides["train"], others)]
    for name in rows[0][0]:
        row(name, [one[name] for one in rows[0]], [one[name] for one in rows[1]])
    promise = usable(prior)
    if promise is not None and not chosen.quick:
        print(f"{len(sides['val'])} patients who calibrated, {len(sides['test'])} who did not")
        known, new = ([stored(prior, promise, one) for one in sides[s]] for s in ("val", "test"))
        for name in known[0]:
            row(name, [one[name] for one in known], [one[name] for one in new])


def films(most: int) -> Sides:
    """Healthy films, one a patient, of train at most so many, evenly taken."""
    healthy = [c for c in cases("chest") if not c.sick]
    found = {
        split: [c.volume for c in first_each(c for c in healthy if c.split == split)]
        for split in ("train", "val", "test")
    }
    return {**found, "train": found["train"][:: -(-len(found["train"]) // most)]}


def brains(most: int) -> Sides:
    return {
        split: [read(path, modality="MR") for path in heads(split)[:most]]
        for split in ("train", "val", "test")
    }


def row(name: str, inside: Sequence[float], outside: Sequence[float]) -> None:
    """Prints how well a number, higher for a member, tells the two apart."""
    labels = [1] * len(inside) + [0] * len(outside)
    at = interval(auroc, [*inside, *outside], labels, patients=range(len(labels)), strata=labels)
    found = float((np.array(inside) > np.quantile(outside, 0.99)).mean())
    print(f"{name:<34}{f'{at.value:.3f} ({at.low:.3f} to {at.high:.3f})':<28}{found:.2f}", flush=True)


def numbers(prior: Prior, model: HealthyModel, volume: Volume, quick: bool) -> Mapping[str, float]:
    """What an attacker computes of his scan, by name, higher for a member."""
    door = admit(prior.card, volume)
    scan = NetworkScan(door.images, door.condition, stack=door.stack)
    found = {"rival: mean grey value": float(door.images.mean())}
    if quick:
        local = scan_features(prior, scan.images, scan.condition, n_draws=1, levels=(0.2,)).local
    else:
        seen = summarize(prior, scan)
        local = seen.local
        found["rival: denoising error"] = -float(seen.vectors["profile"].mean())
        found |= {
            f"Gaussian, {name}": -float(usual.distance(seen.vectors[name], scan.heights).mean())
            for name, usual in model.gaussians.items()
        }
    near = model.memory.near(local, scan.heights)
    found |= {"memory, nearest place": -float(near.min()), "memory, mean of places": -float(near.mean())}
    known, parts = model.kind.known[:, :4], model.kind.parts(sketch(scan.whole))[:4]
    apart = ((known - parts) / known.std(0)).norm(dim=1)
    return found | {"kind, nearest row": -float(apart.min())}


def stored(prior: Prior, promise: DetectPromise, volume: Volume) -> Mapping[str, float]:
    """How near a scan's own numbers are to those of trust.json, in their standard deviations."""
    own = detect(prior, volume, n_twins=0, gate=False)
    plain = {name: (one.score, promise.plain[name]) for name, one in own.plain.items()}
    near = [_nearness(value, known) for value, known in plain.values()]
    rows = np.array([promise.evidence[name] for name in JOINED]).T
    mine = np.array([own.evidence[name] for name in JOINED])
    apart = np.linalg.norm((rows - mine) / rows.std(0), axis=1)
    return {"trust.json, plain scores": float(np.mean(near)), "trust.json, scores": -float(apart.min())}


def _nearness(value: float, known: Sequence[float]) -> float:
    return -float(np.log(np.abs(np.array(known) - value).min() / (np.std(known) + 1e-9) + 0.01))


if __name__ == "__main__":
    main()
