"""Reconstruct: Measurement -> rule(prior, measurement) -> anneal or flow x N -> Draws."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from ..data.seeds import generator
from ..data.volume import Volume
from ..errors import BadOption, ShapeMismatch, did_you_mean
from ..evidence.calibration import METHOD, entry_for
from ..operators import Measurement, cg
from ..prior import Denoiser, Prior
from ..prior.admit import card_heights, scale_of
from ..prior.promises import Calibration, ReconstructionMethod
from ..prior.wrappers import batched, cautious, guided, in_bfloat16, tiled
from ..sampling import (
    RULES,
    Draws,
    draw_deviation,
    initial_image,
    karras_levels,
    local_deviation,
    log_levels,
    merge_views,
    plug_and_play,
    sample,
    shrink_to,
)
from .given import GivenPrior, prior_of
from .stacks import by_slice, couple_slices, point_estimate_by_slice

__all__ = [
    "FAST_EVALUATIONS",
    "Settings",
    "how_of",
    "least_squares",
    "noisy_image",
    "reconstruct",
    "scale_from",
]

OnStep = Callable[[int, int], None]

FAST_EVALUATIONS = 7
"""Of the network, for a point estimate: six rounds of ``plug_and_play`` and one for its deviation."""

_MOST = 2**22
"""Voxels that are drawn side by side: 16 MiB for each of the about twenty copies that conjugate gradients and
the noises hold.
"""


@dataclass(frozen=True, slots=True)
class Settings:
    """How a measurement is turned into draws; the levels were chosen on validation slices of IXI and of CT
    (bench/caution.py).

    rule: one of ``sampling.RULES``, see ``sampling/catalogue.py``. n_steps: noise levels. high, low: first
    and last level, network units. tile: images with a larger side are denoised in windows of this side
    (volumes in windows of at most 96). caution: widen the error that the denoiser names by its own
    ``caution``, see ``prior.wrappers.cautious``; one whose covariance is exact has none. precision: of the
    network; "bfloat16" is faster on a GPU and on processors that compute in it, see
    ``prior.wrappers.in_bfloat16``.
    """

    rule: str = "proximal"
    n_steps: int = 40
    high: float = 1.5
    low: float = 0.03
    tile: int = 256
    precision: str = "float32"
    caution: bool = True

    def __post_init__(self) -> None:
        if self.rule not in RULES:
            raise BadOption(f"rule: {self.rule!r} is not known", did_you_mean(self.rule, list(RULES)))
        if self.precision not in ("float32", "bfloat16"):
            raise BadOption(f"precision: wanted float32 or bfloat16, got {self.precision!r}")


def reconstruct(
    prior: GivenPrior,
    measurement: Measurement,
    *,
    n: int = 8,
    seed: int = 0,
    settings: Settings | None = None,
    scale: tuple[float, float] | None = None,
    label: str | None = None,
    guidance: float = 1.0,
    numbers: Tensor | None = None,
    fast: bool = False,
    on_step: OnStep | None = None,
) -> Draws:
    """N draws of the image, given what was measured; side by side, in the measurement's physical unit.

    measurement: of one image (C, i, j[, k]) on the prior's axes; of a volume (C, i, j, k) a 2-D prior draws
    all slices in one loop, neighbours tied to each other (``stacks``). scale: the physical values at -1 and 1
    of the prior; default the card's (CT), else estimated from the measurement (MR, X-ray). label: condition
    on a class of the card; guidance: its weight, 1 is plain. numbers: (k, n) what the card can be told about
    each slice of such a volume, as in ``Admitted.condition``; default the heights of a whole volume. fast:
    one deterministic point estimate from about seven evaluations (its "draws" are that one image; it has no
    spread). The mean of the draws is steadied towards that point estimate, see ``sampling.draws.shrink_to``.
    The same seed and n give the same bytes; another n gives other draws, since all of a batch share one
    stream of random numbers.

    Raises ShapeMismatch (channels, dimensions, several measurements, numbers), BadOption (n, scale, label),
    UnknownNoise, Diverged, WrongKind (a measurement of nothing, whose scale cannot be estimated).
    """
    prior = prior_of(prior)
    settings = settings or Settings()
    if n < 1:
        raise BadOption(f"n: wanted at least 1 draw, got {n}")
    measurement = _fits(prior, measurement)
    low, high = _finite_range(scale or scale_from(prior, measurement))
    half = (high - low) / 2
    inside = measurement.shifted(half, (high + low) / 2)
    denoiser = _denoiser(prior, measurement, settings, numbers)
    if label is not None:
        denoiser = guided(denoiser, label_index(prior, label), guidance)
    with torch.no_grad():
        view = noisy_image(inside)
        problem = _Problem(denoiser, inside, view, _is_stack(prior, measurement), settings)
        found = _estimated(problem, seed, on_step) if fast else _drawn(problem, n, seed, on_step)
        calibration, refused = _calibration(prior, inside, how_of(settings, len(found.x), fast), label)

    def physical(image: Tensor) -> Tensor:
        return (image + 1) / 2 * (high - low) + low

    way = "point estimate without spread" if fast else _way(settings, view is not None)
    return Draws(
        physical(found.x),
        seed,
        f"{prior.card.name}, {way}",
        physical(found.centre),
        None if found.deviation is None else found.deviation * half,
        calibration,
        refused,
        _unlike(prior, found.centre),
    )


def _unlike(prior: Prior, image: Tensor) -> str:
    """What of (C, i, j[, k]) in network units is not as in the training images, "" where nothing is.

    Of a volume by a prior of slices the middle slice is looked at.
    """
    if prior.kind is None:
        return ""
    return prior.kind.unlike(image[..., image.shape[-1] // 2] if image.ndim > prior.card.ndim + 1 else image)


def _finite_range(scale: tuple[float, float]) -> tuple[float, float]:
    low, high = scale
    if not -math.inf < low < high < math.inf:
        raise BadOption(f"scale: wanted two finite numbers, low < high, got {low}, {high}")
    return low, high


@dataclass(frozen=True, slots=True)
class _Problem:
    """What is solved, in network units. view: see ``noisy_image``. solid: a volume by a prior of slices."""

    denoiser: Denoiser
    inside: Measurement
    view: tuple[Tensor, float] | None
    solid: bool
    settings: Settings

    def coupled(self, point: Tensor | None) -> Measurement:
        """The measurement, with the tie between slices where they are drawn by a rule."""
        if not self.solid or self.view or point is None:
            return self.inside
        return couple_slices(self.inside, point)


@dataclass(frozen=True, slots=True)
class _Found:
    """x: (n, C, i, j[, k]), network units. centre: (C, i, j[, k]). deviation: of the same shape, or None."""

    x: Tensor
    centre: Tensor
    deviation: Tensor | None


def _estimated(problem: _Problem, seed: int, on_step: OnStep | None) -> _Found:
    """The point estimate as the one image, and the deviation of its error."""
    point = _point(problem, on_step)
    deviation = _deviation(problem.denoiser, problem.coupled(point), problem.view, point, seed)
    return _Found(point, shrink_to(point, point), deviation)


def _drawn(problem: _Problem, n: int, seed: int, on_step: OnStep | None) -> _Found:
    """n draws; one draw has no spread to steady, so no point estimate, unless that ties slices together."""
    point = _point(problem, None) if n > 1 or problem.solid else None
    bound, rng = problem.coupled(point), generator(seed, "reconstruct")

    def part(size: int, counted: OnStep | None) -> Tensor:
        if problem.view is not None:
            return _denoised(problem.denoiser, problem.view, size, rng, problem.settings, counted)
        domain = problem.inside.operator.domain
        return _draws(problem.denoiser, bound, domain, size, rng, problem.settings, counted)

    x = _in_parts(part, n, problem.inside, on_step)
    if n == 1 or point is None:
        return _Found(x, x[0], None)
    return _Found(x, shrink_to(x, point), draw_deviation(x))


def _denoiser(prior: Prior, measurement: Measurement, settings: Settings, numbers: Tensor | None) -> Denoiser:
    """For the whole of what was measured, before a label is asked for. Raises BadOption, ShapeMismatch."""
    denoiser = windowed(prior, settings.tile)
    if settings.precision == "bfloat16":
        denoiser = in_bfloat16(denoiser)
    if _is_stack(prior, measurement):
        return by_slice(denoiser, _numbers(prior, measurement, numbers))
    if numbers is not None:
        raise BadOption(
            "numbers: they are of the slices of a volume, for a 2-D prior; this is one image",
            "leave numbers out",
        )
    return denoiser


def how_of(settings: Settings, n: int, fast: bool) -> ReconstructionMethod:
    """What of the settings an interval is for."""
    return ReconstructionMethod(
        fast, n, settings.rule, settings.n_steps, settings.high, settings.low, settings.caution, METHOD
    )


def _way(settings: Settings, noisy: bool) -> str:
    """How draws were made, in words. noisy: from an image that was measured whole."""
    if noisy:
        return f"from the noisy image down, {settings.n_steps} levels"
    doubt = "" if settings.caution else ", without caution"
    return f"{settings.rule}, {settings.n_steps} levels from {settings.high:g} to {settings.low:g}{doubt}"


def _deviation(
    denoiser: Denoiser, inside: Measurement, view: tuple[Tensor, float] | None, point: Tensor, seed: int
) -> Tensor:
    """(C, i, j[, k]) of the point estimate, network units."""
    if view is not None:
        return denoiser.moments(view[0], torch.full((1,), view[1]))[1][0]
    return local_deviation(denoiser, inside, point, generator(seed, "deviation"), n=_side_by_side(inside, 8))


def _calibration(
    prior: Prior, inside: Measurement, how: ReconstructionMethod, label: str | None
) -> tuple[Calibration | None, str]:
    if label is not None:
        return None, "calibrations are made without a label"
    if how.n == 1 and not how.fast:
        return None, "one draw has no spread"
    return entry_for(prior.promises.reconstruct, inside, how)


def noisy_image(inside: Measurement) -> tuple[Tensor, float] | None:
    """(image, sigma) where what was measured IS the image plus white noise (A^H A = c I), up to a factor;
    else None.

    Then D(image, sigma) is the posterior's mean and needs no rule.
    """
    operator = inside.operator
    variance = torch.as_tensor(inside.noise.variance(inside.y))
    if float(variance.max()) > 1.001 * float(variance.min()):
        return None
    probe = torch.randn((1, *operator.domain), generator=generator(0, "probe"))
    back = operator.adjoint(operator.apply(probe))
    gain = float((back * probe).sum() / probe.square().sum())
    if gain <= 0 or float((back - gain * probe).norm()) > 1e-3 * gain * float(probe.norm()):
        return None
    return operator.adjoint(inside.y) / gain, float(variance.mean() / gain) ** 0.5


def _is_stack(prior: Prior, measurement: Measurement) -> bool:
    """A volume, which a 2-D prior takes slice by slice."""
    return prior.card.ndim == 2 and len(measurement.operator.domain) == 4


def _numbers(prior: Prior, measurement: Measurement, numbers: Tensor | None) -> Tensor | None:
    """What is told of each slice. Raises ShapeMismatch for other numbers than the card's."""
    n, known = measurement.operator.domain[-1], prior.card.numbers
    if numbers is not None and tuple(numbers.shape) != (n, len(known)):
        raise ShapeMismatch(
            "reconstruct, numbers",
            f"({n}, {len(known)}): a row for each slice, in it what the card names",
            tuple(numbers.shape),
        )
    return card_heights(prior.card, n) if numbers is None else numbers


def _side_by_side(inside: Measurement, n: int) -> int:
    """How many of n draws memory holds at a time; two at least, which is the fewest that have a spread."""
    return max(min(n, 2), min(n, _MOST // math.prod(inside.operator.domain)))


def _in_parts(
    draw: Callable[[int, OnStep | None], Tensor], n: int, inside: Measurement, on_step: OnStep | None
) -> Tensor:
    """(n, *domain): as many at a time as memory holds, from one stream of random numbers, and the steps of
    all parts counted as one walk.
    """
    most = _side_by_side(inside, n)
    sizes = [min(most, n - first) for first in range(0, n, most)]

    def of_all(part: int, heard: OnStep) -> OnStep:
        return lambda done, total: heard(part * total + done, len(sizes) * total)

    return torch.cat([draw(size, on_step and of_all(part, on_step)) for part, size in enumerate(sizes)])


def _point(problem: _Problem, on_step: OnStep | None) -> Tensor:
    """(1, *domain): the denoiser itself where that is exact, else six rounds of plug-and-play."""
    denoiser, inside, caution = problem.denoiser, problem.inside, problem.settings.caution
    if problem.view is not None:
        image, sigma = problem.view
        return denoiser(image, torch.full((1,), sigma))
    if problem.solid:
        return point_estimate_by_slice(denoiser, inside, least_squares(inside), on_step, caution=caution)
    return plug_and_play(denoiser, inside, least_squares(inside), caution=caution, on_step=on_step)


def _denoised(
    denoiser: Denoiser,
    view: tuple[Tensor, float],
    n: int,
    rng: torch.Generator,
    settings: Settings,
    on_step: OnStep | None,
) -> Tensor:
    image, noise = view
    guide = merge_views(denoiser, image, noise, rng)
    sigmas = karras_levels(settings.n_steps, low=min(settings.low, noise / 4), high=4 * noise)
    x = initial_image(guide, (n, *image.shape[1:]), sigmas[0], rng=rng)
    return sample(guide, x, sigmas, rng=rng, on_step=on_step)


def _fits(prior: Prior, measurement: Measurement) -> Measurement:
    """The measurement in single precision, as the network wants it. Raises ShapeMismatch where it is none of
    one image such as the prior's.
    """
    operator, card = measurement.operator, prior.card
    if (
        len(operator.domain) not in (card.ndim + 1, 4)
        or operator.domain[0] != len(card.channels)
        or operator.domain_is_complex
    ):
        got = f"{operator.domain}{', complex' if operator.domain_is_complex else ''}"
        dimensions = "2 or 3" if card.ndim == 2 else "3"
        raise ShapeMismatch(
            "reconstruct",
            f"a measurement of a real image of {len(card.channels)} channel(s) and {dimensions} dimensions",
            got,
        )
    if len(operator.domain) > card.ndim + 1 and operator.domain[-1] < 3:
        raise ShapeMismatch(
            "reconstruct", "a volume of at least 3 slices", operator.domain, "reconstruct them one by one"
        )
    if len(measurement.y) != 1:
        raise ShapeMismatch(
            "reconstruct",
            "one measurement, y of (1, ...)",
            tuple(measurement.y.shape),
            "reconstruct them one by one",
        )
    return replace(measurement, y=measurement.y.to(torch.complex64 if operator.is_complex else torch.float32))


def windowed(prior: Prior, tile: int = 256) -> Denoiser:
    """The prior in windows of at most ``tile`` pixels or 96 voxels a side that overlap by a quarter; memory
    stays bounded whatever the image.
    """
    side = tile if prior.card.ndim == 2 else min(tile, 96)
    return batched(tiled(prior, side, side // 4), 16 if prior.card.ndim == 2 else 1)


def _draws(
    denoiser: Denoiser,
    inside: Measurement,
    domain: tuple[int, ...],
    n: int,
    rng: torch.Generator,
    settings: Settings,
    on_step: OnStep | None,
) -> Tensor:
    careful = settings.caution and settings.rule == "proximal"  # chosen for it alone
    guide = RULES[settings.rule](cautious(denoiser) if careful else denoiser, inside, rng)
    sigmas = log_levels(settings.n_steps, low=settings.low, high=settings.high)
    x = initial_image(guide, (n, *domain), sigmas[0], rng=rng)
    return sample(guide, x, sigmas, rng=rng, on_step=on_step)


def label_index(prior: Prior, label: str) -> int:
    """Position of a label on the card. Raises BadOption with the nearest name."""
    if label not in prior.card.labels:
        known = list(prior.card.labels)
        raise BadOption(
            f"label: {label!r} is not on the card of {prior.card.name!r}",
            did_you_mean(label, known) if known else "this prior has no labels",
        )
    return prior.card.labels.index(label)


def least_squares(measurement: Measurement, n_iterations: int = 20) -> Tensor:
    """(1, *domain): the image that fits the measurement, no prior; a little damping keeps what was not
    measured at zero.
    """
    operator = measurement.operator
    start = operator.adjoint(measurement.y)
    size = (
        float(
            torch.linalg.vector_norm(operator.apply(start)) / torch.linalg.vector_norm(start).clamp_min(1e-12)
        )
        ** 2
    )
    return cg(
        lambda x: operator.adjoint(operator.apply(x)) + 1e-3 * size * x,
        start,
        torch.zeros_like(start),
        n=n_iterations,
    )


def scale_from(prior: Prior, measurement: Measurement) -> tuple[float, float]:
    """The physical values at -1 and 1: the card's where the unit is physical, else those of the least-squares
    image where anything was measured.
    """
    if prior.card.scaling == "fixed":
        return prior.card.low, prior.card.high
    operator, image = measurement.operator, least_squares(measurement)
    reached = operator.adjoint(operator.apply(torch.ones_like(image)))
    # the holes of an inpainting mask are zero in the image and would pass for air
    seen = reached > 0.01 * reached.max()
    values = image[seen] if bool(seen.any()) else image  # a handful of lines may miss a constant image
    return scale_of(prior.card, Volume(values.reshape(1, -1, 1).cpu().numpy()))
