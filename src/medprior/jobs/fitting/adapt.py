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
from ...errors import BadOption, did_you_mean
from ...io.dataset.layout import PLAIN, Layout
from ...io.dataset.scan import Index
from ...io.disk.files import sha256
from ...prior import Card, Prior
from ...training.budget import Budget
from ...training.distributed import is_distributed
from ...training.folder import load, locate, save
from ...training.held_out import denoising_losses
from ...training.loop import UNKNOWN, Progress, TrainingSettings, train
from ...training.patches import Images
from ...training.presets import PRESETS
from ...training.tuning import METHODS, RATES, merge_adapters, prepare_tuning, with_labels
from .adapt_data import (
    LabelledImages,
    Newcomers,
    gentle_variations,
    known_of,
    load_images,
    newcomers,
    replay_draws,
    store,
)
from .changes import index_once
from .fit import named_after, pieces, under_trained
from .options import Adaptation, Callbacks, Listener
from .result import Witnesses, evaluation, measured, measuring, seconds_for, set_aside, unchanged
from .training_set import HELD_OUT

__all__ = ["FEW", "Adapted", "adapt", "adapted"]

FEW = (5, 50)
"""Fewer scans than the first say too little of a class, and with more than the second training anew may be
worth its time.
"""
DRAWN = {2: 48, 3: 4}
"""Images, and volumes, that the parent draws to be replayed; as many again over three are drawn to judge
by.
"""
DRAWING = 36
"""Network evaluations of an image that is drawn."""
REMEMBERING = 0.3
"""Most of the time given that drawing may take."""


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
    old: LabelledImages
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
    hold: float = 0.2,
    copies: int = 15,
    unit: str | None = None,
    modality: str | None = None,
    layout: Layout = PLAIN,
    licence: str = "",
    device: str = "cpu",
    allow_other: bool = False,
    allow_synthetic: bool = False,
    fresh: bool = False,
    on_note: Callable[[str], None] | None = None,
    on_scan: Callable[[int, int], None] | None = None,
    on_data: Callable[[Newcomers], None] | None = None,
    on_progress: Callable[[Progress, Prior], None] | None = None,
) -> Adapted:
    """A prior that also knows what a few scans show: a new class, organ or scanner. Written to out/prior; the
    same call again continues, and one with more steps or minutes goes on learning.

    prior: bundled name or folder of the parent. folder: the scans; its sub-folders are labels, known ones are
    tuned and new ones appended. method: ``training.tuning``; auto: lora. minutes: for the whole call, default
    5 unless ``steps`` are given. layout: where labels and patients are read from. replay: "generative" mixes
    in what the parent draws, "none" nothing, a folder its real scans; share: of every batch, on average.
    old_label: the name of what a parent without labels knew. hold: share of the new scans that is not learned
    from but tells which step was best. copies: gentle variations of each scan. fresh: forget former
    checkpoints. Raises FileProblem, WrongKind (another modality or unit, unless allow_other), BadOption (also
    where the scans have changed since).
    """
    options = Adaptation(
        str(prior), Path(folder), minutes, steps, method, seed, Path(out), name, rank, rate, str(replay),
        share, old_label, hold, copies, unit, modality, layout, licence, device, allow_other,
        allow_synthetic, fresh
    )  # fmt: skip
    return adapted(options, Callbacks(on_scan, on_data, on_progress, on_note))


def adapted(options: Adaptation, listener: Listener, index: Index | None = None) -> Adapted:
    """``adapt`` by its options. index: of the scans, where they were read already."""
    _check(options)
    budget, home = Budget.begun(options.budget), locate(options.prior)
    parent = load(home)
    if options.old_label is not None and parent.card.labels:
        raise BadOption(
            f"old_label: prior {parent.card.name!r} has labels already: {', '.join(parent.card.labels)}",
            "leave it out",
        )
    card = replace(parent.card, labels=parent.card.labels or tuple({options.old_label} - {None}))
    data = newcomers(card, index or index_once(options, listener), options)
    _warn(data, listener)
    listener.data(data)
    child = with_labels(parent, (*card.labels, *data.labels))
    kept, judged = _known(parent, child.card, options, budget, listener)
    child.card = _described(child.card, parent, data, kept, options)
    return _tuned(parent, child, _Shown(data, kept, judged), options, budget, listener)


@dataclass(frozen=True, slots=True)
class _Shown:
    """new: the few scans. kept, judged: what the parent knew, to be replayed and to be judged by."""

    new: Newcomers
    kept: LabelledImages
    judged: LabelledImages

    @property
    def witnesses(self) -> LabelledImages:
        """New scans by which the result is measured."""
        return self.new.held if len(self.new.held) else self.new.learn


def _tuned(
    parent: Prior, child: Prior, shown: _Shown, options: Adaptation, budget: Budget, listener: Listener
) -> Adapted:
    """The child after learning, measured, and written to out/prior."""
    method = _method(options)
    parameters = sum(p.numel() for p in child.net.parameters())
    every = shown.witnesses if options.drawn else shown.judged + shown.witnesses
    witnesses = _witnesses(every, child.card)
    moving = prepare_tuning(child.net, method, rank=options.rank, seed=options.seed)
    tuned = sum(p.numel() for n, p in child.net.named_parameters() if n in moving)
    varied = gentle_variations(child.card, shown.new.learn, seed=options.seed, copies=options.copies)
    images = _images(child.card, shown.new.learn, varied, shown.kept, options.share)
    settings = _settings(parent.card, options)
    if options.budget:
        child.net.to(options.device)
        budget = budget.keeping(seconds_for(child, witnesses, settings.batch))
    listener.planned(budget)
    held = shown.new.held
    made = train(
        child,
        images,
        replace(settings, minutes=budget.learning),
        options.out,
        on_progress=listener.progress,
        fresh=options.fresh,
        tuned=moving,
        judge=(lambda now: float(_losses(now, held).mean())) if len(held) else None,
    )
    merge_adapters(made.net).eval().requires_grad_(False)
    made.card = under_trained(made.card)
    home = options.out / "prior"
    with measuring(listener, made.card.training["steps"]):
        if (known := unchanged(made, home)) is not None:
            made = known
        else:
            made = measured(made, images, witnesses, batch=settings.batch, seed=options.seed, budget=budget)
            set_aside(home, listener)
        made.net.to("cpu")
        save(made, home)
        gained, forgotten = (
            torch.stack([_losses(prior, some) for prior in (parent, made)], 1)
            for some in (shown.witnesses, shown.judged)
        )
    return Adapted(
        made,
        shown.new,
        shown.judged,
        options.drawn,
        gained,
        forgotten,
        bool(len(held)),
        method,
        tuned,
        parameters,
    )


def _method(options: Adaptation) -> str:
    return "lora" if options.method == "auto" else options.method


def _check(options: Adaptation) -> None:
    if is_distributed():
        raise BadOption(
            "adapt: runs as one process, so few scans are no work for more",
            "start it without torchrun or accelerate launch",
        )
    if options.method not in ("auto", *METHODS):
        raise BadOption(
            f"method: {options.method!r} is not known", did_you_mean(options.method, ["auto", *METHODS])
        )


def _warn(data: Newcomers, listener: Listener) -> None:
    for text in data.notes:
        listener.note(text)
    if data.scans < FEW[0]:
        listener.note(
            f"{data.scans} scans are fewer than {FEW[0]}: the prior will memorise them and learn little of "
            "what they have in common"
        )
    if data.scans > FEW[1]:
        listener.note(
            f"{data.scans} scans are more than {FEW[1]}: medprior train on all of them may serve better"
        )
    if not len(data.held):
        listener.note(
            "no scan is held out, so there is no early stopping, and what is measured is too favourable"
        )


def _known(
    parent: Prior, card: Card, options: Adaptation, budget: Budget, listener: Listener
) -> tuple[LabelledImages, LabelledImages]:
    """What the parent knew: to be replayed, and to be judged by."""
    old = 0 if options.old_label is not None else -1  # the label of what has none
    if not options.drawn:
        return known_of(card, options, old=old)
    path = options.out / f"remembered-{options.seed}-{_digest(options)[:8]}.safetensors"
    every = None if options.fresh else load_images(path)
    if every is None:
        total = _affordable(parent, options, budget)
        listener.stage(f"the prior draws {total} images of what it knows, to remember them", total)
        every = replay_draws(parent, total, seed=options.seed, on_step=listener.step)
        store(every, path)
    every = replace(every, labels=tuple(old if label < 0 else label for label in every.labels))
    if options.replay == "none":
        return every.some([]), every
    # every fourth is to judge by, so that both parts hold each label
    judged = [i for i in range(len(every)) if i % 4 == 3] or [len(every) - 1]
    return every.some([i for i in range(len(every)) if i not in judged]), every.some(judged)


def _affordable(parent: Prior, options: Adaptation, budget: Budget) -> int:
    """Images that the parent draws: fewer where the time given has no room for all."""
    judged = -(-DRAWN[parent.card.ndim] // 3)
    total = judged + (DRAWN[parent.card.ndim] if options.replay == "generative" else 0)
    if budget.minutes is None:
        return total
    shape = parent.card.data.get("shape") or [64] * parent.card.ndim
    image = torch.zeros(len(parent.card.channels), *shape)
    numbers = torch.zeros(1, len(parent.card.numbers)) if parent.card.numbers else None
    each = DRAWING * evaluation(parent, Witnesses([image], numbers, 1))
    return max(4, min(total, int(REMEMBERING * 60 * budget.minutes / each)))


def _digest(options: Adaptation) -> str:
    """SHA-256 of the parent's weights."""
    return sha256(locate(options.prior) / "weights.safetensors")


def _described(card: Card, parent: Prior, data: Newcomers, kept: LabelledImages, options: Adaptation) -> Card:
    """The card of the child: the parent's scaling and axes, and where both come from."""
    sides = [side for image in (*data.learn.images, *data.held.images) for side in image.shape[1:]]
    shape = parent.card.data.get("shape") if len(kept) else None
    method = _method(options)
    return replace(
        card,
        name=options.name or named_after(options.out),
        frame=(min(card.frame[0], *sides), max(card.frame[1], *sides)),
        errors=(),
        training={
            "preset": parent.card.preset,
            "medprior": __version__,
            "method": method,
            **({"rank": options.rank} if method == "lora" else {}),
            "held_out": len(data.held),
            "replay": {
                "from": options.replay if options.drawn else "real scans",
                "images": len(kept),
                "share": options.share if len(kept) else 0.0,
            },
        },
        data={
            "scans": data.scans,
            "patients": data.patients,
            "sha256": data.sha256,
            "labels": data.counts,
            "images": len(data.learn) + len(data.held),
            "shape": shape or list(data.learn.images[0].shape[1:]),
            "licence": options.licence,
            "parent": {
                "name": parent.card.name,
                "sha256": _digest(options),
                "data": parent.card.data,
                "training": parent.card.training,
            },
        },
        limits=(
            *parent.card.limits,
            f"adapted to {data.scans} scans: of what they show it knows no more than they do",
        ),
    )


def _images(
    card: Card, few: LabelledImages, varied: LabelledImages, kept: LabelledImages, share: float
) -> Images:
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


def _settings(card: Card, options: Adaptation) -> TrainingSettings:
    batch = PRESETS[card.preset].batch if card.preset in PRESETS else 16
    return TrainingSettings(
        steps=options.steps or UNKNOWN,
        batch=batch if card.ndim == 2 else max(2, batch // 4),
        rate=options.rate or RATES[_method(options)],
        seed=options.seed,
        save_every=max(10, min(100, (options.steps or 1000) // 10)),
        precision="bfloat16" if options.device != "cpu" else "float32",
        device=options.device,
    )


def _losses(prior: Prior, shown: LabelledImages) -> Tensor:
    """(n,): the denoising loss of each image, with its label as far as the prior knows it; on the CPU or
    where the prior is.
    """
    labels, numbers = shown.known(prior.card)
    known = None if labels is None else torch.where(labels < len(prior.card.labels), labels, -1)
    return denoising_losses(prior, shown.images, known, numbers)


def _witnesses(shown: LabelledImages, card: Card) -> Witnesses:
    _, numbers = shown.known(card)
    return Witnesses(shown.images, numbers, HELD_OUT[card.ndim] // (2 if card.ndim == 2 else 1))
