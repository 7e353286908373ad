"""Draw, apply, replay: for tensors in a training loop and for scans. The same code for both, so that a
picture in a report is what the network saw.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ..data.seeds import generator
from ..data.volume import Volume
from ..errors import BadOption, ShapeMismatch
from .frame import Frame, Parameters
from .geometry import GEOMETRIC, Mapping, map_points, mapping, resample_image
from .intensity import ImageStatistics, image_statistics
from .policy import Policy
from .record import Record
from .transforms import DRAWN, TRANSFORMS

__all__ = ["VariedVolume", "apply_record", "draw_record", "move_points", "replay", "vary_volume"]


def draw_record(policy: Policy, frame: Frame, seed: int, *item: int) -> Record:
    """What happens to image ``item`` (for instance epoch, index): each allowed transform with its
    probability, parameters evenly from its range.

    The same (policy, frame, seed, item) gives the same record in every process; each transform has numbers of
    its own, so leaving one out changes no other. Raises WrongKind for an image that the policy is not for,
    BadOption for a flip along an unknown axis.
    """
    policy.fits(frame)
    steps = []
    rows = torch.rand(
        (len(TRANSFORMS), DRAWN), generator=generator(seed, "augmentation", *item), dtype=torch.float64
    ).numpy()  # all at once: a call costs
    for (name, transform), row in zip(TRANSFORMS.items(), rows, strict=True):
        strength = policy.allowed.get(name)
        if strength is None:
            continue
        numbers = iter(row.tolist())
        if next(numbers) >= strength.probability:
            continue
        if (drawn := transform.draw(strength, frame, numbers)) is not None:
            steps.append({"name": name, **drawn})
    overrides = tuple(
        f"{name}: {why}" for name, why in (policy.because or {}).items() if name in policy.allowed
    )
    return Record(tuple(steps), frame, policy.name, seed, tuple(item), policy.outside, overrides)


@torch.no_grad()
def apply_record(record: Record, image: Tensor, masks: Sequence[Tensor] = ()) -> tuple[Tensor, list[Tensor]]:
    """image: (C, i, j[, k]); masks: each (i, j[, k]) or (C, i, j[, k]) of any dtype, moved with it, their
    values never blended.

    New tensors, float32 (float64 stays) and without gradient; those given are not changed.
    Raises ShapeMismatch for another shape than the record's, BadOption for an image that is not finite.
    """
    frame = record.frame
    if tuple(image.shape[1:]) != frame.shape:
        raise ShapeMismatch(
            "augmentation, image",
            f"(C, {', '.join(map(str, frame.shape))})",
            tuple(image.shape),
            "a record replays on the grid that it was drawn for",
        )
    for mask in masks:
        if tuple(mask.shape[-frame.ndim :]) != frame.shape or mask.ndim - frame.ndim not in (0, 1):
            raise ShapeMismatch(
                "augmentation, mask", frame.shape, tuple(mask.shape), "a mask lies on the grid of its image"
            )
    x = image if image.dtype == torch.float64 else image.float()
    if not math.isfinite(x.sum()):
        raise BadOption(
            f"augmentation: the image holds {int((~torch.isfinite(x)).sum())} numbers that are not finite",
            "mend or leave out the scan",
        )
    pointwise = [step for step in record.steps if step["name"] not in GEOMETRIC]
    background = record.outside == "background"
    where = mapping(record.steps, frame)
    at = image_statistics(x, frame) if pointwise or (where and background) else None
    if where is not None:
        x = resample_image(x, where, outside=at.low if background and at is not None else None)
    elif x.data_ptr() == image.data_ptr():
        x = x.clone(memory_format=torch.contiguous_format)  # the steps overwrite it
    for step in pointwise:
        x = _step(step, x, at)
    return x, [mask.clone() if where is None else _mask(mask, record, where) for mask in masks]


def _step(step: Parameters, x: Tensor, at: ImageStatistics | None) -> Tensor:
    apply = TRANSFORMS[step["name"]].apply
    return x if apply is None or at is None else apply(x, step, at)


def _mask(mask: Tensor, record: Record, where: Mapping) -> Tensor:
    whole = mask if mask.ndim > record.frame.ndim else mask[None]
    whole = whole.to(torch.uint8) if whole.dtype == torch.bool else whole
    outside = None if record.outside == "edge" else torch.zeros((), dtype=whole.dtype, device=whole.device)
    return resample_image(whole, where, nearest=True, outside=outside).to(mask.dtype).reshape(mask.shape)


def move_points(record: Record, points: Tensor) -> Tensor:
    """(m, 2 or 3) landmarks in voxels of the source -> in voxels of the augmented image, float64; they may
    leave it.
    """
    return map_points(points, mapping(record.steps, record.frame))


@dataclass(frozen=True, slots=True, eq=False)
class VariedVolume:
    """An augmented scan with its masks, and the record that makes it again."""

    image: Volume
    masks: tuple[Volume, ...]
    record: Record


def vary_volume(
    volume: Volume, policy: Policy, seed: int = 0, *item: int, masks: Sequence[Volume] = ()
) -> VariedVolume:
    """A classical augmentation of a scan on its own grid, in its own unit: the affine stays and the content
    moves. Not for diagnosis.

    masks: on the grid of the scan. The history says what was done, and image and masks are marked synthetic:
    they show no patient. Raises as ``draw_record`` and ``apply_record``, and ShapeMismatch for a mask with
    another affine.
    """
    return replay(draw_record(policy, Frame.of(volume), seed, *item), volume, masks)


def replay(record: Record, volume: Volume, masks: Sequence[Volume] = ()) -> VariedVolume:
    """The same augmentation again: the same numbers, bit for bit, from the same scan on the same machine."""
    for mask in masks:
        if mask.shape == volume.shape and not _same_place(mask, volume):
            raise ShapeMismatch(
                "augmentation, mask",
                "the affine of its scan",
                "another one",
                "resample the mask to the scan first",
            )
    if Frame.of(volume) != record.frame:
        raise ShapeMismatch(
            "augmentation, scan",
            record.frame,
            Frame.of(volume),
            "a record replays on the scan that it was drawn for",
        )
    image, moved = apply_record(
        record, torch.from_numpy(volume.data), [torch.from_numpy(mask.data) for mask in masks]
    )
    sentence = record.sentence()
    made = volume.with_data(image.numpy()).noted(sentence, synthetic=True)
    return VariedVolume(
        made,
        tuple(
            m.with_data(d.numpy()).noted(sentence, synthetic=True) for m, d in zip(masks, moved, strict=True)
        ),
        record,
    )


def _same_place(mask: Volume, volume: Volume) -> bool:
    if mask.affine is None:
        return True  # a picture of a mask says nothing of where it lies
    return volume.affine is not None and bool(abs(mask.affine - volume.affine).max() < 1e-3)
