"""Detection on labelled images: a prior that was shown healthy scans alone, beside plain detectors fitted to
the same scans.

    python bench/detect.py prepare pneumonia .cache/pneumonia      # healthy scans as a folder: medprior train learns the prior from it
    medprior train .cache/pneumonia --out runs/pneumonia --preset small --minutes 35 --modality DX
    python bench/detect.py learn pneumonia --prior runs/pneumonia --out runs/pneumonia-healthy
    python bench/detect.py measure pneumonia --prior runs/pneumonia-healthy [--split test] [--save]

Data sets: pneumonia (PneumoniaMNIST, 700 normals to learn from, 270 held back as a second healthy hold-out,
val calibrates), breast (BreastMNIST: normal or benign against malignant), busi (the same at 256 pixels),
chest (NIH: no_finding against pneumonia, one image of each patient and label). ``learn`` shows the prior the
healthy scans of train and calibrates on val; ``--save`` writes what was measured into the prior's trust.json.
Printed: AUROC of ours and of each plain score with intervals over patients, what each part of the
evidence gives and what is lost without it, false positives at 5 % on healthy patients that nothing was fitted
or calibrated to, and the control with shuffled labels. Reads MEDPRIOR_DATA.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from pretrain import DATA

from medprior import Prior, Volume, read
from medprior.data.seeds import generator
from medprior.errors import Uncalibrated
from medprior.evidence.detectors.detectors import plain_detectors
from medprior.evidence.intervals import clopper_pearson, interval
from medprior.evidence.metrics import auroc
from medprior.healthy.model import EVIDENCE, JOINED
from medprior.healthy.variants import reacquire
from medprior.jobs.detect import detect
from medprior.jobs.detection.calibrate import calibrate_detection, conformal_score, learn_healthy
from medprior.prior.promises import DetectPromise
from medprior.runs.core.inputs import known_prior
from medprior.runs.studies.detect import Scanned, detection_figures
from medprior.training.folder import locate, save, save_promises

LEARNED = 700
"""Normals of PneumoniaMNIST that are learned from; the others of its train part are the second healthy
hold-out.
"""


@dataclass(frozen=True)
class Case:
    """One image. split: train, held, val or test."""

    volume: Volume
    sick: bool
    patient: str
    split: str


def cases(name: str) -> list[Case]:
    """All images of a data set."""
    if name == "pneumonia":
        return medmnist("medmnist_pneumonia/{0}/pneumoniamnist_28.npz", "DX", sick=1, learned=LEARNED)
    if name == "breast":
        return medmnist("medmnist_breast/{0}/breastmnist_28.npz", "US", sick=0)
    folder, ill, modality = {
        "busi": ("breast_us_busi", "malignant", "US"),
        "chest": ("chest_xray_nih", "pneumonia", "DX"),
    }[name]
    # ultrasound images do not name patients, but those that are nearly the same are known
    listed = json.loads((DATA / "manifest.json").read_text())["datasets"][folder]["files"]
    clusters = {Path(one["path"]).stem: one["cluster"] for one in listed if "cluster" in one}
    found = []
    for path in sorted((DATA / folder).glob("*/*/*.png")):
        patient = path.name[:8] if name == "chest" else clusters[path.stem]
        found.append(Case(read(path, modality=modality), path.parent.name == ill, patient, path.parts[-3]))
    return found


def medmnist(where: str, modality: str, sick: int, learned: int | None = None) -> list[Case]:
    """Of an npz a split; nobody names patients, so each image counts as one."""
    found = []
    for split in ("train", "val", "test"):
        stored = np.load(DATA / where.format(split))
        images, labels = stored["images"], stored["labels"].ravel()
        parts = np.full(len(labels), split, dtype=object)
        if split == "train" and learned is not None:
            healthy = np.flatnonzero(labels != sick)
            order = torch.randperm(len(healthy), generator=torch.Generator().manual_seed(0)).numpy()
            parts[healthy[order[learned:]]] = "held"
        for n, (image, label, part) in enumerate(zip(images, labels, parts, strict=True)):
            found.append(
                Case(
                    Volume(image[None].astype(np.float32), modality=modality),
                    int(label) == sick,
                    f"{split}{n}",
                    str(part),
                )
            )
    return found


def prepare(name: str, out: Path) -> None:
    """Healthy scans of train and val as PNG, for ``medprior train``."""
    for n, case in enumerate(cases(name)):
        if not case.sick and case.split in ("train", "val"):
            path = out / case.split / "healthy" / f"{n:05d}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(case.volume.data[0].astype(np.uint8)).save(path)


def first_each(found: Iterable[Case]) -> list[Case]:
    """The first image of each patient and kind: patients are the independent units."""
    kept: dict[tuple[str, bool], Case] = {}
    for case in found:
        kept.setdefault((case.patient, case.sick), case)
    return list(kept.values())


def learn(name: str, prior: Prior, out: Path) -> None:
    """What healthy scans look like, and how others of them are ranked; the prior with both to ``out``."""
    every = cases(name)
    teachers = [c for c in every if c.split == "train" and not c.sick]
    held = first_each(c for c in every if c.split == "val" and not c.sick)
    began = time.perf_counter()
    patients = [c.patient for c in teachers]
    learn_healthy(
        prior,
        (c.volume for c in teachers),
        patients=patients,
        on_step=lambda n: print(n, end=" ", flush=True) if n % 50 == 0 else None,
    )
    entry = calibrate_detection(prior, (c.volume for c in held))
    promise = replace(
        entry,
        calibrated_on=f"{len(held)} healthy val patients",
        learned_from=len(teachers),
        data=digest(teachers + held),
        date=str(date.today()),
    )
    prior.promises = replace(prior.promises, detect=promise)
    save(prior, out, half=True)
    print(
        f"\n{name}: {len(teachers)} healthy scans learned, {len(held)} healthy patients calibrate, {time.perf_counter() - began:.0f} s",
        flush=True,
    )


def digest(found: list[Case]) -> str:
    """SHA-256 over the images' numbers."""
    total = hashlib.sha256()
    for case in found:
        total.update(np.ascontiguousarray(case.volume.data).tobytes())
    return total.hexdigest()


def otherwise(case: Case, number: int) -> Case:
    """SIMULATED: the same picture of 8 bits, as another posture, exposure and sharpness would show it; of the
    family that is learned beside healthy scans.
    """
    x = torch.from_numpy(case.volume.data)[None] / 127.5 - 1
    changed = reacquire(x, generator(0, "otherwise", number), strength=0.7)[0]
    return replace(case, volume=case.volume.with_data((changed.numpy() + 1) * 127.5))


def measure(name: str, prior: Prior, split: str, *, deep: bool, change: bool) -> dict[str, Any]:
    """All tables of one data set. change: every scan that is judged, healthy or not, is acquired
    otherwise.
    """
    every = cases(name)
    teachers = [c for c in every if c.split == "train" and not c.sick]
    second = first_each(c for c in every if c.split == "held")
    # on val the calibration's own patients are judged: good for choosing, not for a rate of false positives
    judged_on = first_each(c for c in every if c.split == split)
    if change:
        print("SIMULATED: every scan that is judged is acquired otherwise")
        judged_on, second = ([otherwise(c, n) for n, c in enumerate(part)] for part in (judged_on, second))
    began = time.perf_counter()
    plain = plain_detectors([prior.admit(c.volume).whole for c in teachers], deep=deep)
    print(f"plain detectors fitted in {time.perf_counter() - began:.0f} s: {', '.join(plain)}", flush=True)
    scans, evidence = [], []
    for n, case in enumerate(judged_on):
        found = detect(prior, case.volume, n_twins=0, gate=False)
        whole = prior.admit(case.volume).whole
        scores = {title: detector(whole).score for title, detector in plain.items()}
        scans.append(
            Scanned(case.sick, n, found.score, found.p_value, bool(found.findings), scores, bool(found.other))
        )
        evidence.append([found.evidence[part] for part in EVIDENCE])
    whole = told(scans, prior, split)
    parts(np.array(evidence), [s.sick for s in scans], prior)
    if second:
        found = [detect(prior, c.volume, n_twins=0, gate=False) for c in second]
        for title, hits in (
            ("flagged at 5 %", [f.flagged(0.05) for f in found]),
            ("with any finding", [bool(f.findings) for f in found]),
            ("refused", [bool(f.other) for f in found]),
        ):
            print(f"second healthy hold-out, {title}: {clopper_pearson(sum(hits), len(hits))}", flush=True)
    measured = {
        key: whole[key] for key in ("false_positive_rate", "healthy_scans_with_any_red") if key in whole
    }
    return measured | {
        f"{what} {title}": at for what in ("auroc", "average_precision") for title, at in whole[what].items()
    }


def _calibrated(prior: Prior) -> DetectPromise:
    if prior.promises.detect is None:
        raise Uncalibrated("the prior was not calibrated", "run bench/detect.py learn first")
    return prior.promises.detect


def told(scans: list[Scanned], prior: Prior, split: str) -> dict[str, Any]:
    """AUROC beside plain scores, false positives, shuffled labels."""
    whole = detection_figures(scans, 0.05, _calibrated(prior).n_healthy)
    print(f"\n{split}: {whole['healthy_scans']} healthy, {whole['other_scans']} others\n")
    print("| score | AUROC | 95 % interval | ours minus it | average precision |\n|---|---|---|---|---|")
    for title, at in whole["auroc"].items():
        ahead = whole["ahead"].get(title)
        minus = (
            "" if ahead is None else f"{ahead['value']:+.3f} ({ahead['low']:+.3f} to {ahead['high']:+.3f})"
        )
        print(
            f"| {title} | {at['value']:.3f} | {at['low']:.3f} to {at['high']:.3f} | {minus} | {whole['average_precision'][title]['value']:.3f} |"
        )
    print()
    for title in (
        "false_positive_rate",
        "flagged_of_others",
        "healthy_scans_with_any_red",
        "refused_of_healthy",
        "refused_of_others",
    ):
        if title in whole:
            print(
                f"{split}, {title.replace('_', ' ')}: {whole[title]['value']:.3f} ({whole[title]['low']:.3f} to {whole[title]['high']:.3f})"
            )
    labels = np.array([int(s.sick) for s in scans])
    shuffled = np.random.default_rng(0).permutation(labels)
    control = interval(
        auroc, [s.score for s in scans], shuffled, patients=range(len(scans)), strata=shuffled.tolist()
    )
    print(f"control, shuffled labels: AUROC {control}\n", flush=True)
    return whole


def parts(evidence: np.ndarray, sick: list[bool], prior: Prior) -> None:
    """Each part of the evidence alone, and all without it."""

    def told(names: Sequence[str]) -> float:
        known = torch.tensor([_calibrated(prior).evidence[name] for name in names]).T
        found = torch.tensor(evidence[:, [EVIDENCE.index(name) for name in names]], dtype=torch.float32)
        return auroc([conformal_score(one, known)[0] for one in found], labels)

    labels = np.array(sick, int)
    print("| evidence | AUROC alone | score without it, or with it where it is not joined |\n|---|---|---|")
    for n, name in enumerate(EVIDENCE):
        others = [other for other in EVIDENCE if (other in JOINED) != (other == name)]
        print(f"| {name} | {auroc(evidence[:, n], labels):.3f} | {told(others):.3f} |")
    print(flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    verbs = parser.add_subparsers(dest="verb", required=True)
    first = verbs.add_parser("prepare")
    first.add_argument("name")
    first.add_argument("out", type=Path)
    middle = verbs.add_parser("learn")
    middle.add_argument("name")
    middle.add_argument("--prior", required=True)
    middle.add_argument("--out", type=Path, required=True)
    second = verbs.add_parser("measure")
    second.add_argument("name")
    second.add_argument("--prior", required=True)
    second.add_argument("--split", default="test", choices=("val", "test"))
    second.add_argument("--save", action="store_true", help="into the prior's trust.json")
    second.add_argument(
        "--otherwise",
        action="store_true",
        help="scans that are judged are acquired a little otherwise, SIMULATED",
    )
    second.add_argument("--quick", action="store_true", help="without PatchCore and PaDiM")
    chosen = parser.parse_args()
    if chosen.verb == "prepare":
        prepare(chosen.name, chosen.out)
        return
    prior = known_prior(chosen.prior).prior
    if chosen.verb == "learn":
        learn(chosen.name, prior, chosen.out)
        return
    found = measure(chosen.name, prior, chosen.split, deep=not chosen.quick, change=chosen.otherwise)
    if chosen.save:
        measured = replace(prior.promises, detect=replace(_calibrated(prior), measured=found))
        save_promises(locate(chosen.prior), measured, locate(chosen.prior))


if __name__ == "__main__":
    main()
