"""Learn and predict in Python: few labels, scans without label, sets that cover, and a sentence for each bad
input.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import medprior
from medprior.errors import BadOption
from medprior.jobs import learn as module
from medprior.jobs.learn import (
    Prediction,
    calibration_error,
    gathered,
    head_from,
    labels_of,
    learn,
    measured_unseen,
    predict,
    predictions,
    reliability,
    targets_of,
)
from medprior.jobs.tuning import ways
from medprior.jobs.tuning.ways import ALONE, SELF, LearningSet, LearnSettings, chosen, tried
from medprior.learning.features import class_errors
from medprior.learning.head_model import GENERATIVE, looker_of
from tests.unit.jobs.exact import tiny
from tests.unit.learning.test_heads import two_groups
from tests.unit.runs.conftest import scene

ONE = LearnSettings(sigmas=(0.3,))


def striped(n: int, first: int = 0) -> tuple[list[np.ndarray], list[str]]:
    """Scenes, every other one with stripes, and what they are."""
    images = [scene(first + k, 16)[0].copy() for k in range(n)]
    for image in images[1::2]:
        image[::4] = 255
    return images, ["striped" if k % 2 else "plain" for k in range(n)]


def learning_set(n: int, free: int = 0, apart: float = 1.0, seed: int = 0) -> LearningSet:
    x, y = two_groups(n, apart=apart, seed=seed)
    u, _ = two_groups(max(free, 2), apart=apart, seed=seed + 1)
    return LearningSet(x, y, tuple(f"p{k}" for k in range(n)), ("a", "b"), u[:free])


def test_these_are_the_public_names() -> None:
    assert medprior.learn is learn and medprior.predict is predict


def test_a_few_labels_and_many_scans_without(tmp_path: Path) -> None:
    """Learned, stored, asked: the folder says the same as the head in memory."""
    images, labels = striped(40)
    steps: list[tuple[int, int]] = []
    head = learn(
        images,
        tiny(),
        [label if k < 16 else None for k, label in enumerate(labels)],
        out=tmp_path / "head",
        how=ONE,
        on_step=lambda done, total: steps.append((done, total)),
    )
    assert head.card.labels == (8, 8) and head.card.unlabelled == 24 and steps[-1] == (40, 40)
    new, truth = striped(20, 100)
    found = predict(new, tmp_path / "head", prior=tiny())
    assert np.mean([one.label == true for one, true in zip(found, truth, strict=True)]) > 0.8
    assert [str(one) for one in found] == [str(one) for one in predict(new, head)]
    assert str(predict(new[0], head)[0]) == str(found[0])
    assert all("uncalibrated" in str(one) for one in found)


def test_unlabelled_scans_are_used_only_where_held_out_labels_prefer_them() -> None:
    data = learning_set(20, free=200)
    _, ways = tried(data, ONE)
    assert [way.name for way in ways] == [ALONE, SELF]
    winner, gains = chosen(ways, data.patients)
    assert winner.name == (SELF if gains[SELF].value >= 0 else ALONE)
    worse = [ways[0], replace(ways[1], scores=tuple(replace(s, value=s.value - 0.2) for s in ways[1].scores))]
    assert chosen(worse, data.patients)[0].name == ALONE
    stopped = [ways[0], replace(ways[1], stopped="a class ran away")]
    assert chosen(stopped, data.patients) == (ways[0], {})


def test_both_numbers_stand_in_the_promises(monkeypatch: pytest.MonkeyPatch) -> None:
    data = learning_set(20, free=100)
    head, *_ = head_from(data, tiny(), ONE)
    assert set(head.promises.compared) == {ALONE, SELF}
    assert f"gain of {SELF} over {ALONE}" in head.promises.estimates
    monkeypatch.setattr(ways, "self_train", lambda *a, **k: module_stopped())
    head, *_ = head_from(data, tiny(), ONE)
    assert head.card.method == ALONE and head.promises.notes == (f"{SELF} was stopped: it ran away",)


def module_stopped() -> object:
    from medprior.learning.heads import SelfTrained

    return SelfTrained(None, "it ran away", np.zeros(2))


@pytest.mark.parametrize(("n", "calibrated"), [(29, False), (30, True)])
def test_below_thirty_labels_probabilities_are_uncalibrated(n: int, calibrated: bool) -> None:
    head, *_ = head_from(learning_set(n), tiny(), ONE)
    assert head.card.calibrated is calibrated
    assert (head.card.temperature == 1.0) is not calibrated


def test_sets_cover_patients_as_often_as_they_say() -> None:
    """Six heads of 60 labels, each asked of 500 new patients."""
    covered = []
    for seed in range(5):
        head, *_ = head_from(learning_set(60, apart=0.7, seed=10 * seed), tiny(), ONE)
        x, y = two_groups(500, apart=0.7, seed=1000 + seed)
        sets = [one.labels for one in predictions(head, x)]
        true = [("a", "b")[k] for k in y.argmax(1)]
        covered.append(np.mean([name in within for name, within in zip(true, sets, strict=True)]))
    assert 0.85 < np.mean(covered) < 0.95


def test_probabilities_are_true_after_calibration() -> None:
    errors = []
    for seed in range(4):
        head, *_ = head_from(learning_set(60, apart=0.7, seed=10 * seed), tiny(), ONE)
        x, y = two_groups(600, apart=0.7, seed=1000 + seed)
        logits = head.temperature(head.linear(x))
        errors.append(calibration_error(reliability(logits, y, several=False)))
    assert np.mean(errors) < 0.07


def test_a_set_of_two_is_said_in_words() -> None:
    both = Prediction("a", {"a": 0.6, "b": 0.4}, ("a", "b"), calibrated=True)
    assert str(both) == "a or b: cannot tell (a 0.60, b 0.40)"
    assert str(Prediction("", {"a": 0.1}, calibrated=True)) == "none (a 0.10)"


def test_too_few_patients_give_no_sets() -> None:
    head, *_ = head_from(learning_set(8), tiny(), ONE)
    assert head.card.reach is None and predictions(head, two_groups(3)[0])[0].labels == ()


def test_labels_that_come_together() -> None:
    images, _ = striped(24)
    labels = ["fluid|striped" if k % 4 == 1 else "striped" if k % 2 else "fluid" for k in range(24)]
    head = learn(images, tiny(), labels, how=ONE)
    assert head.card.several and head.card.classes == ("fluid", "striped") and head.card.reach is None
    (found,) = predict(images[1], head)
    assert set(found.probabilities) == {"fluid", "striped"} and "striped" in found.label.split("|")


def test_numbers_of_several_scans_of_a_patient_are_over_patients() -> None:
    data = learning_set(40)
    twice = replace(data, patients=tuple(f"p{k // 2}" for k in range(40)))
    logits = data.x[:, :2]
    assert measured_unseen(logits, twice)["AUROC"].n == 20
    mixed = replace(data, patients=tuple(f"p{k % 20}" for k in range(40)))
    assert measured_unseen(logits, mixed)["accuracy"].n == 20


@pytest.mark.parametrize(
    ("labels", "words"),
    [
        (["", ""], "no scan has a label"),
        (["a", "a", ""], "name one class only, 'a'"),
        (["a", "a", "b"], "the class 'b' has one scan"),
    ],
)
def test_labels_that_cannot_be_learned_from(labels: list[str], words: str) -> None:
    with pytest.raises(BadOption, match=words):
        labels_of(labels, [f"p{n}" for n in range(len(labels))])


def test_a_class_of_one_patient_is_refused() -> None:
    with pytest.raises(BadOption, match="the class 'b' has 2 scans of one patient"):
        labels_of(["a", "a", "b", "b"], ["p1", "p2", "p3", "p3"])


def test_a_class_in_no_training_patient_is_refused() -> None:
    with pytest.raises(BadOption, match="the class 'c' is in no training patient"):
        targets_of(["a", "c"], ("a", "b"), several=False)


def test_labels_and_scans_of_other_numbers_are_refused() -> None:
    with pytest.raises(BadOption, match="a label"):
        learn(striped(4)[0], tiny(), ["plain"])
    with pytest.raises(BadOption, match="labels of a folder"):
        learn("folder", tiny(), ["plain"])
    with pytest.raises(BadOption, match="level"):
        LearnSettings(level=1.0)


def test_gathered_parts_scans_with_and_without_label() -> None:
    found = gathered(np.arange(10.0)[:, None], ["a", "", "b", "a", "b"] * 2, [f"p{k}" for k in range(10)])
    assert found.classes == ("a", "b") and found.u[:, 0].tolist() == [1, 6] and len(found.x) == 8
    assert found.y[:2].tolist() == [[1, 0], [0, 1]]


def test_coverage_is_measured_on_patients_that_set_no_threshold() -> None:
    """Scores that fall by folds: a threshold from all scores would cover 9 in 10, others cover what they
    cover."""
    found = module._covered(list(np.linspace(0, 1, 50)), 0.9)
    assert found is not None and found.n == 50 and 0.84 <= found.value <= 0.96
    assert module._covered([0.1] * 8, 0.9) is None


def test_a_prior_of_the_same_labels_classifies_by_its_errors(tmp_path: Path) -> None:
    """The third way is tried, and a head that stands on it looks at scans in that way."""
    images, labels = striped(16)
    prior = tiny(2, labels=("plain", "striped"))
    assert GENERATIVE in learn(images, prior, labels, how=ONE).promises.compared
    assert GENERATIVE not in learn(images, tiny(), labels, how=ONE).promises.compared
    errors = np.where([label == "striped" for label in labels], 0.01, -0.01)[:, None] * [[1, -1]]
    data = replace(
        learning_set(16, apart=0.0), errors=errors, y=np.eye(2)[[int(e > 0) for e in errors[:, 0]]]
    )
    head, way, _ = head_from(data, prior, ONE)
    assert way.name == head.card.method == GENERATIVE and looker_of(head) is class_errors
    assert [one.label for one in predictions(head, errors)] == ["ab"[int(e > 0)] for e in errors[:, 0]]
