"""Do explanations hold? Counterfactuals, an attack beside them, a second judge, planted shortcuts, maps.

    python bench/explain.py counterfactuals SET --prior PRIOR [--n 100] [--split val] [--ways trials gradient]
    python bench/explain.py shuffled SET --prior PRIOR [--n 40]
    python bench/explain.py shortcut SET --prior PRIOR [--runs 10]
    python bench/explain.py maps SET --prior PRIOR [--n 40]

SET: pneumonia (MedMNIST, 28 pixels), films (NIH, 128 pixels) or tumours (contrast-enhanced T1, glioma or
meningioma, 32 pixels). The explained model is a small ResNet taught
with one half of the train patients; the second judge is another architecture taught with the other half.
Explained are scans of the split on which both are right. All images are rounded to 8 bit before any model
or the prior judges them. in distribution: p > 0.05 against 200 other real scans of the split (films: of the
other split).
Reads MEDPRIOR_DATA.
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional as F

import medprior as mp
from medprior.data.seeds import generator
from medprior.evidence.intervals import interval
from medprior.explanation.attribution import Infill, Occluded, map_tests, occluded
from medprior.explanation.believable import Likeness, learn_likeness
from medprior.explanation.coarse import Coarse
from medprior.explanation.counterfactual import Problem, at_distance, smallest
from medprior.explanation.latent import Search
from medprior.explanation.shortcuts import OtherScan, ScanAnswer, moved_place, used_place
from medprior.prior import Prior

DATA = Path(os.environ.get("MEDPRIOR_DATA", Path(__file__).resolve().parents[2] / "shared" / "data"))
PICTURES = {
    "films": ("chest_xray_nih", ("no_finding", "pneumonia"), 128, 8),
    "tumours": ("brain_mri_tumour_2d", ("glioma", "meningioma"), 32, None),
}
"""Name -> (folder, labels, pixels a side, letters of a file's name that are its patient)."""
REAL = 200
FOUND = 0.25


@dataclass(frozen=True, slots=True)
class Split:
    """images: (n, 1, i, j) network units. labels: (n,). patients: their names."""

    images: Tensor
    labels: Tensor
    patients: list[str]


def split_of(name: str, split: str) -> Split:
    """Images of a data set, in an order drawn by chance."""
    if name == "pneumonia":
        with np.load(DATA / "medmnist_pneumonia" / split / "pneumoniamnist_28.npz") as stored:
            grey, labels = stored["images"], stored["labels"].ravel()
        patients = [str(n) for n in range(len(grey))]
    else:
        source, kinds, side, n = PICTURES[name]
        files = [
            (path, label)
            for label, kind in enumerate(kinds)
            for path in sorted((DATA / source / split / kind).iterdir())
        ]
        grey = np.stack([np.asarray(Image.open(p).convert("L").resize((side, side))) for p, _ in files])
        labels, patients = np.array([label for _, label in files]), [path.name[:n] for path, _ in files]
    images = torch.from_numpy(grey.astype(np.float32) / 127.5 - 1)[:, None]
    order = torch.randperm(len(images), generator=generator(0, "order", split))
    return Split(
        images[order], torch.from_numpy(labels.astype(np.int64))[order], [patients[n] for n in order.tolist()]
    )


class Residual(nn.Module):
    """The explained model."""

    def __init__(self, width: int = 24) -> None:
        super().__init__()

        def block(a: int, b: int, stride: int) -> nn.Sequential:
            first = (nn.Conv2d(a, b, 3, stride, 1, bias=False), nn.BatchNorm2d(b), nn.ReLU())
            return nn.Sequential(*first, nn.Conv2d(b, b, 3, 1, 1, bias=False), nn.BatchNorm2d(b))

        widths = [(1, width, 1), (width, 2 * width, 2), (2 * width, 4 * width, 2)]
        self.blocks = nn.ModuleList(block(*one) for one in widths)
        self.skips = nn.ModuleList(nn.Conv2d(a, b, 1, stride) for a, b, stride in widths)
        self.last = nn.Linear(4 * width, 2)

    def forward(self, x: Tensor) -> Tensor:
        x = F.adaptive_avg_pool2d(x, min(x.shape[-1], 64))
        for block, skip in zip(self.blocks, self.skips, strict=True):
            x = F.relu(block(x) + skip(x))
        return self.last(x.mean((2, 3)))


class Plain(nn.Module):
    """The second judge."""

    def __init__(self) -> None:
        super().__init__()
        parts: list[nn.Module] = []
        for a, b in ((1, 32), (32, 64)):
            parts += [nn.Conv2d(a, b, 5, 1, 2), nn.GELU(), nn.AvgPool2d(2)]
        parts += [nn.Conv2d(64, 64, 3, 1, 1), nn.GELU(), nn.AdaptiveAvgPool2d(7), nn.Flatten()]
        self.net = nn.Sequential(*parts, nn.Dropout(0.3), nn.Linear(64 * 49, 2))

    def forward(self, x: Tensor) -> Tensor:
        return self.net(F.adaptive_avg_pool2d(x, min(x.shape[-1], 64)))


def taught(net: nn.Module, images: Tensor, labels: Tensor, seed: int, steps: int = 600) -> nn.Module:
    """With classes in equal parts, small shifts and label smoothing."""
    torch.manual_seed(seed)
    rng = generator(seed, "teach")
    optimizer = torch.optim.AdamW(net.parameters(), 1e-3, weight_decay=1e-2)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 3e-3, steps)
    share = 1 / torch.bincount(labels).float()
    net.train()
    for _ in range(steps):
        at = torch.multinomial(share[labels], 64, True, generator=rng)
        by = torch.randint(-2, 3, (2,), generator=rng).tolist()
        x = torch.roll(images[at], by, (2, 3))
        x = x.flip(3) if torch.rand(1, generator=rng) < 0.5 else x
        loss = F.cross_entropy(net(x), labels[at], label_smoothing=0.05)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
    return net.eval().requires_grad_(False)


@dataclass(frozen=True, slots=True)
class World:
    """What everything is held against."""

    prior: Prior
    train: Split
    model: nn.Module
    judge: nn.Module
    likeness: Likeness
    cases: Split

    def right(self, label: int, n: int) -> list[Tensor]:
        """Scans of a label on which both models are right, (1, 1, i, j) each."""
        found = self.cases.images[self.cases.labels == label]
        good = (answers(self.model, found) == label) & (answers(self.judge, found) == label)
        return list(found[good][:n].split(1))

    def likely(self, target: int) -> Callable[[Tensor], Tensor]:
        return lambda images: self.model(images).softmax(1)[:, target]


def answers(net: nn.Module, images: Tensor) -> Tensor:
    with torch.no_grad():
        return torch.cat([net(part).argmax(1) for part in images.split(256)])


def world_of(args: argparse.Namespace, labels: Tensor | None = None) -> World:
    """labels: what the explained model is taught instead of the truth."""
    train, cases = split_of(args.set, "train"), split_of(args.set, args.split)
    real, cases = held_apart(args, cases)
    names = sorted(set(train.patients))
    half = set(np.array(names)[torch.randperm(len(names), generator=generator(0, "half"))[::2].numpy()])
    mine = torch.tensor([name in half for name in train.patients])
    truth = train.labels if labels is None else labels
    return World(
        prior := mp.load(args.prior),
        train,
        taught(Residual(), train.images[mine], truth[mine], args.seed),
        taught(Plain(), train.images[~mine], train.labels[~mine], 5),
        learn_likeness(prior, real.images),
        cases,
    )


def held_apart(args: argparse.Namespace, cases: Split) -> tuple[Split, Split]:
    """(real scans for p-values, the cases): two parts of a split, or of a small one val for test and back."""
    if len(cases.images) < 2 * REAL:
        return split_of(args.set, "test" if args.split == "val" else "val"), cases

    def part(at: slice) -> Split:
        return Split(cases.images[at], cases.labels[at], cases.patients[at])

    return part(slice(REAL)), part(slice(REAL, None))


def marked(split: Split, share: float) -> Split:
    """A bright square in the top left corner of a share of the second class, and of none of the first."""
    rng = generator(7, "marker", len(split.images))
    has = (split.labels == 1) & (torch.rand(len(split.labels), generator=rng) < share)
    images, side = split.images.clone(), split.images.shape[-1] // 7
    images[has, :, 1 : 1 + side, 1 : 1 + side] = 1.0
    return Split(images, split.labels, split.patients)


def attack(world: World, scan: Tensor, target: int, size: float, n_steps: int = 40) -> Tensor:
    """Projected gradient descent in a box of a size (Madry et al., ICLR 2018)."""
    x = scan.clone()
    for _ in range(n_steps):
        at = x.requires_grad_()
        (slope,) = torch.autograd.grad(F.cross_entropy(world.model(at), torch.tensor([target])), at)
        x = (scan + (x.detach() - size / 8 * slope.sign() - scan).clamp(-size, size)).clamp(-1, 1)
    return x


def eight_bit(images: Tensor) -> Tensor:
    return ((images.clamp(-1, 1) + 1) * 127.5).round() / 127.5 - 1


def coarse(scan: Tensor) -> Coarse:
    """At half its size where that leaves 48 pixels, as medprior explains it."""
    side = scan.shape[-1]
    return Coarse(scan, (side // 2,) * 2 if side >= 96 else (side, side))


def ways(args: argparse.Namespace, world: World) -> dict[str, Callable[[Tensor, int], Tensor]]:
    """Name -> (scan, target) -> (repeats, 1, i, j)."""
    search = Search(particles=args.particles)

    def ours(gradients: bool, region: bool) -> Callable[[Tensor, int], Tensor]:
        def made(scan: Tensor, target: int) -> Tensor:
            small, free = coarse(scan), None

            def likely(label: int) -> Callable[[Tensor], Tensor]:
                return lambda images: world.likely(label)(small.lifted(images))

            if region:
                infill = Infill(world.prior, small.scan, 0)
                with torch.no_grad():
                    important = occluded(small.scan, infill).importance(likely(1 - target))
                free = important > important.flatten().quantile(1 - FOUND)
            case = Problem(world.prior, small.scan, likely(target), free, gradients=gradients)
            return small.lifted(smallest(case, search, 0).images)

        return made

    known: dict[str, Callable[[Tensor, int], Tensor]] = {
        "unchanged": lambda scan, target: scan,
        "attack 0.05": lambda scan, target: attack(world, scan, target, 0.05),
        "attack 0.15": lambda scan, target: attack(world, scan, target, 0.15),
        "trials": ours(False, False),
        "gradient": ours(True, False),
        "trials, region": ours(False, True),
        "gradient, region": ours(True, True),
    }
    chosen = ["unchanged", "attack 0.05", "attack 0.15", *args.ways]
    return {name: known[name] for name in chosen}


def counterfactuals(args: argparse.Namespace) -> None:
    world = world_of(args)
    said(world)
    print(
        f"{'to':>2} {'way':<18}{'n':>4} {'turned':>20} {'judge':>20} {'p > 0.05':>20} {'L1':>6}{'ratio':>6}{'s':>7}"
    )
    for target in (0, 1):
        pool = world.train.images[world.train.labels == target]
        for name, way in ways(args, world).items():
            rows = [one_of(world, way, scan, target, pool) for scan in world.right(1 - target, args.n)]
            turned, judge, usual, size, ratio, seconds = np.array(rows).T
            print(
                f"{target:>2} {name:<18}{len(rows):>4} {rate(turned):>20} {rate(judge):>20} {rate(usual):>20} "
                f"{size.mean():>6.3f}{ratio.mean():>6.2f}{np.median(seconds):>7.2f}",
                flush=True,
            )


def one_of(
    world: World, way: Callable[[Tensor, int], Tensor], scan: Tensor, target: int, pool: Tensor
) -> tuple[float, ...]:
    """turned in 3 of 4; shares of the judge and of p > 0.05; mean |change|, also as a share of the nearest real; seconds."""
    started = time.perf_counter()
    images = eight_bit(way(scan, target))
    seconds = time.perf_counter() - started
    size = float((images - scan).abs().mean())
    near = float((pool - scan).abs().flatten(1).mean(1).min())
    return (
        float((answers(world.model, images) == target).float().mean() >= 0.75),
        float((answers(world.judge, images) == target).float().mean()),
        float((world.likeness.p_values(images) > 0.05).float().mean()),
        size,
        size / near,
        seconds,
    )  # fmt: skip


def rate(values: np.ndarray) -> str:
    """Mean of shares with a 95 % interval over scans."""
    at = interval(np.mean, values, patients=range(len(values)))
    return f"{at.value:.2f} ({max(0.0, at.low):.2f}..{min(1.0, at.high):.2f})"


def said(world: World) -> None:
    for name, net in (("model", world.model), ("judge", world.judge)):
        right = answers(net, world.cases.images) == world.cases.labels
        each = [float(right[world.cases.labels == k].float().mean()) for k in (0, 1)]
        print(f"{name}: right in {each[0]:.2f} and {each[1]:.2f} of the two classes")


def shuffled(args: argparse.Namespace) -> None:
    """A model taught shuffled labels: a counterfactual of it must not convince the judge."""
    train = split_of(args.set, "train")
    wrong = train.labels[torch.randperm(len(train.labels), generator=generator(3, "shuffle"))]
    world = world_of(args, wrong)
    agreed = []
    search = Search(particles=args.particles)
    for scan in list(world.cases.images[: args.n].split(1)):
        target = 1 - int(answers(world.model, scan))
        # the judge may agree before, by chance: what counts is whether it changes to the target
        before = float((answers(world.judge, scan) == target).float())
        found = smallest(Problem(world.prior, scan, world.likely(target), gradients=True), search, 0)
        after = float((answers(world.judge, eight_bit(found.images)) == target).float().mean())
        agreed.append((before, after))
    before, after = np.array(agreed).T
    print(f"n {len(agreed)}: judge agrees with the target before {rate(before)}, after {rate(after)}")


def shortcut(args: argparse.Namespace) -> None:
    """How often a planted marker is named, and how often a corner is suspected without one."""
    prior = mp.load(args.prior)
    for mark in (0.9, None):
        named = 0
        for run in range(args.runs):
            train, cases = (split_of(args.set, split) for split in ("train", args.split))
            if mark:
                train, cases = marked(train, mark), marked(cases, mark)
            mine = torch.randperm(len(train.images), generator=generator(run, "half"))[::2]
            model = taught(Residual(), train.images[mine], train.labels[mine], run, steps=300)
            right = [cases.images[cases.labels == k] for k in (0, 1)]
            other, shown = (x[answers(model, x) == k][run::2][:10] for k, x in enumerate(right))
            scans = [scan_answer(prior, model, scan) for scan in shown.split(1)]
            others = [OtherScan(scan, scans[0].likelihood) for scan in other.split(1)]
            places = [
                used_place(scans, partial(interval, np.mean, patients=range(len(scans)))),
                moved_place(scans, others, partial(interval, np.mean, patients=range(len(others)))),
            ]
            suspects = [one.name for one in places if one.suspect]
            named += bool(suspects) and (mark is None or set(suspects) == {"top left corner"})
            shown_as = [
                f"{how} {one.name}, turned {one.turned:.2f}, elsewhere {one.elsewhere:.2f}, log odds "
                f"{one.fall.value:.2f} ({one.fall.low:.2f} to {one.fall.high:.2f})"
                for how, one in zip(("painted out:", "moved in:"), places, strict=True)
            ]
            print(f"  {'marker' if mark else 'none'} run {run}: {'; '.join(shown_as)}; suspected: {suspects}")
        print(f"{'marker' if mark else 'no marker'}: suspected in {named} of {args.runs}")


def scan_answer(prior: Prior, model: nn.Module, scan: Tensor) -> ScanAnswer:
    """How likely the second class is."""
    infill = Infill(prior, scan, 0)

    def likely(images: Tensor) -> Tensor:
        with torch.no_grad():
            return model(images).softmax(1)[:, 1]

    return ScanAnswer(occluded(scan, infill), infill, likely)


def maps(args: argparse.Namespace) -> None:
    """How often the maps of the model and of a model with shuffled weights pass their check."""
    world = world_of(args)
    wrong = disordered(world.model)
    passed: dict[str, list[bool]] = {}
    for label in (0, 1):
        for scan in world.right(label, args.n // 2):
            infill = Infill(world.prior, scan, 0)
            windows = occluded(scan, infill)
            own, other = (
                importance_maps(world, net, scan, windows, label, args) for net in (world.model, wrong)
            )
            tests = map_tests(own, infill, world.likely(label), shuffled=other)
            random = map_tests(other, infill, world.likely(label))
            for name, test in tests.items():
                passed.setdefault(name, []).append(test.passes)
                passed.setdefault(f"{name}, shuffled weights", []).append(random[name].passes)
    for name, values in passed.items():
        print(f"{name:<32} passes {rate(np.array(values, dtype=float))} of {len(values)}")


def importance_maps(
    world: World, net: nn.Module, scan: Tensor, windows: Occluded, label: int, args: argparse.Namespace
) -> dict[str, Tensor]:
    """Name -> (i, j) of one model."""

    def of(images: Tensor) -> Tensor:
        return net(images).softmax(1)

    with torch.no_grad():
        occlusion = windows.importance(lambda images: of(images)[:, label])
    case = Problem(world.prior, scan, lambda images: of(images)[:, 1 - label], gradients=True)
    found = at_distance(case, 0.5, Search(particles=args.particles), 0)
    return {"occlusion": occlusion, "change": (found.images - scan).abs().mean((0, 1))}


def disordered(net: nn.Module) -> nn.Module:
    """Each tensor of weights in random order."""
    import copy

    other, rng = copy.deepcopy(net), generator(0, "disorder")
    for parameter in other.parameters():
        parameter.data = parameter.data.flatten()[torch.randperm(parameter.numel(), generator=rng)].reshape(
            parameter.shape
        )
    return other.eval()


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("what", choices=("counterfactuals", "shuffled", "shortcut", "maps"))
    parser.add_argument("set", choices=("pneumonia", *PICTURES))
    parser.add_argument("--prior", required=True)
    parser.add_argument("--split", choices=("val", "test"), default="val")
    parser.add_argument("--n", type=int, default=100)
    parser.add_argument("--runs", type=int, default=10)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--particles", type=int, default=8)
    parser.add_argument("--ways", nargs="*", default=["trials", "gradient"])
    args = parser.parse_args()
    torch.set_num_threads(1)
    {"counterfactuals": counterfactuals, "shuffled": shuffled, "shortcut": shortcut, "maps": maps}[args.what](
        args
    )


if __name__ == "__main__":
    main()
