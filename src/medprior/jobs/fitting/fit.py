"""Fit: a folder of scans -> index -> network units -> the loop -> a prior with its card and its error
table.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from ... import __version__
from ...data.axes import PLANES
from ...errors import BadOption, FileProblem, WrongKind
from ...io.dataset.advice import advice, for_training
from ...io.dataset.index import digest_of
from ...io.dataset.layout import PLAIN, Layout
from ...io.dataset.scan import Index, Item, load_index, scan
from ...prior import Card, Prior
from ...prior.joint import parts
from ...prior.numbers import HEIGHT, guidable_columns
from ...prior.prior import fresh
from ...training.deviation_head import with_doubt
from ...training.distributed import ranks_for
from ...training.folder import save
from ...training.held_out import denoising_losses, error_tables
from ...training.loop import Progress, Settings, train
from ...training.patch_moves import Moves
from ...training.patches import Images
from ...training.presets import preset_named
from .channels import all_channels, between_slices, known_numbers, lacking, with_channels

__all__ = ["Dataset", "admitted", "card_for", "dataset", "fit", "named_after", "pieces"]

LARGEST = {2: 256, 3: 128}
"""Longest side of an image, and of a volume, that is learned from; a larger one is made coarser (its detail
is carried over when a job writes).
"""
HELD_OUT = {2: 64, 3: 4}
"""Most images, and volumes, behind the error table: a volume is evaluated whole."""
LEAST_HELD, JUDGED = 4, 32
"""Held-out images (or volumes) from which the best step is chosen by them, and how many of 64 voxels a side
that costs at most (about 3 % of the training).
"""
DISTINCT = 5
"""Values of a number from which on what lies between them means something: a field strength or a yes has
fewer.
"""
SOLID = "RAS"
"""Axes of a 3-D prior."""

OnScan = Callable[[int, int], None]
OnProgress = Callable[[Progress, Prior], None]


@dataclass(frozen=True, slots=True)
class Dataset:
    """Images in network units. train, held: (C, i, j[, k]) each; labels: of train, -1 = none; numbers: (n,
    n_numbers) of train and of held, NaN = unknown. asked: as of ``Images``. notes: what a person should
    know of the data set."""

    card: Card
    train: tuple[Tensor, ...]
    labels: Tensor | None
    numbers: Tensor | None
    held: tuple[Tensor, ...]
    held_numbers: Tensor | None
    asked: tuple[tuple[int, float], ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def heights(self) -> Tensor | None:
        """(n,): where the slices of train lie in their volumes."""
        return (
            None
            if self.numbers is None or HEIGHT not in self.card.numbers
            else self.numbers[:, self.card.numbers.index(HEIGHT)]
        )


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
    restart: bool = False,
    on_scan: OnScan | None = None,
    on_data: Callable[[Dataset], None] | None = None,
    on_progress: OnProgress | None = None,
) -> Prior:
    """A prior learned from the train split of a data set's folder; the same call again continues where it was
    stopped.

    minutes: time budget, default 10 unless ``steps`` are given. out: folder of the run; the prior is
    written to out/prior. unit, modality: where the files cannot say. layout: where labels and patients are
    read from. ndim: 2 learns slices, cut along ``plane``; 3 learns volumes whole. channels: which of those
    that a scans.csv names are learned together (default all: the image, each channel:NAME, the mask).
    restart: forget former checkpoints. on_scan: (files done, files in all); on_progress: as in
    ``training.loop``. Val and test are never learned from; of the checkpoints that is kept which denoises
    val best, where val holds at least 4 images. Under torchrun or ``accelerate launch`` the processes share
    the steps; rank 0 alone measures, writes and reports, and the others return a prior without error
    tables. Raises FileProblem (nothing usable, more than 5 % unusable), WrongKind (synthetic or mixed
    scans), BadOption.
    """
    chosen, out = preset_named(preset), Path(out)
    if minutes is not None and steps is not None:
        raise BadOption("fit: wanted minutes or steps, got both")
    if (steps is not None and steps < 1) or (minutes is not None and not minutes > 0):
        raise BadOption(
            f"fit: wanted steps >= 1 or minutes > 0, got steps {steps}, minutes {minutes}",
            "leave both out for ten minutes",
        )
    ranks = ranks_for(device)
    if ranks.rank == 0:
        scan(folder, out=out, unit=unit, modality=modality, layout=layout, on_progress=on_scan)
    ranks.wait()
    index = load_index(out, folder)
    items = index.usable("train", allow_synthetic=allow_synthetic)
    data = dataset(
        index,
        items,
        name or named_after(out),
        plane=plane,
        ndim=ndim,
        channels=channels,
        allow_synthetic=allow_synthetic,
    )
    training = {"preset": preset, "medprior": __version__}
    card = replace(
        data.card,
        preset=preset,
        widths=chosen.widths,
        blocks=chosen.blocks,
        training=training,
        data={**data.card.data, "licence": licence},
    )
    if on_data and ranks.rank == 0:
        on_data(replace(data, card=card))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        prior = fresh(card)
    settings = Settings(
        steps=steps or 10**9,
        minutes=None if steps else (minutes or 10.0),
        batch=chosen.batch if ndim == 2 else max(2, chosen.batch // 4, ranks.count),
        rate=chosen.rate,
        seed=seed,
        save_every=max(10, min(200, (steps or 2000) // 10)),
        precision="bfloat16" if device != "cpu" else "float32",
    )
    levels, patches = pieces(min(min(x.shape[1:]) for x in data.train), ndim)
    images = Images(
        data.train,
        data.labels,
        data.numbers,
        levels=levels,
        patches=patches,
        moves=moves_of(card),
        asked=data.asked,
    )
    made = train(
        prior,
        images,
        settings,
        out,
        device=device,
        on_progress=on_progress,
        fresh=restart,
        judge=_judge(data),
    )
    made.net.to("cpu").eval().requires_grad_(False)
    if ranks.rank:
        return made
    made = with_doubt(
        made,
        images,
        steps=min(300, max(10, made.card.training["steps"] // 5)),
        batch=settings.batch if ndim == 3 else 16,
        seed=seed,
    )
    held = data.held or data.train[: HELD_OUT[ndim]]
    known = data.held_numbers if data.held else data.numbers
    tables = error_tables(
        made, held, known, n_levels=len(levels), most=HELD_OUT[ndim] // (2 if ndim == 2 else 1), seed=seed
    )
    made.card = replace(made.card, errors=tables)
    save(made, out / "prior")
    return made


def _judge(data: Dataset) -> Callable[[Prior], float] | None:
    """How badly a prior denoises scans that it does not learn from; None where there are hardly any.

    The step that is best at it is kept: from there on a prior of few scans learns patients by heart, and what
    it draws are copies of them.
    """
    if len(data.held) < LEAST_HELD:
        return None
    room = JUDGED * 64**data.card.ndim // max(1, max(image[0].numel() for image in data.held))
    at = (
        np.linspace(0, len(data.held) - 1, min(len(data.held), max(LEAST_HELD, room)))
        .round()
        .astype(int)
        .tolist()
    )
    images = [data.held[n] for n in at]
    numbers = None if data.held_numbers is None else data.held_numbers[at]

    def judge(prior: Prior) -> float:
        with torch.no_grad():
            return float(denoising_losses(prior, images, None, numbers).mean())

    return judge


def moves_of(card: Card) -> Moves:
    """Mirrored from side to side: along the columns of a picture, in scans along the axis from right to left,
    where there is one.
    """
    sides = [axis for axis, points in enumerate(card.axes) if points in "RL"]
    mirror = sides[0] if sides else None if card.axes else card.ndim - 1
    return Moves(mirror=mirror, maps=tuple(c for part in parts(card) if part.classes for c in part.channels))


def asked_of(card: Card, items: Sequence[Item]) -> tuple[tuple[int, float], ...]:
    """The numbers that are asked for, by column, and the standard deviation of the error, in network units,
    with which a training tells them: the bandwidth of a kernel density of the patients' values (Silverman
    1986, eq. 3.31).

    What lies between the ages of few patients is then learned from them all. Of fewer than ``DISTINCT``
    values each is a class of its own, and exact.
    """
    found = []
    for column in guidable_columns(card, card.numbers):
        name, (low, high) = card.numbers[column], card.ranges[column]
        by_patient = {item.owner: dict(item.numbers)[name] for item in items if name in dict(item.numbers)}
        values = np.array(list(by_patient.values()))
        spread = min(values.std(), float(np.subtract(*np.quantile(values, (0.75, 0.25)))) / 1.34)
        error = 0.9 * spread * len(values) ** -0.2 * 2 / (high - low)
        found.append((column, float(error) if len(set(values)) >= DISTINCT else 0.0))
    return tuple(found)


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


def dataset(
    index: Index,
    items: Sequence[Item],
    name: str,
    *,
    plane: str = "axial",
    ndim: int = 2,
    channels: Sequence[str] | None = None,
    allow_synthetic: bool = False,
) -> Dataset:
    """The images of ``items`` and of the val split in network units, with a card that is inferred from them.

    channels: as in ``fit``. Raises BadOption for a plane, ndim or channel that is not known, WrongKind for
    mixed scans, channels that only some of them have, or images where volumes are wanted.
    """
    if plane not in PLANES or ndim not in (2, 3):
        raise BadOption(
            f"plane, ndim: wanted one of {', '.join(PLANES)} and 2 or 3, got {plane!r} and {ndim}"
        )
    card = with_channels(card_for(items, name, plane, ndim), items, channels)
    coarse = replace(card, frame=(64, LARGEST[card.ndim]))
    train_images, labels, numbers = admitted(coarse, index, items)
    if not train_images:
        raise FileProblem(
            index.folder, "holds no slice with any content", "check the scans: all are constant"
        )
    held: list[Tensor] = []
    held_numbers: list[Tensor] = []
    if any(item.split == "val" and not item.leaks for item in index.items):
        most = HELD_OUT[ndim]
        others = [
            item for item in index.usable("val", allow_synthetic=allow_synthetic) if not lacking(card, item)
        ]
        held, _, held_numbers = admitted(coarse, index, _spaced(others, most))
        keep = np.linspace(0, len(held) - 1, min(most, len(held))).round().astype(int) if held else []
        held, held_numbers = [held[i] for i in keep], [held_numbers[i] for i in keep]
    if card.ndim == 2 and len(items[0].shape) == 3:
        card = replace(card, data={**card.data, **between_slices(card, index, _spaced(items, 24))})
    sides = [s for x in train_images for s in x.shape[1:]]
    pixels = torch.cat([x.flatten()[:: max(1, x.numel() // 4096)] for x in train_images])
    typical = Counter(tuple(x.shape[1:]) for x in train_images).most_common(1)[0][0]
    card = replace(
        card,
        sigma_data=round(float(pixels.std()), 4),
        frame=(min(64, min(sides)), max(sides)),
        data={**card.data, "images": len(train_images), "shape": list(typical)},
    )
    return Dataset(
        card,
        tuple(train_images),
        torch.tensor(labels) if card.labels else None,
        torch.stack(numbers) if card.numbers else None,
        tuple(held),
        torch.stack(held_numbers) if card.numbers and held else None,
        asked_of(card, items),
        (*advice(index), *for_training(index)),
    )


def _spaced(items: Sequence[Item], most: int) -> list[Item]:
    """At most so many of the items, evenly spaced."""
    return [items[i] for i in np.linspace(0, len(items) - 1, min(most, len(items))).round().astype(int)]


def card_for(items: Sequence[Item], name: str, plane: str, ndim: int = 2) -> Card:
    """What the scans have in common: modality, unit, channels, labels, spacing. Raises WrongKind where they
    are of several kinds.
    """
    for what in ("modality", "unit", "channels"):
        found = Counter(getattr(item, what) for item in items)
        if len(found) > 1:
            counts = ", ".join(f"{value or 'unknown'} {n}" for value, n in found.most_common())
            raise WrongKind(
                f"the data set mixes scans of different {what}: {counts}",
                "train one prior a kind, or state --unit and --modality for files that cannot say",
            )
    first = items[0]
    volumes = any(len(item.shape) == 3 for item in items)
    if volumes and not all(len(item.shape) == 3 for item in items):
        raise WrongKind("the data set mixes images and volumes", "train one prior a kind")
    if ndim == 3 and not volumes:
        raise WrongKind(
            "the data set holds images, and a 3-D prior learns from volumes",
            "leave out ndim=3, or give volumes (DICOM series, NIfTI)",
        )
    scaling = {"HU": "fixed"}.get(first.unit) or ("foreground" if first.modality == "MR" else "range")
    low, high = (-1024.0, 1024.0) if scaling == "fixed" else (0.0, 1.0)
    labels = tuple(sorted({item.label for item in items} - {""}))
    patients = {item.patient for item in items if item.patient}
    digest = digest_of(items)
    return Card(
        name=name,
        modality=first.modality,
        unit=first.unit,
        channels=("image",) if first.channels == 1 else tuple(f"channel_{n}" for n in range(first.channels)),
        scaling=scaling,
        low=low,
        high=high,
        quantiles=(0.0, 0.99) if scaling == "foreground" else (0.005, 0.995),
        axes=SOLID if ndim == 3 else PLANES[plane] if volumes else "",
        spacing_mm=_median_spacing(items, plane, ndim) if volumes else None,
        labels=labels if len(labels) > 1 else (),
        numbers=(HEIGHT,) if volumes and ndim == 2 else (),
        ndim=ndim,
        data={
            "scans": len(items),
            "patients": len(patients) or None,
            "sha256": digest,
            "labels": dict(Counter(item.label for item in items if item.label)),
        },
        limits=(
            "research use only, not for diagnosis",
            f"learned from {len(items)} scans; what they do not show, the prior does not know",
        ),
    )


def _median_spacing(items: Sequence[Item], plane: str, ndim: int = 2) -> tuple[float, ...] | None:
    """Voxel size that most scans are near to, mm, of a plane or of all axes; None when nobody knows. Arrays
    are near RAS: axes are known by number.

    Of a 3-D prior it is made coarser where the longest side would pass what is learned from.
    """
    axes = {"axial": (1, 0), "coronal": (2, 0), "sagittal": (2, 1)}[plane] if ndim == 2 else (0, 1, 2)
    known = [item.spacing_mm for item in items if item.spacing_mm is not None and len(item.spacing_mm) == 3]
    if not known:
        return None
    middle = np.median(np.array(known), axis=0)
    sides = np.array(
        [
            np.array(item.shape) * item.spacing_mm
            for item in items
            if item.spacing_mm is not None and len(item.spacing_mm) == 3
        ]
    )
    coarser = 1.0 if ndim == 2 else max(1.0, float((sides.max(0) / middle).max()) / LARGEST[3])
    return tuple(round(float(middle[axis]) * coarser, 4) for axis in axes)


def admitted(
    card: Card, index: Index, items: Sequence[Item], *, allow_other: bool = False
) -> tuple[list[Tensor], list[int], list[Tensor]]:
    """Every slice with content, or every volume, its label (-1 = none) and its numbers (n_numbers,), NaN =
    unknown. Raises what the door raises.
    """
    images: list[Tensor] = []
    classes: list[int] = []
    numbers: list[Tensor] = []
    seen = [n for part in parts(card) if not part.classes for n in part.channels]
    for item, volume in index.volumes(items):
        inside = all_channels(card, index, item, volume, allow_other=allow_other)
        known = known_numbers(card, item, inside.condition.numbers, len(inside.images))
        for n, image in enumerate(inside.images):
            if volume.ndim == 3 and card.ndim == 2 and float((image[seen] > -0.9).float().mean()) < 0.05:
                continue  # air above the head teaches nothing
            images.append(image.clone())
            classes.append(card.labels.index(item.label) if item.label in card.labels else -1)
            numbers.append(known[n])
    return images, classes, numbers
