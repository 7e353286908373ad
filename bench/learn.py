"""Few labels: how good is a head on a prior, beside the same head on pixels and ImageNet features and beside
a network trained on the same labels?

    python bench/learn.py curves SET --prior PRIOR [--judge test] [--draws 10] [--sizes 20 50 100] [--quick]
    python bench/learn.py calibration SET --prior PRIOR

SET: pneumonia or breast (MedMNIST, 28 pixels), films (NIH, 256 pixels); or a folder whose sub-folders are labels.
The prior must not have learned from scans that judge; it needs no labels. curves: `medprior evaluate learn`.
calibration: heads of 50 labels drawn at random from train, asked about val: expected calibration error, and
how often prediction sets hold the truth. Results are appended to bench/results/learn.jsonl with the command,
the commit and the prior's SHA-256. Reads MEDPRIOR_DATA.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
from PIL import Image

import medprior as mp
from medprior.data.seeds import generator
from medprior.io.dataset.scan import scan
from medprior.jobs.learn import (
    LearnSettings,
    calibration_error,
    gathered,
    head_from,
    predictions,
    reliability,
)
from medprior.learning.features import volume_features
from medprior.learning.head_folder import prior_digest

DATA = Path(os.environ.get("MEDPRIOR_DATA", Path(__file__).resolve().parents[2] / "shared" / "data"))
RESULTS = Path(__file__).resolve().parent / "results" / "learn.jsonl"
SETS = {
    "pneumonia": ("medmnist_pneumonia", "pneumoniamnist_28.npz", ("normal", "pneumonia")),
    "breast": ("medmnist_breast", "breastmnist_28.npz", ("malignant", "benign")),
    "films": ("chest_xray_nih", "", ()),
}
PATIENTS = {"films": r"^(\d{8})"}


def folder_of(name: str, into: Path, splits: tuple[str, ...]) -> Path:
    """The data set as pictures in SPLIT/LABEL/."""
    if name not in SETS:
        return Path(name)
    source, file, labels = SETS[name]
    for split in splits:
        if not file:
            (into / split).symlink_to(DATA / source / split)
            continue
        with np.load(DATA / source / split / file) as stored:
            for n, (image, kind) in enumerate(zip(stored["images"], stored["labels"].ravel(), strict=True)):
                place = into / split / labels[int(kind)]
                place.mkdir(parents=True, exist_ok=True)
                Image.fromarray(image).save(place / f"{n:05d}.png")
    return into


def curves(args: argparse.Namespace, folder: Path) -> dict[str, object]:
    """Learning curves; their table is printed."""
    options = {"patient_pattern": PATIENTS[args.set]} if args.set in PATIENTS else {}
    done = mp.evaluate(
        "learn",
        folder,
        args.prior,
        judge=args.judge,
        sizes=tuple(args.sizes),
        draws=args.draws,
        stratified=args.stratified,
        baselines="quick" if args.quick else "all",
        modality=mp.load(args.prior).card.modality,
        out=Path(args.out) if args.out else folder.parent / "run",
        progress=not args.silent,
        **options,
    )
    metrics = done.record["metrics"]
    for name, row in metrics["auroc"].items():
        print(f"{name:44s}", *(_cell(n, at, ".4f") for n, at in row.items()))
    for name, row in metrics["gain"].items():
        print(f"  ours - {name:35s}", *(_cell(n, at, "+.4f") for n, at in row.items()))
    print(metrics["verdict"])
    return {name: metrics[name] for name in ("auroc", "gain", "verdict", "judged_by")}


def _cell(n: str, at: dict[str, float], how: str) -> str:
    return f"{n:>4}: {at['value']:{how}} ({at['low']:{how}} to {at['high']:{how}})"


def calibration(args: argparse.Namespace, folder: Path) -> dict[str, object]:
    """Heads of 50 labels from train on all scans of val."""
    prior = mp.load(args.prior)
    index = scan(folder, modality=prior.card.modality)
    items = [item for item in index.usable() if item.split in ("train", "val")]
    x = volume_features(prior, (volume for _, volume in index.volumes(items))).numpy()
    train = np.array([n for n, item in enumerate(items) if item.split == "train"])
    val = np.array([n for n, item in enumerate(items) if item.split == "val"])
    truth = [items[n].label for n in val]
    errors, covered, sizes = [], [], []
    for draw in range(args.draws):
        rng = np.random.default_rng(generator(draw, "bench learn").initial_seed() % 2**32)
        chosen = set(rng.choice(train, 50, replace=False).tolist())
        labels = [items[n].label if n in chosen else "" for n in train]
        data = gathered(x[train], labels, [items[n].owner for n in train])
        head, *_ = head_from(data, prior, LearnSettings())
        y = np.eye(2)[[data.classes.index(label) for label in truth]]
        errors.append(calibration_error(reliability(head.temperature(head.linear(x[val])), y, several=False)))
        sets = [one.labels for one in predictions(head, x[val])]
        covered.append(float(np.mean([label in within for label, within in zip(truth, sets, strict=True)])))
        sizes.append(float(np.mean([len(within) for within in sets])))
        print(
            f"draw {draw}: ECE {errors[-1]:.3f}, covered {covered[-1]:.3f}, labels a set {sizes[-1]:.2f}",
            flush=True,
        )
    print(f"ECE {np.mean(errors):.3f}, covered {np.mean(covered):.3f}, labels a set {np.mean(sizes):.2f}")
    return {"ece": errors, "covered": covered, "set_size": sizes}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("what", choices=["curves", "calibration"])
    parser.add_argument("set")
    parser.add_argument("--prior", required=True)
    parser.add_argument("--judge", default="test", choices=["test", "folds"])
    parser.add_argument("--draws", type=int, default=10)
    parser.add_argument("--sizes", type=int, nargs="+", default=[20, 50, 100])
    parser.add_argument("--stratified", action="store_true")
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--silent", action="store_true")
    parser.add_argument("--out", help="folder of the run, to look at its page")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as at:
        into = Path(at) / "data"
        into.mkdir()
        splits = ("train", "val") if args.what == "calibration" else ("train", "test")
        splits = ("train",) if args.judge == "folds" else splits
        folder = folder_of(args.set, into, splits)
        found = {"curves": curves, "calibration": calibration}[args.what](args, folder)
    commit = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False
    )
    record = {
        "command": "python bench/learn.py " + " ".join(_public(word) for word in sys.argv[1:]),
        "commit": commit.stdout.strip(),
        "prior_sha256": prior_digest(mp.load(args.prior)),
        **found,
    }
    with open(RESULTS, "a", encoding="utf-8") as file:
        file.write(json.dumps(record) + "\n")


def _public(word: str) -> str:
    """No path of this machine in what is published."""
    return Path(word).name if "/" in word else word


if __name__ == "__main__":
    main()
