"""Non-Cartesian MRI: radial and spiral trajectories, a non-uniform Fourier transform with its exact adjoint,
density compensation.

The transform is FINUFFT (Barnett, Magland and af Klinteberg, SIAM J. Sci. Comput. 41(5), 2019), the optional
package ``finufft``. It runs on the CPU: tensors on an accelerator travel there and back at each call.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from math import pi, sqrt
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ...errors import BadOption, ShapeMismatch, optional
from ..derivative import Linear
from ..operator import Operator
from .fourier import as_complex, coils, pair

__all__ = ["density_compensation", "nonuniform_mri", "radial", "spiral"]

GOLDEN = 180 * (sqrt(5) - 1) / 2
"""The golden angle, 111.25 degrees: any number of successive spokes covers the circle nearly evenly
(Winkelmann et al., IEEE TMI 26(1), 2007).
"""


@dataclass(frozen=True, eq=False, repr=False, kw_only=True)
class NonUniform(Operator):
    """y_m = sum_v x_v exp(-2 pi i k_m . (v - n // 2)) / sqrt(voxels): complex (C, i, j[, k]) -> complex (C,
    n_samples).

    trajectory: (n_samples, 2 or 3) float64, cycles a voxel, in [-0.5, 0.5]; precision: relative error of the
    transform.
    """

    trajectory: Tensor
    precision: float
    plans: dict[tuple[int, int, torch.dtype], Any] = field(
        default_factory=dict, init=False
    )  # made when first needed: each holds the sorted points

    def apply(self, x: Tensor) -> Tensor:
        return Linear.apply(x, self._forward, self._backward)

    def adjoint(self, y: Tensor) -> Tensor:
        return Linear.apply(y, self._backward, self._forward)

    def _forward(self, x: Tensor) -> Tensor:
        return self._transform(x, 2, self.codomain[1:])

    def _backward(self, y: Tensor) -> Tensor:
        return self._transform(y, 1, self.domain[1:])

    def _transform(self, x: Tensor, kind: int, shape: tuple[int, ...]) -> Tensor:
        """All images and coils in one go: (B, C, ...) -> (B, C, *shape)."""
        lines = np.ascontiguousarray(x.detach().resolve_conj().cpu().numpy()).reshape(-1, *x.shape[2:])
        result = self._plan(kind, len(lines), x.dtype).execute(lines if len(lines) > 1 else lines[0])
        scale = 1 / sqrt(float(np.prod(self.domain[1:])))
        return (torch.from_numpy(result).reshape(*x.shape[:2], *shape) * scale).to(x.device)

    def _plan(self, kind: int, n: int, dtype: torch.dtype) -> Any:
        if (kind, n, dtype) not in self.plans:
            finufft = _finufft()
            real = "complex64" if dtype == torch.complex64 else "complex128"
            size = self.domain[1:]
            plan = finufft.Plan(
                kind,
                size,
                n_trans=n,
                eps=self.precision,
                isign=-1 if kind == 2 else 1,
                dtype=real,
                nthreads=torch.get_num_threads(),
            )
            points = (2 * pi * self.trajectory.cpu().numpy()).astype(
                np.float32 if dtype == torch.complex64 else np.float64
            )
            plan.setpts(*np.ascontiguousarray(points.T))
            self.plans[kind, n, dtype] = plan
        return self.plans[kind, n, dtype]


def nonuniform_mri(
    trajectory: Tensor,
    size: Sequence[int],
    sensitivities: Tensor | None = None,
    *,
    complex_image: bool = False,
    precision: float = 1e-4,
) -> Operator:
    """MRI on any trajectory, y = F S x (Pruessmann et al., MRM 46(4), 2001), without field map or relaxation
    during the read-out.

    trajectory: (..., 2) or (..., 3), cycles a voxel along i, j[, k], within [-0.5, 0.5], as ``radial`` and
    ``spiral`` make it; size: (i, j[, k]). sensitivities, complex_image: as in ``mri``. The measurement is
    (n_coils, n_samples) complex, samples in the order of the trajectory. precision: relative error of the
    transform; forward and adjoint use the same kernel, so that they are adjoint to rounding whatever it is.
    Raises MissingExtra without the package finufft, ShapeMismatch or BadOption for what does not fit.
    """
    size = tuple(size)
    points = trajectory.detach().double().cpu()
    if points.ndim < 2 or points.shape[-1] != len(size) or len(size) not in (2, 3) or min(size) < 1:
        raise ShapeMismatch(
            "nonuniform_mri, trajectory", f"(..., {len(size)}) for an image {size}", tuple(trajectory.shape)
        )
    points = points.reshape(-1, len(size))
    if not bool((points.abs() <= 0.5).all()) or not len(points):  # NaN is not <= 0.5
        raise BadOption(
            "nonuniform_mri: wanted samples within -0.5 and 0.5 cycles a voxel",
            "divide a trajectory in 1/mm by the voxels' 1/mm",
        )
    if not 1e-14 <= precision <= 1e-1:
        raise BadOption(f"nonuniform_mri, precision: wanted 1e-14 to 0.1, got {precision:g}")
    if sensitivities is not None and tuple(sensitivities.shape[1:]) != size:
        raise ShapeMismatch(
            "nonuniform_mri, sensitivities",
            f"(n_coils, {', '.join(map(str, size))})",
            tuple(sensitivities.shape),
        )
    _finufft()
    image = pair((2, *size)) if complex_image else as_complex((1, *size))
    received = image if sensitivities is None else coils(sensitivities) @ image
    n_coils = received.codomain[0]
    transform = NonUniform(
        trajectory=points,
        precision=precision,
        domain=(n_coils, *size),
        codomain=(n_coils, len(points)),
        is_complex=True,
        domain_is_complex=True,
    )
    return transform @ received


def density_compensation(
    trajectory: Tensor, size: Sequence[int], *, n: int = 10, precision: float = 1e-4
) -> Tensor:
    """(n_samples,) float32: weights w with A^H (w y) near the image, which A^H y is not where k-space is
    sampled unevenly.

    A single coil is meant; coils share the weights. n: iterations w <- w / (w * kernel), at whose fixed point
    the samples' point spread function is one voxel. The kernel is the transform of a triangle twice as wide
    as the field of view, hence positive: a sharp window diverges. Source: Pipe and Menon, MRM 41(1), 1999;
    kernel by Johnson and Pipe, MRM 61(2), 2009, here for a rectangular field of view. For a gridding image or
    to speed conjugate gradients up: in a likelihood each sample weighs what its noise says, not this. Raises
    as ``nonuniform_mri``.
    """
    wide = tuple(2 * side for side in size)
    A = nonuniform_mri(trajectory, wide, complex_image=True, precision=precision)
    triangle = torch.ones(wide)
    for axis, side in enumerate(size):
        line = 1 - (torch.arange(2 * side) - side).abs() / side
        triangle = triangle * line.reshape([-1 if a == axis else 1 for a in range(len(wide))])
    weights = torch.ones(1, 1, A.codomain[1])
    for _ in range(n):
        spread = A(triangle * A.adjoint(weights.to(torch.complex64)))
        weights = weights / spread.abs().clamp_min(torch.finfo(torch.float32).tiny)
    return weights[0, 0] / 2 ** len(wide)


def radial(n_spokes: int, n_samples: int, *, golden: bool = True, start: float = 0.0) -> Tensor:
    """(n_spokes, n_samples, 2) float64, cycles a voxel: straight lines through the zero frequency, which is
    sample n_samples // 2 of each.

    golden: successive spokes turned by 111.25 degrees (Winkelmann et al. 2007), else evenly over 180 degrees;
    start: degrees of the first, from i to j. All of k-space needs pi / 2 times as many spokes as the image
    has voxels on a side. Raises BadOption for fewer than one spoke or two samples.
    """
    if n_spokes < 1 or n_samples < 2:
        raise BadOption(f"radial: wanted at least one spoke of two samples, got {n_spokes} of {n_samples}")
    step = GOLDEN if golden else 180 / n_spokes
    angle = torch.deg2rad(start + step * torch.arange(n_spokes, dtype=torch.float64))
    along = (torch.arange(n_samples, dtype=torch.float64) - n_samples // 2) / n_samples
    return along[:, None] * torch.stack([angle.cos(), angle.sin()], dim=-1)[:, None]


def spiral(n_arms: int, n_samples: int, turns: float) -> Tensor:
    """(n_arms, n_samples, 2) float64, cycles a voxel: Archimedean spirals from the zero frequency to 0.5,
    samples equally far apart along the arm.

    turns: of one arm; its neighbours lie 0.5 / (turns * n_arms) apart, so all of k-space needs turns * n_arms
    = half of the voxels on a side. Source: Ahn, Kim and Cho, IEEE Trans. Med. Imaging 5(1), 1986, with
    constant velocity. Raises BadOption for what is not positive.
    """
    if n_arms < 1 or n_samples < 2 or not turns > 0:
        raise BadOption(
            f"spiral: wanted at least one arm of two samples and some turns, got {n_arms} of {n_samples} and "
            f"{turns:g}"
        )
    way = torch.linspace(0, 1, n_samples, dtype=torch.float64).sqrt()
    angle = 2 * pi * (turns * way + torch.arange(n_arms, dtype=torch.float64)[:, None] / n_arms)
    return 0.5 * way[:, None] * torch.stack([angle.cos(), angle.sin()], dim=-1)


def _finufft() -> Any:
    return optional("finufft", "nufft", "a non-Cartesian MRI operator")
