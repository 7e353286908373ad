"""Draws of labels, the parts that judge, and every kind of features under one head."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from medprior.data.volume import Volume
from medprior.downstream.classifier import ClassifierSettings
from medprior.errors import BadOption
from medprior.jobs import label_curves as module
from medprior.jobs.label_curves import ARMS, CurvePool, answers, asked_labels, draw_labels, judged_by, looked
from medprior.learning.features import FeatureSettings
from tests.unit.jobs.exact import tiny
from tests.unit.jobs.test_learn import striped

HOW = FeatureSettings((0.3,))


def pool(n: int = 40, free: int = 10, test: int = 0) -> CurvePool:
    images, labels = striped(n)
    prior = tiny()
    seen = [looked(prior, prior.admit(Volume(np.asarray(x, np.float32)[None])), None, HOW) for x in images]
    y = np.eye(2)[[int(label == "striped") for label in labels]]
    y[:free] = 0
    owners = [f"p{k // 2}" for k in range(n)]
    judges = judged_by(y, owners, np.arange(n - test, n), 0)
    return CurvePool.of(seen, y, owners, judges, modality="DX")


def test_no_patient_that_judges_is_learned_from() -> None:
    made = pool()
    assert len(made.judges) == 5 and sorted(made.judged) == list(range(10, 40))
    for part, judge in enumerate(made.judges):
        learners = made.learners(part)
        assert not {made.owners[n] for n in judge} & {made.owners[n] for n in learners}
        assert {*range(10)} <= {*learners.tolist()}


def test_a_test_split_judges_alone() -> None:
    made = pool(test=12)
    assert len(made.judges) == 1 and made.judges[0].tolist() == list(range(28, 40))
    assert made.learners(0).max() == 27


def test_draws_show_every_class_and_differ() -> None:
    made = pool()
    draws = [draw_labels(made, 0, 6, seed, stratified=False) for seed in range(6)]
    assert all((made.y[at].sum(0) > 0).all() and made.labelled[at].all() for at in draws)
    assert len({tuple(sorted(at)) for at in draws}) > 3
    even = draw_labels(made, 0, 8, 0, stratified=True)
    assert made.y[even].sum(0).tolist() == [4, 4]
    with pytest.raises(BadOption, match="wanted 99 labelled scans"):
        draw_labels(made, 0, 99, 0, stratified=False)


def test_labels_are_asked_for_where_one_may_learn() -> None:
    made = pool(test=12)
    at = asked_labels(made, 0, 8, 0)
    assert len(set(at.tolist())) == 8 and made.labelled[at].all() and at.max() < 28
    assert len({made.owners[n] for n in at}) == 8, "one scan of a patient"


@pytest.mark.parametrize("arm", [arm for arm in ARMS if arm.source in ("prior", "pixels")], ids=str)
def test_every_head_finds_the_stripes(arm) -> None:
    made = pool(test=12)
    logits = answers(made, arm, 0, draw_labels(made, 0, 14, 0, stratified=True), 0)
    right = logits.argmax(1) == made.y[made.judges[0]].argmax(1)
    assert logits.shape == (12, 2) and right.mean() > 0.7


def test_a_network_learns_from_the_same_labels(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("monai")
    monkeypatch.setattr(module, "ClassifierSettings", lambda: ClassifierSettings(steps=5, batch=8))
    made = pool(test=12)
    arm = next(arm for arm in ARMS if arm.source == "network")
    assert made.images.shape == (40, 1, 16, 16)
    logits = answers(made, arm, 0, draw_labels(made, 0, 14, 0, stratified=True), 0)
    assert logits.shape == (12, 2) and np.isfinite(logits).all()


def test_a_volume_is_seen_whole_and_by_its_middle_slice() -> None:
    prior = tiny(3)
    scan = Volume(torch.randn(1, 12, 10, 8).numpy())
    seen = looked(prior, prior.admit(scan), None, HOW)
    assert seen.features["pixels"].shape == (16**3,) and seen.picture.shape == (1, 12, 10)
