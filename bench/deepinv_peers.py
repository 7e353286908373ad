"""Reconstruction beside deepinv 0.5, the same weights on both sides: one run, one table a task.

    pip install --no-deps --target .cache/peers ptwt PyWavelets      beside what bench/peers.py names; deepinv's wavelets need them
    python bench/deepinv_peers.py --peers .cache/peers [--tasks mri4,sr4,inpaint,blur] [--patients 5] [--out FILE] [--show]
    python bench/deepinv_peers.py --peers .cache/peers --tune [--patients 2]          what the knobs do on val

deepinv's own classes (DPIR, DiffPIR, DDRM, DPS; FISTA with total variation and with wavelets); the denoiser
of all of them is the bundled brain-t1 in an adapter, images in 0..1. They are compared at equal numbers of
evaluations: 7, as our point estimate takes, 42 as one draw, and 8 times 42 as the mean of 8 draws. For each
number the knobs are the best of a grid, the defaults among them, by the mean PSNR of one slice of each of
--patients val patients (two or more). Of the three that draw, the mean of draws is taken of DDRM, which was
ahead of DiffPIR. Measurements are simulated, of test slices, and the same for both sides. All four operators
have a singular value decomposition in closed form, so that DDRM runs on each and the data steps of the others
are exact and cost next to nothing; CT has none of this size, which is why the fourth task is a blur. Data
range 2 (network units -1..1). Intervals are over patients. Seconds: CPU time, one thread. Calls: images that
went through the network. Reads MEDPRIOR_DATA.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable, Sequence
from dataclasses import astuple, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from deepinv_methods import (
    PROBLEMS,
    SAID,
    Case,
    Method,
    case,
    ddrm,
    diffpir,
    dpir,
    dps,
    ours,
    sparse,
    unassisted,
)
from peers import add_peers
from tasks import RANGE, slices
from torch import Tensor, nn

from medprior import Prior, load
from medprior.evidence.intervals import interval
from medprior.evidence.metrics import psnr, ssim

DRAWS = 8


FEW, MANY = 7, 42
"""Evaluations of our point estimate, and of one draw."""


@dataclass(frozen=True)
class Knobs:
    """The best of ``tried`` by the mean PSNR over one slice of so many val patients: weights of total variation
    and of wavelets, and of each method at each number of evaluations.
    """

    patients: int
    tv: float
    wavelet: float
    best: dict[str, dict[str, Any]]


TUNED = Path(__file__).parent / "deepinv_knobs.json"
"""Written by --tune."""
_WEIGHTS = (1e-4, 3e-4, 1e-3, 3e-3, 1e-2, 3e-2, 1e-1, 3e-1)
_DPIR: tuple[dict[str, Any], ...] = tuple(
    {"low": low, "high": high, "grey": grey}
    for high in (0.1, 0.5, 1.0)
    for low in (None, 0.02)
    for grey in (False, True)
)
_DIFFPIR: tuple[dict[str, Any], ...] = ({}, {"zeta": 0.5}, {"zeta": 1.0}, {"zeta": 1.0, "lambda_": 1.0})
_DDRM: tuple[dict[str, Any], ...] = ({}, {"eta": 1.0}, {"geometric": True}, {"geometric": True, "eta": 1.0})
_DPS: tuple[dict[str, Any], ...] = tuple({"guidance": "annealed", "weight": w} for w in (1.0, 4.0, 16.0))
_METHODS: dict[str, tuple[tuple[dict[str, Any], ...], tuple[int, ...]]] = {
    "DPIR": (_DPIR, (FEW, MANY)),
    "DiffPIR": (_DIFFPIR, (FEW, MANY)),
    "DDRM": (_DDRM, (FEW, MANY)),
    "DPS": (_DPS, (MANY,)),
}


def tried(prior: Prior, name: str, calls: int, n: int = 1, **knobs: Any) -> Method:
    """One of deepinv's methods. calls: evaluations of the network for each image."""
    if name == "DPIR":
        return dpir(prior, calls=calls, **knobs)
    if name == "DPS":
        return dps(prior, calls + 1, **knobs)
    return (diffpir if name == "DiffPIR" else ddrm)(prior, n, calls=calls, **knobs)


def knobs_of(name: str) -> Knobs:
    if not TUNED.is_file():
        raise SystemExit(f"{TUNED}: run --tune first")
    return Knobs(**json.loads(TUNED.read_text(encoding="utf-8"))[name])


@dataclass(frozen=True)
class Row:
    """after: the round in which the first patient is measured, each further one in the next; most:
    patients.
    """

    title: str
    method: Method
    after: int = 0
    most: int = 99


MEAN = f"ours, mean of {DRAWS}"


def rows(prior: Prior, k: Knobs) -> list[Row]:
    """Without a prior, ours, then each method at our numbers of evaluations."""
    found = [
        Row("least squares, no prior", unassisted()),
        Row(f"FISTA, TV {k.tv:g}", sparse("TV", k.tv)),
        Row(f"FISTA, wavelets {k.wavelet:g}", sparse("wavelets", k.wavelet)),
        Row("ours, fast", ours(prior, 1, fast=True)),
        Row("ours, one draw", ours(prior, 1)),
        Row(MEAN, ours(prior, DRAWS)),
    ]
    for calls in (FEW, MANY):
        for name, (_, numbers) in _METHODS.items():
            if calls in numbers:
                best = k.best[f"{name} {calls}"]
                found.append(Row(f"{name} {calls}, {_said(best)}", tried(prior, name, calls, **best)))
    best = k.best[f"DDRM {MANY}"]
    return [*found, Row(f"DDRM {MANY}, mean of {DRAWS}", tried(prior, "DDRM", MANY, DRAWS, **best), after=1)]


def _said(knobs: dict[str, Any]) -> str:
    """{"zeta": 1.0, "geometric": True} -> "zeta 1, geometric"; what is None or False is not said."""
    words = [
        name.strip("_") + ("" if value is True else f" {value}")
        for name, value in knobs.items()
        if value is not None and value is not False
    ]
    return ", ".join(words) or "default"


@dataclass(frozen=True)
class Got:
    psnr: float
    ssim: float
    evaluations: int
    seconds: float


class Counter:
    """Images that went through the network."""

    def __init__(self, net: nn.Module) -> None:
        self.n = 0
        net.register_forward_pre_hook(self.seen)

    def seen(self, _net: nn.Module, eaten: tuple[Tensor, ...]) -> None:
        self.n += len(eaten[0])


def run(method: Method, c: Case, counter: Counter) -> Got:
    counter.n, began = 0, time.process_time()
    with torch.no_grad():
        got = method(c)
    seconds = time.process_time() - began
    return Got(float(psnr(got, c.truth, RANGE)[0]), float(ssim(got, c.truth, RANGE)[0]), counter.n, seconds)


def _with_interval(values: Sequence[float], patients: Sequence[str], digits: int, sign: str = "") -> str:
    mean = f"{np.mean(values):{sign}.{digits}f}"
    if len(set(patients)) < 3:
        return mean
    at = interval(lambda v: float(np.mean(v)), values, patients=patients)
    return f"{mean} ({at.low:{sign}.{digits}f} to {at.high:{sign}.{digits}f})"


def table(
    name: str, listed: list[Row], results: dict[tuple[str, int], Got], patients: list[str], tuned_on: int
) -> str:
    """ahead: the mean of our draws minus the row, on the images that the row has."""
    lines = [
        f"{name}: {SAID[name]}; knobs tuned on one slice of each of {tuned_on} val patients; calls: images through the network",
        f"{'method':<41}{'n':<3}{'PSNR dB':<25}{'SSIM':<24}{'our mean ahead, dB':<25}{'SSIM':<27}{'calls':<7}CPU s",
    ]
    for row in listed:
        at = [i for i in range(len(patients)) if (row.title, i) in results and (MEAN, i) in results]
        if not at:
            continue
        mine, others, who = (
            [results[MEAN, i] for i in at],
            [results[row.title, i] for i in at],
            [patients[i] for i in at],
        )
        ahead = [
            _with_interval(
                [getattr(a, w) - getattr(b, w) for a, b in zip(mine, others, strict=True)], who, d, "+"
            )
            for w, d in (("psnr", 2), ("ssim", 3))
        ]
        if row.title == MEAN:
            ahead = ["", ""]
        lines.append(
            f"{row.title:<41}{len(at):<3}{_with_interval([g.psnr for g in others], who, 2):<25}{_with_interval([g.ssim for g in others], who, 3):<24}"
            f"{ahead[0]:<25}{ahead[1]:<27}{np.mean([g.evaluations for g in others]):<7.0f}{np.median([g.seconds for g in others]):.2f}"
        )
    return "\n".join(lines)


def compare(prior: Prior, names: list[str], most: int, out: Path, show: bool) -> None:
    """Round by round, so that a run that is cut off has the first patients; what was measured is kept in
    ``out``, where the same command goes on.
    """
    counter = Counter(prior.net)
    images, patients = slices("brain-t1", "test", 1)
    images, patients = images[:most], patients[:most]
    listed = {name: rows(prior, knobs_of(name)) for name in names}
    results: dict[str, dict[tuple[str, int], Got]] = {name: {} for name in PROBLEMS}
    for line in out.read_text(encoding="utf-8").splitlines() if out.is_file() else []:
        name, title, i, *got = json.loads(line)
        results[name][title, i] = Got(*got)
    turns = [] if show else range(max(row.after for row in listed[names[0]]) + len(images))
    if turns:  # what is slow the first time is nobody's cost
        run(ours(prior, 1, fast=True), case(PROBLEMS[names[0]], images[0], patients[0], 0), counter)
    for turn in turns:
        for name in names:
            for row in listed[name]:
                i = turn - row.after
                if 0 <= i < min(row.most, len(images)) and (row.title, i) not in results[name]:
                    c = case(PROBLEMS[name], images[i], patients[i], i)
                    got = results[name][row.title, i] = run(row.method, c, counter)
                    with out.open("a", encoding="utf-8") as log:
                        log.write(json.dumps([name, row.title, i, *astuple(got)]) + "\n")
    tables = (table(n, listed[n], results[n], patients, knobs_of(n).patients) for n in names)
    print("\n\n".join(tables))


def tune(prior: Prior, names: list[str], most: int) -> None:
    """Every knob that is tried, on one slice of each of so many val patients; the best into ``TUNED``."""
    counter = Counter(prior.net)
    images, patients = slices("brain-t1", "val", 1, seed=7)
    images, patients = images[:most], patients[:most]
    found = json.loads(TUNED.read_text(encoding="utf-8")) if TUNED.is_file() else {}
    for name in names:
        cases = [
            case(PROBLEMS[name], image, patient, 1000 + i)
            for i, (image, patient) in enumerate(zip(images, patients, strict=True))
        ]

        def best(title: str, options: Sequence[Any], method: Callable[[Any], Method]) -> Any:
            reached = [float(np.mean([run(method(one), c, counter).psnr for c in cases])) for one in options]  # noqa: B023
            for one, mean in zip(options, reached, strict=True):
                print(f"{name:<9}{f'{title}: {one}':<60}{mean:6.2f}", flush=True)  # noqa: B023
            return options[int(np.argmax(reached))]

        tv, wavelet = (best(kind, _WEIGHTS, partial(sparse, kind)) for kind in ("TV", "wavelets"))
        knobs = {
            f"{title} {calls}": best(
                f"{title} {calls}", grid, lambda one, t=title, n=calls: tried(prior, t, n, **one)
            )
            for title, (grid, numbers) in _METHODS.items()
            for calls in numbers
        }
        found[name] = {"patients": len(images), "tv": tv, "wavelet": wavelet, "best": knobs}
        TUNED.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--peers", type=Path, help="folder of other people's packages, see bench/peers.py")
    parser.add_argument("--tasks", default=",".join(PROBLEMS))
    parser.add_argument("--patients", type=int, default=5)
    parser.add_argument(
        "--out",
        type=Path,
        default=Path(".cache/deepinv.jsonl"),
        help="what was measured, a line each; the same command goes on there",
    )
    parser.add_argument(
        "--show", action="store_true", help="print the tables of what was measured, and no more"
    )
    parser.add_argument(
        "--tune", action="store_true", help="print what the knobs do on val; the best are kept"
    )
    chosen = parser.parse_args()
    torch.set_num_threads(1)
    add_peers(chosen.peers)
    prior, names = load("brain-t1"), chosen.tasks.split(",")
    if chosen.tune:
        tune(prior, names, chosen.patients)
    else:
        chosen.out.parent.mkdir(parents=True, exist_ok=True)
        compare(prior, names, chosen.patients, chosen.out, chosen.show)


if __name__ == "__main__":
    main()
