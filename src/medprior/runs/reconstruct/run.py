"""Reconstruct as a run: a simulated measurement, the posterior mean, its spread, and every trivial method
beside it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from torch import Tensor

from ...data.acquisitions import KSpace, Sinogram
from ...data.axes import reorient
from ...data.volume import Volume
from ...evidence.metrics import psnr, ssim
from ...jobs.reconstruct import Settings, reconstruct
from ...operators import Measurement
from ...prior import Prior
from ...sampling import Draws
from ..ask.requests import Reconstruct
from ..core.outputs import Outcome, Output, ScanResult, Summary, suffix_of
from ..core.progress import Event, OnEvent
from .measured import announce_solve, run_measured
from .page import Judgement, simulated_section
from .simulate import Case, best_total_variation, best_wavelets, case_of
from .trust import trusted, unlike_kind

__all__ = ["against_plain", "method_lines", "run_reconstruct", "score_methods", "solved"]


def run_reconstruct(
    request: Reconstruct, prior: Prior, volume: Volume | KSpace | Sinogram, on_event: OnEvent
) -> Outcome:
    """The job, its outputs and its section."""
    if not isinstance(volume, Volume):
        return run_measured(request, prior, volume, on_event, solved)
    on_event(Event("stage", "simulating the measurement"))
    case = case_of(request, prior, volume)
    on_event(Event("note", f"simulated: {case.sentence}"))
    counted = announce_solve(request, prior, case.measurement, on_event)
    draws = solved(request, prior, case.measurement, None, counted)
    warnings = unlike_kind(prior, draws, on_event)
    baselines = "all" if warnings else request.baselines
    if baselines == "all":
        on_event(Event("stage", "total variation and wavelets, each with its best weight"))
    methods, metrics, ours = score_methods(case, draws, baselines=baselines)
    overrides = ("another modality or unit than the prior's was allowed",) if request.allow_other else ()
    section, preview = simulated_section(
        prior, case, draws, Judgement(methods, metrics["methods"], ours, warnings), request.simulated
    )
    outputs = _outputs(case, draws, volume)
    on_event(Event("stage", "separating what comes from the measurement and what from the prior"))
    proof = trusted(
        case.measurement,
        draws,
        case.known,
        case.half,
        suffix=outputs[0].suffix,
        like=outputs[0].like,
        truth=case.image,
    )
    found = metrics["methods"]
    return Outcome(
        metrics | proof.metrics,
        [section, proof.section],
        preview,
        Summary((*warnings, *method_lines(found), *proof.headline), against_plain(found)),
        [in_space(one, volume) for one in (*outputs, *proof.outputs)],
        overrides,
        answer=judged_answer(found),
    )


def judged_answer(methods: Mapping[str, Mapping[str, Any]]) -> ScanResult:
    """PSNR and SSIM of ours, which is the last, beside the best plain method: the worst scan comes first."""
    *plain, ours = methods.values()
    best = max(at["psnr_db"] for at in plain)
    return ScanResult(
        {"psnr_db": ours["psnr_db"], "ssim": ours["ssim"], "plain_psnr_db": best}, (ours["psnr_db"],)
    )


def in_space(output: Output, source: Volume) -> Output:
    """A slice of a NIfTI volume as a volume of one slice in the axes of its source, so that any viewer lays
    it over that; other outputs as they are.
    """
    volume = output.volume
    sliced = volume.ndim == 2 and source.ndim == 3 and volume.affine is not None
    if source.provenance.format != "nifti" or not sliced or not output.suffix.startswith(".nii"):
        return output
    slab = reorient(replace(volume, data=volume.data[..., None]), "RAS")
    return replace(output, volume=slab, like=source)


def method_lines(methods: Mapping[str, Mapping[str, Any]]) -> tuple[str, ...]:
    """PSNR and SSIM of each method."""
    return tuple(f"{at['psnr_db']:.2f} dB  SSIM {at['ssim']:.3f}  {name}" for name, at in methods.items())


def against_plain(methods: Mapping[str, Mapping[str, Any]]) -> str:
    """Ours, which is the last, beside the best plain method."""
    *plain, (ours, found) = methods.items()
    name, best = max(plain, key=lambda item: item[1]["psnr_db"])
    return f"{found['psnr_db']:.1f} dB ({ours}); {best['psnr_db']:.1f} dB ({name})"


def solved(
    request: Reconstruct,
    prior: Prior,
    measurement: Measurement,
    scale: tuple[float, float] | None = None,
    on_step: Callable[[int, int], None] | None = None,
) -> Draws:
    """The draws that a request asks for. scale: the values at -1 and 1 of the prior, where they are known."""
    return reconstruct(
        prior,
        measurement,
        scale=scale,
        n=1 if request.fast else request.n,
        seed=request.seed,
        settings=Settings(rule=request.rule, n_steps=request.steps),
        label=request.label,
        fast=request.fast,
        on_step=on_step,
    )


def score_methods(
    case: Case, draws: Draws, *, baselines: str
) -> tuple[dict[str, Tensor], dict[str, Any], str]:
    """(image of every method, plain ones first and ours last; metrics; the name of ours). baselines: "all"
    has total variation, too.
    """
    methods = dict(case.baselines)
    metrics: dict[str, Any] = {"simulated": case.sentence, "made_by": draws.made_by, "unlike": draws.unlike}
    if baselines == "all":
        (
            methods["wavelets, best weight for this image"],
            methods["total variation, best weight for this image"],
            metrics["total_variation_weight"],
        ) = _sparse(case)
    ours = (
        f"medprior, mean of {len(draws)} draws"
        if len(draws) > 1
        else "medprior, point estimate"
        if "point estimate" in draws.made_by
        else "medprior, one draw"
    )
    methods[ours] = draws.mean()[None]
    metrics["methods"] = {name: _judged(x, case, 2 * case.half) for name, x in methods.items()}
    metrics["misfit"] = float(case.measurement.misfit(draws.mean()[None])[0])
    return methods, metrics, ours


def _sparse(case: Case) -> tuple[Tensor, Tensor, float]:
    smooth, weight = best_total_variation(case)
    return best_wavelets(case, weight)[0], smooth, weight


def _judged(x: Tensor, case: Case, data_range: float) -> dict[str, float]:
    # of a stack the mean over its slices, of which there may be few
    a, b = (v[0].movedim(-1, 0) if case.stack else v for v in (x, case.image))
    return {"psnr_db": float(psnr(x, case.image, data_range)), "ssim": float(ssim(a, b, data_range).mean())}


def _outputs(case: Case, draws: Draws, source: Volume) -> list[Output]:
    """The mean in the format of the input; its spread; every draw as NPZ, one a channel; the known image on
    the same grid.
    """
    suffix = suffix_of(case.known)
    # on the prior's grid the axes and the order of the source are gone: only a picture's bit depth is still
    # to be followed
    like = source if source.provenance.format == "picture" else None
    sentence = (
        f"reconstructed by medprior from a simulated measurement: {draws.made_by}, seed "
        f"{draws.seed}, mean of {len(draws)}"
    )
    mean = case.known.with_data(draws.mean().numpy()).noted(sentence, synthetic=True)
    kept = replace(case.known, data=draws.values[:, 0].numpy()).noted(
        f"{sentence.split(', mean')[0]}: each draw a channel", synthetic=True
    )
    outputs = [
        Output("reconstruction", mean, "reconstructed", like=like, suffix=suffix),
        Output("known", case.known, "converted", like=like, suffix=suffix),
    ]
    if len(draws) > 1:
        outputs.append(Output("draws", kept, "reconstructed", suffix=".npz"))
        spread = case.known.with_data(draws.std().numpy()).noted(
            "standard deviation of the draws, uncalibrated", synthetic=True
        )
        outputs.append(
            Output(
                "spread",
                spread,
                "map",
                like=like,
                suffix=suffix,
                window=(0.0, max(0.25 * case.half, float(spread.data.max()))),
            )
        )
    return outputs
