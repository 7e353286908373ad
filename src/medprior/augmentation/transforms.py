"""Every transform by its name: how its parameters are drawn, what they may be, and how they are applied.
Drawing and applying know nothing of each other.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from ..errors import BadOption, did_you_mean
from . import intensity, scanner
from .frame import Frame, Parameters
from .intensity import ImageStatistics
from .spline import INJECTIVE

__all__ = ["DRAWN", "TRANSFORMS", "Draw", "Numbers", "Strength", "Transform", "check_step", "transform_named"]


@dataclass(frozen=True, slots=True)
class Strength:
    """The range that a parameter is drawn from, and how often the transform happens at all. low, high: as the
    transform's ``unit`` says.
    """

    low: float
    high: float
    probability: float = 0.5


Numbers = Iterator[float]
"""Evenly drawn, from 0 to below 1, of 53 bits each."""

DRAWN = 24
"""So many of them belong to each transform; none needs more."""

Draw = Callable[[Strength, Frame, Numbers], Parameters | None]
Apply = Callable[[Tensor, Parameters, ImageStatistics], Tensor]


@dataclass(frozen=True, slots=True)
class Transform:
    """One kind of change.

    unit: what low and high of its strength are; limits: what they may be. draw: gives plain numbers, or None
    where they would change nothing. parameters: their names and kinds; each kind has a check in ``_KINDS``; a
    "number" lies within the limits, too. apply: None for what moves content: ``geometry.mapping`` composes
    those.
    """

    unit: str
    limits: tuple[float, float]
    draw: Draw
    parameters: Mapping[str, str]
    apply: Apply | None = None


def uniform(low: float, high: float, numbers: Numbers) -> float:
    """Evenly between low and high."""
    return low + (high - low) * next(numbers)


def log_uniform(low: float, high: float, numbers: Numbers) -> float:
    """Evenly in the logarithm, so that 1/2 is as likely as 2."""
    return math.exp(uniform(math.log(low), math.log(high), numbers))


def uniform_integer(low: int, high: int, numbers: Numbers) -> int:
    """One of low..high, both included."""
    return low + int(next(numbers) * (high - low + 1))


def new_seed(numbers: Numbers) -> int:
    """Below 2**53, so that JSON of any language keeps it."""
    return int(next(numbers) * 2**53)


def _number(name: str, how: Callable[[float, float, Numbers], float], neutral: float) -> Draw:
    def draw(s: Strength, frame: Frame, numbers: Numbers) -> Parameters | None:
        value = how(s.low, s.high, numbers)
        return None if value == neutral else {name: value}

    return draw


def _seeded(name: str, **fixed: int) -> Draw:
    def draw(s: Strength, frame: Frame, numbers: Numbers) -> Parameters | None:
        value = uniform(s.low, s.high, numbers)
        return None if value == 0 else {name: value, **fixed, "seed": new_seed(numbers)}

    return draw


def _rotate(s: Strength, frame: Frame, numbers: Numbers) -> Parameters | None:
    degrees = [uniform(s.low, s.high, numbers) for _ in range(1 if frame.ndim == 2 else 3)]
    if frame.thick is not None:  # thick slices are turned in their plane, not tilted
        degrees = [d if axis == frame.thick else 0.0 for axis, d in enumerate(degrees)]
    return {"degrees": degrees} if any(degrees) else None


def _shift(s: Strength, frame: Frame, numbers: Numbers) -> Parameters | None:
    share = [0.0 if axis == frame.thick else uniform(s.low, s.high, numbers) for axis in range(frame.ndim)]
    return {"share": share} if any(share) else None


def _flip(direction: str) -> Draw:
    def draw(s: Strength, frame: Frame, numbers: Numbers) -> Parameters | None:
        axis = frame.axis(direction)
        if axis is None:
            known = (
                f"its axes point to {frame.codes}"
                if frame.codes
                else "the directions of its axes are unknown"
            )
            remedy = "leave the flip out, or state codes such as 'RAS' in the frame"
            raise BadOption(
                f"flip_{direction.replace('-', '_')}: no axis of this image runs {direction}: {known}", remedy
            )
        return {"axis": axis}

    return draw


def _slopes(s: Strength, frame: Frame, numbers: Numbers) -> Parameters | None:
    slopes = [uniform(-1, 1, numbers) * uniform(s.low, s.high, numbers) for _ in range(frame.ndim)]
    return {"slopes": slopes} if any(slopes) else None


def _phase_axis(frame: Frame, numbers: Numbers) -> int:
    """Phase is encoded along an axis in the plane of thick slices; of cubes along any."""
    axes = [a for a in range(frame.ndim) if a != frame.thick]
    return axes[uniform_integer(0, len(axes) - 1, numbers)]


def _motion(s: Strength, frame: Frame, numbers: Numbers) -> Parameters | None:
    axis, most, segments = _phase_axis(frame, numbers), uniform(s.low, s.high, numbers), []
    if most == 0:
        return None
    for side in (-1.0, 1.0)[
        : uniform_integer(1, 2, numbers)
    ]:  # before the middle of k-space was read, after it, or both
        at = uniform(0.1, 0.7, numbers)
        degrees = [most * uniform(-1, 1, numbers) for _ in range(1 if frame.ndim == 2 else 3)]
        if frame.thick is not None:
            degrees = [d if a == frame.thick else 0.0 for a, d in enumerate(degrees)]
        share = [0.0 if a == frame.thick else most * uniform(-1, 1, numbers) / 100 for a in range(frame.ndim)]
        low, high = (-1.0, -at) if side < 0 else (at, 1.0)
        segments.append({"from": low, "to": high, "degrees": degrees, "share": share})
    return {"axis": axis, "segments": segments}


def _ghost(s: Strength, frame: Frame, numbers: Numbers) -> Parameters | None:
    share = uniform(s.low, s.high, numbers)
    return (
        {"axis": _phase_axis(frame, numbers), "every": uniform_integer(2, 8, numbers), "share": share}
        if share
        else None
    )


def _spike(s: Strength, frame: Frame, numbers: Numbers) -> Parameters | None:
    share = uniform(s.low, s.high, numbers)
    places = [
        [uniform(0.05, 0.95, numbers) for _ in range(frame.ndim)]
        for _ in range(uniform_integer(1, 2, numbers))
    ]
    return {"share": share, "places": places} if share else None


def _dose(s: Strength, frame: Frame, numbers: Numbers) -> Parameters | None:
    fraction = log_uniform(s.low, s.high, numbers)
    return (
        {"fraction": fraction, "photons": 1e5, "views": 180, "seed": new_seed(numbers)}
        if fraction < 1
        else None
    )


def _speckle(s: Strength, frame: Frame, numbers: Numbers) -> Parameters | None:
    share = uniform(s.low, s.high, numbers)
    grain = [
        uniform(0.5, 1.0, numbers),
        *(uniform(0.8, 1.6, numbers) for _ in range(frame.ndim - 1)),
    ]  # the beam is wider than its pulse is long
    return {"share": share, "grain": grain, "seed": new_seed(numbers)} if share else None


_SHARE, _RATIO = "share of the range", "factor"
_FLIP = {"axis": "axis"}

TRANSFORMS: dict[str, Transform] = {
    "rotate": Transform("degrees", (-180, 180), _rotate, {"degrees": "angles"}),
    "scale": Transform(_RATIO, (0.25, 4), _number("factor", log_uniform, 1.0), {"factor": "number"}),
    "shift": Transform("share of each side", (-0.5, 0.5), _shift, {"share": "numbers"}),
    "elastic": Transform(
        "share of the distance of its knots",
        (0, INJECTIVE),
        _seeded("share", cells=5),
        {"share": "number", "cells": "count", "seed": "seed"},
    ),
    "flip_left_right": Transform("none", (0, 1), _flip("left-right"), _FLIP),
    "flip_front_back": Transform("none", (0, 1), _flip("front-back"), _FLIP),
    "flip_head_foot": Transform("none", (0, 1), _flip("head-foot"), _FLIP),
    "contrast": Transform(
        _RATIO, (0.2, 5), _number("factor", log_uniform, 1.0), {"factor": "number"}, intensity.contrast
    ),
    "gamma": Transform(
        "exponent", (0.2, 5), _number("exponent", log_uniform, 1.0), {"exponent": "number"}, intensity.gamma
    ),
    "brightness": Transform(
        _SHARE, (-1, 1), _number("share", uniform, 0.0), {"share": "number"}, intensity.brightness
    ),
    "lighting": Transform(
        "ln of the gain at an edge", (0, 1), _slopes, {"slopes": "numbers"}, intensity.lighting
    ),
    "bias_field": Transform(
        "ln of the largest gain",
        (0, 1.5),
        _seeded("share", cells=2),
        {"share": "number", "cells": "count", "seed": "seed"},
        intensity.bias_field,
    ),
    "motion": Transform(
        "degrees, and hundredths of each side",
        (0, 30),
        _motion,
        {"axis": "axis", "segments": "segments"},
        scanner.motion,
    ),
    "ghost": Transform(
        "share of a weak line that is lost",
        (0, 1),
        _ghost,
        {"axis": "axis", "every": "count", "share": "number"},
        scanner.ghost,
    ),
    "spike": Transform(
        "share of the largest sample of k-space",
        (0, 1),
        _spike,
        {"share": "number", "places": "rows of numbers"},
        scanner.spike,
    ),
    "speckle": Transform(
        _SHARE, (0, 1), _speckle, {"share": "number", "grain": "numbers", "seed": "seed"}, scanner.speckle
    ),
    "blur": Transform(
        "voxels of the finest axis",
        (0, 8),
        _number("sigma", uniform, 0.0),
        {"sigma": "number"},
        intensity.gaussian_blur,
    ),
    "low_resolution": Transform(
        "share of the voxels along an axis",
        (0.1, 1),
        _number("zoom", uniform, 1.0),
        {"zoom": "number"},
        intensity.low_resolution,
    ),
    "dose": Transform(
        "share of the photons",
        (0.02, 1),
        _dose,
        {"fraction": "number", "photons": "amount", "views": "count", "seed": "seed"},
        scanner.dose,
    ),
    "rician_noise": Transform(
        _SHARE, (0, 1), _seeded("share"), {"share": "number", "seed": "seed"}, intensity.rician_noise
    ),
    "noise": Transform(
        _SHARE, (0, 1), _seeded("share"), {"share": "number", "seed": "seed"}, intensity.noise
    ),
}
"""In the order in which they happen: the patient, the contrast, the scanner, its resolution, its noise."""


def transform_named(name: str) -> Transform:
    """The transform of a name. Raises BadOption with the nearest one."""
    if name not in TRANSFORMS:
        raise BadOption(f"transform: wanted a known name, got {name!r}", did_you_mean(name, list(TRANSFORMS)))
    return TRANSFORMS[name]


def check_step(step: Any, frame: Frame) -> Parameters:
    """A step of a record that was written elsewhere, or BadOption: its name, its parameters' names and kinds,
    nothing more and nothing less.
    """
    if not isinstance(step, Mapping) or not isinstance(step.get("name"), str):
        raise BadOption(f"record: wanted steps with a name, got {step!r}"[:200])
    wanted = transform_named(step["name"]).parameters
    given = {key: value for key, value in step.items() if key != "name"}
    if given.keys() != wanted.keys():
        raise BadOption(
            f"record, {step['name']}: wanted {', '.join(wanted)}, got "
            f"{', '.join(map(str, given)) or 'nothing'}"
        )
    for key, kind in wanted.items():
        if not _KINDS[kind](given[key], frame):
            raise BadOption(
                f"record, {step['name']}: {key}: wanted {kind}, as many as the image has axes, got "
                f"{given[key]!r}"[:300]
            )
        low, high = transform_named(step["name"]).limits
        if kind == "number" and not low <= given[key] <= high:
            raise BadOption(f"record, {step['name']}: {key}: wanted {low:g} to {high:g}, got {given[key]!r}")
    return dict(step)


def _is_number(value: Any, frame: Frame) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _is_count(value: Any, frame: Frame) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 1 <= value <= 10_000


def _is_numbers(value: Any, frame: Frame) -> bool:
    return isinstance(value, list) and len(value) == frame.ndim and all(_is_number(v, frame) for v in value)


def _is_angles(value: Any, frame: Frame) -> bool:
    return (
        isinstance(value, list)
        and len(value) == (1 if frame.ndim == 2 else 3)
        and all(_is_number(v, frame) for v in value)
    )


def _is_segment(value: Any, frame: Frame) -> bool:
    if not isinstance(value, Mapping) or value.keys() != {"from", "to", "degrees", "share"}:
        return False
    return (
        all(_is_number(value[k], frame) for k in ("from", "to"))
        and _is_angles(value["degrees"], frame)
        and _is_numbers(value["share"], frame)
    )


_KINDS: dict[str, Callable[[Any, Frame], bool]] = {
    "number": _is_number,
    "amount": lambda value, frame: _is_number(value, frame) and value > 0,
    "count": _is_count,
    "seed": lambda value, frame: (
        isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 2**63
    ),
    "axis": lambda value, frame: (
        isinstance(value, int) and not isinstance(value, bool) and 0 <= value < frame.ndim
    ),
    "numbers": _is_numbers,
    "angles": _is_angles,
    "rows of numbers": lambda value, frame: (
        isinstance(value, list) and all(_is_numbers(row, frame) for row in value)
    ),
    "segments": lambda value, frame: (
        isinstance(value, list) and all(_is_segment(one, frame) for one in value)
    ),
}
