"""Coil sensitivities: estimated from the measured k-space itself (ESPIRiT), or simulated by the law of Biot
and Savart.

Here k-space has no batch: (n_coils, i, j[, k]) complex, zero frequency at index n // 2, zero where nothing
was measured. Maps have the same shape.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import cos, pi, prod, sin

import torch
from torch import Tensor

from ...errors import BadOption, ShapeMismatch
from ..solve import cg
from .fourier import coils, fourier, mri

__all__ = ["calibration_region", "coil_maps", "simulated_coils", "with_image_phase"]

LARGEST = 24
"""Side in samples of the calibration region beyond which the maps gain nothing and the decomposition becomes
slow (Uecker et al. 2014, section Methods).
"""


def calibration_region(mask: Tensor, *, largest: int = LARGEST) -> tuple[slice, ...]:
    """The window around the zero frequency in which every sample of ``mask`` (i, j[, k]) was measured; no
    side is above ``largest``.

    It grows by one sample at a time on both ends of one axis after the other, so it is a square where a
    square was sampled and long where lines were. Raises BadOption where not even the zero frequency was
    measured.
    """
    centre, seen = [n // 2 for n in mask.shape], mask.bool()
    if not bool(seen[tuple(centre)]):
        raise BadOption(
            "calibration_region: wanted a measured zero frequency in the middle, got none",
            "give sensitivities that were measured apart",
        )
    half = [0] * mask.ndim
    growing = True
    while growing:
        growing = False
        for axis in range(mask.ndim):
            larger = [h + (a == axis) for a, h in enumerate(half)]
            fits = 2 * larger[axis] <= min(largest, mask.shape[axis])
            if fits and bool(seen[_window(centre, larger)].all()):
                half, growing = larger, True
    return _window(centre, half)


def _window(centre: Sequence[int], half: Sequence[int]) -> tuple[slice, ...]:
    return tuple(slice(c - h, max(c + h, c + 1)) for c, h in zip(centre, half, strict=True))


def coil_maps(
    kspace: Tensor,
    mask: Tensor | None = None,
    *,
    kernel: int = 6,
    threshold: float = 0.02,
    crop: float = 0.9,
    largest: int = LARGEST,
) -> Tensor:
    """ESPIRiT: sensitivities from the fully sampled centre of k-space, (n_coils, i, j[, k]) complex, sum of
    squares 1 inside of the body and 0 outside.

    mask: (i, j[, k]), True where measured; default: where any coil is not zero. kernel: side of the
    neighbourhood in samples; threshold: singular values of the calibration matrix above this share of the
    largest span the signal; crop: a voxel lies in the body where the eigenvalue of its map is above it. The
    phase is that of the coils' first principal component; the image keeps its own phase, see
    ``with_image_phase``. Source: Uecker et al., MRM 71(3), 2014: the range of the calibration matrix, taken
    to image space (equation 25), has the maps as its eigenvectors with eigenvalue 1. Raises BadOption where
    the fully sampled centre holds fewer samples than a kernel needs, ShapeMismatch for a mask that does not
    fit.
    """
    seen = _mask(kspace, mask)
    space = tuple(kspace.shape[1:])
    region = calibration_region(seen, largest=largest)
    sides = [r.stop - r.start for r in region]
    width = [min(kernel, n) for n in space]
    if any(have < want + 2 for have, want in zip(sides, width, strict=True) if want > 1):
        raise BadOption(
            f"coil_maps: wanted a fully sampled centre of at least {' x '.join(str(w + 2) for w in width)} "
            f"samples, got {' x '.join(map(str, sides))}",
            "measure more of the centre, use a smaller kernel, or give sensitivities that were measured "
            "apart",
        )
    block = kspace[(slice(None), *region)].to(torch.complex128)
    values, vectors = _eigen(_projection(block, width, threshold), space)
    first = torch.linalg.eigh(_covariance(block.flatten(1)))[1][:, -1].to(vectors.dtype)
    turn = torch.einsum("c,pc->p", first.conj(), vectors)
    vectors = vectors * (turn.conj() / turn.abs().clamp_min(1e-12))[:, None] * (values > crop)[:, None]
    return vectors.T.reshape(kspace.shape).to(kspace.dtype)


def _mask(kspace: Tensor, mask: Tensor | None) -> Tensor:
    """Where anything was measured, checked."""
    if kspace.ndim not in (3, 4) or not kspace.is_complex():
        kind = "complex" if kspace.is_complex() else "real"
        raise ShapeMismatch(
            "coil_maps, k-space", "(n_coils, i, j[, k]) complex", f"{tuple(kspace.shape)} {kind}"
        )
    if mask is None:
        return (kspace != 0).any(0)
    if tuple(mask.shape) != tuple(kspace.shape[1:]):
        raise ShapeMismatch("coil_maps, mask", tuple(kspace.shape[1:]), tuple(mask.shape))
    return mask.bool().to(kspace.device)


def _covariance(samples: Tensor) -> Tensor:
    """(n, m) -> (n, n): mean of s s^H."""
    return samples @ samples.mH / samples.shape[1]


def _projection(block: Tensor, width: Sequence[int], threshold: float) -> Tensor:
    """(n_coils, n_coils, 2w - 1, ...): the filters that project onto the signal's range, as correlations of
    the kernels that span it.
    """
    patches = block
    for axis, w in enumerate(width, start=1):
        patches = patches.unfold(axis, w, 1)
    ndim, n_coils = len(width), block.shape[0]
    rows = patches.movedim(0, ndim).reshape(-1, n_coils * prod(width))  # one neighbourhood a row
    values, vectors = torch.linalg.eigh(rows.mH @ rows)
    span = vectors[:, values > threshold**2 * values[-1]]
    kernels = span.T.reshape(-1, n_coils, *width).conj()
    axes = tuple(range(2, 2 + ndim))
    spectra = torch.fft.fftn(kernels, s=[2 * w - 1 for w in width], dim=axes)
    return torch.fft.ifftn(
        torch.einsum("nc...,nd...->cd...", spectra, spectra.conj()), dim=tuple(range(2, 2 + ndim))
    ) / prod(width)


def _eigen(filters: Tensor, space: tuple[int, ...]) -> tuple[Tensor, Tensor]:
    """Largest eigenvalue (n_voxels,) and eigenvector (n_voxels, n_coils) of the filters' matrix at each
    voxel.
    """
    n_coils, axes = filters.shape[0], tuple(range(1, 1 + len(space)))
    lags = [torch.arange(n, device=filters.device) - n // 2 for n in filters.shape[2:]]
    places = torch.meshgrid(*[lag % n for lag, n in zip(lags, space, strict=True)], indexing="ij")
    each = torch.arange(n_coils, device=filters.device).reshape(-1, *[1] * len(space))
    rows = []
    for row in torch.fft.fftshift(
        filters, dim=tuple(a + 1 for a in axes)
    ):  # one coil at a time: all of them as spectra would be the largest array by far
        grid = torch.zeros(n_coils, *space, dtype=row.dtype, device=row.device)
        grid.index_put_((each, *places), row, accumulate=True)
        rows.append(
            torch.fft.fftshift(torch.fft.ifftn(grid, dim=axes, norm="forward"), dim=axes)
            .flatten(1)
            .T.to(torch.complex64)
        )
    values, vectors = torch.linalg.eigh(torch.stack(rows, dim=1))
    return values[:, -1], vectors[:, :, -1]


def with_image_phase(
    maps: Tensor,
    kspace: Tensor,
    mask: Tensor | None = None,
    *,
    side: int = 2 * LARGEST,
    std: float | None = None,
) -> Tensor:
    """The maps with the slowly varying phase of the image put into them, so that the image that is left is
    real and mostly positive.

    The phase is that of the least-squares image of all coils and samples (15 iterations of conjugate
    gradients). It is smoothed by a Hann window of ``side`` k-space samples; of a single coil no side is
    longer than the fully sampled centre, since outside of it aliases would be smoothed in. A prior of
    magnitude images then meets measured k-space without a second channel. std: the noise of white k-space
    (each real part); where it is given, with several coils and at least half as many numbers as unknowns, the
    phase is refined, see ``_rephased``. What is finer still (flow, fat, edges of susceptibility) is an error
    of this model, which ``mri(..., complex_image=True)`` does not make. Source: Noll, Nishimura and Macovski,
    IEEE Trans. Med. Imaging 10(2), 1991 (low-resolution phase), on the image of Pruessmann et al., MRM 46(4),
    2001. Raises as ``coil_maps``.
    """
    seen = _mask(kspace, mask)
    if maps.shape != kspace.shape:
        raise ShapeMismatch("phased, maps", tuple(kspace.shape), tuple(maps.shape))
    A = fourier(tuple(kspace.shape), complex_image=True) @ coils(maps)
    y = (kspace * seen)[None]
    back = A.adjoint(y)
    image = cg(lambda x: A.adjoint(A(x) * seen) + 0.05 * x, back, torch.zeros_like(back), 15)
    sides = (
        [side] * seen.ndim
        if len(kspace) > 1
        else [r.stop - r.start for r in calibration_region(seen, largest=side)]
    )
    F = fourier(tuple(back.shape[1:]), complex_image=True)
    spectrum = F(image)
    for axis, (n, width) in enumerate(zip(seen.shape, sides, strict=True)):
        window = torch.zeros(n, dtype=maps.real.dtype, device=maps.device)
        width = min(width, n)
        window[n // 2 - width // 2 : n // 2 - width // 2 + width] = torch.hann_window(
            width + 2, periodic=False, dtype=window.dtype
        )[1:-1].to(window)
        spectrum = spectrum * window.reshape([-1 if a == axis else 1 for a in range(seen.ndim)])
    smooth = F.adjoint(spectrum)[0, 0]
    found = maps * (smooth / smooth.abs().clamp_min(torch.finfo(maps.real.dtype).tiny))
    if std is None or len(kspace) == 1 or 2 * len(kspace) * int(seen.sum()) < seen.numel():
        return found
    return _rephased(found, y, seen, std)


ROUGHNESS = 0.1
"""Radians by which the phase of neighbouring pixels may differ, about; chosen on SIMULATED k-space of a head
whose phase was known: a third and three times of it did no better."""


def _rephased(maps: Tensor, y: Tensor, seen: Tensor, std: float, rounds: int = 3, n: int = 20) -> Tensor:
    """Maps whose phase explains the data better: in turn the real image by least squares, and by a
    Gauss-Newton step the phase that its residual asks for.

    A change v of the phase moves the data by A (i x v) with x the image; v is real and penalised by |gradient
    v|^2 / ROUGHNESS^2. Where x is dark the penalty alone decides. y: (1, n_coils, i, j[, k]). Source: Zhao,
    Noll, Nielsen and Fessler, IEEE Trans. Med. Imaging 31(9), 2012 (separate magnitude and phase).
    """
    for _ in range(rounds):
        A = mri(seen, maps)
        back = A.adjoint(y)
        x = cg(lambda v, A=A: A.gram(v) + 0.02 * v, back, torch.zeros_like(back), n)
        B = mri(seen, 1j * maps * x[0, 0])
        pull = B.adjoint(y - A(x)) / std**2
        turn = cg(
            lambda v, B=B: B.gram(v) / std**2 + _rough(v) / ROUGHNESS**2 + 0.01 * v,
            pull,
            torch.zeros_like(pull),
            n,
        )
        maps = maps * torch.polar(torch.ones_like(turn), turn)[0, 0]
    return maps


def _rough(v: Tensor) -> Tensor:
    """Gradient of sum |gradient v|^2 / 2 over the spatial axes of (1, 1, i, j[, k])."""
    out = torch.zeros_like(v)
    for axis in range(2, v.ndim):
        apart = v.diff(dim=axis)
        out.narrow(axis, 1, apart.shape[axis]).add_(apart)
        out.narrow(axis, 0, apart.shape[axis]).sub_(apart)
    return out


def simulated_coils(
    n_coils: int,
    size: tuple[int, ...],
    rng: torch.Generator,
    *,
    spacing: float | Sequence[float] = 1.0,
    radius: float = 1.5,
    segments: int = 24,
) -> Tensor:
    """SIMULATED sensitivities of round loops on a cylinder around the body: (n_coils, i, j[, k]) complex64,
    sum of squares 1 at every voxel.

    The cylinder lies along k, its radius is ``radius`` times half of the longest side of (i, j); neighbouring
    loops overlap a little. The generator turns the array as a whole and gives each loop a phase of its own,
    as cables do. spacing: mm a voxel. Source: reciprocity, s = B_u - i B_v of a unit current (Hoult, Concepts
    Magn. Reson. 12(4), 2000), B by the law of Biot and Savart in ``segments`` pieces. Raises BadOption for
    fewer than one coil, a size that is not (i, j[, k]), or loops that would lie inside of the image.
    """
    steps = (
        (float(spacing),) * len(size)
        if isinstance(spacing, int | float)
        else tuple(float(s) for s in spacing)
    )
    if (
        n_coils < 1
        or len(size) not in (2, 3)
        or len(steps) != len(size)
        or min(*size, *steps) <= 0
        or radius <= 2**0.5
    ):
        raise BadOption(
            "simulated_coils: wanted at least one coil, a size (i, j[, k]) with a positive spacing each and "
            "a radius above 1.42, where no loop cuts the image, "
            f"got {n_coils}, {tuple(size)}, {steps} and {radius:g}"
        )
    place = [
        (torch.arange(n, dtype=torch.float32) - (n - 1) / 2) * s for n, s in zip(size, steps, strict=True)
    ]
    u, v, *rest = torch.meshgrid(*place, indexing="ij")
    w = rest[0] if rest else torch.zeros(())
    far = radius * max(n * s for n, s in zip(size[:2], steps[:2], strict=True)) / 2
    loop = 1.2 * far * min(pi / n_coils, 0.5)
    turn = float(torch.rand((), generator=rng)) * 2 * pi
    phases = torch.rand(n_coils, generator=rng) * 2 * pi
    maps = [_loop(u, v, w, turn + 2 * pi * c / n_coils, far, loop, segments) for c in range(n_coils)]
    fields = torch.stack(maps) * torch.polar(torch.ones(()), phases).reshape(-1, *[1] * len(size))
    return fields / fields.abs().square().sum(0).sqrt()


def _loop(u: Tensor, v: Tensor, w: Tensor, angle: float, far: float, loop: float, segments: int) -> Tensor:
    """B_u - i B_v at (u, v, w) of a loop whose middle lies at ``angle`` on the cylinder of radius ``far``,
    its axis pointing inwards.
    """
    out, side = cos(angle), sin(angle)
    field_u, field_v = torch.zeros_like(u), torch.zeros_like(u)
    for segment in range(segments):
        phi = 2 * pi * segment / segments
        along, up = loop * cos(phi), loop * sin(phi)  # along the tangent, along k
        d_along, d_up = -up, along
        r_u, r_v, r_w = u - (far * out - along * side), v - (far * side + along * out), w - up
        inverse = (r_u.square() + r_v.square() + r_w.square()).pow(-1.5)
        field_u += (d_along * out * r_w - d_up * r_v) * inverse
        field_v += (d_up * r_u + d_along * side * r_w) * inverse
    return torch.complex(field_u, -field_v)
