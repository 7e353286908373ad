"""Learn as a run: a head on a prior from few labels, what it is worth on patients that it has not seen, and
the head in its own folder.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict

from ...data.volume import Volume
from ...evidence.intervals import Estimate
from ...io.dataset.index import patients_of
from ...io.dataset.scan import Index, Item
from ...jobs.learn import FEW, calibration_error, gathered, head_from, labels_of, with_errors
from ...jobs.tuning.classifier import ImageSet, check_one_label, tuned_way
from ...jobs.tuning.ways import ALONE, JUDGED, LearningSet, LearnSettings, WayToLearn
from ...learning.features import FeatureSettings, volume_features
from ...learning.head_folder import Head, save_head
from ...prior import Prior
from ...training.folder import load
from ..ask.requests import Learn
from ..core.inputs import device_named, indexed, known_prior
from ..core.outputs import Outcome, Summary
from ..core.progress import Event, OnEvent
from ..core.run import Run, RunFolder
from ..page.blocks import Charts, Section, Table
from ..page.charts import NEUTRAL, Chart, Series, chart_image
from .masks import run_learn_masks

__all__ = ["learners", "reliability_chart", "run_learn"]


def run_learn(request: Learn, on_event: OnEvent) -> RunFolder:
    """Learn and write the run folder; ``head`` lies in it. Scans of a stated test split are left alone.

    Raises what ``scan``, ``labels_of`` and ``volume_features`` raise, MissingExtra without scikit-learn.
    """
    started, device = time.monotonic(), device_named(request.device)
    known = known_prior(request.prior, device)
    how = LearnSettings(
        level=request.level,
        seed=request.seed,
        unlabelled=not request.labels_alone,
        allow_other=request.allow_other,
    )
    with indexed(request.folder, request.unit, request.modality, on_event, request.layout) as index:
        if request.segment:
            return run_learn_masks(request, known, index, device, on_event)
        items = learners(index, allow_synthetic=request.allow_synthetic, unlabelled=how.unlabelled)
        labels, owners = [item.label for item in items], [item.owner for item in items]
        _, several = labels_of(labels, owners)
        check_one_label(several=several and request.fine_tune)
        facts = sorted(f"{item.digest}/{item.label}/{item.owner}" for item in items)
        run = Run.of(request, started, device, **known.hashes, scans=facts)
        if (done := run.done(on_event)) is not None:
            return done
        on_event(Event("stage", "looking at every scan with the prior", 0, len(items)))
        settings = FeatureSettings(how.sigmas, how.seed, how.allow_other)
        found = volume_features(
            known.prior,
            (volume for _, volume in index.volumes(items)),
            settings,
            lambda n: on_event(Event("step", done=n, total=len(items))),
        )
        marked = [item for item in items if item.label]
        data = gathered(found.numpy(), labels, owners)
        data = with_errors(data, known.prior, _volumes(index, marked), settings)
        prior = known.prior if device == "cpu" else load(request.prior)
        others = [_tuned(data, prior, index, items, how, on_event)] if request.fine_tune else []
    on_event(Event("stage", "learning from the labels, out of fold"))
    head, way, gains = head_from(data, prior, how, others)
    outcome = _outcome(request, head, gains, items)
    record = run.record(
        outcome,
        prior=known.named,
        request={name: value for name, value in run.identity.items() if name != "scans"},
        input=None,
        data={"scans": len(items), "patients": len(patients_of(items)), "method": way.name},
    )
    return run.publish(outcome, record, lambda folder: save_head(head, folder / "head"))


def _volumes(index: Index, items: Sequence[Item]) -> Iterator[Volume]:
    return (volume for _, volume in index.volumes(items))


def _tuned(
    data: LearningSet,
    prior: Prior,
    index: Index,
    items: Sequence[Item],
    how: LearnSettings,
    on_event: OnEvent,
) -> WayToLearn:
    """The prior tuned with the classifier; at most ``JUDGED`` scans without label take part."""
    marked, free = [item for item in items if item.label], [item for item in items if not item.label]
    some = free[:: -(-len(free) // JUDGED)] if free else []
    on_event(Event("stage", "tuning the prior with the classifier, in folds of patients", 0, 1))
    seen = (_volumes(index, part) for part in (marked, some))
    images = ImageSet.of(prior, *seen, allow_other=how.allow_other)
    return tuned_way(
        data, prior, images, how, on_step=lambda n, total: on_event(Event("step", done=n, total=total))
    )


def learners(index: Index, *, allow_synthetic: bool, unlabelled: bool) -> list[Item]:
    """The scans to learn from: all but those of a stated test split."""
    items = index.usable(allow_synthetic=allow_synthetic)
    kept = [item for item in items if not (item.given and item.split == "test")]
    return [item for item in kept if item.label or unlabelled]


def _outcome(request: Learn, head: Head, gains: Mapping[str, Estimate], items: Sequence[Item]) -> Outcome:
    card, promises = head.card, head.promises
    area = promises.estimates.get("AUROC")
    counts = ", ".join(f"{name} {n}" for name, n in zip(card.classes, card.labels, strict=True))
    worth = (
        "of too few patients for an interval"
        if area is None
        else f"AUROC {area.value:.3f} ({area.low:.3f} to {area.high:.3f}; 0.5 is chance, 1 is perfect)"
    )
    marked = sum(1 for item in items if item.label)
    verdict = f"Learned from {marked} labels ({counts}). On patients that it has not seen: {worth}."
    how = _how(head, gains)
    chart = reliability_chart(promises.reliability)
    rows = [["measured out of fold", "value", "95 % interval", "patients"]]
    rows += [
        [name, f"{at.value:.3f}", f"{at.low:.3f} to {at.high:.3f}", str(at.n)]
        for name, at in promises.estimates.items()
    ]
    methods = [["way to learn", "AUROC", f"gain over {ALONE}"], *_methods(head, gains)]
    error = calibration_error(promises.reliability)
    said = "calibrated out of fold" if card.calibrated else f"uncalibrated: fewer than {FEW} labels"
    section = Section(
        "What was learned",
        f"{how} Probabilities are {said}; their error is {error:.3f} (0 is best). {_sets(head)}",
        [Table(rows, open=True), Table(methods, open=True), Charts([chart])],
        verdict=verdict,
        caveats=(
            *promises.notes,
            "Numbers are out of fold: each scan is judged by a head that has not seen its patient. The way "
            "to learn was chosen on the same folds, so its own number is slightly too good.",
            *_unnamed(items),
        ),
    )
    metrics = {"head": asdict(card), "promises": asdict(promises), "calibration_error": error}
    summary = Summary((verdict, how, _sets(head)), verdict)
    return Outcome(
        metrics,
        [section],
        [("reliability", chart_image(chart))],
        summary,
        overrides=["another modality or unit than the prior's was allowed"] if request.allow_other else [],
        title="medprior learn",
        lead=f"{marked} scans with label, {card.unlabelled} without, of "
        f"{len(patients_of(items))} patients. Prior: {card.prior}.",
    )


def _how(head: Head, gains: Mapping[str, Estimate]) -> str:
    card = head.card
    if not card.unlabelled:
        return "There were no scans without label to learn from."
    if card.method == ALONE:
        return "Labels alone: held-out labels do not prefer a way that uses the scans without label."
    at = gains[card.method]
    return (
        f"{card.method.capitalize()} on {card.unlabelled} scans without label: {at.value:+.3f} AUROC over "
        f"{ALONE} ({at.low:+.3f} to {at.high:+.3f})."
    )


def _sets(head: Head) -> str:
    card = head.card
    if card.several:
        return "Labels may come together, so each has its own probability."
    if card.reach is None:
        return f"There are too few patients for sets of labels that cover {card.level:.0%} of patients."
    return f"Sets of labels that cannot be ruled out cover {card.level:.0%} of patients."


def _methods(head: Head, gains: Mapping[str, Estimate]) -> list[list[str]]:
    rows = []
    for name, value in head.promises.compared.items():
        at = gains.get(name)
        rows.append(
            [
                name + (" (chosen)" if name == head.card.method else ""),
                f"{value:.3f}",
                "" if at is None else f"{at.value:+.3f} ({at.low:+.3f} to {at.high:+.3f})",
            ]
        )
    return rows


def reliability_chart(bins: Sequence[tuple[float, float, int]]) -> Chart:
    """Mean probability of the answer against the share that was right."""
    x, y = [p for p, _, _ in bins], [share for _, share, _ in bins]
    series = [
        Series("line", (0.0, 1.0), (0.0, 1.0), "perfect", NEUTRAL, dashed=True),
        Series("line", x, y, ""),
        Series("points", x, y, "out of fold"),
    ]
    caption = "Each point holds equally many scans. On the line, probabilities are what they say."
    axes = "probability of the answer", "share that was right"
    return Chart("Reliability", caption, *axes, series, square=True)


def _unnamed(items: Sequence[Item]) -> list[str]:
    n = sum(not item.patient for item in items)
    return [f"{n} scans name no patient and count as one patient each."] if n else []
