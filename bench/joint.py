"""Joint priors: does an image show the label map that was given, does a second contrast look like the patient's own, do slices made one by one hang together.

    python bench/joint.py masks PRIOR FOLDER [--patients 20] [--levels 3]     Dice of the map that is found again in the made image
    python bench/joint.py contrast PRIOR --known T1.nii.gz --as T1 --hidden T2=T2.nii.gz --taught T1=a.nii.gz,T2=b.nii.gz
    python bench/joint.py slices PRIOR FOLDER [--patients 4] [--given mask]   differences of neighbours through the slices, over those in the plane

FOLDER is a data set with a scans.csv that has a mask; the prior was trained on its train split, and everything here is of its val split.

masks. Two judges look for the map in an image. "same prior": the image is given and the map is drawn, the prior the other way round: it may agree with itself.
"independent": a U-Net (MONAI) that was trained on the real slices of train and has never seen a made image. Beside the made image: the real image (the ceiling
of the judge), the mean training image (the floor), and the made image held against the map of the next patient (shuffled: what any map of the kind would get).
"mean map" is no image at all: the majority of the training maps at each place. Intervals: bootstrap over patients, 95 %; under 20 patients they are too narrow.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from medprior import Prior, Volume, read
from medprior.evidence.metrics import interval, psnr
from medprior.evidence.regions import dice
from medprior.io.index import Index, Item, scan
from medprior.jobs.joint import LEVELS, synthesize_joint
from medprior.prior.joint import MASK, admit_parts, part_named, part_volume, parts
from medprior.runs.sources import known_prior

MEAN_SHAPE = (40, 48, 40)
"""Grid on which training images and maps are averaged: patients' crops differ in size."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    verbs = parser.add_subparsers(dest="verb", required=True)
    for verb in ("masks", "slices"):
        one = verbs.add_parser(verb)
        one.add_argument("prior")
        one.add_argument("folder", type=Path)
        one.add_argument("--patients", type=int, default=20)
        one.add_argument("--work", type=Path, default=Path(".cache/joint"), help="where the index of the folder goes")
        one.add_argument("--levels", type=int, default=LEVELS, help="levels of the walk, for each of the 18 where nothing is known")
        one.add_argument("--ties", default="0.1,0.22,0.4,0", help="slices: ties to try, 0 = none")
        one.add_argument("--given", default="", help="slices: what is given; nothing by default")
        one.add_argument("--seconds", type=float, default=90.0, help="masks: budget of the independent judge")
    one = verbs.add_parser("contrast")
    one.add_argument("prior")
    one.add_argument("--known", type=Path, required=True)
    one.add_argument("--as", dest="name", default="T1")
    one.add_argument("--hidden", nargs="+", required=True)
    one.add_argument("--taught", required=True)
    one.add_argument("--draws", type=int, default=4)
    chosen = parser.parse_args()
    torch.manual_seed(0)
    prior = known_prior(chosen.prior).prior
    {"masks": masks, "slices": slices, "contrast": contrast}[chosen.verb](prior, chosen)


def opened(folder: Path, work: Path) -> Index:
    work.mkdir(parents=True, exist_ok=True)
    return scan(folder, out=work, modality="MR")


def chosen_items(index: Index, split: str, most: int) -> list[Item]:
    items = [item for item in index.usable(split) if item.mask]
    return [items[i] for i in np.linspace(0, len(items) - 1, min(most, len(items))).round().astype(int)]


# Dice


class Judge:
    """A U-Net of slices from real training images, in network units."""

    def __init__(self, prior: Prior, index: Index, seconds: float) -> None:
        from monai.networks.nets.unet import UNet

        self.prior, self.part = prior, part_named(prior.card, MASK)
        self.net = UNet(2, 1, len(self.part.classes) + 1, channels=(16, 32, 64, 128), strides=(2, 2, 2), num_res_units=1)
        images, maps = [], []
        for item in chosen_items(index, "train", 60):
            x = admit_parts(prior.card, {item.called: index.load(item), MASK: index.beside(item, MASK)}, strict=False)[0].images
            images += list(_square(x[:, :1]))
            maps += list(_square(x[:, list(self.part.channels)], -1.0))
        x, y = torch.stack(images), torch.stack(maps)
        target = torch.where(y.max(1).values > 0, y.argmax(1) + 1, 0)
        optimizer, rng, began, self.steps = torch.optim.AdamW(self.net.parameters(), 2e-3), torch.Generator().manual_seed(0), time.process_time(), 0
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
            logits = self.net(_square(door.images)).softmax(1)[(..., *(slice(0, n) for n in door.images.shape[2:]))]
        # above 0 where a class is likelier than the background
        return part_volume(self.prior.card, self.part, door, logits[:, 1:] - logits[:, :1], "judged").data[0].astype(np.int64)


def _square(x: Tensor, fill: float | None = None) -> Tensor:
    """Both sides a multiple of 8, and the same for all."""
    size = [max(64, -(-n // 8) * 8) for n in x.shape[2:]]
    missing = [want - have for want, have in zip(size, x.shape[2:], strict=True)]
    return F.pad(x, (0, missing[1], 0, missing[0]), value=-1.0 if fill is None else fill)


def agreement(found: NDArray, truth: NDArray, classes: tuple[int, ...]) -> float:
    """Mean Dice of the classes that the truth has."""
    return float(np.mean([dice(found == c, truth == c) for c in classes if (truth == c).any()]))


def masks(prior: Prior, chosen: argparse.Namespace) -> None:
    n_steps = 18 * chosen.levels // LEVELS
    index = opened(chosen.folder, chosen.work)
    part = part_named(prior.card, MASK)
    items = chosen_items(index, "val", chosen.patients)
    volumes = [index.load(item) for item in items]
    truths = [index.beside(item, MASK) for item in items]
    mean_image, mean_map = means(index, part.classes)
    judge = Judge(prior, index, chosen.seconds)
    rows: dict[str, list[float]] = {}
    began, owners = time.process_time(), [item.patient for item in items]

    def found_by(name: str, image: Volume, at: int, truth: NDArray, *, shuffled: NDArray | None = None) -> None:
        again = synthesize_joint(prior, n=1, given={items[at].called: image}, seed=at, n_steps=n_steps)[0][MASK].data[0]
        rows.setdefault(f"{name}, same prior", []).append(agreement(again, truth, part.classes))
        other = judge(image, items[at])
        rows.setdefault(f"{name}, independent", []).append(agreement(other, truth, part.classes))
        if shuffled is not None:
            rows.setdefault("made image, map of the next patient, same prior", []).append(agreement(again, shuffled, part.classes))
            rows.setdefault("made image, map of the next patient, independent", []).append(agreement(other, shuffled, part.classes))

    for at, (volume, mask) in enumerate(zip(volumes, truths, strict=True)):
        truth = mask.data[0]
        other = fitted(truths[(at + 1) % len(items)].data[0], truth.shape)
        made = synthesize_joint(prior, n=1, given={MASK: mask}, seed=100 + at, n_steps=n_steps)[0][items[at].called]
        found_by("made image", made, at, truth, shuffled=other)
        found_by("real image", volume, at, truth)
        found_by("mean image", volume.with_data(stretched(mean_image, truth.shape)[None]), at, truth)
        rows.setdefault("mean map (no image)", []).append(agreement(fitted(mean_map, truth.shape), truth, part.classes))
        if at + 1 < len(items):
            print(f"... {at + 1} of {len(items)}", flush=True)
    print(f"{prior.card.name}: {len(items)} val patients, whole volumes, one draw each; {len(part.classes)} classes; Dice, mean of the classes, 95 % interval")
    print(f"independent judge: {judge.steps} steps of {24} slices; {n_steps * LEVELS} levels; {(time.process_time() - began) / len(items):.0f} s a patient")
    for name, values in sorted(rows.items()):
        at = interval(lambda v: float(np.mean(v)), values, patients=owners)
        print(f"{name:<52}{at.value:.3f} ({at.low:.3f} to {at.high:.3f})")


def means(index: Index, classes: tuple[int, ...]) -> tuple[NDArray, NDArray]:
    """The mean training image, each of its own mean, and the likeliest class at each place."""
    images, maps = [], []
    for item in chosen_items(index, "train", 60):
        images.append(stretched(index.load(item).data[0], MEAN_SHAPE))
        maps.append(fitted(index.beside(item, MASK).data[0], MEAN_SHAPE))
    shares = np.stack([np.mean([m == c for m in maps], axis=0) for c in (0, *classes)])
    return np.mean(images, axis=0), np.array((0, *classes))[shares.argmax(0)]


def stretched(x: NDArray, shape: tuple[int, ...]) -> NDArray:
    return F.interpolate(torch.from_numpy(np.asarray(x, np.float32))[None, None], size=shape, mode="trilinear", align_corners=False)[0, 0].numpy()


def fitted(x: NDArray, shape: tuple[int, ...]) -> NDArray:
    return F.interpolate(torch.from_numpy(np.asarray(x, np.float32))[None, None], size=shape, mode="nearest-exact")[0, 0].numpy()


# through the slices


def roughness(x: Tensor) -> tuple[float, float]:
    """Root mean square of the differences of neighbours (i, j, k): through the slices, and in the plane; where there is tissue."""
    body = x > -0.9

    def apart(axis: int) -> float:
        near = body.narrow(axis, 1, x.shape[axis] - 1) & body.narrow(axis, 0, x.shape[axis] - 1)
        return float(x.diff(dim=axis)[near].square().mean().sqrt())

    return apart(2), (0.5 * (apart(0) ** 2 + apart(1) ** 2)) ** 0.5


def slices(prior: Prior, chosen: argparse.Namespace) -> None:
    index, card = opened(chosen.folder, chosen.work), prior.card
    joined = len(parts(card)) > 1
    items = chosen_items(index, "val", chosen.patients)
    print(f"{card.name}: volumes by a prior of slices; root mean square of differences of neighbours, network units, {len(items)} val patients")
    print(f"{'':<28}{'through':<10}{'in plane':<10}ratio, each volume")
    doors = [prior.admit(index.load(i)) if not joined else admit_parts(card, {i.called: index.load(i)})[0] for i in items]
    line("real", [door.whole[0] for door in doors])
    for tie in (float(t) for t in chosen.ties.split(",")):
        made = []
        for at, item in enumerate(items):
            given = {chosen.given: index.beside(item, chosen.given)} if chosen.given else None
            n_slices = None if given else len(doors[at].images)
            one = synthesize_joint(prior, n=1, given=given, slices=n_slices, seed=at, tie=tie or 1e3)[0]
            x = torch.from_numpy(one[parts(card)[0].name].data[0]) * 2 - 1
            if given:  # on the grid of the given file: back as the prior has it
                x = admit_parts(card, {item.called: one[item.called]})[0].whole[0]
            made.append(x)
        line(f"made, tie {tie:g}" if tie else "made, no tie", made)


def line(name: str, volumes: list[Tensor]) -> None:
    found = [roughness(x) for x in volumes]
    through, plane = (float(np.mean([f[i] for f in found])) for i in (0, 1))
    print(f"{name:<28}{through:<10.3f}{plane:<10.3f}{' '.join(f'{a / b:.2f}' for a, b in found)}", flush=True)


# contrasts


def contrast(prior: Prior, chosen: argparse.Namespace) -> None:
    """PSNR of a contrast that is hidden, in the units of the prior's door, beside what a curve of grey values learned from the training patient gives."""
    known = read(chosen.known, modality="MR")
    hidden = {name: read(path, modality="MR") for name, path in (pair.split("=") for pair in chosen.hidden)}
    taught: Mapping[str, Volume] = {name: read(path, modality="MR") for name, path in (pair.split("=") for pair in chosen.taught.split(","))}
    drawn = synthesize_joint(prior, n=chosen.draws, given={chosen.name: known}, seed=0)

    def inside(volumes: Mapping[str, Volume], name: str) -> Tensor:
        return admit_parts(prior.card, {name: volumes[name]})[0].whole

    print(f"{prior.card.name}: {chosen.name} of one patient given, learned from one other patient: a demonstration, no evidence")
    print(f"{'':<10}{'one draw':<12}{f'mean of {chosen.draws}':<12}{'grey-value curve':<18}{'mean of training':<18}PSNR dB over the head")
    x = inside({chosen.name: known}, chosen.name)
    body = x > -0.95
    bins = np.linspace(-1.0, 1.2, 56)
    source = inside(taught, chosen.name)
    for name, volume in hidden.items():
        truth = inside({name: volume}, name)
        draws = [2 * torch.from_numpy(one[name].data) - 1 for one in drawn]
        draws = [d if d.shape == truth.shape else inside({name: one[name]}, name) for d, one in zip(draws, drawn, strict=True)]
        there = inside(taught, name)
        inner = source > -0.95
        number = np.digitize(source[inner].numpy(), bins)
        curve = np.array([there[inner].numpy()[number == n].mean() if (number == n).any() else 0.0 for n in range(len(bins) + 1)])
        curved = torch.from_numpy(curve[np.digitize(x.numpy(), bins)].astype(np.float32))
        flat = torch.full_like(truth, float(there[inner].mean()))
        mean = torch.stack(draws).mean(0)
        cells = [_over(image, truth, body) for image in (draws[0], mean, curved, flat)]
        print(f"{name:<10}{cells[0]:<12.2f}{cells[1]:<12.2f}{cells[2]:<18.2f}{cells[3]:<18.2f}")


def _over(image: Tensor, truth: Tensor, body: Tensor) -> float:
    return float(psnr(image[body][None, None], truth[body][None, None], 2.0))


if __name__ == "__main__":
    main()
