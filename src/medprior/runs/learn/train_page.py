"""The report of a training run: what was learned from, how the loss fell, and how wrong the prior still
is.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor

from ...prior import Prior
from ..core.cost import words
from ..page.blocks import Charts, Grid, Picture, Section, Table
from ..page.charts import loss_chart
from .sheets import image_sheet, reduced

__all__ = ["kept_early", "learned_sections", "training_verdict"]

_LEVEL = 0.3
"""The noise level nearest to this one is that of the verdict."""


def learned_sections(
    prior: Prior, metrics: Mapping[str, Any], samples: Any, learned: Sequence[Tensor], verdict: str
) -> list[Section]:
    """What was learned from, how it went, and how wrong the prior still is beside the pixel-wise baseline.

    learned: the images of training; some are shown beside the samples.
    """
    card = prior.card
    pictures = [
        Picture(
            image_sheet(reduced(learned, card)),
            "Real scans",
            "Scans that were learned from, at the size of the samples.",
            wide=True,
        ),
        Picture(
            samples,
            "Samples",
            "Four unconditional draws at a reduced size, always from the same noise; none was picked out.",
            synthetic=True,
            wide=True,
        ),
    ]
    curve = [Charts([loss_chart(metrics["curve"])])] if len(metrics["curve"]) > 1 else []
    blocks: list[Any] = [Grid(pictures), *curve, Table(_facts(prior), words=True), _errors(prior, metrics)]
    caveats = (
        *([kept] if (kept := kept_early(prior)) else []),
        "The page shows real scans. Pass it on only where these may be passed on.",
        "The samples show no patient. Whether they copy the training images: medprior calibrate synthesize "
        "FOLDER --prior PRIOR.",
        "It does not know yet which scans are healthy: medprior calibrate detect FOLDER --prior PRIOR. Until "
        "then detect gives maps, but no p-values.",
        *card.limits,
    )
    return [Section("Train: what was learned", "", blocks, verdict, caveats)]


def _facts(prior: Prior) -> list[list[str]]:
    card, shape = prior.card, " x ".join(map(str, prior.card.data["shape"]))
    spacing = "varies" if card.spacing_mm is None else " x ".join(f"{s:g}" for s in card.spacing_mm) + " mm"
    return [
        ["training data", ""],
        ["scans", str(card.data["scans"])],
        ["patients", str(card.data["patients"] or "not named")],
        [f"{'slices or images' if card.ndim == 2 else 'volumes'}", str(card.data["images"])],
        ["typical size", f"{shape} {'pixels' if card.ndim == 2 else 'voxels'}"],
        ["voxel size", spacing],
        ["labels", ", ".join(f"{name} {n}" for name, n in card.data["labels"].items()) or "none"],
        ["licence", card.data.get("licence") or "not stated"],
    ]


def _errors(prior: Prior, metrics: Mapping[str, Any]) -> Table:
    table, held = prior.card.errors[0], metrics["held_out"]
    what = (
        f"{held} validation {'images' if prior.card.ndim == 2 else 'volumes'}"
        if held
        else "TRAINING images, since there is no validation set: this is too favourable"
    )
    rows = [["noise added (std)", "error of the prior", "error of the pixel-wise baseline"]]
    rows += [
        [f"{sigma:.3g}", f"{error**0.5:.4f}", f"{_baseline(prior, sigma):.4f}"]
        for sigma, error in zip(table.sigmas, table.errors, strict=True)
    ]
    note = (
        f"Root mean square error of denoising, in network units (half of the intensity range), on {what}. "
        "The baseline knows mean and spread of all pixels, and no neighbours."
    )
    return Table(rows, note)


def _baseline(prior: Prior, sigma: float) -> float:
    """Root mean square error of the best denoiser that looks at each pixel alone."""
    spread = prior.card.sigma_data
    return sigma * spread / (sigma**2 + spread**2) ** 0.5


def training_verdict(prior: Prior, metrics: Mapping[str, Any], seconds: float) -> str:
    """How good the prior is, and whether longer training would help. seconds: that it has learned."""
    table, training = prior.card.errors[0], prior.card.training
    n = min(range(len(table.sigmas)), key=lambda i: abs(table.sigmas[i] - _LEVEL))
    kind = "Validation error" if metrics["held_out"] else "Error on training images"
    error, plain = table.errors[n] ** 0.5, _baseline(prior, table.sigmas[n])
    found = f"{kind} {error:.3f} (pixel-wise baseline {plain:.3f}) at noise {table.sigmas[n]:.2g}"
    so_far = f"{training.get('of_steps', training.get('steps'))} steps in {words(seconds)} so far"
    falling = training.get("still_falling")
    if not metrics["held_out"]:
        return f"{found}. Without a validation set nothing tells whether it has learned enough ({so_far})."
    if falling:
        return f"{found}, still falling: train longer ({so_far})."
    if falling is None:
        return f"{found}. Too few checkpoints tell whether it still falls: train longer ({so_far})."
    if kept_early(prior):
        return f"{found}, no longer falling: longer training would not help, more scans would ({so_far})."
    return f"{found}, hardly falling any more: longer training would help little ({so_far})."


def kept_early(prior: Prior) -> str:
    """A sentence where an earlier step than the last was kept, "" where it was not."""
    steps, last = prior.card.training.get("steps", 0), prior.card.training.get("of_steps", 0)
    if last <= 1.1 * steps:
        return ""
    return (
        f"Early stopping: step {steps} of {last} was kept, because the validation loss did not fall after "
        "it. More steps would memorise these scans; more scans would help."
    )
