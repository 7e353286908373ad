"""Tuning moves what it names and nothing else, and leaves a plain network behind."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from medprior.errors import BadOption
from medprior.prior import Condition, Prior
from medprior.prior.prior import untrained_prior
from medprior.training.loop import train
from medprior.training.tuning import METHODS, merge_adapters, prepare_tuning, with_labels
from tests.promises.test_resume import assert_equal, newest, power_cut
from tests.unit.training import small


def awake(prior: Prior) -> Prior:
    """A network of which no weight is 0, so that every layer counts."""
    with torch.no_grad():
        for parameter in prior.net.parameters():
            parameter.add_(
                0.05
                * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(parameter.numel()))
            )
    return prior


def asked(prior: Prior, label: int = 0) -> torch.Tensor:
    x = (
        torch.randn(2, 1, 20, 24, generator=torch.Generator().manual_seed(3))
        if prior.card.ndim == 2
        else torch.randn(2, 1, 8, 8, 8)
    )
    numbers = torch.full((2, len(prior.card.numbers)), 0.3) if prior.card.numbers else None
    with torch.no_grad():
        return prior(x, torch.tensor([0.3, 2.0]), Condition(torch.full((2,), label), numbers))


def tuned_names(prior: Prior, method: str) -> set[str]:
    return set(prepare_tuning(prior.net, method, rank=3))


@pytest.mark.parametrize("ndim", [2, 3])
def test_merged_additions_are_the_parametrised_network(ndim: int) -> None:
    card = replace(small.prior().card, ndim=ndim)
    prior = awake(untrained_prior(card))
    names = set(prior.net.state_dict())
    torch.manual_seed(1)
    before = asked(prior) if ndim == 2 else None
    prepare_tuning(prior.net, "lora", rank=3)
    if before is not None:
        assert torch.equal(before, asked(prior)), "it begins as nothing added"
    with torch.no_grad():
        for name, parameter in prior.net.named_parameters():
            if name.endswith(".up"):
                parameter.normal_(0, 0.3)
    torch.manual_seed(1)
    parametrised = asked(prior)
    merge_adapters(prior.net)
    torch.manual_seed(1)
    assert (asked(prior) - parametrised).abs().max() < 1e-5
    assert before is None or (parametrised - before).abs().max() > 1e-2, "the additions did something"
    assert set(prior.net.state_dict()) == names, "nothing downstream sees how it was tuned"
    untrained_prior(card).net.load_state_dict(prior.net.state_dict())


@pytest.mark.parametrize("method", METHODS)
def test_only_what_is_named_moves(method: str, tmp_path: Path) -> None:
    """The frozen parts of the network and of its average do not move by a bit, the named ones all do; the
    doubt is nobody's.
    """
    prior = awake(untrained_prior(replace(small.prior().card, doubt=True)))
    tuned = prepare_tuning(prior.net, method, rank=3)
    names = set(tuned)
    before = {name: parameter.detach().clone() for name, parameter in prior.net.named_parameters()}
    made = train(prior, small.images(), small.settings(8), tmp_path, tuned=tuned)
    for net in (prior.net, made.net):
        moved = {
            name for name, parameter in net.named_parameters() if not torch.equal(parameter, before[name])
        }
        assert moved == names
    assert not any(name.startswith("doubt.") for name in names) and "label.weight" in names
    sizes = {
        m: sum(
            before_p.numel()
            for n, before_p in untrained_prior(prior.card).net.named_parameters()
            if n in tuned_names(untrained_prior(prior.card), m)
        )
        for m in ("norm", "full")
    }
    assert sizes["norm"] < sizes["full"]


def test_rates_are_those_that_were_asked_for(tmp_path: Path) -> None:
    """Adam's first step is as long as its rate: ten times as long where the factor is ten."""
    moved = {}
    for factor in (1.0, 10.0):
        prior = awake(small.prior())
        before = prior.net.get_parameter("label.weight").detach().clone()
        train(
            prior,
            small.images(),
            small.settings(1, drop=0.0),
            tmp_path / str(factor),
            tuned={"label.weight": factor, "enter.bias": 1.0},
        )
        moved[factor] = float((prior.net.get_parameter("label.weight").detach() - before).abs().max())
    assert moved[10.0] == pytest.approx(10 * moved[1.0], rel=0.02)


def test_nothing_to_tune_is_refused(tmp_path: Path) -> None:
    for names in ({}, {"enter.weigt": 1.0}):
        with pytest.raises(BadOption, match="parameters of the network"):
            train(small.prior(), small.images(), small.settings(2), tmp_path, tuned=names)


def test_unknown_method_and_rank() -> None:
    with pytest.raises(BadOption, match="did you mean 'lora'"):
        prepare_tuning(small.prior().net, "lorra")
    with pytest.raises(BadOption, match="rank"):
        prepare_tuning(small.prior().net, "lora", rank=0)


def test_new_labels_come_after_the_old_ones_and_begin_as_unknown() -> None:
    parent = awake(small.prior())
    child = with_labels(parent, ("c", "a"))
    assert child.card.labels == ("a", "b", "c")
    for label in (0, 1, -1):
        assert torch.equal(asked(parent, label), asked(child, label)), "what it knew it says as before"
    assert torch.equal(asked(child, 2), asked(parent, -1)), "a new label begins as no label"
    assert not torch.equal(asked(child, 0), asked(child, 2))


def test_a_parent_without_labels_gets_an_embedding() -> None:
    parent = awake(untrained_prior(replace(small.prior().card, labels=())))
    child = with_labels(parent, ("new",))
    x, sigma, numbers = torch.randn(1, 1, 16, 16), torch.ones(1), torch.zeros(1, 1)
    with torch.no_grad():
        plain = parent(x, sigma, Condition(numbers=numbers))
        assert torch.equal(plain, child(x, sigma, Condition(torch.tensor([0]), numbers))) and torch.equal(
            plain, child(x, sigma, Condition(numbers=numbers))
        )
    assert with_labels(parent, ()).card.labels == () and with_labels(child, ("new",)).card.labels == ("new",)


@pytest.mark.parametrize("method", METHODS)
def test_a_tuning_that_was_cut_off_continues_to_the_bit(method: str, tmp_path: Path) -> None:
    """With a judge, too: which step was best is part of the state."""

    def ready(seed: int) -> tuple[Prior, dict[str, float]]:
        prior = awake(small.prior())
        return prior, prepare_tuning(prior.net, method, rank=2, seed=seed)

    def judge(prior: Prior) -> float:
        return abs(prior.card.training["steps"] - 10)

    settings = small.settings(20)
    prior, names = ready(0)
    whole = train(prior, small.images(), settings, tmp_path / "whole", tuned=names, judge=judge)
    prior, names = ready(0)
    with pytest.raises(RuntimeError, match="power"):
        train(
            prior,
            small.images(),
            settings,
            tmp_path / "halves",
            tuned=names,
            judge=judge,
            on_progress=power_cut(15),
        )
    prior, names = ready(5)  # other random additions, as a new process could have: the checkpoint's count
    resumed = train(prior, small.images(), settings, tmp_path / "halves", tuned=names, judge=judge)
    assert_equal(newest(tmp_path / "whole"), newest(tmp_path / "halves"))
    assert all(
        torch.equal(a, b)
        for a, b in zip(whole.net.state_dict().values(), resumed.net.state_dict().values(), strict=True)
    )
    assert whole.card.training["steps"] == resumed.card.training["steps"] == 10, (
        "the step that was judged best, not the last"
    )
    last = newest(tmp_path / "whole")
    assert last.facts["step"] == 20 and not all(
        torch.equal(last.average[n], t) for n, t in whole.net.state_dict().items()
    )


def test_another_method_is_not_continued_with(tmp_path: Path) -> None:
    prior = awake(small.prior())
    train(prior, small.images(), small.settings(5), tmp_path, tuned=prepare_tuning(prior.net, "norm"))
    other = awake(small.prior())
    with pytest.raises(BadOption, match="another network"):
        train(other, small.images(), small.settings(10), tmp_path, tuned=prepare_tuning(other.net, "full"))
