"""Intervals of the bundled priors: calibrates them on val patients, measures their coverage on test patients,
writes both into trust.json.

    python bench/calibrate.py collect brain-t1 --task mri4 --split val [--fast] [--per-patient 16] --work .cache/calibrate
    python bench/calibrate.py write brain-t1 --work .cache/calibrate       # what was collected, into the prior's trust.json
    python bench/calibrate.py units brain-t1 --work .cache/calibrate       # what the units of its older entries were, ICC, and how much narrower than one width
    python bench/calibrate.py table --work .cache/calibrate                # coverage on test, widths, image-level bounds

Measurements are simulated as ``medprior reconstruct`` simulates them; what was collected is kept image by
image, so that a stopped run goes on. Reads MEDPRIOR_DATA. Val patients calibrate, test patients measure,
neither was learned from.

The patients are the units. Where the val split has fewer than a level of 90 % needs (brain-t1: 4 of 9), the
interval is of slices, is marked so with their intra-class correlation, and has no bound on the PSNR.
"""

from __future__ import annotations

import argparse
import hashlib
import json
from collections.abc import Iterator
from dataclasses import asdict, replace
from datetime import date
from math import log, log10
from pathlib import Path
from typing import Any

import numpy as np
import torch
from pretrain import RECIPES, scans

from medprior import Prior, Volume, load
from medprior.data.seeds import seed_for
from medprior.errors import Uncalibrated
from medprior.evidence.calibration import SCALES
from medprior.evidence.intervals import interval, intraclass_correlation
from medprior.jobs.calibrate import CaseResiduals, calibration_entry, narrower_than_one_width, residuals_of
from medprior.jobs.reconstruct import Settings, how_of, reconstruct
from medprior.prior.promises import IntervalPromise, MeasurementKind, Promises, ReconstructionMethod
from medprior.runs.ask.requests import TASKS, Reconstruct
from medprior.runs.reconstruct.simulate import case_of
from medprior.runs.studies.calibrate_reconstruct import title_of
from medprior.training.folder import read_healthy, save, save_promises

FOLDER = Path("src/medprior/pretrained")
DRAWS = 8


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("stage", choices=("collect", "write", "units", "table"))
    parser.add_argument("name", nargs="?", choices=sorted(RECIPES))
    parser.add_argument("--task", choices=sorted(TASKS))
    parser.add_argument("--split", choices=("val", "test"), default="val")
    parser.add_argument("--fast", action="store_true")
    parser.add_argument(
        "--per-patient", type=int, default=16, help="slices of a volume, evenly spaced in its middle half"
    )
    parser.add_argument("--precision", default="bfloat16", choices=("float32", "bfloat16"))
    parser.add_argument("--work", type=Path, default=Path(".cache/calibrate"))
    chosen = parser.parse_args()
    chosen.work.mkdir(parents=True, exist_ok=True)
    if chosen.stage == "collect":
        collect(chosen)
    elif chosen.stage == "write":
        write(chosen.name, chosen.work)
    elif chosen.stage == "units":
        units(chosen.name, chosen.work)
    else:
        table(chosen.work)


def images(name: str, split: str, per_patient: int) -> Iterator[tuple[Volume, int | None, str]]:
    """(scan, slice, patient): one X-ray a patient, every CT slice, slices of volumes."""
    seen: set[str] = set()
    for volume, _, patient in scans(name, split):
        if name == "chest-xray" and patient in seen:
            continue
        seen.add(patient)
        yield from ((volume, at, patient) for at in _slices(name, volume, per_patient))


def _slices(name: str, volume: Volume, n: int) -> list[int | None]:
    if volume.ndim == RECIPES[name].card.ndim:
        return [None]
    depth = volume.shape[-1]
    return [round(i) for i in np.linspace(depth // 4, depth - depth // 4 - 1, n)]


def collect(chosen: argparse.Namespace) -> None:
    path = (
        chosen.work / f"{chosen.name}_{chosen.task}_{'fast' if chosen.fast else 'draws'}_{chosen.split}.json"
    )
    found = rows_of(path, chosen.fast) if path.exists() else []
    prior = load(FOLDER / chosen.name)
    prior.promises = Promises()
    for i, (volume, at, patient) in enumerate(images(chosen.name, chosen.split, chosen.per_patient)):
        if i < len(found):
            continue
        values = {
            "input": Path("."),
            "prior": chosen.name,
            "slice": at,
            "seed": seed_for(0, chosen.split, i),
            **TASKS[chosen.task],
        }
        case = case_of(Reconstruct.model_validate(values), prior, volume)
        draws = reconstruct(
            prior,
            case.measurement,
            n=1 if chosen.fast else DRAWS,
            seed=i,
            settings=Settings(precision=chosen.precision),
            fast=chosen.fast,
        )
        one = residuals_of(draws, case.image, case.measurement, case.scale, patient)
        residual = float(case.measurement.misfit(draws.mean()[None])[0])
        found.append(
            {
                **asdict(one),
                "residual": residual,
                "sha256": digest(volume),
                "title": title_of(chosen.task),
                "how": asdict(how(chosen.fast)),
            }
        )
        path.write_text(json.dumps(found))
        print(f"{path.stem} {i}: {one.psnr_db:.2f} dB, ratio {one.ratio:.2f}", flush=True)


def rows_of(path: Path, fast: bool) -> list[dict[str, Any]]:
    """What was collected; SystemExit where it was with other settings than today's."""
    rows: list[dict[str, Any]] = json.loads(path.read_text())
    if any(row.get("how") != asdict(how(fast)) for row in rows):
        raise SystemExit(f"{path}: collected with other settings; choose another --work")
    return rows


def digest(volume: Volume) -> str:
    return hashlib.sha256(np.ascontiguousarray(volume.data).tobytes()).hexdigest()


def stored(
    work: Path, name: str, split: str
) -> Iterator[tuple[str, bool, list[CaseResiduals], list[dict[str, Any]]]]:
    for path in sorted(work.glob(f"{name}_*_{split}.json")):
        _, task, mode, _ = path.stem.split("_")
        rows = rows_of(path, mode == "fast")
        kept = [
            CaseResiduals(
                row["curve"],
                row["ratio"],
                row["width"],
                row["psnr_db"],
                MeasurementKind(**row["kind"]),
                row["patient"],
                row.get("mean_width", 0.0),
                row.get("plain_curve", ()),
            )
            for row in rows
        ]
        yield task, mode == "fast", kept, rows


def how(fast: bool) -> ReconstructionMethod:
    return how_of(Settings(), 1 if fast else DRAWS, fast)


def write(name: str, work: Path) -> None:
    prior: Prior = load(FOLDER / name)
    entries = []
    tested = {(task, fast): (found, rows) for task, fast, found, rows in stored(work, name, "test")}
    for task, fast, found, rows in stored(work, name, "val"):
        entry = entry_of(found, fast, rows[0]["title"])
        data = hashlib.sha256("".join(sorted(row["sha256"] for row in rows)).encode()).hexdigest()
        more: dict[str, Any] = {
            "calibrated_on": f"{len(found)} images of {len({f.patient for f in found})} val patients"
        }
        if (task, fast) in tested:
            more["measured"] = coverage(entry, tested[task, fast][0])
        entry = replace(entry, data=data, date=str(date.today()), more=more)
        entries.append(entry)
        print(
            f"{name} {entry.title}, {'point estimate' if fast else f'{DRAWS} draws'}: {entry.calibration}",
            flush=True,
        )
    prior.promises = replace(prior.promises, reconstruct=tuple(entries))
    save(prior, FOLDER / name, half=True)


def entry_of(found: list[CaseResiduals], fast: bool, title: str) -> IntervalPromise:
    """By patients; by slices, and marked so, where there are too few patients."""
    try:
        return calibration_entry(found, how(fast), title, named=len(found))
    except Uncalibrated as reason:
        print(f"{title}: {reason}; by slices", flush=True)
    alone = [replace(one, patient=str(n)) for n, one in enumerate(found)]
    entry = calibration_entry(alone, how(fast), title, named=len(found))
    patients = len({one.patient for one in found})
    at = replace(entry.calibration, patients=patients, units="slices", icc=icc_of(found))
    return replace(entry, calibration=at)


def icc_of(found: list[CaseResiduals]) -> float | None:
    return intraclass_correlation([log(one.ratio) for one in found], [one.patient for one in found])


def units(name: str, work: Path) -> None:
    """Marks what older entries rest on: patients where each image is of another one, else slices, with the
    ICC where images were collected again, and the coverage where those of test were. A bound that slices cannot
    support, and what was measured of it, goes.
    """
    prior: Prior = load(FOLDER / name)
    icc: dict[tuple[str, bool], float | None] = {}
    for _, fast, found, rows in stored(work, name, "val"):
        at = icc[rows[0]["title"], fast] = icc_of(found)
        share, patients = narrower_than_one_width(found, 0.9) or 0.0, len({one.patient for one in found})
        print(
            f"{name} {rows[0]['title']}, {'fast' if fast else f'{DRAWS} draws'}: {len(found)} images of "
            f"{patients} val patients, ICC {at or 0:.2f}; {abs(share):.1%} {'narrower' if share >= 0 else 'wider'} "
            "than one width for all voxels at the same coverage"
        )
    tested = {(rows[0]["title"], fast): found for _, fast, found, rows in stored(work, name, "test")}
    entries = []
    for one in prior.promises.reconstruct:
        old, more = one.calibration, dict(one.more)
        kind = "patients" if old.n == old.patients else "slices"
        known = icc.get((one.title, one.how.fast), old.icc)
        fitted = replace(old, units=kind, icc=known, named=old.n)
        if fitted.missing:
            gone = ("psnr_bound_held", "median_bound_db")
            more["measured"] = {key: v for key, v in more.get("measured", {}).items() if key not in gone}
        if (one.title, one.how.fast) in tested:
            seen = coverage(replace(one, calibration=fitted), tested[one.title, one.how.fast])
            more["measured"], (share, low, high) = seen, seen["coverage"]
            print(
                f"{name} {one.title}, {'fast' if one.how.fast else f'{DRAWS} draws'}: coverage {share:.3f} "
                f"({low:.3f} to {high:.3f}) on {seen['images']} images of {seen['patients']} test patients"
            )
        entries.append(replace(one, calibration=fitted, more=more))
        print(f"{name} {one.title}: {fitted.basis} {fitted.short}", flush=True)
    folder = FOLDER / name
    promises = replace(prior.promises, reconstruct=tuple(entries))
    save_promises(folder, promises, folder, healthy=read_healthy(folder))


def coverage(entry: IntervalPromise, found: list[CaseResiduals]) -> dict[str, Any]:
    """What the calibrated interval does on patients that neither taught nor calibrated it."""
    scale, error = entry.calibration.scale, entry.calibration.error
    at = int(torch.searchsorted(SCALES, torch.tensor(scale, dtype=torch.float64) * (1 - 1e-9)))
    inside = [one.curve[at] for one in found]
    patients = [one.patient for one in found]
    share = interval(lambda v: float(np.mean(v)), inside, patients=patients)
    held = interval(
        lambda v: float(np.mean(v)), [float(one.ratio <= error) for one in found], patients=patients
    )
    bounds = [10 * log10(4 / (error * 10 ** (-one.psnr_db / 10) * 4 / one.ratio)) for one in found]
    bound = {
        "psnr_bound_held": [held.value, max(0.0, held.low), min(1.0, held.high)],
        "median_bound_db": float(np.median(bounds)),
    }
    return {
        "coverage": [share.value, share.low, share.high],
        "lowest_image": min(inside),
        "median_width": float(np.median([2 * scale * one.width for one in found])),
        "psnr_db": float(np.mean([one.psnr_db for one in found])),
        **({} if entry.calibration.missing else bound),
        "images": len(found),
        "patients": len(set(patients)),
    }


def table(work: Path) -> None:
    print(
        "Coverage of 90 % intervals over the body of test images; width: median, share of the intensity range; bound: PSNR promised with 90 %"
    )
    layout = "{:<11}{:<9}{:<8}{:<12}{:<7}{:<12}{:<27}{:<8}{:<8}{:<10}{:<8}{:<8}{:<21}{}"
    print("images stand with (patients); narrower: than one width for all voxels, at the same coverage")
    print(
        layout.format(
            *["prior", "task", "result", "val", "scale", "test"],
            "coverage (95 % interval)",
            *["lowest", "width", "narrower", "PSNR", "bound", "held", "residual"],
        )
    )
    for name in sorted(RECIPES):
        tested = {(task, fast): (found, rows) for task, fast, found, rows in stored(work, name, "test")}
        for task, fast, found, rows in stored(work, name, "val"):
            if (task, fast) in tested:
                print(layout.format(name, task, *_cells(fast, found, rows, *tested[task, fast])), flush=True)


def _cells(
    fast: bool,
    found: list[CaseResiduals],
    rows: list[dict[str, Any]],
    tested: list[CaseResiduals],
    tested_rows: list[dict[str, Any]],
) -> list[str]:
    entry = entry_of(found, fast, rows[0]["title"])
    at, fitted = coverage(entry, tested), entry.calibration
    share, held = at["coverage"], at.get("psnr_bound_held")
    return [
        "fast" if fast else f"{DRAWS} draws",
        f"{len(found)} ({fitted.patients})",
        f"{fitted.scale:.2f}",
        f"{at['images']} ({at['patients']})",
        f"{share[0]:.3f} ({share[1]:.3f} to {share[2]:.3f})",
        f"{at['lowest_image']:.3f}",
        f"{at['median_width'] / 2:.4f}",
        "" if (share := narrower_than_one_width(tested, 0.9)) is None else f"{share:.1%}",
        f"{at['psnr_db']:.2f}",
        f"{at['median_bound_db']:.2f}" if held else "none",
        f"{held[0]:.2f} ({held[1]:.2f} to {held[2]:.2f})" if held else "not promised",
        f"{np.median([row['residual'] for row in tested_rows]):.2f}",
    ]


if __name__ == "__main__":
    main()
