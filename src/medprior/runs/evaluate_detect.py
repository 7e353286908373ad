"""Evaluate detect: a labelled folder, AUROC and the false-positive rate that was promised, beside mean intensity and an atlas of healthy scans."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from ..data.volume import Volume
from ..errors import BadOption, nearest
from ..evidence.conformal import wanted
from ..evidence.metrics import auroc, average_precision, clopper_pearson
from ..io.index import Index, Item
from ..jobs.detect import detect
from ..prior import Prior
from .cost import announce
from .detect import PLANES_OF
from .evaluate import Collected, Evaluated, caveats_of, evaluated, patients_of, rate_or_none, span, stored
from .events import Event, OnEvent
from .folder import RunFolder
from .pictures import contact_sheet, grey, mosaic, plotted, upright, window_for
from .report import Grid, Picture, Section, Table
from .requests import EvaluateDetect
from .sources import Known

__all__ = ["Scanned", "baselines", "figures", "run_evaluate_detect", "small"]

HEALTHY = ("no_finding", "healthy", "normal")
SIDE, SLICES = 64, 32
"""Grid on which the atlas is made: enough for anatomy, and every scan fits."""
LEAST = 4
"""Healthy scans below which there is no atlas: its deviation would be that of the scans themselves."""
SHOWN = 6
"""Scans on each sheet of mistakes."""


@dataclass(frozen=True, slots=True)
class Scanned:
    """One scan and what was found. sick: its label is not the healthy one. patient: 1, 2, ... red: the map passes its healthy scale somewhere; None: no scale.

    small: (1, SIDE, SIDE) or (n, SIDE, SIDE) in network units, for the plain scores.
    """

    sick: bool
    patient: int
    score: float
    p_value: float | None
    red: bool | None
    small: Tensor


def run_evaluate_detect(request: EvaluateDetect, on_event: OnEvent) -> RunFolder:
    """Evaluate and write the run folder. Raises what ``evaluated`` raises, BadOption where no label, or no healthy one, is there."""
    wanted(request.alpha)
    return evaluated(request, on_event, _work)


def healthy_label(request: EvaluateDetect, labels: Sequence[str]) -> str:
    """The label of healthy scans. Raises BadOption naming those that there are."""
    if not labels:
        raise BadOption("healthy: the scans have no labels", "put them into sub-folders by label, or write a scans.csv (docs/train.md)")
    if request.healthy is not None:
        if request.healthy not in labels:
            raise BadOption(f"healthy: no scan has the label {request.healthy!r}", nearest(request.healthy, list(labels)))
        return request.healthy
    known = [name for name in HEALTHY if name in labels]
    if not known:
        raise BadOption(f"healthy: which of the labels {', '.join(labels)} is the healthy one is not known", "say it with --healthy LABEL")
    return known[0]


def _work(request: EvaluateDetect, known: Known, index: Index, items: tuple[Item, ...], collected: Collected, on_event: OnEvent) -> Evaluated:
    healthy = healthy_label(request, sorted({item.label for item in items} - {""}))
    chosen = _one_each(items)
    numbers = patients_of(chosen)
    fresh = sum(_key(item) not in collected for item in chosen)
    on_event(Event("note", f"healthy: {healthy}; one scan of each patient and label: {len(chosen)} of {len(items)} scans"))
    scans, announced = [], False
    for done, item in enumerate(chosen, start=1):
        _, volume = next(index.volumes([item]))
        admitted = known.prior.admit(volume, allow_other=request.allow_other)
        if _key(item) not in collected:
            if not announced:
                announce(known.prior, fresh * len(admitted.images), tuple(admitted.images.shape[2:]), 11 * request.n_twins + 12, on_event)
                on_event(Event("stage", "detecting", 0, len(chosen)))
                announced = True
            found = detect(known.prior, volume, seed=request.seed, n_twins=request.n_twins, allow_other=request.allow_other)
            red = None if found.map_high is None else bool(float(found.map.data.max()) > found.map_high)
            collected.keep(_key(item), {"score": found.score, "p_value": found.p_value, "red": red, "n_healthy": found.n_healthy, "refused": found.refused})
        one = collected[_key(item)]
        patient = numbers[item.patient or item.id]
        scans.append(Scanned(item.label != healthy, patient, one["score"], one["p_value"], one["red"], small(admitted.images)))
        on_event(Event("step", done=done, total=len(chosen)))
    first = collected[_key(chosen[0])]
    metrics = {**figures(scans, request.alpha, first["n_healthy"]), "healthy": healthy, "refused": first["refused"]}
    section, plot = _section(request, metrics, scans, chosen)
    sheets, preview = _mistakes(known.prior, index, chosen, scans)
    rows: list[list[object]] = [["scan", "patient", "label", "score", "p_value"]]
    rows += [
        [n, scan.patient, _cell(item.label), f"{scan.score:.6g}", "" if scan.p_value is None else f"{scan.p_value:.6g}"]
        for n, (item, scan) in enumerate(zip(chosen, scans, strict=True), start=1)
    ]
    return Evaluated(metrics, [section, *sheets], rows, contact_sheet([("scores", plot), *preview]))


def _cell(label: str) -> str:
    """A label as one cell of a table; one that a spreadsheet would take for a formula is made text."""
    plain = label.replace('"', '""')
    return f'"{chr(39) if plain[:1] in "=+-@" else ""}{plain}"'


def _key(item: Item) -> str:
    return f"{item.digest[:24]}/{item.part}"


def _one_each(items: Sequence[Item]) -> list[Item]:
    """The first scan of each patient and label: patients, not scans, are the independent units. A scan without a label is left out."""
    found: dict[tuple[str, str], Item] = {}
    for item in items:
        if item.label:
            found.setdefault((item.patient or item.id, item.label), item)
    return list(found.values())


def small(images: Tensor) -> Tensor:
    """(B, C, i, j) or (1, C, i, j, k) network units -> (n, SIDE, SIDE), n = 1 for an image and SLICES for a volume: means of the first channel."""
    if len(images) == 1 and images.ndim == 4:
        return F.interpolate(images[:, :1], size=(SIDE, SIDE), mode="area")[0]
    stack = images[:, 0] if images.ndim == 4 else images[0, 0].movedim(-1, 0)
    return F.interpolate(stack[None, None], size=(SLICES, SIDE, SIDE), mode="area")[0, 0]


def baselines(scans: Sequence[Scanned], healthy: Sequence[Tensor] = ()) -> dict[str, list[float]]:
    """Plain scores of each scan: mean intensity, either way round, and the mean squared z-score against an atlas of healthy scans.

    The atlas holds ``healthy`` (further healthy scans, as ``small`` makes them) and the healthy ones of ``scans``, always without the patient who is judged.
    """
    bright = [float(scan.small.mean()) for scan in scans]
    plain = {"mean intensity": bright, "minus mean intensity": [-b for b in bright]}
    return plain if sum(not scan.sick for scan in scans) + len(healthy) < LEAST else {**plain, "atlas of mean and SD": _atlas(scans, healthy)}


def _atlas(scans: Sequence[Scanned], more: Sequence[Tensor]) -> list[float]:
    own = [(scan.patient, scan.small.double()) for scan in scans if not scan.sick]
    total, square = (torch.stack([image**power for _, image in own] + [image.double() ** power for image in more]).sum(0) for power in (1, 2))
    n, scores = len(own) + len(more), []
    for scan in scans:
        out = [image for patient, image in own if patient == scan.patient]
        left = n - len(out)
        mean, mean_square = ((whole - sum(image**power for image in out)) / left for power, whole in ((1, total), (2, square)))
        std = (mean_square - mean.square()).clamp_min(0).sqrt() + 0.05
        scores.append(float(((scan.small - mean) / std).square().mean()))
    return scores


def figures(scans: Sequence[Scanned], alpha: float, n_healthy: int, more: Sequence[Tensor] = ()) -> dict[str, Any]:
    """What can be said of ``scans``: how often healthy ones are flagged at alpha (Clopper-Pearson), AUROC and average precision (bootstrap over patients).

    n_healthy: patients behind the calibration; too few for alpha, or none: no rate. more: further healthy scans for the atlas.
    """
    healthy, sick = [scan for scan in scans if not scan.sick], [scan for scan in scans if scan.sick]
    found: dict[str, Any] = {"healthy_scans": len(healthy), "other_scans": len(sick), "alpha": alpha, "n_healthy": n_healthy}
    if n_healthy >= wanted(alpha):
        for name, part in (("false_positive_rate", healthy), ("flagged_of_others", sick)):
            if part:
                found[name] = stored(clopper_pearson(sum(scan.p_value is not None and scan.p_value <= alpha for scan in part), len(part)))
    reds = [scan.red for scan in healthy if scan.red is not None]
    if reds:
        found["healthy_scans_with_any_red"] = stored(clopper_pearson(sum(reds), len(reds)))
    found["auroc"], found["average_precision"] = {}, {}
    if healthy and sick:
        labels = [int(scan.sick) for scan in scans]
        patients = [f"{scan.patient}/{scan.sick}" for scan in scans]
        for name, scores in {"ours": [scan.score for scan in scans], **baselines(scans, more)}.items():
            for what, statistic in (("auroc", auroc), ("average_precision", average_precision)):
                found[what][name] = rate_or_none(statistic, scores, labels, patients=patients, strata=labels)
    return found


def _section(request: EvaluateDetect, metrics: Mapping[str, Any], scans: Sequence[Scanned], items: Sequence[Item]) -> tuple[Section, Any]:
    plot = plotted(lambda axes: _histogram(axes, metrics, scans))
    caption = "Each scan's score: how unlike healthy scans it is; no unit. Where the two colours overlap, the score cannot tell them apart."
    blocks: list[Any] = [Grid([Picture(plot, "Scores", caption, wide=True)])]
    if metrics["auroc"]:
        rows = [["score", "AUROC", "95 % interval", "average precision", "95 % interval"]]
        for name, at in metrics["auroc"].items():
            precision = metrics["average_precision"][name]
            rows.append([f"medprior ({name})" if name == "ours" else name, f"{at['value']:.3f}", span(at), f"{precision['value']:.3f}", span(precision)])
        best = 1 + max(range(len(metrics["auroc"])), key=lambda i: list(metrics["auroc"].values())[i]["value"])
        share = metrics["other_scans"] / len(scans)
        blocks.insert(0, Table(rows, f"AUROC 0.5 and average precision {share:.2f} are chance. Bootstrap intervals over patients, each class apart.", best))
    rates = [(words, metrics[name]) for name, words in _RATES.items() if name in metrics]
    if rates:
        rows = [["share", "value", "95 % interval", "patients"], *([w, f"{at['value']:.3f}", span(at), str(at["n"])] for w, at in rates)]
        blocks.insert(1, Table(rows, f"Flagged: p at most {request.alpha:g}. Exact binomial (Clopper-Pearson) intervals."))
    return Section(
        "Evaluate detect",
        f"{metrics['healthy_scans']} healthy patients ({metrics['healthy']}), {metrics['other_scans']} with another label; one scan of each patient and label.",
        blocks,
        verdict=_verdict(request, metrics),
        caveats=(
            "A label says what somebody has written down, not what a scan shows; a tube or another scanner can differ between labels as well.",
            "The atlas compares each scan with the mean and deviation of all other healthy scans here, voxel by voxel, at 64 pixels.",
            *caveats_of(items),
        ),
    ), plot


_RATES = {
    "false_positive_rate": "healthy patients flagged (false positives)",
    "flagged_of_others": "patients with another label flagged",
    "healthy_scans_with_any_red": "healthy scans with any red in the map",
}


def _verdict(request: EvaluateDetect, metrics: Mapping[str, Any]) -> str:
    lines = []
    if metrics["auroc"]:
        ours = metrics["auroc"]["ours"]
        name, plain = max(((n, at) for n, at in metrics["auroc"].items() if n != "ours"), key=lambda pair: pair[1]["value"])
        lines.append(f"AUROC {ours['value']:.3f} ({span(ours)}); the best plain score, {name}, has {plain['value']:.3f} ({span(plain)}).")
    else:
        lines.append("All scans have one kind of label: how well the two are told apart cannot be said.")
    rate = metrics.get("false_positive_rate")
    if rate:
        inside = "holds" if rate["low"] <= request.alpha <= rate["high"] else "does NOT hold"
        lines.append(f"{rate['value']:.1%} of healthy patients are flagged; the interval {span(rate)} {inside} the promised {request.alpha:g}.")
    else:
        lines.append(
            f"No false-positive rate: {metrics['n_healthy']} calibration patients cannot support {request.alpha:g} (at least {wanted(request.alpha)})."
        )
    return " ".join(lines)


def _histogram(axes: Any, metrics: Mapping[str, Any], scans: Sequence[Scanned]) -> None:
    parts = {metrics["healthy"]: [s.score for s in scans if not s.sick], "other labels": [s.score for s in scans if s.sick]}
    edges = np.histogram_bin_edges([s.score for s in scans], bins=24)
    for (name, scores), colour in zip(parts.items(), ("#17657d", "#c2571a"), strict=True):
        if scores:
            axes.hist(scores, bins=edges, alpha=0.65, label=f"{name.replace('$', ' ')} ({len(scores)})", color=colour)
    axes.set_xlabel("score (no unit)")
    axes.set_ylabel("patients")
    axes.yaxis.get_major_locator().set_params(integer=True)
    axes.legend()


def _mistakes(prior: Prior, index: Index, items: Sequence[Item], scans: Sequence[Scanned]) -> tuple[list[Section], list[tuple[str, Any]]]:
    """The healthy scans with the highest and the others with the lowest scores, chosen by rank."""
    order = torch.tensor([scan.score for scan in scans]).argsort().tolist()
    worst = {
        "Healthy scans with the highest scores": [i for i in reversed(order) if not scans[i].sick][:SHOWN],
        "Scans of other labels with the lowest scores": [i for i in order if scans[i].sick][:SHOWN],
    }
    pictures = []
    for title, chosen in worst.items():
        if chosen:
            volumes = [next(index.volumes([items[i]]))[1] for i in chosen]
            caption = "Left to right: score " + ", ".join(f"{scans[i].score:.3g}" for i in chosen) + "; the middle slice of a volume, its own window."
            pictures.append(Picture(mosaic([_tile(v, PLANES_OF.get(prior.card.axes, "axial")) for v in volumes], len(volumes)), title, caption, wide=True))
    section = Section("Where the score errs most", "What confuses the prior tells more than a number.", [Grid(pictures)])
    return [section], [(p.title, p.image) for p in pictures]


def _tile(volume: Volume, plane: str) -> Any:
    picture = grey(upright(volume, plane=plane), window_for(volume))
    scale = 192 / max(picture.size)
    picture = picture.resize((max(1, round(picture.width * scale)), max(1, round(picture.height * scale))))
    return _centred(picture)


def _centred(picture: Any) -> Any:
    from PIL import Image

    square = Image.new("L", (192, 192))
    square.paste(picture, ((192 - picture.width) // 2, (192 - picture.height) // 2))
    return square
