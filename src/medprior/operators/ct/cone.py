"""Cone-beam CT: a point source and a flat detector turn round the k axis, and every view sees the whole
volume.

The matrix of a volume would not fit into memory, but it is a product of two parts that do. All detector
pixels of one column share their path in the (i, j) plane; along k a ray moves in equal steps. The in-plane
part is the sparse matrix of the fan beam, kept apart for each step of a ray; the part along k is a linear
interpolation, worked out as it goes. Together they are Joseph's method in three dimensions, and the adjoint
is the transpose of each.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import scipy  # its parts are loaded when they are first used
import torch
from torch import Tensor
from torch.nn import functional as F

from ...errors import BadOption
from ..derivative import Linear
from ..operator import Operator
from .projections import check_source, crossings, detector_bins, sparse_csr, steps_along_rows

__all__ = ["ConeBeam", "cone_ct"]


@dataclass(frozen=True, eq=False, repr=False, kw_only=True)
class ConeBeam(Operator):
    """Line integrals (C, n_angles, n_columns, n_rows) of a volume (C, i, j, k).

    sheets, transposes: for each view the CSR matrix (n_columns * n_steps, i * j), mm, that reads a slice
    along the in-plane paths, and its transpose. heights: (n_angles, n_columns, n_steps), how far a ray has
    climbed at a step, mm a mm of detector row; lengths: (n_columns, n_rows), length of a ray over that of its
    in-plane path. angles: (n_angles,) radians; columns, rows: mm on the detector from the central ray;
    spacing: mm of (i, j, k).
    """

    sheets: tuple[Tensor, ...]
    transposes: tuple[Tensor, ...]
    heights: Tensor
    lengths: Tensor
    angles: Tensor
    columns: Tensor
    rows: Tensor
    spacing: tuple[float, float, float]

    def apply(self, x: Tensor) -> Tensor:
        return Linear.apply(x, self._project, self._back)

    def adjoint(self, y: Tensor) -> Tensor:
        return Linear.apply(y, self._back, self._project)

    def _project(self, x: Tensor) -> Tensor:
        plane = x.permute(2, 3, 0, 1, 4).flatten(0, 1).flatten(1).contiguous()  # (i * j, B * C * k)
        views = []
        for view, matrix in enumerate(self.sheets):
            sheet = (matrix.to(x.device, x.dtype) @ plane).reshape(
                *self.heights.shape[1:], -1, self.domain[3]
            )
            padded = F.pad(sheet, (2, 2)).transpose(1, 2)  # (columns, B * C, steps, k + 4)
            low, share = self._climb(view, x, padded.shape[1])
            steps = torch.lerp(padded.gather(-1, low), padded.gather(-1, low + 1), share)
            views.append(steps.sum(2) * self.lengths.to(x)[:, None])
        return torch.stack(views).permute(2, 0, 1, 3).reshape(x.shape[0], *self.codomain)

    def _back(self, y: Tensor) -> Tensor:
        n_columns, n_steps = self.heights.shape[1:]
        n_images, n_k = y.shape[0] * y.shape[1], self.domain[3]
        views = (
            y.flatten(0, 1).permute(1, 2, 0, 3) * self.lengths.to(y)[:, None]
        )  # (views, columns, B * C, rows)
        plane = y.new_zeros(self.domain[1] * self.domain[2], n_images * n_k)
        for view, matrix in enumerate(self.transposes):
            low, share = self._climb(view, y, n_images)
            value = views[view][:, :, None].expand(low.shape)
            padded = y.new_zeros(n_columns, n_images, n_steps, n_k + 4)
            padded.scatter_add_(-1, low, value * (1 - share)).scatter_add_(-1, low + 1, value * share)
            sheet = padded[..., 2:-2].transpose(1, 2).reshape(n_columns * n_steps, -1)
            plane += matrix.to(y.device, y.dtype) @ sheet
        return plane.reshape(*self.domain[1:3], *y.shape[:2], n_k).permute(2, 3, 0, 1, 4).contiguous()

    def _climb(self, view: int, like: Tensor, n_images: int) -> tuple[Tensor, Tensor]:
        """Index of the lower slice (two zeros stand before the first) and share of the upper one, each
        (columns, n_images, steps, rows).
        """
        n_k = self.domain[3]
        at = (
            self.heights[view].to(like.device)[..., None] * (self.rows.to(like.device) / self.spacing[2])
            + (n_k - 1) / 2
        )
        low = at.floor().clamp(-2, n_k)
        share = (at - low).clamp(0, 1).to(like.dtype)
        shape = (-1, n_images, -1, -1)
        return (low.long() + 2)[:, None].expand(shape), share[:, None].expand(shape)


def cone_ct(
    shape: tuple[int, ...],
    angles: Tensor | Sequence[float],
    detector: tuple[int, int],
    *,
    source_to_axis: float,
    source_to_detector: float,
    bin_spacing: float | tuple[float, float],
    spacing: float | tuple[float, float, float] = 1.0,
    detector_offset: tuple[float, float] = (0.0, 0.0),
) -> ConeBeam:
    """Cone-beam CT with a flat detector and a circular path of the source in the middle slice; distances in
    mm.

    shape: (C, i, j, k), in 1/mm; angles: degrees, as ``fan_ct``, which the middle row equals; detector:
    (n_columns, n_rows), rows stacked along k; bin_spacing: mm a bin along columns and rows; detector_offset:
    mm from the central ray to the middle of the detector, along columns and rows. Source: Feldkamp, Davis and
    Kress, J. Opt. Soc. Am. A 1(6), 1984 (geometry); Joseph, IEEE Trans. Med. Imaging 1(3), 1982
    (interpolation). Raises BadOption for what cannot be, and for rays that climb more than 45 degrees, where
    steps in the plane would be too far apart.
    """
    voxel = spacing if isinstance(spacing, tuple) else (float(spacing),) * 3
    bins = bin_spacing if isinstance(bin_spacing, tuple) else (float(bin_spacing),) * 2
    _check(shape, detector, voxel, bins, detector_offset)
    pixel = (voxel[0], voxel[1])
    theta, columns, _ = detector_bins(shape, angles, detector[0], pixel, bins[0], detector_offset[0])
    check_source(shape, pixel, source_to_axis, source_to_detector)
    rows = (np.arange(detector[1]) - (detector[1] - 1) / 2) * bins[1] + detector_offset[1]
    climb = rows / np.hypot(columns, source_to_detector)[:, None]
    if np.abs(climb).max() > 1:
        raise BadOption(
            "cone_ct: wanted rays that climb at most 45 degrees, got "
            f"{np.rad2deg(np.arctan(np.abs(climb).max())):.0f}",
            "use fewer rows",
        )
    gamma = np.arctan(columns / source_to_detector)
    size = (shape[1], shape[2])
    made = [_sheet(angle, gamma, source_to_axis, size, pixel) for angle in theta]
    return ConeBeam(
        sheets=tuple(sparse_csr(m) for m, _ in made),
        transposes=tuple(sparse_csr(scipy.sparse.csr_array(m.T)) for m, _ in made),
        heights=torch.from_numpy(np.stack([depth for _, depth in made]) / source_to_detector),
        lengths=torch.from_numpy(np.sqrt(1 + climb**2)),
        angles=torch.from_numpy(theta),
        columns=torch.from_numpy(columns),
        rows=torch.from_numpy(rows),
        spacing=(voxel[0], voxel[1], voxel[2]),
        domain=tuple(shape),
        codomain=(shape[0], len(theta), *detector),
    )


def _check(
    shape: tuple[int, ...],
    detector: tuple[int, int],
    voxel: tuple[float, ...],
    bins: tuple[float, ...],
    offset: tuple[float, float],
) -> None:
    sizes = len(shape) == 4 and len(detector) == 2 and detector[1] >= 1 and len(voxel) == 3
    if not sizes or min(*voxel, *bins) <= 0 or not np.isfinite(offset).all():
        raise BadOption(
            "cone_ct: wanted a shape (C, i, j, k), a detector (columns, rows), positive spacings and finite "
            f"offsets, got {tuple(shape)}, {tuple(detector)}, {voxel}, {bins}, {offset}"
        )


def _sheet(
    angle: float,
    gamma: np.ndarray,
    source_to_axis: float,
    size: tuple[int, int],
    spacing: tuple[float, float],
) -> tuple[scipy.sparse.csr_array, np.ndarray]:
    """One view: the in-plane matrix (n_columns * n_steps, i * j), and how far each step is from the source
    along the central ray, (n_columns, n_steps) mm.
    """
    normal, offset, n_steps = angle + gamma, source_to_axis * np.sin(gamma), max(size)
    ray, step, pixel, weight = crossings(normal, offset, size, spacing)
    matrix = scipy.sparse.csr_array(
        scipy.sparse.coo_array(
            (weight, (ray * n_steps + step, pixel)), shape=(len(gamma) * n_steps, size[0] * size[1])
        )
    )
    by_rows = steps_along_rows(normal, spacing)
    u, v = ((np.arange(n_steps) - (n - 1) / 2) * mm for n, mm in zip(size, spacing, strict=True))
    sine, cosine = np.sin(normal)[:, None], np.cos(normal)[:, None]
    with np.errstate(
        divide="ignore", invalid="ignore"
    ):  # each ray takes the form whose divisor is the larger one
        on_rows = u * np.cos(angle) - (offset[:, None] - u * sine) / cosine * np.sin(angle)
        on_columns = (offset[:, None] - v * cosine) / sine * np.cos(angle) - v * np.sin(angle)
    return matrix, source_to_axis - np.where(by_rows[:, None], on_rows, on_columns)
