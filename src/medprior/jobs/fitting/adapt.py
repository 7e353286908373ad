"""Adapt: a prior and 5 to 50 scans -> new labels, parameters that may move -> the loop, with replay -> one
plain prior, and what it forgot.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor

from ... import __version__
from ...errors import BadOption, nearest
from ...io.dataset.layout import PLAIN, Layout
from ...io.disk.files import sha256
from ...prior import Card, Prior
from ...prior.error_table import ErrorTable
from ...training.deviation_head import with_doubt
from ...training.distributed import several
from ...training.folder import load, locate, save
from ...training.held_out import denoising_losses, error_tables
from ...training.loop import Progress, Settings, train
from ...training.patches import Images
from ...training.presets import PRESETS
from ...training.tuning import METHODS, RATES, merged, prepared, with_labels
from .adapt_data import HELD, Newcomers, OnNote, Shown, gentle_variations, known_of, newcomers, remembered
from .fit import HELD_OUT, named_after, pieces

__all__ = ["FEW", "Adapted", "adapt"]

FEW = (5, 50)
"""Fewer scans than the first say too little of a class, and with more than the second training anew may be
worth its time.
"""
DRAWN = {2: 48, 3: 4}
"""Images, and volumes, that the parent draws to be replayed; as many again over three are drawn to judge
by.
"""

OnProgress = Callable[[Progress, Prior], None]


@dataclass(frozen=True, slots=True)
class Adapted:
    """prior: the new one. data: what it was adapted to. old: what was held back of what the parent knew;
    drawn: the parent drew it, no scanner.

    gained, forgotten: (n, 2) denoising loss of each held-out new image, and of each old one, by the parent
    and by the new prior; the lower the better. on_held: the new images were not learned from (else the gain
    flatters). tuned: numbers that could move, of ``parameters``.
    """

    prior: Prior
    data: Newcomers
    old: Shown
    drawn: bool
    gained: Tensor
    forgotten: Tensor
    on_held: bool
    method: str
    tuned: int
    parameters: int


def adapt(
    prior: str | Path,
    folder: str | Path,
    minutes: float | None = None,
    *,
    method: str = "auto",
    steps: int | None = None,
    seed: int = 0,
    out: str | Path = "adapted",
    name: str | None = None,
    rank: int = 8,
    rate: float | None = None,
    replay: str | Path = "generative",
    share: float = 0.5,
    old_label: str | None = None,
    hold: float = HELD,
    copies: int = 15,
    unit: str | None = None,
    modality: str | None = None,
    layout: Layout = PLAIN,
    licence: str = "",
    device: str = "cpu",
    allow_other: bool = False,
    allow_synthetic: bool = False,
    restart: bool = False,
    on_note: OnNote | None = None,
    on_scan: Callable[[int, int], None] | None = None,
    on_data: Callable[[Newcomers], None] | None = None,
    on_progress: OnProgress | None = None,
) -> Adapted:
    """A prior that also knows what a few scans show: a new class, organ or scanner. Written to out/prior; the
    same call again continues.

    prior: bundled name or folder of the parent. folder: the scans; its sub-folders are labels, known ones
    are tuned and new ones appended. method: ``training.tuning``; auto: lora. minutes: default 5 unless
    ``steps`` are given; drawing and measuring come on top. layout: where labels and patients are read from.
    replay: "generative" mixes in what the parent draws, "none" nothing, a folder its real scans; share: of
    every batch, on average. old_label: the name of what a parent without labels knew. hold: share of the
    new scans that is not learned from but tells which step was best. copies: gentle variations of each
    scan. Raises FileProblem, WrongKind (another modality or unit, unless allow_other), BadOption.
    """
    _check(method, minutes, steps, share, hold, copies)
    note, out, home = on_note or (lambda text: None), Path(out), locate(prior)
    parent = load(home)
    if old_label is not None and parent.card.labels:
        raise BadOption(
            f"old_label: prior {parent.card.name!r} has labels already: {', '.join(parent.card.labels)}",
            "leave it out",
        )
    card = replace(parent.card, labels=parent.card.labels or tuple({old_label} - {None}))
    data = newcomers(
        card, Path(folder), out, seed=seed, unit=unit, modality=modality, layout=layout,
        allow_other=allow_other, allow_synthetic=allow_synthetic, hold=hold, on_scan=on_scan
    )  # fmt: skip
    _warn(data, note)
    if on_data:
        on_data(data)
    child = with_labels(parent, (*card.labels, *data.labels))
    method = "lora" if method == "auto" else method
    kept, judged = _known(
        parent,
        child.card,
        replay,
        out,
        old=0 if old_label is not None else -1,
        seed=seed,
        unit=unit,
        modality=modality,
        note=note,
    )
    child.card = _described(
        child.card,
        parent,
        sha256(home / "weights.safetensors"),
        data,
        kept,
        name or named_after(out),
        licence,
    )
    how = {"method": method, **({"rank": rank} if method == "lora" else {}), "held_out": len(data.held)}
    how |= {
        "replay": {
            "from": replay if replay in ("generative", "none") else "real scans",
            "images": len(kept),
            "share": share if len(kept) else 0.0,
        }
    }
    child.card = replace(child.card, training={"preset": parent.card.preset, "medprior": __version__, **how})
    parameters = sum(p.numel() for p in child.net.parameters())
    tuned = prepared(child.net, method, rank=rank, seed=seed)
    count = sum(p.numel() for n, p in child.net.named_parameters() if n in tuned)
    images = _images(
        child.card,
        data.learn,
        gentle_variations(child.card, data.learn, seed=seed, copies=copies),
        kept,
        share,
    )
    settings = _settings(parent.card, minutes, steps, seed, rate or RATES[method], device)
    judge = (lambda now: float(_losses(now, data.held).mean())) if len(data.held) else None
    made = train(
        child,
        images,
        settings,
        out,
        device=device,
        on_progress=on_progress,
        fresh=restart,
        tuned=tuned,
        judge=judge,
    )
    merged(made.net.to("cpu")).eval().requires_grad_(False)
    made = with_doubt(
        made,
        images,
        steps=min(300, max(10, made.card.training["steps"] // 5)),
        batch=settings.batch,
        seed=seed,
    )
    witnesses = data.held if len(data.held) else data.learn
    made.card = replace(
        made.card,
        errors=_tables(
            made,
            witnesses if replay in ("generative", "none") else judged + witnesses,
            len(images.levels),
            seed,
        ),
    )
    save(made, out / "prior", trust={})
    return Adapted(
        made,
        data,
        judged,
        replay in ("generative", "none"),
        torch.stack([_losses(p, witnesses) for p in (parent, made)], 1),
        torch.stack([_losses(p, judged) for p in (parent, made)], 1),
        bool(len(data.held)),
        method,
        count,
        parameters,
    )


def _check(
    method: str, minutes: float | None, steps: int | None, share: float, hold: float, copies: int
) -> None:
    if several():
        raise BadOption(
            "adapt: runs as one process, so few scans are no work for more",
            "start it without torchrun or accelerate launch",
        )
    if method not in ("auto", *METHODS):
        raise BadOption(f"method: {method!r} is not known", nearest(method, ["auto", *METHODS]))
    if minutes is not None and steps is not None:
        raise BadOption("adapt: wanted minutes or steps, got both")
    if (steps is not None and steps < 1) or (minutes is not None and not minutes > 0):
        raise BadOption(
            f"adapt: wanted steps >= 1 or minutes > 0, got steps {steps}, minutes {minutes}",
            "leave both out for five minutes",
        )
    if not (0 <= share < 1 and 0 <= hold <= 0.5 and copies >= 0):
        raise BadOption(
            f"adapt: wanted a share of 0 to below 1, a hold of 0 to 0.5 and copies >= 0, got {share}, "
            f"{hold}, {copies}"
        )


def _warn(data: Newcomers, note: OnNote) -> None:
    for line in data.notes:
        note(line)
    if data.scans < FEW[0]:
        note(
            f"{data.scans} scans are fewer than {FEW[0]}: the prior will know them, hardly what they have in "
            "common"
        )
    if data.scans > FEW[1]:
        note(f"{data.scans} scans are more than {FEW[1]}: medprior train on all of them may serve better")
    if not len(data.held):
        note("none is held out, so nothing tells when it has learned enough, and what is measured flatters")


def _known(
    parent: Prior,
    card: Card,
    replay: str | Path,
    out: Path,
    *,
    old: int,
    seed: int,
    unit: str | None,
    modality: str | None,
    note: OnNote,
) -> tuple[Shown, Shown]:
    """What the parent knew: to be replayed, and to be judged by. old: the label of what has none."""
    if str(replay) not in ("generative", "none"):
        return known_of(card, Path(replay), out / "replay", old=old, seed=seed, unit=unit, modality=modality)
    keep = DRAWN[card.ndim] if replay == "generative" else 0
    total = DRAWN[card.ndim] + -(-DRAWN[card.ndim] // 3) if keep else -(-DRAWN[card.ndim] // 3)
    note(f"the prior draws {total} images of what it knows, to remember them")
    every = remembered(parent, total, seed=seed)
    every = replace(every, labels=tuple(old if label < 0 else label for label in every.labels))
    # every fourth is to judge by, so that both parts hold each label
    order = sorted(range(total), key=lambda i: (i % 4 == 3, i))
    return every.some(order[:keep]), every.some(order[keep:])


def _described(
    card: Card, parent: Prior, digest: str, data: Newcomers, kept: Shown, name: str, licence: str
) -> Card:
    """The card of the child: the parent's scaling and axes, and where both come from."""
    sides = [side for image in (*data.learn.images, *data.held.images) for side in image.shape[1:]]
    shape = parent.card.data.get("shape") if len(kept) else None
    return replace(
        card,
        name=name,
        frame=(min(card.frame[0], *sides), max(card.frame[1], *sides)),
        errors=(),
        data={
            "scans": data.scans,
            "patients": data.patients,
            "sha256": data.sha256,
            "labels": data.counts,
            "images": len(data.learn) + len(data.held),
            "shape": shape or list(data.learn.images[0].shape[1:]),
            "licence": licence,
            "parent": {
                "name": parent.card.name,
                "sha256": digest,
                "data": parent.card.data,
                "training": parent.card.training,
            },
        },
        limits=(
            *parent.card.limits,
            f"adapted to {data.scans} scans: of what they show it knows no more than they do",
        ),
    )


def _images(card: Card, few: Shown, varied: Shown, kept: Shown, share: float) -> Images:
    """Of every batch on average ``share`` is replayed; of the rest one half is the scans themselves, the
    other their variations.
    """
    every = few + varied + kept
    share = share if len(kept) else 0.0
    new = (1 - share) / (2 if len(varied) else 1)
    parts = ((few, new), (varied, new), (kept, share))
    weights = torch.cat([torch.full((len(part),), mass / max(1, len(part))) for part, mass in parts])
    labels, numbers = every.known(card)
    levels, patches = pieces(min(side for image in every.images for side in image.shape[1:]), card.ndim)
    return Images(every.images, labels, numbers, levels=levels, patches=patches, flip=None, weights=weights)


def _settings(
    card: Card, minutes: float | None, steps: int | None, seed: int, rate: float, device: str
) -> Settings:
    batch = PRESETS[card.preset].batch if card.preset in PRESETS else 16
    return Settings(
        steps=steps or 10**9,
        minutes=None if steps else (minutes or 5.0),
        batch=batch if card.ndim == 2 else max(2, batch // 4),
        rate=rate,
        seed=seed,
        save_every=max(10, min(100, (steps or 1000) // 10)),
        precision="bfloat16" if device != "cpu" else "float32",
    )


def _losses(prior: Prior, shown: Shown) -> Tensor:
    """(n,): the denoising loss of each image, with its label as far as the prior knows it; on the CPU or
    where the prior is.
    """
    labels, numbers = shown.known(prior.card)
    known = None if labels is None else torch.where(labels < len(prior.card.labels), labels, -1)
    return denoising_losses(prior, shown.images, known, numbers)


def _tables(prior: Prior, witnesses: Shown, n_levels: int, seed: int) -> tuple[ErrorTable, ...]:
    _, numbers = witnesses.known(prior.card)
    ndim = prior.card.ndim
    return error_tables(
        prior,
        witnesses.images,
        numbers,
        n_levels=n_levels,
        most=HELD_OUT[ndim] // (2 if ndim == 2 else 1),
        seed=seed,
    )
