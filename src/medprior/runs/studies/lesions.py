"""The inserted-lesion test of an evaluation: what of a lesion that is there does each method keep, and what
does it show that is not there?

Each image is measured twice with the same seed: as it is, which is the lesion-free twin, and with lesions. A
false blob is a connected region of the twin's result at least as large as the smallest lesion. It is off by
over three standard deviations of the method's error, all to one side. A method's standard deviation is
measured on the other patients. Ours gives one for each voxel, up to a factor; the plain methods have one
number for all.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import ceil, pi
from typing import Any

import numpy as np
import torch
from scipy.ndimage import binary_fill_holes
from torch import Tensor

from ...data.seeds import generator
from ...evidence.intervals import clopper_pearson
from ...evidence.lesions import CONTRASTS, RADII, false_blobs, insert_lesions, lesion_ladder, recoveries
from ...jobs.calibrate import BODY
from ..ask.requests import Reconstruct
from ..page.blocks import Section, Table
from ..reconstruct.simulate import Case, measured_again
from .study import rate_or_none, span

__all__ = ["deviations", "lesion_figures", "lesion_recovery", "lesion_section", "with_lesions"]

_SCALES = np.geomspace(1e-3, 100, 121)
"""Candidates for the factor between a method's deviation and its error, 10 % apart."""


def with_lesions(request: Reconstruct, case: Case) -> tuple[Case, list[Any]]:
    """The same measurement of the image with lesions, and the lesions. request: its seed decides where they
    are.
    """
    low, high = case.scale
    rng, tissue = generator(request.seed, "lesions"), _tissue(case)
    lesions = lesion_ladder(case.image, tissue, rng, low=low, high=high, spacing=_pixel(case))
    image = insert_lesions(case.image, lesions, spacing=_pixel(case))
    return measured_again(request, case, case.known.with_data(image[0].numpy())), lesions


def deviations(case: Case, methods: Mapping[str, Tensor], ours: str, own: Tensor) -> dict[str, Tensor]:
    """How far each method may be off, (C, i, j[, k]) up to a factor. own: the deviation of ours."""
    return {name: own if name == ours else torch.full_like(case.image[0], case.half) for name in methods}


def lesion_recovery(
    case: Case,
    methods: Mapping[str, Tensor],
    spread: Mapping[str, Tensor],
    lesioned: Case,
    kept: Mapping[str, Tensor],
    lesions: Sequence[Any],
) -> dict[str, Any]:
    """Of one image, for each method as JSON: (radius, contrast in half ranges, recovery) of its lesions; mean
    squared error and deviation; blobs by scale.

    methods, kept: results of the twin and of the image with lesions.
    """
    radius = min(RADII) / _pixel(case)
    least = ceil(pi * radius**2 if case.known.ndim == 2 else 4 / 3 * pi * radius**3)
    body, found = _tissue(case).expand(case.image[0].shape), {}
    for name, image in methods.items():
        there = recoveries(kept[name], lesioned.image, lesions, spacing=_pixel(case))
        apart = (image - case.image)[0][body].double().square().mean()
        blobs = [
            false_blobs(image, case.image, spread[name][None] * float(scale), least=least)
            for scale in _SCALES
        ]
        found[name] = {
            "recovery": [
                (lesion.radius, round(abs(lesion.contrast) / case.half, 3), round(value, 5))
                for lesion, value in there
            ],
            "squares": [float(apart), float(spread[name][body].double().square().mean())],
            "blobs": blobs,
        }
    return found


def lesion_figures(
    found: Sequence[Mapping[str, Any]], names: Sequence[str], patients: Sequence[int]
) -> dict[str, Any]:
    """Medians, rates and intervals over patients, for each method. found: what ``lesion_recovery`` gave of
    each image.
    """
    stored = {}
    for name in names:
        rows = [
            (patient, *one)
            for image, patient in zip(found, patients, strict=True)
            for one in image[name]["recovery"]
        ]
        ladder = {
            f"{r:g} mm, {c:g}": [row[3] for row in rows if (row[1], row[2]) == (r, c)]
            for r in RADII
            for c in CONTRASTS
        }
        blobs = _blobs(found, name, patients)
        stored[name] = {
            "recovery": rate_or_none(_median, [row[3] for row in rows], patients=[row[0] for row in rows])
            if rows
            else None,
            "by_size": {
                at: {"median": _median(values) if values else None, "n": len(values)}
                for at, values in ladder.items()
            },
            "blobs_per_100": _rate(blobs, patients) if blobs is not None else None,
        }
    return {
        "lesions": len([one for image in found for one in image[names[0]]["recovery"]]),
        "images": len(found),
        "methods": stored,
    }


def _blobs(found: Sequence[Mapping[str, Any]], name: str, patients: Sequence[int]) -> list[int] | None:
    """Of each image, with the deviation scaled on the other patients; None where there are none."""
    counts = []
    for image, patient in zip(found, patients, strict=True):
        squares = np.array(
            [other[name]["squares"] for other, whose in zip(found, patients, strict=True) if whose != patient]
        )
        if not len(squares):
            return None
        scale = (squares[:, 0].sum() / squares[:, 1].sum()) ** 0.5
        counts.append(image[name]["blobs"][int(np.abs(np.log(_SCALES / scale)).argmin())])
    return counts


def _rate(blobs: Sequence[int], patients: Sequence[int]) -> dict[str, Any]:
    """Blobs per 100 images. Where there are none the interval has no width: the upper end is then that
    of the share of images with any.
    """
    rate = rate_or_none(_per_hundred, blobs, patients=patients)
    return (
        rate
        if any(blobs)
        else {**rate, "low": 0.0, "high": 100 * clopper_pearson(0, len(set(patients))).high}
    )


def _median(values: Any) -> float:
    return float(np.median(values))


def _per_hundred(values: Any) -> float:
    return 100 * float(np.mean(values))


def lesion_section(metrics: Mapping[str, Any], ours: str) -> Section:
    """metrics: what ``lesion_figures`` gave."""
    methods = metrics["methods"]
    rows = [["method", "contrast kept", "95 % interval", "false blobs per 100 images", "95 % interval"]]
    ladder = [["method", *(f"{at} (n {one['n']})" for at, one in methods[ours]["by_size"].items())]]
    for name, at in methods.items():
        rows.append([name, *_cells(at["recovery"], 3), *_cells(at["blobs_per_100"], 1)])
        ladder.append(
            [
                name,
                *(
                    "none" if one["median"] is None else f"{one['median']:.3f}"
                    for one in at["by_size"].values()
                ),
            ]
        )
    kept = methods[ours]["recovery"]
    return Section(
        "Inserted lesions",
        f"{metrics['lesions']} smooth-edged discs of {', '.join(f'{r:g}' for r in RADII)} mm radius and "
        f"{' or '.join(f'{c:g}' for c in CONTRASTS)} of half the "
        f"intensity range were put into the {metrics['images']} images, which were then measured once more; "
        "without them they are lesion-free twins.",
        [
            Table(
                rows,
                note="Contrast kept: median over lesions of (lesion - background) beside that of the truth; "
                "1 is all of it.",
            ),
            Table(ladder, note="Contrast kept, by the lesion's radius and contrast."),
        ],
        verdict="No lesion found room."
        if kept is None
        else f"{ours.capitalize()}: {kept['value']:.0%} of a lesion's contrast is kept (median).",
        caveats=(
            "A false blob: connected, as large as the smallest lesion or larger, over three standard "
            "deviations off, which are measured on the other patients.",
            "The lesions are discs, not disease; pixels of unknown size count as 1 mm.",
        ),
    )


def _cells(at: Mapping[str, Any] | None, digits: int) -> tuple[str, str]:
    return ("unknown", "one patient only") if at is None else (f"{at['value']:.{digits}f}", span(at, digits))


def _pixel(case: Case) -> float:
    return min(case.known.spacing_mm or (1.0,))


def _tissue(case: Case) -> Tensor:
    """(i, j[, k]) bool: all that is not air around the patient."""
    low, high = case.scale
    tissue = torch.from_numpy(
        np.asarray(binary_fill_holes(case.known.data[0] > BODY * (high - low) / 2 + (high + low) / 2))
    )
    return tissue if bool(tissue.any()) else torch.ones_like(tissue)
