"""One policy for the two transforms of a NIfTI header.

1. The s-form is used when its code is above zero and its matrix is finite and invertible.
2. Otherwise the q-form is used when its code is above zero and it is finite and invertible; a warning says
   why the s-form was not.
3. Otherwise the geometry is unknown: the affine is None, never an invented identity.
4. When both are given and disagree by more than a twentieth of the smallest voxel, the s-form is used and a
   warning states the disagreement
   in degrees and millimetres, and whether one mirrors the other.
"""

from __future__ import annotations

import nibabel as nib
import numpy as np
from nibabel.spatialimages import HeaderDataError
from numpy.typing import NDArray

__all__ = ["affine_difference", "choose_affine", "known_spacing", "spatial_shape"]

_MILLIMETRES = {0: 1.0, 1: 1000.0, 2: 1.0, 3: 0.001}
"""Codes of xyzt_units for space: not stated (millimetres by custom), metre, millimetre, micrometre."""


def _scale(header: nib.Nifti1Header) -> float:
    return _MILLIMETRES.get(int(header["xyzt_units"]) & 7, 1.0)


def _fault(affine: NDArray[np.float64]) -> str:
    """Why a transform cannot be used, or ""."""
    if not np.isfinite(affine).all():
        return "holds NaN or infinity"
    if not affine[:3, :3].any():
        return "is all zero"
    if np.abs(affine).max() > 1e9 or np.abs(affine[:3, :3]).max() > 1e6:
        return "gives voxels of no sensible size"
    lengths = np.linalg.norm(affine[:3, :3], axis=0)
    if lengths.min() < 1e-6:
        return "gives voxels of no sensible size"
    if abs(np.linalg.det(affine[:3, :3] / lengths)) < 1e-4:
        return "is singular"
    return ""


def _sform(header: nib.Nifti1Header) -> tuple[NDArray[np.float64] | None, str]:
    if int(header["sform_code"]) <= 0:
        return None, ""
    affine = np.eye(4)
    affine[:3] = [header["srow_x"], header["srow_y"], header["srow_z"]]
    fault = _fault(affine)
    return (None, fault) if fault else (affine, "")


def _qform(header: nib.Nifti1Header) -> tuple[NDArray[np.float64] | None, str]:
    if int(header["qform_code"]) <= 0:
        return None, ""
    lengths = np.asarray(header["pixdim"][1:4], dtype=np.float64)
    if not (np.isfinite(lengths).all() and (lengths > 0).all()):
        return None, "has voxel sizes that are not positive"
    try:
        with np.errstate(all="ignore"):
            affine = np.asarray(header.get_qform(), dtype=np.float64)
    except (HeaderDataError, ValueError, FloatingPointError) as error:
        return None, f"cannot be computed ({error})"
    fault = _fault(affine)
    return (None, fault) if fault else (affine, "")


def spatial_shape(shape: tuple[int, ...]) -> tuple[int, int, int]:
    """The three axes of a volume, or of an image as one slice."""
    return (shape[0], shape[1], shape[2] if len(shape) > 2 else 1)


def affine_difference(
    one: NDArray[np.float64], other: NDArray[np.float64], shape: tuple[int, int, int]
) -> tuple[float, float, bool]:
    """How far two affines differ on a grid: (largest angle between like axes in degrees, largest shift of a
    corner in mm, mirrored).
    """
    directions = [a[:3, :3] / np.linalg.norm(a[:3, :3], axis=0) for a in (one, other)]
    cosines = np.clip((directions[0] * directions[1]).sum(0), -1.0, 1.0)
    corners = np.array(
        [[i, j, k, 1] for i in (0, shape[0] - 1) for j in (0, shape[1] - 1) for k in (0, shape[2] - 1)],
        dtype=np.float64,
    )
    shift = np.linalg.norm((corners @ (one - other).T)[:, :3], axis=1).max()
    mirrored = np.linalg.det(one[:3, :3]) * np.linalg.det(other[:3, :3]) < 0
    return float(np.degrees(np.arccos(cosines)).max()), float(shift), bool(mirrored)


def choose_affine(
    header: nib.Nifti1Header, shape: tuple[int, int, int]
) -> tuple[NDArray[np.float64] | None, tuple[str, ...]]:
    """The affine in RAS+ millimetres by the policy above, or None, and what had to be said about it."""
    warnings: list[str] = []
    sform, s_fault = _sform(header)
    qform, q_fault = _qform(header)
    for name, fault in (("s-form", s_fault), ("q-form", q_fault)):
        if fault:
            warnings.append(f"the {name} {fault} and was not used")
    affine = qform if sform is None else sform
    if affine is None:
        warnings.append("no usable orientation in the header: the geometry is unknown")
        return None, tuple(warnings)
    if sform is not None and qform is not None:
        degrees, shift, mirrored = affine_difference(sform, qform, shape)
        if mirrored or shift > 0.05 * np.linalg.norm(sform[:3, :3], axis=0).min():
            mirror = "they mirror each other" if mirrored else "same handedness"
            warnings.append(
                f"s-form and q-form disagree by {degrees:.2f} degrees and {shift:.2f} mm ({mirror}); the "
                "s-form was used"
            )
    unit = int(header["xyzt_units"]) & 7
    if unit not in _MILLIMETRES:
        warnings.append(f"unknown unit of space (code {unit}), millimetres assumed")
    scale = _scale(header)
    if scale != 1.0:
        affine = np.diag([scale, scale, scale, 1.0]) @ affine
        warnings.append(f"lengths were multiplied by {scale:g} to millimetres")
    return affine, tuple(warnings)


def known_spacing(header: nib.Nifti1Header, ndim: int) -> tuple[float, ...] | None:
    """The voxel size where the header has no orientation: pixdim, unless it was plainly never set (all 1 and
    no unit).
    """
    lengths = np.asarray(header["pixdim"][1 : ndim + 1], dtype=np.float64)
    unset = (int(header["xyzt_units"]) & 7) == 0 and (lengths == 1).all()
    if unset or not np.isfinite(lengths).all() or not ((lengths > 1e-6) & (lengths < 1e6)).all():
        return None
    return tuple(float(x) for x in lengths * _scale(header))
