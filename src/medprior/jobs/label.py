"""Labels that readers give: which scans to ask for, what was answered, how far readers agree, and whether
more labels help. The command line, a spreadsheet and a web page all use ``Labelling``.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path

import numpy as np
import torch

from ..data.seeds import generator
from ..errors import BadOption, did_you_mean, printable
from ..evidence.intervals import Estimate, clopper_pearson, interval
from ..io.dataset.answers import (
    Answer,
    Answers,
    class_named,
    names_of,
    read_answers,
    reader_named,
    write_table,
)
from ..io.dataset.cache import cached_scan
from ..io.dataset.index import Index, Item
from ..io.disk.files import load_weights, save_weights
from ..io.disk.trail import opened_trail
from ..learning.active import (
    Advice,
    Chosen,
    ScanPool,
    advised,
    propose,
    reduced_features,
    unseen_probabilities,
)
from ..learning.features import FeatureSettings, volume_features
from ..learning.readers import (
    Readings,
    Suspect,
    alpha,
    batch_line,
    chance_disagreement,
    counted,
    line_of,
    new_answers,
    replayed,
    suspects,
    undo_line,
)
from .given import GivenPrior, prior_of

__all__ = ["Agreement", "LabelState", "Labelling", "Proposal", "Proposed", "alpha_interval"]

TRAIL, LABELS = "trail.jsonl", "labels.csv"

ENOUGH_EACH = 10
"""Labelled patients of each class from which a contradicted label means something."""

OnStep = Callable[[int, int], None]


@dataclass(frozen=True, slots=True)
class Proposed:
    """A scan to label. scan: its name, the path below the data folder. why: in a sentence."""

    scan: str
    why: str


@dataclass(frozen=True, slots=True)
class Proposal:
    """Scans to label, in an order that means nothing: label them all. by: "typical", "uncertain" or "random".
    area: under the ROC curve of a head on the labels so far, out of fold, or None.
    """

    scans: tuple[Proposed, ...]
    by: str
    area: float | None


@dataclass(frozen=True, slots=True)
class Agreement:
    """How far readers agree. scans: those that two readers or more labelled. alpha: Krippendorff's, with an
    interval over patients, or None where it cannot be measured, and ``reason`` says why.
    """

    scans: int
    alpha: Estimate | None
    reason: str = ""


@dataclass(frozen=True, slots=True)
class LabelState:
    """labels: scan -> label that counts, of readers or else of the folder; "" where readers are at odds.
    readings: all answers. missing: answered scans that are not in the folder now. open_: scans of the pool
    that have no answer.
    """

    labels: dict[str, str]
    readings: Readings
    missing: tuple[str, ...]
    open_: int


class Labelling:
    """The labels of one data set, kept in a folder of their own; safe for several processes at once.

    scans: a folder, or what ``medprior.scan`` gives of one. prior: knows them. out: keeps trail.jsonl, to
    which lines are only added, and the features. split: scans that may be proposed; "auto": all but a test
    split that the folder states. allow_other: take scans of another modality or unit than the prior's.
    allow_synthetic: take those marked synthetic.

    Raises what ``medprior.scan`` raises; FileProblem or WrongKind where no scan can be used.
    """

    def __init__(
        self,
        scans: Index | str | Path,
        prior: GivenPrior,
        out: str | Path,
        *,
        split: str = "auto",
        allow_other: bool = False,
        allow_synthetic: bool = False,
        on_step: OnStep | None = None,
    ) -> None:
        self.out, self._prior, self._step = Path(out), prior, on_step
        self._how = FeatureSettings(allow_other=allow_other)
        self.index = scans if isinstance(scans, Index) else cached_scan(Path(scans), on_progress=on_step)
        self.names: dict[str, Item] = names_of(self.index.items)
        if split == "auto":
            usable = self.index.without_test(allow_synthetic=allow_synthetic)
        else:
            usable = self.index.usable(None if split == "all" else split, allow_synthetic=allow_synthetic)
        chosen = {item.id for item in usable}
        self.scans: tuple[str, ...] = tuple(name for name, item in self.names.items() if item.id in chosen)

    def record(
        self,
        scan: str,
        label: str,
        *,
        reader: str = "",
        seconds: float | None = None,
        confidence: float | None = None,
        revise: bool = False,
    ) -> int:
        """One answer; gives the number of its line in the trail. The label "?" says that the reader cannot
        tell.

        seconds: it took. confidence: from 0 to 1. revise: change this reader's label. Raises BadOption for a
        scan that is not there, an empty label, and another label of this reader for this scan without
        ``revise``; FileProblem where the disk refuses.
        """
        if scan not in self.names:
            raise BadOption(
                f"record: no scan {printable(scan)!r} in the folder", did_you_mean(scan, [*self.names])
            )
        named = class_named(label, self.classes(), "record", closed=False)
        answer = Answer(scan, named, reader_named(reader), seconds, confidence)
        self._add([answer], revise)
        return self.state().readings.current[answer.key].number

    def read(
        self, table: str | Path, *, reader: str = "", classes: Sequence[str] = (), revise: bool = False
    ) -> tuple[int, Answers]:
        """(answers that are new, all of the table). The same table may be read again: what is known stays
        once.

        reader: of rows that name none. classes: no other label is taken; without them any. Raises what
        ``read_answers`` raises, and BadOption as ``record`` does. Then nothing was recorded.
        """
        found = read_answers(
            Path(table),
            [*self.names],
            reader=reader,
            classes=[*classes] or self.classes(),
            closed=bool(classes),
        )
        return self._add(found.rows, revise), found

    def undo(self, number: int) -> Answer:
        """Take back the answer of a line; both lines stay in the trail. Gives the answer. Raises BadOption
        where no answer has this number, or it was taken back already.
        """
        path = self.out / TRAIL
        with opened_trail(path, write=path.exists()) as trail:
            readings = replayed(trail.lines, trail.damaged)
            known = {answer.number: answer for answer in readings.given}
            if number not in known or number in readings.undone:
                was = "was taken back already" if number in known else "is no answer"
                raise BadOption(f"undo: line {number} {was}", "the numbers stand in trail.jsonl, from 1 on")
            trail.append([undo_line(number, _now())])
        return known[number]

    def state(self) -> LabelState:
        """What is known now, other processes' answers among it. Raises FileProblem."""
        with opened_trail(self.out / TRAIL, write=False) as trail:
            readings = replayed(trail.lines, trail.damaged)
        said = readings.labels()
        labels = {name: said.get(name, item.label) for name, item in self.names.items()}
        missing = tuple(scan for scan in said if scan not in self.names)
        return LabelState(
            labels, readings, missing, sum(not labels[name] and name not in said for name in self.scans)
        )

    def classes(self) -> list[str]:
        """The labels in use, of readers and of the folder."""
        return sorted({label for label in self.state().labels.values() if label})

    def propose(
        self, n: int = 20, *, by: str = "auto", reader: str = "", repeat: int = 0, seed: int = 0
    ) -> Proposal:
        """The n scans whose labels help most, for one reader.

        by: "auto", "typical", "uncertain" or "random", as in ``learning.active``. repeat: so many of them
        were answered by another reader; they are drawn at random and measure agreement. Raises BadOption
        where nothing is left to label; WrongKind for scans that the prior was not made for; MissingExtra
        without the packages of the extra ``labels``.
        """
        state, who = self.state(), reader_named(reader)
        again = self._answered_by_others(state, who.casefold(), min(repeat, n), seed)
        chosen = Chosen((), "random", None)
        if n > len(again) and (state.open_ or not again):
            chosen = propose(self._pool(state, who.casefold()), n - len(again), by=by, seed=seed)
        new = [Proposed(self.scans[choice.at], choice.why) for choice in chosen.choices]
        batch = Proposal((*new, *again), chosen.by, chosen.area)
        scans = tuple(one.scan for one in batch.scans)
        if state.readings.proposed.get(who.casefold()) != scans:
            with opened_trail(self.out / TRAIL) as trail:
                trail.append([batch_line(who, scans, _now())])
        return batch

    def _answered_by_others(self, state: LabelState, who: str, repeat: int, seed: int) -> list[Proposed]:
        said = state.readings.of_scans()
        others = [s for s in self.scans if s in said and all(a.key[0] != who for a in said[s])]
        drawn = torch.randperm(len(others), generator=generator(seed, "label", "repeat", len(said)))
        return [
            Proposed(others[k], "drawn at random of the scans of another reader: it measures agreement")
            for k in drawn[:repeat].tolist()
        ]

    def advice(self, n: int = 20, *, seed: int = 0) -> Advice:
        """Whether n more labels are worth their time, with the reason. Raises what ``propose`` raises."""
        return advised(self._pool(self.state()), n, seed)

    def suspects(self, *, seed: int = 0) -> list[tuple[str, Suspect]]:
        """(scan, why) of labels that look wrong, the least probable first; none with fewer than 10 labelled
        patients of a class. Raises what ``propose`` raises.
        """
        pool = self._pool(self.state())
        enough = min(pool.patients_each().values(), default=0) >= ENOUGH_EACH
        probabilities = unseen_probabilities(pool, seed) if enough else None
        if probabilities is None or not np.isfinite(probabilities).all():
            return []
        known = pool.known
        found = suspects([pool.labels[k] for k in known], pool.classes, probabilities)
        return [(self.scans[known[one.at]], one) for one in found]

    def agreement(self) -> Agreement:
        """Krippendorff's alpha of all readers, with a 95 % interval over patients."""
        scans, classes, counts = counted(self.state().readings)
        if not scans:
            return Agreement(0, None, "No scan has labels of two readers.")
        if len(classes) < 2:
            return Agreement(len(scans), None, f"Every label is {classes[0]}, so chance agreement is full.")
        owners = [self.names[scan].owner if scan in self.names else scan for scan in scans]
        if len(set(owners)) < 2:
            return Agreement(len(scans), None, "All of these scans are of one patient.")
        return Agreement(len(scans), alpha_interval(counts, owners))

    def save_labels(self) -> Path:
        """Write labels.csv: every scan with the label that counts, for ``--labels``. Gives its path."""
        state = self.state()
        rows = [(name, label) for name, label in state.labels.items()]
        write_table(self.out / LABELS, ("path", "label"), rows)
        return self.out / LABELS

    def _add(self, answers: Sequence[Answer], revise: bool) -> int:
        if not answers:
            return 0
        with opened_trail(self.out / TRAIL) as trail:
            fresh = new_answers(replayed(trail.lines, trail.damaged), answers, revise=revise)
            if fresh:
                trail.append([line_of(answer, _now()) for answer in fresh])
        return len(fresh)

    def _pool(self, state: LabelState, reader: str = "") -> ScanPool:
        """reader: may be given what lies before this reader; what lies before other readers is taken."""
        batches = state.readings.proposed.items()
        taken = {scan for who, scans in batches if reader and who != reader for scan in scans}
        taken |= {*state.readings.of_scans()}
        return ScanPool.of(
            self._projected,
            [state.labels[name] for name in self.scans],
            [self.names[name].owner for name in self.scans],
            [name in taken for name in self.scans],
        )

    @cached_property
    def _projected(self) -> np.ndarray:
        return reduced_features(self._features())

    def _features(self) -> np.ndarray:
        """(n, d) of ``scans``; kept in the folder, so that the next command computes nothing."""
        prior, items = prior_of(self._prior), [self.names[name] for name in self.scans]
        digest = hashlib.sha256("\n".join(item.digest for item in items).encode())
        for weights in prior.net.parameters():
            digest.update(weights.detach().cpu().numpy().tobytes())
        kept = self.out / f"features-{digest.hexdigest()[:16]}.safetensors"
        if kept.is_file():
            return load_weights(kept)["features"].numpy()
        say = self._step
        found = volume_features(
            prior,
            (volume for _, volume in self.index.volumes(items)),
            self._how,
            on_step=None if say is None else lambda done: say(done, len(items)),
        )
        for old in self.out.glob("features-*.safetensors"):
            old.unlink(missing_ok=True)
        save_weights(kept, {"features": found})
        return found.numpy()


def alpha_interval(counts: np.ndarray, owners: Sequence[str]) -> Estimate:
    """Krippendorff's alpha with its 95 % interval, by leaving out one patient at a time.

    counts: as ``readers.counted`` gives them. owners: (n,) whose scan each is. Where no two readers differ, a
    jackknife has no width: the exact interval of that share takes its place.
    """
    whole = (counts.max(1) == counts.sum(1)).astype(int)
    if whole.all():
        share = clopper_pearson(len(set(owners)), len(set(owners)))
        low = 1 - (1 - share.low) / chance_disagreement(counts)
        return Estimate(1.0, low, 1.0, share.level, share.n)
    found = interval(lambda *rows: _finite(alpha(np.stack(rows, 1))), *counts.T, patients=owners)
    return Estimate(found.value, max(-1.0, found.low), min(1.0, found.high), found.level, found.n)


def _finite(value: float) -> float:
    """One class alone, after a patient was left out: agreement by chance is full, so alpha is 0."""
    return value if np.isfinite(value) else 0.0


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
