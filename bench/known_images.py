"""Whether a reconstruction says "this prior does not know such images" when it should, and not for its own kind.

    python bench/known_images.py write     # kind.safetensors of the bundled priors, from their training scans
    python bench/known_images.py table [--prior brain-t1] [--tasks mri4,mri8,sr4,denoise]
    python bench/known_images.py own --prior brain-t1 --split test     # once, at the end
    python bench/known_images.py measured                              # k-space and sinograms of scanners

table: fast reconstructions of SIMULATED measurements of val and train scans. own: scans as the prior has
learned, of patients that it has not. other: another contrast, part of the body or modality, laid on the
prior's grid. warned: how many of them, and the smallest and largest distance, 1 is the limit. Nothing was
chosen by test scans. Reads MEDPRIOR_DATA.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from pathlib import Path

import torch
from pretrain import DATA, RECIPES
from tasks import TASKS, slices
from torch import Tensor
from torch.nn import functional as F

import medprior as mp
from medprior.data.volume import Volume
from medprior.prior import Prior
from medprior.prior.admit import admit
from medprior.prior.image_kind import ImageKind
from medprior.runs.ask.requests import Reconstruct
from medprior.runs.core.inputs import scan_of
from medprior.runs.reconstruct.scanner_files import acquired
from medprior.training.folder import load, save

FOLDER = Path("src/medprior/pretrained")
NAMES = ("brain-t1", "chest-xray", "chest-ct")
EACH = 20
"""Slices of a training volume, in its middle half, as ``tasks.slices`` takes them."""
TASKS_OF = {"brain-t1": "mri4,mri8,sr4,denoise", "chest-ct": "fan60,lowdose", "chest-xray": "sr4"}
OWN = {"brain-t1": 5, "chest-ct": 4, "chest-xray": 1}
"""Slices of each val patient."""


def write() -> None:
    for name in NAMES:
        prior = load(FOLDER / name)
        images = [x[0] for x in slices(name, "train", EACH, seed=3)[0]]
        prior.kind = ImageKind.fitted(images)
        save(prior, FOLDER / name, half=True)
        print(f"{name}: {len(images)} training images, limits {prior.kind and prior.kind.limits}", flush=True)


def others(name: str) -> Iterator[tuple[str, list[Tensor]]]:
    """(what it is, images (1, C, i, j) in network units) that the prior has not learned."""
    card = RECIPES[name].card

    def laid(path: Path, modality: str, share: float = 0.5) -> Tensor:
        found = admit(card, mp.read(path, modality=modality, unit=card.unit), allow_other=True).images
        return found[int(share * (len(found) - 1))][None]

    def on_grid(x: Tensor, side: int) -> Tensor:
        return F.interpolate(x, size=(side, side), mode="bilinear", antialias=True)

    if name == "brain-t1":
        raw, lesions = DATA / "brain_mri_ms_flair_3d" / "train", DATA / "brain_mri_ms_lesions_3d" / "val"
        yield "FLAIR, raw", [laid(p, "MR") for p in sorted(raw.glob("*flair*.nii.gz"))]
        for kind in ("flair", "t2"):
            path = lesions / f"patient07_{kind}.nii.gz"
            yield f"{kind.upper()}, skull-stripped", [laid(path, "MR", share) for share in (0.4, 0.5, 0.6)]
        crops = sorted((DATA / "brain_mri_hippocampus_3d" / "train").glob("*_t1.nii.gz"))[::20]
        yield "hippocampus", [laid(p, "MR") for p in crops]
        chests = slices("chest-ct", "train", 1)[0][::5]
        yield "chest CT", [on_grid(1.2 * x, 112) for x in chests]
        tumours = sorted((DATA / "brain_mri_tumour_2d" / "train").rglob("*.png"))[::180]
        yield "T1 after contrast, three planes", [laid(p, "MR") for p in tumours]
        return
    heads = slices("brain-t1", "train", 1)[0]
    yield "head MR", [on_grid(x, 256) for x in heads[::3]]
    if name == "chest-ct":
        yield "chest X-ray", [on_grid(x, 256) for x in slices("chest-xray", "train", 1)[0][::60]]
    else:
        yield "chest CT", [on_grid(x, 256) for x in slices("chest-ct", "train", 1)[0][::5]]
        ultrasound = sorted((DATA / "breast_us_busi" / "train").rglob("*.png"))[::40]
        yield "breast ultrasound", [laid(p, "DX") for p in ultrasound]


@torch.no_grad()
def distances(prior: Prior, task: str, images: list[Tensor]) -> list[float]:
    """Of fast reconstructions: largest part over its limit."""
    found = []
    for i, x in enumerate(images):
        size = [n - n % 4 for n in x.shape[2:]]
        m = TASKS[task].measure(x[..., : size[0], : size[1]], torch.Generator().manual_seed(i))
        found.append(
            distance(
                prior, mp.reconstruct(prior, m, fast=True, scale=TASKS[task].physical), TASKS[task].physical
            )
        )
    return found


def distance(prior: Prior, draws: mp.Draws, scale: tuple[float, float]) -> float:
    image = 2 * (draws.mean() - scale[0]) / (scale[1] - scale[0]) - 1
    far = 0.0 if prior.kind is None else float(prior.kind.parts(image).max())
    if (far > 1) != bool(draws.unlike):
        raise SystemExit(f"{prior}: said {draws.unlike!r} at a distance of {far:.3f}")
    return far


def row(task: str, what: str, far: list[float]) -> None:
    warned = sum(one > 1 for one in far)
    print(f"{task:<10}{what:<34}{warned:>3} of {len(far):<5}{min(far):.2f} to {max(far):.2f}", flush=True)


def table(names: Sequence[str], tasks: str, split: str, *, alone: bool, most: int) -> None:
    """alone: only scans of the prior's own kind. most: images of a row, evenly taken."""
    for name in names:
        prior = mp.load(FOLDER / name)
        print(f"\n{name}\n{'task':<10}{'images':<34}{'warned':<13}distance")
        sums = {"own": [0, 0], "other": [0, 0]}
        for task in (tasks or TASKS_OF[name]).split(","):
            rows: list[tuple[str, list[Tensor]]] = [
                (f"own, {split}", slices(name, split, OWN[name], seed=4)[0])
            ]
            rows += [] if alone else [(f"other: {what}", images) for what, images in others(name)]
            for what, images in rows:
                far = distances(prior, task, images[:: -(-len(images) // most)])
                row(task, what, far)
                total = sums["own" if what.startswith("own") else "other"]
                total[0], total[1] = total[0] + sum(one > 1 for one in far), total[1] + len(far)
        for what, (warned, n) in sums.items():
            if n:
                print(f"all of {what}: warned {warned} of {n}", flush=True)


def measured(name: str, prior: Prior) -> None:
    files = {
        "brain-t1": sorted((DATA / "kspace_brain_sigpy").rglob("*.npz")),
        "chest-ct": sorted((DATA / "ct_projections_htc2022").rglob("*.npz")),
    }
    for path in files.get(name, []):
        request = Reconstruct(input=path, prior=name)
        scan = scan_of(request)
        if isinstance(scan, Volume):
            continue
        case = acquired(request, prior, scan)
        draws = mp.reconstruct(prior, case.measurement, scale=case.scale, fast=True)
        row("measured", f"other: {path.stem[:26]}", [distance(prior, draws, case.scale)])


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("stage", choices=("write", "table", "own", "measured"))
    parser.add_argument("--prior", choices=NAMES)
    parser.add_argument("--tasks", default="")
    parser.add_argument("--split", choices=("val", "test"), default="val")
    parser.add_argument("--most", type=int, default=100, help="images of a row, evenly taken")
    chosen = parser.parse_args()
    torch.set_num_threads(1)
    if chosen.stage == "write":
        write()
    elif chosen.stage == "measured":
        for name in ("brain-t1", "chest-ct"):
            measured(name, mp.load(FOLDER / name))
    else:
        names = [chosen.prior] if chosen.prior else list(NAMES)
        table(names, chosen.tasks, chosen.split, alone=chosen.stage == "own", most=chosen.most)


if __name__ == "__main__":
    main()
