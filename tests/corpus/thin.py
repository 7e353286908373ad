"""Scans with an axis of 1 to 10 voxels, and what each verb makes of them: a result, or a refusal by name.

    python -m tests.corpus.thin [VERB ...] [--sizes 1 2 3 4 5 6 7 8 9 10]

prints what was refused, in which words and for which sizes, and last the answers that are neither.
"""

from __future__ import annotations

import argparse
import io
import os
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path

import nibabel as nib
import numpy as np
from scipy.ndimage import gaussian_filter

from medprior.cli import main as medprior
from tests.unit.runs.conftest import bright_model, save_tiny

SIZES = tuple(range(1, 11))
WIDE, PATIENTS = 24, 40
FLAT, SOLID = {"axes": "PL", "spacing_mm": (2.0, 2.0)}, {"ndim": 3, "data": {"shape": [16, 16, 16]}}
SOLID |= {"axes": "RAS", "spacing_mm": (2.0, 2.0, 2.0)}
FAST, OTHER = ("--fast",), ("--allow-other",)
SET = ("--modality", "MR")
ONE: dict[str, tuple[object, ...]] = {
    **{f"reconstruct {task}": ("reconstruct", "--task", task, *FAST) for task in ("denoise", "inpaint")},
    **{f"reconstruct {task}": ("reconstruct", "--task", task, *FAST) for task in ("sr2", "mri4", "ct30")},
    "reconstruct whole": ("reconstruct", "--task", "sr2", *FAST, "--whole"),
    "reconstruct all": ("reconstruct", "--task", "mri4", "--n", 2, "--steps", 3, "--baselines", "all"),
    "detect": ("detect", *OTHER),
    "augment": ("augment", "--n", 1, "--strength", 0.2, *OTHER),
    "explain": ("explain", "--n", 1, "--particles", 2, "--model", "MODEL", *OTHER),
    "predict": ("predict", "--head", "HEAD", *OTHER),
    "augment-classical": ("augment-classical", "--n", 1, "--modality", "MR"),
}
"""Verbs of one scan."""
MANY: dict[str, tuple[object, ...]] = {
    "scan": ("scan",),
    "train 2": ("train", "--preset", "tiny", "--steps", 2, *SET),
    "train 2 coronal": ("train", "--preset", "tiny", "--steps", 2, "--plane", "coronal", *SET),
    "train 3": ("train", "--preset", "tiny", "--steps", 2, "--ndim", 3, *SET),
    "calibrate detect": ("calibrate", "detect", *SET),
    "calibrate reconstruct": ("calibrate", "reconstruct", "--task", "mri4", *FAST, "--per-patient", 1, *SET),
    "evaluate detect": ("evaluate", "detect", *SET),
    "evaluate reconstruct": ("evaluate", "reconstruct", "--task", "sr2", *FAST, "--most", 2, *SET),
    "augment-set": ("augment-set", "--n", 1, "--judge", "off", *OTHER, *SET),
    "adapt": ("adapt", "--steps", 2, "--replay", "none", *SET),
    "learn": ("learn", *SET),
    "label": ("label", "--n", 4, *SET),
    "evaluate explain": (
        "evaluate",
        "explain",
        "--model",
        "MODEL",
        "--most",
        2,
        "--particles",
        2,
        *OTHER,
        *SET,
    ),
    "evaluate learn": ("evaluate", "learn", "--sizes", 8, "--draws", 2, "--baselines", "quick", *SET),
    "calibrate synthesize": ("calibrate", "synthesize", "--n", 24, *OTHER, *SET),
    "detect a folder": ("detect", *OTHER, *SET),
}
"""Verbs of a data set."""
ALONE: dict[str, tuple[object, ...]] = {
    "synthesize": ("synthesize", "--n", 2, "--unproven", "--size", "THIN", WIDE),
    "synthesize slices": ("synthesize", "--n", 1, "--unproven", "--slices", "THIN"),
}
"""Verbs of nothing but a prior."""
NO_PRIOR = {"augment-classical", "scan", "train 2", "train 2 coronal", "train 3"}


@dataclass(frozen=True)
class Answer:
    """code: of the exit. said: what stood on the screen."""

    verb: str
    case: str
    code: int
    said: str

    @property
    def fair(self) -> bool:
        """A result, or a refusal that says why and, in brackets or as bounds, what to do."""
        last = self.said.rstrip().rpartition("\n")[2]
        refused = self.code == 2 and (last.endswith(")") or "input should be" in last)
        return (self.code == 0 or refused) and "unexpected" not in self.said


def write_scan(path: Path, shape: tuple[int, ...], seed: int = 0, ill: bool = False) -> Path:
    """Smooth random tissue of 2 mm in an oval head; the ill have a bright stripe."""
    noise = gaussian_filter(np.random.default_rng(seed).normal(size=shape), 1.5)
    grid = np.meshgrid(*(np.linspace(-1, 1, n) if n > 1 else np.zeros(1) for n in shape), indexing="ij")
    head = sum(axis**2 for axis in grid) < 1.2
    image = head * (300 + 600 * noise + 400 * (ill & (np.abs(grid[0] - 0.2) < 0.1)))
    made = nib.Nifti1Image(image.clip(0).astype("f4"), np.diag((2.0, 2.0, 2.0, 1.0)))
    made.header.set_xyzt_units("mm")
    path.parent.mkdir(parents=True, exist_ok=True)
    nib.save(made, path)
    return path


def write_set(folder: Path, shape: tuple[int, ...]) -> Path:
    """Two classes of patients, in the three splits."""
    for n in range(PATIENTS):
        ill, split = bool(n % 2), "train" if n < 16 else "val" if n < 36 else "test"
        place = folder / split / ("ill" if ill else "healthy")
        write_scan(place / f"p{n}.nii.gz", shape, n, ill)
    return folder


def thin(size: int, axis: int) -> tuple[int, ...]:
    return tuple(size if at == axis else WIDE for at in range(3))


def priors(folder: Path) -> dict[str, Path]:
    """Untrained ones, of slices and of volumes."""
    facts = {"modality": "MR", "labels": ("healthy", "ill")}
    flat = save_tiny(folder / "flat", **facts, **FLAT, numbers=("height",))
    return {"2-D prior": flat, "3-D prior": save_tiny(folder / "solid", **facts, **SOLID)}


def answer(words: tuple[object, ...], verb: str, case: str) -> Answer:
    screen = io.StringIO()
    with redirect_stdout(screen), redirect_stderr(screen):
        code = medprior([str(word) for word in words])
    return Answer(verb, case, code, screen.getvalue())


def answers(verb: str, size: int, axis: int, known: dict[str, Path], folder: Path) -> Iterator[Answer]:
    """What one verb says of scans that are thin along one axis, with each prior."""
    folder.mkdir(parents=True, exist_ok=True)
    shape, words = thin(size, axis), (ONE | MANY | ALONE)[verb]
    given = folder / ("scan.nii.gz" if verb in ONE else "scans")
    if not given.exists() and verb not in ALONE:
        (write_scan if verb in ONE else write_set)(given, shape)
    leading = 2 if words[0] in ("calibrate", "evaluate") else 1
    for name, prior in [("no prior", None)] if verb in NO_PRIOR else known.items():
        chosen = ("--prior", prior) if prior else ()
        said = [_named(str(word), prior, folder, size) or word for word in words]
        scan = () if verb in ALONE else (given,)
        out = folder / f"{verb} {name}".replace(" ", "-")
        yield answer(
            (*said[:leading], *scan, *chosen, *said[leading:], "--out", out),
            verb,
            f"{name}, {shape[0]} x {shape[1]} x {shape[2]}",
        )


def _named(word: str, prior: Path | None, folder: Path, size: int) -> object:
    """What stands for a word of a command line, None where it is what it says."""
    if word == "HEAD" and prior is not None:
        return head_of(prior)
    return model_in(folder) if word == "MODEL" else size if word == "THIN" else None


def model_in(folder: Path) -> Path:
    """A model that takes volumes of any size."""
    return bright_model(folder, 0.3, ("b", 1, "i", "j", "k"))


def head_of(prior: Path) -> Path:
    """Learned from scans that are not thin, beside the prior."""
    head = prior.with_name(f"{prior.name}-head")
    if not head.exists():
        scans = write_set(prior.with_name(f"{prior.name}-scans"), (WIDE, WIDE, WIDE))
        answer(("learn", scans, "--prior", prior, *SET, "--out", head), "learn", "")
    return head


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("verbs", nargs="*")
    parser.add_argument("--sizes", nargs="*", type=int, default=SIZES)
    wanted = parser.parse_args()
    unfair = 0
    with tempfile.TemporaryDirectory() as where:
        os.environ["MEDPRIOR_CACHE"] = str(Path(where) / "cache")
        os.chdir(where)
        known = priors(Path(where) / "priors")
        for verb in wanted.verbs or ONE | MANY | ALONE:
            began = time.time()
            places = [
                (size, axis, Path(where) / f"{size}-{axis}") for size in wanted.sizes for axis in range(3)
            ]
            found = [one for size, axis, at in places for one in answers(verb, size, axis, known, at)]
            report(found, where, time.time() - began)
            unfair += sum(not one.fair for one in found)
    return int(bool(unfair))


def report(found: list[Answer], where: str, seconds: float) -> None:
    """Prints what one verb refused, and all that is neither a result nor a refusal."""
    refused: dict[str, list[str]] = defaultdict(list)
    for one in found:
        if one.code:
            refused[one.said.strip().splitlines()[-1].replace(where, "")].append(one.case)
    for said, cases in refused.items():
        print(f"{found[0].verb}: {said}", *cases, sep="\n    ")
    for one in found:
        if not one.fair:
            print(f"{one.verb}: {one.case}: exit {one.code}\n{one.said}")
    neither = sum(not one.fair for one in found)
    refusals = sum(map(len, refused.values()))
    print(
        f"{found[0].verb}: {len(found)} answers, {refusals} refusals, {neither} neither, {seconds:.0f} s",
        flush=True,
    )


if __name__ == "__main__":
    sys.exit(main())
