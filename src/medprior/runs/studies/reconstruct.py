"""Evaluate reconstruct: simulated measurements of a folder's scans, ours beside the trivial method and total
variation, intervals over patients.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from typing import Any, TypeVar

import numpy as np
from PIL import Image
from torch import Tensor

from ...data.axes import plane_of_codes
from ...data.grids import middle_half
from ...data.seeds import seed_for
from ...data.volume import Volume
from ...errors import BadOption
from ...io.dataset.index import patients_of
from ...io.dataset.scan import Index, Item
from ...prior import Prior
from ...sampling import Draws
from ..ask.requests import TASKS, CalibrateReconstruct, EvaluateReconstruct, Reconstruct
from ..core.cost import announce_reconstruction, words
from ..core.inputs import LoadedPrior
from ..core.outputs import Outcome, Summary
from ..core.progress import Event, OnEvent
from ..core.run import RunFolder
from ..page.blocks import Section, Table
from ..reconstruct.page import Judgement, simulated_section
from ..reconstruct.run import against_plain, method_lines, score_methods, solved
from ..reconstruct.simulate import Case, case_of
from .lesions import deviations, lesion_figures, lesion_recovery, lesion_section, with_lesions
from .study import Collected, caveats_of, evaluated, rate_or_none, results_csv, span

__all__ = ["asked", "choose_images", "run_evaluate_reconstruct", "with_volumes"]

_T = TypeVar("_T")
_AXIS = {"axial": 2, "coronal": 1, "sagittal": 0}
"""The axis of an array near RAS that each plane cuts."""


@dataclass(frozen=True, slots=True)
class _Image:
    """One image to evaluate on: slice ``at`` of an item, or all of it (None)."""

    item: Item
    at: int | None
    patient: int

    @property
    def key(self) -> str:
        return f"{self.item.digest[:24]}/{self.item.part}/{self.at}"


def run_evaluate_reconstruct(request: EvaluateReconstruct, on_event: OnEvent) -> RunFolder:
    """Evaluate and write the run folder. Raises what ``evaluated`` raises, WrongKind for scans that are not
    the prior's.
    """
    return evaluated(request, on_event, _work)


def choose_images(
    request: EvaluateReconstruct | CalibrateReconstruct, prior: Prior, items: Sequence[Item]
) -> list[_Image]:
    """At most ``per_patient`` images of each patient, evenly spaced; then patients, evenly spaced, until no
    more than ``most`` images are left.
    """
    numbers = patients_of(items)
    own: dict[int, list[_Image]] = {}
    for item in items:
        patient = numbers[item.owner]
        own.setdefault(patient, []).extend(_Image(item, at, patient) for at in _slices(prior, item))
    kept = [_spaced(images, request.per_patient) for images in own.values()]
    while sum(map(len, kept)) > request.most and len(kept) > 1:
        kept = _spaced(kept, len(kept) - 1)
    return [image for images in kept for image in images][: request.most]


def _slices(prior: Prior, item: Item) -> list[int | None]:
    """The slices of a volume's middle half; [None] for an image, or for a volume that a 3-D prior takes
    whole.
    """
    if len(item.shape) == 2 or prior.card.ndim == 3:
        return [None]
    n = item.shape[_AXIS[plane_of_codes(prior.card.axes)]]
    return list(middle_half(n))


def _spaced(values: list[_T], most: int) -> list[_T]:
    if len(values) <= most:
        return values
    return (
        [values[round(i)] for i in np.linspace(0, len(values) - 1, most)]
        if most > 1
        else [values[len(values) // 2]]
    )


def asked(request: EvaluateReconstruct | CalibrateReconstruct, image: _Image) -> Reconstruct:
    """The request that ``medprior reconstruct`` would get for one image. Its seed is the image's own, so that
    leaving others out changes nothing.
    """
    values = {
        "input": request.folder,
        "prior": request.prior,
        "slice": image.at,
        "seed": seed_for(request.seed, image.key),
    }
    same = {name: getattr(request, name) for name in ("n", "fast", "steps", "allow_other")}
    return Reconstruct.model_validate({**values, **same, **TASKS[request.task]})


def _work(
    request: EvaluateReconstruct,
    known: LoadedPrior,
    index: Index,
    items: tuple[Item, ...],
    collected: Collected,
    on_event: OnEvent,
) -> Outcome:
    images = choose_images(request, known.prior, items)
    started, fresh = time.monotonic(), sum(image.key not in collected for image in images)
    done = 0
    on_event(
        Event(
            "note",
            f"{len(images)} images of {len({image.patient for image in images})} patients; every measurement "
            "is simulated",
        )
    )
    for image, volume in with_volumes(index, images, collected):
        case = case_of(asked(request, image), known.prior, volume)
        if not done:
            scans = fresh * (2 if request.lesions else 1)
            announce_reconstruction(
                known.prior,
                case.measurement,
                on_event,
                fast=request.fast,
                n=request.n,
                steps=request.steps,
                scans=scans,
            )
            on_event(Event("stage", "reconstructing", 0, fresh))
        at = time.monotonic()
        draws = solved(asked(request, image), known.prior, case.measurement)
        seconds = time.monotonic() - at
        methods, metrics, ours = score_methods(case, draws, baselines="all")
        result = {
            "methods": metrics["methods"],
            "ours": ours,
            "seconds": round(seconds, 3),
            "sentence": case.sentence,
        }
        if request.lesions:
            result["lesions"] = _lesions(asked(request, image), known.prior, case, draws, methods, ours)
        collected.keep(image.key, result)
        done += 1
        if done == 1 and fresh > 1:
            on_event(
                Event(
                    "cost",
                    f"about {words((time.monotonic() - started) * (fresh - 1))} left, from the time of the "
                    "first image, plain methods included",
                )
            )
        on_event(Event("step", done=done, total=fresh))
    return _summary(request, known.prior, index, images, collected)


def _lesions(
    wanted: Reconstruct, prior: Prior, case: Case, draws: Draws, methods: dict[str, Tensor], ours: str
) -> dict[str, Any]:
    """What the methods make of the same image with lesions. draws, methods: of the image itself."""
    if draws.deviation is None:
        raise BadOption(
            "lesions: one draw does not say how far it may be off", "take 2 draws or more, or --fast"
        )
    lesioned, lesions = with_lesions(wanted, case)
    kept, _, _ = score_methods(lesioned, solved(wanted, prior, lesioned.measurement), baselines="all")
    return lesion_recovery(
        case, methods, deviations(case, methods, ours, draws.deviation), lesioned, kept, lesions
    )


def with_volumes(
    index: Index, images: Sequence[_Image], collected: Collected
) -> Iterator[tuple[_Image, Volume]]:
    """The images without a result, each with its scan; a scan is read once."""
    open_ones = [image for image in images if image.key not in collected]
    for _, group in groupby(open_ones, key=lambda image: image.item.id):
        together = list(group)
        _, volume = next(index.volumes([together[0].item]))
        for image in together:
            yield image, volume


def _summary(
    request: EvaluateReconstruct, prior: Prior, index: Index, images: Sequence[_Image], collected: Collected
) -> Outcome:
    found = [collected[image.key] for image in images]
    patients, ours = [image.patient for image in images], found[0]["ours"]
    names = [name for name in found[0]["methods"] if all(name in one["methods"] for one in found)]
    columns = {
        name: {what: [one["methods"][name][what] for one in found] for what in ("psnr_db", "ssim")}
        for name in names
    }
    methods = {}
    for name in names:
        at = {
            what: rate_or_none(_mean, columns[name][what], patients=patients) for what in ("psnr_db", "ssim")
        }
        methods[name] = {"psnr_db": at["psnr_db"]["value"], "ssim": at["ssim"]["value"], "intervals": at}
    plain = max((name for name in names if name != ours), key=lambda name: methods[name]["psnr_db"])
    gain = rate_or_none(
        lambda a, b: float(np.mean(a - b)),
        np.array(columns[ours]["psnr_db"]),
        np.array(columns[plain]["psnr_db"]),
        patients=patients,
    )
    metrics: dict[str, Any] = {
        "simulated": f"task {request.task}; first image: {found[0]['sentence']}",
        "images": len(images),
        "patients": len(set(patients)),
        "methods": methods,
        "gain_db": {"over": plain, **gain},
        "seconds_per_image": float(np.median([one["seconds"] for one in found])),
    }
    extra = []
    if request.lesions:
        metrics["lesions"] = lesion_figures([one["lesions"] for one in found], names, patients)
        extra = [lesion_section(metrics["lesions"], ours)]
    examples, sheet = _examples(request, prior, index, images, columns[ours]["psnr_db"])
    rows = [["image", "patient", "method", "psnr_db", "ssim"]]
    rows += [
        [
            n,
            image.patient,
            f'"{name}"',
            f"{one['methods'][name]['psnr_db']:.4f}",
            f"{one['methods'][name]['ssim']:.5f}",
        ]
        for n, (image, one) in enumerate(zip(images, found, strict=True), start=1)
        for name in names
    ]
    own = list({image.item.id: image.item for image in images}.values())
    return Outcome(
        metrics,
        [_section(request, metrics, ours, own), *extra, *examples],
        sheet,
        Summary(method_lines(methods), against_plain(methods)),
        files=results_csv(rows),
    )


def _mean(values: Any) -> float:
    return float(np.mean(values))


def _section(
    request: EvaluateReconstruct, metrics: dict[str, Any], ours: str, items: Sequence[Item]
) -> Section:
    gain, over = metrics["gain_db"], metrics["gain_db"]["over"]
    rows = [["method", "PSNR (dB)", "95 % interval", "SSIM", "95 % interval"]]
    for name, at in metrics["methods"].items():
        both = at["intervals"]["psnr_db"], at["intervals"]["ssim"]
        rows.append([name, f"{at['psnr_db']:.2f}", span(both[0], 2), f"{at['ssim']:.3f}", span(both[1], 3)])
    said = (
        "unknown: one patient only"
        if gain["low"] is None
        else f"{gain['low']:+.2f} to {gain['high']:+.2f} dB"
    )
    verdict = (
        f"{ours.capitalize()}: {gain['value']:+.2f} dB beside {over}, the best of the plain methods "
        f"(95 % interval over patients: {said})."
    )
    best = 1 + max(
        range(len(metrics["methods"])), key=lambda i: list(metrics["methods"].values())[i]["psnr_db"]
    )
    return Section(
        f"Evaluate reconstruct: {request.task}",
        f"SIMULATED measurements of {metrics['images']} images of {metrics['patients']} patients; "
        f"{metrics['simulated']}.",
        [
            Table(
                rows,
                note="Mean over images; 95 % intervals over patients. PSNR for each image's own "
                "intensity range.",
                best=best,
            )
        ],
        verdict=verdict,
        caveats=(
            "The measurements were simulated with the same model that the reconstruction uses: a scanner is "
            "never that exact.",
            "Total variation has the weight that suits each single image best, which only who knows the "
            "truth can choose.",
            *caveats_of(items),
        ),
    )


def _examples(
    request: EvaluateReconstruct, prior: Prior, index: Index, images: Sequence[_Image], psnr: Sequence[float]
) -> tuple[list[Section], list[tuple[str, Image.Image]]]:
    """The image with the median and the one with the lowest PSNR of ours, reconstructed once more: chosen by
    rank, not by taste.
    """
    order = sorted(range(len(images)), key=lambda i: psnr[i])
    picked = {"median": order[len(order) // 2], "lowest": order[0]} if len(order) > 1 else {"only": order[0]}
    sections, preview = [], []
    for what, i in picked.items():
        _, volume = next(index.volumes([images[i].item]))
        wanted = asked(request, images[i])
        case = case_of(wanted, prior, volume)
        draws = solved(wanted, prior, case.measurement)
        section, shown = simulated_section(prior, case, draws, _judgement(case, draws))
        sections.append(replace(section, heading=f"The image with the {what} PSNR", caveats=()))
        if request.lesions:
            lesioned, _ = with_lesions(wanted, case)
            kept = solved(wanted, prior, lesioned.measurement)
            section, _ = simulated_section(prior, lesioned, kept, _judgement(lesioned, kept))
            sections.append(replace(section, heading="The same with lesions", caveats=()))
        preview += [(f"{what}: {title}", picture) for title, picture in shown]
    return sections, preview


def _judgement(case: Case, draws: Draws) -> Judgement:
    methods, metrics, ours = score_methods(case, draws, baselines="all")
    return Judgement(methods, metrics["methods"], ours)
