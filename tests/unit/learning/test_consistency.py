"""Tuning the prior with a classifier: it begins as the linear head, learns from labels and from scans without
one, leaves the prior as it was, and says where pseudo-labels drift.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from medprior.errors import BadOption
from medprior.learning.consistency import ConsistencySettings, TunedClassifier, tune_classifier, tuned_prior
from medprior.learning.features import FeatureSettings, features
from medprior.learning.heads import LinearHead, Projection, fit_linear
from tests.unit.jobs.exact import tiny

HOW = FeatureSettings((0.3,))
FEW = ConsistencySettings(steps=6, labelled=8, unlabelled=8)


def pictures(n: int, seed: int) -> tuple[torch.Tensor, np.ndarray]:
    """Noise, every other one with stripes, and (n, 2) which."""
    rng = torch.Generator().manual_seed(seed)
    images = 0.3 * torch.randn(n, 1, 16, 16, generator=rng)
    images[1::2, :, ::4] += 0.5
    return images, np.eye(2)[np.arange(n) % 2]


def same(images: torch.Tensor, places: torch.Tensor, turns: torch.Tensor) -> torch.Tensor:
    assert len(images) == len(places) == len(turns)
    return images


def begun(images: torch.Tensor, y: np.ndarray) -> LinearHead:
    x = features(tiny(), images, None, HOW).numpy()
    projection = Projection.fitted(x)
    return fit_linear(projection(x), y).behind(projection)


def loss(made: TunedClassifier, images: torch.Tensor, y: np.ndarray) -> float:
    z = torch.from_numpy(made(images, HOW))
    return float(torch.nn.functional.cross_entropy(z, torch.from_numpy(y)))


def test_it_begins_as_the_linear_head_and_learns_on() -> None:
    prior, (images, y), (free, truth) = tiny(), pictures(10, 0), pictures(20, 1)
    start = begun(images, y)
    still = tune_classifier(prior, images, y, free, start, HOW, replace(FEW, rate=0.0), same)
    assert np.allclose(still(free, HOW), start(features(prior, free, None, HOW).numpy()), atol=1e-3)
    before = {name: value.clone() for name, value in prior.net.state_dict().items()}
    made = tune_classifier(prior, images, y, free, start, HOW, replace(FEW, rate=1e-3, steps=15), same)
    assert made.reason == "" and loss(made, free, truth) < loss(still, free, truth)
    assert all(torch.equal(value, before[name]) for name, value in prior.net.state_dict().items())
    assert any(not torch.equal(v, before[k]) for k, v in made.prior.net.state_dict().items())
    again = tuned_prior(prior, made.tensors())
    assert torch.equal(features(again, free, None, HOW), features(made.prior, free, None, HOW))
    assert tuned_prior(prior, {}) is prior
    with pytest.raises(BadOption, match="do not fit"):
        tuned_prior(prior, {"net.enter.weight": torch.zeros(1)})


def test_pseudo_labels_that_drift_are_named() -> None:
    """One class in four of the labels, every scan without label alike: alignment cannot save it."""
    images, y = pictures(8, 0)
    at = np.array([0, 2, 4, 6, 1, 0, 2, 4])
    images, y = images[at], y[at]
    free = pictures(2, 3)[0][1:].expand(12, -1, -1, -1)
    made = tune_classifier(tiny(), images, y, free, begun(images, y), HOW, FEW, same)
    assert "of the pseudo-labels" in made.reason


def test_without_further_scans_it_learns_from_labels_alone() -> None:
    images, y = pictures(10, 0)
    made = tune_classifier(tiny(), images, y, images[:0], begun(images, y), HOW, FEW, same)
    assert made.reason == "" and loss(made, images, y) < 0.69
