"""Learn a segmenter from a few scans with masks, and segment with it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from ..data.seeds import seed_for
from ..data.volume import Volume
from ..downstream.segmenter import mean_dice
from ..errors import BadOption, ShapeMismatch
from ..evidence.intervals import Estimate, interval
from ..learning.features import FeatureSettings
from ..learning.head_folder import Head, HeadCard, HeadPromises, prior_digest
from ..learning.heads import folds_by_patient
from ..learning.voxels import VoxelHead, VoxelSettings, fit_voxel_head
from ..prior import Prior
from ..prior.admit import Admitted, on_card_axes, on_source_grid, resize

__all__ = ["learn_segmenter", "mask_in", "segment"]

FOLDS = 4


def mask_in(scan: Admitted, mask: Volume, prior: Prior) -> Tensor:
    """(B, i, j[, k]) whole numbers: a label map on the source's grid, on that of ``scan.images``. Raises
    ShapeMismatch for another grid.
    """
    if mask.shape != scan.source.shape:
        raise ShapeMismatch("mask", f"the scan's grid, {scan.source.shape}", mask.shape)
    turned = on_card_axes(prior.card, replace(scan.source, data=mask.data[:1]))
    data = torch.from_numpy(np.ascontiguousarray(turned.data[0]))
    slices = data.movedim(-1, 0) if scan.stack else data[None]
    size = tuple(scan.images.shape[2:])
    return F.interpolate(slices[:, None].float(), size=size, mode="nearest-exact")[:, 0].round().long()


def learn_segmenter(
    prior: Prior,
    scans: Sequence[Admitted],
    masks: Sequence[Tensor],
    patients: Sequence[str],
    how: FeatureSettings,
    settings: VoxelSettings | None = None,
    on_step: Callable[[int, int], None] | None = None,
) -> tuple[Head, list[float]]:
    """(the head, Dice of each scan by a head that has not seen its patient). masks: of ``mask_in``.

    Raises BadOption for fewer than two patients, and where no mask marks anything.
    """
    names = set(patients)
    if len(names) < 2:
        raise BadOption(
            f"learn: masks of {len(names)} patient: wanted two or more, so that one can check the other",
            "draw a mask for a scan of another patient",
        )
    n_labels = max(2, max(int(mask.max()) for mask in masks) + 1)
    fold = folds_by_patient(np.ones((len(scans), 1)), patients, how.seed, min(FOLDS, len(names)))
    dice, total = [0.0] * len(scans), len(set(fold.tolist())) + 1
    for n, k in enumerate(sorted(set(fold.tolist()))):
        rest = [m for m in range(len(scans)) if fold[m] != k]
        seed = replace(how, seed=seed_for(how.seed, "fold", k) % 2**62)
        made = _fitted(prior, [scans[m] for m in rest], [masks[m] for m in rest], n_labels, seed, settings)
        for m in np.flatnonzero(fold == k).tolist():
            dice[m] = mean_dice(replace(made, how=seed)(prior, scans[m]).argmax(0), masks[m], n_labels)
        if on_step:
            on_step(n + 1, total)
    whole = _fitted(prior, scans, masks, n_labels, how, settings)
    if on_step:
        on_step(total, total)
    card = HeadCard(
        ("background", *map(str, range(1, n_labels))),
        prior.card.name,
        prior_digest(prior),
        kind="segmenter",
        method="features at each voxel, five networks vote",
        sigmas=how.sigmas,
        seed=how.seed,
        labels=tuple(sum(int((mask == k).any()) for mask in masks) for k in range(n_labels)),
        patients=len(names),
    )
    promises = HeadPromises({"Dice": _over_patients(dice, patients)})
    return Head(card, prior, whole.tensors(), promises), dice


def _fitted(
    prior: Prior,
    scans: Sequence[Admitted],
    masks: Sequence[Tensor],
    n_labels: int,
    how: FeatureSettings,
    settings: VoxelSettings | None,
) -> VoxelHead:
    return fit_voxel_head(prior, scans, masks, n_labels, how, settings)


def _over_patients(values: Sequence[float], patients: Sequence[str]) -> Estimate:
    at = interval(lambda x: float(np.mean(x)), np.array(values), patients=patients)
    return replace(at, low=max(0.0, at.low), high=min(1.0, at.high))


def segment(head: Head, volume: Volume, *, allow_other: bool = False) -> Volume:
    """Whole numbers on the scan's own grid, unit "label": 0 is background, then the head's classes in order.

    Raises BadOption for a head that is no segmenter, and what ``Prior.admit`` raises.
    """
    if head.card.kind != "segmenter":
        raise BadOption(f"segment: the head is a {head.card.kind}", "learn one from masks")
    how = head.features_for(allow_other=allow_other)
    scan = head.prior.admit(volume, allow_other=allow_other)
    p = VoxelHead.of(head.tensors, how)(head.prior, scan).movedim(0, 1)
    labels = resize(p, scan.turned.shape[: p.ndim - 2]).argmax(1)
    whole = labels.movedim(0, -1)[None] if scan.stack else labels
    made = replace(scan.turned, data=whole.numpy().astype(np.float32), unit="label")
    back = on_source_grid(scan, made)
    return replace(back, unit="label").noted("segmented by a head on a prior", synthetic=False)
