"""Axes of the body. Inside medprior an affine maps (i, j, k) to millimetres RAS+; pictures are shown the radiological way.

RADIOLOGICAL planes, (i = down the screen, j = to the right):
axial PL (front up, patient's right on the left), coronal IL, sagittal IP.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from ..errors import BadOption, WrongKind
from .volume import Volume

__all__ = ["PLANES", "axcodes", "in_plane", "reoriented", "through"]

PLANES = {"axial": "PL", "coronal": "IL", "sagittal": "IP"}
"""What i and j point to in a picture of each plane."""

_THROUGH = {"axial": "S", "coronal": "A", "sagittal": "R"}


def axcodes(volume: Volume) -> str:
    """Where each array axis points, e.g. "RAS" or "PLS" (an image has three letters, too: its plane); "" when the affine is unknown."""
    if volume.affine is None:
        return ""
    from nibabel.orientations import aff2axcodes

    return "".join(aff2axcodes(volume.affine))


def through(plane: str) -> str:
    """The letter of the axis that a plane is stacked along."""
    if plane not in _THROUGH:
        raise BadOption(f"plane: wanted one of {', '.join(PLANES)}, got {plane!r}")
    return _THROUGH[plane]


def reoriented(volume: Volume, codes: str) -> Volume:
    """The volume with its axes permuted and flipped so that they point to ``codes`` (three letters); values are not interpolated.

    Raises WrongKind when the affine is unknown.
    """
    if volume.affine is None:
        raise WrongKind("the geometry of this volume is unknown, so it cannot be turned", "read it from DICOM or NIfTI, or give an affine")
    if volume.ndim == 2:
        raise WrongKind("an image (2-D) is not turned out of its plane", "use in_plane")
    import nibabel.orientations as orient  # here, so that training needs torch alone

    have = orient.io_orientation(volume.affine)
    want = orient.axcodes2ornt(tuple(codes))
    change = orient.ornt_transform(have, want)
    data = np.stack([orient.apply_orientation(channel, change) for channel in volume.data])
    affine = volume.affine @ orient.inv_ornt_aff(change, volume.shape)
    return replace(volume, data=np.ascontiguousarray(data), affine=affine)


def in_plane(volume: Volume, codes: str) -> Volume:
    """A 2-D image transposed and flipped so that (i, j) point to the two letters of ``codes``.

    Raises WrongKind when the affine is unknown or the image lies in another plane.
    """
    if volume.affine is None:
        raise WrongKind("the geometry of this image is unknown, so it cannot be turned")
    as_volume = replace(volume, data=volume.data[..., None])
    have = axcodes(volume)
    rest = next((c for c in have if c not in codes and _opposite(c) not in codes), None)
    if rest is None or have[2] != rest:
        raise WrongKind(f"the image lies in plane {have[:2]}, wanted {codes}")
    turned = reoriented(as_volume, codes + rest)
    return replace(turned, data=turned.data[..., 0])


def _opposite(letter: str) -> str:
    return {"R": "L", "L": "R", "A": "P", "P": "A", "S": "I", "I": "S"}[letter]
