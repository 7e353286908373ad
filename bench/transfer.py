"""Beginning with another prior: advice before the training, and the validation loss after it, against a start
from nothing with as much processor time.

    python bench/transfer.py SET FROM [--steps 1000] [--seed 0]

SET: pneumonia (1 000 scans of train) or breast (MedMNIST, 28 pixels), or hippocampus (sagittal slices). FROM:
the prior to begin with. The start from nothing gets as many more steps as the trial of the advice took, and
the processor seconds of both are printed. Scans of val judge, which nothing was chosen on. Reads
MEDPRIOR_DATA.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from pathlib import Path

import medprior as mp
from bench.learn import DATA, folder_of
from medprior.evidence.intervals import interval
from medprior.jobs.fitting.fit import BEGUN, fitted
from medprior.jobs.fitting.options import Callbacks, Fitting
from medprior.jobs.fitting.training_set import Dataset
from medprior.training.held_out import denoising_losses

KINDS = {"pneumonia": ("DX", "axial"), "breast": ("US", "axial"), "hippocampus": ("MR", "sagittal")}
"""Modality, and how volumes are cut."""
MOST = 150
"""Validation images that judge."""


def scans_of(name: str, into: Path) -> Path:
    """A folder with train and val."""
    if name != "hippocampus":
        return folder_of(name, into, ("train", "val"), 1000)
    for split in ("train", "val"):
        (into / split).mkdir()
        for path in sorted((DATA / "brain_mri_hippocampus_3d" / split).glob("*_t1.nii.gz")):
            (into / split / path.name).symlink_to(path)
    return into


def trained(
    name: str, folder: Path, out: Path, steps: int, begin: str | None, seed: int
) -> tuple[mp.Prior, Dataset, float]:
    """(the prior, its data, processor seconds of learning)."""
    data: list[Dataset] = []
    modality, plane = KINDS[name]
    options = Fitting(
        folder, steps=steps, seed=seed, out=out, begin_with=begin, modality=modality, plane=plane
    )
    start = time.process_time()
    prior = fitted(options, Callbacks(None, data.append, None))
    return prior, data[0], time.process_time() - start


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("set", choices=["pneumonia", "breast", "hippocampus"])
    parser.add_argument("begin")
    parser.add_argument("--steps", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as at:
        (Path(at) / "data").mkdir()
        folder = scans_of(args.set, Path(at) / "data")
        name, home, seed = args.set, Path(at), args.seed
        steps = args.steps
        begun, data, own = trained(name, folder, home / "begun", steps, args.begin, seed)
        advice = json.loads((Path(at) / "begun" / BEGUN).read_text())
        more = 2 * advice["steps"]
        nothing, _, other = trained(name, folder, home / "nothing", steps + more, None, seed)
        at_most = list(range(0, len(data.held), max(1, len(data.held) // MOST)))[:MOST]
        held = [data.held[n] for n in at_most]
        numbers = None if data.held_numbers is None else data.held_numbers[at_most]
        before, after = (denoising_losses(one, held, None, numbers).numpy() for one in (nothing, begun))
        owners = [str(n) for n in range(len(held))]
        gain = interval(lambda a, b: float((a - b).mean()), before, after, patients=owners)
    print(f"{args.set}, begun with {mp.load(args.begin).card.name}, equal CPU time")
    print(
        f"advice before: {advice['verdict']} (after {advice['steps']} steps {advice['begun']:.4f}, from "
        f"nothing {advice['nothing']:.4f}; {advice['share']:.0%} of the weights)"
    )
    print(f"begun: {steps} steps, {own:.0f} CPU s; from nothing: {steps + more} steps, {other:.0f} CPU s")
    print(
        f"validation loss of {len(held)} images: begun {after.mean():.4f}, from nothing {before.mean():.4f}, "
        f"gain {gain.value:+.4f} ({gain.low:+.4f} to {gain.high:+.4f})"
    )
    measured = "help" if gain.low > 0 else "hurts" if gain.high < 0 else "no difference"
    print(f"measured after: {measured}; advice was {'right' if measured == advice['verdict'] else 'WRONG'}")


if __name__ == "__main__":
    main()
