"""What several readers say of the same scans: the answers that count, the label they add up to, how far they
agree, and which labels look wrong.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, replace

import numpy as np

from ..errors import BadOption, optional, printable
from ..io.dataset.answers import UNSURE, Answer

__all__ = [
    "Readings",
    "Suspect",
    "alpha",
    "batch_line",
    "chance_disagreement",
    "counted",
    "line_of",
    "new_answers",
    "replayed",
    "suspects",
    "undo_line",
]


@dataclass(frozen=True, slots=True)
class Readings:
    """A trail, read from its first line on. current: the answers that count, by reader and scan. given: all
    answers ever recorded, the revised and the undone ones, too. undone: numbers of answers that were taken
    back. proposed: reader -> the scans of the last batch. damaged: numbers of lines that say none of this.
    """

    current: Mapping[tuple[str, str], Answer]
    given: tuple[Answer, ...] = ()
    undone: tuple[int, ...] = ()
    proposed: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    damaged: tuple[int, ...] = ()

    @property
    def readers(self) -> tuple[str, ...]:
        """The readers of answers that count, as first spelled."""
        still, named = {key[0] for key in self.current}, dict[str, str]()
        for answer in self.given:
            named.setdefault(answer.key[0], answer.reader)
        return tuple(name for key, name in named.items() if key in still)

    def of_scans(self) -> dict[str, list[Answer]]:
        """scan -> the answers that count."""
        found: dict[str, list[Answer]] = {}
        for answer in self.current.values():
            found.setdefault(answer.scan, []).append(answer)
        return found

    def labels(self) -> dict[str, str]:
        """scan -> the label that most of its readers give; "" where two labels have equally many, or every
        reader is unsure.
        """
        return {scan: _majority(answers) for scan, answers in self.of_scans().items()}

    def disputed(self) -> list[str]:
        """Scans with two labels by different readers."""
        return [
            scan
            for scan, answers in self.of_scans().items()
            if len({a.label for a in answers} - {UNSURE}) > 1
        ]


def _majority(answers: Sequence[Answer]) -> str:
    votes = Counter(answer.label for answer in answers if answer.label != UNSURE).most_common(2)
    tied = len(votes) > 1 and votes[0][1] == votes[1][1]
    return "" if tied or not votes else votes[0][0]


def line_of(answer: Answer, at: str) -> Mapping[str, object]:
    """An answer as a line of the trail. at: now, UTC."""
    hidden = {"number", "at"}
    return {"at": at} | {name: value for name, value in asdict(answer).items() if name not in hidden}


def undo_line(number: int, at: str) -> dict[str, object]:
    """The line that takes back the answer of a line. The answer itself stays in the trail."""
    return {"at": at, "undo": number}


def batch_line(reader: str, scans: Sequence[str], at: str) -> dict[str, object]:
    """The line that says which scans a reader was given."""
    return {"at": at, "reader": reader, "proposed": list(scans)}


def replayed(lines: Iterable[tuple[int, Mapping[str, object]]], damaged: Sequence[int] = ()) -> Readings:
    """The answers that count after all lines. A revision counts instead of the reader's answer before; once
    it is undone, that one counts again.
    """
    given, undone, bad = list[Answer](), set[int](), list(damaged)
    batches: dict[str, tuple[str, ...]] = {}
    for number, record in lines:
        if isinstance(taken := record.get("undo"), int):
            undone |= {taken} if taken < number else set()
        elif isinstance(scans := record.get("proposed"), list):
            batches[str(record.get("reader")).casefold()] = tuple(map(str, scans))
        elif (answer := _answer(number, record)) is not None:
            given.append(answer)
        else:
            bad.append(number)
    current = {answer.key: answer for answer in given if answer.number not in undone}
    known = {answer.number for answer in given}
    return Readings(current, tuple(given), tuple(sorted(undone & known)), batches, tuple(sorted(bad)))


def _answer(number: int, record: Mapping[str, object]) -> Answer | None:
    """None for a line that holds no answer, whoever wrote it."""
    known = {field.name for field in fields(Answer)} - {"number"}
    numbers = [record.get(name) for name in ("seconds", "confidence")]
    texts = [value for name, value in record.items() if name not in ("seconds", "confidence")]
    typed = all(isinstance(text, str) for text in texts) and all(
        value is None or isinstance(value, int | float) for value in numbers
    )
    try:
        return Answer(**record, number=number) if typed and set(record) <= known else None  # type: ignore[arg-type]
    except (BadOption, TypeError):
        return None


def new_answers(readings: Readings, answers: Iterable[Answer], *, revise: bool = False) -> list[Answer]:
    """The answers that are not in the trail yet: the same table may be given twice. revise: a reader may
    change a label.

    Raises BadOption where a reader has given another label before and ``revise`` is not set: this is a
    correction, or a second reader of the same name.
    """
    fresh, changed = list[Answer](), list[tuple[Answer, Answer]]()
    for answer in answers:
        before = readings.current.get(answer.key)
        if before is not None and before.label == answer.label:
            continue
        changed += [(before, answer)] if before is not None else []
        fresh.append(answer if before is None else replace(answer, reader=before.reader))
    if changed and not revise:
        old, new = changed[0]
        raise BadOption(
            f"answers: {printable(new.reader)} has labelled {len(changed)} of these scans otherwise before, "
            f"first {printable(new.scan)}: {printable(old.label)}, now {printable(new.label)}",
            "correct labels with --revise, or give a second reader another name; nothing was recorded",
        )
    return fresh


def counted(readings: Readings) -> tuple[list[str], list[str], np.ndarray]:
    """(scans, classes, (n, k) how many readers gave each class), of scans with two labels or more."""
    sure = {
        scan: [answer.label for answer in answers if answer.label != UNSURE]
        for scan, answers in readings.of_scans().items()
    }
    scans = [scan for scan, labels in sure.items() if len(labels) > 1]
    classes = sorted({label for scan in scans for label in sure[scan]})
    counts = [[sure[scan].count(name) for name in classes] for scan in scans]
    return scans, classes, np.asarray(counts, dtype=int).reshape(len(scans), len(classes))


def alpha(counts: np.ndarray) -> float:
    """Krippendorff's alpha for names without an order: 1 is full agreement, 0 that of chance.

    counts: (n, k) as ``counted`` gives them. NaN where all readers gave one class, which tells nothing.
    Source: Krippendorff, Content Analysis, 2004, chapter 11. Raises MissingExtra without its package.
    """
    package = optional("krippendorff", "labels", "The agreement of readers")
    if int((counts.sum(0) > 0).sum()) < 2:
        return float("nan")
    return float(package.alpha(value_counts=counts, level_of_measurement="nominal"))


def chance_disagreement(counts: np.ndarray) -> float:
    """The share of pairs of labels that would differ by chance, alpha's denominator."""
    totals = counts.sum(0).astype(float)
    n = totals.sum()
    return float(1 - (totals * (totals - 1)).sum() / (n * (n - 1)))


@dataclass(frozen=True, slots=True)
class Suspect:
    """A label that the other labels contradict. at: its place. label: as given. instead: what a classifier
    says that has not seen this patient. probability: of the given label by that classifier.
    """

    at: int
    label: str
    instead: str
    probability: float


def suspects(labels: Sequence[str], classes: Sequence[str], probabilities: np.ndarray) -> list[Suspect]:
    """Labels that look wrong, the least probable first.

    labels: (n,). classes: (k,). probabilities: (n, k), each by a classifier that has not seen the patient.
    Source: confident learning, Northcutt et al., J. Artif. Intell. Res. 70, 2021. Raises MissingExtra without
    cleanlab.
    """
    cleanlab = optional("cleanlab.filter", "labels", "The search for wrong labels")
    given = np.array([classes.index(label) for label in labels])
    found = cleanlab.find_label_issues(
        given,
        probabilities,
        filter_by="confident_learning",
        return_indices_ranked_by="self_confidence",
        n_jobs=1,
    )
    return [
        Suspect(
            int(n), labels[int(n)], classes[int(probabilities[n].argmax())], float(probabilities[n, given[n]])
        )
        for n in found
    ]
