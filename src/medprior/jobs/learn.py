"""Learn a head from a few labels and all unlabelled scans, and predict with it.

Every number that is promised comes from patients that the head has not seen: out of fold, by patient.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from itertools import islice
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray

from ..data.volume import Volume
from ..errors import BadOption, Uncalibrated, did_you_mean
from ..evidence.conformal import threshold
from ..evidence.intervals import Estimate, clopper_pearson, interval
from ..evidence.metrics import auroc
from ..io.dataset.scan import scan
from ..learning.features import FeatureSettings, class_errors, volume_features
from ..learning.head_folder import Head, HeadCard, HeadPromises, load_head, prior_digest, save_head
from ..learning.head_model import GENERATIVE, looker_of
from ..learning.heads import FOLDS, Projection, Temperature, calibrated, probabilities
from ..prior import Prior
from .given import GivenPrior, GivenScan, load_scan, prior_of
from .tuning.classifier import ImageSet, check_one_label, tuned_way
from .tuning.ways import (
    ALONE,
    JUDGED,
    SCALE,
    LearningSet,
    LearnSettings,
    WayToLearn,
    chosen,
    macro_auroc,
    tried,
)

__all__ = [
    "GivenHead",
    "Prediction",
    "calibration_error",
    "gathered",
    "head_from",
    "labels_of",
    "learn",
    "measured_unseen",
    "predict",
    "predictions",
    "reliability",
    "targets_of",
    "with_errors",
]

Array: TypeAlias = NDArray[Any]
FEW = 30
"""Labelled scans below which probabilities are called uncalibrated."""
MARK = "|"
"""Between labels of one scan that come together, as in effusion|pneumonia."""
GivenHead: TypeAlias = Head | str | Path
"""A head, its folder, or the folder of its run."""


def labels_of(labels: Sequence[str], owners: Sequence[str]) -> tuple[tuple[str, ...], bool]:
    """(classes, whether several may come together). labels: of each scan, "" for none; owners: whose it is.

    Raises BadOption for no labels, for one class, and for a class of one scan or of one patient.
    """
    several = any(MARK in label for label in labels)
    whose: dict[str, list[str]] = {}
    for label, owner in zip(labels, owners, strict=True):
        for name in _parts(label, several=several):
            whose.setdefault(name, []).append(owner)
    if not whose:
        raise BadOption(
            "learn: no scan has a label", "sub-folders are labels, or a table names them: --labels FILE.csv"
        )
    if len(whose) < 2 and not several:
        (name, own), *_ = whose.items()
        raise BadOption(
            f"learn: the labels name one class only, {name!r} ({len(own)} scans): wanted two or more",
            "label scans of another class, too",
        )
    for name, own in whose.items():
        if len(set(own)) < 2:
            scans = "one scan" if len(own) == 1 else f"{len(own)} scans of one patient"
            raise BadOption(
                f"learn: the class {name!r} has {scans}: it cannot be learned and checked",
                "label a scan of another patient of it, or leave the class out",
            )
    return tuple(sorted(whose)), several


def _parts(label: str, *, several: bool) -> list[str]:
    return [part.strip() for part in (label.split(MARK) if several else [label]) if part.strip()]


def targets_of(labels: Sequence[str], classes: Sequence[str], *, several: bool) -> Array:
    """(n, K) of labels that are not "". Raises BadOption for a label that is none of the classes."""
    y = np.zeros((len(labels), len(classes)))
    for row, label in enumerate(labels):
        for part in _parts(label, several=several):
            if part not in classes:
                raise BadOption(
                    f"learn: the class {part!r} is in no training patient", did_you_mean(part, list(classes))
                )
            y[row, classes.index(part)] = 1
    return y


def gathered(seen: Array, labels: Sequence[str], owners: Sequence[str]) -> LearningSet:
    """seen: (n, d) features. Scans without label go to ``u``. Raises what ``labels_of`` raises."""
    classes, several = labels_of(labels, owners)
    at = [n for n, label in enumerate(labels) if label]
    free = [n for n, label in enumerate(labels) if not label]
    y = targets_of([labels[n] for n in at], classes, several=several)
    own = tuple(owners[n] for n in at)
    return LearningSet(seen[at], y, own, classes, seen[free], several)


def with_errors(
    data: LearningSet, prior: Prior, marked: Iterable[Volume], how: FeatureSettings
) -> LearningSet:
    """With ``class_errors`` of the labelled scans, ``marked``, where the prior was trained on their
    classes."""
    if data.several or not set(data.classes) <= set(prior.card.labels):
        return data
    return replace(data, errors=volume_features(prior, marked, how, look=class_errors).numpy())


def learn(
    scans: str | Path | Sequence[GivenScan],
    prior: GivenPrior,
    labels: Sequence[str | None] | None = None,
    *,
    patients: Sequence[str] | None = None,
    out: str | Path | None = None,
    fine_tune: bool = False,
    how: LearnSettings | None = None,
    on_step: Callable[[int, int], None] | None = None,
) -> Head:
    """A head on a prior, from a few labels and all unlabelled scans.

    scans: the folder of a data set, or scans with ``labels``: one each, None where there is none, several
    that come together joined by "|". patients: whose each scan is; without them each counts as a patient of
    its own. out: folder for the head. fine_tune: also tune the prior's network, which takes minutes; used
    only where held-out labels prefer it.

    Raises BadOption for labels that cannot be learned from, and what ``medprior.scan``, ``medprior.load`` and
    ``Prior.admit`` raise.
    """
    how, known = how or LearnSettings(), prior_of(prior)
    if isinstance(scans, str | Path):
        if labels is not None:
            raise BadOption("learn: labels of a folder stand in the folder or its table", "leave labels out")
        index = scan(scans)
        items = index.without_test()
        given = [(item.label, item.owner) for item in items]
        volumes: Iterable[Volume] = (volume for _, volume in index.volumes(items))

        def part(*, wanted: bool) -> Iterator[Volume]:
            return (v for _, v in index.volumes([item for item in items if bool(item.label) is wanted]))
    else:
        if labels is None or len(labels) != len(scans) or (patients and len(patients) != len(scans)):
            raise BadOption(
                f"learn: wanted a label (or None) and, if any, a patient for each of {len(scans)} scans"
            )
        owners = patients or [f"scan {n}" for n in range(len(scans))]
        given = [(label or "", who) for label, who in zip(labels, owners, strict=True)]
        volumes = (load_scan(one, known) for one in scans)
        pairs = list(zip(scans, labels, strict=True))

        def part(*, wanted: bool) -> Iterator[Volume]:
            return (load_scan(one, known) for one, label in pairs if bool(label) is wanted)

    _, several = labels_of(*zip(*given, strict=True))  # before minutes are spent, not after
    check_one_label(several=several and fine_tune)
    total = len(given)
    settings = FeatureSettings(how.sigmas, how.seed, how.allow_other)
    found = volume_features(known, volumes, settings, on_step and (lambda done: on_step(done, total))).numpy()
    data = with_errors(gathered(found, *zip(*given, strict=True)), known, part(wanted=True), settings)
    others = []
    if fine_tune:
        some = islice(part(wanted=False), 0, None, max(1, -(-len(data.u) // JUDGED)))
        images = ImageSet.of(known, part(wanted=True), some, allow_other=how.allow_other)
        others.append(tuned_way(data, known, images, how))
    head, *_ = head_from(data, known, how, others)
    if out is not None:
        save_head(head, out)
    return head


def head_from(
    data: LearningSet, prior: Prior, how: LearnSettings, others: Sequence[WayToLearn] = ()
) -> tuple[Head, WayToLearn, dict[str, Estimate]]:
    """(the head, the way it was learned, gains over labels alone). others: ways to try beside the usual ones.
    Raises MissingExtra without scikit-learn.
    """
    projection, ways = tried(data, how)
    ways += others
    way, gains = chosen(ways, data.patients)
    tensors, sigmas = way.own() if way.own else (_linear_tensors(way, data, projection), how.sigmas)
    enough = len(data.x) >= FEW
    logits = np.concatenate(way.logits)
    y = np.concatenate([data.y] * len(way.logits))
    temperature = calibrated(logits, y, several=data.several) if enough else Temperature()
    card = HeadCard(
        data.classes,
        prior.card.name,
        prior_digest(prior),
        several=data.several,
        method=way.name,
        sigmas=sigmas,
        seed=how.seed,
        labels=tuple(int(n) for n in data.y.sum(0)),
        patients=len(set(data.patients)),
        unlabelled=len(data.u),
        temperature=temperature.value,
        offset=temperature.offset,
        calibrated=enough,
        level=how.level,
        reach=None if data.several else _reach(temperature(way.logits[0]), data, how.level),
    )
    promises = _promised(temperature, way, ways, gains, data, card)
    return Head(card, prior, tensors, promises), way, gains


def _linear_tensors(way: WayToLearn, data: LearningSet, projection: Projection) -> dict[str, torch.Tensor]:
    """Weight and bias on features that no projection has turned."""
    if way.name == GENERATIVE and data.errors is not None:
        linear = way.fit(data.errors * SCALE, data.y)
        linear = replace(linear, weight=linear.weight * SCALE)
    else:
        linear = way.fit(projection(data.x), data.y).behind(projection)
    return {name: torch.from_numpy(getattr(linear, name)).float() for name in ("weight", "bias")}


def _reach(logits: Array, data: LearningSet, level: float) -> float | None:
    """How unlikely a class may be and still be in the set: split conformal on one score a patient, that of
    its most surprising scan (Vovk et al. 2005); None for too few patients.
    """
    try:
        return threshold(list(_surprise(logits, data).values()), 1 - level)
    except Uncalibrated:
        return None


def _surprise(logits: Array, data: LearningSet) -> dict[str, float]:
    """1 - probability of the true class, the most of each patient's scans."""
    p = probabilities(logits, several=False)
    found: dict[str, float] = {}
    for who, row, true in zip(data.patients, p, data.y, strict=True):
        found[who] = max(found.get(who, 0.0), float(1 - row[true.argmax()]))
    return found


def _covered(scores: Sequence[float], level: float) -> Estimate | None:
    """How often a set holds the truth: each fifth of the patients by a threshold of the others. None for too
    few of them.
    """
    inside = 0
    for k in range(FOLDS):
        others = [score for n, score in enumerate(scores) if n % FOLDS != k]
        try:
            reach = threshold(others, 1 - level)
        except Uncalibrated:
            return None
        inside += sum(score <= reach for score in scores[k::FOLDS])
    return clopper_pearson(inside, len(scores))


def _promised(
    temperature: Temperature,
    way: WayToLearn,
    ways: Sequence[WayToLearn],
    gains: Mapping[str, Estimate],
    data: LearningSet,
    card: HeadCard,
) -> HeadPromises:
    """Of the first repetition: it alone has one answer a scan."""
    logits = temperature(way.logits[0])
    estimates = {f"gain of {name} over {ALONE}": at for name, at in gains.items()}
    estimates |= measured_unseen(logits, data)
    if card.reach is not None and (covered := _covered(list(_surprise(logits, data).values()), card.level)):
        estimates["coverage of prediction sets"] = covered
    means = {one.name: float(np.mean([s.value for s in one.scores])) for one in ways}
    notes = tuple(f"{one.name} was stopped: {one.stopped}" for one in ways if one.stopped)
    return HeadPromises(estimates, reliability(logits, data.y, several=data.several), means, notes)


def measured_unseen(logits: Array, data: LearningSet) -> dict[str, Estimate]:
    """AUROC and accuracy with intervals over patients, of scans that the head has not seen. Of one patient
    of a class alone there is none.
    """
    strata = ["+".join(data.classes[k] for k in np.flatnonzero(row)) for row in data.y]
    several = data.several

    def area(z: Array, y: Array) -> float:
        return macro_auroc(z, y, several=several).value

    def right(z: Array, y: Array) -> float:
        hit = ((z > 0) == (y > 0.5)).mean(1) if several else z.argmax(1) == y.argmax(1)
        return float(np.mean(hit))

    found: dict[str, Estimate] = {}
    pairs = set(zip(data.patients, strata, strict=True))
    mixed = several or len(pairs) > len({who for who, _ in pairs})
    kinds = None if mixed else strata
    with suppress(BadOption):  # of too few patients there is no interval
        if data.y.shape[1] == 2 and kinds is not None:
            scores = logits[:, 1] - logits[:, 0]
            found["AUROC"] = interval(auroc, scores, data.y[:, 1], patients=data.patients, strata=kinds)
        else:
            at = interval(area, logits, data.y, patients=data.patients, strata=kinds)
            found["AUROC"] = replace(at, low=max(0.0, at.low), high=min(1.0, at.high))
    with suppress(BadOption):
        at = interval(right, logits, data.y, patients=data.patients)
        found["accuracy"] = replace(at, low=max(0.0, at.low), high=min(1.0, at.high))
    return found


BINS = 6


def reliability(logits: Array, y: Array, *, several: bool) -> tuple[tuple[float, float, int], ...]:
    """(mean probability of the answer, share that was right, scans) in bins of equally many scans."""
    p = probabilities(logits, several=several)
    if several:
        said, right = np.maximum(p, 1 - p).ravel(), ((p > 0.5) == (y > 0.5)).ravel()
    else:
        said, right = p.max(1), p.argmax(1) == y.argmax(1)
    order = np.argsort(said, kind="stable")
    parts = [part for part in np.array_split(order, min(BINS, max(1, len(order) // 5))) if len(part)]
    return tuple((float(said[part].mean()), float(right[part].mean()), len(part)) for part in parts)


def calibration_error(bins: Sequence[tuple[float, float, int]]) -> float:
    """Expected calibration error: mean over scans of |probability - share that was right| of their bin
    (Naeini et al., AAAI 2015; bins of equal counts).
    """
    return sum(abs(p - share) * n for p, share, n in bins) / max(1, sum(n for _, _, n in bins))


@dataclass(frozen=True, slots=True)
class Prediction:
    """probabilities: by class. label: the likeliest, with several labels all above one half joined by "|".
    labels: the prediction set; () where labels were too few for one. calibrated: whether probabilities are.
    """

    label: str
    probabilities: Mapping[str, float]
    labels: tuple[str, ...] = ()
    calibrated: bool = False
    extra: Mapping[str, float] = field(default_factory=dict)

    def __str__(self) -> str:
        """In words: "pneumonia or normal: cannot tell"."""
        shown = ", ".join(f"{name} {p:.2f}" for name, p in self.probabilities.items())
        how = "" if self.calibrated else ", uncalibrated"
        if len(self.labels) > 1:
            return f"{' or '.join(self.labels)}: cannot tell ({shown}{how})"
        return f"{self.label or 'none'} ({shown}{how})"


def predictions(head: Head, seen: Array) -> list[Prediction]:
    """seen: (n, d), as ``volume_features`` gives them with the head's settings."""
    card = head.card
    rows = probabilities(head.temperature(head.linear(seen)), several=card.several)
    return [_predicted(card, row) for row in rows]


def _predicted(card: HeadCard, row: Array) -> Prediction:
    named = {name: float(p) for name, p in zip(card.classes, row, strict=True)}
    if card.several:
        label = MARK.join(name for name, p in named.items() if p > 0.5)
        return Prediction(label, named, calibrated=card.calibrated)
    within = ()
    if card.reach is not None:
        within = tuple(name for name, p in named.items() if 1 - p <= card.reach)
    label = max(named, key=lambda name: named[name])
    return Prediction(label, named, within or ((label,) if card.reach is not None else ()), card.calibrated)


def predict(
    scans: GivenScan | Iterable[GivenScan], head: GivenHead, *, prior: GivenPrior | None = None
) -> list[Prediction]:
    """What a head says of scans: volumes, paths or arrays, one or many. prior: the one that the head must
    stand on, if that is to be checked.

    Raises what ``load_head`` and ``medprior.read`` raise, WrongKind for scans that the prior was not made
    for.
    """
    known = head if isinstance(head, Head) else load_head(head, None if prior is None else prior_of(prior))
    if isinstance(scans, str | Path) or not isinstance(scans, Iterable) or hasattr(scans, "shape"):
        scans = [scans]  # pyright: ignore[reportAssignmentType]
    if known.card.kind != "classifier":
        raise BadOption(f"predict: the head is a {known.card.kind}", "segment with medprior predict SCAN")
    volumes = [load_scan(scan, known.prior) for scan in scans]  # pyright: ignore[reportGeneralTypeIssues]
    found = volume_features(known.prior, volumes, known.features_for(), look=looker_of(known))
    return predictions(known, found.numpy())
