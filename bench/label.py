"""Labels that were asked for against random ones: area under the ROC curve by number of labels, over runs of
other seeds. Judged on the official test set of PneumoniaMNIST, which is shifted, and on 900 training films
that were held out.

    python bench/label.py --prior FOLDER [--runs 10] [--features FILE.npz] [--unlabelled 1000]

The prior learned from the training images without labels. A reader is simulated: the label of the set. Both
arms train the same head. "asked" is what `medprior label` does, in batches of 20, or of 10. "random" draws
without looking at labels. --unlabelled: both arms also learn from so many training films without their labels,
as `medprior learn` does. --features: kept there, so that they are computed once. Reads MEDPRIOR_DATA.
"""

from __future__ import annotations

import argparse
import os
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from scipy import stats
from sklearn.metrics import roc_auc_score

from medprior import Prior, Volume, load
from medprior.learning.active import ScanPool, advised, propose, reduced_features
from medprior.learning.features import volume_features
from medprior.learning.heads import Projection, fit_linear, self_train
from medprior.training.folder import locate

BUDGETS = tuple(range(10, 101, 10))
HELD = 900
NAMES = ("normal", "pneumonia")


def images(split: str, prior: Prior) -> tuple[list[Volume], np.ndarray]:
    file = Path(os.environ["MEDPRIOR_DATA"]) / "medmnist_pneumonia" / split / "pneumoniamnist_28.npz"
    with np.load(file) as stored:
        pictures, labels = stored["images"], stored["labels"].ravel()
    return [
        Volume(picture[None].astype(np.float32), unit=prior.card.unit, modality="DX") for picture in pictures
    ], labels


@dataclass(frozen=True)
class Films:
    """x: (n, 64) in which scans are chosen. seen, held: features of the head, of n training and m test films,
    turned by what the training films show. y: (n,), truth: (m,). unlabelled: training films that a head may
    see without their labels.
    """

    x: np.ndarray
    seen: np.ndarray
    y: np.ndarray
    held: np.ndarray
    truth: np.ndarray
    unlabelled: int = 0

    @classmethod
    def of(
        cls, train: np.ndarray, y: np.ndarray, test: np.ndarray, truth: np.ndarray, unlabelled: int = 0
    ) -> Films:
        turned = Projection.fitted(train)
        return cls(reduced_features(train), turned(train), y, turned(test), truth, unlabelled)

    def pool(self, known: list[int]) -> ScanPool:
        labels = [""] * len(self.x)
        for k in known:
            labels[k] = NAMES[self.y[k]]
        return ScanPool.of(self.x, labels, [str(k) for k in range(len(self.x))])

    def area(self, at: list[int]) -> float:
        """Of a head on these labels, on the test films; 0.5 where they show one class."""
        if len(set(self.y[at])) < 2:
            return 0.5
        x, y = self.seen[at], np.eye(2)[self.y[at]]
        head = self_train(x, y, self.seen[: self.unlabelled]).head if self.unlabelled else None
        logits = (head or fit_linear(x, y))(self.held)
        return float(roc_auc_score(self.truth, logits[:, 1] - logits[:, 0]))


def asked(films: Films, step: int, seed: int) -> dict[int, list[int]]:
    """budget -> labelled places."""
    known, found = list[int](), dict[int, list[int]]()
    while len(known) < BUDGETS[-1]:
        known = [*known, *(one.at for one in propose(films.pool(known), step, seed=seed).choices)]
        found[len(known)] = known
    return found


def drawn(n: int, seed: int) -> dict[int, list[int]]:
    order = torch.randperm(n, generator=torch.Generator().manual_seed(1000 + seed)).tolist()
    return {budget: order[:budget] for budget in BUDGETS}


def difference(a: np.ndarray, b: np.ndarray) -> tuple[float, float, float]:
    """Mean of a minus mean of b, with the 95 % interval of Welch."""
    found = stats.ttest_ind(a, b, equal_var=False).confidence_interval(0.95)
    return float(a.mean() - b.mean()), float(found.low), float(found.high)


def features_of(folder: Path, kept: Path | None) -> dict[str, np.ndarray]:
    """train_x (n, d), train_y (n,), test_x, test_y."""
    prior = load(folder)  # also where its features are kept: what was measured is recorded
    if kept is not None and kept.is_file():
        with np.load(kept) as stored:
            return {name: stored[name] for name in ("train_x", "train_y", "test_x", "test_y")}
    found = {}
    for split in ("train", "test"):
        volumes, found[f"{split}_y"] = images(split, prior)
        found[f"{split}_x"] = volume_features(prior, volumes).numpy()
    if kept is not None:
        np.savez(kept, **found)
    return found


def measured(runs: int, films: Films) -> dict[str, dict[str, list[float]]]:
    """arm -> budget -> area of each run."""
    found: dict[str, dict[str, list[float]]] = {}
    for seed in range(runs):
        arms = {
            "asked by 20": asked(films, 20, seed),
            "asked by 10": asked(films, 10, seed),
            "random": drawn(len(films.x), seed),
            "random again": drawn(len(films.x), 100 + seed),
        }
        for arm, chosen in arms.items():
            for budget, at in chosen.items():
                areas = found.setdefault(arm.removesuffix(" again"), {}).setdefault(str(budget), [])
                areas.append(films.area(at))
    return found


def table(judge: str, areas: dict[str, dict[str, list[float]]]) -> None:
    """Mean, spread and median of each arm, and asked minus random with its interval."""
    random = {budget: np.array(found) for budget, found in areas["random"].items()}
    runs = {arm: len(next(iter(found.values()))) for arm, found in areas.items()}
    print(f"\nPneumoniaMNIST, {judge}; runs {runs}")
    print("area under the ROC curve: mean +- sd, median")
    for arm, found in areas.items():
        for budget, values in found.items():
            area = np.array(values)
            line = f"{arm:<12}{budget:>5} labels  {area.mean():.3f} +- {area.std(ddof=1):.3f}  {np.median(area):.3f}"
            if arm != "random":
                apart, low, high = difference(area, random[budget])
                word = "above" if low > 0 else "BELOW" if high < 0 else "no difference"
                line += f"   minus random {apart:+.3f} ({low:+.3f} to {high:+.3f}) {word}"
            print(line)
    twenty, hundred = np.median(areas["asked by 20"]["20"]), np.median(random["100"])
    print(f"\n20 labels that were asked for: median {twenty:.3f}; 100 random labels: median {hundred:.3f}")
    below = [
        f"{arm} {budget}"
        for arm, found in areas.items()
        if arm != "random"
        for budget, values in found.items()
        if difference(np.array(values), random[budget])[2] < 0
    ]
    print(f"below random by interval: {', '.join(below) or 'at no budget'}")


def costs(films: Films) -> None:
    """Seconds of one call on all training films."""
    order = torch.randperm(len(films.x), generator=torch.Generator().manual_seed(7)).tolist()
    print("\nseconds of one call; features are read from the folder")
    for n in (0, 20, 60):
        pool = films.pool(order[:n])
        begun = time.monotonic(), time.process_time()
        by = propose(pool, 20).by
        middle = time.monotonic(), time.process_time()
        advised(pool, 20)
        end = time.monotonic(), time.process_time()
        print(
            f"{n:>4} labels: 20 of {len(films.x)} proposed ({by}) {middle[0] - begun[0]:.1f} s, "
            f"{middle[1] - begun[1]:.1f} CPU s; advice {end[0] - middle[0]:.1f} s, {end[1] - middle[1]:.1f} CPU s"
        )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--prior", required=True)
    parser.add_argument("--runs", type=int, default=10)
    parser.add_argument("--features", type=Path)
    parser.add_argument("--unlabelled", type=int, default=0)
    given = parser.parse_args()
    found = features_of(locate(given.prior), given.features)
    x, y = found["train_x"], found["train_y"].astype(int)
    mixed = torch.randperm(len(x), generator=torch.Generator().manual_seed(0)).numpy()
    kept, held = mixed[HELD:], mixed[:HELD]
    judges = {
        "official test set": Films.of(x, y, found["test_x"], found["test_y"], given.unlabelled),
        f"{HELD} training films held out": Films.of(x[kept], y[kept], x[held], y[held], given.unlabelled),
    }
    areas = {judge: measured(given.runs, films) for judge, films in judges.items()}
    for judge, one in areas.items():
        table(judge, one)
    costs(judges["official test set"])


if __name__ == "__main__":
    main()
