"""The gate before detection: who is refused or warned about, of healthy scans, sick ones, and those that are
not of the prior's kind.

    python bench/gate.py [--prior chest-xray,brain-t1,chest-ct] [--split test]
    python bench/gate.py --teach --prior PRIOR --of chest-xray     # what it knows of the kind, and its calibration's, from the scans anew, without the network

Each scan goes through the door and the gate as in ``medprior detect``, without a score: no network is asked.
Refused: exit code 2 or 3. Warned: scored, and the report says in what it is unlike (p <= 0.05). "as it is":
nothing in the file says what it is, or it says the prior's own modality; what states another one is refused
at the door whatever it shows, counted in a row of its own. SIMULATED rows change scans of the healthy and the
sick, one scan a patient and label. Blur: Gaussian, standard deviation in pixels; noise: Gaussian, standard
deviation in shares of the scan's range (0.5 to 99.5 %); gamma: on that range; window: all beyond the inner
share of the range clipped; bias field: a ramp from one side to the other, multiplied; resolution: means of 2
pixels each way, interpolated back. On val the healthy patients are those that calibrate: good for choosing,
not for a rate. A prior that was shown no healthy scans (chest-ct) has no gate. Intervals: Clopper-Pearson; of
volumes they are few. Reads MEDPRIOR_DATA.
"""

from __future__ import annotations

import argparse
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from detect import cases, first_each
from detect_volumes import heads, with_lesions
from numpy.typing import NDArray
from pretrain import DATA, scans
from scipy.ndimage import gaussian_filter, zoom

from medprior import Prior, Volume, read
from medprior.errors import WrongKind
from medprior.evidence.intervals import clopper_pearson
from medprior.healthy.acquisition import AcquisitionModel, Sketch, sketch
from medprior.healthy.model import NetworkScan, fingerprint, sketch_variants
from medprior.jobs.detection.gate import GATE_ALPHA, describe_difference, gate_distance, known_parts
from medprior.prior.admit import admit
from medprior.prior.promises import DetectPromise
from medprior.runs.core.inputs import known_prior
from medprior.training.folder import locate, save_promises

Array = NDArray[Any]
MOST = 100
"""Of a foreign data set, evenly taken."""
BUNDLED = ("chest-xray", "brain-t1", "chest-ct")


@dataclass(frozen=True)
class Gate:
    """What stands before one prior."""

    prior: Prior
    kind: AcquisitionModel
    known: torch.Tensor

    def outcome(self, volume: Volume) -> str:
        """passes, warned, or refused: by what."""
        try:
            seen = sketch(admit(self.prior.card, volume).whole)
        except WrongKind:
            return "refused: door"
        if seen.small.ndim != self.kind.pattern.ndim:
            return (
                "refused: single images, not volumes"
                if seen.small.ndim == 2
                else "refused: volumes, not single images"
            )
        text, beyond = describe_difference(self.kind, self.known, seen)
        if not text:
            return "passes"
        return ("refused: " if beyond else "warned: ") + text.removeprefix("its ").split(" is not that of")[
            0
        ].split(" (")[0]


def taught(prior: Prior, volumes: list[Volume], patients: list[str]) -> AcquisitionModel:
    """The kind as ``learn_healthy`` learns it, with the same variants."""
    numbers = {name: n for n, name in enumerate(dict.fromkeys(patients))}
    found: list[tuple[Sketch, ...]] = []
    for i, volume in enumerate(volumes):
        one = admit(prior.card, volume)
        found.append(
            (sketch(one.whole), *sketch_variants(NetworkScan(one.images, one.condition, one.stack), i))
        )
    return AcquisitionModel.fitted(found, [numbers[name] for name in patients])


def gate_of(name: str) -> Gate | None:
    """None where the prior was shown no healthy scans."""
    prior = known_prior(name).prior
    if not prior.healthy:
        return None
    kind = AcquisitionModel.of("kind", prior.healthy)
    return Gate(prior, kind, known_parts(kind, prior.promises.detect))


def teach(name: str, of: str) -> None:
    """Only the kind, with the scans that ``learn`` shows and calibrates with; weights, all else that is known
    of healthy scans, and its figures stay.
    """
    bundle = known_prior(name).prior
    if of == "chest-xray":
        every = cases("chest")
        shown = [c for c in every if c.split == "train" and not c.sick]
        teachers, patients = [c.volume for c in shown], [c.patient for c in shown]
        held = [c.volume for c in first_each(c for c in every if c.split == "val" and not c.sick)]
    else:
        teachers, held = ([read(path, modality="MR") for path in heads(split)] for split in ("train", "val"))
        patients = [str(n) for n in range(len(teachers))]
    kind = taught(bundle, teachers, patients)
    others = {key: value for key, value in bundle.healthy.items() if not key.startswith("kind.")}
    healthy = others | kind.tensors("kind")
    parts = [
        tuple(round(float(v), 5) for v in kind.parts(sketch(admit(bundle.card, volume).whole)))
        for volume in held
    ]
    known = replace(bundle.promises.detect or DetectPromise(), kind=tuple(parts), memory=fingerprint(healthy))
    save_promises(locate(name), replace(bundle.promises, detect=known), locate(name), healthy=healthy)


def ranged(x: Array) -> tuple[float, float]:
    low, high = np.quantile(x, (0.005, 0.995))
    return float(low), float(high) if high > low else float(low) + 1


def noisy(share: float) -> Callable[[Array], Array]:
    def change(x: Array) -> Array:
        low, high = ranged(x)
        return x + (share * (high - low) * np.random.default_rng(0).standard_normal(x.shape)).astype(
            np.float32
        )

    return change


def by_range(curve: Callable[[Array], Array]) -> Callable[[Array], Array]:
    """A curve from 0..1 to 0..1 over the scan's range."""

    def change(x: Array) -> Array:
        low, high = ranged(x)
        return (low + (high - low) * curve(((x - low) / (high - low)).clip(0, 1))).astype(np.float32)

    return change


def blurred(width: float) -> Callable[[Array], Array]:
    return lambda x: gaussian_filter(x, (0, *[width] * (x.ndim - 1)))


def coarser(x: Array) -> Array:
    n = [side // 2 * 2 for side in x.shape[1:]]
    x = x[(slice(None), *(slice(side) for side in n))]
    for axis in range(1, x.ndim):
        x = (x.take(range(0, x.shape[axis], 2), axis) + x.take(range(1, x.shape[axis], 2), axis)) / 2
    return np.asarray(zoom(x, (1, *[2] * (x.ndim - 1)), order=1, grid_mode=True, mode="nearest"))


def tilted(share: float) -> Callable[[Array], Array]:
    return lambda x: (
        x
        * np.linspace(1 - share, 1 + share, x.shape[1], dtype=np.float32).reshape(1, -1, *[1] * (x.ndim - 2))
    ).astype(np.float32)


def upside_down(x: Array) -> Array:
    """Along the rows of a picture or slice, from head to foot of a volume."""
    return np.flip(x, 3 if x.ndim == 4 else 1)


def mirrored(x: Array) -> Array:
    """Left for right: along the columns of a picture or slice, the first axis of a volume in RAS."""
    return np.flip(x, 1 if x.ndim == 4 else 2)


WRONG: dict[str, Callable[[Array], Array]] = {
    "mirrored": mirrored,
    "upside down": upside_down,
    "a quarter turn": lambda x: np.rot90(x, 1, (1, 2)),
    "a quarter turn back": lambda x: np.rot90(x, -1, (1, 2)),
    "half a turn": lambda x: np.rot90(x, 2, (1, 2)),
    "inverted": lambda x: x.max() + x.min() - x,
    "noise alone": lambda x: noisy(0.3)(
        np.zeros_like(x)
        + np.linspace(0, 1e-3, x.shape[1], dtype=np.float32).reshape(1, -1, *[1] * (x.ndim - 2))
    ),
    "constant": np.ones_like,
    "a quarter of it (other body part)": lambda x: x[
        (slice(None), *(slice(side // 2) for side in x.shape[1:]))
    ],
}
SCANNER: dict[str, Callable[[Array], Array]] = {
    "blur 1": blurred(1.0),
    "blur 2": blurred(2.0),
    "noise 2 %": noisy(0.02),
    "noise 5 %": noisy(0.05),
    "gamma 0.5": by_range(lambda x: x**0.5),
    "gamma 2": by_range(lambda x: x**2),
    "window, inner 60 %": by_range(lambda x: ((x - 0.2) / 0.6).clip(0, 1)),
    "resolution, half": coarser,
    "bias field, 40 %": tilted(0.4),
}


def changed(volume: Volume, change: Callable[[Array], Array]) -> Volume:
    return replace(volume, data=np.ascontiguousarray(change(volume.data), dtype=np.float32))


def nifti(folder: str, pattern: str, modality: str) -> list[Volume]:
    """As they are, called of this modality; numbers of a CT are taken for what it is called."""
    scans = [
        p for p in sorted((DATA / folder).glob(pattern)) if not ("lesions" in p.name or "labels" in p.name)
    ]
    return [read(path, modality=modality, unit="HU" if modality == "CT" else "a.u.") for path in scans]


def pictures(folder: str, split: str, modality: str) -> list[Volume]:
    every = sorted((DATA / folder / split).glob("*/*.png"))
    return [read(path, modality=modality) for path in every[:: -(-len(every) // MOST)]]


def slices(split: str, modality: str) -> list[Volume]:
    """CT slices, -1000 to 1000 HU, as if they were pictures."""
    return [
        Volume(v.data.clip(-1000, 1000), modality=modality)
        for v, _, _ in scans("chest-ct", split)
        if v.ndim == 2
    ]


def of_chest(split: str) -> Iterator[tuple[str, list[Volume]]]:
    every = first_each(c for c in cases("chest") if c.split == split)
    yield "healthy", [c.volume for c in every if not c.sick]
    yield "sick: pneumonia", [c.volume for c in every if c.sick]
    yield "other modality: breast ultrasound", pictures("breast_us_busi", split, "")
    yield "other modality: CT slices", slices(split, "DX")
    yield "other modality, other body part: MR slices of heads", pictures("brain_mri_tumour_2d", split, "")
    children = [c.volume for c in cases("pneumonia") if c.split == split and not c.sick]
    yield "other patients: healthy children, 28 pixels", children[:MOST]


def of_children(split: str) -> Iterator[tuple[str, list[Volume]]]:
    """For a prior of PneumoniaMNIST's normals."""
    every = [c for c in cases("pneumonia") if c.split == split]
    yield "healthy", [c.volume for c in every if not c.sick]
    yield "sick: pneumonia", [c.volume for c in every if c.sick]


def of_brain(split: str) -> Iterator[tuple[str, list[Volume]]]:
    yield "healthy", [read(path, modality="MR") for path in heads(split)]
    mine = "train" if split == "val" else split  # neither taught this prior
    yield (
        "sick: SIMULATED lesions in healthy heads",
        [with_lesions(path, c, 0)[0] for path in heads(split) for c in (-0.4, 0.4)],
    )
    yield (
        "sick: MS or stroke, T1, other scanners, skulls taken off or slices thick",
        [
            *nifti("brain_mri_ms_lesions_3d", f"{split}/*_t1.nii.gz", "MR"),
            *nifti("brain_mri_ms_flair_3d", f"{mine}/*_t1.nii.gz", "MR"),
            *nifti("brain_mri_misc_3d", "test/cstar*_t1.nii.gz" if split == "test" else "none", "MR"),
        ],
    )
    yield (
        "other contrast: FLAIR, T2, T1 with contrast agent",
        [
            *nifti("brain_mri_ms_lesions_3d", f"{split}/*_[ft][l21][ac.]*.nii.gz", "MR"),
            *nifti("brain_mri_ms_flair_3d", f"{mine}/*_flair.nii.gz", "MR"),
            *nifti("brain_mri_misc_3d", "test/*[r2c].nii.gz" if split == "test" else "none", "MR"),
        ],
    )
    yield (
        "other body part: crops around a hippocampus",
        nifti("brain_mri_hippocampus_3d", f"{split}/*.nii.gz", "MR"),
    )
    yield "other modality, other body part: CT volumes", nifti("ct_volumes_hu", f"{split}/*.nii.gz", "MR")
    yield "single images: MR slices of heads", pictures("brain_mri_tumour_2d", split, "MR")[:20]


def table(gate: Gate, name: str, split: str) -> None:
    """One prior's rows."""
    groups = dict({"chest-xray": of_chest, "brain-t1": of_brain, "pneumonia": of_children}[name](split))
    own = [v for title, volumes in groups.items() if title in ("healthy", "sick: pneumonia") for v in volumes]
    print(f"\n{name}, {split}: {len(gate.known)} healthy scans known to the gate\n")
    side = sketch(gate.prior.admit(own[0]).whole).side
    alone = [strange_among(gate.known, n, gate.kind, side) for n in range(len(gate.known))]
    print(f"of those known, each beside the others: {clopper_pearson(sum(alone), len(alone))} refused\n")
    print("| scans | n | refused | 95 % | refused or warned | 95 % | by |\n|---|---|---|---|---|---|---|")
    for title, volumes in groups.items():
        row(
            title if title.startswith(("healthy", "sick")) else f"{title}, as it is",
            [gate.outcome(v) for v in volumes],
        )
    stated = [replace(v, modality="US") for v in own]
    row("stated to be of another modality", [gate.outcome(v) for v in stated])
    own = own[:: -(-len(own) // MOST)]
    for kind, changes in (("wrong", WRONG), ("scanner change", SCANNER)):
        every = {title: [gate.outcome(changed(v, change)) for v in own] for title, change in changes.items()}
        for title, found in every.items():
            row(f"SIMULATED {title}", found)
        together = [one for found in every.values() for one in found]
        refused, caught = (
            np.mean([one.startswith("refused") for one in together]),
            np.mean([one != "passes" for one in together]),
        )
        print(
            f"| all of SIMULATED {kind}, each kind alike | {len(together)} | {refused:.3f} | | {caught:.3f} | | |"
        )


def at_the_door(prior: Prior, volumes: list[Volume]) -> None:
    """For a prior of Hounsfield units that was shown no healthy scans."""

    def outcome(volume: Volume) -> str:
        try:
            prior.admit(volume)
        except WrongKind:
            return "refused: door"
        return "passes"

    print("| scans | n | refused | 95 % | refused or warned | 95 % | by |\n|---|---|---|---|---|---|---|")
    row("of its own kind", [outcome(v) for v in volumes])
    row("SIMULATED rescale intercept missing", [outcome(changed(v, lambda x: x + 1024)) for v in volumes])
    row("stated to be of another modality", [outcome(replace(v, modality="MR")) for v in volumes])
    row("stated to be of another unit", [outcome(replace(v, unit="a.u.")) for v in volumes])


def strange_among(known: torch.Tensor, n: int, kind: AcquisitionModel, side: int) -> bool:
    """Whether one of the healthy scans known would be refused if the others were all that is known."""
    p, distance, _ = gate_distance(known[n], torch.cat([known[:n], known[n + 1 :]]), kind.other, side=side)
    return p <= GATE_ALPHA and distance > 1


def row(title: str, found: list[str]) -> None:
    if not found:
        return
    shares = [
        clopper_pearson(sum(hits), len(found))
        for hits in ([o.startswith("refused") for o in found], [o != "passes" for o in found])
    ]
    cells = " | ".join(f"{one.value:.3f} | {one.low:.3f} to {one.high:.3f}" for one in shares)
    by = ", ".join(
        f"{why} {n}" for why, n in Counter(o.split(": ")[1] for o in found if o != "passes").most_common(2)
    )
    print(f"| {title} | {len(found)} | {cells} | {by} |", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--prior", default=",".join(BUNDLED))
    parser.add_argument(
        "--of", choices=(*BUNDLED[:2], "pneumonia"), help="whose scans, where the prior goes by another name"
    )
    parser.add_argument("--split", default="test", choices=("val", "test"))
    parser.add_argument("--teach", action="store_true", help="the kind anew, into the prior's folder")
    chosen = parser.parse_args()
    torch.set_num_threads(1)
    began = time.perf_counter()
    for name in chosen.prior.split(","):
        of = chosen.of or Path(name).name
        if chosen.teach:
            teach(name, of)
        elif gate := gate_of(name):
            table(gate, of, chosen.split)
        else:
            print(
                f"\n{name}, {chosen.split}: it was shown no healthy scans, so there is no gate but the door\n"
            )
            at_the_door(known_prior(name).prior, [v for v, _, _ in scans(name, chosen.split)])
    print(f"\n{time.perf_counter() - began:.0f} s, one thread")


if __name__ == "__main__":
    main()
