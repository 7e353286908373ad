"""Lesions of known size and contrast, put into an image before it is measured: does the reconstruction keep
them, and does it invent others?

The inserted-lesion test of a reconstruction: two measurements with the same noise, one of the image with
lesions, one of its lesion-free twin. From the first comes the recovery of each lesion, from the second every
blob that is not there.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import scipy  # its parts are loaded when they are first used
import torch
from torch import Tensor

from ..errors import BadOption, ShapeMismatch

__all__ = [
    "CONTRASTS",
    "RADII",
    "Lesion",
    "false_blobs",
    "insert_lesions",
    "lesion_ladder",
    "random_centres",
    "recoveries",
    "recovery",
]

RADII = (12.0, 8.0, 5.0)
"""mm: one lesion of each in an image."""

CONTRASTS = (0.4, 0.2)
"""Of half the intensity range, which is one network unit."""

_GAP, _WIDTH = 1.5, 3.0
"""Voxels between a lesion's edge and its ring of background, and the ring's width."""


@dataclass(frozen=True, slots=True)
class Lesion:
    """A disc or ball with a smooth edge. centre: voxels along (i, j[, k]); radius: mm, to half of the
    contrast; contrast: added, in the image's unit.
    """

    centre: tuple[float, ...]
    radius: float
    contrast: float

    def distance(self, size: Sequence[int], spacing: float | Sequence[float] = 1.0) -> Tensor:
        """(*size): mm from the edge, negative inside. spacing: mm a voxel. Raises ShapeMismatch for a centre
        of other dimensions.
        """
        steps = (float(spacing),) * len(size) if isinstance(spacing, int | float) else tuple(spacing)
        if len(self.centre) != len(size) or len(steps) != len(size):
            raise ShapeMismatch(
                "lesion, centre and spacing", f"{len(size)} numbers each", f"{self.centre} and {steps}"
            )
        if not self.radius > 0 or not min(steps) > 0:
            raise BadOption(
                f"lesion: wanted a positive radius and spacing in mm, got {self.radius} and {steps}"
            )
        square = torch.zeros(tuple(size), dtype=torch.float64)
        for axis, (n, middle, mm) in enumerate(zip(size, self.centre, steps, strict=True)):
            place = (torch.arange(n, dtype=torch.float64) - middle) * mm
            square = square + place.square().reshape([-1 if a == axis else 1 for a in range(len(size))])
        return square.sqrt() - self.radius

    def core(self, size: Sequence[int], spacing: float | Sequence[float] = 1.0) -> Tensor:
        """(*size) bool: where more than half of the contrast was added."""
        return self.distance(size, spacing) < 0

    def ring(self, size: Sequence[int], spacing: float | Sequence[float] = 1.0) -> Tensor:
        """(*size) bool: the background around it, from 1.5 to 4.5 voxels outside of the edge."""
        step = spacing if isinstance(spacing, int | float) else min(spacing)
        away = self.distance(size, spacing) / step
        return (away >= _GAP) & (away <= _GAP + _WIDTH)


def insert_lesions(
    image: Tensor, lesions: Sequence[Lesion], *, spacing: float | Sequence[float] = 1.0, edge: float = 1.0
) -> Tensor:
    """(B, C, i, j[, k]) with the lesions added to every channel. edge: voxels over which the contrast rises,
    as half a cosine, around the radius.
    """
    size = tuple(image.shape[2:])
    step = spacing if isinstance(spacing, int | float) else min(spacing)
    added = torch.zeros(size, dtype=torch.float64)
    for lesion in lesions:
        outwards = (lesion.distance(size, spacing) / (edge * step)).clamp(-0.5, 0.5)
        added = added + lesion.contrast * (1 - torch.sin(math.pi * outwards)) / 2
    return image + added.to(image)


def random_centres(
    tissue: Tensor, radii: Sequence[float], rng: torch.Generator, *, spacing: float = 1.0
) -> list[tuple[float, ...]]:
    """A random centre in voxels for each radius in mm, so that lesion and ring lie in tissue, bool (*size),
    and touch no other; fewer without room.
    """
    free, found = tissue.cpu().numpy().astype(bool), []
    for radius in radii:
        reach = radius / spacing + _GAP + _WIDTH + 0.5
        to_edge = np.asarray(
            scipy.ndimage.distance_transform_edt(np.pad(free, 1))
        )  # what lies outside of the image is no tissue
        at = np.argwhere(to_edge[(slice(1, -1),) * free.ndim] > reach)
        if not len(at):
            break
        centre = at[int(torch.randint(len(at), (), generator=rng))]
        found.append(tuple(float(c) for c in centre))
        free = free & (Lesion(found[-1], reach, 0.0).distance(free.shape).numpy() > 0)
    return found


def lesion_ladder(
    image: Tensor, tissue: Tensor, rng: torch.Generator, *, low: float, high: float, spacing: float = 1.0
) -> list[Lesion]:
    """A disc or ball of each of ``RADII`` at a random place in tissue, its contrast one of ``CONTRASTS``:
    dark in bright tissue, bright in dark.

    image: (1, C, i, j[, k]), the first channel counts; tissue: (i, j[, k]) bool; low, high: the ends of the
    intensity range. Fewer where there is no room.
    """
    half, middle, lesions = (high - low) / 2, (high + low) / 2, []
    for centre, radius in zip(random_centres(tissue, RADII, rng, spacing=spacing), RADII, strict=False):
        lesion = Lesion(
            centre, radius, half * CONTRASTS[int(torch.randint(len(CONTRASTS), (), generator=rng))]
        )
        dark = float(image[0, 0][lesion.core(tissue.shape, spacing)].mean()) > middle
        lesions.append(replace(lesion, contrast=-lesion.contrast) if dark else lesion)
    return lesions


def recoveries(
    result: Tensor, truth: Tensor, lesions: Sequence[Lesion], *, spacing: float = 1.0
) -> list[tuple[Lesion, float]]:
    """``recovery`` of each lesion, but of those that the anatomy around them has swallowed: half of their
    contrast at least must show in the truth.
    """
    found = []
    for lesion in lesions:
        core, ring = lesion.core(truth.shape[2:], spacing), lesion.ring(truth.shape[2:], spacing)
        known = float(truth[:, :, core].mean() - truth[:, :, ring].mean())
        if known * lesion.contrast > 0 and abs(known) > abs(lesion.contrast) / 2:
            found.append((lesion, recovery(result, truth, lesion, spacing=spacing)))
    return found


def recovery(
    result: Tensor, truth: Tensor, lesion: Lesion, *, spacing: float | Sequence[float] = 1.0
) -> float:
    """(lesion - background) of the result over that of the truth with the lesion, both (1, C, i, j[, k]);
    means over ``core`` and ``ring``. 1 is all of it.

    Raises BadOption where the truth shows no difference, ShapeMismatch.
    """
    if result.shape != truth.shape:
        raise ShapeMismatch("recovery, result", tuple(truth.shape), tuple(result.shape))
    core, ring = lesion.core(truth.shape[2:], spacing), lesion.ring(truth.shape[2:], spacing)
    if not bool(core.any()) or not bool(ring.any()):
        raise BadOption(
            f"recovery: wanted a lesion inside of the image, got centre {lesion.centre} and radius "
            f"{lesion.radius} mm in {tuple(truth.shape[2:])}"
        )
    known, found = (
        float(x[:, :, core].double().mean() - x[:, :, ring].double().mean()) for x in (truth, result)
    )
    if known == 0:
        raise BadOption("recovery: wanted a lesion that differs from its background, got none in the truth")
    return found / known


def false_blobs(
    result: Tensor, truth: Tensor, spread: Tensor | float, *, threshold: float = 3.0, least: int = 5
) -> int:
    """How many connected blobs of at least ``least`` voxels differ from the truth by over ``threshold``
    standard deviations, all to one side.

    result, truth: (1, C, i, j[, k]); spread: standard deviation of the error, one number or broadcasting over
    them; neighbours share a face. Raises ShapeMismatch, BadOption for a spread that is not positive.
    """
    if result.shape != truth.shape:
        raise ShapeMismatch("false_blobs, result", tuple(truth.shape), tuple(result.shape))
    scale = torch.as_tensor(spread, dtype=result.dtype, device=result.device)
    if not bool((scale > 0).all()):
        raise BadOption(
            "false_blobs: wanted a positive spread, got zero or less",
            "a point estimate needs a calibrated or measured deviation",
        )
    apart = ((result - truth) / scale).detach().cpu().numpy()
    count = 0
    for image in apart.reshape(-1, *apart.shape[2:]):
        for outside in (image > threshold, image < -threshold):
            blobs = np.zeros(image.shape, dtype=np.int32)
            scipy.ndimage.label(outside, output=blobs)
            count += int((np.bincount(blobs.ravel())[1:] >= least).sum())
    return count
