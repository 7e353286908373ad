"""Labelled scans as the downstream networks see them: network units, one size, whose they are and which
label; generated ones from a folder, too.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from ...data.axes import axcodes, reorient
from ...data.grids import middle_half
from ...data.volume import Volume
from ...errors import BadOption, WrongKind, did_you_mean
from ...io.dataset.pixels.twins import pixel_hash
from ...io.dataset.scan import Index, Item
from ...io.disk.files import sha256
from ...io.read import read
from ...prior import Prior
from ...prior.admit import Admitted, resize
from ...prior.joint import admit_parts, is_joint
from ..ask.requests import EvaluateAugment
from ..core.progress import Event, OnEvent

__all__ = ["LabelledScans", "generated", "mask_hash", "middle_slices", "read_labelled", "seen_by_prior"]

SLICES = 8
"""Most slices of a volume that judges, evenly spaced in its middle half."""

_GOLDEN = 0.618034
"""Steps of this size, modulo 1, are never all on one side."""


@dataclass(frozen=True, slots=True, eq=False)
class LabelledScans:
    """images: (n, C, i, j) in network units. labels: (n,) places in ``names``. scans: (n,) which scan each
    image is of. patients: whose each scan is.

    masks: (n, i, j) whole numbers where the scans have masks. numbers: (n, n_numbers) what the prior can be
    told of each image. digests: of the scans' pixels.
    """

    images: Tensor
    labels: Tensor
    scans: Tensor
    patients: tuple[str, ...]
    names: tuple[str, ...]
    digests: tuple[str, ...]
    modality: str
    masks: Tensor | None = None
    numbers: Tensor | None = None

    @property
    def scan_labels(self) -> Tensor:
        """(scans,): the label of each scan."""
        found = torch.zeros(len(self.patients), dtype=torch.long)
        found[self.scans] = self.labels
        return found

    def of_scans(self, chosen: Sequence[int]) -> Tensor:
        """Places of the images of these scans, in the order of the scans."""
        where = {int(s): [] for s in chosen}
        for at, s in enumerate(self.scans.tolist()):
            if s in where:
                where[s].append(at)
        return torch.tensor([at for s in chosen for at in where[int(s)]], dtype=torch.long)


def read_labelled(
    request: EvaluateAugment,
    prior: Prior,
    index: Index,
    items: Sequence[Item],
    names: Sequence[str],
    side: tuple[int, int],
    most: int = SLICES,
) -> LabelledScans:
    """Read scans. names: the labels in order; scans of no label or another one are left out. side: rows,
    columns of an image. most: slices of a volume.
    """
    images, labels, scans, kept, masks, numbers = [], [], [], [], [], []
    kept_items = [item for item in items if item.label in names or request.segment]
    for item, volume in index.volumes(kept_items):
        admitted = _admitted(request, prior, item, volume)
        at = middle_slices(len(admitted.images), most, len(kept))
        images.append(resize(admitted.images[at], side))
        labels += [names.index(item.label) if item.label in names else 0] * len(at)
        scans += [len(kept)] * len(at)
        if admitted.condition.numbers is not None:
            numbers.append(admitted.condition.numbers[at])
        if request.segment:
            masks.append(_mask_slices(index, item, volume, admitted.turned, at, side))
        kept.append(item)
    if not kept:
        raise BadOption(
            f"evaluate augment: no scan with a label of {', '.join(names)} is left",
            "check the folder with medprior scan",
        )
    return LabelledScans(
        torch.cat(images).contiguous(),
        torch.tensor(labels),
        torch.tensor(scans),
        tuple(item.owner for item in kept),
        tuple(names),
        tuple(item.digest for item in kept),
        kept[0].modality,
        torch.cat(masks) if masks else None,
        torch.cat(numbers) if numbers else None,
    )


def _admitted(request: EvaluateAugment, prior: Prior, item: Item, volume: Volume) -> Admitted:
    """Of a joint prior the one channel that the scan is."""
    if is_joint(prior.card):
        return admit_parts(prior.card, {item.called: volume}, allow_other=request.allow_other)[0]
    return prior.admit(volume, allow_other=request.allow_other)


def generated(
    request: EvaluateAugment,
    prior: Prior,
    index: Index,
    names: Sequence[str],
    side: tuple[int, int],
    known: set[str],
    on_event: OnEvent,
) -> LabelledScans:
    """The images of ``--generated FOLDER``, whose sub-folders are labels. index: of it; known: digests of the
    scans that judge, which must not be there.

    Raises BadOption for a folder without one of the labels, and for scans of those that judge.
    """
    items = index.usable(allow_synthetic=True)
    _no_judge("generated", items, known)
    if unmarked := sum(not item.synthetic for item in items):
        on_event(Event("warning", f"{unmarked} of {len(items)} generated images are not marked synthetic"))
    if not request.segment:
        missing = [name for name in names if name not in {item.label for item in items}]
        if missing:
            raise BadOption(
                f"generated: no image with the label {missing[0]!r}; its sub-folders are labels",
                did_you_mean(missing[0], list(index.labels)),
            )
    return read_labelled(request, prior, index, items, names, side)


def seen_by_prior(
    request: EvaluateAugment,
    prior: Prior,
    index: Index,
    names: Sequence[str],
    side: tuple[int, int],
    known: set[str],
) -> LabelledScans:
    """The labelled scans of ``--seen FOLDER``: of its train split where it has splits, else all. known: as of
    ``generated``. Raises BadOption for scans of those that judge.
    """
    split = "train" if any(item.given for item in index.items) else None
    items = index.usable(split, allow_synthetic=request.allow_synthetic)
    _no_judge("seen", items, known)
    return read_labelled(request, prior, index, items, names, side, request.slices)


def _no_judge(option: str, items: Sequence[Item], known: set[str]) -> None:
    if leaks := [item for item in items if item.digest in known]:
        raise BadOption(
            f"{option}: {len(leaks)} images are scans of those that judge, the first is {leaks[0].path}",
            "generate from the train split alone",
        )


def mask_hash(path: Path) -> str:
    """SHA-256 of a mask's file; of a folder, that of its label map. Raises what ``read`` raises."""
    return sha256(path) if path.is_file() else pixel_hash(read(path, unit="label"))


def middle_slices(n: int, most: int, scan: int = 0) -> list[int]:
    """At most this many of n slices, evenly spaced in their middle half and shifted from scan to scan. So one
    slice of each patient shows all heights, not the same height of every patient.
    """
    inner = middle_half(n)
    count = min(most, len(inner))
    return [inner[int((i + (0.5 + scan * _GOLDEN) % 1) * len(inner) / count)] for i in range(count)]


def _mask_slices(
    index: Index, item: Item, volume: Volume, turned: Volume, at: list[int], side: tuple[int, int]
) -> Tensor:
    mask = index.mask(item)
    if mask is None or mask.shape != volume.shape:
        raise WrongKind(
            f"{item.path} has no mask on its own grid",
            "scans.csv names the mask of each scan in the column mask",
        )
    if turned is not volume and axcodes(turned) != axcodes(volume):
        mask = reorient(mask, axcodes(turned))
    data = torch.from_numpy(np.ascontiguousarray(mask.data[0]))
    slices = data.movedim(-1, 0)[at] if data.ndim == 3 else data[None]
    return F.interpolate(slices[:, None].float(), size=side, mode="nearest-exact")[:, 0].round().long()
