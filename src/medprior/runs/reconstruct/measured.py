"""Reconstruct as a run, from measured data: no known image judges it, so plain methods and the misfit to the
data stand beside the result.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from PIL import Image
from torch import Tensor

from ...data.acquisitions import KSpace, Sinogram
from ...evidence.metrics import psnr, ssim
from ...prior import Prior
from ...sampling import Draws
from ..ask.requests import Reconstruct
from ..core.cost import announce_reconstruction
from ..core.outputs import Outcome, Output, suffix_of
from ..core.progress import Event, OnEvent
from ..page.blocks import Grid, Picture, Section, Table
from ..page.pictures import Window, coloured, grey, number, upright, window_for
from .scanner_files import Acquired, acquired, fitting_total_variation, fitting_wavelets
from .trust import spread_caption, trusted

__all__ = ["run_measured"]

Solve = Callable[..., Draws]


def run_measured(
    request: Reconstruct, prior: Prior, source: KSpace | Sinogram, on_event: OnEvent, solve: Solve
) -> Outcome:
    """The job, its outputs and its section. solve(request, prior, measurement, scale, on_step) -> Draws."""
    on_event(Event("stage", "coil maps, noise and geometry"))
    case = acquired(request, prior, source)
    for sentence in case.sentences:
        on_event(Event("note", f"measured: {sentence}"))
    steps = announce_reconstruction(
        prior,
        case.measurement,
        on_event,
        fast=request.fast,
        n=request.n,
        steps=request.steps,
        rule=request.rule,
    )
    on_event(
        Event(
            "stage",
            "computing the point estimate" if request.fast else "drawing from the posterior",
            0,
            steps,
        )
    )
    draws = solve(
        request,
        prior,
        case.measurement,
        case.scale,
        lambda done, total: on_event(Event("step", done=done, total=total)),
    )
    methods = dict(case.baselines)
    metrics: dict[str, Any] = {"measured": "; ".join(case.sentences), "made_by": draws.made_by}
    if request.baselines == "all":
        on_event(Event("stage", "total variation and wavelets that fit the noise"))
        methods["wavelets, weight by the noise"], metrics["wavelets_weight"] = fitting_wavelets(case)
        methods["total variation, weight by the noise"], metrics["total_variation_weight"] = (
            fitting_total_variation(case)
        )
    ours = (
        "medprior, point estimate"
        if request.fast
        else f"medprior, mean of {len(draws)} draws"
        if len(draws) > 1
        else "medprior, one draw"
    )
    methods[ours] = draws.mean()[None]
    metrics["methods"] = {
        name: {"misfit": float(case.measurement.misfit(x)[0]), **_against(case, x)}
        for name, x in methods.items()
    }
    metrics["misfit"] = metrics["methods"][ours]["misfit"]
    overrides = ("another modality than the prior's was allowed",) if request.allow_other else ()
    section, preview = _section(prior, case, draws, methods, metrics, ours)
    on_event(Event("stage", "what the data said, what the prior said"))
    proof = trusted(case.measurement, draws, case.grid, case.half, suffix=suffix_of(case.grid))
    return Outcome(
        [*_outputs(case, draws), *proof.outputs],
        metrics | proof.metrics,
        [section, proof.section],
        preview,
        overrides,
    )


def _against(case: Acquired, x: Tensor) -> dict[str, float]:
    """PSNR and SSIM against the reference, cut to its middle and scaled to it; {} where there is none."""
    if case.reference is None or any(
        have < want for have, want in zip(x.shape[2:], case.reference.shape, strict=True)
    ):
        return {}
    starts = [have // 2 - want // 2 for have, want in zip(x.shape[2:], case.reference.shape, strict=True)]
    cut = x[
        ..., starts[0] : starts[0] + case.reference.shape[0], starts[1] : starts[1] + case.reference.shape[1]
    ]
    truth = case.reference[None, None]
    fitted = cut * (float((cut * truth).sum()) / max(float(cut.square().sum()), 1e-30))
    top = float(truth.max())
    return {"psnr_db": float(psnr(fitted, truth, top)), "ssim": float(ssim(fitted, truth, top))}


def _outputs(case: Acquired, draws: Draws) -> list[Output]:
    suffix = suffix_of(case.grid)
    sentence = f"reconstructed by medprior from a measurement: {draws.made_by}, seed {draws.seed}"
    mean = case.grid.with_data(draws.mean().numpy()).noted(
        f"{sentence}, mean of {len(draws)}", synthetic=True
    )
    kept = replace(case.grid, data=draws.values[:, 0].numpy()).noted(
        f"{sentence}: each draw a channel", synthetic=True
    )
    outputs = [Output("reconstruction", mean, "reconstructed", suffix=suffix)]
    if len(draws) > 1:
        outputs.append(Output("draws", kept, "reconstructed", suffix=".npz"))
        spread = case.grid.with_data(draws.std().numpy()).noted(
            "standard deviation of the draws, uncalibrated", synthetic=True
        )
        outputs.append(Output("spread", spread, "map", suffix=suffix))
    return outputs


def _section(
    prior: Prior, case: Acquired, draws: Draws, methods: dict[str, Tensor], metrics: dict[str, Any], ours: str
) -> tuple[Section, list]:
    def volume(x: Tensor):
        return case.grid.with_data(x[0].numpy())

    window = window_for(volume(methods[ours]))
    unit = case.grid.unit or "no unit"
    pictures = {name: grey(upright(volume(x)), window) for name, x in methods.items()}
    low, high = float(case.shown.min()), float(case.shown.max())
    raw = grey(case.shown, Window(low, high if high > low else low + 1, "range")).resize(
        pictures[ours].size, Image.Resampling.NEAREST
    )
    shown = [Picture(raw, "Measured data", f"{case.shown_as}.")]
    shown += [
        Picture(image, name[:1].upper() + name[1:], f"{window}.", synthetic=name == ours)
        for name, image in pictures.items()
    ]
    if case.reference is not None:
        top = float(case.reference.max()) or 1.0
        shown.append(
            Picture(
                grey(case.reference.numpy(), Window(0.0, top, "range")),
                "What judges the result",
                f"It is {case.judge}, 0 to {number(top)}.",
            )
        )
    if len(draws) > 1:
        top = 0.4 * case.half
        heat = coloured(upright(volume(draws.std()[None])), top, name="viridis")
        caption = spread_caption(draws)
        shown.append(
            Picture(heat, "Spread of the draws", caption, legend=("0", f"{number(top)} {unit}", "viridis"))
        )
    judged = any("psnr_db" in found for found in metrics["methods"].values())
    head = ["method", "misfit", *(("PSNR (dB)", "SSIM") if judged else ())]
    rows = [
        [name, f"{m['misfit']:.2f}", *((f"{m['psnr_db']:.2f}", f"{m['ssim']:.3f}") if "psnr_db" in m else ())]
        for name, m in metrics["methods"].items()
    ]
    note = (
        "Misfit to the data: 1 is what the noise alone gives, more says that image or model is wrong, "
        "much less that noise was fitted."
    )
    if judged:
        note += (
            f" PSNR and SSIM against {case.judge}, each method scaled to it; range from 0 to its "
            "largest value."
        )
    section = Section(
        "Reconstruct: measured data",
        f"MEASURED: {metrics['measured']}. The prior and the measurement together give {len(draws)} possible "
        f"image{'s' if len(draws) > 1 else ''}.",
        [Grid(shown), Table([head, *rows], note)],
        caveats=_caveats(prior, case),
    )
    first = next(iter(pictures))
    return section, [
        ("measured data", raw),
        (first, pictures[first]),
        ("medprior (synthetic in part)", pictures[ours]),
    ]


def _caveats(prior: Prior, case: Acquired) -> tuple[str, ...]:
    lines = list(case.warnings)
    if case.reference is None:
        lines.append(
            "No known image judges this: a smooth, plausible picture is not a proof. Look where the plain "
            "methods disagree with it."
        )
    lines.append(f"Detail that was not measured comes from the prior ({prior.card.name}).")
    have, knows = case.grid.spacing_mm, prior.card.spacing_mm
    if have is None:
        lines.append(
            "The size of a pixel is not known, so it is not known either whether the prior has seen anatomy "
            "of this size."
        )
    elif knows is not None and max(h / k for h, k in zip(have, knows, strict=False)) < 0.8:
        lines.append(
            f"Pixels of {have[0]:.2g} mm are finer than the {knows[0]:g} mm that the prior has learned: its "
            "detail at this size is a guess."
        )
    if prior.card.axes:
        lines.append(
            "The file does not say where the patient's front is: the prior expects the image as shown by a "
            "radiologist; turn it with --turn and --mirror."
        )
    return tuple(lines)
