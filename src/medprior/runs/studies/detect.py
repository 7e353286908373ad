"""Evaluate detect: a labelled folder, AUROC and the false-positive rate that was promised, beside mean
intensity and an atlas of healthy scans.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from ...data.axes import plane_of_codes
from ...data.views import grey, upright, window_for
from ...data.volume import Volume
from ...errors import BadOption, WrongKind, did_you_mean
from ...evidence.conformal import benjamini_hochberg, patients_needed
from ...evidence.detectors.detectors import features_available
from ...evidence.intervals import clopper_pearson
from ...evidence.metrics import auroc, average_precision
from ...io.dataset.cache import keyed_hashes
from ...io.dataset.index import one_each, patients_of
from ...io.dataset.scan import Index, Item
from ...jobs.calibrate import BODY
from ...jobs.detect import HEALTHY, detect, evaluations
from ...prior import Prior
from ...prior.admit import release_map
from ...prior.promises import DetectPromise
from ..ask.requests import EvaluateDetect
from ..core.cost import announce
from ..core.inputs import LoadedPrior
from ..core.outputs import Outcome, Summary
from ..core.progress import Event, OnEvent
from ..core.run import RunFolder
from ..detect.page import DISCOVERIES
from ..page.blocks import Charts, Grid, Picture, Section, Table
from ..page.charts import NEUTRAL, Chart, Series, chart_image
from ..page.pictures import mosaic
from .detection.located import localisation, localise, tables_of
from .detection.plain_detectors import Beside
from .detection.subgroups import Member, groups_of, subgroups
from .detection.subgroups import subgroup_section as section_of_groups
from .study import Collected, caveats_of, evaluated, rate_or_none, results_csv, span, stored

__all__ = ["Scanned", "detection_figures", "healthy_label", "roc_points", "run_evaluate_detect", "told_apart"]

SHOWN = 6
"""Scans on each sheet of mistakes."""
SHORT = 16
"""Digits of a scan's digest by which older calibrations remember the scans that they were made with."""


@dataclass(frozen=True, slots=True)
class Scanned:
    """One scan and what was found. sick: its label is not the healthy one. patient: 1, 2, ... red: the map
    passes its healthy scale somewhere; None: no scale.

    plain: scores of plain detectors, by name. other: it does not look like the calibration's scans, and
    detect would refuse it.
    """

    sick: bool
    patient: int
    score: float
    p_value: float | None
    red: bool | None
    plain: Mapping[str, float]
    other: bool = False


def run_evaluate_detect(request: EvaluateDetect, on_event: OnEvent) -> RunFolder:
    """Evaluate and write the run folder. Raises what ``evaluated`` raises, BadOption where no label, or no
    healthy one, is there.
    """
    patients_needed(request.alpha)  # a rate that is none is refused before anything is read
    return evaluated(
        request, on_event, _work, more={"form": 3, "detectors": not features_available()}, told=groups_of
    )


def healthy_label(asked: str | None, labels: Sequence[str], known: Sequence[str]) -> str:
    """The label of healthy scans: the one asked for, or the first of those that are ``known``. Raises
    BadOption naming those that there are.
    """
    if not labels:
        raise BadOption(
            "healthy: the scans have no labels",
            "put them into sub-folders by label, or write a scans.csv (docs/train.md)",
        )
    if asked is not None:
        if asked not in labels:
            raise BadOption(f"healthy: no scan has the label {asked!r}", did_you_mean(asked, list(labels)))
        return asked
    found = [name for name in known if name in labels]
    if not found:
        raise BadOption(
            f"healthy: which of the labels {', '.join(labels)} is the healthy one is not known",
            "say it with --healthy LABEL",
        )
    return found[0]


def _work(
    request: EvaluateDetect,
    known: LoadedPrior,
    index: Index,
    items: tuple[Item, ...],
    collected: Collected,
    on_event: OnEvent,
) -> Outcome:
    healthy = healthy_label(request.healthy, sorted({item.label for item in items} - {""}), HEALTHY)
    chosen = _chosen(known.prior, items, healthy, on_event)
    fresh = [item for item in chosen if _key(item) not in collected]
    plain = Beside(known.prior, index, chosen, healthy, request, on_event) if fresh else None
    if fresh:
        first = known.prior.admit(next(index.volumes([fresh[0]]))[1], allow_other=request.allow_other)
        size = tuple(first.images.shape[2:])
        announce(known.prior, len(fresh) * len(first.images), size, evaluations(0, first.images), on_event)
        on_event(Event("stage", "detecting", 0, len(chosen)))
    for done, item in enumerate(chosen, start=1):
        if plain is not None and _key(item) not in collected:
            collected.keep(_key(item), _one(request, known.prior, index, item, plain))
        on_event(Event("step", done=done, total=len(chosen)))
    return _outcome(request, known.prior, index, chosen, healthy, [collected[_key(item)] for item in chosen])


def _chosen(prior: Prior, items: Sequence[Item], healthy: str, on_event: OnEvent) -> list[Item]:
    """One scan of each patient and label, without those that taught or calibrated the prior. Raises
    BadOption where none is left.
    """
    fair = _fair(prior.promises.detect, items, on_event)
    if not fair:
        raise BadOption(
            "evaluate: all of these scans taught or calibrated the prior", "evaluate on other patients"
        )
    if left := len(items) - len(fair):
        on_event(Event("note", f"{left} scans are left out: they taught or calibrated the prior"))
    chosen = one_each(fair)
    text = f"healthy: {healthy}; one scan of each patient and label: {len(chosen)} of {len(items)} scans"
    on_event(Event("note", text))
    return chosen


def _fair(promise: DetectPromise | None, items: Sequence[Item], on_event: OnEvent) -> list[Item]:
    """Those that neither taught nor calibrated the prior, as far as this machine can know."""
    if promise is None or not promise.scans:
        return list(items)
    name, hashed = keyed_hashes(item.digest for item in items)
    if not promise.key_name:  # of an older version
        hashed = tuple(item.digest[:SHORT] for item in items)
    elif name != promise.key_name:
        text = "this prior was calibrated by someone else: scans that taught it cannot be left out here"
        on_event(Event("warning", text))
        return list(items)
    return [item for item, own in zip(items, hashed, strict=True) if own not in set(promise.scans)]


def _outcome(
    request: EvaluateDetect,
    prior: Prior,
    index: Index,
    chosen: Sequence[Item],
    healthy: str,
    results: Sequence[Mapping[str, Any]],
) -> Outcome:
    """results: of ``_one``, one for each chosen scan."""
    numbers, n_healthy = patients_of(chosen), results[0]["n_healthy"]
    names = ("score", "p_value", "red", "plain", "other")
    scans = [
        Scanned(item.label != healthy, numbers[item.owner], *(one[name] for name in names))
        for item, one in zip(chosen, results, strict=True)
    ]
    metrics = {
        **detection_figures(scans, request.alpha, n_healthy),
        "healthy": healthy,
        "refused": results[0]["refused"],
    }
    pairs = [(numbers[item.owner], one["located"]) for item, one in zip(chosen, results, strict=True)]
    if found := [(patient, at) for patient, at in pairs if at]:
        metrics["located"] = {**localisation(found), "calibrated": results[0]["red"] is not None}
    p_values = [scan.p_value for scan in scans if scan.p_value is not None]
    q_values = benjamini_hochberg(p_values) if len(p_values) == len(scans) else None
    if q_values is not None:
        named = [scan for scan, q in zip(scans, q_values, strict=True) if q <= DISCOVERIES]
        metrics["discoveries"] = {
            "rate": DISCOVERIES,
            "scans": len(named),
            "healthy": sum(not scan.sick for scan in named),
        }
    groups = subgroups(_members(request, chosen, scans), request.alpha, n_healthy)
    metrics["subgroups"] = {tag: at.to_json() for tag, at in groups.items()}
    section, plot = _section(request, metrics, scans, chosen)
    sheets, preview = _mistakes(prior, index, chosen, scans)
    return Outcome(
        metrics,
        [section, section_of_groups(groups), *sheets],
        [("scores", plot), *preview],
        detection_study(metrics),
        files=results_csv(_rows(chosen, scans, q_values)),
    )


def _rows(
    chosen: Sequence[Item], scans: Sequence[Scanned], q_values: Sequence[float] | None
) -> list[list[object]]:
    """The table of single scans."""
    rows: list[list[object]] = [["scan", "patient", "label", "score", "p_value", "q_value"]]
    for n, (item, scan) in enumerate(zip(chosen, scans, strict=True)):
        values = (scan.p_value, None if q_values is None else q_values[n])
        told = ("" if value is None else f"{value:.6g}" for value in values)
        rows.append([n + 1, scan.patient, _cell(item.label), f"{scan.score:.6g}", *told])
    return rows


def _members(request: EvaluateDetect, chosen: Sequence[Item], scans: Sequence[Scanned]) -> list[Member]:
    """The scans with the groups that they belong to."""
    return [
        Member(scan.sick, scan.patient, scan.score, _flagged(scan, request.alpha), groups)
        for scan, groups in zip(scans, groups_of(chosen), strict=True)
    ]


def _flagged(scan: Scanned, alpha: float) -> bool:
    return scan.p_value is not None and scan.p_value <= alpha


def detection_study(metrics: Mapping[str, Any]) -> Summary:
    """AUROC of every score, the false positive rate, and groups that stand apart."""
    lines = [f"AUROC {at['value']:.3f}  {name}" for name, at in metrics["auroc"].items()]
    rate = metrics.get("false_positive_rate")
    if rate:
        at = "too few patients for an interval" if rate["low"] is None else f"{span(rate)}"
        lines.append(f"false positive rate {rate['value']:.3f} ({at}) at {metrics['alpha']:g}")
    lines += [
        f"{tag} {name}: {_in_words(one['flagged'])} other than among the other patients"
        for tag, at in metrics["subgroups"].items()
        for name, one in at["groups"].items()
        if one["flagged"]
    ]
    result = ", ".join(f"AUROC {at['value']:.3f} ({name})" for name, at in metrics["auroc"].items())
    return Summary(tuple(lines), result or "one class only: no AUROC")


def _in_words(names: Sequence[str]) -> str:
    return " and ".join(names).replace("_", " ").replace("auroc", "AUROC")


def _one(request: EvaluateDetect, prior: Prior, index: Index, item: Item, plain: Beside) -> dict[str, Any]:
    """All that is measured of one scan; as JSON, so that a stopped evaluation goes on."""
    _, volume = next(index.volumes([item]))
    found = detect(prior, volume, seed=request.seed, n_twins=0, allow_other=request.allow_other, gate=False)
    admitted = prior.admit(volume, allow_other=request.allow_other)
    others = plain(item, admitted)
    result = {
        "score": found.score,
        "p_value": found.p_value,
        "n_healthy": found.n_healthy,
        "refused": found.refused,
        "red": None if found.map_high is None else bool(found.findings),
        "other": bool(found.other),
        "plain": {name: one.score for name, one in others.items()},
        "located": None,
    }
    truth = index.mask(item)
    if truth is not None and not _fits(truth, volume):
        raise WrongKind(
            f"the mask of {item.path} lies on another grid than its scan",
            "resample it onto the scan, or leave it out of scans.csv",
        )
    if truth is not None and bool((truth.data > 0).any()):
        maps = {name: release_map(admitted, one.map, sentence="").data[0] for name, one in others.items()}
        body = release_map(admitted, (admitted.whole[0] > BODY).float(), sentence="").data[0] > 0.5
        result["located"] = localise(
            truth.data[0] > 0,
            {"ours": found.map.data[0], **maps},
            found.mask.data[0] > 0,
            body,
            volume.spacing_mm,
        )
    return result


def _fits(mask: Volume, scan: Volume) -> bool:
    """The same shape, and where both say where they lie, the same place."""
    placed = mask.affine is not None and scan.affine is not None
    return mask.shape == scan.shape and (not placed or bool(np.allclose(mask.affine, scan.affine, atol=1e-2)))  # type: ignore[arg-type]


def _cell(label: str) -> str:
    """A label as one cell of a table; one that a spreadsheet would take for a formula is made text."""
    plain = label.replace('"', '""')
    return f'"{chr(39) if plain[:1] in "=+-@" else ""}{plain}"'


def _key(item: Item) -> str:
    return f"{item.digest[:24]}/{item.part}"


def detection_figures(scans: Sequence[Scanned], alpha: float, n_healthy: int) -> dict[str, Any]:
    """What can be said of ``scans``: how often healthy ones are flagged at alpha (Clopper-Pearson), AUROC and
    average precision (intervals over patients).

    ``ahead``: AUROC of ours minus that of each plain score, from the same draws of patients. n_healthy:
    patients behind the calibration; too few for alpha, or none: no rate.
    """
    healthy, sick = [scan for scan in scans if not scan.sick], [scan for scan in scans if scan.sick]
    found: dict[str, Any] = {
        "healthy_scans": len(healthy),
        "other_scans": len(sick),
        "alpha": alpha,
        "n_healthy": n_healthy,
    }
    if n_healthy >= patients_needed(alpha):
        for name, part in (("false_positive_rate", healthy), ("flagged_of_others", sick)):
            if part:
                found[name] = stored(
                    clopper_pearson(
                        sum(scan.p_value is not None and scan.p_value <= alpha for scan in part), len(part)
                    )
                )
    for name, part in (("refused_of_healthy", healthy), ("refused_of_others", sick)):
        if part:
            found[name] = stored(clopper_pearson(sum(scan.other for scan in part), len(part)))
    reds = [scan.red for scan in healthy if scan.red is not None]
    if reds:
        found["healthy_scans_with_any_red"] = stored(clopper_pearson(sum(reds), len(reds)))
    found["auroc"], found["average_precision"], found["ahead"] = {}, {}, {}
    if healthy and sick:
        labels = [int(scan.sick) for scan in scans]
        strata = {"patients": [f"{scan.patient}/{scan.sick}" for scan in scans], "strata": labels}
        ours = [scan.score for scan in scans]
        plain = {name: [scan.plain[name] for scan in scans] for name in scans[0].plain}
        for name, scores in {"ours": ours, **plain}.items():
            for what, statistic in (("auroc", auroc), ("average_precision", average_precision)):
                found[what][name] = rate_or_none(statistic, scores, labels, **strata)
            if name != "ours":
                found["ahead"][name] = rate_or_none(_ahead, ours, scores, labels, **strata)
    return found


def _ahead(ours: Any, other: Any, labels: Any) -> float:
    return auroc(ours, labels) - auroc(other, labels)


def _section(
    request: EvaluateDetect, metrics: Mapping[str, Any], scans: Sequence[Scanned], items: Sequence[Item]
) -> tuple[Section, Any]:
    scores = _histogram(metrics, scans)
    charts = [scores, *([_roc(metrics, scans)] if metrics["auroc"] else [])]
    blocks: list[Any] = [Charts(charts), *_auroc_table(metrics, len(scans)), *_rates_table(request, metrics)]
    if "located" in metrics:
        blocks += tables_of(metrics["located"])
    return Section(
        "Evaluate detect",
        f"{metrics['healthy_scans']} healthy patients ({metrics['healthy']}), {metrics['other_scans']} with "
        "another label; one scan of each patient and label.",
        blocks,
        verdict=_verdict(request, metrics),
        caveats=(
            "A label says what somebody has written down, not what a scan shows; a tube or another scanner "
            "can differ between labels as well.",
            "Plain scores were fitted to healthy scans of the train split, or, where there is none, to those "
            "of the other half of these patients.",
            *_deep_rivals(metrics),
            *caveats_of(items),
        ),
    ), chart_image(scores)


def _deep_rivals(metrics: Mapping[str, Any]) -> list[str]:
    """What to know of PatchCore and PaDiM."""
    if missing := features_available():
        return [f"PatchCore and PaDiM are missing here: {missing}."]
    if any("PaDiM" in name for name in metrics["auroc"] or ()):
        return ["PatchCore and PaDiM are weak rivals: their network is smaller than that of their papers."]
    return []


def _auroc_table(metrics: Mapping[str, Any], n: int) -> list[Table]:
    """AUROC and average precision of every score. n: scans."""
    if not metrics["auroc"]:
        return []
    rows = [["score", "AUROC", "95 % interval", "ours minus it", "average precision", "95 % interval"]]
    for name, at in metrics["auroc"].items():
        precision = metrics["average_precision"][name]
        rows.append(
            [
                f"medprior ({name})" if name == "ours" else name,
                f"{at['value']:.3f}",
                span(at),
                "" if name == "ours" else span(metrics["ahead"][name]),
                f"{precision['value']:.3f}",
                span(precision),
            ]
        )
    values = [at["value"] for at in metrics["auroc"].values()]
    note = (
        f"AUROC 0.5 and average precision {metrics['other_scans'] / n:.2f} are chance. Bootstrap intervals "
        "over patients, each class apart."
    )
    return [Table(rows, note, 1 + values.index(max(values)), open=True)]


def _rates_table(request: EvaluateDetect, metrics: Mapping[str, Any]) -> list[Table]:
    """How often scans are flagged, refused or coloured."""
    rates = [(words, metrics[name]) for name, words in _RATES.items() if name in metrics]
    if not rates:
        return []
    note = f"Flagged: p at most {request.alpha:g}. Exact binomial (Clopper-Pearson) intervals."
    if "discoveries" in metrics:
        at = metrics["discoveries"]
        note += (
            f" At a false discovery rate of one in ten (Benjamini-Hochberg) {at['scans']} scans are named, "
            f"{at['healthy']} of them healthy."
        )
    head = ["share", "value", "95 % interval", "patients"]
    return [Table([head, *([w, f"{at['value']:.3f}", span(at), str(at["n"])] for w, at in rates)], note)]


_RATES = {
    "false_positive_rate": "healthy patients flagged (false positives)",
    "flagged_of_others": "patients with another label flagged",
    "healthy_scans_with_any_red": "healthy scans with any finding in the map",
    "refused_of_healthy": "healthy patients that detect refuses as another kind of scan",
    "refused_of_others": "patients with another label that it refuses",
}


def _verdict(request: EvaluateDetect, metrics: Mapping[str, Any]) -> str:
    lines = []
    if metrics["auroc"]:
        ours = metrics["auroc"]["ours"]
        name, plain = max(
            ((n, at) for n, at in metrics["auroc"].items() if n != "ours"), key=lambda pair: pair[1]["value"]
        )
        word = told_apart(metrics["ahead"][name])
        lines.append(
            f"AUROC {ours['value']:.3f} ({span(ours)}); the best plain score, {name}, has "
            f"{plain['value']:.3f} ({span(plain)}): ours is {word}."
        )
    else:
        lines.append("All scans have one kind of label: how well the two are told apart cannot be said.")
    rate = metrics.get("false_positive_rate")
    if rate:
        inside = "holds" if rate["low"] <= request.alpha <= rate["high"] else "does NOT hold"
        lines.append(
            f"{rate['value']:.1%} of healthy patients are flagged; the interval {span(rate)} {inside} the "
            f"promised {request.alpha:g}."
        )
    else:
        lines.append(
            f"No false-positive rate: {metrics['n_healthy']} calibration patients cannot support "
            f"{request.alpha:g} (at least {patients_needed(request.alpha)})."
        )
    return " ".join(lines)


def told_apart(ahead: Mapping[str, Any]) -> str:
    """Where ours stands beside another score, from the interval of the difference."""
    if ahead["low"] is not None and ahead["low"] > 0:
        return "ahead of it"
    if ahead["high"] is not None and ahead["high"] < 0:
        return "BEHIND it"
    return "not told apart from it"


def _histogram(metrics: Mapping[str, Any], scans: Sequence[Scanned]) -> Chart:
    parts = {
        metrics["healthy"]: [s.score for s in scans if not s.sick],
        "other labels": [s.score for s in scans if s.sick],
    }
    edges = np.histogram_bin_edges([s.score for s in scans], bins=24)
    series = [
        Series("bars", edges.tolist(), np.histogram(own, edges)[0].tolist(), f"{name} ({len(own)})", colour)
        for colour, (name, own) in enumerate(parts.items())
        if own
    ]
    caption = (
        "How unlike healthy scans each scan is. Where the two colours overlap, the score cannot tell them "
        "apart."
    )
    return Chart("Scores", caption, "score (no unit)", "patients", series)


def _roc(metrics: Mapping[str, Any], scans: Sequence[Scanned]) -> Chart:
    """ROC curves of our score and of the best plain one."""
    sick = np.array([scan.sick for scan in scans])
    found = {name: at["value"] for name, at in metrics["auroc"].items()}
    best = max((name for name in found if name != "ours"), key=lambda name: found[name])
    scores = {"ours": [s.score for s in scans], best: [s.plain[best] for s in scans]}
    series = [Series("line", [0.0, 1.0], [0.0, 1.0], colour=NEUTRAL, dashed=True)]
    for colour, (name, own) in enumerate(scores.items()):
        x, y = roc_points(np.array(own), sick)
        title = f"{'medprior' if name == 'ours' else name}, AUROC {found[name]:.3f}"
        series.append(Series("line", x, y, title, colour))
    caption = "At every threshold of the score. The dashed line is chance."
    return Chart("ROC curve", caption, "false positive rate", "true positive rate", series, square=True)


def roc_points(scores: Any, sick: Any) -> tuple[list[float], list[float]]:
    """(false positive rates, true positive rates) from no scan flagged to all; scans of equal score pass a
    threshold together. scores, sick: (n,), with both kinds among them.
    """
    order = np.argsort(-scores, kind="stable")
    ranked, hits = scores[order], sick[order]
    last = np.append(ranked[1:] != ranked[:-1], True)
    x, y = (np.cumsum(kind)[last] / kind.sum() for kind in (~hits, hits))
    return [0.0, *x.tolist()], [0.0, *y.tolist()]


def _mistakes(
    prior: Prior, index: Index, items: Sequence[Item], scans: Sequence[Scanned]
) -> tuple[list[Section], list[tuple[str, Any]]]:
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
            caption = (
                "Left to right: score "
                + ", ".join(f"{scans[i].score:.3g}" for i in chosen)
                + "; the middle slice of a volume, its own window."
            )
            pictures.append(
                Picture(
                    mosaic([_tile(v, plane_of_codes(prior.card.axes)) for v in volumes], len(volumes)),
                    title,
                    caption,
                    wide=True,
                )
            )
    section = Section(
        "Where the score errs most", "What confuses the prior tells more than a number.", [Grid(pictures)]
    )
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
