"""A head as a model that can be explained: it says what predict says."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from medprior.data.volume import Volume
from medprior.errors import BadOption
from medprior.explanation.latent import Search
from medprior.jobs.explain import Explaining, explain
from medprior.jobs.learn import learn, predict
from medprior.learning.head_model import GENERATIVE, head_scores, shuffled_head
from tests.unit.jobs.exact import tiny
from tests.unit.jobs.test_learn import ONE, striped


def test_a_head_is_explained_and_its_answer_is_that_of_predict() -> None:
    images, labels = striped(24)
    prior = tiny(numbers=())
    head = learn(images, prior, labels, how=ONE)
    scan = Volume(images[1][None], unit=prior.card.unit, modality="MR")
    short = Explaining(search=Search(repeats=1, n_steps=1, particles=2), maps=False)
    found = explain(prior, scan, head, short)
    wanted = predict(scan, head)[0].probabilities
    assert found.answer == pytest.approx(wanted, abs=1e-4)
    assert found.given == max(wanted, key=lambda name: wanted[name])


def test_gradients_of_a_head_are_those_of_its_answers() -> None:
    images, labels = striped(24)
    prior = tiny(numbers=())
    head = learn(images, prior, labels, how=ONE)
    scans = [Volume(one[None], unit=prior.card.unit, modality="MR") for one in images[:2]]
    x = torch.stack([prior.admit(scan).whole for scan in scans])
    plain, live = head_scores(head, prior), head_scores(head, prior, gradients=True)
    at = x.clone().requires_grad_()
    answers = live(at)
    assert torch.allclose(answers.detach(), plain(x), atol=1e-4)
    (slope,) = torch.autograd.grad(answers[0, 1], at)
    step = 1e-2 * slope / slope.norm()
    change = float((plain(x + step) - plain(x - step))[0, 1])
    assert change == pytest.approx(2 * float((slope * step).sum()), rel=0.1)


def test_heads_without_gradients_are_refused() -> None:
    images, labels = striped(24)
    prior = tiny(numbers=())
    head = learn(images, prior, labels, how=ONE)
    other = replace(head, card=replace(head.card, method=GENERATIVE))
    with pytest.raises(BadOption, match="gives no gradients"):
        head_scores(other, prior, gradients=True)
    with pytest.raises(BadOption, match="for a volume"):
        head_scores(head, prior, gradients=True)(torch.zeros(1, 1, 8, 8, 4))


def test_shuffled_weights_give_another_head_of_the_same_numbers() -> None:
    images, labels = striped(24)
    head = learn(images, tiny(numbers=()), labels, how=ONE)
    other = shuffled_head(head, 0)
    weight = head.tensors["weight"]
    assert not torch.equal(other.tensors["weight"], weight)
    assert torch.equal(other.tensors["weight"].flatten().sort().values, weight.flatten().sort().values)


def test_heads_that_cannot_be_explained_are_refused_in_words() -> None:
    images, labels = striped(24)
    prior = tiny(numbers=())
    head = learn(images, prior, labels, how=ONE)
    with pytest.raises(BadOption, match="another prior"):
        head_scores(head, tiny(numbers=(), widths=(8, 24)))
    with pytest.raises(BadOption, match="height"):
        head_scores(learn(images, tiny(), labels, how=ONE), tiny())
