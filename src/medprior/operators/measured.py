"""From what a scanner's file holds to a measurement: k-space with maps and noise estimated from itself, a sinogram with the geometry its file states."""

from __future__ import annotations

from collections.abc import Mapping
from math import sqrt

import numpy as np
import torch

from ..data.acquisitions import KSpace, Sinogram
from ..errors import BadOption, ShapeMismatch
from .ct import LineIntegrals, fan_ct, parallel_ct
from .estimate import estimated, noise_covariance, whiten
from .fourier import mri
from .measurement import Measurement
from .noise import ComplexGaussian, Unknown
from .sensitivities import coil_maps, phased

__all__ = ["measured_kspace", "measured_sinogram", "sinogram_operator"]


def measured_kspace(kspace: KSpace, *, complex_image: bool = False, crop: float = 0.9) -> tuple[Measurement, str]:
    """Measured k-space (n_coils, kx, ky) as a measurement by ``mri``, and the sentence that says what was estimated for it.

    The noise of the coils is read from the outermost samples and made white; the maps come from ESPIRiT on the fully sampled centre (crop as in ``coil_maps``),
    a single coil has the map 1. The image is real, (1, kx, ky), with its slow phase in the maps, or with complex_image two channels, real and imaginary part.
    It nearly keeps the file's unit: whitening is followed by a multiplication with the mean standard deviation. Not simulated.
    Raises BadOption where the centre or the outer samples are too few.
    """
    data, mask = torch.from_numpy(kspace.data), torch.from_numpy(kspace.mask)
    if not bool(mask.any()) or not bool(data.abs().sum() > 0):
        raise BadOption("measured_kspace: wanted samples that were measured, got none", "check the mask, and that the file holds the raw data")
    covariance = noise_covariance(data, mask)
    std = sqrt(float(covariance.diagonal().real.mean()))
    white = std * whiten(data, covariance)
    n_coils = data.shape[0]
    maps = coil_maps(white, mask, crop=crop) if n_coils > 1 else torch.ones_like(white)
    maps = maps if complex_image else phased(maps, white, mask)
    how = f"noise of standard deviation {std:.3g}, estimated from the outermost k-space samples of {n_coils} coil{'s' if n_coils > 1 else ''}"
    how += "; coil maps estimated from the fully sampled centre (ESPIRiT)" if n_coils > 1 else ""
    how += "" if complex_image else "; the image's slow phase is taken from the centre, too"
    return Measurement((white * mask)[None], mri(mask, maps, complex_image=complex_image), ComplexGaussian(std)), how


STATED = {
    "source_to_axis": ("source_to_axis", "distanceSourceOrigin"),
    "source_to_detector": ("source_to_detector", "distanceSourceDetector"),
    "bin_spacing": ("bin_spacing", "pixelSizePost"),
    "detector_offset": ("detector_offset",),
}
"""Argument of ``fan_ct`` -> names under which files state it, in mm: our own, and those of the Helsinki Tomography Challenge 2022."""


def sinogram_operator(sinogram: Sinogram, size: tuple[int, int], spacing: float | tuple[float, float]) -> LineIntegrals:
    """The scanner that a sinogram's file describes, for an image (1, *size) with ``spacing`` mm a pixel.

    Geometry, lengths in mm: bin_spacing; for a fan source_to_axis and source_to_detector; optional detector_offset, beam ("parallel" or "fan") and
    direction ("clockwise" turns the angles round). The names of the Helsinki Tomography Challenge 2022 are known, too; its angles are clockwise.
    Raises BadOption for a geometry that is unknown or not in mm.
    """
    stated = sinogram.geometry
    values = {to: value for to, names in STATED.items() if (value := _stated(stated, names)) is not None}
    beam = str(stated.get("beam", "fan" if "source_to_axis" in values else ""))
    needed = {"parallel": {"bin_spacing"}, "fan": {"bin_spacing", "source_to_axis", "source_to_detector"}}.get(beam)
    if needed is None or needed - set(values):
        missing = ", ".join(sorted(needed - set(values))) if needed else "beam: parallel or fan"
        raise BadOption(f"sinogram: its geometry is unknown, the file does not state {missing}", "write it into geometry_json, in mm")
    if str(stated.get("distanceUnit", "mm")) != "mm":
        raise BadOption(f"sinogram: wanted lengths in mm, the file states {stated['distanceUnit']}", "convert them and write distanceUnit mm")
    clockwise = "distanceSourceOrigin" in stated or stated.get("direction") == "clockwise"
    angles = np.rad2deg(sinogram.angles) * (-1 if clockwise else 1)
    shape, n_bins = (1, *size), sinogram.data.shape[1]
    pixel = spacing if isinstance(spacing, tuple) else (float(spacing), float(spacing))
    offset = values.get("detector_offset", 0.0)
    if beam == "parallel":
        return parallel_ct(shape, torch.from_numpy(angles), n_bins, spacing=pixel, bin_spacing=values["bin_spacing"], detector_offset=offset)
    return fan_ct(
        shape,
        torch.from_numpy(angles),
        n_bins,
        source_to_axis=values["source_to_axis"],
        source_to_detector=values["source_to_detector"],
        bin_spacing=values["bin_spacing"],
        spacing=pixel,
        detector_offset=offset,
    )


def measured_sinogram(sinogram: Sinogram, size: tuple[int, int], spacing: float | tuple[float, float], *, bins: int = 1) -> tuple[Measurement, str]:
    """A measured sinogram as a measurement by ``sinogram_operator``, attenuation in 1/mm, and the sentence that says how its noise was found.

    bins: how many neighbouring bins are averaged into one, for pixels that are larger than the bins; the photons are estimated from what comes out.
    Not simulated. Raises BadOption for an unknown geometry, ShapeMismatch where bins does not divide their number.
    """
    n_views, n_bins = sinogram.data.shape
    if bins < 1 or n_bins % bins:
        raise ShapeMismatch("measured_sinogram, bins", f"a divisor of {n_bins}", bins)
    joined = sinogram.data.reshape(n_views, -1, bins).mean(-1)
    step = _stated(sinogram.geometry, STATED["bin_spacing"])
    geometry = {k: v for k, v in sinogram.geometry.items() if k not in STATED["bin_spacing"]} | ({} if step is None else {"bin_spacing": step * bins})
    operator = sinogram_operator(Sinogram(joined, sinogram.angles, geometry, sinogram.provenance), size, spacing)
    return estimated(Measurement(torch.from_numpy(joined)[None, None], operator, Unknown()))


def _stated(geometry: Mapping[str, float | str], names: tuple[str, ...]) -> float | None:
    """The number that a geometry states under one of ``names``, or None. Raises BadOption for words."""
    found = next((geometry[name] for name in names if name in geometry), None)
    try:
        return None if found is None else float(found)
    except ValueError as error:
        raise BadOption(f"sinogram: wanted {names[0]} as a number in mm, got {found!r}") from error
