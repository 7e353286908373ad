"""`medprior evaluate explain`: whether the explanations of a model hold, over a folder.

Do counterfactuals convince a second model, are they in distribution and small, and do maps pass their check?
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ...data.plain import JsonObject
from ...data.volume import Volume
from ...errors import BadOption, Uncalibrated
from ...evidence.intervals import interval
from ...explanation.attribution import Infill, occluded
from ...explanation.believable import Likeness
from ...explanation.latent import Search
from ...explanation.model import Model
from ...explanation.shortcuts import MeanInterval, OtherScan, ScanAnswer, UsedPlace, moved_place, used_place
from ...io.dataset.index import patients_of
from ...io.dataset.scan import Index, Item
from ...jobs.explain import Explained, Explaining, explain
from ...prior import Prior
from ...prior.admit import admit
from ..ask.requests import EvaluateExplain
from ..core.inputs import LoadedPrior
from ..core.outputs import Outcome, Summary
from ..core.progress import Event, OnEvent
from ..core.run import RunFolder
from ..explain.model import load_model, model_digest
from ..explain.real_scans import RealScans
from ..page.blocks import Section, Table
from .detection.subgroups import FEWEST, groups_of
from .study import Collected, caveats_of, evaluated, rate_or_none, span, stored

__all__ = ["run_evaluate_explain"]

_MOST_REAL = 200

RATES = {
    "turned": "the answer turns in three of four fresh searches",
    "judge": "the second model agrees, share of the searches",
    "believed": "in distribution (p > 0.05), share of the searches",
    "small": "mean change at most 60 % of the distance to the nearest real scan of the target class",
}
"""What is measured of each scan, and what it means."""


def run_evaluate_explain(request: EvaluateExplain, on_event: OnEvent) -> RunFolder:
    """Evaluate, and write one folder. Raises what ``load_model`` and the evaluation raise."""
    more: JsonObject = {"model_sha256": model_digest(request.model)}
    if request.judge is not None:
        more["judge_sha256"] = model_digest(request.judge)
    return evaluated(request, on_event, _work, more=more, every=True)


@dataclass(frozen=True, slots=True)
class _Bench:
    """What every scan is held against. real: scans for p-values. pool: network images by
    label.
    """

    prior: Prior
    model: Model
    judge: Model | None
    shuffled: Model
    real: RealScans
    pool: Mapping[str, Tensor]
    allow_other: bool

    def likeness(self, scan: Volume) -> Likeness | None:
        """Of the real scans of its size; None where they are too few."""
        try:
            return self.real.likeness(scan)
        except Uncalibrated:
            return None


def _work(
    request: EvaluateExplain,
    known: LoadedPrior,
    index: Index,
    items: tuple[Item, ...],
    collected: Collected,
    on_event: OnEvent,
) -> Outcome:
    chosen = _spread(items, request.most)
    others = [item for item in index.usable(None) if item not in set(items)] or list(items)
    on_event(Event("stage", "reading real scans"))
    loaded = load_model(request.model, known.prior)
    bench = _Bench(
        known.prior,
        loaded.model,
        None if request.judge is None else load_model(request.judge, known.prior).model,
        loaded.shuffled(request.seed).model,
        RealScans.of(known.prior, index.volumes(_spread(others, _MOST_REAL)), request.allow_other),
        _pool(request, known.prior, index, others),
        request.allow_other,
    )
    on_event(Event("stage", "explaining", 0, len(chosen)))
    for done, item in enumerate(chosen, start=1):
        if item.digest not in collected:
            collected.keep(item.digest, _one(request, bench, next(index.volumes([item]))[1], item.label))
        on_event(Event("step", done=done, total=len(chosen)))
    rows = [collected[item.digest] for item in chosen]
    return _outcome(items, chosen, rows, _places(request, bench, index, chosen, rows))


def _spread(items: Sequence[Item], most: int) -> list[Item]:
    """At most so many, evenly over the patients in their order."""
    at = np.linspace(0, len(items) - 1, min(most, len(items))).round().astype(int)
    return [items[n] for n in sorted(set(at.tolist()))]


def _pool(request: EvaluateExplain, prior: Prior, index: Index, items: Sequence[Item]) -> dict[str, Tensor]:
    """Real images of each label in network units, those of the commonest size."""
    found: dict[str, list[Tensor]] = {}
    for item, volume in index.volumes(_spread(items, 4 * _MOST_REAL)):
        found.setdefault(item.label, []).append(prior.admit(volume, allow_other=request.allow_other).whole)
    shapes = {tuple(one.shape) for images in found.values() for one in images}
    if len(shapes) != 1:
        return {}
    return {label: torch.stack(images) for label, images in found.items()}


def _one(request: EvaluateExplain, bench: _Bench, volume: Volume, label: str) -> JsonObject:
    started = time.monotonic()
    what = Explaining(
        search=Search(particles=request.particles),
        maps=request.maps,
        seed=request.seed,
        allow_other=request.allow_other,
    )
    real = bench.likeness(volume) or ()
    found = explain(bench.prior, volume, bench.model, what, shuffled=bench.shuffled, real=real)
    return {
        "label": label,
        "given": found.given,
        "target": found.target,
        "turned": float(found.found),
        "judge": None if bench.judge is None else _agreement(bench, volume, found),
        "believed": _believed(found),
        "small": _small(bench, volume, found),
        "maps": {one.name: one.test.passes for one in found.maps},
        "seconds": time.monotonic() - started,
    }


def _agreement(bench: _Bench, scan: Volume, found: Explained) -> float:
    """Share of the counterfactuals that the second model answers with the target, too."""
    judge = bench.judge
    if judge is None:
        return 0.0
    target = judge.index(found.target)
    own, said = bench.prior.admit(scan, allow_other=bench.allow_other), []
    for one in found.counterfactuals:
        admitted = admit(
            bench.prior.card, one.image, allow_other=bench.allow_other, scale=(own.low, own.high)
        )
        said.append(int(judge.on(admitted)(admitted.whole[None])[0].argmax()) == target)
    return sum(said) / len(said)


def _believed(found: Explained) -> float | None:
    p_values = [one.p_value for one in found.counterfactuals if one.p_value is not None]
    return sum(p > 0.05 for p in p_values) / len(p_values) if p_values else None


def _small(bench: _Bench, volume: Volume, found: Explained) -> float | None:
    """Whether the shown change is at most 0.6 of the distance to the nearest real scan of the target."""
    images = bench.pool.get(found.target)
    own = bench.prior.admit(volume, allow_other=bench.allow_other).whole
    if images is None or images.shape[1:] != own.shape:
        return None
    nearest = float((images - own).abs().flatten(1).mean(1).min())
    return float(2 * found.counterfactuals[0].change <= 0.6 * nearest)


def _places(
    request: EvaluateExplain,
    bench: _Bench,
    index: Index,
    chosen: Sequence[Item],
    rows: Sequence[Mapping[str, Any]],
) -> dict[str, JsonObject]:
    """The places that each answer goes by, of answers that enough scans of one size have. One is painted out
    of these scans, the other is moved into scans with another answer; None where these are too few.
    """
    found = {}
    for given in sorted({row["given"] for row in rows}):
        parts = [
            [item for item, row in zip(chosen, rows, strict=True) if (row["given"] == given) is wanted]
            for wanted in (True, False)
        ]
        mine, others = parts
        try:
            scans = [_answer(request, bench, volume, given) for _, volume in index.volumes(mine)]
            painted = used_place(scans, _mean_over(mine))
        except BadOption:
            continue  # fewer than five scans have this answer
        try:
            other = [_other(request, bench, volume, given) for _, volume in index.volumes(others)]
            moved = place_metrics(moved_place(scans, other, _mean_over(others)), others)
        except BadOption:
            moved = None
        found[given] = {"painted out": place_metrics(painted, mine), "moved in": moved}
    return found


def _mean_over(items: Sequence[Item]) -> MeanInterval:
    return partial(interval, np.mean, patients=[item.owner for item in items])


def _answer(request: EvaluateExplain, bench: _Bench, volume: Volume, given: str) -> ScanAnswer:
    at = _other(request, bench, volume, given)
    infill = Infill(bench.prior, at.scan, request.seed)
    return ScanAnswer(occluded(at.scan, infill), infill, at.likelihood)


def _other(request: EvaluateExplain, bench: _Bench, volume: Volume, given: str) -> OtherScan:
    admitted = bench.prior.admit(volume, allow_other=request.allow_other)
    answers, at = bench.model.on(admitted), bench.model.index(given)
    return OtherScan(admitted.whole[None], lambda images: answers(images)[:, at])


def _outcome(
    items: Sequence[Item],
    chosen: Sequence[Item],
    rows: Sequence[Mapping[str, Any]],
    places: Mapping[str, JsonObject],
) -> Outcome:
    numbers = patients_of(chosen)
    patients = [numbers[item.owner] for item in chosen]
    metrics: JsonObject = {
        "rates": {name: _rate(name, rows, patients) for name in RATES},
        "maps": {
            name: {"passed": sum(row["maps"][name] for row in rows), "n": len(rows)}
            for name in (rows[0]["maps"] if rows else ())
        },
        "places": dict(places),
        "seconds": float(np.median([row["seconds"] for row in rows])),
        "n": len(rows),
    }
    return Outcome(metrics, [_section(metrics, items)], [], explanation_study(metrics))


def place_metrics(at: UsedPlace, items: Sequence[Item]) -> JsonObject:
    """What is stored of a place. items: of its scans, in order."""
    return {
        "name": at.name,
        "turned": at.turned,
        "elsewhere": at.elsewhere,
        "fall": stored(at.fall),
        "area": float(at.where.float().mean()),
        "suspect": at.suspect,
        "n": at.n,
        "groups": _by_group(at, items),
    }


def _by_group(at: UsedPlace, items: Sequence[Item]) -> list[JsonObject]:
    """In which subgroups the place counts: its mean fall in each of at least ``FEWEST`` patients. The label
    is a subgroup, too: it tells right answers from wrong ones.
    """
    found: list[JsonObject] = []
    told = [{"label": item.label, **groups} for item, groups in zip(items, groups_of(items), strict=True)]
    for tag in sorted({tag for groups in told for tag in groups}):
        for name in sorted({groups[tag] for groups in told if tag in groups}):
            mine = [n for n, groups in enumerate(told) if groups.get(tag) == name]
            if len({items[n].owner for n in mine}) >= FEWEST:
                fall = float(at.falls[mine].mean())
                found.append({"tag": tag, "group": name, "n": len(mine), "fall": fall})
    return found


def _rate(name: str, rows: Sequence[Mapping[str, Any]], patients: Sequence[int]) -> JsonObject | None:
    pairs = [
        (row[name], patient) for row, patient in zip(rows, patients, strict=True) if row[name] is not None
    ]
    if not pairs:
        return None
    return rate_or_none(np.mean, [value for value, _ in pairs], patients=[patient for _, patient in pairs])


def explanation_study(metrics: Mapping[str, Any]) -> Summary:
    """The rates and the places, in plain sentences."""
    lines = [
        f"{at['value']:.2f} ({span(at, 2)})  {RATES[name]}"
        for name, at in metrics["rates"].items()
        if at is not None
    ]
    lines += [_place_line(given, how, at) for given, how, at in _each_place(metrics)]
    turned = metrics["rates"]["turned"]
    return Summary(tuple(lines), f"turned {turned['value']:.2f} of {metrics['n']} scans")


def _each_place(metrics: Mapping[str, Any]) -> list[tuple[str, str, Mapping[str, Any]]]:
    """(answer, how it was tried, the place)."""
    return [(given, how, at) for given, both in metrics["places"].items() for how, at in both.items() if at]


_TRIED = {
    "painted out": "Painting it out turns",
    "moved in": "Moved from these scans into scans with another answer, it turns",
}


def _place_line(given: str, how: str, at: Mapping[str, Any]) -> str:
    word = "Shortcut suspected" if at["suspect"] else "Place that matters most"
    return (
        f"{word} for {given}: {at['name']}, {100 * at['area']:.0f} % of the area. {_TRIED[how]} "
        f"{100 * at['turned']:.0f} % of {at['n']} answers, its mirror images {100 * at['elsewhere']:.0f} %. "
        f"Log odds change by {at['fall']['value']:.2f} more than with any of them ({span(at['fall'], 2)})."
    )


def _section(metrics: Mapping[str, Any], items: Sequence[Item]) -> Section:
    rows = [["what", "value", "95 % interval"]]
    rows += [
        [text, "not measured", ""]
        if (at := metrics["rates"][name]) is None
        else [text, f"{at['value']:.2f}", span(at, 2)]
        for name, text in RATES.items()
    ]
    maps = [["map", "passed its check", "scans"]]
    maps += [[name, str(at["passed"]), str(at["n"])] for name, at in metrics["maps"].items()]
    places = [["answer", "what its place says"]]
    places += [[given, _place_line(given, how, at)] for given, how, at in _each_place(metrics)]
    groups = [["answer", "place", "subgroup", "scans", "log odds"]]
    groups += [
        [given, f"{at['name']}, {how}", f"{one['tag']}: {one['group']}", str(one["n"]), f"{one['fall']:.2f}"]
        for given, how, at in _each_place(metrics)
        for one in at["groups"]
    ]
    note = f"Of {metrics['n']} scans; {metrics['seconds']:.1f} s a scan (median)."
    tables = [Table(rows, note, open=True)]
    tables += [Table(maps, "See docs/explain.md for the check.")] if len(maps) > 1 else []
    tables += [Table(places, words=True, open=True)] if len(places) > 1 else []
    tables += [Table(groups, "Log odds beyond those of its mirror images.")] if len(groups) > 1 else []
    return Section(
        "Evaluate explain: do the explanations hold?",
        "A change that turns one model says little: an attack does that, too. A second model, trained on "
        "other patients, says whether the class has changed.",
        tables,
        verdict=" ".join(explanation_study(metrics).headline[-2:]),
        caveats=caveats_of(items),
    )
