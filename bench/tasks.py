"""The measurements that the benchmarks simulate, and the scans they are simulated of."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

import torch
from pretrain import RECIPES, scans
from torch import Tensor

from medprior.evidence.baselines.classic import fbp, interpolate, zero_filled
from medprior.operators import (
    ComplexGaussian,
    Gaussian,
    LineIntegrals,
    Measurement,
    Poisson,
    cartesian_lines,
    downsample,
    fan_ct,
    identity,
    mri,
    parallel_ct,
    simulate,
    simulated_coils,
    view_angles,
)
from medprior.prior.admit import admit

__all__ = ["RANGE", "TASKS", "Task", "fbp_inside", "slices"]

RANGE = 2.0
"""Of network units, -1..1: the data range of every PSNR and SSIM."""


@dataclass(frozen=True)
class Task:
    """prior: whose scans. measure: (image (1, 1, i, j) in network units, generator) -> measurement of the
    physical image.

    trivial: what costs nothing, in network units. weights: of TV and of wavelets, to begin with on val.
    physical: the values at -1 and 1.
    """

    prior: str
    measure: Callable[[Tensor, torch.Generator], Measurement]
    trivial: Callable[[Measurement], Tensor]
    weights: tuple[float, ...]
    physical: tuple[float, float] = (-1.0, 1.0)

    def inside(self, m: Measurement) -> Measurement:
        """The measurement of the image in network units."""
        low, high = self.physical
        return m.shifted((high - low) / 2, (high + low) / 2)


def _lines(acceleration: float, n_coils: int = 1) -> Callable[[Tensor, torch.Generator], Measurement]:
    """Random lines, new ones for each image; one coil, or an array whose simulated maps are known and the
    same for all images.
    """

    def measure(x: Tensor, rng: torch.Generator) -> Measurement:
        size = (int(x.shape[2]), int(x.shape[3]))
        maps = _array(n_coils, size) if n_coils > 1 else None
        return simulate(x, mri(cartesian_lines(size, acceleration, rng), maps), ComplexGaussian(0.02), rng)

    return measure


@cache
def _array(n_coils: int, size: tuple[int, int]) -> Tensor:
    return simulated_coils(n_coils, size, torch.Generator().manual_seed(0), spacing=2.0)


WATER = 0.0193
"""1/mm at 70 keV (NIST). Network units are HU / 1024, so mu = WATER * (1 + 1.024 x)."""

PIXEL = 1.4
"""mm: a field of view of 36 cm on 256 pixels."""


def _photons(
    operator: Callable[[tuple[int, ...]], LineIntegrals], count: float
) -> Callable[[Tensor, torch.Generator], Measurement]:
    """Attenuation in 1/mm, seen with ``count`` photons a detector bin."""
    return lambda x, rng: simulate(WATER * (1 + 1.024 * x), operator(tuple(x.shape[1:])), Poisson(count), rng)


@cache
def _parallel(shape: tuple[int, ...]) -> LineIntegrals:
    return parallel_ct(shape, view_angles(60), 367, spacing=PIXEL)


@cache
def _fan(n_views: int, shape: tuple[int, ...]) -> LineIntegrals:
    """A full turn with the distances of a common clinical scanner, 595 and 1086 mm; its bins are 1.4 mm at
    the axis and reach the image's corners.
    """
    angles = view_angles(n_views, arc=360.0)
    return fan_ct(
        shape, angles, 400, source_to_axis=595.0, source_to_detector=1086.0, bin_spacing=2.555, spacing=PIXEL
    )


def fbp_inside(m: Measurement, window: str) -> Tensor:
    """Filtered back-projection in network units."""
    if not isinstance(m.operator, LineIntegrals):
        raise TypeError(m.operator.name)
    return (fbp(m.y, m.operator, window=window) / WATER - 1) / 1.024


def _hann(m: Measurement) -> Tensor:
    return fbp_inside(m, "hann")


_LINES = (1e-3, 2e-3, 5e-3, 1e-2, 2e-2, 5e-2)
_VIEWS = (1e-3, 3e-3, 1e-2)
_ATTENUATION = (-0.024 * WATER, 2.024 * WATER)

TASKS = {
    "mri4": Task("brain-t1", _lines(4), zero_filled, _LINES),
    "mri8": Task("brain-t1", _lines(8), zero_filled, _LINES),
    "sr4": Task(
        "brain-t1",
        lambda x, rng: simulate(x, downsample(tuple(x.shape[1:]), 4), Gaussian(0.02), rng),
        lambda m: interpolate(m.y, m.operator.domain[1:]),
        (1e-4, 3e-4, 1e-3, 3e-3, 1e-2),
    ),
    "denoise": Task(
        "brain-t1",
        lambda x, rng: simulate(x, identity(tuple(x.shape[1:])), Gaussian(0.3), rng),
        lambda m: m.y,
        (0.1, 0.15, 0.2, 0.3),
    ),
    "ct60": Task("chest-ct", _photons(_parallel, 1e5), lambda m: fbp_inside(m, "ramp"), _VIEWS, _ATTENUATION),
    "mri4-coils": Task("brain-t1", _lines(4, 8), zero_filled, _LINES),
    "mri8-coils": Task("brain-t1", _lines(8, 8), zero_filled, _LINES),
    "fan60": Task("chest-ct", _photons(lambda shape: _fan(60, shape), 1e5), _hann, _VIEWS, _ATTENUATION),
    "fan30": Task("chest-ct", _photons(lambda shape: _fan(30, shape), 1e5), _hann, _VIEWS, _ATTENUATION),
    "lowdose": Task("chest-ct", _photons(lambda shape: _fan(180, shape), 1e4), _hann, _VIEWS, _ATTENUATION),
}


def slices(name: str, split: str, per_patient: int, seed: int = 0) -> tuple[list[Tensor], list[str]]:
    """per_patient images of each patient, among the middle half of its slices, in network units."""
    rng = torch.Generator().manual_seed(seed)
    found: dict[str, list[Tensor]] = {}
    for volume, _, patient in scans(name, split):
        admitted = admit(RECIPES[name].card, volume).images
        n = len(admitted)
        found.setdefault(patient, []).extend(admitted[n // 4 : n - n // 4] if n > 4 else admitted)
    images, patients = [], []
    for patient, own in found.items():
        for i in torch.randperm(len(own), generator=rng)[:per_patient].tolist():
            images.append(own[i][None])
            patients.append(patient)
    return images, patients
