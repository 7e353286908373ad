"""CT as an exact sparse matrix of line integrals, with its exact transpose beside it."""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NotRequired, TypedDict, Unpack

import numpy as np
import scipy  # its parts are loaded when they are first used
import torch
from torch import Tensor

from ...errors import BadOption
from ..derivative import Linear
from ..operator import Operator

__all__ = ["LineIntegrals", "fan_ct", "parallel_ct", "view_angles"]

RAYS_AT_ONCE = 4096


@dataclass(frozen=True, eq=False, repr=False, kw_only=True)
class LineIntegrals(Operator):
    """Sinogram (C, n_angles, n_bins[, k]) of an image (C, i, j[, k]): a 3-D image is measured slice by slice
    along k.

    matrix: CSR (n_angles * n_bins, i * j) float32, in mm; transpose: its transpose, CSR; spacing: mm of (i,
    j); angles: (n_angles,) radians; bin_spacing: mm a detector bin; offsets: (n_bins,) mm along the detector
    from the ray through the axis of rotation. beam: "parallel", "fan" (a flat detector) or "curved fan".
    distances: mm from the source to the axis of rotation and to the detector.
    """

    matrix: Tensor
    transpose: Tensor
    angles: Tensor
    offsets: Tensor
    spacing: tuple[float, float]
    bin_spacing: float
    beam: str
    distances: tuple[float, float] = (math.inf, math.inf)

    @property
    def missing_arc(self) -> float:
        """Degrees that the views lack of a complete set, 0 for a complete one: 180 degrees of parallel rays;
        of a fan 180 and the angle that it spans (Parker, Med. Phys. 9(2), 1982). Views stand for the arc up
        to the next one, as they do evenly spaced.
        """
        turned = self.angles.sort().values.rad2deg()
        have = float(turned[-1] - turned[0] + (turned.diff().median() if len(turned) > 1 else 0.0))
        span = (
            0.0
            if self.beam == "parallel"
            else 2 * math.degrees(math.atan(float(self.offsets.abs().max()) / self.distances[1]))
        )
        lack = 180 + span - have
        return lack if lack > 0.5 else 0.0

    def apply(self, x: Tensor) -> Tensor:
        return Linear.apply(x, self._project, self._back)

    def adjoint(self, y: Tensor) -> Tensor:
        return Linear.apply(y, self._back, self._project)

    def _project(self, x: Tensor) -> Tensor:
        return _product(self.matrix, x, self.codomain)

    def _back(self, y: Tensor) -> Tensor:
        return _product(self.transpose, y, self.domain)


def _product(matrix: Tensor, x: Tensor, shape: tuple[int, ...]) -> Tensor:
    """(B, C, a, b[, k]) -> (B, *shape): the matrix on the two axes after the channel, all else as one
    batch.
    """
    matrix = matrix.to(x.device, x.dtype)
    lines = x.flatten(2, 3).movedim(2, 0)
    result = matrix @ lines.reshape(lines.shape[0], -1).contiguous()
    return result.reshape(-1, *lines.shape[1:]).movedim(0, 2).reshape(x.shape[0], *shape)


def view_angles(n: int, *, arc: float = 180.0, start: float = 0.0) -> Tensor:
    """n view angles in degrees, evenly over ``arc`` (its end excluded), float64."""
    return start + arc * torch.arange(n, dtype=torch.float64) / n


def parallel_ct(
    shape: tuple[int, ...],
    angles: Tensor | Sequence[float],
    n_bins: int,
    *,
    spacing: float | tuple[float, float] = 1.0,
    bin_spacing: float | None = None,
    detector_offset: float = 0.0,
) -> LineIntegrals:
    """Parallel-beam CT: y(theta, s) = integral of x along v cos(theta) + u sin(theta) = s, u and v in mm
    along i and j from the image centre.

    shape: (C, i, j[, k]), in 1/mm; angles: degrees, any of them: fewer are sparse views, an arc is a limited
    angle; spacing: mm a pixel; bin_spacing: mm a detector bin, default that of j. The axis of rotation is in
    the middle of the image; the middle of the detector lies detector_offset mm beside it. Line integrals have
    no unit. Source: Joseph, IEEE Trans. Med. Imaging 1(3), 1982: a ray is sampled once in each row (or
    column) it crosses, with linear interpolation between the two neighbours. Raises BadOption for shapes,
    angles or spacings that cannot be.
    """
    pixel = _pair(spacing)
    theta, offsets, step = detector_bins(shape, angles, n_bins, pixel, bin_spacing, detector_offset)
    normal = np.repeat(theta, n_bins)
    matrix = _joseph(normal, np.tile(offsets, len(theta)), (shape[1], shape[2]), pixel)
    return _operator(matrix, tuple(shape), theta, offsets, pixel, step, "parallel")


class FanDetector(TypedDict):
    """bin_spacing, detector_offset: mm, as of ``parallel_ct``. curved: an arc round the source."""

    bin_spacing: float
    detector_offset: NotRequired[float]
    curved: NotRequired[bool]


def fan_ct(
    shape: tuple[int, ...],
    angles: Tensor | Sequence[float],
    n_bins: int,
    *,
    source_to_axis: float,
    source_to_detector: float,
    spacing: float | tuple[float, float] = 1.0,
    **detector: Unpack[FanDetector],
) -> LineIntegrals:
    """Fan-beam CT; distances in mm. At angle theta the source lies at (u, v) = source_to_axis * (cos theta,
    -sin theta) and looks at the axis of rotation.

    The detector runs along (u, v) = (sin theta, cos theta). A bin at position t of it sees the parallel ray
    of angle theta + gamma and offset source_to_axis * sin(gamma); tan(gamma) = t / source_to_detector for a
    flat detector, gamma = t / source_to_detector for a curved one, an arc round the source (Kak and Slaney,
    Principles of Computerized Tomographic Imaging, 1988, section 3.4). The rest as ``parallel_ct``.
    """
    pixel = _pair(spacing)
    distances = (source_to_axis, source_to_detector)
    theta, offsets, step, gamma = _fan_bins(shape, angles, n_bins, pixel, distances, **detector)
    normal = (theta[:, None] + gamma).ravel()
    matrix = _joseph(normal, np.tile(source_to_axis * np.sin(gamma), len(theta)), (shape[1], shape[2]), pixel)
    return _operator(
        matrix,
        tuple(shape),
        theta,
        offsets,
        pixel,
        step,
        "curved fan" if detector.get("curved") else "fan",
        distances,
    )


def _fan_bins(
    shape: tuple[int, ...],
    angles: Tensor | Sequence[float],
    n_bins: int,
    spacing: tuple[float, float],
    distances: tuple[float, float],
    *,
    bin_spacing: float,
    detector_offset: float = 0.0,
    curved: bool = False,
) -> tuple[np.ndarray, np.ndarray, float, np.ndarray]:
    """As ``detector_bins``, and gamma of each bin in radians. Raises BadOption."""
    theta, offsets, step = detector_bins(shape, angles, n_bins, spacing, bin_spacing, detector_offset)
    check_source(shape, spacing, *distances)
    gamma = offsets / distances[1] if curved else np.arctan(offsets / distances[1])
    if float(np.abs(gamma).max()) >= np.pi / 2:
        raise BadOption(
            "fan_ct: wanted a detector within 90 degrees of the central ray, got "
            f"{np.rad2deg(np.abs(gamma).max()):.0f}",
            "use fewer or smaller bins",
        )
    return theta, offsets, step, gamma


def _pair(spacing: float | tuple[float, float]) -> tuple[float, float]:
    return spacing if isinstance(spacing, tuple) else (float(spacing), float(spacing))


def check_source(
    shape: tuple[int, ...], spacing: tuple[float, float], source_to_axis: float, source_to_detector: float
) -> None:
    """Raises BadOption for a source that is not between the image's circle and the detector's far side: its
    rays would run backwards.
    """
    if not 0 < source_to_axis < source_to_detector < float("inf"):
        raise BadOption(
            f"ct: wanted 0 < source_to_axis < source_to_detector, got {source_to_axis:g} and "
            f"{source_to_detector:g} mm"
        )
    corner = np.hypot(shape[1] * spacing[0], shape[2] * spacing[1]) / 2
    if corner >= source_to_axis:
        raise BadOption(
            f"ct: wanted a source outside of the image's corners, {corner:g} mm from the axis, got "
            f"source_to_axis {source_to_axis:g} mm"
        )


def detector_bins(
    shape: tuple[int, ...],
    angles: Tensor | Sequence[float],
    n_bins: int,
    spacing: tuple[float, float],
    bin_spacing: float | None,
    detector_offset: float,
) -> tuple[np.ndarray, np.ndarray, float]:
    """Angles in radians, places of the bins in mm, and mm a bin. Raises BadOption for what cannot be."""
    step = spacing[1] if bin_spacing is None else float(bin_spacing)
    theta = np.deg2rad(np.asarray(angles, dtype=np.float64))
    if (
        len(shape) not in (3, 4)
        or theta.ndim != 1
        or not theta.size
        or n_bins < 1
        or min(*spacing, step) <= 0
        or not np.isfinite([*theta, detector_offset]).all()
    ):
        raise BadOption(
            "ct: wanted a shape (C, i, j[, k]), finite angles in degrees, at least one bin and positive "
            "spacings, "
            f"got {tuple(shape)}, {theta.size} angles, {n_bins} bins, spacing {spacing}, bin spacing "
            f"{step:g}, detector offset {detector_offset:g}"
        )
    return theta, (np.arange(n_bins) - (n_bins - 1) / 2) * step + detector_offset, step


def _joseph(
    normal: np.ndarray, offset: np.ndarray, size: tuple[int, int], spacing: tuple[float, float]
) -> scipy.sparse.csr_array:
    """One row a ray: {(u, v): v cos(normal) + u sin(normal) = offset}. normal: radians, offset: mm, both
    (n_rays,).
    """
    chunks = [
        _rays(normal[a : a + RAYS_AT_ONCE], offset[a : a + RAYS_AT_ONCE], size, spacing)
        for a in range(0, len(normal), RAYS_AT_ONCE)
    ]
    return scipy.sparse.csr_array(scipy.sparse.vstack(chunks, format="csr"))


def _rays(
    normal: np.ndarray, offset: np.ndarray, size: tuple[int, int], spacing: tuple[float, float]
) -> scipy.sparse.csr_array:
    ray, _, pixel, weight = crossings(normal, offset, size, spacing)
    return scipy.sparse.csr_array(
        scipy.sparse.coo_array((weight, (ray, pixel)), shape=(len(normal), size[0] * size[1]))
    )


def steps_along_rows(normal: np.ndarray, spacing: tuple[float, float]) -> np.ndarray:
    """Which rays cross more rows (constant i) than columns: they step along axis 0, the others along axis
    1.
    """
    return np.abs(np.cos(normal) / spacing[0]) >= np.abs(np.sin(normal) / spacing[1])


def crossings(
    normal: np.ndarray, offset: np.ndarray, size: tuple[int, int], spacing: tuple[float, float]
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """(ray, step, pixel, weight in mm) of all rays, two pixels at each step inside of the image."""
    by_rows = steps_along_rows(normal, spacing)
    parts = [
        _crossings(np.flatnonzero(by_rows), normal, offset, size, spacing, 0),
        _crossings(np.flatnonzero(~by_rows), normal, offset, size, spacing, 1),
    ]
    ray, step, pixel, weight = (np.concatenate(p) for p in zip(*parts, strict=True))
    return ray, step, pixel, weight


def _crossings(
    rays: np.ndarray,
    normal: np.ndarray,
    offset: np.ndarray,
    size: tuple[int, int],
    spacing: tuple[float, float],
    along: int,
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """(ray, step, pixel, weight in mm) of the rays that step along axis ``along`` and are interpolated along
    the other.
    """
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
    step = np.broadcast_to(np.arange(size[along], dtype=np.int32)[:, None], low.shape)
    keep = [(low >= 0) & (low < size[other]), (low >= -1) & (low < size[other] - 1)]
    pixels = [base[keep[0]], base[keep[1]] + strides[other]]
    weights = [(length * (1 - share))[keep[0]], (length * share)[keep[1]]]
    rays_kept, steps_kept = (np.concatenate([what[k] for k in keep]) for what in (ray, step))
    return rays_kept, steps_kept, np.concatenate(pixels), np.concatenate(weights)


def _operator(
    matrix: scipy.sparse.csr_array,
    shape: tuple[int, ...],
    theta: np.ndarray,
    offsets: np.ndarray,
    spacing: tuple[float, float],
    step: float,
    beam: str,
    distances: tuple[float, float] = (math.inf, math.inf),
) -> LineIntegrals:
    return LineIntegrals(
        matrix=sparse_csr(matrix),
        transpose=sparse_csr(scipy.sparse.csr_array(matrix.T)),
        angles=torch.from_numpy(theta),
        offsets=torch.from_numpy(offsets),
        spacing=spacing,
        bin_spacing=step,
        beam=beam,
        distances=distances,
        domain=shape,
        codomain=(shape[0], len(theta), len(offsets), *shape[3:]),
    )


def sparse_csr(matrix: scipy.sparse.csr_array) -> Tensor:
    """scipy CSR -> torch CSR, float32. Raises BadOption for more weights than a 32-bit index counts."""
    if matrix.nnz >= 2**31:
        raise BadOption(
            f"ct: wanted fewer than 2^31 weights, got {matrix.nnz:.3g}",
            "use fewer views or bins, or larger pixels",
        )
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Sparse CSR tensor support is in beta state")
        return torch.sparse_csr_tensor(
            torch.from_numpy(matrix.indptr.astype(np.int32)),
            torch.from_numpy(matrix.indices.astype(np.int32)),  # 32 bit: the fast path of MKL and cuSPARSE
            torch.from_numpy(matrix.data.astype(np.float32)),
            size=matrix.shape,
            check_invariants=False,
        )
