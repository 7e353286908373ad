"""Synthesis: how fast, how near to real scans, and whether a classifier that has only seen synthetic images
knows real ones.

    python bench/synthesis.py speed --prior P --data FOLDER [--size 64] [--n 100]
    python bench/synthesis.py tstr --prior P --data FOLDER [--guidance 1,1.5,2] [--judged FOLDER]
    python bench/synthesis.py audit --prior P --data FOLDER --n 60 --into OUT

speed: images of one size by fewer and fewer noise levels, in turn; wall time on --threads threads, and the
Fréchet distance to real held-out scans beside that of 100 levels, whose images begin with the same noise.
tstr: the classifier of ``evaluate augment`` learns from real training scans, or from as many synthetic ones
with the same labels; both are judged on the same real scans, seed by seed. Guidance is chosen on val; test is
run once with that choice. audit: what ``medprior calibrate synthesize`` says, and writes into the copy of the
prior at OUT. FOLDER is the data set that the prior learned from: its train split, and val (or test) as what
was held out. A relative one lies in MEDPRIOR_DATA.
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from torch import Tensor

from medprior import load
from medprior.evidence.metrics import frechet_distance
from medprior.evidence.synthetic.descriptors import descriptors
from medprior.evidence.synthetic.fidelity import Space, gaussian_images
from medprior.io.dataset.layout import PLAIN
from medprior.jobs.synthetic.audit import KnownScans, known_scans
from medprior.jobs.synthetic.synthesize import Drawing, draw_images
from medprior.prior import Condition, Prior
from medprior.prior.wrappers import batched
from medprior.runs.core.progress import silent
from medprior.runs.synthesize.training_scans import scans_of_folder
from medprior.sampling import flow, initial_image, karras_levels, multistep

LEVELS = (6, 8, 10, 12, 14, 18, 24)
LADDER = {"midpoint": flow, "multistep": multistep}


def sized(images: Sequence[Tensor], side: int) -> list[Tensor]:
    return [
        torch.nn.functional.interpolate(
            x[None], (side, side), mode="bilinear", align_corners=False, antialias=True
        )[0]
        for x in images
    ]


def speed(prior: Prior, scans: KnownScans, size: int, n: int, threads: int) -> None:
    torch.set_num_threads(threads)
    train, held = sized(scans.train, size), sized(scans.held, size)
    found = descriptors()
    spaces = [Space.of(one(train)) for one in found]
    real = [space(one(held)) for one, space in zip(found, spaces, strict=True)]
    denoiser = batched(prior)

    def images(solver: Callable[..., Tensor], levels: int) -> tuple[Tensor, float]:
        sigmas = karras_levels(levels, low=0.01, high=20.0)
        began = time.perf_counter()
        with torch.no_grad():
            rng = torch.Generator().manual_seed(0)
            x = solver(
                denoiser,
                initial_image(denoiser, (n, len(prior.card.channels), size, size), sigmas[0], rng=rng),
                sigmas,
                condition=Condition(),
            )
        return x, time.perf_counter() - began

    def distances(x: Sequence[Tensor]) -> list[float]:
        return [
            frechet_distance(space(one(x)), there)
            for one, space, there in zip(found, spaces, real, strict=True)
        ]

    floor = [
        frechet_distance(space(one(train[:n])), there)
        for one, space, there in zip(found, spaces, real, strict=True)
    ]
    plain = distances(gaussian_images(train, n))
    best, seconds = images(flow, 100)
    best_at = distances(list(best))
    names = [one.name for one in found]
    print(
        f"{n} images {size} x {size}, {threads} threads, {len(held)} held-out scans; Fréchet on {', '.join(names)}, and as share of that of 100 levels\n"
    )
    print(
        f"{'solver':<12}{'levels':>7}{'evaluations':>13}{'seconds':>9}  "
        + "".join(f"{name:>26}" for name in names)
        + f"{'pixels off 100 levels':>24}"
    )
    print(
        f"{'midpoint':<12}{100:>7}{201:>13}{seconds:>9.1f}  "
        + "".join(f"{value:>18.2f}{'1.00':>8}" for value in best_at)
    )
    for name, solver in LADDER.items():
        for levels in LEVELS:
            x, seconds = images(solver, levels)
            cells = "".join(
                f"{value:>18.2f}{value / reference:>8.2f}"
                for value, reference in zip(distances(list(x)), best_at, strict=True)
            )
            off = float((x - best).square().mean().sqrt())
            print(
                f"{name:<12}{levels:>7}{(2 * levels + 1 if name == 'midpoint' else levels + 2):>13}{seconds:>9.1f}  {cells}{off:>24.3f}",
                flush=True,
            )
    for title, values in (("training scans", floor), ("plain Gaussian", plain)):
        print(
            f"{title:<41}  "
            + "".join(
                f"{value:>18.2f}{value / reference:>8.2f}"
                for value, reference in zip(values, best_at, strict=True)
            )
        )


def audit(name: str, data: Path, n: int, into: Path) -> None:
    from medprior.runs.ask.requests import CalibrateSynthesize
    from medprior.runs.studies.calibrate_synthesize import run_calibrate_synthesize

    asked = {"folder": data, "prior": name, "n": n, "into": into, "out": into.with_name(f"{into.name}-run")}
    done = run_calibrate_synthesize(CalibrateSynthesize.model_validate(asked), silent)
    entry = done.record["metrics"]["entry"]
    print(f"{name}: {entry['train']} training scans, {entry['held']} held out, {entry['n']} images")
    print("\n".join(entry["said"]), f"\npassed: {entry['passed']}", flush=True)


def tstr(
    prior: Prior,
    scans: KnownScans,
    guidances: Sequence[float],
    seeds: int,
    steps: int,
    levels: int,
    judged: KnownScans,
) -> None:
    from medprior.downstream.classifier import ClassifierSettings, train_classifier
    from medprior.evidence.intervals import interval
    from medprior.evidence.metrics import auroc

    labels = prior.card.labels
    y = torch.tensor([labels.index(name) for name in scans.labels[0]])
    truth = [labels.index(name) for name in judged.labels[1]]
    real, others = torch.stack(list(scans.train)), torch.stack(list(judged.held))
    settings = ClassifierSettings(steps=steps)

    def scored(images: Tensor, seed: int) -> Tensor:
        return train_classifier(images, y, settings, seed, n_labels=len(labels))(others)[:, 1]

    arms = {"real": [scored(real, seed) for seed in range(seeds)]}
    plain = real.clone()
    for k in range(len(labels)):
        plain[y == k] = torch.stack(
            gaussian_images([x for x, c in zip(real, y, strict=True) if c == k], int((y == k).sum()))
        )
    arms["plain Gaussian of each class"] = [scored(plain, seed) for seed in range(seeds)]
    for guidance in guidances:
        runs = []
        for seed in range(seeds):
            made = torch.empty_like(real)
            for k, name in enumerate(labels):
                count = int((y == k).sum())
                made[y == k] = draw_images(
                    prior,
                    count,
                    Drawing(
                        label=name,
                        seed=1000 * seed + k,
                        guidance=guidance,
                        size=tuple(real.shape[2:]),
                        n_steps=levels,
                    ),
                )[0]
            runs.append(scored(made, seed))
        arms[f"synthetic, guidance {guidance:g}"] = runs
    mix = ", ".join(f"{int((y == k).sum())} {name}" for k, name in enumerate(labels))
    print(
        f"trained on {len(real)} images ({mix}), {steps} steps of the classifier, {seeds} seeds; images by {levels} levels"
    )
    print(
        f"judged on {len(others)} real scans; AUC of the seeds' mean, intervals over {len(others)} cases (and seeds' own range)\n"
    )
    stacked = {name: torch.stack(runs).double() for name, runs in arms.items()}
    ranks = {name: runs.mean(0).numpy() for name, runs in stacked.items()}
    for name, runs in stacked.items():
        each = [auroc(run.numpy(), truth) for run in runs]
        at = interval(auroc, ranks[name], truth, patients=judged.patients[len(judged.train) :], strata=truth)
        line = f"{name:<32}{at.value:.3f} ({at.low:.3f} to {at.high:.3f})   single seeds {min(each):.3f} to {max(each):.3f}, mean {sum(each) / len(each):.3f}"
        if name != "real":
            apart = interval(
                lambda a, b, t: auroc(a, t) - auroc(b, t),
                ranks[name],
                ranks["real"],
                truth,
                patients=judged.patients[len(judged.train) :],
                strata=truth,
            )
            line += f"   minus real {apart.value:+.3f} ({apart.low:+.3f} to {apart.high:+.3f})"
        print(line, flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("what", choices=("speed", "tstr", "audit"))
    parser.add_argument("--prior", required=True)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--size", type=int, default=64)
    parser.add_argument("--n", type=int, default=100)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--guidance", default="1")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=600)
    parser.add_argument("--levels", type=int, default=10)
    parser.add_argument(
        "--judged", type=Path, help="another folder whose test split judges; default the val split of --data"
    )
    parser.add_argument("--into", type=Path, default=Path(".cache/audited"))
    chosen = parser.parse_args()
    chosen.data = Path(os.environ.get("MEDPRIOR_DATA", "")) / chosen.data
    if chosen.what == "audit":
        audit(chosen.prior, chosen.data, chosen.n, chosen.into)
        return
    prior = load(chosen.prior)
    scans, _ = scans_of_folder(prior, chosen.data, PLAIN, silent)
    if chosen.what == "speed":
        speed(prior, scans, chosen.size, chosen.n, chosen.threads)
        return
    judged = scans if chosen.judged is None else of_test(prior, chosen.judged)
    tstr(
        prior,
        scans,
        [float(w) for w in chosen.guidance.split(",")],
        chosen.seeds,
        chosen.steps,
        chosen.levels,
        judged,
    )


def of_test(prior: Prior, folder: Path) -> KnownScans:
    """The test split of a folder as what judges."""
    import tempfile

    from medprior.io.dataset.scan import scan

    with tempfile.TemporaryDirectory() as beside:
        index = scan(folder, out=beside, modality=prior.card.modality or None)
        return known_scans(prior, [], index.usable("test"), index)


if __name__ == "__main__":
    main()
