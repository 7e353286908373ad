"""One small, seeded run of every verb, and what it leaves, as plain data that can be stored and compared.

Everything goes through the command line and the files on disk, so that modules behind it may move.
``differences`` compares it and stores it anew.
"""

from __future__ import annotations

import contextlib
import importlib
import io
import json
import math
import pkgutil
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any
from unittest import mock

import h5py
import nibabel as nib
import numpy as np
import torch
from PIL import Image
from scipy.ndimage import zoom

import medprior
from medprior.cli import main
from medprior.data.volume import Volume
from medprior.io.write import write
from medprior.prior import Card
from medprior.prior.prior import untrained_prior
from medprior.training.folder import save

STORED = Path(__file__).with_name("run_records.json")

SIDE = 24
"""Rows and columns of most scans."""

PRIORS: dict[str, dict[str, Any]] = {
    "tiny": {"modality": "", "labels": ("no_finding", "pneumonia"), "data": {"shape": [SIDE, SIDE]}},
    "mr": {"modality": "MR", "scaling": "foreground", "data": {"shape": [SIDE, SIDE]}},
    "hounsfield": {"modality": "CT", "unit": "HU", "scaling": "fixed", "low": -1024.0, "high": 1024.0},
    "slices": {
        "modality": "MR",
        "scaling": "foreground",
        "axes": "PL",
        "spacing_mm": (2.0, 2.0),
        "numbers": ("height",),
        "data": {"shape": [16, 20], "through_mm": 3.0},
    },
    "pairs": {
        "modality": "",
        "channels": ("image", "mask:1"),
        "labels": ("ill", "well"),
        "numbers": ("age",),
        "ranges": ((20.0, 80.0),),
        "data": {"shape": [16, 20]},
    },
    "solid": {
        "modality": "MR",
        "scaling": "foreground",
        "ndim": 3,
        "axes": "RAS",
        "spacing_mm": (2.0, 2.0, 2.0),
        "data": {"shape": [16, 16, 16]},
    },
}
"""Untrained priors by name: what their cards say beside a tiny network."""

QUICK = "--n 2 --steps 3 --baselines quick"

CASES: dict[str, str] = {
    # one scan
    "detect": "detect {picture} --prior {tiny} --n-twins 2 --seed 3",
    "detect again": "detect {picture} --prior {tiny} --n-twins 2 --seed 3 --out {detect}",
    "detect other seed in its place": "detect {picture} --prior {tiny} --seed 4 --out {detect}",
    "denoise": "reconstruct {picture} --prior {tiny} --n 2 --steps 3",
    "denoise fast": "reconstruct {picture} --prior {tiny} --fast --baselines quick --label pneumonia",
    "superres": f"reconstruct {{picture}} --prior {{tiny}} --task superres --factor 2 {QUICK}",
    "inpaint": f"reconstruct {{picture}} --prior {{tiny}} --task inpaint --fraction 0.4 {QUICK}",
    "mri": f"reconstruct {{picture}} --prior {{mr}} --modality MR --task mri --coils 2 {QUICK}",
    "ct": f"reconstruct {{scans}}/body.npz --prior {{hounsfield}} --task ct --views 12 {QUICK}",
    "other rule": f"reconstruct {{picture}} --prior {{tiny}} --rule decoupled {QUICK}",
    "slice of a volume": f"reconstruct {{head}} --prior {{slices}} --modality MR --slice 2 {QUICK}",
    "volume of slices": f"reconstruct {{head}} --prior {{slices}} --modality MR --whole {QUICK}",
    "volume whole": "reconstruct {head} --prior {solid} --modality MR --fast --baselines quick",
    "measured fastMRI": f"reconstruct {{scans}}/kspace.h5 --prior {{mr}} {QUICK}",
    "measured sinogram": (
        "reconstruct {scans}/sinogram.npz --prior {hounsfield} --pixels 32 --fast --baselines quick"
    ),
    "augment": "augment {picture} --prior {tiny} --n 2 --strength 0.4 --label pneumonia --guidance 1.5",
    "augment region": "augment {picture} --prior {tiny} --n 2 --box 8 10 12 9",
    "augment volume": "augment {head} --prior {slices} --modality MR --n 1",
    "augment classical": "augment-classical {head} --mask {scans}/head_mask.nii.gz --n 2 --modality MR",
    # a data set
    "augment set": "augment-set {table} --prior {tiny} --n 1 --judge off --keep-copies --modality DX",
    "augment set judged": "augment-set {set} --prior {tiny} --n 1 --judge on --modality DX",
    "augment set classical": "augment-set {set} --classical --fill balanced --judge off --modality DX",
    "augment set by synthesis": (
        "augment-set {table} --prior {tiny} --fill 9 --fill-by synthesis --unproven --judge off --modality DX"
    ),
    # nothing but the prior
    "synthesize refused": "synthesize --prior {tiny} --n 2",
    "synthesize": "synthesize --prior {tiny} --n 4 --mix no_finding=1,pneumonia=3 --unproven",
    "synthesize volume": "synthesize --prior {slices} --n 1 --slices 3 --unproven",
    "joint": "synthesize --prior {pairs} --n 3 --mix ill=1,well=2 --number age=30..60:1 --unproven",
    "joint given": (
        "synthesize --prior {pairs} --n 2 --label ill --given {scans}/given.nii.gz --as mask --unproven"
    ),
    # learning
    "train": "train {set} --preset tiny --steps 8 --licence nobody",
    "train on": "train {set} --preset tiny --steps 10 --licence nobody --out {train}",
    "adapt": "adapt {scans}/few --prior {tiny} --steps 3 --copies 1 --replay {set}",
    # trust
    "calibrate detect": "calibrate detect {set} --prior {tiny} --into {healthy}",
    "calibrate reconstruct": (
        "calibrate reconstruct {set} --prior {healthy} --into {trusted} --task sr2 --fast --per-patient 1"
    ),
    "calibrate synthesize": "calibrate synthesize {set} --prior {tiny} --into {audited} --n 24",
    "calibrate refused": "calibrate reconstruct {set} --prior {tiny} --split test --fast --most 5",
    "detect calibrated": "detect {scans}/set/test/pneumonia/100.png --prior {healthy}",
    "detect another kind": "detect {picture} --prior {healthy}",
    "detect another kind allowed": "detect {picture} --prior {healthy} --allow-other",
    "reconstruct calibrated": (
        "reconstruct {scans}/set/test/pneumonia/100.png --prior {trusted}"
        " --task superres --factor 2 --fast --baselines quick"
    ),
    "synthesize audited": "synthesize --prior {audited} --n 2",
    "evaluate reconstruct": "evaluate reconstruct {set} --prior {tiny} --most 2 --fast",
    "evaluate detect": "evaluate detect {table} --prior {healthy} --baselines quick",
    "evaluate augment": "evaluate augment {set} --prior {tiny} --steps 10 --seeds 2 --ratios 0.5 --split val",
    # the rest
    "scan": "scan {scans}/broken",
    "info": "info {tiny}",
    "info bundled": "info",
    "info calibrated": "info {trusted}",
    "report": "report {superres}",
    "report of two": "report {superres} {inpaint} --out {own}",
    "doctor": "doctor",
    # what is refused
    "unknown verb": "detekt {picture}",
    "unknown option": "detect {picture} --prior {tiny} --twins 2",
    "unknown prior": "detect {picture} --prior chest-xry",
    "no such file": "detect {scans}/nowhere.png --prior {tiny}",
    "option of another task": "reconstruct {picture} --prior {tiny} --task ct --factor 2",
    "other modality": "detect {picture} --prior {mr} --modality DX",
}
"""Command lines by name. {scans} holds the inputs, some of which have a name; {tiny} and the like are priors.

{train} and the like are the run of that case, {own} is the case's own; where none is named, --out is added.
"""

INPUTS = {"picture": "picture.png", "head": "head.nii.gz", "set": "set", "table": "table"}
"""Inputs with a name of their own, by their place among the scans."""

MADE = {"healthy": "calibrate detect", "trusted": "calibrate reconstruct", "audited": "calibrate synthesize"}
"""Priors that a case writes."""

WITH_OUT = (
    "detect",
    "reconstruct",
    "augment",
    "augment-classical",
    "augment-set",
    "synthesize",
    "train",
    "adapt",
    "evaluate",
    "calibrate",
    "scan",
)

HIDDEN = {
    *("id", "key", "finished", "seconds", "seconds_per_image", "peak_mib", "threads", "versions", "date"),
    *("device", "medprior"),
}
"""Fields that tell of a machine, a time or a version."""

TEXT = "(text)"
"""What stands for a string of more than one word: a test of results is no test of prose."""

HASH = re.compile(r"\b(?=\d*[a-f])[0-9a-f]{8,}\b|[0-9a-f]{12,}")
DECIMAL = re.compile(r"-?\d+\.\d+(e[-+]?\d+)?|\d+e[-+]?\d+")
LONG = 8
"""Longer lists are stored as their length and mean."""


def scene(seed: int, size: int = SIDE) -> np.ndarray:
    """(1, size, size) smooth random grey values 10..245; no two seeds look alike."""
    coarse = np.random.default_rng(seed).uniform(10, 245, (5, 5)).astype(np.float32)
    return np.asarray(zoom(coarse, size / 5, order=3)).clip(10, 245)[None]


def bright(rows: int = SIDE, columns: int = SIDE) -> np.ndarray:
    """(1, rows, columns) grey values with one bright blob, unlike every scene."""
    i, j = np.mgrid[0:rows, 0:columns]
    blob = 120 + 90 * np.exp(-((i - rows * 0.3) ** 2 + (j - columns * 0.3) ** 2) / 60)
    return (blob + np.random.default_rng(0).normal(0, 4, blob.shape)).clip(0, 255).astype(np.float32)[None]


def put(image: np.ndarray, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    write(Volume(image.astype(np.float32)), path, kind="converted")


def save_untrained(folder: Path, **facts: Any) -> Path:
    """A prior whose weights are random and the same each time."""
    base = {"name": folder.name, "widths": (4, 8), "blocks": 1, "frame": (16, 32)}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        prior = untrained_prior(Card(**{**base, **facts}))
    save(prior, folder)
    return folder


def save_scans(folder: Path) -> Path:
    """Every input of the cases; nobody's scans."""
    put(bright(), folder / "picture.png")
    save_set(folder / "set")
    save_table(folder / "table")
    save_volumes(folder)
    save_measured(folder)
    for n in range(8):
        put(scene(200 + n), folder / "few" / "abscess" / f"{n}.png")
    for n in range(2):
        put(scene(n), folder / "broken" / f"{n}.png")
    (folder / "broken" / "torn.png").write_bytes(b"\x89PNG\r\n\x1a\n broken")
    return folder


def save_set(folder: Path) -> None:
    """Two labels, three splits: enough to calibrate by."""
    seed = 0
    for split, n in (("train", (13, 11)), ("val", (27, 23)), ("test", (4, 4))):
        for label, count in zip(("no_finding", "pneumonia"), n, strict=True):
            for _ in range(count):
                put(scene(seed), folder / split / label / f"{seed}.png")
                seed += 1
    put(scene(100), folder / "test" / "pneumonia" / "100.png")


def save_table(folder: Path) -> None:
    """A scans.csv that states label, patient, split, sex and the masks of what is ill."""
    rows = ["path,label,patient,split,sex,mask"]
    seed = 300
    for split, n in (("train", 6), ("val", 4), ("test", 5)):
        for label in ("no_finding", "pneumonia"):
            for k in range(n):
                image = 0.3 * scene(seed) + 60
                marked = np.zeros((1, SIDE, SIDE), np.float32)
                if label == "pneumonia":
                    image[0, 10:18, 12:20] += 120
                    marked[0, 10:18, 12:20] = 1
                put(image, folder / f"{seed}.png")
                write(Volume(marked, unit="label"), folder / f"mask_{seed}.nii.gz", kind="mask")
                rows.append(f"{seed}.png,{label},patient {seed},{split},{'fm'[k % 2]},mask_{seed}.nii.gz")
                seed += 1
    (folder / "scans.csv").write_text("\n".join(rows) + "\n")


def save_volumes(folder: Path) -> None:
    """A head with its label map, a map for a joint prior and a slice of CT."""
    affine = np.diag([2.0, 2.0, 3.0, 1.0])
    data = np.random.default_rng(0).random((1, 20, 18, 16), dtype=np.float32) * 100
    data[0, 5:15, 5:13, 4:12] += 400
    write(Volume(data, affine, modality="MR"), folder / "head.nii.gz", kind="converted")
    write(Volume((data > 300).astype(np.float32), affine, "label"), folder / "head_mask.nii.gz", kind="mask")
    given = np.zeros((1, 16, 20), np.float32)
    given[:, 4:10, 6:15] = 1
    write(Volume(given, unit="label"), folder / "given.nii.gz", kind="mask")
    write(
        Volume(bright() * 4 - 900, unit="HU", modality="CT", spacing_mm=(2.0, 2.0)),
        folder / "body.npz",
        kind="converted",
    )


def save_measured(folder: Path) -> None:
    """K-space of two coils, every other line of it, as fastMRI; a sinogram."""
    i, j = np.mgrid[0:64, 0:64] / 64 - 0.5
    image = 1.0 * (i**2 / 0.16 + j**2 / 0.09 < 1) - 0.5 * ((i + 0.1) ** 2 + (j - 0.1) ** 2 < 0.008)
    coils = np.stack([np.exp(-((i - s) ** 2 + j**2)) * np.exp(1j * s * i * 3) for s in (-0.4, 0.4)])
    rng = np.random.default_rng(0)
    whole = np.fft.fftshift(
        np.fft.fft2(np.fft.ifftshift(coils * image, axes=(1, 2)), norm="ortho"), axes=(1, 2)
    )
    whole = (whole + 0.01 * (rng.normal(size=whole.shape) + 1j * rng.normal(size=whole.shape))).astype(
        np.complex64
    )
    kept = (np.arange(64) % 2 == 0) | (abs(np.arange(64) - 32) < 8)
    with h5py.File(folder / "kspace.h5", "w") as file:
        file["kspace"] = (whole * kept)[None]
        file["reconstruction_rss"] = image[None].astype(np.float32)
    centre = np.hypot(*np.mgrid[-24:24, -24:24])
    profile = 0.02 * 2.0 * (centre < 18).sum(0)  # every view of a disc is the same
    line = np.interp(np.arange(70) - 34.5, np.arange(48) - 23.5, profile, 0, 0)
    lines = line + 0.01 * rng.normal(size=(40, 70))
    geometry = json.dumps({"beam": "parallel", "bin_spacing_mm": 2.0})
    angles = np.arange(40) * 180 / 40
    np.savez(
        folder / "sinogram.npz",
        sinogram=lines.astype(np.float32),
        angles_deg=angles,
        geometry_json=np.array(geometry),
    )


def given(**options: Any) -> Callable[[Any], Any]:
    """A function is called with these options, whatever else it is told."""
    return lambda function: lambda *places, **named: function(*places, **{**named, **options})


def four_means(images: Sequence[torch.Tensor]) -> torch.Tensor:
    """A descriptor that needs no network."""
    return torch.stack([torch.nn.functional.adaptive_avg_pool2d(image, 2).flatten() for image in images])


def hurried(train_classifier: Any) -> Any:
    return lambda x, y, settings, *rest, **more: train_classifier(
        x, y, replace(settings, steps=4), *rest, **more
    )


SHORTER: dict[str, Callable[[Any], Any]] = {
    "_MOVES": lambda moves: type(moves)(*(getattr(moves, name)[4::9] for name in moves.__slots__)),
    "proximal_gradient": given(n=20),
    "error_tables": given(most=8),
    "measured_caution": given(most=1),
    "train_classifier": hurried,
    "_TWIN_STEPS": lambda _: 10,
    "_TWIN_N": lambda _: 8,
    "descriptors": lambda every: lambda: (type(every()[0])("four means", four_means),),
}
"""What would take minutes, by its name in whichever module has it, and what stands in for it."""


@cache
def every_module() -> list[ModuleType]:
    names = [found.name for found in pkgutil.walk_packages(medprior.__path__, "medprior.")]
    return [importlib.import_module(name) for name in names if not name.endswith("__main__")]


@contextlib.contextmanager
def shorter() -> Iterator[None]:
    """Less learning where its length is no option. Raises LookupError for a name that is gone."""
    modules = every_module()
    with contextlib.ExitStack() as undo:
        for name, change in SHORTER.items():
            having = [one for one in modules if not isinstance(getattr(one, name, one), ModuleType)]
            if not having:
                raise LookupError(
                    f"no module of medprior has {name} any more: say in SHORTER how it is called now"
                )
            for module in having:
                undo.enter_context(mock.patch.object(module, name, change(getattr(module, name))))
        yield


class World:
    """A folder in which cases run, each once and with those it builds on before it."""

    def __init__(self, root: Path) -> None:
        self.root = root.resolve()
        self.records: dict[str, dict[str, Any]] = {}

    def record(self, name: str) -> dict[str, Any]:
        """What the case leaves, as ``stable`` gives it."""
        if name not in self.records:
            self.records[name] = self._run(name)
        return self.records[name]

    def path(self, field: str, name: str) -> Path:
        """What a field of the command line stands for; it is there afterwards, unless this case makes it."""
        if field == "own":
            return self.root / "runs" / name.replace(" ", "_")
        if field in INPUTS:
            return self.path("scans", name) / INPUTS[field]
        place = self.root / field
        if field == "scans" and not place.exists():
            return save_scans(place)
        if field in PRIORS and not place.exists():
            return save_untrained(place, **PRIORS[field])
        if field in MADE and MADE[field] != name:
            self.record(MADE[field])
        if field in CASES:
            self.record(field)
            return self.path("own", field)
        return place

    def _run(self, name: str) -> dict[str, Any]:
        fields = set(re.findall(r"{(\w+)}", CASES[name]))
        values = {field: str(self.path(field, name)) for field in sorted(fields)}
        tokens = [word.format(**values) for word in CASES[name].split()]
        own = self.path("own", name)
        if tokens[0] in WITH_OUT and "--out" not in tokens:
            tokens += ["--out", str(own)]
        at = Path(tokens[tokens.index("--out") + 1]) if "--out" in tokens else own
        with shorter():
            code, said, heard = called(tokens)
        told = any(line.startswith(("warning", "medprior:")) for line in heard.splitlines())
        found: dict[str, Any] = {"exit": code, "said": bool(said.strip()), "told": told}
        if code in (0, 4):
            found |= (
                left(at)
                if (at / "run.json").is_file()
                else {"record": json.loads(called([*tokens, "--json"])[1])}
            )
        if tokens[0] == "doctor":
            subjects = {check["subject"].split()[0] for check in found["record"]["checks"]}
            found["record"] = sorted(subjects - {"GPU"})
        return stable(found, self.root)


def called(tokens: list[str]) -> tuple[int, str, str]:
    """Exit code, standard output and standard error of a command line."""
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = main(tokens)
    return code, out.getvalue(), err.getvalue()


def left(folder: Path) -> dict[str, Any]:
    """What a run folder holds: its record, its files and its images."""
    files = sorted(p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file())
    outputs = [name for name in files if name.startswith("outputs/")]
    images = {name: found for name in outputs if (found := seen(folder / name))}
    return {
        "record": json.loads((folder / "run.json").read_text(encoding="utf-8")),
        "files": files,
        "images": images,
    }


def seen(path: Path) -> dict[str, Any]:
    """Shape, mean and deviation of an image file; nothing of another file."""
    if path.suffix == ".png":
        data = np.asarray(Image.open(path), dtype=float)
    elif path.name.endswith(".nii.gz"):
        data = np.asarray(nib.load(path).dataobj, dtype=float)  # type: ignore[attr-defined]
    else:
        return {}
    return {"shape": list(data.shape), "mean": float(data.mean()), "std": float(data.std())}


def stable(value: Any, root: Path | None = None) -> Any:
    """The same on every machine and at any time.

    Fields that tell of those are hidden. Hashes, paths and prose are masked, numbers keep three digits.
    A long list of numbers becomes its length and mean.
    """
    if isinstance(value, dict):
        kept = {
            _masked(str(key), root): "(hidden)" if key in HIDDEN else stable(at, root)
            for key, at in value.items()
        }
        return dict(sorted(kept.items()))
    if isinstance(value, list | tuple):
        kept = [stable(at, root) for at in value]
        if len(value) <= LONG or (all(isinstance(at, str) for at in value) and len(set(kept)) > 1):
            return kept
        numbers = list(_numbers(value))
        return {
            "length": len(value),
            **({"mean": stable(float(np.mean(numbers)))} if numbers else {"first": kept[0]}),
        }
    if isinstance(value, float):
        return float(f"{value:.3g}") if math.isfinite(value) else str(value)
    if isinstance(value, str):
        return TEXT if re.search(r"\s", value.strip()) else _masked(value, root)
    return value


def _masked(text: str, root: Path | None) -> str:
    if root is not None:
        text = text.replace(str(root), "(root)")
    return DECIMAL.sub("#", HASH.sub("(hash)", text))


def _numbers(value: Any) -> Iterator[float]:
    if isinstance(value, list | tuple):
        for at in value:
            yield from _numbers(at)
    elif isinstance(value, int | float) and math.isfinite(value):
        yield float(value)
