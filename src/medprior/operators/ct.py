"""CT as an exact sparse matrix of line integrals, with its exact transpose beside it."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from scipy.sparse import coo_array, csr_array, vstack
from torch import Tensor

from ..errors import BadOption
from .operator import Operator

__all__ = ["LineIntegrals", "fan_ct", "parallel_ct", "view_angles"]

RAYS_AT_ONCE = 4096


@dataclass(frozen=True, eq=False, repr=False, kw_only=True)
class LineIntegrals(Operator):
    """Sinogram (C, n_angles, n_bins[, k]) of an image (C, i, j[, k]): a 3-D image is measured slice by slice along k.

    matrix: CSR (n_angles * n_bins, i * j) float32, in mm; transpose: its transpose, CSR; spacing: mm of (i, j);
    angles: (n_angles,) radians; bin_spacing: mm a detector bin; offsets: (n_bins,) mm (parallel beam) from the axis of rotation.
    """

    matrix: Tensor
    transpose: Tensor
    angles: Tensor
    offsets: Tensor
    spacing: tuple[float, float]
    bin_spacing: float
    beam: str

    def apply(self, x: Tensor) -> Tensor:
        return _Linear.apply(x, self._project, self._back)

    def adjoint(self, y: Tensor) -> Tensor:
        return _Linear.apply(y, self._back, self._project)

    def _project(self, x: Tensor) -> Tensor:
        return _product(self.matrix, x, self.codomain)

    def _back(self, y: Tensor) -> Tensor:
        return _product(self.transpose, y, self.domain)


class _Linear(torch.autograd.Function):
    """A linear map whose vector-Jacobian product is the adjoint that was given, to any order of differentiation."""

    @staticmethod
    def forward(x: Tensor, there: Callable[[Tensor], Tensor], back: Callable[[Tensor], Tensor]) -> Tensor:
        return there(x)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        ctx.maps = inputs[1:]

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Any, None, None]:
        there, back = ctx.maps
        return _Linear.apply(grads[0], back, there), None, None

    @staticmethod
    def jvp(ctx: Any, *tangents: Any) -> Any:
        there, back = ctx.maps
        return _Linear.apply(tangents[0], there, back)


def _product(matrix: Tensor, x: Tensor, shape: tuple[int, ...]) -> Tensor:
    """(B, C, a, b[, k]) -> (B, *shape): the matrix on the two axes after the channel, all else as one batch."""
    matrix = matrix.to(x.device, x.dtype)
    lines = x.flatten(2, 3).movedim(2, 0)
    result = matrix @ lines.reshape(lines.shape[0], -1).contiguous()
    return result.reshape(-1, *lines.shape[1:]).movedim(0, 2).reshape(x.shape[0], *shape)


def view_angles(n: int, *, arc: float = 180.0, start: float = 0.0) -> Tensor:
    """n view angles in degrees, evenly over ``arc`` (its end excluded), float64."""
    return start + arc * torch.arange(n, dtype=torch.float64) / n


def parallel_ct(
    shape: tuple[int, ...], angles: Tensor | Sequence[float], n_bins: int, *, spacing: float | tuple[float, float] = 1.0, bin_spacing: float | None = None
) -> LineIntegrals:
    """Parallel-beam CT: y(theta, s) = integral of x along v cos(theta) + u sin(theta) = s, u and v in mm along i and j from the image centre.

    shape: (C, i, j[, k]), in 1/mm; angles: degrees; spacing: mm a pixel; bin_spacing: mm a detector bin, default that of j; the axis of rotation is in the
    middle of image and detector. Line integrals have no unit. Source: Joseph, IEEE Trans. Med. Imaging 1(3), 1982: a ray is sampled once in each row
    (or column) it crosses, with linear interpolation between the two neighbours. Raises BadOption for shapes, angles or spacings that cannot be.
    """
    pixel = _pair(spacing)
    theta, offsets, step = _detector(shape, angles, n_bins, pixel, bin_spacing)
    normal = np.repeat(theta, n_bins)
    matrix = _joseph(normal, np.tile(offsets, len(theta)), (shape[1], shape[2]), pixel)
    return _operator(matrix, tuple(shape), theta, offsets, pixel, step, "parallel")


def fan_ct(
    shape: tuple[int, ...],
    angles: Tensor | Sequence[float],
    n_bins: int,
    *,
    source_to_axis: float,
    source_to_detector: float,
    bin_spacing: float,
    spacing: float | tuple[float, float] = 1.0,
) -> LineIntegrals:
    """Fan-beam CT with a flat detector; distances in mm. At angle 0 the source lies at v = 0, u = -source_to_axis and looks along +u.

    A bin at position t of the detector sees the parallel ray of angle theta + gamma and offset source_to_axis * sin(gamma), tan(gamma) = t / source_to_detector
    (Kak and Slaney, Principles of Computerized Tomographic Imaging, 1988, section 3.4). The rest as ``parallel_ct``.
    """
    if not 0 < source_to_axis < source_to_detector:
        raise BadOption(f"fan_ct: wanted 0 < source_to_axis < source_to_detector, got {source_to_axis:g} and {source_to_detector:g} mm")
    pixel = _pair(spacing)
    theta, offsets, step = _detector(shape, angles, n_bins, pixel, bin_spacing)
    gamma = np.arctan(offsets / source_to_detector)
    normal = (theta[:, None] + gamma).ravel()
    matrix = _joseph(normal, np.tile(source_to_axis * np.sin(gamma), len(theta)), (shape[1], shape[2]), pixel)
    return _operator(matrix, tuple(shape), theta, offsets, pixel, step, "fan")


def _pair(spacing: float | tuple[float, float]) -> tuple[float, float]:
    return spacing if isinstance(spacing, tuple) else (float(spacing), float(spacing))


def _detector(
    shape: tuple[int, ...], angles: Tensor | Sequence[float], n_bins: int, spacing: tuple[float, float], bin_spacing: float | None
) -> tuple[np.ndarray, np.ndarray, float]:
    step = spacing[1] if bin_spacing is None else float(bin_spacing)
    theta = np.deg2rad(np.asarray(angles, dtype=np.float64))
    if len(shape) not in (3, 4) or theta.ndim != 1 or not theta.size or n_bins < 1 or min(*spacing, step) <= 0 or not np.isfinite(theta).all():
        raise BadOption(
            f"ct: wanted a shape (C, i, j[, k]), finite angles in degrees, at least one bin and positive spacings, "
            f"got {tuple(shape)}, {theta.size} angles, {n_bins} bins, spacing {spacing}, bin spacing {step:g}"
        )
    return theta, (np.arange(n_bins) - (n_bins - 1) / 2) * step, step


def _joseph(normal: np.ndarray, offset: np.ndarray, size: tuple[int, int], spacing: tuple[float, float]) -> csr_array:
    """One row a ray: {(u, v): v cos(normal) + u sin(normal) = offset}. normal: radians, offset: mm, both (n_rays,)."""
    chunks = [_rays(normal[a : a + RAYS_AT_ONCE], offset[a : a + RAYS_AT_ONCE], size, spacing) for a in range(0, len(normal), RAYS_AT_ONCE)]
    return csr_array(vstack(chunks, format="csr"))


def _rays(normal: np.ndarray, offset: np.ndarray, size: tuple[int, int], spacing: tuple[float, float]) -> csr_array:
    across_v, across_u = np.cos(normal) / spacing[0], np.sin(normal) / spacing[1]
    by_rows = np.abs(across_v) >= np.abs(across_u)  # the ray crosses more rows (constant i) than columns
    parts = [_crossings(np.flatnonzero(by_rows), normal, offset, size, spacing, 0), _crossings(np.flatnonzero(~by_rows), normal, offset, size, spacing, 1)]
    ray, pixel, weight = (np.concatenate(p) for p in zip(*parts, strict=True))
    return csr_array(coo_array((weight, (ray, pixel)), shape=(len(normal), size[0] * size[1])))


def _crossings(
    rays: np.ndarray, normal: np.ndarray, offset: np.ndarray, size: tuple[int, int], spacing: tuple[float, float], along: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(ray, pixel, weight in mm) of the rays that step along axis ``along`` and are interpolated along the other."""
    other = 1 - along
    parts = np.cos(normal[rays]), np.sin(normal[rays])  # of v (axis 1) and of u (axis 0)
    n_along, n_other = (parts[1], parts[0]) if along == 0 else (parts[0], parts[1])
    place = (np.arange(size[along]) - (size[along] - 1) / 2) * spacing[along]
    hit = (offset[rays] - np.outer(place, n_along)) / n_other / spacing[other] + (size[other] - 1) / 2
    low = np.floor(hit).astype(np.int32)
    share = (hit - low).astype(np.float32)
    length = (spacing[along] / np.abs(n_other)).astype(np.float32)
    strides = (size[1], 1)
    base = np.arange(size[along], dtype=np.int32)[:, None] * strides[along] + low * strides[other]
    ray = np.broadcast_to(rays.astype(np.int32), low.shape)
    keep = [(low >= 0) & (low < size[other]), (low >= -1) & (low < size[other] - 1)]
    pixels = [base[keep[0]], base[keep[1]] + strides[other]]
    weights = [(length * (1 - share))[keep[0]], (length * share)[keep[1]]]
    return np.concatenate([ray[k] for k in keep]), np.concatenate(pixels), np.concatenate(weights)


def _operator(
    matrix: csr_array, shape: tuple[int, ...], theta: np.ndarray, offsets: np.ndarray, spacing: tuple[float, float], step: float, beam: str
) -> LineIntegrals:
    return LineIntegrals(
        matrix=_torch_csr(matrix),
        transpose=_torch_csr(csr_array(matrix.T)),
        angles=torch.from_numpy(theta),
        offsets=torch.from_numpy(offsets),
        spacing=spacing,
        bin_spacing=step,
        beam=beam,
        domain=shape,
        codomain=(shape[0], len(theta), len(offsets), *shape[3:]),
    )


def _torch_csr(matrix: csr_array) -> Tensor:
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Sparse CSR tensor support is in beta state")
        return torch.sparse_csr_tensor(
            torch.from_numpy(matrix.indptr.astype(np.int32)),
            torch.from_numpy(matrix.indices.astype(np.int32)),  # 32 bit: the fast path of MKL and cuSPARSE
            torch.from_numpy(matrix.data.astype(np.float32)),
            size=matrix.shape,
            check_invariants=False,
        )
