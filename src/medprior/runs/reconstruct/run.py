"""Reconstruct as a run: a simulated measurement, the posterior mean, its spread, and every trivial method
beside it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from ...data.acquisitions import KSpace, Sinogram
from ...data.volume import Volume
from ...evidence.metrics import psnr, ssim
from ...jobs.reconstruct import Settings, reconstruct
from ...operators import Measurement
from ...prior import Prior
from ...sampling import Draws
from ..ask.requests import Reconstruct
from ..core.cost import announce_reconstruction
from ..core.outputs import Outcome, Output, suffix_of
from ..core.progress import Event, OnEvent
from ..page.blocks import Grid, Picture, Section, Table
from ..page.pictures import Window, coloured, grey, number, plane_of, sides, upright, window_for
from .measured import run_measured
from .simulate import Case, best_total_variation, best_wavelets, case_of
from .trust import spread_caption, trusted

__all__ = ["judged", "run_reconstruct", "section_of", "solved"]


def run_reconstruct(
    request: Reconstruct, prior: Prior, volume: Volume | KSpace | Sinogram, on_event: OnEvent
) -> Outcome:
    """The job, its outputs and its section."""
    if not isinstance(volume, Volume):
        return run_measured(request, prior, volume, on_event, solved)
    on_event(Event("stage", "simulating the measurement"))
    case = case_of(request, prior, volume)
    on_event(Event("note", f"simulated: {case.sentence}"))
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
    draws = solved(
        request,
        prior,
        case.measurement,
        None,
        lambda done, total: on_event(Event("step", done=done, total=total)),
    )
    if request.baselines == "all":
        on_event(Event("stage", "total variation and wavelets, each with its best weight"))
    methods, metrics, ours = judged(case, draws, baselines=request.baselines)
    overrides = ("another modality or unit than the prior's was allowed",) if request.allow_other else ()
    section, preview = section_of(request, prior, case, draws, methods, metrics, ours)
    outputs = _outputs(case, draws, volume)
    on_event(Event("stage", "what the data said, what the prior said"))
    proof = trusted(
        case.measurement,
        draws,
        case.known,
        case.half,
        suffix=outputs[0].suffix,
        like=outputs[0].like,
        truth=case.image,
    )
    return Outcome(
        [*outputs, *proof.outputs], metrics | proof.metrics, [section, proof.section], preview, overrides
    )


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


def judged(case: Case, draws: Draws, *, baselines: str) -> tuple[dict[str, Tensor], dict[str, Any], str]:
    """(image of every method, plain ones first and ours last; metrics; the name of ours). baselines: "all"
    has total variation, too.
    """
    methods = dict(case.baselines)
    metrics: dict[str, Any] = {"simulated": case.sentence, "made_by": draws.made_by}
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


def section_of(
    request: Reconstruct,
    prior: Prior,
    case: Case,
    draws: Draws,
    methods: dict[str, Tensor],
    metrics: dict[str, Any],
    ours: str,
) -> tuple[Section, list]:
    window = window_for(case.known)
    unit = case.known.unit or "no unit"
    known = _picture(case, case.image, window)
    result = _picture(case, methods[ours], window)
    first, *others = [name for name in methods if name != ours]
    score = metrics["methods"]
    pictures = [
        Picture(
            known,
            "Known image",
            f"The truth the measurement was simulated from; {window}.",
            window=window,
            edges=sides(case.known),
        )
    ]
    if case.shown is not None:
        low, high = float(case.shown.min()), float(case.shown.max())
        raw = grey(case.shown, Window(low, high if high > low else low + 1, "range")).resize(
            known.size, Image.Resampling.NEAREST
        )
        pictures.append(Picture(raw, "Simulated measurement", f"{case.shown_as}."))
    pictures += [
        Picture(_picture(case, methods[name], window), name.capitalize(), _scores(score[name]))
        for name in [first, *others]
    ]
    pictures.append(Picture(result, ours, _scores(score[ours]), synthetic=True))
    high = 200.0 if case.known.unit == "HU" else 0.4 * case.half
    errors = [
        (name, (methods[name] - case.image).abs())
        for name in ([*others, first][0] if len(others) == 0 else others[-1], ours)
    ]
    below = []
    if len(draws) > 1:
        below.append(
            Picture(
                _heat(case, draws.std()[None], high),
                "Spread of the draws",
                spread_caption(draws),
                legend=("0", f"{number(high)} {unit}", "viridis"),
            )
        )
    below += [
        Picture(
            _heat(case, error, high, "inferno"),
            f"Error of {name}",
            "|result - known|, the same scale for all.",
            legend=("0", f"{number(high)} {unit}", "inferno"),
        )
        for name, error in errors
    ]
    table = Table(
        [
            ["method", "PSNR (dB)", "SSIM"],
            *([name, f"{v['psnr_db']:.2f}", f"{v['ssim']:.3f}"] for name, v in score.items()),
        ],
        note=f"Against the known image; PSNR for a range of {number(2 * case.half)} ({unit}). One image says "
        "little: bench/ has tables over many patients.",
        best=1 + max(range(len(score)), key=lambda i: list(score.values())[i]["psnr_db"]),
    )
    section = Section(
        f"Reconstruct: {_TITLES[request.simulated]}",
        f"SIMULATED measurement: {case.sentence}. The prior and the measurement together give "
        f"{_many(draws)}.",
        [
            Grid([*pictures, *below]),
            *_reformats(case, window, {"Known": case.image, first: methods[first], ours: methods[ours]}),
            table,
        ],
        verdict=_verdict(score, ours),
        caveats=(
            "The measurement was simulated from a known image with the same model that the reconstruction "
            "uses: a scanner is never that exact.",
            f"Detail that was not measured comes from the prior ({prior.card.name}).",
            *case.warnings,
        ),
    )
    best = max((name for name in methods if name != ours), key=lambda name: score[name]["psnr_db"])
    return section, [
        ("known", known),
        (best, _picture(case, methods[best], window)),
        ("medprior (synthetic in part)", result),
    ]


def _verdict(score: dict[str, Any], ours: str) -> str:
    """Said where a plain method is nearer to the known image."""
    best = max(score, key=lambda name: score[name]["psnr_db"])
    if best == ours:
        return ""
    return (
        f"{best[:1].upper()}{best[1:]} is nearer to the known image here: {score[best]['psnr_db']:.2f} "
        f"dB, {ours} {score[ours]['psnr_db']:.2f} dB."
    )


def _many(draws: Draws) -> str:
    return (
        f"{len(draws)} possible images; their mean is the result" if len(draws) > 1 else "one possible image"
    )


_TITLES = {
    "denoise": "less noise",
    "superres": "finer pixels",
    "inpaint": "missing pixels",
    "mri": "MRI from a part of k-space",
    "ct": "CT from few views",
}


def _scores(found: dict[str, float]) -> str:
    return f"PSNR {found['psnr_db']:.2f} dB, SSIM {found['ssim']:.3f}."


def _shown(case: Case, x: Tensor) -> Volume:
    return case.known.with_data(x[0].numpy())


def _picture(case: Case, x: Tensor, window: Window):
    return grey(upright(_shown(case, x)), window)


def _reformats(case: Case, window: Window, images: dict[str, Tensor]) -> list[Grid]:
    """A volume cut through its slices, where one that was reconstructed slice by slice would show steps;
    nothing of an image.
    """
    if case.known.ndim == 2:
        return []
    plane = "axial" if plane_of(case.known) == "coronal" else "coronal"
    return [
        Grid(
            [
                Picture(
                    grey(_through(_shown(case, x), plane), window),
                    f"{name}, through the slices",
                    f"{window}.",
                    synthetic=name.startswith("medprior"),
                )
                for name, x in images.items()
            ]
        )
    ]


def _through(volume: Volume, plane: str) -> NDArray[np.float32]:
    """(rows, columns): the middle of a volume in another plane than its slices', through the middle column
    where the planes are not known.
    """
    if volume.affine is not None:
        return upright(volume, plane=plane)
    spacing = volume.spacing_mm and (volume.spacing_mm[2], volume.spacing_mm[0])
    cut = volume.data[:, :, volume.shape[1] // 2].transpose(0, 2, 1)
    return upright(replace(volume, data=np.ascontiguousarray(cut), spacing_mm=spacing))


def _heat(case: Case, x: Tensor, high: float, name: str = "viridis"):
    return coloured(upright(_shown(case, x)), high, name=name)
