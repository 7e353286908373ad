"""A measurement of a known image, SIMULATED: what a scanner could have given, so that a reconstruction can be
judged against the truth.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from ...data.seeds import generator
from ...data.volume import Volume
from ...errors import BadOption, WrongKind
from ...evidence.baselines.classic import (
    back_projections,
    interpolate,
    nonlocal_means,
    total_variation,
    zero_filled,
)
from ...evidence.baselines.wavelets import wavelet_sparse
from ...evidence.metrics import psnr
from ...jobs.reconstruct import least_squares
from ...operators import (
    ComplexGaussian,
    Gaussian,
    LineIntegrals,
    Measurement,
    Poisson,
    acceleration_of,
    cartesian_lines,
    downsample,
    fan_ct,
    identity,
    mask,
    mri,
    norm,
    parallel_ct,
    partial_fourier,
    poisson_disc,
    simulate,
    simulated_coils,
    thick_slices,
    view_angles,
)
from ...prior import Prior
from ...prior.admit import Admitted
from ..ask.requests import Reconstruct

__all__ = [
    "WATER",
    "Case",
    "best_total_variation",
    "best_wavelets",
    "case_of",
    "known_image",
    "limited",
    "measured_again",
    "plain_images",
]

WATER = 0.0193
"""Linear attenuation of water in 1/mm at 70 keV (NIST XCOM): what turns Hounsfield units into line
integrals.
"""

_LEAST_SIDE = 4
"""Pixels a side of an image that a network can work at."""
_SOURCE, _DETECTOR = 595.0, 1086.0
"""mm from source to axis and to detector, of a common clinical scanner."""


@dataclass(frozen=True, slots=True)
class Case:
    """A known image, or volume, and its simulated measurement.

    known: on the prior's grid and axes, physical units; a volume by a 2-D prior is its slices along the last
    axis. scale: its values at -1 and 1 of the prior. measurement: of ``known``, in its unit. shown: (rows,
    columns) picture of the raw measurement, not an image of the patient (k-space, sinogram), or None.
    baselines: name -> (1, C, i, j[, k]) in the unit of ``known``. sentence: what was simulated. stack:
    ``known`` is a volume whose slices a 2-D prior takes one by one. warnings: what a reader of the result
    must know of such a measurement.
    """

    known: Volume
    scale: tuple[float, float]
    measurement: Measurement
    baselines: dict[str, Tensor]
    sentence: str
    shown: np.ndarray | None = None
    shown_as: str = ""
    stack: bool = False
    warnings: tuple[str, ...] = ()

    @property
    def image(self) -> Tensor:
        """(1, C, i, j[, k])."""
        return torch.from_numpy(self.known.data)[None]

    @property
    def half(self) -> float:
        """Half of the intensity range: one network unit."""
        return (self.scale[1] - self.scale[0]) / 2


def _check_sides(admitted: Admitted, volume: Volume) -> None:
    """Raises BadOption for an image of ``volume`` that no network can work at."""
    if min(sides := admitted.images.shape[2:]) < _LEAST_SIDE:
        size = " x ".join(map(str, sides))
        which = (
            "2-D prior, with slices across the thin"
            if len(sides) == 3
            else "prior whose slices lie along another"
        )
        raise BadOption(
            f"scan: wanted an image of at least {_LEAST_SIDE} pixels a side, got {size}",
            "take a larger picture" if len(volume.shape) == 2 else f"choose a {which} axis",
        )


def known_image(
    prior: Prior,
    volume: Volume,
    *,
    at: int | None,
    whole: bool = False,
    multiple: int = 1,
    allow_other: bool = False,
) -> tuple[Volume, tuple[float, float], str]:
    """One image, of a 3-D prior one volume, on the prior's grid, the values at -1 and 1, and a sentence about
    how it came to be.

    at: slice of a volume along a 2-D prior's axis, default the middle. whole: all of its slices, stacked
    along the last axis. multiple: sides are cropped to multiples of it, of a stack the number of slices.
    Raises WrongKind for what the prior was not made for, BadOption for a slice or a volume that is not there.
    """
    admitted = prior.admit(volume, allow_other=allow_other)
    _check_sides(admitted, volume)
    if whole and prior.card.ndim == 2:
        return _stack(admitted, volume, at, multiple)
    if prior.card.ndim == 3 and at is not None:
        raise BadOption(
            f"slice: no option with the 3-D prior {prior.card.name!r}, which takes the volume whole"
        )
    n = len(admitted.images)
    at = n // 2 if at is None else at
    if not 0 <= at < n:
        raise BadOption(f"slice: wanted 0 to {n - 1}, got {at}")
    x = admitted.images[at : at + 1]
    size = tuple(s - s % multiple for s in x.shape[2:])
    if min(size) < 1:
        raise BadOption(
            f"factor: {multiple} is larger than a side of the image, {' x '.join(map(str, x.shape[2:]))}"
        )
    x = x[(..., *(slice(0, s) for s in size))]
    data = (x[0].numpy() + 1) / 2 * (admitted.high - admitted.low) + admitted.low
    words = [f"slice {at} of {n}"] if n > 1 else []
    if tuple(admitted.images.shape[2:]) != admitted.turned.shape[: prior.card.ndim]:
        words.append(
            f"resampled from {' x '.join(map(str, admitted.turned.shape[: prior.card.ndim]))} to the prior's "
            "grid"
        )
    affine, spacing = _place(admitted, at)
    provenance = replace(volume.provenance, axes_map=(), history=(*volume.provenance.history, *words))
    known = Volume(
        data.astype(np.float32),
        affine,
        volume.unit,
        volume.modality,
        None if affine is not None else spacing,
        provenance,
    )
    return (
        known,
        (admitted.low, admitted.high),
        ", ".join([*words, f"{' x '.join(map(str, size))} {'pixels' if prior.card.ndim == 2 else 'voxels'}"]),
    )


def _stack(
    admitted: Admitted, volume: Volume, at: int | None, multiple: int
) -> tuple[Volume, tuple[float, float], str]:
    """``known_image`` of all slices."""
    if at is not None:
        raise BadOption("slice: no option with --whole, which takes all of them")
    n = len(admitted.images) - len(admitted.images) % multiple
    if admitted.turned.ndim != 3 or n < 3:
        raise BadOption(
            f"whole: wanted a volume of at least {-(-3 // multiple) * multiple} slices, got "
            f"{' x '.join(map(str, admitted.turned.shape))}",
            "leave --whole out",
        )
    data = (admitted.images[:n].movedim(0, -1).numpy() + 1) / 2 * (
        admitted.high - admitted.low
    ) + admitted.low
    affine, spacing = _place(admitted, 0)
    if spacing is not None and admitted.turned.spacing_mm is not None:
        spacing = (*spacing[:2], *admitted.turned.spacing_mm[2:])
    words = f"all {n} slices of {' x '.join(map(str, data.shape[1:3]))} pixels"
    provenance = replace(volume.provenance, axes_map=(), history=(*volume.provenance.history, words))
    data = np.ascontiguousarray(data, dtype=np.float32)
    known = Volume(
        data, affine, volume.unit, volume.modality, None if affine is not None else spacing, provenance
    )
    return known, (admitted.low, admitted.high), words


def _place(admitted: Admitted, at: int) -> tuple[np.ndarray | None, tuple[float, ...] | None]:
    """Affine and spacing of one resampled slice, or of a resampled volume."""
    turned, size = admitted.turned, admitted.images.shape[2:]
    factors = [have / now for have, now in zip(turned.shape[: len(size)], size, strict=True)]
    spacing = (
        None
        if turned.spacing_mm is None
        else tuple(s * f for s, f in zip(turned.spacing_mm, factors, strict=False))
    )
    if turned.affine is None:
        return None, spacing
    step = np.eye(4)
    for axis, factor in enumerate(factors):
        step[axis, axis], step[axis, 3] = factor, (factor - 1) / 2
    if turned.ndim == 3 and len(size) == 2:
        step[2, 3] = at
    return turned.affine @ step, spacing


def case_of(request: Reconstruct, prior: Prior, volume: Volume) -> Case:
    """The simulated measurement that a request asks for, with the trivial baselines. Raises WrongKind,
    BadOption.
    """
    wrong = [
        name
        for name in ("turn", "mirror", "pixels")
        if getattr(request, name) != type(request).model_fields[name].default
    ]
    if wrong:
        raise BadOption(
            f"{', '.join(wrong)}: no option for an image", "these are for measured k-space or sinograms"
        )
    multiple = request.factor if request.simulated == "superres" else 1
    known, scale, about = known_image(
        prior,
        volume,
        at=request.slice,
        whole=request.whole,
        multiple=multiple,
        allow_other=request.allow_other,
    )
    if len(prior.card.channels) != 1:
        raise WrongKind(
            f"prior {prior.card.name!r} has {len(prior.card.channels)} channels; measurements are simulated "
            "of one so far",
            "choose another prior",
        )
    stack = known.ndim > prior.card.ndim
    case = _MAKERS[request.simulated](request.model_copy(update={"whole": stack}), known, scale)
    return replace(case, sentence=f"{case.sentence} ({about})", stack=stack)


def measured_again(request: Reconstruct, case: Case, known: Volume) -> Case:
    """The measurement of ``case``, of another image on the same grid: the same lines, holes and random
    numbers.
    """
    again = _MAKERS[request.simulated](request.model_copy(update={"whole": case.stack}), known, case.scale)
    return replace(again, sentence=case.sentence, stack=case.stack)


def _std(request: Reconstruct, scale: tuple[float, float], default: float = 0.02) -> float:
    """Physical standard deviation of the noise."""
    return (request.noise or default) * (scale[1] - scale[0]) / 2


def _draw(known: Volume, operator, noise, request: Reconstruct) -> Measurement:
    return simulate(
        torch.from_numpy(known.data)[None], operator, noise, generator(request.seed, "simulated measurement")
    )


def _denoise(request: Reconstruct, known: Volume, scale: tuple[float, float]) -> Case:
    std = _std(request, scale, 0.3)
    m = _draw(known, identity(known.data.shape), Gaussian(std), request)
    # a stack slice by slice: a search for similar patches through all of it would take hours
    smooth = (
        nonlocal_means(m.y[0].movedim(-1, 0), std).movedim(0, -1)[None]
        if request.whole
        else nonlocal_means(m.y, std)
    )
    baselines = {"noisy image": m.y, "non-local means": smooth}
    return Case(
        known, scale, m, baselines, f"white Gaussian noise, standard deviation {std:.3g} {known.unit}"
    )


def _superres(request: Reconstruct, known: Volume, scale: tuple[float, float]) -> Case:
    if request.whole:
        return _thick(request, known, scale)
    m = _draw(known, downsample(known.data.shape, request.factor), Gaussian(_std(request, scale)), request)
    nearest = F.interpolate(m.y, size=known.shape, mode="nearest")
    baselines = {
        f"measured pixels ({request.factor} times larger)": nearest,
        "bicubic": interpolate(m.y, known.shape),
    }
    return Case(
        known,
        scale,
        m,
        baselines,
        f"pixels {request.factor} times larger on each side, noise {_std(request, scale):.3g} {known.unit}",
    )


def _thick(request: Reconstruct, known: Volume, scale: tuple[float, float]) -> Case:
    m = _draw(
        known, thick_slices(known.data.shape, 3, request.factor), Gaussian(_std(request, scale)), request
    )
    baselines = {
        f"measured slices ({request.factor} times thicker)": m.y.repeat_interleave(request.factor, -1),
        "linear": interpolate(m.y, known.shape),
    }
    text = (
        f"slices {request.factor} times thicker (Gaussian profile), noise {_std(request, scale):.3g} "
        f"{known.unit}"
    )
    return Case(known, scale, m, baselines, text)


def _inpaint(request: Reconstruct, known: Volume, scale: tuple[float, float]) -> Case:
    keep = torch.ones(known.shape, dtype=torch.bool)
    if request.box is not None:
        top, left, rows, columns = request.box
        if (
            min(request.box) < 0
            or rows < 1
            or columns < 1
            or top + rows > known.shape[0]
            or left + columns > known.shape[1]
        ):
            raise BadOption(
                f"box: wanted (first row, first column, rows, columns) inside of {known.shape}, got "
                f"{request.box}"
            )
        keep[top : top + rows, left : left + columns] = False
        what = f"a box of {rows} x {columns} pixels is missing{' in each slice' if known.ndim == 3 else ''}"
    else:
        keep = (
            torch.rand(known.shape, generator=generator(request.seed, "missing pixels")) >= request.fraction
        )
        what = f"{request.fraction:.0%} of the pixels are missing"
    m = _draw(known, mask(known.data.shape, keep), Gaussian(_std(request, scale)), request)
    filled = torch.where(keep, m.y, torch.full_like(m.y, scale[0]))
    return Case(
        known,
        scale,
        m,
        {"measured pixels, the rest black": filled, "nearest measured pixel": _nearest(m.y, keep)},
        f"{what}, noise {_std(request, scale):.3g} {known.unit}",
    )


def _nearest(y: Tensor, keep: Tensor) -> Tensor:
    from scipy.ndimage import distance_transform_edt

    _, places = distance_transform_edt(~keep.numpy(), return_indices=True)  # pyright: ignore[reportGeneralTypeIssues]
    return y[(..., *(torch.from_numpy(place).long() for place in places))]


def _middle(x: Tensor) -> Tensor:
    """(i, j[, k]) -> (i, j): the slice in the middle of a volume."""
    return x if x.ndim == 2 else x[..., x.shape[-1] // 2]


def _mri(request: Reconstruct, known: Volume, scale: tuple[float, float]) -> Case:
    if known.modality not in ("", "MR"):
        raise WrongKind(
            f"task mri: k-space is measured of MR, this is {known.modality}",
            "choose denoise, superres or inpaint",
        )
    lines = _sampled(request, known)
    std = _std(request, scale)
    spacing = known.spacing_mm if known.spacing_mm is not None else 1.0
    maps = (
        simulated_coils(request.coils, known.shape, generator(request.seed, "coils"), spacing=spacing)
        if request.coils > 1
        else None
    )
    m = _draw(known, mri(lines, maps), ComplexGaussian(std), request)
    kspace = torch.log(m.y[0, 0].abs() + 1e-3 * float(m.y.abs().max()) + 1e-12)
    picture = _middle(torch.where(lines, kspace, kspace.min())).numpy()
    pattern = (
        "points of a Poisson disc"
        if request.pattern == "poisson"
        else f"{int(_middle(lines).any(0).sum())} of {known.shape[1]} lines, {request.pattern}"
    )
    parts = (
        ""
        if request.partial is None
        else f", of them the first {request.partial:g} of k-space (partial Fourier)"
    )
    array = "one coil" if maps is None else f"{request.coils} coils whose maps are known"
    text = (
        f"Cartesian k-space of {array}, {pattern}{parts} ({acceleration_of(lines):.3g} times faster), "
        f"noise {std:.3g} {known.unit}"
    )
    shown_as = (
        f"k-space{'' if maps is None else ' of the first coil'}, logarithm of the magnitude; what is "
        "dark was not measured"
    )
    return Case(known, scale, m, {"zero-filled": zero_filled(m)}, text, picture, shown_as)


def _sampled(request: Reconstruct, known: Volume) -> Tensor:
    """(i, j[, k]) bool."""
    rng, centre = generator(request.seed, "lines"), request.centre_fraction
    if request.pattern == "poisson":
        if known.ndim != 2:
            raise BadOption(
                "pattern: a Poisson disc is of two phase encodings, here of one image; this is a volume",
                "choose random, variable or equispaced",
            )
        side = round(min(known.shape) * (centre if centre is not None else 0.32 / request.acceleration))
        lines = poisson_disc((known.shape[0], known.shape[1]), request.acceleration, rng, centre=side)
    else:
        lines = cartesian_lines(
            known.shape, request.acceleration, rng, centre_fraction=centre, pattern=request.pattern, axis=1
        )
    return lines if request.partial is None else partial_fourier(lines, request.partial)


def _ct(request: Reconstruct, known: Volume, scale: tuple[float, float]) -> Case:
    if known.unit != "HU":
        raise WrongKind(
            f"task ct: attenuation is known for Hounsfield units, this is {known.unit}",
            "state --unit HU if it is CT, or choose another task",
        )
    spacing = known.spacing_mm[:2] if known.spacing_mm is not None else (1.0, 1.0)
    arc = request.arc or (360.0 if request.beam == "fan" else 180.0)
    n_bins = (
        math.ceil(math.hypot(*(n * s for n, s in zip(known.shape[:2], spacing, strict=True))) / min(spacing))
        + 1
    )
    angles, pixel = view_angles(request.views, arc=arc), (spacing[0], spacing[1])
    if request.beam == "fan":
        bins = min(spacing) * _DETECTOR / _SOURCE
        n_bins = math.ceil(n_bins * _widened(n_bins * min(spacing) / 2))
        operator = fan_ct(
            known.data.shape,
            angles,
            n_bins,
            source_to_axis=_SOURCE,
            source_to_detector=_DETECTOR,
            bin_spacing=bins,
            spacing=pixel,
        )
    else:
        operator = parallel_ct(known.data.shape, angles, n_bins, spacing=pixel, bin_spacing=min(spacing))
    attenuation = torch.from_numpy(WATER * (known.data / 1000 + 1))[None].clamp_min(0)
    lines = simulate(
        attenuation, operator, Poisson(request.photons), generator(request.seed, "simulated measurement")
    )
    # in Hounsfield units: attenuation = WATER / 1000 * HU + WATER
    m = lines.shifted(WATER / 1000, WATER)
    baselines = plain_images(lines.y, operator, m, in_hounsfield=True)
    assumed = "" if known.spacing_mm is not None else "; pixel size unknown, taken as 1 mm"
    views = "views of a fan beam" if request.beam == "fan" else "parallel views"
    text = (
        f"{request.views} {views} over {arc:g} degrees, {n_bins} bins, {request.photons:g} photons a "
        f"bin{assumed}"
    )
    sinogram = _middle(lines.y[0, 0]).numpy()
    return Case(
        known,
        scale,
        m,
        baselines,
        text,
        sinogram,
        "sinogram: one row a view; bright = more attenuation",
        warnings=limited(operator),
    )


def limited(operator: LineIntegrals) -> tuple[str, ...]:
    """What a reader must know where views of a limited angle leave edges out."""
    if not operator.missing_arc:
        return ()
    return (
        f"LIMITED ANGLE: {operator.missing_arc:.0f} degrees of views are missing. Edges along rays that "
        "never ran may be lost or invented, whatever fits.",
    )


def _widened(reach: float) -> float:
    """How much wider a fan's detector must be than the field, so that a ray passes at ``reach`` mm from the
    axis: it does so nearer than its bin stands.
    """
    if reach >= 0.95 * _SOURCE:
        remedy = "state the size of a pixel, or choose --beam parallel"
        raise BadOption(
            f"beam: a fan's source at {_SOURCE:g} mm would stand in or at the image, whose corners are "
            f"{reach:.0f} mm from its middle",
            remedy,
        )
    return 1 / math.sqrt(1 - (reach / _SOURCE) ** 2)


def _hounsfield(attenuation: Tensor) -> Tensor:
    """Hounsfield units of an attenuation in 1/mm."""
    return (attenuation / WATER - 1) * 1000


def plain_images(
    lines: Tensor, operator: LineIntegrals, m: Measurement, *, in_hounsfield: bool
) -> dict[str, Tensor]:
    """What a sinogram gives without a prior, in the unit of m, which is the measurement of attenuation in
    1/mm or of Hounsfield units.
    """
    found = {
        name: _hounsfield(image) if in_hounsfield else image
        for name, image in back_projections(lines, operator).items()
    }
    return found or {"least squares, 20 iterations": least_squares(m)}


_MAKERS = {"denoise": _denoise, "superres": _superres, "inpaint": _inpaint, "mri": _mri, "ct": _ct}

FIRST = 0.05
"""Total variation weight that is tried first, relative to half the intensity range and the squared norm of
the operator.
"""


def best_total_variation(case: Case) -> tuple[Tensor, float]:
    """Total variation with the weight that suits this very image best, which only who knows the truth can
    choose: an advantage the prior does not have.

    Gives (1, C, i, j) in the unit of ``known``, and the weight.
    """
    first = FIRST * case.half * norm(case.measurement.operator) ** 2
    return _climbed(
        case,
        first,
        (3.0, 3.0, 3.0, 3.0, 3.0, 1.7),
        lambda weight, near: total_variation(case.measurement, weight, n=300, tol=1e-4, start=near),
    )


def best_wavelets(case: Case, first: float) -> tuple[Tensor, float]:
    """Sparsity in wavelets, its weight chosen in the same way. first: a weight near, such as that of
    ``best_total_variation``: both are a price for steps.
    """
    return _climbed(
        case,
        first,
        (3.0, 3.0, 1.7),
        lambda weight, near: wavelet_sparse(case.measurement, weight, n=100, tol=1e-4, start=near),
    )


def _climbed(
    case: Case, best: float, steps: tuple[float, ...], solve: Callable[[float, Tensor | None], Tensor]
) -> tuple[Tensor, float]:
    """Uphill in factors of each step, to both sides; the PSNR has one summit in the weight."""
    tried: dict[float, tuple[float, Tensor]] = {}
    near: Tensor | None = None

    def score(weight: float) -> float:
        nonlocal near
        if weight not in tried:
            near = solve(weight, near)
            tried[weight] = (float(psnr(near, case.image, 2 * case.half)), near)
        return tried[weight][0]

    for step in steps:
        best = max((best / step, best, best * step), key=score)
    return tried[best][1], best
