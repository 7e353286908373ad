"""The report of a training run: what was learned from, how the loss fell, and how wrong the prior still
is.
"""

from __future__ import annotations

from typing import Any

from ...prior import Prior
from ..page.blocks import Charts, Grid, Picture, Section, Table
from ..page.charts import loss_chart

__all__ = ["kept_early", "learned_sections"]


def learned_sections(prior: Prior, metrics: dict[str, Any], samples: Any) -> list[Section]:
    """What was learned from, how it went, and how wrong the prior still is beside a guess that looks at each
    voxel alone.
    """
    card, shape = prior.card, " x ".join(map(str, prior.card.data["shape"]))
    rows = [["training data", ""]]
    rows += [
        ["scans", str(card.data["scans"])],
        ["patients", str(card.data["patients"] or "not named")],
        [f"{'slices or images' if card.ndim == 2 else 'volumes'}", str(card.data["images"])],
    ]
    rows += [
        ["typical size", f"{shape} {'pixels' if card.ndim == 2 else 'voxels'}"],
        [
            "voxel size",
            "varies" if card.spacing_mm is None else " x ".join(f"{s:g}" for s in card.spacing_mm) + " mm",
        ],
    ]
    rows += [
        ["labels", ", ".join(f"{name} {n}" for name, n in card.data["labels"].items()) or "none"],
        ["licence", card.data.get("licence") or "not stated"],
    ]
    pictures = [
        Picture(
            samples,
            "Samples",
            "Four unconditional draws at a reduced size, always from the same noise; none was picked out.",
            synthetic=True,
            wide=True,
        )
    ]
    curve = [Charts([loss_chart(metrics["curve"])])] if len(metrics["curve"]) > 1 else []
    blocks: list[Any] = [Grid(pictures), *curve, Table(rows, words=True)]
    table = card.errors[0]
    guess = [(sigma * card.sigma_data) / (sigma**2 + card.sigma_data**2) ** 0.5 for sigma in table.sigmas]
    found = [error**0.5 for error in table.errors]
    held = (
        f"{metrics['held_out']} val {'images' if card.ndim == 2 else 'volumes'}"
        if metrics["held_out"]
        else "TRAINING images: there is no val split, and this flatters"
    )
    lines = [["noise added (std)", "error of the prior", "error of a guess voxel by voxel"]]
    lines += [
        [f"{sigma:.3g}", f"{error:.4f}", f"{plain:.4f}"]
        for sigma, error, plain in zip(table.sigmas, found, guess, strict=True)
    ]
    note = (
        f"Root mean square, in network units (half of the intensity range), on {held}. The guess knows "
        "mean and spread of all voxels, and no neighbours."
    )
    blocks.append(Table(lines, note))
    middle = min(range(len(found)), key=lambda i: abs(table.sigmas[i] - 0.3))
    verdict = (
        f"At noise {table.sigmas[middle]:.2g} the prior is off by {found[middle]:.3f} where a guess "
        f"voxel by voxel is off by {guess[middle]:.3f}."
    )
    caveats = (
        *([kept] if (kept := kept_early(prior)) else []),
        "The samples show no patient. Whether they copy the training images: medprior calibrate synthesize "
        "FOLDER --prior PRIOR.",
        "It was shown no healthy scans yet: medprior calibrate detect FOLDER --prior PRIOR; until then "
        "detect gives maps, but no p-values.",
        *card.limits,
    )
    return [Section("Train: what was learned", "", blocks, verdict, caveats)]


def kept_early(prior: Prior) -> str:
    """A sentence where an earlier step than the last was kept, "" where it was not."""
    steps, last = prior.card.training.get("steps", 0), prior.card.training.get("of_steps", 0)
    if last <= 1.1 * steps:
        return ""
    return (
        f"Step {steps} of {last} was kept: from there on val was denoised no better, so more steps would "
        "learn these scans by heart; more scans would help."
    )
