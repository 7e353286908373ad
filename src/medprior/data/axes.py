"""Axes of the body. Inside medprior an affine maps (i, j, k) to millimetres RAS+; pictures are shown the
radiological way.

RADIOLOGICAL planes, (i = down the screen, j = to the right):
axial PL (front up, patient's right on the left), coronal IL, sagittal IP.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from ..errors import BadOption, WrongKind
from .volume import Volume

__all__ = ["PLANES", "axcodes", "orient_plane", "plane_of_codes", "reorient", "stacking_axis"]

PLANES = {"axial": "PL", "coronal": "IL", "sagittal": "IP"}
"""What i and j point to in a picture of each plane."""

_PAIRS = ("RL", "AP", "SI")
_THROUGH = {"axial": "S", "coronal": "A", "sagittal": "R"}


def axcodes(volume: Volume) -> str:
    """Where each array axis points, e.g. "RAS" or "PLS" (an image has three letters, too: its plane); "" when
    the affine is unknown.
    """
    if volume.affine is None:
        return ""
    from nibabel.orientations import aff2axcodes

    return "".join(aff2axcodes(volume.affine))


def plane_of_codes(codes: str) -> str:
    """The plane whose i and j point to ``codes``, e.g. "PL"; axial for any other codes."""
    return next((plane for plane, own in PLANES.items() if own == codes), "axial")


def stacking_axis(plane: str) -> str:
    """The letter of the axis that a plane is stacked along."""
    if plane not in _THROUGH:
        raise BadOption(f"plane: wanted one of {', '.join(PLANES)}, got {plane!r}")
    return _THROUGH[plane]


def reorient(volume: Volume, codes: str) -> Volume:
    """The volume with its axes permuted and flipped so that they point to ``codes`` (three letters); values
    are not interpolated.

    Raises BadOption for codes that name no three axes, WrongKind when the affine is unknown.
    """
    if not _name_axes(codes, 3):
        raise BadOption(
            f"codes: wanted three letters, one of each of R/L, A/P and S/I, got {codes!r}", 'e.g. "RAS"'
        )
    if volume.affine is None:
        raise WrongKind(
            "the geometry of this volume is unknown, so it cannot be turned",
            "read it from DICOM or NIfTI, or give an affine",
        )
    if volume.ndim == 2:
        raise WrongKind("an image (2-D) is not turned out of its plane", "use in_plane")
    import nibabel.orientations as orient  # here, so that training needs torch alone

    have = orient.io_orientation(volume.affine)
    want = orient.axcodes2ornt(tuple(codes))
    change = orient.ornt_transform(have, want)
    data = np.stack([orient.apply_orientation(channel, change) for channel in volume.data])
    affine = volume.affine @ orient.inv_ornt_aff(change, volume.shape)
    return replace(volume, data=np.ascontiguousarray(data), affine=affine)


def orient_plane(volume: Volume, codes: str) -> Volume:
    """A 2-D image transposed and flipped so that (i, j) point to the two letters of ``codes``.

    Raises BadOption for codes that name no plane, WrongKind when the affine is unknown or the image lies in
    another plane.
    """
    if not _name_axes(codes, 2):
        raise BadOption(
            f"codes: wanted two letters of different axes (R/L, A/P, S/I), got {codes!r}",
            'e.g. "PL" for an axial picture',
        )
    if volume.affine is None:
        raise WrongKind("the geometry of this image is unknown, so it cannot be turned")
    as_volume = replace(volume, data=volume.data[..., None])
    have = axcodes(volume)
    rest = have[2]
    if _axis(rest) in map(_axis, codes):
        raise WrongKind(f"the image lies in plane {have[:2]}, wanted {codes}")
    turned = reorient(as_volume, codes + rest)
    return replace(turned, data=turned.data[..., 0])


def _axis(letter: str) -> int:
    """0 for R and L, 1 for A and P, 2 for S and I; -1 for no letter of an axis."""
    return next((n for n, pair in enumerate(_PAIRS) if letter in pair), -1)


def _name_axes(codes: str, count: int) -> bool:
    """Whether ``codes`` are ``count`` letters of different axes."""
    axes = {_axis(letter) for letter in codes}
    return len(codes) == len(axes) == count and -1 not in axes
