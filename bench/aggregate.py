"""Makes a shipped prior's memory of healthy scans anew, of means over patients; what else it learned stays.

    python bench/aggregate.py chest-xray --out OUT
    python bench/aggregate.py brain-t1 --out OUT

A memory asks of a scan the network's features at one noise level, which takes a seventh of the time of learning
all. The result is that of ``bench/detect.py learn``, or of ``bench/detect_volumes.py learn``: the same scans,
variants and seed. Rows of the kind are drawn anew from those that the folder keeps. Val patients then calibrate.
Reads MEDPRIOR_DATA.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from dataclasses import replace
from datetime import date
from pathlib import Path

import torch
from detect import cases, first_each
from detect_volumes import heads

from medprior import Prior, Volume, read
from medprior.data.seeds import generator
from medprior.healthy.acquisition import AcquisitionModel
from medprior.healthy.features import scan_features
from medprior.healthy.memory import Memory, Shown, slice_distances, volume_distance_map
from medprior.healthy.model import EVIDENCE, NetworkScan, n_draws_for, n_variants_for
from medprior.healthy.statistics import HeightTrend, PlaceStatistics, grid_moments, resampled_rows
from medprior.healthy.variants import reacquire
from medprior.jobs.detection.calibrate import calibrate_detection
from medprior.prior.admit import admit
from medprior.runs.core.inputs import known_prior
from medprior.training.folder import save


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("name", choices=("chest-xray", "brain-t1"))
    parser.add_argument("--out", type=Path, required=True)
    chosen = parser.parse_args()
    torch.set_num_threads(1)
    prior, began = known_prior(chosen.name).prior, time.perf_counter()
    label = prior.card.labels.index("no_finding") if "no_finding" in prior.card.labels else None
    learned, patients, held = brains() if chosen.name == "brain-t1" else films()
    names = {name: n for n, name in enumerate(dict.fromkeys(patients))}
    shown: list[list[Shown]] = []
    for i, volume in enumerate(learned):
        shown.append(looks(prior, volume, i, names[patients[i]], label))
        if i % 20 == 0:
            print(f"{i} of {len(learned)}, {time.perf_counter() - began:.0f} s", flush=True)
    prior.healthy |= memory_of(shown)
    kind = AcquisitionModel.of("kind", prior.healthy)
    prior.healthy["kind.known"] = resampled_rows(kind.known, generator(0, "known"))
    before = prior.promises.detect
    prior.promises = replace(prior.promises, detect=None)
    entry = calibrate_detection(prior, iter(held))
    if before is not None:
        entry = replace(
            entry,
            **{name: getattr(before, name) for name in ("calibrated_on", "learned_from", "data", "measured")},
        )
    prior.promises = replace(prior.promises, detect=replace(entry, date=str(date.today())))
    save(prior, chosen.out, half=True)
    print(f"{chosen.name}: {len(prior.healthy['bank'])} means, {time.perf_counter() - began:.0f} s")


def films() -> tuple[list[Volume], list[str], list[Volume]]:
    healthy = [c for c in cases("chest") if not c.sick]
    learned = [c for c in healthy if c.split == "train"]
    held = first_each(c for c in healthy if c.split == "val")
    return [c.volume for c in learned], [c.patient for c in learned], [c.volume for c in held]


def brains() -> tuple[list[Volume], list[str], list[Volume]]:
    learned, held = ([read(path, modality="MR") for path in heads(split)] for split in ("train", "val"))
    return learned, [str(n) for n in range(len(learned))], held


def looks(prior: Prior, volume: Volume, number: int, patient: int, label: int | None) -> list[Shown]:
    """What the memory is shown of a scan and its variants."""
    door = admit(prior.card, volume)
    condition = door.condition
    if label is not None:
        condition = replace(condition, label=torch.full((len(door.images),), label))
    scan = NetworkScan(door.images, condition, door.stack)
    absolute, found = prior.card.scaling == "fixed", []
    for v in range(-1, n_variants_for(scan.images)):
        images = scan.images
        if v >= 0:
            images = reacquire(images, generator(0, "acquired", number, v), absolute=absolute)
        seen = scan_features(prior, images, condition, n_draws=n_draws_for(images), levels=(0.2,))
        found.append((seen.local.half(), scan.heights, patient))
    return found


def memory_of(shown: Sequence[Sequence[Shown]]) -> dict[str, torch.Tensor]:
    """The memory, the course of its distances, and where they are high, as ``fit_healthy_model`` makes them."""
    few = [one for part in shown for one in part[:2]]
    memory, shares = Memory.learned([one for part in shown for one in part], generator(0, "bank"))
    near = memory.without(few, shares)
    heights = [one for _, one, _ in few if one is not None]
    course = HeightTrend.fitted(
        torch.cat([slice_distances(one) for one in near]), torch.cat(heights) if heights else None
    )
    place = PlaceStatistics.fitted([grid_moments(volume_distance_map(one, few[0][1])) for one in near])
    at = EVIDENCE.index("memory")
    return memory.tensors() | course.tensors(f"course{at}") | place.tensors("place3")


if __name__ == "__main__":
    main()
