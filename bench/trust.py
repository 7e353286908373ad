"""What the bundled priors may promise: calibrates detection on val, measures it on test, writes trust.json into the prior's folder.

    python bench/trust.py chest-xray [--folder src/medprior/pretrained]

Healthy val patients fit and calibrate; healthy test patients give the false-positive rate (Clopper-Pearson), test patients with a finding the AUROC,
beside trivial baselines: mean intensity, and a voxel-wise mean/SD atlas of the train part. Reads MEDPRIOR_DATA.
"""

from __future__ import annotations

import argparse
import hashlib
import time
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import torch
from pretrain import scans
from torch.nn import functional as F

from medprior import Volume, load
from medprior.evidence.metrics import Interval, auroc, clopper_pearson, interval
from medprior.jobs.detect import calibrate, detect
from medprior.prior.door import admit
from medprior.training.folder import save_prior

HEALTHY = {"chest-xray": 0, "brain-t1": -1}
"""The label of a healthy scan in each data set; -1 where all are."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("name", choices=sorted(HEALTHY))
    parser.add_argument("--folder", type=Path, default=Path("src/medprior/pretrained"))
    chosen = parser.parse_args()
    prior = load(chosen.folder / chosen.name)
    prior.trust.clear()
    healthy = [v for v, label, _ in one_each(chosen.name, "val") if label == HEALTHY[chosen.name]]
    began = time.perf_counter()
    prior.trust["detect"] = {
        **calibrate(prior, healthy),
        "calibrated_on": f"{len(healthy)} healthy val patients",
        "data": digest(healthy),
        "date": str(date.today()),
    }
    print(f"{chosen.name}: calibrated on {len(healthy)} healthy val patients, {time.perf_counter() - began:.0f} s", flush=True)
    prior.trust["detect"]["measured"] = measured(chosen.name, prior)
    save_prior(prior, chosen.folder / chosen.name, trust=prior.trust, half=True)


def one_each(name: str, split: str) -> list[tuple[Volume, int, str]]:
    """The first scan of each patient and label: patients, not images, are the independent units."""
    found: dict[tuple[str, int], tuple[Volume, int, str]] = {}
    for volume, label, patient in scans(name, split):
        found.setdefault((patient, label), (volume, label, patient))
    return list(found.values())


def digest(volumes: list[Volume]) -> str:
    """SHA-256 over the scans' numbers."""
    total = hashlib.sha256()
    for volume in volumes:
        total.update(np.ascontiguousarray(volume.data).tobytes())
    return total.hexdigest()


def measured(name: str, prior: Any) -> dict[str, Any]:
    """False-positive rate, AUROC and the baselines' AUROC on the test part; {} of what the data cannot show."""
    cases = one_each(name, "test")
    labels = [int(label != HEALTHY[name]) for _, label, _ in cases]
    patients = [patient for _, _, patient in cases]
    found = [detect(prior, volume) for volume, _, _ in cases]
    flags = [f.p_value is not None and f.p_value <= 0.05 for f, label in zip(found, labels, strict=True) if label == 0]
    rate = clopper_pearson(sum(flags), len(flags))
    reds = [float(f.map.data.max()) > (f.map_high or np.inf) for f, label in zip(found, labels, strict=True) if label == 0]
    red = clopper_pearson(sum(reds), len(reds))
    print(f"false positives at 5 %: {rate}; healthy images with any red: {red}; refused: {found[0].refused or 'no'}", flush=True)
    report: dict[str, Any] = {"false_positive_rate": stored(rate), "healthy_images_with_any_red": stored(red), "n_test_patients": len(set(patients))}
    if any(labels):
        scores = {"ours": [f.score for f in found], **baselines(name, prior, cases)}
        for title, values in scores.items():
            at = interval(auroc, values, labels, patients=[f"{p}-{label}" for p, label in zip(patients, labels, strict=True)], strata=labels)
            report[f"auroc {title}"] = stored(at)
            print(f"AUROC {title}: {at}", flush=True)
    return report


def stored(at: Interval) -> dict[str, float | int]:
    return {"value": at.value, "low": at.low, "high": at.high, "level": at.level, "n": at.n}


def baselines(name: str, prior: Any, cases: list[tuple[Volume, int, str]]) -> dict[str, list[float]]:
    """Mean intensity (either way round), and the mean squared z-score against an atlas of healthy train scans at 64 pixels."""
    learned = torch.stack([small(prior, v) for v, label, _ in scans(name, "train") if label == HEALTHY[name]])
    mean, std = learned.mean(0), learned.std(0) + 0.05
    images = [small(prior, volume) for volume, _, _ in cases]
    bright = [float(x.mean()) for x in images]
    return {
        "mean intensity": bright,
        "minus mean intensity": [-b for b in bright],
        "atlas of mean and SD": [float((((x - mean) / std) ** 2).mean()) for x in images],
    }


def small(prior: Any, volume: Volume) -> torch.Tensor:
    return F.interpolate(admit(prior.card, volume).images[:1], size=(64, 64), mode="area")[0]


if __name__ == "__main__":
    main()
