"""A measurement from a scanner's file, as the prior wants it: k-space with coil maps and noise estimated from
itself, a sinogram with its geometry.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from ...data.acquisitions import KSpace, Sinogram
from ...data.seeds import generator
from ...data.volume import Provenance, Volume
from ...errors import BadOption, WrongKind
from ...evidence.baselines.classic import total_variation, zero_filled
from ...evidence.baselines.wavelets import wavelet_sparse
from ...jobs.reconstruct import scale_from
from ...operators import (
    ComplexGaussian,
    Gaussian,
    LineIntegrals,
    Measurement,
    cartesian_lines,
    measured_kspace,
    measured_sinogram,
    norm,
)
from ...prior import Prior
from ..ask.requests import Reconstruct
from .simulate import WATER, limited, plain_images

__all__ = ["Acquired", "acquired", "fitting_total_variation", "fitting_wavelets", "oriented"]


@dataclass(frozen=True, slots=True)
class Acquired:
    """What a scanner measured, ready to be reconstructed.

    grid: an empty image with unit, modality, pixel size. scale: its values at -1 and 1 of the prior.
    baselines: name -> (1, 1, i, j) in its unit. sentences: what it is, and what was estimated. reference:
    (rows, columns), the image that the file brings along or that all samples of an undersampled scan give, or
    None; judge: which of them, in words. shown: (rows, columns) picture of the raw measurement. warnings:
    what a reader of the result must know of such a measurement.
    """

    grid: Volume
    scale: tuple[float, float]
    measurement: Measurement
    baselines: dict[str, Tensor]
    sentences: tuple[str, ...]
    reference: Tensor | None
    shown: np.ndarray
    shown_as: str
    judge: str = ""
    warnings: tuple[str, ...] = ()

    @property
    def half(self) -> float:
        """Half of the intensity range: one network unit."""
        return (self.scale[1] - self.scale[0]) / 2


def acquired(request: Reconstruct, prior: Prior, source: KSpace | Sinogram) -> Acquired:
    """Coil maps, noise and geometry put together with what was measured.

    Raises WrongKind where the prior is for another modality, is 3-D or has several channels, BadOption where
    coil maps, noise or geometry cannot be found or an option does not fit.
    """
    kind = "MR" if isinstance(source, KSpace) else "CT"
    card = prior.card
    if card.modality not in ("", kind) and not request.allow_other:
        raise WrongKind(
            f"prior {card.name!r} is for {card.modality}, this was measured by {kind}",
            "choose another prior, or override with --allow-other",
        )
    if card.ndim != 2 or len(card.channels) != 1:
        raise WrongKind(
            f"prior {card.name!r} has {card.ndim} dimensions and {len(card.channels)} channels; a measured "
            "file holds one slice",
            "choose another",
        )
    if isinstance(source, KSpace):
        return _kspace(request, prior, source)
    return _sinogram(request, prior, source)


def _kspace(request: Reconstruct, prior: Prior, source: KSpace) -> Acquired:
    if request.pixels is not None:
        raise BadOption("pixels: no option for k-space, whose grid says how many there are")
    whole, sampled_at = _without_oversampling(source)
    reference = None if source.reference is None else torch.from_numpy(source.reference.copy())
    thinned = ""
    if request.undersample is not None:
        reference = _combined(whole, sampled_at, source)
        whole, sampled_at, thinned = _thinned(whole, sampled_at, request.undersample, request.seed)
    data, mask = oriented(whole, sampled_at, turn=request.turn, mirror=request.mirror)
    n_coils = len(data)
    m, how = measured_kspace(KSpace(data.numpy(), mask.numpy(), noise=source.noise))
    scale = scale_from(prior, m)
    if request.noise is not None:
        m = Measurement(m.y, m.operator, ComplexGaussian(request.noise * (scale[1] - scale[0]) / 2))
        how = f"{how}; then stated as {request.noise:g} of half the intensity range"
    count, coils = int(mask.sum()), f"{n_coils} coil{'s' if n_coils > 1 else ''}"
    sampled = (
        f"{count} of {mask.numel()} samples of {coils} ({mask.numel() / count:.1f} times fewer){thinned}"
    )
    spacing = (
        source.spacing_mm if source.spacing_mm is None or request.turn % 180 == 0 else source.spacing_mm[::-1]
    )
    grid = _empty(tuple(mask.shape), "a.u.", "MR", spacing, source.provenance)
    logs = torch.log(data.abs().square().sum(0).sqrt() + 1e-12)
    picture = torch.where(mask, logs, logs[mask].min()).numpy()
    reference = None if reference is None else _turned(reference, request.turn, request.mirror)
    reference, warnings = _on_grid(reference, tuple(mask.shape))
    text = "k-space, logarithm of the root sum of squares over coils; dark samples were not measured"
    sentences = (f"k-space of {mask.shape[0]} x {mask.shape[1]}, {sampled}", how)
    judge = "the image of all samples" if thinned else "the image that the file brings along"
    return Acquired(
        grid,
        scale,
        m,
        {"zero-filled, coils combined": zero_filled(m)},
        sentences,
        reference,
        picture,
        text,
        judge,
        warnings,
    )


def _on_grid(reference: Tensor | None, shape: tuple[int, ...]) -> tuple[Tensor | None, tuple[str, ...]]:
    """The image that judges, and why there is none: one that is larger than the k-space's own lies on another
    grid, and may be interpolated or filled up.
    """
    if reference is None or all(want <= have for want, have in zip(reference.shape, shape, strict=True)):
        return reference, ()
    sizes = [" x ".join(map(str, size)) for size in (reference.shape, shape)]
    return None, (
        f"The file brings an image of {sizes[0]} along, but its k-space makes one of {sizes[1]}: they lie on "
        "different grids, so no figure compares them.",
    )


def _combined(data: Tensor, mask: Tensor, source: KSpace) -> Tensor:
    """(i, j): magnitude of the coils' images, combined with maps from the same samples. Raises BadOption
    unless nearly all samples were measured.
    """
    if float(mask.double().mean()) < 0.95:
        got = f"{float(mask.double().mean()):.0%} of its samples"
        raise BadOption(
            f"undersample: wanted fully sampled k-space, which can judge the result, got {got}",
            "leave --undersample out",
        )
    m, _ = measured_kspace(KSpace(data.numpy(), mask.numpy(), noise=source.noise), complex_image=True)
    return zero_filled(m)[0].square().sum(0).sqrt()


def _thinned(data: Tensor, mask: Tensor, acceleration: float, seed: int) -> tuple[Tensor, Tensor, str]:
    """K-space and mask of random lines along the readout, the centre whole, and what was done, in words."""
    centre = min(
        1.0, max(0.32 / acceleration, 16 / mask.shape[1])
    )  # coil maps want a few lines, however small the matrix
    kept = mask & cartesian_lines(
        tuple(mask.shape), acceleration, generator(seed, "lines"), centre_fraction=centre, axis=1
    )
    words = (
        f", UNDERSAMPLED AFTERWARDS from a fully sampled scan: {int(kept.any(0).sum())} of "
        f"{mask.shape[1]} lines"
    )
    return data * kept, kept, words


def _empty(
    shape: tuple[int, ...],
    unit: str,
    modality: str,
    spacing: tuple[float, ...] | None,
    provenance: Provenance,
) -> Volume:
    return Volume(np.zeros((1, *shape), np.float32), None, unit, modality, spacing, provenance)


def _without_oversampling(source: KSpace) -> tuple[Tensor, Tensor]:
    """K-space without the part of the readout that lies outside of the image which the file brings along or
    names; exact, since a readout is always whole.
    """
    data, mask = torch.from_numpy(source.data), torch.from_numpy(source.mask)
    whole = bool((mask == mask[:1]).all())
    n = (source.readout or data.shape[1]) if source.reference is None else source.reference.shape[0]
    if not whole or n >= data.shape[1]:
        return data, mask
    lines = torch.fft.fftshift(torch.fft.ifft(torch.fft.ifftshift(data, dim=1), dim=1, norm="ortho"), dim=1)
    first = data.shape[1] // 2 - n // 2
    lines = lines[:, first : first + n]
    return torch.fft.fftshift(
        torch.fft.fft(torch.fft.ifftshift(lines, dim=1), dim=1, norm="ortho"), dim=1
    ), mask[:n]


def oriented(data: Tensor, mask: Tensor, *, turn: int, mirror: bool) -> tuple[Tensor, Tensor]:
    """(coils, i, j) k-space and its mask of the image that is turned counterclockwise by ``turn`` degrees,
    then mirrored left to right: exact on the grid.
    """
    if turn == 0 and not mirror:
        return data, mask
    axes = (1, 2)
    image = torch.fft.fftshift(torch.fft.ifft2(torch.fft.ifftshift(data, dim=axes), norm="ortho"), dim=axes)
    for _ in range(turn // 90):
        mask = _negated(mask.T, 0)
    turned = _turned(image, turn, mirror)
    mask = _negated(mask, 1) if mirror else mask
    return torch.fft.fftshift(
        torch.fft.fft2(torch.fft.ifftshift(turned, dim=axes), norm="ortho"), dim=axes
    ) * mask, mask


def _turned(image: Tensor, turn: int, mirror: bool) -> Tensor:
    turned = torch.rot90(image, turn // 90, (-2, -1))
    return turned.flip(-1) if mirror else turned


def _negated(mask: Tensor, axis: int) -> Tensor:
    """The mask at -k: of an even number of samples the first has no partner and stays."""
    return mask.flip(axis).roll(1 - mask.shape[axis] % 2, axis)


def _sinogram(request: Reconstruct, prior: Prior, source: Sinogram) -> Acquired:
    if request.turn or request.mirror or request.undersample:
        raise BadOption(
            "turn, mirror, undersample: no options for a sinogram",
            "add the turn to its angles_deg, leave views out of the file",
        )
    m, how = measured_sinogram(source, None if request.pixels is None else (request.pixels, request.pixels))
    y, operator = m.y, m.operator
    if not isinstance(operator, LineIntegrals):
        raise BadOption(f"reconstruct: wanted line integrals, got {operator.name}")
    if request.noise is not None:
        std = request.noise * float(y.max() - y.min()) / 2
        m, how = (
            Measurement(y, operator, Gaussian(std)),
            f"noise stated as {request.noise:g} of half the range of the line integrals",
        )
    hounsfield = prior.card.unit == "HU"
    if hounsfield:
        m = m.shifted(WATER / 1000, WATER)
    baselines = plain_images(y, operator, m, in_hounsfield=hounsfield)
    scale = scale_from(prior, m)
    arc = float(np.rad2deg(source.angles.max() - source.angles.min()))
    unit = f"Hounsfield units for water of {WATER:g} per mm (70 keV)" if hounsfield else "attenuation per mm"
    sentences = (
        f"{operator.beam} beam, {y.shape[2]} views over {arc:.1f} degrees, {y.shape[3]} bins of "
        f"{operator.bin_spacing:.3g} mm; {unit}",
        how,
    )
    grid = _empty(
        operator.domain[1:],
        prior.card.unit if hounsfield else "1/mm",
        "CT",
        operator.spacing,
        source.provenance,
    )
    sinogram = y[0, 0].numpy()
    return Acquired(
        grid,
        scale,
        m,
        baselines,
        sentences,
        None,
        sinogram,
        "sinogram: one row a view; bright = more attenuation",
        warnings=limited(operator),
    )


def fitting_total_variation(case: Acquired) -> tuple[Tensor, float]:
    """Total variation whose misfit is that of the noise, and its weight: there is no known image to choose it
    by (discrepancy principle).

    Source: Morozov, Soviet Math. Dokl. 7, 1966. Where even the smallest weight that is tried fits worse,
    because the model is not exact, that one is taken.
    """
    return _fitting(
        case, lambda weight, near, n: total_variation(case.measurement, weight, n=n, tol=1e-4, start=near)
    )


def fitting_wavelets(case: Acquired) -> tuple[Tensor, float]:
    """Sparsity in wavelets, its weight found as that of ``fitting_total_variation``."""
    return _fitting(
        case, lambda weight, near, n: wavelet_sparse(case.measurement, weight, n=n // 2, tol=1e-4, start=near)
    )


def _fitting(case: Acquired, solve: Callable[[float, Tensor | None, int], Tensor]) -> tuple[Tensor, float]:
    """The image and the largest weight whose misfit is at most 1, by halving the logarithm's interval.
    solve(weight, start, iterations).
    """
    weight = 0.05 * case.half * norm(case.measurement.operator) ** 2
    low, high, near = weight / 3**5, weight * 3**4, None
    for _ in range(6):
        weight = math.sqrt(low * high)
        near = solve(weight, near, 150)
        low, high = (low, weight) if float(case.measurement.misfit(near)[0]) > 1 else (weight, high)
    return solve(low, near, 300), low
