"""From what a scanner's file holds to a measurement: k-space with maps and noise estimated from itself, a
sinogram with the geometry its file states.
"""

from __future__ import annotations

from collections.abc import Mapping
from math import sqrt

import numpy as np
import torch
from torch import Tensor

from ...data.acquisitions import KSpace, Sinogram
from ...errors import BadOption, ShapeMismatch, did_you_mean
from ..ct.projections import LineIntegrals, fan_ct, parallel_ct
from ..estimate import noise_covariance, whiten, with_estimated_noise
from ..measurement import Measurement
from ..noise import ComplexGaussian, Unknown
from .fourier import mri
from .sensitivities import coil_maps, with_image_phase

__all__ = ["measured_kspace", "measured_sinogram", "sinogram_operator"]

MOST = 12
"""Coils beyond which the maps cost much and the image gains nothing that is seen."""


def measured_kspace(
    kspace: KSpace, *, complex_image: bool = False, crop: float = 0.0
) -> tuple[Measurement, str]:
    """Measured k-space (n_coils, kx, ky) as a measurement by ``mri``, and the sentence that says what was
    estimated for it.

    The noise of the coils is that of the scanner's noise scan, else read from the outermost samples, and made
    white; more than 12 coils are compressed to the 12 that hold most of the signal (Buehrer et al., MRM
    57(6), 2007); the maps come from ESPIRiT on the fully sampled centre, a single coil has the map 1. crop:
    as in ``coil_maps``; by default the maps reach beyond the body, so that the data say that nothing is
    there: where maps are zero nothing was measured, and a prior would fill it in. The image is real, (1, kx,
    ky), with its phase in the maps, or with complex_image two channels, real and imaginary part. It nearly
    keeps the file's unit: whitening is followed by a multiplication with the mean standard deviation. Not
    simulated. Raises BadOption where the centre or the outer samples are too few.
    """
    data, mask = torch.from_numpy(kspace.data), torch.from_numpy(kspace.mask)
    if not bool(mask.any()) or not bool(data.abs().sum() > 0):
        raise BadOption(
            "measured_kspace: wanted samples that were measured, got none",
            "check the mask, and that the file holds the raw data",
        )
    covariance, source = _covariance(kspace)
    std = sqrt(float(covariance.diagonal().real.mean()))
    white = std * whiten(data, covariance)
    n_coils = data.shape[0]
    if n_coils > MOST:
        white = compress_coils(white, MOST)
    maps = coil_maps(white, mask, crop=crop) if n_coils > 1 else torch.ones_like(white)
    maps = maps if complex_image else with_image_phase(maps, white, mask, std=std)
    how = f"noise of standard deviation {std:.3g}, {source} of {n_coils} coil{'s' if n_coils > 1 else ''}"
    how += f"; compressed to {MOST} coils" if n_coils > MOST else ""
    how += "; coil maps estimated from the fully sampled centre (ESPIRiT)" if n_coils > 1 else ""
    how += "" if complex_image else "; the image's phase is estimated from all samples"
    return Measurement(
        (white * mask)[None], mri(mask, maps, complex_image=complex_image), ComplexGaussian(std)
    ), how


def _covariance(kspace: KSpace) -> tuple[Tensor, str]:
    """Of the coils' noise as ``noise_covariance``, and where it is from."""
    n_coils = len(kspace.data)
    if kspace.noise is not None and kspace.noise.shape[1] >= max(50, 4 * n_coils):
        noise = torch.from_numpy(kspace.noise).to(torch.complex128)
        return noise @ noise.mH / (
            2 * noise.shape[1]
        ), f"measured by the scanner in {noise.shape[1]} samples without a signal"
    return noise_covariance(
        torch.from_numpy(kspace.data), torch.from_numpy(kspace.mask)
    ), "estimated from the outermost k-space samples"


def compress_coils(white: Tensor, n: int) -> Tensor:
    """The ``n`` orthonormal mixtures of coils (n_coils, ...) that hold most of the energy; white noise stays
    white with the same standard deviation.
    """
    lines = white.flatten(1).to(torch.complex128)
    strongest = torch.linalg.eigh(lines @ lines.mH)[1][:, -n:].flip(1)
    return (strongest.mH @ lines).reshape(n, *white.shape[1:]).to(white.dtype)


STATED = {
    "source_to_axis": ("source_to_axis_mm", "distanceSourceOrigin"),
    "source_to_detector": ("source_to_detector_mm", "distanceSourceDetector"),
    "bin_spacing": ("bin_spacing_mm", "pixelSizePost"),
    "detector_offset": ("detector_offset_mm",),
}
"""Argument of ``fan_ct`` -> names under which a file states it: our own, and those of the Helsinki Tomography
Challenge 2022.
"""
EXAMPLE = (
    '{"beam": "fan", "bin_spacing_mm": 1.0, "source_to_axis_mm": 500, "source_to_detector_mm": 1000} '
    'or {"beam": "parallel", "bin_spacing_mm": 1.0}'
)
LARGEST = 256
"""Pixels a side of an image from a sinogram, unless asked for otherwise."""


def sinogram_operator(
    sinogram: Sinogram,
    size: tuple[int, int] | None = None,
    *,
    spacing: float | tuple[float, float] | None = None,
) -> LineIntegrals:
    """The scanner that a sinogram's file describes, for an image (1, *size) with ``spacing`` mm a pixel.

    size: default a square of as many pixels as bins, at most 256; spacing: default so that the image fills
    the field of view. Geometry: beam ("parallel" or "fan"; a fan where source_to_axis_mm stands),
    bin_spacing_mm, for a fan source_to_axis_mm and source_to_detector_mm; optional detector_offset_mm and
    rotation ("counterclockwise" or "clockwise", which turns the angles round). The names of the Helsinki
    Tomography Challenge 2022 are known, too; its angles are clockwise. Raises BadOption for a geometry that
    is unknown, not in mm or cannot be.
    """
    beam, values, clockwise = _geometry(sinogram)
    angles = torch.from_numpy(np.rad2deg(sinogram.angles) * (-1 if clockwise else 1))
    n_bins, offset = sinogram.data.shape[1], values.get("detector_offset", 0.0)
    at_axis = values["source_to_axis"] / values["source_to_detector"] if beam == "fan" else 1.0
    side = min(n_bins, LARGEST)
    size = (side, side) if size is None else size
    width = n_bins * values["bin_spacing"] * at_axis
    pixel = (
        tuple(width / n for n in size)
        if spacing is None
        else (spacing if isinstance(spacing, tuple) else (float(spacing),) * 2)
    )
    options = {
        "spacing": (pixel[0], pixel[1]),
        "bin_spacing": values["bin_spacing"],
        "detector_offset": offset,
    }
    if beam == "parallel":
        return parallel_ct((1, *size), angles, n_bins, **options)
    return fan_ct(
        (1, *size),
        angles,
        n_bins,
        source_to_axis=values["source_to_axis"],
        source_to_detector=values["source_to_detector"],
        **options,
    )


def _geometry(sinogram: Sinogram) -> tuple[str, dict[str, float], bool]:
    """The beam, lengths in mm by name, and whether the angles run clockwise. Raises BadOption."""
    stated = sinogram.geometry
    values = {to: value for to, names in STATED.items() if (value := _stated(stated, names)) is not None}
    beam = str(stated.get("beam", "fan" if "source_to_axis" in values else "unknown"))
    needed = {
        "parallel": ["bin_spacing"],
        "fan": ["source_to_axis", "source_to_detector", "bin_spacing"],
    }.get(beam)
    if needed is None and beam != "unknown":
        remedy = (
            "cone beams are for Python: operators.cone_ct"
            if beam == "cone"
            else did_you_mean(beam, ["parallel", "fan"])
        )
        raise BadOption(f"geometry of the sinogram: wanted a parallel or a fan beam, got {beam!r}", remedy)
    missing = ["beam"] if needed is None else [STATED[name][0] for name in needed if name not in values]
    if missing:
        raise BadOption(
            f"geometry of the sinogram: {', '.join(missing)} not stated, it says {dict(stated) or 'nothing'}",
            f"add geometry_json, e.g. {EXAMPLE}",
        )
    if str(stated.get("distanceUnit", "mm")) != "mm":
        raise BadOption(
            f"geometry of the sinogram: wanted millimetres, got {stated['distanceUnit']}",
            "convert the lengths",
        )
    rotation = str(
        stated.get("rotation", "clockwise" if "distanceSourceOrigin" in stated else "counterclockwise")
    )
    if rotation not in ("clockwise", "counterclockwise"):
        raise BadOption(
            f"geometry of the sinogram: rotation is clockwise or counterclockwise, got {rotation!r}"
        )
    return beam, values, rotation == "clockwise"


def measured_sinogram(
    sinogram: Sinogram,
    size: tuple[int, int] | None = None,
    *,
    spacing: float | tuple[float, float] | None = None,
    bins: int = 1,
) -> tuple[Measurement, str]:
    """A measured sinogram as a measurement by ``sinogram_operator``, attenuation in 1/mm, and the sentence
    that says how its noise was found.

    bins: how many neighbouring bins are averaged into one, for pixels that are larger than the bins; the
    photons are estimated from what comes out. Not simulated. Raises BadOption for an unknown geometry or a
    sinogram without noise, ShapeMismatch where bins does not divide their number.
    """
    n_views, n_bins = sinogram.data.shape
    if bins < 1 or n_bins % bins:
        raise ShapeMismatch("measured_sinogram, bins", f"a divisor of {n_bins}", bins)
    joined = sinogram.data.reshape(n_views, -1, bins).mean(-1)
    widened = {
        k: float(v) * bins if k in STATED["bin_spacing"] and _stated(sinogram.geometry, (k,)) else v
        for k, v in sinogram.geometry.items()
    }
    operator = sinogram_operator(
        Sinogram(joined, sinogram.angles, widened, sinogram.provenance), size, spacing=spacing
    )
    return with_estimated_noise(Measurement(torch.from_numpy(joined)[None, None], operator, Unknown()))


def _stated(geometry: Mapping[str, float | str], names: tuple[str, ...]) -> float | None:
    """The length that a geometry states under one of ``names``, or None. Raises BadOption for words."""
    name = next((name for name in names if name in geometry), None)
    if name is None:
        return None
    try:
        return float(geometry[name])
    except ValueError as error:
        raise BadOption(
            f"geometry of the sinogram: {name}: wanted a length in mm, got {geometry[name]!r}"
        ) from error
