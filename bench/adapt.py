"""A new class from 20 images: a prior of 700 normal chest radiographs learns pneumonia, beside training from nothing at equal cost.

    python bench/adapt.py parent --out runs/normals --minutes 12         # normals of PneumoniaMNIST alone; its cost is stated apart
    python bench/adapt.py run --parent runs/normals --work .cache/adapt --arms lora norm full full-alone scratch scratch-20 --seeds 5 --seconds 60 --losses
    python bench/adapt.py run ... --arms lora-all scratch --guidance 2 --strength 0.7 --both [--of-normals]        # the classifiers
    python bench/adapt.py run ... --split test --arms lora               # once, with what was chosen on val
    python bench/adapt.py table --work .cache/adapt [--split test]

Every seed is another draw of the 20 from the train split. Equal cost: CPU seconds of one core, drawing what is replayed included; the steps that each way of
learning may take follow from its own measured pace. Judges: the denoising loss on val, of pneumonia (gained) and of normals (forgotten); and a small
classifier, trained on the 700 normals and the 20 images, balanced, with classical augmentation, beside the same with synthetic pneumonia taking half of the
places of the sick. AUC, with intervals over draws and cases together (both are resampled), paired by draw, case and the classifier's seed.
Everything is kept in --work and not done twice. Reads MEDPRIOR_DATA.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import torch
from detect import cases, prepare
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional as F

from medprior import Policy, Prior, Volume
from medprior.augmentation import Frame, applied, draw
from medprior.data.seeds import generator
from medprior.evidence.metrics import auroc
from medprior.jobs.adapt import adapt
from medprior.jobs.augment import level_of
from medprior.jobs.fit import fit
from medprior.jobs.newcomers import Shown, remembered, variations
from medprior.jobs.synthesize import drawn
from medprior.prior import Condition
from medprior.prior.prior import fresh
from medprior.prior.wrappers import guided
from medprior.sampling import revisit
from medprior.training.errors import denoising_losses
from medprior.training.folder import load, save_prior
from medprior.training.loop import Settings, train
from medprior.training.patches import Images
from medprior.training.patches import draw as batch_of
from medprior.training.tuning import METHODS, prepared, with_labels

SHOTS, NORMALS = 20, 700
OLD, NEW = "normal", "pneumonia"
ARMS: dict[str, dict] = {
    "lora": {"method": "lora"},
    "norm": {"method": "norm"},
    "full": {"method": "full"},
    "full-alone": {"method": "full", "replay": "none"},
    "lora-real": {"method": "lora", "replay": "real"},
    "lora-all": {"method": "lora", "hold": 0.0},
    "scratch": {},
    "scratch-20": {},
}
"""full-alone: without replay. lora-real: replays real normals. lora-all: none is held out.
scratch: from nothing on normals and the 20, half and half. scratch-20: on the 20 alone."""
SYNTHETIC = 256
INITS = 2


class World:
    """The images in network units: normals, every draw's 20, and a split to judge by."""

    def __init__(self, parent: Prior, split: str) -> None:
        every = cases("pneumonia")
        self.parent = parent
        self.normals = [self.inside(c.volume) for c in every if c.split == "train" and not c.sick]
        self.sick = [c.volume for c in every if c.split == "train" and c.sick]
        judged = [c for c in every if c.split == split]
        self.judged, self.truth = torch.stack([self.inside(c.volume) for c in judged]), np.array([c.sick for c in judged])

    def inside(self, volume: Volume) -> Tensor:
        return self.parent.admit(volume).images[0]

    def shots(self, seed: int) -> list[Volume]:
        order = torch.randperm(len(self.sick), generator=generator(seed, "shots"))
        return [self.sick[i] for i in order[:SHOTS].tolist()]


def folder_of(images: Sequence[Volume], path: Path) -> None:
    for n, image in enumerate(images):
        path.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image.data[0].astype(np.uint8)).save(path / f"{n:03d}.png")


def one_step(prior: Prior, optimizer: torch.optim.Adam, images: Images) -> None:
    at = batch_of(images, 0, seed=0, batch=16, sigmas=(-1.0, 1.4))
    optimizer.zero_grad()
    prior.loss(at.x0, at.sigma, at.noise, at.condition).mean().backward()
    optimizer.step()


def paces(parent: Prior, work: Path) -> dict[str, float]:
    """CPU seconds of a step of each method, and of drawing what is replayed; measured in turns, once."""
    path = work / "paces.json"
    if path.is_file():
        return json.loads(path.read_text())
    images = Images([torch.randn(1, 28, 28) for _ in range(40)], torch.zeros(40, dtype=torch.int64))
    steps: dict[str, Callable[[], None]] = {}
    for method in METHODS:
        prior = with_labels(parent, (OLD, NEW))
        names = prepared(prior.net, method)
        net = prior.net.train().to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        for name, parameter in net.named_parameters():
            parameter.requires_grad_(name in names)
        optimizer = torch.optim.Adam([p for p in net.parameters() if p.requires_grad], lr=1e-5)

        steps[method] = partial(one_step, prior, optimizer, images)
    found: dict[str, list[float]] = {name: [] for name in steps}
    for _ in range(12):
        for name, step in steps.items():
            began = time.process_time()
            step()
            found[name].append(time.process_time() - began)
    began = time.process_time()
    remembered(parent, 16)
    pace = {name: float(np.median(times)) for name, times in found.items()} | {"replay": 4 * (time.process_time() - began)}
    work.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(pace))
    return pace


def learned(arm: str, world: World, parent: Path, work: Path, seed: int, seconds: float, pace: dict[str, float]) -> tuple[Prior, dict[str, float]]:
    """The prior of an arm, and what it cost; kept."""
    home = work / f"{arm}-{seed}"
    if (home / "cost.json").is_file():
        return load(home / "prior"), json.loads((home / "cost.json").read_text())
    options, shots = ARMS[arm], work / "shots" / str(seed)
    if not shots.is_dir():
        folder_of(world.shots(seed), shots / NEW)
    began = time.process_time()
    if options:
        replays = options.get("replay", "generative")
        steps = int((seconds - (pace["replay"] if replays == "generative" else 0.0)) / pace[options["method"]])
        if replays == "real":
            real = work / "normals"
            if not real.is_dir():
                folder_of([c.volume for c in cases("pneumonia") if c.split == "train" and not c.sick], real / OLD)
            options = {**options, "replay": real}
        made = adapt(parent, shots, steps=max(20, steps), seed=seed, out=home, old_label=OLD, modality="DX", **options).prior
    else:
        steps = int(seconds / pace["full"])
        made = scratch(world, seed, steps, home, alone=arm == "scratch-20")
    cost = {"seconds": time.process_time() - began, "steps": steps, "kept": made.card.training["steps"]}
    (home / "cost.json").write_text(json.dumps(cost))
    return made, cost


def scratch(world: World, seed: int, steps: int, home: Path, *, alone: bool) -> Prior:
    """From nothing, with the same variations, the same held-out images to choose the step by, and the rate of ``medprior train``."""
    card = replace(world.parent.card, labels=(OLD, NEW), errors=(), doubt=False)
    torch.manual_seed(seed)
    prior = fresh(card)
    few = [world.inside(v) for v in world.shots(seed)]
    held, few = few[: SHOTS // 5], few[SHOTS // 5 :]
    varied = variations(card, Shown(tuple(few), (1,) * len(few), (torch.zeros(0),) * len(few)), seed=seed)
    normals = [] if alone else world.normals
    parts = ((few, 0.25, 1), (varied.images, 0.25, 1), (normals, 0.5, 0))
    images = Images(
        [x for part, _, _ in parts for x in part],
        torch.tensor([label for part, _, label in parts for _ in part]),
        weights=torch.cat([torch.full((len(part),), mass / max(1, len(part))) for part, mass, _ in parts]),
    )
    made = train(
        prior, images, Settings(steps=steps, seed=seed, save_every=max(10, min(100, steps // 10))), home,
        judge=lambda now: float(denoising_losses(now, held, torch.ones(len(held), dtype=torch.int64)).mean()),
    )  # fmt: skip
    made.net.eval().requires_grad_(False)
    save_prior(made, home / "prior", trust={})
    return made


def heldout(prior: Prior, world: World) -> dict[str, list[float]]:
    """Denoising loss of 64 sick and 64 normal images of val, each with its label where the prior has labels."""
    found = {}
    for name, sick in (("sick", True), ("normal", False)):
        at = np.flatnonzero(world.truth == sick)
        images = [world.judged[i] for i in at[np.linspace(0, len(at) - 1, 64).round().astype(int)]]
        labels = torch.full((64,), int(sick)) if prior.card.labels else None
        found[name] = denoising_losses(prior, images, labels).tolist()
    return found


def synthetic(prior: Prior, label: str, seed: int, few: Tensor, guidance: float, strength: float) -> Tensor:
    """A class as the prior draws it: from noise, or (strength > 0) variations of the images ``few``, of this class or of another."""
    if strength == 0:
        return drawn(prior, SYNTHETIC, label=label, seed=seed, guidance=guidance, n_steps=10)[0]
    spread = few.repeat(-(-SYNTHETIC // len(few)), 1, 1, 1)[:SYNTHETIC]
    with torch.no_grad():
        return revisit(guided(prior, prior.card.labels.index(label), guidance), spread, level_of(strength), rng=generator(seed, "vary"), condition=Condition())


def augmented(images: Sequence[Tensor], copies: int, seed: int, label: str) -> Tensor:
    policy = Policy.of("DX", label=label)
    frame = Frame((28, 28), (), "", "", "DX")
    return torch.stack([applied(draw(policy, frame, seed, n, k), image)[0] for n, image in enumerate(images) for k in range(copies)])


def classifier() -> nn.Module:
    parts: list[nn.Module] = []
    for a, b in ((1, 16), (16, 32), (32, 64)):
        parts += [nn.Conv2d(a, b, 3, padding=1), nn.BatchNorm2d(b), nn.ReLU(), nn.MaxPool2d(2)]
    return nn.Sequential(*parts, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Dropout(0.2), nn.Linear(64, 1))


def scores(normals: Tensor, sick: Tensor, made: tuple[Tensor | None, Tensor | None], judged: Tensor, seed: int, mix: float, steps: int = 300) -> np.ndarray:
    """Of the judged images. Half of each batch is normal; of each half a share ``mix`` is synthetic where ``made`` has synthetic normals, synthetic sick."""
    torch.manual_seed(seed)
    net, rng = classifier(), generator(seed, "classifier")
    optimizer = torch.optim.AdamW(net.parameters(), lr=3e-3, weight_decay=1e-2)
    plan = torch.optim.lr_scheduler.OneCycleLR(optimizer, 3e-3, total_steps=steps)
    target = torch.cat([torch.zeros(32), torch.ones(32)])[:, None]
    for _ in range(steps):
        parts = []
        for real, other in zip((normals, sick), made, strict=True):
            some = 0 if other is None else round(32 * mix)
            parts += [(real, 32 - some), *([(other, some)] if other is not None and some else [])]
        x = torch.cat([pool[torch.randint(len(pool), (n,), generator=rng)] for pool, n in parts])
        optimizer.zero_grad()
        F.binary_cross_entropy_with_logits(net(x), target).backward()
        optimizer.step()
        plan.step()
    with torch.no_grad():
        return net.eval()(judged)[:, 0].numpy()


def run(options: argparse.Namespace) -> None:
    torch.set_num_threads(1)
    work, parent = options.work, options.parent / "prior" if (options.parent / "prior").is_dir() else options.parent
    world = World(load(parent), options.split)
    pace = paces(world.parent, work)
    results = work / options.split
    results.mkdir(parents=True, exist_ok=True)
    np.save(results / "truth.npy", world.truth)
    variant = f"g{options.guidance:g}" + (f"-s{options.strength:g}" if options.strength else "") + (f"-m{options.mix:g}" if options.mix != 0.5 else "")
    variant += ("-both" if options.both else "") + ("-ofnormals" if options.of_normals else "")
    for seed in range(options.first, options.first + options.seeds):
        pools: tuple[Tensor, Tensor] | None = None
        for arm in options.arms if options.losses else []:
            path = results / f"{arm}-losses-{seed}.json"
            if not path.is_file():
                prior, cost = learned(arm, world, parent, work, seed, options.seconds, pace)
                path.write_text(json.dumps({"cost": cost, "losses": heldout(prior, world)}))
                print(arm, seed, cost, {k: round(float(np.mean(v)), 4) for k, v in json.loads(path.read_text())["losses"].items()}, flush=True)
        few = torch.stack([world.inside(v) for v in world.shots(seed)])
        for arm in [] if options.losses else ["real", *options.arms]:
            path = results / f"{arm}{'' if arm == 'real' else '-' + variant}-{seed}.json"
            if path.is_file():
                continue
            record: dict = {}
            made: tuple[Tensor | None, Tensor | None] = (None, None)
            if arm == "real":
                record["parent"] = heldout(world.parent, world)
            else:
                prior, record["cost"] = learned(arm, world, parent, work, seed, options.seconds, pace)
                record["losses"] = heldout(prior, world)
                some = torch.stack(world.normals[:SYNTHETIC])
                sick = synthetic(prior, NEW, seed, some if options.of_normals else few, options.guidance, options.strength)
                made = (synthetic(prior, OLD, seed + 1, some, options.guidance, options.strength) if options.both else None, sick)
                if seed == options.first:
                    sheet(sick, few, work / f"{arm}-{variant}-{seed}.png")
            pools = pools or (augmented(world.normals, 2, seed, OLD), augmented(list(few), 70, seed, NEW))
            # what the prior draws gets the same classical augmentation: the classifier must not tell the two apart by it
            mixed = tuple(None if part is None else augmented(list(part), 3, seed + 1, NEW) for part in made)
            every = [scores(*pools, (mixed[0], mixed[1]), world.judged, 100 * seed + k, options.mix) for k in range(INITS)]
            record["scores"] = [one.tolist() for one in every]
            path.write_text(json.dumps(record))
            print(f"{arm} {variant} seed {seed}: AUC {', '.join(f'{auroc(s, world.truth):.4f}' for s in every)}; losses "
                  + ", ".join(f"{k} {np.mean(v):.4f}" for k, v in (record.get("losses") or record["parent"]).items())
                  + (f"; {record['cost']}" if arm != "real" else ""), flush=True)  # fmt: skip


def table(options: argparse.Namespace) -> None:
    """What was measured, as text; only draws of the 20 that every arm of a table has are counted."""
    results = options.work / options.split
    truth = np.load(results / "truth.npy")
    print(f"PneumoniaMNIST, {options.split}: {int((~truth).sum())} normals, {int(truth.sum())} pneumonia.")
    print(f"{SHOTS} pneumonia images of train taught a prior of {NORMALS} normals what pneumonia is.\n")
    print(losses_table(results))
    print(auc_table(results, truth))


def found_of(results: Path, pattern: str) -> dict[str, dict[int, dict]]:
    """name -> draw -> record."""
    found: dict[str, dict[int, dict]] = {}
    for path in sorted(results.glob(pattern)):
        name, _, seed = path.stem.rpartition("-")
        found.setdefault(name, {})[int(seed)] = json.loads(path.read_text())
    return found


def losses_table(results: Path) -> str:
    every = found_of(results, "*-losses-*.json")
    real = found_of(results, "real-*.json").get("real", {})
    if not real:
        return "no losses yet"
    before = {k: float(np.mean(next(iter(real.values()))["parent"][k])) for k in ("sick", "normal")}
    lines = [
        "Denoising loss on 64 pneumonia and 64 normals (lower is better), each with its label; mean over draws, 95 % interval over draws and images",
        f"{'':14} {'draws':>5} {'CPU s':>6} {'steps':>6} {'kept':>6}   {'pneumonia':>24}   {'normals':>24}",
        f"{'parent':14} {'':5} {'':6} {'':6} {'':6}   {before['sick']:24.4f}   {before['normal']:24.4f}",
    ]
    for name, draws in sorted(every.items(), key=lambda item: np.mean([np.mean(r["losses"]["sick"]) for r in item[1].values()])):
        cost = {k: float(np.median([r["cost"][k] for r in draws.values()])) for k in ("seconds", "steps", "kept")}
        cells = []
        for kind in ("sick", "normal"):
            values = np.array([r["losses"][kind] for r in draws.values()])
            low, high = resampled(lambda d, c, values=values: float(values[np.ix_(d, c)].mean()), len(values), [values.shape[1]])
            cells.append(f"{values.mean():.4f} ({low:.4f} to {high:.4f})")
        numbers = f"{len(draws):5} {cost['seconds']:6.0f} {cost['steps']:6.0f} {cost['kept']:6.0f}"
        lines.append(f"{name.removesuffix('-losses'):14} {numbers}   {cells[0]:>24}   {cells[1]:>24}")
    return "\n".join(lines) + "\n"


def auc_table(results: Path, truth: np.ndarray) -> str:
    every = {name: draws for name, draws in found_of(results, "*.json").items() if not name.endswith("-losses")}
    real = every.pop("real", {})
    if not real:
        return "no classifiers yet"
    lines = [
        f"AUC of the classifier (mean of {INITS} trainings a draw), and the difference to 'real' on the same draws; intervals over draws and cases",
        f"{'':32} {'draws':>5}   {'AUC':>26}   {'difference to real alone':>28}",
    ]
    kinds = (np.flatnonzero(truth), np.flatnonzero(~truth))
    sizes = [len(part) for part in kinds]
    for name, draws in (("real", real), *sorted(every.items())):
        seeds = sorted(set(draws) & set(real))
        if not seeds:
            continue
        mine, base = ([np.array(of[s]["scores"]) for s in seeds] for of in (draws, real))
        one, two = partial(auc_of, mine, [], truth, kinds), partial(auc_of, mine, base, truth, kinds)
        low, high = resampled(one, len(seeds), sizes)
        text = f"{name:32} {len(seeds):5}   {one():.4f} ({low:.4f} to {high:.4f})"
        if name != "real":
            low, high = resampled(two, len(seeds), sizes)
            text += f"   {two():+.4f} ({low:+.4f} to {high:+.4f})"
        lines.append(text)
    return "\n".join(lines)


def auc_of(
    mine: Sequence[np.ndarray], base: Sequence[np.ndarray], truth: np.ndarray, kinds: tuple[np.ndarray, np.ndarray],
    draws: Sequence[int] | None = None, sick: Sequence[int] | None = None, normal: Sequence[int] | None = None,
) -> float:  # fmt: skip
    """Mean AUC over these draws and their classifiers on these cases, less that of ``base`` where it is given; all of them by default."""
    at = np.concatenate([kind if chosen is None else kind[chosen] for kind, chosen in zip(kinds, (sick, normal), strict=True)])
    which = range(len(mine)) if draws is None else draws

    def mean(of: Sequence[np.ndarray]) -> float:
        return float(np.mean([auroc(one[at], truth[at]) for n in which for one in of[n]])) if len(of) else 0.0

    return mean(mine) - mean(base)


def resampled(statistic: Callable[..., float], draws: int, sizes: Sequence[int], n: int = 300) -> tuple[float, float]:
    """95 % percentile interval; draws and, apart from them, the cases of each kind are drawn again with replacement."""
    rng = np.random.default_rng(0)
    found = [statistic(rng.integers(0, draws, draws), *(rng.integers(0, size, size) for size in sizes)) for _ in range(n)]
    low, high = np.quantile(found, (0.025, 0.975))
    return float(low), float(high)


def sheet(made: Tensor, few: Tensor, path: Path) -> None:
    """Two rows of the 20, four of synthetic ones."""
    rows = [torch.cat([x[0] for x in pool[n : n + 10]], 1) for pool, starts in ((few, (0, 10)), (made, (0, 10, 20, 30))) for n in starts]
    Image.fromarray(((torch.cat(rows).clamp(-1, 1) + 1) * 127.5).byte().numpy()).resize((840, 504), Image.Resampling.NEAREST).save(path)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    verbs = parser.add_subparsers(dest="verb", required=True)
    one = verbs.add_parser("parent")
    one.add_argument("--out", type=Path, required=True)
    one.add_argument("--minutes", type=float, default=12.0)
    two = verbs.add_parser("run")
    two.add_argument("--parent", type=Path, required=True)
    two.add_argument("--work", type=Path, required=True)
    two.add_argument("--arms", nargs="+", choices=ARMS, default=["lora", "norm", "full", "full-alone", "scratch", "scratch-20"])
    two.add_argument("--seeds", type=int, default=5)
    two.add_argument("--first", type=int, default=0)
    two.add_argument("--seconds", type=float, default=60.0)
    two.add_argument("--guidance", type=float, default=1.0)
    two.add_argument("--strength", type=float, default=0.0)
    two.add_argument("--mix", type=float, default=0.5)
    two.add_argument("--both", action="store_true", help="synthetic normals, too, so that being synthetic tells nothing")
    two.add_argument("--of-normals", action="store_true", help="with --strength: the sick are variations of normals, asked to be sick: other bodies")
    two.add_argument("--losses", action="store_true", help="learn and measure the denoising loss; no classifier")
    two.add_argument("--split", choices=("val", "test"), default="val")
    three = verbs.add_parser("table")
    three.add_argument("--work", type=Path, required=True)
    three.add_argument("--split", choices=("val", "test"), default="val")
    options = parser.parse_args()
    if options.verb == "parent":
        prepare("pneumonia", options.out.with_name(options.out.name + "-data"))
        fit(options.out.with_name(options.out.name + "-data"), minutes=options.minutes, out=options.out, modality="DX")
    if options.verb == "run":
        run(options)
    if options.verb == "table":
        table(options)


if __name__ == "__main__":
    main()
