"""Fine-tuning as one more way to learn: chosen only by held-out labels, stored with its own network, and what
it cannot learn from is said.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import medprior.jobs.learn as module
from medprior.data.volume import Volume
from medprior.errors import BadOption
from medprior.evidence.gain import SeedScores
from medprior.jobs.learn import gathered, head_from, learn, predict
from medprior.jobs.tuning.classifier import TUNED, ImageSet, tuned_way
from medprior.jobs.tuning.ways import ALONE, SELF, LearningSet, WayToLearn, tried
from medprior.learning.consistency import ConsistencySettings
from medprior.learning.features import volume_features
from medprior.learning.head_folder import load_head, save_head
from tests.unit.jobs.exact import tiny
from tests.unit.jobs.test_learn import ONE, striped

FEW = ConsistencySettings(steps=4, labelled=6, unlabelled=6)


def data() -> tuple[LearningSet, ImageSet, list[Volume]]:
    """Twelve labelled pictures, and eight without label."""
    images, labels = striped(20)
    volumes = [Volume(np.asarray(image, np.float32)[None]) for image in images]
    x = volume_features(tiny(), volumes).numpy()
    found = gathered(
        x, [label if n < 12 else "" for n, label in enumerate(labels)], [f"p{n}" for n in range(20)]
    )
    return found, ImageSet.of(tiny(), volumes[:12], volumes[12:]), volumes


def test_it_is_judged_as_the_others_and_brings_its_own_network(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    known, images, volumes = data()
    steps: list[tuple[int, int]] = []
    way = tuned_way(known, tiny(), images, ONE, FEW, lambda a, b: steps.append((a, b)))
    assert way.name == TUNED and len(way.scores) == 2 and way.logits[0].shape == (12, 2)
    assert steps[-1] == (6, 6)

    def scored(one: WayToLearn, value: float) -> WayToLearn:
        return replace(one, stopped="", scores=tuple(SeedScores(value, s.parts) for s in one.scores))

    projection, (base, *_) = tried(known, ONE)
    monkeypatch.setattr(module, "tried", lambda *_: (projection, [scored(base, 0.5)]))
    head, chosen, gains = head_from(known, tiny(), ONE, [scored(way, 0.4)])
    assert chosen.name == head.card.method == ALONE and gains[TUNED].value < 0
    assert head.promises.compared == {ALONE: 0.5, TUNED: 0.4}
    head, chosen, _ = head_from(known, tiny(), ONE, [scored(way, 0.9)])
    assert chosen.name == TUNED and head.card.sigmas == (FEW.sigma,)
    assert any(name.startswith("net.") for name in head.tensors)
    save_head(head, tmp_path / "head")
    one, other = predict(volumes[:4], head), predict(volumes[:4], load_head(tmp_path / "head"))
    assert [str(a) for a in one] == [str(b) for b in other]


def test_one_call_learns_with_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """``mp.learn`` with fine_tune judges it beside the others."""
    monkeypatch.setattr("medprior.jobs.tuning.classifier.ConsistencySettings", lambda: FEW)
    monkeypatch.setattr("medprior.jobs.tuning.ways.FOLDS", 2)
    images, labels = striped(16)
    given = [label if n < 10 else None for n, label in enumerate(labels)]
    head = learn(images, tiny(), given, how=ONE, fine_tune=True)
    assert set(head.promises.compared) == {ALONE, SELF, TUNED}
    with pytest.raises(BadOption, match="wants one label a scan"):
        learn(images, tiny(), ["a|b", "a"] * 8, fine_tune=True)


def test_what_cannot_be_tuned_is_said() -> None:
    known, images, volumes = data()
    with pytest.raises(BadOption, match="wants one label a scan"):
        tuned_way(replace(known, several=True), tiny(), images, ONE, FEW)
    with pytest.raises(BadOption, match="not volumes"):
        ImageSet.of(tiny(), [Volume(np.stack([volumes[3].data] * 3, -1))], [])
    mixed = ImageSet.of(tiny(), [*volumes[:3], Volume(np.pad(volumes[3].data, ((0, 0), (0, 4), (0, 0))))], [])
    assert mixed.marked.shape == (4, 1, 16, 16) and len(mixed.free) == 0
