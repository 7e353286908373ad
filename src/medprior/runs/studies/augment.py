"""Evaluate augment: is it worth it? The same downstream network trained with and without generated images,
over seeds, judged on other patients.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor, nn

from ...data.seeds import seed_for
from ...downstream.augmented import ClassicalAugmentation
from ...downstream.classifier import ClassifierSettings
from ...downstream.segmenter import SegmenterSettings
from ...errors import BadOption
from ...evidence.gain import SeedScores, auroc_scores, mean_scores
from ...io.dataset.index import digest_of
from ...io.dataset.scan import Index, Item
from ...jobs.reconstruct import label_index
from ...prior import Card, Prior
from ...prior.joint import MASK, is_joint, part_named
from ...prior.paths import path_named
from ..ask.requests import EvaluateAugment
from ..core.cost import announce, words
from ..core.inputs import LoadedPrior, indexed, of_split
from ..core.outputs import Outcome, Summary
from ..core.progress import Event, OnEvent
from ..core.run import RunFolder
from ..page.blocks import Charts, Section, Table
from ..page.charts import NEUTRAL, Chart, Series, chart_image
from .labelled_scans import SLICES, LabelledScans, generated, mask_hash, read_labelled, seen_by_prior
from .study import Collected, evaluated, results_csv
from .training_sets import (
    SEEN_ARMS,
    Arm,
    Pool,
    Trial,
    arms_of,
    enough,
    images_of,
    pool_of,
    rest_of,
    train_and_score,
    trial_scans,
)
from .verdict import Worth, signed, verdict_of, worth_of

__all__ = ["run_evaluate_augment"]

LARGEST = 64
"""Pixels a side of the images that are classified by default."""


def run_evaluate_augment(request: EvaluateAugment, on_event: OnEvent) -> RunFolder:
    """Evaluate and write the run folder. Raises what ``evaluated`` raises, BadOption where labels, splits or
    generated images are missing.
    """
    known = None if request.prior else _no_prior(request)
    told = _masks_of(request.folder) if request.segment else None
    with ExitStack() as opened:
        beside: dict[str, Index] = {}
        for name, folder in (("generated", request.generated), ("seen", request.seen)):
            if folder is not None:
                index = indexed(folder, request.unit, request.modality, on_event, request.layout)
                beside[name] = opened.enter_context(index)
        more = {f"{name}_sha256": _digest(index, masks=request.segment) for name, index in beside.items()}
        work = partial(_work, beside.get("generated"), beside.get("seen"))
        return evaluated(request, on_event, work, more=more, every=True, known=known, told=told)


def _masks_of(folder: Path) -> Callable[[Sequence[Item]], list[str]]:
    """What tells a mask from another one of the same scan: a run is another run with other masks."""
    return lambda items: [f"/{mask_hash(folder / item.mask)}" if item.mask else "" for item in items]


def _digest(made: Index, *, masks: bool) -> str:
    """One SHA-256 over the generated images, their labels and masks: which folder they lie in says nothing of
    them.
    """
    of = _masks_of(made.folder)(made.items) if masks else [""] * len(made.items)
    facts = sorted(
        f"{item.digest}/{item.label}/{item.leaks}{mask}" for item, mask in zip(made.items, of, strict=True)
    )
    return hashlib.sha256("\n".join(facts).encode()).hexdigest()


def _no_prior(request: EvaluateAugment) -> LoadedPrior:
    """A door without a network, for generated images of other makers."""
    card = Card("none", request.modality or "", frame=(16, 512))
    return LoadedPrior(Prior(nn.Identity(), path_named(card.path, card.sigma_data), card), "")


def _work(
    made: Index | None,
    behind: Index | None,
    request: EvaluateAugment,
    known: LoadedPrior,
    index: Index,
    items: tuple[Item, ...],
    collected: Collected,
    on_event: OnEvent,
) -> Outcome:
    """made: of the folder of generated images. behind: of the labelled scans behind the prior."""
    parts = _read(request, known.prior, index, on_event)
    names, train = parts["train"].names, parts["train"]
    judges = {split: data for split, data in parts.items() if split != "train"}
    n_labels = len(names)
    if request.segment:
        n_labels = int(max(int(data.masks.max()) for data in parts.values() if data.masks is not None)) + 1
    digests = {digest for data in judges.values() for digest in data.digests}
    size = (int(train.images.shape[2]), int(train.images.shape[3]))
    given = made and generated(request, known.prior, made, names, size, digests, on_event)
    seen = train if _learned_from(known.prior, index) else None
    if behind is not None:
        seen = seen_by_prior(request, known.prior, behind, names, size, digests)
    beside = _Beside(given, seen)
    arms = _possible(request, arms_of(request.ratios), train, given, on_event)
    if seen is not None and len(_rest(request, train, seen, 0).images):
        arms += SEEN_ARMS
    todo = [(seed, arm) for seed in range(request.seeds) for arm in arms if _key(seed, arm) not in collected]
    done, total, trial, started = (
        request.seeds * len(arms) - len(todo),
        request.seeds * len(arms),
        None,
        time.monotonic(),
    )
    for n, (seed, arm) in enumerate(todo):
        if trial is None or trial.seed != _seed(request, seed):
            trial = _trial(
                request,
                known.prior,
                train,
                beside,
                arms,
                seed,
                on_event,
                announced=len({s for s, _ in todo}) if n == 0 else 0,
            )
            on_event(Event("stage", "training", done, total))
            started = time.monotonic()
        collected.keep(_key(seed, arm), train_and_score(trial, arm, judges, n_labels))
        done += 1
        if n == 0:
            time_left = words((time.monotonic() - started) * len(todo))
            on_event(Event("cost", f"about {time_left}: {len(todo)} trainings of {request.steps} steps"))
        on_event(Event("step", done=done, total=total))
    return _summary(request, known.prior, arms, parts, judges, collected, beside)


@dataclass(frozen=True, slots=True)
class _Beside:
    """given: generated images of a folder. seen: the labelled scans behind the prior."""

    given: LabelledScans | None
    seen: LabelledScans | None

    def unasked(self, prior: Prior) -> bool:
        """Whether generated images may know labels that no other arm is shown."""
        return self.seen is None and (self.given is not None or _knows_labels(prior))


def _knows_labels(prior: Prior) -> bool:
    return bool(prior.card.labels) or is_joint(prior.card)


def _learned_from(prior: Prior, index: Index) -> bool:
    """Whether the prior has learned from the labels of the folder's train split, as its card says."""
    stated = prior.card.data.get("sha256")
    split = of_split(index, "train", allow_synthetic=True)
    return _knows_labels(prior) and stated is not None and stated == digest_of(split)


def _rest(request: EvaluateAugment, train: LabelledScans, seen: LabelledScans, n: int) -> Pool:
    """The scans behind the prior that a trial lacks."""
    own = trial_scans(train, request.per_class, _seed(request, n), segment=request.segment)
    return rest_of(seen, {train.digests[scan] for scan in own})


def _read(
    request: EvaluateAugment, prior: Prior, index: Index, on_event: OnEvent
) -> dict[str, LabelledScans]:
    """Train, val, and test where it judges, with no patient in two of them."""
    splits = ("train", "val") if request.split == "val" else ("train", "val", "test")
    chosen = {split: of_split(index, split, allow_synthetic=request.allow_synthetic) for split in splits}
    for split, own in chosen.items():
        if not own:
            raise BadOption(
                f"evaluate augment: the split {split} is empty",
                "train learns, val chooses the ratio, test judges: see docs/augment.md",
            )
    names = [] if request.segment else sorted({item.label for item in chosen["train"]} - {""})
    if not request.segment and len(names) < 2:
        raise BadOption(
            f"evaluate augment: wanted scans of two labels or more, got {', '.join(names) or 'none'}",
            "sub-folders are labels (docs/train.md)",
        )
    for name in names if request.keep_label or request.how == "synthesize" else ():
        label_index(prior, name)
    if request.segment and request.how == "synthesize":
        part_named(prior.card, MASK)
    if request.segment and request.how == "vary" and is_joint(prior.card):
        raise BadOption(
            f"prior {prior.card.name!r} knows images with their masks: variations of the image alone are not "
            "its trade",
            "take --how synthesize",
        )
    side = _side(request, chosen["train"])
    on_event(
        Event(
            "note",
            f"images of {side[0]} x {side[1]} pixels; "
            f"{', '.join(f'{len(own)} scans {split}' for split, own in chosen.items())}",
        )
    )
    read = {
        split: read_labelled(
            request, prior, index, own, names, side, request.slices if split == "train" else SLICES
        )
        for split, own in chosen.items()
    }
    owners = [set(data.patients) for data in read.values()]
    if sum(map(len, owners)) != len(set().union(*owners)):
        raise BadOption(
            "evaluate augment: a patient lies in two splits", "check the folder with medprior scan"
        )
    for split, data in read.items():
        if split != "train":
            _can_judge(request, split, data)
    return read


def _can_judge(request: EvaluateAugment, split: str, data: LabelledScans) -> None:
    """Raises BadOption, before anything is trained, for a split that cannot say how good a network is, or not
    within which interval.
    """
    own = sorted({data.names[int(k)] for k in data.scan_labels.tolist()}) if not request.segment else []
    remedy = f"put scans of other patients into {split}: val chooses the ratio, test judges (docs/augment.md)"
    if not request.segment and len(own) < 2:
        raise BadOption(
            f"evaluate augment: the split {split} holds scans of one label alone, {own[0]}: no AUROC can be "
            "had of it",
            remedy,
        )
    if len(set(data.patients)) < 2:
        raise BadOption(
            f"evaluate augment: the split {split} holds scans of one patient alone: no interval can be had "
            "of it",
            remedy,
        )


def _side(request: EvaluateAugment, items: Sequence[Item]) -> tuple[int, int]:
    """A square, as networks are used to it: the scans' own side where it is small. Of a segmentation too, so
    that Dice is that of the resized masks.
    """
    largest = int(np.median([max(item.shape[:2]) for item in items]))
    side = request.size or min(LARGEST, largest)
    return side, side


def _possible(
    request: EvaluateAugment,
    arms: list[Arm],
    train: LabelledScans,
    given: LabelledScans | None,
    on_event: OnEvent,
) -> list[Arm]:
    """Without the ratios for which the folder holds too few images, of any label and in any trial."""
    if given is None:
        return arms
    trials = [_own(request, train, _seed(request, n)) for n in range(request.seeds)]
    possible = {
        ratio: all(enough(given, train.labels[at], images_of(ratio, len(at))) for at in trials)
        for ratio in {arm.ratio for arm in arms}
    }
    labels = train.labels[trials[0]]
    shares = [int((given.labels == k).sum()) / int((labels == k).sum()) for k in labels.unique()]
    most = (
        f"{len(given.labels) / len(labels) if request.segment else min(shares):.2g} images for each real one"
    )
    left = [arm for arm in arms if not arm.extra or possible[arm.ratio]]
    if not any(arm.extra for arm in left):
        raise BadOption(
            f"generated: the folder holds {most}, fewer than the smallest ratio",
            "generate more, or lower --ratios",
        )
    if out := sorted({arm.ratio for arm in arms} - {arm.ratio for arm in left}):
        on_event(
            Event(
                "warning",
                f"ratios left out: {', '.join(f'{ratio:g}' for ratio in out)}; the folder holds {most}",
            )
        )
    return left


def _own(request: EvaluateAugment, train: LabelledScans, seed: int) -> Tensor:
    """Places of the images that have a label in a trial."""
    return train.of_scans(trial_scans(train, request.per_class, seed, segment=request.segment))


def _seed(request: EvaluateAugment, n: int) -> int:
    return seed_for(request.seed, "trial", n) % 2**62


def _key(seed: int, arm: Arm) -> str:
    return f"{seed}/{arm.key}"


def _trial(
    request: EvaluateAugment,
    prior: Prior,
    train: LabelledScans,
    beside: _Beside,
    arms: Sequence[Arm],
    n: int,
    on_event: OnEvent,
    *,
    announced: int,
) -> Trial:
    """announced: how many trials to tell the cost of, 0 for none."""
    seed = _seed(request, n)
    at = _own(request, train, seed)
    wanted = max(images_of(arm.ratio, len(at)) for arm in arms)
    if beside.given is None:
        if announced:
            evaluations = 2 * request.levels if request.how == "vary" else 36
            announce(
                prior,
                wanted * announced,
                (int(train.images.shape[2]), int(train.images.shape[3])),
                evaluations,
                on_event,
            )
        on_event(Event("stage", f"generating images for trial {n + 1}", 0, wanted))
    pool: Pool = pool_of(
        request,
        prior,
        train,
        at,
        beside.given,
        wanted,
        seed,
        lambda done, total: on_event(Event("step", done=done, total=total)),
    )
    settings = (
        SegmenterSettings(steps=request.steps) if request.segment else ClassifierSettings(steps=request.steps)
    )
    rest = None if beside.seen is None else _rest(request, train, beside.seen, n)
    return Trial(seed, train, at, pool, settings, ClassicalAugmentation([], seed), rest)


def _summary(
    request: EvaluateAugment,
    prior: Prior,
    arms: Sequence[Arm],
    parts: Mapping[str, LabelledScans],
    judges: Mapping[str, LabelledScans],
    collected: Collected,
    beside: _Beside,
) -> Outcome:
    metric = "Dice" if request.segment else "AUROC"
    scored: dict[str, dict[str, list[SeedScores]]] = {}
    for arm in arms:
        scored[arm.key] = {
            split: [_scored(request, collected[_key(n, arm)][split], data) for n in range(request.seeds)]
            for split, data in judges.items()
        }
    worth = worth_of(arms, scored, {split: data.patients for split, data in judges.items()}, request.split)
    facts = {"ratio": worth.chosen.ratio, "ours": worth.chosen.name, "metric": metric}
    verdict = verdict_of(
        worth.gain,
        against=worth.against.key,
        honest=worth.honest,
        rivalry=worth.rivalry,
        unasked=beside.unasked(prior),
        **facts,
    )
    metrics: dict[str, Any] = {
        "metric": metric,
        "verdict": verdict,
        "chosen": worth.chosen.key,
        "against": worth.against.key,
        "ratio": worth.chosen.ratio,
        "gain": worth.gain,
        "values": worth.values,
        "gains": worth.gains,
        "seeds": request.seeds,
        "steps": request.steps,
        "labelled_scans_a_trial": len(
            trial_scans(parts["train"], request.per_class, _seed(request, 0), segment=request.segment)
        ),
        "labels_of_the_prior": list(prior.card.labels),
        "rival": worth.rival and worth.rival.key,
    }
    chart = _chart(worth, arms, metric)
    section = Section(
        "Evaluate augment: is it worth it?",
        _told(request, metrics, judges, beside.given),
        [Charts([chart]), _table(worth, arms, metric, list(judges))],
        verdict=verdict,
        caveats=_caveats(request, prior, beside.given),
    )
    summary = Summary((verdict,), verdict)
    files = results_csv(_rows(arms, scored, metric))
    return Outcome(metrics, [section], [("gain against ratio", chart_image(chart))], summary, files=files)


def _rows(
    arms: Sequence[Arm], scored: Mapping[str, Mapping[str, Sequence[SeedScores]]], metric: str
) -> list[list[object]]:
    rows: list[list[object]] = [["arm", "ratio", "split", "seed", metric]]
    for arm in arms:
        rows += [
            [arm.name, arm.ratio, split, n, f"{one.value:.6f}"]
            for split, all_of in scored[arm.key].items()
            for n, one in enumerate(all_of)
        ]
    return rows


_CAPTION = (
    "Mean gain over the plain arm that is harder to beat, with 95 % intervals for new seeds and new "
    "patients. Duplicates are a control of equal count."
)


def _scored(request: EvaluateAugment, found: Any, data: LabelledScans) -> SeedScores:
    return (
        mean_scores(found) if request.segment else auroc_scores(np.asarray(found), data.scan_labels.numpy())
    )


def _told(
    request: EvaluateAugment,
    metrics: Mapping[str, Any],
    judges: Mapping[str, LabelledScans],
    given: LabelledScans | None,
) -> str:
    source = (
        "images of a folder"
        if given is not None
        else "variations of these scans by the prior"
        if request.how == "vary"
        else "new pairs of image and mask"
        if request.segment
        else "new images of each label"
    )
    what = "A segmenter" if request.segment else "A classifier"
    n = {split: len(data.patients) for split, data in judges.items()}
    return (
        f"{what} learns from {metrics['labelled_scans_a_trial']} labelled "
        f"scans{' (drawn anew for each seed)' if request.per_class else ''}, with and without "
        f"{source}; {request.seeds} seeds, {request.steps} steps for every arm. Val ({n['val']} scans) "
        f"chooses arm and ratio; {request.split} judges."
    )


def _table(worth: Worth, arms: Sequence[Arm], metric: str, splits: Sequence[str]) -> Table:
    rows = [
        [
            "training set",
            "ratio",
            *(f"{metric}, {split}" for split in splits),
            f"gain in {metric} over {worth.against.key}, {worth.on}",
            "95 % interval",
        ]
    ]
    for arm in arms:
        values = [f"{worth.values[arm.key][split]:.3f}" for split in splits]
        at = worth.gains[arm.key][worth.on].get(worth.against.key)
        rows.append(
            [
                arm.name,
                f"{arm.ratio:g}" if arm.ratio else "",
                *values,
                *(("", "") if at is None else (f"{at['value']:+.3f}", signed(at))),
            ]
        )
    best = 1 + [arm.key for arm in arms].index(worth.chosen.key)
    return Table(
        rows,
        f"Means over seeds. Marked: what val chose. Other rows of {worth.on} are shown, not chosen from.",
        best,
    )


def _chart(worth: Worth, arms: Sequence[Arm], metric: str) -> Chart:
    looks = {"real + duplicates": NEUTRAL, "real + generative": 0, "real + classical + generative": 1}
    series = [Series("level", y=[0.0], colour=NEUTRAL)]
    for shift, (name, colour) in zip((0.96, 1.0, 1.04), looks.items(), strict=True):
        own = [arm for arm in arms if arm.name == name]
        at = [worth.gains[arm.key][worth.on][worth.against.key] for arm in own]
        if at:
            ratios, ends = [arm.ratio * shift for arm in own], [_ends(one) for one in at]
            low, high = [low for low, _ in ends], [high for _, high in ends]
            series.append(Series("whiskers", ratios, [one["value"] for one in at], name, colour, low, high))
    ratios = sorted({arm.ratio for arm in arms if arm.ratio})
    return Chart(
        "Gain against ratio",
        _CAPTION,
        "generated (or doubled) images for each real one",
        f"gain in {metric} over {worth.against.key}",
        series,
        [(ratio, f"{ratio:g}") for ratio in ratios],
        log_x=True,
    )


def _ends(at: Mapping[str, Any]) -> tuple[float, float]:
    """Of an interval; the value itself where too few patients give none."""
    return tuple(at["value"] if at[name] is None else at[name] for name in ("low", "high"))


def _caveats(request: EvaluateAugment, prior: Prior, given: LabelledScans | None) -> tuple[str, ...]:
    lines = [
        "The gain is that of this small network, learned from scratch; a larger one, or one that has seen "
        "other images, may gain less."
    ]
    if given is not None:
        lines.append(
            "It is unknown what made the images of the folder, and from which labels and patients it learned."
        )
    elif request.segment and request.how == "synthesize":
        lines.append(
            "The joint prior has learned from masks of its own: where those are of other scans than the "
            "labelled ones, that is part of the gain."
        )
    elif prior.card.labels:
        lines.append(
            f"The prior has learned from scans labelled {', '.join(prior.card.labels)}: generated images may "
            "know labels that the other arms have not seen."
        )
    else:
        lines.append(
            "The prior has learned from no label; if it has learned from more scans than the labelled ones, "
            "that is part of the gain."
        )
    if request.split == "val":
        lines.append("The scans that judge have also chosen arm and ratio, which is too kind.")
    return tuple(lines)
