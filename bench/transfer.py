"""Beginning with another prior: advice before the training, and the validation loss after it, against a start
from nothing with as much processor time.

    python bench/transfer.py SET FROM [--minutes 3] [--seed 0]

SET: pneumonia or breast (MedMNIST, 28 pixels), or hippocampus (sagittal slices). FROM: the prior to begin
with. A short timing gives the steps of the given processor minutes; the start from nothing gets as many more
steps as the trial of the advice took. Scans of val judge, which nothing was chosen on. Reads MEDPRIOR_DATA.
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

TIMED = 60
"""Steps that are timed."""
MOST = 150
"""Validation images that judge."""


def scans_of(name: str, into: Path) -> tuple[Path, dict[str, str]]:
    """A folder with train and val, and what its files cannot say."""
    if name != "hippocampus":
        return folder_of(name, into, ("train", "val")), {"modality": "DX" if name == "pneumonia" else "US"}
    for split in ("train", "val"):
        (into / split).mkdir()
        for path in sorted((DATA / "brain_mri_hippocampus_3d" / split).glob("*_t1.nii.gz")):
            (into / split / path.name).symlink_to(path)
    return into, {"modality": "MR", "plane": "sagittal"}


def trained(folder: Path, out: Path, steps: int, begin: str | None, seed: int, how: dict[str, str]):
    """(the prior, its data, processor seconds of learning)."""
    data: list[Dataset] = []
    options = Fitting(folder, steps=steps, seed=seed, out=out, begin_with=begin, **how)
    start = time.process_time()
    prior = fitted(options, Callbacks(None, data.append, None))
    return prior, data[0], time.process_time() - start


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("set", choices=["pneumonia", "breast", "hippocampus"])
    parser.add_argument("begin")
    parser.add_argument("--minutes", type=float, default=3.0)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as at:
        (Path(at) / "data").mkdir()
        folder, how = scans_of(args.set, Path(at) / "data")
        *_, short = trained(folder, Path(at) / "short", TIMED, None, args.seed, how)
        *_, longer = trained(folder, Path(at) / "longer", 3 * TIMED, None, args.seed, how)
        step = (longer - short) / (2 * TIMED)
        steps = round(60 * args.minutes / step)
        begun, data, own = trained(folder, Path(at) / "begun", steps, args.begin, args.seed, how)
        advice = json.loads((Path(at) / "begun" / BEGUN).read_text())
        more = 2 * advice["steps"]
        nothing, _, other = trained(folder, Path(at) / "nothing", steps + more, None, args.seed, how)
        at_most = list(range(0, len(data.held), max(1, len(data.held) // MOST)))[:MOST]
        held = [data.held[n] for n in at_most]
        numbers = None if data.held_numbers is None else data.held_numbers[at_most]
        before, after = (denoising_losses(one, held, None, numbers).numpy() for one in (nothing, begun))
        owners = [str(n) for n in range(len(held))]
        gain = interval(lambda a, b: float((a - b).mean()), before, after, patients=owners)
    print(f"{args.set}, begun with {mp.load(args.begin).card.name}: {args.minutes:g} CPU minutes each")
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
