"""Joint priors: does an image show the label map that was given, does a second contrast look like the
patient's own, do slices made one by one hang together.

    python bench/joint.py prepare FOLDER [--of hippocampus]                   a folder with a scans.csv from MEDPRIOR_DATA; then, for example:
        medprior train FOLDER --preset small --minutes 12 --plane sagittal --modality MR --out PRIOR
    python bench/joint.py masks PRIOR FOLDER [--patients 20] [--slices 3]     Dice of the map that is found again in the made image
    python bench/joint.py numbers PRIOR FOLDER --name age --values 52,58,64,70    does a drawn map change with the number as real maps do
    python bench/joint.py contrast PRIOR --known T1.nii.gz --as T1 --hidden T2=T2.nii.gz --taught T1=a.nii.gz,T2=b.nii.gz
    python bench/joint.py slices PRIOR FOLDER [--patients 4] [--given mask]   differences of neighbours through the slices, over those in the plane

FOLDER is a data set with a scans.csv that has a mask; the prior was trained on its train split, and
everything here is of its val split, or of --split. --of: hippocampus (1 mm, two classes), ixi (heads of 2 mm,
their 145 regions grouped into six tissues, age), contrasts (T1, T2, FLAIR: one patient in train, one in
test). Nothing is chosen by looking at test.

masks. Two judges look for the map in an image. "same prior": the image is given and the map is drawn, the
prior the other way round: it may agree with itself. "independent": a U-Net (MONAI) that was trained on the
real slices of train and has never seen a made image. Slices as the prior knows them, each by itself. Beside
the made image: the real image (the ceiling of the judge), the mean training image (the floor), the made image
held against the map of the next patient (shuffled: what any map of the kind would get), and that map against
the true one. Intervals: 95 %, over patients.

numbers. Share of each class in the label map of a slice, at five heights, regressed on the number with a
level of its own for each height. Real: slices of the patients of a split, intervals by patient. Drawn:
nothing given but number and height, intervals by draw. The map is the drawn one, or what the independent
judge finds in the drawn image, which the prior cannot have agreed upon with itself. --number-guidance: by how
much the number is exaggerated, 1 is plain.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from collections.abc import Mapping, Sequence
from itertools import product
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from medprior import Prior, Volume, read
from medprior.evidence.intervals import interval
from medprior.evidence.metrics import psnr
from medprior.evidence.regions import dice
from medprior.io.dataset.scan import Index, Item, scan
from medprior.jobs.synthetic.joint import LEVELS, synthesize_joint
from medprior.prior.joint import MASK, admit_parts, part_named, part_volume, parts
from medprior.runs.core.inputs import known_prior

DATA = Path(os.environ.get("MEDPRIOR_DATA", Path(__file__).resolve().parents[2] / "shared" / "data"))
MEAN_SHAPE = (40, 48, 40)
"""Grid on which training images and maps are averaged: patients' crops differ in size."""


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    verbs = parser.add_subparsers(dest="verb", required=True)
    one = verbs.add_parser("prepare")
    one.add_argument("folder", type=Path)
    one.add_argument("--of", choices=list(SETS), default="hippocampus")
    for verb in ("masks", "numbers", "slices"):
        one = verbs.add_parser(verb)
        one.add_argument("prior")
        one.add_argument("folder", type=Path)
        one.add_argument("--patients", type=int, default=20)
        one.add_argument(
            "--work", type=Path, default=Path(".cache/joint"), help="where the index of the folder goes"
        )
        one.add_argument(
            "--levels",
            type=int,
            default=LEVELS,
            help="levels of the walk, for each of the 18 where nothing is known",
        )
        one.add_argument("--slices", type=int, default=3, help="masks: slices of each patient")
        one.add_argument("--alike", default="0.9,0", help="slices: correlations of neighbours' noise to try")
        one.add_argument("--given", default="", help="slices: what is given; nothing by default")
        one.add_argument(
            "--seconds", type=float, default=90.0, help="masks, numbers: budget of the independent judge"
        )
        one.add_argument("--split", default="val", choices=("val", "test", "both"))
        one.add_argument("--name", default="age", help="numbers: which")
        one.add_argument("--values", default="52,58,64,70", help="numbers: what is asked for")
        one.add_argument("--draws", type=int, default=12, help="numbers: of each value and height")
        one.add_argument("--number-guidance", default="1", help="numbers: weights to try")
    one = verbs.add_parser("contrast")
    one.add_argument("prior")
    one.add_argument("--known", type=Path, required=True)
    one.add_argument("--as", dest="name", default="T1")
    one.add_argument("--hidden", nargs="+", required=True)
    one.add_argument("--taught", required=True)
    one.add_argument("--draws", type=int, default=4)
    one.add_argument("--slices", type=int, default=8)
    chosen = parser.parse_args()
    if chosen.verb == "prepare":
        SETS[chosen.of](chosen.folder)
        return
    torch.manual_seed(0)
    prior = known_prior(chosen.prior).prior
    {"masks": masks, "numbers": numbers, "slices": slices, "contrast": contrast}[chosen.verb](prior, chosen)


def prepare(folder: Path) -> None:
    """The scans of train and val; test is not touched."""
    linked(folder, {split: hippocampi(split) for split in ("train", "val")})


TISSUES = (
    (1, 46),  # fluid around the brain
    (4, 11, 49, 50, 51, 52),  # ventricles
    tuple(range(100, 208)),  # grey matter of the cortex
    tuple(range(81, 96)),  # white matter, fornix, internal capsule, corpus callosum
    (23, 30, 31, 32, 36, 37, 47, 48, *range(55, 63), 69, 75, 76),  # deep grey matter, hippocampus, amygdala
    (35, 38, 39, 40, 41, 71, 72, 73),  # cerebellum and brain stem
)
"""Regions of MUSE (Doshi et al., NeuroImage 127, 2016) by tissue; the first is class 1."""
NAMES = ("outer fluid", "ventricles", "cortex", "white matter", "deep grey", "hindbrain")


def prepare_ixi(folder: Path) -> None:
    """Heads with their regions grouped into tissues, and ages."""
    import nibabel as nib

    sets = json.loads((DATA / "manifest.json").read_text(encoding="utf-8"))["datasets"]
    ages = {
        file["path"]: file["age"]
        for one in (sets if isinstance(sets, list) else sets.values())
        for file in one["files"]
        if "age" in file
    }
    table = np.zeros(256, np.uint8)
    for n, regions in enumerate(TISSUES, start=1):
        table[list(regions)] = n
    lines = ["path,mask,patient,split,number:age"]
    for path, age in sorted(ages.items()):
        source = DATA / path
        patient, split = source.name.removesuffix("_t1.nii.gz"), source.parent.name
        (folder / split).mkdir(parents=True, exist_ok=True)
        link = folder / split / source.name
        link.unlink(missing_ok=True)
        link.symlink_to(source.resolve())
        regions = nib.load(source.with_name(f"{patient}_labels.nii.gz"))  # type: ignore[attr-defined]
        grouped = nib.Nifti1Image(table[np.asarray(regions.dataobj)], regions.affine)  # type: ignore[attr-defined]
        nib.save(grouped, folder / split / f"{patient}_tissues.nii.gz")  # type: ignore[attr-defined]
        lines.append(f"{split}/{source.name},{split}/{patient}_tissues.nii.gz,{patient},{split},{age}")
    (folder / "scans.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")


def prepare_contrasts(folder: Path) -> None:
    """T1, T2 and FLAIR of the two patients who have them."""
    lines = ["path:T1,channel:T2,channel:FLAIR,patient,split"]
    for split, stored, patient in (("train", "val", "patient07"), ("test", "test", "patient19")):
        (folder / split).mkdir(parents=True, exist_ok=True)
        names = [f"{patient}_{contrast}.nii.gz" for contrast in ("t1", "t2", "flair")]
        for name in names:
            (folder / split / name).unlink(missing_ok=True)
            (folder / split / name).symlink_to((DATA / "brain_mri_ms_lesions_3d" / stored / name).resolve())
        lines.append(",".join([*(f"{split}/{name}" for name in names), patient, split]))
    (folder / "scans.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")


SETS = {"hippocampus": prepare, "ixi": prepare_ixi, "contrasts": prepare_contrasts}


def hippocampi(split: str) -> list[Path]:
    """Scans of MEDPRIOR_DATA, each with its label map beside it (1 anterior, 2 posterior)."""
    return sorted((DATA / "brain_mri_hippocampus_3d" / split).glob("*_t1.nii.gz"))


def linked(folder: Path, scans: Mapping[str, Sequence[Path]]) -> None:
    """Links to scans and their label maps, by split, and a scans.csv."""
    lines = ["path,mask,patient,split"]
    for split, images in scans.items():
        (folder / split).mkdir(parents=True, exist_ok=True)
        for image in images:
            patient = image.name.removesuffix("_t1.nii.gz")
            for name in (image.name, f"{patient}_labels.nii.gz"):
                (folder / split / name).unlink(missing_ok=True)
                (folder / split / name).symlink_to(image.with_name(name).resolve())
            lines.append(f"{split}/{image.name},{split}/{patient}_labels.nii.gz,{patient},{split}")
    (folder / "scans.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")


def opened(folder: Path, work: Path) -> Index:
    work.mkdir(parents=True, exist_ok=True)
    return scan(folder, out=work, modality="MR")


def chosen_items(index: Index, split: str, most: int) -> list[Item]:
    items = [
        item
        for one in (("val", "test") if split == "both" else (split,))
        for item in index.usable(one)
        if item.mask
    ]
    return [items[i] for i in np.linspace(0, len(items) - 1, min(most, len(items))).round().astype(int)]


# Dice


class Judge:
    """A U-Net of slices from real training images, in network units."""

    def __init__(self, prior: Prior, index: Index, seconds: float) -> None:
        from monai.networks.nets.unet import UNet

        self.prior, self.part = prior, part_named(prior.card, MASK)
        self.net = UNet(
            2, 1, len(self.part.classes) + 1, channels=(16, 32, 64, 128), strides=(2, 2, 2), num_res_units=1
        )
        images, maps = [], []
        for item in chosen_items(index, "train", 40):
            x = admit_parts(
                prior.card, {item.called: index.load(item), MASK: index.beside(item, MASK)}, strict=False
            )[0].images
            images += list(_square(x[:, :1]))
            maps += list(_square(x[:, list(self.part.channels)], -1.0))
        x, y = torch.stack(images), torch.stack(maps)
        target = torch.where(y.max(1).values > 0, y.argmax(1) + 1, 0)
        optimizer, rng, began, self.steps = (
            torch.optim.AdamW(self.net.parameters(), 2e-3),
            torch.Generator().manual_seed(0),
            time.process_time(),
            0,
        )
        while time.process_time() - began < seconds:
            at = torch.randint(len(x), (24,), generator=rng)
            blurred = x[at] + 0.1 * torch.rand(1, generator=rng) * torch.randn(x[at].shape, generator=rng)
            loss = F.cross_entropy(self.net(blurred), target[at])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            self.steps += 1
        self.net.eval()

    def __call__(self, image: Volume, item: Item) -> NDArray[np.int64]:
        """The map on the grid of the image."""
        door, _ = admit_parts(self.prior.card, {item.called: image})
        with torch.no_grad():
            logits = self.net(_square(door.images)).softmax(1)[
                (..., *(slice(0, n) for n in door.images.shape[2:]))
            ]
        # above 0 where a class is likelier than the background
        return (
            part_volume(self.prior.card, self.part, door, logits[:, 1:] - logits[:, :1], "judged")
            .data[0]
            .astype(np.int64)
        )


def _square(x: Tensor, fill: float | None = None) -> Tensor:
    """Both sides a multiple of 8, and the same for all."""
    size = [max(64, -(-n // 8) * 8) for n in x.shape[2:]]
    missing = [want - have for want, have in zip(size, x.shape[2:], strict=True)]
    return F.pad(x, (0, missing[1], 0, missing[0]), value=-1.0 if fill is None else fill)


def agreement(found: NDArray, truth: NDArray, classes: tuple[int, ...]) -> float:
    """Mean Dice of the classes that the truth has."""
    return float(np.mean([dice(found == c, truth == c) for c in classes if (truth == c).any()]))


def cuts(
    prior: Prior, index: Index, item: Item, most: int, mean: NDArray
) -> list[tuple[Volume, Volume, Volume, float]]:
    """Image, map, mean image and height of slices of a patient, as the prior knows slices; evenly between
    those with at least 40 pixels of any class.
    """
    volume = index.load(item)
    flat = volume.with_data(stretched(mean, volume.shape)[None])
    doors = [
        admit_parts(prior.card, {name: one})[0]
        for name, one in ((item.called, volume), (MASK, index.beside(item, MASK)), (item.called, flat))
    ]
    image, label, average = (door.turned for door in doors)
    full = [k for k in range(label.shape[2]) if (label.data[0, :, :, k] > 0).sum() >= 40]
    inner = (
        np.linspace(0, len(full) - 1, most + 2).round().astype(int)[1:-1]
    )  # at both ends there is hardly anything of the map
    chosen = [full[i] for i in np.unique(inner)]
    return [(cut(image, k), cut(label, k), cut(average, k), height_of(k, label.shape[2])) for k in chosen]


def cut(one: Volume, k: int) -> Volume:
    """A slice of a volume on the card's axes."""
    return Volume(
        one.data[..., k], None, one.unit, one.modality, None if one.spacing_mm is None else one.spacing_mm[:2]
    )


def height_of(k: int, depth: int) -> float:
    """Of slice k as the prior is told it, -1 to 1."""
    return (2 * k + 1) / depth - 1


def masks(prior: Prior, chosen: argparse.Namespace) -> None:
    n_steps = 18 * chosen.levels // LEVELS
    index = opened(chosen.folder, chosen.work)
    part = part_named(prior.card, MASK)
    items = chosen_items(index, chosen.split, chosen.patients)
    own = items[0].called
    mean_image = mean_image_of(index)
    judge = Judge(prior, index, chosen.seconds)
    rows: dict[str, list[float]] = {}
    owners: list[str] = []
    began = time.process_time()
    every = [cuts(prior, index, item, chosen.slices, mean_image) for item in items]

    def found_by(
        name: str, image: Volume, height: float, seed: int, truth: NDArray, other: NDArray | None = None
    ) -> None:
        told = {"height": height} if "height" in prior.card.numbers else None
        again = synthesize_joint(prior, n=1, given={own: image}, seed=seed, numbers=told, n_steps=n_steps)[0][
            MASK
        ].data[0]
        for who, found in (("same prior", again), ("independent", judge(image, items[0]))):
            rows.setdefault(f"{name}, {who}", []).append(agreement(found, truth, part.classes))
            if other is not None:
                rows.setdefault(f"{name}, map of the next patient, {who}", []).append(
                    agreement(found, other, part.classes)
                )

    for at, slices_of in enumerate(every):
        for n, (image, label, average, height) in enumerate(slices_of):
            truth, seed = label.data[0], 1000 * at + n
            following = every[(at + 1) % len(every)]
            other = moved_onto(following[min(n, len(following) - 1)][1].data[0], truth.shape)
            told = {"height": height} if "height" in prior.card.numbers else None
            made = synthesize_joint(
                prior, n=1, given={MASK: label}, seed=seed, numbers=told, n_steps=n_steps
            )[0][own]
            found_by("made image", made, height, seed, truth, other)
            found_by("real image", image, height, seed, truth)
            found_by("mean image", average, height, seed, truth)
            rows.setdefault("map of the next patient (no image)", []).append(
                agreement(other, truth, part.classes)
            )
            owners.append(items[at].patient)
        if at + 1 == len(items) or (at + 1) % 5 == 0:
            seconds = (time.process_time() - began) / len(owners)
            print(
                f"\n{prior.card.name}: {len(owners)} slices of {at + 1} patients ({chosen.split}), one draw each; Dice, mean of {len(part.classes)} classes"
            )
            print(
                f"independent judge: {judge.steps} steps of 24 slices; {n_steps * LEVELS} levels; {seconds:.1f} s a slice for all lines, of one core"
            )
            for name, values in sorted(rows.items()):
                found = interval(lambda v: float(np.mean(v)), values, patients=owners)
                print(f"{name:<52}{found.value:.3f} ({found.low:.3f} to {found.high:.3f})", flush=True)


def mean_image_of(index: Index) -> NDArray:
    """Of at most 60 training patients, each stretched to one shape."""
    return np.mean(
        [stretched(index.load(item).data[0], MEAN_SHAPE) for item in chosen_items(index, "train", 60)], axis=0
    )


def stretched(x: NDArray, shape: tuple[int, ...]) -> NDArray:
    return F.interpolate(
        torch.from_numpy(np.asarray(x, np.float32))[None, None],
        size=shape,
        mode="trilinear",
        align_corners=False,
    )[0, 0].numpy()


def moved_onto(x: NDArray, shape: tuple[int, ...]) -> NDArray:
    return F.interpolate(
        torch.from_numpy(np.asarray(x, np.float32))[None, None], size=shape, mode="nearest-exact"
    )[0, 0].numpy()


# numbers

HEIGHTS = (-0.3, -0.1, 0.1, 0.3, 0.5)


def numbers(prior: Prior, chosen: argparse.Namespace) -> None:
    index = opened(chosen.folder, chosen.work)
    part, values = part_named(prior.card, MASK), [float(v) for v in chosen.values.split(",")]
    own = chosen_items(index, "train", 1)[0].called
    judge = Judge(prior, index, chosen.seconds)
    rows: dict[str, list[Shares]] = {"real, train": [], "real, other patients": []}
    for name, split in zip(rows, ("train", chosen.split), strict=True):
        for item in chosen_items(index, split, 1000):
            turned = admit_parts(prior.card, {MASK: index.beside(item, MASK)})[0].turned.data[0]
            for at, height in enumerate(HEIGHTS):
                k = round((height + 1) / 2 * turned.shape[2] - 0.5)
                rows[name].append(
                    Shares(
                        item.patient,
                        dict(item.numbers)[chosen.name],
                        at,
                        shares(turned[:, :, k], part.classes),
                    )
                )
    began = time.process_time()
    asked = [value for value in values for _ in range(chosen.draws)]
    weights = [float(weight) for weight in chosen.number_guidance.split(",")]
    for weight, (at, height) in product(weights, enumerate(HEIGHTS)):
        made = synthesize_joint(
            prior,
            n=len(asked),
            numbers={chosen.name: asked, "height": height},
            seed=at,
            number_guidance=weight,
        )
        for n, (value, one) in enumerate(zip(asked, made, strict=True)):
            found = {
                "its own map": one[MASK].data[0],
                "map by the judge": judge(one[own], chosen_items(index, "train", 1)[0]),
            }
            for name, label in found.items():
                rows.setdefault(f"drawn at {weight:g}, {name}", []).append(
                    Shares(f"{at} {n}", value, at, shares(label, part.classes))
                )
    seconds = (time.process_time() - began) / (len(asked) * len(HEIGHTS) * len(weights))
    print(
        f"{prior.card.name}: share of a class in the label map of a slice, in percent, mean and change with ten of {chosen.name}"
    )
    print(
        f"drawn for {chosen.name} {chosen.values}, {chosen.draws} each at {len(HEIGHTS)} heights, {seconds:.1f} s a slice; judge: {judge.steps} steps\n"
    )
    print(f"{'':<40}" + "".join(f"{name:<32}" for name in NAMES[: len(part.classes)]))
    for name, found in rows.items():
        cells = []
        for c in range(len(part.classes)):
            y, x, where = (
                np.array([v[c] for *_, v in found]),
                np.array([one.value for one in found]),
                np.array([one.height for one in found]),
            )
            change = interval(_slope, x, y, where, patients=[one.whose for one in found])
            cells.append(
                f"{100 * y.mean():5.1f} {1000 * change.value:+.2f} ({1000 * change.low:+.2f} to {1000 * change.high:+.2f})"
            )
        print(
            f"{name + f', {len({one.whose for one in found})}':<40}"
            + "".join(f"{cell:<32}" for cell in cells),
            flush=True,
        )


class Shares(NamedTuple):
    """whose: patient or draw. value: of the number. height: which of HEIGHTS. each: share of each class."""

    whose: str
    value: float
    height: int
    each: list[float]


def shares(label: NDArray, classes: tuple[int, ...]) -> list[float]:
    """Of each class among all that is labelled."""
    return [float((label == c).sum() / max(1, (label > 0).sum())) for c in classes]


def _slope(x: NDArray, y: NDArray, height: NDArray) -> float:
    """Of y on x, where each height has a level of its own."""
    x, y = x.astype(float).copy(), y.copy()
    for at in np.unique(height):
        x[height == at] -= x[height == at].mean()
        y[height == at] -= y[height == at].mean()
    return float((x * y).sum() / max((x * x).sum(), 1e-12))


# through the slices


def roughness(x: Tensor) -> tuple[float, float]:
    """Root mean square of the differences of neighbours (i, j, k): through the slices, and in the plane;
    where there is tissue.
    """
    body = x > -0.9

    def apart(axis: int) -> float:
        near = body.narrow(axis, 1, x.shape[axis] - 1) & body.narrow(axis, 0, x.shape[axis] - 1)
        return float(x.diff(dim=axis)[near].square().mean().sqrt())

    return apart(2), (0.5 * (apart(0) ** 2 + apart(1) ** 2)) ** 0.5


def slices(prior: Prior, chosen: argparse.Namespace) -> None:
    index, card = opened(chosen.folder, chosen.work), prior.card
    joined = len(parts(card)) > 1
    items = chosen_items(index, "val", chosen.patients)
    print(
        f"{card.name}: volumes by a prior of slices; root mean square of differences of neighbours, network units, {len(items)} val patients"
    )
    print(f"{'':<28}{'through':<10}{'in plane':<10}ratio, each volume")
    doors = [
        prior.admit(index.load(i)) if not joined else admit_parts(card, {i.called: index.load(i)})[0]
        for i in items
    ]
    line("real", [door.whole[0] for door in doors])
    for alike in (float(t) for t in chosen.alike.split(",")):
        made = []
        for at, item in enumerate(items):
            given = {chosen.given: index.beside(item, chosen.given)} if chosen.given else None
            n_slices = None if given else len(doors[at].images)
            one = synthesize_joint(prior, n=1, given=given, slices=n_slices, seed=at, alike=alike)[0]
            x = torch.from_numpy(one[parts(card)[0].name].data[0]) * 2 - 1
            if given:  # on the grid of the given file: back as the prior has it
                x = admit_parts(card, {item.called: one[item.called]})[0].whole[0]
            made.append(x)
        line(f"made, noise alike by {alike:g}", made)


def line(name: str, volumes: list[Tensor]) -> None:
    found = [roughness(x) for x in volumes]
    through, plane = (float(np.mean([f[i] for f in found])) for i in (0, 1))
    print(f"{name:<28}{through:<10.3f}{plane:<10.3f}{' '.join(f'{a / b:.2f}' for a, b in found)}", flush=True)


# contrasts


def contrast(prior: Prior, chosen: argparse.Namespace) -> None:
    """PSNR of a contrast that is hidden in slices of a patient, in network units, each slice scaled by itself
    as the prior's door does.

    Beside it what a curve of grey values gives, and the mean grey value, both learned from slices at the same
    heights of the training patient.
    """

    def door(name: str, one: Volume) -> Tensor:
        return admit_parts(prior.card, {name: one})[0].whole

    apart = {chosen.name: chosen.known} | {
        name: Path(path) for name, path in (pair.split("=") for pair in chosen.hidden)
    }
    taught = {name: Path(path) for name, path in (pair.split("=") for pair in chosen.taught.split(","))}
    own, other = (
        {name: _spread(prior, name, path, chosen.slices) for name, path in paths.items()}
        for paths in (apart, taught)
    )
    hidden = [name for name in own if name != chosen.name]
    found: dict[str, list[list[float]]] = {name: [] for name in hidden}
    began = time.process_time()
    for at, (given, height) in enumerate(own[chosen.name]):
        drawn = synthesize_joint(
            prior, n=chosen.draws, given={chosen.name: given}, numbers={"height": height}, seed=at
        )
        x, source = door(chosen.name, given), door(chosen.name, other[chosen.name][at][0])
        body, inner = x > -0.95, source > -0.95
        for name in hidden:
            truth, there = door(name, own[name][at][0]), door(name, other[name][at][0])
            draws = torch.stack([2 * torch.from_numpy(one[name].data) - 1 for one in drawn])
            images = (
                draws[0],
                draws.mean(0),
                _curved(x, source[inner], there[inner]),
                torch.full_like(truth, float(there[inner].mean())),
            )
            found[name].append(
                [float(psnr(image[body][None, None], truth[body][None, None], 2.0)) for image in images]
            )
    seconds = (time.process_time() - began) / (chosen.slices * chosen.draws)
    print(
        f"{prior.card.name}: {chosen.name} of one patient given, learned from one other patient: a demonstration, no evidence"
    )
    print(
        f"{chosen.slices} slices, {seconds:.1f} s a draw; PSNR in dB over the head, mean of slices (lowest to highest)"
    )
    print(
        f"{'':<10}"
        + "".join(
            f"{name:<24}"
            for name in ("one draw", f"mean of {chosen.draws} draws", "grey-value curve", "mean grey value")
        )
    )
    for name, rows in found.items():
        print(
            f"{name:<10}"
            + "".join(
                f"{f'{np.mean(v):.2f} ({min(v):.2f} to {max(v):.2f})':<24}" for v in zip(*rows, strict=True)
            )
        )


def _spread(prior: Prior, name: str, path: Path, n: int) -> list[tuple[Volume, float]]:
    """n slices and their heights, evenly over the middle six tenths of a volume."""
    turned = admit_parts(prior.card, {name: read(path, modality="MR")})[0].turned
    depth = turned.shape[2]
    return [
        (cut(turned, k), height_of(k, depth)) for k in np.linspace(0.2 * depth, 0.8 * depth, n).astype(int)
    ]


def _curved(x: Tensor, source: Tensor, target: Tensor) -> Tensor:
    """x by the curve of grey values that takes source to target, voxel by voxel, in 55 bins."""
    bins = np.linspace(-1.0, 1.2, 56)
    number = np.digitize(source.numpy(), bins)
    curve = np.array(
        [target.numpy()[number == n].mean() if (number == n).any() else 0.0 for n in range(len(bins) + 1)]
    )
    return torch.from_numpy(curve[np.digitize(x.numpy(), bins)].astype(np.float32))


if __name__ == "__main__":
    main()
