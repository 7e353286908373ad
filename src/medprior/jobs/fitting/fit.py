"""Fit: a folder of scans -> index -> network units -> the loop -> a prior with its card and its error
table.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import torch

from ... import __version__
from ...data.plain import JsonObject
from ...io.dataset.layout import PLAIN, Layout
from ...io.dataset.scan import Index
from ...io.disk.files import sha256, write_json
from ...prior import Card, Prior
from ...prior.prior import untrained_prior as untrained
from ...training.begin import begin_with as begun_with
from ...training.budget import Budget
from ...training.distributed import ranks_for
from ...training.folder import load, locate, save
from ...training.held_out import denoising_losses
from ...training.loop import UNKNOWN, Progress, TrainingSettings, train
from ...training.patches import Images
from ...training.presets import preset_named
from .changes import index_once
from .options import Callbacks, Fitting, Listener
from .result import Witnesses, measured, measuring, seconds_for, set_aside, unchanged
from .training_set import HELD_OUT, LARGEST, Dataset, dataset, moves_of
from .transfer import start_advice

__all__ = ["fit", "fitted", "named_after", "pieces", "under_trained"]

BEGUN = "begin.json"
"""What the trial of another prior's weights has shown."""
LEAST_HELD, JUDGED = 4, 32
"""Held-out images (or volumes) from which the best step is chosen by them, and how many of 64 voxels a side
that costs at most (about 3 % of the training).
"""


def fit(
    folder: str | Path,
    preset: str = "small",
    minutes: float | None = None,
    *,
    seed: int = 0,
    out: str | Path = "prior",
    steps: int | None = None,
    name: str | None = None,
    unit: str | None = None,
    modality: str | None = None,
    layout: Layout = PLAIN,
    plane: str = "axial",
    ndim: int = 2,
    channels: Sequence[str] | None = None,
    licence: str = "",
    device: str = "cpu",
    allow_synthetic: bool = False,
    fresh: bool = False,
    begin_with: str | Path | None = None,
    on_scan: Callable[[int, int], None] | None = None,
    on_data: Callable[[Dataset], None] | None = None,
    on_progress: Callable[[Progress, Prior], None] | None = None,
) -> Prior:
    """A prior learned from the train split of a data set's folder; the same call again continues where it was
    stopped, and one with more steps or minutes goes on learning.

    minutes: for the whole call (reading, learning, measuring), default 10 unless ``steps`` are given. out:
    folder of the run; the prior is written to out/prior. unit, modality: where the files cannot say. layout:
    where labels and patients are read from. ndim: 2 learns slices, cut along ``plane``; 3 learns volumes
    whole. begin_with: another prior, whose weights are taken over where they fit; a short trial first says
    whether that helps. channels: which of those that a scans.csv names are learned together (default all:
    the image, each channel:NAME, the mask). fresh: forget former checkpoints. on_scan: (files done, files in
    all); on_progress: as in ``training.loop``. Val and test are never learned from. Early stopping: the
    checkpoint with the lowest validation loss is kept, where val holds at least 4 images. A former prior in
    out/prior that was calibrated is renamed when the weights change. Under torchrun or ``accelerate launch``
    the processes share the steps; rank 0 alone measures, writes and reports, and the others return a prior
    without error tables. Raises FileProblem (nothing usable, more than 5 % unusable), WrongKind (synthetic or
    mixed scans), BadOption (also where the scans have changed since).
    """
    options = Fitting(
        Path(folder), preset, minutes, steps, seed, Path(out), name, unit, modality, layout, plane, ndim,
        None if channels is None else tuple(channels), licence, device, allow_synthetic, fresh,
        None if begin_with is None else str(begin_with)
    )  # fmt: skip
    return fitted(options, Callbacks(on_scan, on_data, on_progress))


def fitted(options: Fitting, listener: Listener, index: Index | None = None) -> Prior:
    """``fit`` by its options. index: of the scans, where they were read already."""
    budget, ranks = Budget.begun(options.budget), ranks_for(options.device)
    chosen = preset_named(options.preset)
    index = index or index_once(options, listener)
    data = _dataset(options, index)
    if ranks.rank == 0:
        listener.data(data)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(options.seed)
        prior = untrained(data.card)
    nothing = copy.deepcopy(prior) if options.begin_with else prior
    share = begun_with(prior.net, load(options.begin_with).net) if options.begin_with else 0.0
    images, witnesses = _images(data), _witnesses(data)
    batch = chosen.batch if options.ndim == 2 else max(2, chosen.batch // 4, ranks.count)
    if options.budget:
        prior.net.to(ranks.device)
        budget = budget.keeping(seconds_for(prior, witnesses, batch))
    if ranks.rank == 0:
        listener.planned(budget)
    settings = TrainingSettings(
        steps=options.steps or UNKNOWN,
        minutes=budget.learning,
        batch=batch,
        rate=chosen.rate,
        seed=options.seed,
        save_every=max(10, min(200, (options.steps or 2000) // 10)),
        precision="bfloat16" if options.device != "cpu" else "float32",
        device=options.device,
    )
    if options.begin_with and ranks.rank == 0 and not (options.out / BEGUN).is_file():
        held = data.held, data.held_numbers
        advice = start_advice(prior, nothing, images, *held, replace(settings, device="cpu"), share=share)
        listener.note(str(advice))
        write_json(options.out / BEGUN, asdict(advice))
    made = train(
        prior,
        images,
        settings,
        options.out,
        on_progress=listener.progress,
        fresh=options.fresh,
        judge=_judge(data),
    )
    made.net.eval().requires_grad_(False)
    if ranks.rank:
        made.net.to("cpu")
        return made
    made.card = under_trained(made.card)
    home = options.out / "prior"
    with measuring(listener, made.card.training["steps"]):
        if (known := unchanged(made, home)) is not None:
            made = known
        else:
            head = batch if options.ndim == 3 else 16
            made = measured(made, images, witnesses, batch=head, seed=options.seed, budget=budget)
            set_aside(home, listener)
        made.net.to("cpu")
        save(made, home)
    return made


def _dataset(options: Fitting, index: Index) -> Dataset:
    """The training set, with a card that says how it is learned from."""
    data = dataset(
        index,
        index.usable("train", allow_synthetic=options.allow_synthetic),
        options.name or named_after(options.out),
        plane=options.plane,
        ndim=options.ndim,
        channels=options.channels,
        allow_synthetic=options.allow_synthetic,
        home=options.out,
    )
    chosen = preset_named(options.preset)
    card = replace(
        data.card,
        preset=options.preset,
        widths=chosen.widths,
        blocks=chosen.blocks,
        training={"preset": options.preset, "medprior": __version__, **_parent(options)},
        data={**data.card.data, "licence": options.licence},
    )
    return replace(data, card=card)


def _parent(options: Fitting) -> JsonObject:
    """What the card says of the prior that it began with."""
    if not options.begin_with:
        return {}
    weights = locate(options.begin_with) / "weights.safetensors"
    return {"begun_with": {"name": load(options.begin_with).card.name, "sha256": sha256(weights)}}


def _images(data: Dataset) -> Images:
    levels, patches = pieces(min(min(x.shape[1:]) for x in data.train), data.card.ndim)
    return Images(
        data.train,
        data.labels,
        data.numbers,
        levels=levels,
        patches=patches,
        moves=moves_of(data.card),
        asked=data.asked,
    )


def _witnesses(data: Dataset) -> Witnesses:
    """Scans of val, or of train where there are none."""
    most = HELD_OUT[data.card.ndim]
    return Witnesses(
        data.held or data.train[:most],
        data.held_numbers if data.held else data.numbers,
        most // (2 if data.card.ndim == 2 else 1),
    )


def under_trained(card: Card) -> Card:
    """The card says where the validation loss was still falling at the end."""
    if not card.training.get("still_falling"):
        return card
    steps = card.training.get("of_steps", card.training.get("steps"))
    return replace(
        card,
        limits=(*card.limits, f"under-trained: its validation loss was still falling after {steps} steps"),
    )


def _judge(data: Dataset) -> Callable[[Prior], float] | None:
    """The validation loss: how badly a prior denoises scans that it does not learn from. None where there are
    hardly any.

    The step with the lowest is kept (early stopping): after it a prior of few scans memorises patients, and
    what it draws are copies of them.
    """
    if len(data.held) < LEAST_HELD:
        return None
    room = JUDGED * 64**data.card.ndim // max(1, max(image[0].numel() for image in data.held))
    count = min(len(data.held), max(LEAST_HELD, room))
    at = np.linspace(0, len(data.held) - 1, count).round().astype(int).tolist()
    images = [data.held[n] for n in at]
    numbers = None if data.held_numbers is None else data.held_numbers[at]

    def judge(prior: Prior) -> float:
        with torch.no_grad():
            return float(denoising_losses(prior, images, None, numbers).mean())

    return judge


def pieces(shortest: int, ndim: int) -> tuple[tuple[float, ...], tuple[tuple[int, float], ...]]:
    """Weights of the resolutions, and (side, weight) of the patches. A cube of 32 holds as many voxels as
    eight squares of 64.
    """
    if ndim == 3:
        return ((0.7, 0.3) if shortest >= 64 else (1.0,)), ((32, 0.8), (48, 0.2))
    return ((0.7, 0.3) if shortest >= 128 else (1.0,)), (
        ((64, 0.5), (128, 0.2), (LARGEST[2], 0.3)) if shortest >= 96 else ((64, 1.0),)
    )


def named_after(out: Path) -> str:
    """A run folder's name as the name of a prior: small letters, digits, hyphens."""
    letters = "".join(c if c.isascii() and c.isalnum() else "-" for c in out.resolve().name.lower()).strip(
        "-"
    )
    return letters[:64] or "prior"
