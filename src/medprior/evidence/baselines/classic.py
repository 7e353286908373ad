"""The methods a prior must beat, given the same measurement and every advantage: converged, weighted by the
noise, tuned on other patients.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from ...errors import BadOption
from ...operators import LineIntegrals, Measurement, cg
from .fista import noise_weights, proximal_gradient

__all__ = [
    "back_projections",
    "fbp",
    "interpolate",
    "nonlocal_means",
    "ridge",
    "total_variation",
    "zero_filled",
]


def zero_filled(measurement: Measurement) -> Tensor:
    """A^H y, (B, *domain): for Cartesian MRI with normalised coils, the image of k-space filled up with
    zeros.
    """
    return measurement.operator.adjoint(measurement.y)


def interpolate(y: Tensor, size: Sequence[int]) -> Tensor:
    """(B, C, i, j) -> (B, C, *size), bicubic; (B, C, i, j, k) trilinear. Voxel centres lie as block means
    have them: no shift.

    Bicubic with the kernel of Keys (IEEE Trans. Acoust. Speech Signal Process. 29(6), 1981, a = -1/2), which
    keeps straight lines straight.
    """
    if y.ndim == 5:
        return F.interpolate(y, tuple(size), mode="trilinear", align_corners=False)
    return F.interpolate(
        y, tuple(size), mode="bicubic", align_corners=False, antialias=True
    )  # antialias has a = -1/2, without it a = -3/4


def ridge(measurement: Measurement, weight: float, *, n: int = 200, tol: float = 1e-6) -> Tensor:
    """argmin sum w |A x - y|^2 / 2 + weight |x|^2 / 2 by conjugate gradients: Tikhonov; for multi-coil MRI
    this is CG-SENSE (Pruessmann et al., MRM 46, 2001).

    w: mean variance over variance of each entry, so 1 where the noise is the same everywhere.
    """
    if weight <= 0:
        raise BadOption(f"ridge: wanted a weight > 0, got {weight}")
    A, w = measurement.operator, noise_weights(measurement)
    b = A.adjoint(w * measurement.y)
    return cg(lambda x: A.adjoint(w * A(x)) + weight * x, b, torch.zeros_like(b), n, tol)


def total_variation(
    measurement: Measurement, weight: float, *, n: int = 500, tol: float = 2e-5, start: Tensor | None = None
) -> Tensor:
    """argmin sum w |A x - y|^2 / 2 + weight * sum |gradient x|, (B, *domain), with the w of ``ridge``.

    Isotropic total variation, each channel alone, 2-D or 3-D, differences zero at the border.

    n: most iterations; it stops when no image has changed by more than tol of its norm in ten iterations.
    start: default A^H y, scaled. Source: FISTA with the dual projection for the prox (Beck and Teboulle, IEEE
    Trans. Image Process. 18(11), 2009), dual variables kept from one step to the next.
    """
    if weight < 0 or n < 1:
        raise BadOption(f"total_variation: wanted a weight >= 0 and n >= 1, got {weight} and {n}")
    dual: Tensor | None = None

    def prox(z: Tensor, L: Tensor) -> Tensor:
        nonlocal dual
        x, dual = _tv_prox(z, weight / L, z.new_zeros(z.ndim - 2, *z.shape) if dual is None else dual, 10)
        return x

    return proximal_gradient(measurement, prox, "total variation", n=n, tol=tol, start=start)


def nonlocal_means(y: Tensor, std: float, *, strength: float = 0.8) -> Tensor:
    """(B, C, i, j[, k]) -> the same: non-local means with patches of 5 and a search of 13 voxels, each
    channel alone, by scikit-image.

    std: of the noise; strength: h = strength * std. Source: Buades et al., IPOL 1, 2011; fast form of Darbon
    et al., ISBI 2008.
    """
    from skimage.restoration import denoise_nl_means

    if std <= 0 or strength <= 0:
        raise BadOption(f"nonlocal_means: wanted std and strength > 0, got {std} and {strength}")
    images = y.detach().cpu().double().flatten(0, 1).numpy()
    done = [
        denoise_nl_means(image, patch_size=5, patch_distance=6, h=strength * std, sigma=std, fast_mode=True)
        for image in images
    ]
    return torch.stack([torch.from_numpy(d) for d in done]).reshape(y.shape).to(y)


def fbp(sinogram: Tensor, operator: LineIntegrals, *, window: str = "ramp") -> Tensor:
    """Filtered back-projection of a parallel beam, or of a fan on a flat detector over a full turn: (B, C,
    n_angles, n_bins[, k]) -> (B, *domain), in 1/mm.

    window: "ramp" (sharp), "cosine" or "hann" (smoother, for noise). The ramp is the band-limited kernel of
    Ramachandran and Lakshminarayanan sampled in space (Kak and Slaney 1988, eq. 3.61: no offset). The
    back-projection interpolates linearly on the detector, and each view counts with the angle it covers. A
    fan's rays are weighted by their slant and each pixel by its distance from the source (eq. 3.4.2). Raises
    BadOption for a curved detector, a fan over less than a full turn, or another window.
    """
    fan = math.isfinite(operator.distances[0])
    if operator.beam not in ("parallel", "fan"):
        raise BadOption(
            f"fbp: wanted a flat detector, got a {operator.beam}",
            "use ridge or total_variation, which take any operator",
        )
    lines = sinogram.movedim(3, -1)  # bins last: (B, C, n_angles[, k], n_bins)
    # a fan is filtered where its rays cross the axis of rotation
    narrow = operator.distances[0] / operator.distances[1] if fan else 1.0
    n, step, first = lines.shape[-1], operator.bin_spacing * narrow, float(operator.offsets[0]) * narrow
    if fan:
        lines = lines * (1 + (operator.offsets * narrow / operator.distances[0]) ** 2).rsqrt().to(lines)
    size = 1 << (2 * n - 1).bit_length()
    response = _ramp(size, step, window).to(lines)
    filtered = torch.fft.irfft(torch.fft.rfft(lines, size) * response, size)[..., :n] * step
    weights = (_turn_weights(operator.angles) if fan else _angle_weights(operator.angles)).to(lines)
    u, v = (
        (torch.arange(m, dtype=torch.float64) - (m - 1) / 2) * mm
        for m, mm in zip(operator.domain[1:3], operator.spacing, strict=True)
    )
    image = sinogram.new_zeros(sinogram.shape[0], *operator.domain)
    for a, theta in enumerate(operator.angles.cpu()):
        place, near = v * torch.cos(theta) + u[:, None] * torch.sin(theta), 1.0
        if fan:
            near = operator.distances[0] / (
                operator.distances[0] - u[:, None] * torch.cos(theta) + v * torch.sin(theta)
            )
            place = place * near
        back = _sampled(filtered[:, :, a], ((place - first) / step).to(lines))
        share = weights[a] * torch.as_tensor(near).to(lines) ** 2
        image = image + back * (share if back.ndim == 4 or share.ndim == 0 else share[..., None])
    return image


def back_projections(sinogram: Tensor, operator: LineIntegrals) -> dict[str, Tensor]:
    """``fbp`` sharp and smooth, by name; nothing where it does not take the geometry."""
    try:
        return {
            f"filtered back-projection, {window}": fbp(sinogram, operator, window=window)
            for window in ("ramp", "hann")
        }
    except BadOption:  # a curved detector, or a fan over less than a full turn
        return {}


def _differences(x: Tensor) -> Tensor:
    """(B, C, i, j[, k]) -> (ndim, B, C, i, j[, k]): next minus this, zero at the end."""
    return torch.stack([F.pad(x.diff(dim=d), [0, 0] * (x.ndim - 1 - d) + [0, 1]) for d in range(2, x.ndim)])


def _differences_adjoint(q: Tensor) -> Tensor:
    x = torch.zeros_like(q[0])
    for part, d in zip(q, range(2, x.ndim), strict=True):
        n = x.shape[d] - 1
        inner = part.narrow(d, 0, n)
        x.narrow(d, 1, n).add_(inner)
        x.narrow(d, 0, n).sub_(inner)
    return x


def _tv_prox(b: Tensor, weight: Tensor, dual: Tensor, n: int) -> tuple[Tensor, Tensor]:
    """argmin |x - b|^2 / 2 + weight * TV(x), from and to the dual variable (fast gradient projection)."""
    step = 1 / (4 * len(dual) * weight.clamp_min(1e-30))
    ahead, t = dual, 1.0
    for _ in range(n):
        new = ahead + step * _differences(b - weight * _differences_adjoint(ahead))
        new = new / new.square().sum(0).sqrt().clamp_min(1)
        t_new = (1 + (1 + 4 * t**2) ** 0.5) / 2
        ahead = new + (t - 1) / t_new * (new - dual)
        dual, t = new, t_new
    return b - weight * _differences_adjoint(dual), dual


def _ramp(size: int, step: float, window: str) -> Tensor:
    k = torch.fft.fftfreq(size, 1 / size, dtype=torch.float64).round()
    kernel = torch.where(
        k == 0,
        1 / (4 * step**2),
        torch.where(k % 2 == 0, 0, -1 / (torch.pi * k.where(k != 0, torch.ones_like(k)) * step) ** 2),
    )
    response = torch.fft.rfft(kernel).real
    f = torch.linspace(0, 1, len(response), dtype=torch.float64)  # in units of the Nyquist frequency
    shapes = {
        "ramp": torch.ones_like(f),
        "cosine": torch.cos(torch.pi / 2 * f),
        "hann": (1 + torch.cos(torch.pi * f)) / 2,
    }
    if window not in shapes:
        raise BadOption(f"fbp: window {window!r} is not known", f"choose from {', '.join(shapes)}")
    return response * shapes[window]


def _angle_weights(angles: Tensor) -> Tensor:
    """The angle each view stands for: half of the gaps to its neighbours modulo 180 degrees; a missing wedge
    counts as an ordinary gap.
    """
    order = torch.argsort(angles % torch.pi)
    around = (angles % torch.pi)[order]
    gaps = torch.cat([around.diff(), around[:1] + torch.pi - around[-1:]])
    gaps = gaps.clamp_max(
        2 * gaps[gaps > 1e-6].median()
    )  # opposite views share one gap: their other one is zero
    weights = torch.empty_like(gaps)
    weights[order] = (gaps + gaps.roll(1)) / 2
    return weights


def _turn_weights(angles: Tensor) -> Tensor:
    """Half of the angle each view of a full turn stands for: every line is seen twice. Raises BadOption for
    less than a turn.
    """
    turn = 2 * torch.pi
    order = torch.argsort(angles % turn)
    around = (angles % turn)[order]
    gaps = torch.cat([around.diff(), around[:1] + turn - around[-1:]])
    if float(gaps.max()) > 1.5 * float(gaps.median()):
        raise BadOption(
            f"fbp: wanted a fan over a full turn, got a gap of {math.degrees(float(gaps.max())):.0f} degrees",
            "use ridge or total_variation",
        )
    weights = torch.empty_like(gaps)
    weights[order] = (gaps + gaps.roll(1)) / 4
    return weights


def _sampled(view: Tensor, place: Tensor) -> Tensor:
    """view: (B, C[, k], n_bins), place: (i, j) in bins -> (B, C, i, j[, k]), linear, zero outside."""
    low = place.floor().long()
    share = place - low
    padded = F.pad(view, [1, 1])
    n = padded.shape[-1] - 1
    left, right = (padded[..., (low + 1 + d).clamp(0, n)] for d in (0, 1))
    image = left * (1 - share) + right * share
    return image.movedim(2, -1) if view.ndim == 4 else image
