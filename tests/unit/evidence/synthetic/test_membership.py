"""Membership attacks: a prior that knows some scans by heart is caught, one that knows none is not."""

import pytest
import torch
from torch import Tensor

from medprior.errors import BadOption
from medprior.evidence.synthetic.membership import ATTACKS, membership_leaks, membership_scores
from medprior.prior import Card, Condition, Prior
from medprior.prior.prior import untrained_prior


class _ByHeart(Prior):
    """Gives back the learned scan nearest to what it is shown, if that is near; else it is no better than
    blurring.
    """

    def __init__(self, known: Tensor) -> None:
        plain = untrained_prior(Card("by-heart", "MR", widths=(8, 8), blocks=1))
        super().__init__(plain.net, plain.path, plain.card)
        self.known = known

    def __call__(self, x: Tensor, sigma: Tensor, condition: Condition | None = None) -> Tensor:
        apart = (x[:, None] - self.known[None]).square().flatten(2).mean(2)
        guess = torch.nn.functional.avg_pool2d(x, 3, 1, 1)
        near = self.known[apart.argmin(1)]
        learned = (apart.amin(1) < 1.5 * sigma.expand(len(x)) ** 2)[:, None, None, None]
        return torch.where(learned, near, guess)


def _scans(n: int, seed: int) -> list[Tensor]:
    return list(torch.rand((n, 1, 16, 16), generator=torch.Generator().manual_seed(seed)) * 2 - 1)


def test_what_is_known_by_heart_leaks():
    members, others = _scans(30, 1), _scans(30, 2)
    prior = _ByHeart(torch.stack(members))
    given = [Condition()] * 30
    for leak in membership_leaks(
        membership_scores(prior, members, given), membership_scores(prior, others, given)
    ):
        assert leak.auc.low > 0.9 and not leak.low, leak


def test_a_prior_that_has_seen_neither_tells_them_apart_no_better_than_chance():
    prior = untrained_prior(Card("fresh", "MR", widths=(8, 8), blocks=1))
    prior.net.requires_grad_(False)
    given = [Condition()] * 40
    found = membership_leaks(
        membership_scores(prior, _scans(40, 1), given), membership_scores(prior, _scans(40, 2), given)
    )
    assert [leak.attack for leak in found] == list(ATTACKS)
    for leak in found:
        assert leak.auc.low <= 0.5 <= leak.auc.high and leak.hits is None


def test_hits_at_one_in_a_hundred_false():
    rng = torch.Generator().manual_seed(0)
    others = torch.randn((1000, 2), generator=rng)
    same, known = (
        membership_leaks(torch.randn((1000, 2), generator=rng), others),
        membership_leaks(torch.randn((1000, 2), generator=rng) + 4, others),
    )
    assert same[0].hits is not None and known[0].hits is not None
    assert same[0].hits.value < 0.03 and known[0].hits.value > 0.8
    assert same[0].low and not known[0].low


def test_one_of_a_hundred_others_may_be_taken_for_a_member():
    """The nearest other scan is an outlier: half the members lie above all the rest."""
    others = torch.linspace(0, 1, 100)[:, None].repeat(1, 2)
    others[0] = 100.0
    members = torch.cat([torch.full((50, 2), 2.0), torch.zeros(50, 2)])
    hits = membership_leaks(members, others)[0].hits
    assert hits is not None and hits.value == 0.5


def test_few_scans_are_refused():
    with pytest.raises(BadOption, match="at least 20"):
        membership_leaks(torch.zeros((5, 2)), torch.zeros((50, 2)))
