"""Few labels: how good is a head on a prior, beside the same head on pixels and ImageNet features and beside
a network trained on the same labels?

    python bench/learn.py curves SET --prior PRIOR [--judge test] [--draws 10] [--sizes 20 50 100] [--quick]
                          [--most 1000] [--labels-alone]
    python bench/learn.py calibration SET --prior PRIOR
    python bench/learn.py tuned SET --prior PRIOR [--draws 4] [--sizes 50] [--most 500]
    python bench/learn.py costs pneumonia --prior PRIOR
    python bench/learn.py masks hippocampus --prior PRIOR [--sizes 4 8] [--draws 2] [--test 12]

SET: pneumonia or breast (MedMNIST, 28 pixels), films (NIH, 256 pixels); or a folder whose sub-folders are
labels. The prior must not have learned from scans that judge; it needs no labels. --most: so many scans of
train, drawn at random, and all that judge. curves: `medprior evaluate
learn`. calibration: heads of 50 labels drawn at random from train, asked about val: expected calibration
error, and how often prediction sets hold the truth. tuned: area under the ROC curve on test of what
`medprior learn` gives with and without `--fine-tune`, from the same labels. masks: Dice of whole test volumes by a head on few
labelled volumes, beside MONAI's U-Net with the usual augmentation on the same ones, slice by slice; the prior
is 2-D (sagittal slices) or native 3-D. Reads MEDPRIOR_DATA.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch
from PIL import Image
from torch.nn import functional as F

import medprior as mp
from medprior.augmentation import Policy
from medprior.data.seeds import generator
from medprior.downstream.augmented import ClassicalAugmentation
from medprior.downstream.segmenter import SegmenterSettings, mean_dice, train_segmenter
from medprior.evidence.gain import auroc_scores, mean_scores, paired_gain
from medprior.io.dataset.scan import scan
from medprior.jobs.learn import calibration_error, gathered, head_from, predictions, reliability
from medprior.jobs.learn_masks import mask_in
from medprior.jobs.tuning.ways import LearnSettings
from medprior.learning.active import ScanPool, propose, reduced_features
from medprior.learning.features import FeatureSettings, volume_features
from medprior.learning.voxels import fit_voxel_head
from medprior.prior.admit import Admitted

T = TypeVar("T")
DATA = Path(os.environ.get("MEDPRIOR_DATA", Path(__file__).resolve().parents[2] / "shared" / "data"))
SETS = {
    "pneumonia": ("medmnist_pneumonia", "pneumoniamnist_28.npz", ("normal", "pneumonia")),
    "breast": ("medmnist_breast", "breastmnist_28.npz", ("malignant", "benign")),
    "films": ("chest_xray_nih", "", ()),
}
PATIENTS = {"films": r"^(\d{8})"}


def folder_of(name: str, into: Path, splits: tuple[str, ...], most: int = 0) -> Path:
    """The data set as pictures in SPLIT/LABEL/. most: scans of train, 0 for all."""
    if name not in SETS:
        return Path(name)
    source, file, labels = SETS[name]
    for split in splits:
        if not file:
            (into / split).symlink_to(DATA / source / split)
            continue
        with np.load(DATA / source / split / file) as stored:
            images, kinds = stored["images"], stored["labels"].ravel()
            order = torch.randperm(len(images), generator=generator(0, "some", name)).tolist()
            for n in sorted(order[: most or None] if split == "train" else order):
                image, kind = images[n], kinds[n]
                place = into / split / labels[int(kind)]
                place.mkdir(parents=True, exist_ok=True)
                Image.fromarray(image).save(place / f"{n:05d}.png")
    return into


def curves(args: argparse.Namespace, folder: Path) -> None:
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
        labels_alone=args.labels_alone,
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


def _cell(n: str, at: dict[str, float], how: str) -> str:
    return f"{n:>4}: {at['value']:{how}} ({at['low']:{how}} to {at['high']:{how}})"


def calibration(args: argparse.Namespace, folder: Path) -> None:
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


def tuned(args: argparse.Namespace, folder: Path) -> None:
    """Heads with and without --fine-tune, from the same random labels of train."""
    prior = mp.load(args.prior)
    index = scan(folder, modality=prior.card.modality)
    parts = {split: [i for i in index.usable() if i.split == split] for split in ("train", "test")}
    train, test = ([volume for _, volume in index.volumes(items)] for items in parts.values())
    kinds = sorted({item.label for item in parts["train"]})
    truth = np.array([kinds.index(item.label) for item in parts["test"]])
    for size in args.sizes:
        with_tuning, without, used = [], [], 0
        for draw in range(args.draws):
            order = torch.randperm(len(train), generator=generator(draw, "tuned", size)).tolist()
            known = set(order[:size])
            labels = [item.label if n in known else None for n, item in enumerate(parts["train"])]
            owners = [item.owner for item in parts["train"]]
            for fine_tune, rows in ((False, without), (True, with_tuning)):
                head = mp.learn(train, prior, labels, patients=owners, fine_tune=fine_tune)
                used += head.card.method == "fine-tuning"
                p = np.array([[one.probabilities[k] for k in kinds] for one in mp.predict(test, head)])
                rows.append(auroc_scores(p, truth))
            print(
                f"{size} labels, draw {draw}: {without[-1].value:.4f}, tuned {with_tuning[-1].value:.4f}",
                flush=True,
            )
        gain = paired_gain(with_tuning, without, [item.owner for item in parts["test"]])
        print(f"{size} labels: --fine-tune - without {gain}; tuning was used in {used} of {args.draws} draws")


def masks(args: argparse.Namespace, _: Path) -> None:
    """Dice of test volumes, both ways."""
    prior = mp.load(args.prior)
    train, test = (hippocampi(prior, split) for split in ("train", "test"))
    test = test[:: max(1, len(test) // args.test)][: args.test]
    for size in args.sizes:
        ours, unet = [], []
        for draw in range(args.draws):
            order = torch.randperm(len(train), generator=generator(draw, "volumes", size)).tolist()
            scans, maps = zip(*(train[n] for n in order[:size]), strict=True)
            begun = time.process_time()
            head = fit_voxel_head(prior, scans, maps, 3, FeatureSettings(seed=draw))
            middle = time.process_time()
            ours.append([mean_dice(head(prior, scan).argmax(0), truth, 3) for scan, truth in test])
            again = time.process_time()
            images = same_size([sagittal(scan.images) for scan in scans], -1.0)
            labels = same_size([sagittal(one[:, None])[:, 0] for one in maps], 0)
            change = ClassicalAugmentation([Policy.of("MR", unit="a.u.")] * len(images), draw).pair
            net = train_segmenter(
                images, labels, SegmenterSettings(steps=args.steps), draw, change, n_labels=3
            )
            end = time.process_time()
            unet.append(
                [
                    mean_dice(net(sagittal(scan.images)), truth.reshape(-1, *truth.shape[-2:]), 3)
                    for scan, truth in test
                ]
            )
            print(
                f"{size} volumes, draw {draw}: head {np.mean(ours[-1]):.4f} in {middle - begun:.0f} CPU s, "
                f"U-Net {np.mean(unet[-1]):.4f} in {end - again:.0f} CPU s",
                flush=True,
            )
        gain = paired_gain(
            [mean_scores(row) for row in ours], [mean_scores(row) for row in unet], list(range(len(test)))
        )
        print(f"{size} volumes: head - U-Net {gain}")


def sagittal(images: torch.Tensor) -> torch.Tensor:
    """(B, C, j, k) slices as they are; the volume of a native 3-D prior, (1, C, i, j, k), as i slices."""
    return images if images.ndim == 4 else images[0].movedim(1, 0)


def same_size(parts: Sequence[torch.Tensor], value: float) -> torch.Tensor:
    """Slices of all volumes, filled up behind the last row and column."""
    most = [max(part.shape[axis] for part in parts) for axis in (-2, -1)]
    more = [(0, most[1] - part.shape[-1], 0, most[0] - part.shape[-2]) for part in parts]
    return torch.cat([F.pad(part, pads, value=value) for part, pads in zip(parts, more, strict=True)])


def hippocampi(prior: mp.Prior, split: str) -> list[tuple[Admitted, torch.Tensor]]:
    """(scan, label map on the prior's grid) of each volume."""
    made = []
    for path in sorted((DATA / "brain_mri_hippocampus_3d" / split).glob("*_t1.nii.gz")):
        scan = prior.admit(mp.read(path, modality="MR"))
        truth = mp.read(path.with_name(path.name.replace("_t1", "_labels")), unit="label")
        made.append((scan, mask_in(scan, truth, prior)))
    return made


def costs(args: argparse.Namespace, _: Path) -> None:
    """Processor seconds of the three steps that a person waits for, films of 28 pixels."""
    prior = mp.load(args.prior)
    source, file, labels = SETS[args.set]
    images, kinds = [], []
    for split in ("train", "val"):
        with np.load(DATA / source / split / file) as stored:
            images += list(stored["images"])
            kinds += stored["labels"].ravel().tolist()
    unit, modality = prior.card.unit, prior.card.modality
    scans = [mp.Volume(one[None].astype(np.float32), unit=unit, modality=modality) for one in images[:4000]]
    names, owners = [labels[k] for k in kinds[:4000]], [str(n) for n in range(4000)]

    def timed(what: str, work: Callable[[], T]) -> T:
        wall, start = time.monotonic(), time.process_time()
        found = work()
        print(f"{what}: {time.process_time() - start:.1f} CPU s", flush=True)
        print(f"(waited {time.monotonic() - wall:.0f} s, load {os.getloadavg()[0]:.0f})", flush=True)
        return found

    x = timed(f"features of {len(scans)} films", lambda: volume_features(prior, scans).numpy())
    order = torch.randperm(len(x), generator=generator(0, "costs")).tolist()
    for n in (0, 20, 60):
        known = [name if k in set(order[:n]) else "" for k, name in enumerate(names)]
        timed(
            f"label proposes 20 of {len(x)}, {n} labels so far",
            lambda known=known: propose(ScanPool.of(reduced_features(x), known, owners), 20),
        )

    def learned() -> object:
        at = order[:1050]
        seen = volume_features(prior, [scans[k] for k in at]).numpy()
        given = [names[k] if n < 50 else "" for n, k in enumerate(at)]
        return head_from(gathered(seen, given, [owners[k] for k in at]), prior, LearnSettings())[0]

    print(timed("learn, 50 labels and 1000 scans without, features included", learned))


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("what", choices=["curves", "calibration", "tuned", "masks", "costs"])
    parser.add_argument("set")
    parser.add_argument("--prior", required=True)
    parser.add_argument("--judge", default="test", choices=["test", "folds"])
    parser.add_argument("--draws", type=int, default=10)
    parser.add_argument("--sizes", type=int, nargs="+", default=[20, 50, 100])
    parser.add_argument("--stratified", action="store_true")
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--labels-alone", action="store_true")
    parser.add_argument("--most", type=int, default=0)
    parser.add_argument("--silent", action="store_true")
    parser.add_argument("--test", type=int, default=12, help="masks: test volumes")
    parser.add_argument("--steps", type=int, default=300, help="masks: steps of the U-Net")
    parser.add_argument("--out", help="folder of the run, to look at its page")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as at:
        into = Path(at) / "data"
        into.mkdir()
        splits = ("train", "val") if args.what == "calibration" else ("train", "test")
        splits = ("train",) if args.judge == "folds" else splits
        folder = into if args.what in ("masks", "costs") else folder_of(args.set, into, splits, args.most)
        work = {"curves": curves, "calibration": calibration, "tuned": tuned, "masks": masks, "costs": costs}
        work[args.what](args, folder)


if __name__ == "__main__":
    main()
