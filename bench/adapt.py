"""A new class from 20 images, beside training from nothing at equal cost: a prior of 700 normal chest
radiographs learns pneumonia (PneumoniaMNIST), one of 1170 slices with gliomas and pituitary tumours learns
meningiomas (Cheng's brain tumours, reduced to 64 x 64).

    python bench/adapt.py parent --out runs/normals --minutes 12 [--set tumour]   # the old kinds alone; its cost is stated apart
    python bench/adapt.py run --parent runs/normals --work .cache/adapt --arms lora norm full full-alone scratch scratch-20 --seeds 5 --seconds 60 --losses
    python bench/adapt.py run ... --arms lora-all scratch-few-all --guidance 1.5 --both --olds 20           # the classifiers
    python bench/adapt.py run ... --set tumour [--olds 20]               # olds: so few images of each old kind has the classifier, too
    python bench/adapt.py run ... --split test --arms lora               # once, with what was chosen on val
    python bench/adapt.py table --work .cache/adapt [--split test]

Every seed is another draw of the 20 from the train split. Equal cost: CPU seconds of one core, drawing what
is replayed included; the steps that each way of learning may take follow from its own measured pace. Judges:
the denoising loss on val, of the new class (gained) and of the old (forgotten); and a small classifier, new
against old, trained on all old images and the 20, balanced, with classical augmentation, beside the same with
synthetic ones taking half of the places of the new. AUC, with intervals over draws and cases together (both
are resampled), paired by draw, case and the classifier's seed. Everything is kept in --work and not done
twice. Reads MEDPRIOR_DATA.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
import torch
from detect import cases
from PIL import Image
from pretrain import DATA
from torch import Tensor, nn
from torch.nn import functional as F

from medprior import Policy, Prior, Volume
from medprior.augmentation import Frame, apply_record, draw_record
from medprior.data.seeds import generator
from medprior.evidence.metrics import auroc
from medprior.io.disk.files import sha256
from medprior.jobs.augment import level_of
from medprior.jobs.fitting.adapt import adapt
from medprior.jobs.fitting.adapt_data import LabelledImages, gentle_variations, replay_draws
from medprior.jobs.fitting.fit import fit
from medprior.jobs.synthetic.synthesize import Drawing, draw_images
from medprior.prior import Condition
from medprior.prior.prior import untrained_prior
from medprior.prior.promises import Promises
from medprior.prior.wrappers import guided
from medprior.sampling import sdedit
from medprior.training.folder import load, save
from medprior.training.held_out import denoising_losses
from medprior.training.loop import TrainingSettings, train
from medprior.training.patches import Images
from medprior.training.patches import draw_batch as batch_of
from medprior.training.tuning import METHODS, prepare_tuning, with_labels

SHOTS = 20


@dataclass(frozen=True)
class Kind:
    """old: labels that the parent knows; new: the one it learns. said: what is judged."""

    old: tuple[str, ...]
    new: str
    modality: str
    said: str


KINDS = {
    "pneumonia": Kind(("normal",), "pneumonia", "DX", "PneumoniaMNIST; the parent knows 700 normals"),
    "tumour": Kind(
        ("glioma", "pituitary"),
        "meningioma",
        "MR",
        "brain tumours, 64 x 64; the parent knows 1170 slices with gliomas and pituitary tumours",
    ),
}
SIDE = 64
"""Pixels that the tumours are reduced to."""
ARMS: dict[str, dict] = {
    "lora": {"method": "lora"},
    "norm": {"method": "norm"},
    "full": {"method": "full"},
    "full-alone": {"method": "full", "replay": "none"},
    "lora-real": {"method": "lora", "replay": "real"},
    "lora-all": {"method": "lora", "hold": 0.0},
    "scratch": {},
    "scratch-few": {},
    "scratch-few-all": {},
    "scratch-20": {},
}
"""full-alone: without replay. lora-real: replays real old ones. lora-all: none is held out. scratch: from
nothing on the old and the 20, half and half; scratch-few: on 20 of each old kind and the 20; scratch-20: on
the 20 alone. Four of the 20 choose the step, but for lora-all and its rival scratch-few-all, which also
varies the 20 old ones."""
RIVALS = (("scratch-few-all", "scratch-few"), ("scratch",))
"""From nothing: of the same few old images where the classifier has only those (as it was taught, and with a
step that held-out images chose), else of all.
"""
SYNTHETIC = 256
INITS = 2


class World:
    """The images in network units: old ones with their labels, every draw's 20, and a split to judge by."""

    def __init__(self, parent: Prior, name: str, split: str) -> None:
        every = images_of(name)
        self.kind, self.parent = KINDS[name], parent
        old = [
            (image, label) for part, label, image, _ in every if part == "train" and label != self.kind.new
        ]
        self.raw = old
        self.old, self.labels = (
            [self.inside(image) for image, _ in old],
            [self.kind.old.index(label) for _, label in old],
        )
        self.new = [image for part, label, image, _ in every if part == "train" and label == self.kind.new]
        judged = [(label, image) for part, label, image, _ in every if part == split]
        self.judged = torch.stack([self.inside(image) for _, image in judged])
        self.names = (*self.kind.old, self.kind.new)
        self.kinds = torch.tensor([self.names.index(label) for label, _ in judged])
        self.truth = np.array([label == self.kind.new for label, _ in judged])
        self.groups = np.array([group for part, _, _, group in every if part == split])

    def inside(self, volume: Volume) -> Tensor:
        return self.parent.admit(volume).images[0]

    def shots(self, seed: int) -> list[Volume]:
        order = torch.randperm(len(self.new), generator=generator(seed, "shots"))
        return [self.new[i] for i in order[:SHOTS].tolist()]

    def some_old(self, seed: int, each: int) -> list[int]:
        """Which old images: ``each`` of every old kind, another draw for another seed; all where 0."""
        order = torch.randperm(len(self.old), generator=generator(seed, "olds")).tolist()
        found = [[i for i in order if self.labels[i] == k] for k in range(len(self.kind.old))]
        if each:  # one of each kind in turn, as ``synthetic`` deals them out
            return [i for row in zip(*(of[:each] for of in found), strict=True) for i in row]
        return [i for of in found for i in of]


def images_of(name: str) -> list[tuple[str, str, Volume, int]]:
    """(split, label, image, group) of everything. Nobody names patients: of PneumoniaMNIST every image is a
    group; the tumours were filed nearly patient by patient, 3064 of 233, so that 13 neighbours of a label are
    one."""
    if name == "pneumonia":
        return [
            (c.split, "pneumonia" if c.sick else "normal", c.volume, n) for n, c in enumerate(cases(name))
        ]
    found = []
    for path in sorted((DATA / "brain_mri_tumour_2d").glob("*/*/*.png")):
        with Image.open(path) as picture:
            small = np.asarray(
                picture.convert("L").resize((SIDE, SIDE), Image.Resampling.BOX), dtype=np.float32
            )
        found.append(
            (
                path.parts[-3],
                path.parent.name,
                Volume(small[None], modality="MR"),
                int(path.stem.split("_")[1]) // 13,
            )
        )
    return found


def folder_of(images: Sequence[Volume], path: Path) -> None:
    for n, image in enumerate(images):
        path.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image.data[0].astype(np.uint8)).save(path / f"{n:03d}.png")


def one_step(prior: Prior, optimizer: torch.optim.Adam, images: Images) -> None:
    at = batch_of(images, 0, seed=0, batch=16, sigmas=(-1.0, 1.4))
    optimizer.zero_grad()
    prior.loss(at.x0, at.sigma, at.noise, at.condition).mean().backward()
    optimizer.step()


def paces(parent: Prior, names: tuple[str, ...], shape: torch.Size, work: Path) -> dict[str, float]:
    """CPU seconds of a step of each method, and of drawing what is replayed; measured in turns, once."""
    path = work / "paces.json"
    if path.is_file():
        return json.loads(path.read_text())
    images = Images([torch.randn(shape) for _ in range(40)], torch.zeros(40, dtype=torch.int64))
    steps: dict[str, Callable[[], None]] = {}
    for method in METHODS:
        prior = with_labels(parent, names)
        moving = prepare_tuning(prior.net, method)
        net = prior.net.train().to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        for name, parameter in net.named_parameters():
            parameter.requires_grad_(name in moving)
        optimizer = torch.optim.Adam([p for p in net.parameters() if p.requires_grad], lr=1e-5)

        steps[method] = partial(one_step, prior, optimizer, images)
    found: dict[str, list[float]] = {name: [] for name in steps}
    for _ in range(12):
        for name, step in steps.items():
            began = time.process_time()
            step()
            found[name].append(time.process_time() - began)
    began = time.process_time()
    replay_draws(parent, 16)
    pace = {name: float(np.median(times)) for name, times in found.items()} | {
        "replay": 4 * (time.process_time() - began)
    }
    work.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(pace))
    return pace


def learned(
    arm: str, world: World, parent: Path, work: Path, seed: int, seconds: float, pace: dict[str, float]
) -> tuple[Prior, dict[str, float]]:
    """The prior of an arm, and what it cost; kept."""
    home = work / f"{arm}-{seed}"
    if (home / "cost.json").is_file():
        return load(home / "prior"), json.loads((home / "cost.json").read_text())
    options, shots = ARMS[arm], work / "shots" / str(seed)
    if not shots.is_dir():
        folder_of(world.shots(seed), shots / world.kind.new)
    began, spent = time.process_time(), home / "spent.json"
    home.mkdir(parents=True, exist_ok=True)
    if spent.is_file():
        raise SystemExit(f"{home} was interrupted, and nobody knows what it cost: remove it")
    spent.write_text("{}")
    if options:
        replays = options.get("replay", "generative")
        steps = int(
            (seconds - (pace["replay"] if replays == "generative" else 0.0)) / pace[options["method"]]
        )
        if replays == "real":
            real = work / "old"
            if not real.is_dir():
                for label in world.kind.old:
                    folder_of([image for image, its in world.raw if its == label], real / label)
            options = {**options, "replay": real}
        unnamed = None if world.parent.card.labels else world.kind.old[0]
        made = adapt(
            parent,
            shots,
            steps=max(20, steps),
            seed=seed,
            out=home,
            old_label=unnamed,
            modality=world.kind.modality,
            **options,
        ).prior
    else:
        steps = int(seconds / pace["full"])
        made = scratch(
            world,
            seed,
            steps,
            home,
            [] if arm == "scratch-20" else world.some_old(seed, SHOTS if "few" in arm else 0),
            arm,
        )
    cost = {"seconds": time.process_time() - began, "steps": steps, "kept": made.card.training["steps"]}
    (home / "cost.json").write_text(json.dumps(cost))
    spent.unlink()
    return made, cost


def scratch(world: World, seed: int, steps: int, home: Path, old: Sequence[int], arm: str) -> Prior:
    """From nothing, with the same variations, the same held-out images to choose the step by, and the rate of
    ``medprior train``.
    """
    card = replace(world.parent.card, labels=world.names, errors=(), doubt=False)
    torch.manual_seed(seed)
    prior = untrained_prior(card)
    few = [world.inside(v) for v in world.shots(seed)]
    held, few = ([], few) if arm == "scratch-few-all" else (few[: SHOTS // 5], few[SHOTS // 5 :])
    new, known, its = len(world.kind.old), [world.old[i] for i in old], [world.labels[i] for i in old]
    varied = gentle_variations(
        card, LabelledImages(tuple(few), (new,) * len(few), (torch.zeros(0),) * len(few)), seed=seed
    )
    if arm == "scratch-few-all":
        turned = gentle_variations(
            card, LabelledImages(tuple(known), tuple(its), (torch.zeros(0),) * len(known)), seed=seed
        )
        known, its = known + list(turned.images), its + list(turned.labels)
    parts = ((few, 0.25), (varied.images, 0.25), (known, 0.5))
    images = Images(
        [x for part, _ in parts for x in part],
        torch.tensor([new] * (len(few) + len(varied)) + its),
        weights=torch.cat([torch.full((len(part),), mass / max(1, len(part))) for part, mass in parts]),
    )
    made = train(
        prior, images, TrainingSettings(steps=steps, seed=seed, save_every=max(10, min(100, steps // 10))), home,
        judge=(lambda now: float(denoising_losses(now, held, torch.full((len(held),), new)).mean())) if held else None,
    )  # fmt: skip
    made.net.eval().requires_grad_(False)
    save(made, home / "prior", promises=Promises())
    return made


def heldout(prior: Prior, world: World) -> dict[str, list[float]]:
    """Denoising loss of up to 64 new and 64 old images of the split, each with its label where the prior has
    it.
    """
    found = {}
    for name, new in (("sick", True), ("normal", False)):
        at = np.flatnonzero(world.truth == new)
        at = at[np.linspace(0, len(at) - 1, min(64, len(at))).round().astype(int)]
        known = torch.tensor(
            [
                prior.card.labels.index(world.names[k]) if world.names[k] in prior.card.labels else -1
                for k in world.kinds[at].tolist()
            ]
        )
        found[name] = denoising_losses(
            prior, [world.judged[i] for i in at], known if prior.card.labels else None
        ).tolist()
    return found


def synthetic(
    prior: Prior, labels: Sequence[str], seed: int, few: Tensor, guidance: float, strength: float, count: int
) -> Tensor:
    """Classes as the prior draws them: from noise, or (strength > 0) variations of the images ``few``, of
    these classes or of another.
    """
    parts = []
    for k, label in enumerate(labels):
        n = count // len(labels)
        if strength == 0:
            parts.append(
                draw_images(
                    prior, n, Drawing(label=label, seed=seed + 1000 * k, guidance=guidance, n_steps=10)
                )[0]
            )
            continue
        spread = few[k :: len(labels)].repeat(-(-n // len(few[k :: len(labels)])), 1, 1, 1)[:n]
        with torch.no_grad():
            teller = guided(prior, prior.card.labels.index(label), guidance)
            parts.append(
                sdedit(
                    teller, spread, level_of(strength), rng=generator(seed, "vary", k), condition=Condition()
                )
            )
    return torch.cat(parts)


def augmented(images: Sequence[Tensor], copies: int, seed: int, kind: Kind) -> Tensor:
    policy = Policy.of(kind.modality, label=kind.new)
    frame = Frame(tuple(images[0].shape[1:]), (), "", "", kind.modality)
    return torch.stack(
        [
            apply_record(draw_record(policy, frame, seed, n, k), image)[0]
            for n, image in enumerate(images)
            for k in range(copies)
        ]
    )


def classifier(side: int) -> nn.Module:
    """Down to 3 or 4 pixels a side."""
    parts: list[nn.Module] = []
    for a, b in ((1, 16), (16, 32), (32, 64), (64, 64))[: 3 if side < SIDE else 4]:
        parts += [nn.Conv2d(a, b, 3, padding=1), nn.BatchNorm2d(b), nn.ReLU(), nn.MaxPool2d(2)]
    return nn.Sequential(*parts, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Dropout(0.2), nn.Linear(64, 1))


def trained(
    old: Tensor,
    new: Tensor,
    made: tuple[Tensor | None, Tensor | None],
    seed: int,
    mix: float,
    steps: int = 300,
) -> nn.Module:
    """A classifier. Half of each batch is old, half new; of each a share ``mix`` is synthetic where ``made``
    has synthetic old ones, new ones.
    """
    torch.manual_seed(seed)
    net, rng = classifier(old.shape[-1]), generator(seed, "classifier")
    optimizer = torch.optim.AdamW(net.parameters(), lr=3e-3, weight_decay=1e-2)
    plan = torch.optim.lr_scheduler.OneCycleLR(optimizer, 3e-3, total_steps=steps)
    target = torch.cat([torch.zeros(32), torch.ones(32)])[:, None]
    for _ in range(steps):
        parts = []
        for real, other in zip((old, new), made, strict=True):
            some = 0 if other is None else round(32 * mix)
            parts += [(real, 32 - some), *([(other, some)] if other is not None and some else [])]
        x = torch.cat([pool[torch.randint(len(pool), (n,), generator=rng)] for pool, n in parts])
        optimizer.zero_grad()
        F.binary_cross_entropy_with_logits(net(x), target).backward()
        optimizer.step()
        plan.step()
    return net.eval().requires_grad_(False)


def confirmed(judge: nn.Module, made: Tensor | None, new: bool) -> Tensor | None:
    """The half of what was made that a classifier of the real images alone takes most surely for what it
    shall be.
    """
    if made is None:
        return None
    order = judge(made)[:, 0].argsort(descending=new)
    return made[order[: len(made) // 2].sort().values]


def run(options: argparse.Namespace) -> None:
    torch.set_num_threads(1)
    work, parent = (
        options.work,
        options.parent / "prior" if (options.parent / "prior").is_dir() else options.parent,
    )
    world = World(load(parent), options.set, options.split)
    kind, pace = world.kind, paces(world.parent, world.names, world.judged.shape[1:], work)
    results = work / options.split
    results.mkdir(parents=True, exist_ok=True)
    np.savez(results / "judged.npz", truth=world.truth, groups=world.groups)
    asked = {"set": options.set, "seconds": options.seconds, "parent": sha256(parent / "weights.safetensors")}
    if (work / "asked.json").is_file() and json.loads((work / "asked.json").read_text()) != asked:
        raise SystemExit(f"{work} holds another set, parent or --seconds: take another --work")
    (work / "asked.json").write_text(json.dumps(asked))
    if (options.of_old and not options.strength) or (options.both and "scratch-20" in options.arms):
        raise SystemExit("--of-old wants --strength; scratch-20 knows no old kind that --both could ask for")
    variant = (
        f"g{options.guidance:g}"
        + (f"-s{options.strength:g}" if options.strength else "")
        + (f"-m{options.mix:g}" if options.mix != 0.5 else "")
    )
    variant += (
        ("-both" if options.both else "")
        + ("-ofold" if options.of_old else "")
        + ("-filtered" if options.filtered else "")
    )
    count = SYNTHETIC * (2 if options.filtered else 1)
    few_old = f"-olds{options.olds}" if options.olds else ""
    if not (work / f"parent-{options.split}.json").is_file():
        (work / f"parent-{options.split}.json").write_text(json.dumps(heldout(world.parent, world)))
    for seed in range(options.first, options.first + options.seeds):
        pools: tuple[Tensor, Tensor] | None = None
        for arm in options.arms if options.losses else []:
            path = results / f"{arm}-losses-{seed}.json"
            if not path.is_file():
                prior, cost = learned(arm, world, parent, work, seed, options.seconds, pace)
                path.write_text(json.dumps({"cost": cost, "losses": heldout(prior, world)}))
                print(
                    arm,
                    seed,
                    cost,
                    {
                        k: round(float(np.mean(v)), 4)
                        for k, v in json.loads(path.read_text())["losses"].items()
                    },
                    flush=True,
                )
        few = torch.stack([world.inside(v) for v in world.shots(seed)])
        for arm in [] if options.losses else ["real", *options.arms]:
            path = results / f"{arm}{'' if arm == 'real' else '-' + variant}{few_old}-{seed}.json"
            if path.is_file():
                continue
            record: dict = {}
            made: tuple[Tensor | None, Tensor | None] = (None, None)
            if pools is None:
                old = [world.old[i] for i in world.some_old(seed, options.olds)]
                pools = (
                    augmented(old, max(2, 1400 // len(old)), seed, kind),
                    augmented(list(few), 70, seed, kind),
                )
            if arm != "real":
                prior, record["cost"] = learned(arm, world, parent, work, seed, options.seconds, pace)
                record["losses"] = heldout(prior, world)
                kept = (
                    work / f"{arm}-{seed}" / f"{variant}{few_old}.pt"
                )  # another split is judged by the same images
                if kept.is_file():
                    made = torch.load(kept, weights_only=True)
                else:
                    some = torch.stack(
                        [
                            world.old[i]
                            for i in world.some_old(seed, options.olds or SYNTHETIC // len(kind.old))
                        ]
                    )
                    sick = synthetic(
                        prior,
                        (kind.new,),
                        seed,
                        some if options.of_old else few,
                        options.guidance,
                        options.strength,
                        count,
                    )
                    made = (
                        synthetic(prior, kind.old, seed + 1, some, options.guidance, options.strength, count)
                        if options.both
                        else None,
                        sick,
                    )
                    if options.filtered:
                        judge = trained(*pools, (None, None), 100 * seed + INITS, 0.0)
                        made = confirmed(judge, made[0], False), confirmed(judge, made[1], True)
                    torch.save(made, kept)
                if seed == options.first and made[1] is not None:
                    sheet(made[1], few, work / f"{arm}-{variant}-{seed}.png")
            # what the prior draws gets the same classical augmentation: the classifier must not tell the two
            # apart by it
            mixed = tuple(None if part is None else augmented(list(part), 3, seed + 1, kind) for part in made)
            every = [
                trained(*pools, (mixed[0], mixed[1]), 100 * seed + k, options.mix)(world.judged)[:, 0].numpy()
                for k in range(INITS)
            ]
            record["scores"] = [one.tolist() for one in every]
            path.write_text(json.dumps(record))
            print(
                f"{path.stem}: AUC {', '.join(f'{auroc(s, world.truth):.4f}' for s in every)}; losses "
                + ", ".join(f"{k} {np.mean(v):.4f}" for k, v in record.get("losses", {}).items())
                + f"; {record.get('cost', '')}",
                flush=True,
            )


def table(options: argparse.Namespace) -> None:
    """What was measured, as text."""
    results = options.work / options.split
    with np.load(results / "judged.npz") as judged:
        truth, groups = judged["truth"], judged["groups"]
    kind = KINDS[json.loads((options.work / "asked.json").read_text())["set"]]
    print(
        f"{kind.said}. {options.split}: {int((~truth).sum())} old ({', '.join(kind.old)}), {int(truth.sum())} new ({kind.new})."
    )
    many = [len(set(groups[truth == new].tolist())) for new in (False, True)]
    print(
        f"{SHOTS} images of train taught the parent the new class. Cases are drawn again by group: {many[0]} old, {many[1]} new."
    )
    print("The old images of val had chosen the parent's step of training.\n")
    print(losses_table(options.work, results))
    print(auc_table(results, truth, groups))


def found_of(results: Path, pattern: str) -> dict[str, dict[int, dict]]:
    """name -> draw -> record."""
    found: dict[str, dict[int, dict]] = {}
    for path in sorted(results.glob(pattern)):
        name, _, seed = path.stem.rpartition("-")
        found.setdefault(name, {})[int(seed)] = json.loads(path.read_text())
    return found


def losses_table(work: Path, results: Path) -> str:
    every = found_of(results, "*-losses-*.json")
    if not every:
        return "no losses yet\n"
    before = {
        k: float(np.mean(v))
        for k, v in json.loads((work / f"parent-{results.name}.json").read_text()).items()
    }
    lines = [
        "Denoising loss on up to 64 new and 64 old images (lower is better), each with its label; mean over draws, 95 % interval over draws and images",
        f"{'':14} {'draws':>5} {'CPU s':>6} {'steps':>6} {'kept':>6}   {'new':>24}   {'old':>24}",
        f"{'parent':14} {'':5} {'':6} {'':6} {'':6}   {before['sick']:24.4f}   {before['normal']:24.4f}",
    ]
    for name, draws in sorted(
        every.items(), key=lambda item: np.mean([np.mean(r["losses"]["sick"]) for r in item[1].values()])
    ):
        cost = {
            k: float(np.median([r["cost"][k] for r in draws.values()])) for k in ("seconds", "steps", "kept")
        }
        cells = []
        for kind in ("sick", "normal"):
            values = np.array([r["losses"][kind] for r in draws.values()])
            low, high = resampled(
                lambda d, c, values=values: float(values[np.ix_(d, c)].mean()), len(values), [values.shape[1]]
            )
            cells.append(f"{values.mean():.4f} ({low:.4f} to {high:.4f})")
        numbers = f"{len(draws):5} {cost['seconds']:6.0f} {cost['steps']:6.0f} {cost['kept']:6.0f}"
        lines.append(f"{name.removesuffix('-losses'):14} {numbers}   {cells[0]:>24}   {cells[1]:>24}")
    return "\n".join(lines) + "\n"


def auc_table(results: Path, truth: np.ndarray, groups: np.ndarray) -> str:
    every = {
        name: draws for name, draws in found_of(results, "*.json").items() if not name.endswith("-losses")
    }
    if not every:
        return "no classifiers yet"
    lines = [
        f"AUC of the classifier (mean of {INITS} trainings a draw); differences to the classifier of real images alone, and to that with the images of a",
        "network from nothing, taught and drawn in the same way, on the draws that both have; 95 % intervals over draws and groups of cases (from 3 draws on)",
        f"{'':40} {'draws':>5}   {'AUC':>26}   {'minus real alone':>28}   minus a network from nothing",
    ]
    kinds = tuple(
        [np.flatnonzero((truth == new) & (groups == g)) for g in np.unique(groups[truth == new])]
        for new in (True, False)
    )

    def cell(mine: dict[int, dict], base: dict[int, dict] | None) -> str:
        seeds = sorted(set(mine) & set(mine if base is None else base))
        if not seeds:
            return ""
        ours, theirs = (
            [np.array(mine[s]["scores"]) for s in seeds],
            [np.array(base[s]["scores"]) for s in seeds] if base else [],
        )
        statistic, sign = partial(auc_of, ours, theirs, truth, kinds), "+" if base else ""
        low, high = resampled(statistic, len(seeds), [len(part) for part in kinds])
        return f"{statistic():{sign}.4f} " + (
            f"({low:{sign}.4f} to {high:{sign}.4f})" if len(seeds) > 2 else f"(draws: {len(seeds)})"
        )

    for name, draws in sorted(
        every.items(),
        key=lambda item: (item[0].partition("-olds")[2], not item[0].startswith("real"), item[0]),
    ):
        mark = "".join(name.partition("-olds")[1:])
        arm = next((arm for arm in sorted(ARMS, key=len, reverse=True) if name.startswith(f"{arm}-")), "")
        rivals = (
            RIVALS[0 if mark == f"-olds{SHOTS}" else 1]
            if arm and not arm.startswith("scratch") and mark in ("", f"-olds{SHOTS}")
            else ()
        )
        known = {rival: its for rival in rivals if (its := every.get(rival + name.removeprefix(arm)))}
        beside = "; ".join(f"{rival} {cell(draws, its)}" for rival, its in known.items())
        real = "" if name == "real" + mark else cell(draws, every["real" + mark])
        lines.append(f"{name:40} {len(draws):5}   {cell(draws, None):>26}   {real:>28}   {beside}".rstrip())
    return "\n".join(lines)


def auc_of(
    mine: Sequence[np.ndarray], base: Sequence[np.ndarray], truth: np.ndarray, kinds: tuple[list[np.ndarray], ...],
    draws: Sequence[int] | None = None, sick: Sequence[int] | None = None, normal: Sequence[int] | None = None,
) -> float:  # fmt: skip
    """Mean AUC over these draws and their classifiers on these cases, less that of ``base`` where it is
    given; all of them by default.
    """
    at = np.concatenate(
        [
            kind[g]
            for kind, chosen in zip(kinds, (sick, normal), strict=True)
            for g in (range(len(kind)) if chosen is None else chosen)
        ]
    )
    which = range(len(mine)) if draws is None else draws

    def mean(of: Sequence[np.ndarray]) -> float:
        return float(np.mean([auroc(one[at], truth[at]) for n in which for one in of[n]])) if len(of) else 0.0

    return mean(mine) - mean(base)


def resampled(
    statistic: Callable[..., float], draws: int, sizes: Sequence[int], n: int = 300
) -> tuple[float, float]:
    """95 % percentile interval; draws and, apart from them, the groups of each kind are drawn again with
    replacement.
    """
    rng = np.random.default_rng(0)
    found = [
        statistic(rng.integers(0, draws, draws), *(rng.integers(0, size, size) for size in sizes))
        for _ in range(n)
    ]
    low, high = np.quantile(found, (0.025, 0.975))
    return float(low), float(high)


def sheet(made: Tensor, few: Tensor, path: Path) -> None:
    """Two rows of the 20, four of synthetic ones."""
    rows = [
        torch.cat([x[0] for x in pool[n : n + 10]], 1)
        for pool, starts in ((few, (0, 10)), (made, (0, 10, 20, 30)))
        for n in starts
    ]
    Image.fromarray(((torch.cat(rows).clamp(-1, 1) + 1) * 127.5).byte().numpy()).resize(
        (840, 504), Image.Resampling.NEAREST
    ).save(path)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    verbs = parser.add_subparsers(dest="verb", required=True)
    one = verbs.add_parser("parent")
    one.add_argument("--out", type=Path, required=True)
    one.add_argument("--set", choices=KINDS, default="pneumonia")
    one.add_argument("--minutes", type=float, default=12.0)
    two = verbs.add_parser("run")
    two.add_argument("--parent", type=Path, required=True)
    two.add_argument("--work", type=Path, required=True)
    two.add_argument("--set", choices=KINDS, default="pneumonia")
    two.add_argument(
        "--arms",
        nargs="+",
        choices=ARMS,
        default=["lora", "norm", "full", "full-alone", "scratch", "scratch-20"],
    )
    two.add_argument("--seeds", type=int, default=5)
    two.add_argument("--first", type=int, default=0)
    two.add_argument("--seconds", type=float, default=60.0)
    two.add_argument("--guidance", type=float, default=1.0)
    two.add_argument("--strength", type=float, default=0.0)
    two.add_argument("--mix", type=float, default=0.5)
    two.add_argument(
        "--both", action="store_true", help="synthetic old ones, too, so that being synthetic tells nothing"
    )
    two.add_argument(
        "--of-old",
        action="store_true",
        help="with --strength: the new are variations of old ones, asked to be new: other bodies",
    )
    two.add_argument(
        "--olds", type=int, default=0, help="images of each old kind that the classifier has; 0: all"
    )
    two.add_argument(
        "--filtered",
        action="store_true",
        help="twice as many are drawn, and a classifier of the real images keeps the half that it is surest of",
    )
    two.add_argument(
        "--losses", action="store_true", help="learn and measure the denoising loss; no classifier"
    )
    two.add_argument("--split", choices=("val", "test"), default="val")
    three = verbs.add_parser("table")
    three.add_argument("--work", type=Path, required=True)
    three.add_argument("--split", choices=("val", "test"), default="val")
    options = parser.parse_args()
    if options.verb == "parent":
        kind, folder = KINDS[options.set], options.out.with_name(options.out.name + "-data")
        for label in kind.old:
            for split in ("train", "val"):
                folder_of(
                    [
                        image
                        for part, its, image, _ in images_of(options.set)
                        if part == split and its == label
                    ],
                    folder / split / label,
                )
        fit(folder, minutes=options.minutes, out=options.out, modality=kind.modality)
    if options.verb == "run":
        run(options)
    if options.verb == "table":
        table(options)


if __name__ == "__main__":
    main()
