"""Reconstruction beside deepinv 0.5, the same weights on both sides: one run, one table a task.

    pip install --no-deps --target .cache/peers ptwt PyWavelets      beside what bench/peers.py names; deepinv's wavelets need them
    python bench/deepinv_peers.py --peers .cache/peers [--tasks mri4,sr4,inpaint,blur] [--patients 5] [--out FILE] [--show]
    python bench/deepinv_peers.py --peers .cache/peers --tune          what the knobs do on val

deepinv's own classes with their own defaults (DPIR, DiffPIR, DDRM, DPS; FISTA with total variation and with
wavelets); the denoiser of all of them is the bundled brain-t1 in an adapter, images in 0..1. Beside each
default stands the best of a small grid, tried on one val slice. Measurements are simulated, of test slices,
and the same for both sides. All four operators have a singular value decomposition in closed form, so that
DDRM runs on each and the data steps of the others are exact and cost next to nothing; CT has none of this
size, which is why the fourth task is a blur. Data range 2 (network units -1..1). Intervals: bootstrap over
patients, too narrow for so few. Seconds: CPU time, one thread. Calls: images that went through the network.
Reads MEDPRIOR_DATA.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable, Sequence
from dataclasses import astuple, dataclass
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
    image_alone,
    ours,
    sparse,
)
from peers import add_peers
from tasks import RANGE, slices
from torch import Tensor, nn

from medprior import Prior, load
from medprior.evidence.intervals import interval
from medprior.evidence.metrics import psnr, ssim

DRAWS = 8


@dataclass(frozen=True)
class Knobs:
    """The best on one val slice, by PSNR, of what ``tune`` tries (not every point was tried on every task):
    weights of total variation and of wavelets, and what differs from the defaults of DPIR, DiffPIR and DDRM.
    """

    tv: float
    wavelet: float
    dpir: dict[str, Any]
    diffpir: dict[str, Any]
    ddrm: dict[str, Any]


KNOBS = {
    "mri4": Knobs(1e-2, 1e-4, {"low": 0.02, "high": 1.0}, {"zeta": 1.0}, {"geometric": True}),
    "sr4": Knobs(1e-3, 1e-3, {"low": 0.02, "high": 0.5}, {"zeta": 1.0}, {"eta": 1.0}),
    "inpaint": Knobs(3e-2, 0.3, {"low": 0.02, "high": 0.5, "grey": True}, {"zeta": 1.0}, {"eta": 1.0}),
    "blur": Knobs(3e-4, 1e-2, {}, {"zeta": 1.0}, {}),
}
_WEIGHTS = (1e-4, 3e-4, 1e-3, 3e-3, 1e-2, 3e-2, 1e-1)
_DPIR: tuple[dict[str, Any], ...] = (
    {},
    {"grey": True},
    *(
        {"low": low, "high": high, "grey": grey}
        for high in (0.1, 0.5, 1.0, 2.0)
        for low in (None, 0.02)
        for grey in (False, True)
    ),
)
_DIFFPIR: tuple[dict[str, Any], ...] = ({}, {"zeta": 0.5}, {"zeta": 1.0}, {"lambda_": 1.0}, {"lambda_": 25.0})
_DDRM: tuple[dict[str, Any], ...] = ({}, {"eta": 1.0}, {"geometric": True})
_DPS_TRIED = (
    ("norm", 1.0),
    ("norm", 30.0),
    ("norm", 200.0),
    ("annealed", 1.0),
    ("annealed", 4.0),
    ("annealed", 16.0),
)
_DPS: dict[str, Any] = {"guidance": "annealed", "weight": 4.0}


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
    """The defaults, then what tuning changed; the long ones late."""
    found = [
        Row("ours, fast", ours(prior, 1, fast=True)),
        Row("ours, fast, its image without its error", image_alone(prior)),
        Row("ours, one draw", ours(prior, 1)),
        Row(MEAN, ours(prior, DRAWS)),
        Row("DPIR", dpir(prior)),
        Row("DiffPIR", diffpir(prior)),
        Row("DDRM", ddrm(prior)),
        Row(f"FISTA, TV {k.tv:g}", sparse("TV", k.tv)),
        Row(f"FISTA, wavelets {k.wavelet:g}", sparse("wavelets", k.wavelet)),
    ]
    tuned: tuple[tuple[str, dict[str, Any], Callable[..., Method]], ...] = (
        ("DPIR", k.dpir, dpir),
        ("DiffPIR", k.diffpir, diffpir),
        ("DDRM", k.ddrm, ddrm),
    )
    found += [Row(f"{name}, {_said(knobs)}", make(prior, **knobs)) for name, knobs, make in tuned if knobs]
    return [
        *found,
        Row("DPS, 100 steps, annealed, weight 4", dps(prior, 100, **_DPS), after=1, most=1),
        Row(f"DDRM, the better, mean of {DRAWS}", ddrm(prior, DRAWS, **k.ddrm), after=3, most=1),
        Row(f"DiffPIR, the better, mean of {DRAWS}", diffpir(prior, DRAWS, **k.diffpir), after=4, most=1),
        Row("DPS, 1000 steps", dps(prior), after=5, most=1),
    ]


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


def table(name: str, listed: list[Row], results: dict[tuple[str, int], Got], patients: list[str]) -> str:
    """ahead: the mean of our draws minus the row, on the images that the row has."""
    lines = [
        f"{name}: {SAID[name]}",
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
    listed = {name: rows(prior, KNOBS[name]) for name in names}
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
    print("\n\n".join(table(name, listed[name], results[name], patients) for name in names))


def tune(prior: Prior, names: list[str]) -> None:
    """Every knob that was tried, on one val slice; DPS on the first task alone."""
    counter = Counter(prior.net)
    images, patients = slices("brain-t1", "val", 1, seed=7)
    for name in names:
        c = case(PROBLEMS[name], images[0], patients[0], 1000)
        tried: list[tuple[str, Method]] = [
            (f"{kind} {w:g}", sparse(kind, w)) for kind in ("TV", "wavelets") for w in _WEIGHTS
        ]
        tried += [(f"DPIR {_said(k)}", dpir(prior, **k)) for k in _DPIR]
        tried += [(f"DiffPIR {_said(k)}", diffpir(prior, **k)) for k in _DIFFPIR]
        tried += [(f"DDRM {_said(k)}", ddrm(prior, **k)) for k in _DDRM]
        if name == names[0]:
            tried += [
                (f"DPS, 100 steps, {g} {w:g}", dps(prior, 100, guidance=g, weight=w)) for g, w in _DPS_TRIED
            ]
        for title, method in tried:
            got = run(method, c, counter)
            print(f"{name:<9}{title:<34}{got.psnr:6.2f} {got.ssim:.3f}", flush=True)


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
    parser.add_argument("--tune", action="store_true", help="print what the knobs do on val, and no more")
    chosen = parser.parse_args()
    torch.set_num_threads(1)
    add_peers(chosen.peers)
    prior, names = load("brain-t1"), chosen.tasks.split(",")
    if chosen.tune:
        tune(prior, names)
    else:
        chosen.out.parent.mkdir(parents=True, exist_ok=True)
        compare(prior, names, chosen.patients, chosen.out, chosen.show)


if __name__ == "__main__":
    main()
