"""Detection in volumes: lesions of known size and contrast in healthy heads, their lesion-free twins, MS
lesions with masks, and a stroke.

    python bench/detect_volumes.py learn --prior brain-t1 --out runs/brain-healthy [--brain] python
    bench/detect_volumes.py inserted --prior runs/brain-healthy [--split test] [--patients 5] [--contrasts
    -0.4,-0.2,0.2,0.4] python bench/detect_volumes.py lesions --prior runs/brains-alone [--split test] [--out
    DIR]

learn: the healthy IXI heads of train are shown to the prior, those of val calibrate (four: too few for a flag
at 5 %, which is therefore refused). --brain: their brains alone, cut out by their label maps, for data that
are skull-stripped. inserted: SIMULATED: balls of 12, 8, 5 and 3 mm radius with a smooth edge in the brain of
each patient, once a contrast (in halves of the intensity range, black -1, white 1), and the same head
without. lesions: T1 and FLAIR of a patient with MS, T1 of one with a stroke that nobody has drawn;
skull-stripped, from other scanners, 1 mm; cut to the brain and brought to slices of 2 mm. The prior has
learned T1 of whole heads. --out: scans and maps as NIfTI. Printed: average precision over the voxels of the
head (of the brain for lesions), best Dice (an oracle), for ours and each plain detector fitted to the same
heads; which lesions a finding touches; findings in lesion-free twins. Intervals over patients, of few
patients: too narrow. Reads MEDPRIOR_DATA.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator
from dataclasses import replace
from datetime import date
from pathlib import Path

import numpy as np
import torch
from pretrain import DATA
from scipy import ndimage
from torch import Tensor

from medprior import Prior, Volume, read
from medprior.data.axes import reorient
from medprior.evidence.detectors.detectors import Detector, plain_detectors
from medprior.evidence.intervals import interval
from medprior.evidence.lesions import Lesion, insert_lesions, random_centres
from medprior.evidence.metrics import average_precision
from medprior.evidence.regions import best_dice
from medprior.io.write import write
from medprior.jobs.detect import Found, detect
from medprior.jobs.detection.calibrate import calibrate_detection, learn_healthy
from medprior.prior.admit import admit, release_map
from medprior.runs.core.inputs import known_prior
from medprior.training.folder import save

RADII = (12.0, 8.0, 5.0, 3.0)
HEAD = -0.9


def heads(split: str) -> list[Path]:
    return sorted((DATA / "brain_mri_t1_3d_ixi" / split).glob("*_t1.nii.gz"))


def healthy(path: Path, *, brain: bool) -> Volume:
    """A healthy head; brain: only what is labelled as brain or lies in its furrows, as skull-stripped data
    sets have it.
    """
    scan = read(path, modality="MR")
    if not brain:
        return scan
    labelled = read(path.with_name(path.name.replace("_t1", "_labels")), unit="label").data[0] > 0
    closed = np.asarray(ndimage.binary_fill_holes(ndimage.binary_closing(np.pad(labelled, 4), iterations=3)))
    return framed(scan, closed[4:-4, 4:-4, 4:-4])


def framed(scan: Volume, brain: np.ndarray) -> Volume:
    """Black outside of the brain, and cut to its bounding box: places are then the same in every
    skull-stripped scan, whatever its field of view.
    """
    box = bounds(brain)
    affine = None if scan.affine is None else scan.affine @ shifted([s.start for s in box])
    return replace(
        scan, data=np.ascontiguousarray(np.where(brain, scan.data[0], 0)[box])[None], affine=affine
    )


def bounds(brain: np.ndarray) -> tuple[slice, ...]:
    found = np.argwhere(brain)
    return tuple(slice(int(low), int(high) + 1) for low, high in zip(found.min(0), found.max(0), strict=True))


def shifted(by: list[int]) -> np.ndarray:
    moved = np.eye(4)
    moved[:3, 3] = by
    return moved


def learn(prior: Prior, out: Path, *, brain: bool) -> None:
    """Healthy heads, or brains, of train, calibrated on val."""
    began = time.perf_counter()
    learn_healthy(
        prior,
        (healthy(path, brain=brain) for path in heads("train")),
        on_step=lambda n: print(n, end=" ", flush=True),
    )
    held = heads("val")
    entry = calibrate_detection(prior, (healthy(path, brain=brain) for path in held))
    said = f"{len(held)} healthy val patients"
    promise = replace(entry, calibrated_on=said, learned_from=len(heads("train")), date=str(date.today()))
    prior.promises = replace(prior.promises, detect=promise)
    save(prior, out, half=True)
    print(
        f"\nbrain: {len(heads('train'))} heads learned, {len(held)} calibrate, {time.perf_counter() - began:.0f} s",
        flush=True,
    )


def fitted(prior: Prior, *, brain: bool = False) -> dict[str, Detector]:
    began = time.perf_counter()
    found = plain_detectors([admit(prior.card, healthy(path, brain=brain)).whole for path in heads("train")])
    print(f"plain detectors fitted in {time.perf_counter() - began:.0f} s", flush=True)
    return found


def with_lesions(path: Path, contrast: float, seed: int) -> tuple[Volume, Tensor]:
    """The head with a ball of each radius somewhere in its brain, and their numbers at each voxel, on the
    scan's own grid.
    """
    scan, brain = (
        read(path, modality="MR"),
        read(path.with_name(path.name.replace("_t1", "_labels")), unit="label"),
    )
    spacing = float(np.mean(scan.spacing_mm or (2.0,)))
    tissue = torch.from_numpy(reorient(brain, "RAS").data[0] > 0)
    turned = reorient(scan, "RAS")
    centres = random_centres(tissue, RADII, torch.Generator().manual_seed(seed), spacing=spacing)
    half = (
        float(np.quantile(turned.data[turned.data > turned.data.mean()], 0.99)) / 2
    )  # as the card's scaling has it
    lesions = [
        Lesion(centre, radius, contrast * half) for centre, radius in zip(centres, RADII, strict=False)
    ]
    image = insert_lesions(torch.from_numpy(turned.data)[None], lesions, spacing=spacing)[0].clamp_min(0)
    marks = torch.zeros(turned.shape, dtype=torch.int16)
    for n, lesion in enumerate(lesions, start=1):
        marks[lesion.core(turned.shape, spacing)] = n
    return replace(turned, data=image.numpy()), marks


def maps(
    prior: Prior, scan: Volume, plain: dict[str, Detector], *, allow_other: bool = False
) -> tuple[dict[str, np.ndarray], Found, float]:
    """Each method's map on the scan's grid, what ours found, and its seconds."""
    began = time.perf_counter()
    found = detect(prior, scan, n_twins=0, gate=False, allow_other=allow_other)
    seconds = time.perf_counter() - began
    admitted = admit(prior.card, scan, allow_other=allow_other)
    others = {
        name: release_map(admitted, detector(admitted.whole).map, sentence="").data[0]
        for name, detector in plain.items()
    }
    return {"ours": found.map.data[0], **others}, found, seconds


def measure_inserted(prior: Prior, split: str, patients: int, contrasts: list[float]) -> None:
    plain = fitted(prior)
    precisions: dict[tuple[str, float], list[float]] = {}
    dices: dict[tuple[str, float], list[float]] = {}
    touched: dict[tuple[float, float], list[bool]] = {}
    free, times, shares = [], [], []
    for n, path in enumerate(heads(split)[:patients]):
        _, found, seconds = maps(prior, read(path, modality="MR"), {})
        free.append(len(found.findings))
        times.append(seconds)
        for contrast in contrasts:
            scan, marks = with_lesions(path, contrast, n)
            values, found, _ = maps(prior, scan, plain)
            truth, body = (marks > 0).numpy(), scan.data[0] > 0.05 * scan.data[0].max()
            body |= truth
            shares.append(truth.sum() / body.sum())
            for name, one in values.items():
                precisions.setdefault((name, contrast), []).append(average_precision(one[body], truth[body]))
                dices.setdefault((name, contrast), []).append(best_dice(one[body], truth[body]))
            for number, radius in enumerate(RADII, start=1):
                touched.setdefault((contrast, radius), []).append(
                    bool((found.mask.data[0][marks.numpy() == number] > 0).any())
                )
        print(f"  patient {n + 1}: {seconds:.1f} s a volume", flush=True)
    names = list(dict.fromkeys(name for name, _ in precisions))
    print(
        f"\n{split}: {len(free)} patients; SIMULATED lesions; average precision of chance {np.mean(shares):.4f}\n"
    )
    print(
        "| map | "
        + " | ".join(f"contrast {c:+g}" for c in contrasts)
        + " | all (95 %) | best Dice |\n|"
        + "---|" * (len(contrasts) + 3)
    )
    for name in names:
        each = np.array([precisions[name, c] for c in contrasts])  # (contrasts, patients)
        whole = (
            interval(lambda v: float(np.mean(v)), each.mean(0), patients=range(each.shape[1]))
            if each.shape[1] > 1
            else None
        )
        span = f"{each.mean():.3f}" + (f" ({whole.low:.3f} to {whole.high:.3f})" if whole else "")
        dice = np.mean([dices[name, c] for c in contrasts])
        print(f"| {name} | " + " | ".join(f"{row.mean():.3f}" for row in each) + f" | {span} | {dice:.3f} |")
    if prior.promises.detect is None or prior.promises.detect.map_high is None:
        print("\nno calibrated threshold: findings below are at the fixed one")
    print(
        "\n| lesion radius, mm | "
        + " | ".join(f"touched at {c:+g}" for c in contrasts)
        + " |\n|"
        + "---|" * (len(contrasts) + 1)
    )
    for radius in RADII:
        print(f"| {radius:g} | " + " | ".join(f"{np.mean(touched[c, radius]):.2f}" for c in contrasts) + " |")
    print(
        f"\nfindings in lesion-free twins: {free}; median time of a volume {np.median(times):.1f} s, {torch.get_num_threads()} threads"
    )


def lesioned(split: str) -> Iterator[tuple[str, Volume, np.ndarray | None]]:
    """(name, scan, lesions) of the MS patient of this split, and, in test, of the stroke patient, whose
    lesion nobody has drawn. Skull-stripped, 1 mm.
    """
    folder = DATA / "brain_mri_ms_lesions_3d" / split
    truth = read(next(folder.glob("*_lesions.nii.gz")), unit="label").data[0] > 0
    for kind in ("t1", "flair"):
        yield f"MS, {kind.upper()}", read(next(folder.glob(f"*_{kind}.nii.gz")), modality="MR"), truth
    if split == "test":
        yield (
            "stroke, T1",
            read(DATA / "brain_mri_misc_3d" / split / "cstar_stroke_t1.nii.gz", modality="MR"),
            None,
        )


def thick(scan: Volume) -> Volume:
    """Slices of 1 mm averaged in pairs: as thick as those that the prior has learned."""
    data = scan.data[..., : scan.data.shape[-1] // 2 * 2]
    affine = None if scan.affine is None else scan.affine @ np.diag([1, 1, 2, 1.0])
    if affine is not None:
        affine[:3, 3] += scan.affine[:3, 2] / 2  # type: ignore[index]
    return replace(scan, data=data.reshape(*data.shape[:-1], -1, 2).mean(-1), affine=affine)


def measure_lesions(prior: Prior, split: str, out: Path | None) -> None:
    plain = fitted(prior, brain=True)
    for name, whole, drawn in lesioned(split):
        brain = whole.data[0] > 0
        box = bounds(brain)
        scan = thick(framed(whole, brain))
        values, found, seconds = maps(prior, scan, plain)
        print(
            f"\n{split}, {name}: {len(found.findings)} findings, gate: {found.other or 'passes'}, {seconds:.1f} s",
            flush=True,
        )
        if out is not None:
            out.mkdir(parents=True, exist_ok=True)
            write(found.map, out / f"{name.replace(', ', '-')}-map.nii.gz", kind="map")
            write(scan, out / f"{name.replace(', ', '-')}.nii.gz")
        if drawn is None:
            continue
        inside, truth = brain[box], drawn[box]
        inside, truth = (v[..., : v.shape[-1] // 2 * 2] for v in (inside, truth))
        inside = inside | truth
        print(
            f"{truth.sum() / 1000:.1f} ml drawn, average precision of chance {truth.sum() / inside.sum():.4f}\n"
        )
        print("| map | average precision | best Dice |\n|---|---|---|")
        for title, one in values.items():
            fine = np.repeat(one, 2, axis=-1)
            print(
                f"| {title} | {average_precision(fine[inside], truth[inside]):.3f} | {best_dice(fine[inside], truth[inside]):.3f} |",
                flush=True,
            )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("verb", choices=("learn", "inserted", "lesions"))
    parser.add_argument("--prior", required=True)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--brain", action="store_true", help="learn from skull-stripped heads")
    parser.add_argument("--split", default="test", choices=("val", "test"))
    parser.add_argument("--patients", type=int, default=5)
    parser.add_argument("--contrasts", default="-0.4,-0.2,0.2,0.4")
    chosen = parser.parse_args()
    prior = known_prior(chosen.prior).prior
    if chosen.verb == "learn":
        learn(prior, chosen.out, brain=chosen.brain)
    elif chosen.verb == "inserted":
        measure_inserted(
            prior, chosen.split, chosen.patients, [float(c) for c in chosen.contrasts.split(",")]
        )
    else:
        measure_lesions(prior, chosen.split, chosen.out)


if __name__ == "__main__":
    main()
