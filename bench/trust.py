"""What the bundled priors may promise: calibrates detection on val, measures it on test, writes trust.json into the prior's folder.

    python bench/trust.py chest-xray [--folder src/medprior/pretrained]

Healthy val patients fit and calibrate; healthy test patients give the false-positive rate (Clopper-Pearson), test patients with a finding the AUROC,
beside trivial baselines: mean intensity, and a voxel-wise mean/SD atlas of the healthy scans of the train part and of the other test patients.
Volumes enter it whole. Reads MEDPRIOR_DATA.
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

from medprior import Volume, load
from medprior.jobs.detect import calibrate, detect
from medprior.prior.door import admit
from medprior.runs.evaluate_detect import Scanned, figures, small
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
    """False-positive rate and AUROC on the test part beside plain scores, as ``medprior evaluate detect`` has them; the train part joins the atlas."""
    cases = one_each(name, "test")
    numbers = {patient: n for n, patient in enumerate(dict.fromkeys(patient for _, _, patient in cases), start=1)}
    judged = []
    for volume, label, patient in cases:
        found = detect(prior, volume)
        red = None if found.map_high is None else bool(float(found.map.data.max()) > found.map_high)
        judged.append(Scanned(label != HEALTHY[name], numbers[patient], found.score, found.p_value, red, at_64(prior, volume)))
    learned = [at_64(prior, volume) for volume, label, _ in scans(name, "train") if label == HEALTHY[name]]
    whole = figures(judged, 0.05, prior.trust["detect"]["n_healthy"], learned)
    report: dict[str, Any] = {key: whole[key] for key in ("false_positive_rate", "healthy_scans_with_any_red") if key in whole}
    report |= {f"{what} {title}": at for what in ("auroc", "average_precision") for title, at in whole[what].items()}
    for title, at in report.items():
        print(f"{title.replace('_', ' ')}: {at['value']:.3f} [{at['low']:.3f}, {at['high']:.3f}], n {at['n']}", flush=True)
    return {**report, "n_test_patients": len(numbers)}


def at_64(prior: Any, volume: Volume) -> torch.Tensor:
    """An image, or a whole volume, on the small grid of the plain scores."""
    return small(admit(prior.card, volume).images)


if __name__ == "__main__":
    main()
