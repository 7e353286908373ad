"""Evaluate learn: how many labels are needed? Learning curves of a head on the prior beside the same head on
pixels and on ImageNet features, and beside a network trained on the same labels.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from ..data.plain import JsonObject
from ..data.seeds import seed_for
from ..errors import BadOption
from ..evidence.detectors.detectors import features_available
from ..evidence.detectors.imagenet import ImageNetFeatures
from ..evidence.gain import SeedScores, paired_gain
from ..evidence.intervals import Estimate
from ..io.dataset.scan import Index, Item
from ..jobs.label_curves import (
    ARMS,
    OURS,
    CurvePool,
    LearningMethod,
    answers,
    asked_labels,
    draw_labels,
    judged_by,
    looked,
)
from ..jobs.learn import labels_of, macro_auroc, targets_of
from ..learning.features import FeatureSettings
from .ask.requests import EvaluateLearn
from .core.inputs import LoadedPrior
from .core.outputs import Outcome, Summary
from .core.progress import Event, OnEvent
from .core.run import RunFolder
from .page.blocks import Charts, Section, Table
from .page.charts import NEUTRAL, Chart, Series, chart_image
from .studies.study import Collected, caveats_of, evaluated, results_csv, stored

__all__ = ["run_evaluate_learn", "verdict_of_curves"]

COLOURS = {"prior": 0, "pixels": 1, "imagenet": 2, "network": NEUTRAL}


def run_evaluate_learn(request: EvaluateLearn, on_event: OnEvent) -> RunFolder:
    """Evaluate and write the run folder. Raises what ``evaluated`` and ``labels_of`` raise."""
    return evaluated(request, on_event, _work, every=True)


def _work(
    request: EvaluateLearn,
    known: LoadedPrior,
    index: Index,
    items: tuple[Item, ...],
    collected: Collected,
    on_event: OnEvent,
) -> Outcome:
    if request.labels_alone:
        items = tuple(item for item in items if item.label)
    pool, classes = _pool(request, known, index, items, on_event)
    arms = [arm for arm in ARMS if arm.source in (*pool.features, "network")]
    arms = [arm for arm in arms if not (pool.several and (arm.asked or arm.source == "network"))]
    if request.baselines == "quick":
        arms = [arm for arm in arms if arm.source not in ("network", "imagenet")]
    if request.labels_alone:
        arms = [arm for arm in arms if not arm.unlabelled]
    for part in range(len(pool.judges)):  # before minutes are spent, not after
        draw_labels(pool, part, max(request.sizes), request.seed, stratified=True)
    todo = [(size, draw) for size in request.sizes for draw in range(request.draws)]
    on_event(Event("stage", "learning from draws of labels", 0, len(todo)))
    for n, (size, draw) in enumerate(todo):
        for arm in (one for one in arms if one.covers(size)):
            if (key := _key(arm, size, draw)) not in collected:
                collected.keep(key, {"logits": _drawn(request, pool, arm, size, draw).round(5).tolist()})
        on_event(Event("step", done=n + 1, total=len(todo)))
    found = _Curves.of(request, pool, arms, collected)
    return _summary(request, pool, classes, arms, found, items)


def _key(arm: LearningMethod, size: int, draw: int) -> str:
    return f"{arm.name}/{size}/{draw}"


def _drawn(request: EvaluateLearn, pool: CurvePool, arm: LearningMethod, size: int, draw: int) -> np.ndarray:
    """(m, K) logits of all scans that judge."""
    seed = seed_for(request.seed, "draw", draw) % 2**62
    found = []
    for part in range(len(pool.judges)):
        if arm.asked:
            at = asked_labels(pool, part, size, seed)
        else:
            at = draw_labels(pool, part, size, seed, stratified=request.stratified)
        found.append(answers(pool, arm, part, at, seed))
    return np.concatenate(found)


def _pool(
    request: EvaluateLearn, known: LoadedPrior, index: Index, items: Sequence[Item], on_event: OnEvent
) -> tuple[CurvePool, tuple[str, ...]]:
    """Every scan seen once. Raises BadOption where nothing can judge."""
    classes, several = labels_of([item.label for item in items], [item.owner for item in items])
    y = np.zeros((len(items), len(classes)))
    marked = [n for n, item in enumerate(items) if item.label]
    y[marked] = targets_of([items[n].label for n in marked], classes, several=several)
    of_test = [n for n in marked if items[n].split == "test" and items[n].given]
    if request.judge == "test" and not of_test:
        raise BadOption(
            "evaluate learn: the folder has no test split with labels",
            "take --judge folds, or name a test split",
        )
    test = np.array([] if request.judge == "folds" else of_test, dtype=int)
    owners = [item.owner for item in items]
    judges = judged_by(y, owners, test, request.seed)
    if any((y[np.concatenate(judges)].sum(0) == 0).tolist()):
        raise BadOption(
            "evaluate learn: a class is in no scan that judges", "put scans of it into the test split"
        )
    network, missing = None, features_available() if request.baselines == "all" else ""
    if missing:
        on_event(Event("warning", f"no ImageNet features: {missing}"))
    elif request.baselines == "all":
        network = ImageNetFeatures.pretrained()
    how = FeatureSettings(seed=request.seed, allow_other=request.allow_other)
    on_event(Event("stage", "looking at every scan", 0, len(items)))
    seen = []
    for _, volume in index.volumes(items):
        admitted = known.prior.admit(volume, allow_other=request.allow_other)
        seen.append(looked(known.prior, admitted, network, how))
        on_event(Event("step", done=len(seen), total=len(items)))
    modality = known.prior.card.modality or items[0].modality
    return CurvePool.of(seen, y, owners, judges, modality=modality, several=several), classes


@dataclass(frozen=True, slots=True)
class _Curves:
    """scores: of each method, for each number of labels, one for each draw. values: their means with
    intervals. gains: of ours over each other method.
    """

    ours: str
    scores: Mapping[str, Mapping[int, list[SeedScores]]]
    values: Mapping[str, Mapping[int, Estimate]]
    gains: Mapping[str, Mapping[int, Estimate]]

    @classmethod
    def of(
        cls, request: EvaluateLearn, pool: CurvePool, arms: Sequence[LearningMethod], collected: Collected
    ) -> _Curves:
        y, patients = pool.y[pool.judged], [pool.owners[n] for n in pool.judged]

        def score(arm: LearningMethod, size: int, draw: int) -> SeedScores:
            logits = np.array(collected[_key(arm, size, draw)]["logits"])
            return macro_auroc(logits, y, several=pool.several)

        scores = {
            arm.name: {
                n: [score(arm, n, d) for d in range(request.draws)] for n in request.sizes if arm.covers(n)
            }
            for arm in arms
        }
        ours = next(arm.name for arm in arms if arm.source == "prior")
        nothing = [SeedScores(0.0, np.zeros(len(y)))] * request.draws

        def over(name: str, other: str) -> dict[int, Estimate]:
            return {
                n: paired_gain(own, scores[other][n] if other else nothing, patients)
                for n, own in scores[name].items()
                if not other or n in scores[other]
            }

        gains = {name: over(ours, name) for name in scores if name != ours}
        return cls(ours, scores, {name: over(name, "") for name in scores}, gains)


def _summary(
    request: EvaluateLearn,
    pool: CurvePool,
    classes: tuple[str, ...],
    arms: Sequence[LearningMethod],
    found: _Curves,
    items: Sequence[Item],
) -> Outcome:
    plain = [arm.name for arm in arms if arm.source != "prior"]
    verdict = verdict_of_curves(found.ours, found.values, found.gains, plain)
    chart = _chart(arms, found.values)
    judged = "the test split" if len(pool.judges) == 1 else f"{len(pool.judges)} folds of patients in turn"
    network = " The supervised network is a ResNet with the usual augmentation."
    network *= any(arm.source == "network" for arm in arms)
    drawn = "in the shares of all" if request.stratified else "at random"
    section = Section(
        "How many labels?",
        f"Each number of labels was drawn {request.draws} times, {drawn}; {judged} judges "
        f"({len(pool.judged)} "
        f"scans, {len({pool.owners[n] for n in pool.judged})} patients). All features stand under the same "
        f"head; "
        f"plain ones are reduced to 64 principal components, not whitened.{network}",
        [
            Charts([chart]),
            _table("AUROC", found.values, request.sizes, ".3f"),
            _table(f"{found.ours} minus", found.gains, request.sizes, "+.3f"),
        ],
        verdict=verdict,
        caveats=(
            *caveats_of(items),
            "Intervals are for new draws of labels and new patients. No setting was chosen on the scans that "
            "judge.",
        ),
    )
    metrics: JsonObject = {
        "classes": list(classes),
        "ours": found.ours,
        "verdict": verdict,
        "judged_by": judged,
        "auroc": _stored(found.values),
        "gain": _stored(found.gains),
    }
    rows: list[list[object]] = [["method", "labels", "draw", "AUROC"]]
    rows += [
        [name, size, draw, f"{one.value:.6f}"]
        for name, by_size in found.scores.items()
        for size, own in by_size.items()
        for draw, one in enumerate(own)
    ]
    picture = [("learning curve", chart_image(chart))]
    return Outcome(metrics, [section], picture, Summary((verdict,), verdict), files=results_csv(rows))


def _stored(rows: Mapping[str, Mapping[int, Estimate]]) -> JsonObject:
    return {name: {str(n): stored(at) for n, at in row.items()} for name, row in rows.items()}


def verdict_of_curves(
    ours: str,
    values: Mapping[str, Mapping[int, Estimate]],
    gains: Mapping[str, Mapping[int, Estimate]],
    plain: Sequence[str],
) -> str:
    """In plain words: how good with the fewest labels, against the best plain method, and whether more
    labels still help.
    """
    sizes = sorted(values[ours])
    first, last = sizes[0], sizes[-1]
    at = values[ours][first]
    said = [f"With {first} labels, AUROC is {at.value:.3f} ({at.low:.3f} to {at.high:.3f}; {ours})."]
    if plain:
        rival = max(plain, key=lambda name: values[name][first].value)
        gain = gains[rival][first]
        sure = "sure" if gain.low > 0 else "that it is worse is sure" if gain.high < 0 else "not sure"
        said.append(f"The best plain method ({rival}) reaches {values[rival][first].value:.3f}.")
        said.append(f"The difference is {gain.value:+.3f} ({gain.low:+.3f} to {gain.high:+.3f}): {sure}.")
        best = max(values[name][last].value for name in plain)
        enough = next((n for n in sizes if values[ours][n].value >= best), None)
        if enough is not None and enough < last:
            said.append(f"{enough} labels do what {last} do without the prior.")
    if len(sizes) > 1:
        more = values[ours][last].value - values[ours][sizes[-2]].value
        said.append(f"From {sizes[-2]} to {last} labels it gained {more:+.3f}.")
    return " ".join(said)


def _chart(arms: Sequence[LearningMethod], values: Mapping[str, Mapping[int, Estimate]]) -> Chart:
    series = []
    for arm in arms:
        row = values[arm.name]
        x, y = list(row), [at.value for at in row.values()]
        look = {
            "colour": COLOURS[arm.source],
            "dashed": arm.source != "network" and not arm.unlabelled,
            "faint": arm.asked,
        }
        series.append(Series("line", x, y, arm.name, **look))
        if arm == OURS or arm.source == "network":
            low, high = [at.low for at in row.values()], [at.high for at in row.values()]
            series.append(Series("whiskers", x, y, "", COLOURS[arm.source], low, high))
    ticks = [(size, str(size)) for size in next(iter(values.values()))]
    caption = (
        "Mean over draws of labels; whiskers are 95 % intervals for new draws and new patients. Dashed: "
        "labels "
        "alone."
    )
    return Chart("Learning curve", caption, "labelled scans", "AUROC", series, ticks, log_x=True)


def _table(title: str, rows: Mapping[str, Mapping[int, Estimate]], sizes: Sequence[int], how: str) -> Table:
    cells = [[title, *(f"{n} labels" for n in sizes)]]
    cells += [
        [
            name,
            *(
                f"{at.value:{how}} ({at.low:{how}} to {at.high:{how}})" if at else ""
                for at in map(row.get, sizes)
            ),
        ]
        for name, row in rows.items()
    ]
    return Table(cells, open=True)
