"""How far a reconstruction can be trusted, for its report: an interval where one was calibrated, what the
data said, and what the prior said.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from ...data.views import grey, number, sides, upright, window_for
from ...data.volume import Volume
from ...evidence.attribution import Attribution, attribution
from ...operators import Measurement
from ...prior import Prior
from ...prior.promises import Calibration
from ...sampling import Draws
from ..core.outputs import Output
from ..core.progress import Event, OnEvent
from ..page.blocks import Grid, Picture, Section, Table
from ..page.pictures import coloured

__all__ = ["LEVEL", "Trusted", "spread_caption", "trusted", "unlike_kind"]

LEVEL = 0.9
"""Of every interval that a run prints."""


@dataclass(frozen=True, slots=True)
class Trusted:
    """metrics: for run.json. section: of the report. outputs: the interval's ends, where there are any.
    headline: whether the result fits, and its interval.
    """

    metrics: dict[str, Any]
    section: Section
    outputs: tuple[Output, ...]
    headline: tuple[str, ...]


def trusted(
    measurement: Measurement,
    draws: Draws,
    grid: Volume,
    half: float,
    *,
    suffix: str,
    like: Volume | None = None,
    truth: Tensor | None = None,
) -> Trusted:
    """measurement: in the unit of the draws. grid: a volume of the result's shape and place. half: half of
    the intensity range. truth: (1, C, i, j[, k]).
    """
    told = attribution(measurement, draws, truth=truth)
    interval, found = _interval(draws, half, truth)
    unit, spacing = grid.unit or "no unit", grid.spacing_mm
    finest = told.finest * min(spacing) if spacing is not None else None
    metrics: dict[str, Any] = {
        "residual": told.residual.judged,
        "fits": told.residual.fits,
        "null_share": told.null_share,
        "null_check": told.check,
        "unheard_share": told.unheard_share,
        "finest_from_data_mm": finest if finest is None or finest < float("inf") else None,
        **interval,
    }

    def shown(x: Tensor) -> Volume:
        return grid.with_data(x.numpy())

    outputs: list[Output] = []
    pictures = _pictures(told, shown, half, unit)
    if found is not None:
        width = found.scale * draws.deviation if draws.deviation is not None else draws.std()
        ends = draws.interval(LEVEL)
        note = f"of the calibrated {LEVEL:.0%} interval ({found.n} images of {found.patients} patients)"
        outputs = [
            Output(
                f"interval-{name}",
                shown(x).noted(f"{what} end {note}", synthetic=True),
                "reconstructed",
                like=like,
                suffix=suffix,
            )
            for name, what, x in (("low", "lower", ends.low), ("high", "upper", ends.high))
        ]
        top = 0.4 * half
        heat = coloured(upright(shown(width)), top, name="viridis")
        pictures.insert(
            0,
            Picture(
                heat,
                f"{LEVEL:.0%} interval",
                f"Half of its width at each voxel, calibrated on {found.n} images.",
                legend=("0", f"{number(top)} {unit}", "viridis"),
            ),
        )
    section = _section(told, draws, metrics, found, pictures, unit, finest)
    return Trusted(metrics, section, tuple(outputs), _headline(told, metrics, unit))


def _headline(told: Attribution, metrics: dict[str, Any], unit: str) -> tuple[str, str]:
    """Whether the result fits the measurement, and how far a voxel may be off."""
    fits = f"The result {told.residual.verdict}."
    if (at := metrics["interval"]) is None:
        return fits, f"No interval: {metrics['interval_refused']}."
    bound = _bound(at["psnr_at_least_db"], at.get("short", ""))
    return fits, f"{at['level']:.0%} interval: median width {at['median_width']:.3g} {unit}; {bound}"


def _bound(db: float | None, short: str) -> str:
    """How good the image is as a whole, or why that is not promised."""
    if db is None:
        return f"no bound on the PSNR: {short}."
    return f"PSNR of at least {db:.1f} dB for 9 of 10 such measurements."


def _interval(draws: Draws, half: float, truth: Tensor | None) -> tuple[dict[str, Any], Calibration | None]:
    """What is said of the interval, and the calibration it rests on; the reason where there is none."""
    found = draws.calibration
    if found is None or found.level != LEVEL:
        return {
            "interval": None,
            "interval_refused": draws.refused or f"calibrated at another level than {LEVEL}",
        }, None
    ends = draws.interval(LEVEL)
    said: dict[str, Any] = {
        "level": LEVEL,
        "scale": found.scale,
        "n": found.n,
        "patients": found.patients,
        **{name: at for name in ("units", "icc", "short") if (at := getattr(found, name)) not in ("", None)},
        "median_width": float((ends.high - ends.low).median()),
        "psnr_at_least_db": None if found.missing else draws.psnr_bound(2 * half, LEVEL),
    }
    if truth is not None:
        inside = (truth[0] >= ends.low) & (truth[0] <= ends.high)
        body = truth[0] > truth.min() + 0.025 * (truth.max() - truth.min())
        said["covered_here"] = float(inside[body].float().mean())
    return {"interval": said}, found


def _pictures(told: Attribution, shown: Callable[[Tensor], Volume], half: float, unit: str) -> list[Picture]:
    top = 0.4 * half
    bar = ("0", f"{number(top)} {unit}", "viridis")
    image = shown(told.data_said + told.prior_said)
    window = window_for(image)
    heard = image.data - told.unheard.numpy()
    pictures = [
        Picture(
            grey(upright(image.with_data(heard)), window),
            "From the measurement",
            f"The result as far as the measurement decides it, in spite of its noise; {window}.",
            window=window,
            edges=sides(image),
        ),
        Picture(
            coloured(upright(shown(told.unheard.abs())), top, name="viridis"),
            "From the prior",
            "The rest of the result, without its sign. The measurement does not decide it.",
            synthetic=True,
            legend=bar,
        ),
    ]
    if told.prior_spread is not None and told.null_share > 1e-4:
        heat = coloured(upright(shown(told.prior_spread)), top, name="viridis")
        pictures.append(
            Picture(
                heat,
                "Where nothing was measured",
                "Spread of the draws in what the measurement cannot see at all.",
                synthetic=True,
                legend=bar,
            )
        )
    return pictures


def _section(
    told: Attribution,
    draws: Draws,
    metrics: dict[str, Any],
    found: Calibration | None,
    pictures: list[Picture],
    unit: str,
    finest: float | None,
) -> Section:
    rows = [["question", "answer"]]
    rows.append(["Does it fit the measurement?", f"It {told.residual.verdict}."])
    rows.append(
        [
            "Which share of the image can the measurement not see?",
            f"{told.null_share:.1%} of its energy (numeric check {told.check:.0e}).",
        ]
    )
    rows.append(
        ["Which share did the prior decide, the noise counted?", f"{told.unheard_share:.1%} of its energy."]
    )
    size = (
        f"{told.finest:.1f} voxels" + (f", {finest:.1f} mm" if finest is not None else "")
        if told.finest < float("inf")
        else "none but the mean"
    )
    answer = (
        f"A period of {size}; what is finer rests partly on the prior."
        if told.finest < float("inf")
        else "None but the mean."
    )
    rows.append(["Finest detail the data decided?", answer])
    rows.append(["How far may a voxel be off?", _said(metrics, found, unit)])
    if found is not None:
        said = _bound(metrics["interval"]["psnr_at_least_db"], found.short)
        rows.append(["How good is the image as a whole?", said[0].upper() + said[1:]])
    caveats = []
    if found is None:
        caveats.append(
            f"No interval is printed: {metrics['interval_refused']}. medprior calibrate measures one on "
            "scans of other patients."
        )
    else:
        caveats.append(
            f"The interval was calibrated on SIMULATED measurements of {found.basis}; it holds in the mean "
            "over voxels and scans like those, not for each voxel, and not for findings they do not show."
        )
        if found.missing:
            caveats.append(f"The interval is no promise for another patient: {found.short}.")
    return Section(
        "What it rests on",
        f"Of the result shown above ({draws.made_by}).",
        [Grid(pictures), Table(rows, words=True)],
        caveats=tuple(caveats),
    )


def unlike_kind(prior: Prior, draws: Draws, on_event: OnEvent) -> tuple[str, ...]:
    """That the prior does not know such images, and why; a warning says so, too. () where it does, or where
    nothing says.
    """
    if not draws.unlike:
        return ()
    said = (
        f"This prior does not know such images: their {draws.unlike} is not that of its training images "
        f"({prior.card.name}). What was not measured may be invented."
    )
    on_event(Event("warning", said))
    return (said,)


def spread_caption(draws: Draws) -> str:
    """Under a picture of the draws' own standard deviation."""
    below = " The calibrated interval is below." if draws.calibration is not None else ""
    return f"Standard deviation, UNCALIBRATED: where the draws disagree.{below}"


def _said(metrics: dict[str, Any], found: Calibration | None, unit: str) -> str:
    if found is None:
        return "Not known: no interval was calibrated for such a measurement."
    at = metrics["interval"]
    here = f" Here, where the truth is known, {at['covered_here']:.1%} do." if "covered_here" in at else ""
    width = f"{number(at['median_width'])} {unit}".rstrip(".")
    return f"{LEVEL:.0%} of the voxels of a scan lie within an interval whose median width is {width}.{here}"
