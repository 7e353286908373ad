"""The one door in and the one door out: physical units and the patient's axes on one side, network units on
the other.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from ..data.axes import axcodes, orient_plane, plane_of_codes, reorient, stacking_axis
from ..data.grids import slice_heights
from ..data.volume import Volume
from ..errors import ShapeMismatch, WrongKind
from .card import Card
from .denoiser import Condition

__all__ = [
    "Admitted",
    "admit",
    "card_heights",
    "on_card_axes",
    "on_source_grid",
    "region_of",
    "release",
    "release_in",
    "release_map",
    "resize",
    "scale_of",
    "size_for",
]

_OVERRIDE = "override it: --allow-other, in Python allow_other=True"

_LIGHTER, _SHIFTED = 1e-3, 0.05
"""Shares of voxels: air, lung and fat are more of any body; and no more of one is as dense as soft tissue is
without its intercept. Padding lies lower.
"""

_COARSEST = 16
"""Voxels so many times larger than the prior's show nothing that it knows; as a rule their size was written
down in another unit.
"""


@dataclass(frozen=True, slots=True)
class Admitted:
    """A volume in network units.

    images: (B, C, i, j) for a 2-D prior (B slices of a volume, or 1) or (1, C, i, j, k). low, high: the
    values at -1 and 1. condition: what the card can be told about each slice (its height). turned: the volume
    on the card's axes, before resampling. source: the volume as it came; nothing in it is changed. other: why
    the prior is not for such scans, where that was overridden, else "".
    """

    images: Tensor
    low: float
    high: float
    condition: Condition
    turned: Volume
    source: Volume
    other: str = ""

    @property
    def stack(self) -> bool:
        """The images are the slices of one volume."""
        return self.turned.ndim == 3 and self.images.ndim == 4

    @property
    def whole(self) -> Tensor:
        """(C, i, j[, k]): the image, or the volume as one."""
        return self.images.movedim(0, -1) if self.stack else self.images[0]


def check_kind(card: Card, volume: Volume) -> None:
    """Raises WrongKind where modality or unit are not the card's, or where HU cannot be HU: nothing is
    lighter than water, and much as soft tissue + 1024.
    """
    if volume.modality and card.modality and not same_modality(volume.modality, card.modality):
        raise WrongKind(
            f"prior {card.name!r} is for {card.modality}, this is {volume.modality}",
            f"choose another prior, or {_OVERRIDE}",
        )
    if card.scaling == "fixed" and volume.unit != card.unit:
        raise WrongKind(
            f"prior {card.name!r} wants unit {card.unit}, this is {volume.unit}",
            f"state the unit when reading (--unit, unit=), or {_OVERRIDE}",
        )
    if card.unit == "HU" and _share(volume, -1100, -20) < _LIGHTER and _share(volume, 850, 1250) > _SHIFTED:
        raise WrongKind(
            "hardly anything in it is lighter than water: its values are not HU",
            f"is the rescale intercept (often -1024) missing? {_OVERRIDE}",
        )


def check_form(card: Card, volume: Volume) -> None:
    """What no override helps against. Raises WrongKind where channels or dimensions are not the card's, or a
    value is not finite.
    """
    if volume.data.shape[0] != len(card.channels):
        remedy = (
            "choose another prior"
            if len(card.channels) == 1
            else "choose another prior; channels are given one by one in medprior synthesize"
        )
        raise WrongKind(
            f"prior {card.name!r} wants channels {', '.join(card.channels)}, this has {volume.data.shape[0]}",
            remedy,
        )
    if volume.ndim < card.ndim:
        raise WrongKind(
            f"prior {card.name!r} is 3-D, this is an image", "read the whole series, or choose a 2-D prior"
        )
    if not np.isfinite(volume.data).all():
        raise WrongKind(
            f"the image holds {int((~np.isfinite(volume.data)).sum())} values that are not finite",
            "mask them when reading",
        )


def _share(volume: Volume, low: float, high: float) -> float:
    return float(np.mean((volume.data > low) & (volume.data < high)))


def same_modality(a: str, b: str) -> bool:
    """Radiographs go by several codes."""
    radiograph = {"DX", "CR", "RG", "XR"}
    return a == b or {a, b} <= radiograph


def scale_of(card: Card, volume: Volume) -> tuple[float, float]:
    """The values that go to -1 and 1. Raises WrongKind for a constant image: it has no range."""
    if card.scaling == "fixed":
        return card.low, card.high
    values = volume.data[np.isfinite(volume.data)]
    if card.scaling == "foreground":
        low, high = (
            0.0,
            float(np.quantile(values[values > values.mean()], card.quantiles[1]))
            if (values > values.mean()).any()
            else 0.0,
        )
    else:
        low, high = (float(q) for q in np.quantile(values, card.quantiles))
    if not high > low:
        raise WrongKind("the image is constant: nothing can be said about it", "check the file")
    return low, high


def admit(
    card: Card, volume: Volume, *, allow_other: bool = False, scale: tuple[float, float] | None = None
) -> Admitted:
    """Volume -> network units, on the card's axes and voxel size.

    Finer voxels are averaged, coarser ones interpolated. allow_other: let another modality or unit pass
    (recorded by the caller). scale: the values that go to -1 and 1, of a scan that this is a change of;
    default: as the card says. Raises WrongKind (modality, unit, channels, dimensions, geometry, not finite,
    constant).
    """
    other = ""
    try:
        check_kind(card, volume)
    except WrongKind as error:
        if not allow_other:
            raise
        other = str(error.args[0])
    check_form(card, volume)
    turned = on_card_axes(card, volume)
    low, high = scale or scale_of(card, turned)
    x = torch.from_numpy(2 * (turned.data - low) / (high - low) - 1)
    images = x.movedim(-1, 0) if card.ndim == 2 and turned.ndim == 3 else x[None]
    known = Condition(numbers=card_heights(card, len(images), stack=turned.ndim == 3))
    return Admitted(
        resize(images, size_for(card, turned)).contiguous(), low, high, known, turned, volume, other
    )


def release(admitted: Admitted, images: Tensor, *, sentence: str, synthetic: bool = True) -> Volume:
    """Network units -> a Volume on the source's own grid, unit and axes.

    images: shaped as ``admitted.images``. If the source has another grid than the prior's, the CHANGE is
    resampled and added to the source. So its fine detail stays, and unchanged images come back exactly.
    Raises ShapeMismatch for another shape.
    """
    if images.shape != admitted.images.shape:
        raise ShapeMismatch("release", tuple(admitted.images.shape), tuple(images.shape))
    turned = admitted.turned
    change = resize((images - admitted.images).cpu(), turned.shape[: images.ndim - 2])
    x = change.movedim(0, -1) if admitted.stack else change[0]
    out = replace(
        turned, data=(turned.data + x.numpy() * ((admitted.high - admitted.low) / 2)).astype(np.float32)
    )
    return on_source_grid(admitted, out).noted(
        sentence, synthetic=synthetic or admitted.source.provenance.synthetic
    )


def region_of(card: Card, admitted: Admitted, mask: Volume) -> Tensor:
    """A mask on the source's grid -> bool, shaped as one channel of ``admitted.images``: every voxel of the
    prior's grid that it touches.

    mask: one channel, not 0 inside; taken to lie as the source does. Raises ShapeMismatch for another shape
    than the source's.
    """
    source = admitted.source
    if mask.data.shape != (1, *source.shape):
        raise ShapeMismatch("mask", f"one channel on the scan's grid, {source.shape}", mask.data.shape)
    turned = on_card_axes(card, replace(source, data=(mask.data != 0).astype(np.float32)))
    x = torch.from_numpy(np.ascontiguousarray(turned.data))
    return resize(x.movedim(-1, 0) if admitted.stack else x[None], tuple(admitted.images.shape[2:])) > 0


def release_in(admitted: Admitted, images: Tensor, mask: Volume, *, sentence: str) -> Volume:
    """Network units -> the source's own grid, but only where ``mask`` is not 0; everywhere else the source,
    to the last bit.

    Inside, the prior's image stands alone: nothing of the source's fine detail shines through. Raises
    ShapeMismatch for another shape.
    """
    if images.shape != admitted.images.shape:
        raise ShapeMismatch("release_in", tuple(admitted.images.shape), tuple(images.shape))
    turned = admitted.turned
    x = resize(images.cpu(), turned.shape[: images.ndim - 2])
    x = x.movedim(0, -1) if admitted.stack else x[0]
    made = (x.numpy() + 1) / 2 * (admitted.high - admitted.low) + admitted.low
    back = on_source_grid(admitted, replace(turned, data=made.astype(np.float32)))
    return back.with_data(np.where(mask.data != 0, back.data, admitted.source.data)).noted(
        sentence, synthetic=True
    )


def release_map(admitted: Admitted, values: Tensor, *, sentence: str) -> Volume:
    """A map of a quantity that is not an intensity (a residual, a spread) on the source's own grid; unit
    "a.u.", one channel.

    values: (B, 1, i, j) or (1, 1, i, j, k), or whole: (i, j) of an image, (i, j, k) of a volume.
    """
    turned = admitted.turned
    if values.ndim == turned.ndim:
        values = values.movedim(-1, 0)[:, None] if admitted.stack else values[None, None]
    values = resize(values, turned.shape[: values.ndim - 2])
    x = values.movedim(0, -1) if admitted.stack else values[0]
    return replace(
        on_source_grid(admitted, replace(turned, data=x.cpu().numpy().astype(np.float32))), unit="a.u."
    ).noted(sentence, synthetic=True)


def on_source_grid(admitted: Admitted, out: Volume) -> Volume:
    """A volume on the card's axes -> on those of the source."""
    source = admitted.source
    if out.affine is None or source.affine is None:
        return replace(out, provenance=source.provenance)
    # codes of axes are ambiguous at 45 degrees; the change of axes itself is a signed permutation at any
    # angle
    change = (np.linalg.inv(source.affine) @ out.affine)[: out.ndim, : out.ndim].round().astype(int)
    order = np.abs(change).argmax(1)
    flipped = tuple(axis + 1 for axis, came_from in enumerate(order) if change[axis, came_from] < 0)
    data = np.flip(out.data.transpose(0, *(order + 1)), tuple(flipped))
    return replace(out, data=np.ascontiguousarray(data), affine=source.affine, provenance=source.provenance)


def resize(x: Tensor, size: tuple[int, ...]) -> Tensor:
    """(B, C, ...) -> (B, C, *size): means where it gets coarser, so that nothing aliases; linear where it
    gets finer, so that no blocks appear.
    """
    smaller = tuple(min(have, want) for have, want in zip(x.shape[2:], size, strict=True))
    if x.shape[2:] != smaller:
        x = F.interpolate(x, size=smaller, mode="area")
    if smaller != size:
        x = F.interpolate(x, size=size, mode="bilinear" if x.ndim == 4 else "trilinear", align_corners=False)
    return x


def on_card_axes(card: Card, volume: Volume) -> Volume:
    """The volume on the card's axes. Raises WrongKind if its orientation is unknown."""
    if volume.affine is None or not card.axes:
        if volume.ndim == 3 and card.axes:
            raise WrongKind(
                "the geometry of this volume is unknown, so it cannot be laid the way the prior knows",
                "read DICOM or NIfTI",
            )
        return volume
    if volume.ndim == 3:
        return reorient(
            volume, card.axes + stacking_axis(plane_of_codes(card.axes)) if card.ndim == 2 else card.axes
        )
    return orient_plane(volume, card.axes) if axcodes(volume)[:2] != card.axes else volume


def size_for(card: Card, volume: Volume) -> tuple[int, ...]:
    """In-plane size at the card's voxel size, or within its largest frame where voxel sizes vary.

    A difference under 10 % is left alone, since every interpolation blurs. Raises WrongKind for voxels that
    no scanner makes.
    """
    n = card.ndim
    shape, have, want = volume.shape[:n], volume.spacing_mm, card.spacing_mm
    if want is not None and have is not None:
        ratios = [h / w for h, w in zip(have[:n], want[:n], strict=True)]
        if max(ratios) > _COARSEST:
            raise WrongKind(
                f"voxels of {max(have[:n]):g} mm are too coarse for prior {card.name!r} (it knows "
                f"{max(want):g} mm)",
                "check the spacing of the file",
            )
    else:
        ratios = [min(1.0, card.frame[1] / max(shape))] * n
    if all(0.9 < r < 1.1 for r in ratios):
        return shape
    return tuple(max(8, round(s * r)) for s, r in zip(shape, ratios, strict=True))


def card_heights(card: Card, n: int, *, stack: bool = True) -> Tensor | None:
    """(n, n_numbers): what the card can be told of n slices: their height from -1 (first) to 1 (last) where
    they are all of a volume, the rest unknown.
    """
    if not card.numbers:
        return None
    numbers = torch.full((n, len(card.numbers)), torch.nan)
    if "height" in card.numbers and stack and card.ndim == 2:
        numbers[:, card.numbers.index("height")] = slice_heights(n)
    return numbers
