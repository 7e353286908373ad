"""What the copy audit finds, and how often it calls honest scans copies: real scans, divided anew by patient.

    python bench/copies.py nih [--divisions 200]           NIH films of MEDPRIOR_DATA
    python bench/copies.py hippocampus [--divisions 200]   middle planes of small MRI volumes

Training scans T, held-out scans H and the set S are parts of the same real scans, so nothing was copied: every
alarm is false. Then a share of S gives way to training scans in disguise. Features are learned once, from all
scans, so that divisions cost little; an audit learns them from T alone. S: one scan a patient.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from medprior.evidence.intervals import clopper_pearson
from medprior.evidence.synthetic.copies import ALPHA, CopyIndex, Nearness
from medprior.evidence.synthetic.likeness import Details, as_pictures
from medprior.io.read import read
from medprior.jobs.synthetic.audit import SHARES, disguises
from medprior.prior import Card
from medprior.prior.admit import admit

DATA = Path(os.environ.get("MEDPRIOR_DATA", Path(__file__).resolve().parents[2] / "shared" / "data"))
SIZES = {"nih": ((596, 83), (340, 340)), "hippocampus": ((100, 60), (80, 80))}
"""Scans of T and H; the patients that are left make S."""

STEPS = (0.01, 0.02, 0.03, 0.04, 0.05, 0.06, 0.08, 0.1, 0.125, 0.15, 0.2, 0.25, 0.3, 0.4, 0.5, 0.75, 1.0)
COPIES = 120
"""Scans that are put into each disguise, at most half of all."""


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("name", choices=sorted(SIZES))
    parser.add_argument("--divisions", type=int, default=200)
    chosen = parser.parse_args()
    known = compared(chosen.name)
    print(f"{len(known.whose)} scans of {len(set(known.whose))} patients; {chosen.divisions} divisions each")
    for sizes in SIZES[chosen.name]:
        table(known, sizes, chosen.divisions)


@dataclass(frozen=True)
class Compared:
    """honest: (n, n) likeness of all scans; copies: of each disguise (k, n); of: (k, 2) what each is made of."""

    whose: list[str]
    honest: Tensor
    copies: dict[str, Tensor]
    of: Tensor


def compared(name: str) -> Compared:
    pictures, whose = scans(name)
    rng = torch.Generator().manual_seed(0)
    details = Details.learn(pictures)
    some, others = torch.randperm(len(pictures), generator=rng)[: 2 * min(COPIES, len(pictures) // 2)].chunk(
        2
    )
    hidden = {}
    for title, images in disguises(pictures[some], pictures[others], rng).items():
        hidden[title] = details.likeness(images)
    return Compared(whose, details.likeness(pictures), hidden, torch.stack([some, others], 1))


def scans(name: str) -> tuple[Tensor, list[str]]:
    """(n, C, 64, 64) as an audit compares them, and whose each is."""
    if name == "nih":
        card, folder, pattern = Card("nih", "DX", scaling="range"), "chest_xray_nih", "*/*/*.png"
    else:
        card = Card("hippocampus", "MR", scaling="foreground", quantiles=(0.0, 0.99), axes="RAS", ndim=3)
        folder, pattern = "brain_mri_hippocampus_3d", "*/*_t1.nii.gz"
    images, whose = [], []
    for path in sorted((DATA / folder).glob(pattern)):
        images += list(admit(card, read(path, modality=card.modality)).images)
        whose.append(path.name.split("_")[0] if name == "nih" else path.name)
    return as_pictures(images), whose


@dataclass(frozen=True)
class Division:
    index: CopyIndex
    own: Nearness
    train: list[int]


def divided(known: Compared, sizes: tuple[int, int], rng: np.random.Generator) -> Division:
    names = rng.permutation(sorted(set(known.whose))).tolist()
    scans_of = {name: [n for n, who in enumerate(known.whose) if who == name] for name in names}
    sides: list[list[int]] = []
    for size in sizes:
        side: list[int] = []
        while len(side) < size:
            side += scans_of[names.pop()]
        sides.append(side)
    train, held = sides
    code = {name: n for n, name in enumerate(dict.fromkeys(known.whose[n] for n in train))}
    codes = torch.tensor([code[known.whose[n]] for n in train])
    usual = Nearness.of(known.honest[held][:, train], codes)
    patients = len({known.whose[n] for n in held})
    index = CopyIndex(
        torch.empty(0), Details(torch.empty(0), torch.empty(0), torch.empty(0), 0), codes, usual, patients, 0
    )
    own = Nearness.of(known.honest[[scans_of[name][0] for name in names]][:, train], codes)
    return Division(index, own, train)


def table(known: Compared, sizes: tuple[int, int], divisions: int) -> None:
    rng = np.random.default_rng(0)
    made = [divided(known, sizes, rng) for _ in range(divisions)]
    alarms = sum(
        one.index.chance(int((one.own.score > one.index.limit).sum()), len(one.own.score)) <= ALPHA
        for one in made
    )
    held = np.mean([one.index.patients for one in made])
    print(
        f"\nT {sizes[0]}, H {sizes[1]} scans ({held:.0f} patients), S {np.mean([len(m.own.score) for m in made]):.0f}; "
        f"false alarms {clopper_pearson(alarms, divisions)}"
    )
    print(f"{'disguise':<50}{'single found':<14}{'at 10 %':<10}{'at 20 %':<10}found in 9 of 10 from")
    for title, likeness in known.copies.items():
        cells = _row(known, made, title, likeness)
        print(f"{title:<50}{cells[0]:<14.3f}{cells[1]:<10.3f}{cells[2]:<10.3f}{cells[3]}", flush=True)


def _row(
    known: Compared, made: Sequence[Division], title: str, likeness: Tensor
) -> tuple[float, float, float, str]:
    """Share of single copies beyond, power at 10 % and 20 %, smallest share found in 9 of 10."""
    caught, power = [], []
    for one in made:
        inside = torch.isin(known.of, torch.tensor(one.train))
        mine = inside.all(1) if title == "mixed of two" else inside[:, 0]
        copies = Nearness.of(likeness[mine][:, one.train], one.index.codes)
        caught.append(float((copies.score > one.index.limit).double().mean()))
        power.append([one.index.turned(one.own, copies, share) for share in (*SHARES, *STEPS)])
    mean = np.mean(power, axis=0)
    enough = [share for share, found in zip(STEPS, mean[2:], strict=True) if found >= 0.9]
    return float(np.mean(caught)), mean[0], mean[1], f"{enough[0]:.3g}" if enough else "never"


if __name__ == "__main__":
    main()
