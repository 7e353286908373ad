"""How well maps find what a mask marks: average precision, Dice, per-region overlap, and how large what was
found and missed is.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from ....evidence.intervals import interval
from ....evidence.metrics import average_precision
from ....evidence.regions import best_dice, dice, pro
from ...page.blocks import Table
from ..study import span, stored

__all__ = ["localisation", "localise", "tables_of"]

MEASURES = {
    "average_precision": "average precision",
    "best_dice": "Dice at the best threshold (oracle)",
    "pro": "PRO",
}

BY_SIZE = 3
"""Groups of regions by size."""


def localise(
    truth: NDArray[np.bool_],
    maps: Mapping[str, NDArray[np.float32]],
    found: NDArray[np.bool_],
    body: NDArray[np.bool_],
    spacing: tuple[float, ...] | None,
) -> dict[str, Any]:
    """Of one scan: each map against the mask inside of the body, and the regions of the mask: (size in ml or
    mm2, touched by a finding).
    """
    inside = body | truth
    regions, n = ndimage.label(truth)  # pyright: ignore[reportGeneralTypeIssues]
    sizes = np.bincount(np.asarray(regions).ravel(), minlength=n + 1)[1:]
    unit = 1.0 if spacing is None else float(np.prod(spacing)) / (1000.0 if truth.ndim == 3 else 1.0)
    touched = set(np.unique(np.asarray(regions)[found])) - {0}
    return {
        "maps": {
            name: {
                "average_precision": average_precision(values[inside], truth[inside]),
                "best_dice": best_dice(values[inside], truth[inside]),
                "pro": pro(values, np.asarray(regions), body=inside),
            }
            for name, values in maps.items()
        },
        "dice": dice(found & inside, truth),
        "share": float(truth.sum() / inside.sum()),
        "regions": [
            [float(size) * unit, bool(number in touched)] for number, size in enumerate(sizes, start=1)
        ],
        "unit": "voxels" if spacing is None else "ml" if truth.ndim == 3 else "mm2",
    }


def localisation(scans: Sequence[tuple[int, Mapping[str, Any]]]) -> dict[str, Any]:
    """Of all scans, each with its patient: means with intervals over patients, and the share of regions found
    by their size.
    """
    patients, found = [patient for patient, _ in scans], [one for _, one in scans]
    first = found[0]
    means = {
        name: {what: _mean([one["maps"][name][what] for one in found], patients) for what in MEASURES}
        for name in first["maps"]
    }
    regions = sorted((size, hit) for one in found for size, hit in one["regions"])
    parts = [
        part for part in np.array_split(np.arange(len(regions)), min(BY_SIZE, len(regions))) if len(part)
    ]
    sizes = [
        {
            "from": regions[p[0]][0],
            "to": regions[p[-1]][0],
            "n": len(p),
            "found": sum(regions[i][1] for i in p),
        }
        for p in parts
    ]
    return {
        "scans": len(found),
        "maps": means,
        "dice": _mean([one["dice"] for one in found], patients),
        "share": float(np.mean([one["share"] for one in found])),
        "by_size": sizes,
        "unit": first["unit"],
    }


def _mean(values: list[float], patients: list[int]) -> dict[str, Any]:
    if len(set(patients)) < 2:
        return {
            "value": float(np.mean(values)),
            "low": None,
            "high": None,
            "level": 0.95,
            "n": len(set(patients)),
        }
    return stored(interval(lambda v: float(np.mean(v)), values, patients=patients))


def tables_of(at: Mapping[str, Any]) -> list[Table]:
    """For the report."""
    rows = [["map", *(text for what in MEASURES.values() for text in (what, "95 % interval"))]]
    for name, means in at["maps"].items():
        rows.append(
            [
                "medprior (ours)" if name == "ours" else name,
                *(text for what in MEASURES for text in (f"{means[what]['value']:.3f}", span(means[what]))),
            ]
        )
    best = 1 + max(
        range(len(at["maps"])), key=lambda i: list(at["maps"].values())[i]["average_precision"]["value"]
    )
    note = (
        f"Voxels of the body, {at['scans']} scans with a mask; average precision of chance is "
        f"{at['share']:.4f}. "
    )
    note += "The best threshold is not known in practice;  "
    threshold = "calibrated on healthy patients" if at["calibrated"] else "a fixed one, not calibrated"
    note += f"Dice at ours, {threshold}: {at['dice']['value']:.3f} ({span(at['dice'])})."
    sizes = [["size of the marked region", "regions", "touched by a finding"]]
    sizes += [
        [
            f"{one['from']:.3g} to {one['to']:.3g} {at['unit']}",
            str(one["n"]),
            f"{one['found'] / one['n']:.2f}",
        ]
        for one in at["by_size"]
    ]
    return [Table(rows, note, best), Table(sizes, f"At our threshold, {threshold}.")]
