"""Reconstruct as a run, from measured data: no known image judges it, so plain methods and the misfit to the
data stand beside the result.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from torch import Tensor

from ...data.acquisitions import KSpace, Sinogram
from ...data.views import window_for
from ...data.volume import Volume
from ...evidence.metrics import psnr, ssim
from ...operators import Measurement
from ...prior import Prior
from ...sampling import Draws
from ..ask.requests import Reconstruct
from ..core.cost import announce_reconstruction
from ..core.outputs import Outcome, Output, Summary, suffix_of
from ..core.progress import Event, OnEvent
from .page import Judgement, measured_section
from .scanner_files import Acquired, acquired, fitting_total_variation, fitting_wavelets
from .trust import trusted, unlike_kind

__all__ = ["announce_solve", "run_measured"]

Solve = Callable[..., Draws]

TOTAL_VARIATION = "total variation, weight by the noise"


def run_measured(
    request: Reconstruct, prior: Prior, source: KSpace | Sinogram, on_event: OnEvent, solve: Solve
) -> Outcome:
    """The job, its outputs and its section. solve(request, prior, measurement, scale, on_step) -> Draws."""
    on_event(Event("stage", "coil maps, noise and geometry"))
    case = acquired(request, prior, source)
    for sentence in case.sentences:
        on_event(Event("note", f"measured: {sentence}"))
    counted = announce_solve(request, prior, case.measurement, on_event)
    draws = solve(request, prior, case.measurement, case.scale, counted)
    warnings = unlike_kind(prior, draws, on_event)
    every = bool(warnings) or request.baselines == "all"
    methods, metrics, ours = _methods(case, draws, on_event, every=every)
    overrides = ("another modality than the prior's was allowed",) if request.allow_other else ()
    section, preview = measured_section(
        prior, case, draws, Judgement(methods, metrics["methods"], ours, warnings)
    )
    on_event(Event("stage", "separating what comes from the measurement and what from the prior"))
    proof = trusted(case.measurement, draws, case.grid, case.half, suffix=suffix_of(case.grid))
    lines = [f"misfit {found['misfit']:.2f}  {name}" for name, found in metrics["methods"].items()]
    return Outcome(
        metrics | proof.metrics,
        [section, proof.section],
        preview,
        Summary(
            (*warnings, *lines, *proof.headline, *case.warnings),
            f"measured data, no known image; misfit {metrics['misfit']:.2f}",
        ),
        [*_outputs(case, draws), *(_plain(case, methods) if warnings else ()), *proof.outputs],
        overrides,
    )


def announce_solve(
    request: Reconstruct, prior: Prior, measurement: Measurement, on_event: OnEvent
) -> Callable[[int, int], None]:
    """Says what it will cost; gives what counts the steps."""
    steps = announce_reconstruction(
        prior, measurement, on_event, fast=request.fast, n=request.n, steps=request.steps, rule=request.rule
    )
    stage = "computing the point estimate" if request.fast else "drawing from the posterior"
    on_event(Event("stage", stage, 0, steps))
    return lambda done, total: on_event(Event("step", done=done, total=total))


def _methods(
    case: Acquired, draws: Draws, on_event: OnEvent, *, every: bool
) -> tuple[dict[str, Tensor], dict[str, Any], str]:
    """(image of every method, plain ones first and ours last; metrics; the name of ours). every: with total
    variation and wavelets.
    """
    methods = dict(case.baselines)
    metrics: dict[str, Any] = {"measured": "; ".join(case.sentences), "made_by": draws.made_by}
    metrics["unlike"] = draws.unlike
    if every:
        on_event(Event("stage", "total variation and wavelets that fit the noise"))
        methods["wavelets, weight by the noise"], metrics["wavelets_weight"] = fitting_wavelets(case)
        methods[TOTAL_VARIATION], metrics["total_variation_weight"] = fitting_total_variation(case)
    ours = (
        "medprior, point estimate"
        if draws.made_by.endswith("point estimate without spread")
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
    return methods, metrics, ours


def _against(case: Acquired, x: Tensor) -> dict[str, float]:
    """PSNR and SSIM against the reference, cut to its middle and scaled to it; {} where there is none."""
    if case.reference is None:
        return {}
    starts = [have // 2 - want // 2 for have, want in zip(x.shape[2:], case.reference.shape, strict=True)]
    cut = x[
        ..., starts[0] : starts[0] + case.reference.shape[0], starts[1] : starts[1] + case.reference.shape[1]
    ]
    truth = case.reference[None, None]
    fitted = cut * (float((cut * truth).sum()) / max(float(cut.square().sum()), 1e-30))
    top = float(truth.max())
    return {"psnr_db": float(psnr(fitted, truth, top)), "ssim": float(ssim(fitted, truth, top))}


def _to_look_at(
    mean: Volume, suffix: str, name: str = "reconstruction", kind: str = "reconstructed"
) -> list[Output]:
    """The result for other software beside an NPZ: NIfTI, or a picture where the size of a pixel is not
    known.
    """
    if suffix != ".npz":
        return []
    if mean.affine is not None or mean.spacing_mm is not None:
        return [Output(name, mean, kind, suffix=".nii.gz")]
    window = window_for(mean)
    return [Output(name, mean, kind, suffix=".png", window=(window.low, window.high))]


def _plain(case: Acquired, methods: Mapping[str, Tensor]) -> list[Output]:
    """The image without a prior, to be looked at first where the prior does not know such images."""
    image = case.grid.with_data(methods[TOTAL_VARIATION][0].numpy())
    suffix = suffix_of(case.grid)
    plain = Output("plain", image.noted(f"{TOTAL_VARIATION}, no prior"), "converted", suffix=suffix)
    return [plain, *_to_look_at(image, suffix, "plain", "converted")]


def _outputs(case: Acquired, draws: Draws) -> list[Output]:
    suffix = suffix_of(case.grid)
    sentence = f"reconstructed by medprior from a measurement: {draws.made_by}, seed {draws.seed}"
    mean = case.grid.with_data(draws.mean().numpy()).noted(
        f"{sentence}, mean of {len(draws)}", synthetic=True
    )
    kept = replace(case.grid, data=draws.values[:, 0].numpy()).noted(
        f"{sentence}: each draw a channel", synthetic=True
    )
    outputs = [Output("reconstruction", mean, "reconstructed", suffix=suffix), *_to_look_at(mean, suffix)]
    if len(draws) > 1:
        outputs.append(Output("draws", kept, "reconstructed", suffix=".npz"))
        spread = case.grid.with_data(draws.std().numpy()).noted(
            "standard deviation of the draws, uncalibrated", synthetic=True
        )
        outputs.append(Output("spread", spread, "map", suffix=suffix))
    return outputs
