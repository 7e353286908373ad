"""Learn a segmenter from a few scans with masks, and segment with it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
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
from .tuning.decoder import DecoderSettings, TunedDecoder, tune_decoder

__all__ = ["DECODER", "VOXELS", "MaskSet", "learn_segmenter", "mask_in", "segment"]

FOLDS = 4
VOXELS, DECODER = "features at each voxel", "fine-tuned decoder"


@dataclass(frozen=True, slots=True, eq=False)
class MaskSet:
    """Scans with masks (``mask_in``). n_labels: background and structures. decoder: how the prior's own
    network is tuned, None where it is not.
    """

    prior: Prior
    scans: tuple[Admitted, ...]
    masks: tuple[Tensor, ...]
    n_labels: int
    how: FeatureSettings
    voxels: VoxelSettings | None = None
    decoder: DecoderSettings | None = None

    def part(self, at: Sequence[int], seed: int) -> MaskSet:
        """Some of the scans, learned with another seed."""
        own = tuple(self.scans[n] for n in at), tuple(self.masks[n] for n in at)
        return replace(self, scans=own[0], masks=own[1], how=replace(self.how, seed=seed))

    def by_voxels(self) -> VoxelHead:
        return fit_voxel_head(self.prior, self.scans, self.masks, self.n_labels, self.how, self.voxels)

    def tuned(
        self,
        settings: DecoderSettings,
        until: int | None = None,
        look: Callable[[int, TunedDecoder], None] | None = None,
    ) -> TunedDecoder:
        """Beginning with the head on frozen features of one noise level."""
        one = replace(self, how=replace(self.how, sigmas=(settings.sigma,)))
        return tune_decoder(
            self.prior, self.scans, self.masks, one.by_voxels(), settings, until=until, look=look
        )

    def dice(self, n: int, found: Tensor) -> float:
        """found: (n_labels, B, i, j[, k]) probabilities of scan n."""
        return mean_dice(found.argmax(0), self.masks[n], self.n_labels)


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
    *,
    decoder: DecoderSettings | None = None,
) -> tuple[Head, list[float]]:
    """(the head, Dice of each scan by a head that has not seen its patient). masks: of ``mask_in``. decoder:
    also tune the prior's network; it is used where its Dice on held-out patients is at least that of the
    features at each voxel. Held-out patients choose the step at which it stops, too.

    Raises BadOption for fewer than two patients, and where no mask marks anything.
    """
    names = set(patients)
    if len(names) < 2:
        raise BadOption(
            f"learn: masks of {len(names)} patient: wanted two or more, so that one can check the other",
            "draw a mask for a scan of another patient",
        )
    n_labels = max(2, max(int(mask.max()) for mask in masks) + 1)
    data = MaskSet(prior, tuple(scans), tuple(masks), n_labels, how, settings, decoder)
    steps, told = decoder.looked_at if decoder else (), on_step or (lambda done, total: None)
    ways = _held_out(data, patients, told)
    plain, tuned = ways[0], ways[1:]
    best = int(np.argmax([row.mean() for row in tuned])) if len(tuned) else -1
    kept = decoder if best >= 0 and tuned[best].mean() >= plain.mean() else None
    dice = tuned[best] if kept else plain
    whole = data.tuned(kept, steps[best]).tensors() if kept else data.by_voxels().tensors()
    told(1, 1)
    card = HeadCard(
        ("background", *map(str, range(1, n_labels))),
        prior.card.name,
        prior_digest(prior),
        kind="segmenter",
        method=DECODER if kept else VOXELS,
        sigmas=(kept.sigma,) if kept else how.sigmas,
        seed=how.seed,
        labels=tuple(sum(int((mask == k).any()) for mask in masks) for k in range(n_labels)),
        patients=len(names),
    )
    promises = {"Dice": _over_patients(dice, patients)}
    compared = {VOXELS: float(plain.mean())}
    if best >= 0:
        compared[DECODER] = float(tuned[best].mean())
        gain = interval(lambda x: float(x.mean()), tuned[best] - plain, patients=patients)
        promises[f"gain of {DECODER} over {VOXELS}"] = gain
    return Head(card, prior, whole, HeadPromises(promises, compared=compared)), dice.tolist()


def _held_out(
    data: MaskSet, patients: Sequence[str], on_step: Callable[[int, int], None]
) -> NDArray[np.float64]:
    """(1 + steps that are looked at, scans): Dice of each scan by heads that have not seen its patient."""
    steps = data.decoder.looked_at if data.decoder else ()
    fold = folds_by_patient(
        np.ones((len(data.scans), 1)), patients, data.how.seed, min(FOLDS, len(set(patients)))
    )
    found, parts = np.zeros((1 + len(steps), len(data.scans))), sorted(set(fold.tolist()))
    for n, k in enumerate(parts):
        out = np.flatnonzero(fold == k).tolist()
        rest = data.part(np.flatnonzero(fold != k).tolist(), seed_for(data.how.seed, "fold", k) % 2**62)
        head = rest.by_voxels()
        for m in out:
            found[0, m] = data.dice(m, head(data.prior, data.scans[m]))

        def look(step: int, net: TunedDecoder, out: list[int] = out) -> None:
            for m in out:
                found[1 + steps.index(step), m] = data.dice(m, net(data.scans[m]))

        if data.decoder:
            rest.tuned(data.decoder, look=look)
        on_step(n + 1, len(parts) + 1)
    return found


def _over_patients(values: NDArray[np.float64], patients: Sequence[str]) -> Estimate:
    at = interval(lambda x: float(np.mean(x)), values, patients=patients)
    return replace(at, low=max(0.0, at.low), high=min(1.0, at.high))


def segment(head: Head, volume: Volume, *, allow_other: bool = False) -> Volume:
    """Whole numbers on the scan's own grid, unit "label": 0 is background, then the head's classes in order.

    Raises BadOption for a head that is no segmenter, and what ``Prior.admit`` raises.
    """
    if head.card.kind != "segmenter":
        raise BadOption(f"segment: the head is a {head.card.kind}", "learn one from masks")
    how = head.features_for(allow_other=allow_other)
    scan = head.prior.admit(volume, allow_other=allow_other)
    if head.card.method == DECODER:
        p = TunedDecoder.of(head.prior, head.tensors, how)(scan).movedim(0, 1)
    else:
        p = VoxelHead.of(head.tensors, how)(head.prior, scan).movedim(0, 1)
    labels = resize(p, scan.turned.shape[: p.ndim - 2]).argmax(1)
    whole = labels.movedim(0, -1)[None] if scan.stack else labels
    made = replace(scan.turned, data=whole.numpy().astype(np.float32), unit="label")
    back = on_source_grid(scan, made)
    return replace(back, unit="label").noted("segmented by a head on a prior", synthetic=False)
