"""The report of an adaptation: the few scans beside what is drawn of each class, what was gained and what was
forgotten.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from ...jobs.fitting.adapt import Adapted
from ..page.blocks import Charts, Grid, Picture, Section, Table
from ..page.charts import loss_chart
from .sheets import image_sheet

__all__ = ["adapted_sections", "close_to"]

_SIDE = 32
"""Samples and scans are compared at no more than so many voxels a side."""


def close_to(samples: Tensor, learned: Sequence[Tensor]) -> tuple[int, int]:
    """(n, of how many): samples that lie closer to a training image than any two training images lie to each
    other, by root mean square at a coarse size. This is a first look and no copy audit.
    """
    alike = [image for image in learned if image.shape == learned[0].shape]
    if len(alike) < 2:
        return 0, len(samples)
    known = _coarse(torch.stack(alike))
    among = torch.cdist(known, known).fill_diagonal_(torch.inf).min()
    return int((torch.cdist(_coarse(samples), known).min(1).values < among).sum()), len(samples)


def _coarse(x: Tensor) -> Tensor:
    return (F.adaptive_avg_pool2d(x, _SIDE) if x.ndim == 4 else F.adaptive_avg_pool3d(x, _SIDE // 2)).flatten(
        1
    )


def adapted_sections(
    done: Adapted, metrics: Mapping[str, Any], samples: Mapping[str, Tensor]
) -> list[Section]:
    """What was learned, from what, and at what price."""
    curve = [Charts([loss_chart(metrics["curve"])])] if len(metrics["curve"]) > 1 else []
    gained, forgotten = metrics["gained"], metrics["forgotten"]
    seen = (
        "held-out new scans"
        if gained["held_out"]
        else "new scans, LEARNED FROM (none was held out): this flatters"
    )
    old = (
        "images that the parent drew"
        if forgotten["drawn_by_the_parent"]
        else "held-out real scans of what it knew"
    )
    rows = [
        ["denoising loss", "parent", "now", "change", "standard error", "images"],
        _row(seen, gained),
        _row(old, forgotten),
    ]
    facts = [["what", ""], *([key, str(value)] for key, value in _facts(done, metrics))]
    note = (
        "The loss of training, on the same noise for both; each image with its label as far as the prior "
        "knows it."
    )
    blocks: list[Any] = [Grid(_sheets(done, samples)), *curve, Table(rows, note), Table(facts, words=True)]
    return [
        Section(
            "Adapt: what was learned, what was forgotten",
            "",
            blocks,
            _verdict(gained, forgotten),
            _limits(done, metrics),
        )
    ]


def _sheets(done: Adapted, samples: Mapping[str, Tensor]) -> list[Picture]:
    """Scans that were learned from, and what was drawn for each label."""
    card, data = done.prior.card, done.data
    pictures = [
        Picture(
            image_sheet(data.learn.images),
            "Scans that were learned from",
            f"The first of {len(data.learn)}, in network units.",
            wide=True,
        )
    ]
    for name, images in samples.items():
        where = (
            "a class that is new to it"
            if name in data.labels
            else "what it knew before"
            if name in card.labels
            else "no label asked for"
        )
        pictures.append(
            Picture(
                image_sheet(images),
                f"Drawn: {name}",
                f"{where}; from the same noise; none was picked out.",
                synthetic=True,
                wide=True,
            )
        )
    return pictures


def _limits(done: Adapted, metrics: Mapping[str, Any]) -> tuple[str, ...]:
    close = [
        f"{name}: {at['close']} of {at['of']}"
        for name, at in metrics["close_to_learned"].items()
        if at["close"]
    ]
    near = (
        "Samples closer to a scan that was learned from than any two of these are to each other: "
        f"{', '.join(close)}."
        if close
        else ""
    )
    return (
        "The samples show no patient. Whether they copy the scans has not been audited: with so few this is "
        "the first thing to ask.",
        *([near] if near else []),
        "Calibrations and what the parent knew of healthy scans are of other weights and were NOT inherited: "
        "medprior calibrate.",
        *(
            [
                "What was forgotten is measured on images that the parent drew itself; real ones say more: "
                "--replay FOLDER."
            ]
            if done.drawn
            else []
        ),
        *done.prior.card.limits,
    )


def _row(name: str, at: Mapping[str, Any]) -> list[str]:
    error = at["standard_error_of_change"]
    return [
        name,
        f"{at['parent']:.4f}",
        f"{at['child']:.4f}",
        f"{at['child'] - at['parent']:+.4f}",
        "" if error is None else f"{error:.4f}",
        str(at["n"]),
    ]


def _verdict(gained: Mapping[str, Any], forgotten: Mapping[str, Any]) -> str:
    def change(at: Mapping[str, Any]) -> tuple[str, str]:
        error, by = at["standard_error_of_change"], at["child"] - at["parent"]
        said = f"{at['parent']:.4f} to {at['child']:.4f}"
        return (
            "by no more than chance" if error is None or abs(by) < 2 * error else "down" if by < 0 else "up"
        ), said

    new, old = change(gained), change(forgotten)
    words = {
        "up": "it forgot",
        "down": "it even gained",
        "by no more than chance": "it forgot nothing that can be measured",
    }
    learned = {"up": "is worse", "down": "is better", "by no more than chance": "is not measurably better"}
    return (
        f"On the new scans it {learned[new[0]]} (loss {new[1]}); of the old ones {words[old[0]]} (loss "
        f"{old[1]})."
    )


def _facts(done: Adapted, metrics: Mapping[str, Any]) -> list[tuple[str, str]]:
    card = done.prior.card
    training, parent = card.training, card.data["parent"]
    replay, rank = training["replay"], f" of rank {training['rank']}" if "rank" in training else ""
    return [
        ("parent", f"{parent['name']}, SHA-256 {parent['sha256'][:16]}"),
        (
            "new scans",
            ", ".join(f"{name} {n}" for name, n in done.data.counts.items())
            or f"{done.data.scans}, no labels",
        ),
        ("patients", str(done.data.patients or "not named")),
        ("held out", f"{len(done.data.held)} images"),
        ("method", f"{done.method}{rank}: {done.tuned:,} of {done.parameters:,} numbers could move"),
        ("replay", f"{replay['from']}: {replay['images']} images, {replay['share']:.0%} of every batch"),
        ("steps", f"{training['steps']}{', where the held-out loss was lowest' if done.on_held else ''}"),
        ("labels now", ", ".join(card.labels) or "none"),
        ("licence", card.data.get("licence") or "not stated"),
    ]
