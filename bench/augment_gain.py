"""Is it worth it, on public data with few labels: `medprior evaluate augment` with several ways to generate,
the way chosen on val, judged on test.

python bench/augment_gain.py prepare WORK                    # folders from the shared data; then train a prior for each set, e.g.:
  medprior train WORK/pneumonia-others --out WORK/p_pneumonia --minutes 45    (the half of the train split from which no labelled scan is drawn)
  medprior train WORK/hippocampus-others --plane sagittal --modality MR --out WORK/p_hippocampus --minutes 15    (images with masks; labelled: the others)
  medprior train WORK/breast --out WORK/p_breast --minutes 25                 (train split alone: a train run leaves val to its error table, test alone)
python bench/augment_gain.py run WORK CELL PRIOR [--seeds 5]  # e.g. pneumonia-25 WORK/p_pneumonia; goes on where it was stopped
python bench/augment_gain.py again WORK CELL PRIOR --ways WAY   # what val has chosen, with ten new seeds
python bench/records.py augment_gain -- bench/augment_gain.py print WORK
"""

from __future__ import annotations

import argparse
import json
import os
import textwrap
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
from joint import hippocampi, linked
from PIL import Image

from medprior.runs.ask.requests import EvaluateAugment
from medprior.runs.core.progress import Event
from medprior.runs.studies.augment import run_evaluate_augment

DATA = Path(os.environ.get("MEDPRIOR_DATA", Path(__file__).resolve().parents[2] / "shared" / "data"))


@dataclass(frozen=True)
class Kind:
    """A data set. folder: in WORK, or among the shared data. knows: what its prior has learned from, in
    words. common: options of all its runs. seen: folder of the labelled scans behind the prior.
    """

    folder: str
    modality: str
    knows: str
    common: dict[str, Any]
    seen: str


KINDS = {
    "pneumonia": Kind(
        "pneumonia",
        "DX",
        "the other half of the train split, 1872 scans with labels; none of the labelled scans",
        {},
        "pneumonia-others",
    ),
    "breast": Kind(
        "breast",
        "US",
        "the train split, 410 scans with labels, the labelled scans and 56 near twins of test scans among them: too kind to it",
        {},
        "breast",
    ),
    "hippocampus": Kind(
        "hippocampus",
        "MR",
        "images and masks of 80 patients of the train split; the labelled slices are of the 80 others",
        {"segment": True, "slices": 1, "steps": 400, "ratios": (4.0,)},
        "hippocampus-others",
    ),
    "nih": Kind(
        "chest_xray_nih",
        "DX",
        "the train split, 596 scans with labels, the labelled scans among them (the bundled chest-xray)",
        {"size": 64, "patient_pattern": r"^(\d{8})_"},
        "chest_xray_nih",
    ),
}
COUNTS = (25, 50, 100)
WAYS: dict[str, dict[str, Any]] = {
    "vary 0.5": {"strengths": (0.4, 0.6)},
    "vary by label": {"strengths": (0.6,), "keep_label": True},
    "synthesize by label": {"how": "synthesize", "guidance": 1.0},
    "pairs": {"how": "synthesize"},
}
"""What is tried. The first asks for no label; the others ask a prior that knows labels, and by it know more
labels than the plain arms.
"""
LABELS = {
    "vary 0.5": "not asked for",
    "vary by label": "the prior's",
    "synthesize by label": "the prior's",
    "pairs": "the prior's",
}
AGAIN = "-again"
COMMON: dict[str, Any] = {"ratios": (1.0, 4.0), "steps": 120, "seed": 0}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("do", choices=("prepare", "run", "again", "print"))
    parser.add_argument("work", type=Path)
    parser.add_argument("cell", nargs="?", default="")
    parser.add_argument("prior", nargs="?", default="")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--ways", nargs="*", default=list(WAYS), choices=list(WAYS))
    asked = parser.parse_args()
    if asked.do == "prepare":
        prepare(asked.work)
    elif asked.do == "run":
        for way in asked.ways:
            run(asked.work, asked.cell, asked.prior, way, {**COMMON, "seeds": asked.seeds}, "")
    elif asked.do == "again":
        for way in asked.ways:
            first = json.loads(
                (_folder(asked.work, asked.cell, way, "") / "run.json").read_text(encoding="utf-8")
            )
            run(
                asked.work,
                asked.cell,
                asked.prior,
                way,
                {**COMMON, "seeds": 10, "seed": 1, "ratios": (first["metrics"]["ratio"],)},
                AGAIN,
            )
    else:
        print(table(asked.work))


def prepare(work: Path) -> None:
    """Folders of PNG, splits as published; of the pneumonia train split one half, stratified, is for the
    prior alone, and half of the hippocampi.
    """
    for name, source, labels in (
        ("pneumonia", "medmnist_pneumonia", ("normal", "pneumonia")),
        ("breast", "medmnist_breast", ("malignant", "benign")),
    ):
        for split in ("train", "val", "test"):
            with np.load(next((DATA / source / split).glob("*.npz"))) as stored:
                images, kinds = stored["images"], stored["labels"].ravel()
            others = np.zeros(len(images), bool)
            if name == "pneumonia" and split == "train":
                rng = np.random.default_rng(0)
                for kind in (0, 1):
                    at = np.flatnonzero(kinds == kind)
                    others[rng.permutation(at)[: len(at) // 2]] = True
            for n, (image, kind, other) in enumerate(zip(images, kinds, others, strict=True)):
                folder = work / (f"{name}-others" if other else name) / split / labels[int(kind)]
                folder.mkdir(parents=True, exist_ok=True)
                Image.fromarray(image).save(folder / f"{n:04d}.png")

    train = hippocampi("train")
    order = np.random.default_rng(0).permutation(len(train))
    own, others = ([train[n] for n in sorted(half)] for half in np.array_split(order, 2))
    linked(work / "hippocampus", {"train": own, "val": hippocampi("val"), "test": hippocampi("test")})
    linked(work / "hippocampus-others", {"train": others, "val": hippocampi("val")})


def run(work: Path, cell: str, prior: str, way: str, values: dict[str, Any], mark: str) -> None:
    """One cell by one way; a finished one is left as it is."""
    name, count = cell.rsplit("-", 1)
    kind = KINDS[name]
    folder, seen = (work / at if (work / at).is_dir() else DATA / at for at in (kind.folder, kind.seen))
    values = {
        **values,
        **kind.common,
        **WAYS[way],
        "folder": folder,
        "seen": seen,
        "prior": prior,
        "modality": kind.modality,
        "per_class": int(count),
    }
    done = run_evaluate_augment(
        EvaluateAugment.model_validate({**values, "out": _folder(work, cell, way, mark)}), _heard
    )
    print(
        f"{cell}, {way}: val {_on_val(done.record['metrics']):+.4f}", flush=True
    )  # not a word of test before the way is chosen


def _folder(work: Path, cell: str, way: str, mark: str) -> Path:
    return work / "runs" / f"{cell}-{way.replace(' ', '_')}{mark}"


def _heard(event: Event) -> None:
    if event.kind in ("note", "cost", "warning"):
        print(event.text, flush=True)


def _on_val(metrics: dict[str, Any]) -> float:
    """By how much the chosen arm is ahead of the better plain arm on val."""
    values = metrics["values"]
    return values[metrics["chosen"]]["val"] - max(
        values[plain]["val"] for plain in ("real", "real + classical")
    )


def table(work: Path) -> str:
    """What val chose, and what test then said of it; nothing of test that val did not choose."""
    lines = [HEAD, ""]
    ends = ("test", "gain over real + classical", "gain over real", "rival")
    lines.append(
        f"{'data, labelled a class':24s}{'labels':15s}{'way that val chose':22s}{'arm and ratio':38s}{ends[0]:>12s}{ends[1]:>32s}{ends[2]:>32s}{ends[3]:>12s}"
    )
    for name, count, asks in product(KINDS, COUNTS, dict.fromkeys(LABELS.values())):
        cell, ways = f"{name}-{count}", [way for way in WAYS if LABELS[way] == asks]
        found = {way: _metrics(_folder(work, cell, way, "")) for way in ways}
        known = {way: metrics for way, metrics in found.items() if metrics}
        if known:
            way = max(known, key=lambda one: _on_val(known[one]))
            chosen = known[way]["chosen"]
            lines.append(_row(f"{name}, {count}", asks, way, known[way], chosen))
            if again := _metrics(_folder(work, cell, way, AGAIN)):
                lines.append(_row("  ten new seeds", asks, way, again, chosen))
    shown = [name for name in KINDS if any(line.startswith(f"{name},") for line in lines)]
    lines += ["", *(f"{name}: the prior has learned from {KINDS[name].knows}." for name in shown)]
    if missing := [name for name in KINDS if name not in shown]:
        lines += [f"Not measured here: {', '.join(missing)}."]
    return "\n".join(lines)


def _metrics(folder: Path) -> dict[str, Any]:
    """Of a finished run; {} where there is none."""
    path = folder / "run.json"
    return json.loads(path.read_text(encoding="utf-8"))["metrics"] if path.is_file() else {}


def _row(cell: str, asks: str, way: str, metrics: dict[str, Any], chosen: str) -> str:
    over = metrics["gains"][chosen]["test"]
    spans = [
        f"{over[base]['value']:+.3f} ({over[base]['low']:+.3f} to {over[base]['high']:+.3f})"
        for base in ("real + classical", "real")
    ]
    starred = [
        f"{text} {'*' if over[base]['low'] > 0 else ' '}"
        for text, base in zip(spans, ("real + classical", "real"), strict=True)
    ]
    value = metrics["values"][chosen]["test"]
    return f"{cell:24s}{asks:15s}{way:22s}{chosen.replace(' + ', '+'):38s}{metrics['metric']:>6s} {value:5.3f}{starred[0]:>32s}{starred[1]:>32s}{_rival(metrics):>12s}"


def _rival(metrics: dict[str, Any]) -> str:
    """What the network reaches that learns from the labelled scans behind the prior."""
    key = metrics.get("rival")
    return f"{metrics['values'][key]['test']:.3f}" if key else "not asked"


HEAD = "\n".join(
    textwrap.wrap(
        "Downstream gain of generated images where labels are few. A small ResNet from scratch, of hippocampus a U-Net from scratch that learns from one "
        "labelled slice of each patient (medprior evaluate augment), equal steps for every arm, five seeds, each with other labelled scans of the train split; "
        "where that left too much to chance, the chosen arm again with ten new seeds. Way, arm and ratio were chosen on val, of which all labels were used for "
        "that; test judges. Intervals: 95 %, paired, for new seeds and new scans. * it lies above 0. Real + classical: every image transformed anew in each "
        "pass. labels: 'not asked for' varies the labelled scans without asking the prior for a label; 'the prior's' asks it, so that these images know labels "
        "which the other arms have not seen. rival: a network that learns from the labelled scans behind the prior.",
        158,
    )
)


if __name__ == "__main__":
    main()
